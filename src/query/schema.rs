//! What a record looks like to the language: its fields and their types.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate};
use uuid::Uuid;

use super::value::{Argument, Type, Value};

/// A record type: its names and its fields.
pub struct Schema {
    /// The record type in code and specification, such as `Movie`.
    pub name: &'static str,
    /// Its collection in URLs and scopes, and its table in the database, such as `movies`.
    pub collection: &'static str,
    /// One sentence for the specification.
    pub description: &'static str,
    /// The columns in their order, those that the service manages among them.
    pub fields: &'static [Field],
    /// The same as SQL writes them, so that no statement has to spell them out anew.
    pub select_list: &'static str,
    /// The names of fields whose values together are unique. The first is the natural key.
    pub unique: &'static [&'static [&'static str]],
    /// The names of fields that have an index together.
    pub indexes: &'static [&'static [&'static str]],
    /// Examples of filters for the specification.
    pub searches: &'static [Search],
}

/// An example of a filter.
#[derive(Debug)]
pub struct Search {
    /// Its name in the specification.
    pub name: &'static str,
    /// What it finds.
    pub description: &'static str,
    /// The filter. It has no parameters.
    pub filter: &'static str,
}

impl Schema {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of the fields that tell one record from another; none when nothing is unique but the id.
    pub fn natural_key(&self) -> &'static [&'static str] {
        self.unique.first().copied().unwrap_or_default()
    }

    /// The fields of the declaration: all but those that the service manages.
    pub fn declared(&self) -> impl Iterator<Item = &'static Field> + Clone + use<> {
        self.fields.iter().filter(|field| !field.managed)
    }

    /// The fields that clients write.
    pub fn writable(&self) -> impl Iterator<Item = &'static Field> + Clone + use<> {
        self.fields.iter().filter(|field| field.writable)
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.fields.iter().map(|field| field.name)
    }
}

/// Its name alone: all of it would hide what a message is about.
impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Schema {
    /// Schemas are static: each is equal to itself alone.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// One field of a record.
pub struct Field {
    /// Its name in the language, in JSON and in the database.
    pub name: &'static str,
    /// One sentence for the specification.
    pub description: &'static str,
    /// The type of its values.
    pub ty: Type,
    /// How many characters a text may have, or between which values an integer may lie; for other
    /// types it says nothing.
    pub bounds: RangeInclusive<i64>,
    /// Whether it may be null.
    pub nullable: bool,
    /// The value of a record that is created without one.
    pub default: Option<Value>,
    /// Whether clients write it. Of the others, the service writes those that are `managed`, and an operator
    /// those that are read-only.
    pub writable: bool,
    /// Whether it is one of the fields that the service adds to every record type.
    pub managed: bool,
    /// Whether it is a text that `contains`, `starts with` and `ends with` search. It then has a second column
    /// for its folded form.
    pub searchable: bool,
    /// The name it had before, which a migration renames.
    pub renamed_from: Option<&'static str>,
    /// A value for the specification, as text; empty when there is none.
    pub example: &'static str,
}

impl Field {
    /// Whether a record that is created must have a value for it.
    pub fn is_required(&self) -> bool {
        self.writable && !self.nullable && self.default.is_none()
    }

    /// The example as a value; none when there is none, or when it is not of the type.
    pub fn example_value(&self) -> Option<Value> {
        let example = Argument::Untyped(self.example.to_owned());
        example.read(self.ty).ok().filter(|_| !self.example.is_empty())
    }

    /// A value that it may have: its example, its default, or one that its type and bounds allow.
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

    /// The operators that exist for it.
    pub fn operators(&self) -> impl Iterator<Item = &'static str> + use<> {
        let searchable = self.searchable || self.ty != Type::Text;
        let all = self.ty.operators().iter().copied();
        all.filter(move |operator| searchable || !SEARCH_OPERATORS.contains(operator))
    }

    /// The integers that fit into the field's column, which is 32 bits wide when its bounds allow.
    pub fn column_range(&self) -> RangeInclusive<i64> {
        let narrow = i64::from(i32::MIN)..=i64::from(i32::MAX);
        if narrow.contains(self.bounds.start()) && narrow.contains(self.bounds.end()) {
            narrow
        } else {
            i64::MIN..=i64::MAX
        }
    }
}

/// Its name alone.
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Field {
    /// Fields are static: within one schema the name identifies them.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The operators that a text has only where it is searchable.
pub const SEARCH_OPERATORS: [&str; 3] = ["contains", "starts with", "ends with"];
