//! The database: connections, statements, failures. It returns records and counts, and knows no
//! pages or cursors.
//!
//! Reads are single statements and need no transaction: each sees one snapshot. Writes of one
//! record are single statements too, so that a request that is cut off leaves nothing open; what needs
//! a transaction is a task of its own. Whatever loses to another transaction is attempted again.

mod connection;
mod explain;
mod failure;
mod groups;
mod import;
mod lease;
mod location;
mod migrate;
mod pool;
mod postgres;
mod record;
mod revocations;
mod row;
mod share;
mod sqlite;
mod usage;
mod users;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_query_sqlx::SqlxValues;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, FromRow};
use tokio::sync::Semaphore;

use self::connection::Open;
pub use self::explain::Explained;
use self::failure::{Attempts, Fault, database_error};
pub use self::import::{Conflict, MAX_LISTED, Message, Tally};
pub use self::lease::CLIENT_GRACE;
use self::lease::{Lease, Parts};
pub use self::location::Location;
pub use self::migrate::{By, State, Step};
use self::pool::Pool;
use self::postgres::{Servers, Work};
pub use self::record::{Documents, Record};
use self::record::{Records, Sink};
pub use self::revocations::{Revocation, Revoked};
pub use self::share::Place;
use self::share::{Places, Share, Shares};
use self::sqlite::SqliteFile;
pub use self::usage::Usage;
pub use self::users::{User, UserChange};
pub use self::write::Expected;
use crate::error::{Error, Result};
use crate::query::{Dialect, Schema, Statement};

/// How long the database may work on a statement of an import or an export.
const TRANSFER_STATEMENT: Duration = Duration::from_secs(30);

/// How long an import or an export that was admitted waits for a connection: its turn comes.
const TRANSFER_QUEUE: Duration = Duration::from_secs(60);

/// How long the database may work on what keeps the service going: probes, revocations,
/// usage, signing in.
const RESERVED_STATEMENT: Duration = Duration::from_secs(2);

/// How long that waits for a connection.
const RESERVED_QUEUE: Duration = Duration::from_secs(1);

/// How many requests wait for a connection at a time, and how many for the share of their subject; a
/// further one is rejected at once.
const MAX_WAITING: usize = 512;

/// Connections of the reserved lane on PostgreSQL, and of that for transfers, out of all.
const POSTGRES_RESERVED: u32 = 2;
const POSTGRES_TRANSFERS: u32 = 2;

/// Connections that read SQLite: for requests, for exports, and reserved. One more writes, since SQLite
/// has one writer at a time.
const SQLITE_READERS: [usize; 3] = [4, 1, 1];

/// Limits of the work on a database.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long the database may work on a statement of a request.
    pub statement: Duration,
    /// How long a request waits for a connection.
    pub queue: Duration,
    /// Connections to PostgreSQL; instances × this should stay below 80 % of its `max_connections`.
    pub connections: u32,
    /// Statements of one subject that run at the same time.
    pub share: usize,
    /// Imports and exports at a time, each.
    pub transfers: usize,
    /// The same of one subject.
    pub transfer_share: usize,
}

impl Bounds {
    /// The fewest connections there may be: one for requests.
    pub const MIN_CONNECTIONS: u32 = POSTGRES_RESERVED + POSTGRES_TRANSFERS + 1;
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(5),
            queue: Duration::from_secs(1),
            connections: 8,
            share: 3,
            transfers: 8,
            transfer_share: 2,
        }
    }
}

/// What to do when the database file does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make it.
    Create,
    /// Reject it, and write nothing to one that is there.
    ReadOnly,
}

/// A database, as one subject and for one kind of work. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    lane: Lane,
    share: Option<Share>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    bounds: Bounds,
    shares: Shares,
    /// The turn to write, of the imports of this process.
    import_turn: Arc<Semaphore>,
    /// Places for imports, each of which has a thread that reads.
    imports: Places,
    exports: Places,
}

