//! Rows of records, read by position with the types of their schema.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Timelike as _, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, ValueRef as _};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

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

impl Cell<'_> {
    /// Appends the value as JSON: the same bytes as its serialization, without the formatting machinery of the standard
    /// library, which took most of the time of a page.
    ///
    /// # Errors
    /// None in practice, because all values can be serialised.
    pub(super) fn write_json(&self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Boolean(true) => json.extend_from_slice(b"true"),
            Self::Boolean(false) => json.extend_from_slice(b"false"),
            Self::Date(date) if has_four_digits(*date) => {
                json.push(b'"');
                write_date(json, *date);
                json.push(b'"');
            }
            Self::Timestamp(instant) if has_four_digits(instant.date_naive()) => {
                json.push(b'"');
                write_date(json, instant.date_naive());
                json.push(b'T');
                write_time(json, instant.time());
                json.extend_from_slice(b"Z\"");
            }
            Self::Id(id) => {
                let mut text = [0; Hyphenated::LENGTH];
                json.push(b'"');
                json.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
                json.push(b'"');
            }
            other => return serde_json::to_writer(json, other),
        }
        Ok(())
    }
}

fn has_four_digits(date: NaiveDate) -> bool {
    (0..=9999).contains(&date.year())
}

/// Appends a date of a year with at most four digits: `2024-01-31`.
fn write_date(json: &mut Vec<u8>, date: NaiveDate) {
    let year = date.year().unsigned_abs();
    write_digits(json, [year / 1000, year / 100, year / 10, year]);
    json.push(b'-');
    write_two(json, date.month());
    json.push(b'-');
    write_two(json, date.day());
}

/// Appends a time with as many groups of three decimals as it needs: `12:00:00`, `12:00:00.250`.
fn write_time(json: &mut Vec<u8>, time: NaiveTime) {
    write_two(json, time.hour());
    json.push(b':');
    write_two(json, time.minute());
    json.push(b':');
    let (seconds, nanoseconds) = match time.nanosecond().checked_sub(1_000_000_000) {
        // A leap second, as chrono represents it.
        Some(rest) => (time.second() + 1, rest),
        None => (time.second(), time.nanosecond()),
    };
    write_two(json, seconds);
    if nanoseconds == 0 {
        return;
    }
    json.push(b'.');
    write_three(json, nanoseconds / 1_000_000);
    if nanoseconds % 1_000_000 != 0 {
        write_three(json, nanoseconds / 1000);
    }
    if nanoseconds % 1000 != 0 {
        write_three(json, nanoseconds);
    }
}

fn write_two(json: &mut Vec<u8>, number: u32) {
    write_digits(json, [number / 10, number]);
}

fn write_three(json: &mut Vec<u8>, number: u32) {
    write_digits(json, [number / 100, number / 10, number]);
}

/// Appends the last digit of each number.
fn write_digits<const N: usize>(json: &mut Vec<u8>, numbers: [u32; N]) {
    // Cannot truncate: the remainder is below 10.
    json.extend_from_slice(&numbers.map(|number| b'0' + u8::try_from(number % 10).unwrap_or(0)));
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
    ($row:ty, $integer:expr, $date:expr, $timestamp:expr) => {
        impl Columns for $row {
            fn cell(&self, position: usize, ty: Type) -> sqlx::Result<Option<Cell<'_>>> {
                let integer: fn(&Self, usize) -> sqlx::Result<Option<i64>> = $integer;
                let date: fn(&Self, usize) -> sqlx::Result<Option<NaiveDate>> = $date;
                let timestamp: fn(&Self, usize) -> sqlx::Result<Option<DateTime<Utc>>> = $timestamp;
                Ok(match ty {
                    Type::Text => self.try_get::<Option<&str>, _>(position)?.map(Cell::Text),
                    Type::Integer => integer(self, position)?.map(Cell::Integer),
                    Type::Boolean => self.try_get::<Option<bool>, _>(position)?.map(Cell::Boolean),
                    Type::Date => date(self, position)?.map(Cell::Date),
                    Type::Timestamp => timestamp(self, position)?.map(Cell::Timestamp),
                    Type::Id => self.try_get::<Option<Uuid>, _>(position)?.map(Cell::Id),
                })
            }
        }
    };
}

columns!(SqliteRow, |row, position| row.try_get(position), sqlite_date, sqlite_timestamp);
columns!(PgRow, postgres_integer, |row, position| row.try_get(position), |row, position| row
    .try_get(position));

