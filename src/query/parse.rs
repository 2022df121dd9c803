//! Parses a text to a syntax tree. Only this module and its submodules use pest.
//!
//! The grammar yields a flat list of tokens; this module applies precedence and builds n-ary chains.
//! It recurses only into parentheses, whose depth the scan limits before pest starts.

use std::iter::Peekable;

use pest::Parser;

pub(super) use self::failure::first_token;
use self::failure::{Failure, NO_ARITHMETIC, NO_HOURS, expected_rules, place};
use super::ast::{
    Clock, ClockBase, Comparison, Direction, Expr, Literal, Matching, Name, Offset, Operand,
    OrderKey, Predicate, Spanned, Subject, Test, Unit, VALUE_KEYWORDS, is_reserved,
};
use super::diagnostic::{Code, Fault, Misread, Span};
use super::limits::{MAX_DIAGNOSTICS, MAX_IN_ITEMS, MAX_PREDICATES, Usage};
use super::literal::{LEAVES_THE_CALENDAR, date, read_escape, timestamp};
use super::{format, scan};
use grammar::Grammar;
pub(super) use grammar::Rule;

mod failure;

mod grammar {
    #![allow(missing_docs, reason = "pest derives public items and no documentation")]

    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/filter.pest"]
    pub(in crate::query) struct Grammar;
}

/// A parsed filter.
#[derive(Debug)]
pub struct Parsed {
    /// The syntax tree.
    pub expr: Expr,
    /// Warnings about what is easy to misread.
    pub warnings: Vec<Fault>,
    /// How much of each limit it uses.
    pub usage: Usage,
}

/// Parses a filter.
///
/// # Errors
/// Returns all lexical problems. If there are none, returns the first problem of the grammar. If there
/// is none, returns all malformed literals and exceeded limits.
pub fn filter(text: &str) -> Result<Parsed, Vec<Fault>> {
    let mut builder = Builder::new(Rule::filter, text)?;
    let expr = builder.expression();
    let (warnings, usage) = (std::mem::take(&mut builder.warnings), builder.usage);
    builder.finish(expr).map(|expr| Parsed { expr, warnings, usage })
}

/// Parses an order.
///
/// # Errors
/// As for [`filter`].
pub fn order_by(text: &str) -> Result<Vec<OrderKey>, Vec<Fault>> {
    let mut builder = Builder::new(Rule::order_by, text)?;
    let keys = builder.order_keys();
    builder.finish(keys)
}

/// What the grammar expects at the first place where it fails.
#[derive(Debug)]
pub(super) struct Expectation {
    /// The byte where it fails.
    pub(super) at: usize,
    /// The rules that it expects there.
    pub(super) rules: Vec<Rule>,
}

/// A character that no rule matches outside strings.
const NO_TOKEN: char = '\0';

/// Returns what may follow an unfinished filter. If the filter is wrong before its end, returns what was
/// expected there. The scan must have accepted the text.
pub(super) fn expectation(text: &str) -> Expectation {
    match Grammar::parse(Rule::filter, &format!("{text}{NO_TOKEN}")) {
        Ok(_) => Expectation { at: text.len(), rules: Vec::new() },
        Err(error) => Expectation { at: place(&error), rules: expected_rules(&error) },
    }
}

/// Returns the tree of a filter that the grammar accepts, even if its words and values are invalid.
pub(super) fn outline(text: &str) -> Option<Expr> {
    Builder::new(Rule::filter, text).ok().map(|mut builder| builder.expression())
}

/// Returns the keys of an order that the grammar accepts, even if its names are invalid.
pub(super) fn outline_of_order(text: &str) -> Option<Vec<OrderKey>> {
    Builder::new(Rule::order_by, text).ok().map(|mut builder| builder.order_keys())
}

/// A token of the text. It is smaller and cheaper than a pair of pest.
#[derive(Debug, Clone, Copy)]
struct Token {
    rule: Rule,
    span: Span,
}

