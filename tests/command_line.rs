//! The binary, run as people run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::support::{Client, SECRET, on_both};

/// The binary, with nothing in its environment that could change what it does.
pub fn cinequery(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cinequery"));
    command.current_dir(folder).args(arguments).env_clear();
    // No balancer has to notice that a service of the tests stops.
    command.env("CINEQUERY_SHUTDOWN_DELAY", "0s");
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = cinequery(folder, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A service in a process of its own, ended when it is dropped.
pub struct Service {
    process: Child,
    pub address: String,
    log: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Service {
    /// Starts it on a free port and waits for the line that names its address.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the service has ended");
            if let Some((_, rest)) = line.split_once("\"address\":\"") {
                break format!("http://{}", rest.split('"').next().unwrap());
            }
        };
        // The pipe must not fill up.
        let log = std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = log.read_to_end(&mut rest);
            rest
        });
        Self { process, address, log: Some(log) }
    }

    /// Ends it and returns what it has logged since it began to listen.
    pub fn log(mut self) -> String {
        let _ = self.process.kill();
        String::from_utf8(self.log.take().unwrap().join().unwrap()).unwrap()
    }

    /// Asks it to stop and returns its exit code.
    fn stop(mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn folder() -> TempDir {
    TempDir::new().unwrap()
}

const FILMS: &str = concat!(
    "{\"title\":\"One\",\"genre\":\"drama\",\"release_year\":2001,\"expiry_date\":\"2024-01-31\",\"stars\":3}\n",
    "\n",
    "{\"title\":\"Two\",\"genre\":\"comedy\",\"release_year\":2002,\"expiry_date\":\"2024-02-29\"}\r\n",
    "{\"title\":\"Zoë\",\"genre\":\"drama\",\"release_year\":2003,\"expiry_date\":\"2024-03-31\"}",
);

#[tokio::test]
async fn films_are_imported_and_found() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let file = folder.path().join("films.ndjson");
        std::fs::write(&file, FILMS).unwrap();
        let import = |policy: &str| {
            let arguments = ["import", "films.ndjson", "--database", &url, "--on-conflict", policy];
            run(folder.path(), &arguments)
        };
        let (code, _, log) = import("fail");
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("3 created, 0 updated, 0 skipped, 0 refused"), "{log}");
        assert_eq!(log.matches("warning").count(), 1, "{log}");
        assert!(log.contains("ignored: stars"), "{log}");

        let (code, _, log) = import("fail");
        assert_eq!(code, 2, "{log}");
        assert!(log.contains("line 1: ") && log.contains("line 4: "), "{log}");
        assert!(log.contains("nothing was imported"), "{log}");
        let (code, _, log) = import("skip");
        assert_eq!((code, log.contains("0 created, 0 updated, 3 skipped")), (0, true), "{log}");
        let (code, _, log) = import("update");
        assert_eq!((code, log.contains("0 created, 3 updated, 0 skipped")), (0, true), "{log}");

        let filter = "genre = $g and expiry_date between 2024-01-01 and 2024-06-30";
        let query =
            ["query", filter, "--param", "g=drama", "--order-by", "title desc", "--database", &url];
        let (code, table, log) = run(folder.path(), &query);
        assert_eq!(code, 0, "{log}");
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected = [
            ["title", "genre", "release_year", "expiry_date"],
            ["Zoë", "drama", "2003", "2024-03-31"],
            ["One", "drama", "2001", "2024-01-31"],
        ];
        assert_eq!(rows, expected);
        let column = |line: &str| line.find("200").or(line.find("release"));
        let starts: Vec<_> = table
            .lines()
            .map(|line| line.char_indices().position(|(at, _)| Some(at) == column(line)))
            .collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    })
    .await;
}

#[tokio::test]
async fn refused_rows_are_listed_by_line() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let mut rows = FILMS.as_bytes().to_vec();
        rows.extend_from_slice(b"\nnot json\n{\"title\":\"\xff\"}\n{\"title\":\"\"}\n");
        rows.extend_from_slice(format!("{{\"title\":\"{}\"}}\n", "x".repeat(70_000)).as_bytes());
        rows.extend_from_slice(b"{\"title\":\"Last\",\"genre\":\"g\",\"release_year\":2000,\"expiry_date\":\"2024-01-01\"}");
        std::fs::write(folder.path().join("films.ndjson"), rows).unwrap();
        for (policy, created) in [("fail", "nothing was imported"), ("skip", "4 created")] {
            let arguments = ["import", "films.ndjson", "--database", &url, "--on-conflict", policy];
            let (code, _, log) = run(folder.path(), &arguments);
            assert_eq!(code, 2, "{log}");
            for line in ["line 5: ", "line 6: ", "line 7: ", "line 8: "] {
                assert!(log.contains(line), "{line} is missing: {log}");
            }
            assert!(!log.contains("line 9: ") && log.contains(created), "{log}");
        }
    })
    .await;
}

