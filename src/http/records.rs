//! The operations on records of one type. The placeholders `{record}` and `{records}` in summaries and
//! descriptions become the names of the record type in the OpenAPI document.

use std::collections::BTreeMap;

use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Any, Type as Documented};
use poem_openapi::{Object, OpenApi, Tags};
use serde::Deserialize;
use uuid::Uuid;

use super::body::{
    Body, Created, CreatedOrCurrent, Current, Found, IfChanged, Input, Json, NoContent, Paged,
    integer, json,
};
use super::caller::{Reader, Writer};
use super::conditional;
use super::filters::{Filters, arguments};
use super::forms::{array, described, forms};
use super::idempotency::{self, Retriable};
use crate::app::edit::Upserted;
use crate::app::position::PositionEncoding;
use crate::app::search::{Count, Page, SearchRequest};
use crate::app::selection::Selection;
use crate::app::why::{Match, Reason};
use crate::app::{App, edit, history, search, why};
use crate::error::Result;
use crate::query::Diagnostic;
use crate::record::{Draft, Members, Patch};
use crate::store::{Conflict, Record, Reply};

/// The operations on the records of a collection.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Search {records}
    ///
    /// Returns a page of the {records} that match a filter. Pass values for the `$parameters` of the filter
    /// as query parameters named `p.NAME`, for example `filter=genre = $g` with `p.g=drama`. To get the next
    /// page, follow the `Link` header or send `next_cursor` as `cursor`. Returns 400 `invalid_query` for an
    /// invalid filter or order, and 400 `invalid_cursor` for a cursor of another search.
    #[oai(path = "/", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn list(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`. Default: all {records}.
        filter: Query<Option<Filters>>,
        /// The order: fields with optional `asc` or `desc`, separated by commas. Default: order of creation.
        order_by: Query<Option<String>>,
        /// The maximum number of {records} per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the previous page. Filter, parameters and order must be the same.
        cursor: Query<Option<String>>,
        /// Whether to count the {records} of all pages and return `total`.
        count: Query<Option<Count>>,
        /// Whether to explain an empty result. If no {record} matches, `why` lists, for each condition, the
        /// number of matches without it and existing values that differ only in case.
        why: Query<Option<bool>>,
        /// The unit of positions in `diagnostics` and `warnings`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Paged> {
        let search = SearchRequest {
            selection: Selection {
                filters: Filters::of(filter.0),
                order_by: order_by.0,
                parameters: arguments(request),
                positions: position_encoding.0.unwrap_or_default(),
                ..Selection::default()
            },
            limit: limit.0.map(i64::from),
            cursor: cursor.0,
            count: count.0.unwrap_or_default(),
            why: why.0.unwrap_or_default(),
        };
        let page = search::search(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            search,
        )
        .await?;
        let next = page.about.next_cursor.as_deref().map(|cursor| next_url(request, cursor));
        Ok(Paged { page, next })
    }

    /// Search {records} with a JSON body
    ///
    /// Returns the same page as GET. Use it for filters that are too long for a URL, and in generated clients,
    /// which do not know the names of `p.NAME` in advance. Returns 400 `invalid_query` for an invalid filter or
    /// order, and 400 `invalid_cursor` for a cursor of another search.
    #[oai(path = "/search", method = "post")]
    async fn search(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// The unit of positions in `diagnostics` and `warnings`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
        body: Body<SearchBody>,
    ) -> Result<Found> {
        let store = app.store_for(&caller.identity);
        let mut request = SearchRequest::from(body.0);
        request.selection.positions = position_encoding.0.unwrap_or_default();
        let page = search::search(&store, &caller.identity, caller.schema, request).await?;
        Ok(Found(page))
    }

    /// Create a {record}
    ///
    /// Creates a {record} and returns it, with its URL in `Location` (relative to the request URL) and its
    /// version in `ETag`. Send the `ETag` as `If-Match` to change the {record}. The natural key is unique: a duplicate
    /// returns 409 `duplicate`, unless `on_conflict` says otherwise. Returns 400 `invalid_record` if fields are missing,
    /// unknown or invalid.
    #[oai(path = "/", method = "post")]
    async fn create(
        &self,
        caller: Writer,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        /// What to do if a {record} with the natural key exists: `skip` returns it with 200, and `update` sets the
        /// fields of the body first. Both need the scope for reading too. Default: `fail`.
        on_conflict: Query<Option<Conflict>>,
        body: Body<Draft>,
    ) -> Result<Retriable<CreatedOrCurrent<Record>>> {
        let Body(draft, key) = body;
        let key = key.map(|key| (key, created as edit::UpsertReply));
        let policy = on_conflict.0.unwrap_or_default();
        let once = edit::upsert(&caller.store, &caller.identity, &draft, policy, key).await?;
        Ok(Retriable::of(once, |upserted| match upserted {
            Upserted::Created(created) => {
                CreatedOrCurrent::Created(Created { location: location(&created), created })
            }
            Upserted::Existing(record) => CreatedOrCurrent::Current(Current(record)),
        }))
    }

    /// Get a {record}
    ///
    /// Returns the {record}, with its version in `ETag`, or the {record} as it was in an earlier version. Returns 304 if
    /// `If-None-Match` lists the version, and 404 `not_found` for an unknown id or a version that the journal does not
    /// have.
    #[oai(path = "/:id", method = "get")]
    async fn get(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETags of the versions that the client has cached.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
        /// The version. Default: the current one.
        version: Query<Option<i64>>,
    ) -> Result<IfChanged<Record>> {
        let (store, Reader { identity, schema }) = (app.store_for(&caller.identity), caller);
        let record = match version.0 {
            Some(version) => history::version(&store, &identity, schema, id.0, version).await?,
            None => edit::get(&store, &identity, schema, id.0).await?,
        };
        let version = record.version();
        let is_known = match &if_none_match.0 {
            Some(tags) => conditional::is_known(tags, version)?,
            None => false,
        };
        Ok(if is_known { IfChanged::NotModified(version) } else { IfChanged::Changed(record) })
    }

    /// Test a filter against one {record}
    ///
    /// Returns whether the filter, and each test in it, is true, false or unknown for the {record}. Use it to
    /// find out why a search does or does not return the {record}. Returns 400 `invalid_query` for an invalid
    /// filter, and 404 `not_found` for an unknown id.
    #[oai(path = "/:id/match", method = "get")]
    async fn match_record(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The filter, at most 8 KiB.
        filter: Query<String>,
        /// The unit of all positions in the response. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<Match>> {
        let selection = Selection {
            parameters: arguments(request),
            positions: position_encoding.0.unwrap_or_default(),
            ..Selection::filter(filter.0)
        };
        why::match_record(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            id.0,
            &selection,
        )
        .await
        .map(Json)
    }

    /// Replace a {record}
    ///
    /// Replaces all writable fields and returns the {record}. A nullable field that is not in the body becomes
    /// null. Returns 412 `precondition_failed` if the {record} has changed since the version in `If-Match`,
    /// 409 `duplicate` if its natural key exists, and 400 `invalid_record` if fields are missing or invalid.
    #[oai(path = "/:id", method = "put")]
    async fn replace(
        &self,
        caller: Writer,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version to replace, or `*`. Required: 428 `precondition_required` without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        body: Body<Draft>,
    ) -> Result<Retriable<Current<Record>>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let Body(draft, key) = body;
        let keyed = idempotency::keyed(key, StatusCode::OK);
        let (store, identity) = (&caller.store, &caller.identity);
        let once = edit::replace_once(store, identity, id.0, &draft, &expected, keyed).await?;
        Ok(Retriable::of(once, Current))
    }

    /// Update fields of a {record}
    ///
    /// Updates the fields in the body and returns the {record}. Other fields keep their values. The body is a
    /// JSON merge patch (RFC 7396) of type `application/json` or `application/merge-patch+json`. Returns 412
    /// `precondition_failed` if the {record} has changed since the version in `If-Match`, 409 `duplicate` if
    /// its natural key exists, and 400 `invalid_record` if a field is invalid.
    #[oai(path = "/:id", method = "patch")]
    async fn patch(
        &self,
        caller: Writer,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version to update, or `*`. Required: 428 `precondition_required` without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        body: Body<Patch>,
    ) -> Result<Retriable<Current<Record>>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let Body(patch, key) = body;
        let keyed = idempotency::keyed(key, StatusCode::OK);
        let (store, identity) = (&caller.store, &caller.identity);
        let once = edit::patch(store, identity, id.0, &patch, &expected, keyed).await?;
        Ok(Retriable::of(once, Current))
    }

    /// Delete a {record}
    ///
    /// Deletes the {record} and returns no content. With `If-Match`, returns 412 `precondition_failed` if the
    /// {record} has changed since that version. Returns 404 `not_found` for an unknown id.
    #[oai(path = "/:id", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version to delete. Default: any version.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<NoContent> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        edit::delete(&caller.store, &caller.identity, caller.schema, id.0, &expected)
            .await
            .map(|_| NoContent)
    }
}

