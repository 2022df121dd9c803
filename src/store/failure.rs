//! Classifies database errors: whether the connection can be reused, whether a retry may help, and which
//! error the client gets.

use std::io::{self, ErrorKind};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::error::{Error, Kind, retry_after};
use crate::telemetry::metrics::METRICS;

/// The maximum number of attempts of a write that conflicts with other transactions.
const MAX_ATTEMPTS: u32 = 5;

/// The longest pause before the second attempt. It doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The class of a database error, which decides whether the connection is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// Only the statement failed.
    Statement,
    /// The transaction conflicted with another one and may succeed when it is retried.
    Conflict,
    /// The server cannot be used: it is in recovery or shutting down.
    Stale,
    /// The connection is broken.
    Lost,
    /// The database did not respond in time.
    Silent,
    /// Anything else. The state of the connection is unknown.
    Other,
}

impl FailureClass {
    /// Creates the error for a database that does not respond in time.
    pub(super) fn silent() -> sqlx::Error {
        let message = "the database sent no response within the time limit";
        sqlx::Error::Io(io::Error::new(ErrorKind::TimedOut, message))
    }

    /// Classifies an error.
    ///
    /// PostgreSQL has SQLSTATE codes (appendix A of its manual). SQLite has numbers, whose low byte is the
    /// primary result code.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let database = match error {
            sqlx::Error::Database(database) => database,
            sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut => return Self::Silent,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => return Self::Lost,
            _ => return Self::Other,
        };
        let code = database.code().unwrap_or_default();
        match (code.as_ref(), sqlite_code(&code)) {
            (_, Some(SQLITE_CONSTRAINT)) => Self::Statement,
            (_, Some(_)) => Self::Other,
            ("40001" | "40P01", _) => Self::Conflict,
            ("25006", _) => Self::Stale,
            // Shutting down, crashed, starting up, database dropped, session idle for too long.
            (code, _) if code.starts_with("57P") => Self::Stale,
            (code, _) if code.starts_with("08") || code.starts_with("25P03") => Self::Lost,
            (code, _) if code.starts_with("25") || code.starts_with("XX") => Self::Other,
            _ => Self::Statement,
        }
    }
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_INTERRUPT: u32 = 9;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_CONSTRAINT: u32 = 19;

/// The extended result code for an index of the log that cannot grow, because the disk is full.
const SQLITE_IOERR_SHMSIZE: &str = "4874";

/// Returns SQLite's primary result code; `None` for the codes of PostgreSQL, which have five characters.
fn sqlite_code(code: &str) -> Option<u32> {
    if code.len() == 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}

/// Returns whether SQLite failed because it may not write beside the database file. It needs to do so even
/// to read.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    let code = database.code().unwrap_or_default();
    matches!(sqlite_code(&code), Some(SQLITE_READONLY | SQLITE_CANTOPEN))
}

/// Returns whether another process has SQLite's file.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    matches!(sqlite_code(&code), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

/// Returns whether the server did not respond, or reports that it is starting (SQLSTATE 57P03).
pub(super) fn is_starting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    FailureClass::of(error) == FailureClass::Silent || code.is_some_and(|code| code == "57P03")
}

/// Returns whether the database role lacks a privilege (SQLSTATE 42501).
pub(super) fn is_permission_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}

/// Returns whether a record has a unique key that is taken.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
}

/// Returns whether PostgreSQL gave up waiting for a lock (SQLSTATE 55P03, `lock_timeout`).
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// Counts the attempts of one write.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Returns whether to retry after this error. Waits for a random time first, so that conflicting
    /// transactions do not meet again.
    pub(super) async fn again(&mut self, error: &sqlx::Error) -> bool {
        self.0 += 1;
        if !is_conflict(error) || self.0 >= MAX_ATTEMPTS {
            return false;
        }
        METRICS.retries.inc();
        let most = FIRST_PAUSE.saturating_mul(1 << (self.0 - 1));
        tokio::time::sleep(most.mul_f64(random_fraction())).await;
        true
    }
}

