//! The routes of the earlier service, as its clients use them. docs/legacy.md lists where they
//! differ from what that service did.

mod given;

use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::param::Query;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};

pub(super) use self::given::missing_json;
use self::given::{Body, Given};
use super::body::{Json, documented};
use super::caller::{Reader, Writer};
use super::records::arguments;
use super::stream::streamed;
use crate::app::App;
use crate::app::legacy::{self, Criteria, LegacyMovie};
use crate::app::transfer::Export;
use crate::error::Result;

#[derive(Tags)]
enum Tag {
    /// The routes of the earlier service, for its clients. A movie has four members here, lists are
    /// `{"movies": […]}`, and errors carry `msg` beside the members of a problem. Each parameter may
    /// also be a member of a JSON body, on GET too, with `Content-Type: application/json`; one that
    /// is given in both places is refused. Null and empty are as good as absent. `release_year` may
    /// be written 2000 or 2000.0; `expiry_date`, `from` and `to` as `2024-01-05`, `2024/1/5` or a
    /// date-time, whose date counts as it is written.
    #[oai(rename = "legacy")]
    Legacy,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Legacy")]
impl Operations {
    /// List all movies
    ///
    /// Every movie in order of creation, as one list, however long it is.
    #[oai(path = "/api", method = "get")]
    async fn list(&self, caller: Reader, app: Data<&App>) -> Result<Movies> {
        legacy::all(&app.store_for(&caller.identity), &caller.identity, caller.schema)
            .await
            .map(Movies)
    }

    /// Create a movie from parameters
    ///
    /// All four parameters are needed. Of one title and year there is one movie.
    #[oai(path = "/api", method = "post")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn create(
        &self,
        caller: Writer,
        app: Data<&App>,
        body: Body,
        /// The title.
        title: Query<Option<String>>,
        /// The main genre.
        genre: Query<Option<String>>,
        /// The year of the first release.
        release_year: Query<Option<String>>,
        /// The last day on which the movie may be shown.
        expiry_date: Query<Option<String>>,
    ) -> Result<Json<LegacyMovie>> {
        let draft = Given::new(
            body,
            [
                ("title", title),
                ("genre", genre),
                ("release_year", release_year),
                ("expiry_date", expiry_date),
            ],
        )
        .draft(caller.schema)?;
        let movie =
            legacy::create(&app.store_for(&caller.identity), &caller.identity, &draft).await?;
        LegacyMovie::try_from(&movie).map(Json)
    }

    /// Delete a movie by its title
    ///
    /// When several movies have that title none is deleted: `release_year` says which is meant. The
    /// title is exact.
    #[oai(path = "/api", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        app: Data<&App>,
        body: Body,
        /// The title, as it is.
        title: Query<Option<String>>,
        /// The year, where the title alone is not enough.
        release_year: Query<Option<String>>,
    ) -> Result<Json<LegacyMovie>> {
        let mut given = Given::new(body, [("title", title), ("release_year", release_year)]);
        let (title, year) = (given.required("title", Given::text), given.year("release_year"));
        given.end()?;
        let movie = legacy::delete(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            &title,
            year,
        )
        .await?;
        LegacyMovie::try_from(&movie).map(Json)
    }

    /// Search movies by their fields
    ///
    /// Any, some, all or none of the parameters; all that are given must hold. The values of the
    /// filter's `$parameters` are given as query parameters named `p.NAME`.
    #[oai(path = "/api/search", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn search(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        body: Body,
        /// A part of the title, in upper or lower case.
        title: Query<Option<String>>,
        /// A part of the genre, in upper or lower case.
        genre: Query<Option<String>>,
        /// The year of the first release.
        release_year: Query<Option<String>>,
        /// The last day on which the movie may be shown.
        expiry_date: Query<Option<String>>,
        /// A filter of the language. At most 8 KiB.
        filter: Query<Option<String>>,
    ) -> Result<Movies> {
        let mut given = Given::new(
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
            title: given.text("title"),
            genre: given.text("genre"),
            release_year: given.year("release_year"),
            expiry_date: given.date("expiry_date"),
            filter: given.text("filter"),
            parameters: arguments(request),
        };
        given.end()?;
        legacy::find(&app.store_for(&caller.identity), &caller.identity, caller.schema, criteria)
            .await
            .map(Movies)
    }

    /// List the movies whose licence ends between two days
    ///
    /// Both days are needed, and both are included.
    #[oai(path = "/api/expiredMovies", method = "get")]
    async fn expired(
        &self,
        caller: Reader,
        app: Data<&App>,
        body: Body,
        /// The first day, not after the last.
        from: Query<Option<String>>,
        /// The last day.
        to: Query<Option<String>>,
    ) -> Result<Movies> {
        let mut given = Given::new(body, [("from", from), ("to", to)]);
        let (from, to) = (given.required("from", Given::date), given.required("to", Given::date));
        given.end()?;
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

/// The same, written while it is read.
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
