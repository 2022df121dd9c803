//! The operations on records of one type. In the specification `{record}` and `{records}` stand for
//! its names.

use std::collections::BTreeMap;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Any, Type as Documented};
use poem_openapi::{Object, OpenApi, Tags};
use serde::Deserialize;
use uuid::Uuid;

use super::body::{Body, Created, Current, Found, IfChanged, Input, Json, NoContent, Paged, json};
use super::caller::{Reader, Writer};
use super::conditional;
use super::resource::ARGUMENT_PREFIX;
use crate::app::search::{Count, Page, SearchRequest};
use crate::app::selection::Selection;
use crate::app::why::{Match, Reason};
use crate::app::{App, edit, search, why};
use crate::error::Result;
use crate::query::{Argument, Arguments, Diagnostic};
use crate::record::{Draft, Members, Patch};
use crate::store::Record;

/// The operations on one type of record.
pub(super) struct Operations;

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Search {records}
    ///
    /// Finds {records} with the filter language, a page at a time. Values for the `$parameters` of
    /// the filter are given as query parameters named `p.NAME`: `filter=genre = $g` and `p.g=drama`.
    #[oai(path = "/", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn list(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// Which {records}; all when absent. At most 8 KiB.
        filter: Query<Option<String>>,
        /// In which order: fields with `asc` or `desc`, separated by commas. In order of creation
        /// when absent.
        order_by: Query<Option<String>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
        /// `next_cursor` of the page before. Filter, parameters and order must stay the same.
        cursor: Query<Option<String>>,
        /// Whether to count the {records} of all pages.
        count: Query<Option<Count>>,
        /// Whether to say why, should nothing be found: how many {records} there would be without
        /// each condition, and values that differ from those named in case alone.
        why: Query<Option<bool>>,
    ) -> Result<Paged> {
        let search = SearchRequest {
            selection: Selection {
                filter: filter.0,
                order_by: order_by.0,
                parameters: arguments(request),
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
        let next = page.about.next_cursor.as_deref().map(|cursor| next_address(request, cursor));
        Ok(Paged { page, next })
    }

    /// Search {records} with a JSON body
    ///
    /// The same as GET, for filters too long for a URL and for generated clients, which cannot know
    /// the names of `p.NAME`.
    #[oai(path = "/search", method = "post")]
    async fn search(
        &self,
        caller: Reader,
        app: Data<&App>,
        body: Body<SearchBody>,
    ) -> Result<Found> {
        let store = app.store_for(&caller.identity);
        let page = search::search(&store, &caller.identity, caller.schema, body.0.into()).await?;
        Ok(Found(page))
    }

    /// Create a {record}
    ///
    /// `Location` has its URL, relative to that of the request, and `ETag` its version, with which it is changed. Of a natural key there is one
    /// {record}: a second is refused with 409, `duplicate`.
    #[oai(path = "/", method = "post")]
    async fn create(
        &self,
        caller: Writer,
        app: Data<&App>,
        body: Body<Draft>,
    ) -> Result<Created<Record>> {
        let record =
            edit::create(&app.store_for(&caller.identity), &caller.identity, &body.0).await?;
        let location = format!("{}/{}", caller.schema.collection, record.id());
        Ok(Created { created: record, location })
    }

    /// Read a {record}
    ///
    /// `ETag` has its version. With `If-None-Match`, 304 as long as that is the version still.
    #[oai(path = "/:id", method = "get")]
    async fn get(
        &self,
        caller: Reader,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// ETags of versions the client has.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<IfChanged<Record>> {
        let record =
            edit::get(&app.store_for(&caller.identity), &caller.identity, caller.schema, id.0)
                .await?;
        let version = record.version();
        let is_known = match &if_none_match.0 {
            Some(tags) => conditional::is_known(tags, version)?,
            None => false,
        };
        Ok(if is_known { IfChanged::NotModified(version) } else { IfChanged::Changed(record) })
    }

    /// Ask a filter of one {record}
    ///
    /// Says of the filter and of each test in it whether it is true, false or unknown of this
    /// {record}: why it is found or not.
    #[oai(path = "/:id/match", method = "get")]
    async fn match_record(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The filter. At most 8 KiB.
        filter: Query<String>,
    ) -> Result<Json<Match>> {
        let selection = Selection { parameters: arguments(request), ..Selection::filter(filter.0) };
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
    /// All fields that may be written are in the body: one that may be null and is absent becomes null.
    /// 412, `precondition_failed`, when the {record} has been written since.
    #[oai(path = "/:id", method = "put")]
    async fn replace(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version that is replaced, or `*`. Required: 428 without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Body<Draft>,
    ) -> Result<Current<Record>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        edit::replace(&app.store_for(&caller.identity), &caller.identity, id.0, &body.0, &expected)
            .await
            .map(Current)
    }

    /// Change some fields of a {record}
    ///
    /// The body is a JSON merge patch (RFC 7396), sent as `application/json` or as
    /// `application/merge-patch+json`. A field that is not in it stays as it is. 412, `precondition_failed`,
    /// when the {record} has been written since.
    #[oai(path = "/:id", method = "patch")]
    async fn patch(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version that is changed, or `*`. Required: 428 without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Body<Patch>,
    ) -> Result<Current<Record>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        edit::patch(&app.store_for(&caller.identity), &caller.identity, id.0, &body.0, &expected)
            .await
            .map(Current)
    }

    /// Delete a {record}
    ///
    /// With `If-Match`, only as long as nobody has written it since.
    #[oai(path = "/:id", method = "delete")]
    async fn delete(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// The id of the {record}.
        id: Path<Uuid>,
        /// The ETag of the version that is deleted; whichever there is when absent.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<NoContent> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        edit::delete(
            &app.store_for(&caller.identity),
            &caller.identity,
            caller.schema,
            id.0,
            &expected,
        )
        .await
        .map(|_| NoContent)
    }
}

