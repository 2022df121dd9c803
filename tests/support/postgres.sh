#!/bin/sh
# Finds PostgreSQL's server programs where the tests look for them, and installs them as root if they are
# missing. The tests start servers of their own and do not use a server of the system. With `faults`, also
# installs the other programs of the fault suite, which skips tests whose programs are missing.
set -eu

may_install() { command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; }

install() {
    echo "installing $* for the tests" >&2
    apt-get update -qq
    # RUNLEVEL=1 keeps the packages from starting services.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

if [ "${1-}" = faults ] && may_install; then
    command -v pgbouncer >/dev/null 2>&1 || install pgbouncer || true
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || install libfaketime || true
fi

found() {
    for folder in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/pg_isready" ] && return 0
    done
    return 1
}

found && exit 0

if may_install; then
    # Keeps Debian's package from creating and starting a cluster, which the tests do not need.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    install postgresql
    found && exit 0
fi

cat >&2 <<'TEXT'
The tests need PostgreSQL's server programs (initdb, postgres; version 13 or later), on PATH or in
/usr/lib/postgresql/*/bin. Install them and run `make test` again:

    sudo apt-get install postgresql          Debian, Ubuntu
    sudo dnf install postgresql-server       Fedora
    brew install postgresql                  macOS
TEXT
exit 1
