//! A TCP proxy between an instance and PostgreSQL that injects network faults and replaces statements.
//!
//! It runs in a thread of its own, so that a blocking test does not delay it. `link` handles a connection.

mod link;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use self::link::serve;

/// The behaviour of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Data is forwarded.
    Pass,
    /// Data is lost, and a connection that has lost data stays silent forever, as when a router has forgotten
    /// it. No socket is closed.
    Silent,
    /// Data arrives when the mode changes, as after a TCP retransmission.
    Hold,
    /// Data arrives later by this duration.
    Delay(Duration),
    /// New connections are rejected; existing ones continue.
    Reject,
}

/// A fault that a statement triggers on its connection.
#[derive(Debug, Clone)]
pub enum Action {
    /// The statement is lost, and the connection becomes silent.
    Silence,
    /// The statement arrives, its response is lost, and the connection becomes silent.
    SwallowResponse,
    /// Like [`Action::Silence`], but the server's side stays open after the client's side is closed, as when the
    /// client's machine has lost power.
    Vanish,
    /// Both sides of the connection are reset.
    Reset,
    /// The server runs this SQL instead. SQL that raises an exception makes the transaction fail like a real
    /// error.
    Replace(String),
}

/// An action and the statements that it applies to.
struct Rule {
    matches: Box<dyn Fn(&str) -> bool + Send>,
    /// The number of matching statements to forward first.
    skip: usize,
    /// The number of matching statements after that to which the action applies.
    times: usize,
    action: Action,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    resets: watch::Sender<usize>,
    rule: Mutex<Option<Rule>>,
    hits: AtomicUsize,
    seen: AtomicUsize,
    /// The number of open connections that have become silent.
    silent: AtomicUsize,
    /// The text that follows [`MEASURED`] in a response of the server.
    measured: Mutex<Option<String>>,
}

/// The marker that a replaced statement writes before a value for the test.
pub const MEASURED: &str = "measured:";

/// A proxy on a free port. Dropping it closes its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts a proxy in front of the server at that socket address.
    pub fn start(upstream: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            mode: watch::channel(Mode::Pass).0,
            resets: watch::channel(0).0,
            rule: Mutex::new(None),
            hits: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            measured: Mutex::new(None),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, port) = std::sync::mpsc::channel();
        let listening = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, listening) => {}
                }
            });
        });
        Self { port: port.recv().unwrap(), shared, _stop: stop }
    }

    /// Starts a proxy in front of the server of a URL such as `postgres://user@127.0.0.1:PORT/name`.
    pub fn before(url: &str) -> Self {
        Self::start(socket_of(url))
    }

    /// Returns the URL with the proxy in place of the server.
    pub fn url(&self, url: &str) -> String {
        url.replace(&socket_of(url).to_string(), &format!("127.0.0.1:{}", self.port))
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Changes the server of new connections. Existing ones keep theirs.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }

    /// Resets all connections.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// Forwards the first `skip` matching statements and applies the action to the next `times`. Replaces the
    /// previous rule.
    pub fn on(
        &self,
        matches: impl Fn(&str) -> bool + Send + 'static,
        skip: usize,
        times: usize,
        action: Action,
    ) {
        let mut rule = self.shared.rule.lock().unwrap();
        self.shared.hits.store(0, Ordering::SeqCst);
        self.shared.seen.store(0, Ordering::SeqCst);
        *rule = Some(Rule { matches: Box::new(matches), skip, times, action });
    }

    /// Removes the rule.
    pub fn clear(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// Returns how often the current or last rule was applied.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections that have become silent.
    pub fn silent(&self) -> usize {
        self.shared.silent.load(Ordering::SeqCst)
    }

    /// Returns the text that the server last sent after [`MEASURED`].
    pub fn measured(&self) -> Option<String> {
        self.shared.measured.lock().unwrap().clone()
    }
}

/// Returns the socket address of a URL's server.
pub fn socket_of(url: &str) -> SocketAddr {
    let server = url.split_once('@').unwrap().1.split('/').next().unwrap();
    server.parse().unwrap()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let socket = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut mode = shared.mode.subscribe();
    loop {
        let is_closed = *mode.borrow_and_update() == Mode::Reject;
        if is_closed {
            // Without a listener the operating system rejects connections.
            listener = None;
            mode.changed().await.unwrap();
            continue;
        }
        if listener.is_none() {
            listener = TcpListener::bind(socket).await.ok();
        }
        let Some(open) = &listener else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::select! {
            _ = mode.changed() => {}
            accepted = open.accept() => {
                tokio::spawn(serve(accepted.unwrap().0, shared.clone()));
            }
        }
    }
}

/// Returns an action that makes the statement fail with that SQLSTATE.
pub fn failing(code: &str) -> Action {
    Action::Replace(format!(
        "DO $$ BEGIN RAISE EXCEPTION 'injected by a test' USING ERRCODE = '{code}'; END $$"
    ))
}
