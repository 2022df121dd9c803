//! The operations for editors of queries: schema, check, explain and complete.

use poem::Request;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::{OpenApi, Tags};

use super::body::Json;
use super::caller::{SomeReader, SomeTokenReader, Visitor};
use super::filters::{Filters, arguments};
use crate::app::App;
use crate::app::inspect::{self, CatalogueSchema, Check, Completion, Explanation};
use crate::app::position::PositionEncoding;
use crate::app::selection::Selection;
use crate::error::Result;

#[derive(Tags)]
enum Tag {
    /// Tools for writing queries, for users and editors: list the fields, check a query, show its SQL and
    /// query plan, and complete a filter.
    #[oai(rename = "query")]
    Query,
}

/// The operations for editors of queries.
pub(super) struct Operations;

#[OpenApi(tag = "Tag::Query")]
impl Operations {
    /// List record types, fields and limits
    ///
    /// Returns the record types with their fields and operators, and the functions, keywords and limits of the
    /// filter language. A token without scopes is sufficient.
    #[oai(path = "/api/v1/schema", method = "get")]
    async fn schema(&self, _caller: Visitor, app: Data<&App>) -> Result<Json<CatalogueSchema>> {
        Ok(Json(inspect::describe(app.catalogue())))
    }

    /// Check a query
    ///
    /// Validates a filter and an order without running them. Returns 200 for valid and invalid queries:
    /// `diagnostics` has the errors that a search would return. If the text can be parsed, the response also has
    /// its canonical form, the types of its parameters and its syntax tree. Values for parameters are not
    /// required, and are ignored.
    #[oai(path = "/api/v1/query/check", method = "get")]
    async fn check(
        &self,
        caller: SomeReader,
        app: Data<&App>,
        /// The filter, at most 8 KiB.
        filter: Query<Option<String>>,
        /// The order: fields with optional `asc` or `desc`, separated by commas.
        order_by: Query<Option<String>>,
        /// The collection. Default: the first.
        collection: Query<Option<String>>,
        /// The unit of all positions in the response. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<Check>> {
        let (collection, filter) = (collection.0.as_deref(), filter.0.as_deref());
        let (order_by, positions) =
            (order_by.0.as_deref(), position_encoding.0.unwrap_or_default());
        let catalogue = app.catalogue();
        inspect::check(catalogue, &caller.0, collection, filter, order_by, positions).map(Json)
    }

    /// Explain a query
    ///
    /// Returns the SQL statement of the first page of a search, its values, and the query plan with its indexes.
    /// The search is not run. Pass values for the `$parameters` of the filter as query parameters named
    /// `p.NAME`. Returns 400 `invalid_query` for an invalid filter or order.
    #[oai(path = "/api/v1/query/explain", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn explain(
        &self,
        caller: SomeTokenReader,
        app: Data<&App>,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`.
        filter: Query<Option<Filters>>,
        /// The order: fields with optional `asc` or `desc`, separated by commas.
        order_by: Query<Option<String>>,
        /// The maximum number of records per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// The collection. Default: the first.
        collection: Query<Option<String>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<Explanation>> {
        let selection = Selection {
            filters: Filters::of(filter.0),
            order_by: order_by.0,
            parameters: arguments(request),
            positions: position_encoding.0.unwrap_or_default(),
            ..Selection::default()
        };
        let (collection, limit) = (collection.0.as_deref(), limit.0.map(i64::from));
        let store = app.store_for(&caller.0);
        inspect::explain(&store, app.catalogue(), &caller.0, collection, &selection, limit)
            .await
            .map(Json)
    }

    /// Complete a filter
    ///
    /// Returns candidates for an unfinished filter at the caret: fields, functions and keywords at the start of
    /// a condition; the operators of a field after it; values after an operator, the most frequent in the
    /// database first. The list is empty if the filter has a syntax error before the caret, or if no field has the
    /// name there. Values for parameters are ignored.
    #[oai(path = "/api/v1/query/complete", method = "get")]
    async fn complete(
        &self,
        caller: SomeReader,
        app: Data<&App>,
        /// The unfinished filter, at most 8 KiB.
        filter: Query<Option<String>>,
        /// The position of the caret, counted from 0. Default: the end of the filter.
        caret: Query<Option<i32>>,
        /// The collection. Default: the first.
        collection: Query<Option<String>>,
        /// The unit of `caret` and of all positions in the response. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<Completion>> {
        let filter = filter.0.unwrap_or_default();
        let (collection, caret) = (collection.0.as_deref(), caret.0.map(i64::from));
        let store = app.store_for(&caller.0);
        let positions = position_encoding.0.unwrap_or_default();
        inspect::complete(&store, app.catalogue(), &caller.0, collection, &filter, caret, positions)
            .await
            .map(Json)
    }
}
