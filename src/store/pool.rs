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
use sea_query::Values;
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, FromRow};
use tokio::sync::OwnedSemaphorePermit;

use super::TRANSFER_QUEUE;
use super::failure::{Fault, database_error, overloaded};
use super::share::Share;
use crate::error::{Error, Result};

/// How long a new connection may take until it can be used, for each host that is tried.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than the database this side waits for a statement: the database's own limit comes
/// first, so that a statement that is merely slow leaves a usable connection.
pub const CLIENT_GRACE: Duration = Duration::from_secs(1);

/// How long closing a connection may take before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often it is looked whether the last statement has ended when a pool is closed.
const CLOSE_INTERVAL: Duration = Duration::from_millis(10);

/// How long a statement may go on by itself when its caller has gone away: most are done by then, and the
/// others are interrupted.
const ABANDONED_TIMEOUT: Duration = Duration::from_millis(200);

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
    type Database: Database;

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
    fn set(&self, limit: Duration) {
        let until = START.elapsed().saturating_add(limit).as_millis();
        self.0.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn clear(&self) {
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
    opened: Opened<DB>,
    /// How many times connections had been found stale when it was opened.
    generation: u64,
    /// When its last statement ended.
    used_at: Instant,
}

/// Opens connections for deadpool, and says which are too old to be used again.
pub(super) struct Keeper<O> {
    open: O,
    generation: AtomicU64,
    /// The last attempt to reach the database has failed.
    is_failing: AtomicBool,
}

impl<O: Open> Manager for Keeper<O> {
    type Type = Held<O::Database>;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<Self::Type> {
        let generation = self.generation.load(Ordering::Relaxed);
        let opened = self.open.open().await;
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
        &self.pool.manager().open
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
        lease.share = share;
        Ok(lease)
    }

    /// A connection for an import that was admitted.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub(super) fn lease_for_import(&self, statement: Duration) -> BoxFuture<'_, Result<Lease<O>>> {
        // Boxed: the compiler does not see that a task which holds this future can be sent.
        async move {
            let mut lease = self.wait(TRANSFER_QUEUE).await?;
            lease.statement = statement;
            Ok(lease)
        }
        .boxed()
    }

    async fn wait(&self, wait: Duration) -> Result<Lease<O>> {
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
        Ok(Lease { held: Some(held), end: End::InOrder, statement: self.statement, share: None })
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
}

impl<O: Open> Pool<O> {
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
                        pool.manager().generation.fetch_add(1, Ordering::Relaxed);
                        drop(Object::take(held));
                    }
                }
            }
        });
    }
}

/// How the last statement of a lease has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not, as when its caller went away.
    Unknown,
    /// In order: the connection can be used again.
    InOrder,
    /// It failed in a way that leaves the connection in doubt.
    InDoubt,
    /// The database did not respond in time.
    Silent,
}

/// A connection that is in use.
pub(super) struct Lease<O: Open> {
    held: Option<Object<Keeper<O>>>,
    end: End,
    /// How long the database may work on a statement.
    statement: Duration,
    share: Option<OwnedSemaphorePermit>,
}

/// What a statement runs on, and its limit.
pub(super) struct Parts<'a, DB: Database> {
    pub(super) connection: &'a mut DB::Connection,
    pub(super) limit: Limit,
}

/// The limit of each statement on a connection.
#[derive(Clone)]
pub(super) struct Limit {
    deadline: Deadline,
    statement: Duration,
}

impl Limit {
    /// Waits for work on the database for as long as one statement may take, and a little longer.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        self.deadline.set(self.statement);
        let outcome = tokio::time::timeout(self.statement + CLIENT_GRACE, work).await;
        self.deadline.clear();
        outcome.unwrap_or_else(|_| Err(Fault::silent()))
    }
}

impl<O: Open> Lease<O> {
    /// The connection. What runs on it must be settled.
    ///
    /// # Errors
    /// None that could be provoked: a lease has its connection until it is dropped.
    pub(super) fn parts(&mut self) -> sqlx::Result<Parts<'_, O::Database>> {
        let statement = self.statement;
        self.end = End::Unknown;
        let held = self.held.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let deadline = held.opened.deadline.clone();
        let limit = Limit { deadline, statement };
        Ok(Parts { connection: &mut held.opened.connection, limit })
    }

    /// Notes how the work has ended, which decides whether the connection is used again.
    pub(super) fn settle<T>(&mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        let fault = outcome.as_ref().err().map(Fault::of);
        self.end = match fault {
            None | Some(Fault::Statement | Fault::Conflict) => End::InOrder,
            Some(Fault::Silent) => End::Silent,
            Some(Fault::Stale | Fault::Lost | Fault::Other) => End::InDoubt,
        };
        if matches!(fault, Some(Fault::Stale | Fault::Lost | Fault::Silent))
            && let Some(pool) = self.held.as_ref().and_then(Object::pool)
        {
            // What has ended this connection has probably ended the others: they are opened anew.
            pool.manager().generation.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Notes that a transaction may still be open, whatever the work came to.
    pub(super) fn doubt(&mut self) {
        if self.end == End::InOrder {
            self.end = End::InDoubt;
        }
    }

    /// Runs one statement and returns its rows.
    ///
    /// It is read to the end, and not only to the first row: SQLite checkpoints its log when a
    /// statement is done, and the log would grow without bound.
    pub(super) async fn rows<T>(&mut self, sql: String, values: Values) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, <O::Database as Database>::Row> + Send + Unpin,
        for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
        SqlxValues: sqlx::IntoArguments<O::Database>,
    {
        let Parts { connection, limit } = self.parts()?;
        let query = sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values));
        let rows = limit.within(query.fetch_all(&mut *connection)).await;
        self.settle(rows)
    }
}

impl<O: Open> Drop for Lease<O> {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        match self.end {
            End::InOrder => held.used_at = Instant::now(),
            End::Silent => drop(Object::take(held)),
            End::Unknown | End::InDoubt => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                    drop(Object::take(held));
                    return;
                };
                let (limit, share) = (self.statement + CLIENT_GRACE, self.share.take());
                runtime.spawn(async move {
                    retire(held, limit).await;
                    drop(share);
                });
            }
        }
    }
}

/// Ends what a connection is doing, and closes it. Its place in the pool, and in the share of its
/// subject, stays taken until then: callers who go away must not leave more sessions behind than the
/// pool has.
async fn retire<O: Open>(mut held: Object<Keeper<O>>, limit: Duration) {
    // SQLite stops at its next step.
    held.opened.deadline.set(Duration::ZERO);
    let pool = Object::pool(&held);
    let session = held.opened.session;
    let is_responsive = {
        let ended = tokio::time::timeout(limit, held.opened.connection.ping());
        let mut ended = std::pin::pin!(ended);
        let early = tokio::time::timeout(ABANDONED_TIMEOUT, &mut ended).await;
        let ended = match (early, session, pool) {
            (Ok(ended), ..) => ended,
            (Err(_), Some(session), Some(pool)) => {
                if let Err(error) = pool.manager().open.interrupt(session).await {
                    tracing::debug!(%error, "an abandoned statement is not interrupted");
                }
                ended.await
            }
            _ => ended.await,
        };
        matches!(ended, Ok(Ok(())))
    };
    let Held { opened, .. } = Object::take(held);
    if is_responsive {
        close(opened.connection).await;
    }
}

async fn close(connection: impl sqlx::Connection) {
    if tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await.is_err() {
        tracing::debug!("a connection is dropped: closing it takes too long");
    }
}
