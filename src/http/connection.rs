//! The connections that are open, and which of them is closed when there are too many.
//!
//! A client that has to be waited for costs a place and perhaps memory. As long as there is room it has
//! its time limits; when there is none, the client that has kept the service waiting for the longest
//! time loses its connection first: of those that did so for a second, one that has not shown a valid token. So
//! silent or slow clients, however many, do not keep others out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, Id};
use tokio_io_timeout::TimeoutStream;

use super::limits::UNCOUNTED_BYTES;

/// How long a client may take nothing of a response that is there for it. An export has no other
/// limit of time.
const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a response the system keeps for a client that does not read, in bytes. By itself it
/// would keep megabytes for each.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Request heads of more than 8 KiB that arrive at the same time. Each may take 64 KiB; one beyond them
/// loses its connection.
const MAX_LARGE_HEADS: usize = 128;

/// An IP address with more than this part of all connections is a crowd.
const CROWD: usize = 4;

/// Connections beyond the limit, in which only probes are answered.
const MAX_EXTRA: usize = 64;

/// How long a client must have kept the service waiting before its connection is closed for the
/// memory that it holds, or before those of clients that have waited for less, in milliseconds.
const STALLED_MILLISECONDS: u64 = 1000;

/// What the milliseconds of waiting count from: a moment before the first connection.
static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));

fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What decides whether a connection is closed to make room for another.
#[derive(Debug)]
pub(super) struct Client {
    address: IpAddr,
    /// Since when it is waited for, in milliseconds; 0 while the service works for it.
    waiting_since: AtomicU64,
    /// Whether it has shown a valid token.
    has_token: AtomicBool,
    /// Whether its next request is awaited, rather than the body of one or the end of a response.
    is_in_head: AtomicBool,
    /// Memory that is reserved for its request or response, in KiB.
    held: AtomicUsize,
    /// Whether it is beyond the limit, and may ask for probes alone.
    pub(super) is_extra: bool,
}

impl Client {
    pub(super) fn new(address: IpAddr, is_extra: bool) -> Self {
        Self {
            address: address.to_canonical(),
            waiting_since: AtomicU64::new(now()),
            has_token: AtomicBool::new(false),
            is_in_head: AtomicBool::new(true),
            held: AtomicUsize::new(0),
            is_extra,
        }
    }

    /// The service works for it.
    pub(super) fn starts_work(&self) {
        self.is_in_head.store(false, Ordering::Relaxed);
        self.waiting_since.store(0, Ordering::Relaxed);
    }

    /// The service waits for it from now on.
    pub(super) fn starts_waiting(&self) {
        self.waiting_since.store(now(), Ordering::Relaxed);
    }

    /// It has its response, and its next request is awaited.
    pub(super) fn starts_over(&self) {
        self.is_in_head.store(true, Ordering::Relaxed);
        self.starts_waiting();
    }

    /// It has shown a valid token, and its request was admitted.
    pub(super) fn shows_token(&self) {
        self.has_token.store(true, Ordering::Relaxed);
    }

    pub(super) fn holds(&self, more: usize) {
        self.held.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn releases(&self, less: usize) {
        self.held.fetch_sub(less, Ordering::Relaxed);
    }

    /// It has sent something, or taken something of its response.
    fn has_progressed(&self) {
        if self.waiting_since.load(Ordering::Relaxed) != 0 {
            self.starts_waiting();
        }
    }

    /// Where it stands among those that are closed first; `None` while the service works for it. One that
    /// was awaited for less than a moment comes after all others: a client that is new, or far away, must
    /// not lose its place to those that hold theirs.
    fn rank(&self) -> Option<(bool, bool, u64)> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        let is_stalled = self.is_stalled();
        let is_spared = is_stalled && self.has_token.load(Ordering::Relaxed);
        (since != 0).then_some((!is_stalled, is_spared, since))
    }

