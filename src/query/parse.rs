//! Text to tree. The only file that sees pest.
//!
//! pest's pairs are flat and carry no precedence; it is assembled here into n-ary chains. Recursion
//! follows parentheses alone, and the scan has bounded those before pest starts.

use std::iter::Peekable;

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};

use super::ast::{
    At, Clock, ClockBase, Comparison, Direction, Expr, Literal, Matching, Offset, Operand,
    OrderKey, Predicate, Subject, Test, Unit, is_reserved,
};
use super::diagnostic::{Code, Fault, Span};
use super::limits::{MAX_IN_ITEMS, MAX_PREDICATES};
use super::literal::{date, read_escape, timestamp};
use super::{format, scan};
use grammar::{Grammar, Rule};

mod grammar {
    #![allow(missing_docs, reason = "pest derives public items and no documentation")]

    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/filter.pest"]
    pub(super) struct Grammar;
}

/// A filter as parsed.
#[derive(Debug)]
pub struct Parsed {
    /// What was written.
    pub expr: Expr,
    /// Remarks on what is easy to misread.
    pub warnings: Vec<Fault>,
}

/// Parses a filter.
///
/// # Errors
/// All lexical problems at once; else the first place where the grammar fails; else all malformed
/// literals and exceeded counts.
pub fn filter(text: &str) -> Result<Parsed, Vec<Fault>> {
    let mut builder = Builder::default();
    let expr = builder.expression(&mut tokens(Rule::filter, text)?);
    let warnings = std::mem::take(&mut builder.warnings);
    builder.finish(expr).map(|expr| Parsed { expr, warnings })
}

/// Parses an order.
///
/// # Errors
/// As [`filter`].
pub fn order_by(text: &str) -> Result<Vec<OrderKey>, Vec<Fault>> {
    let mut builder = Builder::default();
    let keys = tokens(Rule::order_by, text)?
        .filter(|pair| pair.as_rule() == Rule::order_key)
        .map(|pair| builder.order_key(pair.into_inner()))
        .collect();
    builder.finish(keys)
}

type Tokens<'a> = Peekable<Pairs<'a, Rule>>;

fn tokens(rule: Rule, text: &str) -> Result<Tokens<'_>, Vec<Fault>> {
    scan::scan(text)?;
    match Grammar::parse(rule, text) {
        Ok(pairs) => Ok(pairs.peekable()),
        Err(error) => Err(vec![unexpected(&error, text)]),
    }
}

/// What pest expected, in words and in the order they are listed. A rule that is missing here is
/// never the only one that could follow.
const EXPECTATIONS: &[(&[Rule], &str)] = &[
    (&[Rule::predicate, Rule::order_key, Rule::name], "a field"),
    (&[Rule::string, Rule::numeric, Rule::parameter], "a value"),
    (&[Rule::list], "a list in parentheses"),
    (&[Rule::comparison], "an operator"),
    (&[Rule::kw_between], "`between`, `in`, `contains`, `starts with` or `ends with`"),
    (&[Rule::duration], "a duration such as 30d"),
    (&[Rule::comma], "`,`"),
    (&[Rule::close], "`)`"),
    (&[Rule::kw_null], "`null`"),
    (&[Rule::kw_and], "`and`"),
    (&[Rule::kw_or], "`or`"),
    (&[Rule::kw_asc], "`asc` or `desc`"),
    (&[Rule::EOI], "the end"),
];

/// What people write out of habit where the grammar does not expect it, and what to write here.
const HABITS: &[(&[&str], &str)] = &[
    (
        &["like", "ilike", "matches", "startswith", "starts_with", "endswith", "ends_with", "has"],
        "write `contains`, `starts with` or `ends with`",
    ),
    (&["starts", "ends"], "write `starts with` or `ends with`"),
    (&["equals", "eq", "is"], "write `=`, or `is null`"),
    (&["order", "sort"], "the order is a parameter of its own, `order_by`"),
    (&["limit"], "the limit is a parameter of its own, `limit`"),
    (&["asc", "desc"], "the direction stands behind the field: `title desc`"),
    (
        &["+", "-"],
        "only `today` and `now` take an offset, and only one; `-` is no descending order",
    ),
];

