//! Connections that are kept between statements, and closed after anything that went wrong.
//!
//! The driver has no limit on a statement and no socket options, so a connection that goes silent
//! would be waited for without end. Here every statement runs under a deadline on this side, and a
//! connection goes back to its pool only if its last statement ended in order: one that timed out,
//! lost its connection, left a transaction open or whose caller went away is closed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
    TimeoutType, Timeouts,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::database::HasStatementCache;
use sqlx::{Connection as _, Database};

use super::MAX_WAITING;
use super::failure::{Fault, database_error, overloaded};
use super::lease::{Lease, close};
use super::share::Share;
use crate::error::{Error, Result};

/// How long a new connection may take until it can be used, for each host that is tried.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a pool that is being closed looks whether its last statement has ended.
const CLOSE_INTERVAL: Duration = Duration::from_millis(10);

/// How often unused connections are checked, and for how long one may be unused without a check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection that is checked may take to respond.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// After this time a connection is replaced, so that servers that are added, or names that now
/// resolve to another host, come into use.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// How connections of a pool are opened.
pub(super) trait Open: Send + Sync + 'static {
    /// The engine.
    type Database: Database + HasStatementCache;

    /// Opens a connection with its limits set.
    fn open(&self) -> impl Future<Output = sqlx::Result<Opened<Self::Database>>> + Send;

    /// Asks the server to end the statement of a session of its own.
    fn interrupt(&self, session: i32) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// A connection, and what interrupts its statement.
pub(super) struct Opened<DB: Database> {
    pub(super) connection: DB::Connection,
    /// PostgreSQL limits a statement itself; SQLite runs in this process and looks here.
    pub(super) deadline: Deadline,
    /// By which PostgreSQL can be asked to end a statement.
    pub(super) session: Option<i32>,
}

/// When the statement of a connection is interrupted.
#[derive(Debug, Clone, Default)]
pub(super) struct Deadline(Arc<AtomicU64>);

/// What the milliseconds of deadlines count from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Deadline {
    pub(super) fn set(&self, limit: Duration) {
        let until = START.elapsed().saturating_add(limit).as_millis();
        self.0.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether it has passed.
    pub(super) fn has_passed(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            until => START.elapsed().as_millis() > u128::from(until),
        }
    }
}

/// A connection in a pool.
pub(super) struct Held<DB: Database> {
    pub(super) opened: Opened<DB>,
    /// How many times connections had been found stale when it was opened.
    generation: u64,
    /// When its last statement ended.
    pub(super) used_at: Instant,
}

/// Opens connections for deadpool, and says which are too old to be used again.
pub(super) struct Keeper<O> {
    open: O,
    generation: AtomicU64,
    /// The last attempt to reach the database has failed.
    is_failing: AtomicBool,
}

impl<O> Keeper<O> {
    /// All connections that are open by now are replaced when they are next used.
    pub(super) fn replace_all(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// How connections are opened.
    pub(super) fn opener(&self) -> &O {
        &self.open
    }
}

impl<O: Open> Manager for Keeper<O> {
    type Type = Held<O::Database>;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<Self::Type> {
        let generation = self.generation.load(Ordering::Relaxed);
        // Boxed, since it is rare and large: every statement would hold the room for it.
        let opened = Box::pin(self.open.open()).await;
        self.is_failing.store(opened.is_err(), Ordering::Relaxed);
        Ok(Held { opened: opened?, generation, used_at: Instant::now() })
    }

    async fn recycle(
        &self,
        held: &mut Self::Type,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        let is_stale = held.generation != self.generation.load(Ordering::Relaxed);
        if is_stale || metrics.age() > MAX_AGE {
            return Err(RecycleError::message("too old"));
        }
        Ok(())
    }
}

/// Connections of one kind.
pub(super) struct Pool<O: Open> {
    pool: deadpool::managed::Pool<Keeper<O>>,
    /// How long the database may work on a statement.
    statement: Duration,
    /// How long a request waits for a connection.
    queue: Duration,
}

impl<O: Open> Clone for Pool<O> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), statement: self.statement, queue: self.queue }
    }
}

impl<O: Open> std::fmt::Debug for Pool<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pool.status().fmt(f)
    }
}

impl<O: Open> Pool<O> {
    /// A pool without connections: each is opened when it is first needed.
    ///
    /// # Errors
    /// None that could be provoked: a runtime is named.
    pub(super) fn new(open: O, size: usize, statement: Duration, queue: Duration) -> Result<Self> {
        let (generation, is_failing) = (AtomicU64::new(0), AtomicBool::new(false));
        let keeper = Keeper { open, generation, is_failing };
        let mut config = PoolConfig::new(size);
        // In turn, so that none stands unused until a firewall forgets it.
        config.queue_mode = QueueMode::Fifo;
        let pool = deadpool::managed::Pool::builder(keeper).config(config);
        let pool = pool.runtime(Runtime::Tokio1).build().map_err(Error::internal)?;
        Ok(Self { pool, statement, queue })
    }

    /// How its connections are opened.
    pub(super) fn opener(&self) -> &O {
        self.pool.manager().opener()
    }

    /// A connection, within the share of its subject.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when the queue is too long or no connection can be opened.
    pub(super) async fn lease(&self, share: Option<&Share>) -> Result<Lease<O>> {
        let asked_at = Instant::now();
        let share = match share {
            Some(share) => Some(share.enter(self.queue).await?),
            None => None,
        };
        let mut lease = self.wait(self.queue.saturating_sub(asked_at.elapsed())).await?;
        lease.keep(share);
        Ok(lease)
    }

    /// A connection for work with limits of its own: how long to wait for it, and for a statement.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub(super) fn lease_within(
        &self,
        queue: Duration,
        statement: Duration,
    ) -> BoxFuture<'_, Result<Lease<O>>> {
        // Boxed: the compiler does not see that a task which holds this future can be sent.
        async move {
            let mut lease = self.wait(queue).await?;
            lease.limit_to(statement);
            Ok(lease)
        }
        .boxed()
    }

    async fn wait(&self, wait: Duration) -> Result<Lease<O>> {
        if self.pool.status().waiting >= MAX_WAITING {
            return Err(overloaded());
        }
        let timeouts = Timeouts { wait: Some(wait), create: None, recycle: None };
        let held = self.pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                // With an unreachable database all places are taken by attempts to reach it.
                let is_failing = self.pool.manager().is_failing.load(Ordering::Relaxed);
                if is_failing { database_error(Fault::silent()) } else { overloaded() }
            }
            PoolError::Backend(error) => database_error(error),
            other => Error::unavailable(other.to_string()),
        })?;
        Ok(Lease::of(held, self.statement))
    }

    /// Closes every connection, those in use when their statements have ended.
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

    /// Checks connections that are not used, for as long as there is the pool: one whose server has
    /// gone away is found here rather than by a request.
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
                        tracing::warn!("an unused connection to the database is dead; closing all");
                        pool.manager().replace_all();
                        drop(Object::take(held));
                    }
                }
            }
        });
    }
}
