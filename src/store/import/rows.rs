//! The rows of an import: statements that write several of them, and what became of each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Query as Sql, Value as SqlValue};
use uuid::Uuid;

use super::{Conflict, MAX_LISTED, Tally};
use crate::clock::timestamp_now;
use crate::error::{Result, Violation};
use crate::query::{Dialect, Field, Schema, Statement, Value};
use crate::record::{Draft, Row};
use crate::store::failure::is_duplicate;
use crate::store::journal::{Changed, Note, Origin, Writing, note_values, noted};
use crate::store::texts::{self, Form, Kind};
use crate::store::transaction::{Failure, Transaction};
use crate::store::write::{Expected, NewRecord, Write, columns, insert_statement, new_values};
use crate::store::{Record, plain};

/// The maximum number of records of one statement. More are not faster, and both engines limit the number of
/// parameters: SQLite to 32,766, PostgreSQL to 65,535.
pub(super) const ROWS: usize = 100;

/// The most rows of a file whose keys are remembered: 16 bytes each.
const MAX_REMEMBERED: usize = 100_000;

/// The lines of the records that a transaction has created, by the hash of their natural key. Keys would take too much
/// memory, and two with the same hash of 64 bits only lead to a wrong line in a message.
#[derive(Default)]
pub(super) struct Lines {
    hasher: RandomState,
    lines: HashMap<u64, u64>,
}

impl Lines {
    pub(super) fn remember(&mut self, line: u64, key: &[Option<&Value>]) {
        if !key.is_empty() && self.lines.len() < MAX_REMEMBERED {
            self.lines.insert(self.hasher.hash_one(key), line);
        }
    }

    /// Returns whether an earlier row has the key, as far as it is remembered.
    pub(super) fn has(&self, key: &[Option<&Value>]) -> bool {
        !key.is_empty() && self.lines.contains_key(&self.hasher.hash_one(key))
    }

    /// Describes a row whose natural key exists, such as `"Wings" (1927) already exists (line 3)`. The line is that of
    /// the earlier row with the key, if it is known that the record came from this file.
    pub(super) fn taken(&self, line: u64, key: &[Option<&Value>]) -> Violation {
        let earlier = self.lines.get(&self.hasher.hash_one(key)).copied();
        let mut values = key.iter().flatten().map(|value| shown(value));
        let first = values.next().unwrap_or_default();
        let others = values.collect::<Vec<_>>().join(", ");
        let others = if others.is_empty() { others } else { format!(" ({others})") };
        let earlier = earlier.map(|line| format!(" (line {line})")).unwrap_or_default();
        Violation::of_all(format!("{first}{others} already exists{earlier}")).on_line(line)
    }
}

/// Describes a row that is taken by one of its unique keys other than the natural one, to which no policy applies, such
/// as `a record with isbn "9780156837507" already exists`.
fn taken_by_another_key(schema: &'static Schema, line: u64, draft: &Draft) -> Violation {
    let value = |name: &&'static str| {
        let sent = draft.row().iter().find(|(field, _)| field.name == *name);
        sent.and_then(|(_, value)| Some(format!("{name} {}", shown(value.as_ref()?))))
    };
    let key =
        |key: &&'static [&'static str]| key.iter().filter_map(value).collect::<Vec<_>>().join(", ");
    let keys = schema.unique.iter().skip(1).map(key).collect::<Vec<_>>().join(" or ");
    Violation::of_all(format!("a record with {keys} already exists")).on_line(line)
}

/// Returns a value of a key, cut to a length that fits into a message.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 70;
    match value {
        Value::Text(text) => {
            let start: String = text.chars().take(LONGEST).collect();
            let cut = if start.len() < text.len() { "…" } else { "" };
            format!("{start:?}{cut}")
        }
        other => other.to_string(),
    }
}

/// Writes the batches of one transaction.
pub(super) struct Writer<'a> {
    pub(super) schema: &'static Schema,
    pub(super) policy: Conflict,
    pub(super) origin: &'a Origin,
    pub(super) lines: Lines,
}

/// What an update does with a row whose id is that of a record.
pub(super) enum Known {
    /// It has the natural key of the record, and is written like others.
    Usual,
    /// The record was changed after the file was written. This is its version now.
    Stale(i64),
    /// The row gives the record another natural key.
    Renamed,
}

impl Known {
    /// Compares a row with the record that has its id.
    pub(super) fn of(schema: &Schema, draft: &Draft, record: &Record) -> Self {
        let has =
            |row: &Row| row.iter().all(|(field, value)| record.value(field.name) == value.as_ref());
        let sent = draft.claims().iter().find(|(field, _)| field.name == "version");
        let is_same =
            |(_, version): &(_, Option<Value>)| *version == Some(Value::Integer(record.version()));
        if sent.is_some_and(|sent| !is_same(sent)) && !has(&draft.update()) {
            return Self::Stale(record.version());
        }
        let is_key =
            |(field, _): &&(&Field, Option<Value>)| schema.natural_key().contains(&field.name);
        let key: Row = draft.row().iter().filter(is_key).cloned().collect();
        if has(&key) { Self::Usual } else { Self::Renamed }
    }

