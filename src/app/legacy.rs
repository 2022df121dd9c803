//! The capabilities of the legacy routes, on movies. They build syntax trees of the filter language, which are
//! checked like parsed filters.

use chrono::NaiveDate;
use poem_openapi::Object;
use serde::Serialize;

use super::saved::{EXPIRED_BETWEEN, built_in_selection};
use super::selection::Selection;
use super::transfer::{Export, Form, export};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, There, Violation};
use crate::identity::{Access, Identity};
use crate::query::ast::{Comparison, Expr, Literal, Matching};
use crate::query::{Argument, Arguments, Field, Schema, Shape, Type, Value, compile};
use crate::record::{Catalogue, Draft};
use crate::store::{Expected, Keyed, Once, Record, Store, Written};

/// The maximum number of movies that an error for an ambiguous title lists.
const MAX_LISTED: u32 = 100;

/// The maximum number of attempts to delete a movie that other requests change at the same time.
const ATTEMPTS: usize = 20;

/// The format of a list of movies in the previous service.
const LIST: Form =
    Form::List { name: "movies", fields: &["title", "genre", "release_year", "expiry_date"] };

/// A movie with the four fields of the legacy routes.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct LegacyMovie {
    /// The title.
    pub title: String,
    /// The main genre.
    pub genre: String,
    /// The year of the first release.
    pub release_year: i32,
    /// The last day on which the movie may be shown.
    pub expiry_date: NaiveDate,
}

/// Returns the record type of the legacy routes, if the catalogue has it: a collection `movies` that has the fields
/// of [`LegacyMovie`], and no other required field.
pub fn movies(catalogue: Catalogue) -> Option<&'static Schema> {
    const FIELDS: [(&str, Type); 4] = [
        ("title", Type::Text),
        ("genre", Type::Text),
        ("release_year", Type::Integer),
        ("expiry_date", Type::Date),
    ];
    let schema = catalogue.find("movies")?;
    let has = |name: &str, ty: Type| {
        schema.field(name).is_some_and(|field| {
            field.ty == ty
                && field.writable
                && !field.nullable
                && (field.searchable || ty != Type::Text)
        })
    };
    let is_legacy = |name: &str| FIELDS.iter().any(|(legacy, _)| *legacy == name);
    let needs_more = |field: &'static Field| {
        !is_legacy(field.name) && !field.nullable && field.default.is_none()
    };
    let fits = FIELDS.iter().all(|(name, ty)| has(name, *ty)) && !schema.declared().any(needs_more);
    fits.then_some(schema)
}

impl TryFrom<&Record> for LegacyMovie {
    type Error = Error;

    fn try_from(record: &Record) -> Result<Self> {
        let missing = || Error::internal("a movie lacks a field of the legacy routes");
        let text = |name| match record.value(name) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(missing()),
        };
        let (release_year, expiry_date) =
            match (record.value("release_year"), record.value("expiry_date")) {
                (Some(Value::Integer(year)), Some(Value::Date(date))) => (*year, *date),
                _ => return Err(missing()),
            };
        let release_year = i32::try_from(release_year).map_err(Error::internal)?;
        Ok(Self { title: text("title")?, genre: text("genre")?, release_year, expiry_date })
    }
}

/// The criteria of a legacy search. A movie must match all of them.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    /// A part of the title, ignoring case.
    pub title: Option<String>,
    /// A part of the genre, ignoring case.
    pub genre: Option<String>,
    /// The year of the first release.
    pub release_year: Option<i64>,
    /// The last day on which the movie may be shown.
    pub expiry_date: Option<NaiveDate>,
    /// A filter of the filter language.
    pub filter: Option<String>,
    /// Values for the `$parameters` of the filter.
    pub parameters: Arguments,
}

/// Returns all movies, in order of creation.
///
/// # Errors
/// The errors of [`export`].
pub async fn all(store: &Store, caller: &Identity, schema: &'static Schema) -> Result<Export> {
    export(store, caller, schema, &Selection::default(), LIST, &[]).await
}

