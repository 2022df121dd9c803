#!/bin/sh
# Builds the image, runs it, and checks its version and that it is ready. Uses docker if its daemon
# responds, otherwise buildah, which needs root but no daemon. Environment variables:
#
#   IMAGE          name of the image (default: cinequery)
#   BUILD_IMAGE    image to compile in (default: the one named in the Dockerfile)
#   DEBIAN_MIRROR  Debian mirror for debootstrap (default: debootstrap's own)
#
# If the build image cannot be pulled, one is built from Debian packages, the Rust toolchain of this
# machine and the crates of Cargo.lock. All intermediate files stay in target/image.
set -eu
cd "$(dirname "$0")/.."

image=${IMAGE:-cinequery}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
work=$PWD/target/image
max_bytes=40000000

say() { echo "image: $*" >&2; }
fail() { say "$@"; exit 1; }

# need COMMAND: installs the Debian package of the same name if the command is missing.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        fail "$1 not found; install it, for example with \`apt-get install $1\`"
    fi
    say "installing $1"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
}

if docker info >/dev/null 2>&1; then
    tool=docker
else
    tool=buildah
    [ "$(id -u)" -eq 0 ] || fail "no docker daemon found; start docker, or run this script as root to use buildah"
    need buildah
    # chroot isolation needs no namespaces and no overlay file system, so it also works in a CI job.
    export BUILDAH_ISOLATION=chroot
fi
need curl
mkdir -p "$work"

engine() {
    case $tool in
    docker) docker "$@" ;;
    buildah) buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@" ;;
    esac
}

build() {
    case $tool in
    docker) docker build "$@" ;;
    # The OCI image format has no HEALTHCHECK.
    buildah) engine build --layers --format docker "$@" ;;
    esac
}

has_image() { [ -n "$(engine images --quiet "$1" 2>/dev/null)" ]; }

# Builds an image to compile in and prints its name, which contains a hash of its inputs.
local_build_image() {
    name=localhost/cinequery-build:$( (rustc -vV && cat Cargo.lock deploy/image.sh) | sha256sum | cut -c 1-12)
    if ! has_image "$name"; then
        [ "$(id -u)" -eq 0 ] || fail "building the build image with debootstrap needs root"
        need debootstrap
        sysroot=$(rustc --print sysroot)
        host=$(rustc -vV | sed -n 's/^host: //p')
        [ "$sysroot" != /usr ] || fail "found Rust in /usr; building the build image needs a toolchain of rustup"
        if ! [ -d "$work/debian" ]; then
            say "installing Debian with debootstrap"
            rm -rf "$work/debian.new"
            debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev \
                bookworm "$work/debian.new" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" ||
                fail "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
            mv "$work/debian.new" "$work/debian"
        fi
        say "building the build image $name"
        rm -rf "$work/crates" "$work/base"
        mkdir -p "$work/base"
        # The crates are downloaded on this machine, because its cargo is configured to reach the registry.
        cargo vendor --quiet --locked --versioned-dirs "$work/crates/vendor" >/dev/null
        printf '[source.crates-io]\nreplace-with = "vendor"\n[source.vendor]\ndirectory = "/.cargo/vendor"\n' \
            >"$work/crates/config.toml"
        tar -cf "$work/base/root.tar" -C "$work/debian" --exclude='./var/cache/apt/*' \
            --exclude='./var/lib/apt/lists/*' .
        (cd "$sysroot" && tar -rf "$work/base/root.tar" --transform 's,^,usr/local/,S' \
            bin/cargo bin/rustc lib/*.so* "lib/rustlib/$host")
        tar -rf "$work/base/root.tar" -C "$work/crates" --transform 's,^\.,.cargo,S' .
        printf 'FROM scratch\nADD root.tar /\n' >"$work/base/Dockerfile"
        build --tag "$name" "$work/base" >&2
        rm -rf "$work/crates" "$work/base"
    fi
    echo "$name"
}

build_image=${BUILD_IMAGE:-$(sed -n 's/^ARG BUILD_IMAGE=//p' Dockerfile)}
if ! has_image "$build_image" && ! engine pull "$build_image" >"$work/pull.log" 2>&1; then
    say "could not pull $build_image: $(tail -n 1 "$work/pull.log")"
    build_image=$(local_build_image)
fi

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision=$revision-modified
say "building $image:$version with $tool, in $build_image"
build --build-arg "BUILD_IMAGE=$build_image" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$revision" --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --tag "$image:$version" --tag "$image:latest" .

container='' job=''

# service PID: prints the process id of the service among the descendants of that process. The service
# is stopped directly, because buildah, its parent, would kill it.
service() {
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null || true); do
        case $(readlink "/proc/$child/exe") in
        */cinequery) echo "$child" ;;
        *) service "$child" ;;
        esac
    done
}

