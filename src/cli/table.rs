//! Aligned tables on standard output.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value};

use crate::query::Field;

/// Writes these fields of records as a table.
pub(super) fn of_records(fields: &[&'static Field], records: &[Map<String, Value>]) -> String {
    let mut table = new(fields.iter().map(|field| field.name));
    for record in records {
        table.add_row(
            fields.iter().map(|field| record.get(field.name).map_or_else(String::new, cell)),
        );
    }
    table.to_string()
}

/// Writes counts of values as a table, each with the filter for its records.
pub(super) fn of_counts<'a>(
    field: &str,
    counts: impl Iterator<Item = (&'a Value, i64, &'a str)>,
) -> String {
    let mut table = new([field, "count", "filter"].into_iter());
    for (value, count, filter) in counts {
        table.add_row([cell(value), count.to_string(), filter.to_owned()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn new<'a>(names: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(names);
    table
}

/// Writes a value as a cell. Null is an empty one.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
