//! The open connections, and which of them are closed when there are too many.
//!
//! A client for which the service waits occupies a connection and perhaps memory. Usually only time limits apply to
//! it. When no connection or memory is left, the client that has kept the service waiting longest is disconnected.
//! Among clients that did so for more than a second, those without a valid token come first. Silent or slow clients
//! therefore cannot block others, regardless of their number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use poem::http::HeaderValue;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, Id};
use tokio_io_timeout::TimeoutStream;
use tokio_util::either::Either;

use super::limits::UNCOUNTED_BYTES;
use super::listener;
use super::malformed;
use super::request_line::RequestLines;

/// The size of the send buffer of a socket, in bytes. By default the system would buffer megabytes for each client that
/// does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The maximum number of requests with headers of more than 8 KiB that arrive at the same time. Each may take 64 KiB of
/// memory. A connection over the limit is closed.
const MAX_LARGE_HEADERS: usize = 128;

/// The divisor of the share of an IP address: with more than a quarter of all connections it is a crowd, whose
/// connections are closed first.
const CROWD: usize = 4;

/// The maximum number of connections over the limit. They serve probes only.
const MAX_EXTRA: usize = 64;

/// The time after which a waiting client counts as stalled, in milliseconds. Stalled clients are disconnected before
/// others, and lose the memory that they hold.
const STALLED_MILLISECONDS: u64 = 1000;

/// The origin of the times in milliseconds: shortly before the first connection, so that no time is 0.
static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));

/// Returns the milliseconds since [`START`], at least 1.
fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The state of a client, which decides whether its connection is closed to make room for another.
#[derive(Debug)]
pub(super) struct Client {
    address: IpAddr,
    /// The time since which the service waits for the client, in milliseconds. 0 while the service works for it.
    waiting_since: AtomicU64,
    /// Whether the client has sent a valid token.
    has_token: AtomicBool,
    /// Whether the service waits for request headers, not for a body or for the client to read a response.
    awaits_headers: AtomicBool,
    /// The memory that is reserved for its request or response, in KiB.
    held: AtomicUsize,
    /// Whether the connection is over the limit and serves probes only.
    pub(super) is_extra: bool,
}

impl Client {
    pub(super) fn new(address: IpAddr, is_extra: bool) -> Self {
        Self {
            address: address.to_canonical(),
            waiting_since: AtomicU64::new(now()),
            has_token: AtomicBool::new(false),
            awaits_headers: AtomicBool::new(true),
            held: AtomicUsize::new(0),
            is_extra,
        }
    }

    /// Notes that the service works for the client.
    pub(super) fn starts_work(&self) {
        self.awaits_headers.store(false, Ordering::Relaxed);
        self.waiting_since.store(0, Ordering::Relaxed);
    }

    /// Notes that the service waits for the client.
    pub(super) fn starts_waiting(&self) {
        self.waiting_since.store(now(), Ordering::Relaxed);
    }

    /// Notes that the client has its response, and that the service waits for its next request.
    pub(super) fn starts_over(&self) {
        self.awaits_headers.store(true, Ordering::Relaxed);
        self.starts_waiting();
    }

    /// Notes that the client has sent a valid token, and that its request was admitted.
    pub(super) fn shows_token(&self) {
        self.has_token.store(true, Ordering::Relaxed);
    }

    /// Adds to the memory that the client holds, in KiB.
    pub(super) fn holds(&self, more: usize) {
        self.held.fetch_add(more, Ordering::Relaxed);
    }

    /// Subtracts from the memory that the client holds, in KiB.
    pub(super) fn releases(&self, less: usize) {
        self.held.fetch_sub(less, Ordering::Relaxed);
    }

    /// Notes that the client has sent or read something.
    fn has_progressed(&self) {
        if self.waiting_since.load(Ordering::Relaxed) != 0 {
            self.starts_waiting();
        }
    }

    /// Returns the rank of the client: the lowest rank is disconnected first. Returns `None` while the service works
    /// for it. Clients that are not stalled come last, so that new or distant clients do not lose their connections to
    /// clients that only hold theirs. Among both, those that have shown a valid token come after the others: in a flood
    /// of connections, a client that pauses between its requests has waited longer than any of the flood.
    fn rank(&self) -> Option<(bool, bool, u64)> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        let has_token = self.has_token.load(Ordering::Relaxed);
        (since != 0).then_some((!self.is_stalled(), has_token, since))
    }

    /// Returns whether the client has kept the service waiting for [`STALLED_MILLISECONDS`].
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
    /// Permits for arriving request headers of more than [`UNCOUNTED_BYTES`].
    pub(super) large_headers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Open {
    all: HashMap<Id, (Arc<Client>, AbortHandle)>,
    /// The number of connections per IP address.
    by_address: HashMap<IpAddr, usize>,
    /// How many of them are beyond the limit.
    extra: usize,
}

