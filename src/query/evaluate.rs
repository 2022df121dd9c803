//! Evaluates a query without SQL: whether a record matches, and which of two records comes first.
//!
//! Searches run in the database. Tests compare the results of both engines with this module, and
//! `match` and `why` use it to explain single records. It follows `grammar/README.md`.

use std::cmp::Ordering;
use std::ops::Not;

use chrono::Datelike;

use super::ast::{Comparison, Direction, Matching};
use super::bind::BoundQuery;
use super::plan::{Condition, Part, Side, SortKey, Term};
use super::schema::Field;
use super::text::fold;
use super::value::Value;

/// A value of SQL's three-valued logic (ISO/IEC 9075-2, 6.39). A record matches if the condition is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// The condition is unknown because of a null.
    Unknown,
}

impl Truth {
    /// Returns `left and right`.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::True, Truth::True) => Truth::True,
            _ => Truth::Unknown,
        }
    }

    /// Returns `left or right`. De Morgan's law also holds in three-valued logic.
    fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }
}

impl Not for Truth {
    type Output = Self;

    /// Negates; unknown stays unknown.
    fn not(self) -> Self {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::True } else { Truth::False }
    }
}

/// A record, as a query sees it.
pub trait Fields {
    /// Returns the value of a field, `None` for null.
    fn field(&self, field: &Field) -> Option<Value>;
}

/// Evaluates whether the record matches the filter and comes after the page that the query continues.
pub fn evaluate(query: &BoundQuery, record: &impl Fields) -> Truth {
    let conditions = query.filter.iter().chain(&query.after);
    conditions.map(|condition| holds(condition, record)).fold(Truth::True, Truth::and)
}

/// Compares two records by the keys of an order. Nulls come last in both directions.
pub fn compare(order: &[SortKey], left: &impl Fields, right: &impl Fields) -> Ordering {
    let by_key = |key: &SortKey| {
        let (left, right) = (left.field(key.field), right.field(key.field));
        match (left, right, key.direction) {
            (None, None, _) => Ordering::Equal,
            (None, Some(_), _) => Ordering::Greater,
            (Some(_), None, _) => Ordering::Less,
            (Some(left), Some(right), Direction::Ascending) => left.cmp(&right),
            (Some(left), Some(right), Direction::Descending) => right.cmp(&left),
        }
    };
    order.iter().map(by_key).fold(Ordering::Equal, Ordering::then)
}

fn holds(condition: &Condition<Value>, record: &impl Fields) -> Truth {
    match condition {
        Condition::All(terms) => {
            terms.iter().map(|term| holds(term, record)).fold(Truth::True, Truth::and)
        }
        Condition::Any(terms) => {
            terms.iter().map(|term| holds(term, record)).fold(Truth::False, Truth::or)
        }
        Condition::Not(inner) => !holds(inner, record),
        Condition::Flag(field) => {
            known(record.field(field), |value| *value == Value::Boolean(true))
        }
        Condition::Null(field) => record.field(field).is_none().into(),
        Condition::Compare(left, operator, right) => {
            let right = match right {
                Side::Value(value) => Some(value.clone()),
                Side::Term(term) => read(*term, record),
            };
            match right {
                Some(right) => {
                    known(read(*left, record), |left| decides(*operator, left.cmp(&right)))
                }
                None => Truth::Unknown,
            }
        }
        Condition::Beyond(fields, operator, values) => {
            let own = fields.iter().map(|field| record.field(field));
            let own: Option<Vec<Value>> = own.collect();
            own.map_or(Truth::Unknown, |own| decides(*operator, own.cmp(values)).into())
        }
        Condition::In(term, values) => known(read(*term, record), |value| values.contains(value)),
        Condition::Match(field, matching, needle) => known(record.field(field), |value| {
            let (text, needle) = (fold(&value.to_string()), needle.to_string());
            match matching {
                Matching::Contains => text.contains(&needle),
                Matching::StartsWith => text.starts_with(&needle),
                Matching::EndsWith => text.ends_with(&needle),
            }
        }),
    }
}

fn known(value: Option<Value>, test: impl Fn(&Value) -> bool) -> Truth {
    value.map_or(Truth::Unknown, |value| test(&value).into())
}

fn read(term: Term, record: &impl Fields) -> Option<Value> {
    record.field(term.field).map(|value| part_of(term.part, value))
}

/// Returns the part of a field's value.
pub(super) fn part_of(part: Part, value: Value) -> Value {
    match (part, value) {
        (Part::Year, Value::Date(date)) => Value::Integer(date.year().into()),
        (Part::Month, Value::Date(date)) => Value::Integer(date.month().into()),
        (_, value) => value,
    }
}

/// Whether a comparison is true for a left side that is less than, equal to or greater than the right side.
pub(super) fn decides(operator: Comparison, ordering: Ordering) -> bool {
    match operator {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}
