//! The database: pools, statements, failures. It returns records and counts, and knows no
//! pages or cursors.
//!
//! Reads are single statements and need no transaction: each sees one snapshot. Writes of one
//! record are single statements too, so that a request that is cut off leaves nothing open; what needs
//! a transaction is a task of its own.

mod explain;
mod groups;
mod import;
mod location;
mod migrate;
mod revocations;
mod usage;
mod users;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, FromRow, PgPool, SqlitePool};
use tokio::sync::Semaphore;

pub use self::explain::Explained;
pub use self::import::{Conflict, MAX_LISTED, Message, Tally};
pub use self::location::Location;
pub(crate) use self::migrate::beside;
pub use self::migrate::{Migrations, State};
pub use self::revocations::{Revocation, Revoked};
pub use self::usage::Usage;
pub use self::users::{User, UserChange};
pub use self::write::Expected;
use crate::error::{Error, Kind, Result};
use crate::query::{Dialect, Statement};
use crate::record::Record;

/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL works on one statement, in its own notation.
const STATEMENT_TIMEOUT: &str = "15s";

/// How long a request waits for a row that somebody else is writing. A few that waited longer would
/// hold every connection.
const LOCK_TIMEOUT: &str = "2s";

/// Connections to PostgreSQL; keep instances × this below 80 % of its `max_connections`.
const POSTGRES_CONNECTIONS: u32 = 8;

/// Connections that read SQLite. One more writes, since SQLite has one writer at a time.
const SQLITE_READERS: u32 = 4;

/// What to do when the database file does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make it.
    Create,
    /// Refuse, and write nothing to one that is there.
    ReadOnly,
}

/// A database.
#[derive(Debug, Clone)]
pub struct Store {
    engine: Engine,
    /// The turn to write, of the imports of this process.
    import_turn: Arc<Semaphore>,
    /// Places for imports, each of which has a thread that reads.
    import_places: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Engine {
    Sqlite { read: SqlitePool, write: SqlitePool, path: PathBuf },
    Postgres(PgPool),
}

/// Runs the same code on the pool of either engine.
macro_rules! on {
    (read $store:expr, $pool:ident => $body:expr) => {
        match &$store.engine {
            $crate::store::Engine::Sqlite { read: $pool, .. } => $body,
            $crate::store::Engine::Postgres($pool) => $body,
        }
    };
    (write $store:expr, $pool:ident => $body:expr) => {
        match &$store.engine {
            $crate::store::Engine::Sqlite { write: $pool, .. } => $body,
            $crate::store::Engine::Postgres($pool) => $body,
        }
    };
}
use on;

impl Store {
    /// Opens the database. PostgreSQL is first reached when it is first needed.
    ///
    /// # Errors
    /// A malformed address; a SQLite file that is missing (when it must not be) or unreadable.
    pub async fn open(location: Location, missing: Missing) -> Result<Self> {
        let engine = match location {
            Location::Sqlite(path) => {
                if missing == Missing::ReadOnly && !path.exists() {
                    let advice = "make it with `cinequery migrate` or `cinequery import`, or name \
                                  another with --database";
                    let message = format!("there is no database {}; {advice}", path.display());
                    return Err(Error::internal(message));
                }
                let options = SqliteConnectOptions::new()
                    .filename(&path)
                    .busy_timeout(BUSY_TIMEOUT)
                    .foreign_keys(true);
                let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
                let read = pool()
                    .max_connections(SQLITE_READERS)
                    .connect_lazy_with(options.clone().read_only(true));
                if missing == Missing::ReadOnly {
                    let write = read.clone();
                    return Ok(Self::of(Engine::Sqlite { read, write, path }));
                }
                // Of several processes that open a new file together, the switch to WAL below would
                // fail for some: SQLite does not wait for its lock there.
                let _guard = migrate::lock_beside(path.clone()).await?;
                let writer = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A commit that was acknowledged survives a loss of power.
                    .synchronous(SqliteSynchronous::Full);
                let write = pool().max_connections(1).connect_with(writer).await;
                let write = write.map_err(database_error)?;
                Engine::Sqlite { read, write, path }
            }
            Location::Postgres(url) => {
                let options: PgConnectOptions = url.parse().map_err(Error::internal)?;
                let options = options.application_name("cinequery").options([
                    ("statement_timeout", STATEMENT_TIMEOUT),
                    ("lock_timeout", LOCK_TIMEOUT),
                ]);
                let pool = PgPoolOptions::new()
                    .max_connections(POSTGRES_CONNECTIONS)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with(options);
                Engine::Postgres(pool)
            }
        };
        Ok(Self::of(engine))
    }

