//! An error as a problem document (RFC 9457).

use poem::error::ResponseError;
use poem::http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use poem::http::{HeaderValue, StatusCode};
use poem::{Response, ResponseParts};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{Any, Type as _};
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

use crate::error::{Error, Kind, Violation};
use crate::query::Diagnostic;

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The legacy paths, whose problems have `msg` as in the previous service.
const WITH_MSG: [&str; 5] = ["/api", "/api/", "/api/search", "/api/expiredMovies", "/api/token"];

/// What went wrong, and what to do about it.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Problem {
    /// `about:blank`: the problem has no more meaning than its status and code.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    problem_type: String,
    /// A short text that is the same for every problem of this code.
    title: String,
    /// The HTTP status.
    status: i32,
    /// A stable code to match on, such as `invalid_query`.
    code: String,
    /// What happened this time.
    detail: String,
    /// On the legacy routes: `detail` under the name it had in the earlier service.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
    /// On a request of OAuth 2.0: `code` under the name it has there (RFC 6749, section 5.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// On a request of OAuth 2.0: `detail` under the name it has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
    /// The id of the request, as in `X-Request-Id`; quote it when you ask for help.
    request_id: String,
    /// With `invalid_query`: each problem of the filter, the order or a parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Diagnostic>>,
    /// With `invalid_record`: each rule that the record breaks; with `rows_rejected`: the same for
    /// the rows of a file; on the legacy routes: each parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<Violation>>,
    /// With `ambiguous`: the records that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Any<serde_json::Value>>>,
}

impl Problem {
    /// What clients are told of an error of a request to that path.
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
            records: some(&error.records).map(|all| all.into_iter().map(Any).collect()),
        }
    }
}

/// Every operation may fail, and says so in the same way.
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
            problem("4XX", "The request is refused; `code` says why."),
            problem("5XX", "The service failed, or is not available now."),
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

/// The response that tells of an error of a request. `head` has the headers that were set on the way, such as
/// `Allow`.
pub(super) fn response(
    error: &Error,
    path: &str,
    request_id: &str,
    head: ResponseParts,
) -> Response {
    let status = error.status();
    let problem = Problem::of(error, path, request_id);
    // Strings and numbers always serialise.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::from_parts(head, body.into()).set_content_type(MEDIA_TYPE);
    response.set_status(status);
    response.headers_mut().remove(CONTENT_LENGTH);
    if let Some(challenge) = challenge(error) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.get()));
    }
    response
}

/// The list, if there is anything in it.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// What a bearer has to show (RFC 6750, section 3). No error is named when nothing was shown.
fn challenge(error: &Error) -> Option<HeaderValue> {
    let challenge = match (error.kind, &error.cause) {
        (Kind::Unauthenticated, None) => r#"Bearer realm="cinequery""#,
        (Kind::Unauthenticated, Some(_)) => r#"Bearer realm="cinequery", error="invalid_token""#,
        (Kind::InsufficientScope, _) => r#"Bearer realm="cinequery", error="insufficient_scope""#,
        (Kind::InvalidClient, _) => r#"Basic realm="cinequery", charset="UTF-8""#,
        _ => return None,
    };
    Some(HeaderValue::from_static(challenge))
}
