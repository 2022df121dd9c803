# Sourced by the examples. Creates an empty working folder, starts the service on a free port and sends requests.
#
#   CINEQUERY               the program (default: cinequery on PATH)
#   CINEQUERY_DATABASE_URL  the database (default: a SQLite file in the working folder)

program=${CINEQUERY:-cinequery}
folder=$(mktemp -d)
cd "$folder"
: "${CINEQUERY_DATABASE_URL:=sqlite:$folder/example.db}"
: "${CINEQUERY_JWT_SECRET:=$(head -c 48 /dev/urandom | base64)}"
# The delay lets a load balancer notice the shutdown; there is none here.
: "${CINEQUERY_SHUTDOWN_DELAY:=0s}"
export CINEQUERY_DATABASE_URL CINEQUERY_JWT_SECRET CINEQUERY_SHUTDOWN_DELAY
service=

# Commands are printed to the original standard output, even if their own output is redirected to a file.
exec 3>&1
cinequery() {
    printf '\n$ cinequery %s\n' "$*" >&3
    command "$program" "$@"
}

# start FOLDER: starts the service with the declarations in FOLDER and creates a token.
start() {
    printf '\n$ cinequery serve --auth open --records %s\n' "$1"
    exec "$program" serve --auth open --records "$1" --listen 127.0.0.1:0 >output 2>log &
    service=$!
    address=
    until [ -n "$address" ]; do
        kill -0 "$service" 2>/dev/null || { cat log >&2; exit 1; }
        sleep 0.1
        address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' log)
    done
    token=$(command "$program" token reader --records "$1")
}

# stop: stops the service and waits until it has exited.
stop() {
    [ -n "$service" ] || return 0
    kill "$service" && wait "$service" || cat log >&2
    service=
}

trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

# request METHOD PATH [OPTIONS OF CURL]: prints the request, the response and its status.
request() {
    method=$1 path=$2
    shift 2
    printf '\n> %s %s' "$method" "$path"
    for option in "$@"; do
        case $option in -*) ;; *) printf ' %s' "$option" ;; esac
    done
    printf '\n'
    curl -sS -X "$method" -H "Authorization: Bearer $token" -w '\n%{http_code}\n' "$@" \
        "http://$address$path"
}
