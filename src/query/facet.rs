//! Facets: the values of a field or buckets of them, and a filter for the records of each.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc};

use super::ast::{Comparison, Expr, Literal};
use super::diagnostic::did_you_mean;
use super::limits::MAX_YEAR;
use super::schema::{Field, Schema};
use super::value::{Type, Value};

/// The groups in which records are counted: the values of a field, or buckets of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facet {
    field: &'static Field,
    /// An interval that the field's type supports.
    interval: Option<Interval>,
}

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// A number of integers, at least 1. Buckets start at its multiples.
    Width(i64),
    /// A part of the calendar in UTC, for dates and timestamps.
    Calendar(CalendarPart),
}

impl Interval {
    /// The widths with names.
    const NAMED_WIDTHS: [(&'static str, i64); 2] = [("decade", 10), ("century", 100)];

    /// Returns the names of all intervals. A width may also be a number.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let widths = Self::NAMED_WIDTHS.into_iter().map(|(name, _)| name);
        widths.chain(CalendarPart::ALL.map(CalendarPart::as_str))
    }

    /// Parses the name of an interval that the type supports.
    fn of(ty: Type, name: &str) -> Option<Self> {
        match ty {
            Type::Integer => {
                let named = Self::NAMED_WIDTHS.iter().find(|(known, _)| *known == name);
                let width = match named {
                    Some((_, width)) => *width,
                    // The number parser would accept a sign.
                    None if !name.starts_with('+') => name.parse().ok()?,
                    None => return None,
                };
                (width >= 1).then_some(Interval::Width(width))
            }
            Type::Date | Type::Timestamp => CalendarPart::of(name).map(Interval::Calendar),
            Type::Text | Type::Boolean | Type::Id => None,
        }
    }

    /// Lists the intervals of the type.
    fn all(ty: Type) -> String {
        match ty {
            Type::Integer => {
                let names = Self::NAMED_WIDTHS.map(|(name, _)| name).join(", ");
                format!("{names}, a width from 1 to {}", i64::MAX)
            }
            Type::Date | Type::Timestamp => CalendarPart::ALL.map(CalendarPart::as_str).join(", "),
            Type::Text | Type::Boolean | Type::Id => String::new(),
        }
    }
}

/// A part of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarPart {
    /// A day.
    Day,
    /// A week, which starts on Monday (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A quarter, which starts in January, April, July or October.
    Quarter,
    /// A year.
    Year,
}

impl CalendarPart {
    /// All parts of the calendar.
    pub const ALL: [Self; 5] = [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// Parses a name.
    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }

    /// Returns the first day of the next part; `None` if it is after the last year.
    fn next(self, first_day: NaiveDate) -> Option<NaiveDate> {
        let next = match self {
            Self::Day => first_day.checked_add_days(Days::new(1)),
            Self::Week => first_day.checked_add_days(Days::new(7)),
            Self::Month => first_day.checked_add_months(Months::new(1)),
            Self::Quarter => first_day.checked_add_months(Months::new(3)),
            Self::Year => first_day.checked_add_months(Months::new(12)),
        };
        next.filter(|day| day.year() <= MAX_YEAR)
    }
}

/// A group of records, with the totals of all groups, as the database returns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The key of the group, of the type [`Facet::key_type`]: the value of the field, the number of a
    /// bucket of integers (the bucket that starts at 0 is number 0), or the first day of a part of the
    /// calendar. `None` for null.
    pub key: Option<Value>,
    /// The number of its records.
    pub count: i64,
    /// The number of all groups.
    pub groups: i64,
    /// The number of records in all groups.
    pub total: i64,
}

