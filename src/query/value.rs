//! The types of the language, their operators and their values.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::diagnostic::Misread;
use super::literal;

/// A type of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Unicode text.
    Text,
    /// A 32- or 64-bit whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// An instant.
    Timestamp,
    /// A UUID.
    Id,
}

impl Type {
    /// Returns the name of the type.
    pub fn as_str(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::Integer => "integer",
            Type::Boolean => "boolean",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::Id => "id",
        }
    }

    /// Returns the name of the type with its article.
    pub fn with_article(self) -> &'static str {
        match self {
            Type::Text => "a text",
            Type::Integer => "an integer",
            Type::Boolean => "a boolean",
            Type::Date => "a date",
            Type::Timestamp => "a timestamp",
            Type::Id => "an id",
        }
    }

    /// Returns an example of a literal.
    pub fn example(self) -> &'static str {
        match self {
            Type::Text => "\"drama\"",
            Type::Integer => "1994",
            Type::Boolean => "true",
            Type::Date => "2024-01-31",
            Type::Timestamp => "2024-01-31T12:00:00Z",
            Type::Id => "\"01890a5d-ac96-774b-bcce-b302099a8057\"",
        }
    }

    /// Returns the operators for fields of the type.
    pub fn operators(self) -> &'static [&'static str] {
        match self {
            Type::Text => &[
                "=",
                "!=",
                "<",
                "<=",
                ">",
                ">=",
                "between",
                "in",
                "contains",
                "starts with",
                "ends with",
                "is null",
            ],
            Type::Integer | Type::Date | Type::Timestamp | Type::Id => {
                &["=", "!=", "<", "<=", ">", ">=", "between", "in", "is null"]
            }
            Type::Boolean => &["=", "!=", "in", "is null"],
        }
    }
}

/// A typed, non-null value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Text in Unicode NFC, ordered by code point.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A day of the proleptic Gregorian calendar, years 0001 to 9999.
    Date(NaiveDate),
    /// An instant in UTC, to the microsecond.
    Timestamp(DateTime<Utc>),
    /// A UUID.
    Id(Uuid),
}

impl Value {
    /// Returns the type of the value.
    pub fn ty(&self) -> Type {
        match self {
            Value::Text(_) => Type::Text,
            Value::Integer(_) => Type::Integer,
            Value::Boolean(_) => Type::Boolean,
            Value::Date(_) => Type::Date,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Id(_) => Type::Id,
        }
    }
}

/// Formats the value as a query-string parameter has it.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Integer(number) => number.fmt(f),
            Value::Boolean(flag) => flag.fmt(f),
            Value::Date(date) => date.fmt(f),
            Value::Timestamp(instant) => {
                f.write_str(&instant.to_rfc3339_opts(SecondsFormat::Micros, true))
            }
            Value::Id(id) => id.fmt(f),
        }
    }
}

/// Converts the value to a member of a record.
impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Integer(number) => Self::from(*number),
            Value::Boolean(flag) => Self::from(*flag),
            Value::Timestamp(instant) => {
                Self::from(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            other => Self::from(other.to_string()),
        }
    }
}

/// A value from outside the language, before its type is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// Text that may represent a value of any type, as in a query string.
    Untyped(String),
    /// A JSON string. It represents text, or a value of a type that JSON does not have.
    Text(String),
    /// A JSON number that is an integer of 64 bits, however it is written.
    Integer(i64),
    /// A JSON boolean.
    Boolean(bool),
    /// Any other JSON value, by the name of its kind. No field accepts one.
    Unsupported(&'static str),
}

impl Argument {
    /// JSON null.
    pub const NULL: Self = Argument::Unsupported("null");
    const TOO_LARGE: Self = Argument::Unsupported("a number that is too large");
    const FRACTION: Self = Argument::Unsupported("a number with a fraction");
    const ARRAY: Self = Argument::Unsupported("an array");
    const OBJECT: Self = Argument::Unsupported("an object");