clean_up() {
    if [ -n "$job" ]; then
        kill "$job" 2>/dev/null || true
        wait "$job" 2>/dev/null || true
    fi
    case $tool in
    docker) [ -z "$container" ] || docker rm --force --volumes "$container" >/dev/null ;;
    buildah) [ -z "$container" ] || engine rm "$container" >/dev/null ;;
    esac
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Both functions start the service as Kubernetes does: on a read-only root file system, as the
# image's user, with /data as the only writable folder. They set `address` (the socket address),
# `user`, `bytes` (the size of the image) and `said` (the output of --version). They define `inside`,
# which runs a command in the container, and `stop`, which returns the exit code of the service.
in_docker() {
    bytes=$(container=$(docker create "$image:$version") && docker export "$container" | wc -c &&
        docker rm "$container" >/dev/null)
    said=$(docker run --rm "$image:$version" --version)
    container=$(docker run --detach --read-only --tmpfs /data:uid=65532,gid=65532,mode=700 \
        --cap-drop ALL --security-opt no-new-privileges --publish 127.0.0.1::8080 \
        --env CINEQUERY_AUTH=open --env CINEQUERY_ALLOW_OPEN=true "$image:$version")
    address=$(docker port "$container" 8080/tcp | head -n 1)
    user=$(docker top "$container" -o pid,uid,gid | awk 'NR == 2 { print $2 ":" $3 }')
    inside() { docker exec "$container" "$@"; }
    stop() {
        docker stop --time 15 "$container" >/dev/null
        return "$(docker inspect --format '{{.State.ExitCode}}' "$container")"
    }
}

in_buildah() {
    container=$(engine from "$image:$version")
    root=$(engine mount "$container")
    bytes=$(tar -cf - -C "$root" . | wc -c)
    said=$(engine run "$container" -- /cinequery --version)
    # buildah writes a file of its own to /run, so /run is a writable tmpfs. The container shares the
    # host's network, so the service listens on a free port of the loopback interface.
    mkdir -p "$root/run"
    log=$work/service.log
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount sh -c '
        root=$1 && shift
        mount --bind "$root" "$root"
        mount -t tmpfs -o uid=65532,gid=65532,mode=700 tmpfs "$root/data"
        mount -t tmpfs -o mode=755 tmpfs "$root/run"
        mount -o remount,bind,ro "$root"
        exec "$@"' sh "$root" \
        buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs run \
        --env CINEQUERY_LISTEN=127.0.0.1:0 --env CINEQUERY_AUTH=open \
        "$container" -- /cinequery serve >"$log" 2>&1 &
    job=$!
    address=''
    for _ in $(seq 150); do
        address=$(sed -n 's|.*"address":"\([^"]*\)".*|\1|p' "$log")
        [ -z "$address" ] || break
        kill -0 "$job" 2>/dev/null || fail "the service exited: $(cat "$log")"
        sleep 0.2
    done
    [ -n "$address" ] || fail "the service did not start listening within 30 s: $(cat "$log")"
    pid=$(service "$job")
    [ -n "$pid" ] || fail "no process of the service found below buildah"
    user=$(awk '/^Uid:/ { uid = $2 } /^Gid:/ { print uid ":" $2 }' "/proc/$pid/status")
    inside() { engine run --env "CINEQUERY_LISTEN=$address" "$container" -- "$@"; }
    stop() {
        kill -TERM "$pid"
        stopped=$job job=''
        wait "$stopped"
    }
}

"in_$tool"
say "size $bytes bytes; --version: $said"
[ "$bytes" -lt "$max_bytes" ] || fail "expected an image below $max_bytes bytes, found $bytes"
[ "$said" = "cinequery $version" ] || fail "expected --version to print \"cinequery $version\", found \"$said\""
[ "$user" = 65532:65532 ] || fail "expected the service to run as 65532:65532, found $user"
curl --silent --fail --show-error --max-time 10 --retry 20 --retry-delay 1 --retry-all-errors \
    --output "$work/ready.json" "http://$address/readyz"
say "as $user on a read-only root, /readyz returns 200: $(cat "$work/ready.json")"
inside /cinequery healthcheck || fail "\`cinequery healthcheck\` failed in the container"
say "healthcheck succeeded"
stop || fail "expected exit code 0 on SIGTERM, found $?"
say "stopped with exit code 0"
if [ "$tool" = buildah ]; then
    say "to push it: buildah --root $work/storage --runroot $work/run --storage-driver vfs" \
        "push $image:$version docker://REGISTRY/$image:$version"
fi
