//! What the earlier service could do, on movies: the same checked queries as the language makes,
//! built by its constructors.

use chrono::NaiveDate;
use poem_openapi::Object;
use serde::Serialize;

use super::saved::{EXPIRED_BETWEEN, built_in_selection};
use super::selection::Selection;
use super::transfer::{Export, Form, export};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Access, Identity};
use crate::query::ast::{Comparison, Expr, Literal, Matching};
use crate::query::{Argument, Arguments, Field, Schema, Shape, Type, Value, compile};
use crate::record::{Catalogue, Draft};
use crate::store::{Expected, Record, Store};

/// The most movies of one title that are listed when one of them was meant.
const MAX_LISTED: u32 = 100;

/// How often a deletion begins anew because the movie was changed under it.
const ATTEMPTS: usize = 20;

/// A list of movies as the earlier service wrote it.
const LIST: Form =
    Form::List { name: "movies", fields: &["title", "genre", "release_year", "expiry_date"] };

/// A movie as the earlier service knew it.
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

/// The record type that the routes of the earlier service are about, if the catalogue has it: a collection
/// `movies` with the fields of [`LegacyMovie`], and no other that must be written.
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
        let missing = || Error::internal("a movie lacks a field of the earlier service");
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

/// What a search of the earlier service may name; all of it must hold.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    /// A part of the title, indifferent to case.
    pub title: Option<String>,
    /// A part of the genre, indifferent to case.
    pub genre: Option<String>,
    /// The year.
    pub release_year: Option<i64>,
    /// The day.
    pub expiry_date: Option<NaiveDate>,
    /// A filter of the language.
    pub filter: Option<String>,
    /// Values for the `$parameters` of the filter.
    pub parameters: Arguments,
}

/// Every movie, in order of creation.
///
/// # Errors
/// As [`export`].
pub async fn all(store: &Store, caller: &Identity, schema: &'static Schema) -> Result<Export> {
    export(store, caller, schema, &Selection::default(), LIST).await
}

/// The movies that meet the criteria, in order of creation.
///
/// # Errors
/// As [`export`].
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
    let selection = Selection { within, filter, parameters, ..Selection::default() };
    export(store, caller, schema, &selection, LIST).await
}

/// The movies whose licence ends between two days, both included, in order of creation.
///
/// # Errors
/// [`Kind::InvalidParameter`] when the days are the wrong way round; as [`export`].
pub async fn expired(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Export> {
    if from > to {
        let detail = format!("from must not lie after to: {from} is later than {to}");
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let days = [("from", from), ("to", to)];
    let days = days.map(|(name, day)| (name.to_owned(), Argument::Text(day.to_string())));
    let selection = built_in_selection(EXPIRED_BETWEEN, Arguments::from(days))?;
    export(store, caller, schema, &selection, LIST).await
}

/// Creates a movie.
///
/// # Errors
/// [`Kind::InvalidRecord`] when there is one of that title and year; [`Kind::InsufficientScope`];
/// the database's.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft) -> Result<Record> {
    super::edit::create(store, caller, draft).await.map_err(|error| match error.kind {
        // The earlier service knew no 409 here.
        Kind::Duplicate => {
            let violation =
                Violation::new("title", "is taken in that year: the movie exists already");
            let detail = violation.to_string();
            Error { detail, cause: error.cause, ..Error::record(vec![violation]) }
        }
        _ => error,
    })
}

/// Deletes the one movie of that title, and of that year if one is given.
///
/// # Errors
/// [`Kind::InvalidParameter`] when there is none; [`Kind::Ambiguous`] when there are several, of
/// which none is deleted; [`Kind::InsufficientScope`]; the database's.
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
                let of = release_year.map(|year| format!(" of {year}")).unwrap_or_default();
                let detail = format!("there is no movie with the title {title:?}{of}");
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            [movie] => movie,
            several => return Err(ambiguous(title, several)?),
        };
        let expected = Expected::Versions(vec![movie.version()]);
        if let Some(deleted) = store.delete(schema, movie.id(), &expected).await? {
            return Ok(deleted);
        }
    }
    let detail = "the movie is changed again and again; try again".to_owned();
    Err(Error { detail, ..Error::unavailable("a deletion has lost every race") })
}

fn equal(field: &str, value: Literal) -> Expr {
    Expr::compare(field, Comparison::Equal, value)
}

fn ambiguous(title: &str, movies: &[Record]) -> Result<Error> {
    let movies: Vec<LegacyMovie> =
        movies.iter().map(LegacyMovie::try_from).collect::<Result<_>>()?;
    let years: Vec<String> = movies.iter().map(|movie| movie.release_year.to_string()).collect();
    let detail = format!(
        "{} movies have the title {title:?}; give the release_year of one: {}",
        movies.len(),
        years.join(", ")
    );
    let records = movies.iter().map(serde_json::to_value);
    let records = records.collect::<std::result::Result<_, _>>().map_err(Error::internal)?;
    Ok(Error { records, ..Error::new(Kind::Ambiguous, detail) })
}
