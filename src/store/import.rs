//! Writing many records: in one transaction, or in one for every thousand.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem_openapi::Enum;
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, FromRow, Transaction};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use super::connection::Open;
use super::failure::{Attempts, database_error};
use super::lease::{Lease, Limit, Parts};
use super::pool::Pool;
use super::postgres::IMPORT_LOCK_TIMEOUT;
use super::write::{columns, insert_statement};
use super::{Engine, Store, TRANSFER_QUEUE, TRANSFER_STATEMENT};
use crate::clock::timestamp_now;
use crate::error::{Error, Result, retry_after};
use crate::query::{Dialect, Schema, Statement, Value};
use crate::record::Draft;

/// Records between two commits, where an import commits before its end.
const BATCH: usize = 1000;

/// Records of one statement. More gain nothing, and both engines limit its parameters: SQLite to
/// 32,766, PostgreSQL to 65,535.
const ROWS: usize = 100;

/// Lines that are listed; more are counted.
pub const MAX_LISTED: usize = 100;

/// How long an import that has written something waits until others of its process have written a batch,
/// or all of theirs.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an import waits for its first turn. Nothing is written yet, so that its client can retry.
const FIRST_TURN_TIMEOUT: Duration = Duration::from_secs(1);

/// What every import locks in PostgreSQL: "imports!" as a number.
const ADVISORY_LOCK: i64 = 0x696d_706f_7274_7321;

/// What to do with a record that is there already: with `fail` nothing at all is imported, `skip` leaves it as
/// it is, `update` writes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename = "OnConflict", rename_all = "lowercase")]
pub enum Conflict {
    /// Write nothing at all, this record or any other.
    #[default]
    Fail,
    /// Leave the record that is there.
    Skip,
    /// Write over the record that is there.
    Update,
}

impl Conflict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Skip, Self::Update];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Update => "update",
        }
    }
}

/// What an import is told.
#[derive(Debug)]
pub enum Message {
    /// A record, and the line it came from.
    Record(u64, Draft),
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
    /// Writes records as they arrive. It runs as a task of its own: when the caller goes away, the
    /// transaction still ends in order. Of several imports of a process one writes at a time.
    ///
    /// # Errors
    /// Any database error; what has not been committed by then is rolled back.
    pub async fn import(
        &self,
        schema: &'static Schema,
        policy: Conflict,
        records: mpsc::Receiver<Message>,
    ) -> Result<Tally> {
        let store = self.transfers();
        let task = match &self.shared.engine {
            Engine::Sqlite { write, .. } => {
                tokio::spawn(run(store, write.clone(), schema, policy, records))
            }
            Engine::Postgres(lanes) => {
                let pool = lanes.of(store.lane).clone();
                tokio::spawn(run(store, pool, schema, policy, records))
            }
        };
        task.await.map_err(Error::internal)?
    }

    /// How long a statement of an import may take. PostgreSQL may be out of reach, which must show as soon
    /// as in any request; SQLite is not, and writes all of a large file to its log when it commits.
    fn import_statement(&self) -> Duration {
        match self.dialect() {
            Dialect::Sqlite => TRANSFER_STATEMENT,
            Dialect::Postgres => self.shared.bounds.statement,
        }
    }

    /// Waits until no other import of this process writes. It is waited for before a connection is
    /// taken: otherwise imports that wait would hold all of them.
    async fn import_turn(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let turn = self.shared.import_turn.clone().acquire_owned();
        match tokio::time::timeout(limit, turn).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => Err(Error {
                detail: "another import is writing; retry later".to_owned(),
                retry_after: Some(retry_after(10)),
                ..Error::unavailable("timed out waiting for another import")
            }),
        }
    }
}

