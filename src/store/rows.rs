//! The rows of a statement on SQLite as one value: a JSON array with an array for each row.
//!
//! The driver passes each row from the thread of its connection to the caller, and copies each of its values. That took
//! more time than the statement itself. One value for all rows takes a third of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use uuid::Uuid;

use super::record::Sink;
use super::row::{Cell, Columns, date, malformed, timestamp};
use crate::query::{Schema, Type};

/// Returns a statement that selects the rows of another statement as one JSON array. The other statement selects the
/// fields of the schema, in its order; the array has the rows in the order of that statement.
pub(super) fn array(schema: &Schema, sql: &str) -> String {
    let columns = schema.fields.iter().map(|field| match field.ty {
        Type::Id => format!("hex(\"{}\")", field.name),
        _ => format!("\"{}\"", field.name),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    format!("SELECT json_group_array(json_array({columns})) FROM ({sql})")
}

/// Passes each row of an array to `sink`. Returns their number.
///
/// # Errors
/// Fails if the array does not match the schema.
pub(super) fn read(array: &str, sink: &mut impl Sink) -> sqlx::Result<usize> {
    let mut deserializer = serde_json::Deserializer::from_str(array);
    let mut failure = None;
    let read = Rows { sink, failure: &mut failure }.deserialize(&mut deserializer);
    match (failure, read.and_then(|count| deserializer.end().map(|()| count))) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(sqlx::Error::Decode(error.into())),
        (None, Ok(count)) => Ok(count),
    }
}

struct Rows<'s, S> {
    sink: &'s mut S,
    /// Why the sink did not take a row.
    failure: &'s mut Option<sqlx::Error>,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Rows<'_, S> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Rows<'_, S> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<usize, A::Error> {
        // Kept between rows, to allocate memory once.
        let (mut values, mut count) = (Vec::new(), 0);
        while rows.next_element_seed(Values(&mut values))?.is_some() {
            count += 1;
            if let Err(failure) = self.sink.push(&Array(&values)) {
                *self.failure = Some(failure);
                return Err(A::Error::custom("a row does not match the schema"));
            }
        }
        Ok(count)
    }
}

struct Values<'v, 'de>(&'v mut Vec<JsonValue<'de>>);

impl<'de> DeserializeSeed<'de> for Values<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.0.clear();
        while let Some(value) = values.next_element()? {
            self.0.push(value);
        }
        Ok(())
    }
}

/// A value of a row, as SQLite writes it in JSON.
enum JsonValue<'de> {
    Null,
    Integer(i64),
    Text(Cow<'de, str>),
}

impl<'de> serde::Deserialize<'de> for JsonValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = JsonValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, an integer or text")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(JsonValue::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(JsonValue::Integer(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        i64::try_from(number).map(JsonValue::Integer).map_err(E::custom)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonValue::Text(Cow::Owned(text.to_owned())))
    }
}

/// A row of an array.
struct Array<'r>(&'r [JsonValue<'r>]);

impl Columns for Array<'_> {
    fn cell(&self, position: usize, ty: Type) -> sqlx::Result<Option<Cell<'_>>> {
        let value = self.0.get(position).ok_or_else(|| {
            let len = self.0.len();
            sqlx::Error::ColumnIndexOutOfBounds { index: position, len }
        })?;
        let cell = match (ty, value) {
            (_, JsonValue::Null) => return Ok(None),
            // SQLite's `hex` of null.
            (Type::Id, JsonValue::Text(text)) if text.is_empty() => return Ok(None),
            (Type::Text, JsonValue::Text(text)) => Some(Cell::Text(text)),
            (Type::Integer, JsonValue::Integer(number)) => Some(Cell::Integer(*number)),
            (Type::Boolean, JsonValue::Integer(flag)) => Some(Cell::Boolean(*flag != 0)),
            (Type::Date, JsonValue::Text(text)) => date(text.as_bytes()).map(Cell::Date),
            (Type::Timestamp, JsonValue::Text(text)) => {
                timestamp(text.as_bytes()).map(Cell::Timestamp)
            }
            (Type::Id, JsonValue::Text(text)) => Uuid::try_parse(text).ok().map(Cell::Id),
            _ => None,
        };
        let found = match value {
            JsonValue::Text(text) => text,
            _ => "a value of another type",
        };
        cell.map(Some).ok_or_else(|| malformed(position, ty.with_article(), found))
    }
}
