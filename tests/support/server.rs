//! A PostgreSQL server for a single test, which can kill it, restart it, or add a standby.
//!
//! Like the shared cluster, it is started by a shell that waits on its standard input and stops the server when
//! the tests end.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::postgres::{UNPRIVILEGED_UID, programs};

/// A server with one empty database, `postgres`.
pub struct Server {
    port: u16,
    keeper: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Reads one command per line: `kill`, `start` or `promote`. `fsync` is off, because the tests kill only processes,
/// not the operating system.
const KEEPER: &str = r#"
bin=$1 folder=$2 port=$3 primary=$4
trap 'rm -rf "$folder"' EXIT
trap '' INT TERM
if [ "$primary" = 0 ]; then
    "$bin/initdb" -D "$folder/data" -U test -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
else
    "$bin/pg_basebackup" -R -X stream -c fast --no-sync -D "$folder/data" \
        -d "host=127.0.0.1 port=$primary user=test application_name=standby" >"$folder/log" 2>&1 \
        || { cat "$folder/log" >&2; exit 1; }
fi
is_ready() { "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; }
start() {
    # The shared memory of a killed server stays in use until its last process has exited.
    for _ in $(seq 100); do
        "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 \
            -c fsync=off -c max_connections=60 -c wal_keep_size=256MB -c shared_buffers=32MB \
            >>"$folder/log" 2>&1 </dev/null &
        server=$!
        while kill -0 "$server" 2>/dev/null; do
            is_ready && return
            sleep 0.02
        done
        sleep 0.1
    done
    cat "$folder/log" >&2
    exit 1
}
start
echo done
while read -r word; do
    case $word in
        kill) kill -KILL "$server"; wait "$server" 2>/dev/null ;;
        start) start ;;
        promote) "$bin/pg_ctl" promote -w -D "$folder/data" >>"$folder/log" 2>&1 ;;
    esac
    echo done
done
exec >/dev/null
kill -INT "$server" 2>/dev/null
wait "$server" 2>/dev/null
"#;

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub fn start() -> Self {
        Self::run(0)
    }

    /// Starts a hot standby that streams from this server.
    pub fn standby(&self) -> Self {
        Self::run(self.port)
    }

    fn run(primary: u16) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("cinequery-server-").tempdir().unwrap().keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(KEEPER)
            .args(["keeper".as_ref(), programs.as_os_str(), folder.as_os_str()])
            .args([port.to_string(), primary.to_string()])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if chown(&folder, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).is_ok() {
            shell.uid(UNPRIVILEGED_UID).gid(UNPRIVILEGED_UID);
        }
        let mut keeper = shell.spawn().unwrap();
        let (input, output) = (keeper.stdin.take(), keeper.stdout.take().unwrap());
        let mut server = Self { port, keeper, input, output: BufReader::new(output) };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "done", "PostgreSQL has exited; its log is above");
    }

    fn order(&mut self, word: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        self.wait();
    }

    /// Kills the server, like `kill -9`.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Restarts a killed server and waits until it accepts connections.
    pub fn start_again(&mut self) {
        self.order("start");
    }

    /// Promotes a standby to the primary.
    pub fn promote(&mut self) {
        self.order("promote");
    }

    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the URL of the database `postgres`, which is empty.
    pub fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL as the superuser.
    pub async fn run_sql(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
            let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
            statement.execute(&mut connection).await.unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.keeper.wait();
    }
}
