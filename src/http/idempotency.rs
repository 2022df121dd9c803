//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a request with the key of an earlier one gets its
//! response.

use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{IntoResponse, Request, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::conditional::{etag, set_header};
use crate::error::{Error, Kind, Result};
use crate::store::{IdempotencyKey, Keyed, Once, Reply, Written};

/// The request header with the key.
const KEY: &str = "Idempotency-Key";

/// The response header of a repeated response.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The maximum length of a key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The header fields that are stored with a response.
const STORED: [&str; 2] = ["etag", "location"];

/// Returns the key of a request. The quotes of a structured field (RFC 9651) are optional.
///
/// # Errors
/// [`Kind::InvalidParameter`] if the key is empty, too long or sent twice, or has characters other than visible ASCII.
pub(super) fn key(request: &Request, body: &[u8]) -> Result<Option<IdempotencyKey>> {
    let mut fields = request.headers().get_all(KEY).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let text = field.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_valid = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if fields.next().is_some() || !is_valid || !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        let detail = format!(
            "{KEY}: expected one key of 1 to {MAX_KEY_BYTES} visible ASCII characters, such as a UUID"
        );
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let mut hash = Sha256::new();
    // Each part with its length, so that no two requests give the same bytes.
    let part = |hash: &mut Sha256, part: &[u8]| {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    };
    part(&mut hash, request.method().as_str().as_bytes());
    part(&mut hash, request.uri().to_string().as_bytes());
    for field in request.headers().get_all("if-match") {
        part(&mut hash, field.as_bytes());
    }
    part(&mut hash, body);
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: hash.finalize().to_vec() }))
}

/// Returns a key with the response to a write of a record, which has this status.
pub(super) fn keyed(key: Option<IdempotencyKey>, status: StatusCode) -> Option<Keyed<Written>> {
    let reply = move |written: &Written| match written {
        Written::Done(record) | Written::Unchanged(record) => {
            reply(status, record, record.version(), None).map(Some)
        }
        Written::Stale(_) | Written::Missing => Ok(None),
    };
    key.map(|key| Keyed { key, reply: Box::new(reply) })
}

/// Returns the response to store.
///
/// # Errors
/// Cannot fail in practice: a record is JSON.
pub(super) fn reply(
    status: StatusCode,
    body: &impl Serialize,
    version: i64,
    location: Option<String>,
) -> Result<Reply> {
    let tag = Some(etag(version));
    let headers = STORED.iter().zip([tag, location]);
    let headers = headers.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
    Ok(Reply { headers: headers.collect(), ..unversioned(status, body)? })
}

/// Returns the response to store for something without a version.
///
/// # Errors
/// Cannot fail in practice: the body is JSON.
pub(super) fn unversioned(status: StatusCode, body: &impl Serialize) -> Result<Reply> {
    let body = serde_json::to_string(body).map_err(Error::internal)?;
    Ok(Reply { status: status.as_u16(), headers: Vec::new(), body })
}

/// The response to a request that may have an idempotency key.
pub(super) enum Retriable<T> {
    /// The request had no key.
    Unkeyed(T),
    /// The stored response, and whether it is that of an earlier request.
    Stored(Reply, bool),
}

impl<T> Retriable<T> {
    /// Returns the response to an outcome.
    pub(super) fn of<O>(once: Once<O>, unkeyed: impl FnOnce(O) -> T) -> Self {
        match once {
            Once::Unkeyed(outcome) => Self::Unkeyed(unkeyed(outcome)),
            Once::Stored(reply) => Self::Stored(reply, false),
            Once::Replayed(reply) => Self::Stored(reply, true),
        }
    }
}

impl<T: IntoResponse> IntoResponse for Retriable<T> {
    fn into_response(self) -> Response {
        let (Reply { status, headers, body }, is_replayed) = match self {
            Self::Unkeyed(response) => return response.into_response(),
            Self::Stored(reply, is_replayed) => (reply, is_replayed),
        };
        let mut response = Response::builder().content_type("application/json").body(body);
        response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
        for (name, value) in headers {
            if let Ok(name) = name.parse::<HeaderName>() {
                set_header(&mut response, name, &value);
            }
        }
        if is_replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

impl<T: ApiResponse> ApiResponse for Retriable<T> {
    fn meta() -> MetaResponses {
        let mut meta = T::meta();
        for response in &mut meta.responses {
            response.headers.push(MetaHeader {
                name: "Idempotency-Replayed".to_owned(),
                description: Some(
                    "`true` if this is the response to an earlier request with the same `Idempotency-Key`."
                        .to_owned(),
                ),
                required: false,
                deprecated: false,
                schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
            });
        }
        meta
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
