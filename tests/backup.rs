//! Backups of SQLite databases: they are complete while the service writes, and copies that are not are recognized.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::command_line::{MOVIES, Service, cinequery, folder, run};
use crate::support::{Client, Database, SECRET, postgres_programs};

const SERVE: [&str; 7] =
    ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--rate-limit", "off"];

async fn token_of(service: &Service) -> String {
    let client = Client::at(service.address.clone()).with_token(None);
    let issued = client.post("/api/token", &json!({"username": "joe"})).await.json();
    issued["access_token"].as_str().unwrap().to_owned()
}

fn client_of(service: &Service, token: &str) -> Client {
    Client::at(service.address.clone()).with_token(Some(token.to_owned()))
}

async fn create(client: &Client, number: u32) {
    let movie = json!({
        "title": format!("Movie {number}"), "genre": "drama", "release_year": 1999, "expiry_date": "2030-01-01"
    });
    assert_eq!(client.post("/api/v1/movies", &movie).await.status, 201);
}

/// Returns the exit code and the output of a command.
fn command(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let (code, output, log) = run(folder, arguments);
    (code, output + &log)
}

fn count(folder: &Path, database: &str) -> usize {
    let database = format!("sqlite:{database}");
    let (code, records) = command(folder, &["export", "--database", &database]);
    assert_eq!(code, 0, "{records}");
    records.lines().filter(|line| line.starts_with('{')).count()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_backup_is_complete_while_the_service_writes() {
    let folder = folder();
    let service = Service::start(cinequery(folder.path(), &SERVE));
    let token = token_of(&service).await;
    let client = client_of(&service, &token);
    for number in 0..50 {
        create(&client, number).await;
    }
    let writing = {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 50.. {
                create(&client, number).await;
            }
        })
    };
    let path = folder.path().to_owned();
    let backup = tokio::task::spawn_blocking(move || command(&path, &["backup", "copy.db"]));
    let (code, report) = backup.await.unwrap();
    assert!(!writing.is_finished(), "the writes failed");
    writing.abort();
    assert!(code == 0 && report.contains("copy.db: ") && report.contains("checked"), "{report}");
    assert!(count(folder.path(), "copy.db") >= 50);
    let file = |name: &str| folder.path().join(name);
    for name in ["cinequery.db", "copy.db", "copy.db.secret"] {
        assert_eq!(mode(&file(name)), 0o600, "{name}");
    }
    let (code, report) = command(folder.path(), &["backup", "copy.db"]);
    assert!(code == 1 && report.contains("exists; choose another file"), "{report}");
    // A link to the database leads to its log and its lock.
    std::fs::create_dir(file("links")).unwrap();
    std::os::unix::fs::symlink(file("cinequery.db"), file("links/link.db")).unwrap();
    let link = "sqlite:links/link.db";
    assert!(count(folder.path(), "links/link.db") >= 50);
    let (code, report) =
        command(folder.path(), &["restore", "copy.db", "--replace", "--database", link]);
    assert!(code == 1 && report.contains("it is in use"), "{report}");
    let (code, report) = command(folder.path(), &["check", "--auth", "open", "--database", link]);
    assert_eq!(code, 0, "{report}");
    // The database is being served.
    let (code, report) = command(folder.path(), &["restore", "copy.db", "--replace"]);
    assert!(code == 1 && report.contains("it is in use; stop the service first"), "{report}");
    let written = count(folder.path(), "cinequery.db");
    assert_eq!(service.stop(), Some(0));

    let (code, report) = command(folder.path(), &["restore", "copy.db"]);
    assert!(code == 1 && report.contains("--replace"), "{report}");
    let (code, report) = command(folder.path(), &["restore", "copy.db", "--replace"]);
    assert!(code == 0 && report.contains("the previous database is "), "{report}");
    assert_eq!(count(folder.path(), "cinequery.db"), count(folder.path(), "copy.db"));
    assert_eq!(mode(&file("cinequery.db")), 0o600);
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<String> = names.filter(|name| name.starts_with("cinequery.db.2")).collect();
    assert_eq!(aside.len(), 2, "the database and its secret: {aside:?}");
    let previous = aside.iter().find(|name| !name.ends_with(".secret")).unwrap();
    assert_eq!(count(folder.path(), previous), written);

    // The tokens of the backup are valid again.
    let service = Service::start(cinequery(folder.path(), &SERVE));
    assert_eq!(client_of(&service, &token).get("/api/v1/movies").await.status, 200);
    assert_eq!(service.stop(), Some(0));
}

