//! Imports: writes of many records, in one transaction or in one per thousand records.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem_openapi::Enum;
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, FromRow, Transaction};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use super::connection::Open;
use super::failure::{Attempts, database_error, is_duplicate, is_lock_timeout};
use super::lease::{Lease, Limit, Parts};
use super::pool::Pool;
use super::postgres::IMPORT_LOCK_TIMEOUT;
use super::write::{columns, insert_statement};
use super::{Engine, Store, TRANSFER_QUEUE, TRANSFER_STATEMENT};
use crate::clock::timestamp_now;
use crate::error::{Error, Result, retry_after};
use crate::query::{Dialect, Schema, Statement, Value};
use crate::record::Draft;

/// The number of records between two commits, for imports that commit before their end.
const BATCH: usize = 1000;

/// The maximum number of records of one statement. More are not faster, and both engines limit the number of
/// parameters: SQLite to 32,766, PostgreSQL to 65,535.
const ROWS: usize = 100;

/// The maximum number of listed lines. Further lines are only counted.
pub const MAX_LISTED: usize = 100;

/// How long an import waits for its next turn once it has written something. Other imports of this process write
/// a batch or their whole file meanwhile.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an import waits for its first turn. It is short: nothing is written yet, so the client can retry.
const FIRST_TURN_TIMEOUT: Duration = Duration::from_secs(1);

/// The advisory lock of imports in PostgreSQL: "imports!" as a number.
const ADVISORY_LOCK: i64 = 0x696d_706f_7274_7321;

/// The detail for an import that waited for another one, of this instance or of another.
const WAITED_FOR_IMPORT: &str = "timed out waiting for another import; retry later";

/// What to do if a record with the same natural key exists: `fail` imports nothing, `skip` keeps the existing
/// record, `update` sets the fields that the row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename = "OnConflict", rename_all = "lowercase")]
pub enum Conflict {
    /// Import nothing, not even other records.
    #[default]
    Fail,
    /// Keep the existing record.
    Skip,
    /// Set the fields that the row has, and keep the others.
    Update,
}

impl Conflict {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Skip, Self::Update];

    /// Returns the name of the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Update => "update",
        }
    }
}

/// A message to an import.
#[derive(Debug)]
pub enum Message {
    /// A record, and its line in the file.
    Record(u64, Draft),
    /// The end of the file: commit. If the channel closes without it, the open transaction is rolled back.
    End,
    /// The end of a file with invalid rows: report conflicts and, under [`Conflict::Fail`], roll back.
    RollBack,
}

/// The committed outcome of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The number of created records.
    pub inserted: u64,
    /// The number of overwritten records.
    pub updated: u64,
    /// The number of existing records that were kept.
    pub skipped: u64,
    /// The number of records whose natural key exists, under [`Conflict::Fail`], or another unique key.
    pub conflicting: u64,
    /// The first [`MAX_LISTED`] of these.
    pub conflicts: Vec<Taken>,
}

/// A row with a unique key that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The line of the row.
    pub line: u64,
    /// The key.
    pub key: TakenKey,
}

/// The key of a row that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenKey {
    /// The natural key.
    Natural {
        /// Its values, in the order of the record type's fields.
        values: Vec<Value>,
        /// The line of the earlier row with this key, if it is known that the record came from this file.
        earlier: Option<u64>,
    },
    /// One of the other unique keys, each with the names and values of its fields. No policy applies to them.
    Other(Vec<Vec<(&'static str, Value)>>),
}

impl Taken {
    /// A row that is taken by one of its unique keys other than the natural one.
    fn by_another_key(schema: &'static Schema, line: u64, draft: &Draft) -> Self {
        let value = |name: &&'static str| {
            let sent = draft.row().iter().find(|(field, _)| field.name == *name);
            sent.and_then(|(_, value)| Some((*name, value.clone()?)))
        };
        let keys = schema.unique.iter().skip(1).map(|key| key.iter().filter_map(value).collect());
        Self { line, key: TakenKey::Other(keys.collect()) }
    }
}

/// The most rows of a file whose keys are remembered: 16 bytes each.
const MAX_REMEMBERED: usize = 100_000;

/// The lines of the records that a transaction has created, by the hash of their natural key. Keys would take too much
/// memory, and two with the same hash of 64 bits only lead to a wrong line in a message.
#[derive(Default)]
struct Lines {
    hasher: RandomState,
    lines: HashMap<u64, u64>,
}

impl Lines {
    fn remember(&mut self, line: u64, key: &[Option<&Value>]) {
        if !key.is_empty() && self.lines.len() < MAX_REMEMBERED {
            self.lines.insert(self.hasher.hash_one(key), line);
        }
    }

