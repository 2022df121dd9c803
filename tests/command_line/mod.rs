//! The binary, run as operators run it: tests that concern all commands, and a file for each command.

mod check;
mod demo;
mod export;
mod facets;
mod guide;
mod healthcheck;
mod import;
mod matching;
mod openapi;
mod query;
mod serve;
mod settings;
mod token;
mod user;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Database, SECRET};

/// The binary with an empty environment, so that no variable changes its behaviour.
pub fn cinequery(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cinequery"));
    command.current_dir(folder).args(arguments).env_clear();
    // The tests have no load balancer for which a service would delay its shutdown.
    command.env("CINEQUERY_SHUTDOWN_DELAY", "0s");
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = cinequery(folder, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Returns the message of a command that has failed: the text, or the cause in the event of a service.
pub fn message(log: &str) -> String {
    let event = serde_json::from_str::<Value>(log).unwrap_or_default();
    event["cause"].as_str().unwrap_or(log).to_owned()
}

/// A service in a separate process, which is killed when the value is dropped.
pub struct Service {
    process: Child,
    pub address: String,
    /// The URL of the listener for operators, if it has one.
    pub admin: Option<String>,
    log: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Service {
    /// Starts the service and waits for the log line with its socket address.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut admin = None;
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the service has exited");
            let url = |name: &str| {
                let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
                Some(format!("http://{}", rest.split('"').next().unwrap()))
            };
            admin = url("admin_address").or(admin);
            if let Some(address) = url("address") {
                break address;
            }
        };
        // Read the log, so that the pipe does not fill up.
        let log = std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = log.read_to_end(&mut rest);
            rest
        });
        Self { process, address, admin, log: Some(log) }
    }

    /// Starts the service on a database with the declarations of a folder.
    pub fn with_records(records: &Path, database: &Database) -> Self {
        Self::start(serve_records(records, database))
    }

    /// Kills the service and returns its log since it started to listen.
    pub fn log(mut self) -> String {
        let _ = self.process.kill();
        String::from_utf8(self.log.take().unwrap().join().unwrap()).unwrap()
    }

    /// Stops the service, which writes what it has not yet written of its log, and returns the log.
    pub fn whole_log(mut self) -> String {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        self.process.wait().unwrap();
        String::from_utf8(self.log.take().unwrap().join().unwrap()).unwrap()
    }

    /// Stops the service and returns its exit code.
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

/// `cinequery serve` on a database with the declarations of a folder. It accepts the tokens of the tests.
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

pub const MOVIES: &str = concat!(
    "{\"title\":\"One\",\"genre\":\"drama\",\"release_year\":2001,\"expiry_date\":\"2024-01-31\",\"stars\":3}\n",
    "\n",
    "{\"title\":\"Two\",\"genre\":\"comedy\",\"release_year\":2002,\"expiry_date\":\"2024-02-29\"}\r\n",
    "{\"title\":\"Zoë\",\"genre\":\"drama\",\"release_year\":2003,\"expiry_date\":\"2024-03-31\"}",
);

#[test]
fn help_has_examples() {
    for command in
        ["", "serve", "import", "export", "query", "facets", "update", "delete", "check", "token"]
    {
        let arguments: Vec<&str> =
            [command, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let (code, help, _) = run(folder().path(), &arguments);
        assert_eq!(code, 0);
        assert!(help.contains("Examples:") || help.contains("Exit codes:"), "{help}");
    }
}

/// Variables of the environment of `serve` and `check`, and a part of the error message.
const REJECTED_VARIABLES: &[(&str, &str, &str)] = &[
    ("CINEQUERY_TOKEN_TTL", "abc", "expected a duration such as 15m, 12h, 30d"),
    ("CINEQUERY_RATE_LIMIT", "600", "expected COUNT/UNIT such as 10/s, 600/min or 1000/h, or off"),
    (
        "CINEQUERY_RATELIMIT",
        "600/min",
        "unknown environment variable CINEQUERY_RATELIMIT; did you mean CINEQUERY_RATE_LIMIT?",
    ),
    ("CINEQUERY_COLOUR", "", "unknown environment variable CINEQUERY_COLOUR; remove it"),
];

#[test]
fn wrong_variables_are_rejected() {
    let folder = folder();
    // Those that no subcommand has.
    for command in [&["migrate"][..], &["query", "--sql"], &["openapi"], &["records", "schema"]] {
        for (name, value, expected) in &REJECTED_VARIABLES[2..] {
            let output = cinequery(folder.path(), command).env(name, value).output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && log.contains(expected), "{name}: {log}");
        }
    }
    for command in ["serve", "check"] {
        for (name, value, expected) in REJECTED_VARIABLES {
            let mut command = cinequery(folder.path(), &[command, "--auth", "open"]);
            let Output { status, stdout, stderr } = command.env(name, value).output().unwrap();
            let output = String::from_utf8([stdout, stderr].concat()).unwrap();
            assert!(!status.success() && output.contains(expected), "{name}: {output}");
        }
        // The variables that Kubernetes sets for a Service of this name.
        let mut command =
            cinequery(folder.path(), &[command, "--auth", "open", "--database", "mysql://x"]);
        command
            .env("CINEQUERY_SERVICE_HOST", "10.0.0.1")
            .env("CINEQUERY_PORT", "tcp://10.0.0.1:80");
        let Output { stdout, stderr, .. } = command.output().unwrap();
        let output = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert!(output.contains("--database"), "{output}");
    }
}

