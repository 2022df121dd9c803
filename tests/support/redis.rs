//! A Redis server for a single test, on a free port, which the test can stop and restart.
//!
//! Like the PostgreSQL cluster, it is started by a shell that waits on its standard input and stops the server when
//! the tests end.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A server without persistence: it loses all data when it is stopped.
pub struct RedisServer {
    port: u16,
    /// The certificate file for TLS, or `None` for plain text.
    certificate: Option<PathBuf>,
    running: Option<(Child, ChildStdin)>,
}

/// Starts the server with the options in `$@`, and kills it after a line or the end of standard input.
const KEEPER: &str = r#"
trap '' INT TERM
redis-server --save '' --appendonly no --bind 127.0.0.1 "$@" >/dev/null 2>&1 </dev/null &
server=$!
echo started
exec >/dev/null
read -r _
kill -KILL "$server"
wait "$server" 2>/dev/null
"#;

impl RedisServer {
    pub fn start() -> Self {
        let mut server = Self { port: free_port(), certificate: None, running: None };
        server.start_again();
        server
    }

    /// Starts a server with TLS, with these files as certificate and key.
    pub fn start_with_tls(certificate: PathBuf, key: &str) -> Self {
        let mut server = Self { port: free_port(), certificate: Some(certificate), running: None };
        let certificate = server.certificate.clone().unwrap().display().to_string();
        let port = server.port.to_string();
        server.run(&[
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            key,
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            &certificate,
        ]);
        server
    }

    pub fn start_again(&mut self) {
        let port = self.port.to_string();
        self.run(&["--port", &port]);
    }

    fn run(&mut self, options: &[&str]) {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (keeper.stdin.take().unwrap(), keeper.stdout.take().unwrap());
        self.running = Some((keeper, input));
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "started");
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!(
            "Redis did not start within 10 s; is redis-server installed? `make test` installs it as root"
        );
    }

    /// Kills the server, as in a crash.
    pub fn stop(&mut self) {
        if let Some((mut keeper, mut input)) = self.running.take() {
            let _ = input.write_all(b"\n");
            drop(input);
            keeper.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        let host = if self.certificate.is_some() { "localhost" } else { "127.0.0.1" };
        format!("{scheme}://{host}:{}", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
