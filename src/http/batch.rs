//! The operations on batches of writes.

use std::collections::BTreeMap;

use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi, Tags};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::body::{Body, Input, Json, json};
use super::caller::{SomeWriter, Writer};
use super::idempotency::{Retriable, unversioned};
use super::limits::Limits;
use super::records::{COLLECTION, Tag, unique_members};
use crate::app::App;
use crate::app::batch::{self, BatchItem, BatchOperation, BatchReport};
use crate::error::Result;
use crate::identity::Identity;
use crate::query::Schema;
use crate::record::Members;
use crate::record::json::objects;
use crate::store::{Conflict, IdempotencyKey, Store};

/// The operations on batches of one collection.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Write several {records}
    ///
    /// Creates, replaces, patches and deletes up to 1000 {records} in one transaction. By default all of them are
    /// written or none: if one fails, returns 409 `batch_failed`, with `errors` by position. With `atomic=false` each
    /// has a result of its own. A replacement and a patch need the `version` that you have read. A batch counts as
    /// its items for the rate limit. Returns 400 `invalid_record` if a {record} is invalid.
    #[oai(path = "/batch", method = "post")]
    async fn batch(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        body: Body<BatchRequest>,
    ) -> Result<Retriable<Json<BatchReport>>> {
        let Writer { identity, schema, store } = caller;
        run(&app, &store, &identity, Some(schema), body).await
    }
}

#[derive(Tags)]
enum BatchTag {
    /// Writes of records of several collections in one transaction.
    #[oai(rename = "batch")]
    Batch,
}

/// The operation on batches of several collections.
pub(super) struct SeveralOperations;

#[OpenApi(tag = "BatchTag::Batch")]
impl SeveralOperations {
    /// Write records of several collections
    ///
    /// The same as the batch of one collection. Each operation names its `collection`, for which the token needs the
    /// scope for changing records.
    #[oai(path = "/api/v1/batch", method = "post")]
    async fn batch(
        &self,
        caller: SomeWriter,
        app: Data<&App>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        body: Body<BatchRequest>,
    ) -> Result<Retriable<Json<BatchReport>>> {
        run(&app, &caller.store, &caller.identity, None, body).await
    }
}

async fn run(
    app: &App,
    store: &Store,
    identity: &Identity,
    about: Option<&'static Schema>,
    body: Body<BatchRequest>,
) -> Result<Retriable<Json<BatchReport>>> {
    let Body(BatchRequest { atomic, operations }, key) = body;
    app.admit_items(identity, operations.len()).await?;
    let items = operations.into_iter().map(BatchItem::from).collect();
    let reply: batch::ReplyTo = |report| unversioned(StatusCode::OK, report);
    let key = key.map(|key: IdempotencyKey| (key, reply));
    let is_atomic = atomic.unwrap_or(true);
    let catalogue = app.catalogue();
    let once = batch::run(store, catalogue, identity, about, is_atomic, items, key).await?;
    Ok(Retriable::of(once, Json))
}

/// A batch of writes.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// Whether all operations are done or none. Default: true.
    atomic: Option<bool>,
    /// The operations, in their order; at most 1000.
    #[oai(validator(min_items = "1", max_items = "1000"))]
    #[serde(deserialize_with = "operations")]
    operations: Vec<Operation>,
}

fn operations<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<Operation>, D::Error> {
    Ok(objects(deserializer)?.unwrap_or_default())
}

/// A write of a batch.
#[derive(Object, Deserialize)]
#[oai(rename = "BatchItem")]
#[serde(deny_unknown_fields)]
struct Operation {
    /// What it does.
    op: BatchOperation,
    /// The collection. Required for a batch of several collections.
    collection: Option<String>,
    /// The id of the record. Required except to create.
    id: Option<Uuid>,
    /// The version that the record must have. Required to replace and to patch.
    version: Option<i64>,
    /// The fields. Required except to delete.
    #[serde(default, deserialize_with = "unique_members")]
    record: Option<BTreeMap<String, Any<Value>>>,
    /// For a creation, what to do if the natural key exists. Default: `fail`.
    on_conflict: Option<Conflict>,
}

impl From<Operation> for BatchItem {
    fn from(operation: Operation) -> Self {
        let Operation { op, collection, id, version, record, on_conflict } = operation;
        let record = record.map(|record| {
            Members(record.into_iter().map(|(name, Any(value))| (name, value)).collect())
        });
        Self { op, collection, id, version, record, on_conflict }
    }
}

impl Input for BatchRequest {
    const TAKES_KEY: bool = true;

    fn max_bytes(limits: &Limits) -> usize {
        limits.body_bytes
    }

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}
