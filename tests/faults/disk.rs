//! Full and read-only disks, a missing folder for temporary files, and a database that is not in UTF-8.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::instance::{Instance, Launch, Reply};
use super::{Report, skip};
use crate::command_line::run;
use crate::support::Database;

/// A tmpfs of a few MiB, unmounted on drop.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts a tmpfs. Prints the reason and returns `None` if that is not possible.
    fn mount(mib: usize) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={mib}m,mode=755");
        let arguments = ["-t", "tmpfs", "-o", &size, "cinequery-test"];
        let mounted = Command::new("mount").args(arguments).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        skip("a separate disk needs a tmpfs (root)");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills the disk except for that many KiB.
    fn fill(&self, kib: usize) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        // The copy fails when no space is left.
        let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut ballast);
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(1024 * kib as u64)).unwrap();
    }

    /// Deletes the file that fills the disk.
    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn remount_read_only(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The kinds of writes: a name, and the policy of an import; empty for single creates.
const WRITES: &[(&str, &str)] = &[
    ("import, fail", "fail"),
    ("import, skip", "skip"),
    ("import, update", "update"),
    ("creates", ""),
];

/// Writes until no space is left, and returns the reply to the failed write.
async fn write(instance: &Instance, policy: &str, round: usize) -> Reply {
    // Uses a new client, because the service closes a connection whose body it did not read to the end.
    let client = instance.client();
    if policy.is_empty() {
        for number in 0..5000 {
            let title = format!("created {round} {number} {}", "long ".repeat(50));
            let reply = client.create(title.trim()).await;
            if reply.status != 201 {
                return reply;
            }
        }
        panic!("expected a full disk, but all creates succeeded");
    }
    client.import(&format!("imported {round}"), 20_000, policy).await
}

/// Returns the status, and the code of the problem or the reason for a missing response.
fn outcome(reply: &Reply) -> (u16, String) {
    let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
    (reply.status, if reply.status == 0 { reply.failure.clone() } else { code })
}

/// Checks a database of either engine on a disk that fills up.
async fn check_full(
    report: &mut Report,
    engine: &str,
    disk: &Disk,
    instance: &Instance,
    policy: (&str, &str),
) {
    let (name, policy) = policy;
    let before = instance.client().import(&format!("before {policy}"), 200, "skip").await;
    assert_eq!(before.status, 200, "{before:?}");
    disk.fill(384);
    let mut statuses = Vec::new();
    for round in 0..3 {
        statuses.push(outcome(&write(instance, policy, round).await));
    }
    let is_kept = statuses.iter().all(|(status, _)| [503, 507].contains(status));
    report.row(
        &format!("{engine}, full disk, {name}: 507 or 503"),
        format!("{statuses:?}"),
        is_kept,
    );
    let read = instance.client().get("/api/v1/movies?limit=5&count=exact").await;
    report.row(
        &format!("{engine}, full disk, {name}: reads succeed"),
        read.status,
        read.status == 200,
    );
    let count = read.json()["total"].as_i64().unwrap_or_default();
    disk.free();
    let mut statuses = Vec::new();
    for round in 0..2 {
        let created = instance.client().create(&format!("after {name} {round}")).await;
        statuses.push(outcome(&created));
        for on_conflict in ["fail", "skip", "update"] {
            let prefix = format!("after {name} {round} {on_conflict}");
            statuses.push(outcome(&instance.client().import(&prefix, 2000, on_conflict).await));
        }
    }
    let is_kept = statuses.iter().all(|(status, _)| [200, 201].contains(status));
    let first = statuses.iter().find(|(status, _)| ![200, 201].contains(status));
    report.row(
        &format!("{engine}, disk freed, {name}: all writes succeed without a restart"),
        first.map_or("2xx".to_owned(), |first| format!("{first:?}")),
        is_kept,
    );
    let after = instance.client().get("/api/v1/movies?limit=5&count=exact").await;
    let after = after.json()["total"].as_i64();
    let expected = count + 2 * (1 + 3 * 2000);
    let text = format!("{} of {expected}", after.unwrap_or_default());
    report.row(&format!("{engine}, {name}: no record is lost"), text, after == Some(expected));
}

#[tokio::test]
async fn sqlite_survives_a_full_disk() {
    let mut report = Report::new("A full disk under SQLite");
    for policy in WRITES {
        let Some(disk) = Disk::mount(32) else { return };
        let file = disk.path().join("movies.db");
        let url = format!("sqlite:{}", file.display());
        let instance = Launch::on(&url).start().await;
        check_full(&mut report, "SQLite", &disk, &instance, *policy).await;
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let integrity: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        report.row(
            &format!("SQLite, {}: integrity_check", policy.0),
            &integrity,
            integrity == "ok",
        );
    }
    report.finish();
}

/// Runs SQL on the database `postgres` of the server of that URL.
async fn administer(url: &str, sql: &str) {
    let (server, _) = url.rsplit_once('/').unwrap();
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

#[tokio::test]
#[ignore = "run by `make faults`"]
async fn postgres_survives_a_full_disk() {
    let mut report = Report::new("A full disk under PostgreSQL");
    for (number, policy) in WRITES.iter().enumerate() {
        let Some(disk) = Disk::mount(48) else { return };
        std::fs::set_permissions(disk.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let folder = disk.path().join("space");
        std::fs::create_dir(&folder).unwrap();
        // If root runs the tests, the cluster runs as this user.
        chown(&folder, Some(65534), Some(65534)).unwrap();
        let url = Database::postgres().await.url();
        let name = url.rsplit_once('/').unwrap().1.to_owned();
        let space = format!("{name}_space_{number}");
        administer(&url, &format!("CREATE TABLESPACE {space} LOCATION '{}'", folder.display()))
            .await;
        administer(&url, &format!("ALTER DATABASE {name} SET TABLESPACE {space}")).await;
        let instance = Launch::on(&url).start().await;
        check_full(&mut report, "PostgreSQL", &disk, &instance, *policy).await;
        drop(instance);
        // The cluster is used by other tests, so nothing of it may be left on the disk.
        administer(&url, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        administer(&url, &format!("DROP TABLESPACE {space}")).await;
    }
    report.finish();
}

/// An import with `on_conflict=fail` stores its file in the folder for temporary files first.
#[tokio::test]
async fn temporary_files_need_a_writable_folder() {
    let mut report = Report::new("The folder for temporary files");
    let folder = TempDir::new().unwrap();
    let check = |folder: &Path, temporary: &Path| {
        let mut check = crate::command_line::cinequery(folder, &["check", "--auth", "open"]);
        let output = check.env("TMPDIR", temporary).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    };
    assert_eq!(run(folder.path(), &["migrate"]).0, 0);
    let (code, printed) = check(folder.path(), folder.path());
    report.row("`check` with a writable TMPDIR: exit code 0", format!("{code:?}"), code == Some(0));
    assert!(!printed.is_empty());
    let missing = folder.path().join("nothing/here");
    let (code, printed) = check(folder.path(), &missing);
    let is_named = printed.contains("TMPDIR") || printed.contains("nothing/here");
    report.row(
        "`check` with a missing TMPDIR: names it, exit code not 0",
        format!("{code:?}: {}", printed.trim().replace('\n', "; ")),
        code != Some(0) && is_named,
    );
    if let Some(disk) = Disk::mount(1) {
        let database = Database::sqlite();
        let temporary = disk.path().to_str().unwrap().to_owned();
        let instance =
            Launch::on(&database.url()).environment(&[("TMPDIR", &temporary)]).start().await;
        let reply = instance.client().import("large", 30_000, "fail").await;
        report.row(
            "an import larger than the folder: 507 or 503",
            format!("{:?}", outcome(&reply)),
            [503, 507].contains(&reply.status),
        );
        let reply = instance.client().import("small", 100, "fail").await;
        report.row("a smaller import: 200", reply.status, reply.status == 200);
    }
    report.finish();
}

/// The command line can read a read-only copy of a database.
#[tokio::test]
async fn a_read_only_database_is_queried() {
    let mut report = Report::new("A read-only SQLite file in a read-only folder");
    let disk = Disk::mount(8);
    let folder = TempDir::new().unwrap();
    let place = disk.as_ref().map_or(folder.path(), Disk::path).join("movies.db");
    let url = format!("sqlite:{}", place.display());
    {
        let mut instance = Launch::on(&url).start().await;
        assert_eq!(instance.client().import("kept", 3, "fail").await.status, 200);
        instance.terminate(Duration::from_secs(20)).await;
    }
    match &disk {
        Some(disk) => disk.remount_read_only(),
        None => {
            let mode = std::fs::Permissions::from_mode;
            std::fs::set_permissions(&place, mode(0o444)).unwrap();
            std::fs::set_permissions(folder.path(), mode(0o555)).unwrap();
        }
    }
    let elsewhere = TempDir::new().unwrap();
    for arguments in [
        vec!["query", "genre = \"drama\"", "--count", "--database", &url],
        vec!["export", "-", "--database", &url],
    ] {
        let (code, out, log) = run(elsewhere.path(), &arguments);
        let promised = format!("`cinequery {}` finds 3 movies", arguments[0]);
        let text = format!("exit code {code}: {}", log.lines().next().unwrap_or_default());
        report.row(&promised, text, code == 0 && out.matches("kept").count() == 3);
    }
    if disk.is_none() {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    report.finish();
}

/// The database must be in UTF-8, because other encodings cannot store every title.
#[tokio::test]
async fn a_database_in_latin_1_is_rejected() {
    let mut report = Report::new("PostgreSQL database with the encoding LATIN1");
    let url = Database::postgres().await.url();
    let (server, name) = url.rsplit_once('/').unwrap();
    let create = format!(
        "CREATE DATABASE latin_{name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    // The cluster's locale provider may support UTF-8 only. Servers before 15 do not accept LOCALE_PROVIDER.
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let with_provider = format!("{create} LOCALE_PROVIDER libc");
    if sqlx::raw_sql(AssertSqlSafe(with_provider)).execute(&mut connection).await.is_err() {
        administer(&url, &create).await;
    }
    let latin = format!("{server}/latin_{name}");
    let folder = TempDir::new().unwrap();
    let secret = crate::support::SECRET;
    let arguments = ["check", "--database", &latin, "--auth", "open", "--jwt-secret", secret];
    let (code, out, log) = run(folder.path(), &arguments);
    let printed = out + &log;
    let is_named =
        printed.contains("LATIN1") && (printed.contains("UTF8") || printed.contains("UTF-8"));
    report.row(
        "`check` rejects it, naming LATIN1 and UTF-8",
        format!("exit code {code}: {}", printed.trim().replace('\n', "; ")),
        code != 0 && is_named,
    );
    administer(&url, &format!("DROP DATABASE latin_{name} WITH (FORCE)")).await;
    report.finish();
}