#[test]
fn a_statement_is_shown_and_not_run() {
    let folder = folder();
    let filter = "title contains 'star' or release_year = 1977";
    let (code, shown, _) = run(folder.path(), &["query", filter, "--sql"]);
    assert_eq!(code, 0);
    assert!(shown.contains("instr(\"title_folded\", ?)") && shown.contains("1977"), "{shown}");
    let url = ["--database", "postgres://nobody@127.0.0.1:1/none"];
    let (code, shown, _) = run(folder.path(), &[&["query", filter, "--sql"][..], &url].concat());
    assert_eq!((code, shown.contains("strpos(\"title_folded\", $1)")), (0, true), "{shown}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Files by name: in what form, compressed or not, and from a stream.
#[tokio::test]
async fn films_leave_and_come_back_by_the_name_of_their_file() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        std::fs::write(folder.path().join("films.ndjson"), FILMS).unwrap();
        let loaded = run(folder.path(), &["import", "films.ndjson", "--database", &url]);
        assert_eq!(loaded.0, 0, "{}", loaded.2);
        let (code, whole, log) = run(folder.path(), &["export", "--database", &url]);
        assert_eq!((code, log.as_str()), (0, "3 exported\n"));
        let films = |text: &str| -> Vec<[serde_json::Value; 2]> {
            let films = text.lines().map(|line| serde_json::from_str(line).unwrap());
            films
                .map(|film: serde_json::Value| [film["title"].clone(), film["expiry_date"].clone()])
                .collect()
        };
        assert_eq!(films(&whole).len(), 3);
        for name in ["a.ndjson", "a.csv", "a.ndjson.gz", "a.CSV.GZ", "a"] {
            let (code, out, log) = run(folder.path(), &["export", name, "--database", &url]);
            assert_eq!((code, out.as_str()), (0, ""), "{log}");
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
            assert_eq!(is_gzip, name.to_lowercase().ends_with("gz"), "{name}");
            let other = ["--database", "sqlite:other.db"];
            let (code, _, log) = run(folder.path(), &[&["import", name][..], &other].concat());
            assert!(code == 0 && log.contains("3 created"), "{name}: {log}");
            let (_, again, _) = run(folder.path(), &[&["export"][..], &other].concat());
            assert_eq!(films(&again), films(&whole), "{name}");
            std::fs::remove_file(folder.path().join("other.db")).unwrap();
        }
        // A stream says with --format what is in it.
        let csv = ["export", "-", "--format", "csv", "--filter", "title = $t", "--param", "t=Two"];
        let (_, csv, log) = run(folder.path(), &[&csv[..], &["--database", &url]].concat());
        assert_eq!((csv.lines().count(), log.as_str()), (2, "1 exported\n"));
        let stream = ["import", "-", "--format", "csv", "--database", "sqlite:third.db"];
        let mut process = cinequery(folder.path(), &stream);
        let mut process = process.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), csv.as_bytes()).unwrap();
        let log = String::from_utf8(process.wait_with_output().unwrap().stderr).unwrap();
        assert!(log.contains("1 created"), "{log}");
        // A file that cannot be finished does not appear, and one that is there stays.
        std::fs::write(folder.path().join("kept.csv"), "kept").unwrap();
        for name in ["kept.csv", "new.csv"] {
            let wrong = ["export", name, "--filter", "gnre = 1", "--database", &url];
            let (code, _, log) = run(folder.path(), &wrong);
            assert!(code == 1 && log.contains("did you mean `genre`?"), "{log}");
        }
        assert_eq!(std::fs::read(folder.path().join("kept.csv")).unwrap(), b"kept");
        let is_left = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            name == "new.csv" || name.to_string_lossy().starts_with(".tmp")
        };
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().flatten().filter(is_left).collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

