//! The operations on queries: what the language knows, and what is to be said of a query.

use poem::Request;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::{OpenApi, Tags};

use super::body::Json;
use super::caller::{Caller, SomeReader};
use super::records::arguments;
use crate::app::App;
use crate::app::inspect::{self, CatalogueSchema, Check, Completion, Explanation};
use crate::app::selection::Selection;
use crate::error::Result;

#[derive(Tags)]
enum Tag {
    /// For those who write queries, and for editors: the fields there are, what is wrong with a
    /// query, how the database answers it, how an unfinished one goes on.
    #[oai(rename = "query")]
    Query,
}

/// The operations on queries about these records.
pub(super) struct Operations;

#[OpenApi(tag = "Tag::Query")]
impl Operations {
    /// List record types, fields and limits
    ///
    /// What the filter language knows: the record types with their fields and operators, the
    /// functions, keywords and limits. Any token will do.
    #[oai(path = "/api/v1/schema", method = "get")]
    async fn schema(&self, _caller: Caller, app: Data<&App>) -> Result<Json<CatalogueSchema>> {
        Ok(Json(inspect::describe(app.catalogue())))
    }

    /// Check a query
    ///
    /// Says what a search would refuse a filter and an order for, and, as far as the grammar accepts them, what they say: their
    /// canonical form, the types of their parameters, their tree. The answer to a query that is wrong
    /// is 200, too. Parameters need no values, and values that come along are not looked at.
    #[oai(path = "/api/v1/query/check", method = "get")]
    async fn check(
        &self,
        caller: SomeReader,
        app: Data<&App>,
        /// The filter. At most 8 KiB.
        filter: Query<Option<String>>,
        /// The order: fields with `asc` or `desc`, separated by commas.
        order_by: Query<Option<String>>,
        /// The collection; the first when absent.
        collection: Query<Option<String>>,
    ) -> Result<Json<Check>> {
        let (collection, filter) = (collection.0.as_deref(), filter.0.as_deref());
        inspect::check(app.catalogue(), &caller.0, collection, filter, order_by.0.as_deref())
            .map(Json)
    }

    /// Explain a query
    ///
    /// Shows the statement that a search for a first page would run, the values bound to it, and how
    /// the database would go about it: its plan and the indexes in that. Nothing is searched. Values
    /// for the `$parameters` of the filter are given as query parameters named `p.NAME`.
    #[oai(path = "/api/v1/query/explain", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn explain(
        &self,
        caller: SomeReader,
        app: Data<&App>,
        request: &Request,
        /// The filter. At most 8 KiB.
        filter: Query<Option<String>>,
        /// The order: fields with `asc` or `desc`, separated by commas.
        order_by: Query<Option<String>>,
        /// How many records there would be at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// The collection; the first when absent.
        collection: Query<Option<String>>,
    ) -> Result<Json<Explanation>> {
        let selection = Selection {
            filter: filter.0,
            order_by: order_by.0,
            parameters: arguments(request),
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
    /// Says how an unfinished filter may go on at the caret: fields, functions and keywords where a
    /// condition may begin, the operators that a field has, what it can be compared with, among that the
    /// values that are most frequent in the catalogue. Nothing is offered where the filter is wrong
    /// before the caret. Values of parameters that come along are not looked at.
    #[oai(path = "/api/v1/query/complete", method = "get")]
    async fn complete(
        &self,
        caller: SomeReader,
        app: Data<&App>,
        /// The filter as far as it is written. At most 8 KiB.
        filter: Query<Option<String>>,
        /// Where the caret is: before this character, counted from 0 in Unicode scalar values, at most as
        /// many as there are. Behind the last when absent.
        caret: Query<Option<i32>>,
        /// The collection; the first when absent.
        collection: Query<Option<String>>,
    ) -> Result<Json<Completion>> {
        let filter = filter.0.unwrap_or_default();
        let (collection, caret) = (collection.0.as_deref(), caret.0.map(i64::from));
        let store = app.store_for(&caller.0);
        inspect::complete(&store, app.catalogue(), &caller.0, collection, &filter, caret)
            .await
            .map(Json)
    }
}
