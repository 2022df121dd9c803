//! Facets: what the values of a field are, or the buckets they fall into, and how a filter finds
//! the records of each.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc};

use super::ast::{Comparison, Expr, Literal};
use super::diagnostic::did_you_mean;
use super::limits::MAX_YEAR;
use super::schema::{Field, Schema};
use super::value::{Type, Value};

/// By what the records are counted: the values of a field, or buckets of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facet {
    field: &'static Field,
    /// One that the field's type has.
    interval: Option<Interval>,
}

/// How wide a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// So many integers, at least one. Buckets begin at its multiples.
    Width(i64),
    /// A part of the calendar in UTC, for dates and timestamps.
    Calendar(CalendarPart),
}

impl Interval {
    /// The widths that have a name.
    const NAMED_WIDTHS: [(&'static str, i64); 2] = [("decade", 10), ("century", 100)];

    /// The names there are, beside whole numbers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let widths = Self::NAMED_WIDTHS.into_iter().map(|(name, _)| name);
        widths.chain(CalendarPart::ALL.map(CalendarPart::as_str))
    }

    /// The one of that name among those of the type.
    fn of(ty: Type, name: &str) -> Option<Self> {
        match ty {
            Type::Integer => {
                let named = Self::NAMED_WIDTHS.iter().find(|(known, _)| *known == name);
                let width = match named {
                    Some((_, width)) => *width,
                    // The number parser would take a sign.
                    None if !name.starts_with('+') => name.parse().ok()?,
                    None => return None,
                };
                (width >= 1).then_some(Interval::Width(width))
            }
            Type::Date | Type::Timestamp => CalendarPart::of(name).map(Interval::Calendar),
            Type::Text | Type::Boolean | Type::Id => None,
        }
    }

    /// Those of the type, in words.
    fn all(ty: Type) -> String {
        match ty {
            Type::Integer => {
                let names = Self::NAMED_WIDTHS.map(|(name, _)| name).join(", ");
                format!("{names}, or a width from 1 to {}", i64::MAX)
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
    /// A week, which begins on Monday (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A quarter, which begins in January, April, July or October.
    Quarter,
    /// A year.
    Year,
}

impl CalendarPart {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// The one that is called so.
    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }

    /// Where the part behind the one that begins on that day begins; `None` when that is behind
    /// the last year.
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

/// What the database tells of a group of records, and of all groups together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What the records have in common, of the type [`Facet::key_type`]: the value of the field, the
    /// number of a bucket of integers (the one that begins at 0 is number 0), or the first day of a
    /// part of the calendar. `None` for null.
    pub key: Option<Value>,
    /// How many records it has.
    pub count: i64,
    /// How many groups there are.
    pub groups: i64,
    /// How many records there are in all groups.
    pub total: i64,
}

impl Facet {
    /// A facet of the record's field of that name, in buckets of the interval of that name.
    ///
    /// # Errors
    /// What is wrong with either, in words, and what there is instead.
    pub fn of(schema: &Schema, by: &str, interval: Option<&str>) -> Result<Self, String> {
        let Some(field) = schema.field(by) else {
            let help = did_you_mean(by, schema.names());
            return Err(format!("by: {} has no field {by:?}; {help}", schema.name));
        };
        let Some(name) = interval else { return Ok(Self { field, interval: None }) };
        if let Some(interval) = Interval::of(field.ty, name) {
            return Ok(Self { field, interval: Some(interval) });
        }
        let ty = field.ty.with_article();
        Err(match Interval::all(field.ty) {
            none if none.is_empty() => format!("interval: `{by}` is {ty}, which has none"),
            all => format!("interval: `{by}` is {ty}, which has no {name:?}; there are: {all}"),
        })
    }

    /// The field.
    pub fn field(&self) -> &'static Field {
        self.field
    }

    /// The interval, one that the field's type has.
    pub fn interval(&self) -> Option<Interval> {
        self.interval
    }

    /// The type of a group's key.
    pub fn key_type(&self) -> Type {
        match self.interval {
            Some(Interval::Calendar(_)) => Type::Date,
            Some(Interval::Width(_)) => Type::Integer,
            None => self.field.ty,
        }
    }

    /// The value that stands for the group with that key, which is the start of a bucket, and the
    /// filter that finds its records. A bucket ends where the field's values do.
    pub fn group(&self, key: Option<Value>) -> (Option<Value>, Expr) {
        let name = self.field.name;
        let Some(key) = key else { return (None, Expr::null(name)) };
        match (self.interval, key) {
            (Some(Interval::Width(width)), Value::Integer(number)) => {
                let (first, last) = self.integers(number, width);
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

    /// The first and the last integer of a bucket that fit into the field's column.
    fn integers(&self, number: i64, width: i64) -> (i64, i64) {
        let range = self.field.column_range();
        let (low, high) = (i128::from(*range.start()), i128::from(*range.end()));
        // 127 bits hold the product of two numbers of 63, and a clamped number has 64.
        let clamped = |number: i128| i64::try_from(number.clamp(low, high)).unwrap_or(i64::MAX);
        let first = i128::from(number) * i128::from(width);
        (clamped(first), clamped(first + i128::from(width) - 1))
    }
}

/// The values from the first to the last.
fn within(field: &str, first: Literal, last: Literal) -> Expr {
    if first == last {
        return Expr::compare(field, Comparison::Equal, first);
    }
    Expr::between(field, first, last)
}

/// The instants from the beginning of one day to that of another, or to the end of the calendar.
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
