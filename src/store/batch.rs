//! Batches: several writes of one request, in one transaction.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_query::{OnConflict, Query as Sql};
use uuid::Uuid;

use super::failure::is_duplicate;
use super::idempotency::{Keyed, Once};
use super::import::Conflict;
use super::journal::{Changed, Note, Origin, Writing, noted};
use super::transaction::{End, Failure, Transaction, Work};
use super::write::{
    Expected, NewRecord, Write, Written, audit, found, holder_statements, insert_statement,
};
use super::{Record, Store, plain};
use crate::error::Result;
use crate::query::{Dialect, Schema};
use crate::record::Row;

/// The maximum number of records that one statement creates.
const ROWS: usize = 100;

/// A write of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The record type.
    pub schema: &'static Schema,
    /// The write.
    pub write: Write,
    /// For a creation: what to do if the natural key exists, and the values that an update sets then.
    pub on_conflict: (Conflict, Row),
}

/// What became of a write of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemOutcome {
    /// The record was created.
    Created(Record),
    /// The record was updated.
    Updated(Record),
    /// The record has the values already.
    Unchanged(Record),
    /// The record was deleted. This is its last version.
    Deleted(Record),
    /// The record with this natural key exists and was kept.
    Skipped(Record),
    /// The record has another version than expected.
    Stale(Record),
    /// No record has this id.
    Missing(Uuid),
    /// A unique key exists, of the record with this id if it is known.
    Duplicate(Option<Uuid>),
}

impl ItemOutcome {
    /// Returns whether nothing was written, because of an error.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Missing(_) | Self::Duplicate(_))
    }
}

struct BatchWork {
    items: Vec<Item>,
    is_atomic: bool,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Work for BatchWork {
    type Output = Vec<ItemOutcome>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Self::Output>, Failure> {
        let mut outcomes = Vec::with_capacity(self.items.len());
        while let Some(item) = self.items.get(outcomes.len()) {
            let rest = self.items.get(outcomes.len()..).unwrap_or_default();
            // A creation that may change another record instead must not overtake others.
            let is_plain = |other: &Item| {
                matches!(other.write, Write::Create(_)) && other.on_conflict.0 == Conflict::Fail
            };
            let is_like = |other: &&Item| {
                let is_first = std::ptr::eq(*other, item) && item.new_record().is_some();
                is_first || (is_plain(item) && is_plain(other) && other.schema == item.schema)
            };
            let creations = rest.iter().take(ROWS).take_while(is_like).count();
            match rest.split_at_checked(creations) {
                Some((creations, _)) if !creations.is_empty() => {
                    outcomes.extend(self.create(transaction, item.schema, creations).await?);
                }
                _ => outcomes.push(self.change(transaction, item).await?),
            }
            if self.is_atomic && outcomes.iter().any(ItemOutcome::is_failure) {
                return Ok(End::RollBack(outcomes));
            }
        }
        Ok(End::Commit(outcomes))
    }

    fn audit(&self, outcomes: &Vec<ItemOutcome>) {
        for outcome in outcomes {
            match outcome {
                ItemOutcome::Created(record) => audit(&self.origin, Changed::Created, record),
                ItemOutcome::Updated(record) => audit(&self.origin, Changed::Updated, record),
                ItemOutcome::Deleted(record) => audit(&self.origin, Changed::Deleted, record),
                _ => {}
            }
        }
    }
}

impl BatchWork {
    /// Creates records with one statement. Records whose unique keys exist are left out, and treated one by one.
    async fn create(
        &self,
        transaction: &mut Transaction<'_>,
        schema: &'static Schema,
        items: &[Item],
    ) -> std::result::Result<Vec<ItemOutcome>, Failure> {
        let dialect = transaction.dialect();
        let records: Vec<&NewRecord> = items.iter().filter_map(|item| item.new_record()).collect();
        let mut insert = insert_statement(schema, records.iter().copied(), self.now, dialect)?;
        insert.on_conflict(OnConflict::new().do_nothing().to_owned());
        let statement = if schema.journal && dialect == Dialect::Postgres {
            insert.returning_all();
            let mut result = Sql::select();
            result.columns(schema.names()).from("written");
            let write = insert.into();
            let writing = Writing { old: None, write, changed: Changed::Created, result };
            noted(schema, writing, &self.origin, self.now)
        } else {
            insert.returning(Sql::returning().columns(schema.names()));
            dialect.build(&insert).into()
        };
        let written = transaction.records(schema, statement).await?;
        if schema.journal && dialect == Dialect::Sqlite {
            let notes = written.iter().map(|record| Note::of(None, Some(record)));
            let notes = notes.collect::<Result<_>>()?;
            transaction.note(schema, notes, &self.origin, self.now).await?;
        }
        let mut written: HashMap<Uuid, Record> =
            written.into_iter().map(|record| (record.id(), record)).collect();
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            outcomes.push(match written.remove(&item.write.id()) {
                Some(record) => ItemOutcome::Created(record),
                None => self.meet(transaction, item).await?,
            });
        }
        Ok(outcomes)
    }