#[tokio::test]
async fn a_copy_without_its_log_is_recognized() {
    let folder = folder();
    let (original, copy) = (folder.path().join("cinequery.db"), folder.path().join("copy.db"));
    let check = |database: &str| {
        let database = format!("sqlite:{database}");
        command(folder.path(), &["check", "--auth", "open", "--database", &database])
    };
    let service = Service::start(cinequery(folder.path(), &SERVE));
    let client = client_of(&service, &token_of(&service).await);
    create(&client, 1).await;
    assert_eq!(check("cinequery.db").0, 0, "a database in use is complete");
    std::fs::copy(&original, &copy).unwrap();
    let (code, report) = check("copy.db");
    assert!(code == 1 && report.contains("copied while it was in use"), "{report}");
    let (code, report) =
        command(folder.path(), &["restore", "copy.db", "--database", "sqlite:new.db"]);
    assert!(code == 1 && report.contains("its newest records are missing"), "{report}");
    let mut serve = cinequery(folder.path(), &SERVE);
    let serve = serve.args(["--database", "sqlite:copy.db"]).stderr(Stdio::piped());
    let mut served = serve.spawn().unwrap();
    let lines = BufReader::new(served.stderr.take().unwrap()).lines().map(Result::unwrap);
    let log: Vec<String> = lines.take_while(|line| !line.contains("\"listening\"")).collect();
    served.kill().unwrap();
    served.wait().unwrap();
    assert!(log.concat().contains("copied while it was in use"), "{log:?}");

    // After a kill the log is there, so nothing is missing.
    drop(service);
    assert_eq!(check("cinequery.db").0, 0);
    let (code, report) = command(folder.path(), &["migrate"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(check("cinequery.db").0, 0, "the log was applied by another command");
    assert_eq!(count(folder.path(), "cinequery.db"), 1);
    let service = Service::start(cinequery(folder.path(), &SERVE));
    // Another reader, which keeps SQLite from moving the log when the service closes its connections.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&original).read_only(true);
    let mut reader = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("SELECT count(*) FROM movies").execute(&mut reader).await.unwrap();
    assert_eq!(service.stop(), Some(0));
    std::fs::copy(&original, folder.path().join("stopped.db")).unwrap();
    let (code, report) = check("stopped.db");
    assert_eq!(code, 0, "a copy of a stopped database is complete: {report}");
    sqlx::Connection::close(reader).await.unwrap();
}

#[test]
fn only_complete_backups_are_restored() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("movies.ndjson"), MOVIES).unwrap();
    for arguments in [&["migrate"][..], &["import", "movies.ndjson"], &["backup", "copy.db"]] {
        let (code, report) = command(folder.path(), arguments);
        assert_eq!(code, 0, "{report}");
    }
    let mut damaged = std::fs::read(file("copy.db")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0x55);
    std::fs::write(file("damaged.db"), damaged).unwrap();
    std::fs::write(file("text.db"), "no database".repeat(100)).unwrap();
    std::fs::copy(file("copy.db"), file("logged.db")).unwrap();
    std::fs::write(file("logged.db-wal"), "log").unwrap();
    let cases = [
        ("damaged.db", "damaged.db: "),
        ("text.db", "text.db: "),
        ("logged.db", "it has a log of its own"),
        ("none.db", "backup none.db not found"),
        ("no/such.db", "backup no/such.db not found"),
    ];
    for (backup, message) in cases {
        let restore = ["restore", backup, "--database", "sqlite:new.db"];
        let (code, report) = command(folder.path(), &restore);
        assert!(code == 1 && report.contains(message), "{backup}: {report}");
        assert!(!file("new.db").exists(), "{backup}");
    }
    let (code, report) =
        command(folder.path(), &["restore", "copy.db", "--database", "sqlite:new.db"]);
    assert!(code == 0 && report.contains("has no secret"), "{report}");
    assert_eq!(count(folder.path(), "new.db"), count(folder.path(), "cinequery.db"));
    for name in ["backup", "restore"] {
        let postgres = [name, "copy.db", "--database", "postgres://127.0.0.1:1/none"];
        let (code, report) = command(folder.path(), &postgres);
        assert!(code == 1 && report.contains("`pg_dump`"), "{report}");
    }
}

