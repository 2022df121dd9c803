//! The syntax tree that the parser builds, and constructors for callers without a text.
//!
//! Nothing is resolved yet: names may be unknown and types may not match. `check` validates both.

use chrono::{DateTime, NaiveDate, Utc};

/// A name as written. Short names, which most are, need no allocation.
pub type Name = compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::diagnostic::Span;
use super::value::Value;

/// A node and its place in the text. Equality ignores the place.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The node.
    pub node: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Creates a node at a place.
    pub fn new(node: T, span: Span) -> Self {
        Self { node, span }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T> From<T> for Spanned<T> {
    /// Creates a node that does not come from a text.
    fn from(node: T) -> Self {
        Self::new(node, Span::default())
    }
}

/// A filter and an order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// The filter; all records match if it is absent.
    pub filter: Option<Expr>,
    /// The keys of the order; the records are ordered by id if it is empty.
    pub order_by: Vec<OrderKey>,
}

/// A boolean expression. Chains are n-ary, so that a long filter is a wide tree and not a deep one.
/// The place of a term includes the parentheses around it.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Two or more terms joined by `and`, none of them an `All`.
    All(Vec<Spanned<Expr>>),
    /// Two or more terms joined by `or`, none of them an `Any`.
    Any(Vec<Spanned<Expr>>),
    /// A term with `not`.
    Not(Box<Spanned<Expr>>),
    /// A single test of one field.
    Predicate(Box<Predicate>),
}

impl Expr {
    /// Joins the terms by `and` and flattens nested chains. The list must not be empty.
    pub fn all(terms: Vec<impl Into<Spanned<Expr>>>) -> Self {
        Self::chain(terms, Expr::All, |term| match term {
            Expr::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Joins the terms by `or` and flattens nested chains. The list must not be empty.
    pub fn any(terms: Vec<impl Into<Spanned<Expr>>>) -> Self {
        Self::chain(terms, Expr::Any, |term| match term {
            Expr::Any(inner) => Ok(inner),
            other => Err(other),
        })
    }

    fn chain(
        mut terms: Vec<impl Into<Spanned<Expr>>>,
        join: fn(Vec<Spanned<Expr>>) -> Expr,
        open: fn(Expr) -> Result<Vec<Spanned<Expr>>, Expr>,
    ) -> Self {
        if terms.len() == 1
            && let Some(only) = terms.pop()
        {
            return only.into().node;
        }
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            let Spanned { node, span } = term.into();
            match open(node) {
                Ok(inner) => flat.extend(inner),
                Err(other) => flat.push(Spanned::new(other, span)),
            }
        }
        join(flat)
    }

    /// Returns the terms of an `and`, or the expression itself.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Expr::All(terms) => terms.iter().map(|term| &term.node).collect(),
            other => vec![other],
        }
    }

    /// Returns the predicates from left to right, with their places. `place` is the place of the
    /// expression.
    pub fn predicates(&self, place: Span) -> Vec<(Span, &Predicate)> {
        match self {
            Expr::All(terms) | Expr::Any(terms) => {
                terms.iter().flat_map(|term| term.node.predicates(term.span)).collect()
            }
            Expr::Not(inner) => inner.node.predicates(inner.span),
            Expr::Predicate(predicate) => vec![(place, predicate)],
        }
    }

    /// Moves all places `by` bytes further on.
    pub(super) fn shift(&mut self, by: usize) {
        match self {
            Expr::All(terms) | Expr::Any(terms) => terms.iter_mut().for_each(|term| {
                term.span = term.span.shifted(by);
                term.node.shift(by);
            }),
            Expr::Not(inner) => {
                inner.span = inner.span.shifted(by);
                inner.node.shift(by);
            }
            Expr::Predicate(predicate) => {
                let Predicate { subject, test } = predicate.as_mut();
                subject.span = subject.span.shifted(by);
                subject.node.shift(by);
                test.span = test.span.shifted(by);
                for operand in test.node.operands_mut() {
                    operand.span = operand.span.shifted(by);
                    if let Operand::Subject(subject) = &mut operand.node {
                        subject.shift(by);
                    }
                }
            }
        }
    }

    /// Negates the expression.
    pub fn negate(self) -> Self {
        Expr::Not(Box::new(self.into()))
    }

