//! JSON that clients send: objects are objects, and errors are in the terms of JSON instead of those of Rust.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::query::diagnostic::did_you_mean;

/// The types of Rust in serde's messages, and what they are in JSON.
const TERMS: &[(&str, &str)] = &[
    ("i32", "an integer"),
    ("i64", "an integer"),
    ("a JSON number", "a number"),
    ("a boolean", "true or false"),
    ("a map", "an object"),
    ("map", "an object"),
    ("a sequence", "an array"),
    ("sequence", "an array"),
    ("unit value", "null"),
];

/// A value that is written as an object. For a structure serde also accepts an array with the members in order.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Deserializes an array of objects, or null.
///
/// # Errors
/// An item that is not an object, and those of its members.
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|Object(object)| object).collect()))
}

/// Describes what was found in a text and what was expected there, without the place.
pub fn describe(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    match error.classify() {
        Category::Eof => "expected a complete JSON object, found the end".to_owned(),
        Category::Syntax => format!("malformed JSON: {message}"),
        Category::Data | Category::Io => reworded(message).unwrap_or_else(|| message.to_owned()),
    }
}

/// Rewords a message of serde about a member or a type, such as ``missing field `name` `` or ``invalid type: floating
/// point `1.5`, expected i32``. What the client sent comes before the last `expected`.
fn reworded(message: &str) -> Option<String> {
    let (problem, about) = message.split_once([':', '`'])?;
    let name = |quoted: &str| quoted.strip_suffix('`').unwrap_or(quoted).to_owned();
    let (found, expected) = about.rsplit_once(", expected ").unwrap_or((about, ""));
    let known = expected.split('`').skip(1).step_by(2);
    match problem.trim_end() {
        "missing field" => Some(format!("missing member {:?}", name(found))),
        "duplicate field" => Some(format!("repeated member {:?}; send it once", name(found))),
        "unknown field" => {
            let name = name(found);
            Some(format!("unknown member {name:?}; {}", did_you_mean(&name, known)))
        }
        "unknown variant" => {
            let known = known.collect::<Vec<_>>().join(", ");
            Some(format!("expected one of {known}, found {:?}", name(found)))
        }
        "invalid type" | "invalid value" => {
            Some(format!("expected {}, found {}", term(expected), term(found.trim_start())))
        }
        _ => None,
    }
}

fn term(rust: &str) -> String {
    let known = TERMS.iter().find(|(known, _)| *known == rust).map(|(_, json)| *json);
    let structure = rust.starts_with("struct ").then_some("an object");
    known.or(structure).map_or_else(|| rust.replace("floating point", "number"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only errors are read")]
    struct Body {
        name: String,
        limit: Option<i32>,
        count: Option<Count>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Count {
        None,
        Exact,
    }

    #[test]
    fn errors_are_in_terms_of_json() {
        for (text, expected) in [
            ("", "expected a complete JSON object, found the end"),
            (r#"{"name":"#, "expected a complete JSON object, found the end"),
            (r#"{"name":"x",}"#, "malformed JSON: trailing comma"),
            (r#"{"limit":1}"#, "missing member \"name\""),
            (r#"{"nmae":"x"}"#, "unknown member \"nmae\"; did you mean \"name\"?"),
            (
                r#"{"a`, expected `b`":1}"#,
                "unknown member \"a`, expected `b`\"; expected one of: name, limit, count",
            ),
            (r#"{"name":"x","name":"y"}"#, "repeated member \"name\"; send it once"),
            (r#"{"name":"x","count":"all"}"#, "expected one of none, exact, found \"all\""),
            (r#"{"name":"x","limit":1.5}"#, "expected an integer, found number `1.5`"),
            (r#"{"name":[]}"#, "expected a string, found an array"),
            ("null", "expected an object, found null"),
        ] {
            let error = serde_json::from_str::<Body>(text).map_err(|error| describe(&error));
            assert_eq!(error.err().as_deref(), Some(expected), "{text}");
        }
    }
}
