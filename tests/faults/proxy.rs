//! A proxy between an instance and PostgreSQL whose behaviour changes while it runs.
//!
//! It has a thread of its own, so that a test that blocks does not delay it. What a connection does is in
//! `link`.

mod link;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use self::link::serve;

/// What happens to every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// What is sent is lost, and a connection that has lost something stays silent for ever: a router
    /// has forgotten it. No socket is closed.
    Silent,
    /// What is sent arrives once the mode is another, as when TCP sends it again.
    Hold,
    /// What is sent arrives that much later.
    Delay(Duration),
    /// New connections are refused; the present ones go on.
    Refuse,
}

/// What happens to the connection that runs a statement.
#[derive(Debug, Clone)]
pub enum Action {
    /// The statement is lost, and the connection is silent from then on.
    Silence,
    /// The statement arrives; its response is lost, and the connection is silent from then on.
    SwallowResponse,
    /// As [`Action::Silence`], and the server's side stays open when the client closes its own: the
    /// client's machine has lost its power.
    Vanish,
    /// Both sides are reset.
    Reset,
    /// The server runs this SQL instead. One that raises an exception fails the transaction as a real
    /// failure would.
    Replace(String),
}

/// Which statements an action applies to.
struct Rule {
    matches: Box<dyn Fn(&str) -> bool + Send>,
    /// So many that match pass first.
    skip: usize,
    /// To so many it applies then.
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
    /// Open connections that have become silent.
    silent: AtomicUsize,
    /// The text that follows [`MEASURED`] in a response of the server.
    measured: Mutex<Option<String>>,
}

/// What a statement that replaces another puts before a value that the test wants to know.
pub const MEASURED: &str = "measured:";

/// A proxy on a free port; its connections end when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// In front of the server at that address.
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

    /// In front of the server of a URL such as `postgres://user@127.0.0.1:PORT/name`.
    pub fn before(url: &str) -> Self {
        Self::start(socket_of(url))
    }

    /// The URL with the proxy in place of the server.
    pub fn url(&self, url: &str) -> String {
        url.replace(&socket_of(url).to_string(), &format!("127.0.0.1:{}", self.port))
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Where new connections lead; the present ones stay.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }

    /// Resets all connections.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// Applies the action to so many (`times`) of the statements that match, after the first `skip`.
    /// There is one rule at a time.
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

    /// No statement is special any more.
    pub fn clear(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// How often the present or last rule was applied.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// How many of these have become silent.
    pub fn silent(&self) -> usize {
        self.shared.silent.load(Ordering::SeqCst)
    }

    /// What the server said last after [`MEASURED`].
    pub fn measured(&self) -> Option<String> {
        self.shared.measured.lock().unwrap().clone()
    }
}

/// Where a URL's server listens.
pub fn socket_of(url: &str) -> SocketAddr {
    let server = url.split_once('@').unwrap().1.split('/').next().unwrap();
    server.parse().unwrap()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut mode = shared.mode.subscribe();
    loop {
        let refuses = *mode.borrow_and_update() == Mode::Refuse;
        if refuses {
            // Without a listener the system refuses connections itself.
            listener = None;
            mode.changed().await.unwrap();
            continue;
        }
        if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
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

/// SQL that fails with that SQLSTATE.
pub fn failing(code: &str) -> Action {
    Action::Replace(format!(
        "DO $$ BEGIN RAISE EXCEPTION 'injected by a test' USING ERRCODE = '{code}'; END $$"
    ))
}
