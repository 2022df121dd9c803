//! The format of declarations as a JSON Schema, by which editors complete and check them.

use serde_json::{Value, json};

use super::field::TYPES;
use super::{
    DEFAULT_LENGTH, MAX_DESCRIPTION, MAX_FIELD_NAME, MAX_FIELDS, MAX_KEY_FIELDS, MAX_KEYS,
    MAX_LENGTH, MAX_NAME, MAX_SEARCHES,
};

/// The JSON Schema (2020-12) of a declaration.
pub fn json_schema() -> Value {
    let name = |longest: usize| format!("^[a-z][a-z0-9_]{{0,{}}}$", longest - 1);
    let text = |about: &str| json!({"type": "string", "description": about});
    let flag = |about: &str, default: bool| json!({"type": "boolean", "description": about, "default": default});
    let description =
        |about: &str| json!({"type": "string", "description": about, "maxLength": MAX_DESCRIPTION});
    let bounds = |about: &str, item: Value| {
        json!({
            "type": "array", "description": about, "items": item, "minItems": 2, "maxItems": 2
        })
    };
    let keys = |about: &str| {
        json!({
            "type": "array",
            "description": about,
            "maxItems": MAX_KEYS,
            "uniqueItems": true,
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_KEY_FIELDS,
                "uniqueItems": true,
                "items": {"type": "string", "pattern": name(MAX_FIELD_NAME)}
            }
        })
    };
    let (low, high) = DEFAULT_LENGTH.into_inner();
    let value = ["string", "integer", "boolean"];
    let field = json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": {
                "enum": TYPES.map(|ty| ty.as_str()),
                "description": "The type of its values."
            },
            "length": bounds(
                &format!(
                    "The least and the greatest number of characters of a text; [{low}, {high}] if absent."
                ),
                json!({"type": "integer", "minimum": 0, "maximum": MAX_LENGTH}),
            ),
            "range": bounds(
                "The least and the greatest value of an integer; 64 bits if absent.",
                json!({"type": "integer"}),
            ),
            "required": flag("Whether every record has a value; otherwise it may be null.", true),
            "default": {
                "type": value, "description": "The value of a record that is created without one."
            },
            "renamed_from": {
                "type": "string",
                "pattern": name(MAX_FIELD_NAME),
                "description": "The name it had before; `cinequery migrate` renames the column."
            },
            "search": flag(
                "Whether `contains`, `starts with` and `ends with` search it. It is for texts.", true
            ),
            "trigram": flag(
                "Whether an index makes `contains` and `ends with` fast for three characters or more. It is for texts.",
                false
            ),
            "read_only": flag("Whether clients can only read it.", false),
            "description": description("One sentence for the API's documentation."),
            "example": {"type": value, "description": "A value for the API's documentation."}
        }
    });
    let search = json!({
        "type": "object",
        "required": ["filter"],
        "additionalProperties": false,
        "properties": {
            "description": description("What it finds."),
            "filter": text("A filter without parameters.")
        }
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record type of cinequery",
        "type": "object",
        "required": ["name", "collection", "fields"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "type": "string",
                "pattern": format!("^[A-Z][A-Za-z0-9]{{0,{}}}$", MAX_NAME - 1),
                "description": "Its name in the API's documentation and in generated clients, such as `Movie`."
            },
            "collection": {
                "type": "string",
                "pattern": name(MAX_NAME),
                "description": "Its name in URLs and scopes, and of its table, such as `movies`."
            },
            "description": description("One sentence for the API's documentation."),
            "unique": keys(
                "Fields whose values together are unique. The first list is the natural key that imports match on."
            ),
            "indexes": keys("Fields that have an index together."),
            "journal": flag("Whether each change of a record is kept in the journal.", true),
            "fields": {
                "type": "object",
                "description": "The fields, in the order of the file.",
                "minProperties": 1,
                "maxProperties": MAX_FIELDS,
                "propertyNames": {"pattern": name(MAX_FIELD_NAME)},
                "additionalProperties": field
            },
            "searches": {
                "type": "object",
                "description": "Filters that the API's documentation shows as examples.",
                "maxProperties": MAX_SEARCHES,
                "propertyNames": {"pattern": name(MAX_NAME)},
                "additionalProperties": search
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::field::FIELD_KEYS;
    use super::super::{KEYS, SEARCH_KEYS};
    use super::*;

    #[test]
    fn the_schema_has_every_key() {
        let schema = json_schema();
        for (place, keys) in [
            ("", KEYS),
            ("/properties/fields/additionalProperties", FIELD_KEYS),
            ("/properties/searches/additionalProperties", SEARCH_KEYS),
        ] {
            let properties = schema.pointer(place).and_then(|at| at.get("properties")?.as_object());
            let mut known: Vec<&str> =
                properties.into_iter().flat_map(|keys| keys.keys()).map(String::as_str).collect();
            let mut keys = keys.to_vec();
            known.sort_unstable();
            keys.sort_unstable();
            assert_eq!(known, keys, "{place}");
        }
    }
}
