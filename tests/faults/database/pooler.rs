//! A connection pooler between the service and PostgreSQL that ignores startup parameters.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::super::instance::Instance;
use super::super::proxy::socket_of;
use super::super::{Report, has_program, skip};
use super::put;
use crate::support::Database;

/// The user id that PgBouncer runs as if root runs the tests, because it does not run as root.
const UNPRIVILEGED_UID: u32 = 65534;

/// The maximum time that a write waits for a row that another session has locked.
const LOCKED_LIMIT: Duration = Duration::from_secs(4);

/// A PgBouncer, killed on drop.
struct Pooler {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Starts a pooler in front of the server of a URL. It ignores the `options` of startup messages.
    async fn before(url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("cinequery-pooler-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = socket_of(url);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=test\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = session\n\
             default_pool_size = 20\nignore_startup_parameters = options, extra_float_digits\n",
            server.port()
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let mut command = Command::new("pgbouncer");
        command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        if std::os::unix::fs::chown(&file, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).is_ok() {
            command.uid(UNPRIVILEGED_UID).gid(UNPRIVILEGED_UID);
        }
        let pooler = Self { process: command.spawn().unwrap(), port, _folder: folder };
        for _ in 0..100 {
            if PgConnection::connect(&pooler.url(url)).await.is_ok() {
                return pooler;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("PgBouncer did not start within 5 s");
    }

    fn url(&self, url: &str) -> String {
        url.replace(&socket_of(url).to_string(), &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn limits_apply_through_a_pooler_that_ignores_options() {
    if !has_program("pgbouncer") {
        return skip("pgbouncer not found on PATH; `make faults` installs it as root");
    }
    let database = Database::postgres().await;
    let url = database.url();
    let pooler = Pooler::before(&url).await;
    let instance = Instance::start(&pooler.url(&url)).await;
    let caller = instance.client().within(Duration::from_secs(15));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE movies SET version = version").execute(&mut holder).await.unwrap();
    let start = Instant::now();
    let reply = put(&caller, &id, "Second").await;
    let took = start.elapsed();
    let mut report = Report::new("PgBouncer with `ignore_startup_parameters = options`");
    let is_kept = reply.is_unavailable() && took < LOCKED_LIMIT;
    let measured = format!("{} in {took:.1?}", reply.status);
    report.row("a locked row: 503 with Retry-After within 4 s", measured, is_kept);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let again = put(&caller, &id, "Third").await;
    report.row("then 200", again.status, again.status == 200);
    report.finish();
}
