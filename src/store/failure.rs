//! What a failure of the database means: for its connection, for another attempt, for the caller.

use std::io::ErrorKind;
use std::time::Duration;

use crate::error::{Error, Kind, retry_after};

/// How often a write is attempted that others keep from being committed.
const MAX_ATTEMPTS: u32 = 5;

/// The longest pause before the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What a failure means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Only the statement has failed.
    Statement,
    /// Another transaction was in the way, and this one may succeed when it is run again.
    Conflict,
    /// The connection leads to a server that cannot be used: it is in recovery or shutting down.
    Stale,
    /// The connection is broken.
    Lost,
    /// The database did not respond in time.
    Silent,
    /// Anything else: the state of the connection is not known.
    Other,
}

impl Fault {
    /// The error of a database that does not respond.
    pub(super) fn silent() -> sqlx::Error {
        sqlx::Error::Io(ErrorKind::TimedOut.into())
    }

    /// Classifies an error.
    ///
    /// SQLSTATE codes are those of PostgreSQL's appendix A, the numbers SQLite's result codes, whose
    /// low byte is the primary one.
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
            // Shutting down, crashed, starting up, dropped, idle for too long.
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

/// SQLite's primary result code, if it is one: those of PostgreSQL have five characters.
fn sqlite_code(code: &str) -> Option<u32> {
    if code.len() == 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}

/// Whether SQLite fails because it may not write beside the database, which it needs even to read it.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    let code = database.code().unwrap_or_default();
    matches!(sqlite_code(&code), Some(SQLITE_READONLY | SQLITE_CANTOPEN))
}

/// Whether a server has not responded, or says that it is starting (SQLSTATE 57P03).
pub(super) fn is_starting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    Fault::of(error) == Fault::Silent || code.is_some_and(|code| code == "57P03")
}

/// Attempts of one write.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Whether to run it again: waits for a random time first, so that those in each other's way do
    /// not meet again.
    pub(super) async fn again(&mut self, error: &sqlx::Error) -> bool {
        self.0 += 1;
        if !is_conflict(error) || self.0 >= MAX_ATTEMPTS {
            return false;
        }
        let most = FIRST_PAUSE.saturating_mul(1 << (self.0 - 1));
        tokio::time::sleep(most.mul_f64(random_fraction())).await;
        true
    }
}

/// Whether the same transaction may succeed when it is run again, since nothing of it was committed.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    let code = database.code().unwrap_or_default();
    Fault::of(error) == Fault::Conflict
        || matches!(sqlite_code(&code), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

/// A number from 0 to 1.
fn random_fraction() -> f64 {
    // Without randomness everybody waits for the same time, which is no reason to fail.
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// More requests are waiting for the database than it can serve in time.
pub(super) fn overloaded() -> Error {
    let detail = "too many requests are waiting for the database; retry later".to_owned();
    Error { detail, ..Error::unavailable("no connection was free in time") }
}

/// What a failure of the database means for the caller. Its text is for the log alone.
pub(super) fn database_error(error: sqlx::Error) -> Error {
    if let sqlx::Error::Database(database) = &error
        && database.is_unique_violation()
    {
        let detail = "a record with the same natural key exists already";
        return Error { cause: Some(error.into()), ..Error::new(Kind::Duplicate, detail) };
    }
    match passing(&error) {
        Some((detail, least)) => Error {
            detail: detail.to_owned(),
            retry_after: Some(retry_after(least)),
            ..Error::unavailable(error)
        },
        None => Error::internal(error),
    }
}

/// What to tell the caller of a failure that may pass, and after how many seconds to retry at the
/// earliest.
fn passing(error: &sqlx::Error) -> Option<(&'static str, u32)> {
    let unreachable = Some(("the database does not respond; retry later", 2));
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::Tls(_) => {
            return Some(("cannot open a TLS connection to the database; check sslmode", 10));
        }
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            return READ_ONLY;
        }
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => return unreachable,
        _ => return None,
    };
    let busy = Some(("another transaction has locked the same data; retry", 1));
    let full = Some(("there is no space left for the database; retry when there is", 10));
    let slow = Some(("the statement takes too long; narrow the query or retry later", 2));
    let code = database.code().unwrap_or_default();
    if let Some(code) = sqlite_code(&code) {
        return match code {
            SQLITE_BUSY | SQLITE_LOCKED => busy,
            SQLITE_INTERRUPT => slow,
            SQLITE_IOERR => Some(("the database cannot be read or written; retry later", 2)),
            SQLITE_FULL => full,
            _ => None,
        };
    }
    match code.as_ref() {
        "40001" | "40P01" | "55P03" => busy,
        "53100" => full,
        "57014" => slow,
        "25006" => READ_ONLY,
        // A statement was prepared on one server and run on another.
        "26000" | "42P05" => Some((
            "the pooler before the database uses transaction pooling; set pool_mode = session",
            10,
        )),
        code if code.starts_with("53") => {
            Some(("the database has no connection or memory left; retry later", 2))
        }
        code => {
            let is_passing = ["08", "40", "57"].iter().any(|class| code.starts_with(class));
            if is_passing || code == "25P03" { unreachable } else { None }
        }
    }
}

/// A server in recovery, and a set of servers of which none accepts writes.
const READ_ONLY: Option<(&str, u32)> =
    Some(("the database accepts no writes at the moment; retry later", 2));
