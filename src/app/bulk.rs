//! Changing or deleting all records that match a filter, guarded by their number.

use serde::Serialize;

use super::search::{Count, SearchRequest};
use super::selection::Selection;
use super::{edit, search};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::{Schema, Shape};
use crate::record::Patch;
use crate::store::{Bulk, BulkTally, Keyed, MAX_MATCHING, Once, Store, unexpected_count};

/// The number of records that a dry run lists.
const LISTED: i64 = 20;

/// What a write by filter did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BulkReport {
    /// The number of matching records.
    pub matched: i64,
    /// The number of records that were changed or deleted; zero in a dry run.
    pub written: i64,
    /// In a dry run, the first of the matching records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<serde_json::Value>>,
}

impl From<BulkTally> for BulkReport {
    fn from(BulkTally { matched, written }: BulkTally) -> Self {
        Self { matched: matched.into(), written: written.into(), items: None }
    }
}

/// A write by filter.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// The records. It must have a filter.
    pub selection: Selection,
    /// The number of records that must match.
    pub expected: Option<i64>,
    /// The values to set; `None` to delete the records.
    pub patch: Option<Patch>,
}

/// Counts the matching records and lists the first of them. It writes nothing.
///
/// # Errors
/// [`Kind::InvalidQuery`], [`Kind::InsufficientScope`], which also requires the scope for reading; any database error.
pub async fn preview(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    selection: Selection,
) -> Result<BulkReport> {
    caller.require(Access::Write, schema)?;
    let request = SearchRequest {
        selection,
        limit: Some(LISTED),
        count: Count::Exact,
        ..SearchRequest::default()
    };
    let page = search::search(store, caller, schema, request).await?;
    let items = page.read()?;
    let matched = page.about.total.unwrap_or_default();
    Ok(BulkReport { matched, written: 0, items: Some(items) })
}

/// Changes or deletes the matching records, if as many match as expected, once for an idempotency key.
///
/// # Errors
/// [`Kind::InvalidParameter`] for too large an expected number; [`Kind::InvalidQuery`];
/// [`Kind::UnexpectedCount`] if another number matches, or without an expected number; [`Kind::Duplicate`] if two records would have the same unique
/// key; [`Kind::InsufficientScope`]; any database error.
pub async fn write(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    request: BulkRequest,
    keyed: Option<Keyed<BulkTally>>,
) -> Result<Once<BulkTally>> {
    caller.require(Access::Write, schema)?;
    // The number of matches reveals values.
    caller.require(Access::Read, schema)?;
    let BulkRequest { selection, expected, patch } = request;
    let now = timestamp_now();
    let query = selection.bind(&selection.prepare(schema)?, now)?;
    if query.filter.is_none() {
        return Err(Error::new(Kind::InvalidParameter, "filter: expected a filter, found none"));
    }
    let Some(expected) = expected else {
        let count = store.statement(&query, Shape::Count).await?;
        return Err(unexpected_count(None, store.count(count).await?));
    };
    let expected = u32::try_from(expected).ok().filter(|expected| *expected <= MAX_MATCHING);
    let expected = expected.ok_or_else(|| {
        let detail = format!("expect: expected a number from 0 to {MAX_MATCHING}");
        Error::new(Kind::InvalidParameter, detail)
    })?;
    let bulk = patch.map_or(Bulk::Delete, |patch| Bulk::Update(patch.row().clone()));
    let written = store.write_matching(query, bulk, expected, keyed, now).await;
    written.map_err(|error| edit::name_keys(schema, error))
}