#[derive(Debug)]
enum Engine {
    Sqlite { read: Lanes<SqliteFile>, write: Pool<SqliteFile>, path: PathBuf },
    Postgres(Lanes<Servers>),
}

/// What a statement is for. Each lane has connections of its own, so that neither exports nor
/// requests in great number keep the others waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Requests.
    Requests,
    /// Imports and exports: statements may take longer, and wait for their turn.
    Transfers,
    /// Probes, revocations, usage and signing in.
    Reserved,
}

#[derive(Debug)]
struct Lanes<O: Open> {
    requests: Pool<O>,
    transfers: Pool<O>,
    reserved: Pool<O>,
}

impl<O: Open> Lanes<O> {
    fn of(&self, lane: Lane) -> &Pool<O> {
        match lane {
            Lane::Requests => &self.requests,
            Lane::Transfers => &self.transfers,
            Lane::Reserved => &self.reserved,
        }
    }

    fn all(&self) -> [&Pool<O>; 3] {
        [&self.requests, &self.transfers, &self.reserved]
    }
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
    /// Opens the database with the usual limits. PostgreSQL is first reached when it is first needed.
    ///
    /// # Errors
    /// A malformed URL; a SQLite file that is missing (when it must not be) or unreadable.
    pub async fn open(location: Location, missing: Missing) -> Result<Self> {
        Self::open_within(location, missing, Bounds::default()).await
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_within(location: Location, missing: Missing, bounds: Bounds) -> Result<Self> {
        let engine = match location {
            Location::Sqlite(path) => open_sqlite(path, missing, bounds).await?,
            Location::Postgres(url) => open_postgres(&url, bounds)?,
        };
        let shared = Shared {
            engine,
            bounds,
            shares: Shares::new(bounds.share),
            import_turn: Arc::new(Semaphore::new(1)),
            imports: Places::new("imports", bounds.transfers, bounds.transfer_share),
            exports: Places::new("exports", bounds.transfers, bounds.transfer_share),
        };
        Ok(Self { shared: Arc::new(shared), lane: Lane::Requests, share: None })
    }

    /// The same database for the requests of a subject, which together have a share of it.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> Self {
        Self { share: Some(self.shared.shares.of(subject)), ..self.clone() }
    }

