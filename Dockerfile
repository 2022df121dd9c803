# Two stages. The first compiles the binary and assembles the root file system with deploy/rootfs.sh.
# The image contains only that: the binary, the shared libraries it loads, and a user. It has no shell
# and no other program.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
# The dependencies are compiled in a layer of their own, for an empty crate, so that a change of the
# sources does not rebuild them. `cargo clean` removes the empty crate's output; otherwise cargo could
# take it for the real crate.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches tests \
    && touch src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs benches/language.rs tests/main.rs >/dev/null \
    && cargo build --release --locked --bin cinequery \
    && cargo clean --release --package cinequery \
    && rm -r src
COPY . .
RUN cargo build --release --locked --bin cinequery \
    && deploy/rootfs.sh target/release/cinequery /rootfs

FROM scratch
COPY --from=build /rootfs /
USER 65532:65532
WORKDIR /data
ENV CINEQUERY_LISTEN=0.0.0.0:8080 CINEQUERY_DATABASE_URL=sqlite:/data/cinequery.db
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/cinequery", "healthcheck"]
ENTRYPOINT ["/cinequery"]
CMD ["serve"]
# The labels come last because they change with every build and would invalidate later layers.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="cinequery" \
      org.opencontainers.image.description="Records served over HTTP, searched with a small, safe filter language" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
