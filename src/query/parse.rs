//! Text to tree. The only file that sees pest.
//!
//! The grammar yields tokens in a row; precedence is assembled here into n-ary chains. Recursion
//! follows parentheses alone, and the scan has bounded those before pest starts.

use std::iter::Peekable;

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};

use super::ast::{
    At, Clock, ClockBase, Comparison, Direction, Expr, Literal, Matching, Offset, Operand,
    OrderKey, Predicate, Subject, Test, Unit, VALUE_KEYWORDS, is_reserved,
};
use super::diagnostic::{Code, Fault, Misread, Span, nearest};
use super::limits::{MAX_IN_ITEMS, MAX_PREDICATES, Usage};
use super::literal::{LEAVES_THE_CALENDAR, date, read_escape, timestamp};
use super::{format, scan};
use grammar::Grammar;
pub(super) use grammar::Rule;

mod grammar {
    #![allow(missing_docs, reason = "pest derives public items and no documentation")]

    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/filter.pest"]
    pub(in crate::query) struct Grammar;
}

/// A filter as parsed.
#[derive(Debug)]
pub struct Parsed {
    /// What was written.
    pub expr: Expr,
    /// Remarks on what is easy to misread.
    pub warnings: Vec<Fault>,
    /// How far it goes towards the limits.
    pub usage: Usage,
}

/// Parses a filter.
///
/// # Errors
/// All lexical problems at once; else the first place where the grammar fails; else all malformed
/// literals and exceeded counts.
pub fn filter(text: &str) -> Result<Parsed, Vec<Fault>> {
    let mut builder = Builder::new(Rule::filter, text)?;
    let expr = builder.expression();
    let (warnings, usage) = (std::mem::take(&mut builder.warnings), builder.usage);
    builder.finish(expr).map(|expr| Parsed { expr, warnings, usage })
}

/// Parses an order.
///
/// # Errors
/// As [`filter`].
pub fn order_by(text: &str) -> Result<Vec<OrderKey>, Vec<Fault>> {
    let mut builder = Builder::new(Rule::order_by, text)?;
    let mut keys = vec![builder.order_key()];
    while builder.next_if(Rule::comma).is_some() {
        keys.push(builder.order_key());
    }
    builder.finish(keys)
}

/// What the grammar expects where it cannot go on.
#[derive(Debug)]
pub(super) struct Expectation {
    /// The byte where that is.
    pub(super) at: usize,
    /// What could stand there.
    pub(super) rules: Vec<Rule>,
}

/// What no rule matches outside of strings.
const NO_TOKEN: char = '\0';

/// What may follow an unfinished filter, which the scan has bounded; where it is wrong before its
/// end, what was expected there.
pub(super) fn expectation(text: &str) -> Expectation {
    match Grammar::parse(Rule::filter, &format!("{text}{NO_TOKEN}")) {
        Ok(_) => Expectation { at: text.len(), rules: Vec::new() },
        Err(error) => Expectation { at: place(&error), rules: expected_rules(&error) },
    }
}

/// The tree of a filter of the right shape, whatever is wrong with its words and values.
pub(super) fn outline(text: &str) -> Option<Expr> {
    Builder::new(Rule::filter, text).ok().map(|mut builder| builder.expression())
}

/// A token of the text. pest's pairs carry more than that and cost more.
#[derive(Debug, Clone, Copy)]
struct Token {
    rule: Rule,
    span: Span,
}

/// The tokens of a text that the grammar has accepted, in a row: the rules that are not silent are
/// all leaves, so each start is followed by its end.
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

/// What pest expected, in words and in the order they are listed. A rule that is missing here is
/// never the only one that could follow.
const EXPECTATIONS: &[(&[Rule], &str)] = &[
    (&[Rule::name], "a field"),
    (&[Rule::string, Rule::numeric, Rule::parameter], "a value"),
    (&[Rule::list_open], "a list in parentheses"),
    (&[Rule::comparison], "an operator"),
    (&[Rule::kw_between], "`between`, `in`, `contains`, `starts with` or `ends with`"),
    (&[Rule::duration], "a duration such as 30d"),
    (&[Rule::comma], "`,`"),
    (&[Rule::close], "`)`"),
    (&[Rule::kw_null], "`null`"),
    (&[Rule::kw_and], "`and`"),
    (&[Rule::connective], "`and`, `or`"),
    (&[Rule::kw_asc], "`asc` or `desc`"),
    (&[Rule::EOI], "the end"),
];

