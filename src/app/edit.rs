//! Reading and writing one record.

use uuid::Uuid;

use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, There, Violation};
use crate::identity::{Access, Identity};
use crate::query::{Field, Schema, Value};
use crate::record::{Draft, Patch, Row};
use crate::store::{
    Conflict, Expected, IdempotencyKey, Item, ItemOutcome, Keyed, NewRecord, Once, Record, Reply,
    Store, Write, Written,
};

/// Creates a record.
///
/// # Errors
/// [`Kind::Duplicate`], [`Kind::InsufficientScope`]; any database error.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft) -> Result<Record> {
    unkeyed(create_once(store, caller, draft, None).await?)
}

/// Creates a record, once for an idempotency key.
///
/// # Errors
/// As [`create`]; [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`].
pub async fn create_once(
    store: &Store,
    caller: &Identity,
    draft: &Draft,
    keyed: Option<Keyed<Written>>,
) -> Result<Once<Record>> {
    let schema = draft.schema();
    caller.require(Access::Write, schema)?;
    let write = Write::Create(NewRecord::of(draft.row().clone()));
    written(store, schema, caller, draft.row(), write, keyed).await
}

/// A record that was created, or the one that has its natural key.
#[derive(Debug, Clone, PartialEq)]
pub enum Upserted {
    /// The record was created.
    Created(Record),
    /// The record exists. It was kept or updated, as the policy says.
    Existing(Record),
}

/// Returns the response to a creation.
pub type UpsertReply = fn(&Upserted) -> Result<Reply>;

/// Creates a record or, if its natural key exists, keeps or updates that record, once for an idempotency key.
///
/// # Errors
/// As [`create_once`]. Unless the policy is [`Conflict::Fail`], [`Kind::Duplicate`] is for other unique keys, and the
/// caller needs the scope for reading too, because the record may be another one.
pub async fn upsert(
    store: &Store,
    caller: &Identity,
    draft: &Draft,
    policy: Conflict,
    key: Option<(IdempotencyKey, UpsertReply)>,
) -> Result<Once<Upserted>> {
    let schema = draft.schema();
    if policy == Conflict::Fail {
        let keyed = key.map(|(key, reply)| {
            let reply = move |written: &Written| match written {
                Written::Done(record) => reply(&Upserted::Created(record.clone())).map(Some),
                _ => Ok(None),
            };
            Keyed { key, reply: Box::new(reply) }
        });
        let once = create_once(store, caller, draft, keyed).await?;
        return once.try_map(|record| Ok(Upserted::Created(record)));
    }
    caller.require(Access::Write, schema)?;
    caller.require(Access::Read, schema)?;
    let write = Write::Create(NewRecord::of(draft.row().clone()));
    let item = Item { schema, write, on_conflict: (policy, draft.update()) };
    let keyed = key.map(|(key, reply)| {
        let reply = move |outcomes: &Vec<ItemOutcome>| match upserted(schema, outcomes) {
            Ok(written) => reply(&written).map(Some),
            Err(_) => Ok(None),
        };
        Keyed { key, reply: Box::new(reply) }
    });
    let once = store.write_batch(vec![item], true, keyed, timestamp_now()).await?;
    once.try_map(|outcomes| upserted(schema, &outcomes))
}

/// Returns the outcome of a batch of one creation.
///
/// # Errors
/// [`Kind::Duplicate`].
fn upserted(schema: &'static Schema, outcomes: &[ItemOutcome]) -> Result<Upserted> {
    match outcomes.first() {
        Some(ItemOutcome::Created(record)) => Ok(Upserted::Created(record.clone())),
        Some(
            ItemOutcome::Updated(record)
            | ItemOutcome::Unchanged(record)
            | ItemOutcome::Skipped(record),
        ) => Ok(Upserted::Existing(record.clone())),
        Some(ItemOutcome::Duplicate(holder)) => {
            let there = holder.map(|id| Box::new(There::Other(schema.collection, id)));
            let error = Error::new(Kind::Duplicate, "a record with the same key already exists");
            Err(Error { there, ..name_keys(schema, error) })
        }
        _ => Err(Error::internal("a creation without an outcome")),
    }
}

/// Reads a record.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; any database error.
pub async fn get(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
) -> Result<Record> {
    caller.require(Access::Read, schema)?;
    find(store, schema, id).await
}

/// Replaces the fields of a record.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::Duplicate`],
/// [`Kind::InsufficientScope`]; any database error.
pub async fn replace(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    draft: &Draft,
    expected: &Expected,
) -> Result<Record> {
    unkeyed(replace_once(store, caller, id, draft, expected, None).await?)
}

/// Replaces the fields of a record, once for an idempotency key.
///
/// # Errors
/// As [`replace`]; [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`].
pub async fn replace_once(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    draft: &Draft,
    expected: &Expected,
    keyed: Option<Keyed<Written>>,
) -> Result<Once<Record>> {
    let schema = draft.schema();
    caller.require(Access::Write, schema)?;
    if !draft.claims().is_empty() {
        let record = find(store, schema, id).await?;
        let differs =
            |(field, value): &&(&Field, Option<Value>)| record.value(field.name) != value.as_ref();
        let violations = draft.claims().iter().filter(differs).map(|(field, _)| {
            let detail =
                "differs from the value of the record, which clients cannot change; leave it out";
            Violation::new(field.name, detail)
        });
        let violations: Vec<Violation> = violations.collect();
        // With another version, the write is rejected for that, or is the retry of one that was done.
        if !violations.is_empty() && expected.allows(record.version()) {
            return Err(Error::record(violations));
        }
    }
    let row = draft.replacement();
    let write = Write::Update(id, row.clone(), expected.clone());
    written(store, draft.schema(), caller, &row, write, keyed).await
}

