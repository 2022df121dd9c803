//! Request and response bodies. JSON is parsed strictly, and serialized directly to bytes.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use poem::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LINK, LOCATION};
use poem::http::{Method, StatusCode};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef,
    Registry,
};
use poem_openapi::types::Type as Documented;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use serde::de::IgnoredAny;
use serde::{Deserialize as _, Deserializer, Serialize};

use super::caller::path_schema;
use super::conditional::{etag, set_header};
use super::exchange::{Exchange, Reserved};
use super::idempotency;
use super::limits::{Limits, UNCOUNTED_BYTES};
use crate::app::search::Page;
use crate::error::{Error, Kind, Result};
use crate::record::json::{Object, describe};
use crate::record::{Draft, Members, Patch};
use crate::store::IdempotencyKey;
use crate::store::Record;

/// The maximum body of other requests, in bytes. It is small, because parsing JSON takes many times its size.
pub(super) const MAX_OTHER_BODY_BYTES: usize = 64 * 1024;

/// The step in which memory is reserved for an arriving body, in bytes.
const RESERVED_STEP: usize = 64 * 1024;

/// The maximum time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The media types of a JSON merge patch (RFC 7396). `application/json` is accepted as well, because there is no
/// other kind of patch here.
pub(super) const PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// A type that can be parsed from a request body.
pub(super) trait Input: Documented + Sized {
    /// The accepted media types. Only the first is documented, because client generators expect a single media type
    /// per body.
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    /// Whether requests with this body may have an idempotency key.
    const TAKES_KEY: bool = false;

    /// Returns the maximum size of the body, in bytes.
    fn max_bytes(_limits: &Limits) -> usize {
        MAX_OTHER_BODY_BYTES
    }

    /// Parses the body. `request` has the record type of the path.
    fn read(bytes: &[u8], request: &Request) -> Result<Self>;

    /// Returns the error for another media type.
    fn unsupported() -> Error {
        let detail = format!("send Content-Type: {}", Self::MEDIA_TYPES.join(" or "));
        Error::new(Kind::UnsupportedMediaType, detail)
    }
}

impl Input for Draft {
    const TAKES_KEY: bool = true;

    fn max_bytes(limits: &Limits) -> usize {
        limits.body_bytes
    }

    fn read(bytes: &[u8], request: &Request) -> Result<Self> {
        let (schema, members) = (path_schema(request)?, json::<Members>(bytes)?);
        let draft = match *request.method() {
            Method::PUT => Draft::read_replacement(schema, members),
            _ => Draft::read(schema, members),
        };
        draft.map_err(Error::record)
    }
}

impl Input for Patch {
    const MEDIA_TYPES: &'static [&'static str] = PATCH;
    const TAKES_KEY: bool = true;

    fn max_bytes(limits: &Limits) -> usize {
        limits.body_bytes
    }

    fn read(bytes: &[u8], request: &Request) -> Result<Self> {
        Patch::read(path_schema(request)?, json::<Members>(bytes)?).map_err(Error::record)
    }
}

/// Parses a JSON object. Unknown and repeated members are errors if `T` says so.
///
/// # Errors
/// [`Kind::InvalidBody`].
pub(super) fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let invalid = |detail: String| Error::new(Kind::InvalidBody, detail);
    let read = serde_json::from_slice::<Object<T>>(bytes);
    read.map(|Object(read)| read).map_err(|error| {
        let (line, column) = (error.line(), error.column().max(1));
        // serde reports a value that is no name of an enum as a mistake of syntax.
        let is_json = || serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        let description = match error.is_syntax() && is_json() {
            true => "expected a string, found another value".to_owned(),
            false => describe(&error),
        };
        invalid(format!("{description} at line {line} column {column}"))
    })
}

/// Reads an optional integer. As in JSON Schema, a number without a fraction is one: `1.0` and `1e3` are integers.
///
/// # Errors
/// A number with a fraction or out of range, and other types.
pub(super) fn integer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<i32>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole = number.as_i64().and_then(|number| i32::try_from(number).ok()).or_else(|| {
        let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
        // Every i32 is exact as a float, and others are cut off.
        #[allow(clippy::cast_possible_truncation, reason = "compared with the original below")]
        let whole = number as i32;
        (f64::from(whole) - number == 0.0).then_some(whole)
    });
    let unexpected = || serde::de::Error::custom(format!("expected an integer, found {number}"));
    whole.map(Some).ok_or_else(unexpected)
}

/// Extracts the body of a request, and its idempotency key.
pub(super) struct Body<T>(pub(super) T, pub(super) Option<IdempotencyKey>);

