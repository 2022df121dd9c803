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
use crate::query::{BoundQuery, Diagnostic, Dialect, Schema, Shape, Statement, compile};
use crate::store::{Documents, Store};

/// The most records of a page, or counts of a facet, when nothing is said.
pub const DEFAULT_LIMIT: u32 = 20;

/// The most that can be asked for.
pub const MAX_LIMIT: u32 = 1000;

/// Whether to count all matching records: `exact` reads them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Do not count.
    #[default]
    None,
    /// Count them exactly, which reads them all.
    Exact,
}

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// Which records, and in which order.
    pub selection: Selection,
    /// How many at most, 1 to [`MAX_LIMIT`]; [`DEFAULT_LIMIT`] when absent.
    pub limit: Option<i64>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Whether to count all pages' records.
    pub count: Count,
    /// Whether to say why, should nothing be found.
    pub why: bool,
}

/// A page of records.
#[derive(Debug)]
pub struct Page {
    /// The records in order, as JSON objects with commas between.
    pub items: Vec<u8>,
    /// What is said of them.
    pub about: About,
}

/// What is said of a page of records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct About {
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many records match on all pages together, when asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// The moment that `today` and `now` stand for, when the filter uses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Why nothing was found, when it was asked and there is a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Vec<Reason>>,
    /// Remarks on a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

impl Page {
    /// The page as JSON: an object with `items` and the members of [`About`].
    ///
    /// # Errors
    /// None that could be provoked: all of it is JSON.
    pub fn into_json(self) -> Result<Vec<u8>> {
        let about = serde_json::to_vec(&self.about).map_err(Error::internal)?;
        // It has at least one member, `warnings`.
        let members = about.strip_prefix(b"{").unwrap_or_default();
        Ok([b"{\"items\":[", self.items.as_slice(), b"],", members].concat())
    }

    /// The records as a type that has their fields.
    ///
    /// # Errors
    /// A record that is not of the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let list = [b"[", self.items.as_slice(), b"]"].concat();
        serde_json::from_slice(&list).map_err(Error::internal)
    }
}

/// Finds one page of records.
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

/// The same for a caller who may read the records, as is known already.
///
/// # Errors
/// As [`search`], without the scope.
pub(super) async fn page(
    store: &Store,
    schema: &'static Schema,
    request: SearchRequest,
) -> Result<Page> {
    let limit = limit(request.limit)?;
    let selection = &request.selection;
    let prepared = selection.prepare(schema)?;
    let search = fingerprint(schema, &prepared.ast, &selection.parameters);
    let order = &prepared.plan.order;
    let cursor = match &request.cursor {
        Some(text) => Some(Cursor::decode(text, &search, order)?),
        None => None,
    };
    let as_of = cursor.as_ref().map_or_else(timestamp_now, |cursor| cursor.as_of);
    let mut query = selection.bind(&prepared, as_of)?;
    if let Some(cursor) = &cursor {
        query.continue_after(&cursor.keys);
    }

    let dialect = store.dialect();
    let mut found = Documents::new(schema, order, limit, b',');
    store.fetch_into(&mut found, page_statement(&query, limit, dialect)).await?;
    let total = match request.count {
        Count::None => None,
        Count::Exact => Some(store.count(compile(&query, Shape::Count, dialect)).await?),
    };
    let next_cursor = match found.last() {
        Some(keys) if found.has_more() => {
            Some(Cursor { as_of, keys: keys.to_vec() }.encode(&search)?)
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

/// The statement for a page. It asks for one record more, which tells whether there is a next page.
pub(crate) fn page_statement(query: &BoundQuery, limit: u32, dialect: Dialect) -> Statement {
    compile(query, Shape::Page { limit: limit + 1 }, dialect)
}

/// The most records or counts there may be, of what was asked.
pub(super) fn limit(asked: Option<i64>) -> Result<u32> {
    let Some(limit) = asked else { return Ok(DEFAULT_LIMIT) };
    u32::try_from(limit).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        let detail = format!("limit must lie between 1 and {MAX_LIMIT}, and is {limit}");
        Error::new(Kind::InvalidParameter, detail)
    })
}
