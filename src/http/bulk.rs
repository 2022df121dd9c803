//! The operations on all records that match a filter.

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Query};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as Documented;

use super::body::{Body, Json};
use super::caller::ReadingWriter;
use super::filters::{Filters, arguments};
use super::forms::{array, described, forms};
use super::idempotency::{Retriable, unversioned};
use super::records::{COLLECTION, Tag};
use crate::app::bulk::{self, BulkReport, BulkRequest};
use crate::app::position::PositionEncoding;
use crate::app::selection::Selection;
use crate::error::Result;
use crate::record::Patch;
use crate::store::{BulkTally, IdempotencyKey, Keyed, Record};

/// The operations on all records of a collection that match a filter.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Update the {records} that match a filter
    ///
    /// Updates the fields in the body, a JSON merge patch, in all {records} that match the filter, if exactly `expect`
    /// do. Otherwise it changes nothing and returns 409 `unexpected_count`, with their number in `matched`. With
    /// `dry_run`, it counts the {records} and lists the first 20. Pass values for the `$parameters` of the filter as
    /// query parameters named `p.NAME`. Returns 400 `invalid_query` for an invalid filter, 400 `invalid_record` if a
    /// field is invalid, and 409 `duplicate` if two {records} would have the same natural key.
    #[oai(path = "/", method = "patch")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented parameter")]
    async fn update(
        &self,
        caller: ReadingWriter,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`.
        filter: Query<Filters>,
        /// The number of {records} that must match. Without it, nothing is changed either.
        #[oai(validator(minimum(value = "0"), maximum(value = "10000")))]
        expect: Query<Option<i32>>,
        /// Whether to change nothing, and only return what matches.
        dry_run: Query<Option<bool>>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
        body: Body<Patch>,
    ) -> Result<Retriable<Json<BulkReport>>> {
        let Body(patch, key) = body;
        let selection = selection(request, filter.0, position_encoding.0);
        let expected = expect.0.map(i64::from);
        let request = BulkRequest { selection, expected, patch: Some(patch) };
        write(caller, request, dry_run.0, key).await
    }

    /// Delete the {records} that match a filter
    ///
    /// Deletes all {records} that match the filter, if exactly `expect` do. Otherwise it deletes nothing and returns
    /// 409 `unexpected_count`, with their number in `matched`. With `dry_run`, it counts the {records} and lists the
    /// first 20. Pass values for the `$parameters` of the filter as query parameters named `p.NAME`. Returns 400
    /// `invalid_query` for an invalid filter.
    #[oai(path = "/", method = "delete")]
    async fn delete(
        &self,
        caller: ReadingWriter,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`.
        filter: Query<Filters>,
        /// The number of {records} that must match. Without it, nothing is changed either.
        #[oai(validator(minimum(value = "0"), maximum(value = "10000")))]
        expect: Query<Option<i32>>,
        /// Whether to delete nothing, and only return what matches.
        dry_run: Query<Option<bool>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Retriable<Json<BulkReport>>> {
        let selection = selection(request, filter.0, position_encoding.0);
        let request = BulkRequest { selection, expected: expect.0.map(i64::from), patch: None };
        write(caller, request, dry_run.0, None).await
    }
}

fn selection(
    request: &Request,
    filters: Filters,
    positions: Option<PositionEncoding>,
) -> Selection {
    Selection {
        filters: filters.0,
        parameters: arguments(request),
        positions: positions.unwrap_or_default(),
        ..Selection::default()
    }
}

async fn write(
    caller: ReadingWriter,
    request: BulkRequest,
    dry_run: Option<bool>,
    key: Option<IdempotencyKey>,
) -> Result<Retriable<Json<BulkReport>>> {
    let ReadingWriter { identity, schema, store } = caller;
    if dry_run.unwrap_or_default() {
        let report = bulk::preview(&store, &identity, schema, request.selection).await?;
        return Ok(Retriable::Unkeyed(Json(report)));
    }
    let reply =
        |tally: &BulkTally| unversioned(StatusCode::OK, &BulkReport::from(*tally)).map(Some);
    let keyed = key.map(|key| Keyed { key, reply: Box::new(reply) });
    let once = bulk::write(&store, &identity, schema, request, keyed).await?;
    Ok(Retriable::of(once, |tally| Json(BulkReport::from(tally))))
}

forms! {
    BulkReport => "{Record}BulkReport", |registry| {
        Record::register(registry);
        let integer = |description| {
            described(MetaSchema::new_with_format("integer", "int64"), description)
        };
        let written = "The number of records that were changed or deleted. Records that have the values already are not \
                       counted; it is 0 in a dry run.";
        let items = "In a dry run, the first 20 of the matching records, as they are.";
        MetaSchema {
            description: Some("What a write by filter did, or would do."),
            required: vec!["matched", "written"],
            properties: vec![
                ("matched", integer("The number of matching records.")),
                ("written", integer(written)),
                ("items", described(array(Record::schema_ref()), items)),
            ],
            ..MetaSchema::new("object")
        }
    };
}
