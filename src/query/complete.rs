//! Completes an unfinished filter. The grammar decides what may follow, and the schema provides names and
//! operators.

use serde::{Deserialize, Serialize};

use super::ast::{
    Clock, ClockBase, Comparison, Expr, Literal, Operand, Predicate, Subject, Test, Unit,
};
use super::limits::MAX_TEXT_BYTES;
use super::parse::{self, Expectation, Rule, first_token};
use super::plan::{Part, Term};
use super::schema::{Field, Schema};
use super::value::Type;
use super::{format, scan};

/// The kind of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A field.
    Field,
    /// An operator, or the sign before an offset.
    Operator,
    /// A word or sign that joins conditions or is part of one.
    Keyword,
    /// A function with its opening parenthesis.
    Function,
    /// A value.
    Value,
    /// A parameter of the filter.
    Parameter,
}

/// A text that may follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// The kind of candidate.
    pub kind: Kind,
    /// The type of a field, of a value, or of a function's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Type>,
}

impl Candidate {
    fn new(text: impl Into<String>, kind: Kind) -> Self {
        Self { text: text.into(), kind, detail: None }
    }

    fn typed(text: impl Into<String>, kind: Kind, ty: Type) -> Self {
        Self { text: text.into(), kind, detail: Some(ty) }
    }
}

/// The candidates for a place of a text. Places are bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Continuation {
    /// The first byte that a candidate replaces: the start of the word or string at the caret.
    pub start: usize,
    /// The byte after the last one that a candidate replaces.
    pub end: usize,
    /// The candidates.
    pub candidates: Vec<Candidate>,
    /// The values of the database that are candidates too.
    pub values: Option<FieldValues>,
}

/// The values of a text field that start with the typed text.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldValues {
    /// The field.
    pub field: &'static Field,
    /// The typed text, in any case.
    pub beginning: String,
    /// The quote around the value.
    quote: char,
    /// The maximum length of a candidate, in bytes.
    room: usize,
}

impl FieldValues {
    /// Returns a value as a candidate, or `None` if it is too long.
    pub fn candidate(&self, value: &str) -> Option<Candidate> {
        let text = format::quoted(value, self.quote);
        (text.len() <= self.room).then(|| Candidate::typed(text, Kind::Value, self.field.ty))
    }
}

/// Completes a text at the caret, which is a byte of it. The text before the caret decides about the
/// candidates. The text after it only determines the end of the word at the caret.
pub fn complete(text: &str, caret: usize, schema: &'static Schema) -> Continuation {
    let before = text.get(..caret).unwrap_or(text);
    let start = token_start(before);
    let mut found = continuation(text, before, start, schema);
    if let Some(Expectation { at, .. }) = expectation(before, start)
        && at < start
    {
        // Some tokens have several words: `starts` is not an operator without `with`.
        let earlier = continuation(text, before, at, schema);
        if !earlier.candidates.is_empty() {
            found = earlier;
        }
    }
    found
}

/// Completes a text at the start of a token.
fn continuation(text: &str, before: &str, start: usize, schema: &'static Schema) -> Continuation {
    let end = token_end(text, start, before.len());
    let nothing = Continuation { start, end, ..Continuation::default() };
    let (base, typed) = before.split_at(start);
    let place = expectation(before, start).filter(|found| found.at == start);
    let Some(place) = place.and_then(|found| Place::of(base, found.rules, schema)) else {
        return nothing;
    };
    let room = (MAX_TEXT_BYTES + (end - start)).saturating_sub(text.len());
    let mut candidates = place.candidates(typed);
    if text.get(end..).is_some_and(|rest| rest.starts_with(is_of_word)) {
        // As in `seats|<=x`, where `between` must not be joined to `x`.
        let words = candidates.iter_mut().filter(|candidate| candidate.text.ends_with(is_of_word));
        words.for_each(|candidate| candidate.text.push(' '));
    }
    candidates.retain(|Candidate { text, .. }| {
        text.len() <= room && scan::unclosed(&format!("{base}{text}")).is_some()
    });
    Continuation { candidates, values: place.values(typed, room), ..nothing }
}

/// Returns what the grammar expects after a prefix of a text, if the scan accepts the prefix.
fn expectation(text: &str, end: usize) -> Option<Expectation> {
    let base = text.get(..end)?;
    scan::unclosed(base).map(|_| parse::expectation(base))
}

