//! A connection in use: its statements have deadlines, and how they end decides whether it is used
//! again.

use std::time::{Duration, Instant};

use deadpool::managed::Object;
use futures_util::TryStreamExt;
use sea_query::Values;
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, FromRow};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{Deadline, Held, Keeper, Open};
use super::failure::Fault;
use super::record::Sink;
use super::row::Columns;

/// How much longer than the database this side waits for a statement: the database's own limit comes
/// first, so that a statement that is merely slow leaves a usable connection.
pub const CLIENT_GRACE: Duration = Duration::from_secs(1);

/// The longest statement that a connection keeps prepared, in bytes. Long ones are rarely sent again,
/// and SQLite keeps many times their length.
const MAX_KEPT_BYTES: usize = 2048;

/// How many statements a connection keeps prepared.
pub(super) const KEPT_STATEMENTS: usize = 32;

/// How long closing a connection may take before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a statement may go on by itself when its caller has gone away: most are done by then, and the
/// others are interrupted.
const ABANDONED_TIMEOUT: Duration = Duration::from_millis(200);

/// How the last statement of a lease has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not, as when its caller went away.
    Unknown,
    /// The connection can be used again, even if the statement has failed.
    Reusable,
    /// It failed in a way that leaves the connection in doubt.
    InDoubt,
    /// The database did not respond in time.
    Silent,
}

/// A connection that is in use.
pub(super) struct Lease<O: Open> {
    held: Option<Object<Keeper<O>>>,
    end: End,
    /// How long the database may work on a statement.
    statement: Duration,
    share: Option<OwnedSemaphorePermit>,
}

/// What a statement runs on, and its limit.
pub(super) struct Parts<'a, DB: Database> {
    pub(super) connection: &'a mut DB::Connection,
    pub(super) limit: Limit,
}

/// The limit of each statement on a connection.
pub(super) struct Limit {
    deadline: Deadline,
    statement: Duration,
}

impl Limit {
    /// Waits for work on the database for as long as one statement may take, and a little longer.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        self.deadline.set(self.statement);
        match tokio::time::timeout(self.statement + CLIENT_GRACE, work).await {
            Ok(outcome) => {
                self.deadline.clear();
                outcome
            }
            Err(_) => Err(Fault::silent()),
        }
    }
}

impl<O: Open> Lease<O> {
    /// The lease of a connection whose statements have that limit on the database.
    pub(super) fn of(held: Object<Keeper<O>>, statement: Duration) -> Self {
        Self { held: Some(held), end: End::Reusable, statement, share: None }
    }

    /// Gives its statements another limit.
    pub(super) fn limit_to(&mut self, statement: Duration) {
        self.statement = statement;
    }

    /// Keeps the share of its subject taken for as long as it lasts.
    pub(super) fn keep(&mut self, share: Option<OwnedSemaphorePermit>) {
        self.share = share;
    }

    /// The connection. What runs on it must be settled.
    ///
    /// # Errors
    /// None that could be provoked: a lease has its connection until it is dropped.
    pub(super) fn parts(&mut self) -> sqlx::Result<Parts<'_, O::Database>> {
        let statement = self.statement;
        self.end = End::Unknown;
        let held = self.held.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let deadline = held.opened.deadline.clone();
        let limit = Limit { deadline, statement };
        Ok(Parts { connection: &mut held.opened.connection, limit })
    }

    /// Notes how the work has ended, which decides whether the connection is used again.
    pub(super) fn settle<T>(&mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        let fault = outcome.as_ref().err().map(Fault::of);
        self.end = match fault {
            None | Some(Fault::Statement | Fault::Conflict) => End::Reusable,
            Some(Fault::Silent) => End::Silent,
            Some(Fault::Stale | Fault::Lost | Fault::Other) => End::InDoubt,
        };
        if matches!(fault, Some(Fault::Stale | Fault::Lost | Fault::Silent))
            && let Some(pool) = self.held.as_ref().and_then(Object::pool)
        {
            // What has ended this connection has probably ended the others: they are opened anew.
            pool.manager().replace_all();
        }
        outcome
    }

    /// Notes that a transaction may still be open, whatever the work came to.
    pub(super) fn doubt(&mut self) {
        if self.end == End::Reusable {
            self.end = End::InDoubt;
        }
    }

    /// Runs one statement and returns its rows.
    ///
    /// It is read to the end, and not only to the first row: SQLite checkpoints its log when a
    /// statement is done, and the log would grow without bound.
    pub(super) async fn rows<T>(&mut self, sql: String, values: Values) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, <O::Database as Database>::Row> + Send + Unpin,
        for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
        SqlxValues: sqlx::IntoArguments<O::Database>,
    {
        let Parts { connection, limit } = self.parts()?;
        let is_kept = sql.len() <= MAX_KEPT_BYTES;
        let query = sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(is_kept);
        let rows = limit.within(query.fetch_all(&mut *connection)).await;
        self.settle(rows)
    }

    /// Runs one statement and reads the rows of its records, each as it arrives.
    pub(super) async fn records(
        &mut self,
        sql: String,
        values: Values,
        sink: &mut impl Sink,
    ) -> sqlx::Result<()>
    where
        <O::Database as Database>::Row: Columns,
        for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
        SqlxValues: sqlx::IntoArguments<O::Database>,
    {
        let Parts { connection, limit } = self.parts()?;
        let is_kept = sql.len() <= MAX_KEPT_BYTES;
        let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(is_kept);
        let read = async {
            let mut rows = query.fetch(&mut *connection);
            while let Some(row) = rows.try_next().await? {
                sink.push(&row)?;
            }
            Ok(())
        };
        let read = limit.within(read).await;
        self.settle(read)
    }
}

impl<O: Open> Drop for Lease<O> {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        match self.end {
            End::Reusable => held.used_at = Instant::now(),
            End::Silent => drop(Object::take(held)),
            End::Unknown | End::InDoubt => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                    drop(Object::take(held));
                    return;
                };
                let (limit, share) = (self.statement + CLIENT_GRACE, self.share.take());
                runtime.spawn(async move {
                    retire(held, limit).await;
                    drop(share);
                });
            }
        }
    }
}

/// Ends what a connection is doing, and closes it. Its place in the pool, and in the share of its
/// subject, stays taken until its statement has ended: callers who go away must not leave more statements
/// behind than the pool has connections.
async fn retire<O: Open>(mut held: Object<Keeper<O>>, limit: Duration) {
    // SQLite stops at its next step.
    held.opened.deadline.set(Duration::ZERO);
    let pool = Object::pool(&held);
    let session = held.opened.session;
    let is_responsive = {
        let ended = tokio::time::timeout(limit, held.opened.connection.ping());
        let mut ended = std::pin::pin!(ended);
        let early = tokio::time::timeout(ABANDONED_TIMEOUT, &mut ended).await;
        let ended = match (early, session, pool) {
            (Ok(ended), ..) => ended,
            (Err(_), Some(session), Some(pool)) => {
                if let Err(error) = pool.manager().opener().interrupt(session).await {
                    tracing::debug!(%error, "an abandoned statement is not interrupted");
                }
                ended.await
            }
            _ => ended.await,
        };
        matches!(ended, Ok(Ok(())))
    };
    let Held { opened, .. } = Object::take(held);
    if is_responsive {
        close(opened.connection).await;
    }
}

pub(super) async fn close(connection: impl sqlx::Connection) {
    if tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await.is_err() {
        tracing::debug!("a connection is dropped: closing it takes too long");
    }
}
