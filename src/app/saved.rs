//! Saved queries: a filter and an order with a name, and parameters whose types follow from their use.
//!
//! Queries are checked when they are saved and again when they are read, because the fields of the record
//! type may have changed. The service has built-in queries, which are read-only.

mod validate;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use self::validate::row;
use super::position::PositionEncoding;
use super::search::{self, Page, SearchRequest};
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::ast::{Comparison, Expr, Literal};
use crate::query::{Arguments, Diagnostic, Plan, Schema, Type, prepare};
use crate::record::json::objects;
use crate::record::{Draft, saved_queries};
use crate::store::{Expected, Record, Store, Written};

/// The maximum number of queries per page. It is low, because a query can be long.
const MAX_LISTED: u32 = 100;

/// A built-in query.
struct BuiltIn {
    collection: &'static str,
    name: &'static str,
    description: &'static str,
    filter: &'static str,
    order_by: &'static str,
    /// The names and descriptions of the parameters.
    parameters: &'static [(&'static str, &'static str)],
}

/// The built-in query that `/api/expiredMovies` runs.
pub const EXPIRED_BETWEEN: &str = "expired-between";

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        collection: "movies",
        name: EXPIRED_BETWEEN,
        description: "Movies whose licence ends in a range of days, both included",
        filter: "expiry_date between $from and $to",
        order_by: "expiry_date",
        parameters: &[("from", "The first day"), ("to", "The last day")],
    },
    BuiltIn {
        collection: "movies",
        name: "expiring-soon",
        description: "Movies whose licence ends within thirty days",
        filter: "expiry_date between today and today + 30d",
        order_by: "expiry_date",
        parameters: &[],
    },
];

/// A parameter of a saved query.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(skip_serializing_if_is_none)]
#[serde(deny_unknown_fields)]
pub struct SavedParameter {
    /// The name, without the `$`.
    pub name: String,
    /// The type, which follows from the field that the parameter is compared with. Optional in requests.
    #[oai(rename = "type")]
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<Type>,
    /// A description for readers.
    #[oai(validator(min_length = 1, max_length = 500))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The value if a request has none. Without a default, the parameter is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Any<Json>>,
}

/// A query to save.
#[derive(Debug, Clone, PartialEq, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedQueryDraft {
    /// The name, unique within the collection: words of lower-case letters and digits, joined by `-`.
    #[oai(validator(max_length = 60, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub name: String,
    /// A description for readers.
    #[oai(validator(min_length = 1, max_length = 500))]
    pub description: Option<String>,
    /// The filter; without one, all records match.
    #[oai(validator(min_length = 1, max_length = 8192))]
    pub filter: Option<String>,
    /// The sort order; the default is the order of creation.
    #[oai(validator(min_length = 1, max_length = 8192))]
    pub order_by: Option<String>,
    /// Defaults and descriptions of the `$parameters` of the filter. Parameters without either can be omitted.
    #[serde(default, deserialize_with = "objects")]
    pub parameters: Option<Vec<SavedParameter>>,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SavedQuery {
    /// The name, unique within the collection.
    pub name: String,
    /// A description for readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The filter; without one, all records match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The sort order; the default is the order of creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// The parameters, in the order of their first use.
    pub parameters: Vec<SavedParameter>,
    /// Whether the query is built in, and so read-only. To change it, save a copy under another name.
    pub built_in: bool,
    /// Whether the query is valid for the current fields of the collection. An invalid query cannot be run.
    pub valid: bool,
    /// The problems of an invalid query.
    pub diagnostics: Vec<Diagnostic>,
    /// The number of writes, which is also the ETag. Absent for a built-in query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The time of creation, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// The time of the last write, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
}

/// A page of saved queries.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SavedQueryPage {
    /// The saved queries, in the order of their names.
    pub items: Vec<SavedQuery>,
    /// The built-in queries, on every page.
    pub built_in: Vec<SavedQuery>,
    /// The cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A query with its name, which has not been checked against the record type.