/// What people write out of habit where the grammar does not expect it: the words, what stands for
/// them here if that can be said in general, and advice.
const HABITS: &[(&[&str], Option<&str>, &str)] = &[
    (
        &["like", "ilike", "matches", "has", "includes"],
        Some("contains"),
        "write `contains`, `starts with` or `ends with`",
    ),
    (&["startswith", "starts_with"], Some("starts with"), "write `starts with`"),
    (&["endswith", "ends_with"], Some("ends with"), "write `ends with`"),
    (&["starts"], Some("starts with"), "write `starts with`"),
    (&["ends"], Some("ends with"), "write `ends with`"),
    (&["equals", "eq"], Some("="), "write `=`"),
    (&["ne", "neq"], Some("!="), "write `!=`"),
    (&["lt"], Some("<"), "write `<`"),
    (&["lte", "le"], Some("<="), "write `<=`"),
    (&["gt"], Some(">"), "write `>`"),
    (&["gte", "ge"], Some(">="), "write `>=`"),
    (&["ascending"], Some("asc"), "write `asc`, or nothing"),
    (&["descending"], Some("desc"), "write `desc`"),
    (&["order", "sort"], None, "the order is a parameter of its own, `order_by`"),
    (&["limit"], None, "the limit is a parameter of its own, `limit`"),
    (&["asc", "desc"], None, "the direction stands behind the field: `title desc`"),
];

const NO_ARITHMETIC: &str = "there is no arithmetic on fields and values";

/// The place where the grammar could not go on.
struct Failure<'a> {
    text: &'a str,
    expected: Vec<Rule>,
    /// The token that stands there; empty at the end of the text.
    found: &'a str,
    span: Span,
}

fn place(error: &pest::error::Error<Rule>) -> usize {
    match error.location {
        InputLocation::Pos(start) | InputLocation::Span((start, _)) => start,
    }
}

fn expected_rules(error: &pest::error::Error<Rule>) -> Vec<Rule> {
    match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.clone(),
        ErrorVariant::CustomError { .. } => Vec::new(),
    }
}

fn unexpected(error: &pest::error::Error<Rule>, text: &str) -> Fault {
    let rest = text.get(place(error)..).unwrap_or_default().trim_ascii_start();
    let (start, found) = (text.len() - rest.len(), first_token(rest));
    let span = Span::new(start, start + found.len());
    Failure { text, expected: expected_rules(error), found, span }.fault()
}

