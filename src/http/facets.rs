//! Counting records by the values of a field.

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::body::Json;
use super::caller::Reader;
use super::filters::{Filters, arguments};
use super::records::{COLLECTION, Tag};
use crate::app::App;
use crate::app::facets::{Facets, FacetsRequest, facets};
use crate::app::position::PositionEncoding;
use crate::app::selection::Selection;
use crate::error::Result;

/// The operation that counts the records of a collection.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Count {records} by field
    ///
    /// Counts the {records} that match a filter, per value of a field or per bucket of values. Each item has a
    /// filter that matches its {records}; join it to the filter of the request with `and`. Pass values for
    /// `$parameters` as query parameters named `p.NAME`. Returns 400 `invalid_query` for an invalid filter,
    /// field or interval.
    #[oai(path = "/facets", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn facets(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The field to count by.
        by: Query<String>,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`. Default: all {records}.
        filter: Query<Option<Filters>>,
        /// The size of the buckets. Default: one item per value. For integers: `decade`, `century`, or a
        /// width, at whose multiples buckets start. For dates, and for timestamps in UTC: `day`, `week`
        /// (starts on Monday), `month`, `quarter`, `year`.
        interval: Query<Option<String>>,
        /// The maximum number of items.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// The unit of positions in `diagnostics` and `warnings`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<Facets>> {
        let request = FacetsRequest {
            selection: Selection {
                filters: Filters::of(filter.0),
                parameters: arguments(request),
                positions: position_encoding.0.unwrap_or_default(),
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
