//! The responses of an operation: success, errors, and their headers.

use serde_json::{Value, json};

use crate::error::{Error, Kind};
use crate::http::problem::Problem;
use crate::http::route::{LENIENT, Route};
use crate::query::{Schema, prepare};

/// The response headers: the name of the component, the name of the header field, its description, and an example.
/// All are strings.
const HEADERS: &[(&str, &str, &str, &str)] = &[
    (
        "RequestId",
        "X-Request-Id",
        "The request id: the `X-Request-Id` of the request if it is printable and has at most 128 characters, otherwise a new one.",
        "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50",
    ),
    (
        "RateLimitPolicy",
        "RateLimit-Policy",
        "The rate limit of the caller: its name, the number of requests (`q`) and the window in seconds (`w`). Absent without a rate limit.",
        "\"editor\";q=600;w=60",
    ),
    (
        "RateLimit",
        "RateLimit",
        "The remaining requests of the rate limit (`r`), and the seconds until it is fully reset (`t`).",
        "\"editor\";r=598;t=1",
    ),
    (
        "RetryAfter",
        "Retry-After",
        "The number of seconds to wait before a retry. Present with 429 and 503.",
        "1",
    ),
    (
        "Authenticate",
        "WWW-Authenticate",
        "The required authentication (RFC 6750). Present with 401, and with 403 for an insufficient scope.",
        "Bearer realm=\"cinequery\"",
    ),
];

/// Returns the components of the response headers.
pub(super) fn headers() -> Value {
    let headers = HEADERS.iter().map(|(name, _, description, example)| {
        let header = json!({
            "description": description,
            "schema": { "type": "string" },
            "example": example,
            "required": *name == "RequestId",
        });
        ((*name).to_owned(), header)
    });
    Value::Object(headers.collect())
}

/// Describes the responses of an operation.
pub(super) fn describe(operation: &mut Value, route: &Route, about: &'static Schema) {
    let errors = errors(operation, route);
    let is_counted = operation["security"].as_array().is_some_and(|needs| !needs.is_empty());
    let has = |status: &[u16]| errors.iter().any(|kind| status.contains(&kind.status()));
    let example = example(&errors, about);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses {
        let mut names = vec!["RequestId"];
        if is_counted {
            names.extend(["RateLimitPolicy", "RateLimit"]);
        }
        match status.as_str() {
            "4XX" => {
                names.extend(has(&[429]).then_some("RetryAfter"));
                names.extend(has(&[401, 403]).then_some("Authenticate"));
                response["description"] = json!(description_of(&errors));
                response["content"]["application/problem+json"]["example"] = example.clone();
            }
            "5XX" => {
                names.push("RetryAfter");
                response["content"]["application/problem+json"]["example"] =
                    problem(&Error::unavailable("the database does not respond"));
            }
            "304" => response["description"] = json!("The client has the current version."),
            _ => response["description"] = json!(route.done),
        }
        for (name, field, _, _) in HEADERS.iter().filter(|(name, ..)| names.contains(name)) {
            response["headers"][*field] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
    }
}

/// Returns the kinds of 4xx errors of an operation, in the order of [`Kind::ALL`].
fn errors(operation: &Value, route: &Route) -> Vec<Kind> {
    let parameters = || operation["parameters"].as_array().into_iter().flatten();
    let takes = |name: &str| parameters().any(|parameter| parameter["name"] == name);
    let has_path = parameters().any(|parameter| parameter["in"] == "path");
    let needs_match = parameters().any(|p| p["name"] == "If-Match" && p["required"] == true);
    let security = operation["security"].as_array().map(Vec::as_slice).unwrap_or_default();
    let needs_scope = security.iter().any(|one| one["oauth2"].get(0).is_some());
    let has_body = operation.get("requestBody").is_some();
    let of_shape = |kind: &Kind| match kind {
        Kind::InvalidParameter => true,
        Kind::InvalidQuery => takes("filter") && !LENIENT.contains(&route.id),
        Kind::InvalidCursor => takes("cursor"),
        Kind::Unauthenticated | Kind::TokenExpired | Kind::TooManyRequests => !security.is_empty(),
        Kind::InsufficientScope => needs_scope,
        Kind::InvalidBody
        | Kind::RequestTimeout
        | Kind::BodyTooLarge
        | Kind::UnsupportedMediaType => has_body,
        Kind::NotFound => has_path,
        Kind::IdempotencyKeyInUse | Kind::IdempotencyKeyReused => takes("Idempotency-Key"),
        Kind::PreconditionFailed => takes("If-Match"),
        Kind::PreconditionRequired => needs_match,
        _ => false,
    };
    let all = Kind::ALL.iter().map(|(kind, _)| *kind);
    all.filter(|kind| of_shape(kind) || route.errors.contains(kind)).collect()
}

fn description_of(errors: &[Kind]) -> String {
    let codes = errors.iter().map(|kind| format!("`{}` ({})", kind.code(), kind.status()));
    format!(
        "The request is rejected. Possible values of `code`: {}.",
        codes.collect::<Vec<_>>().join(", ")
    )
}

/// Returns an example of a problem: the error that new users of the operation are most likely to see.
fn example(errors: &[Kind], about: &'static Schema) -> Value {
    let error = if errors.contains(&Kind::InvalidQuery) {
        // A misspelt field: its second letter is missing.
        let field = about.writable().nth(1).or(about.writable().next());
        let mut name = field.map(|field| field.name.to_owned()).unwrap_or_default();
        if name.len() > 1 {
            name.remove(1);
        }
        let filter = format!("{name} is not null");
        Error::query(prepare(Some(&filter), None, about).err().unwrap_or_default())
    } else if errors.contains(&Kind::TokenExpired) {
        Error::expired()
    } else {
        Error::new(
            Kind::InvalidParameter,
            "unknown query parameter \"verbose\"; there are none here",
        )
    };
    problem(&error)
}

fn problem(error: &Error) -> Value {
    let problem = Problem::of(error, "", "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50");
    // Serializing strings and numbers cannot fail.
    serde_json::to_value(problem).unwrap_or_default()
}
