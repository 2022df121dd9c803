//! The database: connections, statements, migrations and errors. It returns records and counts. Pages and
//! cursors are the business of `app`.
//!
//! Reads are single statements and need no transaction: each sees one snapshot. Writes of one record are
//! single statements too, so a cancelled request leaves nothing open. Work that needs a transaction runs as a
//! task of its own. Writes that conflict with another transaction are retried.

pub mod backup;
mod batch;
mod choice;
mod connection;
mod engine;
mod explain;
mod failure;
mod group_commit;
mod groups;
mod idempotency;
mod import;
mod journal;
mod lease;
mod location;
mod matching;
mod migrate;
mod observer;
mod pool;
mod postgres;
mod record;
mod revocations;
mod row;
mod rows;
mod sessions;
mod share;
mod sqlite;
mod statistics;
mod texts;
mod transaction;
mod usage;
mod users;
mod work;
mod write;

use std::net::IpAddr;
use std::sync::Arc;

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use tokio::sync::Semaphore;

pub use self::batch::{Item, ItemOutcome};
pub use self::engine::{Bounds, Missing};
use self::engine::{Engine, Lane, MAX_WAITING, TRANSFER_QUEUE, TRANSFER_STATEMENT};
pub use self::explain::Explained;
use self::failure::{Attempts, FailureClass, database_error};
pub use self::idempotency::{IdempotencyKey, Keyed, Once, Reply, ToReply};
pub use self::import::{Committed, Conflict, KeyedImport, MAX_LISTED, Message, Tally};
pub use self::journal::{Change, Changes, Kept, Origin};
pub use self::lease::CLIENT_GRACE;
pub use self::location::Location;
pub(crate) use self::location::{beside, missing_folder};
pub use self::matching::{Bulk, BulkTally, MAX_MATCHING, unexpected_count};
pub use self::migrate::{By, State, Step};
use self::pool::Pool;
pub use self::record::{Documents, Record};
use self::record::{Records, Sink};
pub use self::revocations::{Revocation, Revoked};
pub use self::sessions::{NewSession, Session};
pub use self::share::Place;
use self::share::{Places, Share, Shares};
use self::statistics::Samples;
pub use self::usage::Usage;
pub use self::users::{User, UserChange};
pub use self::write::{Expected, NewRecord, Write, Written};
use crate::error::{Error, Result};
use crate::query::{Dialect, Schema, Statement};
use crate::telemetry::account::{self, Stage, Timer};
use crate::telemetry::metrics::{EXPORT, IMPORT, METRICS, WRITER};

/// A handle to the database, for one subject and one kind of work. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    lane: Lane,
    share: Option<Share>,
    /// The network of the caller, if its subject is that of many visitors.
    visitor: Option<IpAddr>,
    origin: Origin,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    bounds: Bounds,
    shares: Shares,
    /// Held by the import of this process that is writing.
    import_turn: Arc<Semaphore>,
    /// Limits concurrent imports. Each has a thread that reads its file.
    imports: Places,
    exports: Places,
    samples: Samples,
}

/// A row that both engines return.
trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{}

/// Runs the same code on a connection of either engine.
macro_rules! on {
    (read $store:expr, $lease:ident => $body:expr) => {
        match &$store.shared.engine {
            $crate::store::Engine::Sqlite { read, .. } => {
                let mut $lease = read.of($store.lane).lease($store.share.as_ref()).await?;
                $body
            }
            $crate::store::Engine::Postgres(lanes) => {
                let mut $lease = lanes.of($store.lane).lease($store.share.as_ref()).await?;
                $body
            }
        }
    };
    (write $store:expr, $lease:ident => $body:expr) => {
        match &$store.shared.engine {
            $crate::store::Engine::Sqlite { write, .. } => {
                let mut $lease = write.lease($store.share.as_ref()).await?;
                $body
            }
            $crate::store::Engine::Postgres(lanes) => {
                let mut $lease = lanes.of($store.lane).lease($store.share.as_ref()).await?;
                $body
            }
        }
    };
}

impl Store {
    /// Opens the database with the default limits. It connects to PostgreSQL only when a connection is needed.
    ///
    /// # Errors
    /// Fails if the URL is malformed, or if the SQLite file cannot be read, or is missing and `missing` is
    /// [`Missing::ReadOnly`].
    pub async fn open(location: Location, missing: Missing) -> Result<Self> {
        Self::open_within(location, missing, Bounds::default()).await
    }

