//! The fields of a declaration.

use std::ops::RangeInclusive;

use super::document::{Content, Entry, Node};
use super::names::{Named, check};
use super::{
    DEFAULT_LENGTH, MAX_FIELDS, MAX_LENGTH, Mistake, Reader, UNBOUNDED, find, keep, quoted,
};
use crate::query::diagnostic::{Span, did_you_mean};
use crate::query::value::Argument;
use crate::query::{Field, Type, Value};
use crate::record::draft::read_field;

/// The keys of a field.
pub(super) const FIELD_KEYS: &[&str] = &[
    "type",
    "length",
    "range",
    "required",
    "default",
    "renamed_from",
    "search",
    "trigram",
    "read_only",
    "description",
    "example",
];

/// The types of fields.
pub(super) const TYPES: [Type; 6] =
    [Type::Text, Type::Integer, Type::Boolean, Type::Date, Type::Timestamp, Type::Id];

impl Reader<'_> {
    /// The fields that are without a mistake.
    pub(super) fn fields(&mut self, place: Span, declared: &[Entry]) -> Vec<Field> {
        if let Some(entry) = declared.get(MAX_FIELDS) {
            let message = format!("expected at most {MAX_FIELDS} fields, found {}", declared.len());
            self.report(Mistake::new(entry.span, message));
            return Vec::new();
        }
        let mut fields: Vec<Field> = Vec::new();
        for entry in declared {
            fields.extend(self.field(entry));
        }
        for entry in declared {
            self.check_renaming(entry, declared);
        }
        if declared.is_empty() {
            let message = "a record type has at least one field";
            self.report(Mistake::new(place, message).help("add one, such as `[fields.title]`"));
        } else if fields.len() == declared.len() && fields.iter().all(|field| !field.writable) {
            let message = "a record type has at least one field that clients write";
            self.report(Mistake::new(place, message).help("remove `read_only` from one"));
        }
        fields
    }

    fn field(&mut self, entry: &Entry) -> Option<Field> {
        self.mistakes.extend(check(Named::Field, &entry.key, entry.span));
        let table = self.table(entry, Some("type"))?;
        self.known_keys(table, FIELD_KEYS, "a field");
        let description = self.description(table);
        let is_required = self.flag(table, "required", true);
        let is_read_only = self.flag(table, "read_only", false);
        let ty = self.required(table, "type", entry.span, "type = \"text\"");
        let ty = ty.and_then(|entry| self.field_type(entry))?;
        let mut field = Field {
            name: keep(&entry.key),
            description,
            ty,
            bounds: self.bounds(table, ty)?,
            nullable: !is_required,
            default: None,
            writable: !is_read_only,
            managed: false,
            searchable: ty == Type::Text,
            trigram: false,
            renamed_from: None,
            example: "",
        };
        if let Some(entry) = self.key_of(table, "search", ty, Type::Text) {
            field.searchable = self.flag(std::slice::from_ref(entry), "search", true);
        }
        if let Some(entry) = self.key_of(table, "trigram", ty, Type::Text) {
            field.trigram = self.flag(std::slice::from_ref(entry), "trigram", false);
            if field.trigram && !field.searchable {
                let message =
                    "`trigram` is for texts that are searched, and this has `search = false`";
                let help = "remove one of the two keys";
                self.report(Mistake::new(entry.span, message).help(help));
            }
        }
        if let Some(entry) = find(table, "renamed_from") {
            field.renamed_from = self.name(Named::Field, entry).map(|(name, _)| name);
        }
        if let Some(entry) = find(table, "default") {
            field.default = self.value(entry, &field);
        } else if is_read_only && is_required {
            let message = format!("`{}` is required, and clients cannot write it", field.name);
            let help = "add a `default`, or `required = false`";
            self.report(Mistake::new(entry.span, message).help(help));
        }
        if let Some(entry) = find(table, "example") {
            let value = self.value(entry, &field);
            field.example = value.map_or("", |value| value.to_string().leak());
        }
        Some(field)
    }

    fn field_type(&mut self, entry: &Entry) -> Option<Type> {
        let name = self.text(entry)?;
        let found = TYPES.into_iter().find(|ty| ty.as_str() == name);
        if found.is_none() {
            // What other systems call them.
            let intended = match name.to_ascii_lowercase().as_str() {
                "string" | "str" | "varchar" | "char" => Some(Type::Text),
                "int" | "int4" | "int8" | "int32" | "int64" | "bigint" | "number" => {
                    Some(Type::Integer)
                }
                "bool" => Some(Type::Boolean),
                "datetime" | "date-time" | "timestamptz" => Some(Type::Timestamp),
                "uuid" => Some(Type::Id),
                _ => None,
            };
            let help = match intended {
                Some(ty) => format!("did you mean \"{}\"?", ty.as_str()),
                None => did_you_mean(name, TYPES.into_iter().map(Type::as_str)),
            };
            let message = format!("unknown type {}", quoted(name));
            self.report(Mistake::new(entry.node.span, message).help(help));
        }
        found
    }

    /// The entry of a key that fields of one type alone have.
    fn key_of<'a>(
        &mut self,
        table: &'a [Entry],
        key: &str,
        ty: Type,
        owner: Type,
    ) -> Option<&'a Entry> {
        let entry = find(table, key)?;
        if ty == owner {
            return Some(entry);
        }
        let (owner, ty) = (owner.as_str(), ty.with_article());
        self.report(Mistake::new(
            entry.span,
            format!("`{key}` is for fields of type {owner}, and this is {ty}"),
        ));
        None
    }

    fn bounds(&mut self, table: &[Entry], ty: Type) -> Option<RangeInclusive<i64>> {
        let length = self.key_of(table, "length", ty, Type::Text);
        let range = self.key_of(table, "range", ty, Type::Integer);
        let (entry, limits, default) = match ty {
            Type::Text => (length, 0..=MAX_LENGTH, DEFAULT_LENGTH),
            _ => (range, UNBOUNDED, UNBOUNDED),
        };
        let Some(Entry { key, node, .. }) = entry else { return Some(default) };
        let expected = match ty {
            Type::Text => "the least and the greatest number of characters, such as [1, 300]",
            _ => "the least and the greatest value, such as [0, 9999]",
        };
        let Content::List(items) = &node.content else {
            self.unexpected(node, key, expected, None);
            return None;
        };
        let [
            Node { content: Content::Integer(low), .. },
            Node { content: Content::Integer(high), .. },
        ] = items.as_slice()
        else {
            let message = format!("`{key}`: expected {expected}");
            self.report(Mistake::new(node.span, message));
            return None;
        };
        if low > high {
            let message = format!("`{key}`: {low} is greater than {high}");
            self.report(Mistake::new(node.span, message).help(format!("write [{high}, {low}]")));
            return None;
        }
        if !limits.contains(low) || !limits.contains(high) || (ty == Type::Text && *high == 0) {
            let message =
                format!("`{key}`: expected at least 0 and at most {MAX_LENGTH} characters");
            self.report(Mistake::new(node.span, message));
            return None;
        }
        Some(*low..=*high)
    }

    /// A default or an example, which obeys the same rules as the value of a record.
    fn value(&mut self, entry: &Entry, field: &Field) -> Option<Value> {
        let argument = match (&entry.node.content, field.ty) {
            (Content::Text(text), _) => Argument::Text(text.clone()),
            (Content::Moment(moment), Type::Date | Type::Timestamp) => {
                Argument::Text(moment.clone())
            }
            (Content::Integer(number), _) => Argument::Integer(*number),
            (Content::Boolean(flag), _) => Argument::Boolean(*flag),
            (other, _) => Argument::Unsupported(other.kind()),
        };
        match read_field(field, &argument) {
            Ok(value) => value,
            Err(detail) => {
                let message = format!("`{}`: {detail}", entry.key);
                self.report(Mistake::new(entry.node.span, message));
                None
            }
        }
    }

    /// Reports a former name that a field still has, or that two fields claim.
    fn check_renaming(&mut self, entry: &Entry, declared: &[Entry]) {
        let Some(renamed) = renamed_from(entry) else { return };
        let Content::Text(name) = &renamed.node.content else { return };
        if find(declared, name).is_some() {
            let message = format!("`renamed_from`: there still is a field {}", quoted(name));
            self.report(Mistake::new(renamed.node.span, message));
            return;
        }
        let others = declared.iter().take_while(|other| other.span != entry.span);
        let same = |other: &&Entry| {
            matches!(renamed_from(other).map(|other| &other.node.content),
                Some(Content::Text(other)) if other == name)
        };
        if let Some(other) = others.into_iter().find(same) {
            let message =
                format!("`renamed_from`: {} was renamed to `{}` already", quoted(name), other.key);
            self.report(Mistake::new(renamed.node.span, message));
        }
    }
}

fn renamed_from(entry: &Entry) -> Option<&Entry> {
    match &entry.node.content {
        Content::Table(table) => find(table, "renamed_from"),
        _ => None,
    }
}
