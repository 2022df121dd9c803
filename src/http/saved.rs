//! The operations on saved queries of one type of record. In the specification `{record}` and
//! `{records}` stand for its names.

use std::collections::BTreeMap;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::body::{
    Body, Created, Current, Field, Found, Input, Json, NoContent, Paged, Versioned, json,
};
use super::caller::{Reader, Writer};
use super::conditional;
use super::records::{Tag, arguments, next_address, unique_members};
use crate::app::App;
use crate::app::saved::{self, RunRequest, SavedQuery, SavedQueryDraft, SavedQueryPage};
use crate::app::search::Count;
use crate::error::Result;

/// The operations on the saved queries of one type of record.
pub(super) struct Operations;

#[OpenApi(prefix_path = QUERIES, tag = "Tag::Records")]
impl Operations {
    /// List the saved queries on {records}
    ///
    /// Those that were saved come a page at a time, by name; those that the service brings come with
    /// every page.
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<SavedQueryPage>> {
        let limit = limit.0.map(i64::from);
        saved::list(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            limit,
            cursor.0,
        )
        .await
        .map(Json)
    }

    /// Save a query on {records}
    ///
    /// Filter and order are checked; the types of the `$parameters` follow from the fields they are
    /// compared with.
    #[oai(path = "/", method = "post")]
    async fn create(
        &self,
        caller: Writer,
        app: Data<&App>,
        body: Body<SavedQueryDraft>,
    ) -> Result<Created<SavedQuery>> {
        let query = saved::create(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            body.0,
        )
        .await?;
        let location = format!("{}/{}", caller.schema.collection, query.name);
        Ok(Created { created: query, location })
    }

    /// Read a saved query on {records}
    ///
    /// It says whether it fits the records as they are now, and what keeps it from that.
    #[oai(path = "/:name", method = "get")]
    async fn get(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
    ) -> Result<Current<SavedQuery>> {
        saved::get(&app.store_for(&caller.identity), &caller.identity, caller.schema, &name.0)
            .await
            .map(Current)
    }

    /// Replace a saved query on {records}
    ///
    /// With another `name` in the body it is renamed. Those that the service brings are read-only.
    #[oai(path = "/:name", method = "put")]
    async fn replace(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
        /// The ETag of the version that is replaced, or `*`. Required: 428 without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Body<SavedQueryDraft>,
    ) -> Result<Current<SavedQuery>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let store = app.store_for(&caller.identity);
        saved::replace(&store, &caller.identity, caller.schema, &name.0, body.0, &expected)
            .await
            .map(Current)
    }

    /// Delete a saved query on {records}
    ///
    /// Those that the service brings are read-only.
    #[oai(path = "/:name", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
        /// The ETag of the version that is deleted; whichever there is when absent.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<NoContent> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        saved::delete(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            &name.0,
            &expected,
        )
        .await?;
        Ok(NoContent)
    }

    /// Run a saved query on {records}
    ///
    /// Finds {records} as a search does, a page at a time. Values for its parameters are given as
    /// query parameters named `p.NAME`; those that have defaults may be left out.
    #[oai(path = "/:name/results", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn run(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The name of the query.
        name: Path<String>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the page before. The query and its parameters must stay the same.
        cursor: Query<Option<String>>,
        /// Whether to count the {records} of all pages.
        count: Query<Option<Count>>,
        /// Whether to say why, should nothing be found.
        why: Query<Option<bool>>,
    ) -> Result<Paged> {
        let run = RunRequest {
            parameters: arguments(request),
            limit: limit.0.map(i64::from),
            cursor: cursor.0,
            count: count.0.unwrap_or_default(),
            why: why.0.unwrap_or_default(),
        };
        let page = saved::run(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            &name.0,
            run,
        )
        .await?;
        let next = page.about.next_cursor.as_deref().map(|cursor| next_address(request, cursor));
        Ok(Paged { page, next })
    }

    /// Run a saved query on {records} with a JSON body
    ///
    /// The same as GET, for generated clients, which cannot know the names of `p.NAME`.
    #[oai(path = "/:name/results", method = "post")]
    async fn run_with_body(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
        body: Body<RunBody>,
    ) -> Result<Found> {
        let store = app.store_for(&caller.identity);
        let run = body.0.into();
        let page = saved::run(&store, &caller.identity, caller.schema, &name.0, run).await?;
        Ok(Found(page))
    }
}

/// The path of the saved queries on a collection. Below the collection itself it could be taken for that of a
/// record.
const QUERIES: &str = "/api/v1/queries/{records}";

/// How a saved query is run.
#[derive(Object, Deserialize)]
#[oai(rename = "RunRequest")]
#[serde(deny_unknown_fields)]
struct RunBody {
    /// How many at most.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    limit: Option<i32>,
    /// `next_cursor` of the page before. The query and its parameters must stay the same.
    cursor: Option<String>,
    /// Whether to count the records of all pages.
    count: Option<Count>,
    /// Whether to say why, should nothing be found.
    why: Option<bool>,
    /// Values for its parameters, by name; those that have defaults may be left out.
    #[serde(default, deserialize_with = "unique_members")]
    parameters: Option<BTreeMap<String, Any<serde_json::Value>>>,
}

impl From<RunBody> for RunRequest {
    fn from(body: RunBody) -> Self {
        let parameters = body.parameters.unwrap_or_default().into_iter();
        Self {
            parameters: parameters.map(|(name, Any(json))| (name, json.into())).collect(),
            limit: body.limit.map(i64::from),
            cursor: body.cursor,
            count: body.count.unwrap_or_default(),
            why: body.why.unwrap_or_default(),
        }
    }
}

impl Input for RunBody {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

impl Input for SavedQueryDraft {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

impl Versioned for SavedQuery {
    const NAME: &'static str = "query";
    const TAG: Field = (
        "ETag",
        "The version, to be sent in If-Match; absent from those that the service brings.",
        false,
    );

    fn version(&self) -> Option<i64> {
        self.version
    }
}
