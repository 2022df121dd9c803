//! A saved query as it is stored. Clients never see it in this form: `app::saved` reads and writes it.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::{Declared, leaked, managed};
use crate::query::{Field, Schema, Type};

static SAVED_QUERIES: LazyLock<&'static Schema> = LazyLock::new(|| {
    leaked(Declared {
        name: "StoredQuery",
        collection: "saved_queries",
        description: "A named query on the records of a collection.",
        fields: vec![
            text("collection", "The collection it searches.", 1..=100, false),
            text("name", "The name, unique within the collection.", 1..=60, false),
            text("description", "What it is for.", 1..=500, true),
            text("filter", "Which records, as it was written.", 1..=8192, true),
            text("order_by", "In which order, as it was written.", 1..=8192, true),
            text("parameters", "What is said of its parameters, as JSON.", 2..=65_536, false),
        ],
        unique: vec![vec!["collection", "name"]],
        ..Declared::default()
    })
});

fn text(
    name: &'static str,
    description: &'static str,
    bounds: RangeInclusive<i64>,
    nullable: bool,
) -> Field {
    let field = managed(name, description, Type::Text, "");
    Field { bounds, nullable, writable: true, managed: false, searchable: true, ..field }
}

/// The record type that saved queries are stored as.
pub fn saved_queries() -> &'static Schema {
    *SAVED_QUERIES
}
