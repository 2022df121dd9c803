//! Runs `cinequery serve` in a separate process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use super::caller::{Caller, Reply, file, movie};
use crate::support::SECRET;

/// The maximum time until an instance is ready, in a test that injects no fault meanwhile.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The environment variable with the path of another binary to test, such as a release build.
const BINARY: &str = "FAULTS_BINARY";

/// The command line and environment of an instance.
#[derive(Clone)]
pub struct Launch {
    database: String,
    wrapper: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// Prepares an instance on a database, given as in `--database`.
    pub fn on(database: &str) -> Self {
        // The delay lets a load balancer notice the shutdown; there is none here.
        let environment = vec![("CINEQUERY_SHUTDOWN_DELAY".to_owned(), "0s".to_owned())];
        Self { database: database.to_owned(), wrapper: Vec::new(), flags: Vec::new(), environment }
    }

    /// Adds flags. A flag replaces a default one of the same name.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Adds environment variables; the environment is otherwise empty. The last value of a name is used.
    pub fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.extend(owned);
        self
    }

    /// Sets a program and its arguments that run the service, such as a shell that joins a control group. It
    /// must `exec` the service, so that signals reach it.
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts the process and returns at once.
    pub fn spawn(self) -> Instance {
        let folder = TempDir::new().unwrap();
        let binary = std::env::var(BINARY);
        let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_cinequery").to_owned());
        let mut words = self.wrapper.clone();
        words.push(binary);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").env_clear().current_dir(folder.path());
        if !self.wrapper.is_empty() {
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        }
        command.args(["--database", &self.database]);
        let common = [
            ("--auth", "open"),
            ("--rate-limit", "off"),
            ("--listen", "127.0.0.1:0"),
            ("--jwt-secret", SECRET),
        ];
        for (flag, value) in common {
            if !self.flags.iter().any(|given| given == flag) {
                command.args([flag, value]);
            }
        }
        command.args(&self.flags).envs(self.environment.iter().cloned());
        // An instance that outlives the tests must not keep their standard output open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let keeper = keeper(process.id());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A line that is not JSON, such as a panic message, is kept as a string.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock().unwrap().push((Instant::now(), line));
            }
        });
        Instance { process, keeper, log, started: Instant::now(), _folder: folder }
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(self) -> Instance {
        let mut instance = self.spawn();
        instance.wait_until_ready(START_LIMIT).await;
        instance
    }
}

/// A running instance, killed when it is dropped.
pub struct Instance {
    process: Child,
    keeper: Child,
    log: Arc<Mutex<Vec<(Instant, Value)>>>,
    started: Instant,
    _folder: TempDir,
}

impl Instance {
    /// Starts an instance with the default flags and waits until it is ready.
    pub async fn start(database: &str) -> Self {
        Launch::on(database).start().await
    }

    /// Returns `http://127.0.0.1:PORT` once the instance listens.
    pub fn url(&self) -> Option<String> {
        let log = self.log.lock().unwrap();
        let mut sockets = log.iter().filter_map(|(_, line)| line["address"].as_str());
        sockets.next().map(|socket| format!("http://{socket}"))
    }

    /// Returns the socket address of an instance that listens.
    pub fn socket(&self) -> std::net::SocketAddr {
        self.url().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Waits until /readyz responds with 200.
    ///
    /// # Panics
    /// Panics with the log if the instance has exited or is not ready in time.
    pub async fn wait_until_ready(&mut self, limit: Duration) {
        let ready = self.wait_or_ready(limit).await;
        assert!(ready.is_ok(), "{ready:?}\n{}", self.log_text());
    }

    /// Waits until /readyz responds with 200.
    ///
    /// # Errors
    /// Returns a message if the instance has exited or is not ready in time.
    pub async fn wait_or_ready(&mut self, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().unwrap() {
                // The thread that reads the log may not have received the last lines yet.
                tokio::time::sleep(Duration::from_millis(100)).await;
                let last = self.log().pop().map(|(_, line)| line.to_string()).unwrap_or_default();
                return Err(format!("the instance has exited: {status}: {last}"));
            }
            if self.url().is_some() && self.client().get("/readyz").await.status == 200 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("not ready within {limit:?}"))
    }

    /// Returns a client with a token for reading and writing movies.
    pub fn client(&self) -> Caller {
        Caller::at(&self.url().expect("the instance listens"))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the time since the start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the lines of the log so far, each with the time since the start.
    pub fn log(&self) -> Vec<(Duration, Value)> {
        let log = self.log.lock().unwrap();
        log.iter().map(|(at, line)| (at.duration_since(self.started), line.clone())).collect()
    }

    /// Returns the log as text, for messages of failed tests.
    pub fn log_text(&self) -> String {
        let lines = self.log();
        let lines = lines.iter().map(|(at, line)| format!("{:>8.3} {line}", at.as_secs_f64()));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Sends a signal by name, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let signal = format!("-{name}");
        assert!(Command::new("kill").args([&signal, &pid]).status().unwrap().success());
    }

    /// Kills the process, like `kill -9`, and waits for its exit.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGTERM and waits for the exit. Returns `None` if that takes longer than the limit.
    pub async fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        self.wait(limit).await
    }

    /// Waits for the exit. Returns `None` if that takes longer than the limit.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The keeper must end first: after the process has exited, its id may belong to another process.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        self.kill();
    }
}

/// Starts a shell that kills the process if the tests end without dropping values, such as by a signal.
fn keeper(pid: u32) -> Child {
    let script = "trap '' INT TERM; read -r _; kill -KILL \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "keeper", &pid.to_string()]).stdin(Stdio::piped());
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