    /// Treats a creation whose unique key exists.
    async fn meet(
        &self,
        transaction: &mut Transaction<'_>,
        item: &Item,
    ) -> std::result::Result<ItemOutcome, Failure> {
        let schema = item.schema;
        let row = item.new_record().map(|record| record.row.clone()).unwrap_or_default();
        let holder = holder(transaction, schema, &row, None).await?;
        let Some((id, is_natural)) = holder else { return Ok(ItemOutcome::Duplicate(None)) };
        let (policy, update) = &item.on_conflict;
        Ok(match policy {
            Conflict::Update if is_natural => {
                let write = Write::Update(id, update.clone(), Expected::Any);
                let update = Item { schema, write, on_conflict: Default::default() };
                self.change(transaction, &update).await?
            }
            Conflict::Skip if is_natural => {
                let select = found(schema, id, &Expected::Any);
                let select = transaction.dialect().build(&select).into();
                match transaction.records(schema, select).await?.pop() {
                    Some(record) => ItemOutcome::Skipped(record),
                    None => ItemOutcome::Duplicate(None),
                }
            }
            _ => ItemOutcome::Duplicate(Some(id)),
        })
    }

    /// Returns the values of an update, completed by those of the record.
    async fn completed(
        &self,
        transaction: &mut Transaction<'_>,
        item: &Item,
        row: Option<&Row>,
    ) -> std::result::Result<Row, Failure> {
        let mut whole = row.cloned().unwrap_or_default();
        let select = found(item.schema, item.write.id(), &Expected::Any);
        let select = transaction.dialect().build(&select).into();
        for record in transaction.records(item.schema, select).await? {
            let others = record
                .fields()
                .filter(|(field, _)| !row.into_iter().flatten().any(|(set, _)| set == field));
            whole.extend(others.map(|(field, value)| (field, value.cloned())));
        }
        Ok(whole)
    }

    /// Updates or deletes a record.
    async fn change(
        &self,
        transaction: &mut Transaction<'_>,
        item: &Item,
    ) -> std::result::Result<ItemOutcome, Failure> {
        let Item { schema, write, .. } = item;
        // Only such an update can fail. After that, PostgreSQL accepts no more statements without a savepoint.
        let unique = match write {
            Write::Update(_, row, _) => Some(row).filter(|row| {
                let is_key = |name| schema.unique.iter().any(|key| key.contains(&name));
                row.iter().any(|(field, _)| is_key(field.name))
            }),
            _ => None,
        };
        if unique.is_some() {
            transaction.execute(plain("SAVEPOINT item")).await?;
        }
        let written = match transaction.write(schema, write, &self.origin, self.now).await {
            Err(Failure::Database(error)) if unique.is_some() && is_duplicate(&error) => {
                transaction.execute(plain("ROLLBACK TO SAVEPOINT item")).await?;
                let row = self.completed(transaction, item, unique).await?;
                let holder = holder(transaction, schema, &row, Some(write.id())).await?;
                return Ok(ItemOutcome::Duplicate(holder.map(|(id, _)| id)));
            }
            written => written?,
        };
        if unique.is_some() {
            transaction.execute(plain("RELEASE SAVEPOINT item")).await?;
        }
        Ok(match (written, write) {
            (Written::Done(record), Write::Delete(..)) => ItemOutcome::Deleted(record),
            (Written::Done(record), _) => ItemOutcome::Updated(record),
            (Written::Unchanged(record), _) => ItemOutcome::Unchanged(record),
            (Written::Stale(record), _) => ItemOutcome::Stale(record),
            (Written::Missing, _) => ItemOutcome::Missing(item.write.id()),
        })
    }
}

impl Item {
    fn new_record(&self) -> Option<&NewRecord> {
        match &self.write {
            Write::Create(record) => Some(record),
            Write::Update(..) | Write::Delete(..) => None,
        }
    }
}

/// Returns the id of another record that has a unique key of these values, and whether it is the natural key.
async fn holder(
    transaction: &mut Transaction<'_>,
    schema: &'static Schema,
    row: &Row,
    own: Option<Uuid>,
) -> std::result::Result<Option<(Uuid, bool)>, Failure> {
    for (position, statement) in holder_statements(schema, row, own, transaction.dialect()) {
        let found: Vec<(Uuid,)> = transaction.rows(statement).await?;
        if let Some((id,)) = found.into_iter().next() {
            return Ok(Some((id, position == 0)));
        }
    }
    Ok(None)
}

impl Store {
    /// Runs the writes of a batch in their order, in one transaction, once for an idempotency key. With `is_atomic`,
    /// nothing is written if one of them fails, and the outcomes end with the failure.
    ///
    /// # Errors
    /// [`crate::error::Kind::IdempotencyKeyInUse`], [`crate::error::Kind::IdempotencyKeyReused`]; any database error.
    pub async fn write_batch(
        &self,
        items: Vec<Item>,
        is_atomic: bool,
        keyed: Option<Keyed<Vec<ItemOutcome>>>,
        now: DateTime<Utc>,
    ) -> Result<Once<Vec<ItemOutcome>>> {
        let work = BatchWork { items, is_atomic, origin: self.origin.clone(), now };
        match keyed {
            Some(keyed) => self.once(work, keyed, now).await,
            None => self.in_transaction(work).await.map(Once::Unkeyed),
        }
    }
}