/// The tokens of a text that the grammar has accepted. All rules that are not silent are leaves, so
/// the end of each token directly follows its start.
struct Tokens<'a>(pest::iterators::Tokens<'a, Rule>);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let (start, end) = (self.0.next()?, self.0.next()?);
        let (pest::Token::Start { rule, pos: start } | pest::Token::End { rule, pos: start }) =
            start;
        let (pest::Token::Start { pos: end, .. } | pest::Token::End { pos: end, .. }) = end;
        Some(Token { rule, span: Span::new(start.pos(), end.pos()) })
    }
}

/// Builds a tree from the tokens of a text that the grammar has accepted. The grammar decides which
/// token comes next, so a missing or different token would be a bug of this module.
struct Builder<'a> {
    text: &'a str,
    tokens: Peekable<Tokens<'a>>,
    /// The end of the last token that was read.
    end: usize,
    usage: Usage,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

const GRAMMAR_GUARANTEES: &str = "the grammar puts a token here";

impl<'a> Builder<'a> {
    /// Scans the text and parses it with the grammar.
    fn new(rule: Rule, text: &'a str) -> Result<Self, Vec<Fault>> {
        let depth = scan::scan(text)?;
        let pairs =
            Grammar::parse(rule, text).map_err(|error| vec![Failure::of(&error, text).fault()])?;
        let tokens = Tokens(pairs.tokens()).peekable();
        let usage = Usage { text_bytes: text.len(), depth, ..Usage::default() };
        let (faults, warnings) = (Vec::new(), Vec::new());
        Ok(Self { text, tokens, end: 0, usage, faults, warnings })
    }

