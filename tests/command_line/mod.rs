//! The binary, run as people run it: what all of its commands share, and a file for each command.

mod check;
mod demo;
mod export;
mod healthcheck;
mod import;
mod openapi;
mod query;
mod serve;
mod token;
mod user;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Client, Database, SECRET};

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

    /// Starts it on a database with the declarations of a folder.
    pub fn with_records(records: &Path, database: &Database) -> Self {
        Self::start(serve_records(records, database))
    }

    /// Ends it and returns what it has logged since it began to listen.
    pub fn log(mut self) -> String {
        let _ = self.process.kill();
        String::from_utf8(self.log.take().unwrap().join().unwrap()).unwrap()
    }

    /// Asks it to stop and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
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

/// `cinequery serve` on a database with the declarations of a folder, for tokens of the tests.
pub fn serve_records(records: &Path, database: &Database) -> Command {
    let mut command = cinequery(records, &["serve", "--auth", "open", "--rate-limit", "off"]);
    command.args(["--listen", "127.0.0.1:0", "--jwt-secret", SECRET]);
    command.args(["--database", &database.url()]).arg("--records").arg(records);
    command
}

pub fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// A folder with these files, each given by its name and its text.
pub fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = folder();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const FILMS: &str = concat!(
    "{\"title\":\"One\",\"genre\":\"drama\",\"release_year\":2001,\"expiry_date\":\"2024-01-31\",\"stars\":3}\n",
    "\n",
    "{\"title\":\"Two\",\"genre\":\"comedy\",\"release_year\":2002,\"expiry_date\":\"2024-02-29\"}\r\n",
    "{\"title\":\"Zoë\",\"genre\":\"drama\",\"release_year\":2003,\"expiry_date\":\"2024-03-31\"}",
);

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

/// Arguments, and a part of what is said when they are refused.
const REFUSED: &[(&[&str], &str)] = &[
    (&["serve"], "there is no administrator yet"),
    (&["serve", "--auth", "open", "--listen", "0.0.0.0:0"], "--allow-open"),
    (&["serve", "--auth", "open", "--database", "sqlite::memory:"], "every connection would have"),
    (&["serve", "--auth", "open", "--database", "mysql://x"], "sqlite:FILE or postgres://"),
    (
        &["serve", "--auth", "open", "--database", "postgres://x@127.0.0.1/y"],
        "CINEQUERY_JWT_SECRET",
    ),
    (&["serve", "--auth", "open", "--jwt-secret", "short"], "at least 32 bytes"),
    (&["serve", "--auth", "open", "--token-ttl", "0s"], "from 1s to 1y"),
    (&["serve", "--auth", "open", "--token-ttl", "soon"], "from 1s to 1y"),
    (
        &["serve", "--auth", "open", "--rate-limit", "fast"],
        "--rate-limit: expected a limit such as",
    ),
    (&["serve", "--auth", "open", "--trusted-proxies", "proxy"], "a network such as 10.0.0.0/8"),
    (&["serve", "--auth", "open", "--redis", "http://x"], "--redis: "),
    (&["serve", "--auth", "open", "--redis-ca-file", "x"], "--redis <URL>"),
    (
        &["serve", "--auth", "open", "--redis", "rediss://x", "--redis-ca-file", "/dev/null"],
        "expected a certificate (PEM)",
    ),
    (&["user", "change", "anna"], "--role"),
    (
        &["serve", "--auth", "open", "--redis", "rediss://x", "--redis-ca-file", "missing.pem"],
        "missing.pem: ",
    ),
    (&["serve", "--auth", "open", "--log", "=="], "--log"),
    (&["demo", "--listen", "0.0.0.0:0"], "loopback only"),
    (&["query", "gnre = 'x'", "--sql"], "did you mean `genre`?"),
    (&["query", "genre = 'x'"], "database file cinequery.db not found"),
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

const PASSWORD: &str = "correct horse battery";

async fn signs_in(client: &Client, name: &str, password: &str) -> u16 {
    let credentials = json!({"username": name, "password": password});
    client.with_token(None).post("/api/token", &credentials).await.status
}
