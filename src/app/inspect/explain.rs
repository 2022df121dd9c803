//! How the database would execute a search.

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use super::readable;
use crate::app::search::{self, page_shape};
use crate::app::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::Result;
use crate::identity::Identity;
use crate::query::Type;
use crate::query::compile::Bound;
use crate::query::diagnostic::count;
use crate::query::limits::{self, Usage};
use crate::record::Catalogue;
use crate::store::{Explained, Store};

/// How the database would execute a search for the first page.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Explanation {
    /// The database engine and its version.
    pub engine: String,
    /// The SQL statement, with a placeholder for each value.
    pub sql: String,
    /// The values, in the order of their placeholders.
    pub values: Vec<BoundValue>,
    /// The plan of the database engine for the statement with these values, one step per line.
    pub plan: Vec<String>,
    /// The indexes in the plan, each once. `PRIMARY KEY` is the index of ids in SQLite, which has no name.
    pub indexes: Vec<String>,
    /// How much of the limits the filter uses.
    pub limits: UsedLimits,
}

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct BoundValue {
    /// The type that the value is bound as. SQLite has no type for timestamps and gets text.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
    /// The value. Dates, timestamps and ids are strings.
    pub value: Any<serde_json::Value>,
}

/// How much of the limits a filter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct UsedLimits {
    /// The length of the filter in bytes.
    pub text_bytes: UsedLimit,
    /// The deepest nesting of parentheses and `not`.
    pub depth: UsedLimit,
    /// The number of predicates.
    pub predicates: UsedLimit,
    /// The number of items of the longest list.
    pub in_items: UsedLimit,
}

/// How much of a limit a filter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct UsedLimit {
    /// The number in the filter.
    pub used: i32,
    /// The maximum number.
    pub limit: i32,
}

/// Explains the search for the first page of a collection, without executing it.
///
/// # Errors
/// [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InvalidParameter`] for a limit out of
/// range or an unknown collection, [`crate::error::Kind::InsufficientScope`]; any database error.
pub async fn explain(
    store: &Store,
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
    selection: &Selection,
    limit: Option<i64>,
) -> Result<Explanation> {
    let schema = readable(catalogue, caller, collection)?;
    let limit = search::limit(limit)?;
    let prepared = selection.prepare(schema)?;
    let query = selection.bind(&prepared, timestamp_now())?;
    let statement = store.statement(&query, page_shape(limit)).await?;
    let Explained { lines: plan, indexes } = store.explain(&statement).await?;
    let values = statement.bound().into_iter();
    let values = values.map(|Bound { ty, value }| BoundValue { ty, value: Any(value) });
    Ok(Explanation {
        engine: store.version().await?,
        values: values.collect(),
        sql: statement.sql,
        plan,
        indexes,
        limits: prepared.usage.into(),
    })
}

impl From<Usage> for UsedLimits {
    fn from(usage: Usage) -> Self {
        let of = |used, limit| UsedLimit { used: count(used), limit: count(limit) };
        Self {
            text_bytes: of(usage.text_bytes, limits::MAX_TEXT_BYTES),
            depth: of(usage.depth, limits::MAX_DEPTH),
            predicates: of(usage.predicates, limits::MAX_PREDICATES),
            in_items: of(usage.in_items, limits::MAX_IN_ITEMS),
        }
    }
}