impl<'a, T: Input + Send + 'static> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let documented = T::MEDIA_TYPES.iter().take(1);
        let content = documented
            .map(|content_type| MetaMediaType { content_type, schema: T::schema_ref() })
            .collect();
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let sent = request.content_type().unwrap_or_default();
        if !T::MEDIA_TYPES.iter().any(|known| is_media_type(sent, known)) {
            return Err(T::unsupported().into());
        }
        let most = T::max_bytes(&Exchange::of(request)?.service.limits);
        let bytes = read_body(request, body, most).await?;
        let key = if T::TAKES_KEY { idempotency::key(request, &bytes)? } else { None };
        Ok(Self(T::read(&bytes, request)?, key))
    }
}

/// Returns whether `Content-Type` is that media type. Parameters are ignored.
pub(super) fn is_media_type(content_type: &str, media_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

/// The bytes of a body, with the memory reservation for them.
pub(super) struct BodyBytes {
    bytes: Vec<u8>,
    _reserved: Vec<Reserved>,
}

impl std::ops::Deref for BodyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a whole body of at most `most` bytes within [`BODY_TIMEOUT`].
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] for a content coding; [`Kind::BodyTooLarge`]; [`Kind::InvalidBody`] if the body ends
/// early; [`Kind::RequestTimeout`]; [`Kind::Unavailable`] if no memory is left.
pub(super) async fn read_body(
    request: &Request,
    body: &mut RequestBody,
    most: usize,
) -> poem::Result<BodyBytes> {
    reject_content_coding(request)?;
    let too_large = || {
        let detail = format!("the body is too large; expected at most {most} bytes");
        Error::new(Kind::BodyTooLarge, detail)
    };
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large().into());
    }
    let exchange = Exchange::of(request)?;
    let mut chunks = pin!(chunks(exchange.clone(), body)?);
    let read = async {
        // Memory is reserved in steps as the body arrives, because `Content-Length` alone must not reserve any.
        let (mut bytes, mut reserved) = (Vec::new(), Vec::new());
        let mut room = UNCOUNTED_BYTES;
        while let Some(chunk) = chunks.next().await {
            let cut = |_| Error::new(Kind::InvalidBody, "the body ended before it was complete");
            let chunk = chunk.map_err(cut)?;
            if bytes.len() + chunk.len() > most {
                return Err(too_large());
            }
            while bytes.len() + chunk.len() > room {
                reserved.push(exchange.reserve(RESERVED_STEP).await?);
                room += RESERVED_STEP;
                bytes.reserve_exact(room - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(BodyBytes { bytes, _reserved: reserved })
    };
    let _awaiting = exchange.awaiting();
    let read = tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
        Error::new(Kind::RequestTimeout, detail)
    })?;
    Ok(read?)
}

/// Returns the chunks of a body, and notes when the client has sent all of them.
pub(super) fn chunks(
    exchange: Arc<Exchange>,
    body: &mut RequestBody,
) -> poem::Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
    let end = stream::poll_fn(move |_| {
        exchange.reads_whole_body();
        Poll::Ready(None)
    });
    Ok(body.take()?.into_bytes_stream().chain(end))
}

/// Rejects bodies with a content coding. They are not decompressed, because a small body could become huge.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`].
pub(super) fn reject_content_coding(request: &Request) -> Result<()> {
    let mut codings = request.headers().get_all(CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let detail = "send the body without Content-Encoding";
    Err(Error::new(Kind::UnsupportedMediaType, detail))
}

/// A JSON body, serialized by serde. It is documented with the schema of the type.
pub(super) struct Json<T>(pub(super) T);

impl<T: Documented> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json_response(serde_json::to_vec(&self.0).map_err(Error::internal))
    }
}

/// Returns a response with this JSON.
fn json_response(json: Result<Vec<u8>>) -> Response {
    match json {
        // Drops the spare capacity, because a response may wait long for a slow client.
        Ok(body) => {
            let body = Bytes::from(body.into_boxed_slice());
            Response::builder().content_type("application/json").body(body)
        }
        Err(error) => super::envelope::error_response(error),
    }
}

/// A page of records for a request with a body. The next page has no URL, so there is no `Link`.
pub(super) struct Found(pub(super) Page);

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        json_response(self.0.into_json())
    }
}

/// A page of records, with the URL of the next page.
pub(super) struct Paged {
    pub(super) page: Page,
    pub(super) next: Option<String>,
}

impl IntoResponse for Paged {
    fn into_response(self) -> Response {
        let mut response = json_response(self.page.into_json());
        if let Some(next) = self.next {
            set_header(&mut response, LINK, &format!("<{next}>; rel=\"next\""));
        }
        response
    }
}

/// A resource with a version, which is its ETag.
pub(super) trait Versioned: Documented + Serialize + Send {
    /// The name of the resource in the OpenAPI document.
    const NAME: &'static str;

    /// The documentation of the `ETag` header.
    const TAG: Field =
        ("ETag", "The version. Send it as `If-Match` to change this version only.", true);