impl Failure<'_> {
    fn fault(&self) -> Fault {
        let (found, span) = (self.found, self.span);
        let after_operand = self.expects(Rule::EOI) || self.expects(Rule::comparison);
        if let Some((place, word)) = self.keyword_before().filter(|_| after_operand) {
            return reserved(word, place);
        }
        let code = match found {
            "+" | "-" if after_operand => Code::UnsupportedArithmetic,
            _ => Code::UnexpectedToken,
        };
        let message = match (found, code) {
            ("", _) => "the text ends too early".to_owned(),
            (_, Code::UnsupportedArithmetic) => NO_ARITHMETIC.to_owned(),
            _ => format!("`{found}` is unexpected here"),
        };
        let fault = Fault::new(code, span, message).help(self.advice());
        match self.correction() {
            Some((place, text)) => fault.suggest(place, text),
            None => fault,
        }
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// What stands before, without blanks at its end.
    fn before(&self) -> &str {
        self.text.get(..self.span.start).unwrap_or_default().trim_ascii_end()
    }

    fn is_value(&self) -> bool {
        let mut characters = self.found.chars();
        match characters.next() {
            Some('$') => characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_'),
            first => first.is_some_and(|c| c.is_ascii_digit() || matches!(c, '"' | '\'')),
        }
    }

    /// A keyword directly before, which the grammar can only have read as a name: none of these
    /// ends an operand.
    fn keyword_before(&self) -> Option<(Span, &str)> {
        let before = self.before();
        let word = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let start = word.len();
        let word = before.get(start..)?;
        let mut ends_operand = VALUE_KEYWORDS.iter().chain(&["asc", "desc"]);
        let is_operand = ends_operand.any(|known| known.eq_ignore_ascii_case(word));
        (is_reserved(word) && !is_operand).then(|| (Span::new(start, before.len()), word))
    }

    fn habit(&self) -> Option<&(&[&str], Option<&str>, &str)> {
        let is_found = |word: &&str| word.eq_ignore_ascii_case(self.found);
        HABITS.iter().find(|(words, ..)| words.iter().any(is_found))
    }

    /// A count that a blank parts from its unit.
    fn parted_unit(&self) -> Option<Unit> {
        let unit = Unit::ALL.into_iter().find(|unit| unit.as_str() == self.found);
        let after_count = self.before().ends_with(|c: char| c.is_ascii_digit());
        unit.or_else(|| Unit::meant(self.found)).filter(|_| after_count)
    }

    /// A time of day that a blank parts from its date.
    fn is_parted_time(&self) -> bool {
        let date_before = || self.before().get(self.before().len().checked_sub(10)?..);
        self.found.contains(':') && date_before().is_some_and(|text| date(text).is_ok())
    }

    /// `where` at the beginning, read as a field.
    fn is_after_where(&self) -> bool {
        self.before().eq_ignore_ascii_case("where")
    }

    /// `not` before a comparison.
    fn is_negated_comparison(&self) -> bool {
        self.found == "=" && strip_word(self.before(), "not").is_some()
    }

    /// The operator that the word was probably meant to be.
    fn misspelt(&self) -> Option<&'static str> {
        let operators = ["between", "contains"];
        let words = if self.expects(Rule::comparison) { &operators[..] } else { &[] };
        nearest(self.found, words.iter().copied())
    }

    fn words(&self) -> Vec<&'static str> {
        EXPECTATIONS
            .iter()
            .filter(|(rules, _)| rules.iter().any(|rule| self.expects(*rule)))
            // `comparison` brings all its siblings along; naming each of them would hide the point.
            .filter(|(rules, _)| !(self.expects(Rule::comparison) && rules == &[Rule::kw_between]))
            .map(|(_, words)| *words)
            .collect()
    }

    fn advice(&self) -> String {
        let words = self.words();
        let is_sign = matches!(self.found, "+" | "-");
        let is_comparison = Comparison::ALL.iter().any(|c| self.found.starts_with(c.as_str()));
        let after_quote = self.before().ends_with(['"', '\'']);
        let fixed = match self.found {
            _ if self.is_after_where() => {
                "a filter begins with its first condition, without `where`"
            }
            _ if self.parted_unit().is_some() => "a count and its unit are one word, as in 30d",
            _ if self.is_parted_time() => "a timestamp is one word, as in 2024-01-31T12:00:00Z",
            _ if self.is_negated_comparison() => "write `!=`",
            "" | ")" if self.before().ends_with(',') => "remove the comma before it",
            "(" if self.expects(Rule::string) => {
                "one value is expected: join several tests with `or`"
            }
            "-" if self.is_order_key() => "a descending order is written `title desc`",
            _ if is_sign && self.expects(Rule::string) => {
                "a number has no sign, or a `-` directly before its digits"
            }
            _ if is_sign => "only `today` and `now` take an offset, and only one",
            found if found.starts_with(['"', '\'']) && after_quote => {
                "a quote inside text is written `\\'` or `\\\"`"
            }
            found if found.starts_with('$') && !self.is_value() => {
                "the name of a parameter begins with a letter or `_`"
            }
            _ if self.is_value() && words == ["a field"] && self.expects(Rule::open) => {
                "the field stands on the left; for several values write `in (…)`"
            }
            _ if self.is_value() && words == ["a field"] => "expected a field, without quotes",
            _ if is_comparison
                && self.expects(Rule::connective)
                && !self.expects(Rule::comparison) =>
            {
                "comparisons do not chain: join two of them with `and`"
            }
            _ => match (self.habit(), self.misspelt()) {
                (Some((.., advice)), _) => advice,
                (None, Some(operator)) => return format!("did you mean `{operator}`?"),
                (None, None) => return expected(&words),
            },
        };
        fixed.to_owned()
    }

    /// Whether a key of an order could begin here: a filter could begin with more.
    fn is_order_key(&self) -> bool {
        self.expects(Rule::name) && !self.expects(Rule::open) && !self.expects(Rule::string)
    }

    /// What to write instead, and in which place, where that is evident.
    fn correction(&self) -> Option<(Span, String)> {
        let (found, span, before) = (self.found, self.span, self.before());
        let end = before.len();
        if self.is_after_where() {
            return Some((Span::new(end - "where".len(), span.start), String::new()));
        }
        if let Some(unit) = self.parted_unit() {
            return Some((Span::new(end, span.end), unit.as_str().to_owned()));
        }
        if self.is_parted_time() {
            return Some((Span::new(end, span.end), format!("T{found}Z")));
        }
        if self.is_negated_comparison() {
            let start = strip_word(before, "not")?.len();
            return Some((Span::new(start, span.end), " !=".to_owned()));
        }
        if let Some((_, Some(instead), _)) = self.habit() {
            let rest = self.text.get(span.end..).unwrap_or_default();
            let blanks = rest.len() - rest.trim_ascii_start().len();
            let next = first_token(rest.trim_ascii_start());
            // `starts wiht` is one slip and not two.
            let is_with = instead.ends_with("with") && nearest(next, ["with"]).is_some();
            let length = if is_with { found.len() + blanks + next.len() } else { found.len() };
            return Some((Span::new(span.start, span.start + length), (*instead).to_owned()));
        }
        if let Some(operator) = self.misspelt() {
            return Some((span, operator.to_owned()));
        }
        if before.ends_with(',') && matches!(found, "" | ")") {
            return Some((Span::new(end - 1, end), String::new()));
        }
        if found == "-" && self.is_order_key() {
            let key = first_token(self.text.get(span.end..)?);
            return Some((
                span.to(Span::new(span.end, span.end + key.len())),
                format!("{key} desc"),
            ));
        }
        if self.expects(Rule::list_open) && !found.is_empty() {
            return Some((span, format!("({found})")));
        }
        if !self.is_value() {
            return None;
        }
        if self.expects(Rule::kw_null) {
            let (rest, operator) = match strip_word(before, "not") {
                Some(rest) => (rest, "!="),
                None => (before, "="),
            };
            let start = strip_word(rest, "is")?.len();
            let blank = if start == self.text.len() { "" } else { " " };
            return Some((Span::new(start, end), format!("{blank}{operator}")));
        }
        if self.expects(Rule::comparison) {
            return Some((Span::new(span.start, span.start), "= ".to_owned()));
        }
        if self.expects(Rule::comma) {
            return Some((Span::new(end, end), ",".to_owned()));
        }
        let quote = found.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let is_doubled = end == span.start && before.ends_with(quote);
        is_doubled.then(|| (Span::new(end - 1, end + 1), format!("\\{quote}")))
    }
}

