//! A temporary PostgreSQL cluster, shared by all tests of the process.
//!
//! A shell starts the server and waits on its standard input. That is closed whenever this process ends, for any
//! reason. The shell then stops the server and removes the folder.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The user id that servers run as if root runs the tests, because PostgreSQL does not run as root.
pub const UNPRIVILEGED_UID: u32 = 65534;

struct Cluster {
    port: u16,
    _keeper: Child,
}

/// Creates an empty database and returns its URL.
pub async fn create_database() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(start)).await.unwrap();
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = |database: &str| format!("postgres://test@127.0.0.1:{}/{database}", cluster.port);
    let mut connection = PgConnection::connect(&url("postgres")).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    url(&name)
}

fn start() -> Cluster {
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("cinequery-postgres-").tempdir().unwrap().keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(KEEPER)
        .args(["keeper".as_ref(), programs.as_os_str(), folder.as_os_str()])
        .arg(port.to_string())
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if chown(&folder, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).is_ok() {
        shell.uid(UNPRIVILEGED_UID).gid(UNPRIVILEGED_UID);
    }
    let mut keeper = shell.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "PostgreSQL did not start; its log is above");
    Cluster { port, _keeper: keeper }
}

/// Starts the cluster. Its default collation is a linguistic one if the server supports ICU. So a test fails if an
/// order uses the default collation instead of code points.
const KEEPER: &str = r#"
bin=$1 folder=$2 port=$3
trap 'rm -rf "$folder"' EXIT
trap '' INT TERM
locale=--locale=C.UTF-8
if "$bin/initdb" --help | grep -q icu-locale; then
    locale='--locale-provider=icu --icu-locale=en-US --locale=C.UTF-8'
fi
"$bin/initdb" -D "$folder/data" -U test -A trust -E UTF8 $locale --no-sync >"$folder/log" 2>&1 \
    || { cat "$folder/log" >&2; exit 1; }
"$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 \
    -c fsync=off -c full_page_writes=off -c max_connections=200 >"$folder/log" 2>&1 </dev/null &
server=$!
for _ in $(seq 300); do
    "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && break
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
echo ready
exec >/dev/null
read -r _
kill -INT "$server"
wait "$server"
"#;

/// Returns the folder of PostgreSQL's server programs: on PATH, or Debian's.
pub fn programs() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    std::env::split_paths(&on_path)
        .chain(debian.into_iter().rev())
        .find(|folder| has_programs(folder))
        .expect(
            "PostgreSQL's server programs (initdb, postgres, pg_isready) not found; install them, for example \
             with `apt-get install postgresql`, or put their folder on PATH. `make test` installs them if \
             run as root",
        )
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_isready"].iter().all(|program| folder.join(program).is_file())
}