/// The path of a collection: `{records}` stands for its name.
pub(super) const COLLECTION: &str = "/api/v1/{records}";

/// The values that a query string gives to the parameters of its filter.
pub(super) fn arguments(request: &Request) -> Arguments {
    let pairs: Vec<(String, String)> = request.params().unwrap_or_default();
    let arguments = pairs.into_iter().filter_map(|(name, value)| {
        Some((name.strip_prefix(ARGUMENT_PREFIX)?.to_owned(), Argument::Untyped(value)))
    });
    arguments.collect()
}

/// The URL of the request with another cursor, relative to it (RFC 8288, section 3.1): the path that a client
/// sees is not known here, since a proxy may have taken a prefix from it.
pub(super) fn next_address(request: &Request, cursor: &str) -> String {
    let uri = request.original_uri();
    let kept = uri.query().unwrap_or_default().split('&');
    // By its full name: poem-openapi's `Type` in scope has an `is_empty` for `&str` too, always false.
    let kept = kept.filter(|pair| !str::is_empty(pair) && !pair.starts_with("cursor="));
    let next = format!("cursor={cursor}");
    let query: Vec<&str> = kept.chain([next.as_str()]).collect();
    format!("?{}", query.join("&"))
}

/// A search.
#[derive(Object, Deserialize)]
#[oai(rename = "SearchRequest")]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBody {
    /// Which records; all when absent. At most 8 KiB.
    filter: Option<String>,
    /// In which order: fields with `asc` or `desc`, separated by commas. In order of creation when
    /// absent.
    order_by: Option<String>,
    /// How many at most.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    limit: Option<i32>,
    /// `next_cursor` of the page before. Filter, parameters and order must stay the same.
    cursor: Option<String>,
    /// Whether to count the records of all pages.
    count: Option<Count>,
    /// Whether to say why, should nothing be found.
    why: Option<bool>,
    /// Values for the `$parameters` of the filter, by name.
    #[serde(default, deserialize_with = "unique_members")]
    parameters: Option<BTreeMap<String, Any<serde_json::Value>>>,
}

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
                filter: body.filter,
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

impl Documented for Page {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        "{Record}Page".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        Record::register(registry);
        Diagnostic::register(registry);
        Reason::register(registry);
        let described = |schema: MetaSchema, description| {
            MetaSchemaRef::Inline(Box::new(MetaSchema { description: Some(description), ..schema }))
        };
        let array = |items| MetaSchema { items: Some(Box::new(items)), ..MetaSchema::new("array") };
        let properties = vec![
            ("items", described(array(Record::schema_ref()), "The records, in order.")),
            (
                "next_cursor",
                described(
                    MetaSchema::new("string"),
                    "Where the next page begins; absent on the last.",
                ),
            ),
            (
                "total",
                described(
                    MetaSchema::new_with_format("integer", "int64"),
                    "How many records match on all pages together, with `count=exact`.",
                ),
            ),
            (
                "as_of",
                described(
                    MetaSchema::new_with_format("string", "date-time"),
                    "The moment `today` and `now` stand for, when the filter uses them. All pages \
                     of a search have the same.",
                ),
            ),
            (
                "why",
                described(
                    array(Reason::schema_ref()),
                    "With `why=true` and no record found: each of the first ten conditions that are \
                     joined by `and`.",
                ),
            ),
            (
                "warnings",
                described(
                    array(Diagnostic::schema_ref()),
                    "Remarks on a filter that is valid but easy to misread.",
                ),
            ),
        ];
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| MetaSchema {
            description: Some("A page of records."),
            required: vec!["items", "warnings"],
            properties,
            ..MetaSchema::new("object")
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// A record in one of its forms. The document has a schema of the form for each record type.
macro_rules! forms {
    ($($form:ty => $name:literal),+) => {$(
        impl Documented for $form {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Reference($name.to_owned())
            }

            fn register(registry: &mut Registry) {
                registry.create_schema::<Self, _>($name.to_owned(), |_| MetaSchema::new("object"));
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    )+};
}

forms! { Record => "{Record}", Draft => "{Record}Draft", Patch => "{Record}Patch" }

/// The tag under which the operations of a collection are grouped.
#[derive(Tags)]
pub(super) enum Tag {
    /// The record type's description stands here.
    #[oai(rename = "{records}")]
    Records,
}
