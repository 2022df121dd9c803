//! Plan, parameters and the moment of the request to a query in which nothing is open.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use super::ast::{Clock, ClockBase, Comparison, Direction, Unit};
use super::diagnostic::{Code, Fault, Misread, Span, did_you_mean};
use super::limits::{MAX_DIAGNOSTICS, MAX_TEXT_BYTES, MAX_YEAR, MIN_YEAR};
use super::literal::LEAVES_THE_CALENDAR;
use super::plan::{Condition, Parameter, Plan, Side, Slot, SortKey, Term};
use super::schema::Schema;
use super::text::fold;
pub use super::value::Argument;
use super::value::Value;

/// Values for the parameters of a query, by name without the `$`.
pub type Arguments = BTreeMap<String, Argument>;

/// A query in which nothing is open.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundQuery {
    /// What it asks about.
    pub schema: &'static Schema,
    /// Which records; all when absent.
    pub filter: Option<Condition<Value>>,
    /// In which order; total.
    pub order: Vec<SortKey>,
    /// Which part of the ordered records: those behind the last one of an earlier page.
    pub after: Option<Condition<Value>>,
}

impl BoundQuery {
    /// Goes on behind the record whose sort keys have these values. `keys` has one value for each
    /// key of the order, `None` for null.
    ///
    /// With keys (a, b, id) the predicate is `a > ? or (a = ? and (b > ? or (b = ? and id > ?)))`,
    /// nulls counting as greater than everything in both directions. In front of it stands the bound
    /// on the first key alone, redundant but of a form that an index serves.
    pub fn continue_after(&mut self, keys: &[Option<Value>]) {
        let mut after: Option<Condition<Value>> = None;
        for (key, value) in self.order.iter().zip(keys).rev() {
            let greater = beyond(key, value.as_ref());
            let tie = after.map(|rest| Condition::All(vec![same(key, value.as_ref()), rest]));
            after = match (greater, tie) {
                (Some(greater), Some(tie)) => Some(Condition::Any(vec![greater, tie])),
                (greater, tie) => greater.or(tie),
            };
        }
        let bound = match (self.order.as_slice(), keys) {
            ([first, _, ..], [Some(value), ..]) if !first.field.nullable => {
                let operator = match first.direction {
                    Direction::Ascending => Comparison::GreaterOrEqual,
                    Direction::Descending => Comparison::LessOrEqual,
                };
                Some(compare(first, operator, value.clone()))
            }
            _ => None,
        };
        self.after = match (bound, after) {
            (Some(bound), Some(after)) => Some(Condition::All(vec![bound, after])),
            (_, after) => after,
        };
    }
}

/// What comes after the value in the order of the key; `None` when nothing does.
fn beyond(key: &SortKey, value: Option<&Value>) -> Option<Condition<Value>> {
    let operator = match key.direction {
        Direction::Ascending => Comparison::Greater,
        Direction::Descending => Comparison::Less,
    };
    let greater = compare(key, operator, value?.clone());
    Some(if key.field.nullable {
        Condition::Any(vec![greater, Condition::Null(key.field)])
    } else {
        greater
    })
}

fn same(key: &SortKey, value: Option<&Value>) -> Condition<Value> {
    match value {
        None => Condition::Null(key.field),
        Some(value) => compare(key, Comparison::Equal, value.clone()),
    }
}

fn compare(key: &SortKey, operator: Comparison, value: Value) -> Condition<Value> {
    Condition::Compare(Term::whole(key.field), operator, Side::Value(value))
}

/// What is wrong with the values a query was given.
#[derive(Debug, Default)]
pub struct Faults {
    /// In the filter: a parameter without a value, a clock that leaves the calendar.
    pub filter: Vec<Fault>,
    /// In a value, by the parameter's name.
    pub arguments: Vec<(String, Fault)>,
}

/// Binds a plan. `now` is the moment of the request, or of the first page of a paged search.
///
/// # Errors
/// Every parameter that is missing, unknown or of the wrong type, and every offset from `today` or
/// `now` that leaves the years 0001 to 9999.
pub fn bind(plan: &Plan, arguments: &Arguments, now: DateTime<Utc>) -> Result<BoundQuery, Faults> {
    let mut faults = Faults::default();
    let is_known = |name: &String| plan.parameters.iter().any(|known| &known.name == name);
    for name in arguments.keys().filter(|name| !is_known(name)).take(MAX_DIAGNOSTICS) {
        let message = format!("the filter has no parameter `${name}`");
        let help = did_you_mean(name, plan.parameters.iter().map(|p| p.name.as_str()));
        // The name is not part of any text that could be changed.
        let fault = Fault::new(Code::UnknownParameter, Span::default(), message).help(help);
        faults.arguments.push((name.clone(), fault));
    }
    let mut values: Vec<Option<Value>> = Vec::with_capacity(plan.parameters.len());
    for parameter in &plan.parameters {
        let (name, ty) = (&parameter.name, parameter.term.ty());
        let Some(argument) = arguments.get(name) else {
            let message = format!("`${name}` was given no value");
            let help = format!("give {} as p.{name} or parameters.{name}", ty.with_article());
            faults
                .filter
                .push(Fault::new(Code::MissingParameter, parameter.span, message).help(help));
            values.push(None);
            continue;
        };
        values.push(match parameter.read(argument) {
            Ok(value) => Some(value),
            Err(fault) => {
                faults.arguments.push((name.clone(), fault));
                None
            }
        });
    }
    let mut binder = Binder { values: &values, now, faults: Vec::new() };
    let filter = plan.filter.as_ref().map(|filter| binder.condition(filter));
    faults.filter.append(&mut binder.faults);
    if !faults.filter.is_empty() || !faults.arguments.is_empty() {
        return Err(faults);
    }
    Ok(BoundQuery { schema: plan.schema, filter, order: plan.order.clone(), after: None })
}

