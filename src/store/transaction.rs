//! Transactions of several statements, the same for both engines.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor as _, Postgres, Sqlite};

use super::Row;
use super::connection::Open;
use super::failure::{FailureClass, database_error};
use super::lease::{Lease, Limit, Parts};
use super::postgres::Servers;
use super::record::{Record, Records, Sink as _};
use super::sqlite::SqliteFile;
use crate::error::Error;
use crate::query::dialect::depends_on_values;
use crate::query::{Dialect, Schema, Statement};
use crate::telemetry::account::{self, Stage, Timer};

/// Why the work of a transaction failed.
pub(super) enum Failure {
    /// The database failed. After a conflict with another transaction the work is retried.
    Database(sqlx::Error),
    /// The work failed. It is not retried.
    Own(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => database_error(error),
            Failure::Own(error) => error,
        }
    }
}

/// How a transaction ends.
pub(super) enum End<T> {
    Commit(T),
    RollBack(T),
}

/// The work of a transaction. It may run several times, because conflicts are retried.
pub(super) trait Work: Send + Sync + 'static {
    /// What the caller gets.
    type Output: Send + 'static;

    /// Runs the statements.
    fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = std::result::Result<End<Self::Output>, Failure>> + Send;

    /// Logs what was written, after the commit.
    fn audit(&self, _output: &Self::Output) {}
}

/// An open transaction.
pub(super) struct Transaction<'c> {
    session: Session<'c>,
    limit: Limit,
    /// SQL without values that is sent with the next statement.
    before: Option<&'static str>,
}