    /// The same database for what keeps the service going, which waits for no requests.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self { lane: Lane::Reserved, share: None, ..self.clone() }
    }

    /// The same database for imports and exports.
    #[must_use]
    pub fn transfers(&self) -> Self {
        Self { lane: Lane::Transfers, share: None, ..self.clone() }
    }

    /// A place for an export of that subject, which it keeps until it ends.
    ///
    /// # Errors
    /// [`crate::error::Kind::TooManyRequests`] when the subject has as many as one may have,
    /// [`crate::error::Kind::Unavailable`] when all places are taken.
    pub fn export_place(&self, subject: &str) -> Result<Place> {
        self.shared.exports.enter(subject)
    }

    /// A place for an import of that subject, which it keeps until it ends.
    ///
    /// # Errors
    /// As [`Store::export_place`].
    pub fn import_place(&self, subject: &str) -> Result<Place> {
        self.shared.imports.enter(subject)
    }

    /// The engine's dialect.
    pub fn dialect(&self) -> Dialect {
        match self.shared.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The rows a statement selects, in its order. It is run again, once, when its connection turns out
    /// to be broken.
    async fn read<T: Row>(&self, Statement { sql, values }: Statement) -> Result<Vec<T>> {
        let mut is_first = true;
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            let outcome = on!(read self, lease => lease.rows(sql, values).await);
            match outcome {
                Err(error)
                    if is_first && matches!(Fault::of(&error), Fault::Lost | Fault::Stale) =>
                {
                    is_first = false;
                }
                outcome => return outcome.map_err(database_error),
            }
        }
    }

    /// The records a statement selects, in its order. As with [`Store::read`], it may be run a second time.
    async fn read_records(
        &self,
        Statement { sql, values }: Statement,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let mut is_first = true;
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            let outcome = on!(read self, lease => lease.records(sql, values, sink).await);
            match outcome {
                Err(error)
                    if is_first && matches!(Fault::of(&error), Fault::Lost | Fault::Stale) =>
                {
                    is_first = false;
                    sink.clear();
                }
                outcome => return outcome.map_err(database_error),
            }
        }
    }

    /// Runs a statement that writes, in a transaction of its own, and returns the record it wrote, if any.
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

    /// Runs a statement that writes, in a transaction of its own, and returns its rows.
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

    /// The records of that type that a statement selects, in its order.
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

    /// Adds the records that a statement selects, in its order, to none that are there.
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

    /// The single number a statement selects.
    ///
    /// # Errors
    /// Any database error.
    pub async fn count(&self, statement: Statement) -> Result<i64> {
        let rows: Vec<(i64,)> = self.read(statement).await?;
        let row = rows.into_iter().next();
        row.map(|(count,)| count).ok_or_else(|| Error::internal("a count without a row"))
    }

    /// The texts a statement selects, in its order.
    ///
    /// # Errors
    /// Any database error.
    pub async fn texts(&self, statement: Statement) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = self.read(statement).await?;
        Ok(rows.into_iter().map(|(text,)| text).collect())
    }

    /// Runs statements in one transaction, and returns the row of the last. When that has none, nothing is
    /// done.
    ///
    /// It is a task of its own: when the caller goes away, the transaction still ends in order.
    async fn transact<T>(&self, before: Vec<Statement>, last: Statement) -> Result<Option<T>>
    where
        T: Row + 'static,
    {
        let store = self.clone();
        let task = tokio::spawn(async move {
            let mut attempts = Attempts::default();
            loop {
                match on!(write store, lease => transaction(&mut lease, &before, &last).await) {
                    Err(error) if attempts.again(&error).await => {}
                    outcome => return outcome.map_err(database_error),
                }
            }
        });
        task.await.map_err(Error::internal)?
    }

    /// The engine and its version, in words.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn version(&self) -> Result<String> {
        let (name, sql) = match self.dialect() {
            Dialect::Sqlite => ("SQLite", "SELECT sqlite_version()"),
            Dialect::Postgres => ("PostgreSQL", "SELECT current_setting('server_version')"),
        };
        let version = self.texts(plain(sql)).await?.pop().unwrap_or_default();
        Ok(format!("{name} {version}"))
    }

    /// Whether the database responds and has been migrated.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`], whatever keeps it from that.
    pub async fn ping(&self) -> Result<()> {
        let sql = "SELECT value FROM cinequery_meta WHERE name = 'folding'";
        let folding = self.texts(plain(sql)).await.map_err(|error| match error.kind {
            crate::error::Kind::Internal => {
                not_migrated(error.cause.unwrap_or_else(|| "no cause".into()))
            }
            _ => error,
        })?;
        if folding.is_empty() { Err(not_migrated("it has no folding")) } else { Ok(()) }
    }

    /// Closes all connections that are not in use, and the others when their statements have ended.
    pub async fn close(&self) {
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

/// A statement without values.
fn plain(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), values: sea_query::Values(Vec::new()) }
}

