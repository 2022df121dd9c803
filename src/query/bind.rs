//! Binds a plan to the parameters and the time of a request.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use super::ast::{Clock, ClockBase, Comparison, Direction, Unit};
use super::diagnostic::{Code, Fault, Misread, Span, did_you_mean};
use super::limits::{MAX_DIAGNOSTICS, MAX_TEXT_BYTES, MAX_YEAR, MIN_YEAR};
use super::literal::{self, LEAVES_THE_CALENDAR, PLUS_IS_A_SPACE};
use super::plan::{Condition, Parameter, Plan, Side, Slot, SortKey, Term};
use super::schema::Schema;
use super::text::fold;
pub use super::value::Argument;
use super::value::{Type, Value};

/// Values for the parameters of a query, by name without the `$`.
pub type Arguments = BTreeMap<String, Argument>;

/// A query whose parameters and clocks have been replaced by values.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundQuery {
    /// The schema of the records.
    pub schema: &'static Schema,
    /// The filter; all records match if it is absent.
    pub filter: Option<Condition<Value>>,
    /// The keys of a total order.
    pub order: Vec<SortKey>,
    /// The condition for the records after the last one of the previous page.
    pub after: Option<Condition<Value>>,
}

impl BoundQuery {
    /// Limits the query to the records after the one whose sort keys have these values. `keys` has
    /// one value for each key of the order, `None` for null.
    ///
    /// With keys (a, b, id) in the same direction the predicate is `(a, b, id) > (?, ?, ?)`, which an index finds at once.
    /// With different directions, or with nulls, it is `a > ? or (a = ? and (b > ? or (b = ? and id > ?)))`: nulls are greater
    /// than everything in both directions. This one is preceded by a bound on the first key, which is redundant but lets
    /// the database use an index.
    pub fn continue_after(&mut self, keys: &[Option<Value>]) {
        if let Some(beyond) = self.beyond_row(keys) {
            self.after = Some(beyond);
            return;
        }
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

impl BoundQuery {
    /// Returns the condition for records after the one with these sort keys, as one comparison of several fields; `None` if
    /// the keys differ in direction or can be null.
    fn beyond_row(&self, keys: &[Option<Value>]) -> Option<Condition<Value>> {
        let conjuncts = self.filter.iter().flat_map(Condition::conjuncts).collect::<Vec<_>>();
        let varying = SortKey::varying(&self.order, &conjuncts);
        let direction = varying.first()?.direction;
        let is_alike = |key: &SortKey| key.direction == direction && !key.field.nullable;
        if varying.len() < 2 || !varying.iter().all(is_alike) {
            return None;
        }
        let known = self.order.iter().zip(keys).filter(|(key, _)| varying.contains(key));
        let values = known.map(|(_, value)| value.clone()).collect::<Option<Vec<Value>>>()?;
        let operator = match direction {
            Direction::Ascending => Comparison::Greater,
            Direction::Descending => Comparison::Less,
        };
        let fields = varying.iter().map(|key| key.field).collect();
        Some(Condition::Beyond(fields, operator, values))
    }
}

/// Returns the condition for values after this one in the order of the key; `None` if there are none.
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

/// The problems of binding.
#[derive(Debug, Default)]
pub struct Faults {
    /// The problems in the filter: parameters without values, and offsets that are too large.
    pub filter: Vec<Fault>,
    /// The problems in values, with the names of the parameters.
    pub arguments: Vec<(String, Fault)>,
}

/// Binds a plan. `now` is the time of the request, or of the first page of a paged search.
///
/// # Errors
/// Returns every parameter that is missing, unknown or of the wrong type, and every offset from `today`
/// or `now` whose result is outside the years 0001 to 9999.
pub fn bind(plan: &Plan, arguments: &Arguments, now: DateTime<Utc>) -> Result<BoundQuery, Faults> {
    let mut faults = Faults::default();
    let is_known = |name: &String| plan.parameters.iter().any(|known| &known.name == name);
    for name in arguments.keys().filter(|name| !is_known(name)).take(MAX_DIAGNOSTICS) {
        let message = format!("unknown parameter {name:?}");
        let help = match plan.parameters.as_slice() {
            [] => {
                format!("the filter has no parameters; write `${name}` in it, or remove the value")
            }
            known => did_you_mean(name, known.iter().map(|known| known.name.as_str())),
        };
        // The name is not part of a text, so there is no suggestion.
        let fault = Fault::new(Code::UnknownParameter, Span::default(), message).help(help);
        faults.arguments.push((name.clone(), fault));
    }
    let mut values: Vec<Option<Value>> = Vec::with_capacity(plan.parameters.len());
    for parameter in &plan.parameters {
        let (name, ty) = (&parameter.name, parameter.term.ty());
        let Some(argument) = arguments.get(name) else {
            let message = format!("expected {} for `${name}`, found no value", ty.with_article());
            let help = format!("add `p.{name}=…` to the query string, or `{name}` to `parameters`");
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
    /// Parses a value of the parameter. The place of a problem is in the text of the value.
    ///
    /// # Errors
    /// Returns the problem of a value that is too long or of another type.
    pub fn read(&self, argument: &Argument) -> Result<Value, Fault> {
        let ty = self.term.ty();
        if let Argument::Untyped(text) | Argument::Text(text) = argument
            && text.len() > MAX_TEXT_BYTES
        {
            let message = format!("expected at most {MAX_TEXT_BYTES} bytes, found {}", text.len());
            return Err(
                Fault::new(Code::TextTooLong, Span::default(), message).help("shorten the value")
            );
        }
        argument.read(ty).map_err(|misread| {
            let text = argument.text().unwrap_or_default();
            let misread = advise(misread, argument, ty);
            // An id, which the parser of dates suggests to quote, is not a date in quotes either.
            let is_valid = |likely: &String| Argument::Untyped(likely.clone()).read(ty).is_ok();
            let likely = misread.likely.filter(is_valid);
            Misread { likely, ..misread }.at(Code::InvalidParameter, Span::new(0, text.len()))
        })
    }
}

/// Adds advice to the problem of a date or timestamp that is written as in a filter, or whose `+` a
/// URL has turned into a space.
fn advise(misread: Misread, argument: &Argument, ty: Type) -> Misread {
    let Some(text) = argument.text().filter(|_| matches!(ty, Type::Date | Type::Timestamp)) else {
        return misread;
    };
    let is_of_url = matches!(argument, Argument::Untyped(_));
    let with_plus = text.replacen(' ', "+", 1);
    if is_of_url && ty == Type::Timestamp && literal::timestamp(&with_plus).is_ok() {
        return misread.likely(with_plus, PLUS_IS_A_SPACE);
    }
    let after = |word: &str| {
        text.split_at_checked(word.len()).filter(|(first, _)| first.eq_ignore_ascii_case(word))
    };
    let clock = ["today", "now"].into_iter().find_map(after).map(|(_, offset)| offset);
    let date = text.split_at_checked(literal::DATE_LENGTH);
    let date = date.filter(|(first, _)| literal::date(first).is_ok()).map(|(_, offset)| offset);
    let is_offset = |offset: &str| offset.trim_start().starts_with(['+', '-']);
    let is_count = |offset: &str| offset.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let is_lost = |offset: &str| is_of_url && offset.starts_with(' ') && is_count(offset);
    let help = match (clock, date) {
        (Some(offset), _) if is_lost(offset) => format!(
            "a parameter is a single value: write `today` and `now` in the filter; {PLUS_IS_A_SPACE}"
        ),
        (Some(offset), _) if offset.is_empty() || is_offset(offset) => {
            "a parameter is a single value: write `today` and `now` in the filter".to_owned()
        }
        (_, Some(offset)) if is_offset(offset) => {
            "a parameter is a single value: there is no arithmetic on values".to_owned()
        }
        _ => return misread,
    };
    misread.help(help)
}

struct Binder<'a> {
    /// The values by position; `None` for a rejected one, whose query is not returned.
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
                // The checker allows only text here, and text prints as itself.
                let folded = fold(&self.slot(slot).to_string());
                Condition::Match(field, *matching, Value::Text(folded))
            }
            Condition::Beyond(fields, operator, slots) => {
                let values = slots.iter().map(|slot| self.slot(slot)).collect();
                Condition::Beyond(fields.clone(), *operator, values)
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
                let fault = Fault::new(Code::OutOfRange, *span, LEAVES_THE_CALENDAR);
                self.faults.push(fault.help("write a smaller offset"));
                Value::Timestamp(self.now)
            }),
        }
    }

    /// Returns `None` if the result is outside the calendar.
    fn clock(&self, clock: Clock) -> Option<Value> {
        let date = shifted(self.now.date_naive(), clock)?;
        Some(match clock.base {
            ClockBase::Today => Value::Date(date),
            ClockBase::Now => Value::Timestamp(date.and_time(self.now.time()).and_utc()),
        })
    }
}

/// Adds the offset of a clock to a day. Months and years clamp to the end of the month, as in SQL.
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