fn unexpected(error: &pest::error::Error<Rule>, text: &str) -> Fault {
    let start = match error.location {
        InputLocation::Pos(start) | InputLocation::Span((start, _)) => start,
    };
    let rest = text.get(start..).unwrap_or_default();
    let rest_start = text.len() - rest.trim_ascii_start().len();
    let found = first_token(rest.trim_ascii_start());
    let span = Span::new(rest_start, rest_start + found.len());
    let expected: &[Rule] = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives,
        ErrorVariant::CustomError { .. } => &[],
    };
    let is_expected = |rules: &[Rule]| rules.iter().any(|rule| expected.contains(rule));
    let after_operand = is_expected(&[Rule::EOI]);
    let words: Vec<&str> = EXPECTATIONS
        .iter()
        // `comparison` brings all its siblings along; naming each of them would hide the point.
        .filter(|(rules, _)| {
            is_expected(rules)
                && !(is_expected(&[Rule::comparison]) && rules.contains(&Rule::kw_between))
        })
        .map(|(_, words)| *words)
        .collect();
    let message = match (found, words.as_slice()) {
        ("", _) => "the text ends too early".to_owned(),
        (found, _) => format!("`{found}` is unexpected here"),
    };
    let chained = after_operand && Comparison::ALL.iter().any(|c| found.starts_with(c.as_str()));
    let code = match found {
        "+" | "-" if after_operand => Code::UnsupportedArithmetic,
        _ => Code::UnexpectedToken,
    };
    let fault = Fault::new(code, span, message);
    let is_found = |words: &&[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(found));
    if let Some((_, advice)) = HABITS.iter().find(|(words, _)| is_found(words)) {
        return fault.help(*advice);
    }
    if found.starts_with(['"', '\''])
        && text.get(..rest_start).is_some_and(|t| t.ends_with(['"', '\'']))
    {
        return fault.help("a quote inside text is written `\\'` or `\\\"`");
    }
    let is_value = found.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '"' | '\'' | '$'));
    if is_value && words == ["a field"] {
        return fault.help("the field stands on the left; for several values write `in (…)`");
    }
    match words.split_last() {
        _ if chained && !words.contains(&"an operator") => {
            fault.help("comparisons do not chain: join two of them with `and`")
        }
        None => fault,
        Some((only, [])) => fault.help(format!("expected {only}")),
        Some((last, others)) => fault.help(format!("expected {} or {last}", others.join(", "))),
    }
}

/// The word, number, string or sign that the text starts with.
fn first_token(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return "" };
    let end = match first {
        '"' | '\'' | '`' => {
            text.get(1..).and_then(|body| body.find(first)).map_or(text.len(), |end| end + 2)
        }
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '$') => {
            let body = text.get(1..).unwrap_or_default();
            let is_end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':'));
            body.find(is_end).map_or(text.len(), |end| end + 1)
        }
        c => c.len_utf8(),
    };
    text.get(..end).unwrap_or(text)
}

fn span(pair: &Pair<'_, Rule>) -> Span {
    let span = pair.as_span();
    Span::new(span.start(), span.end())
}

