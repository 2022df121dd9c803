//! Imports: writes of many records, in one transaction or in one per thousand records.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem_openapi::Enum;
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

use super::failure::{Attempts, is_duplicate, is_lock_timeout};
use super::journal::{Changed, Note, Origin, Writing, noted};
use super::lease::{Lease, Parts};
use super::pool::Pool;
use super::postgres::IMPORT_LOCK_TIMEOUT;
use super::transaction::{Begin, Failure, Transaction};
use super::write::{NewRecord, columns, insert_statement};
use super::{Engine, Record, Store, TRANSFER_QUEUE, TRANSFER_STATEMENT, plain};
use crate::clock::timestamp_now;
use crate::error::{Error, Result, retry_after};
use crate::query::{Dialect, Field, Schema, Statement, Value};
use crate::record::{Draft, Row};

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

/// What to do if a record with the same natural key exists: `fail` writes nothing, `skip` keeps the existing
/// record, `update` sets the fields that the row or the body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Deserialize)]
#[oai(rename = "OnConflict", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
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
    /// The number of existing records that were kept, or that have the values of their row already.
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
async fn run<O: Begin>(
    store: Store,
    pool: Pool<O>,
    schema: &'static Schema,
    policy: Conflict,
    mut records: mpsc::Receiver<Message>,
) -> Result<Tally> {
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
            let outcome = transaction(&mut lease, &mut file, policy, &store.origin).await;
            match outcome {
                Err(Failure::Database(error))
                    if !file.has_taken && attempts.again(&error).await => {}
                Err(failure) => return Err(failure.into()),
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

/// Writes in one transaction, and commits or rolls it back as the policy requires.
async fn transaction<O: Begin>(
    lease: &mut Lease<O>,
    file: &mut File<'_>,
    policy: Conflict,
    origin: &Origin,
) -> std::result::Result<Tally, Failure> {
    let Parts { connection, limit } = lease.parts()?;
    // A failed transaction is not rolled back here: closing its connection does that.
    let outcome = match Transaction::begin::<O>(connection, limit).await {
        Ok(transaction) => write_all(transaction, file, policy, origin).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(tally) => Ok(lease.settle(Ok(tally))?),
        Err(Failure::Database(error)) => {
            let outcome = lease.settle(Err(error));
            lease.doubt();
            Ok(outcome?)
        }
        Err(own) => Err(own),
    }
}

async fn write_all(
    mut transaction: Transaction<'_>,
    file: &mut File<'_>,
    policy: Conflict,
    origin: &Origin,
) -> std::result::Result<Tally, Failure> {
    wait_for_imports(&mut transaction).await?;
    let mut writing = Writer { schema: file.schema, policy, origin, lines: Lines::default() };
    let mut tally = writing.write(&mut transaction, file.first).await?;
    while policy == Conflict::Fail && file.next == Next::More {
        let (rows, next) = batch(file.records).await;
        (file.next, file.has_taken) = (next, true);
        tally.add(writing.write(&mut transaction, &rows).await?);
    }
    let is_broken_off = policy == Conflict::Fail && file.next == Next::BrokenOff;
    let is_conflicting = policy == Conflict::Fail && tally.conflicting > 0;
    if is_conflicting || is_broken_off || file.next == Next::RollBack {
        transaction.roll_back().await?;
        return Ok(tally.rolled_back());
    }
    transaction.commit().await?;
    Ok(tally)
}

/// Waits for other imports. Without this, two imports that write the same rows in different orders could deadlock.
/// SQLite has taken its write lock when the transaction began. PostgreSQL takes an advisory lock of imports, which the
/// server releases if the connection ends.
async fn wait_for_imports(transaction: &mut Transaction<'_>) -> std::result::Result<(), Failure> {
    if transaction.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let timeout = format!("SET LOCAL lock_timeout = {}", IMPORT_LOCK_TIMEOUT.as_millis());
    transaction.execute(plain(&timeout)).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
    match transaction.execute(plain(&lock)).await {
        Err(error) if is_lock_timeout(&error) => Err(Failure::Own(Error {
            detail: WAITED_FOR_IMPORT.to_owned(),
            retry_after: Some(retry_after(10)),
            ..Error::unavailable("timed out waiting for an import of another instance")
        })),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
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

/// Writes the batches of one transaction.
struct Writer<'a> {
    schema: &'static Schema,
    policy: Conflict,
    origin: &'a Origin,
    lines: Lines,
}

impl Writer<'_> {
    /// Writes a batch, several records with each statement.
    async fn write(
        &mut self,
        transaction: &mut Transaction<'_>,
        batch: &[(u64, Draft)],
    ) -> std::result::Result<Tally, Failure> {
        let schema = self.schema;
        let mut tally = Tally::default();
        let now = timestamp_now();
        for rows in statements(schema, batch, self.policy) {
            let new = |(_, draft): &(u64, Draft)| NewRecord::of(draft.row().clone());
            let records: Vec<NewRecord> = rows.iter().map(new).collect();
            if let Some(written) = self.attempt(transaction, rows, &records, now).await? {
                tally.add(self.count(rows, &records, &written));
                continue;
            }
            // One of the rows, or several.
            for (row, record) in rows.chunks(1).zip(records.chunks(1)) {
                match self.attempt(transaction, row, record, now).await? {
                    Some(written) => tally.add(self.count(row, record, &written)),
                    None => tally.add(Tally {
                        conflicting: 1,
                        conflicts: row
                            .iter()
                            .map(|(line, draft)| Taken::by_another_key(schema, *line, draft))
                            .collect(),
                        ..Tally::default()
                    }),
                }
            }
        }
        Ok(tally)
    }

    /// Writes records and returns the ids of those that were written. Returns `None`, and writes nothing, if a row has a
    /// unique key that is taken and that the statement does not handle. This can happen only if there are other keys
    /// than the natural one, and only then a savepoint is worth its time.
    async fn attempt(
        &self,
        transaction: &mut Transaction<'_>,
        rows: &[(u64, Draft)],
        records: &[NewRecord],
        now: DateTime<Utc>,
    ) -> std::result::Result<Option<HashSet<Uuid>>, Failure> {
        if self.schema.unique.len() <= 1 {
            return self.upsert(transaction, rows, records, now).await.map(Some);
        }
        transaction.execute(plain("SAVEPOINT rows")).await?;
        match self.upsert(transaction, rows, records, now).await {
            Ok(written) => {
                transaction.execute(plain("RELEASE SAVEPOINT rows")).await?;
                Ok(Some(written))
            }
            Err(Failure::Database(error)) if is_duplicate(&error) => {
                transaction.execute(plain("ROLLBACK TO SAVEPOINT rows")).await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Counts what became of the rows of a statement.
    fn count(
        &mut self,
        rows: &[(u64, Draft)],
        records: &[NewRecord],
        written: &HashSet<Uuid>,
    ) -> Tally {
        let (schema, policy) = (self.schema, self.policy);
        let is_created = |record: &NewRecord| written.contains(&record.id);
        let created = records.iter().filter(|record| is_created(record)).count() as u64;
        let others = records.len() as u64 - created;
        let rows = rows.iter().zip(records);
        let taken = rows.clone().filter(|(_, record)| !is_created(record));
        let tally = match policy {
            Conflict::Skip => Tally { inserted: created, skipped: others, ..Tally::default() },
            Conflict::Update => {
                let updated = written.len() as u64 - created;
                let skipped = others - updated;
                Tally { inserted: created, updated, skipped, ..Tally::default() }
            }
            Conflict::Fail => Tally {
                inserted: created,
                conflicting: others,
                conflicts: taken
                    .map(|((line, draft), _)| self.lines.taken(*line, &natural_key(schema, draft)))
                    .collect(),
                ..Tally::default()
            },
        };
        if policy == Conflict::Fail {
            for ((line, draft), _) in rows.filter(|(_, record)| is_created(record)) {
                self.lines.remember(*line, &natural_key(schema, draft));
            }
        }
        tally
    }

    /// Creates the records, or treats conflicts as the policy requires, and notes the changes. Returns the ids of the
    /// written records. An existing record keeps its id.
    async fn upsert(
        &self,
        transaction: &mut Transaction<'_>,
        rows: &[(u64, Draft)],
        records: &[NewRecord],
        now: DateTime<Utc>,
    ) -> std::result::Result<HashSet<Uuid>, Failure> {
        let Self { schema, policy, origin, .. } = *self;
        let dialect = transaction.dialect();
        let key = schema.natural_key();
        let mut insert = insert_statement(schema, records, now, dialect)?;
        if !key.is_empty() {
            let mut conflict = OnConflict::columns(key.iter().copied());
            match policy {
                Conflict::Fail | Conflict::Skip => conflict.do_nothing(),
                Conflict::Update => {
                    let first = rows.first().map(|(_, draft)| draft.update());
                    let written = first.unwrap_or_default();
                    conflict
                        .update_columns(columns(&written, dialect).map(|(column, _)| column))
                        .update_column("updated_at")
                        .value(
                            "version",
                            Expr::col((schema.collection, "version")).add(Expr::cust("1")),
                        )
                        .action_and_where(has_other_values(schema, &written, dialect))
                }
            };
            insert.on_conflict(conflict);
        }
        let ids = |written: Vec<(Uuid,)>| written.into_iter().map(|(id,)| id).collect();
        if !schema.journal {
            insert.returning(Sql::returning().columns(["id"]));
            return Ok(ids(transaction.rows(dialect.build(&insert).into()).await?));
        }
        let updates = policy == Conflict::Update && !key.is_empty();
        if dialect == Dialect::Postgres && !updates {
            insert.returning_all();
            let mut result = Sql::select();
            result.column("id").from("written");
            let write = insert.into();
            let writing = Writing { old: None, write, changed: Changed::Created, result };
            return Ok(ids(transaction.rows(noted(schema, writing, origin, now)).await?));
        }
        insert.returning(Sql::returning().columns(schema.names()));
        let insert: Statement = dialect.build(&insert).into();
        let (before, written) = loop {
            transaction.execute(plain("SAVEPOINT upsert")).await?;
            let before = match updates {
                true => transaction.records(schema, existing(schema, rows, dialect)).await?,
                false => Vec::new(),
            };
            let before: HashMap<Uuid, Record> =
                before.into_iter().map(|record| (record.id(), record)).collect();
            let written = transaction.records(schema, insert.clone()).await?;
            let is_known =
                |record: &Record| record.version() == 1 || before.contains_key(&record.id());
            if written.iter().all(is_known) {
                transaction.execute(plain("RELEASE SAVEPOINT upsert")).await?;
                break (before, written);
            }
            // Another transaction has created one of the records meanwhile. Now it is visible.
            transaction.execute(plain("ROLLBACK TO SAVEPOINT upsert")).await?;
        };
        let notes = written.iter().map(|record| Note::of(before.get(&record.id()), Some(record)));
        transaction.note(schema, notes.collect::<Result<_>>()?, origin, now).await?;
        Ok(written.iter().map(Record::id).collect())
    }
}

/// The condition that a record of the table differs from the row that conflicts with it.
fn has_other_values(schema: &Schema, written: &Row, dialect: Dialect) -> Expr {
    let columns = written.iter().map(|(field, _)| {
        let own = Expr::col((schema.collection, field.name));
        dialect.differs(own, Expr::col(("excluded", field.name)))
    });
    columns.reduce(ExprTrait::or).unwrap_or_else(|| Expr::cust("FALSE"))
}

/// Selects the records that have the natural keys of rows, and locks them on PostgreSQL.
fn existing(schema: &'static Schema, rows: &[(u64, Draft)], dialect: Dialect) -> Statement {
    let is_key = |field: &&Field| schema.natural_key().contains(&field.name);
    let same = rows.iter().map(|(_, draft)| {
        let values = draft.row().iter().filter(|(field, _)| is_key(field));
        let same = values.map(|(field, value)| match value {
            Some(value) => Expr::col(field.name).eq(dialect.value(value)),
            // A null never conflicts.
            None => Expr::cust("FALSE"),
        });
        same.reduce(ExprTrait::and).unwrap_or_else(|| Expr::cust("FALSE"))
    });
    let mut select = Sql::select();
    select.columns(schema.names()).from(schema.collection);
    select.and_where_option(same.reduce(ExprTrait::or));
    if dialect == Dialect::Postgres {
        select.lock_exclusive();
    }
    dialect.build(&select).into()
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
