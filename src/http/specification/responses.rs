//! The responses of an operation: what it brings, what it refuses a request with, and their headers.

use serde_json::{Value, json};

use crate::error::{Error, Kind};
use crate::http::problem::Problem;
use crate::http::route::{LENIENT, Route};
use crate::query::{Schema, prepare};

/// The headers of answers, by their names in the specification: each with its name in HTTP, what it
/// says, and an example. All are text.
const HEADERS: &[(&str, &str, &str, &str)] = &[
    (
        "RequestId",
        "X-Request-Id",
        "The id of the request: the client's own, when it sent a short and printable one.",
        "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50",
    ),
    (
        "RateLimitPolicy",
        "RateLimit-Policy",
        "The limit of requests: its name, how many (`q`) in how many seconds (`w`); absent when there is none.",
        "\"editor\";q=600;w=60",
    ),
    (
        "RateLimit",
        "RateLimit",
        "What is left of the limit (`r`), and in how many seconds all of it is left again (`t`).",
        "\"editor\";r=598;t=1",
    ),
    ("RetryAfter", "Retry-After", "With 429 and 503: after how many seconds to try again.", "1"),
    (
        "Authenticate",
        "WWW-Authenticate",
        "With 401, and with 403 when the token does not suffice: what a request has to show (RFC 6750).",
        "Bearer realm=\"cinequery\"",
    ),
];

/// The headers as components.
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
    let refusals = refusals(operation, route);
    let is_counted = operation["security"].as_array().is_some_and(|needs| !needs.is_empty());
    let has = |status: &[u16]| refusals.iter().any(|kind| status.contains(&kind.status()));
    let example = example(&refusals, about);
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
                response["description"] = json!(listed(&refusals));
                response["content"]["application/problem+json"]["example"] = example.clone();
            }
            "5XX" => {
                names.push("RetryAfter");
                response["content"]["application/problem+json"]["example"] =
                    problem(&Error::unavailable("the database does not answer"));
            }
            "304" => response["description"] = json!("The client has this version already."),
            _ => response["description"] = json!(route.done),
        }
        for (name, field, _, _) in HEADERS.iter().filter(|(name, ..)| names.contains(name)) {
            response["headers"][*field] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
    }
}

/// What an operation may refuse a request with, in the order of the table of kinds.
fn refusals(operation: &Value, route: &Route) -> Vec<Kind> {
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
        Kind::Unauthenticated | Kind::TooManyRequests => !security.is_empty(),
        Kind::InsufficientScope => needs_scope,
        Kind::InvalidBody
        | Kind::RequestTimeout
        | Kind::BodyTooLarge
        | Kind::UnsupportedMediaType => has_body,
        Kind::NotFound => has_path,
        Kind::PreconditionFailed => takes("If-Match"),
        Kind::PreconditionRequired => needs_match,
        _ => false,
    };
    let all = Kind::ALL.iter().map(|(kind, _)| *kind);
    all.filter(|kind| of_shape(kind) || route.errors.contains(kind)).collect()
}

fn listed(refusals: &[Kind]) -> String {
    let codes = refusals.iter().map(|kind| format!("`{}` ({})", kind.code(), kind.status()));
    format!("The request is refused; `code` says why: {}.", codes.collect::<Vec<_>>().join(", "))
}

/// The problem that those who try the operation meet first.
fn example(refusals: &[Kind], about: &'static Schema) -> Value {
    let error = if refusals.contains(&Kind::InvalidQuery) {
        // A field that lacks its second letter.
        let field = about.writable().nth(1).or(about.writable().next());
        let mut name = field.map(|field| field.name.to_owned()).unwrap_or_default();
        if name.len() > 1 {
            name.remove(1);
        }
        let filter = format!("{name} is not null");
        Error::query(prepare(Some(&filter), None, about).err().unwrap_or_default())
    } else if refusals.contains(&Kind::Unauthenticated) {
        Error::new(Kind::Unauthenticated, "the token has expired")
    } else {
        Error::new(
            Kind::InvalidParameter,
            "there is no query parameter \"verbose\"; there are none",
        )
    };
    problem(&error)
}

fn problem(error: &Error) -> Value {
    let problem = Problem::of(error, "", "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50");
    // Strings and numbers always serialise.
    serde_json::to_value(problem).unwrap_or_default()
}
