//! The valid values of parameters and members that the framework cannot derive from the code. It accepts limits and
//! patterns as literals only, and some values are plain strings in the code.
//!
//! All patterns have the same meaning in the regular expressions of ECMAScript, Java, Python and Rust.

use serde_json::{Value, json};

use super::records::TEXT_PATTERN;
use super::reference;
use crate::app::search::DEFAULT_LIMIT;
use crate::http::route::LENIENT;
use crate::query::facet::Interval;
use crate::query::{Schema, limits};

/// A list of entity tags, or `*` (RFC 9110, section 13.1).
const ENTITY_TAGS: &str = r#"^(\*|(W/)?"[\x21\x23-\x7E]*"( *, *(W/)?"[\x21\x23-\x7E]*")*)$"#;

/// A text that databases can compare: it does not contain U+0000.
const STORABLE: &str = r"^[^\x00]*$";

/// Base64 for URLs (RFC 4648, section 5), without padding.
const CURSOR: &str = "^[A-Za-z0-9_-]+$";

/// The name of a user: [`TEXT_PATTERN`], and not only dots.
const NAME: &str = r"^[^\x00-\x1F\x7F-\x9F]*[^.\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";

/// The name of a `$parameter` (grammar/filter.pest).
const PARAMETER: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// An idempotency key, without its optional quotes.
const IDEMPOTENCY_KEY: &str = "^[!#-~]{1,255}$";

/// The patterns of members, by schema and member.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("RevocationRequest", "subject", TEXT_PATTERN),
    ("RunRequest", "cursor", CURSOR),
    ("SavedParameter", "description", TEXT_PATTERN),
    ("SavedParameter", "name", PARAMETER),
    ("SavedQueryDraft", "description", TEXT_PATTERN),
    ("SearchRequest", "cursor", CURSOR),
    ("UserDraft", "name", NAME),
];

/// Required parameters that are optional in the code, because the service reports their absence better than the
/// framework does. By operation id and name.
const REQUIRED: &[(&str, &str)] = &[
    ("replace{Record}", "If-Match"),
    ("update{Record}", "If-Match"),
    ("replace{Record}Query", "If-Match"),
    ("updateUser", "If-Match"),
    ("legacyCreateMovie", "title"),
    ("legacyCreateMovie", "genre"),
    ("legacyCreateMovie", "release_year"),
    ("legacyCreateMovie", "expiry_date"),
    ("legacyDeleteMovie", "title"),
    ("legacyListExpiredMovies", "from"),
    ("legacyListExpiredMovies", "to"),
];

/// Enums of responses that may get more values later. Clients must be able to parse a response with a new value.
const OPEN: &[&str] = &["CandidateKind", "RequestClass", "Throttle"];

/// The defaults of absent parameters, by their enum.
const DEFAULTS: &[(&str, &str)] = &[("FileFormat", "ndjson"), ("OnConflict", "fail")];

/// Adds patterns, limits and defaults to the members of a schema.
pub(super) fn of_members(name: &str, schema: &mut Value) {
    let default = DEFAULTS.iter().find(|(of, _)| *of == name);
    if let Some((_, value)) = default {
        schema["default"] = json!(value);
    }
    if OPEN.contains(&name)
        && let Some(values) = schema.as_object_mut().and_then(|schema| schema.remove("enum"))
    {
        schema["x-extensible-enum"] = values;
    }
    // Requests with unknown members are rejected.
    let is_closed = ["BatchItem", "Draft", "Patch", "Request", "SavedParameter"];
    let is_closed = is_closed.iter().any(|suffix| name.ends_with(suffix));
    if is_closed {
        schema["additionalProperties"] = json!(false);
    }
    let required = schema["required"].clone();
    let is_required =
        |member: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == member));
    let properties = schema.get_mut("properties").into_iter().flat_map(super::members);
    for (member, value) in properties {
        if is_closed && ["filter", "order_by"].contains(&member.as_str()) {
            limit_text(value);
        }
        if is_closed && member == "limit" {
            value["default"] = json!(DEFAULT_LIMIT);
        }
        let pattern = PATTERNS.iter().find(|(of, its, _)| *of == name && its == member);
        if let Some((_, _, pattern)) = pattern {
            value["pattern"] = json!(pattern);
        }
        // Null counts as absent, except in a patch, where it removes a value (RFC 7396).
        if is_closed && !name.ends_with("Patch") && !is_required(member) {
            if value.get("$ref").is_some() {
                // An enum. OpenAPI requires a `type` next to `nullable`.
                *value = json!({ "type": "string", "allOf": [value] });
            }
            if value.get("type").is_some() {
                value["nullable"] = json!(true);
            }
        }
    }
}

