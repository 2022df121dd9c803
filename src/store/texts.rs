//! The SQL of writes, and of reading one record, which is built once for each form: building it takes longer than
//! sending it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use sea_query::{Value as SqlValue, Values};

use crate::error::Result;
use crate::query::{Dialect, Schema, Statement};
use crate::record::Row;

/// The maximum number of texts. Clients choose the fields of an update, and there are many sets of fields.
const MAX_TEXTS: usize = 1024;

/// What the SQL of a statement depends on, besides the values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    dialect: Dialect,
    /// The addresses of the schema and of the fields, which live as long as the process.
    schema: usize,
    fields: Vec<usize>,
    kind: Kind,
}

/// The kind of a statement.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Find,
    Create,
    /// The number of expected versions; `None` for any version.
    Update(Option<usize>),
    /// As for an update.
    Delete(Option<usize>),
    /// The number of records, and whether it updates those whose natural key exists. The fields are those that it sets then.
    Import(usize, bool),
}

impl Form {
    pub(super) fn new(dialect: Dialect, schema: &'static Schema, row: &Row, kind: Kind) -> Self {
        let schema = std::ptr::from_ref(schema).addr();
        let fields = row.iter().map(|(field, _)| std::ptr::from_ref(*field).addr()).collect();
        Self { dialect, schema, fields, kind }
    }
}

static TEXTS: LazyLock<RwLock<HashMap<Form, Arc<str>>>> = LazyLock::new(RwLock::default);

/// Returns a statement. `build` builds it with its values; the next time it has the same form, the values
/// alone are used, in the order of the placeholders. A debug build checks that they are the same.
///
/// # Errors
/// Those of `build`.
pub(super) fn statement(
    form: Form,
    values: Vec<SqlValue>,
    build: impl FnOnce() -> Result<Statement>,
) -> Result<Statement> {
    let known = TEXTS.read().unwrap_or_else(PoisonError::into_inner).get(&form).cloned();
    if let Some(sql) = known {
        let statement = Statement { sql: sql.to_string(), values: Values(values) };
        if cfg!(debug_assertions) {
            let built = build()?;
            debug_assert_eq!(statement, built, "the values are in another order");
        }
        return Ok(statement);
    }
    let built = build()?;
    let mut texts = TEXTS.write().unwrap_or_else(PoisonError::into_inner);
    if texts.len() < MAX_TEXTS {
        texts.insert(form, Arc::from(built.sql.as_str()));
    }
    Ok(built)
}
