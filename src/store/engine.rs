//! The databases: which connections there are for which work, and within which limits.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::backup::{self, InUse};
use super::connection::Open;
use super::group_commit::Queue;
use super::location::{Location, missing_folder};
use super::observer::Observer;
use super::pool::Pool;
use super::postgres::{Servers, Work};
use super::sqlite::{self, SqliteFile};
use crate::error::{Error, Result};

/// The maximum time of one statement of an import or an export.
pub(super) const TRANSFER_STATEMENT: Duration = Duration::from_secs(30);

/// How long an admitted import or export waits for a connection. It is long, because its turn will come.
pub(super) const TRANSFER_QUEUE: Duration = Duration::from_secs(60);

/// The maximum time of one statement for upkeep: probes, revocations, usage and sign-in.
const RESERVED_STATEMENT: Duration = Duration::from_secs(2);

/// How long upkeep waits for a connection.
const RESERVED_QUEUE: Duration = Duration::from_secs(1);

/// The maximum number of requests that wait for a connection, and of those that wait for the share of their
/// subject. Further requests are rejected at once.
pub(super) const MAX_WAITING: usize = 512;

/// How many of the connections to PostgreSQL are for upkeep, and how many for imports and exports.
const POSTGRES_RESERVED: u32 = 2;
const POSTGRES_TRANSFERS: u32 = 2;

/// The number of connections that read SQLite for exports and for upkeep. One more connection writes, because SQLite has
/// one writer at a time.
const SQLITE_TRANSFERS: usize = 1;
const SQLITE_RESERVED: usize = 1;

/// Limits of the work on a database.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The maximum time of one statement of a request.
    pub statement: Duration,
    /// How long a request waits for a connection.
    pub queue: Duration,
    /// Number of connections to PostgreSQL. This number times the number of instances should stay below 80 % of
    /// `max_connections`.
    pub connections: u32,
    /// Number of connections that read SQLite for requests.
    pub readers: usize,
    /// Maximum number of concurrent statements of one subject.
    pub share: usize,
    /// Maximum number of concurrent imports, and of concurrent exports.
    pub transfers: usize,
    /// Maximum number of concurrent imports of one subject, and of concurrent exports.
    pub transfer_share: usize,
    /// How long the journal keeps changes.
    pub journal: Duration,
    /// How long the responses to requests with an idempotency key are stored.
    pub idempotency: Duration,
    /// The maximum life of a session, from sign-in.
    pub session: Duration,
    /// How long a session lives without a renewal.
    pub session_idle: Duration,
    /// The time from which on a statement is logged as slow; zero for never.
    pub slow_statement: Duration,
}

impl Bounds {
    /// The minimum number of connections, which leaves one for requests.
    pub const MIN_CONNECTIONS: u32 = POSTGRES_RESERVED + POSTGRES_TRANSFERS + 1;
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(5),
            queue: Duration::from_secs(1),
            connections: 8,
            readers: 4,
            share: 3,
            transfers: 8,
            transfer_share: 2,
            journal: Duration::from_secs(90 * 24 * 60 * 60),
            idempotency: Duration::from_secs(24 * 60 * 60),
            session: Duration::from_secs(30 * 24 * 60 * 60),
            session_idle: Duration::from_secs(7 * 24 * 60 * 60),
            slow_statement: Duration::from_secs(1),
        }
    }
}

/// What to do when the database file does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Create it.
    Create,
    /// Fail. An existing file is opened to read it only.
    ReadOnly,
}

#[derive(Debug)]
pub(super) enum Engine {
    Sqlite {
        read: Lanes<SqliteFile>,
        write: Pool<SqliteFile>,
        queue: Arc<Queue>,
        path: PathBuf,
        /// Whether the file had neither a log nor a lock file when it was opened.
        is_alone: bool,
        /// Held if the file may be written.
        in_use: Option<InUse>,
        /// Set while the file has the mark that it is served.
        is_marked: OnceLock<()>,
    },
    Postgres(Lanes<Servers>),
}

/// What a statement is for. Each lane has its own connections, so that neither exports nor many requests
/// delay other work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Requests.
    Requests,
    /// Imports and exports, whose statements may take and wait longer.
    Transfers,
    /// Upkeep: probes, revocations, usage and sign-in.
    Reserved,
}

#[derive(Debug)]
pub(super) struct Lanes<O: Open> {
    pub(super) requests: Pool<O>,
    pub(super) transfers: Pool<O>,
    pub(super) reserved: Pool<O>,
}