    /// Creates `field operator value`.
    pub fn compare(field: &str, operator: Comparison, value: Literal) -> Self {
        let operand = Operand::Literal(value).into();
        Self::test(field, Test::Compare { operator, operand })
    }

    /// Creates `field between low and high`.
    pub fn between(field: &str, low: Literal, high: Literal) -> Self {
        let (low, high) = (Operand::Literal(low).into(), Operand::Literal(high).into());
        Self::test(field, Test::Between { negated: false, low, high })
    }

    /// Creates `field contains text`, `field starts with text` or `field ends with text`.
    pub fn matching(field: &str, matching: Matching, text: &str) -> Self {
        let operand = Operand::Literal(Literal::Text(text.to_owned())).into();
        Self::test(field, Test::Match { negated: false, matching, operand })
    }

    /// Creates `field is null`.
    pub fn null(field: &str) -> Self {
        Self::test(field, Test::Null { negated: false })
    }

    fn test(field: &str, test: Test) -> Self {
        let subject = Subject { function: None, field: Spanned::from(Name::from(field)) };
        Expr::Predicate(Box::new(Predicate { subject: subject.into(), test: test.into() }))
    }
}

/// One test of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// The subject.
    pub subject: Spanned<Subject>,
    /// The test; its place is that of the operator.
    pub test: Spanned<Test>,
}

impl Predicate {
    /// Returns the place from the subject to the last operand.
    pub fn span(&self) -> Span {
        let operands = self.test.node.operands().into_iter().map(|operand| operand.span);
        operands.fold(self.subject.span.to(self.test.span), Span::to)
    }
}

/// A field, or a function of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The function's name, if there is a function.
    pub function: Option<Spanned<Name>>,
    /// The field's name.
    pub field: Spanned<Name>,
}

impl Subject {
    fn shift(&mut self, by: usize) {
        if let Some(function) = &mut self.function {
            function.span = function.span.shifted(by);
        }
        self.field.span = self.field.span.shifted(by);
    }
}

/// A test of a subject.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The field without an operator: it must be true.
    Flag,
    /// `= != < <= > >=`
    Compare {
        /// The operator.
        operator: Comparison,
        /// The right side.
        operand: Spanned<Operand>,
    },
    /// `[not] between low and high`, both inclusive.
    Between {
        /// Whether there is a `not`.
        negated: bool,
        /// The lower bound.
        low: Spanned<Operand>,
        /// The upper bound.
        high: Spanned<Operand>,
    },
    /// `[not] in (…)`
    In {
        /// Whether there is a `not`.
        negated: bool,
        /// The list.
        items: Vec<Spanned<Operand>>,
    },
    /// `[not] contains`, `starts with`, `ends with`
    Match {
        /// Whether there is a `not`.
        negated: bool,
        /// The operator.
        matching: Matching,
        /// The text to find.
        operand: Spanned<Operand>,
    },
    /// `is [not] null`
    Null {
        /// Whether there is a `not`.
        negated: bool,
    },
}

impl Test {
    /// Returns the operands from left to right.
    pub fn operands(&self) -> Vec<&Spanned<Operand>> {
        match self {
            Test::Compare { operand, .. } | Test::Match { operand, .. } => vec![operand],
            Test::Between { low, high, .. } => vec![low, high],
            Test::In { items, .. } => items.iter().collect(),
            Test::Flag | Test::Null { .. } => Vec::new(),
        }
    }

    fn operands_mut(&mut self) -> Vec<&mut Spanned<Operand>> {
        match self {
            Test::Compare { operand, .. } | Test::Match { operand, .. } => vec![operand],
            Test::Between { low, high, .. } => vec![low, high],
            Test::In { items, .. } => items.iter_mut().collect(),
            Test::Flag | Test::Null { .. } => Vec::new(),
        }
    }
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// All comparison operators.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
    ];

    /// Returns the operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Returns the operator of the negated comparison.
    pub fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// Returns the operator for exchanged sides.
    pub fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    /// Parses an operator.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|comparison| comparison.as_str() == text)
    }
}

/// An operator that finds text inside text and ignores case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Anywhere.
    Contains,
    /// At the start.
    StartsWith,
    /// At the end.
    EndsWith,
}

