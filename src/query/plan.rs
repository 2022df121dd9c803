//! A checked query: every name resolved, every type settled, only the request's own values open.

use std::ops::RangeInclusive;

use super::ast::{Clock, Comparison, Direction, Matching};
use super::diagnostic::Span;
use super::schema::{Field, Schema};
use super::value::{Type, Value};

/// A truth-valued expression over the fields of one record. `V` is what stands where a value is
/// needed: a [`Slot`] in a [`Plan`], a [`Value`] in a bound query. `between` is two comparisons
/// and `not in` a negation here, so that later stages have fewer cases.
///
/// Meaning is SQL's: a test of a null is unknown, `and`, `or` and `not` are three-valued.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<V> {
    /// All of them.
    All(Vec<Condition<V>>),
    /// Any of them.
    Any(Vec<Condition<V>>),
    /// The opposite.
    Not(Box<Condition<V>>),
    /// The boolean field is true.
    Flag(&'static Field),
    /// A comparison; both sides are of one type.
    Compare(Term, Comparison, Side<V>),
    /// The term is among the values, of which there is at least one.
    In(Term, Vec<V>),
    /// The folded text is found in the field's folded text.
    Match(&'static Field, Matching, V),
    /// The field is null.
    Null(&'static Field),
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
    /// Which part.
    pub part: Part,
}

impl Term {
    /// The whole field.
    pub fn whole(field: &'static Field) -> Self {
        Self { field, part: Part::Whole }
    }

    /// The type of the term.
    pub fn ty(&self) -> Type {
        match self.part {
            Part::Whole => self.field.ty,
            Part::Year | Part::Month => Part::GIVES,
        }
    }

    /// The operators that exist for it.
    pub fn operators(&self) -> Vec<&'static str> {
        match self.part {
            Part::Whole => self.field.operators().collect(),
            Part::Year | Part::Month => Part::GIVES.operators().to_vec(),
        }
    }

    /// The integers the term can be compared with: those of its column, or of 32 bits for a part.
    pub fn column_range(&self) -> RangeInclusive<i64> {
        match self.part {
            Part::Whole => self.field.column_range(),
            Part::Year | Part::Month => i64::from(i32::MIN)..=i64::from(i32::MAX),
        }
    }
}

/// The term as it is written.
impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Part::FUNCTIONS.iter().find(|(_, part)| *part == self.part) {
            Some((function, _)) => write!(f, "{function}({})", self.field.name),
            None => f.write_str(self.field.name),
        }
    }
}

/// Which part of a field a term means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// `year(date)`, 1 to 9999.
    Year,
    /// `month(date)`, 1 to 12.
    Month,
}

impl Part {
    /// The functions, by the names that stand before a parenthesis.
    pub const FUNCTIONS: [(&'static str, Part); 2] = [("year", Part::Year), ("month", Part::Month)];

    /// The type of the fields that functions take.
    pub const TAKES: Type = Type::Date;

    /// The type of what functions give.
    pub const GIVES: Type = Type::Integer;
}

/// A value that a plan leaves open, or has.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// A literal.
    Value(Value),
    /// The parameter at this position of [`Plan::parameters`].
    Parameter(usize),
    /// A moment counted from that of the request, and where it is written.
    Clock(Clock, Span),
}

/// A bind parameter of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name, without the `$`.
    pub name: String,
    /// The field it is compared with first: it lends the parameter its type.
    pub term: Term,
    /// Where it is first used.
    pub span: Span,
}

/// One key of a resolved order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SortKey {
    /// The field.
    pub field: &'static Field,
    /// Which way; nulls come last either way.
    pub direction: Direction,
}

/// A checked query.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it asks about.
    pub schema: &'static Schema,
    /// Which records; all when absent.
    pub filter: Option<Condition<Slot>>,
    /// In which order; the last key is unique, so the order is total.
    pub order: Vec<SortKey>,
    /// The parameters it needs values for.
    pub parameters: Vec<Parameter>,
    /// Whether it reads `today` or `now`.
    pub uses_clock: bool,
}
