//! Reading and writing one record.

use uuid::Uuid;

use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::plan::{Condition, Side, Term};
use crate::query::{BoundQuery, Schema, Shape, Value, compile};
use crate::record::{Draft, Patch, Row};
use crate::store::{Expected, Record, Store};

/// Creates a record.
///
/// # Errors
/// [`Kind::Duplicate`], [`Kind::InsufficientScope`]; any database error.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft) -> Result<Record> {
    let schema = draft.schema();
    caller.require(Access::Write, schema)?;
    let created = store.insert(Uuid::now_v7(), draft, timestamp_now()).await;
    created.map_err(|error| name_key(schema, error))
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
    write(store, draft.schema(), id, &draft.replacement(), expected).await
}

/// Updates some fields of a record. An empty patch also increments the version.
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
    write(store, patch.schema(), id, patch.row(), expected).await
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
    match store.delete(schema, id, expected).await? {
        Some(deleted) => Ok(deleted),
        None => Err(stale(store, schema, id).await),
    }
}

async fn write(
    store: &Store,
    schema: &'static Schema,
    id: Uuid,
    row: &Row,
    expected: &Expected,
) -> Result<Record> {
    let written = store.update(schema, id, row, expected, timestamp_now()).await;
    match written.map_err(|error| name_key(schema, error))? {
        Some(record) => Ok(record),
        None => Err(stale(store, schema, id).await),
    }
}

async fn find(store: &Store, schema: &'static Schema, id: Uuid) -> Result<Record> {
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

/// Returns why a write matched no record: it does not exist, or has another version.
async fn stale(store: &Store, schema: &'static Schema, id: Uuid) -> Error {
    match find(store, schema, id).await {
        Err(error) => error,
        Ok(record) => {
            let detail = format!("the record has version \"{}\" now", record.version());
            Error::new(Kind::PreconditionFailed, detail)
        }
    }
}

fn missing(schema: &Schema, id: Uuid) -> Error {
    Error::new(Kind::NotFound, format!("no {} has the id {id}", schema.name))
}

/// Adds the fields of the unique keys to the error for a duplicate.
fn name_key(schema: &Schema, mut error: Error) -> Error {
    if error.kind == Kind::Duplicate {
        let keys = schema.unique.iter().map(|key| key.join(", "));
        let keys = keys.collect::<Vec<_>>().join(" or ");
        if !keys.is_empty() {
            error.detail = format!("a {} with the same {keys} already exists", schema.name);
        }
    }
    error
}
