//! The outermost layer, which every request and every response passes: request id, log, limits, compression, and
//! problem documents for errors.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_compression::tokio::bufread::GzipEncoder;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    ETAG, TRANSFER_ENCODING, VARY,
};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use poem::{Body, Endpoint, Request, Response, Result};
use tokio::io::BufReader;
use uuid::Uuid;

use super::cors::Page;
use super::event::Event;
use super::exchange::{Exchange, Reserved};
use super::limits::{MAX_HEADER_BYTES, UNCOUNTED_BYTES};
use super::probe::PROBES;
use super::{problem, throttle};
use crate::admission::Admission;
use crate::error::{Error, Kind};
use crate::telemetry::account::{Account, Stage};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The maximum length of a request id that is accepted from a client.
const MAX_REQUEST_ID: usize = 128;

/// The minimum size of a compressed response, in bytes. Compressing smaller responses gains nothing.
const MIN_COMPRESSED_BYTES: u64 = 1024;

/// The standard methods (RFC 9110, section 9; RFC 5789).
pub(super) const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Handles a request. It always returns a response with the request id, also after errors and panics.
pub(super) async fn wrap<E: Endpoint>(
    admission: &Admission,
    endpoint: E,
    mut request: Request,
) -> Result<Response> {
    let exchange = Exchange::of(&request)?.clone();
    let id = exchange.request_id();
    let client = throttle::client_ip(&request, admission);
    exchange.account.is_from(client);
    let mut event = Event::of(exchange.clone(), &request);
    let page = Page::of(&exchange.service.origins, &request);
    let accepts_gzip = accepts_gzip(request.headers());
    let wants_timing = wants_timing(request.headers());
    let has_body = has_body(request.headers());
    // Handled as TRACE, which no route supports, so that unknown methods return 405.
    if !METHODS.contains(request.method()) {
        request.set_method(Method::TRACE);
    }
    let response = match page.preflight() {
        // Before `admit`, so that the page gets the problem of its request and not only a failed preflight.
        Some(response) => {
            event.is_preflight();
            Ok(response)
        }
        None => served(&exchange, endpoint, request).await,
    };
    let mut response = match response {
        Ok(response) => response,
        Err(error) => error_response(error),
    };
    if let Some(error) = take_error(&mut response) {
        let parts = std::mem::take(&mut response).into_parts().0;
        response = problem::response(&error, event.path(), id, parts);
        event.fails(error);
    }
    if accepts_gzip && is_compressible(&mut response) {
        response = compressed(response).await?;
    }
    if let Err(error) = reserve(&exchange, &mut response).await {
        let parts = Response::default().into_parts().0;
        response = problem::response(&error, event.path(), id, parts);
        event.fails(Arc::new(error));
    }
    let is_last = exchange.is_stopping() || exchange.client.is_extra;
    if is_last || (has_body && !exchange.has_read_body()) {
        // hyper closes the connection if the rest of the body has not arrived. The header announces it to the client.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(decision) = exchange.decision.get() {
        throttle::write_headers(decision, response.headers_mut());
    }
    response.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    if !response.headers().contains_key(CACHE_CONTROL) {
        // Responses depend on the token, and records change: caches must revalidate.
        let private = HeaderValue::from_static("private, no-cache");
        response.headers_mut().insert(CACHE_CONTROL, private);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    if wants_timing {
        write_timing(&exchange.account, response.headers_mut());
    }
    page.write_headers(response.headers_mut());
    Ok(event.ends_with(response))
}

/// Serves a request, as far as the limits allow it.
async fn served<E: Endpoint>(
    exchange: &Exchange,
    endpoint: E,
    request: Request,
) -> Result<Response, Error> {
    let _reserved = admit(exchange, &request).await?;
    let call = exchange.account.clone().within(call(&endpoint, request));
    exchange.within(pin!(call)).await?
}

/// Reserves memory for large request headers. On connections over the limit only probes are admitted, so that the
/// service passes its liveness probe when all connections are busy.
///
/// # Errors
/// [`Kind::HeadersTooLarge`]; [`Kind::Unavailable`] if no memory is left, or for other requests on a connection over
/// the limit.
async fn admit(exchange: &Exchange, request: &Request) -> Result<Option<Reserved>, Error> {
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let line = request.original_uri().path_and_query().map_or(0, |target| target.as_str().len());
    let size = line + fields;
    if size > MAX_HEADER_BYTES {
        let detail = format!(
            "the URL and the header fields have {size} bytes; expected at most {MAX_HEADER_BYTES}"
        );
        return Err(Error::new(Kind::HeadersTooLarge, detail));
    }
    if !exchange.client.is_extra || PROBES.contains(&request.uri().path()) {
        // Reserved until the response is complete, because parts of the headers are kept until then.
        return if size > UNCOUNTED_BYTES {
            exchange.reserve(size).await.map(Some)
        } else {
            Ok(None)
        };
    }
    let detail = "too many open connections; retry later".to_owned();
    Err(Error { detail, ..Error::unavailable("the limit of connections is reached") })
}

/// Reserves memory for a response until its last byte is sent. Files of the documentation need no reservation, because
/// all responses share them. Exports need none, because their number is limited.
///
/// # Errors
/// [`Kind::Unavailable`] if no memory is left.
async fn reserve(exchange: &Exchange, response: &mut Response) -> Result<(), Error> {
    if response.extensions().get::<Shared>().is_some() {
        return Ok(());
    }
    let body: BoxBody<Bytes, std::io::Error> = response.take_body().into();
    let size = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|size| *size > UNCOUNTED_BYTES) else {
        response.set_body(body);
        return Ok(());
    };
    let reserved = exchange.reserve(size).await?;
    let bytes = Body::from(body).into_bytes().await.map_err(Error::internal)?;
    response.set_body(reserved.bytes(bytes));
    Ok(())
}

