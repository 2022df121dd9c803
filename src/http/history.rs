//! The operations on the journal: the changes of all records, the versions of one, restoring and erasing.

use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as Documented;
use poem_openapi::{Object, OpenApi, Tags};
use serde::Deserialize;
use uuid::Uuid;

use super::body::{Body, Current, Input, Json, NoContent, Versioned, json};
use super::caller::{CollectionAdministrator, ReadingWriter, SomeTokenReader, TokenReader};
use super::conditional;
use super::filters::{Filters, arguments};
use super::forms::{array, described, forms};
use super::idempotency::{self, Retriable};
use super::records::{COLLECTION, Tag};
use crate::app::App;
use crate::app::history::{self, ChangePage, ChangesRequest, HistoryPage, Restored};
use crate::app::position::PositionEncoding;
use crate::app::selection::Selection;
use crate::error::Result;
use crate::store::Record;

/// The operations on the versions of a record.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// List the versions of a {record}
    ///
    /// Returns the versions of the {record} from its journal, the latest first: who changed it, when, and which fields
    /// differ. The journal keeps versions for 90 days, unless the service is configured otherwise. It also has the
    /// versions of a deleted {record}. Returns 404 `not_found` for an unknown id.
    #[oai(path = "/:id/history", method = "get")]
    async fn history(
        &self,
        caller: TokenReader,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// `next_before` of the previous page.
        before: Query<Option<i64>>,
        /// The maximum number of versions per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
    ) -> Result<Json<HistoryPage>> {
        let store = app.store_for(&caller.identity);
        let limit = limit.0.map(i64::from);
        history::history(&store, &caller.identity, caller.schema, id.0, before.0, limit)
            .await
            .map(Json)
    }

    /// Restore a version of a {record}
    ///
    /// Sets the fields of the {record} to their values in an earlier version, which makes a new version. A deleted
    /// {record} is created again, with the same id. Fields that the version lacks keep their values, and `left_out`
    /// names the fields that are no longer declared. Returns 404 `not_found` if the journal does not have the version,
    /// 412 `precondition_failed` if the {record} has changed since the version in `If-Match`, 409 `duplicate` if its
    /// natural key exists, and 400 `invalid_record` if the values break rules of the current declaration.
    #[oai(path = "/:id/restore", method = "post")]
    async fn restore(
        &self,
        caller: ReadingWriter,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version to replace. Default: any version.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// A key that makes the request safe to retry: a retry with the same key gets the same response.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        body: Body<RestoreRequest>,
    ) -> Result<Retriable<Current<Restored>>> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        let ReadingWriter { identity, schema, store } = caller;
        let Body(RestoreRequest { version }, key) = body;
        let reply: history::ReplyTo = |restored| {
            idempotency::reply(StatusCode::OK, restored, restored.record.version(), None)
        };
        let key = key.map(|key| (key, reply));
        history::restore(&store, &identity, schema, id.0, version, &expected, key)
            .await
            .map(|once| Retriable::of(once, Current))
    }

    /// Erase the history of a {record}
    ///
    /// Deletes all versions of the {record} from the journal, for example because they have personal data. The current
    /// version stays. The erasure is an entry of the journal itself. It requires the scope `admin`. Returns 404
    /// `not_found` if the journal has no version of the {record}.
    #[oai(path = "/:id/history", method = "delete")]
    async fn erase(
        &self,
        caller: CollectionAdministrator,
        /// The id of the {record}.
        id: Path<Uuid>,
    ) -> Result<NoContent> {
        history::erase(&caller.store, &caller.identity, caller.schema, id.0)
            .await
            .map(|()| NoContent)
    }
}

#[derive(Tags)]
enum ChangesTag {
    /// The journal of changes of all records.
    #[oai(rename = "changes")]
    Changes,
}

/// The operations on the changes of all collections.
pub(super) struct ChangeOperations;

#[OpenApi(tag = "ChangesTag::Changes")]
impl ChangeOperations {
    /// List changes
    ///
    /// Returns the changes of the records that the token allows reading, in the order of their positions. To follow the
    /// journal, send `next_after` as `after` again and again: no change is missed, and changes that depend on each
    /// other come in their order. With a filter, a page may be empty although `has_more` is true. The journal keeps
    /// changes for 90 days, unless the service is configured otherwise. Returns 400 `invalid_query` for an invalid
    /// filter.
    #[oai(path = "/api/v1/changes", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn changes(
        &self,
        caller: SomeTokenReader,
        app: Data<&App>,
        request: &Request,
        /// The position after which the page starts. Default: the beginning of the journal.
        after: Query<Option<i64>>,
        /// The collection. Default: all that the token allows reading or, with a filter, the first.
        collection: Query<Option<String>>,
        /// A filter on the record after the change, or before it if it was deleted. Repeat the parameter to join filters
        /// by `and`.
        filter: Query<Option<Filters>>,
        /// The maximum number of changes per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Json<ChangePage>> {
        let selection = Selection {
            filters: Filters::of(filter.0),
            parameters: arguments(request),
            positions: position_encoding.0.unwrap_or_default(),
            ..Selection::default()
        };
        let (collection, limit) = (collection.0, limit.0.map(i64::from));
        let request = ChangesRequest { collection, after: after.0, selection, limit };
        history::changes(&app.store_for(&caller.0), app.catalogue(), &caller.0, request)
            .await
            .map(Json)
    }
}

/// The version to restore.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreRequest {
    /// The version.
    version: i64,
}

impl Input for RestoreRequest {
    const TAKES_KEY: bool = true;

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

impl Versioned for Restored {
    const NAME: &'static str = "record";

    fn version(&self) -> Option<i64> {
        Some(self.record.version())
    }
}

forms! {
    Restored => "{Record}Restored", |registry| {
        Record::register(registry);
        let text = MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
        let left_out = "The fields of the earlier version that are no longer declared.";
        MetaSchema {
            description: Some("A restored record."),
            required: vec!["record", "left_out"],
            properties: vec![
                ("record", Record::schema_ref()),
                ("left_out", described(array(text), left_out)),
            ],
            ..MetaSchema::new("object")
        }
    };
}
