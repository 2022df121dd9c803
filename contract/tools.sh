#!/bin/sh
# Installs the programs that the contract is checked with into target/tools, at pinned versions, or does
# nothing where they are there already:
#
#   contract/tools.sh [python] [node] [java] [chromium]
#
# Python packages come from PyPI, and with them Node.js, whose packages come from npm. Java and Chromium
# are the system's; as root on Debian they are installed when they are missing.
set -eu
cd "$(dirname "$0")/.."
tools=target/tools

fail() { echo "tools: $*" >&2; exit 1; }

# debian PACKAGE...: installs packages where that may be done.
debian() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
    echo "installing $*" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2 || true
}

venv() {
    rm -rf "$tools/python"
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' &&
        "$1" -m venv "$tools/python" >/dev/null 2>&1
}

install_python() {
    # A Python that was exchanged leaves an environment that does not run.
    cmp -s contract/requirements.txt "$tools/python/installed" &&
        "$tools/python/bin/python" -c '' 2>/dev/null && return
    if ! venv python3; then
        debian python3-venv
        # Debian's own, which another python3 on PATH may hide.
        venv /usr/bin/python3 || fail "Python 3.10 or later with its module venv is missing"
    fi
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check \
        --requirement contract/requirements.txt || fail "the packages cannot be had from PyPI"
    cp contract/requirements.txt "$tools/python/installed"
}

install_node() {
    install_python
    cmp -s contract/package-lock.json "$tools/node/installed" && return
    mkdir -p "$tools/node"
    cp contract/package.json contract/package-lock.json "$tools/node"
    "$tools/python/bin/npm" ci --prefix "$tools/node" --silent --ignore-scripts --no-audit --no-fund >&2 ||
        fail "the packages cannot be had from npm"
    cp contract/package-lock.json "$tools/node/installed"
}

install_java() {
    install_python
    command -v javac >/dev/null 2>&1 || debian openjdk-17-jdk-headless
    command -v javac >/dev/null 2>&1 || fail "javac of JDK 17 or later is missing"
    # What the generated SDK needs and the generator does not carry.
    jars=$tools/java
    mkdir -p "$jars"
    [ -e "$jars/httpmime.jar" ] && [ -e "$jars/jakarta-annotation-api.jar" ] && return
    (cd "$jars" && apt-get download -qq libhttpmime-java libjakarta-annotation-api-java &&
        for package in ./*.deb; do dpkg -x "$package" .; done &&
        cp -L usr/share/java/httpmime.jar usr/share/java/jakarta-annotation-api.jar . &&
        rm -r usr ./*.deb) >/dev/null 2>&1 ||
        fail "httpmime.jar and jakarta-annotation-api.jar are missing in $jars"
}

install_chromium() {
    install_node
    command -v chromium >/dev/null 2>&1 || debian chromium
    command -v chromium >/dev/null 2>&1 || fail "chromium is missing on PATH"
}

for tool in "$@"; do
    case $tool in
    python | node | java | chromium) "install_$tool" ;;
    *) fail "there is no $tool to install" ;;
    esac
done