    /// Returns the number of times the resource was written, or `None` if it is read-only.
    fn version(&self) -> Option<i64>;
}

impl Versioned for Record {
    const NAME: &'static str = "record";

    fn version(&self) -> Option<i64> {
        Some(Record::version(self))
    }
}

/// A created resource, with its URL relative to the request URL. It is relative, because a proxy may add a path
/// prefix.
pub(super) struct Created<T> {
    pub(super) created: T,
    pub(super) location: String,
}

/// The current version of a resource.
pub(super) struct Current<T>(pub(super) T);

/// A created resource, or the one that is there.
pub(super) enum CreatedOrCurrent<T> {
    Created(Created<T>),
    Current(Current<T>),
}

/// The current version of a resource, or 304 if the client has it.
pub(super) enum IfChanged<T> {
    /// The client does not have this version.
    Changed(T),
    /// The client has this version.
    NotModified(i64),
}

/// The response 204, without a body.
pub(super) struct NoContent;

impl<T: Versioned> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = Current(self.created).into_response();
        response.set_status(StatusCode::CREATED);
        set_header(&mut response, LOCATION, &self.location);
        response
    }
}

impl<T: Versioned> IntoResponse for Current<T> {
    fn into_response(self) -> Response {
        let version = self.0.version();
        let mut response = Json(self.0).into_response();
        if let Some(version) = version {
            set_header(&mut response, ETAG, &etag(version));
        }
        response
    }
}

impl<T: Versioned> IntoResponse for CreatedOrCurrent<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Created(created) => created.into_response(),
            Self::Current(current) => current.into_response(),
        }
    }
}

impl<T: Versioned> IntoResponse for IfChanged<T> {
    fn into_response(self) -> Response {
        match self {
            IfChanged::Changed(value) => Current(value).into_response(),
            IfChanged::NotModified(version) => {
                let mut response = Response::builder().status(StatusCode::NOT_MODIFIED).finish();
                set_header(&mut response, ETAG, &etag(version));
                response
            }
        }
    }
}

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        Response::builder().status(StatusCode::NO_CONTENT).finish()
    }
}

/// A documented header: its name, its description, and whether it is always present.
pub(super) type Field = (&'static str, &'static str, bool);

/// Documents a response. The route table has its description.
pub(super) fn documented(
    status: u16,
    schema: Option<MetaSchemaRef>,
    headers: &[(&str, &str, bool)],
) -> MetaResponse {
    let content = schema.map(|schema| MetaMediaType { content_type: "application/json", schema });
    let headers = headers.iter().map(|(name, description, is_required)| MetaHeader {
        name: (*name).to_owned(),
        description: Some((*description).to_owned()),
        required: *is_required,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
    });
    MetaResponse {
        description: "",
        status: Some(status),
        status_range: None,
        content: content.into_iter().collect(),
        headers: headers.collect(),
    }
}

/// Documents types as responses: the bound of a generic type, the type, its schema, and its responses.
macro_rules! responses {
    ($([$($generic:ident: $bound:path)?] $response:ty, [$($registered:ty)?] => [$($documented:expr),+];)+) => {$(
        impl$(<$generic: $bound>)? ApiResponse for $response {
            fn meta() -> MetaResponses {
                MetaResponses { responses: vec![$($documented),+] }
            }

            fn register(_registry: &mut Registry) {
                $(<$registered as Documented>::register(_registry);)?
            }
        }
    )+};
}

responses! {
    [T: Documented] Json<T>, [T] => [documented(200, Some(T::schema_ref()), &[])];
    [] Found, [Page] => [documented(200, Some(Page::schema_ref()), &[])];
    [] Paged, [Page] => [
        documented(200, Some(Page::schema_ref()), &[
            ("Link", "The URL of the next page, relative to the request URL, with `rel=\"next\"`. Absent on the last page.", false),
        ])
    ];
    [T: Versioned] Created<T>, [T] => [created::<T>()];
    [T: Versioned] CreatedOrCurrent<T>, [T] => [
        created::<T>(),
        documented(200, Some(T::schema_ref()), &[T::TAG])
    ];
    [T: Versioned] Current<T>, [T] => [documented(200, Some(T::schema_ref()), &[T::TAG])];
    [T: Versioned] IfChanged<T>, [T] => [
        documented(200, Some(T::schema_ref()), &[T::TAG]),
        documented(304, None, &[T::TAG])
    ];
    [] NoContent, [] => [documented(204, None, &[])];
}

/// Documents the response to a creation. A created resource always has a version.
fn created<T: Versioned>() -> MetaResponse {
    let url = format!("The URL of the {}, relative to the request URL.", T::NAME);
    let headers = [Record::TAG, ("Location", url.as_str(), true)];
    documented(201, Some(T::schema_ref()), &headers)
}
