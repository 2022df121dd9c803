//! `cinequery check`.

use sqlx::{ConnectOptions, Connection};

use super::{PASSWORD, folder, folder_of, run};
use crate::support::{SECRET, on_both};

#[tokio::test]
async fn check_reports_the_problems_that_serve_would_have() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let check = |arguments: &[&str]| {
            let settings = ["check", "--auth", "open", "--jwt-secret", SECRET];
            let (code, report, log) = run(folder.path(), &[&settings[..], arguments].concat());
            assert_eq!(log, "");
            (code, report)
        };
        let at = ["--database", &url];
        let (code, report) = check(&at);
        assert_eq!(code, 4, "{report}");
        database.open().await.close().await;
        let (_, _, log) = run(folder.path(), &[&["query"][..], &at].concat());
        assert!(log.contains("run `cinequery migrate`"), "{log}");
        assert_eq!(run(folder.path(), &[&["migrate"][..], &at].concat()).0, 0);
        let (code, report) = check(&at);
        assert_eq!(code, 0, "{report}");
        assert!(report.contains("SQLite 3.") || report.contains("PostgreSQL 1"), "{report}");
        let (code, report) = check(&[&at[..], &["--listen", "0.0.0.0:80"]].concat());
        assert!(code == 1 && report.contains("--allow-open"), "{report}");
        database.run_sql("UPDATE _sqlx_migrations SET version = version + 500").await;
        assert_eq!(check(&at).0, 5);
        assert_eq!(check(&["--database", "sqlite:new.db"]).0, 4);
        assert_eq!(check(&["--database", "sqlite:no/such.db"]).0, 3);
        let (code, report) = check(&["--database", "postgres://joe:hunter2@127.0.0.1:1/none"]);
        assert!(code == 3 && !report.contains("hunter2"), "{report}");
        std::fs::write(folder.path().join("text.db"), "no database".repeat(100)).unwrap();
        let (code, report) = check(&["--database", "sqlite:text.db"]);
        assert!(code == 3 && report.contains("text.db: "), "{report}");
        let (_, _, log) = run(folder.path(), &["migrate", "--database", "sqlite:text.db"]);
        assert!(log.contains("text.db: "), "{log}");
        // A file of another program is not modified.
        let other = folder.path().join("other.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other);
        let mut connection = options.create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE movies (a)").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let before = std::fs::read(&other).unwrap();
        assert_eq!(check(&["--database", "sqlite:other.db"]).0, 5);
        assert_eq!(std::fs::read(&other).unwrap(), before);
        let names =
            std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name());
        let beside = names.filter(|name| name.to_string_lossy().starts_with("other.db")).count();
        assert_eq!(beside, 1);
    })
    .await;
}

/// Settings on a database that does not exist; the exit code and a part of the report.
const NEW: &[(&[&str], i32, &str)] = &[
    (&["--auth", "open"], 4, "new.db does not exist"),
    (&[], 1, "there is no administrator: pass a file"),
    (&["--admin-password-file", "missing"], 1, "missing: "),
    (&["--admin-password-file", "short"], 1, "at least 15 characters"),
    (&["--admin-password-file", "good"], 4, "new.db does not exist"),
    // Not read, as by `serve`.
    (&["--auth", "open", "--admin-password-file", "missing"], 4, "new.db does not exist"),
    (
        &["--auth", "open", "--oidc-issuer", "https://login.example", "--oidc-audience", "x"],
        4,
        "warning        no effect without --auth oidc: --oidc-issuer, --oidc-audience",
    ),
    (&["--auth", "open", "--listen", "[::ffff:127.0.0.1]:0"], 4, "configuration  ok"),
    (&["--auth", "open", "--listen", "[::ffff:192.0.2.1]:0"], 1, "--allow-open"),
];

#[test]
fn settings_are_checked_without_a_database() {
    let folder = folder_of(&[("good", PASSWORD), ("short", "short")]);
    for (settings, expected, part) in NEW {
        let check = ["check", "--jwt-secret", SECRET, "--database", "sqlite:new.db"];
        let (code, report, _) = run(folder.path(), &[&check[..], settings].concat());
        assert!((code, report.contains(part)) == (*expected, true), "{settings:?}: {report}");
    }
}

#[tokio::test]
async fn check_reports_problems_of_the_first_administrator() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        assert_eq!(run(folder.path(), &["migrate", "--database", &url]).0, 0);
        std::fs::write(folder.path().join("good"), PASSWORD).unwrap();
        std::fs::write(folder.path().join("short"), "short").unwrap();
        let settings = ["check", "--jwt-secret", SECRET, "--database", &url];
        for (file, expected) in [
            (None, (1, "there is no administrator: pass a file")),
            (Some("missing"), (1, "missing: ")),
            (Some("short"), (1, "at least 15 characters")),
            (Some("good"), (0, "ok")),
        ] {
            let file: Vec<&str> =
                file.into_iter().flat_map(|f| ["--admin-password-file", f]).collect();
            let (code, report, _) = run(folder.path(), &[&settings[..], &file].concat());
            assert!(
                (code, report.contains(expected.1)) == (expected.0, true),
                "{file:?}: {report}"
            );
        }
    })
    .await;
}
