#!/bin/sh
# Checks deploy/kubernetes.yaml strictly against the schemas of the oldest and the newest version of
# Kubernetes that it is meant for. The checker comes from PyPI, into target/.
set -eu
cd "$(dirname "$0")/.."

checker=kubernetes-validate==1.37.0
oldest=1.30 newest=1.37
venv=target/$checker

fail() { echo "manifests: $*" >&2; exit 1; }

make_venv() {
    rm -rf "$venv"
    command -v "$1" >/dev/null 2>&1 && "$1" -m venv "$venv" >/dev/null 2>&1
}

if ! [ -x "$venv/bin/kubernetes-validate" ]; then
    if ! make_venv python3; then
        if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
            echo "installing python3-venv to check the manifests" >&2
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
                python3-venv >&2
        fi
        # Debian's own, which another python3 on PATH may hide.
        make_venv /usr/bin/python3 ||
            fail "python3 with its module venv is missing: install it, as with \`apt-get install python3-venv\`"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$checker" ||
        fail "$checker cannot be had from PyPI"
fi

for version in $oldest $newest; do
    "$venv/bin/kubernetes-validate" --strict --kubernetes-version "$version" \
        deploy/kubernetes.yaml >&2
done
