//! Records and patches that clients send, validated against the schema.

use std::borrow::Cow;
use std::collections::HashSet;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::Violation;
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::text::{is_blank, trimmed};
use crate::query::{Argument, Field, Schema, Type, Value};

/// The maximum number of members of an object, which protects memory.
const MAX_MEMBERS: usize = 1000;

/// The members of a JSON object, in order and with unique names.
#[derive(Debug)]
pub struct Members<V = Argument>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    /// Rejects repeated names, of which JSON parsers silently keep either the first or the last.
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
                        let limit = format!("expected at most {MAX_MEMBERS} members, found more");
                        return Err(A::Error::custom(limit));
                    }
                    if !names.insert(name.clone()) {
                        let repeated = format!("repeated member {name:?}; send it once");
                        return Err(A::Error::custom(repeated));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// The input of a record: names of fields with their values. Names are unique.
pub type Fields<'a> = Vec<(Cow<'a, str>, Argument)>;

impl<V: Into<Argument>> From<Members<V>> for Fields<'_> {
    fn from(members: Members<V>) -> Self {
        let fields = members.0.into_iter();
        fields.map(|(name, value)| (Cow::Owned(name), value.into())).collect()
    }
}

/// Values for fields of one record type, `None` for null.
pub type Row = Vec<(&'static Field, Option<Value>)>;

/// A valid record without the fields that the service adds. Every field of the declaration has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    schema: &'static Schema,
    author: Author,
    row: Row,
    /// For each field of the row, whether its value was sent. Otherwise the value is the default, or null.
    sent: Vec<bool>,
    /// The values that were sent for fields that its author does not write. They must be those of the record.
    claims: Row,
}

/// A JSON merge patch (RFC 7396) of a record: values for some of the writable fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    schema: &'static Schema,
    row: Row,
}

impl Draft {
    /// Reads a record. Members that are not fields are errors.
    ///
    /// # Errors
    /// Every rule that the record breaks.
    pub fn read<V: Into<Argument>>(
        schema: &'static Schema,
        members: Members<V>,
    ) -> Result<Self, Vec<Violation>> {
        let (read, unknown) = read(schema, members.into(), Absent::IsDefault, Author::Client);
        let (row, sent) = reject_unknown(schema, read, unknown)?;
        Ok(Self { schema, author: Author::Client, row, sent, claims: Row::new() })
    }

    /// Reads a record that replaces another one. It may have the fields that clients cannot write, as a response has
    /// them: [`Draft::claims`].
    ///
    /// # Errors
    /// Every rule that the record breaks.
    pub fn read_replacement<V: Into<Argument>>(
        schema: &'static Schema,
        members: Members<V>,
    ) -> Result<Self, Vec<Violation>> {
        let (mut claims, mut violations, mut others) = (Row::new(), Vec::new(), Vec::new());
        for (name, value) in members.0 {
            let Some(field) = schema.field(&name).filter(|field| !field.writable) else {
                others.push((name, value));
                continue;
            };
            match value.into() {
                Argument::NULL => claims.push((field, None)),
                argument => match argument.read(field.ty) {
                    Ok(value) => claims.push((field, Some(value))),
                    Err(misread) => violations.push(Violation::new(&name, misread.message)),
                },
            }
        }
        match Self::read(schema, Members(others)) {
            Ok(draft) if violations.is_empty() => Ok(Self { claims, ..draft }),
            Ok(_) => Err(violations),
            Err(more) => Err(violations.into_iter().chain(more).collect()),
        }
    }

    /// Reads a record that may have other members, and returns the names of those.
    ///
    /// # Errors
    /// Every rule that the record breaks.
    pub fn read_among_others(
        schema: &'static Schema,
        fields: Fields<'_>,
        author: Author,
    ) -> (Result<Self, Vec<Violation>>, Vec<String>) {
        let (read, unknown) = read(schema, fields, Absent::IsDefault, author);
        (read.map(|(row, sent)| Self { schema, author, row, sent, claims: Row::new() }), unknown)
    }

    /// A record from values for all fields of its declaration, in the order of the schema, which obey every rule.
    pub fn of(schema: &'static Schema, row: Row) -> Self {
        let sent = vec![true; row.len()];
        Self { schema, author: Author::Operator, row, sent, claims: Row::new() }
    }

    /// Its record type.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// The values of all fields of the declaration, in the order of the schema: a new record.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// The values of the fields that its author writes: what replaces those of a record that exists, whose
    /// read-only fields stay as they are.
    pub fn replacement(&self) -> Row {
        let written = self.row.iter().filter(|(field, _)| self.author.writes(field));
        written.cloned().collect()
    }

    /// Adds values that were sent for fields that its author does not write.
    #[must_use]
    pub fn with_claims(self, claims: Row) -> Self {
        Self { claims, ..self }
    }

    /// The values that were sent for fields that clients cannot write, such as the version. A replacement is rejected if
    /// they differ from those of the record.
    pub fn claims(&self) -> &Row {
        &self.claims
    }

    /// Returns the values that were sent. An import with `update` sets them in the existing record and keeps its other
    /// fields.
    pub fn update(&self) -> Row {
        let sent = self.row.iter().zip(&self.sent).filter(|(_, is_sent)| **is_sent);
        sent.map(|(value, _)| value.clone()).collect()
    }

    /// Returns whether the same fields were sent for both records.
    pub fn has_fields_of(&self, other: &Self) -> bool {
        self.sent == other.sent
    }
}

