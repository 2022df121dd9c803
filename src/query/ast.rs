//! What was written: the tree the parser builds, and constructors for callers that have no text.
//!
//! Nothing is resolved here. Names may be unknown and types may clash; `check` decides.

use chrono::{DateTime, NaiveDate, Utc};

/// A name as written. Most are short, and kept without an allocation.
pub type Name = compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::diagnostic::Span;
use super::value::Value;

/// A node and where it stood. Two nodes are equal when they say the same, wherever they stood.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// What was written.
    pub node: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A node at a place.
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
    /// A node that no text stands behind.
    fn from(node: T) -> Self {
        Self::new(node, Span::default())
    }
}

/// A filter and an order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Which records; all of them when absent.
    pub filter: Option<Expr>,
    /// In which order; by id alone when empty.
    pub order_by: Vec<OrderKey>,
}

/// A truth-valued expression. Chains are n-ary, so that a long filter is a wide tree and not a deep
/// one. The place of a term includes the parentheses around it.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Two or more joined by `and`, none of them an `All`.
    All(Vec<Spanned<Expr>>),
    /// Two or more joined by `or`, none of them an `Any`.
    Any(Vec<Spanned<Expr>>),
    /// `not`.
    Not(Box<Spanned<Expr>>),
    /// A single test of one field.
    Predicate(Box<Predicate>),
}

impl Expr {
    /// All of these; chains inside chains are joined. The list must not be empty.
    pub fn all(terms: Vec<impl Into<Spanned<Expr>>>) -> Self {
        Self::chain(terms, Expr::All, |term| match term {
            Expr::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Any of these; chains inside chains are joined. The list must not be empty.
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

    /// The terms that must all hold: those of an `and`, or the expression itself.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Expr::All(terms) => terms.iter().map(|term| &term.node).collect(),
            other => vec![other],
        }
    }

    /// The tests it is made of, as they are written from left to right, and their places in the
    /// place of the expression.
    pub fn predicates(&self, place: Span) -> Vec<(Span, &Predicate)> {
        match self {
            Expr::All(terms) | Expr::Any(terms) => {
                terms.iter().flat_map(|term| term.node.predicates(term.span)).collect()
            }
            Expr::Not(inner) => inner.node.predicates(inner.span),
            Expr::Predicate(predicate) => vec![(place, predicate)],
        }
    }

    /// The opposite.
    pub fn negate(self) -> Self {
        Expr::Not(Box::new(self.into()))
    }

    /// `field operator value`.
    pub fn compare(field: &str, operator: Comparison, value: Literal) -> Self {
        let operand = Operand::Literal(value).into();
        Self::test(field, Test::Compare { operator, operand })
    }

    /// `field between low and high`.
    pub fn between(field: &str, low: Literal, high: Literal) -> Self {
        let (low, high) = (Operand::Literal(low).into(), Operand::Literal(high).into());
        Self::test(field, Test::Between { negated: false, low, high })
    }

    /// `field contains text`, `field starts with text` or `field ends with text`.
    pub fn matching(field: &str, matching: Matching, text: &str) -> Self {
        let operand = Operand::Literal(Literal::Text(text.to_owned())).into();
        Self::test(field, Test::Match { negated: false, matching, operand })
    }

    /// `field is null`.
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
    /// What is tested.
    pub subject: Spanned<Subject>,
    /// How; its place is that of the operator.
    pub test: Spanned<Test>,
}

/// A field, or a function of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The function's name, if it is one.
    pub function: Option<Spanned<Name>>,
    /// The field's name.
    pub field: Spanned<Name>,
}

/// What is asked of a subject.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The field stands alone: it is true.
    Flag,
    /// `= != < <= > >=`
    Compare {
        /// Which of them.
        operator: Comparison,
        /// With what.
        operand: Spanned<Operand>,
    },
    /// `[not] between low and high`, both inclusive.
    Between {
        /// Whether `not` stands before it.
        negated: bool,
        /// The lower bound.
        low: Spanned<Operand>,
        /// The upper bound.
        high: Spanned<Operand>,
    },
    /// `[not] in (…)`
    In {
        /// Whether `not` stands before it.
        negated: bool,
        /// The list.
        items: Vec<Spanned<Operand>>,
    },
    /// `[not] contains`, `starts with`, `ends with`
    Match {
        /// Whether `not` stands before it.
        negated: bool,
        /// Which of them.
        matching: Matching,
        /// The text looked for.
        operand: Spanned<Operand>,
    },
    /// `is [not] null`
    Null {
        /// Whether `not` stands in it.
        negated: bool,
    },
}

/// A comparison.
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
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
    ];

    /// As it is written.
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

    /// The same with its sides exchanged.
    pub fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    /// The one that is written so.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|comparison| comparison.as_str() == text)
    }
}

/// A way to look for text inside text, indifferent to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Anywhere.
    Contains,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
}

impl Matching {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Contains, Self::StartsWith, Self::EndsWith];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        }
    }

    /// The one that is written so, in any case and with any blanks inside.
    pub fn of(text: &str) -> Option<Self> {
        let first = text.split_ascii_whitespace().next()?;
        let begins = |known: &Self| {
            known.as_str().split(" ").next().is_some_and(|word| word.eq_ignore_ascii_case(first))
        };
        Self::ALL.into_iter().find(begins)
    }
}

/// What a subject is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value as written.
    Literal(Literal),
    /// `$name`: a value that comes with the request.
    Parameter(Name),
    /// Another field, or a function of one.
    Subject(Subject),
    /// A moment counted from the request's own.
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

/// The value as it is written; an id stands in quotes.
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

/// `today` or `now`, perhaps with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// From where.
    pub base: ClockBase,
    /// How far.
    pub offset: Option<Offset>,
}

/// Where a [`Clock`] starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockBase {
    /// The day of the request, in UTC.
    Today,
    /// The instant of the request.
    Now,
}

impl ClockBase {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Now => "now",
        }
    }
}

/// A distance in calendar time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// How many units; negative is back.
    pub count: i32,
    /// Of what.
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
    /// A month, clamped to its end.
    #[serde(rename = "mo")]
    Month,
    /// Twelve months.
    #[serde(rename = "y")]
    Year,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "mo",
            Self::Year => "y",
        }
    }

    /// The one that somebody means who writes it out, or a month as `m`.
    pub fn meant(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().trim_end_matches('s') {
            "day" => Some(Self::Day),
            "week" | "wk" => Some(Self::Week),
            "m" | "month" | "mon" => Some(Self::Month),
            "year" | "yr" => Some(Self::Year),
            _ => None,
        }
    }
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// The field's name.
    pub field: Spanned<Name>,
    /// Which way; its place ends where the key does.
    pub direction: Spanned<Direction>,
}

/// Which way an order runs. Nulls come last either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Direction {
    /// The least first.
    #[default]
    #[serde(rename = "asc")]
    Ascending,
    /// The greatest first.
    #[serde(rename = "desc")]
    Descending,
}

/// The keywords, which are no names unless they stand in backticks, in lower case.
pub const KEYWORDS: &[&str] = &[
    "and", "asc", "between", "contains", "desc", "ends", "false", "in", "is", "not", "now", "null",
    "or", "starts", "today", "true", "with",
];

/// Those of them that are values and not syntax.
pub const VALUE_KEYWORDS: &[&str] = &["false", "now", "null", "today", "true"];

/// The length of the longest keyword.
const LONGEST_KEYWORD: usize = 8;

/// Whether a name must stand in backticks.
pub fn is_reserved(name: &str) -> bool {
    name.len() <= LONGEST_KEYWORD && KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
}