    fn finish<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(value) } else { Err(self.faults) }
    }

    fn next(&mut self) -> Token {
        let token = self.tokens.next().expect(GRAMMAR_GUARANTEES);
        self.end = token.span.end;
        token
    }

    fn next_if(&mut self, rule: Rule) -> Option<Token> {
        let token = self.tokens.next_if(|next| next.rule == rule)?;
        self.end = token.span.end;
        Some(token)
    }

    fn text(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).expect("a token's span lies in the text")
    }

    /// Parses `term ((and | or) term)*`. A run of `and`s is one member of the `or`.
    fn expression(&mut self) -> Expr {
        let start = self.tokens.peek().expect(GRAMMAR_GUARANTEES).span.start;
        let mut members: Vec<Spanned<Expr>> = Vec::new();
        let mut run = Vec::with_capacity(4);
        run.push(self.term());
        let mut has_and = false;
        while let Some(connective) = self.next_if(Rule::connective) {
            if self.text(connective.span).eq_ignore_ascii_case("or") {
                members.push(all(std::mem::take(&mut run)));
            } else {
                has_and = true;
            }
            run.push(self.term());
        }
        let last = all(run);
        if members.is_empty() {
            return last.node;
        }
        members.push(last);
        let expr = Expr::any(members);
        if has_and {
            let message = "`and` binds tighter than `or`".to_owned();
            let explicit = format::explicit(&expr);
            self.warnings.push(
                Fault::new(Code::MixedAndOr, Span::new(start, self.end), message)
                    .help(format!("this means {explicit}"))
                    .suggest(Span::new(start, self.end), explicit),
            );
        }
        expr
    }

    /// Parses any number of `not`s and their operand.
    fn term(&mut self) -> Spanned<Expr> {
        let mut negations = Vec::new();
        while let Some(not) = self.next_if(Rule::kw_not) {
            negations.push(not.span);
        }
        let start = self.tokens.peek().expect(GRAMMAR_GUARANTEES).span.start;
        let expr = if self.next_if(Rule::open).is_some() {
            let expr = self.expression();
            self.next();
            expr
        } else {
            Expr::Predicate(Box::new(self.predicate()))
        };
        let mut term = Spanned::new(expr, Span::new(start, self.end));
        for not in negations.into_iter().rev() {
            let span = not.to(term.span);
            term = Spanned::new(Expr::Not(Box::new(term)), span);
        }
        term
    }

    fn predicate(&mut self) -> Predicate {
        let subject = self.subject();
        let start = subject.span.start;
        let test = self.test(&subject);
        self.usage.predicates += 1;
        if self.usage.predicates == MAX_PREDICATES + 1 {
            let message = format!("expected at most {MAX_PREDICATES} predicates, found more");
            let fault = Fault::new(Code::TooManyPredicates, Span::new(start, self.end), message);
            let help =
                "write values of the same field as `in (…)` or `between`, or split the search";
            self.faults.push(fault.help(help));
        }
        Predicate { subject, test }
    }

    /// Parses the test of a subject. Its place is that of the operator.
    fn test(&mut self, subject: &Spanned<Subject>) -> Spanned<Test> {
        let negation = self.next_if(Rule::kw_not);
        let negated = negation.is_some();
        let tail = [Rule::comparison, Rule::kw_between, Rule::kw_in, Rule::matching, Rule::kw_is];
        let Some(operator) = self.tokens.next_if(|next| tail.contains(&next.rule)) else {
            return Spanned::new(Test::Flag, subject.span);
        };
        self.end = operator.span.end;
        let word = self.text(operator.span);
        let test = match operator.rule {
            Rule::kw_is => {
                let negated = self.next_if(Rule::kw_not).is_some();
                let null = self.next();
                return Spanned::new(Test::Null { negated }, operator.span.to(null.span));
            }
            Rule::kw_between => {
                let low = self.operand();
                self.next();
                Test::Between { negated, low, high: self.operand() }
            }
            Rule::kw_in => Test::In { negated, items: self.list() },
            Rule::matching => Test::Match {
                negated,
                matching: Matching::of(word).expect("the grammar has only these three"),
                operand: self.operand(),
            },
            _ => Test::Compare {
                operator: Comparison::of(word).expect("the grammar has only these six"),
                operand: self.operand(),
            },
        };
        let place = negation.map_or(operator.span, |not| not.span.to(operator.span));
        Spanned::new(test, place)
    }

    fn list(&mut self) -> Vec<Spanned<Operand>> {
        let start = self.next().span.start;
        let mut items = Vec::new();
        while self.next_if(Rule::close).is_none() {
            items.push(self.operand());
            self.next_if(Rule::comma);
        }
        self.usage.in_items = self.usage.in_items.max(items.len());
        if items.len() > MAX_IN_ITEMS {
            self.faults.push(too_many_items(items.len(), Span::new(start, self.end)));
        }
        items
    }

    fn subject(&mut self) -> Spanned<Subject> {
        let first = self.next();
        let name = self.name(first);
        if self.next_if(Rule::call_open).is_none() {
            let span = name.span;
            return Spanned::new(Subject { function: None, field: name }, span);
        }
        let argument = self.next();
        let field = self.name(argument);
        let close = self.next();
        Spanned::new(Subject { function: Some(name), field }, first.span.to(close.span))
    }

    /// Parses a name. A keyword is a name only in backticks.
    fn name(&mut self, token: Token) -> Spanned<Name> {
        let Token { span, .. } = token;
        let text = self.text(span);
        let unquoted = text.trim_matches('`');
        if unquoted.len() == text.len() && is_reserved(text) {
            self.faults.push(reserved(text, span));
        }
        Spanned::new(Name::from(unquoted), span)
    }

    fn operand(&mut self) -> Spanned<Operand> {
        let token = *self.tokens.peek().expect(GRAMMAR_GUARANTEES);
        let (span, text) = (token.span, self.text(token.span));
        let operand = match token.rule {
            Rule::string => Operand::Literal(Literal::Text(self.unescape(text, span.start))),
            Rule::numeric => Operand::Literal(self.numeric(text, span)),
            Rule::parameter => Operand::Parameter(text.trim_start_matches('$').into()),
            _ => return self.word(text),
        };
        self.next();
        Spanned::new(operand, span)
    }

    /// Parses a keyword that is a value, `today` or `now`, or a field or function.
    fn word(&mut self, text: &str) -> Spanned<Operand> {
        let constant = match text.len() {
            3..=5 => [
                ("true", Operand::Literal(Literal::Boolean(true))),
                ("false", Operand::Literal(Literal::Boolean(false))),
                ("null", Operand::Literal(Literal::Null)),
                ("today", Operand::Clock(Clock { base: ClockBase::Today, offset: None })),
                ("now", Operand::Clock(Clock { base: ClockBase::Now, offset: None })),
            ]
            .into_iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|(_, constant)| constant),
            _ => None,
        };
        let mut operand = match constant {
            Some(constant) => Spanned::new(constant, self.next().span),
            None => {
                let Spanned { node, span } = self.subject();
                Spanned::new(Operand::Subject(node), span)
            }
        };
        if let Some(sign) = self.next_if(Rule::sign) {
            let duration = self.next();
            operand.span = operand.span.to(duration.span);
            let span = operand.span;
            match &mut operand.node {
                Operand::Clock(clock) => clock.offset = self.offset(sign, duration),
                _ => {
                    let fault = Fault::new(Code::UnsupportedArithmetic, span, NO_ARITHMETIC);
                    self.faults.push(fault.help("only `today` and `now` take an offset"));
                }
            }
        }
        operand
    }

    fn offset(&mut self, sign: Token, duration: Token) -> Option<Offset> {
        let text = self.text(duration.span);
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let word = text.get(digits.len()..).unwrap_or_default();
        let unit = Unit::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(word));
        let is_count = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let fault = match (unit, digits.parse::<i32>()) {
            (Some(unit), Ok(count)) => {
                // A count of digits is not negative, so its negation cannot overflow.
                let count = if self.text(sign.span) == "-" { -count } else { count };
                return Some(Offset { count, unit });
            }
            (Some(_), Err(_)) if is_count => {
                Fault::new(Code::OutOfRange, duration.span, LEAVES_THE_CALENDAR)
                    .help("write a smaller number")
            }
            _ => {
                let message = format!("expected a duration, found \"{text}\"");
                let help = match Unit::is_too_small(word) {
                    true => NO_HOURS,
                    false => "write a number and a unit: 30d, 2w, 6mo or 1y",
                };
                let fault = Fault::new(Code::InvalidDuration, duration.span, message).help(help);
                match Unit::of_name(word).filter(|_| is_count) {
                    Some(unit) => {
                        fault.suggest(duration.span, format!("{digits}{}", unit.as_str()))
                    }
                    None => fault,
                }
            }
        };
        self.faults.push(fault);
        None
    }

    /// Parses an integer, a date or a timestamp.
    fn numeric(&mut self, text: &str, place: Span) -> Literal {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Literal::Integer).unwrap_or_else(|_| {
                let (low, high) = (i64::MIN, i64::MAX);
                let message = format!("expected an integer from {low} to {high}, found {text}");
                self.faults.push(Fault::new(Code::InvalidNumber, place, message));
                Literal::Null
            });
        }
        if self.faults.len() >= MAX_DIAGNOSTICS {
            return Literal::Null;
        }
        let is_timestamp = text.contains(['T', 't', ':']) && text.contains('-');
        let (code, read) = if is_timestamp {
            (Code::InvalidTimestamp, timestamp(text).map(Literal::Timestamp))
        } else if digits.contains('-') {
            (Code::InvalidDate, date(text).map(Literal::Date).map_err(|found| no_sum(text, found)))
        } else {
            (Code::InvalidNumber, Err(not_whole(text)))
        };
        read.unwrap_or_else(|misread| {
            self.faults.push(misread.at(code, place));
            Literal::Null
        })
    }

    /// Returns the text between the quotes with its escapes resolved once.
    fn unescape(&mut self, quoted: &str, offset: usize) -> String {
        let body = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        if !body.contains('\\') {
            return body.to_owned();
        }
        let mut out = String::with_capacity(body.len());
        let mut rest = body;
        while self.faults.len() < MAX_DIAGNOSTICS
            && let Some(position) = rest.find('\\')
        {
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
                    self.faults.push(
                        Fault::new(Code::InvalidEscape, place, message)
                            .help("for a backslash write `\\\\`; escapes are \\\\ \\' \\\" \\n \\t \\uXXXX")
                            .suggest(Span::new(start, start), "\\"),
                    );
                    length
                }
            };
            rest = escape.get(length..).unwrap_or_default();
        }
        out.push_str(rest);
        out
    }

    fn order_keys(&mut self) -> Vec<OrderKey> {
        let mut keys = vec![self.order_key()];
        while self.next_if(Rule::comma).is_some() {
            keys.push(self.order_key());
        }
        keys
    }

    fn order_key(&mut self) -> OrderKey {
        let token = self.next();
        let field = self.name(token);
        let direction = match (self.next_if(Rule::kw_desc), self.next_if(Rule::kw_asc)) {
            (Some(_), _) => Direction::Descending,
            _ => Direction::Ascending,
        };
        OrderKey { field, direction: Spanned::new(direction, Span::new(token.span.end, self.end)) }
    }
}