/// Marks a response whose body is shared by all clients.
#[derive(Clone, Copy)]
pub(super) struct Shared;

/// Marks an error response that is not rendered as a problem, such as a page for browsers.
#[derive(Clone, Copy)]
pub(super) struct Rendered;

/// Returns an empty response that carries an error to [`wrap`], which renders it.
pub(super) fn error_response(error: Error) -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Arc::new(error));
    response
}

/// Takes the error out of a response. An error response of the framework becomes an error of ours.
fn take_error(response: &mut Response) -> Option<Arc<Error>> {
    if let Some(error) = response.extensions_mut().remove::<Arc<Error>>() {
        return Some(error);
    }
    // The framework's own error responses have a status and plain text.
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_rendered = response.content_type() == Some(problem::MEDIA_TYPE)
        || response.extensions().get::<Rendered>().is_some();
    (is_error && !is_rendered).then(|| Arc::new(from_status(status)))
}

/// Returns the error for an error status of the framework.
pub(super) fn from_status(status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => {
            Error::new(Kind::UnknownRoute, "unknown path; see /docs for the routes")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Error::new(Kind::MethodNotAllowed, "unsupported method; see the `Allow` header")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(Kind::BodyTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Error::new(Kind::UnsupportedMediaType, "unsupported media type; send application/json")
        }
        status if status.is_client_error() => {
            Error::new(Kind::InvalidParameter, "the request is malformed")
        }
        status => Error::internal(format!("the framework returned {status}")),
    }
}

/// Calls the endpoint, and converts a panic into an internal error.
async fn call<E: Endpoint>(endpoint: &E, request: Request) -> Result<Response, Error> {
    match AssertUnwindSafe(endpoint.get_response(request)).catch_unwind().await {
        Ok(response) => Ok(response),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "unknown panic".to_owned());
            Err(Error::internal(format!("panic: {text}")))
        }
    }
}

/// Compresses a response with gzip. A complete body is compressed at once: a streaming encoder needs more memory than
/// most responses, and would keep it while a slow client reads. Other bodies are compressed as a stream.
async fn compressed(mut response: Response) -> Result<Response, Error> {
    let body: BoxBody<Bytes, std::io::Error> = response.take_body().into();
    let is_whole = body.size_hint().exact().is_some_and(|size| size > 0);
    let body = if is_whole {
        let bytes = Body::from(body).into_bytes().await.map_err(Error::internal)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let bytes = encoder.write_all(&bytes).and_then(|()| encoder.finish());
        Body::from(bytes.map_err(Error::internal)?)
    } else {
        let reader = BufReader::new(Body::from(body).into_async_read());
        Body::from_async_read(GzipEncoder::new(reader))
    };
    let mut parts = response.into_parts().0;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(Response::from_parts(parts, body))
}

/// Returns the request id of the client if it is short and printable, otherwise a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()))
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Returns whether the client prefers to know how long the stages of the request took (RFC 7240).
fn wants_timing(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.any(|preference| preference.trim().eq_ignore_ascii_case(SERVER_TIMING.as_str()))
}

/// Sets the header fields with the times of the stages, in milliseconds (W3C Server Timing).
fn write_timing(account: &Account, headers: &mut HeaderMap) {
    let of = |name: &str, time: Duration| format!("{name};dur={:.3}", time.as_secs_f64() * 1000.0);
    let stages = Stage::ALL.iter().map(|stage| of(stage.name(), account.time_of(*stage)));
    let times: Vec<String> = stages.chain([of("total", account.elapsed())]).collect();
    // Cannot fail: names and numbers are printable ASCII.
    if let Ok(times) = HeaderValue::from_str(&times.join(", ")) {
        headers.insert(SERVER_TIMING, times);
        let applied = HeaderValue::from_static("server-timing");
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Returns whether `Accept-Encoding` accepts gzip (RFC 9110, section 12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight = |coding: &str| {
        let values =
            headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, "q=1"));
            let quality = parameters.trim().strip_prefix("q=")?.trim().parse::<f32>().ok()?;
            name.trim().eq_ignore_ascii_case(coding).then_some(quality)
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|quality| quality > 0.0)
}

/// Returns whether to compress a response. Responses with an ETag are not compressed, because a strong tag identifies
/// exact bytes.
fn is_compressible(response: &mut Response) -> bool {
    let body: BoxBody<Bytes, std::io::Error> = response.take_body().into();
    let length = body.size_hint().exact();
    response.set_body(body);
    let headers = response.headers();
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_text = media_type
        .is_some_and(|media_type| media_type.contains("json") || media_type.starts_with("text/"));
    // A response to HEAD has no body, and the `Content-Length` of GET.
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    is_text
        && !headers.contains_key(ETAG)
        && !headers.contains_key(CONTENT_ENCODING)
        && announced.or(length).is_none_or(|length| length >= MIN_COMPRESSED_BYTES)
}