impl Parameter {
    /// Reads a value for it. The place of a problem is in the value's own text.
    ///
    /// # Errors
    /// A value of another type, too long, or outside of what the field holds.
    pub fn read(&self, argument: &Argument) -> Result<Value, Fault> {
        let term = self.term;
        if let Argument::Untyped(text) | Argument::Text(text) = argument
            && text.len() > MAX_TEXT_BYTES
        {
            let message = format!("the value has {} bytes", text.len());
            return Err(Fault::new(Code::TextTooLong, Span::default(), message)
                .help(format!("at most {MAX_TEXT_BYTES} bytes are read")));
        }
        let value = argument.read(term.ty()).map_err(|misread| {
            let text = argument.text().unwrap_or_default();
            // An id is no date in quotes either, when it is a value and not part of a filter.
            let meant = misread
                .meant
                .filter(|meant| Argument::Untyped(meant.clone()).read(term.ty()).is_ok());
            Misread { meant, ..misread }.at(Code::InvalidParameter, Span::new(0, text.len()))
        })?;
        if let Value::Integer(number) = value
            && !term.column_range().contains(&number)
        {
            let message = format!("{number} does not fit into `{term}`");
            let (low, high) = (*term.column_range().start(), *term.column_range().end());
            let fault = Fault::new(Code::OutOfRange, Span::default(), message);
            return Err(fault.help(format!("it holds {low} to {high}")));
        }
        Ok(value)
    }
}

struct Binder<'a> {
    /// By position; `None` for one that has been refused, whose query nobody will see.
    values: &'a [Option<Value>],
    now: DateTime<Utc>,
    faults: Vec<Fault>,
}

impl Binder<'_> {
    fn condition(&mut self, condition: &Condition<Slot>) -> Condition<Value> {
        match condition {
            Condition::All(terms) => Condition::All(self.conditions(terms)),
            Condition::Any(terms) => Condition::Any(self.conditions(terms)),
            Condition::Not(inner) => Condition::Not(Box::new(self.condition(inner))),
            Condition::Flag(field) => Condition::Flag(field),
            Condition::Null(field) => Condition::Null(field),
            Condition::Compare(left, operator, Side::Term(right)) => {
                Condition::Compare(*left, *operator, Side::Term(*right))
            }
            Condition::Compare(left, operator, Side::Value(slot)) => {
                Condition::Compare(*left, *operator, Side::Value(self.slot(slot)))
            }
            Condition::In(term, slots) => {
                Condition::In(*term, slots.iter().map(|slot| self.slot(slot)).collect())
            }
            Condition::Match(field, matching, slot) => {
                // The checker admits nothing but text here, and text prints as itself.
                let folded = fold(&self.slot(slot).to_string());
                Condition::Match(field, *matching, Value::Text(folded))
            }
        }
    }

    fn conditions(&mut self, conditions: &[Condition<Slot>]) -> Vec<Condition<Value>> {
        conditions.iter().map(|condition| self.condition(condition)).collect()
    }

    fn slot(&mut self, slot: &Slot) -> Value {
        match slot {
            Slot::Value(value) => value.clone(),
            Slot::Parameter(position) => {
                let value = self.values.get(*position).cloned().flatten();
                value.unwrap_or(Value::Boolean(false))
            }
            Slot::Clock(clock, span) => self.clock(*clock).unwrap_or_else(|| {
                self.faults.push(Fault::new(Code::OutOfRange, *span, LEAVES_THE_CALENDAR));
                Value::Timestamp(self.now)
            }),
        }
    }

    /// `None` when the moment leaves the calendar.
    fn clock(&self, clock: Clock) -> Option<Value> {
        let date = shifted(self.now.date_naive(), clock)?;
        Some(match clock.base {
            ClockBase::Today => Value::Date(date),
            ClockBase::Now => Value::Timestamp(date.and_time(self.now.time()).and_utc()),
        })
    }
}

/// Moves a day. Months and years clamp to the end of the month, as in SQL interval arithmetic.
fn shifted(day: NaiveDate, clock: Clock) -> Option<NaiveDate> {
    let Some(offset) = clock.offset else { return Some(day) };
    let count = offset.count.unsigned_abs();
    let is_back = offset.count < 0;
    let moved = match offset.unit {
        Unit::Day | Unit::Week => {
            let days = if offset.unit == Unit::Week { 7 } else { 1 };
            let days = Days::new(u64::from(count).checked_mul(days)?);
            if is_back { day.checked_sub_days(days) } else { day.checked_add_days(days) }
        }
        Unit::Month | Unit::Year => {
            let months = if offset.unit == Unit::Year { 12 } else { 1 };
            let months = Months::new(count.checked_mul(months)?);
            if is_back { day.checked_sub_months(months) } else { day.checked_add_months(months) }
        }
    }?;
    (MIN_YEAR..=MAX_YEAR).contains(&moved.year()).then_some(moved)
}
