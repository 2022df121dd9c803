//! A minimal HTTP/1.1 client, for malformed requests and for tests that control each connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A response, or the failure to get one. In case of a failure the status is 0.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    pub status: u16,
    /// The status line and the header fields.
    pub headers: String,
    pub body: Vec<u8>,
    pub took: Duration,
    pub failure: String,
}

impl Raw {
    /// Returns the value of a header field, or an empty string.
    pub fn header(&self, name: &str) -> &str {
        let mut fields = self.headers.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map_or("", |(_, value)| value.trim())
    }
}

/// Returns a GET request. `lines` are further header fields, each with a final CRLF.
pub fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n").into_bytes()
}

/// Returns the Authorization header field for a token.
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Sends bytes on a new connection, reads one response and closes the connection.
pub async fn exchange(to: SocketAddr, request: &[u8], limit: Duration) -> Raw {
    let start = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        // The service may respond and close the connection before the whole request is sent.
        let sent = stream.write_all(request).await;
        match read_response(&mut stream).await {
            Err(_) if sent.is_err() => Err(sent.unwrap_err()),
            read => read,
        }
    };
    let outcome = tokio::time::timeout(limit, exchange).await;
    let took = start.elapsed();
    match outcome {
        Ok(Ok(raw)) => Raw { took, ..raw },
        Ok(Err(error)) => Raw { took, failure: error.to_string(), ..Raw::default() },
        Err(_) => Raw { took, failure: format!("no response within {limit:?}"), ..Raw::default() },
    }
}

/// Reads a response: its headers, and a body with Content-Length, in chunks, or up to the end of the connection.
///
/// # Errors
/// Returns an error if the response is incomplete.
pub async fn read_response(stream: &mut TcpStream) -> std::io::Result<Raw> {
    let incomplete = |place: &str| std::io::Error::other(format!("the response ends {place}"));
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(incomplete("within the headers"));
        }
    };
    let mut body = bytes.split_off(end);
    let headers = String::from_utf8_lossy(&bytes).into_owned();
    let status = headers.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default();
    let mut raw = Raw { status, headers, ..Raw::default() };
    if raw.header("transfer-encoding") == "chunked" {
        while !body.ends_with(b"0\r\n\r\n") {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(incomplete("before the last chunk"));
            }
        }
    } else if let Ok(length) = raw.header("content-length").parse::<usize>() {
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(incomplete("within the body"));
            }
        }
    } else if status != 204 && status != 304 {
        stream.read_to_end(&mut body).await?;
    }
    raw.body = body;
    Ok(raw)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The behaviour of a hostile client on each of its connections.
#[derive(Clone, Default)]
pub struct Habit {
    /// Sent first.
    pub first: Vec<u8>,
    /// Sent repeatedly after that. The client never reads.
    pub more: Vec<u8>,
    /// The pause after each `more`.
    pub pause: Duration,
}

/// Opens connections that behave as given until a point in time. A closed connection is reopened half a second
/// later. Returns the number of connections that were opened.
pub async fn hold(to: SocketAddr, connections: usize, habit: Habit, until: Instant) -> usize {
    let mut holders = tokio::task::JoinSet::new();
    for number in 0..connections {
        let habit = habit.clone();
        holders.spawn(async move {
            let mut opened = 0;
            // The start is staggered, because simultaneous connections would overflow the accept queue.
            tokio::time::sleep(Duration::from_micros(250 * number as u64)).await;
            while Instant::now() < until {
                opened += 1;
                let left = until.saturating_duration_since(Instant::now());
                let kept = tokio::time::timeout(left, keep_to(to, number, &habit)).await;
                // The instance has exited.
                if matches!(kept, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused) {
                    break;
                }
                let left = until.saturating_duration_since(Instant::now());
                tokio::time::sleep(left.min(Duration::from_millis(500))).await;
            }
            opened
        });
    }
    holders.join_all().await.into_iter().sum()
}

/// Runs one connection until it is closed.
async fn keep_to(to: SocketAddr, number: usize, habit: &Habit) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // One source IP address has ports for 28,000 connections to an instance, including those in TIME_WAIT.
    let source = std::net::Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number % 8).unwrap());
    socket.bind((source, 0).into())?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(&habit.first).await?;
    if habit.more.is_empty() {
        // `peek` notices that the connection is closed, but leaves the data in the buffer.
        loop {
            stream.readable().await?;
            let mut byte = [0];
            if stream.peek(&mut byte).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    loop {
        stream.write_all(&habit.more).await?;
        tokio::time::sleep(habit.pause).await;
    }
}

/// Raises the limit of open files of this process and its children. Does nothing if that is not permitted.
pub fn raise_file_limit() {
    let pid = std::process::id().to_string();
    let arguments = ["--pid", &pid, "--nofile=65536:65536"];
    let _ = std::process::Command::new("prlimit").args(arguments).output();
}