    /// A JSON number with a fraction or an exponent. As in JSON Schema, `2000.0` and `2e3` are integers.
    fn of_float(number: f64) -> Self {
        /// Up to here, each integer has a float of its own: what was written is what was read.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() != 0.0 {
            return Self::FRACTION;
        }
        if number.abs() >= MAX_EXACT {
            return Self::TOO_LARGE;
        }
        #[allow(clippy::cast_possible_truncation, reason = "an integer of less than 54 bits")]
        Self::Integer(number as i64)
    }

    /// Returns the text, if the value is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Argument::Untyped(text) | Argument::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Parses JSON. Arrays and objects, which no field accepts, are validated but not stored, so that a
/// value needs no more memory than its text.
impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json;
        impl<'de> Visitor<'de> for Json {
            type Value = Argument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Argument, E> {
                Ok(Argument::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Argument, E> {
                Ok(Argument::Text(text))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Argument, E> {
                Ok(Argument::Boolean(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Argument, E> {
                Ok(Argument::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Argument, E> {
                Ok(i64::try_from(number).map_or(Argument::TOO_LARGE, Argument::Integer))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Argument, E> {
                Ok(Argument::of_float(number))
            }

            fn visit_unit<E>(self) -> Result<Argument, E> {
                Ok(Argument::NULL)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Argument, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Argument::ARRAY)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Argument, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Argument::OBJECT)
            }
        }
        deserializer.deserialize_any(Json)
    }
}

impl From<serde_json::Value> for Argument {
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::String(text) => Argument::Text(text),
            Json::Bool(flag) => Argument::Boolean(flag),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Argument::Integer(number),
                None if number.is_u64() => Argument::TOO_LARGE,
                None => number.as_f64().map_or(Argument::TOO_LARGE, Argument::of_float),
            },
            Json::Null => Argument::NULL,
            Json::Array(_) => Argument::ARRAY,
            Json::Object(_) => Argument::OBJECT,
        }
    }
}

impl Argument {
    /// Parses a value of the type. Values are not converted: a JSON string is not accepted as an integer.
    ///
    /// # Errors
    /// Returns what was expected and found, and how to write a value of the type.
    pub fn read(&self, ty: Type) -> Result<Value, Misread> {
        match (self, ty) {
            (Argument::Untyped(text) | Argument::Text(text), Type::Text) => text_value(text),
            (Argument::Integer(number), Type::Integer) => Ok(Value::Integer(*number)),
            // Like a literal, without a plus sign.
            (Argument::Untyped(text), Type::Integer) if !text.starts_with('+') => {
                text.parse().map(Value::Integer).map_err(|_| self.mismatch(ty))
            }
            (Argument::Boolean(flag), Type::Boolean) => Ok(Value::Boolean(*flag)),
            (Argument::Untyped(text), Type::Boolean) => {
                text.parse().map(Value::Boolean).map_err(|_| self.mismatch(ty))
            }
            (Argument::Untyped(text) | Argument::Text(text), Type::Date) => {
                literal::date(text).map(Value::Date)
            }
            (Argument::Untyped(text) | Argument::Text(text), Type::Timestamp) => {
                literal::timestamp(text).map(Value::Timestamp)
            }
            (Argument::Untyped(text) | Argument::Text(text), Type::Id) => {
                literal::id(text).map(Value::Id).ok_or_else(|| self.mismatch(ty))
            }
            _ => Err(self.mismatch(ty)),
        }
    }

    fn mismatch(&self, ty: Type) -> Misread {
        let found = match self {
            Argument::Untyped(text) | Argument::Text(text) => format!("the text {text:?}"),
            Argument::Integer(number) => format!("the number {number}"),
            Argument::Boolean(flag) => flag.to_string(),
            Argument::Unsupported(kind) => (*kind).to_owned(),
        };
        let example = ty.example().trim_matches('"');
        Misread::new(format!("expected {}, found {found}", ty.with_article()))
            .help(format!("write {} such as {example}", ty.with_article()))
    }
}

/// Normalizes text for storage and comparison.
///
/// # Errors
/// Rejects U+0000, which PostgreSQL cannot store in text.
pub fn text_value(text: &str) -> Result<Value, Misread> {
    if text.contains('\0') {
        return Err(Misread::new("text cannot contain the character U+0000"));
    }
    Ok(Value::Text(super::text::nfc(text).into_owned()))
}