/// Returns the movies that match the criteria, in order of creation.
///
/// # Errors
/// The errors of [`export`].
pub async fn find(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    criteria: Criteria,
) -> Result<Export> {
    let Criteria { title, genre, release_year, expiry_date, filter, parameters } = criteria;
    let part = |field, text: Option<String>| {
        text.map(|text| Expr::matching(field, Matching::Contains, &text))
    };
    let terms: Vec<Expr> = [
        part("title", title),
        part("genre", genre),
        release_year.map(|year| equal("release_year", Literal::Integer(year))),
        expiry_date.map(|date| equal("expiry_date", Literal::Date(date))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let within = (!terms.is_empty()).then(|| Expr::all(terms));
    let filters = filter.into_iter().collect();
    let selection = Selection { within, filters, parameters, ..Selection::default() };
    export(store, caller, schema, &selection, LIST, &[]).await
}

/// Returns the movies whose expiry date is between two days, both included, in order of creation.
///
/// # Errors
/// [`Kind::InvalidParameter`] if `from` is after `to`; the errors of [`export`].
pub async fn expired(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Export> {
    if from > to {
        let detail = format!(
            "expected from on or before to; found from={from}, which is later than to={to}"
        );
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let days = [("from", from), ("to", to)];
    let days = days.map(|(name, day)| (name.to_owned(), Argument::Text(day.to_string())));
    let selection = built_in_selection(EXPIRED_BETWEEN, Arguments::from(days))?;
    export(store, caller, schema, &selection, LIST, &[]).await
}

/// Creates a movie, once for an idempotency key.
///
/// # Errors
/// [`Kind::InvalidRecord`] if a movie with this title and year exists; [`Kind::InsufficientScope`]; any error of
/// the database.
pub async fn create(
    store: &Store,
    caller: &Identity,
    draft: &Draft,
    keyed: Option<Keyed<Written>>,
) -> Result<Once<Record>> {
    super::edit::create_once(store, caller, draft, keyed).await.map_err(|error| match error.kind {
        // The previous service returned 400 for a duplicate.
        Kind::Duplicate => {
            let violation = Violation::new("title", "already exists for this release_year");
            let detail = violation.to_string();
            Error { detail, cause: error.cause, ..Error::record(vec![violation]) }
        }
        _ => error,
    })
}

/// Deletes the movie with this title, and with this year if there is one.
///
/// # Errors
/// [`Kind::InvalidParameter`] if no movie matches; [`Kind::Ambiguous`] if several match, and then none is
/// deleted; [`Kind::InsufficientScope`]; any error of the database.
pub async fn delete(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    title: &str,
    release_year: Option<i64>,
) -> Result<Record> {
    caller.require(Access::Write, schema)?;
    let year = release_year.map(|year| equal("release_year", Literal::Integer(year)));
    let title_is = equal("title", Literal::Text(title.to_owned()));
    let within = Expr::all([title_is].into_iter().chain(year).collect());
    let selection = Selection::within(within);
    let query = selection.bind(&selection.prepare(schema)?, timestamp_now())?;
    for _ in 0..ATTEMPTS {
        let statement = compile(&query, Shape::Page { limit: MAX_LISTED }, store.dialect());
        let found = store.fetch(schema, statement).await?;
        let movie = match found.as_slice() {
            [] => {
                let of = release_year
                    .map(|year| format!(" and the release_year {year}"))
                    .unwrap_or_default();
                let detail = format!("no movie has the title {title:?}{of}");
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            [movie] => movie,
            several => return Err(ambiguous(title, several)?),
        };
        let expected = Expected::Versions(vec![movie.version()]);
        if let Written::Done(deleted) = store.delete(schema, movie.id(), &expected).await? {
            return Ok(deleted);
        }
    }
    let detail = "other requests keep changing the movie; retry".to_owned();
    Err(Error {
        detail,
        ..Error::unavailable(
            "a deletion failed: other requests changed the movie before each attempt",
        )
    })
}

fn equal(field: &str, value: Literal) -> Expr {
    Expr::compare(field, Comparison::Equal, value)
}

fn ambiguous(title: &str, movies: &[Record]) -> Result<Error> {
    let movies: Vec<LegacyMovie> =
        movies.iter().map(LegacyMovie::try_from).collect::<Result<_>>()?;
    let years: Vec<String> = movies.iter().map(|movie| movie.release_year.to_string()).collect();
    let detail = format!(
        "{} movies have the title {title:?}; send the release_year of one: {}",
        movies.len(),
        years.join(", ")
    );
    let records = movies.iter().map(serde_json::to_value);
    let records = records.collect::<std::result::Result<_, _>>().map_err(Error::internal)?;
    let there = Some(Box::new(There::Several(records)));
    Ok(Error { there, ..Error::new(Kind::Ambiguous, detail) })
}
