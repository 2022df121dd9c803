//! Errors as problem documents (RFC 9457).

use poem::error::ResponseError;
use poem::http::header::{CONTENT_LENGTH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use poem::http::{HeaderValue, StatusCode};
use poem::{Response, ResponseParts};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{Any, Type as _};
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use uuid::Uuid;

use crate::error::{Error, Kind, There, Violation};
use crate::query::Diagnostic;

/// The media type of a problem document.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The legacy paths. Their problems have the member `msg`, as in the previous service.
const WITH_MSG: [&str; 5] = ["/api", "/api/", "/api/search", "/api/expiredMovies", "/api/token"];

/// A problem document (RFC 9457): the error, and what to do about it.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Problem {
    /// Always `about:blank`. Use `code` to identify the problem.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    problem_type: String,
    /// A short summary. It is the same for every problem with this code.
    title: String,
    /// The HTTP status.
    status: i32,
    /// The stable code of the problem, such as `invalid_query`. More codes may be added.
    code: String,
    /// An explanation of this occurrence: what was found, what was expected, what to do.
    detail: String,
    /// On legacy routes: the value of `detail`, under its name in the previous service.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
    /// For OAuth 2.0 requests: the value of `code`, under its name in RFC 6749, section 5.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// For OAuth 2.0 requests: the value of `detail`, under its name in RFC 6749, section 5.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
    /// The request id, as in `X-Request-Id`. Quote it when you report a problem.
    request_id: String,
    /// With `invalid_query` and `query_outdated`: the problems of the filter, the order or the parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Diagnostic>>,
    /// With `invalid_record`: the rules that the record breaks. With `rows_rejected` and `every_row_rejected`: the rules that rows of
    /// the file break, by line. On legacy routes: the invalid parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<Violation>>,
    /// With `ambiguous`: the matching records.
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Any<serde_json::Value>>>,
    /// With `duplicate`: the id of the record that exists. `Location` has its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    existing_id: Option<Uuid>,
    /// With `precondition_failed`: the current record, if the token allows reading it.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Any<serde_json::Value>>,
    /// With `unexpected_count`: the number of matching records.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<i64>,
}

impl Problem {
    /// Creates the problem document for an error of a request to `path`.
    pub(super) fn of(error: &Error, path: &str, request_id: &str) -> Self {
        Self {
            problem_type: "about:blank".to_owned(),
            title: error.kind.title().to_owned(),
            status: i32::from(error.kind.status()),
            code: error.kind.code().to_owned(),
            detail: error.detail.clone(),
            msg: WITH_MSG.contains(&path).then(|| error.detail.clone()),
            error: error.kind.is_oauth().then(|| error.kind.code().to_owned()),
            error_description: error.kind.is_oauth().then(|| error.detail.clone()),
            request_id: request_id.to_owned(),
            diagnostics: some(&error.diagnostics),
            errors: some(&error.violations),
            records: match error.there.as_deref() {
                Some(There::Several(records)) => Some(records.iter().cloned().map(Any).collect()),
                _ => None,
            },
            existing_id: match error.there.as_deref() {
                Some(There::Other(_, id)) => Some(*id),
                _ => None,
            },
            current: match error.there.as_deref() {
                Some(There::Current(record)) => Some(Any(record.clone())),
                _ => None,
            },
            matched: match error.there.as_deref() {
                Some(There::Matching(count)) => Some(*count),
                _ => None,
            },
        }
    }
}

/// Documents the error responses, which are the same for every operation.
impl ApiResponse for Error {
    fn meta() -> MetaResponses {
        let problem = |range: &str, description| MetaResponse {
            description,
            status: None,
            status_range: Some(range.to_owned()),
            content: vec![MetaMediaType {
                content_type: MEDIA_TYPE,
                schema: Problem::schema_ref(),
            }],
            headers: Vec::new(),
        };
        let responses = vec![
            problem("4XX", "The request is rejected; `code` has the reason."),
            problem(
                "5XX",
                "The service failed (`internal`, 500) or is temporarily unavailable (`unavailable`, 503).",
            ),
        ];
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

impl ResponseError for Error {
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Returns the response for an error. `parts` has the headers that are already set, such as `Allow`.
pub(super) fn response(
    error: &Error,
    path: &str,
    request_id: &str,
    parts: ResponseParts,
) -> Response {
    let status = error.status();
    let problem = Problem::of(error, path, request_id);
    // Serializing strings and numbers cannot fail.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::from_parts(parts, body.into()).set_content_type(MEDIA_TYPE);
    response.set_status(status);
    response.headers_mut().remove(CONTENT_LENGTH);
    if let Some(challenge) = challenge(error) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(There::Other(collection, id)) = error.there.as_deref()
        && let Ok(url) = HeaderValue::from_str(&relative_url(path, collection, *id))
    {
        response.headers_mut().insert(LOCATION, url);
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.get()));
    }
    response
}

/// Returns the URL of a record, relative to the path of a request. It is relative, because a proxy may add a path prefix.
fn relative_url(path: &str, collection: &str, id: Uuid) -> String {
    let up = std::iter::repeat_n("..", path.matches('/').count().saturating_sub(1));
    let id = id.to_string();
    let path = up.chain(["api", "v1", collection, &id]);
    path.collect::<Vec<_>>().join("/")
}

/// Returns the list, or `None` if it is empty.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Returns the value of `WWW-Authenticate` (RFC 6750, section 3). It names no error if the request had no token.
fn challenge(error: &Error) -> Option<HeaderValue> {
    let challenge = match (error.kind, &error.cause) {
        (Kind::Unauthenticated, None) => r#"Bearer realm="cinequery""#,
        (Kind::Unauthenticated, Some(_)) => r#"Bearer realm="cinequery", error="invalid_token""#,
        (Kind::TokenExpired, _) => {
            r#"Bearer realm="cinequery", error="invalid_token", error_description="the token has expired; get a new one""#
        }
        (Kind::InsufficientScope, _) => r#"Bearer realm="cinequery", error="insufficient_scope""#,
        (Kind::InvalidClient, _) => r#"Basic realm="cinequery", charset="UTF-8""#,
        _ => return None,
    };
    Some(HeaderValue::from_static(challenge))
}