    /// Describes a row whose record was changed after the file was written.
    pub(super) fn stale(draft: &Draft, version: i64) -> Violation {
        let sent = draft.claims().iter().find(|(field, _)| field.name == "version");
        let sent = sent.and_then(|(_, version)| version.as_ref()).map(ToString::to_string);
        Violation::of_all(format!(
            "was changed after the file was written: the record has version {version}, and the row {}; export it again, or \
             import without the column version",
            sent.unwrap_or_default()
        ))
    }
}

/// Returns the id that a row has, if its file has them.
pub(super) fn id_of(draft: &Draft) -> Option<Uuid> {
    draft.claims().iter().find_map(|(field, value)| match value {
        Some(Value::Id(id)) if field.name == "id" => Some(*id),
        _ => None,
    })
}

/// Selects the records that have the ids of rows; `None` if no row has one.
pub(super) fn with_ids(
    schema: &'static Schema,
    rows: &[(u64, Draft)],
    dialect: Dialect,
) -> Option<Statement> {
    let ids: Vec<SqlValue> = rows
        .iter()
        .filter_map(|(_, draft)| id_of(draft))
        .map(|id| dialect.value(&Value::Id(id)))
        .collect();
    if ids.is_empty() {
        return None;
    }
    let mut select = Sql::select();
    select.columns(schema.names()).from(schema.collection).and_where(Expr::col("id").is_in(ids));
    Some(dialect.build(&select).into())
}

