//! Bodies: JSON read strictly and written straight to bytes.

use std::time::Duration;

use futures_util::StreamExt;
use poem::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LINK, LOCATION};
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef,
    Registry,
};
use poem_openapi::types::Type as Documented;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use serde::Serialize;

use super::caller::about;
use super::conditional::etag;
use super::exchange::{Exchange, Reserved};
use super::limits::UNCOUNTED_BYTES;
use crate::app::search::Page;
use crate::error::{Error, Kind, Result};
use crate::record::{Draft, Members, Patch};
use crate::store::Record;

/// The largest body of a record that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The largest body of anything else, in bytes. Reading JSON takes many times its size.
pub(super) const MAX_OTHER_BODY_BYTES: usize = 64 * 1024;

/// How much memory is reserved at a time for a body that arrives, in bytes.
const RESERVED_STEP: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The media types of a JSON merge patch (RFC 7396). Clients that send the first mean it too: there is
/// no other kind of patch here.
pub(super) const PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// What can be read from a body.
pub(super) trait Input: Documented + Sized {
    /// The media types it travels as. The first is the documented one: generators of clients expect
    /// a body to have a single type.
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    /// The largest that is read, in bytes.
    const MAX_BYTES: usize = MAX_OTHER_BODY_BYTES;

    /// Reads it, for the record type that the request is about where that matters.
    fn read(bytes: &[u8], request: &Request) -> Result<Self>;

    /// What is said of another media type.
    fn unsupported() -> Error {
        let detail = format!("send Content-Type: {}", Self::MEDIA_TYPES.join(" or "));
        Error::new(Kind::UnsupportedMediaType, detail)
    }
}

impl Input for Draft {
    const MAX_BYTES: usize = MAX_BODY_BYTES;

    fn read(bytes: &[u8], request: &Request) -> Result<Self> {
        Draft::read(about(request)?, json::<Members>(bytes)?).map_err(Error::record)
    }
}

impl Input for Patch {
    const MEDIA_TYPES: &'static [&'static str] = PATCH;
    const MAX_BYTES: usize = MAX_BODY_BYTES;

    fn read(bytes: &[u8], request: &Request) -> Result<Self> {
        Patch::read(about(request)?, json::<Members>(bytes)?).map_err(Error::record)
    }
}

/// JSON as the type wants it, no member more.
pub(super) fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let refused = |detail: String| Error::new(Kind::InvalidBody, detail);
    // serde reads a structure from an array as well, member after member.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused("expected a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))
}

/// The body of a request.
pub(super) struct Body<T>(pub(super) T);

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
        let bytes = read_body(request, body, T::MAX_BYTES).await?;
        Ok(Self(T::read(&bytes, request)?))
    }
}

/// Whether `Content-Type` names that media type, whatever its parameters.
pub(super) fn is_media_type(content_type: &str, media_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

/// The bytes of a body, and the memory that is reserved for them.
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

/// All of a body, up to so many bytes and within [`BODY_TIMEOUT`].
pub(super) async fn read_body(
    request: &Request,
    body: &mut RequestBody,
    most: usize,
) -> poem::Result<BodyBytes> {
    refuse_coding(request)?;
    let too_large = || Error::new(Kind::BodyTooLarge, format!("at most {most} bytes are read"));
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large().into());
    }
    let exchange = Exchange::of(request)?;
    let mut chunks = body.take()?.into_bytes_stream();
    let read = async {
        // Memory is taken in steps, as the body arrives: one that is announced costs nothing.
        let (mut bytes, mut reserved) = (Vec::new(), Vec::new());
        let mut room = UNCOUNTED_BYTES;
        while let Some(chunk) = chunks.next().await {
            let cut = |_| Error::new(Kind::InvalidBody, "the body ends too early");
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
        let detail = format!("the body has not arrived within {} seconds", BODY_TIMEOUT.as_secs());
        Error::new(Kind::RequestTimeout, detail)
    })?;
    Ok(read?)
}

/// Bodies in a content coding are not inflated: a small one could become huge.
pub(super) fn refuse_coding(request: &Request) -> Result<()> {
    let mut codings = request.headers().get_all(CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let detail = "send the body without Content-Encoding";
    Err(Error::new(Kind::UnsupportedMediaType, detail))
}

/// A value as JSON, from serde to bytes without a detour. Its documentation is the type's.
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
        written(serde_json::to_vec(&self.0).map_err(Error::internal))
    }
}

