//! A pooled connection: opening it, interrupting its statement, and replacing it when it is too old.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use sqlx::Database;
use sqlx::database::HasStatementCache;

/// How long opening a connection to one host may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum age of a connection. Older ones are replaced, so that new servers and changed DNS entries come
/// into use.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// Opens the connections of a pool.
pub(super) trait Open: Send + Sync + 'static {
    /// The engine.
    type Database: Database + HasStatementCache;

    /// Opens a connection with its limits set.
    fn open(&self) -> impl Future<Output = sqlx::Result<Opened<Self::Database>>> + Send;

    /// Asks the server to cancel the statement of a session.
    fn interrupt(&self, session: i32) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// An open connection, and what is needed to interrupt its statement.
pub(super) struct Opened<DB: Database> {
    pub(super) connection: DB::Connection,
    /// For SQLite, which runs in this process and checks this deadline. PostgreSQL has its own limit.
    pub(super) deadline: Deadline,
    /// The process id of the PostgreSQL session, with which its statement can be cancelled.
    pub(super) session: Option<i32>,
}

/// The time at which the statement of a connection is interrupted.
#[derive(Debug, Clone, Default)]
pub(super) struct Deadline(Arc<AtomicU64>);

/// The start of the clock of deadlines, which are in milliseconds.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Deadline {
    pub(super) fn set(&self, limit: Duration) {
        let until = START.elapsed().saturating_add(limit).as_millis();
        self.0.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns whether the deadline has passed.
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
    /// The generation of the pool in which it was opened. Connections of older generations are replaced.
    generation: u64,
    /// When its last statement ended.
    pub(super) used_at: Instant,
}

/// Opens connections for deadpool, and decides which are too old to be reused.
pub(super) struct Keeper<O> {
    open: O,
    generation: AtomicU64,
    /// Whether the last attempt to connect failed.
    is_failing: AtomicBool,
}

impl<O> Keeper<O> {
    pub(super) fn new(open: O) -> Self {
        Self { open, generation: AtomicU64::new(0), is_failing: AtomicBool::new(false) }
    }

    /// Returns whether the last attempt to connect failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Marks all connections that are open now to be replaced when they are next used.
    pub(super) fn replace_all(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what opens the connections.
    pub(super) fn opener(&self) -> &O {
        &self.open
    }
}

impl<O: Open> Manager for Keeper<O> {
    type Type = Held<O::Database>;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<Self::Type> {
        let generation = self.generation.load(Ordering::Relaxed);
        // Boxed, because it is rare and large: otherwise every statement would reserve memory for it.
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