/// The decision about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is served without restrictions.
    Served,
    /// It is over the limit: only probes are served.
    Extra,
    /// It is closed.
    Closed,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let large_headers = Arc::new(Semaphore::new(MAX_LARGE_HEADERS));
        Self { most, open: Mutex::default(), large_headers }
    }

    /// Makes room for another connection. At the limit, closes a connection whose client the service waits for.
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

    /// Returns the number of open connections.
    pub(super) fn count(&self) -> usize {
        self.open().all.len()
    }

    /// Adds a new connection.
    pub(super) fn add(&self, client: Arc<Client>, task: AbortHandle) {
        let mut open = self.open();
        *open.by_address.entry(client.address).or_default() += 1;
        open.extra += usize::from(client.is_extra);
        open.all.insert(task.id(), (client, task));
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, id: Id) {
        self.open().remove(id);
    }

    /// Closes connections of stalled clients that hold memory, until `wanted` KiB are free or there are no more such
    /// clients.
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

    /// Closes the connection with the lowest [`Client::rank`] among those that `may_close` selects, and returns its
    /// client. Connections of an IP address with more than a quarter of all come first, so that a flood from one host
    /// closes its own connections. Behind a proxy this has no effect, because all connections have its IP address.
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

/// The byte stream of a connection. It fails when the client stops reading; otherwise the connection would stay open
/// indefinitely.
pub(super) struct Stream {
    stream: Pin<Box<TimeoutStream<listener::Connection>>>,
    client: Arc<Client>,
    /// The page that may read the problem of a request that cannot be parsed.
    page: Option<HeaderValue>,
    has_ended: bool,
    /// The bytes of the arriving request headers.
    header_bytes: usize,
    /// The permit for large request headers.
    permit: Option<OwnedSemaphorePermit>,
    large_headers: Arc<Semaphore>,
    lines: RequestLines,
    /// Received bytes that did not fit into the buffer of the parser, because their encoding is longer.
    received: Bytes,
    /// Whether the last write was complete, so that the next one starts a response or a part of one.
    is_write_whole: bool,
    /// The rest of a response that replaces one of the parser.
    replacement: Option<Bytes>,
}

impl Stream {
    /// Creates the stream of a client, which may leave a response unread for `write`. Pages of the origin `page` may read
    /// the problem of a request that cannot be parsed.
    pub(super) fn new(
        stream: listener::Connection,
        client: Arc<Client>,
        page: Option<HeaderValue>,
        large_headers: Arc<Semaphore>,
        write: Duration,
    ) -> Self {
        // Responses are written at once. Nagle's algorithm would only delay them.
        let set = match &stream {
            Either::Left(stream) => stream.set_nodelay(true).map(|()| SockRef::from(stream)),
            Either::Right(stream) => Ok(SockRef::from(stream)),
        };
        if let Err(error) = set.and_then(|set| set.set_send_buffer_size(SEND_BUFFER_BYTES)) {
            tracing::debug!(%error, "socket options not set");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write));
        Self {
            stream: Box::pin(stream),
            client,
            page,
            has_ended: false,
            header_bytes: 0,
            permit: None,
            large_headers,
            lines: RequestLines::new(),
            received: Bytes::new(),
            is_write_whole: true,
            replacement: None,
        }
    }

    /// Notes that the connection has ended regularly.
    pub(super) fn ends(&mut self) {
        self.has_ended = true;
    }

    /// Sends the problem for a client that speaks HTTP/2, before the connection ends.
    pub(super) async fn reject_http2(&mut self) {
        let Some(response) =
            malformed::http2(self.client.address, self.page.as_ref()).filter(|_| !self.has_ended)
        else {
            return;
        };
        self.has_ended = self.stream.write_all(&response).await.is_ok();
    }

    /// Encodes what was received after the first `before` bytes of a buffer.
    fn encode(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let received = buffer.filled().get(before..).unwrap_or_default();
        if let Some(encoded) = self.lines.encode(received) {
            buffer.set_filled(before);
            self.received = encoded.into();
            self.deliver(buffer);
        }
    }

    /// Moves as much of [`Self::received`] to the buffer as it has room for.
    fn deliver(&mut self, buffer: &mut ReadBuf<'_>) {
        let part = self.received.split_to(self.received.len().min(buffer.remaining()));
        buffer.put_slice(&part);
    }

    /// Sends a problem in place of these bytes, if they are a response of the parser; `None` if they are not. After a
    /// part of a write, the bytes are the rest of a response and may have any content.
    fn replace(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<()>>> {
        if self.replacement.is_none() && self.is_write_whole {
            self.replacement = malformed::replaced(bytes, self.client.address, self.page.as_ref());
        }
        let left = self.replacement.as_mut()?;
        if left.is_empty() {
            // It was the last response.
            return Some(Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())));
        }
        while !left.is_empty() {
            match self.stream.as_mut().poll_write(context, left) {
                Poll::Ready(Ok(written)) => left.advance(written),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.has_ended = true;
        Some(Poll::Ready(Ok(())))
    }

    fn noted(
        &mut self,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = written {
            self.client.has_progressed();
            self.is_write_whole = written == length;
        }
        written
    }
}