    fn taken(&self, line: u64, key: &[Option<&Value>]) -> Taken {
        let earlier = self.lines.get(&self.hasher.hash_one(key)).copied();
        let values = key.iter().flatten().copied().cloned().collect();
        Taken { line, key: TakenKey::Natural { values, earlier } }
    }
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

    /// Returns the outcome after a rollback, with the conflicts only.
    fn rolled_back(self) -> Self {
        Self { inserted: 0, updated: 0, skipped: 0, ..self }
    }
}

impl Store {
    /// Writes records as they arrive. This runs as a separate task, so the transaction ends normally even if the
    /// caller is cancelled. Imports of one process write one at a time.
    ///
    /// # Errors
    /// Any database error. Uncommitted records are then rolled back.
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

    /// Returns the maximum time of one statement of an import. PostgreSQL may be unreachable, which must be noticed
    /// as early as in other requests. SQLite gets more time, because its commit writes a large file to the log.
    fn import_statement(&self) -> Duration {
        match self.dialect() {
            Dialect::Sqlite => TRANSFER_STATEMENT,
            Dialect::Postgres => self.shared.bounds.statement,
        }
    }

    /// Waits until no other import of this process writes. Call this before taking a connection: otherwise waiting
    /// imports would hold all connections.
    async fn import_turn(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let turn = self.shared.import_turn.clone().acquire_owned();
        match tokio::time::timeout(limit, turn).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => Err(Error {
                detail: WAITED_FOR_IMPORT.to_owned(),
                retry_after: Some(retry_after(10)),
                ..Error::unavailable("timed out waiting for another import")
            }),
        }
    }
}

/// Writes the records in one or several transactions, depending on the policy.
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
        // An all-or-nothing import cannot be retried once it has taken more than its first batch, because
        // those records are gone. Other imports keep a batch until it is committed.
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

/// The input of one transaction: a batch and, for an all-or-nothing import, all following batches.
struct File<'a> {
    schema: &'static Schema,
    records: &'a mut mpsc::Receiver<Message>,
    first: &'a [(u64, Draft)],
    /// What follows the last batch that was taken.
    next: Next,
    /// Whether batches after the first were taken.
    has_taken: bool,
}

/// Why a transaction of an import failed.
enum Failure {
    Database(sqlx::Error),
    Own(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Writes in one transaction, and commits or rolls it back as the policy requires.
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
    // A failed transaction is not rolled back here: closing its connection does that.
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
    let mut transaction = start::<DB>(connection, &limit, dialect).await?;
    let mut lines = Lines::default();
    let mut tally =
        write(&mut transaction, file.schema, &limit, file.first, policy, dialect, &mut lines)
            .await?;
    while policy == Conflict::Fail && file.next == Next::More {
        let (rows, next) = batch(file.records).await;
        (file.next, file.has_taken) = (next, true);
        let written =
            write(&mut transaction, file.schema, &limit, &rows, policy, dialect, &mut lines)
                .await?;
        tally.add(written);
    }
    let is_broken_off = policy == Conflict::Fail && file.next == Next::BrokenOff;
    let is_conflicting = policy == Conflict::Fail && tally.conflicting > 0;
    if is_conflicting || is_broken_off || file.next == Next::RollBack {
        limit.within(transaction.rollback()).await?;
        return Ok(tally.rolled_back());
    }
    limit.within(transaction.commit()).await?;
    Ok(tally)
}

/// Starts a transaction that waits for other imports first. Without this, two imports that write the same rows
/// in different orders could deadlock. SQLite takes its write lock at once. PostgreSQL takes an advisory lock of
/// imports, which the server releases if the connection ends.
async fn start<'c, DB>(
    connection: &'c mut DB::Connection,
    limit: &Limit,
    dialect: Dialect,
) -> std::result::Result<Transaction<'c, DB>, Failure>
where
    DB: Database,
    for<'e> &'e mut DB::Connection: Executor<'e, Database = DB>,
{
    if dialect == Dialect::Sqlite {
        let immediate = AssertSqlSafe("BEGIN IMMEDIATE".to_owned());
        return Ok(limit.within(connection.begin_with(immediate)).await?);
    }
    let mut transaction = limit.within(connection.begin()).await?;
    let wait = format!(
        "SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})",
        IMPORT_LOCK_TIMEOUT.as_millis()
    );
    let locked = limit.within(sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *transaction)).await;
    match locked {
        Err(error) if is_lock_timeout(&error) => Err(Failure::Own(Error {
            detail: WAITED_FOR_IMPORT.to_owned(),
            retry_after: Some(retry_after(10)),
            ..Error::unavailable("timed out waiting for an import of another instance")
        })),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(transaction),
    }
}

/// What follows a batch.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    More,
    End,
    RollBack,
    BrokenOff,
}