    /// Opens the database with other limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_within(location: Location, missing: Missing, bounds: Bounds) -> Result<Self> {
        let engine = Engine::open(location, missing, bounds).await?;
        let shared = Shared {
            engine,
            bounds,
            shares: Shares::new(bounds.share),
            import_turn: Arc::new(Semaphore::new(1)),
            imports: Places::new("imports", bounds.transfers, bounds.transfer_share),
            exports: Places::new("exports", bounds.transfers, bounds.transfer_share),
            samples: Samples::default(),
        };
        let origin = Origin::default();
        Ok(Self {
            shared: Arc::new(shared),
            lane: Lane::Requests,
            share: None,
            visitor: None,
            origin,
        })
    }

    /// Returns a handle for the requests of a subject, which share a limit.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> Self {
        let origin = Origin { subject: Arc::from(subject), ..self.origin.clone() };
        Self { share: Some(self.shared.shares.of(subject)), origin, ..self.clone() }
    }

    /// Returns a handle for the requests of a visitor from a network. All visitors share the limit of a subject, and each
    /// may use one less than that.
    #[must_use]
    pub fn of_visitor(&self, subject: &str, network: IpAddr) -> Self {
        let share = Some(self.shared.shares.of_visitor(subject, network));
        Self { share, visitor: Some(network), ..self.of_subject(subject) }
    }

    /// Returns a handle for a request, whose id the journal notes.
    #[must_use]
    pub fn in_request(&self, id: &str) -> Self {
        let origin = Origin { request_id: Some(Arc::from(id)), ..self.origin.clone() };
        Self { origin, ..self.clone() }
    }

    /// Returns a handle for upkeep, which does not wait for requests.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self { lane: Lane::Reserved, share: None, ..self.clone() }
    }

    /// Returns a handle for imports and exports.
    #[must_use]
    pub fn transfers(&self) -> Self {
        Self { lane: Lane::Transfers, share: None, ..self.clone() }
    }

    /// Takes a place for an export of a subject. The caller holds it until the export ends.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::TooManyRequests`] if the subject has reached its limit, and
    /// [`crate::error::Kind::Unavailable`] if all places are taken.
    pub fn export_place(&self, subject: &str) -> Result<Place> {
        self.shared.exports.enter(subject, self.visitor)
    }

    /// Takes a place for an import of a subject. The caller holds it until the import ends.
    ///
    /// # Errors
    /// As [`Store::export_place`].
    pub fn import_place(&self, subject: &str) -> Result<Place> {
        self.shared.imports.enter(subject, self.visitor)
    }

    /// Returns the SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        match self.shared.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Returns the rows that a statement selects, in its order. Retries once if the connection is broken.
    async fn read<T: Row>(&self, Statement { sql, values }: Statement) -> Result<Vec<T>> {
        let mut is_first = true;
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            let outcome = on!(read self, lease => lease.rows(sql, values).await);
            account::count_rows(outcome.as_ref().map_or(0, Vec::len));
            match outcome {
                Err(error)
                    if is_first
                        && matches!(
                            FailureClass::of(&error),
                            FailureClass::Lost | FailureClass::Stale
                        ) =>
                {
                    is_first = false;
                }
                outcome => return outcome.map_err(database_error),
            }
        }
    }

    /// Passes the records that a statement selects to `sink`, in its order. Retries as [`Store::read`] does.
    async fn read_records(
        &self,
        Statement { sql, values }: Statement,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let mut is_first = true;
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            let outcome = match &self.shared.engine {
                Engine::Sqlite { read, .. } => {
                    let mut lease = read.of(self.lane).lease(self.share.as_ref()).await?;
                    let array = lease.rows(rows::array(sink.schema(), &sql), values).await;
                    drop(lease);
                    let _timer = Timer::start(Stage::Encode);
                    array.and_then(|array| {
                        let counts = array.iter().map(|(rows,): &(String,)| rows::read(rows, sink));
                        counts.sum()
                    })
                }
                Engine::Postgres(lanes) => {
                    let mut lease = lanes.of(self.lane).lease(self.share.as_ref()).await?;
                    lease.records(sql, values, sink).await
                }
            };
            match outcome {
                Err(error)
                    if is_first
                        && matches!(
                            FailureClass::of(&error),
                            FailureClass::Lost | FailureClass::Stale
                        ) =>
                {
                    is_first = false;
                    sink.clear();
                }
                outcome => {
                    account::count_rows(outcome.map_err(database_error)?);
                    return Ok(());
                }
            }
        }
    }

    /// Runs a statement that writes, in its own transaction, and returns the written record, if any.
    async fn write_record(
        &self,
        schema: &'static Schema,
        Statement { sql, values }: Statement,
    ) -> Result<Option<Record>> {
        let mut attempts = Attempts::default();
        let mut written = Records::of(schema);
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            match on!(write self, lease => lease.records(sql, values, &mut written).await) {
                Err(error) if attempts.again(&error).await => written.clear(),
                outcome => {
                    outcome.map_err(database_error)?;
                    return Ok(written.list.pop());
                }
            }
        }
    }

    /// Runs a statement that writes, in its own transaction, and returns its rows.
    async fn write<T: Row>(&self, Statement { sql, values }: Statement) -> Result<Vec<T>> {
        let mut attempts = Attempts::default();
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            match on!(write self, lease => lease.rows(sql, values).await) {
                Err(error) if attempts.again(&error).await => {}
                outcome => return outcome.map_err(database_error),
            }
        }
    }

    /// Returns the records that a statement selects, in its order.
    ///
    /// # Errors
    /// Any database error.
    pub async fn fetch(
        &self,
        schema: &'static Schema,
        statement: Statement,
    ) -> Result<Vec<Record>> {
        let mut records = Records::of(schema);
        self.read_records(statement, &mut records).await?;
        Ok(records.list)
    }

    /// Writes the records that a statement selects, in its order, into an empty `documents`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn fetch_into(
        &self,
        documents: &mut Documents<'_>,
        statement: Statement,
    ) -> Result<()> {
        self.read_records(statement, documents).await
    }

    /// Returns the single number that a statement selects.
    ///
    /// # Errors
    /// Any database error.
    pub async fn count(&self, statement: Statement) -> Result<i64> {
        let rows: Vec<(i64,)> = self.read(statement).await?;
        let row = rows.into_iter().next();
        row.map(|(count,)| count).ok_or_else(|| Error::internal("a count without a row"))
    }

    /// Returns the texts that a statement selects, in its order.
    ///
    /// # Errors
    /// Any database error.
    pub async fn texts(&self, statement: Statement) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = self.read(statement).await?;
        Ok(rows.into_iter().map(|(text,)| text).collect())
    }

    /// Returns the engine and its version, such as "PostgreSQL 17.5".
    ///
    /// # Errors
    /// Any database error.
    pub async fn version(&self) -> Result<String> {
        let (name, sql) = match self.dialect() {
            Dialect::Sqlite => ("SQLite", "SELECT sqlite_version()"),
            Dialect::Postgres => ("PostgreSQL", "SELECT current_setting('server_version')"),
        };
        let version = self.texts(plain(sql)).await?.pop().unwrap_or_default();
        Ok(format!("{name} {version}"))
    }

    /// Checks that the database responds and is migrated.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Unavailable`] if it is not.
    pub async fn ping(&self) -> Result<()> {
        let sql = "SELECT value FROM cinequery_meta WHERE name = 'folding'";
        let folding = self.texts(plain(sql)).await.map_err(|error| match error.kind {
            crate::error::Kind::Internal => {
                not_migrated(error.cause.unwrap_or_else(|| "no cause".into()))
            }
            _ => error,
        })?;
        if folding.is_empty() {
            Err(not_migrated("cinequery_meta has no row for the folding"))
        } else {
            Ok(())
        }
    }

    /// Sets the metrics about connections to what they are now.
    pub fn report(&self) {
        match &self.shared.engine {
            Engine::Sqlite { read, write, queue, .. } => {
                read.all().into_iter().for_each(Pool::report);
                write.report();
                // Writes wait in the queue and not in the pool.
                let waiting = i64::try_from(queue.len()).unwrap_or(i64::MAX);
                METRICS.waiting.get_or_create(&WRITER).inc_by(waiting);
            }
            Engine::Postgres(lanes) => lanes.all().into_iter().for_each(Pool::report),
        }
        let Shared { imports, exports, .. } = self.shared.as_ref();
        for (direction, places) in [(IMPORT, imports), (EXPORT, exports)] {
            let taken = i64::try_from(places.taken()).unwrap_or(i64::MAX);
            METRICS.transfers.get_or_create(&direction).set(taken);
        }
    }

    /// Returns whether [`Store::close`] was called, so that statements fail.
    pub fn is_closed(&self) -> bool {
        match &self.shared.engine {
            Engine::Sqlite { read, .. } => read.all().into_iter().any(Pool::is_closed),
            Engine::Postgres(lanes) => lanes.all().into_iter().any(Pool::is_closed),
        }
    }

    /// Closes all connections. Connections in use are closed when their statements have ended.
    pub async fn close(&self) {
        self.clear_mark().await;
        match &self.shared.engine {
            Engine::Sqlite { read, write, .. } => {
                for pool in read.all() {
                    pool.close().await;
                }
                write.close().await;
            }
            Engine::Postgres(lanes) => {
                for pool in lanes.all() {
                    pool.close().await;
                }
            }
        }
    }
}

/// Creates a statement without parameters.
fn plain(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), values: sea_query::Values(Vec::new()) }
}

/// Creates the error for a database without the tables of this service.
fn not_migrated(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let detail = "the database is not migrated: run `cinequery migrate`".to_owned();
    Error { detail, ..Error::unavailable(cause) }
}
