//! What a record type is, and the list of them.
//!
//! A type is a [`Schema`] from which everything else follows: the filter language, validation, the specification,
//! the columns.

mod catalogue;
mod draft;
mod movie;
mod saved_query;

use std::ops::RangeInclusive;

use chrono::{DateTime, SubsecRound, Utc};

pub use self::catalogue::Catalogue;
pub use self::draft::{Draft, Fields, Members, Patch, Row};
pub use self::movie::movies;
pub use self::saved_query::saved_queries;
use crate::query::{Field, Schema, Search, Type};

/// The moment, to the microsecond that both databases store.
pub fn timestamp_now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// The bounds of a field for which none are given.
pub const UNBOUNDED: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// The fields of a record type: those of its declaration between those that the service adds.
fn with_managed(declared: Vec<Field>) -> Vec<Field> {
    let id = managed(
        "id",
        "The identity: a UUIDv7, which sorts by the time of creation.",
        Type::Id,
        "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50",
    );
    let version =
        managed("version", "How often it has been written. It is the ETag.", Type::Integer, "1");
    let moment = |name, description| {
        managed(name, description, Type::Timestamp, "2026-01-31T12:00:00.000000Z")
    };
    let created = moment("created_at", "When it was created, in UTC.");
    let updated = moment("updated_at", "When it was last written, in UTC.");
    [id].into_iter().chain(declared).chain([version, created, updated]).collect()
}

/// A field that the service adds to every record type, and writes itself.
fn managed(
    name: &'static str,
    description: &'static str,
    ty: Type,
    example: &'static str,
) -> Field {
    Field {
        name,
        description,
        ty,
        bounds: UNBOUNDED,
        nullable: false,
        default: None,
        writable: false,
        managed: true,
        searchable: false,
        renamed_from: None,
        example,
    }
}

/// A record type that lasts as long as the process.
fn leaked(schema: Declared) -> &'static Schema {
    let Declared { name, collection, description, fields, unique, indexes, searches } = schema;
    let fields = with_managed(fields).leak();
    let columns: Vec<_> = fields.iter().map(|field| format!("\"{}\"", field.name)).collect();
    let keys = |lists: Vec<Vec<&'static str>>| -> &'static [&'static [&'static str]] {
        lists.into_iter().map(|list| &*list.leak()).collect::<Vec<_>>().leak()
    };
    Box::leak(Box::new(Schema {
        name,
        collection,
        description,
        fields,
        select_list: columns.join(", ").leak(),
        unique: keys(unique),
        indexes: keys(indexes),
        searches: searches.leak(),
    }))
}

/// What is declared of a record type.
#[derive(Default)]
struct Declared {
    name: &'static str,
    collection: &'static str,
    description: &'static str,
    fields: Vec<Field>,
    unique: Vec<Vec<&'static str>>,
    indexes: Vec<Vec<&'static str>>,
    searches: Vec<Search>,
}
