//! One connection through the proxy.
//!
//! It parses only the part of the PostgreSQL protocol that shows which statement a message runs: the sizes of
//! messages, the text of `Query`, the name and text of `Parse`, and the name in `Bind`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::{Action, MEASURED, Mode, Shared};

/// One connection.
struct Link {
    shared: Arc<Shared>,
    is_silent: AtomicBool,
    vanishes: AtomicBool,
    end: watch::Sender<bool>,
}

impl Link {
    fn silence(&self) {
        if !self.is_silent.swap(true, Ordering::SeqCst) {
            self.shared.silent.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
    }

    /// Waits if the mode requires it. The connection may be silent afterwards.
    async fn pass(&self) {
        let mut mode = self.shared.mode.subscribe();
        loop {
            let now = *mode.borrow_and_update();
            match now {
                Mode::Hold => mode.changed().await.unwrap(),
                Mode::Silent => break self.silence(),
                Mode::Delay(delay) => break tokio::time::sleep(delay).await,
                Mode::Pass | Mode::Reject => break,
            }
        }
    }

    /// Returns the action for a statement, or `None` to forward it.
    fn action(&self, sql: &str) -> Option<Action> {
        let rule = self.shared.rule.lock().unwrap();
        let rule = rule.as_ref().filter(|rule| (rule.matches)(sql))?;
        let seen = self.shared.seen.fetch_add(1, Ordering::SeqCst);
        let applies = seen >= rule.skip && seen - rule.skip < rule.times;
        applies.then(|| {
            self.shared.hits.fetch_add(1, Ordering::SeqCst);
            rule.action.clone()
        })
    }
}

/// Forwards data between a client and the server until one of them closes the connection or it is reset.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let link = Link {
        shared: shared.clone(),
        is_silent: AtomicBool::new(false),
        vanishes: AtomicBool::new(false),
        end: watch::channel(false).0,
    };
    let mut resets = shared.resets.subscribe();
    resets.borrow_and_update();
    let mut ends = link.end.subscribe();
    let _ = client.set_nodelay(true);
    let upstream = *shared.upstream.lock().unwrap();
    if let Ok(server) = TcpStream::connect(upstream).await {
        let _ = server.set_nodelay(true);
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let is_reset = tokio::select! {
            () = forward(&link, &mut from_client, &mut to_server) => false,
            () = backward(&link, &mut from_server, &mut to_client) => false,
            _ = resets.changed() => true,
            _ = ends.changed() => true,
        };
        let client = from_client.reunite(to_client).unwrap();
        let server = from_server.reunite(to_server).unwrap();
        if is_reset {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        drop(client);
        if link.vanishes.load(Ordering::SeqCst) {
            // The server's side stays open, so the server does not notice that the client is gone.
            tokio::spawn(async move {
                let _server = server;
                std::future::pending::<()>().await;
            });
        }
    }
    if link.is_silent() {
        shared.silent.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Forwards messages from the client to the server until the client closes the connection.
async fn forward(link: &Link, client: &mut OwnedReadHalf, server: &mut OwnedWriteHalf) {
    let mut pending = Vec::new();
    let mut has_started = false;
    let mut statements: HashMap<Vec<u8>, String> = HashMap::new();
    // After a replaced statement, the rest of its messages, up to `Sync`, must not reach the server.
    let mut is_replaced = false;
    loop {
        if client.read_buf(&mut pending).await.unwrap_or(0) == 0 {
            return;
        }
        while let Some(message) = next(&mut pending, has_started) {
            link.pass().await;
            if link.is_silent() {
                continue;
            }
            let kind = if has_started { message[0] } else { 0 };
            // A startup message has protocol version 3. Requests for TLS and cancellation have other numbers.
            has_started |= message.get(4..6) == Some(&[0, 3]);
            if is_replaced {
                is_replaced = kind != b'S';
                continue;
            }
            let sql = match kind {
                b'Q' => text(&message[5..]).0,
                b'P' => {
                    let (name, rest) = name(&message[5..]);
                    statements.insert(name, text(rest).0);
                    String::new()
                }
                b'B' => {
                    let statement = name(name(&message[5..]).1).0;
                    statements.get(&statement).cloned().unwrap_or_default()
                }
                _ => String::new(),
            };
            let action = if sql.is_empty() { None } else { link.action(&sql) };
            let message = match action {
                None => message,
                Some(Action::Silence) => {
                    link.silence();
                    continue;
                }
                Some(Action::Vanish) => {
                    link.vanishes.store(true, Ordering::SeqCst);
                    link.silence();
                    continue;
                }
                Some(Action::SwallowResponse) => {
                    // sqlx sends the whole statement in one write, so the rest of it is in `pending`.
                    let _ =
                        server.write_all(&[message, std::mem::take(&mut pending)].concat()).await;
                    link.silence();
                    continue;
                }
                Some(Action::Reset) => {
                    link.end.send_replace(true);
                    return std::future::pending().await;
                }
                Some(Action::Replace(sql)) => {
                    is_replaced = kind == b'B';
                    query(&sql)
                }
            };
            if server.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

/// Forwards data from the server to the client until the server closes the connection.
async fn backward(link: &Link, server: &mut OwnedReadHalf, client: &mut OwnedWriteHalf) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = server.read(&mut bytes).await.unwrap_or(0);
        if count == 0 {
            if link.is_silent() {
                // On a silent connection the close by the server is lost, too.
                return std::future::pending().await;
            }
            return;
        }
        link.pass().await;
        if link.is_silent() {
            continue;
        }
        let response = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if let Some((_, value)) = response.split_once(MEASURED) {
            let value = value.split('\0').next().unwrap_or_default().to_owned();
            *link.shared.measured.lock().unwrap() = Some(value);
        }
        if client.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Removes and returns the first message once it is complete. Messages before the start of the session have no
/// type byte.
fn next(pending: &mut Vec<u8>, has_started: bool) -> Option<Vec<u8>> {
    let at = usize::from(has_started);
    let length = pending.get(at..at + 4)?;
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + at;
    (pending.len() >= length).then(|| pending.drain(..length).collect())
}

/// Returns the bytes before the first zero byte, and those after it.
fn name(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (bytes[..end].to_vec(), bytes.get(end + 1..).unwrap_or_default())
}

fn text(bytes: &[u8]) -> (String, &[u8]) {
    let (name, rest) = name(bytes);
    (String::from_utf8_lossy(&name).into_owned(), rest)
}

/// Returns a `Query` message.
fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap();
    [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()
}
