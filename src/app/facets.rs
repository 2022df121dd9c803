//! Facets: counting the matches of a filter by the values of a field, or by buckets of values.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use super::search::limit;
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::{Diagnostic, Facet, Schema, Shape, format};
use crate::store::Store;

/// A request to count records.
#[derive(Debug, Clone, Default)]
pub struct FacetsRequest {
    /// The records to count. Their order is ignored.
    pub selection: Selection,
    /// The field to group by.
    pub by: String,
    /// The name of an interval of the field's type, to group by buckets; if absent, each value is a group.
    pub interval: Option<String>,
    /// The maximum number of items, as in a search.
    pub limit: Option<i64>,
}

/// The number of records per value of a field, or per bucket of values.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Facets {
    /// The field.
    pub by: String,
    /// The interval of the buckets, as in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// The values, most frequent first; equally frequent ones in ascending order, null last. Buckets are in
    /// ascending order, null last.
    pub items: Vec<FacetItem>,
    /// The values or buckets beyond `limit`.
    pub rest: FacetRest,
    /// The number of matching records, including those without a value.
    pub total: i64,
    /// The time that `today` and `now` refer to, if the filter uses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Warnings about a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

/// A value or a bucket.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct FacetItem {
    /// The value as in a record, or null. For a bucket, its start: an integer, or the first day of the
    /// calendar unit.
    pub value: Any<serde_json::Value>,
    /// The number of records with this value.
    pub count: i64,
    /// A filter for these records. Join it by `and` with the filter of the request, which needs
    /// parentheses if it contains `or`.
    pub filter: String,
}

/// The values or buckets that are not among the items.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct FacetRest {
    /// The number of values or buckets, including null.
    pub values: i64,
    /// The number of records.
    pub count: i64,
}

/// Counts records by the values of a field.
///
/// # Errors
/// [`Kind::InvalidParameter`] for an unknown field or interval, or a limit out of range;
/// [`Kind::InvalidQuery`], [`Kind::InsufficientScope`]; any database error.
pub async fn facets(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    request: FacetsRequest,
) -> Result<Facets> {
    caller.require(Access::Read, schema)?;
    let limit = limit(request.limit)?;
    let facet = Facet::of(schema, &request.by, request.interval.as_deref())
        .map_err(|detail| Error::new(Kind::InvalidParameter, detail))?;
    let prepared = request.selection.prepare(schema)?;
    let as_of = timestamp_now();
    let query = request.selection.bind(&prepared, as_of)?;

    let statement = store.statement(&query, Shape::Groups { facet, limit }).await?;
    let groups = store.groups(statement, facet.key_type()).await?;
    // Each group has the totals. Without a group, nothing matches.
    let (values, total) = groups.first().map_or((0, 0), |group| (group.groups, group.total));
    let mut rest = FacetRest { values, count: total };
    let items = groups.into_iter().map(|group| {
        rest.values -= 1;
        rest.count -= group.count;
        let (value, filter) = facet.group(group.key);
        let value = Any(value.as_ref().into());
        FacetItem { value, count: group.count, filter: format::filter(&filter) }
    });
    Ok(Facets {
        items: items.collect(),
        rest,
        by: request.by,
        interval: request.interval,
        total,
        as_of: prepared.plan.uses_clock.then_some(as_of),
        warnings: prepared.warnings,
    })
}