/// Returns whether the transaction conflicted with another one. Nothing of it was committed, so it can be
/// retried.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    let code = database.code().unwrap_or_default();
    FailureClass::of(error) == FailureClass::Conflict
        || matches!(sqlite_code(&code), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

/// Returns a random number from 0 to 1.
fn random_fraction() -> f64 {
    // Without random numbers all writes wait equally long. That is no reason to fail.
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// An error while connecting to a server, with its host and port for the log.
#[derive(Debug)]
struct Unconnected(String);

impl std::fmt::Display for Unconnected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unconnected {}

/// Adds the server to an error while connecting to it: the driver's text does not name the server.
pub(super) fn unconnected(error: sqlx::Error, server: &str) -> sqlx::Error {
    let sqlx::Error::Io(error) = error else { return error };
    let reason = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "it is a standby, which accepts no writes".to_owned(),
        _ => reason(&error),
    };
    let message = format!("cannot connect to {server}: {reason}");
    sqlx::Error::Io(io::Error::new(error.kind(), Unconnected(message)))
}

/// The text of an I/O error without its number: "connection refused".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error ").map_or(text.as_str(), |(text, _)| text);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// The text of a database error for the log and the command line.
///
/// It replaces the driver's text, which adds the line of PostgreSQL's source code that raised the error.
pub(super) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => describe_database_error(database.as_ref()),
        sqlx::Error::Io(error) => reason(error),
        // The driver would add "error with configuration".
        sqlx::Error::Configuration(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn describe_database_error(error: &(dyn DatabaseError + 'static)) -> String {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
        return error.to_string();
    };
    let mut text = format!("{} (SQLSTATE {})", error.message(), error.code());
    // "while updating tuple (0,1) in relation …" says which lock was waited for. Other contexts, and details,
    // may contain values of records, which must not reach the log.
    let context = error.r#where().and_then(|context| context.lines().next());
    if let Some(context) = context.filter(|context| context.starts_with("while ")) {
        text = format!("{text} {context}");
    }
    if let Some(hint) = error.hint() {
        text = format!("{text}; hint: {hint}");
    }
    text
}

/// Creates the error for a request that found no free connection. `connections` is the size of the pool.
pub(super) fn no_free_connection(connections: usize, waited: Duration) -> Error {
    let detail = format!(
        "no database connection became free within {waited:?} (limit: {connections}); retry later"
    );
    Error { detail, ..Error::unavailable("all connections are in use") }
}

/// Creates the error for a request that would have to wait after too many others.
pub(super) fn queue_is_full(waiting: usize) -> Error {
    let detail =
        format!("{waiting} requests are waiting for a database connection (limit); retry later");
    Error { detail, ..Error::unavailable("the queue for connections is full") }
}

/// Creates the error that the client gets for a database error. The text of the database is only its
/// cause.
pub(super) fn database_error(error: sqlx::Error) -> Error {
    let cause = describe(&error);
    if is_duplicate(&error) {
        let detail = "a record with the same natural key already exists";
        return Error { cause: Some(cause.into()), ..Error::new(Kind::Duplicate, detail) };
    }
    match transient(&error) {
        Some((detail, least)) => Error {
            detail: detail.to_owned(),
            retry_after: Some(retry_after(least)),
            ..Error::unavailable(cause)
        },
        None => Error::internal(cause),
    }
}

/// Returns the detail for a failure that a retry may solve, and the least number of seconds before the
/// retry; `None` for all other failures.
fn transient(error: &sqlx::Error) -> Option<(&'static str, u32)> {
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::Tls(_) => {
            return Some(("cannot open a TLS connection to the database; check sslmode", 10));
        }
        sqlx::Error::Io(error) => {
            return match error.kind() {
                ErrorKind::ReadOnlyFilesystem => READ_ONLY,
                ErrorKind::TimedOut => SILENT,
                _ if error.get_ref().is_some_and(|inner| inner.is::<Unconnected>()) => {
                    Some(("the database cannot be reached; retry later", 2))
                }
                _ => LOST,
            };
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => return SILENT,
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => return LOST,
        _ => return None,
    };
    let full = Some(("no space left for the database; free disk space before you retry", 10));
    let slow = Some(("the statement exceeded its time limit; narrow the query or retry later", 2));
    let code = database.code().unwrap_or_default();
    if let Some(primary) = sqlite_code(&code) {
        return match (primary, code.as_ref()) {
            (SQLITE_BUSY | SQLITE_LOCKED, _) => {
                Some(("timed out waiting for another process to write the database; retry", 1))
            }
            (SQLITE_INTERRUPT, _) => slow,
            (SQLITE_FULL, _) | (_, SQLITE_IOERR_SHMSIZE) => full,
            (SQLITE_IOERR, _) => {
                Some(("cannot read or write the database file; check its disk", 2))
            }
            _ => None,
        };
    }
    match code.as_ref() {
        "40001" | "40P01" => {
            Some(("another transaction changed the same data at the same time; retry", 1))
        }
        "55P03" => Some((
            "timed out waiting for a lock: another transaction is changing the same data; retry",
            1,
        )),
        "53100" => full,
        "53300" => Some((
            "the database has no connection left; raise max_connections, lower \
             --database-connections or retry later",
            2,
        )),
        "57014" => slow,
        "57P01" | "57P02" | "57P03" => {
            Some(("the database is starting or shutting down; retry later", 2))
        }
        "25006" => READ_ONLY,
        // A statement was prepared on one server and run on another.
        "26000" | "42P05" => {
            Some(("the connection pooler uses transaction pooling; set pool_mode = session", 10))
        }
        code if code.starts_with("53") => {
            Some(("the database is out of memory or another resource; retry later", 2))
        }
        code => {
            let is_transient = ["08", "40", "57"].iter().any(|class| code.starts_with(class));
            if is_transient || code == "25P03" { LOST } else { None }
        }
    }
}

/// For a server in recovery, and for several servers of which none accepts writes.
const READ_ONLY: Option<(&str, u32)> =
    Some(("the database accepts no writes at the moment; retry later", 2));

const SILENT: Option<(&str, u32)> = Some(("the database does not respond; retry later", 2));

const LOST: Option<(&str, u32)> = Some(("the connection to the database was lost; retry later", 2));

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};

    use super::*;

    /// SQLite reports a full disk with the same code as a limit of its pages.
    #[tokio::test]
    async fn a_full_disk_of_sqlite_is_named() -> sqlx::Result<()> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
        let fill = "PRAGMA max_page_count = 2; CREATE TABLE a (b); \
                    INSERT INTO a VALUES (randomblob(100000))";
        let full = sqlx::raw_sql(fill).execute(&mut connection).await;
        let error = full.map_err(database_error).err();
        let error = error.ok_or(sqlx::Error::RowNotFound)?;
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.detail.starts_with("no space left for the database"), "{error}");
        let cause = error.cause.map(|cause| cause.to_string()).unwrap_or_default();
        assert!(cause.contains("full"), "{cause}");
        Ok(())
    }

    #[test]
    fn the_reason_of_an_io_error_has_no_number() {
        let closed_port = io::Error::from_raw_os_error(111);
        assert_eq!(reason(&closed_port), "connection refused");
        let error = unconnected(sqlx::Error::Io(closed_port), "db.example:5432");
        assert_eq!(describe(&error), "cannot connect to db.example:5432: connection refused");
        assert_eq!(FailureClass::of(&error), FailureClass::Lost);
        let silent = unconnected(FailureClass::silent(), "db.example:5432");
        assert_eq!(FailureClass::of(&silent), FailureClass::Silent);
    }
}
