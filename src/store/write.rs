//! Writes of one record. Each is a single statement that returns the written record.

use chrono::{DateTime, Utc};
use sea_query::{Alias, Expr, ExprTrait, Query as Sql, Value as SqlValue};
use uuid::Uuid;

use super::{Record, Store};
use crate::error::{Error, Result};
use crate::query::compile::folded_column;
use crate::query::text::fold;
use crate::query::{Dialect, Field, Schema, Value};
use crate::record::{Draft, Row};

/// Which version of a record a write expects to find (RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any version.
    Any,
    /// One of these.
    Versions(Vec<i64>),
}

impl Store {
    /// Creates a record.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Duplicate`] if the natural key exists; any database error.
    pub async fn insert(&self, id: Uuid, draft: &Draft, now: DateTime<Utc>) -> Result<Record> {
        let schema = draft.schema();
        let mut insert = insert_statement(schema, [(id, draft.row())], now, self.dialect())?;
        insert.returning(Sql::returning().columns(schema.names()));
        let written = self.write_record(schema, self.dialect().build(&insert).into()).await?;
        written.ok_or_else(|| Error::internal("the insert returned no row"))
    }

    /// Sets fields of a record. Returns `None` if no record has this id and version.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn update(
        &self,
        schema: &'static Schema,
        id: Uuid,
        row: &Row,
        expected: &Expected,
        now: DateTime<Utc>,
    ) -> Result<Option<Record>> {
        let dialect = self.dialect();
        let mut update = Sql::update();
        update.table(schema.collection);
        for (column, value) in columns(row, dialect) {
            update.value(column, value);
        }
        update
            .value("version", Expr::col("version").add(Expr::cust("1")))
            .value("updated_at", dialect.value(&Value::Timestamp(now)))
            .and_where(Expr::col("id").eq(id))
            .and_where_option(version_is(expected))
            .returning(Sql::returning().columns(schema.names()));
        self.write_record(schema, dialect.build(&update).into()).await
    }

    /// Deletes a record. Returns `None` if no record has this id and version.
    ///
    /// # Errors
    /// Any database error.
    pub async fn delete(
        &self,
        schema: &'static Schema,
        id: Uuid,
        expected: &Expected,
    ) -> Result<Option<Record>> {
        let mut delete = Sql::delete();
        delete
            .from_table(schema.collection)
            .and_where(Expr::col("id").eq(id))
            .and_where_option(version_is(expected))
            .returning(Sql::returning().columns(schema.names()));
        self.write_record(schema, self.dialect().build(&delete).into()).await
    }
}

pub(super) fn version_is(expected: &Expected) -> Option<Expr> {
    match expected {
        Expected::Any => None,
        Expected::Versions(versions) => Some(Expr::col("version").is_in(versions.iter().copied())),
    }
}

/// Builds the statement that creates records, without a RETURNING clause. All rows must have the same fields.
pub(super) fn insert_statement<'a>(
    schema: &'static Schema,
    rows: impl IntoIterator<Item = (Uuid, &'a Row)>,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<sea_query::InsertStatement> {
    let mut insert = Sql::insert();
    insert.into_table(schema.collection);
    for (id, row) in rows {
        let managed = [
            ("id", Value::Id(id)),
            ("version", Value::Integer(1)),
            ("created_at", Value::Timestamp(now)),
            ("updated_at", Value::Timestamp(now)),
        ]
        .map(|(name, value)| (Alias::new(name), dialect.value(&value)));
        let (names, values): (Vec<Alias>, Vec<SqlValue>) =
            managed.into_iter().chain(columns(row, dialect)).unzip();
        let values = values.into_iter().map(Expr::from);
        insert.columns(names).values(values).map_err(Error::internal)?;
    }
    Ok(insert)
}

/// Returns the columns for these values: one for each field, and a folded one for each searchable text.
pub(super) fn columns(row: &Row, dialect: Dialect) -> impl Iterator<Item = (Alias, SqlValue)> + '_ {
    row.iter().flat_map(move |(field, value)| {
        let plain = match value {
            Some(value) => dialect.value(value),
            None => dialect.null(field),
        };
        let folded = field
            .searchable
            .then(|| (folded_column(field), folded_value(field, value.as_ref(), dialect)));
        std::iter::once((Alias::new(field.name), plain)).chain(folded)
    })
}

fn folded_value(field: &Field, value: Option<&Value>, dialect: Dialect) -> SqlValue {
    match value {
        Some(Value::Text(text)) => SqlValue::from(fold(text)),
        _ => dialect.null(field),
    }
}
