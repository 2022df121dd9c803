//! Reading and changing one record.

use uuid::Uuid;

use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::plan::{Condition, Side, Term};
use crate::query::{Query, Shape, Value, compile};
use crate::record::{Draft, Patch, Record, Row};
use crate::store::{Expected, Store};

/// Creates a record.
///
/// # Errors
/// [`Kind::Duplicate`], [`Kind::InsufficientScope`]; the database's.
pub async fn create<R: Record>(store: &Store, caller: &Identity, draft: &Draft<R>) -> Result<R> {
    caller.require(Access::Write, R::SCHEMA)?;
    store.insert(Uuid::now_v7(), draft, timestamp_now()).await.map_err(name_key::<R>)
}

/// Reads a record.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; the database's.
pub async fn get<R: Record>(store: &Store, caller: &Identity, id: Uuid) -> Result<R> {
    caller.require(Access::Read, R::SCHEMA)?;
    find(store, id).await
}

/// Replaces a record's fields.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::Duplicate`],
/// [`Kind::InsufficientScope`]; the database's.
pub async fn replace<R: Record>(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    draft: &Draft<R>,
    expected: &Expected,
) -> Result<R> {
    caller.require(Access::Write, R::SCHEMA)?;
    write(store, id, draft.row(), expected).await
}

/// Changes some of a record's fields. A patch without any still makes a new version.
///
/// # Errors
/// As [`replace`].
pub async fn patch<R: Record>(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    patch: &Patch<R>,
    expected: &Expected,
) -> Result<R> {
    caller.require(Access::Write, R::SCHEMA)?;
    write(store, id, patch.row(), expected).await
}

/// Deletes a record and returns it as it was.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::InsufficientScope`]; the database's.
pub async fn delete<R: Record>(
    store: &Store,
    caller: &Identity,
    id: Uuid,
    expected: &Expected,
) -> Result<R> {
    caller.require(Access::Write, R::SCHEMA)?;
    match store.delete(id, expected).await? {
        Some(deleted) => Ok(deleted),
        None => Err(stale::<R>(store, id).await),
    }
}

async fn write<R: Record>(store: &Store, id: Uuid, row: &Row, expected: &Expected) -> Result<R> {
    let written = store.update(id, row, expected, timestamp_now()).await;
    match written.map_err(name_key::<R>)? {
        Some(record) => Ok(record),
        None => Err(stale::<R>(store, id).await),
    }
}

async fn find<R: Record>(store: &Store, id: Uuid) -> Result<R> {
    let field = R::SCHEMA.field("id").ok_or_else(|| Error::internal("a record has no id"))?;
    let by_id = Condition::Compare(
        Term::whole(field),
        crate::query::ast::Comparison::Equal,
        Side::Value(Value::Id(id)),
    );
    let query = Query { schema: R::SCHEMA, filter: Some(by_id), order: Vec::new(), after: None };
    let statement = compile(&query, Shape::Page { limit: 1 }, store.dialect());
    store.fetch::<R>(statement).await?.pop().ok_or_else(|| missing::<R>(id))
}

/// Why a write has found nothing: the record is gone, or of another version.
async fn stale<R: Record>(store: &Store, id: Uuid) -> Error {
    match find::<R>(store, id).await {
        Err(error) => error,
        Ok(record) => {
            let detail = format!("the record is at version \"{}\" now", record.version());
            Error::new(Kind::PreconditionFailed, detail)
        }
    }
}

fn missing<R: Record>(id: Uuid) -> Error {
    Error::new(Kind::NotFound, format!("there is no {} with the id {id}", R::SCHEMA.name))
}

/// Says which fields a duplicate shares with the record that is there.
fn name_key<R: Record>(mut error: Error) -> Error {
    if error.kind == Kind::Duplicate {
        let key = R::SCHEMA.natural_key().join(", ");
        error.detail = format!("there is a {} with the same {key} already", R::SCHEMA.name);
    }
    error
}