/// A restore after a crash, onto a damaged database, and beside the log of another one.
#[tokio::test]
async fn a_restored_database_is_that_of_the_backup() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    let service = Service::start(cinequery(folder.path(), &SERVE));
    let token = token_of(&service).await;
    let client = client_of(&service, &token);
    create(&client, 1).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file("cinequery.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let now = "strftime('%Y-%m-%dT%H:%M:%f000Z')";
    let session =
        format!("INSERT INTO cinequery_sessions VALUES ('1', 'a', '', 0, 0, {now}, {now})");
    sqlx::raw_sql(sqlx::AssertSqlSafe(session)).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert_eq!(command(folder.path(), &["backup", "copy.db"]).0, 0);
    for number in 2..30 {
        create(&client, number).await;
    }
    // Killed: the last movies are in the log only.
    drop(service);
    let (code, report) = command(folder.path(), &["restore", "copy.db", "--replace"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(count(folder.path(), "cinequery.db"), 1);
    let previous = report.split("the previous database is ").nth(1).unwrap().trim();
    let previous = Path::new(previous).file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(count(folder.path(), &previous), 29);
    // The way back is open.
    let back = ["restore", &previous, "--database", "sqlite:back.db"];
    assert_eq!(command(folder.path(), &back).0, 0);
    assert_eq!(count(folder.path(), "back.db"), 29);

    for damage in [&b"no database"[..], &[0; 8192]] {
        std::fs::write(file("cinequery.db"), damage).unwrap();
        // The names of replaced databases have seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (code, report) = command(folder.path(), &["restore", "copy.db", "--replace"]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(count(folder.path(), "cinequery.db"), 1);
    }
    // Later revocations are about all tokens of the time before.
    let revision = "SELECT CAST(value AS INTEGER) FROM cinequery_meta WHERE name = 'revocations'";
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file("cinequery.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let revision: i64 = sqlx::query_scalar(revision).fetch_one(&mut connection).await.unwrap();
    let sessions = sqlx::query_scalar("SELECT count(*) FROM cinequery_sessions");
    let sessions: i64 = sessions.fetch_one(&mut connection).await.unwrap();
    assert_eq!(sessions, 0, "sessions must not revive");
    sqlx::Connection::close(connection).await.unwrap();
    assert!(revision >= 1_000_000, "{revision}");

    std::fs::remove_file(file("cinequery.db")).unwrap();
    std::fs::write(file("cinequery.db-wal"), "log").unwrap();
    let (code, report) = command(folder.path(), &["restore", "copy.db"]);
    assert!(code == 1 && report.contains("it is the log of another database"), "{report}");
    assert!(!file("cinequery.db").exists());
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains(".partial-")).count(), 0);
}

#[test]
fn old_backups_are_deleted() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    assert_eq!(command(folder.path(), &["migrate"]).0, 0);
    let kept = [
        "b-20200101T000000Z.db",
        "b-20210101T000000Z.db",
        "b-other.db",
        "b.db",
        "a-20200101T000000Z.db",
    ];
    for name in kept {
        std::fs::write(file(name), "").unwrap();
    }
    std::fs::write(file("b-20200101T000000Z.db.secret"), "").unwrap();
    let (code, report) = command(folder.path(), &["backup", "b.db", "--keep", "2"]);
    assert!(code == 0 && report.starts_with("b-2"), "{report}");
    for (name, exists) in kept.into_iter().zip([false, true, true, true, true]) {
        assert_eq!(file(name).exists(), exists, "{name}");
    }
    assert!(!file("b-20200101T000000Z.db.secret").exists());
}

#[tokio::test]
async fn a_service_writes_backups() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("backups")).unwrap();
    let schedule = ["--backup", "backups/movies.db", "--backup-interval", "1d"];
    let backups = || std::fs::read_dir(folder.path().join("backups")).unwrap().count();
    let complete = || {
        let names = std::fs::read_dir(folder.path().join("backups")).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        names.map(name).any(|name| name.to_string_lossy().ends_with("Z.db"))
    };
    let service = Service::start(cinequery(folder.path(), &[&SERVE[..], &schedule].concat()));
    let written = async {
        while !complete() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.unwrap();
    assert_eq!(service.stop(), Some(0));
    let written = backups();
    // The next one is due a day later.
    let service = Service::start(cinequery(folder.path(), &[&SERVE[..], &schedule].concat()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(service.stop(), Some(0));
    assert_eq!(backups(), written);
    for target in ["no/such.db", "backups", "backups/"] {
        let serve = [&SERVE[..], &["--backup", target]].concat();
        let (code, report) = command(folder.path(), &serve);
        assert!(code == 1 && report.contains("--backup: "), "{target}: {report}");
    }
}

/// The commands of the manual for PostgreSQL.
#[tokio::test]
async fn a_dump_of_postgres_is_restored() {
    let page = include_str!("../docs/operate/backup.md");
    let (database, new) = (Database::postgres().await, Database::postgres().await);
    let folder = folder();
    std::fs::write(folder.path().join("movies.ndjson"), MOVIES).unwrap();
    let url = database.url();
    for arguments in
        [&["migrate", "--database", &url][..], &["import", "movies.ndjson", "--database", &url]]
    {
        let (code, report) = command(folder.path(), arguments);
        assert_eq!(code, 0, "{report}");
    }
    let lines = page.lines().filter_map(|line| line.strip_prefix("    pg_"));
    let commands: Vec<String> = lines.map(|line| format!("pg_{line}")).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    let path = format!("{}:{}", postgres_programs().display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-euc", &commands.join("\n")]).current_dir(folder.path());
    shell.env("DATABASE", &url).env("NEW_DATABASE", new.url()).env("PATH", path);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let export = |url: &str| command(folder.path(), &["export", "--database", url]);
    assert_eq!(export(&new.url()), export(&url));
    let check = ["check", "--auth", "open", "--jwt-secret", SECRET, "--database", &new.url()];
    assert_eq!(command(folder.path(), &check).0, 0);
}