/// What was expected, as advice.
fn expected(words: &[&str]) -> String {
    match words.split_last() {
        None => "nothing can stand here".to_owned(),
        Some((only, [])) => format!("expected {only}"),
        Some((last, others)) => format!("expected {} or {last}", others.join(", ")),
    }
}

/// The text without the word at its end and the blanks before that.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let start = text.len().checked_sub(word.len())?;
    let is_word = text.get(start..)?.eq_ignore_ascii_case(word);
    is_word.then(|| text.get(..start).unwrap_or_default().trim_ascii_end())
}

/// The word, number, string or sign that the text starts with.
pub(super) fn first_token(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return "" };
    let end = match first {
        '"' | '\'' | '`' => {
            let mut escaped = false;
            let is_end = |c: char| {
                let ends = c == first && !escaped;
                escaped = c == '\\' && !escaped && first != '`';
                ends
            };
            text.get(1..).and_then(|body| body.find(is_end)).map_or(text.len(), |end| end + 2)
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

/// Walks the tokens of a text that the grammar has accepted. The grammar decides which token can
/// come next, so a token that is missing or of another kind would be a defect of this file.
struct Builder<'a> {
    text: &'a str,
    tokens: Peekable<Tokens<'a>>,
    /// The end of the last token that was taken.
    end: usize,
    usage: Usage,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

const GRAMMAR_GUARANTEES: &str = "the grammar puts a token here";

impl<'a> Builder<'a> {
    /// Scans the text and has the grammar accept it.
    fn new(rule: Rule, text: &'a str) -> Result<Self, Vec<Fault>> {
        let depth = scan::scan(text)?;
        let pairs = Grammar::parse(rule, text).map_err(|error| vec![unexpected(&error, text)])?;
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

    /// `term ((and | or) term)*`, by precedence: a run of `and`s is one member of the `or`.
    fn expression(&mut self) -> Expr {
        let start = self.tokens.peek().expect(GRAMMAR_GUARANTEES).span.start;
        let mut members: Vec<At<Expr>> = Vec::new();
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

    /// Any number of `not`s and what they deny.
    fn term(&mut self) -> At<Expr> {
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
        let mut term = At::new(expr, Span::new(start, self.end));
        for not in negations.into_iter().rev() {
            let span = not.to(term.span);
            term = At::new(Expr::Not(Box::new(term)), span);
        }
        term
    }

    fn predicate(&mut self) -> Predicate {
        let subject = self.subject();
        let start = subject.span.start;
        let test = self.test(&subject);
        self.usage.predicates += 1;
        if self.usage.predicates == MAX_PREDICATES + 1 {
            let message = "the filter has too many predicates";
            let fault = Fault::new(Code::TooManyPredicates, Span::new(start, self.end), message);
            self.faults.push(fault.help(format!("at most {MAX_PREDICATES} are allowed")));
        }
        Predicate { subject, test }
    }

    /// What is asked of a subject, at the place of its operator.
    fn test(&mut self, subject: &At<Subject>) -> At<Test> {
        let negation = self.next_if(Rule::kw_not);
        let negated = negation.is_some();
        let tail = [Rule::comparison, Rule::kw_between, Rule::kw_in, Rule::matching, Rule::kw_is];
        let Some(operator) = self.tokens.next_if(|next| tail.contains(&next.rule)) else {
            return At::new(Test::Flag, subject.span);
        };
        self.end = operator.span.end;
        let word = self.text(operator.span);
        let test = match operator.rule {
            Rule::kw_is => {
                let negated = self.next_if(Rule::kw_not).is_some();
                let null = self.next();
                return At::new(Test::Null { negated }, operator.span.to(null.span));
            }
            Rule::kw_between => {
                let low = self.operand();
                self.next();
                Test::Between { negated, low, high: self.operand() }
            }
            Rule::kw_in => Test::In { negated, items: self.list() },
            Rule::matching => Test::Match {
                negated,
                matching: Matching::of(word).expect("the grammar knows these three and no other"),
                operand: self.operand(),
            },
            _ => Test::Compare {
                operator: Comparison::of(word).expect("the grammar knows these six and no other"),
                operand: self.operand(),
            },
        };
        let place = negation.map_or(operator.span, |not| not.span.to(operator.span));
        At::new(test, place)
    }

    fn list(&mut self) -> Vec<At<Operand>> {
        let start = self.next().span.start;
        let mut items = Vec::new();
        while self.next_if(Rule::close).is_none() {
            items.push(self.operand());
            self.next_if(Rule::comma);
        }
        self.usage.in_items = self.usage.in_items.max(items.len());
        if items.len() > MAX_IN_ITEMS {
            let place = Span::new(start, self.end);
            let message = format!("the list has {} items", items.len());
            let fault = Fault::new(Code::TooManyItems, place, message);
            self.faults.push(fault.help(format!("at most {MAX_IN_ITEMS} are allowed")));
        }
        items
    }

    fn subject(&mut self) -> At<Subject> {
        let first = self.next();
        let name = self.name(first);
        if self.next_if(Rule::call_open).is_none() {
            let span = name.span;
            return At::new(Subject { function: None, field: name }, span);
        }
        let argument = self.next();
        let field = self.name(argument);
        let close = self.next();
        At::new(Subject { function: Some(name), field }, first.span.to(close.span))
    }

    /// A name: a keyword is one only in backticks.
    fn name(&mut self, token: Token) -> At<String> {
        let Token { span, .. } = token;
        let text = self.text(span);
        let unquoted = text.trim_matches('`');
        if unquoted.len() == text.len() && is_reserved(text) {
            self.faults.push(reserved(text, span));
        }
        At::new(unquoted.to_owned(), span)
    }

    fn operand(&mut self) -> At<Operand> {
        let token = *self.tokens.peek().expect(GRAMMAR_GUARANTEES);
        let (span, text) = (token.span, self.text(token.span));
        let operand = match token.rule {
            Rule::string => Operand::Literal(Literal::Text(self.unescape(text, span.start))),
            Rule::numeric => Operand::Literal(self.numeric(text, span)),
            Rule::parameter => Operand::Parameter(text.trim_start_matches('$').to_owned()),
            _ => return self.word(text),
        };
        self.next();
        At::new(operand, span)
    }

    /// A keyword that is a value, a clock, or a field or function.
    fn word(&mut self, text: &str) -> At<Operand> {
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
            Some(constant) => At::new(constant, self.next().span),
            None => {
                let At { node, span } = self.subject();
                At::new(Operand::Subject(node), span)
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
                // A count parsed from digits is not negative, so it can always be negated.
                let count = if self.text(sign.span) == "-" { -count } else { count };
                return Some(Offset { count, unit });
            }
            (Some(_), Err(_)) if is_count => {
                Fault::new(Code::OutOfRange, duration.span, LEAVES_THE_CALENDAR)
            }
            _ => {
                let message = format!("`{text}` is not a duration");
                let fault = Fault::new(Code::InvalidDuration, duration.span, message)
                    .help("write a count and a unit: 30d, 2w, 6mo or 1y");
                match Unit::meant(word).filter(|_| is_count) {
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

    /// An integer, a date or a timestamp.
    fn numeric(&mut self, text: &str, place: Span) -> Literal {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Literal::Integer).unwrap_or_else(|_| {
                let message = format!("`{text}` does not fit into 64 bits");
                let fault = Fault::new(Code::InvalidNumber, place, message);
                self.faults.push(fault.help(format!(
                    "integers lie between {} and {}",
                    i64::MIN,
                    i64::MAX
                )));
                Literal::Null
            });
        }
        let is_timestamp = text.contains(['T', 't', ':']) && text.contains('-');
        let (code, read) = if is_timestamp {
            (Code::InvalidTimestamp, timestamp(text).map(Literal::Timestamp))
        } else if digits.contains('-') {
            (Code::InvalidDate, date(text).map(Literal::Date))
        } else {
            (Code::InvalidNumber, Err(not_whole(text)))
        };
        read.unwrap_or_else(|misread| {
            self.faults.push(misread.at(code, place));
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
                    self.faults.push(
                        Fault::new(Code::InvalidEscape, place, message)
                            .help("the escapes are \\\\ \\' \\\" \\n \\t and \\uXXXX")
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

    fn order_key(&mut self) -> OrderKey {
        let token = self.next();
        let field = self.name(token);
        let direction = match (self.next_if(Rule::kw_desc), self.next_if(Rule::kw_asc)) {
            (Some(_), _) => Direction::Descending,
            _ => Direction::Ascending,
        };
        OrderKey { field, direction: At::new(direction, Span::new(token.span.end, self.end)) }
    }
}

/// All of the terms, at the place of the first to the last.
fn all(terms: Vec<At<Expr>>) -> At<Expr> {
    let span = terms.iter().map(|term| term.span).reduce(Span::to).unwrap_or_default();
    At::new(Expr::all(terms), span)
}

/// Why what begins like a number is none.
fn not_whole(text: &str) -> Misread {
    let misread = Misread::new(format!("`{text}` is not a whole number"));
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let plain = text.replace('_', "");
    if plain.parse::<i64>().is_ok() {
        return misread.meant(plain, "digits are not grouped");
    }
    if Unit::ALL.iter().any(|known| known.as_str() == unit) {
        return misread.help(format!("a duration stands behind `today` or `now`: today + {text}"));
    }
    misread.help(if text.matches('.').count() == 2 {
        "a date is written YYYY-MM-DD"
    } else if text.contains('.') {
        "numbers are whole"
    } else if text.contains('+') {
        "there is no arithmetic on values"
    } else if text.contains(':') {
        "a timestamp is written 2024-01-31T12:00:00Z"
    } else {
        "a number has decimal digits alone, and a space behind it; text stands in quotes"
    })
}

/// A keyword where a name should stand.
fn reserved(word: &str, place: Span) -> Fault {
    if VALUE_KEYWORDS.iter().any(|value| value.eq_ignore_ascii_case(word)) {
        let message = format!("`{word}` is a value, and a field is expected here");
        return Fault::new(Code::ReservedWord, place, message).help("the field stands on the left");
    }
    let message = format!("`{word}` is a keyword, and a name or a value is expected here");
    Fault::new(Code::ReservedWord, place, message)
        .help(format!("a field of that name is written in backticks: `{word}`"))
}
