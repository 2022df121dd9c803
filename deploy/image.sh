#!/bin/sh
# Builds the image, runs it, and asks it for its version and whether it is ready: with docker where
# its daemon answers, otherwise with buildah, which needs root and no daemon. From the environment:
#
#   IMAGE          what the image is called (cinequery)
#   BUILD_IMAGE    what it is compiled in, instead of the image that the Dockerfile names
#   DEBIAN_MIRROR  where debootstrap finds Debian, instead of its own default
#
# When the image to compile in cannot be had from its registry, one is made from Debian's packages,
# the Rust of this machine and the crates of Cargo.lock. What is made stays below target/image.
set -eu
cd "$(dirname "$0")/.."

image=${IMAGE:-cinequery}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
work=$PWD/target/image
max_bytes=40000000

say() { echo "image: $*" >&2; }
fail() { say "$@"; exit 1; }

# Installs the Debian package of that name when its command is missing.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        fail "$1 is missing: install it, as with \`apt-get install $1\`"
    fi
    say "installing $1"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
}

if docker info >/dev/null 2>&1; then
    tool=docker
else
    tool=buildah
    [ "$(id -u)" -eq 0 ] || fail "start docker, or run this as root for buildah"
    need buildah
    # No namespaces and no overlay: this works wherever root may chroot, as in a CI job.
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
    # The format of OCI has no HEALTHCHECK.
    buildah) engine build --layers --format docker "$@" ;;
    esac
}

has_image() { [ -n "$(engine images --quiet "$1" 2>/dev/null)" ]; }

# Makes an image to compile in, named after what it is made of, and prints its name.
local_build_image() {
    name=localhost/cinequery-build:$( (rustc -vV && cat Cargo.lock deploy/image.sh) | sha256sum | cut -c 1-12)
    if ! has_image "$name"; then
        [ "$(id -u)" -eq 0 ] || fail "only root can prepare an image to compile in, with debootstrap"
        need debootstrap
        sysroot=$(rustc --print sysroot)
        host=$(rustc -vV | sed -n 's/^host: //p')
        [ "$sysroot" != /usr ] || fail "preparing an image to compile in needs the Rust of rustup"
        if ! [ -d "$work/debian" ]; then
            say "preparing Debian with debootstrap"
            rm -rf "$work/debian.new"
            debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev \
                bookworm "$work/debian.new" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" ||
                fail "debootstrap has failed: $(tail -n 1 "$work/debootstrap.log")"
            mv "$work/debian.new" "$work/debian"
        fi
        say "preparing an image to compile in: $name"
        rm -rf "$work/crates" "$work/base"
        mkdir -p "$work/base"
        # Downloaded here, where cargo is configured to reach its registry.
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
    say "$build_image cannot be had: $(tail -n 1 "$work/pull.log")"
    build_image=$(local_build_image)
fi

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision=$revision-modified
say "building $image:$version with $tool, in $build_image"
build --build-arg "BUILD_IMAGE=$build_image" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$revision" --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --tag "$image:$version" --tag "$image:latest" .

container='' job=''

# The service among the processes that the given one has started, if it is there. It is asked to stop
# itself: buildah, which started it, would kill it.
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

# Each of the two starts the service as Kubernetes does: on a root file system that cannot be
# written, as the image's user, with /data as the only place to write to. It then sets `address`
# and `user`, and defines `inside`, which runs a command in the container, and `stop`, which
# returns the exit code of the service.
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
    # buildah keeps a file of its own in /run, so that root may write there. The network is the
    # host's: a free port of loopback is taken.
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
        kill -0 "$job" 2>/dev/null || fail "the service has ended: $(cat "$log")"
        sleep 0.2
    done
    [ -n "$address" ] || fail "the service does not listen: $(cat "$log")"
    pid=$(service "$job")
    [ -n "$pid" ] || fail "the service is not among the processes of buildah"
    user=$(awk '/^Uid:/ { uid = $2 } /^Gid:/ { print uid ":" $2 }' "/proc/$pid/status")
    inside() { engine run --env "CINEQUERY_LISTEN=$address" "$container" -- "$@"; }
    stop() {
        kill -TERM "$pid"
        stopped=$job job=''
        wait "$stopped"
    }
}

"in_$tool"
say "$bytes bytes; --version says: $said"
[ "$bytes" -lt "$max_bytes" ] || fail "the image has $max_bytes bytes or more"
[ "$said" = "cinequery $version" ] || fail "that is not cinequery $version"
[ "$user" = 65532:65532 ] || fail "the service runs as $user"
curl --silent --fail --show-error --max-time 10 --retry 20 --retry-delay 1 --retry-all-errors \
    --output "$work/ready.json" "http://$address/readyz"
say "as $user on a read-only root, /readyz answers 200: $(cat "$work/ready.json")"
inside /cinequery healthcheck || fail "healthcheck fails inside"
say "healthcheck agrees"
stop || fail "the service has stopped with exit code $?"
say "stopped with exit code 0"
if [ "$tool" = buildah ]; then
    say "to push it: buildah --root $work/storage --runroot $work/run --storage-driver vfs" \
        "push $image:$version docker://REGISTRY/$image:$version"
fi
