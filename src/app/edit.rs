//! Reading and writing one record.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, There};
use crate::identity::{Access, Identity};
use crate::query::plan::{Condition, Side, Term};
use crate::query::{BoundQuery, Field, Schema, Shape, Value, compile};
use crate::record::{Draft, Patch, Row};
use crate::store::{Expected, NewRecord, Record, Store, Write, Written};

/// Creates a record.
///
/// # Errors
/// [`Kind::Duplicate`], [`Kind::InsufficientScope`]; any database error.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft) -> Result<Record> {
    let schema = draft.schema();
    caller.require(Access::Write, schema)?;
    let write = Write::Create(NewRecord::of(draft.row().clone()));
    written(store, schema, caller, draft.row(), &write, timestamp_now()).await
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
    caller.require(Access::Write, draft.schema())?;
    let row = draft.replacement();
    let write = Write::Update(id, row.clone(), expected.clone());
    written(store, draft.schema(), caller, &row, &write, timestamp_now()).await
}

/// Updates some fields of a record. A record that has these values already keeps its version.
///
/// # Errors
/// The same as [`replace`].
pub async fn patch(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    patch: &Patch,
    expected: &Expected,
) -> Result<Record> {
    caller.require(Access::Write, patch.schema())?;
    let write = Write::Update(id, patch.row().clone(), expected.clone());
    written(store, patch.schema(), caller, patch.row(), &write, timestamp_now()).await
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
    written(store, schema, caller, &Row::new(), &write, timestamp_now()).await
}

/// Writes a record. `row` has the values that it sets.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::PreconditionFailed`] if the record has another version than expected;
/// [`Kind::Duplicate`]; any database error.
pub(super) async fn written(
    store: &Store,
    schema: &'static Schema,
    caller: &Identity,
    row: &Row,
    write: &Write,
    now: DateTime<Utc>,
) -> Result<Record> {
    match store.write_one(schema, write.clone(), now).await {
        Ok(Written::Done(record) | Written::Unchanged(record)) => Ok(record),
        Ok(Written::Stale(record)) => Err(stale(caller, &record)?),
        Ok(Written::Missing) => Err(missing(schema, write.id())),
        Err(error) if error.kind == Kind::Duplicate => {
            Err(duplicate(store, schema, row, write, error).await)
        }
        Err(error) => Err(error),
    }
}

/// Returns the error for a write that expected another version. It has the record, if the caller may read it.
fn stale(caller: &Identity, record: &Record) -> Result<Error> {
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
    let keys = schema.unique.iter().map(|key| key.join(", "));
    let keys = keys.collect::<Vec<_>>().join(" or ");
    let detail = match keys.as_str() {
        "" => error.detail,
        keys => format!("a {} with the same {keys} already exists", schema.name),
    };
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
    Error { detail, there, ..error }
}

pub(super) async fn find(store: &Store, schema: &'static Schema, id: Uuid) -> Result<Record> {
    let field = schema.field("id").ok_or_else(|| Error::internal("a record has no id"))?;
    let by_id = Condition::Compare(
        Term::whole(field),
        crate::query::ast::Comparison::Equal,
        Side::Value(Value::Id(id)),
    );
    let query = BoundQuery { schema, filter: Some(by_id), order: Vec::new(), after: None };
    let statement = compile(&query, Shape::Page { limit: 1 }, store.dialect());
    store.fetch(schema, statement).await?.pop().ok_or_else(|| missing(schema, id))
}

fn missing(schema: &Schema, id: Uuid) -> Error {
    Error::new(Kind::NotFound, format!("no {} has the id {id}", schema.name))
}
