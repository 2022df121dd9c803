//! What values a request may have, where the framework cannot take it from the code: it takes limits
//! and patterns as literals alone, and some values are text to it.
//!
//! Patterns are written so that the regular expressions of ECMAScript, Java, Python and Rust agree.

use serde_json::{Value, json};

use super::records::TEXT_PATTERN;
use super::reference;
use crate::app::search::DEFAULT_LIMIT;
use crate::http::route::LENIENT;
use crate::query::facet::Interval;
use crate::query::{Schema, limits};

/// A list of entity tags, or `*` (RFC 9110, section 13.1).
const ENTITY_TAGS: &str = r#"^(\*|(W/)?"[\x21\x23-\x7E]*"( *, *(W/)?"[\x21\x23-\x7E]*")*)$"#;

/// Text that databases can compare: it does not hold U+0000.
const STORABLE: &str = r"^[^\x00]*$";

/// Base64 for addresses (RFC 4648, section 5), without padding.
const CURSOR: &str = "^[A-Za-z0-9_-]+$";

/// The name of a user: as [`TEXT_PATTERN`], and not of dots alone.
const NAME: &str = r"^[^\x00-\x1F\x7F-\x9F]*[^.\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";

/// The name of a `$parameter` (grammar/filter.pest).
const PARAMETER: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Members whose text has a pattern, by schema.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("RevocationRequest", "subject", TEXT_PATTERN),
    ("RunRequest", "cursor", CURSOR),
    ("SavedParameter", "description", TEXT_PATTERN),
    ("SavedParameter", "name", PARAMETER),
    ("SavedQueryDraft", "description", TEXT_PATTERN),
    ("SearchRequest", "cursor", CURSOR),
    ("UserDraft", "name", NAME),
];

/// Parameters that a request must have, though the service reads them as if it need not: it says more
/// of their absence than the framework would. By operation id and name.
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

/// Enums of answers to which values may be added: a client that meets a new one must still be able to
/// read the rest.
const OPEN: &[&str] = &["CandidateKind", "RequestClass", "Throttle"];

/// What an absent parameter means, by the enum it is of.
const DEFAULTS: &[(&str, &str)] = &[("FileFormat", "ndjson"), ("OnConflict", "fail")];

/// Says what the members of a schema may be.
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
    // What a request may hold is refused when it holds more.
    let is_closed = ["Draft", "Patch", "Request", "SavedParameter"];
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
        // Null is as good as absent, but for a patch, in which it has a meaning of its own (RFC 7396).
        if is_closed && !name.ends_with("Patch") && !is_required(member) {
            if value.get("$ref").is_some() {
                // An enum. `nullable` needs a type beside it.
                *value = json!({ "type": "string", "allOf": [value] });
            }
            if value.get("type").is_some() {
                value["nullable"] = json!(true);
            }
        }
    }
}

/// Says what a parameter of an operation may be; `schemas` are those of the document.
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
    // Some are what a member of a schema is.
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
            if operation.starts_with("legacy") {
                parameter["allowEmptyValue"] = json!(true);
            }
        }
        (operation, field) if operation.starts_with("legacy") => {
            *schema = member("LegacyMovie", field);
            if ["title", "genre"].contains(&field) {
                schema["pattern"] = json!(STORABLE);
            }
            // The earlier service took it for absent.
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

/// The limits of a text of the language.
fn limit_text(schema: &mut Value) {
    schema["minLength"] = json!(1);
    schema["maxLength"] = json!(limits::MAX_TEXT_BYTES);
}
