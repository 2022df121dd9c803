//! The connections that are open, and which of them is closed when there are too many.
//!
//! A client that has to be waited for costs a place and perhaps memory. As long as there is room it has
//! its time limits; when there is none, the client that has kept the service waiting for the longest
//! time loses its connection first, and before all others one that has not shown a good token. So
//! silent or slow clients, however many, do not keep others out.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, Id};
use tokio_io_timeout::TimeoutStream;

/// How long a client may take nothing of a response that is there for it. An export has no other
/// limit of time.
const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a response the system keeps for a client that does not read, in bytes. By itself it
/// would keep megabytes for each.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Connections beyond the limit, in which only probes are answered.
const MAX_EXTRA: usize = 64;

/// How long a client must have kept the service waiting before its connection is closed for the
/// memory that it holds.
const STALLED: Duration = Duration::from_secs(1);

/// What the milliseconds of waiting count from: a moment before the first connection.
static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));

fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What decides whether a connection is closed to make room for another.
#[derive(Debug)]
pub(super) struct Client {
    /// Since when it is waited for, in milliseconds; 0 while the service works for it.
    waiting_since: AtomicU64,
    /// Whether it has shown a good token.
    is_known: AtomicBool,
    /// Memory that is reserved for its request or response, in KiB.
    held: AtomicUsize,
    /// Whether it is beyond the limit, and may ask for probes alone.
    pub(super) is_extra: bool,
}

impl Client {
    pub(super) fn new(is_extra: bool) -> Self {
        Self {
            waiting_since: AtomicU64::new(now()),
            is_known: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            is_extra,
        }
    }

    /// The service works for it.
    pub(super) fn starts_work(&self) {
        self.waiting_since.store(0, Ordering::Relaxed);
    }

    /// The service waits for it from now on.
    pub(super) fn starts_waiting(&self) {
        self.waiting_since.store(now(), Ordering::Relaxed);
    }

    /// It has shown a good token.
    pub(super) fn shows_token(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    pub(super) fn holds(&self, more: usize) {
        self.held.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn releases(&self, less: usize) {
        self.held.fetch_sub(less, Ordering::Relaxed);
    }

    /// It has taken something of its response.
    fn has_progressed(&self) {
        if self.waiting_since.load(Ordering::Relaxed) != 0 {
            self.starts_waiting();
        }
    }

    /// Where it stands among those that are closed first; `None` while the service works for it.
    fn rank(&self) -> Option<(bool, u64)> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        (since != 0).then(|| (self.is_known.load(Ordering::Relaxed), since))
    }
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<HashMap<Id, (Arc<Client>, AbortHandle)>>,
}

/// How a new connection is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is served.
    Served,
    /// It is beyond the limit: only probes are.
    Extra,
    /// It is closed.
    Closed,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Makes room for another connection, if need be by closing one that is waited for.
    pub(super) fn enter(&self) -> Entry {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let extra = open.values().filter(|(client, _)| client.is_extra).count();
        let regular = open.len() - extra;
        let mut makes_room =
            |is_extra| close_one(&mut open, |client| client.is_extra == is_extra).is_some();
        if regular < self.most || makes_room(false) {
            Entry::Served
        } else if extra < MAX_EXTRA || makes_room(true) {
            Entry::Extra
        } else {
            Entry::Closed
        }
    }

    /// Notes a connection that was opened.
    pub(super) fn add(&self, client: Arc<Client>, task: AbortHandle) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(task.id(), (client, task));
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, id: Id) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Closes connections of clients that hold memory and have not moved for a while, until so many
    /// KiB are free or there are no more such clients.
    pub(super) fn free(&self, wanted: usize) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled_before = now().saturating_sub(STALLED.as_millis().try_into().unwrap_or(0));
        let mut freed = 0;
        while freed < wanted {
            let closed = close_one(&mut open, |client| {
                let is_stalled = client.rank().is_some_and(|(_, since)| since < stalled_before);
                is_stalled && client.held.load(Ordering::Relaxed) > 0
            });
            let Some(client) = closed else { return };
            freed += client.held.load(Ordering::Relaxed);
        }
    }
}

