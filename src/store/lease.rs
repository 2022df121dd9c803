//! A connection in use. Its statements have deadlines, and their outcome decides whether it is reused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::Object;
use futures_util::TryStreamExt;
use sea_query::Values;
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, FromRow};

use super::connection::{Deadline, Held, Keeper, Open};
use super::failure::FailureClass;
use super::observer::Observer;
use super::record::Sink;
use super::row::Columns;
use super::share::Permit;
use crate::query::dialect::depends_on_values;
use crate::telemetry::account::{Stage, Timer};

/// How much longer than the database the client waits for a statement. The database's own limit comes first,
/// so a statement that is only slow leaves a usable connection.
pub const CLIENT_GRACE: Duration = Duration::from_secs(1);

/// The maximum length of a statement that a connection keeps prepared, in bytes. Long statements are rarely
/// repeated, and SQLite needs many times their length in memory.
const MAX_KEPT_BYTES: usize = 2048;

/// The maximum number of statements that a connection keeps prepared.
pub(super) const KEPT_STATEMENTS: usize = 32;

/// How long closing a connection may take before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a statement may continue after its caller was cancelled. Most statements end within this time;
/// the others are interrupted.
const ABANDONED_TIMEOUT: Duration = Duration::from_millis(200);

/// Whether a connection keeps a statement prepared.
fn is_kept(sql: &str) -> bool {
    sql.len() <= MAX_KEPT_BYTES && !depends_on_values(sql)
}

/// How the last statement of a lease ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not ended, for example because its caller was cancelled.
    Unknown,
    /// The connection can be reused, even if the statement failed.
    Reusable,
    /// The statement failed, and the connection may be in any state.
    InDoubt,
    /// The database did not respond in time.
    Silent,
}

/// A connection that is in use.
pub(super) struct Lease<O: Open> {
    held: Option<Object<Keeper<O>>>,
    end: End,
    /// The maximum time of one statement on the database.
    statement: Duration,
    observer: Arc<Observer>,
    share: Option<Permit>,
}

/// A connection, and the time limit of its statements.
pub(super) struct Parts<'a, DB: Database> {
    pub(super) connection: &'a mut DB::Connection,
    pub(super) limit: Limit,
}

/// The time limit of each statement on a connection, and who observes it.
pub(super) struct Limit {
    deadline: Deadline,
    statement: Duration,
    observer: Arc<Observer>,
}

impl Limit {
    /// Runs the work of one statement with a timeout: its limit plus [`CLIENT_GRACE`].
    pub(super) async fn run<T>(
        &self,
        sql: &str,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let started = Instant::now();
        self.deadline.set(self.statement);
        let outcome = match tokio::time::timeout(self.statement + CLIENT_GRACE, work).await {
            Ok(outcome) => {
                self.deadline.clear();
                outcome
            }
            Err(_) => Err(FailureClass::silent()),
        };
        self.observer.note(sql, started.elapsed());
        outcome
    }
}

impl<O: Open> Lease<O> {
    /// Leases a connection; each statement may take `statement` on the database.
    pub(super) fn of(
        held: Object<Keeper<O>>,
        statement: Duration,
        observer: Arc<Observer>,
    ) -> Self {
        Self { held: Some(held), end: End::Reusable, statement, observer, share: None }
    }

    /// Changes the time limit of statements.
    pub(super) fn limit_to(&mut self, statement: Duration) {
        self.statement = statement;
    }

    /// Holds a permit of its subject until the lease ends.
    pub(super) fn keep(&mut self, share: Option<Permit>) {
        self.share = share;
    }

    /// Returns the connection. The caller must pass the outcome of its work to [`Lease::settle`].
    ///
    /// # Errors
    /// Cannot fail in practice: a lease has its connection until it is dropped.
    pub(super) fn parts(&mut self) -> sqlx::Result<Parts<'_, O::Database>> {
        let statement = self.statement;
        self.end = End::Unknown;
        let held = self.held.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let deadline = held.opened.deadline.clone();
        let limit = Limit { deadline, statement, observer: self.observer.clone() };
        Ok(Parts { connection: &mut held.opened.connection, limit })
    }

    /// Records the outcome of the work, which decides whether the connection is reused.
    pub(super) fn settle<T>(&mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        let class = outcome.as_ref().err().map(FailureClass::of);
        self.end = match class {
            None | Some(FailureClass::Statement | FailureClass::Conflict) => End::Reusable,
            Some(FailureClass::Silent) => End::Silent,
            Some(FailureClass::Stale | FailureClass::Lost | FailureClass::Other) => End::InDoubt,
        };
        if matches!(class, Some(FailureClass::Stale | FailureClass::Lost | FailureClass::Silent))
            && let Some(pool) = self.held.as_ref().and_then(Object::pool)
        {
            // The cause has probably broken the other connections too, so they are replaced.
            pool.manager().replace_all();
        }
        outcome
    }

    /// Records that a transaction may still be open, so that the connection is not reused.
    pub(super) fn doubt(&mut self) {
        if self.end == End::Reusable {
            self.end = End::InDoubt;
        }
    }

    /// Runs one statement and returns its rows.
    ///
    /// It reads all rows, even if one is enough: SQLite checkpoints its log only when a statement is done.
    /// Otherwise the log would grow without bound.
    pub(super) async fn rows<T>(&mut self, sql: String, values: Values) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, <O::Database as Database>::Row> + Send + Unpin,
        for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
        SqlxValues: sqlx::IntoArguments<O::Database>,
    {
        let Parts { connection, limit } = self.parts()?;
        let (is_kept, sql) = (is_kept(&sql), Arc::new(sql));
        let query = sqlx::query_as_with(AssertSqlSafe(sql.clone()), SqlxValues(values));
        let query = query.persistent(is_kept);
        let _timer = Timer::start(Stage::Execute);
        let rows = limit.run(&sql, query.fetch_all(&mut *connection)).await;
        self.settle(rows)
    }

    /// Runs one statement and passes each row to `sink` as it arrives. Returns their number.
    pub(super) async fn records(
        &mut self,
        sql: String,
        values: Values,
        sink: &mut impl Sink,
    ) -> sqlx::Result<usize>
    where
        <O::Database as Database>::Row: Columns,
        for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
        SqlxValues: sqlx::IntoArguments<O::Database>,
    {
        let Parts { connection, limit } = self.parts()?;
        let (is_kept, sql) = (is_kept(&sql), Arc::new(sql));
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()), SqlxValues(values));
        let query = query.persistent(is_kept);
        let mut timer = Timer::start(Stage::Execute);
        let read = async {
            let mut rows = query.fetch(&mut *connection);
            let mut count = 0;
            while let Some(row) = rows.try_next().await? {
                if count == 0 {
                    timer.pass_to(Stage::Encode);
                }
                count += 1;
                sink.push(&row)?;
            }
            Ok(count)
        };
        let read = limit.run(&sql, read).await;
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

/// Ends the statement of a connection and closes it. Its place in the pool and in the share of its subject
/// stays taken until the statement has ended. So cancelled requests never leave more running statements than
/// the pool has connections.
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
                    tracing::debug!(
                        cause = super::failure::describe(&error),
                        "cannot interrupt the statement of a cancelled request"
                    );
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
        tracing::debug!("dropping a connection because closing it takes too long");
    }
}