    /// Whether it has kept the service waiting for more than a moment.
    fn is_stalled(&self) -> bool {
        let since = self.waiting_since.load(Ordering::Relaxed);
        since != 0 && since <= now().saturating_sub(STALLED_MILLISECONDS)
    }
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Open>,
    /// Places for request heads of more than [`UNCOUNTED_BYTES`] that are arriving.
    pub(super) large_heads: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Open {
    all: HashMap<Id, (Arc<Client>, AbortHandle)>,
    /// How many there are from each IP address.
    by_address: HashMap<IpAddr, usize>,
    /// How many of them are beyond the limit.
    extra: usize,
}

/// How a new connection is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is served.
    Served,
    /// It is beyond the limit: only probes are.
    Extra,
    /// It is closed.
    Closed,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let large_heads = Arc::new(Semaphore::new(MAX_LARGE_HEADS));
        Self { most, open: Mutex::default(), large_heads }
    }

    /// Makes room for another connection, if need be by closing one that is waited for.
    pub(super) fn enter(&self) -> Admission {
        let mut open = self.open();
        let (extra, regular) = (open.extra, open.all.len() - open.extra);
        let mut makes_room =
            |is_extra| open.close_one(self.most, |client| client.is_extra == is_extra).is_some();
        if regular < self.most || makes_room(false) {
            Admission::Served
        } else if extra < MAX_EXTRA || makes_room(true) {
            Admission::Extra
        } else {
            Admission::Closed
        }
    }

    /// Notes a connection that was opened.
    pub(super) fn add(&self, client: Arc<Client>, task: AbortHandle) {
        let mut open = self.open();
        *open.by_address.entry(client.address).or_default() += 1;
        open.extra += usize::from(client.is_extra);
        open.all.insert(task.id(), (client, task));
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, id: Id) {
        self.open().remove(id);
    }

    /// Closes connections of clients that hold memory and have not moved for a while, until so many
    /// KiB are free or there are no more such clients.
    pub(super) fn free(&self, wanted: usize) {
        let mut open = self.open();
        let mut freed = 0;
        while freed < wanted {
            let closed = open.close_one(self.most, |client| {
                client.is_stalled() && client.held.load(Ordering::Relaxed) > 0
            });
            let Some(client) = closed else { return };
            freed += client.held.load(Ordering::Relaxed);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, id: Id) -> Option<(Arc<Client>, AbortHandle)> {
        let (client, task) = self.all.remove(&id)?;
        self.extra -= usize::from(client.is_extra);
        if let Entry::Occupied(mut count) = self.by_address.entry(client.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some((client, task))
    }

    /// Closes the first connection in the order of [`Client::rank`], of those that may be closed, and
    /// returns its client. Those of an IP address that has more than a quarter of all come before the
    /// others: behind a proxy that is no difference, and a flood from one host hits itself.
    fn close_one(
        &mut self,
        most: usize,
        may_close: impl Fn(&Client) -> bool,
    ) -> Option<Arc<Client>> {
        // They are at most three. Looking up the count of each connection's address instead would take most
        // of the time of a connection that is accepted in a flood.
        let crowds: Vec<_> = self
            .by_address
            .iter()
            .filter(|(_, count)| **count > most / CROWD)
            .map(|(address, _)| *address)
            .collect();
        let is_crowd = |client: &Client| crowds.contains(&client.address);
        let first = self
            .all
            .iter()
            .filter(|(_, (client, _))| may_close(client))
            .filter_map(|(id, (client, _))| {
                client.rank().map(|rank| ((!is_crowd(client), rank), *id))
            })
            .min_by_key(|(rank, _)| *rank);
        let (client, task) = first.and_then(|(_, id)| self.remove(id))?;
        task.abort();
        Some(client)
    }
}

/// The bytes of a connection. It ends when its client stops reading: otherwise it would hold its
/// place for ever.
pub(super) struct Stream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    client: Arc<Client>,
    has_ended: bool,
    /// Bytes of the head that is arriving.
    head: usize,
    /// Its place among the large heads that arrive.
    place: Option<OwnedSemaphorePermit>,
    large_heads: Arc<Semaphore>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, client: Arc<Client>, large_heads: Arc<Semaphore>) -> Self {
        // Responses are written in one go: waiting for more would only delay them.
        let socket = socket2::SockRef::from(&stream);
        let set = socket.set_tcp_nodelay(true);
        if let Err(error) = set.and_then(|()| socket.set_send_buffer_size(SEND_BUFFER_BYTES)) {
            tracing::debug!(%error, "the options of a connection are not set");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_IDLE_TIMEOUT));
        Self {
            stream: Box::pin(stream),
            client,
            has_ended: false,
            head: 0,
            place: None,
            large_heads,
        }
    }

    /// The connection has ended in order.
    pub(super) fn ends(&mut self) {
        self.has_ended = true;
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.client.has_progressed();
        }
        written
    }
}