/// Invalid arguments, and a part of the error message.
const REJECTED: &[(&[&str], &str)] = &[
    (&["serve"], "there is no administrator: pass a file"),
    (&["serve", "--auth", "open", "--listen", "0.0.0.0:0"], "--allow-open"),
    (&["serve", "--auth", "open", "--database", "sqlite::memory:"], "every connection would have"),
    (&["serve", "--auth", "open", "--database", "mysql://x"], "sqlite:FILE or postgres://"),
    (
        &["serve", "--auth", "open", "--database", "postgres://x@127.0.0.1/y"],
        "CINEQUERY_JWT_SECRET",
    ),
    (&["serve", "--auth", "open", "--jwt-secret", "short"], "at least 32 bytes"),
    (&["serve", "--auth", "open", "--token-ttl", "0s"], "from 1s to 1y"),
    (&["serve", "--auth", "open", "--token-ttl", "soon"], "a duration such as 15m, 12h, 30d"),
    (
        &["serve", "--auth", "open", "--rate-limit", "600"],
        "expected COUNT/UNIT such as 10/s, 600/min or 1000/h, or off; found \"600\"",
    ),
    (&["serve", "--auth", "open", "--trusted-proxies", "proxy"], "a network such as 10.0.0.0/8"),
    (&["serve", "--auth", "open", "--redis", "http://x"], "--redis: "),
    (
        &["serve", "--auth", "open", "--redis", "localhost"],
        "--redis: expected redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS, such as \
         redis://127.0.0.1:6379",
    ),
    (
        &["serve", "--auth", "open", "--database", "sqlite:no/such/folder.db"],
        "--database: the folder no/such does not exist",
    ),
    (&["serve", "--admin-password-file", "missing"], "missing: "),
    (&["serve", "--port", "80"], "write `--listen HOST:PORT`"),
    (&["migrate", "--dry-run"], "write `--plan`"),
    (&["query", "--json"], "`cinequery export --filter FILTER` writes JSON lines"),
    (&["query", "--filter", "genre = 'x'"], "`cinequery query FILTER`"),
    (&["export", "--json"], "write `--format ndjson`"),
    (&["records", "check", "nope.toml"], "cannot read the file: "),
    (&["records", "check", "nope"], "cannot read the folder: "),
    (
        &["query", "genre = 'x'", "--param", "y=1", "--sql"],
        "the filter has no parameters; write `$y` in it, or remove the value",
    ),
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
    (&["query", "gnre = 'x'", "--sql"], "did you mean \"genre\"?"),
    (&["query", "genre = 'x'"], "database file cinequery.db not found"),
    (
        &["migrate", "--database", "sqlite:no/such/folder.db"],
        "cannot create no/such/folder.db: the folder no/such does not exist",
    ),
    (&["import", "missing.ndjson"], "missing.ndjson"),
    (
        &["serve", "--auth", "open", "--listen", "8080"],
        "expected HOST:PORT, such as 127.0.0.1:8080",
    ),
    (&["serve", "--auth", "open", "--listen", "::1:8080"], "expected HOST:PORT"),
    (&["serve", "--auth", "open", "--listen", "localhost:http"], "expected HOST:PORT"),
    (
        &["serve", "--listen", "no-such-host.invalid:80"],
        "cannot resolve the host of no-such-host.invalid:80",
    ),
    (&["import", "."], ". is a folder"),
    (&["query", "--sql", "--limit", "0"], "1..=1000"),
    (&["token", "joe", "--scope", "admin"], "movies:read, movies:write"),
];

#[test]
fn errors_say_what_to_do_and_leave_no_file() {
    for (arguments, expected) in REJECTED {
        let folder = folder();
        let (code, _, log) = run(folder.path(), arguments);
        assert_ne!(code, 0, "{arguments:?}");
        assert!(message(&log).contains(expected), "{arguments:?}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{arguments:?} left {left:?}");
    }
}

#[test]
fn completion_scripts_have_the_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(folder().path(), &["completions", shell]);
        assert_eq!(code, 0);
        for word in ["serve", "import", "on-conflict"] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
}

pub const PASSWORD: &str = "correct horse battery";

pub async fn signs_in(client: &Client, name: &str, password: &str) -> u16 {
    let credentials = json!({"username": name, "password": password});
    client.with_token(None).post("/api/token", &credentials).await.status
}
