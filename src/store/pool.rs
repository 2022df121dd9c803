//! Connection pools. Connections are kept between statements and closed after most errors.
//!
//! The driver has no statement timeout and no socket options, so it would wait forever for a connection that
//! goes silent. Here every statement has a deadline on the client side. A connection returns to its pool
//! only if its last statement ended normally. It is closed if the statement timed out, lost the
//! connection, left a transaction open, or was cancelled by its caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{Object, PoolConfig, PoolError, QueueMode, TimeoutType, Timeouts};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Connection as _;

use super::MAX_WAITING;
use super::connection::{Keeper, Open};
use super::failure::{FailureClass, database_error, no_free_connection, queue_is_full};
use super::lease::{Lease, close};
use super::observer::Observer;
use super::share::Share;
use crate::error::{Error, Result};
use crate::telemetry::account::{Stage, Timer};
use crate::telemetry::metrics::{self, Connections, METRICS};

/// How often a closing pool checks whether its last statement has ended.
const CLOSE_INTERVAL: Duration = Duration::from_millis(10);

/// How often unused connections are checked, and how long a connection may be unused without a check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection may take to respond to a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections for one kind of work.
pub(super) struct Pool<O: Open> {
    pool: deadpool::managed::Pool<Keeper<O>>,
    /// The maximum time of one statement.
    statement: Duration,
    /// How long a request waits for a connection.
    queue: Duration,
    observer: Arc<Observer>,
}

impl<O: Open> Clone for Pool<O> {
    fn clone(&self) -> Self {
        let Self { pool, statement, queue, observer } = self;
        Self {
            pool: pool.clone(),
            statement: *statement,
            queue: *queue,
            observer: observer.clone(),
        }
    }
}

impl<O: Open> std::fmt::Debug for Pool<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pool.status().fmt(f)
    }
}

impl<O: Open> Pool<O> {
    /// Creates an empty pool. Each connection is opened when it is first needed.
    ///
    /// # Errors
    /// Fails only if the pool has timeouts but no runtime, and the runtime is set here.
    pub(super) fn new(
        open: O,
        size: usize,
        statement: Duration,
        queue: Duration,
        observer: Observer,
    ) -> Result<Self> {
        let mut config = PoolConfig::new(size);
        // Connections are used in turn, so that none stays unused until a firewall drops it.
        config.queue_mode = QueueMode::Fifo;
        let pool = deadpool::managed::Pool::builder(Keeper::new(open)).config(config);
        let pool = pool.runtime(Runtime::Tokio1).build().map_err(Error::internal)?;
        Ok(Self { pool, statement, queue, observer: Arc::new(observer) })
    }

    /// Returns what opens the connections.
    pub(super) fn opener(&self) -> &O {
        self.pool.manager().opener()
    }

    /// Returns a connection, within the share of its subject.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Unavailable`] if the queue is full, if no connection becomes free in
    /// time, or if none can be opened.
    pub(super) async fn lease(&self, share: Option<&Share>) -> Result<Lease<O>> {
        let asked_at = Instant::now();
        let _timer = Timer::start(Stage::Acquire);
        let share = match share {
            Some(share) => Some(share.enter(self.queue).await?),
            None => None,
        };
        let waited = self.wait(self.queue, asked_at).await;
        self.observer.waits.observe(asked_at.elapsed().as_secs_f64());
        let mut lease = waited?;
        lease.keep(share);
        Ok(lease)
    }

    /// Returns a connection for work with limits of its own: `queue` is how long to wait for a connection,
    /// `statement` the maximum time of one statement.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub(super) fn lease_within(
        &self,
        queue: Duration,
        statement: Duration,
    ) -> BoxFuture<'_, Result<Lease<O>>> {
        // Boxed, because the compiler cannot prove that a task that holds this future is `Send`.
        async move {
            let asked_at = Instant::now();
            let _timer = Timer::start(Stage::Acquire);
            let waited = self.wait(queue, asked_at).await;
            self.observer.waits.observe(asked_at.elapsed().as_secs_f64());
            let mut lease = waited?;
            lease.limit_to(statement);
            Ok(lease)
        }
        .boxed()
    }

    /// Returns a connection for requests that wait together, of which the first has asked at that time.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub(super) fn lease_since(&self, asked_at: Instant) -> BoxFuture<'_, Result<Lease<O>>> {
        self.wait(self.queue, asked_at).boxed()
    }

    /// Waits for a connection until `limit` after `asked_at`.
    async fn wait(&self, limit: Duration, asked_at: Instant) -> Result<Lease<O>> {
        let status = self.pool.status();
        if status.waiting >= MAX_WAITING {
            return Err(queue_is_full(MAX_WAITING));
        }
        let remaining = limit.saturating_sub(asked_at.elapsed());
        let timeouts = Timeouts { wait: Some(remaining), create: None, recycle: None };
        let held = self.pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                // If the database does not respond, attempts to connect take all places of the pool.
                match self.pool.manager().is_failing() {
                    true => database_error(FailureClass::silent()),
                    false => no_free_connection(status.max_size, limit),
                }
            }
            PoolError::Backend(error) => database_error(error),
            PoolError::Closed => Error {
                detail: "the service is shutting down; retry later".to_owned(),
                ..Error::unavailable("the connection pool is closed")
            },
            other => Error::unavailable(other.to_string()),
        })?;
        Ok(Lease::of(held, self.statement, self.observer.clone()))
    }

    /// Sets the metrics about connections to what they are now.
    pub(super) fn report(&self) {
        let (status, pool) = (self.pool.status(), self.observer.pool);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let idle = status.available.min(status.size);
        for (state, count) in [("idle", idle), ("used", status.size - idle)] {
            METRICS.connections.get_or_create(&Connections { pool, state }).set(number(count));
        }
        let label = metrics::Pool { pool };
        METRICS.max_connections.get_or_create(&label).set(number(status.max_size));
        METRICS.waiting.get_or_create(&label).set(number(status.waiting));
    }

    /// Returns whether the pool is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// Closes all connections. Connections in use are closed when their statements have ended.
    pub(super) async fn close(&self) {
        let unused = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for held in unused {
            close(held.opened.connection).await;
        }
        while self.pool.status().size > 0 {
            tokio::time::sleep(CLOSE_INTERVAL).await;
        }
    }

    /// Starts a task that checks unused connections until the pool is closed. So a dead connection is found
    /// here rather than by a request.
    pub(super) fn check_unused(&self) {
        let pool = self.pool.weak();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
                for _ in 0..pool.status().available {
                    let at_once = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::default() };
                    let Ok(mut held) = pool.timeout_get(&at_once).await else { break };
                    if held.used_at.elapsed() < CHECK_INTERVAL {
                        continue;
                    }
                    let check = held.opened.connection.ping();
                    if !matches!(tokio::time::timeout(CHECK_TIMEOUT, check).await, Ok(Ok(()))) {
                        tracing::warn!(
                            "an unused connection to the database did not respond; reconnecting"
                        );
                        pool.manager().replace_all();
                        drop(Object::take(held));
                    }
                }
            }
        });
    }
}