/// Writes the records, in one transaction after the other or in a single one.
async fn run<O>(
    store: Store,
    pool: Pool<O>,
    schema: &'static Schema,
    policy: Conflict,
    mut records: mpsc::Receiver<Message>,
) -> Result<Tally>
where
    O: Open,
    for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
    SqlxValues: sqlx::IntoArguments<O::Database>,
    (Uuid, i64): for<'r> FromRow<'r, <O::Database as Database>::Row>,
{
    let mut tally = Tally::default();
    let mut turn_limit = FIRST_TURN_TIMEOUT;
    loop {
        let (first, next) = batch(&mut records).await;
        if next == Next::BrokenOff {
            return Ok(tally);
        }
        let _turn = store.import_turn(turn_limit).await?;
        turn_limit = TURN_TIMEOUT;
        // Of a file that is whole or nothing, the records that come cannot be written again: they
        // are gone when the attempt fails. A batch of the others is kept until it is committed.
        let mut attempts = Attempts::default();
        let (written, next) = loop {
            let limit = store.import_statement();
            let mut lease = pool.lease_within(TRANSFER_QUEUE, limit).await?;
            let mut file =
                File { schema, records: &mut records, first: &first, next, has_taken: false };
            let outcome = transaction(&mut lease, &mut file, policy, store.dialect()).await;
            match outcome {
                Err(Failure::Database(error))
                    if !file.has_taken && attempts.again(&error).await => {}
                Err(Failure::Database(error)) => return Err(database_error(error)),
                Err(Failure::Own(error)) => return Err(error),
                Ok(written) => break (written, file.next),
            }
        };
        tally.add(written);
        if next != Next::More {
            return Ok(tally);
        }
    }
}

/// What is written in one transaction: a batch, and where all of the file belongs together what comes
/// after it.
struct File<'a> {
    schema: &'static Schema,
    records: &'a mut mpsc::Receiver<Message>,
    first: &'a [(u64, Draft)],
    /// What follows the last batch that was taken.
    next: Next,
    /// Whether more than the first was taken.
    has_taken: bool,
}

/// Why a transaction of an import has failed.
enum Failure {
    Database(sqlx::Error),
    Own(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Writes in one transaction, and commits it if all of it may stay.
async fn transaction<O>(
    lease: &mut Lease<O>,
    file: &mut File<'_>,
    policy: Conflict,
    dialect: Dialect,
) -> std::result::Result<Tally, Failure>
where
    O: Open,
    for<'c> &'c mut <O::Database as Database>::Connection: Executor<'c, Database = O::Database>,
    SqlxValues: sqlx::IntoArguments<O::Database>,
    (Uuid, i64): for<'r> FromRow<'r, <O::Database as Database>::Row>,
{
    let Parts { connection, limit } = lease.parts()?;
    // A transaction that fails is not rolled back here: its connection is closed, which does that.
    match write_all(connection, limit, file, policy, dialect).await {
        Ok(tally) => Ok(lease.settle(Ok(tally))?),
        Err(Failure::Database(error)) => {
            let outcome = lease.settle(Err(error));
            lease.doubt();
            Ok(outcome?)
        }
        Err(own) => Err(own),
    }
}

async fn write_all<DB>(
    connection: &mut DB::Connection,
    limit: Limit,
    file: &mut File<'_>,
    policy: Conflict,
    dialect: Dialect,
) -> std::result::Result<Tally, Failure>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let mut transaction = begin::<DB>(connection, &limit, dialect).await?;
    let mut tally =
        write(&mut transaction, file.schema, &limit, file.first, policy, dialect).await?;
    while policy == Conflict::Fail && file.next == Next::More {
        let (rows, next) = batch(file.records).await;
        (file.next, file.has_taken) = (next, true);
        tally.add(write(&mut transaction, file.schema, &limit, &rows, policy, dialect).await?);
    }
    let is_broken_off = policy == Conflict::Fail && file.next == Next::BrokenOff;
    if tally.conflicting > 0 || is_broken_off || file.next == Next::RollBack {
        limit.within(transaction.rollback()).await?;
        return Ok(tally.rolled_back());
    }
    limit.within(transaction.commit()).await?;
    Ok(tally)
}

/// Begins a transaction that waits for other imports instead of meeting them row by row, where
/// two could wait for each other. SQLite takes its one write lock at once; PostgreSQL takes a
/// lock that only imports take, which it releases when the connection of its owner ends.
async fn begin<'c, DB>(
    connection: &'c mut DB::Connection,
    limit: &Limit,
    dialect: Dialect,
) -> std::result::Result<Transaction<'c, DB>, Failure>
where
    DB: Database,
    for<'e> &'e mut DB::Connection: Executor<'e, Database = DB>,
{
    if dialect == Dialect::Sqlite {
        let begin = AssertSqlSafe("BEGIN IMMEDIATE".to_owned());
        return Ok(limit.within(connection.begin_with(begin)).await?);
    }
    let mut transaction = limit.within(connection.begin()).await?;
    let wait = format!(
        "SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})",
        IMPORT_LOCK_TIMEOUT.as_millis()
    );
    limit.within(sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *transaction)).await?;
    Ok(transaction)
}

