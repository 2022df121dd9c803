//! Reading and changing one record.

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
/// [`Kind::Duplicate`], [`Kind::InsufficientScope`]; the database's.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft) -> Result<Record> {
    let schema = draft.schema();
    caller.require(Access::Write, schema)?;
    let created = store.insert(Uuid::now_v7(), draft, timestamp_now()).await;
    created.map_err(|error| name_key(schema, error))
}

/// Reads a record.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; the database's.
pub async fn get(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
) -> Result<Record> {
    caller.require(Access::Read, schema)?;
    find(store, schema, id).await
}

/// Replaces a record's fields.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::Duplicate`],
/// [`Kind::InsufficientScope`]; the database's.
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

/// Changes some of a record's fields. A patch without any still makes a new version.
///
/// # Errors
/// As [`replace`].
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

/// Deletes a record and returns it as it was.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::InsufficientScope`]; the database's.
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

/// Why a write has found nothing: the record is gone, or of another version.
async fn stale(store: &Store, schema: &'static Schema, id: Uuid) -> Error {
    match find(store, schema, id).await {
        Err(error) => error,
        Ok(record) => {
            let detail = format!("the record is at version \"{}\" now", record.version());
            Error::new(Kind::PreconditionFailed, detail)
        }
    }
}

fn missing(schema: &Schema, id: Uuid) -> Error {
    Error::new(Kind::NotFound, format!("there is no {} with the id {id}", schema.name))
}

/// Says which fields a duplicate shares with the record that is there.
fn name_key(schema: &Schema, mut error: Error) -> Error {
    if error.kind == Kind::Duplicate {
        let keys = schema.unique.iter().map(|key| key.join(", "));
        let keys = keys.collect::<Vec<_>>().join(" or ");
        if !keys.is_empty() {
            error.detail = format!("there is a {} with the same {keys} already", schema.name);
        }
    }
    error
}
