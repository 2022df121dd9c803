//! What is observed about the statements of a pool: metrics, the account of their request, and slow ones in the log.

use std::time::Duration;

use crate::telemetry::account::{self, Account};
use crate::telemetry::metrics::{Histogram, METRICS, Pool};

/// The maximum length of the SQL of a slow statement in the log, in bytes.
const MAX_LOGGED_BYTES: usize = 4096;

/// Observes the statements of a pool.
#[derive(Debug)]
pub(super) struct Observer {
    /// What the connections of the pool are for.
    pub(super) pool: &'static str,
    /// How long its users have waited for a connection, in seconds.
    pub(super) waits: Histogram,
    /// How long its statements have taken, in seconds.
    statements: Histogram,
    /// The time from which on a statement is logged as slow; zero for never.
    slow: Duration,
}

impl Observer {
    pub(super) fn new(pool: &'static str, slow: Duration) -> Self {
        let label = Pool { pool };
        let waits = METRICS.waits.get_or_create_owned(&label);
        let statements = METRICS.statements.get_or_create_owned(&label);
        Self { pool, waits, statements, slow }
    }

    /// Notes a statement that has ended, and how long it has taken.
    pub(super) fn note(&self, sql: &str, time: Duration) {
        self.statements.observe(time.as_secs_f64());
        account::count_statement();
        if time < self.slow || self.slow.is_zero() {
            return;
        }
        let account = Account::current();
        let request_id = account.as_ref().map(|account| account.request_id());
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let sql = sql.get(..sql.floor_char_boundary(MAX_LOGGED_BYTES)).unwrap_or(sql);
        tracing::warn!(
            request_id,
            pool = self.pool,
            microseconds,
            db.query.text = sql,
            sql,
            "slow statement"
        );
    }
}
