//! Writing many records: in one transaction, or in one for every thousand.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Database, Executor, FromRow, Pool, Transaction};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use super::write::{columns, insert_statement};
use super::{ACQUIRE_TIMEOUT, Store, database_error, on};
use crate::error::{Error, Result};
use crate::query::{Dialect, Statement, Value};
use crate::record::{Draft, Record, timestamp_now};

/// Records between two commits, where an import commits before its end.
const BATCH: usize = 1000;

/// Records of one statement. More gain nothing, and both engines limit its parameters: SQLite to
/// 32,766, PostgreSQL to 65,535.
const ROWS: usize = 100;

/// Lines that are listed; more are counted.
pub const MAX_LISTED: usize = 100;

/// Imports that a process reads at a time. They write one after the other, and a slow sender occupies
/// a thread.
pub(super) const MAX_IMPORTS: usize = 8;

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
    /// That was all, and under [`Conflict::Fail`] none of it may stay: its conflicts are of interest.
    RollBack,
}

/// What became of an import's records, as far as it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Created.
    pub inserted: u64,
    /// Written over.
    pub updated: u64,
    /// Left as they were.
    pub skipped: u64,
    /// How many natural keys were taken, when that is a failure.
    pub conflicting: u64,
    /// The lines of the first [`MAX_LISTED`] of these.
    pub conflicts: Vec<u64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.skipped += other.skipped;
        self.conflicting += other.conflicting;
        self.conflicts.extend(other.conflicts);
        self.conflicts.truncate(MAX_LISTED);
    }

    /// The same without what has not stayed.
    fn rolled_back(self) -> Self {
        Self { inserted: 0, updated: 0, skipped: 0, ..self }
    }
}

impl Store {
    /// A place for an import, which it keeps until it ends.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when as many are running as are read at a time.
    pub fn import_place(&self) -> Result<OwnedSemaphorePermit> {
        self.import_places.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_IMPORTS} imports are running; try again");
            Error { detail, ..Error::unavailable("no place for another import") }
        })
    }

    /// Writes records as they arrive. It runs as a task of its own: when the caller goes away, the
    /// transaction still ends in order. Of several imports of a process one writes at a time.
    ///
    /// # Errors
    /// The database's; what has not been committed by then is rolled back.
    pub async fn import<R: Record>(
        &self,
        policy: Conflict,
        records: mpsc::Receiver<Message<R>>,
    ) -> Result<Tally> {
        let (dialect, turn) = (self.dialect(), self.import_turn.clone());
        let task = on!(write self, pool => {
            let gate = Gate { pool: pool.clone(), turn, dialect };
            tokio::spawn(run::<R, _>(gate, policy, records))
        });
        task.await.map_err(Error::internal)?
    }
}

/// Where imports begin their transactions.
struct Gate<DB: Database> {
    pool: Pool<DB>,
    turn: std::sync::Arc<tokio::sync::Semaphore>,
    dialect: Dialect,
}

/// An open transaction, and the turn that it has.
struct Open<DB: Database> {
    transaction: Transaction<'static, DB>,
    _turn: OwnedSemaphorePermit,
}

async fn run<R, DB>(
    gate: Gate<DB>,
    policy: Conflict,
    mut records: mpsc::Receiver<Message<R>>,
) -> Result<Tally>
where
    R: Record,
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let mut tally = Tally::default();
    let mut open: Option<Open<DB>> = None;
    loop {
        let (batch, next) = batch(&mut records).await;
        if next == Next::BrokenOff {
            // What was committed stays, and of a file that is whole or nothing that is nothing.
            return Ok(if policy == Conflict::Fail { tally.rolled_back() } else { tally });
        }
        let mut current = match open.take() {
            Some(current) => current,
            None => gate.begin().await?,
        };
        tally.add(write(&mut current.transaction, batch, policy, gate.dialect).await?);
        if policy == Conflict::Fail && next == Next::More {
            open = Some(current);
            continue;
        }
        if next == Next::RollBack || tally.conflicting > 0 {
            current.transaction.rollback().await.map_err(database_error)?;
            return Ok(tally.rolled_back());
        }
        current.transaction.commit().await.map_err(database_error)?;
        if next == Next::End {
            return Ok(tally);
        }
    }
}

/// What follows a batch.
#[derive(PartialEq)]
enum Next {
    More,
    End,
    RollBack,
    BrokenOff,
}

/// The next records. They are gathered before a transaction begins, so that a slow sender holds no
/// lock while it is waited for.
async fn batch<R>(records: &mut mpsc::Receiver<Message<R>>) -> (Vec<(u64, Draft<R>)>, Next) {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        match records.recv().await {
            Some(Message::Record(line, draft)) => batch.push((line, draft)),
            Some(Message::End) => return (batch, Next::End),
            Some(Message::RollBack) => return (batch, Next::RollBack),
            None => return (batch, Next::BrokenOff),
        }
    }
    (batch, Next::More)
}

