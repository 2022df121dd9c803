//! How an unfinished filter may go on. The grammar says what may follow; the schema, which names and
//! operators those are.

use serde::{Deserialize, Serialize};

use super::ast::{
    Clock, ClockBase, Comparison, Expr, Literal, Operand, Predicate, Spanned, Subject, Test, Unit,
};
use super::limits::MAX_TEXT_BYTES;
use super::parse::{self, Expectation, Rule, first_token};
use super::plan::{Part, Term};
use super::schema::{Field, Schema};
use super::value::Type;
use super::{format, scan};

/// What kind of candidate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A field.
    Field,
    /// An operator, or the sign before an offset.
    Operator,
    /// A word or a sign that joins conditions or stands in one.
    Keyword,
    /// A function, with the parenthesis that opens behind it.
    Function,
    /// A value as it is written.
    Value,
    /// A parameter that was used before.
    Parameter,
}

/// What a text may go on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What to write.
    pub text: String,
    /// What kind of candidate it is.
    pub kind: Kind,
    /// The type of a field, of a value, or of what a function gives.
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

/// How a text may go on. Places are bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Continuation {
    /// Where what a candidate replaces begins: the word or string that the caret touches.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// What may stand there.
    pub candidates: Vec<Candidate>,
    /// Values that may stand there as well, and that only the database knows.
    pub values: Option<FieldValues>,
}

/// The values of a text field that begin with what has been typed.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldValues {
    /// The field.
    pub field: &'static Field,
    /// What they begin with, in whatever case.
    pub beginning: String,
    /// The quote they stand in.
    quote: char,
    /// How many bytes there is room for.
    room: usize,
}

impl FieldValues {
    /// A value as a candidate, if there is room for it.
    pub fn candidate(&self, value: &str) -> Option<Candidate> {
        let text = format::quoted(value, self.quote);
        (text.len() <= self.room).then(|| Candidate::typed(text, Kind::Value, self.field.ty))
    }
}

/// How a text may go on at the caret, a byte of it. What stands before the caret decides; what stands
/// behind it only says how far the word goes that the caret is in.
pub fn complete(text: &str, caret: usize, schema: &'static Schema) -> Continuation {
    let before = text.get(..caret).unwrap_or(text);
    let start = token_start(before);
    let mut found = continuation(text, before, start, schema);
    if let Some(Expectation { at, .. }) = expectation(before, start)
        && at < start
    {
        // Some tokens have several words: `starts` alone is no operator yet.
        let earlier = continuation(text, before, at, schema);
        if !earlier.candidates.is_empty() {
            found = earlier;
        }
    }
    found
}

/// How a text may go on where a token of it begins.
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
        // As in `seats|<=x`, where `between` must not run into `x`.
        let words = candidates.iter_mut().filter(|candidate| candidate.text.ends_with(is_of_word));
        words.for_each(|candidate| candidate.text.push(' '));
    }
    candidates.retain(|Candidate { text, .. }| {
        text.len() <= room && scan::unclosed(&format!("{base}{text}")).is_some()
    });
    Continuation { candidates, values: place.values(typed, room), ..nothing }
}

/// What the grammar expects behind the beginning of a text, if that can be read at all.
fn expectation(text: &str, end: usize) -> Option<Expectation> {
    let base = text.get(..end)?;
    scan::unclosed(base).map(|_| parse::expectation(base))
}

/// Where the token begins that a text ends in, if more characters could still belong to it.
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