/// Returns the response to store for a creation.
fn created(upserted: &Upserted) -> Result<Reply> {
    let (status, record, location) = match upserted {
        Upserted::Created(record) => (StatusCode::CREATED, record, Some(location(record))),
        Upserted::Existing(record) => (StatusCode::OK, record, None),
    };
    idempotency::reply(status, record, record.version(), location)
}

/// Returns the URL of a created record, relative to the URL of the request.
fn location(record: &Record) -> String {
    format!("{}/{}", record.schema().collection, record.id())
}

/// The path of a collection. The placeholder `{records}` becomes its name.
pub(super) const COLLECTION: &str = "/api/v1/{records}";

/// Returns the URL of the next page: the query of the request with another cursor. The URL is relative (RFC 8288,
/// section 3.1), because a proxy may have stripped a prefix of the path that the client sees.
pub(super) fn next_url(request: &Request, cursor: &str) -> String {
    let uri = request.original_uri();
    let kept = uri.query().unwrap_or_default().split('&');
    // Qualified, because the trait `Type` of poem-openapi has an `is_empty` for `&str` that is always false.
    let kept = kept.filter(|pair| !str::is_empty(pair) && !pair.starts_with("cursor="));
    let next = format!("cursor={cursor}");
    let query: Vec<&str> = kept.chain([next.as_str()]).collect();
    format!("?{}", query.join("&"))
}

