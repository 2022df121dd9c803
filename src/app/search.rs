//! Searching: the stages of a query from text to page, one after the other.

use chrono::{DateTime, Utc};
use poem_openapi::Enum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, fingerprint};
use super::selection::Selection;
use super::why::{Reason, why_nothing};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::{Diagnostic, Schema, Shape};
use crate::store::{Documents, Store};

/// The default of `limit`: the maximum number of records of a page, or of items of a facet.
pub const DEFAULT_LIMIT: u32 = 20;

/// The greatest value of `limit`.
pub const MAX_LIMIT: u32 = 1000;

/// Whether to count all matching records. `exact` counts them, which reads all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Do not count.
    #[default]
    None,
    /// Count exactly, which reads all matching records.
    Exact,
}

/// A request for a page of records.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// The records, and their order.
    pub selection: Selection,
    /// The maximum number of records, 1 to [`MAX_LIMIT`]; the default is [`DEFAULT_LIMIT`].
    pub limit: Option<i64>,
    /// The `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Whether to count the records of all pages.
    pub count: Count,
    /// Whether to explain an empty result.
    pub why: bool,
}

/// A page of records.
#[derive(Debug)]
pub struct Page {
    /// The records in order, as JSON objects separated by commas.
    pub items: Vec<u8>,
    /// Information about the page.
    pub about: About,
}

/// Information about a page of records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct About {
    /// The cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The number of matching records on all pages, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// The time that `today` and `now` refer to, if the filter uses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Why nothing was found, if requested and if there is a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Vec<Reason>>,
    /// Warnings about a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

impl Page {
    /// Returns the page as JSON: an object with `items` and the members of [`About`].
    ///
    /// # Errors
    /// None in practice, because all values can be serialised.
    pub fn into_json(self) -> Result<Vec<u8>> {
        let about = serde_json::to_vec(&self.about).map_err(Error::internal)?;
        // The object has at least one member, `warnings`, so that the comma is valid.
        let members = about.strip_prefix(b"{").unwrap_or_default();
        Ok([b"{\"items\":[", self.items.as_slice(), b"],", members].concat())
    }

    /// Deserialises the records.
    ///
    /// # Errors
    /// [`Kind::Internal`] if a record does not fit the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let list = [b"[", self.items.as_slice(), b"]"].concat();
        serde_json::from_slice(&list).map_err(Error::internal)
    }
}

/// Returns one page of records.
///
/// # Errors
/// [`Kind::InvalidQuery`], [`Kind::InvalidCursor`], [`Kind::InvalidParameter`] for a limit out of
/// range, [`Kind::InsufficientScope`]; any database error.
pub async fn search(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    request: SearchRequest,
) -> Result<Page> {
    caller.require(Access::Read, schema)?;
    page(store, schema, request).await
}

/// Returns one page of records, without checking the scope of the caller.
///
/// # Errors
/// The same as [`search`], except for the scope.
pub(super) async fn page(
    store: &Store,
    schema: &'static Schema,
    request: SearchRequest,
) -> Result<Page> {
    let limit = limit(request.limit)?;
    let selection = &request.selection;
    let prepared = selection.prepare(schema)?;
    let search = || fingerprint(schema, &prepared.ast, &selection.parameters);
    let order = &prepared.plan.order;
    let cursor = match &request.cursor {
        Some(text) => Some(Cursor::decode(text, &search(), order)?),
        None => None,
    };
    let as_of = cursor.as_ref().map_or_else(timestamp_now, |cursor| cursor.as_of);
    let mut query = selection.bind(&prepared, as_of)?;
    if let Some(cursor) = &cursor {
        query.continue_after(&cursor.keys);
    }

    let mut found = Documents::new(schema, order, limit, b',');
    let statement = store.statement(&query, page_shape(limit)).await?;
    store.fetch_into(&mut found, statement).await?;
    let total = match request.count {
        Count::None => None,
        Count::Exact => Some(store.count(store.statement(&query, Shape::Count).await?).await?),
    };
    let next_cursor = match found.last() {
        Some(keys) if found.has_more() => {
            Some(Cursor { as_of, keys: keys.to_vec() }.encode(&search())?)
        }
        _ => None,
    };
    let is_empty = found.is_empty() && cursor.is_none() && query.filter.is_some();
    let why = if request.why && is_empty {
        Some(why_nothing(store, &prepared, &selection.parameters, as_of).await?)
    } else {
        None
    };
    let items = found.into_json();
    let as_of = prepared.plan.uses_clock.then_some(as_of);
    let about = About { next_cursor, total, as_of, why, warnings: prepared.warnings };
    Ok(Page { items, about })
}

/// Returns the shape of a page: one more record, to know whether there is a next page.
pub(crate) fn page_shape(limit: u32) -> Shape {
    Shape::Page { limit: limit + 1 }
}

/// Validates a requested limit. Returns the default if there is none.
pub(super) fn limit(requested: Option<i64>) -> Result<u32> {
    let Some(limit) = requested else { return Ok(DEFAULT_LIMIT) };
    u32::try_from(limit).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        let detail = format!("limit: expected a number from 1 to {MAX_LIMIT}, found {limit}");
        Error::new(Kind::InvalidParameter, detail)
    })
}