/// Where the token ends that begins at `start`, or at the caret when nothing has been typed.
fn token_end(text: &str, start: usize, caret: usize) -> usize {
    let (token, after) = (text.get(start..).unwrap_or_default(), text.get(caret..));
    let after = after.unwrap_or_default();
    let run = |belongs: fn(char) -> bool| {
        caret + after.find(|c: char| !belongs(c)).unwrap_or(after.len())
    };
    match token.chars().next() {
        // A quote that nothing closes goes no further than what has been typed.
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

/// The least that must follow for what the grammar expects, apart from closing parentheses.
const ENDINGS: [(Rule, &str); 7] = [
    (Rule::string, " 0"),
    (Rule::list_open, " ("),
    (Rule::kw_null, " null"),
    (Rule::duration, " 1d"),
    (Rule::kw_and, " and"),
    (Rule::kw_between, " in"),
    (Rule::name, " x"),
];

/// A text with the least that makes it a filter.
fn finished(base: &str) -> Option<String> {
    let mut text = base.to_owned();
    // None is needed twice but the bounds of `between`, and the parentheses are closed at once.
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

/// The predicate that an expression ends with.
fn last_predicate(expr: &Expr) -> Option<&Predicate> {
    match expr {
        Expr::All(terms) | Expr::Any(terms) => last_predicate(&terms.last()?.node),
        Expr::Not(term) => last_predicate(&term.node),
        Expr::Predicate(predicate) => Some(predicate),
    }
}

fn operands(test: &Test) -> Vec<&Spanned<Operand>> {
    match test {
        Test::Compare { operand, .. } | Test::Match { operand, .. } => vec![operand],
        Test::Between { low, high, .. } => vec![low, high],
        Test::In { items, .. } => items.iter().collect(),
        Test::Flag | Test::Null { .. } => Vec::new(),
    }
}

fn term(subject: &Subject, schema: &'static Schema) -> Option<Term> {
    let part = match &subject.function {
        None => Part::Whole,
        Some(name) => Part::FUNCTIONS.iter().find(|(known, _)| *known == name.node)?.1,
    };
    Some(Term { field: schema.field(&subject.field.node)?, part })
}

/// The end of an unfinished filter, and what may follow there.
struct Place<'a> {
    base: &'a str,
    rules: Vec<Rule>,
    schema: &'static Schema,
    /// The filter, finished in the shortest way.
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

    /// The condition the text ends in or with.
    fn test(&self) -> Option<&Test> {
        last_predicate(&self.filter).map(|predicate| &predicate.test.node)
    }

    /// What that condition is about, if there is such a field.
    fn term(&self) -> Option<Term> {
        term(&last_predicate(&self.filter)?.subject.node, self.schema)
    }

    /// What may follow, as far as it begins with what has been typed.
    fn candidates(&self, typed: &str) -> Vec<Candidate> {
        let mut found = self.beginnings();
        found.extend(self.operators());
        found.extend(self.operands());
        found.extend(self.offsets(typed));
        found.extend(self.connectives());
        let typed = typed.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let typed = typed.trim_start_matches('`');
        found.retain(|Candidate { text, .. }| {
            let text = text.trim_start_matches('`');
            text.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
        });
        found
    }

    /// Where a condition may begin, or a field that a function takes.
    fn beginnings(&self) -> Vec<Candidate> {
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

    /// The operators that exist for the type of the subject, and their words.
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

    /// What a subject can be compared with, apart from values that only the database knows.
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
            // A literal or a parameter, and no moment.
            found.retain(|_| ty == Type::Boolean);
        } else {
            let is_other = |other: &&'static Field| other.ty == ty && Term::whole(other) != term;
            found.extend(self.schema.fields.iter().filter(is_other).map(field));
            found.extend(functions().filter(|_| ty == Part::GIVES));
        }
        found.extend(self.parameters(ty));
        found
    }

    /// The parameters of this type that were used before.
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
                    for operand in operands(&predicate.test.node) {
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

    /// The sign behind `today` and `now`, and what stands behind the sign.
    fn offsets(&self, typed: &str) -> Vec<Candidate> {
        if self.expects(Rule::duration) {
            let digits = typed.trim_end_matches(|c: char| !c.is_ascii_digit());
            let duration = |(unit, usual): (Unit, &str)| {
                let count = if digits.is_empty() { usual } else { digits };
                Candidate::new(format!("{count}{}", unit.as_str()), Kind::Value)
            };
            return Unit::ALL.into_iter().zip(["30", "2", "6", "1"]).map(duration).collect();
        }
        let last = self.test().map(operands).unwrap_or_default();
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

    /// The words and signs that go on with a condition, end it, or join it to the next.
    fn connectives(&self) -> Vec<Candidate> {
        // A field is a condition of its own when it is boolean.
        let is_finished = !self.expects(Rule::comparison)
            || self.term().is_some_and(|term| term.ty() == Type::Boolean);
        let is_function = |(name, _): &(&str, Part)| {
            self.base.trim_ascii_end().rsplit(|c| !is_of_word(c)).next() == Some(name)
        };
        let is_call = self.expects(Rule::call_open) && Part::FUNCTIONS.iter().any(is_function);
        let after_is = self.expects(Rule::kw_not) && self.expects(Rule::kw_null);
        let words = [
            ("null", self.expects(Rule::kw_null)),
            ("not null", after_is),
            ("(", self.expects(Rule::list_open) || is_call),
            (",", self.expects(Rule::comma)),
            ("and", self.expects(Rule::kw_and) || (is_finished && self.expects(Rule::connective))),
            ("or", is_finished && self.expects(Rule::connective)),
            // `in ()` is no list.
            (")", is_finished && self.expects(Rule::close) && !self.expects(Rule::string)),
        ];
        let expected = words.into_iter().filter(|(_, is_expected)| *is_expected);
        expected.map(|(word, _)| Candidate::new(word, Kind::Keyword)).collect()
    }

    /// The values of the field that may stand here, as far as they begin with what has been typed.
    fn values(&self, typed: &str, room: usize) -> Option<FieldValues> {
        let Term { field, .. } = self.term().filter(|term| term.field.searchable)?;
        let first = typed.chars().next();
        let (quote, beginning) = match first {
            _ if !self.expects(Rule::string) => return None,
            Some(quote @ ('"' | '\'')) => {
                // Its escapes are read as those of a whole string are.
                let filter = parse::outline(&finished(&format!("{}{typed}{quote}", self.base))?)?;
                let operands = operands(&last_predicate(&filter)?.test.node);
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