/// Closes the connection that has been waited for longest, of those that may be closed, and returns its
/// client.
fn close_one(
    open: &mut HashMap<Id, (Arc<Client>, AbortHandle)>,
    may_close: impl Fn(&Client) -> bool,
) -> Option<Arc<Client>> {
    let first = open
        .iter()
        .filter(|(_, (client, _))| may_close(client))
        .filter_map(|(id, (client, _))| client.rank().map(|rank| (rank, *id)))
        .min_by_key(|(rank, _)| *rank);
    let (client, task) = first.and_then(|(_, id)| open.remove(&id))?;
    task.abort();
    Some(client)
}

/// The bytes of a connection. It ends when its client stops reading: otherwise it would hold its
/// place for ever.
pub(super) struct Stream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    client: Arc<Client>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, client: Arc<Client>) -> Self {
        // Responses are written in one go: waiting for more would only delay them.
        let socket = socket2::SockRef::from(&stream);
        let set = socket.set_tcp_nodelay(true);
        if let Err(error) = set.and_then(|()| socket.set_send_buffer_size(SEND_BUFFER_BYTES)) {
            tracing::debug!(%error, "the options of a connection are not set");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_IDLE_TIMEOUT));
        Self { stream: Box::pin(stream), client }
    }

    /// Ends the connection with a reset. In HTTP/1.0, where a response ends with its connection, only
    /// that tells its reader that this was not the end.
    pub(super) fn reset(&self) -> io::Result<()> {
        self.stream.get_ref().set_zero_linger()
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.client.has_progressed();
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stalled clients that hold so many KiB each, how many KiB are wanted, and how many clients lose their
    /// connections.
    #[tokio::test]
    async fn as_many_are_closed_as_free_what_is_wanted() {
        tokio::time::sleep(2 * STALLED).await;
        for (held, wanted, closed) in
            [(&[100, 100, 100], 250, 3), (&[100, 100, 100], 150, 2), (&[100, 0, 100], 500, 2)]
        {
            let connections = Connections::new(10);
            let mut tasks = tokio::task::JoinSet::new();
            for held in held {
                let client = Arc::new(Client::new(false));
                client.holds(*held);
                client.waiting_since.store(1, Ordering::Relaxed);
                connections.add(client, tasks.spawn(std::future::pending::<()>()));
            }
            connections.free(wanted);
            let open = connections.open.lock().unwrap_or_else(PoisonError::into_inner).len();
            assert_eq!(held.len() - open, closed, "{held:?}, {wanted}");
        }
    }

    #[tokio::test]
    async fn the_longest_awaited_without_a_token_is_closed_first() {
        let connections = Connections::new(3);
        let mut tasks = tokio::task::JoinSet::new();
        let mut add = |since, has_token| {
            let client = Arc::new(Client::new(false));
            client.waiting_since.store(since, Ordering::Relaxed);
            if has_token {
                client.shows_token();
            }
            connections.add(client.clone(), tasks.spawn(std::future::pending::<()>()));
            client
        };
        let clients = [add(1, true), add(5, false), add(3, false)];
        let open = || {
            let open = connections.open.lock().unwrap_or_else(PoisonError::into_inner);
            clients
                .iter()
                .map(|client| open.values().any(|(open, _)| Arc::ptr_eq(open, client)))
                .collect::<Vec<_>>()
        };
        assert_eq!((connections.enter(), open()), (Entry::Served, vec![true, true, false]));
        add(0, true);
        assert_eq!((connections.enter(), open()), (Entry::Served, vec![true, false, false]));
        add(0, true);
        assert_eq!((connections.enter(), open()), (Entry::Served, vec![false, false, false]));
        add(0, true);
        assert_eq!(connections.enter(), Entry::Extra, "all are at work");
    }
}