impl Patch {
    /// Reads a patch. Members that are not fields are errors.
    ///
    /// # Errors
    /// Every rule that the patch breaks.
    pub fn read<V: Into<Argument>>(
        schema: &'static Schema,
        members: Members<V>,
    ) -> Result<Self, Vec<Violation>> {
        Self::read_by(Author::Client, schema, members)
    }

    /// Reads a patch of an operator, who writes read-only fields too.
    ///
    /// # Errors
    /// Every rule that the patch breaks.
    pub fn read_by_operator<V: Into<Argument>>(
        schema: &'static Schema,
        members: Members<V>,
    ) -> Result<Self, Vec<Violation>> {
        Self::read_by(Author::Operator, schema, members)
    }

    fn read_by<V: Into<Argument>>(
        author: Author,
        schema: &'static Schema,
        members: Members<V>,
    ) -> Result<Self, Vec<Violation>> {
        let (read, unknown) = read(schema, members.into(), Absent::StaysAsItIs, author);
        let (row, _) = reject_unknown(schema, read, unknown)?;
        Ok(Self { schema, row })
    }

    /// Its record type.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// The values of the fields that change, in the order of the schema.
    pub fn row(&self) -> &Row {
        &self.row
    }
}

/// Who writes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A client of the API. It writes the fields that are not read-only.
    Client,
    /// An operator at the command line. They write all fields of the declaration.
    Operator,
}

impl Author {
    /// Returns whether the author writes the field.
    pub fn writes(self, field: &Field) -> bool {
        match self {
            Self::Client => field.writable,
            Self::Operator => !field.managed,
        }
    }
}

/// What happens to a field that is absent from the input.
#[derive(Clone, Copy, PartialEq)]
enum Absent {
    /// The field gets its default, or null if it may; otherwise its absence is an error.
    IsDefault,
    StaysAsItIs,
}

/// Values, and for each whether it was sent.
type Sent = (Row, Vec<bool>);

fn read(
    schema: &'static Schema,
    mut fields: Fields<'_>,
    absent: Absent,
    author: Author,
) -> (Result<Sent, Vec<Violation>>, Vec<String>) {
    let (mut row, mut sent) = (Row::new(), Vec::new());
    let mut violations = Vec::new();
    for field in schema.declared() {
        let is_it =
            |(name, _): &(Cow<'_, str>, Argument)| author.writes(field) && name == field.name;
        let position = fields.iter().position(is_it);
        let is_sent = position.is_some();
        let value = match position.map(|position| fields.remove(position).1) {
            None if absent == Absent::StaysAsItIs => continue,
            None if field.default.is_some() => Ok(field.default.clone()),
            None if field.nullable => Ok(None),
            None => Err("is missing".to_owned()),
            Some(argument) => read_field(field, &argument),
        };
        match value {
            Ok(value) => {
                row.push((field, value));
                sent.push(is_sent);
            }
            Err(detail) => violations.push(Violation::new(field.name, detail)),
        }
    }
    let unknown = fields.into_iter().map(|(name, _)| name.into_owned()).collect();
    (if violations.is_empty() { Ok((row, sent)) } else { Err(violations) }, unknown)
}

fn reject_unknown(
    schema: &Schema,
    read: Result<Sent, Vec<Violation>>,
    unknown: Vec<String>,
) -> Result<Sent, Vec<Violation>> {
    let others = unknown.into_iter().take(MAX_DIAGNOSTICS).map(|name| {
        let detail = match schema.field(&name) {
            Some(field) if field.managed => {
                "is set by the service and cannot be written".to_owned()
            }
            Some(_) => "is read-only".to_owned(),
            None => {
                let names = schema.writable().map(|field| field.name);
                format!("is not a field of {}; {}", schema.name, did_you_mean(&name, names))
            }
        };
        Violation::new(&name, detail)
    });
    let others: Vec<Violation> = others.collect();
    match read {
        Ok(sent) if others.is_empty() => Ok(sent),
        Ok(_) => Err(others),
        Err(violations) => Err(violations.into_iter().chain(others).collect()),
    }
}

/// Reads a value of the field's type and within its bounds. Outer white space of a text is removed, and a text that
/// shows nothing is rejected: no user could see it.
pub(super) fn read_field(field: &Field, argument: &Argument) -> Result<Option<Value>, String> {
    if *argument == Argument::NULL {
        return if field.nullable { Ok(None) } else { Err("cannot be null".to_owned()) };
    }
    let value = argument.read(field.ty).map_err(|misread| match misread.help {
        Some(help) => format!("{}; {help}", misread.message),
        None => misread.message,
    })?;
    let value = match value {
        // A declared minimum of 0 characters says that the empty text is a value.
        Value::Text(text) if is_blank(&text) && !(text.is_empty() && field.bounds.contains(&0)) => {
            let instead = if field.nullable { "send null for no value" } else { "write a text" };
            return Err(format!("is blank; {instead}"));
        }
        Value::Text(text) if trimmed(&text).len() < text.len() => {
            Value::Text(trimmed(&text).to_owned())
        }
        value => value,
    };
    let (low, high) = (field.bounds.start(), field.bounds.end());
    match (&value, field.ty) {
        (Value::Text(text), Type::Text) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            if !field.bounds.contains(&length) {
                return Err(format!("must have {low} to {high} characters, found {length}"));
            }
            if let Some(control) = text.chars().find(|c| c.is_control()) {
                return Err(format!("cannot hold the control character {control:?}"));
            }
        }
        (Value::Integer(number), _) if !field.bounds.contains(number) => {
            return Err(format!("must be from {low} to {high}, found {number}"));
        }
        _ => {}
    }
    Ok(Some(value))
}