    fn of(engine: Engine) -> Self {
        let import_turn = Arc::new(Semaphore::new(1));
        let import_places = Arc::new(Semaphore::new(import::MAX_IMPORTS));
        Self { engine, import_turn, import_places }
    }

    /// The engine's dialect.
    pub fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The records a statement selects, in its order.
    ///
    /// # Errors
    /// The database's.
    pub async fn fetch<R: Record>(&self, Statement { sql, values }: Statement) -> Result<Vec<R>> {
        on!(read self, pool => {
            sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values)).fetch_all(pool).await
        })
        .map_err(database_error)
    }

    /// The single number a statement selects.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self, Statement { sql, values }: Statement) -> Result<i64> {
        on!(read self, pool => {
            sqlx::query_scalar_with(AssertSqlSafe(sql), SqlxValues(values)).fetch_one(pool).await
        })
        .map_err(database_error)
    }

    /// The texts a statement selects, in its order.
    ///
    /// # Errors
    /// The database's.
    pub async fn texts(&self, Statement { sql, values }: Statement) -> Result<Vec<String>> {
        on!(read self, pool => {
            sqlx::query_scalar_with(AssertSqlSafe(sql), SqlxValues(values)).fetch_all(pool).await
        })
        .map_err(database_error)
    }

    /// Runs statements in one transaction, and returns the row of the last. When that has none, nothing is
    /// done.
    ///
    /// It is a task of its own: when the caller goes away, the transaction still ends in order.
    async fn transact<T>(&self, before: Vec<Statement>, last: Statement) -> Result<Option<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static,
    {
        let task = on!(write self, pool => {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut transaction = pool.begin().await?;
                for Statement { sql, values } in before {
                    let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values));
                    query.execute(&mut *transaction).await?;
                }
                let query = sqlx::query_as_with(AssertSqlSafe(last.sql), SqlxValues(last.values));
                // Read to the end, as all writes are: see `write_one`.
                let row = query.fetch_all(&mut *transaction).await?.into_iter().next();
                match row {
                    Some(_) => transaction.commit().await?,
                    None => transaction.rollback().await?,
                }
                Ok(row)
            })
        });
        task.await.map_err(Error::internal)?.map_err(database_error)
    }

    /// The engine and its version, in words.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn version(&self) -> Result<String> {
        let (name, sql) = match self.dialect() {
            Dialect::Sqlite => ("SQLite", "SELECT sqlite_version()"),
            Dialect::Postgres => ("PostgreSQL", "SHOW server_version"),
        };
        let version: String = on!(read self, pool => sqlx::query_scalar(sql).fetch_one(pool).await)
            .map_err(database_error)?;
        Ok(format!("{name} {version}"))
    }

    /// Whether the database answers and has been migrated.
    ///
    /// # Errors
    /// [`Kind::Unavailable`], whatever keeps it from that.
    pub async fn ping(&self) -> Result<()> {
        let sql = "SELECT value FROM cinequery_meta WHERE name = 'folding'";
        let folding: Option<String> = on!(read self, pool => {
            sqlx::query_scalar(sql).fetch_optional(pool).await
        })
        .map_err(|error| match &error {
            sqlx::Error::Database(cause) if !is_passing(&cause.code().unwrap_or_default()) => {
                not_migrated(error)
            }
            _ => Error::unavailable(error),
        })?;
        folding.map(|_| ()).ok_or_else(|| not_migrated("it has no folding"))
    }

    /// Closes all connections, after their statements have ended.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { read, write, .. } => {
                read.close().await;
                write.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

/// A database without our tables.
fn not_migrated(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let detail = "the database is not migrated: run `cinequery migrate`".to_owned();
    Error { detail, ..Error::unavailable(cause) }
}

/// What a failure of the database means for the caller. Its text is for the log alone.
fn database_error(error: sqlx::Error) -> Error {
    if let sqlx::Error::Database(database) = &error {
        if database.is_unique_violation() {
            let detail = "a record with the same natural key exists already";
            return Error { cause: Some(error.into()), ..Error::new(Kind::Duplicate, detail) };
        }
        let code = database.code().unwrap_or_default();
        return if is_passing(&code) { Error::unavailable(error) } else { Error::internal(error) };
    }
    match error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => Error::unavailable(error),
        _ => Error::internal(error),
    }
}

/// Whether a failure with this code may pass by itself.
///
/// SQLSTATE classes of PostgreSQL: 08 connection, 25P03 and 40 rollback, 53 resources, 55P03 lock,
/// 57 operator intervention (shutdown, statement timeout). Primary result codes of SQLite, in the
/// low byte: 5 busy, 6 locked, 10 I/O error, 13 full.
fn is_passing(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))
            || ["25P03", "55P03"].contains(&code);
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13))
}