/// Updates some fields of a record, once for an idempotency key. A record that has these values already keeps its
/// version.
///
/// # Errors
/// The same as [`replace_once`].
pub async fn patch(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    patch: &Patch,
    expected: &Expected,
    keyed: Option<Keyed<Written>>,
) -> Result<Once<Record>> {
    caller.require(Access::Write, patch.schema())?;
    let write = Write::Update(id, patch.row().clone(), expected.clone());
    written(store, patch.schema(), caller, patch.row(), write, keyed).await
}

/// Deletes a record and returns its last version.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::InsufficientScope`]; any database error.
pub async fn delete(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
    expected: &Expected,
) -> Result<Record> {
    caller.require(Access::Write, schema)?;
    let write = Write::Delete(id, expected.clone());
    unkeyed(written(store, schema, caller, &Row::new(), write, None).await?)
}

/// Returns the outcome of work without a key.
fn unkeyed(once: Once<Record>) -> Result<Record> {
    match once {
        Once::Unkeyed(record) => Ok(record),
        Once::Stored(_) | Once::Replayed(_) => Err(Error::internal("a reply without a key")),
    }
}

/// Writes a record, once for an idempotency key. `row` has the values that it sets.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::PreconditionFailed`] if the record has another version than expected;
/// [`Kind::Duplicate`], [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`]; any database error.
pub(super) async fn written(
    store: &Store,
    schema: &'static Schema,
    caller: &Identity,
    row: &Row,
    write: Write,
    keyed: Option<Keyed<Written>>,
) -> Result<Once<Record>> {
    let now = timestamp_now();
    let outcome = match keyed {
        None => store.write_one(schema, write.clone(), now).await.map(Once::Unkeyed),
        Some(keyed) => store.write_once(schema, write.clone(), keyed, now).await,
    };
    match outcome {
        Ok(Once::Unkeyed(Written::Done(record) | Written::Unchanged(record))) => {
            Ok(Once::Unkeyed(record))
        }
        Ok(Once::Unkeyed(Written::Stale(record))) => Err(stale(caller, &record)?),
        Ok(Once::Unkeyed(Written::Missing)) => Err(missing(schema, write.id())),
        Ok(Once::Stored(reply)) => Ok(Once::Stored(reply)),
        Ok(Once::Replayed(reply)) => Ok(Once::Replayed(reply)),
        Err(error) if error.kind == Kind::Duplicate => {
            Err(duplicate(store, schema, row, &write, error).await)
        }
        Err(error) => Err(error),
    }
}

/// Returns the error for a write that expected another version. It has the record, if the caller may read it.
pub(super) fn stale(caller: &Identity, record: &Record) -> Result<Error> {
    let detail = format!("the record has version \"{}\" now", record.version());
    let may_read = caller.require(Access::Read, record.schema()).is_ok();
    let current = may_read.then(|| serde_json::to_value(record).map_err(Error::internal));
    let there = current.transpose()?.map(|record| Box::new(There::Current(record)));
    Ok(Error { there, ..Error::new(Kind::PreconditionFailed, detail) })
}

/// Adds to the error for a duplicate the fields of the unique keys and the record that has them.
async fn duplicate(
    store: &Store,
    schema: &'static Schema,
    row: &Row,
    write: &Write,
    error: Error,
) -> Error {
    let error = name_keys(schema, error);
    let own = matches!(write, Write::Update(..)).then(|| write.id());
    // The values of a patch, completed by those of the record.
    let mut whole = row.clone();
    if own.is_some()
        && let Ok(record) = find(store, schema, write.id()).await
    {
        let is_set = |field: &Field| row.iter().any(|(set, _)| *set == field);
        let others = record.fields().filter(|(field, _)| !is_set(field));
        whole.extend(others.map(|(field, value)| (field, value.cloned())));
    }
    // The record may be gone again. That is no reason to fail otherwise.
    let holder = store.holder(schema, &whole, own).await.ok().flatten();
    let there = holder.map(|id| Box::new(There::Other(schema.collection, id)));
    Error { there, ..error }
}

/// Adds the fields of the unique keys to the error for a duplicate.
pub(super) fn name_keys(schema: &Schema, error: Error) -> Error {
    let keys = schema.unique.iter().map(|key| key.join(", "));
    let keys = keys.collect::<Vec<_>>().join(" or ");
    if error.kind != Kind::Duplicate || keys.is_empty() {
        return error;
    }
    let detail = format!("a {} with the same {keys} already exists", schema.name);
    Error { detail, ..error }
}

pub(super) async fn find(store: &Store, schema: &'static Schema, id: Uuid) -> Result<Record> {
    store.find(schema, id).await?.ok_or_else(|| missing(schema, id))
}

pub(super) fn missing(schema: &Schema, id: Uuid) -> Error {
    Error::new(Kind::NotFound, format!("no {} has the id {id}", schema.name))
}
