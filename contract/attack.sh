#!/bin/sh
# Attacks the service with sqlmap: every parameter and every member of a body in openapi/v1.json, on SQLite
# and PostgreSQL, at the highest level and risk. Fails if sqlmap reports an injection or the service returns a 5xx.
#
#   contract/attack.sh [PROGRAM]     the binary to attack, by default target/demo/cinequery
#
# FAST=1 takes five minutes instead of thirty, at a lower level. MINUTES=60 sets the duration. Reports are kept in
# target/attack. All requests go to the loopback interface. sqlmap is installed from PyPI, at the version in
# contract/attack.txt.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
program=$root/${1:-target/demo/cinequery}
venv=$root/target/tools/sqlmap
reports=target/attack

fail() { echo "attack: $*" >&2; exit 1; }

install_sqlmap() {
    cmp -s contract/attack.txt "$venv/installed" && "$venv/bin/python" -c '' 2>/dev/null && return
    contract/tools.sh python
    rm -rf "$venv"
    # The environment of the other tools exists, so its Python has the module venv.
    "$(readlink -f target/tools/python/bin/python)" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement contract/attack.txt ||
        fail "installing sqlmap from PyPI failed"
    cp contract/attack.txt "$venv/installed"
}

install_sqlmap
tests/support/postgres.sh
[ -x "$program" ] || fail "$program not found; build it with: cargo build --profile demo --bin cinequery"

folder=$(mktemp -d)
chmod 755 "$folder"
processes=
cleanup() {
    # The attack is a process group, whose id is given as a negative number.
    for process in $processes; do kill -- "$process" 2>/dev/null || true; done
    for process in $processes; do wait "${process#-}" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# unprivileged COMMAND...: runs a command without root, which PostgreSQL rejects.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; fi
    exec "$@"
}

free_port() {
    "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_postgres() {
    bin=
    for place in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
        if [ -x "$place/initdb" ] && [ -x "$place/pg_isready" ]; then bin=$place; fi
    done
    mkdir "$folder/postgres"
    [ "$(id -u)" -ne 0 ] || chown 65534:65534 "$folder/postgres"
    cd "$folder/postgres"
    (unprivileged "$bin/initdb" -D "$folder/postgres/data" -U attack -A trust -E UTF8 --locale=C --no-sync) \
        >"$folder/postgres.log" 2>&1 || { cat "$folder/postgres.log" >&2; fail "initdb failed"; }
    postgres=$(free_port)
    (unprivileged "$bin/postgres" -D "$folder/postgres/data" -p "$postgres" -k "$folder/postgres" \
        -c listen_addresses=127.0.0.1 -c fsync=off) >>"$folder/postgres.log" 2>&1 </dev/null &
    processes="$processes $!"
    cd "$root"
    for _ in $(seq 100); do
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres" && return
        sleep 0.1
    done
    fail "PostgreSQL did not start within 10 s"
}

# start AUTH DATABASE: starts an instance on the database and sets `url`. The caller's environment is ignored.
start() {
    number=$((${number:-0} + 1))
    port=$(free_port)
    url=http://127.0.0.1:$port
    (cd "$folder" && exec env -i "CINEQUERY_JWT_SECRET=$secret" CINEQUERY_SHUTDOWN_DELAY=0s \
        CINEQUERY_TOKEN_TTL=12h "$program" serve --auth "$1" \
        --database "$2" --listen "127.0.0.1:$port" --rate-limit off --admin-password-file password) \
        >"$folder/instance$number.log" 2>&1 &
    processes="$processes $!"
    for _ in $(seq 100); do
        "$venv/bin/python" - "$url/readyz" 2>/dev/null <<'PYTHON' && return
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=1)
PYTHON
        sleep 0.1
    done
    cat "$folder/instance$number.log" >&2
    fail "the instance did not become ready within 10 s"
}

secret='a secret for the attack, at least 32 bytes long'
echo 'correct horse battery staple' >"$folder/password"
start_postgres
set --
for database in "SQLite=sqlite:$folder/attack.db" "PostgreSQL=postgres://attack@127.0.0.1:$postgres/postgres"; do
    engine=${database%%=*}
    database=${database#*=}
    "$program" import --database "$database" sample/movies.ndjson >/dev/null 2>"$folder/import.log" ||
        { cat "$folder/import.log" >&2; fail "importing the sample data failed"; }
    # With passwords, ten failures exhaust the rate limit of the sign-in. So the sign-in is attacked on a second
    # instance with `--auth open`, where a name is enough.
    start password "$database"
    url_password=$url
    start open "$database"
    set -- "$@" "$engine,$url_password,$url"
done
rm -rf "$reports"
mkdir -p "$reports"
# The attack runs in the background: the shell handles a signal only after a foreground command has ended.
SQLMAP=$venv/bin/sqlmap PASSWORD=$(cat "$folder/password") \
    setsid "$venv/bin/python" contract/attack.py "$reports" "$@" &
attack=$!
processes="$processes -$attack"
wait "$attack"
