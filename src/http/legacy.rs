//! The legacy routes: those of the previous service, for its clients. docs/legacy.md lists the differences.

mod parameters;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::param::{Header, Query};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};

pub(super) use self::parameters::missing_json;
use self::parameters::{Body, Parameters};
use super::body::{Json, documented};
use super::caller::{Reader, Writer};
use super::filters::arguments;
use super::idempotency::{Retriable, unversioned};
use super::stream::streamed;
use crate::app::App;
use crate::app::legacy::{self, Criteria, LegacyMovie};
use crate::app::transfer::Export;
use crate::error::Result;
use crate::store::{Keyed, Reply, Written};

#[derive(Tags)]
enum Tag {
    /// The routes of the previous service, for its clients. Use `/api/v1` in new clients. A movie has four
    /// members here, lists are `{"movies": […]}`, and problems have the additional member `msg`.
    ///
    /// Send each parameter in the query string or as a member of a JSON body with
    /// `Content-Type: application/json`, also for GET. A parameter in both returns 400 `invalid_parameter`. Null
    /// and empty values count as absent. `release_year` can be 2000 or 2000.0. `expiry_date`, `from` and `to` can
    /// be `2024-01-05`, `2024/1/5` or a date-time, whose time and time zone are ignored.
    #[oai(rename = "legacy")]
    Legacy,
}

/// Returns the response to store for a creation.
fn created(written: &Written) -> Result<Option<Reply>> {
    match written {
        Written::Done(movie) => {
            unversioned(StatusCode::OK, &LegacyMovie::try_from(movie)?).map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Legacy")]
impl Operations {
    /// List all movies
    ///
    /// Returns all movies in order of creation, as one list without pages.
    #[oai(path = "/api", method = "get")]
    async fn list(&self, caller: Reader, app: Data<&App>) -> Result<Movies> {
        legacy::all(&app.store_for(&caller.identity), &caller.identity, caller.schema)
            .await
            .map(Movies)
    }

    /// Create a movie from parameters
    ///
    /// Creates a movie and returns it. All four parameters are required. Title and year together are unique: a
    /// duplicate returns 400 `invalid_record`, as do invalid values. A missing or malformed parameter returns 400
    /// `invalid_parameter`.
    #[oai(path = "/api", method = "post")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn create(
        &self,
        caller: Writer,
        mut body: Body,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        /// The title.
        title: Query<Option<String>>,
        /// The main genre.
        genre: Query<Option<String>>,
        /// The year of the first release.
        release_year: Query<Option<String>>,
        /// The last day on which the movie may be shown.
        expiry_date: Query<Option<String>>,
    ) -> Result<Retriable<Json<LegacyMovie>>> {
        let key = body.take_key();
        let draft = Parameters::new(
            body,
            [
                ("title", title),
                ("genre", genre),
                ("release_year", release_year),
                ("expiry_date", expiry_date),
            ],
        )
        .draft(caller.schema)?;
        let keyed = key.map(|key| Keyed { key, reply: Box::new(created) });
        let once = legacy::create(&caller.store, &caller.identity, &draft, keyed).await?;
        let once = once.try_map(|movie| LegacyMovie::try_from(&movie))?;
        Ok(Retriable::of(once, Json))
    }

    /// Delete a movie by title
    ///
    /// Deletes the movie with exactly this title and returns it. If several movies have the title, none is
    /// deleted, and the response is 409 `ambiguous` with the movies in `records`: send `release_year` too. If no
    /// movie matches, the response is 400 `invalid_parameter`.
    #[oai(path = "/api", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        body: Body,
        /// The exact title.
        title: Query<Option<String>>,
        /// The year of the first release. Required if several movies have the title.
        release_year: Query<Option<String>>,
    ) -> Result<Json<LegacyMovie>> {
        let mut parameters =
            Parameters::new(body, [("title", title), ("release_year", release_year)]);
        let (title, year) =
            (parameters.required("title", Parameters::text), parameters.year("release_year"));
        parameters.end()?;
        let movie =
            legacy::delete(&caller.store, &caller.identity, caller.schema, &title, year).await?;
        LegacyMovie::try_from(&movie).map(Json)
    }

    /// Search movies by fields
    ///
    /// Returns the movies that match all parameters of the request, or all movies without parameters, in order of
    /// creation. Pass values for the `$parameters` of the filter as query parameters named `p.NAME`. Returns 400
    /// `invalid_query` for an invalid filter, and 400 `invalid_parameter` for other invalid values.
    #[oai(path = "/api/search", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn search(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        body: Body,
        /// A part of the title, ignoring case.
        title: Query<Option<String>>,
        /// A part of the genre, ignoring case.
        genre: Query<Option<String>>,
        /// The year of the first release.
        release_year: Query<Option<String>>,
        /// The last day on which the movie may be shown.
        expiry_date: Query<Option<String>>,
        /// A filter of the filter language, at most 8 KiB.
        filter: Query<Option<String>>,
    ) -> Result<Movies> {
        let mut parameters = Parameters::new(
            body,
            [
                ("title", title),
                ("genre", genre),
                ("release_year", release_year),
                ("expiry_date", expiry_date),
                ("filter", filter),
            ],
        );
        let criteria = Criteria {
            title: parameters.text("title"),
            genre: parameters.text("genre"),
            release_year: parameters.year("release_year"),
            expiry_date: parameters.date("expiry_date"),
            filter: parameters.text("filter"),
            parameters: arguments(request),
        };
        parameters.end()?;
        legacy::find(&app.store_for(&caller.identity), &caller.identity, caller.schema, criteria)
            .await
            .map(Movies)
    }

    /// List movies by expiry date
    ///
    /// Returns the movies whose `expiry_date` is between two days, both included, in order of creation. Returns
    /// 400 `invalid_parameter` if a day is missing or malformed, or if `from` is after `to`.
    #[oai(path = "/api/expiredMovies", method = "get")]
    async fn expired(
        &self,
        caller: Reader,
        app: Data<&App>,
        body: Body,
        /// The first day. It must not be after `to`.
        from: Query<Option<String>>,
        /// The last day.
        to: Query<Option<String>>,
    ) -> Result<Movies> {
        let mut parameters = Parameters::new(body, [("from", from), ("to", to)]);
        let (from, to) = (
            parameters.required("from", Parameters::date),
            parameters.required("to", Parameters::date),
        );
        parameters.end()?;
        legacy::expired(&app.store_for(&caller.identity), &caller.identity, caller.schema, from, to)
            .await
            .map(Movies)
    }
}

/// A list of movies.
#[derive(Object)]
struct MovieList {
    /// The movies.
    movies: Vec<LegacyMovie>,
}

/// A list of movies that is streamed from the database.
struct Movies(Export);

impl ApiResponse for Movies {
    fn meta() -> MetaResponses {
        let list = Some(MovieList::schema_ref());
        MetaResponses { responses: vec![documented(200, list, &[])] }
    }

    fn register(registry: &mut Registry) {
        MovieList::register(registry);
    }
}

impl IntoResponse for Movies {
    fn into_response(self) -> Response {
        let body = streamed(self.0);
        Response::builder().content_type("application/json").body(body)
    }
}
