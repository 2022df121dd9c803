//! Saved queries: a filter and an order under a name, with parameters that are typed by their use.
//!
//! They are checked when they are saved and again when they are read, since the fields of a record
//! may change between. The service brings some of its own, which are read-only.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::search::{self, Page, SearchRequest};
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Access, Identity};
use crate::query::ast::{Comparison, Expr, Literal};
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::{MAX_DIAGNOSTICS, MAX_PREDICATES, MAX_TEXT_BYTES};
use crate::query::{Argument, Arguments, Diagnostic, Plan, Schema, Type, Value, prepare};
use crate::record::{Draft, Row, saved_queries};
use crate::store::{Expected, Record, Store};

/// The longest name, in characters.
const MAX_NAME: usize = 60;

/// The most queries of a page: each may be long.
const MAX_LISTED: u32 = 100;

/// The longest description of a query or a parameter, in characters.
const MAX_DESCRIPTION: usize = 500;

/// A query of the service's own.
struct BuiltIn {
    collection: &'static str,
    name: &'static str,
    description: &'static str,
    filter: &'static str,
    order_by: &'static str,
    /// Names of parameters, and what they are for.
    parameters: &'static [(&'static str, &'static str)],
}

/// The query that `/api/expiredMovies` runs.
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

/// What a saved query says of one of its parameters.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(skip_serializing_if_is_none)]
#[serde(deny_unknown_fields)]
pub struct SavedParameter {
    /// Its name, without the `$`.
    pub name: String,
    /// Its type, which follows from the field it is compared with. It need not be given.
    #[oai(rename = "type")]
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<Type>,
    /// What it is for.
    #[oai(validator(min_length = 1, max_length = 500))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its value where a request gives none; without it the parameter is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Any<Json>>,
}

/// A query to be saved.
#[derive(Debug, Clone, PartialEq, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedQueryDraft {
    /// The name, unique among the queries of the collection: small letters and digits, in words
    /// joined by `-`.
    #[oai(validator(max_length = 60, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub name: String,
    /// What it is for.
    #[oai(validator(min_length = 1, max_length = 500))]
    pub description: Option<String>,
    /// Which records; all when absent.
    #[oai(validator(min_length = 1, max_length = 8192))]
    pub filter: Option<String>,
    /// In which order; of creation when absent.
    #[oai(validator(min_length = 1, max_length = 8192))]
    pub order_by: Option<String>,
    /// Defaults and descriptions of the filter's `$parameters`, for those that have any.
    #[serde(default)]
    pub parameters: Option<Vec<SavedParameter>>,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SavedQuery {
    /// The name, unique among the queries of the collection.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which records; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// In which order; of creation when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// Its parameters, in the order of their use.
    pub parameters: Vec<SavedParameter>,
    /// Whether the service brings it: then it is read-only, and copied to be changed.
    pub built_in: bool,
    /// Whether it fits the records as they are now. It cannot be run when it does not.
    pub valid: bool,
    /// What keeps it from that.
    pub diagnostics: Vec<Diagnostic>,
    /// How often it has been written; the ETag. A built-in query has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// When it was created, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last written, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
}

/// A page of saved queries.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SavedQueryPage {
    /// Those that were saved, by name.
    pub items: Vec<SavedQuery>,
    /// Those of the service's own, on every page.
    pub built_in: Vec<SavedQuery>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A query by its name, before it is known whether it fits the records.
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

/// A query as it is stored.
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
    /// As clients see it: its parameters are those that its filter uses, with what is said of them.
    fn shown(self, schema: &'static Schema, stored: Option<&StoredQuery>) -> SavedQuery {
        let checked = prepare(self.filter.as_deref(), self.order_by.as_deref(), schema);
        let (parameters, diagnostics) = match checked {
            Ok(prepared) => (self.typed(&prepared.plan), Vec::new()),
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
            let said = self.parameters.iter().find(|said| said.name == used.name);
            SavedParameter {
                name: used.name.clone(),
                ty: Some(used.term.ty()),
                description: said.and_then(|said| said.description.clone()),
                default: said.and_then(|said| said.default.clone()),
            }
        });
        used.collect()
    }
}