/// JSON as a response.
fn written(json: Result<Vec<u8>>) -> Response {
    match json {
        // Without the room that it grew into: a response may wait long for a slow client.
        Ok(body) => {
            let body = ::bytes::Bytes::from(body.into_boxed_slice());
            Response::builder().content_type("application/json").body(body)
        }
        Err(error) => super::envelope::refused(error),
    }
}

/// A page of records that was asked for with a body, so that no URL leads to the next one.
pub(super) struct Found(pub(super) Page);

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        written(self.0.into_json())
    }
}

/// A page of records, and the URL of the next one.
pub(super) struct Paged {
    pub(super) page: Page,
    pub(super) next: Option<String>,
}

impl IntoResponse for Paged {
    fn into_response(self) -> Response {
        let mut response = written(self.page.into_json());
        if let Some(next) = self.next {
            insert(&mut response, LINK, &format!("<{next}>; rel=\"next\""));
        }
        response
    }
}

/// Something that is written again and again, and has the number of times as its ETag.
pub(super) trait Versioned: Documented + Serialize + Send {
    /// What it is called in the specification.
    const NAME: &'static str;

    /// What the specification says of its ETag, and whether there always is one.
    const TAG: Field = ("ETag", "The version, to be sent in If-Match.", true);

    /// How often it has been written; none when it cannot be.
    fn version(&self) -> Option<i64>;
}

impl Versioned for Record {
    const NAME: &'static str = "record";

    fn version(&self) -> Option<i64> {
        Some(Record::version(self))
    }
}

/// Something that was created, with its URL relative to that of the request: a proxy may serve that below a path
/// of its own.
pub(super) struct Created<T> {
    pub(super) created: T,
    pub(super) location: String,
}

/// Something as it is now.
pub(super) struct Current<T>(pub(super) T);

/// Something as it is now, or 304 when the client has it already.
pub(super) enum IfChanged<T> {
    /// Here it is.
    Changed(T),
    /// The client has this version.
    NotModified(i64),
}

/// 204.
pub(super) struct NoContent;

impl<T: Versioned> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = Current(self.created).into_response();
        response.set_status(StatusCode::CREATED);
        insert(&mut response, LOCATION, &self.location);
        response
    }
}

impl<T: Versioned> IntoResponse for Current<T> {
    fn into_response(self) -> Response {
        let version = self.0.version();
        let mut response = Json(self.0).into_response();
        if let Some(version) = version {
            insert(&mut response, ETAG, &etag(version));
        }
        response
    }
}

impl<T: Versioned> IntoResponse for IfChanged<T> {
    fn into_response(self) -> Response {
        match self {
            IfChanged::Changed(value) => Current(value).into_response(),
            IfChanged::NotModified(version) => {
                let mut response = Response::builder().status(StatusCode::NOT_MODIFIED).finish();
                insert(&mut response, ETAG, &etag(version));
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

pub(super) fn insert(response: &mut Response, name: HeaderName, value: &str) {
    // Tags, addresses and cursors are printable ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A documented header: its name, what it says, and whether it is always there.
pub(super) type Field = (&'static str, &'static str, bool);

/// One documented response. What it brings is said with the operation.
pub(super) fn documented(
    status: u16,
    schema: Option<MetaSchemaRef>,
    headers: &[(&str, &str, bool)],
) -> MetaResponse {
    let content = schema.map(|schema| MetaMediaType { content_type: "application/json", schema });
    let headers = headers.iter().map(|(name, description, is_always_there)| MetaHeader {
        name: (*name).to_owned(),
        description: Some((*description).to_owned()),
        required: *is_always_there,
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

/// Documents types as responses: the bound of a generic one, the type, the schema it has, and the responses.
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
            ("Link", "The URL of the next page, relative to that of the request, with rel=\"next\"; absent on the last.", false),
        ])
    ];
    [T: Versioned] Created<T>, [T] => [created::<T>()];
    [T: Versioned] Current<T>, [T] => [documented(200, Some(T::schema_ref()), &[T::TAG])];
    [T: Versioned] IfChanged<T>, [T] => [
        documented(200, Some(T::schema_ref()), &[T::TAG]),
        documented(304, None, &[T::TAG])
    ];
    [] NoContent, [] => [documented(204, None, &[])];
}

/// What has just been created always has a version.
fn created<T: Versioned>() -> MetaResponse {
    let url = format!("The URL of the {}, relative to that of the request.", T::NAME);
    let headers = [Record::TAG, ("Location", url.as_str(), true)];
    documented(201, Some(T::schema_ref()), &headers)
}
