//! A saved query as it is stored. Clients never see it in this form: `app::saved` reads and writes it.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::declaration::{Keys, build};
use crate::query::{Field, Schema, Type};

static SAVED_QUERIES: LazyLock<&'static Schema> = LazyLock::new(|| {
    let fields = vec![
        text("collection", "The collection it searches.", 1..=100, false),
        text("name", "The name, unique within the collection.", 1..=60, false),
        text("description", "What it is for.", 1..=500, true),
        text("filter", "Which records, as it was written.", 1..=8192, true),
        text("order_by", "In which order, as it was written.", 1..=8192, true),
        text("parameters", "What is said of its parameters, as JSON.", 2..=65_536, false),
    ];
    let keys = Keys { unique: vec![vec!["collection", "name"]], ..Keys::default() };
    let description = "A named query on the records of a collection.";
    build("StoredQuery", "saved_queries", description, fields, keys, Vec::new())
});

fn text(
    name: &'static str,
    description: &'static str,
    bounds: RangeInclusive<i64>,
    nullable: bool,
) -> Field {
    Field {
        name,
        description,
        ty: Type::Text,
        bounds,
        nullable,
        default: None,
        writable: true,
        managed: false,
        searchable: true,
        renamed_from: None,
        example: "",
    }
}

/// The record type that saved queries are stored as.
pub fn saved_queries() -> &'static Schema {
    *SAVED_QUERIES
}