/// The queries of the service's own on a collection, as far as they fit its fields.
fn built_in(schema: &'static Schema) -> impl Iterator<Item = &'static BuiltIn> {
    let fits =
        move |query: &&BuiltIn| prepare(Some(query.filter), Some(query.order_by), schema).is_ok();
    BUILT_IN.iter().filter(|query| query.collection == schema.collection).filter(fits)
}

/// What a query of the service's own asks for, to be run with these values.
///
/// # Errors
/// A name that is not in the table: a defect.
pub fn built_in_selection(name: &str, parameters: Arguments) -> Result<Selection> {
    let query = BUILT_IN.iter().find(|query| query.name == name);
    let query = query.ok_or_else(|| Error::internal(format!("there is no query {name}")))?;
    Ok(Selection { parameters, ..Selection::filter(query.filter) })
}

/// Lists the queries on a type of record.
///
/// # Errors
/// [`Kind::InvalidParameter`] for a limit out of range, [`Kind::InvalidCursor`],
/// [`Kind::InsufficientScope`]; the database's.
pub async fn list(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    limit: Option<i64>,
    cursor: Option<String>,
) -> Result<SavedQueryPage> {
    caller.require(Access::Read, schema)?;
    let selection =
        Selection { order_by: Some("name".to_owned()), ..Selection::within(of_collection(schema)) };
    let limit = search::limit(limit)?;
    if limit > MAX_LISTED {
        let detail = format!("limit must lie between 1 and {MAX_LISTED}, and is {limit}");
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let limit = Some(i64::from(limit));
    let request = SearchRequest { selection, limit, cursor, ..SearchRequest::default() };
    let page = search::page(store, saved_queries(), request).await?;
    let items = page.read()?.into_iter().map(|stored| shown(schema, stored));
    Ok(SavedQueryPage {
        items: items.collect::<Result<_>>()?,
        built_in: built_in(schema).map(|q| Named::from(q).shown(schema, None)).collect(),
        next_cursor: page.about.next_cursor,
    })
}

fn shown(schema: &'static Schema, stored: StoredQuery) -> Result<SavedQuery> {
    Ok(Named::try_from(stored.clone())?.shown(schema, Some(&stored)))
}

/// Saves a new query.
///
/// # Errors
/// [`Kind::InvalidQuery`] when filter or order do not fit the records; [`Kind::InvalidRecord`] for
/// its name, description and parameters; [`Kind::Duplicate`], [`Kind::InsufficientScope`]; the
/// database's.
pub async fn create(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    draft: SavedQueryDraft,
) -> Result<SavedQuery> {
    caller.require(Access::Write, schema)?;
    let draft = Draft::of(saved_queries(), checked(schema, draft)?);
    let stored = store.insert(Uuid::now_v7(), &draft, timestamp_now()).await;
    shown(schema, stored.map_err(name_taken)?.try_into()?)
}

/// Reads a query.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; the database's.
pub async fn get(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
) -> Result<SavedQuery> {
    caller.require(Access::Read, schema)?;
    if let Some(query) = built_in(schema).find(|query| query.name == name) {
        return Ok(Named::from(query).shown(schema, None));
    }
    shown(schema, find(store, schema, name).await?)
}

/// Replaces a query. With another name in the draft it is renamed.
///
/// # Errors
/// [`Kind::BuiltIn`], [`Kind::NotFound`], [`Kind::PreconditionFailed`]; as [`create`].
pub async fn replace(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    draft: SavedQueryDraft,
    expected: &Expected,
) -> Result<SavedQuery> {
    caller.require(Access::Write, schema)?;
    refuse_built_in(schema, name)?;
    let row = checked(schema, draft)?;
    let stored = find(store, schema, name).await?;
    let written = store.update(saved_queries(), stored.id, &row, expected, timestamp_now()).await;
    match written.map_err(name_taken)? {
        Some(stored) => shown(schema, stored.try_into()?),
        None => Err(stale(store, schema, name, expected).await),
    }
}

/// Deletes a query.
///
/// # Errors
/// [`Kind::BuiltIn`], [`Kind::NotFound`], [`Kind::PreconditionFailed`],
/// [`Kind::InsufficientScope`]; the database's.
pub async fn delete(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    expected: &Expected,
) -> Result<()> {
    caller.require(Access::Write, schema)?;
    refuse_built_in(schema, name)?;
    let stored = find(store, schema, name).await?;
    match store.delete(saved_queries(), stored.id, expected).await? {
        Some(_) => Ok(()),
        None => Err(stale(store, schema, name, expected).await),
    }
}

/// How a query is run: as [`SearchRequest`], without what the query itself says.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Values for its parameters; those that have defaults may be left out.
    pub parameters: Arguments,
    /// As in a search.
    pub limit: Option<i64>,
    /// As in a search.
    pub cursor: Option<String>,
    /// As in a search.
    pub count: search::Count,
    /// As in a search.
    pub why: bool,
}

/// Runs a query: one page of what it finds.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::QueryOutdated`] when it does not fit the records any more; as
/// [`search::search`].
pub async fn run(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    name: &str,
    request: RunRequest,
) -> Result<Page> {
    let query = get(store, caller, schema, name).await?;
    if !query.valid {
        let detail = format!("the saved query {name} does not fit the records any more; edit it");
        let diagnostics = query.diagnostics;
        return Err(Error { diagnostics, ..Error::new(Kind::QueryOutdated, detail) });
    }
    let RunRequest { mut parameters, limit, cursor, count, why } = request;
    for SavedParameter { name, default, .. } in query.parameters {
        if let Some(Any(default)) = default {
            parameters.entry(name).or_insert_with(|| default.into());
        }
    }
    let SavedQuery { filter, order_by, .. } = query;
    let selection = Selection { within: None, filter, order_by, parameters };
    search::page(store, schema, SearchRequest { selection, limit, cursor, count, why }).await
}

/// The row of a draft that obeys every rule.
fn checked(schema: &'static Schema, draft: SavedQueryDraft) -> Result<Row> {
    let mut violations = Vec::new();
    let mut refuse = |member: &str, detail: String| {
        if violations.len() < MAX_DIAGNOSTICS {
            violations.push(Violation::at(format!("/{member}"), detail));
        }
    };
    let SavedQueryDraft { name, description, filter, order_by, parameters } = draft;
    let parameters = parameters.unwrap_or_default();
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() > MAX_NAME || !name.split('-').all(is_word) {
        let rule = "must be words of small letters and digits joined by `-`";
        refuse("name", format!("{rule}, at most {MAX_NAME} characters"));
    }
    if filter.is_none() && order_by.is_none() {
        refuse("filter", "is missing, and so is order_by: there is nothing to save".to_owned());
    }
    let descriptions = [("description".to_owned(), &description)].into_iter().chain(
        parameters.iter().enumerate().take(MAX_PREDICATES).map(|(position, parameter)| {
            (format!("parameters/{position}/description"), &parameter.description)
        }),
    );
    for (pointer, description) in descriptions {
        let Some(description) = description else { continue };
        if description.chars().any(char::is_control) {
            refuse(&pointer, "cannot hold control characters".to_owned());
        } else if !(1..=MAX_DESCRIPTION).contains(&description.chars().count()) {
            refuse(&pointer, format!("must have 1 to {MAX_DESCRIPTION} characters"));
        }
    }
    let prepared = match prepare(filter.as_deref(), order_by.as_deref(), schema) {
        Ok(prepared) => prepared,
        Err(diagnostics) => return Err(Error { violations, ..Error::query(diagnostics) }),
    };
    let count = prepared.plan.parameters.len();
    if parameters.len() > count {
        let said = parameters.len();
        refuse("parameters", format!("has {said} items, and the filter has {count} parameters"));
        return Err(Error::record(violations));
    }
    for (position, said) in parameters.iter().enumerate() {
        let pointer = |member: &str| format!("parameters/{position}/{member}");
        let used = &prepared.plan.parameters;
        let Some(parameter) = used.iter().find(|used| used.name == said.name) else {
            let help = did_you_mean(&said.name, used.iter().map(|used| used.name.as_str()));
            let name = &said.name;
            refuse(&pointer("name"), format!("{name:?} is no parameter of the filter; {help}"));
            continue;
        };
        if parameters.iter().take(position).any(|earlier| earlier.name == said.name) {
            refuse(&pointer("name"), "is there already".to_owned());
        }
        let ty = parameter.term.ty();
        if said.ty.is_some_and(|said| said != ty) {
            refuse(&pointer("type"), format!("follows from its use, and is {}", ty.as_str()));
        }
        if let Some(Any(default)) = &said.default
            && let Err(fault) = parameter.read(&Argument::from(default.clone()))
        {
            refuse(&pointer("default"), format!("is not {}: {}", ty.with_article(), fault.message));
        }
    }
    let parameters = serde_json::to_string(&parameters).map_err(Error::internal)?;
    if parameters.len() > MAX_PARAMETERS_BYTES {
        refuse("parameters", format!("take more than {MAX_PARAMETERS_BYTES} bytes of JSON"));
    }
    if !violations.is_empty() {
        return Err(Error::record(violations));
    }
    if built_in(schema).any(|query| query.name == name) {
        let detail = format!("{name} is a query of the service's own");
        return Err(Error::new(Kind::Duplicate, detail));
    }
    let collection = Some(schema.collection.to_owned());
    let texts = [collection, Some(name), description, filter, order_by, Some(parameters)];
    // As they were sent, and not in NFC like the texts of records: places in them are told in bytes,
    // and nobody compares them.
    let values = texts.map(|text| text.map(Value::Text));
    Ok(saved_queries().writable().zip(values).collect())
}

/// The most that is kept of parameters, in bytes of JSON.
const MAX_PARAMETERS_BYTES: usize = 2 * MAX_TEXT_BYTES;

fn of_collection(schema: &Schema) -> Expr {
    let collection = Literal::Text(schema.collection.to_owned());
    Expr::compare("collection", Comparison::Equal, collection)
}

async fn find(store: &Store, schema: &Schema, name: &str) -> Result<StoredQuery> {
    let by_name = Expr::compare("name", Comparison::Equal, Literal::Text(name.to_owned()));
    let selection = Selection::within(Expr::all(vec![of_collection(schema), by_name]));
    let request = SearchRequest { selection, limit: Some(1), ..SearchRequest::default() };
    // A name that no text can hold is the name of none.
    let found = match search::page(store, saved_queries(), request).await {
        Err(error) if error.kind == Kind::InvalidQuery => None,
        found => found?.read()?.pop(),
    };
    found.ok_or_else(|| missing(schema, name))
}

fn missing(schema: &Schema, name: &str) -> Error {
    let collection = schema.collection;
    Error::new(Kind::NotFound, format!("{collection} have no saved query {name:?}"))
}

fn refuse_built_in(schema: &'static Schema, name: &str) -> Result<()> {
    if built_in(schema).any(|query| query.name == name) {
        let detail = format!("{name} is the service's own: save a copy under another name");
        return Err(Error::new(Kind::BuiltIn, detail));
    }
    Ok(())
}

/// Why a write has found nothing: the query is gone, or of another version.
async fn stale(store: &Store, schema: &Schema, name: &str, expected: &Expected) -> Error {
    match find(store, schema, name).await {
        Err(error) => error,
        // Another has taken its name since; the one that was meant is gone.
        Ok(_) if *expected == Expected::Any => missing(schema, name),
        Ok(query) => {
            let detail = format!("the query is at version \"{}\" now", query.version);
            Error::new(Kind::PreconditionFailed, detail)
        }
    }
}

fn name_taken(mut error: Error) -> Error {
    if error.kind == Kind::Duplicate {
        error.detail = "there is a saved query of that name already".to_owned();
    }
    error
}