/// What is said of a file that breaks off is what has become of its rows.
#[tokio::test]
async fn a_file_that_breaks_off_is_told_with_what_was_written() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let rows = (0..2500)
            .map(|number| FILMS.lines().next().unwrap().replace("One", &number.to_string()));
        let rows = rows.collect::<Vec<_>>().join("\n");
        std::fs::write(folder.path().join("films.ndjson"), rows).unwrap();
        let other = ["--database", "sqlite:other.db"];
        assert_eq!(run(folder.path(), &[&["import", "films.ndjson"][..], &other].concat()).0, 0);
        assert_eq!(run(folder.path(), &[&["export", "films.ndjson.gz"][..], &other].concat()).0, 0);
        let cut = folder.path().join("films.ndjson.gz");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() - 10]).unwrap();
        let count =
            || run(folder.path(), &["query", "--count", "--limit", "1", "--database", &url]).2;
        for (policy, written) in [("fail", false), ("skip", true)] {
            let import = ["import", "films.ndjson.gz", "--database", &url, "--on-conflict", policy];
            let (code, _, log) = run(folder.path(), &import);
            assert_eq!((code, log.contains("are written")), (1, written), "{log}");
            assert!(log.contains("breaks off"), "{log}");
            assert_eq!(count().contains("0 of 0"), !written, "{}", count());
        }
    })
    .await;
}

#[tokio::test]
async fn a_check_tells_what_serve_would_meet() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let check = |arguments: &[&str]| {
            let settings = ["check", "--auth", "open", "--jwt-secret", SECRET];
            let (code, told, log) = run(folder.path(), &[&settings[..], arguments].concat());
            assert_eq!(log, "");
            (code, told)
        };
        let at = ["--database", &url];
        let (code, told) = check(&at);
        assert_eq!(code, 4, "{told}");
        database.open().await.close().await;
        let (_, _, log) = run(folder.path(), &[&["query"][..], &at].concat());
        assert!(log.contains("run `cinequery migrate`"), "{log}");
        assert_eq!(run(folder.path(), &[&["migrate"][..], &at].concat()).0, 0);
        let (code, told) = check(&at);
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("SQLite 3.") || told.contains("PostgreSQL 1"), "{told}");
        let (code, told) = check(&[&at[..], &["--listen", "0.0.0.0:80"]].concat());
        assert!(code == 1 && told.contains("--allow-open"), "{told}");
        database.run_sql("UPDATE _sqlx_migrations SET version = version + 500").await;
        assert_eq!(check(&at).0, 5);
        assert_eq!(check(&["--database", "sqlite:new.db"]).0, 4);
        assert_eq!(check(&["--database", "sqlite:no/such.db"]).0, 3);
        let (code, told) = check(&["--database", "postgres://joe:hunter2@127.0.0.1:1/none"]);
        assert!(code == 3 && !told.contains("hunter2"), "{told}");
        std::fs::write(folder.path().join("text.db"), "no database".repeat(100)).unwrap();
        assert_eq!(check(&["--database", "sqlite:text.db"]).0, 3);
        // A file of somebody else's is left as it is.
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

/// A sender that never ends does not keep the service from ending.
#[tokio::test]
async fn a_service_ends_while_a_file_arrives() {
    let folder = folder();
    let arguments = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
    let service = Service::start(cinequery(folder.path(), &arguments));
    let address = service.address.strip_prefix("http://").unwrap().to_owned();
    for policy in ["fail", "skip"] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /api/v1/movies/import?on_conflict={policy} HTTP/1.1\r\nhost: x\r\n\
             content-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\
             authorization: Bearer {}\r\n\r\n",
            crate::support::token(&["movies:write"])
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        std::io::Write::write_all(&mut stream, FILMS.as_bytes()).unwrap();
        // It stays open until the process ends.
        std::mem::forget(stream);
    }
    assert_eq!(service.stop(), Some(0));
}