/// Walks the pairs of a text that the grammar has accepted. The grammar decides which token can
/// come next, so a token that is missing or of another kind would be a defect of this file.
#[derive(Default)]
struct Builder {
    predicates: usize,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

const GRAMMAR_GUARANTEES: &str = "the grammar puts a token here";

impl Builder {
    fn finish<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(value) } else { Err(self.faults) }
    }

    fn fault(&mut self, code: Code, span: Span, message: String, help: Option<String>) {
        self.faults.push(Fault { code, span, message, help });
    }

    /// `term ((and | or) term)*`, by precedence: a run of `and`s is one member of the `or`.
    fn expression(&mut self, tokens: &mut Tokens<'_>) -> Expr {
        let first = tokens.peek().map(span).unwrap_or_default();
        let mut last = first;
        let mut members = Vec::new();
        let mut run = Vec::new();
        let (mut ands, mut ors) = (false, false);
        while let Some(pair) = tokens.next() {
            match pair.as_rule() {
                Rule::kw_and => ands = true,
                Rule::kw_or => {
                    ors = true;
                    members.push(Expr::all(std::mem::take(&mut run)));
                }
                Rule::EOI => break,
                _ => {
                    let (term, end) = self.term(pair, tokens);
                    last = end;
                    run.push(term);
                }
            }
        }
        members.push(Expr::all(run));
        let expr = Expr::any(members);
        if ands && ors {
            let message = "`and` binds tighter than `or`".to_owned();
            let fault = Fault::new(Code::MixedAndOr, first.to(last), message);
            self.warnings.push(fault.help(format!("this means {}", format::explicit(&expr))));
        }
        expr
    }

    /// Any number of `not`s and what they deny.
    fn term(&mut self, first: Pair<'_, Rule>, tokens: &mut Tokens<'_>) -> (Expr, Span) {
        let mut negations = 0;
        let mut pair = first;
        while pair.as_rule() == Rule::kw_not {
            negations += 1;
            pair = tokens.next().expect(GRAMMAR_GUARANTEES);
        }
        let end = span(&pair);
        let mut expr = match pair.as_rule() {
            Rule::group => self.expression(&mut pair.into_inner().peekable()),
            _ => Expr::Predicate(Box::new(self.predicate(&pair))),
        };
        for _ in 0..negations {
            expr = expr.negate();
        }
        (expr, end)
    }

    fn predicate(&mut self, pair: &Pair<'_, Rule>) -> Predicate {
        self.predicates += 1;
        if self.predicates == MAX_PREDICATES + 1 {
            let message = "the filter has too many predicates".to_owned();
            let help = format!("at most {MAX_PREDICATES} are allowed");
            self.fault(Code::TooManyPredicates, span(pair), message, Some(help));
        }
        let mut tokens = pair.clone().into_inner().peekable();
        let subject = self.subject(&mut tokens);
        if let Some(offset) = tokens.next_if(|next| next.as_rule() == Rule::offset) {
            self.arithmetic(subject.span.to(span(&offset)));
        }
        let Some(mut token) = tokens.next() else {
            let span = subject.span;
            return Predicate { subject, test: At::new(Test::Flag, span) };
        };
        let mut place = span(&token);
        let negated = token.as_rule() == Rule::kw_not;
        if negated {
            token = tokens.next().expect(GRAMMAR_GUARANTEES);
            place = place.to(span(&token));
        }
        let test = match token.as_rule() {
            Rule::kw_is => {
                let negated = tokens.next().is_some_and(|next| next.as_rule() == Rule::kw_not);
                Test::Null { negated }
            }
            Rule::kw_between => {
                let low = self.operand(&mut tokens);
                tokens.next_if(|next| next.as_rule() == Rule::kw_and);
                Test::Between { negated, low, high: self.operand(&mut tokens) }
            }
            Rule::kw_in => {
                let list = tokens.next().expect(GRAMMAR_GUARANTEES);
                Test::In { negated, items: self.list(list) }
            }
            Rule::matching => {
                let word = token.as_str();
                let matching = Matching::ALL
                    .into_iter()
                    .find(|m| {
                        m.as_str().as_bytes().first().is_some_and(|initial| {
                            word.as_bytes().first().is_some_and(|w| w.eq_ignore_ascii_case(initial))
                        })
                    })
                    .expect("`contains`, `starts` and `ends` differ in their first letter");
                Test::Match { negated, matching, operand: self.operand(&mut tokens) }
            }
            _ => {
                let operator = Comparison::ALL
                    .into_iter()
                    .find(|operator| operator.as_str() == token.as_str())
                    .expect("the grammar knows these six comparisons and no other");
                Test::Compare { operator, operand: self.operand(&mut tokens) }
            }
        };
        Predicate { subject, test: At::new(test, place) }
    }

    fn list(&mut self, list: Pair<'_, Rule>) -> Vec<At<Operand>> {
        let place = span(&list);
        let mut tokens = list.into_inner().peekable();
        let mut items = Vec::new();
        while let Some(next) = tokens.peek() {
            match next.as_rule() {
                Rule::comma | Rule::close => {
                    tokens.next();
                }
                _ => items.push(self.operand(&mut tokens)),
            }
        }
        if items.len() > MAX_IN_ITEMS {
            let message = format!("the list has {} items", items.len());
            let help = format!("at most {MAX_IN_ITEMS} are allowed");
            self.fault(Code::TooManyItems, place, message, Some(help));
        }
        items
    }

    fn subject(&mut self, tokens: &mut Tokens<'_>) -> At<Subject> {
        let name = tokens.next().expect(GRAMMAR_GUARANTEES);
        let place = span(&name);
        match tokens.next_if(|next| next.as_rule() == Rule::call) {
            None => {
                let field = self.field(&name);
                At::new(Subject { function: None, field }, place)
            }
            Some(call) => {
                let place = place.to(span(&call));
                let argument = call.into_inner().next().expect(GRAMMAR_GUARANTEES);
                let function = Some(At::new(name.as_str().to_owned(), span(&name)));
                At::new(Subject { function, field: self.field(&argument) }, place)
            }
        }
    }

    /// A field's name: a keyword is one only in backticks.
    fn field(&mut self, name: &Pair<'_, Rule>) -> At<String> {
        let (text, place) = (name.as_str(), span(name));
        let unquoted = text.trim_matches('`');
        if unquoted.len() == text.len() && is_reserved(text) {
            let message = format!("`{text}` is a keyword, and a field is expected here");
            let help = format!("a field of that name is written in backticks: `{text}`");
            self.fault(Code::ReservedWord, place, message, Some(help));
        }
        At::new(unquoted.to_owned(), place)
    }

    fn operand(&mut self, tokens: &mut Tokens<'_>) -> At<Operand> {
        let token = tokens.peek().expect(GRAMMAR_GUARANTEES).clone();
        let (place, text) = (span(&token), token.as_str());
        let operand = match token.as_rule() {
            Rule::string => Operand::Literal(Literal::Text(self.unescape(text, place.start))),
            Rule::numeric => Operand::Literal(self.numeric(text, place)),
            Rule::parameter => Operand::Parameter(text.trim_start_matches('$').to_owned()),
            _ => return self.word(tokens),
        };
        tokens.next();
        At::new(operand, place)
    }

    /// A keyword that is a value, a clock, or a field or function.
    fn word(&mut self, tokens: &mut Tokens<'_>) -> At<Operand> {
        let token = tokens.peek().expect(GRAMMAR_GUARANTEES).clone();
        let place = span(&token);
        let constant = [
            ("true", Operand::Literal(Literal::Boolean(true))),
            ("false", Operand::Literal(Literal::Boolean(false))),
            ("null", Operand::Literal(Literal::Null)),
            ("today", Operand::Clock(Clock { base: ClockBase::Today, offset: None })),
            ("now", Operand::Clock(Clock { base: ClockBase::Now, offset: None })),
        ]
        .into_iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(token.as_str()))
        .map(|(_, constant)| constant);
        let mut operand = match constant {
            Some(constant) => {
                tokens.next();
                At::new(constant, place)
            }
            None => {
                let subject = self.subject(tokens);
                At::new(Operand::Subject(subject.node), subject.span)
            }
        };
        if let Some(offset) = tokens.next_if(|next| next.as_rule() == Rule::offset) {
            operand.span = operand.span.to(span(&offset));
            let span = operand.span;
            match &mut operand.node {
                Operand::Clock(clock) => clock.offset = self.offset(offset),
                _ => self.arithmetic(span),
            }
        }
        operand
    }

    fn arithmetic(&mut self, place: Span) {
        let message = "there is no arithmetic on fields and values".to_owned();
        let help = "only `today` and `now` take an offset".to_owned();
        self.fault(Code::UnsupportedArithmetic, place, message, Some(help));
    }

    fn offset(&mut self, offset: Pair<'_, Rule>) -> Option<Offset> {
        let mut tokens = offset.into_inner();
        let sign = tokens.next().expect(GRAMMAR_GUARANTEES).as_str();
        let duration = tokens.next().expect(GRAMMAR_GUARANTEES);
        let text = duration.as_str();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text.get(digits.len()..).unwrap_or_default();
        let unit = Unit::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(unit));
        let count = digits.parse::<i32>().ok();
        let (Some(count), Some(unit)) = (count, unit) else {
            let message = format!("`{text}` is not a duration");
            let help = "write a count and a unit: 30d, 2w, 6mo or 1y".to_owned();
            self.fault(Code::InvalidDuration, span(&duration), message, Some(help));
            return None;
        };
        // A count parsed from digits is not negative, so it can always be negated.
        Some(Offset { count: if sign == "-" { -count } else { count }, unit })
    }

    /// An integer, a date or a timestamp.
    fn numeric(&mut self, text: &str, place: Span) -> Literal {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(number) => Literal::Integer(number),
                Err(_) => {
                    let message = format!("`{text}` does not fit into 64 bits");
                    self.fault(Code::InvalidNumber, place, message, None);
                    Literal::Null
                }
            };
        }
        let is_timestamp = text.contains(['T', 't', ':']) && text.contains('-');
        let (code, read) = if is_timestamp {
            (Code::InvalidTimestamp, timestamp(text).map(Literal::Timestamp))
        } else if text.get(1..).is_some_and(|rest| rest.contains('-')) {
            (Code::InvalidDate, date(text).map(Literal::Date))
        } else {
            let help = if digits.matches('.').count() == 2 {
                "a date is written YYYY-MM-DD"
            } else if digits.contains('.') {
                "numbers are whole"
            } else {
                "a number and a word need a space between them; text stands in quotes"
            };
            let message = format!("`{text}` is not a whole number");
            (Code::InvalidNumber, Err((message, Some(help.to_owned()))))
        };
        read.unwrap_or_else(|(message, help)| {
            self.fault(code, place, message, help);
            Literal::Null
        })
    }

    /// The text between the quotes, with its escapes resolved exactly once.
    fn unescape(&mut self, quoted: &str, offset: usize) -> String {
        let body = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        if !body.contains('\\') {
            return body.to_owned();
        }
        let mut out = String::with_capacity(body.len());
        let mut rest = body;
        while let Some(position) = rest.find('\\') {
            out.push_str(rest.get(..position).unwrap_or_default());
            let escape = rest.get(position..).unwrap_or_default();
            let start = offset + 1 + body.len() - escape.len();
            let length = match read_escape(escape) {
                Ok((character, length)) => {
                    out.push(character);
                    length
                }
                Err((length, message)) => {
                    let place = Span::new(start, start + length);
                    let help = "the escapes are \\\\ \\' \\\" \\n \\t and \\uXXXX".to_owned();
                    self.fault(Code::InvalidEscape, place, message, Some(help));
                    length
                }
            };
            rest = escape.get(length..).unwrap_or_default();
        }
        out.push_str(rest);
        out
    }

    fn order_key(&mut self, tokens: Pairs<'_, Rule>) -> OrderKey {
        let mut field = At::from(String::new());
        let mut direction = Direction::Ascending;
        for token in tokens {
            match token.as_rule() {
                Rule::kw_desc => direction = Direction::Descending,
                Rule::kw_asc => {}
                _ => field = self.field(&token),
            }
        }
        OrderKey { field, direction }
    }
}
