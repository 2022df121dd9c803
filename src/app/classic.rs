//! What the earlier service could do, on movies: the same checked queries as the language makes,
//! built by its constructors.

use chrono::NaiveDate;
use poem_openapi::Object;
use serde::Serialize;

use super::saved::{EXPIRED_BETWEEN, built_in_selection};
use super::selection::Selection;
use super::transfer::{Export, export};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Access, Identity};
use crate::query::ast::{Comparison, Expr, Literal, Matching};
use crate::query::{Argument, Arguments, Shape, compile};
use crate::record::{Draft, Movie, Record};
use crate::store::{Expected, Store};

/// The most movies of one title that are listed when one of them was meant.
const MAX_LISTED: u32 = 100;

/// How often a deletion begins anew because the movie was changed under it.
const ATTEMPTS: usize = 20;

/// A movie as the earlier service knew it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct ClassicMovie {
    /// The title.
    pub title: String,
    /// The main genre.
    pub genre: String,
    /// The year of the first release.
    pub release_year: i32,
    /// The last day on which the film may be shown.
    pub expiry_date: NaiveDate,
}

impl From<&Movie> for ClassicMovie {
    fn from(movie: &Movie) -> Self {
        Self {
            title: movie.title.clone(),
            genre: movie.genre.clone(),
            release_year: movie.release_year,
            expiry_date: movie.expiry_date,
        }
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
pub async fn all(store: &Store, caller: &Identity) -> Result<Export<Movie>> {
    export(store, caller, &Selection::default()).await
}

/// The movies that meet the criteria, in order of creation.
///
/// # Errors
/// As [`export`].
pub async fn find(store: &Store, caller: &Identity, criteria: Criteria) -> Result<Export<Movie>> {
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
    export(store, caller, &selection).await
}

/// The movies whose licence ends between two days, both included, in order of creation.
///
/// # Errors
/// [`Kind::InvalidParameter`] when the days are the wrong way round; as [`export`].
pub async fn expired(
    store: &Store,
    caller: &Identity,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Export<Movie>> {
    if from > to {
        let detail = format!("from must not lie after to: {from} is later than {to}");
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let days = [("from", from), ("to", to)];
    let days = days.map(|(name, day)| (name.to_owned(), Argument::Text(day.to_string())));
    let selection = built_in_selection(EXPIRED_BETWEEN, Arguments::from(days))?;
    export(store, caller, &selection).await
}

/// Creates a movie.
///
/// # Errors
/// [`Kind::InvalidRecord`] when there is one of that title and year; [`Kind::InsufficientScope`];
/// the database's.
pub async fn create(store: &Store, caller: &Identity, draft: &Draft<Movie>) -> Result<Movie> {
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
    title: &str,
    release_year: Option<i64>,
) -> Result<Movie> {
    caller.require(Access::Write, Movie::SCHEMA)?;
    let year = release_year.map(|year| equal("release_year", Literal::Integer(year)));
    let title_is = equal("title", Literal::Text(title.to_owned()));
    let within = Expr::all([title_is].into_iter().chain(year).collect());
    let selection = Selection::within(within);
    let query = selection.bind(&selection.prepare(Movie::SCHEMA)?, timestamp_now())?;
    for _ in 0..ATTEMPTS {
        let statement = compile(&query, Shape::Page { limit: MAX_LISTED }, store.dialect());
        let found: Vec<Movie> = store.fetch(statement).await?;
        let movie = match found.as_slice() {
            [] => {
                let of = release_year.map(|year| format!(" of {year}")).unwrap_or_default();
                let detail = format!("there is no movie with the title {title:?}{of}");
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            [movie] => movie,
            several => return Err(ambiguous(title, several)?),
        };
        let expected = Expected::Versions(vec![movie.version]);
        if let Some(deleted) = store.delete(movie.id, &expected).await? {
            return Ok(deleted);
        }
    }
    let detail = "the movie is changed again and again; try again".to_owned();
    Err(Error { detail, ..Error::unavailable("a deletion has lost every race") })
}

fn equal(field: &str, value: Literal) -> Expr {
    Expr::compare(field, Comparison::Equal, value)
}

fn ambiguous(title: &str, movies: &[Movie]) -> Result<Error> {
    let years: Vec<String> = movies.iter().map(|movie| movie.release_year.to_string()).collect();
    let detail = format!(
        "{} movies have the title {title:?}; give the release_year of one: {}",
        movies.len(),
        years.join(", ")
    );
    let records = movies.iter().map(|movie| serde_json::to_value(ClassicMovie::from(movie)));
    let records = records.collect::<std::result::Result<_, _>>().map_err(Error::internal)?;
    Ok(Error { records, ..Error::new(Kind::Ambiguous, detail) })
}
