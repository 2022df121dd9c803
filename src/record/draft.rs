//! What clients send: the writable fields of a record, read against its schema.

use std::borrow::Cow;
use std::collections::HashSet;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::Record;
use crate::error::Violation;
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::{Argument, Field, Schema, Type, Value};

/// The most members of an object that are read: more are an attack on memory.
const MAX_MEMBERS: usize = 1000;

/// The members of a JSON object in their order, each name once.
#[derive(Debug)]
pub struct Members<V = Argument>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    /// Refuses a repeated name, which plain JSON parsers resolve silently and differently.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Object<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if members.len() == MAX_MEMBERS {
                        let limit = format!("more than {MAX_MEMBERS} members");
                        return Err(A::Error::custom(limit));
                    }
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the member {name:?} is repeated")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// What a record is read from: the names of its fields and what stands there, each name once.
pub type Fields<'a> = Vec<(Cow<'a, str>, Argument)>;

impl<V: Into<Argument>> From<Members<V>> for Fields<'_> {
    fn from(members: Members<V>) -> Self {
        let fields = members.0.into_iter();
        fields.map(|(name, value)| (Cow::Owned(name), value.into())).collect()
    }
}

/// Values for fields of one record type, `None` for null.
pub type Row = Vec<(&'static Field, Option<Value>)>;

/// A whole record without what the service adds: every writable field has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<R> {
    row: Row,
    record: PhantomData<R>,
}

/// A JSON merge patch (RFC 7396) of a record: values for some of the writable fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch<R> {
    row: Row,
    record: PhantomData<R>,
}

impl<R: Record> Draft<R> {
    /// Reads a record that must have no other members than its fields.
    ///
    /// # Errors
    /// Every rule it breaks.
    pub fn read<V: Into<Argument>>(members: Members<V>) -> Result<Self, Vec<Violation>> {
        let (read, unknown) = read(R::SCHEMA, members.into(), Absent::MustBeNullable);
        Ok(Self { row: refuse_unknown::<R>(read, unknown)?, record: PhantomData })
    }

    /// Reads a record among other fields, whose names are returned.
    ///
    /// # Errors
    /// Every rule it breaks.
    pub fn read_among_others(fields: Fields<'_>) -> (Result<Self, Vec<Violation>>, Vec<String>) {
        let (read, unknown) = read(R::SCHEMA, fields, Absent::MustBeNullable);
        (read.map(|row| Self { row, record: PhantomData }), unknown)
    }

    /// A record from values for all writable fields, in the order of the schema, which obey every
    /// rule.
    pub fn of(row: Row) -> Self {
        Self { row, record: PhantomData }
    }

    /// The values of all writable fields, in the order of the schema.
    pub fn row(&self) -> &Row {
        &self.row
    }
}

impl<R: Record> Patch<R> {
    /// Reads a patch that must have no other members than the record's fields.
    ///
    /// # Errors
    /// Every rule it breaks.
    pub fn read<V: Into<Argument>>(members: Members<V>) -> Result<Self, Vec<Violation>> {
        let (read, unknown) = read(R::SCHEMA, members.into(), Absent::StaysAsItIs);
        Ok(Self { row: refuse_unknown::<R>(read, unknown)?, record: PhantomData })
    }

    /// The values of the fields that change, in the order of the schema.
    pub fn row(&self) -> &Row {
        &self.row
    }
}

/// What it means that a field is not among the members.
#[derive(Clone, Copy, PartialEq)]
enum Absent {
    MustBeNullable,
    StaysAsItIs,
}

fn read(
    schema: &'static Schema,
    mut fields: Fields<'_>,
    absent: Absent,
) -> (Result<Row, Vec<Violation>>, Vec<String>) {
    let mut row = Row::new();
    let mut violations = Vec::new();
    for field in schema.writable() {
        let position = fields.iter().position(|(name, _)| name == field.name);
        let value = match position.map(|position| fields.remove(position).1) {
            None if absent == Absent::StaysAsItIs => continue,
            None if field.nullable => Ok(None),
            None => Err("is missing".to_owned()),
            Some(argument) => read_field(field, &argument),
        };
        match value {
            Ok(value) => row.push((field, value)),
            Err(detail) => violations.push(Violation::new(field.name, detail)),
        }
    }
    let unknown = fields.into_iter().map(|(name, _)| name.into_owned()).collect();
    (if violations.is_empty() { Ok(row) } else { Err(violations) }, unknown)
}

fn refuse_unknown<R: Record>(
    read: Result<Row, Vec<Violation>>,
    unknown: Vec<String>,
) -> Result<Row, Vec<Violation>> {
    let strangers = unknown.into_iter().take(MAX_DIAGNOSTICS).map(|name| {
        let detail = match R::SCHEMA.field(&name) {
            Some(_) => "is set by the service and cannot be written".to_owned(),
            None => {
                let names = R::SCHEMA.writable().map(|field| field.name);
                format!("is no field of {}; {}", R::SCHEMA.name, did_you_mean(&name, names))
            }
        };
        Violation::new(&name, detail)
    });
    let strangers: Vec<Violation> = strangers.collect();
    match read {
        Ok(row) if strangers.is_empty() => Ok(row),
        Ok(_) => Err(strangers),
        Err(violations) => Err(violations.into_iter().chain(strangers).collect()),
    }
}

/// A value that obeys the field's type and bounds.
pub(super) fn read_field(field: &Field, argument: &Argument) -> Result<Option<Value>, String> {
    if *argument == Argument::NULL {
        return if field.nullable { Ok(None) } else { Err("cannot be null".to_owned()) };
    }
    let value = argument.read(field.ty).map_err(|misread| match misread.help {
        Some(help) => format!("{}; {help}", misread.message),
        None => misread.message,
    })?;
    let (low, high) = (field.bounds.start(), field.bounds.end());
    match (&value, field.ty) {
        (Value::Text(text), Type::Text) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            if !field.bounds.contains(&length) {
                return Err(format!("must have {low} to {high} characters, and has {length}"));
            }
            if let Some(control) = text.chars().find(|c| c.is_control()) {
                return Err(format!("cannot hold the control character {control:?}"));
            }
        }
        (Value::Integer(number), _) if !field.bounds.contains(number) => {
            return Err(format!("must lie between {low} and {high}, and is {number}"));
        }
        _ => {}
    }
    Ok(Some(value))
}