#[derive(Clone)]
struct Named {
    name: String,
    description: Option<String>,
    filter: Option<String>,
    order_by: Option<String>,
    parameters: Vec<SavedParameter>,
}

impl From<&BuiltIn> for Named {
    fn from(query: &BuiltIn) -> Self {
        let parameter = |(name, description): &(&str, &str)| SavedParameter {
            name: (*name).to_owned(),
            ty: None,
            description: Some((*description).to_owned()),
            default: None,
        };
        Self {
            name: query.name.to_owned(),
            description: Some(query.description.to_owned()),
            filter: Some(query.filter.to_owned()),
            order_by: Some(query.order_by.to_owned()),
            parameters: query.parameters.iter().map(parameter).collect(),
        }
    }
}

/// A query as stored in the database.
#[derive(Clone, Deserialize)]
struct StoredQuery {
    id: Uuid,
    name: String,
    description: Option<String>,
    filter: Option<String>,
    order_by: Option<String>,
    /// What is said of its parameters, as JSON.
    parameters: String,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Record> for StoredQuery {
    type Error = Error;

    fn try_from(record: Record) -> Result<Self> {
        let json = serde_json::to_value(record).map_err(Error::internal)?;
        serde_json::from_value(json).map_err(Error::internal)
    }
}

impl TryFrom<StoredQuery> for Named {
    type Error = Error;

    fn try_from(stored: StoredQuery) -> Result<Self> {
        let parameters = serde_json::from_str(&stored.parameters).map_err(Error::internal)?;
        let StoredQuery { name, description, filter, order_by, .. } = stored;
        Ok(Self { name, description, filter, order_by, parameters })
    }
}

impl Named {
    /// Converts the query for clients. Its parameters are those that the filter uses, with their descriptions and
    /// defaults.
    fn shown(
        self,
        schema: &'static Schema,
        stored: Option<&StoredQuery>,
        positions: PositionEncoding,
    ) -> SavedQuery {
        let checked = checked(self.filter.as_deref(), self.order_by.as_deref(), schema, positions);
        let (parameters, diagnostics) = match checked {
            Ok(plan) => (self.typed(&plan), Vec::new()),
            Err(diagnostics) => (self.parameters, diagnostics),
        };
        SavedQuery {
            name: self.name,
            description: self.description,
            filter: self.filter,
            order_by: self.order_by,
            parameters,
            built_in: stored.is_none(),
            valid: diagnostics.is_empty(),
            diagnostics,
            version: stored.map(|stored| stored.version),
            created_at: stored.map(|stored| stored.created_at),
            updated_at: stored.map(|stored| stored.updated_at),
        }
    }

