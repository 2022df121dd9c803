//! Facets: counting what a filter finds, by the values of a field or by buckets of them.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use super::search::limit;
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::{Diagnostic, Facet, Schema, Shape, compile, format};
use crate::store::Store;

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct FacetsRequest {
    /// Which records. Their order is of no account.
    pub selection: Selection,
    /// The field by which they are counted.
    pub by: String,
    /// The name of an interval that the field's type has; each value by itself when absent.
    pub interval: Option<String>,
    /// How many items at most, as of a search.
    pub limit: Option<i64>,
}

/// How many records there are for each value of a field, or for each bucket of its values.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Facets {
    /// The field.
    pub by: String,
    /// The interval that makes the buckets, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// The values: the most frequent first, equally frequent ones in their order and null behind
    /// them. Buckets are in their order alone, null last.
    pub items: Vec<FacetItem>,
    /// What `limit` has cut off.
    pub rest: FacetRest,
    /// How many records match, those without a value among them.
    pub total: i64,
    /// The moment `today` and `now` stand for, when the filter uses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Remarks on a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

/// A value or a bucket.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct FacetItem {
    /// The value as it is in a record, or null; of a bucket its start: an integer, or the first day of
    /// a part of the calendar.
    pub value: Any<serde_json::Value>,
    /// How many records have it.
    pub count: i64,
    /// The filter that finds these records, when it is joined by `and` with that of the request,
    /// which stands in parentheses where it has an `or`.
    pub filter: String,
}

/// What is not among the items.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct FacetRest {
    /// How many values or buckets, null among them.
    pub values: i64,
    /// How many records.
    pub count: i64,
}

/// Counts records.
///
/// # Errors
/// [`Kind::InvalidParameter`] for a field or an interval that there is not, and a limit out of range;
/// [`Kind::InvalidQuery`], [`Kind::InsufficientScope`]; the database's.
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

    let statement = compile(&query, Shape::Groups { facet, limit }, store.dialect());
    let groups = store.groups(statement, facet.key_type()).await?;
    // Each group knows of all; where there is none, nothing matches.
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