impl Matching {
    /// All operators that find text.
    pub const ALL: [Self; 3] = [Self::Contains, Self::StartsWith, Self::EndsWith];

    /// Returns the operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        }
    }

    /// Parses an operator, in any case and with any blanks between its words.
    pub fn of(text: &str) -> Option<Self> {
        let first = text.split_ascii_whitespace().next()?;
        let has_first = |known: &Self| {
            known.as_str().split(" ").next().is_some_and(|word| word.eq_ignore_ascii_case(first))
        };
        Self::ALL.into_iter().find(has_first)
    }
}

/// The right side of a test.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value as written.
    Literal(Literal),
    /// `$name`: a value from the request.
    Parameter(Name),
    /// Another field, or a function of one.
    Subject(Subject),
    /// A time relative to the request.
    Clock(Clock),
}

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// `"…"` or `'…'`, unescaped.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// `2024-01-31`
    Date(NaiveDate),
    /// `2024-01-31T12:00:00Z`
    Timestamp(DateTime<Utc>),
    /// `null`
    Null,
}

/// Converts a value to a literal; an id becomes text.
impl From<Value> for Literal {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Literal::Text(text),
            Value::Integer(number) => Literal::Integer(number),
            Value::Boolean(flag) => Literal::Boolean(flag),
            Value::Date(date) => Literal::Date(date),
            Value::Timestamp(instant) => Literal::Timestamp(instant),
            Value::Id(id) => Literal::Text(id.to_string()),
        }
    }
}

/// `today` or `now` with an optional offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// `today` or `now`.
    pub base: ClockBase,
    /// The offset.
    pub offset: Option<Offset>,
}

/// The start of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockBase {
    /// The day of the request, in UTC.
    Today,
    /// The instant of the request.
    Now,
}

impl ClockBase {
    /// Returns the keyword as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Now => "now",
        }
    }
}

/// A number of calendar units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The number of units; negative for the past.
    pub count: i32,
    /// The unit.
    pub unit: Unit,
}

/// A unit of calendar time: days, weeks, months or years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// A day.
    #[serde(rename = "d")]
    Day,
    /// Seven days.
    #[serde(rename = "w")]
    Week,
    /// A month. The result is clamped to the end of its month.
    #[serde(rename = "mo")]
    Month,
    /// Twelve months.
    #[serde(rename = "y")]
    Year,
}

impl Unit {
    /// All units.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// Returns the unit as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "mo",
            Self::Year => "y",
        }
    }

    /// Returns the unit for its full name, or for another common abbreviation.
    pub fn of_name(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().trim_end_matches('s') {
            "day" => Some(Self::Day),
            "week" | "wk" => Some(Self::Week),
            "m" | "month" | "mon" => Some(Self::Month),
            "year" | "yr" => Some(Self::Year),
            _ => None,
        }
    }

    /// Returns whether a word is the name of a unit below the smallest one, such as `hours`.
    pub fn is_too_small(word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        ["h", "hr", "hour", "min", "minute", "s", "sec", "second"]
            .contains(&word.strip_suffix('s').filter(|one| !one.is_empty()).unwrap_or(&word))
    }
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// The field's name.
    pub field: Spanned<Name>,
    /// The direction; its place ends where the key does.
    pub direction: Spanned<Direction>,
}

impl OrderKey {
    /// Returns the place from the field to the direction.
    pub fn span(&self) -> Span {
        self.field.span.to(self.direction.span)
    }
}

/// The direction of an order. Nulls come last in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Direction {
    /// The smallest value first.
    #[default]
    #[serde(rename = "asc")]
    Ascending,
    /// The greatest value first.
    #[serde(rename = "desc")]
    Descending,
}

/// The keywords in lower case. They are names only in backticks.
pub const KEYWORDS: &[&str] = &[
    "and", "asc", "between", "contains", "desc", "ends", "false", "in", "is", "not", "now", "null",
    "or", "starts", "today", "true", "with",
];

/// The keywords that are values and not syntax.
pub const VALUE_KEYWORDS: &[&str] = &["false", "now", "null", "today", "true"];

/// The length of the longest keyword.
const LONGEST_KEYWORD: usize = 8;

/// Whether a name must be in backticks.
pub fn is_reserved(name: &str) -> bool {
    name.len() <= LONGEST_KEYWORD && KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
}