/// A search request.
#[derive(Object, Deserialize)]
#[oai(rename = "SearchRequest")]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBody {
    /// The filter, at most 8 KiB. Default: all records.
    filter: Option<String>,
    /// The order: fields with optional `asc` or `desc`, separated by commas. Default: order of creation.
    order_by: Option<String>,
    /// The maximum number of records per page.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    #[serde(default, deserialize_with = "integer")]
    limit: Option<i32>,
    /// `next_cursor` of the previous page. Filter, parameters and order must be the same.
    cursor: Option<String>,
    /// Whether to count the records of all pages and return `total`.
    count: Option<Count>,
    /// Whether to explain an empty result in `why`.
    why: Option<bool>,
    /// Values for the `$parameters` of the filter, by name.
    #[serde(default, deserialize_with = "unique_members")]
    parameters: Option<BTreeMap<String, Any<serde_json::Value>>>,
}

/// Deserializes an object of arguments. A repeated name is an error.
pub(super) fn unique_members<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<BTreeMap<String, Any<serde_json::Value>>>, D::Error> {
    let members = Option::<Members<serde_json::Value>>::deserialize(deserializer)?;
    Ok(members.map(|members| members.0.into_iter().map(|(name, json)| (name, Any(json))).collect()))
}

impl Input for SearchBody {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

impl From<SearchBody> for SearchRequest {
    fn from(body: SearchBody) -> Self {
        let parameters = body.parameters.unwrap_or_default().into_iter();
        Self {
            selection: Selection {
                filters: body.filter.into_iter().collect(),
                order_by: body.order_by,
                parameters: parameters.map(|(name, Any(json))| (name, json.into())).collect(),
                ..Selection::default()
            },
            limit: body.limit.map(i64::from),
            cursor: body.cursor,
            count: body.count.unwrap_or_default(),
            why: body.why.unwrap_or_default(),
        }
    }
}

forms! {
    Page => "{Record}Page", |registry| {
        Record::register(registry);
        Diagnostic::register(registry);
        Reason::register(registry);
        let properties = vec![
            (
                "items",
                described(
                    array(Record::schema_ref()),
                    "The records of the page, in the requested order.",
                ),
            ),
            (
                "next_cursor",
                described(
                    MetaSchema::new("string"),
                    "The cursor of the next page. Absent on the last page.",
                ),
            ),
            (
                "total",
                described(
                    MetaSchema::new_with_format("integer", "int64"),
                    "The number of matching records on all pages. Present with `count=exact`.",
                ),
            ),
            (
                "as_of",
                described(
                    MetaSchema::new_with_format("string", "date-time"),
                    "The time that `today` and `now` refer to, if the filter uses them. It is the \
                     same on all pages of a search.",
                ),
            ),
            (
                "why",
                described(
                    array(Reason::schema_ref()),
                    "Present with `why=true` if no record matches: the first ten conditions that \
                     `and` joins.",
                ),
            ),
            (
                "warnings",
                described(
                    array(Diagnostic::schema_ref()),
                    "Warnings about a filter that is valid but easy to misread.",
                ),
            ),
        ];
        MetaSchema {
            description: Some("A page of records."),
            required: vec!["items", "warnings"],
            properties,
            ..MetaSchema::new("object")
        }
    };
}

/// The tag that groups the operations of a collection.
#[derive(Tags)]
pub(super) enum Tag {
    /// The specification replaces this text with the description of the record type.
    #[oai(rename = "{records}")]
    Records,
}
