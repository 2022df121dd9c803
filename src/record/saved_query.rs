//! A saved query as it is stored. Clients never see it in this form: `app::saved` reads and writes it.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::declaration::{Extras, Keys, build};
use crate::query::{Field, Schema, Type};

static SAVED_QUERIES: LazyLock<&'static Schema> = LazyLock::new(|| {
    let fields = vec![
        text("collection", "The collection that the query searches.", 1..=100, false),
        text("name", "The name, unique within the collection.", 1..=60, false),
        text("description", "A description for readers.", 1..=500, true),
        text("filter", "The filter, as sent.", 1..=8192, true),
        text("order_by", "The order, as sent.", 1..=8192, true),
        text(
            "parameters",
            "Defaults and descriptions of the parameters, as JSON.",
            2..=65_536,
            false,
        ),
    ];
    let keys = Keys { unique: vec![vec!["collection", "name"]], ..Keys::default() };
    let description = "A named query on the records of a collection.";
    build("StoredQuery", "saved_queries", description, fields, keys, Extras::default())
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
        trigram: false,
        renamed_from: None,
        example: "",
    }
}

/// The record type that saved queries are stored as.
pub fn saved_queries() -> &'static Schema {
    *SAVED_QUERIES
}
