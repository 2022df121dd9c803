//! A connection of a pool: how it is opened, what interrupts its statement, and when it is too old.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use sqlx::Database;
use sqlx::database::HasStatementCache;

/// How long a new connection may take until it can be used, for each host that is tried.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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
    pub(super) fn new(open: O) -> Self {
        Self { open, generation: AtomicU64::new(0), is_failing: AtomicBool::new(false) }
    }

    /// Whether the last attempt to reach the database has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

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
