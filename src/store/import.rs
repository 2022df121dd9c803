//! Writing many records: in one transaction, or in one for every thousand.

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Database, Executor, Pool, Transaction};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::write::{columns, insert_statement};
use super::{Store, database_error, on};
use crate::error::{Error, Result};
use crate::query::{Dialect, Statement};
use crate::record::{Draft, Record, timestamp_now};

/// Records between two commits, where an import commits before its end.
const BATCH: u64 = 1000;

/// What every import locks in PostgreSQL: "imports!" as a number.
const ADVISORY_LOCK: i64 = 0x696d_706f_7274_7321;

/// What to do with a record whose natural key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Write nothing at all, this record or any other.
    Fail,
    /// Leave the record that is there.
    Skip,
    /// Write over the record that is there.
    Update,
}

/// What an import is told.
#[derive(Debug)]
pub enum Message<R> {
    /// A record, and the line it came from.
    Record(u64, Draft<R>),
    /// That was all: commit. When the channel closes without it, the open transaction rolls back.
    End,
}

/// What became of an import's records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Created.
    pub inserted: u64,
    /// Written over.
    pub updated: u64,
    /// Left as they were.
    pub skipped: u64,
    /// The lines whose natural key was taken, when that is a failure.
    pub conflicts: Vec<u64>,
}

impl Store {
    /// Writes records as they arrive. It runs as a task of its own: when the caller goes away, the
    /// transaction still ends in order.
    ///
    /// # Errors
    /// The database's; what has not been committed by then is rolled back.
    pub async fn import<R: Record>(
        &self,
        policy: Conflict,
        records: mpsc::Receiver<Message<R>>,
    ) -> Result<Tally> {
        let dialect = self.dialect();
        let task = on!(write self, pool => {
            tokio::spawn(run::<R, _>(pool.clone(), dialect, policy, records))
        });
        task.await.map_err(Error::internal)?
    }
}

async fn run<R, DB>(
    pool: Pool<DB>,
    dialect: Dialect,
    policy: Conflict,
    mut records: mpsc::Receiver<Message<R>>,
) -> Result<Tally>
where
    R: Record,
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    i64: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
{
    let mut tally = Tally::default();
    let mut transaction = begin(&pool, dialect).await?;
    let mut pending = 0_u64;
    while let Some(message) = records.recv().await {
        let Message::Record(line, draft) = message else {
            if policy != Conflict::Fail || tally.conflicts.is_empty() {
                transaction.commit().await.map_err(database_error)?;
            }
            return Ok(tally);
        };
        let Statement { sql, values } = upsert(&draft, policy, timestamp_now(), dialect)?;
        let version: Option<i64> = sqlx::query_scalar_with(AssertSqlSafe(sql), SqlxValues(values))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(database_error)?;
        match (version, policy) {
            (Some(1), _) => tally.inserted += 1,
            (Some(_), _) => tally.updated += 1,
            (None, Conflict::Fail) => tally.conflicts.push(line),
            (None, _) => tally.skipped += 1,
        }
        pending += 1;
        if pending == BATCH && policy != Conflict::Fail {
            transaction.commit().await.map_err(database_error)?;
            transaction = begin(&pool, dialect).await?;
            pending = 0;
        }
    }
    Ok(tally)
}

/// Begins a transaction that waits for other imports instead of meeting them row by row, where two
/// could wait for each other. SQLite takes its one write lock at once; PostgreSQL takes a lock that
/// only imports take, and waits for it without the time limits of requests.
async fn begin<DB>(pool: &Pool<DB>, dialect: Dialect) -> Result<Transaction<'static, DB>>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    if dialect == Dialect::Sqlite {
        return pool.begin_with("BEGIN IMMEDIATE").await.map_err(database_error);
    }
    let mut transaction = pool.begin().await.map_err(database_error)?;
    let wait = format!(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
         SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
    );
    sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *transaction).await.map_err(database_error)?;
    Ok(transaction)
}

/// Creates the record, or does what the policy says; returns the version it wrote, if any.
fn upsert<R: Record>(
    draft: &Draft<R>,
    policy: Conflict,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let mut insert = insert_statement::<R>(Uuid::now_v7(), draft.row(), now, dialect)?;
    let mut conflict = OnConflict::columns(R::SCHEMA.natural_key.iter().copied());
    match policy {
        Conflict::Fail | Conflict::Skip => conflict.do_nothing(),
        Conflict::Update => conflict
            .update_columns(columns(draft.row(), dialect).map(|(column, _)| column))
            .update_column("updated_at")
            .value("version", Expr::col((R::SCHEMA.table, "version")).add(Expr::cust("1"))),
    };
    insert.on_conflict(conflict).returning(Sql::returning().column("version"));
    Ok(dialect.build(&insert).into())
}
