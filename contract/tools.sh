#!/bin/sh
# Installs the tools for the contract checks into target/tools, at pinned versions. Tools that are already
# installed at that version are kept.
#
#   contract/tools.sh [python] [node] [console] [java] [chromium] [promtool] [systemd]
#                     [proxies] [libreoffice]
#
# Python packages, including Node.js, come from PyPI, and Node.js packages from npm. The others are those of the system. If
# they are missing, Java, Chromium and LibreOffice are installed as root on Debian, and the rest is extracted from Debian's packages.
set -eu
cd "$(dirname "$0")/.."
tools=target/tools

fail() { echo "tools: $*" >&2; exit 1; }

# debian PACKAGE...: installs packages as root with apt-get, and otherwise does nothing.
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
    # An environment no longer runs after its Python was replaced.
    cmp -s contract/requirements.txt "$tools/python/installed" &&
        "$tools/python/bin/python" -c '' 2>/dev/null && return
    if ! venv python3; then
        debian python3-venv
        # Another python3 on PATH may hide Debian's own.
        venv /usr/bin/python3 || fail "no Python 3.10 or later with the module venv found; install python3-venv"
    fi
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check \
        --requirement contract/requirements.txt || fail "installing the packages from PyPI failed"
    cp contract/requirements.txt "$tools/python/installed"
}

install_node() {
    install_python
    cmp -s contract/package-lock.json "$tools/node/installed" && return
    mkdir -p "$tools/node"
    cp contract/package.json contract/package-lock.json "$tools/node"
    "$tools/python/bin/npm" ci --prefix "$tools/node" --silent --ignore-scripts --no-audit --no-fund >&2 ||
        fail "installing the packages from npm failed"
    cp contract/package-lock.json "$tools/node/installed"
}

# The packages of the console are where its sources look for them.
install_console() {
    install_python
    cmp -s console/package-lock.json console/node_modules/installed && return
    "$tools/python/bin/npm" ci --prefix console --silent --ignore-scripts --no-audit --no-fund >&2 ||
        fail "installing the packages of the console from npm failed"
    cp console/package-lock.json console/node_modules/installed
}

install_java() {
    install_python
    command -v javac >/dev/null 2>&1 || debian openjdk-17-jdk-headless
    command -v javac >/dev/null 2>&1 || fail "javac not found; install JDK 17 or later"
    # The dependencies of the generated SDK that the generator does not contain.
    jars=$tools/java
    mkdir -p "$jars"
    [ -e "$jars/httpmime.jar" ] && [ -e "$jars/jakarta-annotation-api.jar" ] && return
    (cd "$jars" && apt-get download -qq libhttpmime-java libjakarta-annotation-api-java &&
        for package in ./*.deb; do dpkg -x "$package" .; done &&
        cp -L usr/share/java/httpmime.jar usr/share/java/jakarta-annotation-api.jar . &&
        rm -r usr ./*.deb) >/dev/null 2>&1 ||
        fail "downloading httpmime.jar and jakarta-annotation-api.jar failed; put them into $jars"
}

install_chromium() {
    install_node
    command -v chromium >/dev/null 2>&1 || debian chromium
    command -v chromium >/dev/null 2>&1 || fail "chromium not found on PATH; install it"
}

# extracted FOLDER PACKAGE...: downloads Debian packages and extracts them, without installing or starting anything.
extracted() {
    into=$tools/$1 && shift
    rm -rf "$into" && mkdir -p "$into"
    (cd "$into" && { [ "$(id -u)" -ne 0 ] || apt-get update -qq; } && apt-get download -qq "$@" &&
        for package in ./*.deb; do dpkg -x "$package" .; done && rm ./*.deb) >/dev/null 2>&1
}

# program NAME FOLDER PACKAGE...: makes a program available as target/tools/NAME: that of the system, or that of packages.
program() {
    name=$1 folder=$2 && shift 2
    [ -x "$tools/$name" ] && return
    mkdir -p "$tools"
    if command -v "$name" >/dev/null 2>&1; then
        ln -s "$(command -v "$name")" "$tools/$name"
        return
    fi
    [ -d "$tools/$folder" ] || extracted "$folder" "$@" || { rm -rf "${tools:?}/$folder"; fail "downloading $name failed; install it"; }
    found=$(find "$PWD/$tools/$folder" -path '*bin/*' -type f -name "$name" | head -n 1)
    [ -n "$found" ] || fail "the packages of $name do not contain it"
    libraries=$(find "$PWD/$tools/$folder" -name '*.so*' -exec dirname {} + | sort -u | tr '\n' ':')
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$found" >"$tools/$name"
    chmod +x "$tools/$name"
}

install_libreoffice() {
    command -v soffice >/dev/null 2>&1 || debian libreoffice-calc-nogui
    command -v soffice >/dev/null 2>&1 || fail "soffice not found on PATH; install LibreOffice Calc"
}

install_promtool() {
    program promtool prometheus prometheus
}

install_systemd() {
    program systemd-analyze systemd systemd libsystemd-shared
}

install_proxies() {
    for name in nginx caddy haproxy; do
        program $name proxies nginx caddy haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
    done
}

for tool in "$@"; do
    case $tool in
    python | node | console | java | chromium | promtool | systemd | proxies | libreoffice) "install_$tool" ;;
    *) fail "unknown tool $tool; expected python, node, console, java, chromium, promtool, systemd, proxies or libreoffice" ;;
    esac
done
