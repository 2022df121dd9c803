//! A checked query: names and types are resolved, and only parameters and clocks have no values yet.

use super::ast::{Clock, Comparison, Direction, Matching};
use super::diagnostic::Span;
use super::schema::{Field, Schema};
use super::value::{Type, Value};

/// A boolean expression over the fields of one record. `V` is the type of its values: a [`Slot`] in a
/// [`Plan`], a [`Value`] in a bound query. `between` is two comparisons and `not in` is a negation, so
/// that later stages have fewer cases.
///
/// It has SQL's three-valued logic: a comparison with null is unknown.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<V> {
    /// Conditions joined by `and`.
    All(Vec<Condition<V>>),
    /// Conditions joined by `or`.
    Any(Vec<Condition<V>>),
    /// A negated condition.
    Not(Box<Condition<V>>),
    /// A boolean field that must be true.
    Flag(&'static Field),
    /// A comparison; both sides have the same type.
    Compare(Term, Comparison, Side<V>),
    /// A term that must equal one of the values. The list is not empty.
    In(Term, Vec<V>),
    /// A folded text that must be in the field's folded text.
    Match(&'static Field, Matching, V),
    /// A field that must be null.
    Null(&'static Field),
    /// Fields that, in the order of the list, must be greater or less than the values, as in a row comparison of SQL. None
    /// of them is nullable. Only cursors need it.
    Beyond(Vec<&'static Field>, Comparison, Vec<V>),
}

impl<V> Condition<V> {
    /// Returns the conditions that must all be true. A `between`, or the range of a year, is one of them.
    pub fn conjuncts(&self) -> Vec<&Self> {
        match self {
            Self::All(terms) if !self.is_between() => {
                terms.iter().flat_map(Self::conjuncts).collect()
            }
            other => vec![other],
        }
    }

    /// Returns the number of its comparisons and other tests.
    pub fn tests(&self) -> usize {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter().map(Self::tests).sum(),
            Self::Not(inner) => inner.tests(),
            _ => 1,
        }
    }

    /// Whether a field has the same value in all records that satisfy it.
    fn fixes(&self, field: &Field) -> bool {
        match self {
            Self::Compare(term, Comparison::Equal, Side::Value(_)) => {
                term.field == field && term.part == Part::Whole
            }
            Self::In(term, values) => {
                term.field == field && term.part == Part::Whole && values.len() == 1
            }
            Self::Flag(own) | Self::Null(own) => *own == field,
            _ => false,
        }
    }

    /// Whether it is a range with both ends, which SQL has an operator for.
    pub fn is_between(&self) -> bool {
        let Self::All(terms) = self else { return false };
        matches!(
            terms.as_slice(),
            [
                Self::Compare(low, Comparison::GreaterOrEqual, Side::Value(_)),
                Self::Compare(high, Comparison::LessOrEqual, Side::Value(_)),
            ] if low == high && low.part != Part::Year
        )
    }
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Side<V> {
    /// A value.
    Value(V),
    /// Another field of the same record.
    Term(Term),
}

/// A field, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// The field.
    pub field: &'static Field,
    /// The part.
    pub part: Part,
}

impl Term {
    /// Creates a term for a whole field.
    pub fn whole(field: &'static Field) -> Self {
        Self { field, part: Part::Whole }
    }

    /// Returns the type of the term.
    pub fn ty(&self) -> Type {
        match self.part {
            Part::Whole => self.field.ty,
            Part::Year | Part::Month => Part::GIVES,
        }
    }

    /// Returns the operators of the term.
    pub fn operators(&self) -> Vec<&'static str> {
        match self.part {
            Part::Whole => self.field.operators().collect(),
            Part::Year | Part::Month => Part::GIVES.operators().to_vec(),
        }
    }
}

/// Formats the term as it is written.
impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Part::FUNCTIONS.iter().find(|(_, part)| *part == self.part) {
            Some((function, _)) => write!(f, "{function}({})", self.field.name),
            None => f.write_str(self.field.name),
        }
    }
}

/// The part of a field that a term has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The whole field.
    Whole,
    /// `year(date)`, 1 to 9999.
    Year,
    /// `month(date)`, 1 to 12.
    Month,
}

impl Part {
    /// The functions with their names.
    pub const FUNCTIONS: [(&'static str, Part); 2] = [("year", Part::Year), ("month", Part::Month)];

    /// The type of a function's argument.
    pub const TAKES: Type = Type::Date;

    /// The type of a function's result.
    pub const GIVES: Type = Type::Integer;
}

/// A value of a plan, which may come from the request.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// A literal.
    Value(Value),
    /// The parameter at this position of [`Plan::parameters`].
    Parameter(usize),
    /// A time relative to the request, and its place in the filter.
    Clock(Clock, Span),
}

/// A bind parameter of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name, without the `$`.
    pub name: String,
    /// The term that it is compared with first, which determines its type.
    pub term: Term,
    /// The place of its first use.
    pub span: Span,
}

/// One key of a resolved order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SortKey {
    /// The field.
    pub field: &'static Field,
    /// The direction; nulls come last in both directions.
    pub direction: Direction,
}

impl SortKey {
    /// Returns the keys of an order without those that have the same value in all records that satisfy the conditions.
    pub(super) fn varying<V>(order: &[Self], conjuncts: &[&Condition<V>]) -> Vec<Self> {
        let is_fixed = |key: &&Self| conjuncts.iter().any(|condition| condition.fixes(key.field));
        order.iter().filter(|key| !is_fixed(key)).copied().collect()
    }

    /// Returns the order by id.
    pub fn by_id(schema: &Schema) -> Vec<Self> {
        let id = schema.field("id").into_iter();
        id.map(|field| Self { field, direction: Direction::Ascending }).collect()
    }
}

/// A checked query.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The schema of the records.
    pub schema: &'static Schema,
    /// The filter; all records match if it is absent.
    pub filter: Option<Condition<Slot>>,
    /// The keys of the order. The last one is unique, so the order is total.
    pub order: Vec<SortKey>,
    /// The parameters of the filter.
    pub parameters: Vec<Parameter>,
    /// Whether it uses `today` or `now`.
    pub uses_clock: bool,
}
