//! HTTP/1.1 by hand: for requests that no well-behaved client sends, and for connections that are counted.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A response, or the failure to get one (then the status is 0).
#[derive(Debug, Clone, Default)]
pub struct Raw {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub took: Duration,
    pub failure: String,
}

impl Raw {
    /// The value of a header field, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map_or("", |(_, value)| value.trim())
    }
}

/// A GET request with these further lines, which each end in CRLF.
pub fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n").into_bytes()
}

/// The header field of a token.
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Sends bytes on a new connection and reads one response. Its connection is not kept.
pub async fn exchange(to: SocketAddr, request: &[u8], limit: Duration) -> Raw {
    let start = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        // The response may come, and the connection close, before all of the request is sent.
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
        Err(_) => Raw { took, failure: format!("nothing within {limit:?}"), ..Raw::default() },
    }
}

/// Reads a response: its head, and a body of a known length, in chunks, or up to the end of the connection.
/// One that breaks off is an error.
pub async fn read_response(stream: &mut TcpStream) -> std::io::Result<Raw> {
    let broken = |what: &str| std::io::Error::other(format!("the response breaks off {what}"));
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(broken("in its head"));
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default();
    let mut raw = Raw { status, head, ..Raw::default() };
    if raw.header("transfer-encoding") == "chunked" {
        while !body.ends_with(b"0\r\n\r\n") {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(broken("between two chunks"));
            }
        }
    } else if let Ok(length) = raw.header("content-length").parse::<usize>() {
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(broken("in its body"));
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

/// What a hostile client sends on each of its connections.
#[derive(Clone, Default)]
pub struct Habit {
    /// At once.
    pub first: Vec<u8>,
    /// Then this, again and again, after a pause each time. Nothing is ever read.
    pub more: Vec<u8>,
    pub pause: Duration,
}

/// Opens that many connections and keeps to the habit on each, until a moment; a connection that is closed
/// is opened again half a second later. Returns how often connections were opened.
pub async fn hold(to: SocketAddr, connections: usize, habit: Habit, until: Instant) -> usize {
    let mut holders = tokio::task::JoinSet::new();
    for number in 0..connections {
        let habit = habit.clone();
        holders.spawn(async move {
            let mut opened = 0;
            // All at once they would overflow the queue of the listener.
            tokio::time::sleep(Duration::from_micros(250 * number as u64)).await;
            while Instant::now() < until {
                opened += 1;
                let left = until.saturating_duration_since(Instant::now());
                let kept = tokio::time::timeout(left, keep_to(to, number, &habit)).await;
                // The instance is gone.
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

/// Ends when the connection is closed.
async fn keep_to(to: SocketAddr, number: usize, habit: &Habit) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // The ports of one source address do for 28,000 connections to an instance, and those that wait for
    // their end count among them.
    let source = std::net::Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number % 8).unwrap());
    socket.bind((source, 0).into())?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(&habit.first).await?;
    if habit.more.is_empty() {
        // Notices a close, but takes nothing out of the buffer.
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

/// Raises the limit of open files of this process and of those it starts, where that may be done.
pub fn raise_file_limit() {
    let pid = std::process::id().to_string();
    let arguments = ["--pid", &pid, "--nofile=65536:65536"];
    let _ = std::process::Command::new("prlimit").args(arguments).output();
}
