//! What the language knows: records with their fields, functions, keywords, limits.

use poem_openapi::Object;
use serde::Serialize;

use crate::app::search::MAX_LIMIT;
use crate::query::ast::KEYWORDS;
use crate::query::diagnostic::count;
use crate::query::plan::Part;
use crate::query::{Field, Schema, Type, limits};
use crate::record::{Catalogue, UNBOUNDED};

/// What the language knows.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct CatalogueSchema {
    /// The types of record. The first is meant where none is named.
    pub records: Vec<RecordSchema>,
    /// The functions.
    pub functions: Vec<FunctionSchema>,
    /// The keywords. A field that is called like one stands in backticks.
    pub keywords: Vec<String>,
    /// The limits.
    pub limits: LanguageLimits,
}

/// A type of record.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct RecordSchema {
    /// Its name.
    pub name: String,
    /// The name of its collection in addresses, scopes and `record`.
    pub collection: String,
    /// What it is.
    pub description: String,
    /// The fields that together tell one record from another.
    pub natural_key: Vec<String>,
    /// Its fields, in order.
    pub fields: Vec<FieldSchema>,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct FieldSchema {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// The type of its values.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether clients write it; the others are the service's own.
    pub writable: bool,
    /// The least value of an integer that may be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i64>,
    /// The greatest value of an integer that may be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<i64>,
    /// The fewest characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// The most characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// The operators there are for it. A boolean field may stand alone as well.
    pub operators: Vec<String>,
}

/// A function of a field.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct FunctionSchema {
    /// Its name.
    pub name: String,
    /// The type of the fields it takes.
    pub takes: Type,
    /// The type of what it gives.
    pub gives: Type,
}

/// The limits of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct LanguageLimits {
    /// The bytes of UTF-8 of a filter or an order.
    pub text_bytes: i32,
    /// The parentheses and `not`s that are open at one place.
    pub depth: i32,
    /// The predicates of a filter.
    pub predicates: i32,
    /// The items of a list.
    pub in_items: i32,
    /// The problems that are reported at once.
    pub diagnostics: i32,
    /// The records of a page.
    pub page: i64,
}

/// Describes what the language knows of these records.
pub fn describe(catalogue: Catalogue) -> CatalogueSchema {
    let functions = Part::FUNCTIONS.iter().map(|(name, _)| FunctionSchema {
        name: (*name).to_owned(),
        takes: Part::TAKES,
        gives: Part::GIVES,
    });
    CatalogueSchema {
        records: catalogue.schemas().iter().copied().map(record).collect(),
        functions: functions.collect(),
        keywords: owned(KEYWORDS),
        limits: LanguageLimits {
            text_bytes: count(limits::MAX_TEXT_BYTES),
            depth: count(limits::MAX_DEPTH),
            predicates: count(limits::MAX_PREDICATES),
            in_items: count(limits::MAX_IN_ITEMS),
            diagnostics: count(limits::MAX_DIAGNOSTICS),
            page: i64::from(MAX_LIMIT),
        },
    }
}

fn record(schema: &Schema) -> RecordSchema {
    RecordSchema {
        name: schema.name.to_owned(),
        collection: schema.collection.to_owned(),
        description: schema.description.to_owned(),
        natural_key: owned(schema.natural_key()),
        fields: schema.fields.iter().map(field).collect(),
    }
}

fn field(field: &Field) -> FieldSchema {
    let bounds = Some(&field.bounds).filter(|bounds| **bounds != UNBOUNDED);
    let bounds_of = |ty| bounds.filter(|_| field.ty == ty);
    let (values, lengths) = (bounds_of(Type::Integer), bounds_of(Type::Text));
    FieldSchema {
        name: field.name.to_owned(),
        description: field.description.to_owned(),
        ty: field.ty,
        nullable: field.nullable,
        writable: field.writable,
        minimum: values.map(|bounds| *bounds.start()),
        maximum: values.map(|bounds| *bounds.end()),
        min_length: lengths.map(|bounds| *bounds.start()),
        max_length: lengths.map(|bounds| *bounds.end()),
        operators: field.operators().map(str::to_owned).collect(),
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