async fn transaction<O, T>(
    lease: &mut Lease<O>,
    before: &[Statement],
    last: &Statement,
) -> sqlx::Result<Option<T>>
where
    O: Open,
    T: for<'r> FromRow<'r, <O::Database as sqlx::Database>::Row> + Send + Unpin,
    for<'c> &'c mut <O::Database as sqlx::Database>::Connection:
        sqlx::Executor<'c, Database = O::Database>,
    SqlxValues: sqlx::IntoArguments<O::Database>,
{
    let Parts { connection, limit } = lease.parts()?;
    let mut has_ended = true;
    let work = async {
        let mut transaction = limit.within(connection.begin()).await?;
        let steps = async {
            for Statement { sql, values } in before {
                let (sql, values) = (AssertSqlSafe(sql.clone()), SqlxValues(values.clone()));
                limit.within(sqlx::query_with(sql, values).execute(&mut *transaction)).await?;
            }
            let (sql, values) = (AssertSqlSafe(last.sql.clone()), SqlxValues(last.values.clone()));
            let query = sqlx::query_as_with(sql, values);
            Ok(limit.within(query.fetch_all(&mut *transaction)).await?.into_iter().next())
        };
        match steps.await {
            Ok(Some(row)) => limit.within(transaction.commit()).await.map(|()| Some(row)),
            Ok(None) => limit.within(transaction.rollback()).await.map(|()| None),
            Err(error) => {
                has_ended = limit.within(transaction.rollback()).await.is_ok();
                Err(error)
            }
        }
    };
    let outcome = work.await;
    let outcome = lease.settle(outcome);
    if !has_ended {
        lease.doubt();
    }
    outcome
}

async fn open_sqlite(path: PathBuf, missing: Missing, bounds: Bounds) -> Result<Engine> {
    let pool =
        |file: &SqliteFile, size, statement, queue| Pool::new(file.clone(), size, statement, queue);
    let [requests, transfers, reserved] = SQLITE_READERS;
    let lanes = |file: &SqliteFile| {
        Ok::<_, Error>(Lanes {
            requests: pool(file, requests, bounds.statement, bounds.queue)?,
            transfers: pool(file, transfers, TRANSFER_STATEMENT, TRANSFER_QUEUE)?,
            reserved: pool(file, reserved, RESERVED_STATEMENT, RESERVED_QUEUE)?,
        })
    };
    if missing == Missing::ReadOnly {
        if !path.exists() {
            let advice = "make it with `cinequery migrate` or `cinequery import`, or name \
                          another with --database";
            let message = format!("there is no database {}; {advice}", path.display());
            return Err(Error::internal(message));
        }
        let file = SqliteFile::reader_anywhere(&path).await?;
        let write = pool(&file, 1, bounds.statement, bounds.queue)?;
        return Ok(Engine::Sqlite { read: lanes(&file)?, write, path });
    }
    // Of several processes that open a new file together, the switch to WAL would fail for some:
    // SQLite does not wait for its lock there.
    let _guard = sqlite::lock_beside(path.clone()).await?;
    let write = pool(&SqliteFile::writer(&path), 1, bounds.statement, bounds.queue)?;
    // The file is made now, and whatever keeps it from that is reported now.
    drop(write.lease(None).await?);
    Ok(Engine::Sqlite { read: lanes(&SqliteFile::reader(&path))?, write, path })
}

fn open_postgres(url: &str, bounds: Bounds) -> Result<Engine> {
    let servers =
        |statement| Servers::of(url, Work::Statements(statement)).map_err(Error::internal);
    let lane = |size: u32, statement, queue| {
        let pool = Pool::new(servers(statement)?, size as usize, statement, queue)?;
        pool.check_unused();
        Ok::<_, Error>(pool)
    };
    let requests = bounds.connections.max(Bounds::MIN_CONNECTIONS);
    let requests = requests - POSTGRES_RESERVED - POSTGRES_TRANSFERS;
    Ok(Engine::Postgres(Lanes {
        requests: lane(requests, bounds.statement, bounds.queue)?,
        transfers: lane(POSTGRES_TRANSFERS, TRANSFER_STATEMENT, TRANSFER_QUEUE)?,
        reserved: lane(POSTGRES_RESERVED, RESERVED_STATEMENT, RESERVED_QUEUE)?,
    }))
}

/// A database without our tables.
fn not_migrated(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let detail = "the database is not migrated: run `cinequery migrate`".to_owned();
    Error { detail, ..Error::unavailable(cause) }
}

/// The path of a file that belongs to the database file.
pub(crate) fn beside(database: &Path, extension: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