impl Writer<'_> {
    /// Writes a batch, several records with each statement. An update also finds records by the ids of rows, as an export
    /// has them: rows of records that were changed since are rejected, and a record can get another natural key.
    pub(super) async fn write(
        &mut self,
        transaction: &mut Transaction<'_>,
        batch: &[(u64, Draft)],
    ) -> std::result::Result<Tally, Failure> {
        let mut tally = Tally::default();
        if self.policy != Conflict::Update {
            return self.write_by_key(transaction, batch).await;
        }
        for rows in batch.chunks(ROWS) {
            let Some(select) = with_ids(self.schema, rows, transaction.dialect()) else {
                tally.gather(self.write_by_key(transaction, rows).await?);
                continue;
            };
            let found = transaction.records(self.schema, select).await?;
            let found: HashMap<Uuid, Record> =
                found.into_iter().map(|record| (record.id(), record)).collect();
            let mut others = Vec::new();
            for (line, draft) in rows {
                let record = id_of(draft).and_then(|id| found.get(&id));
                match record.map(|record| (record, Known::of(self.schema, draft, record))) {
                    Some((_, Known::Stale(version))) => tally.gather(Tally {
                        conflicting: 1,
                        conflicts: vec![Known::stale(draft, version).on_line(*line)],
                        ..Tally::default()
                    }),
                    Some((record, Known::Renamed)) => {
                        tally.gather(self.rename(transaction, *line, draft, record).await?);
                    }
                    Some((_, Known::Usual)) | None => others.push((*line, draft.clone())),
                }
            }
            tally.gather(self.write_by_key(transaction, &others).await?);
        }
        Ok(tally)
    }

    /// Updates a record that gets another natural key.
    async fn rename(
        &mut self,
        transaction: &mut Transaction<'_>,
        line: u64,
        draft: &Draft,
        record: &Record,
    ) -> std::result::Result<Tally, Failure> {
        let version = Expected::Versions(vec![record.version()]);
        let write = Write::Update(record.id(), draft.update(), version);
        transaction.execute(plain("SAVEPOINT renamed")).await?;
        match transaction.write(self.schema, &write, self.origin, timestamp_now()).await {
            Ok(_) => {
                transaction.execute(plain("RELEASE SAVEPOINT renamed")).await?;
                Ok(Tally { updated: 1, ..Tally::default() })
            }
            Err(Failure::Database(error)) if is_duplicate(&error) => {
                transaction.execute(plain("ROLLBACK TO SAVEPOINT renamed")).await?;
                let key = natural_key(self.schema, draft);
                let conflicts = vec![self.lines.taken(line, &key)];
                Ok(Tally { conflicting: 1, conflicts, ..Tally::default() })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Writes records, which the policy finds by their natural key.
    async fn write_by_key(
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
                tally.gather(self.count(rows, &records, &written));
                continue;
            }
            // One of the rows, or several.
            for (row, record) in rows.chunks(1).zip(records.chunks(1)) {
                match self.attempt(transaction, row, record, now).await? {
                    Some(written) => tally.gather(self.count(row, record, &written)),
                    None => tally.gather(Tally {
                        conflicting: 1,
                        conflicts: row
                            .iter()
                            .map(|(line, draft)| taken_by_another_key(schema, *line, draft))
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
        let is_repeated = |draft: &Draft| self.lines.has(&natural_key(schema, draft));
        let repeated = taken.clone().filter(|((_, draft), _)| is_repeated(draft)).count() as u64;
        let tally = match policy {
            Conflict::Skip => Tally {
                inserted: created,
                skipped: others,
                existing: taken
                    .take(MAX_LISTED)
                    .map(|((line, draft), _)| self.lines.taken(*line, &natural_key(schema, draft)))
                    .collect(),
                ..Tally::default()
            },
            Conflict::Update => {
                let updated = written.len() as u64 - created;
                let skipped = others - updated;
                // A record that two rows of the file are for has the values of the last one.
                let repeated =
                    rows.clone().map(|((line, draft), _)| (line, natural_key(schema, draft)));
                let existing = repeated
                    .filter(|(_, key)| self.lines.has(key))
                    .take(MAX_LISTED)
                    .map(|(line, key)| self.lines.taken(*line, &key))
                    .collect();
                Tally { inserted: created, updated, skipped, existing, ..Tally::default() }
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
        let tally = Tally { repeated, ..tally };
        let is_of_file = |record: &NewRecord| policy == Conflict::Update || is_created(record);
        for ((line, draft), _) in rows.filter(|(_, record)| is_of_file(record)) {
            self.lines.remember(*line, &natural_key(schema, draft));
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
        let updates = policy == Conflict::Update && !schema.natural_key().is_empty();
        let is_noted = schema.journal && dialect == Dialect::Postgres && !updates;
        // The fields that an update sets are those of the file.
        let first = rows.first().filter(|_| updates);
        let set = first.map(|(_, draft)| draft.update()).unwrap_or_default();
        let values = records.iter().flat_map(|new| new_values(new, now, dialect));
        let mut values: Vec<SqlValue> = values.map(|(_, value)| value).collect();
        if is_noted {
            values.extend(note_values(schema, origin, now, dialect));
        }
        let form = Form::new(dialect, schema, &set, Kind::Import(records.len(), updates));
        let insert = texts::statement(form, values, || {
            let mut insert = insert_statement(schema, records, now, dialect)?;
            if let Some(conflict) = on_conflict(schema, updates, &set, dialect) {
                insert.on_conflict(conflict);
            }
            if is_noted {
                insert.returning_all();
                let mut result = Sql::select();
                result.column("id").from("written");
                let write = insert.into();
                let writing = Writing { old: None, write, changed: Changed::Created, result };
                return Ok(noted(schema, writing, origin, now));
            }
            match updates && schema.journal {
                true => insert.returning(Sql::returning().columns(schema.names())),
                false => insert.returning(Sql::returning().columns(["id"])),
            };
            Ok(dialect.build_rows(&insert).into())
        })?;
        if !updates || !schema.journal {
            let written: Vec<(Uuid,)> = transaction.rows(insert).await?;
            let written: HashSet<Uuid> = written.into_iter().map(|(id,)| id).collect();
            if schema.journal && !is_noted {
                let created = records.iter().filter(|new| written.contains(&new.id));
                let notes = created.map(|new| new.record(schema, now));
                let notes = notes.map(|record| Note::of(None, Some(&record)));
                transaction.note(schema, notes.collect::<Result<_>>()?, origin, now).await?;
            }
            return Ok(written);
        }
        let (before, written) = loop {
            transaction.execute(plain("SAVEPOINT upsert")).await?;
            let before = transaction.records(schema, existing(schema, rows, dialect, true)).await?;
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

/// What an insert does with a natural key that exists.
fn on_conflict(
    schema: &'static Schema,
    updates: bool,
    set: &Row,
    dialect: Dialect,
) -> Option<OnConflict> {
    let key = schema.natural_key();
    if key.is_empty() {
        return None;
    }
    let mut conflict = OnConflict::columns(key.iter().copied());
    match updates {
        false => conflict.do_nothing(),
        true => conflict
            .update_columns(columns(set, dialect).map(|(column, _)| column))
            .update_column("updated_at")
            .value("version", Expr::col((schema.collection, "version")).add(Expr::cust("1")))
            .action_and_where(has_other_values(schema, set, dialect)),
    };
    Some(conflict)
}

/// The condition that a record of the table differs from the row that conflicts with it.
fn has_other_values(schema: &Schema, written: &Row, dialect: Dialect) -> Expr {
    let columns = written.iter().map(|(field, _)| {
        let own = Expr::col((schema.collection, field.name));
        dialect.differs(own, Expr::col(("excluded", field.name)))
    });
    columns.reduce(ExprTrait::or).unwrap_or_else(|| Expr::cust("FALSE"))
}

/// Selects the records that have the natural keys of rows, and locks them on PostgreSQL if they will be written.
pub(super) fn existing(
    schema: &'static Schema,
    rows: &[(u64, Draft)],
    dialect: Dialect,
    is_locking: bool,
) -> Statement {
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
    if is_locking && dialect == Dialect::Postgres {
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

pub(super) fn natural_key<'d>(schema: &Schema, draft: &'d Draft) -> Vec<Option<&'d Value>> {
    let is_key = |name| schema.natural_key().contains(&name);
    let fields = draft.row().iter().filter(|(field, _)| is_key(field.name));
    fields.map(|(_, value)| value.as_ref()).collect()
}
