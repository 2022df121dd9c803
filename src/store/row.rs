//! Rows of records, read by position with the types of their schema.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, ValueRef as _};
use uuid::Uuid;

use crate::query::{Type, Value};

/// A value of a row. Text is borrowed from the row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'r> {
    Text(&'r str),
    Integer(i64),
    Boolean(bool),
    Date(NaiveDate),
    Timestamp(DateTime<Utc>),
    Id(Uuid),
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Integer(number) => Self::Integer(number),
            Cell::Boolean(flag) => Self::Boolean(flag),
            Cell::Date(date) => Self::Date(date),
            Cell::Timestamp(instant) => Self::Timestamp(instant),
            Cell::Id(id) => Self::Id(id),
        }
    }
}

impl<'v> From<&'v Value> for Cell<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Integer(number) => Self::Integer(*number),
            Value::Boolean(flag) => Self::Boolean(*flag),
            Value::Date(date) => Self::Date(*date),
            Value::Timestamp(instant) => Self::Timestamp(*instant),
            Value::Id(id) => Self::Id(*id),
        }
    }
}

impl serde::Serialize for Cell<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Integer(number) => number.serialize(serializer),
            Self::Boolean(flag) => flag.serialize(serializer),
            Self::Date(date) => date.serialize(serializer),
            Self::Timestamp(instant) => instant.serialize(serializer),
            Self::Id(id) => id.serialize(serializer),
        }
    }
}

/// A row of either engine.
pub(super) trait Columns {
    /// Returns the value at that position; `None` for null.
    ///
    /// # Errors
    /// Fails if the column is missing or has another type.
    fn cell(&self, position: usize, ty: Type) -> sqlx::Result<Option<Cell<'_>>>;
}

macro_rules! columns {
    ($row:ty, $integer:expr) => {
        impl Columns for $row {
            fn cell(&self, position: usize, ty: Type) -> sqlx::Result<Option<Cell<'_>>> {
                let integer: fn(&Self, usize) -> sqlx::Result<Option<i64>> = $integer;
                Ok(match ty {
                    Type::Text => self.try_get::<Option<&str>, _>(position)?.map(Cell::Text),
                    Type::Integer => integer(self, position)?.map(Cell::Integer),
                    Type::Boolean => self.try_get::<Option<bool>, _>(position)?.map(Cell::Boolean),
                    Type::Date => self.try_get::<Option<NaiveDate>, _>(position)?.map(Cell::Date),
                    Type::Timestamp => {
                        self.try_get::<Option<DateTime<Utc>>, _>(position)?.map(Cell::Timestamp)
                    }
                    Type::Id => self.try_get::<Option<Uuid>, _>(position)?.map(Cell::Id),
                })
            }
        }
    };
}

columns!(SqliteRow, |row, position| row.try_get(position));
columns!(PgRow, postgres_integer);

/// Reads an integer of 32 or 64 bits. The width of a column depends on the range that was declared when it was
/// created.
fn postgres_integer(row: &PgRow, position: usize) -> sqlx::Result<Option<i64>> {
    let value = row.try_get_raw(position)?;
    if value.is_null() {
        return Ok(None);
    }
    let failed =
        |source: BoxDynError| sqlx::Error::ColumnDecode { index: position.to_string(), source };
    let bytes = value.as_bytes().map_err(failed)?;
    match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        (Ok(narrow), _) => Ok(Some(i32::from_be_bytes(narrow).into())),
        (_, Ok(wide)) => Ok(Some(i64::from_be_bytes(wide))),
        _ => Err(failed(
            format!("expected an integer of 4 or 8 bytes, found {} bytes", bytes.len()).into(),
        )),
    }
}
