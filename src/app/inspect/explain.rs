//! How the database would answer a search.

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use super::readable;
use crate::app::search::{self, page_statement};
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

/// How the database would answer a search for a first page.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Explanation {
    /// The database engine and its version.
    pub engine: String,
    /// The statement, with a placeholder for each value.
    pub sql: String,
    /// The values, in the order of their placeholders.
    pub values: Vec<BoundValue>,
    /// The engine's plan for the statement with these values, in its own words, a step a line.
    pub plan: Vec<String>,
    /// The indexes in that plan, each once. `PRIMARY KEY` is SQLite's index of ids, which has no name.
    pub indexes: Vec<String>,
    /// How far the filter goes towards the limits.
    pub limits: UsedLimits,
}

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct BoundValue {
    /// The type it is given to the engine as. SQLite has no instants: there they are text.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
    /// The value. Dates, timestamps and ids are strings.
    pub value: Any<serde_json::Value>,
}

/// How far a filter goes towards the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct UsedLimits {
    /// The bytes of the filter.
    pub text_bytes: UsedLimit,
    /// The most parentheses and `not`s that are open at one place.
    pub depth: UsedLimit,
    /// The predicates.
    pub predicates: UsedLimit,
    /// The items of the longest list.
    pub in_items: UsedLimit,
}

/// How far a filter goes towards a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct UsedLimit {
    /// How many there are.
    pub used: i32,
    /// How many there may be.
    pub limit: i32,
}

/// Explains the search for a first page of a collection. Nothing is searched.
///
/// # Errors
/// [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InvalidParameter`] for a limit out of
/// range or a collection that does not exist, [`crate::error::Kind::InsufficientScope`]; the
/// database's.
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
    let statement = page_statement(&query, limit, store.dialect());
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
