//! Counts of records, by the values of a field.

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::body::Json;
use super::caller::Reader;
use super::records::{COLLECTION, Tag, arguments};
use crate::app::App;
use crate::app::facets::{Facets, FacetsRequest, facets};
use crate::app::selection::Selection;
use crate::error::Result;

/// The operation that counts records of one type.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Count {records} by a field
    ///
    /// How many of the {records} that a filter finds have each value of a field, or lie in each bucket of
    /// its values. Every item has the filter that finds its {records}, to be joined
    /// to that of the request with `and`.
    #[oai(path = "/facets", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn facets(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The field by which they are counted.
        by: Query<String>,
        /// Which {records}; all when absent. At most 8 KiB.
        filter: Query<Option<String>>,
        /// Buckets instead of values. Of an integer: `decade`, `century`, or a whole number, the width;
        /// they begin at its multiples. Of a date, and of a timestamp in UTC: `day`, `week` (from
        /// Monday), `month`, `quarter`, `year`.
        interval: Query<Option<String>>,
        /// How many items at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
    ) -> Result<Json<Facets>> {
        let request = FacetsRequest {
            selection: Selection {
                filter: filter.0,
                parameters: arguments(request),
                ..Selection::default()
            },
            by: by.0,
            interval: interval.0,
            limit: limit.0.map(i64::from),
        };
        facets(&app.store_for(&caller.identity), &caller.identity, caller.schema, request)
            .await
            .map(Json)
    }
}
