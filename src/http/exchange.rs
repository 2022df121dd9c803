//! A request and its response: its deadline, and the memory that is reserved for it.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use poem::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::{Client, Connections};
use super::probe::LastProbe;
use super::{Limits, Origins};
use crate::admission::Decision;
use crate::error::{Error, Result};
use crate::identity::{Identity, Role};
use crate::telemetry::account::Account;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::trace::Trace;

/// The maximum time that a request waits for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of requests that wait for memory. It is small, because a waiting response is in memory.
const MAX_WAITING: usize = 8;

/// Who sends the requests of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The clients of the service. Each of their requests is logged and counted.
    Clients,
    /// Those who operate it. Their requests are neither logged nor counted.
    Operators,
}

/// The state that all requests of a listener share.
pub(super) struct Service {
    pub(super) limits: Limits,
    pub(super) audience: Audience,
    /// Whether requests must name the service as localhost or by a loopback address.
    pub(super) is_local: bool,
    /// The origins whose pages may use the service.
    pub(super) origins: Origins,
    /// Whether the log has the queries of requests.
    log_queries: bool,
    pub(super) connections: Connections,
    /// Memory for requests and responses, in KiB.
    memory: Arc<Semaphore>,
    /// Permits to wait for memory.
    waiting: Semaphore,
    /// The last probe of the database.
    pub(super) probe: LastProbe,
    /// Whether the service is shutting down.
    pub(super) is_stopping: AtomicBool,
}

impl Service {
    pub(super) fn new(
        limits: Limits,
        audience: Audience,
        log_queries: bool,
        origins: Origins,
    ) -> Self {
        Self {
            audience,
            is_local: false,
            origins,
            log_queries,
            connections: Connections::new(limits.connections),
            memory: Arc::new(Semaphore::new(kibibytes(limits.buffered_bytes))),
            waiting: Semaphore::new(MAX_WAITING),
            probe: LastProbe::default(),
            is_stopping: AtomicBool::new(false),
            limits,
        }
    }

    /// Sets the metrics about clients to what they are now.
    pub(super) fn report(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        METRICS.clients.set(number(self.connections.count()));
        let free = self.memory.available_permits().saturating_mul(1024);
        METRICS.buffered.set(number(self.limits.buffered_bytes.saturating_sub(free)));
    }
}

fn kibibytes(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

/// An operation of the OpenAPI document.
#[derive(Debug)]
pub(super) struct Operation {
    /// The operation id.
    pub(super) id: String,
    /// The path with placeholders.
    pub(super) route: String,
}

/// Who has sent a request, for the log.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) subject: String,
    pub(super) role: Role,
}

/// One request and its response.
pub(super) struct Exchange {
    /// What the request has cost.
    pub(super) account: Arc<Account>,
    /// The operation that its path and its method select.
    pub(super) operation: OnceLock<&'static Operation>,
    /// Who has sent it.
    pub(super) caller: OnceLock<Caller>,
    /// When its token expires, in seconds since 1970.
    pub(super) token_expires_at: OnceLock<i64>,
    /// The name that the request signs in.
    pub(super) user: OnceLock<String>,
    /// The rate-limit decision about the request, for the headers of its response.
    pub(super) decision: OnceLock<Decision>,
    pub(super) service: Arc<Service>,
    pub(super) client: Arc<Client>,
    /// The deadline of the request. `None` while the service waits for the client.
    deadline: Mutex<Option<Instant>>,
    /// Whether the body of the request was read to its end.
    has_read_body: AtomicBool,
}

impl Exchange {
    pub(super) fn new(
        service: Arc<Service>,
        client: Arc<Client>,
        request_id: String,
        trace: Option<Trace>,
    ) -> Self {
        let deadline = Mutex::new(Some(Instant::now() + service.limits.request));
        Self {
            account: Account::new(request_id, service.log_queries, trace),
            operation: OnceLock::new(),
            caller: OnceLock::new(),
            token_expires_at: OnceLock::new(),
            user: OnceLock::new(),
            decision: OnceLock::new(),
            service,
            client,
            deadline,
            has_read_body: AtomicBool::new(false),
        }
    }

    /// Returns the id of the request, which the response and the log repeat.
    pub(super) fn request_id(&self) -> &str {
        self.account.request_id()
    }

    /// Returns the IP address of the client, which trusted proxies may have forwarded.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the request did not come through [`super::envelope::wrap`].
    pub(super) fn client_address(&self) -> Result<IpAddr> {
        let address = self.account.client();
        address.ok_or_else(|| Error::internal("a request without the address of its client"))
    }

    /// Notes who has sent the request.
    pub(super) fn is_from(&self, identity: &Identity) {
        let (subject, role) = (identity.subject.clone(), Role::holding(&identity.scopes));
        // Already set only if a request is authenticated twice, which does not happen.
        let _ = self.caller.set(Caller { subject, role });
    }

    /// Notes that the body of the request was read to its end.
    pub(super) fn reads_whole_body(&self) {
        self.has_read_body.store(true, Ordering::Relaxed);
    }

    /// Returns whether the body of the request was read to its end.
    pub(super) fn has_read_body(&self) -> bool {
        self.has_read_body.load(Ordering::Relaxed)
    }

    /// Returns the exchange of a request.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the request did not come through [`super::serve()`].
    pub(super) fn of(request: &Request) -> Result<&Arc<Self>> {
        let exchange = request.data::<Arc<Self>>();
        exchange.ok_or_else(|| Error::internal("a request without `Exchange` in its data"))
    }

    /// Returns whether the service is shutting down. Responses then close their connections.
    pub(super) fn is_stopping(&self) -> bool {
        self.service.is_stopping.load(Ordering::Relaxed)
    }

    /// Runs the work of the request until its deadline.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] if the deadline passes.
    pub(super) async fn within<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T> {
        let mut alarm = pin!(tokio::time::sleep(self.service.limits.request));
        let outcome = std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(context) {
                return std::task::Poll::Ready(Some(done));
            }
            let Some(deadline) = self.deadline() else { return std::task::Poll::Pending };
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            alarm.as_mut().poll(context).map(|()| None)
        });
        outcome.await.ok_or_else(|| {
            let seconds = self.service.limits.request.as_secs();
            let detail = format!("the request took longer than {seconds} s; retry later");
            Error { detail, ..Error::unavailable("the deadline of the request has passed") }
        })
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// Marks that the service waits for the client, until the returned guard is dropped. Callers apply their own time
    /// limit. Afterwards the deadline of the request starts anew.
    pub(super) fn awaiting(&self) -> Awaiting<'_> {
        self.set_deadline(None);
        self.client.starts_waiting();
        Awaiting(self)
    }

    /// Removes the deadline of the request. Imports use it, because they have their own time limit.
    pub(super) fn lift_time_limit(&self) {
        self.set_deadline(None);
    }

    /// Reserves memory for a body. If none is left, disconnects clients that hold memory and do not read or send.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] if no memory becomes available.
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
            let detail = "no memory left for this request; retry later".to_owned();
            Error {
                detail,
                ..Error::unavailable("the memory for requests and responses is exhausted")
            }
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

/// A guard that marks that the service waits for the client.
pub(super) struct Awaiting<'a>(&'a Exchange);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.client.starts_work();
        self.0.set_deadline(Some(Instant::now() + self.0.service.limits.request));
    }
}

/// A memory reservation. Dropping it releases the memory.
pub(super) struct Reserved {
    client: Arc<Client>,
    size: usize,
    _permit: OwnedSemaphorePermit,
}

impl Reserved {
    /// Returns the bytes, which keep the reservation until the last of them is sent.
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
