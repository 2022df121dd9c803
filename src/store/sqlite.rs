//! Opens connections to SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite};

use super::connection::{Deadline, Open, Opened};
use super::failure::is_read_only;
use super::lease::KEPT_STATEMENTS;
use super::{beside, database_error};
use crate::error::{Error, Result};

/// How long SQLite waits for a write of another process. After that, the write is retried.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// After how many instructions of its virtual machine SQLite checks the deadline of a statement. This takes less
/// than a millisecond.
const INSTRUCTIONS: i32 = 10_000;

/// The memory for pages of the connection that writes, in KiB. With the default of 2 MiB, an import of 100,000 movies
/// wrote and read each page many times before its commit.
const WRITER_CACHE_KIB: u32 = 32 * 1024;

/// How a database file is opened.
#[derive(Debug, Clone)]
pub(super) struct SqliteFile(SqliteConnectOptions);

impl SqliteFile {
    /// Opens the file to read it.
    pub(super) fn reader(path: &Path) -> Self {
        Self(options(path).read_only(true))
    }

    /// Opens the file to write it, and creates it if it does not exist.
    pub(super) fn writer(path: &Path) -> Self {
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged commit survives a power loss.
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        Self(options)
    }

    /// Opens the file to read it, even in a folder without write permission. SQLite keeps files beside a
    /// database even for readers. Without them it needs the setting `immutable`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if its log has changes that only a writer could apply.
    pub(super) async fn reader_anywhere(path: &Path) -> Result<Self> {
        let reader = Self::reader(path);
        let Err(error) = reader.probe().await else { return Ok(reader) };
        if !is_read_only(&error) {
            return Err(of_file(database_error(error), path));
        }
        let log = PathBuf::from(format!("{}-wal", path.display()));
        if log.metadata().is_ok_and(|log| log.len() > 0) {
            let message = format!(
                "cannot read {} without write permission in its folder: {} has changes that are not \
                 yet applied",
                path.display(),
                log.display()
            );
            return Err(Error::internal(message));
        }
        Ok(Self(reader.0.immutable(true)))
    }

    async fn probe(&self) -> sqlx::Result<()> {
        let mut connection = self.0.connect().await?;
        sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await?;
        connection.close().await
    }
}

/// Adds the file to the cause of an error while opening it: the text of SQLite does not name it.
pub(super) fn of_file(error: Error, path: &Path) -> Error {
    let cause = error.cause.map(|cause| format!("{}: {cause}", path.display()).into());
    Error { cause, ..error }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(KEPT_STATEMENTS)
}

impl Open for SqliteFile {
    type Database = Sqlite;

    async fn open(&self) -> sqlx::Result<Opened<Sqlite>> {
        let mut connection = self.0.connect().await?;
        let deadline = Deadline::default();
        let watched = deadline.clone();
        let goes_on = move || !watched.has_passed();
        connection.lock_handle().await?.set_progress_handler(INSTRUCTIONS, goes_on);
        Ok(Opened { connection, deadline, session: None })
    }

    async fn interrupt(&self, _session: i32) -> sqlx::Result<()> {
        Ok(())
    }
}

/// Locks a file beside the database until the returned file is dropped. The system releases the lock if the
/// process is killed.
pub(super) async fn lock_beside(database: PathBuf) -> Result<std::fs::File> {
    let lock = move || {
        let path = beside(&database, "lock");
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(&path);
        let locked = file.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| format!("{}: {error}", path.display()))
    };
    tokio::task::spawn_blocking(lock).await.map_err(Error::internal)?.map_err(Error::internal)
}