impl<O: Open> Lanes<O> {
    pub(super) fn of(&self, lane: Lane) -> &Pool<O> {
        match lane {
            Lane::Requests => &self.requests,
            Lane::Transfers => &self.transfers,
            Lane::Reserved => &self.reserved,
        }
    }

    pub(super) fn all(&self) -> [&Pool<O>; 3] {
        [&self.requests, &self.transfers, &self.reserved]
    }
}

impl Engine {
    /// Opens a database.
    pub(super) async fn open(location: Location, missing: Missing, bounds: Bounds) -> Result<Self> {
        match location {
            Location::Sqlite(path) => open_sqlite(path, missing, bounds).await,
            Location::Postgres(url) => open_postgres(&url, bounds),
        }
    }
}

async fn open_sqlite(path: PathBuf, missing: Missing, bounds: Bounds) -> Result<Engine> {
    let pool = |file: &SqliteFile, name, size, statement, queue| {
        let observer = Observer::new(name, bounds.slow_statement);
        Pool::new(file.clone(), size, statement, queue, observer)
    };
    let is_alone = backup::is_alone(&path);
    let requests = bounds.readers;
    let lanes = |file: &SqliteFile| {
        Ok::<_, Error>(Lanes {
            requests: pool(file, "requests", requests, bounds.statement, bounds.queue)?,
            transfers: pool(
                file,
                "transfers",
                SQLITE_TRANSFERS,
                TRANSFER_STATEMENT,
                TRANSFER_QUEUE,
            )?,
            reserved: pool(file, "upkeep", SQLITE_RESERVED, RESERVED_STATEMENT, RESERVED_QUEUE)?,
        })
    };
    if missing == Missing::ReadOnly {
        if !path.exists() {
            let advice = "create it with `cinequery migrate` or `cinequery import`, or choose \
                          another with --database";
            let message = format!("database file {} not found; {advice}", path.display());
            return Err(Error::internal(message));
        }
        let file = SqliteFile::reader_anywhere(&path).await?;
        let write = pool(&file, "writer", 1, bounds.statement, bounds.queue)?;
        let (read, queue, is_marked) = (lanes(&file)?, Arc::default(), OnceLock::new());
        let in_use = None;
        return Ok(Engine::Sqlite { read, write, queue, path, is_alone, in_use, is_marked });
    }
    if let Some(message) = missing_folder(&path) {
        return Err(Error::internal(format!("cannot create {}: {message}", path.display())));
    }
    // If several processes open a new file together, the switch to WAL would fail for some of them: SQLite does
    // not wait for its lock there.
    let _guard = sqlite::lock_beside(path.clone()).await?;
    let write = pool(&SqliteFile::writer(&path), "writer", 1, bounds.statement, bounds.queue)?;
    let in_use = Some(InUse::enter(&path)?);
    let failed = |error| Error::internal(format!("cannot create {}: {error}", path.display()));
    backup::create(&path).map_err(failed)?;
    // Create the database now, so that errors are reported now.
    drop(write.lease(None).await.map_err(|error| sqlite::of_file(error, &path))?);
    let read = lanes(&SqliteFile::reader(&path))?;
    let (queue, is_marked) = (Arc::default(), OnceLock::new());
    Ok(Engine::Sqlite { read, write, queue, path, is_alone, in_use, is_marked })
}

fn open_postgres(url: &str, bounds: Bounds) -> Result<Engine> {
    let servers =
        |statement| Servers::of(url, Work::Statements(statement)).map_err(Error::internal);
    let lane = |name, size: u32, statement, queue| {
        let observer = Observer::new(name, bounds.slow_statement);
        let pool = Pool::new(servers(statement)?, size as usize, statement, queue, observer)?;
        pool.check_unused();
        Ok::<_, Error>(pool)
    };
    let requests = bounds.connections.max(Bounds::MIN_CONNECTIONS);
    let requests = requests - POSTGRES_RESERVED - POSTGRES_TRANSFERS;
    Ok(Engine::Postgres(Lanes {
        requests: lane("requests", requests, bounds.statement, bounds.queue)?,
        transfers: lane("transfers", POSTGRES_TRANSFERS, TRANSFER_STATEMENT, TRANSFER_QUEUE)?,
        reserved: lane("upkeep", POSTGRES_RESERVED, RESERVED_STATEMENT, RESERVED_QUEUE)?,
    }))
}