/// Resets a connection that ends before its response is complete. In HTTP/1.0 a response ends with its connection, so
/// that only a reset shows that it is incomplete.
impl Drop for Stream {
    fn drop(&mut self) {
        if !self.has_ended
            && let Either::Left(stream) = self.stream.get_ref()
            && let Err(error) = stream.set_zero_linger()
        {
            tracing::debug!(%error, "connection closed instead of reset");
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.received.is_empty() {
            self.deliver(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(context, buffer);
        let received = buffer.filled().len() - before;
        self.encode(buffer, before);
        if received > 0 {
            self.client.has_progressed();
        }
        if !self.client.awaits_headers.load(Ordering::Relaxed) {
            (self.header_bytes, self.permit) = (0, None);
            return read;
        }
        self.header_bytes += received;
        if self.header_bytes > UNCOUNTED_BYTES && self.permit.is_none() {
            // hyper buffers the headers it has read, and nothing else limits these buffers together.
            let permit = self.large_headers.clone().try_acquire_owned();
            let permit = permit.map_err(|_| io::Error::other("too many large request headers"))?;
            self.permit = Some(permit);
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
        if let Some(replaced) = self.replace(context, bytes) {
            return replaced.map_ok(|()| bytes.len());
        }
        let written = self.stream.as_mut().poll_write(context, bytes);
        self.noted(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if let Some(first) = slices.first().filter(|first| first.len() == length)
            && let Some(replaced) = self.replace(context, first)
        {
            return replaced.map_ok(|()| length);
        }
        let written = self.stream.as_mut().poll_write_vectored(context, slices);
        self.noted(written, length)
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

    /// Waits until a client is stalled for which the service waits since the first millisecond.
    async fn wait_until_stalled() {
        now();
        tokio::time::sleep(Duration::from_millis(2 * STALLED_MILLISECONDS)).await;
    }

    /// Cases: the KiB that each stalled client holds, the wanted KiB, and the number of closed connections.
    #[tokio::test]
    async fn only_as_many_connections_are_closed_as_free_the_wanted_memory() {
        wait_until_stalled().await;
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
    async fn the_longest_waiting_client_without_a_token_is_closed_first() {
        wait_until_stalled().await;
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
        assert_eq!(
            connections.enter(),
            Admission::Served,
            "the service also waits for the new one"
        );
        add(0, true);
        assert_eq!(connections.enter(), Admission::Extra, "the service works for all of them");
    }

    /// A client that pauses between its requests has waited longer than any of a flood.
    #[tokio::test]
    async fn a_pausing_client_with_a_token_outlives_a_flood() {
        wait_until_stalled().await;
        let connections = Connections::new(3);
        let mut tasks = tokio::task::JoinSet::new();
        for (waited, has_token) in [(250, true), (50, false), (10, false)] {
            let client = Arc::new(Client::new(HERE, false));
            client.waiting_since.store(now() - waited, Ordering::Relaxed);
            if has_token {
                client.shows_token();
            }
            connections.add(client, tasks.spawn(std::future::pending::<()>()));
        }
        for left in [2, 1] {
            assert_eq!(connections.enter(), Admission::Served);
            let next = Arc::new(Client::new(HERE, false));
            next.starts_work();
            connections.add(next, tasks.spawn(std::future::pending::<()>()));
            let open = connections.open();
            let waiting = open.all.values().filter(|(client, _)| client.rank().is_some());
            assert_eq!(waiting.clone().count(), left);
            assert!(
                waiting.into_iter().any(|(client, _)| client.has_token.load(Ordering::Relaxed))
            );
        }
    }

    /// A flood from one IP address loses its own connections, even if they are new.
    #[tokio::test]
    async fn a_crowd_is_closed_before_others() {
        wait_until_stalled().await;
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
