#!/bin/sh
# Finds redis-server, and installs it as root if it is missing. The tests start servers of their own and do
# not use a server of the system.
set -eu

command -v redis-server >/dev/null 2>&1 && exit 0

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    echo "installing redis-server for the tests" >&2
    apt-get update -qq
    # The tests need only the program. It is installed even if configuring the package fails, as in a container
    # that cannot add the package's user.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends redis-server >&2 || true
    command -v redis-server >/dev/null 2>&1 && exit 0
fi

cat >&2 <<'TEXT'
The tests need redis-server (6 or later) on PATH. Install it and run `make test` again:

    sudo apt-get install redis-server        Debian, Ubuntu
    sudo dnf install redis                   Fedora
    brew install redis                       macOS
TEXT
exit 1
