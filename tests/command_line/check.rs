//! `cinequery check`.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use sqlx::{ConnectOptions, Connection};

use super::{PASSWORD, folder, folder_of, run};
use crate::support::{SECRET, UNPRIVILEGED_UID, on_both};

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

/// The folders in which `serve` creates files must exist and be writable. Nothing is left there.
#[test]
fn folders_of_sockets_and_of_the_database_are_checked() {
    let folder = folder_of(&[("file", "precious")]);
    let at = |name: &str| folder.path().join(name);
    for (name, mode) in [("open", 0o777), ("closed", 0o555), (".", 0o755)] {
        std::fs::create_dir_all(at(name)).unwrap();
        std::fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    // Permissions do not restrict root, which may also be alone to reach the binary.
    let is_root = chown(at("open"), Some(UNPRIVILEGED_UID), None).is_ok();
    let binary = at("cinequery");
    std::fs::hard_link(env!("CARGO_BIN_EXE_cinequery"), &binary)
        .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_cinequery"), &binary).map(drop))
        .unwrap();
    let check = |settings: &[&str]| {
        let mut command = Command::new(&binary);
        command.current_dir(folder.path()).env_clear();
        command.args(["check", "--auth", "open", "--jwt-secret", SECRET]).args(settings);
        if is_root {
            command.uid(UNPRIVILEGED_UID);
        }
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let served = UnixListener::bind(at("open/served")).unwrap();
    let long = format!("open/{}", "x".repeat(200));
    let files = || -> Vec<_> {
        let folders = [at("open"), at("closed"), folder.path().to_owned()];
        let entries = folders.iter().flat_map(|it| std::fs::read_dir(it).unwrap());
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let before = files();
    for (path, code, part) in [
        ("open/socket", 4, "ok"),
        // The process that is to be replaced.
        ("open/served", 4, "ok"),
        ("file", 1, "the path exists and is not a socket; choose another path with"),
        ("none/socket", 1, "create the folder, or choose another path with"),
        ("closed/socket", 1, "let this user write to the folder, or choose another path with"),
        (&long, 1, "choose another path with"),
    ] {
        for setting in ["--listen", "--admin-listen"] {
            let listen = format!("unix:{path}");
            let settings = [setting, &listen, "--database", "sqlite:open/new.db"];
            let (found, report) = check(&settings);
            assert_eq!(found, code, "{path}: {report}");
            assert!(report.contains(part), "{path}: {report}");
            assert!(code == 4 || report.contains(setting), "{path}: {report}");
        }
    }
    for (database, code, part) in [
        ("sqlite:open/new.db", 4, "open/new.db does not exist"),
        ("sqlite:closed/new.db", 1, "cannot write closed/new.db: "),
        ("sqlite:none/new.db", 3, "the folder none does not exist"),
    ] {
        let (found, report) = check(&["--database", database]);
        assert!(found == code && report.contains(part), "{database}: {report}");
    }
    assert_eq!(files(), before);
    drop(served);
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
