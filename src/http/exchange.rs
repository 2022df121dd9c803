//! One request and its response, as far as time and memory are concerned: how long it may still take,
//! and what is reserved for it.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use poem::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Limits;
use super::connection::{Client, Connections};
use super::probe::LastProbe;
use crate::error::{Error, Result};

/// How long a request waits for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(1);

/// How many may wait for it at a time: a response that waits is in memory already.
const MAX_WAITING: usize = 8;

/// What all requests of the process share.
pub(super) struct Service {
    pub(super) limits: Limits,
    pub(super) connections: Connections,
    /// What may be in memory of requests and responses, in KiB.
    memory: Arc<Semaphore>,
    /// Who may wait for memory.
    waiting: Semaphore,
    /// The last probe of the database.
    pub(super) probe: LastProbe,
    /// The service was told to stop.
    pub(super) is_stopping: AtomicBool,
}

impl Service {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            connections: Connections::new(limits.connections),
            memory: Arc::new(Semaphore::new(kibibytes(limits.buffered_bytes))),
            waiting: Semaphore::new(MAX_WAITING),
            probe: LastProbe::default(),
            is_stopping: AtomicBool::new(false),
            limits,
        }
    }
}

fn kibibytes(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

/// One request and its response.
pub(super) struct Exchange {
    pub(super) service: Arc<Service>,
    pub(super) client: Arc<Client>,
    /// When the request has taken too long; `None` while it is its client that takes time.
    until: Mutex<Option<Instant>>,
}

impl Exchange {
    pub(super) fn new(service: Arc<Service>, client: Arc<Client>) -> Self {
        let until = Mutex::new(Some(Instant::now() + service.limits.request));
        Self { service, client, until }
    }

    /// The exchange of a request.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the request did not come through [`super::serve()`].
    pub(super) fn of(request: &Request) -> Result<Arc<Self>> {
        let exchange = request.data::<Arc<Self>>().cloned();
        exchange.ok_or_else(|| Error::internal("a request without its exchange"))
    }

    /// Whether the service was told to stop: then every response asks to close its connection.
    pub(super) fn is_stopping(&self) -> bool {
        self.service.is_stopping.load(Ordering::Relaxed)
    }

    /// Waits for work on the request for as long as it may take.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when it takes longer.
    pub(super) async fn within<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T> {
        let mut alarm = pin!(tokio::time::sleep(self.service.limits.request));
        let outcome = std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(context) {
                return std::task::Poll::Ready(Some(done));
            }
            let Some(until) = self.until() else { return std::task::Poll::Pending };
            if alarm.deadline() != until {
                alarm.as_mut().reset(until);
            }
            alarm.as_mut().poll(context).map(|()| None)
        });
        outcome.await.ok_or_else(|| {
            let seconds = self.service.limits.request.as_secs();
            let detail = format!("the request took longer than {seconds} s; retry later");
            Error { detail, ..Error::unavailable("a request took too long") }
        })
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_until(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// The client is waited for until this is dropped. Its time has limits of its own, and after it the
    /// request has all of its time again.
    pub(super) fn awaiting(&self) -> Awaiting<'_> {
        self.set_until(None);
        self.client.starts_waiting();
        Awaiting(self)
    }

    /// The request has no limit of time from now on, as a file that comes in has limits of its own.
    pub(super) fn lift_time_limit(&self) {
        self.set_until(None);
    }

    /// Reserves memory for a body. When there is none left, clients that take nothing of theirs lose
    /// it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when there is none.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Reserved> {
        let size = kibibytes(bytes);
        let wanted = u32::try_from(size).unwrap_or(u32::MAX);
        let memory = &self.service.memory;
        let permit = match memory.clone().try_acquire_many_owned(wanted) {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.service.connections.free(size);
                self.wait_for(memory.clone().acquire_many_owned(wanted)).await
            }
        };
        let permit = permit.ok_or_else(|| {
            let detail = "the service has no memory left for this request; retry later".to_owned();
            Error { detail, ..Error::unavailable("no memory is left") }
        })?;
        self.client.holds(size);
        Ok(Reserved { client: self.client.clone(), size, _permit: permit })
    }

    async fn wait_for<T, E>(
        &self,
        memory: impl Future<Output = std::result::Result<T, E>>,
    ) -> Option<T> {
        let _place = self.service.waiting.try_acquire().ok()?;
        tokio::time::timeout(MEMORY_TIMEOUT, memory).await.ok()?.ok()
    }
}

/// Marks that the client is being waited for, until it is dropped.
pub(super) struct Awaiting<'a>(&'a Exchange);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.client.starts_work();
        self.0.set_until(Some(Instant::now() + self.0.service.limits.request));
    }
}

/// Memory that is reserved until this is dropped.
pub(super) struct Reserved {
    client: Arc<Client>,
    size: usize,
    _permit: OwnedSemaphorePermit,
}

impl Reserved {
    /// The bytes, which keep the reservation until the last of them is on its way.
    pub(super) fn bytes(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _reserved: self })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.client.releases(self.size);
    }
}

struct Kept {
    bytes: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