/// What follows a batch.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    More,
    End,
    RollBack,
    BrokenOff,
}

/// The next records. They are gathered before a transaction begins, so that a slow sender holds no
/// lock while it is waited for.
async fn batch(records: &mut mpsc::Receiver<Message>) -> (Vec<(u64, Draft)>, Next) {
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

/// Writes a batch, several records with each statement.
async fn write<DB>(
    transaction: &mut Transaction<'_, DB>,
    schema: &'static Schema,
    limit: &Limit,
    batch: &[(u64, Draft)],
    policy: Conflict,
    dialect: Dialect,
) -> std::result::Result<Tally, Failure>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let mut tally = Tally::default();
    let now = timestamp_now();
    for rows in statements(schema, batch) {
        let rows: Vec<(Uuid, u64, &Draft)> =
            rows.iter().map(|(line, draft)| (Uuid::now_v7(), *line, draft)).collect();
        let Statement { sql, values } =
            upsert(schema, &rows, policy, now, dialect).map_err(Failure::Own)?;
        let query = sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values));
        let written: Vec<(Uuid, i64)> = limit.within(query.fetch_all(&mut **transaction)).await?;
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
fn statements<'b>(schema: &Schema, batch: &'b [(u64, Draft)]) -> Vec<&'b [(u64, Draft)]> {
    let mut statements = Vec::new();
    let mut keys: HashSet<Vec<Option<&Value>>> = HashSet::with_capacity(ROWS);
    let mut rest = batch;
    let mut length = 0;
    for (_, draft) in batch {
        let key = natural_key(schema, draft);
        // Without a natural key no record is another.
        let is_repeated = !key.is_empty() && keys.contains(&key);
        if length == ROWS || is_repeated {
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

fn natural_key<'d>(schema: &Schema, draft: &'d Draft) -> Vec<Option<&'d Value>> {
    let is_key = |name| schema.natural_key().contains(&name);
    let fields = draft.row().iter().filter(|(field, _)| is_key(field.name));
    fields.map(|(_, value)| value.as_ref()).collect()
}

/// Creates the records, or does what the policy says; returns id and version of those it wrote. A
/// record that was there keeps its id.
fn upsert(
    schema: &'static Schema,
    rows: &[(Uuid, u64, &Draft)],
    policy: Conflict,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let drafts = rows.iter().map(|(id, _, draft)| (*id, draft.row()));
    let mut insert = insert_statement(schema, drafts, now, dialect)?;
    let key = schema.natural_key();
    if !key.is_empty() {
        let mut conflict = OnConflict::columns(key.iter().copied());
        match policy {
            Conflict::Fail | Conflict::Skip => conflict.do_nothing(),
            Conflict::Update => {
                let first = rows.first().map(|(.., draft)| draft.replacement());
                let written = first.unwrap_or_default();
                conflict
                    .update_columns(columns(&written, dialect).map(|(column, _)| column))
                    .update_column("updated_at")
                    .value(
                        "version",
                        Expr::col((schema.collection, "version")).add(Expr::cust("1")),
                    )
            }
        };
        insert.on_conflict(conflict);
    }
    insert.returning(Sql::returning().columns(["id", "version"]));
    Ok(dialect.build(&insert).into())
}