impl<DB> Gate<DB>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Begins a transaction that waits for other imports instead of meeting them row by row, where
    /// two could wait for each other. SQLite takes its one write lock at once; PostgreSQL takes a
    /// lock that only imports take, and waits for it without the time limits of requests. Imports of
    /// this process wait before they take a connection: waiting, they would hold all of them.
    async fn begin(&self) -> Result<Open<DB>> {
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, self.turn.clone().acquire_owned());
        let turn = turn
            .await
            .map_err(|_| Error {
                detail: "another import is writing; try again".to_owned(),
                ..Error::unavailable("an import has waited for its turn in vain")
            })?
            .map_err(Error::internal)?;
        if self.dialect == Dialect::Sqlite {
            let transaction =
                self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(database_error)?;
            return Ok(Open { transaction, _turn: turn });
        }
        let mut transaction = self.pool.begin().await.map_err(database_error)?;
        let wait = format!(
            "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
             SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
        );
        let wait = sqlx::raw_sql(AssertSqlSafe(wait));
        wait.execute(&mut *transaction).await.map_err(database_error)?;
        Ok(Open { transaction, _turn: turn })
    }
}

/// Writes a batch, several records with each statement.
async fn write<R, DB>(
    transaction: &mut Transaction<'static, DB>,
    batch: Vec<(u64, Draft<R>)>,
    policy: Conflict,
    dialect: Dialect,
) -> Result<Tally>
where
    R: Record,
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let mut tally = Tally::default();
    let now = timestamp_now();
    for rows in statements(&batch) {
        let rows: Vec<(Uuid, u64, &Draft<R>)> =
            rows.iter().map(|(line, draft)| (Uuid::now_v7(), *line, draft)).collect();
        let Statement { sql, values } = upsert(&rows, policy, now, dialect)?;
        let query = sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values));
        let written: Vec<(Uuid, i64)> =
            query.fetch_all(&mut **transaction).await.map_err(database_error)?;
        let written: HashMap<Uuid, i64> = written.into_iter().collect();
        let created = rows.iter().filter(|(id, ..)| written.contains_key(id)).count() as u64;
        let others = rows.len() as u64 - created;
        let conflicts = rows.iter().filter(|(id, ..)| !written.contains_key(id));
        tally.add(match policy {
            Conflict::Skip => Tally { inserted: created, skipped: others, ..Tally::default() },
            Conflict::Update => Tally { inserted: created, updated: others, ..Tally::default() },
            Conflict::Fail => Tally {
                inserted: created,
                conflicting: others,
                conflicts: conflicts.map(|(_, line, _)| *line).collect(),
                ..Tally::default()
            },
        });
    }
    Ok(tally)
}

/// Cuts a batch into the rows of one statement each. No two of them have the same natural key:
/// PostgreSQL refuses to write over a row twice in one statement.
fn statements<R: Record>(batch: &[(u64, Draft<R>)]) -> Vec<&[(u64, Draft<R>)]> {
    let mut statements = Vec::new();
    let mut keys: HashSet<Vec<Option<&Value>>> = HashSet::with_capacity(ROWS);
    let mut rest = batch;
    let mut length = 0;
    for (_, draft) in batch {
        let key = natural_key(draft);
        if length == ROWS || keys.contains(&key) {
            let (rows, behind) = rest.split_at(length);
            statements.push(rows);
            rest = behind;
            length = 0;
            keys.clear();
        }
        keys.insert(key);
        length += 1;
    }
    if !rest.is_empty() {
        statements.push(rest);
    }
    statements
}

fn natural_key<R: Record>(draft: &Draft<R>) -> Vec<Option<&Value>> {
    let is_key = |name| R::SCHEMA.natural_key.contains(&name);
    let fields = draft.row().iter().filter(|(field, _)| is_key(field.name));
    fields.map(|(_, value)| value.as_ref()).collect()
}

/// Creates the records, or does what the policy says; returns id and version of those it wrote. A
/// record that was there keeps its id.
fn upsert<R: Record>(
    rows: &[(Uuid, u64, &Draft<R>)],
    policy: Conflict,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let drafts = rows.iter().map(|(id, _, draft)| (*id, draft.row()));
    let mut insert = insert_statement::<R>(drafts, now, dialect)?;
    let mut conflict = OnConflict::columns(R::SCHEMA.natural_key.iter().copied());
    match policy {
        Conflict::Fail | Conflict::Skip => conflict.do_nothing(),
        Conflict::Update => {
            let columns = rows.iter().take(1).flat_map(|(.., draft)| columns(draft.row(), dialect));
            conflict
                .update_columns(columns.map(|(column, _)| column))
                .update_column("updated_at")
                .value("version", Expr::col((R::SCHEMA.table, "version")).add(Expr::cust("1")))
        }
    };
    insert.on_conflict(conflict).returning(Sql::returning().columns(["id", "version"]));
    Ok(dialect.build(&insert).into())
}