/// Collects the next records. This happens before a transaction starts, so that no lock is held while waiting
/// for a slow client.
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
    lines: &mut Lines,
) -> std::result::Result<Tally, Failure>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let mut tally = Tally::default();
    let now = timestamp_now();
    for rows in statements(schema, batch, policy) {
        let rows: Vec<(Uuid, u64, &Draft)> =
            rows.iter().map(|(line, draft)| (Uuid::now_v7(), *line, draft)).collect();
        let mut attempt = async |rows: &[(Uuid, u64, &Draft)]| {
            let statement = upsert(schema, rows, policy, now, dialect).map_err(Failure::Own)?;
            let has_other_keys = schema.unique.len() > 1;
            attempt::<DB>(&mut **transaction, limit, statement, has_other_keys).await
        };
        if let Some(written) = attempt(&rows).await? {
            tally.add(count(schema, &rows, &written, policy, lines));
            continue;
        }
        // One of the rows, or several.
        for row in rows.chunks(1) {
            match attempt(row).await? {
                Some(written) => tally.add(count(schema, row, &written, policy, lines)),
                None => tally.add(Tally {
                    conflicting: 1,
                    conflicts: row
                        .iter()
                        .map(|(_, line, draft)| Taken::by_another_key(schema, *line, draft))
                        .collect(),
                    ..Tally::default()
                }),
            }
        }
    }
    Ok(tally)
}

/// Runs a statement and returns the versions of the written records by id. Returns `None`, and writes nothing, if a
/// row has a unique key that is taken and that the statement does not handle. This can happen only if there are
/// other keys than the natural one, and only then a savepoint is worth its time.
async fn attempt<DB>(
    connection: &mut DB::Connection,
    limit: &Limit,
    Statement { sql, values }: Statement,
    has_other_keys: bool,
) -> std::result::Result<Option<HashMap<Uuid, i64>>, Failure>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: sqlx::IntoArguments<DB>,
    (Uuid, i64): for<'r> FromRow<'r, DB::Row>,
{
    let query = sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values));
    if !has_other_keys {
        return Ok(Some(limit.within(query.fetch_all(connection)).await?.into_iter().collect()));
    }
    let mut savepoint = limit.within(connection.begin()).await?;
    match limit.within(query.fetch_all(&mut *savepoint)).await {
        Ok(written) => {
            limit.within(savepoint.commit()).await?;
            Ok(Some(written.into_iter().collect()))
        }
        Err(error) if is_duplicate(&error) => {
            limit.within(savepoint.rollback()).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Counts what became of the rows of a statement.
fn count(
    schema: &'static Schema,
    rows: &[(Uuid, u64, &Draft)],
    written: &HashMap<Uuid, i64>,
    policy: Conflict,
    lines: &mut Lines,
) -> Tally {
    let created = rows.iter().filter(|(id, ..)| written.contains_key(id)).count() as u64;
    let others = rows.len() as u64 - created;
    let conflicts = rows.iter().filter(|(id, ..)| !written.contains_key(id));
    let tally = match policy {
        Conflict::Skip => Tally { inserted: created, skipped: others, ..Tally::default() },
        Conflict::Update => Tally { inserted: created, updated: others, ..Tally::default() },
        Conflict::Fail => Tally {
            inserted: created,
            conflicting: others,
            conflicts: conflicts
                .map(|(_, line, draft)| lines.taken(*line, &natural_key(schema, draft)))
                .collect(),
            ..Tally::default()
        },
    };
    if policy == Conflict::Fail {
        for (_, line, draft) in rows.iter().filter(|(id, ..)| written.contains_key(id)) {
            lines.remember(*line, &natural_key(schema, draft));
        }
    }
    tally
}

/// Splits a batch into the rows of single statements. The rows of one statement have distinct natural keys,
/// because PostgreSQL rejects a statement that overwrites a row twice. With `update` they also have the same fields,
/// because a statement sets the same columns for all rows.
fn statements<'b>(
    schema: &Schema,
    batch: &'b [(u64, Draft)],
    policy: Conflict,
) -> Vec<&'b [(u64, Draft)]> {
    let mut statements = Vec::new();
    let mut keys: HashSet<Vec<Option<&Value>>> = HashSet::with_capacity(ROWS);
    let mut rest = batch;
    let mut length = 0;
    for (_, draft) in batch {
        let key = natural_key(schema, draft);
        // Without a natural key, records never conflict.
        let is_repeated = !key.is_empty() && keys.contains(&key);
        let has_other_fields = policy == Conflict::Update
            && rest.first().is_some_and(|(_, first)| !draft.has_fields_of(first));
        if length == ROWS || is_repeated || has_other_fields {
            let (rows, others) = rest.split_at(length);
            statements.push(rows);
            rest = others;
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

/// Builds the statement that creates the records, or treats conflicts as the policy requires. It returns id and
/// version of the written records. An existing record keeps its id.
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
                let first = rows.first().map(|(.., draft)| draft.update());
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