/// Reads a date of SQLite, which is text such as `2024-01-31`. The driver would try several formats.
fn sqlite_date(row: &SqliteRow, position: usize) -> sqlx::Result<Option<NaiveDate>> {
    let Some(text) = row.try_get::<Option<&str>, _>(position)? else { return Ok(None) };
    date(text.as_bytes()).map(Some).ok_or_else(|| malformed(position, "a date", text))
}

/// Reads a timestamp of SQLite, which is text such as `2024-01-31T12:00:00.000000Z`.
fn sqlite_timestamp(row: &SqliteRow, position: usize) -> sqlx::Result<Option<DateTime<Utc>>> {
    let Some(text) = row.try_get::<Option<&str>, _>(position)? else { return Ok(None) };
    timestamp(text.as_bytes()).map(Some).ok_or_else(|| malformed(position, "a timestamp", text))
}

pub(super) fn malformed(position: usize, expected: &str, found: &str) -> sqlx::Error {
    let source = format!("expected {expected}, found {found:?}").into();
    sqlx::Error::ColumnDecode { index: position.to_string(), source }
}

/// Reads a date of SQLite.
pub(super) fn date(text: &[u8]) -> Option<NaiveDate> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text else { return None };
    let year = i32::try_from(number([y0, y1, y2, y3])?).ok()?;
    NaiveDate::from_ymd_opt(year, number([m0, m1])?, number([d0, d1])?)
}

/// Reads a timestamp of SQLite.
pub(super) fn timestamp(text: &[u8]) -> Option<DateTime<Utc>> {
    let (day, time) = text.split_at_checked(10)?;
    let [b'T', h0, h1, b':', m0, m1, b':', s0, s1, b'.', f0, f1, f2, f3, f4, f5, b'Z'] = *time
    else {
        return None;
    };
    let (hour, minute, second) = (number([h0, h1])?, number([m0, m1])?, number([s0, s1])?);
    let microseconds = number([f0, f1, f2, f3, f4, f5])?;
    let time = NaiveTime::from_hms_micro_opt(hour, minute, second, microseconds)?;
    Some(date(day)?.and_time(time).and_utc())
}

/// Reads a number of decimal digits.
fn number<const N: usize>(digits: [u8; N]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    })
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails this way has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(cell: Cell<'_>) {
        let mut json = Vec::new();
        cell.write_json(&mut json).unwrap();
        let expected = serde_json::to_string(&cell).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    proptest! {
        /// The written JSON is that of serde, and SQLite's text is read as the value it was written from.
        #[test]
        fn values_are_written_as_serde_does_and_read_as_they_were(
            seconds in -70_000_000_000..300_000_000_000_i64,
            nanoseconds in prop_oneof![
                Just(0),
                (0..1000_u32).prop_map(|n| n * 1_000_000),
                (0..1_000_000_u32).prop_map(|n| n * 1000),
                0..2_000_000_000_u32,
            ],
            id: u128,
            number: i64,
            text: String,
        ) {
            let instant = DateTime::from_timestamp(seconds, nanoseconds);
            if let Some(instant) = instant {
                check(Cell::Timestamp(instant));
                check(Cell::Date(instant.date_naive()));
                let text = Value::Timestamp(instant).to_string();
                if has_four_digits(instant.date_naive()) && nanoseconds < 1_000_000_000 {
                    let read = timestamp(text.as_bytes()).unwrap();
                    prop_assert_eq!(Value::Timestamp(read).to_string(), text);
                    let day = instant.date_naive();
                    prop_assert_eq!(date(day.to_string().as_bytes()), Some(day));
                }
            }
            check(Cell::Id(Uuid::from_u128(id)));
            check(Cell::Integer(number));
            check(Cell::Text(&text));
        }

        /// Other text is rejected, and nothing panics.
        #[test]
        fn other_text_is_no_date(text in "[0-9TZ:.-]{0,30}", any: Vec<u8>) {
            let is_date = chrono::NaiveDate::parse_from_str(&text, "%Y-%m-%d").is_ok();
            prop_assert!(is_date || date(text.as_bytes()).is_none());
            let is_instant = DateTime::parse_from_rfc3339(&text).is_ok();
            prop_assert!(is_instant || timestamp(text.as_bytes()).is_none());
            let _ = (date(&any), timestamp(&any));
        }
    }
}