/// Adds patterns, limits and defaults to a parameter of an operation. `schemas` are the schemas of the document.
pub(super) fn of_parameter(
    parameter: &mut Value,
    operation: &str,
    about: &Schema,
    schemas: &Value,
) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let place = parameter["in"].as_str().unwrap_or_default().to_owned();
    if REQUIRED.contains(&(operation, &name)) {
        parameter["required"] = json!(true);
    }
    // Some parameters have the schema of a member.
    let member = |of: &str, member: &str| {
        let mut schema = schemas[of]["properties"][member].clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.retain(|key, _| key != "description" && key != "example");
        }
        schema
    };
    let schema = &mut parameter["schema"];
    match (operation, name.as_str()) {
        (_, "filter" | "order_by") if LENIENT.contains(&operation) => {}
        (_, "Idempotency-Key") => schema["pattern"] = json!(IDEMPOTENCY_KEY),
        ("completeQuery", "caret") => {
            schema["minimum"] = json!(0);
            schema["maximum"] = json!(limits::MAX_TEXT_BYTES);
        }
        ("legacyCreateMovie", field) => *schema = member("MovieDraft", field),
        ("legacyListExpiredMovies", _) => *schema = member("LegacyMovie", "expiry_date"),
        ("legacyDeleteMovie", "title") => {
            schema["minLength"] = json!(1);
            schema["pattern"] = json!(STORABLE);
        }
        (_, "filter" | "order_by") => {
            limit_text(schema);
            if let Some(schema) = schema.as_object_mut() {
                // It marks parameters that may be repeated, and is not one of the formats of OpenAPI.
                schema.remove("format");
            }
            if operation.starts_with("legacy") {
                parameter["allowEmptyValue"] = json!(true);
            }
        }
        (operation, field) if operation.starts_with("legacy") => {
            *schema = member("LegacyMovie", field);
            if ["title", "genre"].contains(&field) {
                schema["pattern"] = json!(STORABLE);
            }
            // The previous service treated an empty value as absent.
            parameter["allowEmptyValue"] = json!(true);
        }
        (_, "by") => *schema = reference(&format!("{}Field", about.name)),
        (_, "cursor") => schema["pattern"] = json!(CURSOR),
        (_, "If-Match" | "If-None-Match") => schema["pattern"] = json!(ENTITY_TAGS),
        (_, "interval") => {
            let names = Interval::names().collect::<Vec<_>>().join("|");
            schema["pattern"] = json!(format!("^({names}|[1-9][0-9]{{0,17}})$"));
        }
        (_, "limit") => schema["default"] = json!(DEFAULT_LIMIT),
        (operation, "name") if place == "path" && operation.ends_with("User") => {
            *schema = member("UserDraft", "name");
        }
        (_, "name") if place == "path" => *schema = member("SavedQueryDraft", "name"),
        (_, "collection") => *schema = reference("Collection"),
        _ => {}
    }
}

/// Adds the limits of the length of a filter or an order.
fn limit_text(schema: &mut Value) {
    schema["minLength"] = json!(1);
    schema["maxLength"] = json!(limits::MAX_TEXT_BYTES);
}
