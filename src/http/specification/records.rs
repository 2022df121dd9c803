//! The OpenAPI schemas of a record type: its records, drafts and patches.

use serde_json::{Map, Value, json};

use crate::query::{Field, Schema, Type};
use crate::record::UNBOUNDED;

/// The pattern of a text: no control characters. The syntax works in the regular expressions of most languages.
pub(super) const TEXT_PATTERN: &str = r"^[^\x00-\x1F\x7F-\x9F]*$";

/// The pattern of a text that shows something. Some invisible characters match it and are rejected nevertheless.
const VISIBLE_PATTERN: &str =
    r"^[^\x00-\x1F\x7F-\x9F]*[^\x00-\x20\x7F-\xA0][^\x00-\x1F\x7F-\x9F]*$";

/// Returns the schema for a template, or `None` if the template is not a form of a record.
pub(super) fn describe(template: &str, about: &'static Schema) -> Option<Value> {
    let (fields, required): (Vec<&Field>, fn(&Field) -> bool) = match template {
        // A record in a response: all fields are present.
        "{Record}" => (about.fields.iter().collect(), |_| true),
        // A record to create or replace: the writable fields.
        "{Record}Draft" => (about.writable().collect(), Field::is_required),
        // A patch: any of the writable fields.
        "{Record}Patch" => (about.writable().collect(), |_| false),
        _ => return None,
    };
    let is_record = template == "{Record}";
    let names: Vec<&str> =
        fields.iter().filter(|field| required(field)).map(|field| field.name).collect();
    let of_field = |field: &&Field| (field.name.to_owned(), describe_field(field, is_record));
    let mut schema = json!({
        "type": "object",
        "properties": Value::Object(fields.iter().map(of_field).collect()),
    });
    // A declaration need not have one, and an empty one says nothing.
    if !about.description.is_empty() {
        schema["description"] = json!(about.description);
    }
    if !names.is_empty() {
        schema["required"] = json!(names);
    }
    Some(schema)
}

fn describe_field(field: &Field, is_record: bool) -> Value {
    let (ty, format) = match field.ty {
        Type::Text => ("string", None),
        Type::Integer if field.column_range() == UNBOUNDED => ("integer", Some("int64")),
        Type::Integer => ("integer", Some("int32")),
        Type::Boolean => ("boolean", None),
        Type::Date => ("string", Some("date")),
        Type::Timestamp => ("string", Some("date-time")),
        Type::Id => ("string", Some("uuid")),
    };
    let mut schema = Map::new();
    let mut say = |key: &str, value: Value| schema.insert(key.to_owned(), value);
    say("type", json!(ty));
    if !field.description.is_empty() {
        say("description", json!(field.description));
    }
    if let Some(format) = format {
        say("format", json!(format));
    }
    if field.nullable {
        say("nullable", json!(true));
    }
    if field.ty == Type::Text {
        // Records of earlier versions may have texts that show nothing.
        let is_visible = !is_record && !field.bounds.contains(&0);
        say("pattern", json!(if is_visible { VISIBLE_PATTERN } else { TEXT_PATTERN }));
    }
    if field.bounds != UNBOUNDED {
        let (low, high) = match field.ty {
            Type::Text => ("minLength", "maxLength"),
            _ => ("minimum", "maximum"),
        };
        say(low, json!(field.bounds.start()));
        say(high, json!(field.bounds.end()));
    }
    if let Some(default) = field.default.as_ref().filter(|_| !is_record) {
        say("default", default.into());
    }
    Value::Object(schema)
}
