//! The vocabulary of the filter language: record types with their fields, functions, keywords, limits.

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde::Serialize;

use crate::app::search::MAX_LIMIT;
use crate::query::ast::KEYWORDS;
use crate::query::diagnostic::count;
use crate::query::plan::Part;
use crate::query::{Field, Schema, Search, Type, limits};
use crate::record::{Catalogue, UNBOUNDED};

/// The vocabulary of the filter language.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct CatalogueSchema {
    /// The record types. The first one is the default of `collection`.
    pub record_types: Vec<RecordType>,
    /// The functions.
    pub functions: Vec<FunctionSchema>,
    /// The keywords. A field with the name of a keyword must be quoted in backticks.
    pub keywords: Vec<String>,
    /// The limits.
    pub limits: LanguageLimits,
}

/// A record type.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct RecordType {
    /// The name.
    pub name: String,
    /// The name of the collection in URLs, scopes and `collection`.
    pub collection: String,
    /// The description.
    pub description: String,
    /// The fields of the natural key, which is the first of `unique`. Empty if there is none.
    pub natural_key: Vec<String>,
    /// The fields whose values together are unique.
    pub unique: Vec<Vec<String>>,
    /// The fields, in the order of the declaration.
    pub fields: Vec<FieldSchema>,
    /// Examples of filters.
    pub searches: Vec<SearchSchema>,
}

/// An example of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct SearchSchema {
    /// The name.
    pub name: String,
    /// What the filter finds.
    pub description: String,
    /// The filter.
    pub filter: String,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct FieldSchema {
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// The type of its values.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
    /// Whether the value may be null.
    pub nullable: bool,
    /// Whether clients can write the field. Other fields are read-only or set by the service.
    pub writable: bool,
    /// Whether a new record must have a value.
    pub required: bool,
    /// The value of a new record that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Any<serde_json::Value>>,
    /// An example value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Any<serde_json::Value>>,
    /// The minimum value of an integer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i64>,
    /// The maximum value of an integer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<i64>,
    /// The minimum number of characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// The maximum number of characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// The operators of the field. A boolean field can also be used without an operator.
    pub operators: Vec<String>,
}

/// A function of a field.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct FunctionSchema {
    /// The name.
    pub name: String,
    /// The type of its argument, which is a field.
    pub takes: Type,
    /// The type of its result.
    pub gives: Type,
}

/// The limits of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize)]
pub struct LanguageLimits {
    /// The maximum length of a filter or an order, in bytes of UTF-8.
    pub text_bytes: i32,
    /// The maximum nesting of parentheses and `not`.
    pub depth: i32,
    /// The maximum number of predicates of a filter.
    pub predicates: i32,
    /// The maximum number of items of a list.
    pub in_items: i32,
    /// The maximum number of problems that are reported at once.
    pub diagnostics: i32,
    /// The maximum number of records per page.
    pub page: i64,
}

/// Returns the vocabulary of the filter language for these record types.
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
