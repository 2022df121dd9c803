//! The operations on saved queries for a collection. The placeholders `{record}` and `{records}` become the names
//! of the record type in the OpenAPI document.

use std::collections::BTreeMap;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::body::{
    Body, Created, Current, Field, Found, Input, Json, NoContent, Paged, Versioned, integer, json,
};
use super::caller::{TokenReader, Writer};
use super::conditional;
use super::filters::arguments;
use super::records::{Tag, next_url, unique_members};
use crate::app::App;
use crate::app::position::PositionEncoding;
use crate::app::saved::{self, RunRequest, SavedQuery, SavedQueryDraft, SavedQueryPage};
use crate::app::search::Count;
use crate::error::Result;

/// The operations on the saved queries for a collection.
pub(super) struct Operations;

#[OpenApi(prefix_path = QUERIES, tag = "Tag::Records")]
impl Operations {
    /// List saved queries for {records}
    ///
    /// Returns a page of saved queries in order of name. Every page also has the built-in queries.
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        caller: TokenReader,
        app: Data<&App>,
        /// The maximum number of saved queries per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the previous page.
        cursor: Query<Option<String>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<SavedQueryPage>> {
        let limit = limit.0.map(i64::from);
        saved::list(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            limit,
            cursor.0,
            position_encoding.0.unwrap_or_default(),
        )
        .await
        .map(Json)
    }

    /// Save a query for {records}
    ///
    /// Saves a query under a name and returns it. The types of its `$parameters` follow from the fields that
    /// they are compared with. Returns 400 `invalid_query` for an invalid filter or order, and 409 `duplicate`
    /// if the name exists.
    #[oai(path = "/", method = "post")]
    async fn create(
        &self,
        caller: Writer,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
        body: Body<SavedQueryDraft>,
    ) -> Result<Created<SavedQuery>> {
        let Writer { identity, schema, store } = caller;
        let positions = position_encoding.0.unwrap_or_default();
        let query = saved::create(&store, &identity, schema, body.0, positions).await?;
        let location = format!("{}/{}", schema.collection, query.name);
        Ok(Created { created: query, location })
    }

    /// Get a saved query for {records}
    ///
    /// Returns the query. `valid` is false if the query does not fit the current fields of the {records};
    /// `diagnostics` then lists the problems. Returns 404 `not_found` for an unknown name.
    #[oai(path = "/:name", method = "get")]
    async fn get(
        &self,
        caller: TokenReader,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Current<SavedQuery>> {
        let (store, positions) =
            (app.store_for(&caller.identity), position_encoding.0.unwrap_or_default());
        saved::get(&store, &caller.identity, caller.schema, &name.0, positions).await.map(Current)
    }

    /// Replace a saved query for {records}
    ///
    /// Replaces the query and returns it. Another `name` in the body renames the query. Returns 403 `built_in`
    /// for a built-in query, which is read-only, 409 `duplicate` if the new name exists, and 412
    /// `precondition_failed` if the query has changed since the version in `If-Match`.
    #[oai(path = "/:name", method = "put")]
    async fn replace(
        &self,
        caller: Writer,
        /// The name of the query.
        name: Path<String>,
        /// The ETag of the version to replace, or `*`. Required: 428 `precondition_required` without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
        body: Body<SavedQueryDraft>,
    ) -> Result<Current<SavedQuery>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let Writer { identity, schema, store } = caller;
        let positions = position_encoding.0.unwrap_or_default();
        saved::replace(&store, &identity, schema, &name.0, body.0, &expected, positions)
            .await
            .map(Current)
    }

    /// Delete a saved query for {records}
    ///
    /// Deletes the query and returns no content. Returns 403 `built_in` for a built-in query, which is
    /// read-only, and 412 `precondition_failed` if the query has changed since the version in `If-Match`.
    #[oai(path = "/:name", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        /// The name of the query.
        name: Path<String>,
        /// The ETag of the version to delete. Default: any version.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<NoContent> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        saved::delete(&caller.store, &caller.identity, caller.schema, &name.0, &expected).await?;
        Ok(NoContent)
    }

    /// Run a saved query for {records}
    ///
    /// Returns a page of matching {records}, as a search does. Pass values for the parameters of the query as
    /// query parameters named `p.NAME`; parameters with a default are optional. Returns 400 `invalid_query` for
    /// a missing or invalid value, and 409 `query_outdated` if the query does not fit the current fields.
    #[oai(path = "/:name/results", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn run(
        &self,
        caller: TokenReader,
        app: Data<&App>,
        request: &Request,
        /// The name of the query.
        name: Path<String>,
        /// The maximum number of {records} per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the previous page. The query and its parameters must be the same.
        cursor: Query<Option<String>>,
        /// Whether to count the {records} of all pages and return `total`.
        count: Query<Option<Count>>,
        /// Whether to explain an empty result in `why`.
        why: Query<Option<bool>>,
        /// The unit of positions in `diagnostics` and `warnings`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Paged> {
        let run = RunRequest {
            parameters: arguments(request),
            limit: limit.0.map(i64::from),
            cursor: cursor.0,
            count: count.0.unwrap_or_default(),
            why: why.0.unwrap_or_default(),
            positions: position_encoding.0.unwrap_or_default(),
        };
        let page = saved::run(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            &name.0,
            run,
        )
        .await?;
        let next = page.about.next_cursor.as_deref().map(|cursor| next_url(request, cursor));
        Ok(Paged { page, next })
    }

    /// Run a saved query for {records} with a JSON body
    ///
    /// Returns the same page as GET. Use it in generated clients, which do not know the names of `p.NAME` in
    /// advance. Returns 400 `invalid_query` for a missing or invalid value, and 409 `query_outdated` if the
    /// query does not fit the current fields.
    #[oai(path = "/:name/results", method = "post")]
    async fn run_with_body(
        &self,
        caller: TokenReader,
        app: Data<&App>,
        /// The name of the query.
        name: Path<String>,
        /// The unit of positions in `diagnostics` and `warnings`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
        body: Body<RunBody>,
    ) -> Result<Found> {
        let store = app.store_for(&caller.identity);
        let mut run = RunRequest::from(body.0);
        run.positions = position_encoding.0.unwrap_or_default();
        let page = saved::run(&store, &caller.identity, caller.schema, &name.0, run).await?;
        Ok(Found(page))
    }
}

/// The path of the saved queries for a collection. It is not below the path of the collection, where it would
/// conflict with the path of a record.
const QUERIES: &str = "/api/v1/queries/{records}";

/// A request to run a saved query.
#[derive(Object, Deserialize)]
#[oai(rename = "RunRequest")]
#[serde(deny_unknown_fields)]
struct RunBody {
    /// The maximum number of records per page.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    #[serde(default, deserialize_with = "integer")]
    limit: Option<i32>,
    /// `next_cursor` of the previous page. The query and its parameters must be the same.
    cursor: Option<String>,
    /// Whether to count the records of all pages and return `total`.
    count: Option<Count>,
    /// Whether to explain an empty result in `why`.
    why: Option<bool>,
    /// Values for the parameters of the query, by name. Parameters with a default are optional.
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
            ..Self::default()
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
        "The version of the query. Send it as `If-Match` to change the query. Absent for built-in queries.",
        false,
    );

    fn version(&self) -> Option<i64> {
        self.version
    }
}
