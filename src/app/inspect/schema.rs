//! What the language knows: records with their fields, functions, keywords, limits.

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use crate::app::search::MAX_LIMIT;
use crate::query::ast::KEYWORDS;
use crate::query::diagnostic::count;
use crate::query::plan::Part;
use crate::query::{Field, Schema, Search, Type, limits};
use crate::record::{Catalogue, UNBOUNDED};

/// What the language knows.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct CatalogueSchema {
    /// The record types. The first is meant where no collection is named.
    pub record_types: Vec<RecordType>,
    /// The functions.
    pub functions: Vec<FunctionSchema>,
    /// The keywords. A field that is called like one stands in backticks.
    pub keywords: Vec<String>,
    /// The limits.
    pub limits: LanguageLimits,
}

/// A record type.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct RecordType {
    /// Its name.
    pub name: String,
    /// The name of its collection in URLs, scopes and `collection`.
    pub collection: String,
    /// What it is.
    pub description: String,
    /// The fields that together identify a record: the first of `unique`. Empty when the id alone does.
    pub natural_key: Vec<String>,
    /// The fields whose values together are unique.
    pub unique: Vec<Vec<String>>,
    /// Its fields, in order.
    pub fields: Vec<FieldSchema>,
    /// Examples of filters.
    pub searches: Vec<SearchSchema>,
}

/// An example of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct SearchSchema {
    /// Its name.
    pub name: String,
    /// What it finds.
    pub description: String,
    /// The filter.
    pub filter: String,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
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
    /// Whether clients write it. The other fields are read-only or set by the service.
    pub writable: bool,
    /// Whether a record that is created must have it.
    pub required: bool,
    /// The value of a record that is created without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Any<serde_json::Value>>,
    /// An example of a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Any<serde_json::Value>>,
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
        record_types: catalogue.schemas().iter().copied().map(record_type).collect(),
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

fn record_type(schema: &Schema) -> RecordType {
    RecordType {
        name: schema.name.to_owned(),
        collection: schema.collection.to_owned(),
        description: schema.description.to_owned(),
        natural_key: owned(schema.natural_key()),
        unique: schema.unique.iter().map(|names| owned(names)).collect(),
        fields: schema.fields.iter().map(field).collect(),
        searches: schema.searches.iter().map(search).collect(),
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
        required: field.is_required(),
        default: field.default.as_ref().map(|value| Any(value.into())),
        example: field.example_value().map(|value| Any((&value).into())),
        minimum: values.map(|bounds| *bounds.start()),
        maximum: values.map(|bounds| *bounds.end()),
        min_length: lengths.map(|bounds| *bounds.start()),
        max_length: lengths.map(|bounds| *bounds.end()),
        operators: field.operators().map(str::to_owned).collect(),
    }
}

fn search(search: &Search) -> SearchSchema {
    SearchSchema {
        name: search.name.to_owned(),
        description: search.description.to_owned(),
        filter: search.filter.to_owned(),
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