/// Returns the start of the unfinished token at the end of a text, or the end of the text.
fn token_start(text: &str) -> usize {
    if let Some(start) = scan::open_quote(text) {
        return start;
    }
    let number = text.trim_end_matches(is_of_number).len();
    let (before, digits) = text.split_at(number);
    if digits.strip_prefix('-').unwrap_or(digits).starts_with(|c: char| c.is_ascii_digit()) {
        return before.len();
    }
    let word = text.trim_end_matches(is_of_word).len();
    let (before, _) = text.split_at(word);
    let sign = if word < text.len() { &['$'][..] } else { &['$', '<', '>', '!'] };
    before.strip_suffix(sign).unwrap_or(before).len()
}

/// Returns the end of the token that starts at `start`, or the caret if there is no token.
fn token_end(text: &str, start: usize, caret: usize) -> usize {
    let (token, after) = (text.get(start..).unwrap_or_default(), text.get(caret..));
    let after = after.unwrap_or_default();
    let run = |belongs: fn(char) -> bool| {
        caret + after.find(|c: char| !belongs(c)).unwrap_or(after.len())
    };
    match token.chars().next() {
        // An unclosed string ends at the caret.
        Some('"' | '\'' | '`') if scan::open_quote(text).is_none() => {
            caret.max(start + first_token(token).len())
        }
        Some('0'..='9' | '-') if start < caret => run(is_of_number),
        Some('=' | '<' | '>' | '!') => run(|c| matches!(c, '=' | '<' | '>' | '!')),
        Some(c) if c == '$' || is_of_word(c) => run(|c| c == '$' || is_of_word(c)),
        _ => caret,
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_of_number(c: char) -> bool {
    is_of_word(c) || matches!(c, '-' | '+' | '.' | ':')
}

/// The shortest text for each expected rule, except closing parentheses.
const ENDINGS: [(Rule, &str); 7] = [
    (Rule::string, " 0"),
    (Rule::list_open, " ("),
    (Rule::kw_null, " null"),
    (Rule::duration, " 1d"),
    (Rule::kw_and, " and"),
    (Rule::kw_between, " in"),
    (Rule::name, " x"),
];

/// Completes a text to a filter with the shortest possible ending.
fn finished(base: &str) -> Option<String> {
    let mut text = base.to_owned();
    // Each ending is needed at most once, except the two bounds of `between`. All parentheses close in
    // one step. Hence the bound of the loop.
    for _ in 0..=ENDINGS.len() {
        let Expectation { at, rules } = expectation(&text, text.len())?;
        if at < text.len() {
            return None;
        }
        if rules.contains(&Rule::EOI) {
            return Some(text);
        }
        if rules.contains(&Rule::close) {
            text.push_str(&")".repeat(scan::unclosed(&text)?));
        } else {
            text.push_str(ENDINGS.iter().find(|(rule, _)| rules.contains(rule))?.1);
        }
    }
    None
}

/// Returns the last predicate of an expression.
fn last_predicate(expr: &Expr) -> Option<&Predicate> {
    match expr {
        Expr::All(terms) | Expr::Any(terms) => last_predicate(&terms.last()?.node),
        Expr::Not(term) => last_predicate(&term.node),
        Expr::Predicate(predicate) => Some(predicate),
    }
}

fn term(subject: &Subject, schema: &'static Schema) -> Option<Term> {
    let part = match &subject.function {
        None => Part::Whole,
        Some(name) => Part::FUNCTIONS.iter().find(|(known, _)| *known == name.node)?.1,
    };
    Some(Term { field: schema.field(&subject.field.node)?, part })
}

/// The end of an unfinished filter with the rules that may follow.
struct Place<'a> {
    base: &'a str,
    rules: Vec<Rule>,
    schema: &'static Schema,
    /// The filter with its shortest ending.
    filter: Expr,
}

impl<'a> Place<'a> {
    fn of(base: &'a str, rules: Vec<Rule>, schema: &'static Schema) -> Option<Self> {
        let filter = parse::outline(&finished(base)?)?;
        Some(Self { base, rules, schema, filter })
    }

    fn expects(&self, rule: Rule) -> bool {
        self.rules.contains(&rule)
    }

    /// Returns the test of the last condition.
    fn test(&self) -> Option<&Test> {
        last_predicate(&self.filter).map(|predicate| &predicate.test.node)
    }

    /// Returns the subject of the last condition, if its field exists.
    fn term(&self) -> Option<Term> {
        term(&last_predicate(&self.filter)?.subject.node, self.schema)
    }

    /// Returns the name at the end of the filter, if no field has it.
    fn unknown_name(&self) -> Option<&str> {
        let predicate = last_predicate(&self.filter)?;
        let operands = predicate.test.node.operands().into_iter();
        let operands = operands.filter_map(|operand| match &operand.node {
            Operand::Subject(subject) => Some(subject),
            _ => None,
        });
        let end = self.base.trim_ascii_end().len();
        let mut subjects = std::iter::once(&predicate.subject.node).chain(operands);
        let last = subjects.find(|subject| subject.field.span.end == end)?;
        let name = last.field.node.as_str();
        self.schema.field(name).is_none().then_some(name)
    }

    /// Returns the candidates that start with the typed text.
    fn candidates(&self, typed: &str) -> Vec<Candidate> {
        let mut found = match self.unknown_name() {
            Some(name) => self.call(name),
            None => self.continuations(typed),
        };
        let typed = typed.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let typed = typed.trim_start_matches('`');
        found.retain(|Candidate { text, .. }| {
            let text = text.trim_start_matches('`');
            text.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
        });
        found
    }

    fn continuations(&self, typed: &str) -> Vec<Candidate> {
        let mut found = self.starts();
        found.extend(self.operators());
        found.extend(self.operands());
        found.extend(self.offsets(typed));
        found.extend(self.connectives());
        found
    }

    /// The parenthesis after the name of a function. After another name that no field has, nothing is of use.
    fn call(&self, name: &str) -> Vec<Candidate> {
        let is_function = Part::FUNCTIONS.iter().any(|(function, _)| *function == name);
        let is_call = is_function && self.expects(Rule::call_open);
        is_call.then(|| Candidate::new("(", Kind::Keyword)).into_iter().collect()
    }

    /// The candidates for the start of a condition, or for the argument of a function.
    fn starts(&self) -> Vec<Candidate> {
        let is_condition = self.expects(Rule::open);
        if !self.expects(Rule::name) || self.expects(Rule::string) {
            return Vec::new();
        }
        let is_taken = |field: &&Field| is_condition || field.ty == Part::TAKES;
        let mut found: Vec<Candidate> =
            self.schema.fields.iter().filter(is_taken).map(field).collect();
        if is_condition {
            found.extend(functions());
            found.extend(["not", "("].map(|word| Candidate::new(word, Kind::Keyword)));
        }
        found
    }

    /// The operators for the type of the subject.
    fn operators(&self) -> Vec<Candidate> {
        let Some(term) = self.term() else { return Vec::new() };
        let is_expected = |operator: &&str| {
            self.expects(match *operator {
                "between" => Rule::kw_between,
                "in" => Rule::kw_in,
                "is null" => Rule::kw_is,
                other if Comparison::of(other).is_some() => Rule::comparison,
                _ => Rule::matching,
            })
        };
        let operators = term.operators().into_iter().filter(is_expected);
        let mut found: Vec<Candidate> =
            operators.map(|operator| Candidate::new(operator, Kind::Operator)).collect();
        for (rule, rest) in [(Rule::kw_is, "is not null"), (Rule::kw_between, "not")] {
            if self.expects(rule) && self.expects(Rule::comparison) {
                found.push(Candidate::new(rest, Kind::Operator));
            }
        }
        found
    }

    /// The candidates for an operand, without values of the database.
    fn operands(&self) -> Vec<Candidate> {
        let (Some(term), true) = (self.term(), self.expects(Rule::string)) else {
            return Vec::new();
        };
        let ty = term.ty();
        let words: &[&str] = match ty {
            Type::Boolean => &["true", "false"],
            Type::Date => &[ClockBase::Today.as_str()],
            Type::Timestamp => &[ClockBase::Now.as_str()],
            Type::Text | Type::Integer | Type::Id => &[],
        };
        let value = |word: &&str| Candidate::typed(*word, Kind::Value, ty);
        let mut found: Vec<Candidate> = words.iter().map(value).collect();
        if matches!(self.test(), Some(Test::In { .. } | Test::Match { .. })) {
            // Only a literal or a parameter, not `today` or `now`.
            found.retain(|_| ty == Type::Boolean);
        } else {
            let is_other = |other: &&'static Field| other.ty == ty && Term::whole(other) != term;
            found.extend(self.schema.fields.iter().filter(is_other).map(field));
            found.extend(functions().filter(|_| ty == Part::GIVES));
        }
        found.extend(self.parameters(ty));
        found
    }

    /// The parameters of this type that the filter uses.
    fn parameters(&self, ty: Type) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let mut rest = vec![&self.filter];
        while let Some(expr) = rest.pop() {
            match expr {
                Expr::All(terms) | Expr::Any(terms) => {
                    rest.extend(terms.iter().rev().map(|term| &term.node));
                }
                Expr::Not(inner) => rest.push(&inner.node),
                Expr::Predicate(predicate) => {
                    let term = term(&predicate.subject.node, self.schema);
                    for operand in predicate.test.node.operands() {
                        let Operand::Parameter(name) = &operand.node else { continue };
                        let candidate = Candidate::typed(format!("${name}"), Kind::Parameter, ty);
                        if term.is_some_and(|term| term.ty() == ty) && !found.contains(&candidate) {
                            found.push(candidate);
                        }
                    }
                }
            }
        }
        found
    }

    /// The sign after `today` and `now`, and the duration after the sign.
    fn offsets(&self, typed: &str) -> Vec<Candidate> {
        if self.expects(Rule::duration) {
            let digits = typed.trim_end_matches(|c: char| !c.is_ascii_digit());
            let duration = |(unit, usual): (Unit, &str)| {
                let count = if digits.is_empty() { usual } else { digits };
                Candidate::new(format!("{count}{}", unit.as_str()), Kind::Value)
            };
            return Unit::ALL.into_iter().zip(["30", "2", "6", "1"]).map(duration).collect();
        }
        let last = self.test().map(Test::operands).unwrap_or_default();
        let last = last.into_iter().rfind(|operand| operand.span.end <= self.base.len());
        let is_clock = matches!(
            last.map(|operand| &operand.node),
            Some(Operand::Clock(Clock { offset: None, .. }))
        );
        if !is_clock || !self.expects(Rule::sign) {
            return Vec::new();
        }
        ["+", "-"].map(|sign| Candidate::new(sign, Kind::Operator)).into()
    }

    /// The words and signs that continue or end a condition, or join it to the next one.
    fn connectives(&self) -> Vec<Candidate> {
        // A boolean field needs no operator.
        let is_finished = !self.expects(Rule::comparison)
            || self.term().is_some_and(|term| term.ty() == Type::Boolean);
        let after_is = self.expects(Rule::kw_not) && self.expects(Rule::kw_null);
        let words = [
            ("null", self.expects(Rule::kw_null)),
            ("not null", after_is),
            ("(", self.expects(Rule::list_open)),
            (",", self.expects(Rule::comma)),
            ("and", self.expects(Rule::kw_and) || (is_finished && self.expects(Rule::connective))),
            ("or", is_finished && self.expects(Rule::connective)),
            // `in ()` is not valid.
            (")", is_finished && self.expects(Rule::close) && !self.expects(Rule::string)),
        ];
        let expected = words.into_iter().filter(|(_, is_expected)| *is_expected);
        expected.map(|(word, _)| Candidate::new(word, Kind::Keyword)).collect()
    }

    /// The values of the field that start with the typed text.
    fn values(&self, typed: &str, room: usize) -> Option<FieldValues> {
        let Term { field, .. } = self.term().filter(|term| term.field.searchable)?;
        let first = typed.chars().next();
        let (quote, beginning) = match first {
            _ if !self.expects(Rule::string) => return None,
            Some(quote @ ('"' | '\'')) => {
                // The escapes of an unfinished string are parsed like those of a finished one.
                let filter = parse::outline(&finished(&format!("{}{typed}{quote}", self.base))?)?;
                let operands = last_predicate(&filter)?.test.node.operands();
                let at_caret =
                    operands.into_iter().find(|operand| operand.span.start == self.base.len())?;
                let Operand::Literal(Literal::Text(text)) = &at_caret.node else { return None };
                (quote, text.clone())
            }
            None => ('\'', String::new()),
            Some(c) if is_of_word(c) => ('\'', typed.to_owned()),
            Some(_) => return None,
        };
        Some(FieldValues { field, beginning, quote, room })
    }
}

fn field(field: &Field) -> Candidate {
    Candidate::typed(format::name_text(field.name), Kind::Field, field.ty)
}

fn functions() -> impl Iterator<Item = Candidate> {
    let function =
        |(name, _): (&str, Part)| Candidate::typed(format!("{name}("), Kind::Function, Part::GIVES);
    Part::FUNCTIONS.into_iter().map(function)
}