/// Whatever ends a connection before its response is whole ends it with a reset. In HTTP/1.0, where a
/// response ends with its connection, only that tells its reader that this was not the end.
impl Drop for Stream {
    fn drop(&mut self) {
        if !self.has_ended
            && let Err(error) = self.stream.get_ref().set_zero_linger()
        {
            tracing::debug!(%error, "a connection is closed, and not reset");
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(context, buffer);
        let received = buffer.filled().len() - before;
        if received > 0 {
            self.client.has_progressed();
        }
        if !self.client.is_in_head.load(Ordering::Relaxed) {
            (self.head, self.place) = (0, None);
            return read;
        }
        self.head += received;
        if self.head > UNCOUNTED_BYTES && self.place.is_none() {
            // hyper keeps what it has read of a head in a buffer that nothing else bounds.
            let place = self.large_heads.clone().try_acquire_owned();
            self.place = Some(place.map_err(|_| io::Error::other("too many large heads arrive"))?);
        }
        read
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Until a client that is awaited since the first millisecond is stalled.
    async fn later() {
        now();
        tokio::time::sleep(Duration::from_millis(2 * STALLED_MILLISECONDS)).await;
    }

    /// Stalled clients that hold so many KiB each, how many KiB are wanted, and how many clients lose their
    /// connections.
    #[tokio::test]
    async fn as_many_are_closed_as_free_what_is_wanted() {
        later().await;
        for (held, wanted, closed) in
            [(&[100, 100, 100], 250, 3), (&[100, 100, 100], 150, 2), (&[100, 0, 100], 500, 2)]
        {
            let connections = Connections::new(10);
            let mut tasks = tokio::task::JoinSet::new();
            for held in held {
                let client = Arc::new(Client::new(HERE, false));
                client.holds(*held);
                client.waiting_since.store(1, Ordering::Relaxed);
                connections.add(client, tasks.spawn(std::future::pending::<()>()));
            }
            connections.free(wanted);
            assert_eq!(held.len() - connections.open().all.len(), closed, "{held:?}, {wanted}");
        }
    }

    #[tokio::test]
    async fn the_longest_awaited_without_a_token_is_closed_first() {
        later().await;
        let young = now();
        let connections = Connections::new(3);
        let mut tasks = tokio::task::JoinSet::new();
        let mut add = |since, has_token| {
            let client = Arc::new(Client::new(HERE, false));
            client.waiting_since.store(since, Ordering::Relaxed);
            if has_token {
                client.shows_token();
            }
            connections.add(client.clone(), tasks.spawn(std::future::pending::<()>()));
            client
        };
        let clients = [add(1, true), add(5, false), add(3, false)];
        let open = || {
            let open = connections.open();
            clients
                .iter()
                .map(|client| open.all.values().any(|(open, _)| Arc::ptr_eq(open, client)))
                .collect::<Vec<_>>()
        };
        assert_eq!((connections.enter(), open()), (Admission::Served, vec![true, true, false]));
        add(0, true);
        assert_eq!((connections.enter(), open()), (Admission::Served, vec![true, false, false]));
        // A new one without a token outlives an old one with it.
        let new = add(young, false);
        assert_eq!((connections.enter(), open()), (Admission::Served, vec![false, false, false]));
        add(0, true);
        assert!(connections.open().all.values().any(|(client, _)| Arc::ptr_eq(client, &new)));
        assert_eq!(connections.enter(), Admission::Served, "the new one is awaited, too");
        add(0, true);
        assert_eq!(connections.enter(), Admission::Extra, "all are at work");
    }

    /// A flood from one address takes places from itself, however young its connections are.
    #[tokio::test]
    async fn a_crowd_is_closed_before_others() {
        later().await;
        let connections = Connections::new(8);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let address = if number < 5 { HERE } else { IpAddr::from([192, 0, 2, number]) };
            let client = Arc::new(Client::new(address, false));
            client.waiting_since.store(if number < 5 { now() } else { 1 }, Ordering::Relaxed);
            connections.add(client, tasks.spawn(std::future::pending::<()>()));
        }
        // Three of eight are still more than a quarter, two are not.
        for left in [4, 3, 2, 2] {
            assert_eq!(connections.enter(), Admission::Served);
            let next = Arc::new(Client::new(IpAddr::from([192, 0, 2, 100 + left]), false));
            next.starts_work();
            connections.add(next, tasks.spawn(std::future::pending::<()>()));
            let of_crowd = connections.open().by_address.get(&HERE).copied();
            assert_eq!(of_crowd, Some(usize::from(left)));
        }
    }
}