/// What stands in the place of a file: kept when the export fails, and kept as it is otherwise.
#[test]
fn an_export_writes_what_a_link_leads_to() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(run(folder.path(), &["migrate"]).0, 0);
    std::fs::write(at("secret.csv"), "old").unwrap();
    std::fs::set_permissions(at("secret.csv"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("secret.csv", at("link.csv")).unwrap();
    assert_eq!(run(folder.path(), &["export", "link.csv"]).0, 0);
    assert!(std::fs::symlink_metadata(at("link.csv")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(at("secret.csv")).unwrap().starts_with("id,title,"));
    let mode = std::fs::metadata(at("secret.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn commands_in_a_file_do_not_reach_the_terminal() {
    let folder = folder();
    let row = r#"{"title":"a","genre":"g","release_year":2000,"expiry_date":"\u001b[31mx","\u001b]0;y":1}"#;
    std::fs::write(folder.path().join("films.ndjson"), row).unwrap();
    let (code, _, log) = run(folder.path(), &["import", "films.ndjson", "--on-conflict", "skip"]);
    assert!(code == 2 && !log.contains('\u{1b}'), "{log:?}");
    let (code, _, _) = run(
        folder.path(),
        &["import", "films.ndjson", "--collection", "nothing", "--database", "sqlite:new.db"],
    );
    assert!(code == 1 && !folder.path().join("new.db").exists());
}

#[test]
fn help_has_examples() {
    for command in ["", "serve", "import", "export", "query", "check", "token"] {
        let arguments: Vec<&str> =
            [command, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let (code, help, _) = run(folder().path(), &arguments);
        assert_eq!(code, 0);
        assert!(help.contains("Examples:") || help.contains("Exit codes:"), "{help}");
    }
}

/// Arguments of `query`, and lines of what is said of them.
const SHOWN: &[(&[&str], &[&str])] = &[
    (
        &["title = 'é' and\n gnre = 'x'"],
        &[
            "error[unknown_field]: Movie has no field `gnre`",
            " --> filter:2:2",
            "2 |  gnre = 'x'",
            "  |  ^^^^",
            "help: did you mean `genre`?",
            "2 |  genre = 'x'",
        ],
    ),
    // At the end there is nothing to cover, and it is marked all the same.
    (&["genre ="], &["error[unexpected_token]", "1 | genre =", "  |        ^"]),
    (&["release_year = $y", "--param", "y=soon"], &[" --> p.y:1:1", "1 | soon", "  | ^^^^"]),
    (&["--order-by", "yaer"], &[" --> order_by:1:1", "1 | yaer", "  | ^^^^"]),
    (
        &["genre = 'a' or genre = 'b' and title = 'c'"],
        &["warning[mixed_and_or]", "1 | genre = 'a' or genre = 'b' and title = 'c'"],
    ),
];

#[test]
fn problems_are_shown_below_their_place() {
    let folder = folder();
    for (arguments, lines) in SHOWN {
        let (_, _, log) = run(folder.path(), &[&["query", "--sql"], *arguments].concat());
        for line in *lines {
            let is_there = log.lines().any(|shown| shown.trim_end().contains(line));
            assert!(is_there, "{line:?} is missing: {log}");
        }
        assert!(!log.contains('\u{1b}'), "colours go to terminals alone: {log:?}");
    }
}

/// `script` of util-linux makes a terminal of its own for the command.
#[cfg(target_os = "linux")]
#[test]
fn problems_are_coloured_on_a_terminal() {
    let folder = folder();
    let shown = |environment: &[(&str, &str)]| {
        let command = format!("{} query --sql 'gnre = 1'", env!("CARGO_BIN_EXE_cinequery"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path());
        script.envs(environment.iter().copied()).stdin(Stdio::null());
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    assert!(shown(&[("NO_COLOR", "")]).contains("\u{1b}["));
    assert!(!shown(&[("NO_COLOR", "1")]).contains("\u{1b}["));
}

/// Arguments, and a part of what is said when they are refused.
const REFUSED: &[(&[&str], &str)] = &[
    (&["serve"], "there is no administrator yet"),
    (&["serve", "--auth", "open", "--listen", "0.0.0.0:0"], "--allow-open"),
    (&["serve", "--auth", "open", "--database", "sqlite::memory:"], "every connection would see"),
    (&["serve", "--auth", "open", "--database", "mysql://x"], "sqlite:FILE or postgres://"),
    (
        &["serve", "--auth", "open", "--database", "postgres://x@127.0.0.1/y"],
        "CINEQUERY_JWT_SECRET",
    ),
    (&["serve", "--auth", "open", "--jwt-secret", "short"], "needs 32"),
    (&["serve", "--auth", "open", "--token-ttl", "0s"], "one second to one year"),
    (&["serve", "--auth", "open", "--token-ttl", "soon"], "expected number"),
    (&["serve", "--auth", "open", "--rate-limit", "fast"], "--rate-limit: \"fast\" is no limit"),
    (&["serve", "--auth", "open", "--trusted-proxies", "proxy"], "a network such as 10.0.0.0/8"),
    (&["serve", "--auth", "open", "--redis", "http://x"], "--redis: "),
    (&["serve", "--auth", "open", "--redis-ca-file", "x"], "--redis <URL>"),
    (
        &["serve", "--auth", "open", "--redis", "rediss://x", "--redis-ca-file", "/dev/null"],
        "holds no certificate",
    ),
    (&["user", "change", "anna"], "--role"),
    (
        &["serve", "--auth", "open", "--redis", "rediss://x", "--redis-ca-file", "missing.pem"],
        "missing.pem: ",
    ),
    (&["serve", "--auth", "open", "--log", "=="], "--log"),
    (&["demo", "--listen", "0.0.0.0:0"], "loopback only"),
    (&["query", "gnre = 'x'", "--sql"], "did you mean `genre`?"),
    (&["query", "genre = 'x'"], "there is no database cinequery.db"),
    (&["migrate", "--database", "sqlite:no/such/folder.db"], "no/such/folder.db"),
    (&["import", "missing.ndjson"], "missing.ndjson"),
    (&["import", "."], ". is a folder"),
    (&["query", "--sql", "--limit", "0"], "1..=1000"),
    (&["token", "joe", "--scope", "admin"], "movies:read, movies:write"),
];

#[test]
fn refusals_say_what_to_do_and_leave_nothing_behind() {
    for (arguments, expected) in REFUSED {
        let folder = folder();
        let (code, _, log) = run(folder.path(), arguments);
        assert_ne!(code, 0, "{arguments:?}");
        assert!(log.contains(expected), "{arguments:?}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{arguments:?} left {left:?}");
    }
}

#[tokio::test]
async fn a_service_keeps_its_secret_beside_sqlite() {
    let folder = folder();
    let serve = || {
        Service::start(cinequery(
            folder.path(),
            &["serve", "--auth", "open", "--listen", "127.0.0.1:0"],
        ))
    };
    let service = serve();
    let client = Client::at(service.address.clone()).with_token(None);
    let issued = client.post("/api/token", &json!({"username": "joe"})).await.json();
    let token = issued["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.stop(), Some(0));

    let file = std::fs::metadata(folder.path().join("cinequery.db.secret")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let service = serve();
    let client = Client::at(service.address.clone()).with_token(Some(token));
    assert_eq!(client.get("/api/v1/movies").await.status, 200);
    // The command line issues tokens of the same service, with less in them if asked.
    let (code, token, _) = run(folder.path(), &["token", "joe", "--scope", "movies:read"]);
    assert_eq!(code, 0);
    let reader = client.with_token(Some(token.trim().to_owned()));
    assert_eq!(reader.get("/api/v1/movies").await.status, 200);
    reader.post("/api/v1/movies", &json!({})).await.problem(403, "insufficient_scope");
}

#[tokio::test]
async fn two_services_share_a_database_and_a_secret() {
    on_both(async |database| {
        let folder = folder();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let start = || {
            let mut command =
                cinequery(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--log", "info"]);
            command
                .env("CINEQUERY_AUTH", "open")
                .env("CINEQUERY_DATABASE_URL", database.url())
                .env("CINEQUERY_JWT_SECRET_FILE", &secret);
            Service::start(command)
        };
        let (one, two) = (start(), start());
        let one_client = Client::at(one.address.clone());
        let movie =
            json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
        let created = one_client.create(&movie).await;
        let other = Client::at(two.address.clone());
        let path = format!("/api/v1/movies/{}", created["id"].as_str().unwrap());
        assert_eq!(other.get(&path).await.json(), created);
        assert_eq!((one.stop(), two.stop()), (Some(0), Some(0)));
    })
    .await;
}

#[tokio::test]
async fn a_service_without_migrations_is_not_ready() {
    let folder = folder();
    let arguments = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--no-migrate"];
    let service = Service::start(cinequery(folder.path(), &arguments));
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/livez").await.status, 200);
    let problem = client.get("/readyz").await.problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("cinequery migrate"), "{problem}");
    assert_eq!(run(folder.path(), &["migrate"]).0, 0);
    assert_eq!(client.get("/readyz").await.status, 200);
}

/// Asks as a container's engine would.
fn healthcheck(arguments: &[&str], listen: Option<&str>) -> (i32, String) {
    let mut command = cinequery(&std::env::temp_dir(), &[&["healthcheck"], arguments].concat());
    command.envs(listen.map(|listen| ("CINEQUERY_LISTEN", listen)));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn a_service_is_asked_whether_it_can_serve() {
    // On every address, as in a container; it is asked over loopback.
    for any in ["0.0.0.0", "[::]"] {
        let folder = folder();
        let listen = format!("{any}:0");
        let arguments =
            ["serve", "--auth", "open", "--allow-open", "--no-migrate", "--listen", &listen];
        let service = Service::start(cinequery(folder.path(), &arguments));
        let listen = format!("{any}:{}", service.address.rsplit(':').next().unwrap());
        let (code, said) = healthcheck(&["--listen", &listen], None);
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("/readyz answered 503 Service Unavailable"), "{said}");
        assert_eq!(run(folder.path(), &["migrate"]).0, 0);
        assert_eq!(healthcheck(&["--listen", &listen], None), (0, String::new()));
        assert_eq!(healthcheck(&[], Some(&listen)), (0, String::new()));
        assert_eq!(service.stop(), Some(0));
        let (code, said) = healthcheck(&[], Some(&listen));
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("cannot be asked: Connection refused"), "{said}");
    }
}

#[test]
fn what_answers_like_no_service_is_not_ready() {
    let listener = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        (listener, listen)
    };
    // Connections wait in its queue.
    let (_silent, listen) = listener();
    let (code, said) = healthcheck(&[], Some(&listen));
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("has not answered within"), "{said}");
    let (other, listen) = listener();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"220 mail.example ready\r\n").unwrap();
    });
    let (code, said) = healthcheck(&[], Some(&listen));
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("cannot be asked: "), "{said}");
    other.join().unwrap();
}

/// The demo says what to paste, and what it says works.
#[tokio::test]
async fn the_demo_s_requests_work_when_pasted() {
    let folder = folder();
    let mut command = cinequery(folder.path(), &["demo", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("2028-12-31") {
        assert_ne!(output.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let service = Service { process, address: String::new(), log: None };
    let docs = said.split_whitespace().find(|word| word.ends_with("/docs")).unwrap();
    assert_eq!(reqwest::get(docs).await.unwrap().status(), 200);
    // Everything from the token on is for the shell.
    let script = &said[said.find("TOKEN=").unwrap()..];
    let script = script.replace("\n\ncurl", "\necho\ncurl");
    let answers = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let answers = String::from_utf8(answers.stdout).unwrap();
    let answers: Vec<serde_json::Value> = answers
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(!answers[0]["items"].as_array().unwrap().is_empty(), "the card's example finds films");
    assert!(answers[1]["total"].as_i64().unwrap() > 0);
    assert_eq!(answers[2]["title"], "My Film");
    assert_eq!(service.stop(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

#[tokio::test]
async fn unreachable_databases_are_told_of_without_their_password() {
    let folder = folder();
    let url = "postgres://joe:hunter2@127.0.0.1:1/none";
    let (code, _, log) = run(folder.path(), &["migrate", "--database", url]);
    assert_eq!(code, 1);
    assert!(log.contains("refused") && !log.contains("hunter2"), "{log}");
    let service = [
        "serve",
        "--auth",
        "open",
        "--listen",
        "127.0.0.1:0",
        "--no-migrate",
        "--jwt-secret",
        SECRET,
        "--database",
        url,
    ];
    let service = Service::start(cinequery(folder.path(), &service));
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/livez").await.status, 200);
    for path in ["/readyz", "/api/v1/movies"] {
        let answer = client.get(path).await;
        let problem = answer.problem(503, "unavailable");
        assert!(!problem.to_string().contains("hunter2"));
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
}

/// The secret by which a token that is issued with these settings is signed, among those offered.
fn signed_by<'a>(
    arguments: &[&str],
    environment: &[(&str, &str)],
    secrets: &[&'a str],
) -> Option<&'a str> {
    let folder = folder();
    std::fs::write(folder.path().join("file"), format!("{}\n", secrets[2])).unwrap();
    let mut command = cinequery(folder.path(), &[&["token", "joe"][..], arguments].concat());
    command.envs(environment.iter().copied());
    let token = String::from_utf8(command.output().unwrap().stdout).unwrap();
    secrets.iter().copied().find(|secret| {
        let secret = cinequery::identity::Secrets::parse(secret.as_bytes()).unwrap();
        let tokens = cinequery::identity::Tokens::new(&secret, std::time::Duration::from_secs(1));
        tokens.verify(token.trim()).is_ok()
    })
}

#[test]
fn secrets_are_taken_from_flags_before_the_environment() {
    let [flag, variable, file] = ["f", "v", "o"].map(|letter| letter.repeat(32));
    let secrets = [flag.as_str(), &variable, &file];
    let in_variable = ("CINEQUERY_JWT_SECRET", variable.as_str());
    let in_file = ("CINEQUERY_JWT_SECRET_FILE", "file");
    let by_flag = ["--jwt-secret", flag.as_str()];
    let by_file = ["--jwt-secret-file", "file"];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Case<'_>; 8] = [
        (&by_flag, &[in_variable, in_file], Some(&flag)),
        (&by_file, &[in_variable], Some(&file)),
        (&by_file, &[("CINEQUERY_JWT_SECRET", "")], Some(&file)),
        (&[], &[in_variable], Some(&variable)),
        (&[], &[in_file], Some(&file)),
        (&[], &[in_file, ("CINEQUERY_JWT_SECRET", "")], Some(&file)),
        (&[], &[in_variable, in_file], None),
        (&[by_flag, by_file].concat(), &[], None),
    ];
    for (arguments, environment, expected) in cases {
        let found = signed_by(arguments, environment, &secrets);
        assert_eq!(found, expected, "{arguments:?} {environment:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = folder();
    let mut process = cinequery(folder.path(), &["openapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Whoever holds the default port, the demo takes another.
#[test]
fn the_demo_takes_a_free_port_when_the_default_is_busy() {
    let folder = folder();
    let _holder = TcpListener::bind(cinequery::config::DEFAULT_LISTEN);
    let mut command = cinequery(folder.path(), &["demo"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let docs = output.lines().map_while(Result::ok).find(|line| line.contains("/docs")).unwrap();
    let service = Service { process, address: String::new(), log: None };
    assert!(!docs.contains(cinequery::config::DEFAULT_LISTEN), "{docs}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn shells_are_told_how_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(folder().path(), &["completions", shell]);
        assert_eq!(code, 0);
        for word in ["serve", "import", "on-conflict"] {
            assert!(script.contains(word), "{shell} knows nothing of {word}");
        }
    }
}

#[test]
fn the_document_is_printed() {
    let (code, printed, _) = run(folder().path(), &["openapi"]);
    let is_published = printed == include_str!("../openapi/v1.json");
    assert!(
        code == 0 && is_published,
        "openapi/v1.json is not what is printed: run `make openapi`"
    );
}

#[test]
fn databases_are_named_as_flag_environment_or_default() {
    let folder = folder();
    let shown = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command =
            cinequery(folder.path(), &[&["query", "--sql", "genre = 'x'"][..], arguments].concat());
        command.envs(environment.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let is_postgres = |statement: String| statement.contains("$1");
    let postgres = ("CINEQUERY_DATABASE_URL", "postgres://x@127.0.0.1/y");
    assert!(!is_postgres(shown(&[], &[])));
    assert!(is_postgres(shown(&[], &[postgres])));
    assert!(!is_postgres(shown(&["--database", "sqlite:x.db"], &[postgres])));
}

const PASSWORD: &str = "correct horse battery";

async fn signs_in(client: &Client, name: &str, password: &str) -> u16 {
    let credentials = json!({"username": name, "password": password});
    client.with_token(None).post("/api/token", &credentials).await.status
}

#[tokio::test]
async fn the_first_administrator_is_made_once_by_instances_that_start_together() {
    on_both(async |database| {
        let folder = folder();
        std::fs::write(folder.path().join("admin"), format!("{PASSWORD}\n")).unwrap();
        let start = || {
            let url = database.url();
            let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
            let files = ["--admin-password-file", "admin", "--database", &url];
            Service::start(cinequery(folder.path(), &[&settings[..], &files].concat()))
        };
        let services: Vec<Service> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|service| service.join().unwrap()).collect()
        });
        for service in &services {
            let client = Client::at(service.address.clone());
            assert_eq!(signs_in(&client, "admin", PASSWORD).await, 200);
            assert_eq!(signs_in(&client, "admin", "wrong").await, 401);
        }
        let (_, list, _) = run(folder.path(), &["user", "list", "--database", &database.url()]);
        assert_eq!(list.trim(), "admin    admin");
        // It is there already: neither a file nor a terminal is needed any more.
        let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        let url = database.url();
        let again = [&settings[..], &["--database", &url]].concat();
        Service::start(cinequery(folder.path(), &again));
    })
    .await;
}

#[tokio::test]
async fn check_says_what_serve_would_say_of_the_first_administrator() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        assert_eq!(run(folder.path(), &["migrate", "--database", &url]).0, 0);
        std::fs::write(folder.path().join("good"), PASSWORD).unwrap();
        std::fs::write(folder.path().join("short"), "short").unwrap();
        let settings = ["check", "--jwt-secret", SECRET, "--database", &url];
        for (file, expected) in [
            (None, (1, "there is no administrator yet")),
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

#[tokio::test]
async fn users_are_administered_at_the_command_line() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let user = |arguments: &[&str], input: &str| {
            let arguments = [&["user"], arguments, &["--database", &url]].concat();
            let mut command = cinequery(folder.path(), &arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = command.spawn().unwrap();
            // Who refuses the arguments has gone before reading.
            let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
            let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (status.code().unwrap(), text(stdout), text(stderr))
        };
        let password = format!("{PASSWORD}\n");
        assert_eq!(user(&["add", "root", "--role", "admin"], &password).0, 0);
        assert_eq!(user(&["add", "anna", "--role", "viewer"], &password).0, 0);
        let (code, _, log) = user(&["add", "anna", "--role", "viewer"], &password);
        assert!(code == 1 && log.contains("there is a user \"anna\" already"), "{log}");
        let (code, _, log) = user(&["add", "ben", "--role", "viewer"], "short\n");
        assert!(code == 1 && log.contains("at least 15 characters"), "{log}");
        let (code, _, log) = user(&["add", "ben", "--role", "viewer"], "");
        assert!(code == 1 && log.contains("standard input is empty"), "{log}");
        let (code, _, log) = user(&["add", "ben", "--role", "owner"], &password);
        assert!(code == 2 && log.contains("viewer, editor, admin"), "{log}");
        assert_eq!(user(&["list"], "").1, "viewer   anna\nadmin    root\n");

        let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        let serve = [&settings[..], &["--database", &url]].concat();
        let service = Service::start(cinequery(folder.path(), &serve));
        let client = Client::at(service.address.clone());
        assert_eq!(signs_in(&client, "anna", PASSWORD).await, 200);
        let other = "another horse battery";
        let change = ["change", "anna", "--role", "editor", "--new-password"];
        assert_eq!(user(&change, other).0, 0);
        assert_eq!(signs_in(&client, "anna", PASSWORD).await, 401);
        assert_eq!(signs_in(&client, "anna", other).await, 200);
        assert_eq!(user(&["list"], "").1, "editor   anna\nadmin    root\n");
        let credentials = json!({"username": "anna", "password": other});
        let issued = client.with_token(None).post("/api/token", &credentials).await.json();
        let anna = client.with_token(Some(issued["access_token"].as_str().unwrap().to_owned()));
        assert_eq!(anna.get("/api/v1/movies").await.status, 200);
        assert_eq!(user(&["sign-out", "anna"], "").0, 0);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        anna.get("/api/v1/movies").await.problem(401, "unauthenticated");
        assert_eq!(user(&["remove", "anna"], "").0, 0);
        assert_eq!(signs_in(&client, "anna", other).await, 401);
        let (code, _, log) = user(&["remove", "anna"], "");
        assert!(code == 1 && log.contains("there is no user \"anna\""), "{log}");
    })
    .await;
}

/// The table of settings in README has every setting, and no other.
#[test]
fn readme_knows_the_settings() {
    let readme = include_str!("../README.md");
    let words = |text: &'static str, prefix: &'static str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let words = text.split(move |c: char| !is_part(c));
        words
            .filter(move |word| word.starts_with(prefix))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let variables = words(include_str!("../src/config.rs"), "CINEQUERY_");
    let table: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `--")).collect();
    let in_table: std::collections::BTreeSet<&str> =
        table.iter().flat_map(|row| words(row, "CINEQUERY_")).collect();
    assert_eq!(in_table, variables);
    let (_, help, _) = run(folder().path(), &["serve", "--help"]);
    let flags: Vec<&str> =
        table.iter().flat_map(|row| words(row.split('|').nth(1).unwrap(), "--")).collect();
    assert!(flags.len() > 5);
    for flag in flags {
        assert!(help.contains(flag), "serve knows no {flag}");
    }
}