/// Joins the terms by `and`. The place is from the first to the last.
fn all(terms: Vec<Spanned<Expr>>) -> Spanned<Expr> {
    let span = terms.iter().map(|term| term.span).reduce(Span::to).unwrap_or_default();
    Spanned::new(Expr::all(terms), span)
}

/// The problem of a list with this many items.
pub(super) fn too_many_items(count: usize, place: Span) -> Fault {
    let message = format!("expected at most {MAX_IN_ITEMS} items, found {count}");
    let help = "write neighbouring values as `between`, or split the search";
    Fault::new(Code::TooManyItems, place, message).help(help)
}

/// Adds advice to the problem of a date with a second term, as in `2024-01-31+30d`.
fn no_sum(text: &str, misread: Misread) -> Misread {
    match misread.help {
        None if text.contains('+') => misread.help("only `today` and `now` take an offset"),
        _ => misread,
    }
}

/// The problem of a token that starts like a number but is not an integer.
fn not_whole(text: &str) -> Misread {
    let misread = Misread::new(format!("expected an integer, found \"{text}\""));
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let plain = text.replace('_', "");
    if plain.parse::<i64>().is_ok() {
        let help = format!("write {plain}: digits are not grouped");
        return misread.likely(plain, help);
    }
    if Unit::ALL.iter().any(|known| known.as_str() == unit) {
        return misread.help(format!("a duration follows `today` or `now`: `today + {text}`"));
    }
    misread.help(if text.contains("..") {
        "write a range as `between 2000 and 2010`"
    } else if text.matches('.').count() == 2 {
        "write a date as YYYY-MM-DD"
    } else if text.contains('.') {
        "fractions are not supported"
    } else if text.contains('+') {
        "arithmetic is not supported on values"
    } else if text.contains(':') {
        "write a timestamp like 2024-01-31T12:00:00Z"
    } else {
        "a number has only decimal digits, and a space after it; quote text"
    })
}

/// The problem of a keyword where a name is expected.
fn reserved(word: &str, place: Span) -> Fault {
    if VALUE_KEYWORDS.iter().any(|value| value.eq_ignore_ascii_case(word)) {
        let message = format!("expected a field, found the value `{word}`");
        return Fault::new(Code::ReservedWord, place, message).help("put the field on the left");
    }
    let message = format!("expected a field or a value, found the keyword `{word}`");
    let fault = Fault::new(Code::ReservedWord, place, message);
    match word.to_ascii_lowercase().as_str() {
        "and" | "or" => {
            fault.help("remove it: `and` and `or` join two conditions").suggest(place, "")
        }
        "asc" | "desc" => fault.help("write the direction after the field: `title desc`"),
        _ => fault.help(format!("write a field of this name in backticks: `{word}`")),
    }
}