/// The connection of a transaction.
pub(super) enum Session<'c> {
    Sqlite(sqlx::Transaction<'c, Sqlite>),
    Postgres(sqlx::Transaction<'c, Postgres>),
}

/// What opens connections whose transactions are sessions.
pub(super) trait Begin: Open {
    /// The statement that begins a transaction.
    const BEGIN: &'static str;

    fn session(transaction: sqlx::Transaction<'_, Self::Database>) -> Session<'_>;
}

impl Begin for SqliteFile {
    /// Takes the lock for writing at once, because a later attempt to get it could fail.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn session(transaction: sqlx::Transaction<'_, Sqlite>) -> Session<'_> {
        Session::Sqlite(transaction)
    }
}

impl Begin for Servers {
    const BEGIN: &'static str = "BEGIN";

    fn session(transaction: sqlx::Transaction<'_, Postgres>) -> Session<'_> {
        Session::Postgres(transaction)
    }
}

/// Runs the same code on either engine. Each statement has the time limit of its connection.
macro_rules! on_session {
    ($transaction:expr, $sql:expr, $connection:ident => $body:expr) => {{
        let Transaction { session, limit, .. } = $transaction;
        let _timer = Timer::start(Stage::Execute);
        match session {
            Session::Sqlite(open) => {
                let $connection = &mut **open;
                limit.run(&$sql, $body).await
            }
            Session::Postgres(open) => {
                let $connection = &mut **open;
                limit.run(&$sql, $body).await
            }
        }
    }};
}

impl<'c> Transaction<'c> {
    /// Begins a transaction.
    pub(super) async fn begin<O: Begin>(
        connection: &'c mut <O::Database as Database>::Connection,
        limit: Limit,
    ) -> sqlx::Result<Self> {
        let _timer = Timer::start(Stage::Execute);
        let begin = connection.begin_with(AssertSqlSafe(O::BEGIN.to_owned()));
        let begun = limit.run(O::BEGIN, begin).await?;
        Ok(Self { session: O::session(begun), limit, before: None })
    }

    /// Sends SQL together with the next statement, without a round trip of its own. It has no values and returns nothing.
    /// Only for SQLite: PostgreSQL prepares one statement at a time.
    pub(super) fn precede(&mut self, sql: &'static str) {
        self.before = Some(sql);
    }

    /// Returns the query of a statement, and of the SQL that comes before it.
    fn query(&mut self, Statement { sql, values }: Statement) -> (Arc<String>, SqlxValues) {
        let sql = match self.before.take() {
            Some(before) => format!("{before}; {sql}"),
            None => sql,
        };
        (Arc::new(sql), SqlxValues(values))
    }

    /// Returns the SQL dialect of the database.
    pub(super) fn dialect(&self) -> Dialect {
        match self.session {
            Session::Sqlite(_) => Dialect::Sqlite,
            Session::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Returns the rows of a statement.
    pub(super) async fn rows<T: Row>(&mut self, statement: Statement) -> sqlx::Result<Vec<T>> {
        let is_kept = !depends_on_values(&statement.sql);
        let (sql, values) = self.query(statement);
        let query = AssertSqlSafe(sql.clone());
        let rows = on_session!(self, sql, connection => {
            sqlx::query_as_with(query, values).persistent(is_kept).fetch_all(connection)
        })?;
        account::count_rows(rows.len());
        Ok(rows)
    }

    /// Returns the records of a statement.
    pub(super) async fn records(
        &mut self,
        schema: &'static Schema,
        statement: Statement,
    ) -> sqlx::Result<Vec<Record>> {
        let mut records = Records::of(schema);
        let sink = &mut records;
        let (sql, values) = self.query(statement);
        let query = AssertSqlSafe(sql.clone());
        on_session!(self, sql, connection => async {
            let mut rows = sqlx::query_with(query, values).fetch(connection);
            while let Some(row) = rows.try_next().await? {
                sink.push(&row)?;
            }
            Ok(())
        })?;
        account::count_rows(records.list.len());
        Ok(records.list)
    }

    /// Runs a statement and returns the number of its rows.
    pub(super) async fn execute(&mut self, statement: Statement) -> sqlx::Result<u64> {
        let (sql, values) = self.query(statement);
        let query = AssertSqlSafe(sql.clone());
        on_session!(self, sql, connection => async {
            let mut results = connection.fetch_many(sqlx::query_with(query, values));
            let mut affected = 0;
            while let Some(result) = results.try_next().await? {
                // The last one is that of the statement. SQLite repeats it for a statement that changes nothing.
                affected = result.left().map_or(affected, |result| result.rows_affected());
            }
            Ok(affected)
        })
    }

    pub(super) async fn commit(self) -> sqlx::Result<()> {
        let Self { session, limit, .. } = self;
        let _timer = Timer::start(Stage::Execute);
        match session {
            Session::Sqlite(open) => limit.run("COMMIT", open.commit()).await,
            Session::Postgres(open) => limit.run("COMMIT", open.commit()).await,
        }
    }

    pub(super) async fn roll_back(self) -> sqlx::Result<()> {
        let Self { session, limit, .. } = self;
        let _timer = Timer::start(Stage::Execute);
        match session {
            Session::Sqlite(open) => limit.run("ROLLBACK", open.rollback()).await,
            Session::Postgres(open) => limit.run("ROLLBACK", open.rollback()).await,
        }
    }
}

/// Runs work once, in one transaction on this connection.
pub(super) async fn attempt<O: Begin, W: Work>(
    lease: &mut Lease<O>,
    work: &W,
) -> std::result::Result<W::Output, Failure> {
    let Parts { connection, limit } = lease.parts()?;
    let mut has_ended = true;
    let outcome = async {
        let mut transaction = Transaction::begin::<O>(connection, limit).await?;
        match work.run(&mut transaction).await {
            Ok(End::Commit(output)) => {
                transaction.commit().await?;
                work.audit(&output);
                Ok(output)
            }
            Ok(End::RollBack(output)) => Ok(transaction.roll_back().await.map(|()| output)?),
            Err(failure) => {
                has_ended = may_respond(&failure) && transaction.roll_back().await.is_ok();
                Err(failure)
            }
        }
    };
    let outcome = outcome.await;
    let outcome = match outcome {
        Ok(output) => Ok(lease.settle(Ok(output))?),
        Err(Failure::Own(error)) => {
            lease.settle(Ok(()))?;
            Err(Failure::Own(error))
        }
        Err(Failure::Database(error)) => Ok(lease.settle(Err(error))?),
    };
    if !has_ended {
        lease.doubt();
    }
    outcome
}

/// Returns whether the connection can still end its transaction.
pub(super) fn may_respond(failure: &Failure) -> bool {
    match failure {
        Failure::Own(_) => true,
        Failure::Database(error) => {
            matches!(FailureClass::of(error), FailureClass::Statement | FailureClass::Conflict)
        }
    }
}
