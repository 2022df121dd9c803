//! Names and values as SQL writes them.

use crate::query::{Dialect, Value};

/// An identifier in quotes: a declared name may be a keyword of SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQL writes it, for statements that take no placeholders, such as `ALTER TABLE`.
pub(super) fn literal(value: &Value, dialect: Dialect) -> String {
    match (value, dialect) {
        // The number without its sign would not fit into 64 bits, and SQLite would make it a float.
        (Value::Integer(i64::MIN), Dialect::Sqlite) => "0x8000000000000000".to_owned(),
        (Value::Boolean(flag), Dialect::Sqlite) => i32::from(*flag).to_string(),
        (Value::Integer(_) | Value::Boolean(_), _) => value.to_string(),
        (Value::Id(id), Dialect::Sqlite) => format!("X'{}'", id.simple()),
        (Value::Text(_) | Value::Date(_) | Value::Timestamp(_) | Value::Id(_), _) => {
            let text = value.to_string().replace('\'', "''");
            // In PostgreSQL it depends on the session whether a backslash is special in '…', but not in E'…'.
            match dialect {
                Dialect::Postgres if text.contains('\\') => {
                    format!("E'{}'", text.replace('\\', "\\\\"))
                }
                _ => format!("'{text}'"),
            }
        }
    }
}