    fn typed(&self, plan: &Plan) -> Vec<SavedParameter> {
        let used = plan.parameters.iter().map(|used| {
            let saved = self.parameters.iter().find(|saved| saved.name == used.name);
            SavedParameter {
                name: used.name.clone(),
                ty: Some(used.term.ty()),
                description: saved.and_then(|saved| saved.description.clone()),
                default: saved.and_then(|saved| saved.default.clone()),
            }
        });
        used.collect()
    }
}

/// Checks the texts of a query.
fn checked(
    filter: Option<&str>,
    order_by: Option<&str>,
    schema: &'static Schema,
    positions: PositionEncoding,
) -> std::result::Result<Plan, Vec<Diagnostic>> {
    let prepared = prepare(filter, order_by, schema);
    prepared.map(|prepared| prepared.plan).map_err(|mut diagnostics| {
        let text = |parameter: &str| if parameter == "order_by" { order_by } else { filter };
        positions.convert_diagnostics(&mut diagnostics, text);
        diagnostics
    })
}

/// Returns the built-in queries of a collection that are valid for its fields.
fn built_in(schema: &'static Schema) -> impl Iterator<Item = &'static BuiltIn> {
    let fits =
        move |query: &&BuiltIn| prepare(Some(query.filter), Some(query.order_by), schema).is_ok();
    BUILT_IN.iter().filter(|query| query.collection == schema.collection).filter(fits)
}

/// Returns the selection of a built-in query, with these values of its parameters.
///
/// # Errors
/// [`Kind::Internal`] for an unknown name.
pub fn built_in_selection(name: &str, parameters: Arguments) -> Result<Selection> {
    let query = BUILT_IN.iter().find(|query| query.name == name);
    let query = query.ok_or_else(|| Error::internal(format!("unknown built-in query {name}")))?;
    Ok(Selection { parameters, ..Selection::filter(query.filter) })
}

/// Lists the queries of a collection.
///
/// # Errors
/// [`Kind::InvalidParameter`] for a limit out of range, [`Kind::InvalidCursor`],
/// [`Kind::InsufficientScope`]; any database error.
pub async fn list(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    limit: Option<i64>,
    cursor: Option<String>,
    positions: PositionEncoding,
) -> Result<SavedQueryPage> {
    caller.require(Access::Read, schema)?;
    let selection =
        Selection { order_by: Some("name".to_owned()), ..Selection::within(of_collection(schema)) };
    let limit = search::limit(limit)?;
    if limit > MAX_LISTED {
        let detail = format!("limit: expected a number from 1 to {MAX_LISTED}, found {limit}");
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let limit = Some(i64::from(limit));
    let request = SearchRequest { selection, limit, cursor, ..SearchRequest::default() };
    let page = search::page(store, saved_queries(), request).await?;
    let items = page.read()?.into_iter().map(|stored| shown(schema, stored, positions));
    Ok(SavedQueryPage {
        items: items.collect::<Result<_>>()?,
        built_in: built_in(schema)
            .map(|query| Named::from(query).shown(schema, None, positions))
            .collect(),
        next_cursor: page.about.next_cursor,
    })
}

fn shown(
    schema: &'static Schema,
    stored: StoredQuery,
    positions: PositionEncoding,
) -> Result<SavedQuery> {
    Ok(Named::try_from(stored.clone())?.shown(schema, Some(&stored), positions))
}

/// Saves a new query.
///
/// # Errors
/// [`Kind::InvalidQuery`] for an invalid filter or order; [`Kind::InvalidRecord`] for an invalid name,
/// description or parameter; [`Kind::Duplicate`], [`Kind::InsufficientScope`]; any database error.
pub async fn create(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    draft: SavedQueryDraft,
    positions: PositionEncoding,
) -> Result<SavedQuery> {
    caller.require(Access::Write, schema)?;
    let draft = Draft::of(saved_queries(), row(schema, draft, positions)?);
    let stored = store.insert(Uuid::now_v7(), &draft, timestamp_now()).await;
    shown(schema, stored.map_err(name_taken)?.try_into()?, positions)
}

/// Reads a query.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; any database error.
pub async fn get(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    positions: PositionEncoding,
) -> Result<SavedQuery> {
    caller.require(Access::Read, schema)?;
    if let Some(query) = built_in(schema).find(|query| query.name == name) {
        return Ok(Named::from(query).shown(schema, None, positions));
    }
    shown(schema, find(store, schema, name).await?, positions)
}

/// Replaces a query. Another name in the draft renames it.
///
/// # Errors
/// [`Kind::BuiltIn`], [`Kind::NotFound`], [`Kind::PreconditionFailed`]; those of [`create`].
pub async fn replace(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    draft: SavedQueryDraft,
    expected: &Expected,
    positions: PositionEncoding,
) -> Result<SavedQuery> {
    caller.require(Access::Write, schema)?;
    reject_built_in(schema, name)?;
    let row = row(schema, draft, positions)?;
    let stored = find(store, schema, name).await?;
    let written = store.update(saved_queries(), stored.id, &row, expected, timestamp_now()).await;
    match written.map_err(name_taken)? {
        Written::Done(stored) | Written::Unchanged(stored) => {
            shown(schema, stored.try_into()?, positions)
        }
        Written::Stale(_) | Written::Missing => Err(stale(store, schema, name, expected).await),
    }
}

/// Deletes a query.
///
/// # Errors
/// [`Kind::BuiltIn`], [`Kind::NotFound`], [`Kind::PreconditionFailed`],
/// [`Kind::InsufficientScope`]; any database error.
pub async fn delete(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    expected: &Expected,
) -> Result<()> {
    caller.require(Access::Write, schema)?;
    reject_built_in(schema, name)?;
    let stored = find(store, schema, name).await?;
    match store.delete(saved_queries(), stored.id, expected).await? {
        Written::Done(_) => Ok(()),
        _ => Err(stale(store, schema, name, expected).await),
    }
}

/// A request to run a saved query: a [`SearchRequest`] without filter and order.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The values of its parameters. Parameters with a default can be omitted.
    pub parameters: Arguments,
    /// The maximum number of records, as in [`SearchRequest`].
    pub limit: Option<i64>,
    /// The `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Whether to count the records of all pages.
    pub count: search::Count,
    /// Whether to explain an empty result.
    pub why: bool,
    /// The unit of positions in errors and warnings.
    pub positions: PositionEncoding,
}

/// Runs a query and returns one page of its records.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::QueryOutdated`] if the query is no longer valid; those of
/// [`search::search`].
pub async fn run(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    request: RunRequest,
) -> Result<Page> {
    let RunRequest { mut parameters, limit, cursor, count, why, positions } = request;
    let query = get(store, caller, schema, name, positions).await?;
    if !query.valid {
        let detail = format!("the saved query {name:?} is no longer valid: update it");
        let diagnostics = query.diagnostics;
        return Err(Error { diagnostics, ..Error::new(Kind::QueryOutdated, detail) });
    }
    for SavedParameter { name, default, .. } in query.parameters {
        if let Some(Any(default)) = default {
            parameters.entry(name).or_insert_with(|| default.into());
        }
    }
    let SavedQuery { filter, order_by, .. } = query;
    let filters = filter.into_iter().collect();
    let selection = Selection { within: None, filters, order_by, parameters, positions };
    search::page(store, schema, SearchRequest { selection, limit, cursor, count, why }).await
}

fn of_collection(schema: &Schema) -> Expr {
    let collection = Literal::Text(schema.collection.to_owned());
    Expr::compare("collection", Comparison::Equal, collection)
}

async fn find(store: &Store, schema: &Schema, name: &str) -> Result<StoredQuery> {
    let by_name = Expr::compare("name", Comparison::Equal, Literal::Text(name.to_owned()));
    let selection = Selection::within(Expr::all(vec![of_collection(schema), by_name]));
    let request = SearchRequest { selection, limit: Some(1), ..SearchRequest::default() };
    // A name that is not valid in a filter is the name of no query.
    let found = match search::page(store, saved_queries(), request).await {
        Err(error) if error.kind == Kind::InvalidQuery => None,
        found => found?.read()?.pop(),
    };
    found.ok_or_else(|| missing(schema, name))
}

fn missing(schema: &Schema, name: &str) -> Error {
    let collection = schema.collection;
    Error::new(Kind::NotFound, format!("unknown saved query {name:?} of {collection}"))
}

fn reject_built_in(schema: &'static Schema, name: &str) -> Result<()> {
    if built_in(schema).any(|query| query.name == name) {
        let detail = format!("{name:?} is built in and read-only: save a copy under another name");
        return Err(Error::new(Kind::BuiltIn, detail));
    }
    Ok(())
}

/// Returns why a write matched no query: it does not exist, or has another version.
async fn stale(store: &Store, schema: &Schema, name: &str, expected: &Expected) -> Error {
    match find(store, schema, name).await {
        Err(error) => error,
        // The query was deleted or renamed, and another one has its name now.
        Ok(_) if *expected == Expected::Any => missing(schema, name),
        Ok(query) => {
            let detail = format!("the query has version \"{}\" now", query.version);
            Error::new(Kind::PreconditionFailed, detail)
        }
    }
}

fn name_taken(mut error: Error) -> Error {
    if error.kind == Kind::Duplicate {
        error.detail = "a saved query with this name already exists".to_owned();
    }
    error
}