impl Facet {
    /// Creates a facet from the names of a field and an interval.
    ///
    /// # Errors
    /// Returns a message about an unknown field, or about an interval that its type does not support.
    pub fn of(schema: &Schema, by: &str, interval: Option<&str>) -> Result<Self, String> {
        let Some(field) = schema.field(by) else {
            let help = did_you_mean(by, schema.names());
            return Err(format!("by: unknown field {by:?}; {help}"));
        };
        let Some(name) = interval else { return Ok(Self { field, interval: None }) };
        if let Some(interval) = Interval::of(field.ty, name) {
            return Ok(Self { field, interval: Some(interval) });
        }
        let ty = field.ty.with_article();
        Err(match Interval::all(field.ty) {
            none if none.is_empty() => {
                format!("interval: expected none for {by:?}, {ty}, found {name:?}")
            }
            all => format!("interval: expected one of {all} for {by:?}, {ty}, found {name:?}"),
        })
    }

    /// Returns the field.
    pub fn field(&self) -> &'static Field {
        self.field
    }

    /// Returns the interval, if the facet has buckets.
    pub fn interval(&self) -> Option<Interval> {
        self.interval
    }

    /// Returns the type of a group's key.
    pub fn key_type(&self) -> Type {
        match self.interval {
            Some(Interval::Calendar(_)) => Type::Date,
            Some(Interval::Width(_)) => Type::Integer,
            None => self.field.ty,
        }
    }

    /// Returns the value of the group with a key, which is the start of a bucket, and the filter for its
    /// records. A bucket of integers is clamped to 64 bits.
    pub fn group(&self, key: Option<Value>) -> (Option<Value>, Expr) {
        let name = self.field.name;
        let Some(key) = key else { return (None, Expr::null(name)) };
        match (self.interval, key) {
            (Some(Interval::Width(width)), Value::Integer(number)) => {
                let (first, last) = integers(number, width);
                let filter = within(name, Literal::Integer(first), Literal::Integer(last));
                (Some(Value::Integer(first)), filter)
            }
            (Some(Interval::Calendar(part)), Value::Date(first)) => {
                let next = part.next(first);
                let filter = match self.field.ty {
                    Type::Timestamp => instants(name, first, next),
                    _ => {
                        let last = next.and_then(|day| day.pred_opt()).unwrap_or_else(last_day);
                        within(name, Literal::Date(first), Literal::Date(last))
                    }
                };
                (Some(Value::Date(first)), filter)
            }
            (_, value) => {
                let filter = Expr::compare(name, Comparison::Equal, value.clone().into());
                (Some(value), filter)
            }
        }
    }
}

/// Returns the first and the last integer of a bucket, clamped to 64 bits.
fn integers(number: i64, width: i64) -> (i64, i64) {
    let (low, high) = (i128::from(i64::MIN), i128::from(i64::MAX));
    // The product of two 64-bit numbers fits into 128 bits, and a clamped number into 64.
    let clamped = |number: i128| i64::try_from(number.clamp(low, high)).unwrap_or(i64::MAX);
    let first = i128::from(number) * i128::from(width);
    (clamped(first), clamped(first + i128::from(width) - 1))
}

/// Creates a filter for the values from the first to the last.
fn within(field: &str, first: Literal, last: Literal) -> Expr {
    if first == last {
        return Expr::compare(field, Comparison::Equal, first);
    }
    Expr::between(field, first, last)
}

/// Creates a filter for the timestamps from the start of a day to that of the next, or to the end of
/// the calendar.
fn instants(field: &str, first: NaiveDate, next: Option<NaiveDate>) -> Expr {
    let midnight =
        |day: NaiveDate| -> DateTime<Utc> { NaiveDate::and_time(&day, NaiveTime::MIN).and_utc() };
    let bound = |operator, day| Expr::compare(field, operator, Literal::Timestamp(midnight(day)));
    let from = bound(Comparison::GreaterOrEqual, first);
    Expr::all([from].into_iter().chain(next.map(|next| bound(Comparison::Less, next))).collect())
}

fn last_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(MAX_YEAR, 12, 31).expect("every year has a 31st of December")
}
