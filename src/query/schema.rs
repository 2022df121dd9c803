//! Schemas: the names and fields of record types.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate};
use uuid::Uuid;

use super::value::{Argument, Type, Value};

/// A record type: its names and its fields.
pub struct Schema {
    /// The record type in code and in the OpenAPI document, such as `Movie`.
    pub name: &'static str,
    /// Its collection in URLs and scopes, and its table in the database, such as `movies`.
    pub collection: &'static str,
    /// One sentence for the OpenAPI document.
    pub description: &'static str,
    /// The columns in their order, including those that the service manages.
    pub fields: &'static [Field],
    /// The columns as a select list of SQL, which is built only once.
    pub select_list: &'static str,
    /// The unique keys, as names of fields. The first is the natural key.
    pub unique: &'static [&'static [&'static str]],
    /// The indexes, as names of fields.
    pub indexes: &'static [&'static [&'static str]],
    /// Examples of filters for the OpenAPI document.
    pub searches: &'static [Search],
    /// Whether each change of a record is noted in the journal.
    pub journal: bool,
}

/// An example of a filter.
#[derive(Debug)]
pub struct Search {
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    /// The records that it finds.
    pub description: &'static str,
    /// The filter, without parameters.
    pub filter: &'static str,
}

impl Schema {
    /// Returns the field with a name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the names of the natural key's fields; empty if only the id is unique.
    pub fn natural_key(&self) -> &'static [&'static str] {
        self.unique.first().copied().unwrap_or_default()
    }

    /// Returns the fields of the declaration: all but those that the service manages.
    pub fn declared(&self) -> impl Iterator<Item = &'static Field> + Clone + use<> {
        self.fields.iter().filter(|field| !field.managed)
    }

    /// Returns the fields that clients write.
    pub fn writable(&self) -> impl Iterator<Item = &'static Field> + Clone + use<> {
        self.fields.iter().filter(|field| field.writable)
    }

    /// Returns the names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.fields.iter().map(|field| field.name)
    }
}

/// Formats only the name, because a whole schema would hide the rest of a message.
impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Schema {
    /// Schemas are static, so each equals only itself.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// One field of a record.
pub struct Field {
    /// Its name in the language, in JSON and in the database.
    pub name: &'static str,
    /// One sentence for the OpenAPI document.
    pub description: &'static str,
    /// The type of its values.
    pub ty: Type,
    /// The number of characters of a text, or the range of an integer. Unused for other types.
    pub bounds: RangeInclusive<i64>,
    /// Whether it may be null.
    pub nullable: bool,
    /// The value for a record that is created without one.
    pub default: Option<Value>,
    /// Whether clients write it. The service writes `managed` fields; operators write read-only ones.
    pub writable: bool,
    /// Whether the service adds and writes it: `id`, `version`, `created_at` and `updated_at`.
    pub managed: bool,
    /// Whether it is a text that `contains`, `starts with` and `ends with` search. Its folded form is then in
    /// a second column.
    pub searchable: bool,
    /// Whether it is a searchable text with an index of trigrams, for `contains` and `ends with`.
    pub trigram: bool,
    /// Its previous name, from which a migration renames the column.
    pub renamed_from: Option<&'static str>,
    /// An example for the OpenAPI document, as text; empty if there is none.
    pub example: &'static str,
}

impl Field {
    /// Whether a new record must have a value for it.
    pub fn is_required(&self) -> bool {
        self.writable && !self.nullable && self.default.is_none()
    }

    /// Returns the example as a value; `None` if there is none, or if it is not of the type.
    pub fn example_value(&self) -> Option<Value> {
        let example = Argument::Untyped(self.example.to_owned());
        example.read(self.ty).ok().filter(|_| !self.example.is_empty())
    }

    /// Returns a valid value: its example, its default, or one that its type and bounds allow.
    pub fn sample(&self) -> Value {
        let (low, high) = (*self.bounds.start(), *self.bounds.end());
        let known = self.example_value().or_else(|| self.default.clone());
        known.unwrap_or_else(|| match self.ty {
            Type::Text => {
                let length = usize::try_from(4.clamp(low, high)).unwrap_or_default();
                Value::Text("text".chars().cycle().take(length).collect())
            }
            Type::Integer => Value::Integer(1.clamp(low, high)),
            Type::Boolean => Value::Boolean(true),
            Type::Date => Value::Date(NaiveDate::default()),
            Type::Timestamp => Value::Timestamp(DateTime::default()),
            Type::Id => Value::Id(Uuid::nil()),
        })
    }

    /// Returns its operators.
    pub fn operators(&self) -> impl Iterator<Item = &'static str> + use<> {
        let searchable = self.searchable || self.ty != Type::Text;
        let all = self.ty.operators().iter().copied();
        all.filter(move |operator| searchable || !SEARCH_OPERATORS.contains(operator))
    }

    /// Returns the integers that fit the field's column, which has 32 bits if the bounds allow it.
    pub fn column_range(&self) -> RangeInclusive<i64> {
        let narrow = i64::from(i32::MIN)..=i64::from(i32::MAX);
        if narrow.contains(self.bounds.start()) && narrow.contains(self.bounds.end()) {
            narrow
        } else {
            i64::MIN..=i64::MAX
        }
    }
}

/// Formats only the name.
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Field {
    /// Fields are static, and the name identifies them within their schema.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The operators that only searchable texts have.
pub const SEARCH_OPERATORS: [&str; 3] = ["contains", "starts with", "ends with"];
