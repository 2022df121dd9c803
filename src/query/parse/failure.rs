//! The place where the grammar could not go on, told in words: what is there, what could be, and what
//! was probably meant.

use pest::error::{ErrorVariant, InputLocation};

use super::{Rule, reserved};
use crate::query::ast::{Comparison, Unit, VALUE_KEYWORDS, is_reserved};
use crate::query::diagnostic::{Code, Fault, Span, nearest};
use crate::query::literal::date;

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
        &["has", "includes", "include", "including", "contain", "containing"],
        Some("contains"),
        "write `contains`, `starts with` or `ends with`",
    ),
    (
        &["startswith", "starts_with", "starts", "start", "begins", "begin", "beginning"],
        Some("starts with"),
        "write `starts with`",
    ),
    (&["endswith", "ends_with", "ends", "end", "ending"], Some("ends with"), "write `ends with`"),
    (&["equals", "equal", "eq"], Some("="), "write `=`"),
    (&["ne", "neq"], Some("!="), "write `!=`"),
    (&["lt", "before"], Some("<"), "write `<`"),
    (&["lte", "le"], Some("<="), "write `<=`"),
    (&["gt", "after"], Some(">"), "write `>`"),
    (&["gte", "ge"], Some(">="), "write `>=`"),
    (&["isnull"], Some("is null"), "write `is null`"),
    (&["adn", "nad", "annd", "andd"], Some("and"), "did you mean `and`?"),
    (&["ro", "orr"], Some("or"), "did you mean `or`?"),
    (&["ascending"], Some("asc"), "write `asc`, or nothing"),
    (&["descending"], Some("desc"), "write `desc`"),
    (&["order", "sort"], None, "the order is a parameter of its own, `order_by`"),
    (&["limit"], None, "the limit is a parameter of its own, `limit`"),
    (&["asc", "desc"], None, "the direction stands behind the field: `title desc`"),
];

/// Operators of SQL whose text has wildcards or a pattern, and what they are told.
const PATTERNS: &[&str] = &["like", "ilike", "matches", "regexp", "rlike", "similar"];

/// What is said of arithmetic, here and where values are read.
pub(super) const NO_ARITHMETIC: &str = "there is no arithmetic on fields and values";

/// How a date is written: YYYY-MM-DD.
const DATE_LENGTH: usize = 10;

/// What stands where the grammar could not go on.
pub(super) struct Failure<'a> {
    text: &'a str,
    /// The rules that could go on.
    expected: Vec<Rule>,
    /// The token that is there; empty at the end of the text.
    found: &'a str,
    span: Span,
}

/// The byte where the grammar could not go on.
pub(super) fn place(error: &pest::error::Error<Rule>) -> usize {
    match error.location {
        InputLocation::Pos(start) | InputLocation::Span((start, _)) => start,
    }
}

/// The rules that could have gone on there.
pub(super) fn expected_rules(error: &pest::error::Error<Rule>) -> Vec<Rule> {
    match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.clone(),
        ErrorVariant::CustomError { .. } => Vec::new(),
    }
}

/// Advice, and the change of the text that follows it where one is evident.
type Advice = (String, Option<(Span, String)>);

impl<'a> Failure<'a> {
    /// Reads pest's error on the text.
    pub(super) fn of(error: &pest::error::Error<Rule>, text: &'a str) -> Self {
        let rest = text.get(place(error)..).unwrap_or_default().trim_ascii_start();
        let (start, found) = (text.len() - rest.len(), first_token(rest));
        let span = Span::new(start, start + found.len());
        Self { text, expected: expected_rules(error), found, span }
    }

    /// The same as a problem of the text.
    pub(super) fn fault(&self) -> Fault {
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
        let (help, edit) = self.advice();
        let fault = Fault::new(code, span, message).help(help);
        match edit {
            Some((place, text)) => fault.suggest(place, text),
            None => fault,
        }
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// What stands before, without blanks at its end.
    fn before(&self) -> &'a str {
        self.text.get(..self.span.start).unwrap_or_default().trim_ascii_end()
    }

    fn is_value(&self) -> bool {
        let mut characters = self.found.chars();
        match characters.next() {
            Some('$') => characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_'),
            first => first.is_some_and(|c| c.is_ascii_digit() || matches!(c, '"' | '\'')),
        }
    }

    /// Whether a key of an order could begin here: a filter could begin with more.
    fn is_order_key(&self) -> bool {
        self.expects(Rule::name) && !self.expects(Rule::open) && !self.expects(Rule::string)
    }

    /// A keyword directly before, which the grammar can only have read as a name: none of these
    /// ends an operand.
    fn keyword_before(&self) -> Option<(Span, &'a str)> {
        let before = self.before();
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let word = before.get(rest.len()..)?;
        let mut ends_operand = VALUE_KEYWORDS.iter().chain(&["asc", "desc"]);
        let is_operand = ends_operand.any(|known| known.eq_ignore_ascii_case(word));
        let place = Span::new(rest.len(), before.len());
        (is_reserved(word) && !is_operand).then_some((place, word))
    }

    /// What was probably meant, tried from the particular to the general.
    fn advice(&self) -> Advice {
        self.slip()
            .or_else(|| self.misplaced())
            .or_else(|| self.habit())
            .or_else(|| self.missing())
            .unwrap_or_else(|| (expected(&self.words()), None))
    }

    /// The text behind the token, without blanks at its beginning, and where it begins.
    fn behind(&self) -> (usize, &'a str) {
        let rest = self.text.get(self.span.end..).unwrap_or_default();
        let trimmed = rest.trim_ascii_start();
        (self.text.len() - trimmed.len(), trimmed)
    }

    fn is_word(&self) -> bool {
        self.found.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }

    /// A slip of the pen: one word written as two, or a sign too many.
    fn slip(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        let end = before.len();
        if before.eq_ignore_ascii_case("where") {
            let place = Span::new(0, span.start);
            let help = "a filter begins with its first condition, without `where`";
            return Some((help.to_owned(), Some((place, String::new()))));
        }
        let unit = Unit::ALL.into_iter().find(|unit| unit.as_str() == found);
        let digits = before.trim_end_matches(|c: char| c.is_ascii_digit());
        if let Some(unit) = unit.or_else(|| Unit::meant(found))
            && digits.len() < end
            && digits.trim_ascii_end().ends_with(['+', '-'])
        {
            let edit = (Span::new(end, span.end), unit.as_str().to_owned());
            return Some(("a count and its unit are one word, as in 30d".to_owned(), Some(edit)));
        }
        let date_before = end.checked_sub(DATE_LENGTH).and_then(|start| before.get(start..));
        if found.contains(':') && date_before.is_some_and(|text| date(text).is_ok()) {
            let help = "a timestamp is one word, as in 2024-01-31T12:00:00Z".to_owned();
            return Some((help, Some((Span::new(end, span.end), format!("T{found}Z")))));
        }
        if before.ends_with(',') && matches!(found, "" | ")") {
            let edit = (Span::new(end - 1, end), String::new());
            return Some(("remove the comma before it".to_owned(), Some(edit)));
        }
        if found == ")"
            && let Some(clock) = before.strip_suffix('(')
            && let clock = clock.trim_ascii_end()
            && VALUE_KEYWORDS.iter().any(|word| strip_word(clock, word).is_some())
        {
            let edit = (Span::new(clock.len(), span.end), String::new());
            return Some(("`today` and `now` have no parentheses".to_owned(), Some(edit)));
        }
        let quote = found.chars().next().filter(|quote| matches!(quote, '"' | '\''));
        if let Some(quote) = quote
            && before.ends_with(['"', '\''])
            && end == span.start
        {
            let is_doubled = before.ends_with(quote);
            let edit = is_doubled.then(|| (Span::new(end - 1, end + 1), format!("\\{quote}")));
            return Some(("a quote inside text is written `\\'` or `\\\"`".to_owned(), edit));
        }
        None
    }

    /// Something that exists, but not in this place.
    fn misplaced(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        if found == "="
            && let Some(rest) = strip_word(before, "not")
        {
            let edit = (Span::new(rest.len(), span.end), " !=".to_owned());
            return Some(("write `!=`".to_owned(), Some(edit)));
        }
        if self.is_order_key() && matches!(found, "+" | "-") {
            let (start, rest) = self.behind();
            let key = first_token(rest);
            let place = Span::new(span.start, start + key.len());
            return Some(match found {
                "-" => {
                    let help = "a descending order is written `title desc`".to_owned();
                    (help, Some((place, format!("{key} desc"))))
                }
                _ => ("an ascending order has no sign".to_owned(), Some((place, key.to_owned()))),
            });
        }
        if found == "("
            && self.expects(Rule::string)
            && let Some(rest) = before.strip_suffix('=')
        {
            let (rest, operator) = match rest.strip_suffix('!') {
                Some(rest) => (rest, "not in "),
                None => (rest, "in "),
            };
            let edit = (Span::new(rest.len(), span.start), operator.to_owned());
            return Some(("for several values write `in (…)`".to_owned(), Some(edit)));
        }
        if found == ":" && self.expects(Rule::comparison) {
            return Some(("write `=`".to_owned(), Some((span, "=".to_owned()))));
        }
        if self.expects(Rule::kw_and) && matches!(found, "," | "to" | "TO") {
            let edit = (Span::new(before.len(), span.end), " and".to_owned());
            return Some(("write `between 1990 and 1999`".to_owned(), Some(edit)));
        }
        if self.is_value() && self.words() == ["a field"] {
            return Some(self.value_for_field());
        }
        let is_comparison = Comparison::ALL.iter().any(|c| found == c.as_str());
        let help = match found {
            "(" if self.expects(Rule::string) => {
                "one value is expected: join several tests with `or`"
            }
            "+" | "-" if self.expects(Rule::string) => {
                "a number has no sign, or a `-` directly before its digits"
            }
            "+" | "-" => "only `today` and `now` take an offset, and only one",
            "." => "names have no dots",
            _ if found.starts_with('$') && !self.is_value() => {
                "the name of a parameter begins with a letter or `_`"
            }
            _ if is_comparison && self.expects(Rule::open) => {
                "each condition names its field: repeat it behind `and` and `or`"
            }
            _ if is_comparison
                && self.expects(Rule::connective)
                && !self.expects(Rule::comparison) =>
            {
                "comparisons do not chain: join two of them with `and`"
            }
            _ => return None,
        };
        Some((help.to_owned(), None))
    }

    /// A value where a field should stand: a field in quotes, or a comparison the other way round.
    fn value_for_field(&self) -> Advice {
        let (found, span) = (self.found, self.span);
        if !self.expects(Rule::open) {
            return ("expected a field, without quotes".to_owned(), None);
        }
        let (start, rest) = self.behind();
        let operator = first_token(rest);
        let Some(comparison) = Comparison::of(operator) else {
            let help = "the field stands on the left; for several values write `in (…)`";
            return (help.to_owned(), None);
        };
        let behind = rest.get(operator.len()..).unwrap_or_default();
        let right = first_token(behind.trim_ascii_start());
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !is_reserved(text)
        };
        let unquoted = found.trim_matches(['"', '\'']);
        if unquoted.len() < found.len() && is_name(unquoted) {
            let help = "a field stands without quotes".to_owned();
            return (help, Some((span, unquoted.to_owned())));
        }
        let help = "the field stands on the left".to_owned();
        if !is_name(right) {
            return (help, None);
        }
        let end = start + operator.len() + behind.len() - behind.trim_ascii_start().len();
        let place = Span::new(span.start, end + right.len());
        let turned = comparison.turned().as_str();
        (help, Some((place, format!("{right} {turned} {found}"))))
    }

    /// A word of another language, or one that is misspelt.
    fn habit(&self) -> Option<Advice> {
        let (found, span) = (self.found, self.span);
        let is_found = |word: &&str| word.eq_ignore_ascii_case(found);
        let (next_start, rest) = self.behind();
        let next = first_token(rest);
        if PATTERNS.iter().any(is_found) {
            let help =
                "write `contains`, `starts with` or `ends with`, without wildcards".to_owned();
            let operation = without_wildcards(next);
            let place = Span::new(span.start, next_start + next.len());
            return Some((help, operation.map(|operation| (place, operation))));
        }
        if let Some((_, instead, help)) =
            HABITS.iter().find(|(words, ..)| words.iter().any(is_found))
        {
            let edit = instead.map(|instead| {
                // `starts wiht` is one slip and not two.
                let is_with = instead.ends_with("with") && nearest(next, ["with"]).is_some();
                let end = if is_with { next_start + next.len() } else { span.end };
                (Span::new(span.start, end), instead.to_owned())
            });
            return Some(((*help).to_owned(), edit));
        }
        let known: &[&str] = if self.expects(Rule::comparison) {
            &["between", "contains"]
        } else if self.expects(Rule::kw_desc) {
            &["desc", "asc"]
        } else {
            &[]
        };
        let meant = nearest(found, known.iter().copied())?;
        Some((format!("did you mean `{meant}`?"), Some((span, meant.to_owned()))))
    }

    /// Something that was left out before this token.
    fn missing(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        let end = before.len();
        if self.is_word() && self.expects(Rule::connective) && !self.expects(Rule::comparison) {
            return Some(self.word_behind_value());
        }
        if let Some(operator) = self.operator_before() {
            return Some((format!("a field is missing before `{operator}`"), None));
        }
        if self.expects(Rule::kw_null) && (self.is_value() || self.is_word()) {
            if let Some(null) = nearest(found, ["null"]) {
                return Some(("did you mean `null`?".to_owned(), Some((span, null.to_owned()))));
            }
            let (rest, operator) = match strip_word(before, "not") {
                Some(rest) => (rest, "!="),
                None => (before, "="),
            };
            let start = strip_word(rest, "is")?.len();
            let help = format!("write `{operator}`, or `is null`");
            let edit = match self.is_word() {
                true => (Span::new(start, span.end), format!(" {operator} \"{found}\"")),
                false => (Span::new(start, end), format!(" {operator}")),
            };
            return Some((help, Some(edit)));
        }
        let edit = if self.expects(Rule::list_open) && !found.is_empty() {
            (span, format!("({found})"))
        } else if !self.is_value() {
            return None;
        } else if self.expects(Rule::comparison) {
            (Span::new(span.start, span.start), "= ".to_owned())
        } else if self.expects(Rule::comma) {
            (Span::new(end, end), ",".to_owned())
        } else {
            return None;
        };
        Some((expected(&self.words()), Some(edit)))
    }

    /// A word where a condition is complete.
    fn word_behind_value(&self) -> Advice {
        let before = self.before();
        let is_quoted = before.ends_with(['"', '\'']);
        if is_quoted && before.len() == self.span.start {
            let help = "this quote ended the text: inside of it a quote is written `\\'` or `\\\"`";
            return (help.to_owned(), None);
        }
        let next = first_token(self.behind().1);
        let is_tested = Comparison::of(next).is_some()
            || ["in", "not", "is", "between", "contains", "starts", "ends"]
                .iter()
                .any(|operator| operator.eq_ignore_ascii_case(next));
        if is_tested && (is_quoted || before.ends_with(|c: char| c == ')' || c.is_ascii_digit())) {
            let edit = (Span::new(self.span.start, self.span.start), "and ".to_owned());
            return ("join the conditions with `and` or `or`".to_owned(), Some(edit));
        }
        ("text of several words stands in quotes".to_owned(), None)
    }

    /// A word directly before that is an operator elsewhere, and that was read as a field.
    fn operator_before(&self) -> Option<&'a str> {
        let before = self.before();
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let word = before.get(rest.len()..)?;
        let is_operator = PATTERNS.iter().any(|operator| operator.eq_ignore_ascii_case(word));
        (is_operator && self.expects(Rule::comparison)).then_some(word)
    }

    /// What was expected, in words.
    fn words(&self) -> Vec<&'static str> {
        EXPECTATIONS
            .iter()
            .filter(|(rules, _)| rules.iter().any(|rule| self.expects(*rule)))
            // `comparison` brings all its siblings along; naming each of them would hide the point.
            .filter(|(rules, _)| !(self.expects(Rule::comparison) && rules == &[Rule::kw_between]))
            .map(|(_, words)| *words)
            .collect()
    }
}

/// What a pattern of SQL looks for, where it has wildcards at its ends alone.
fn without_wildcards(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let body = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    let (from, to) = (body.strip_prefix('%'), body.strip_suffix('%'));
    let (operator, text) = match (from, to) {
        (Some(_), Some(_)) => ("contains", body.get(1..body.len().checked_sub(1)?)?),
        (Some(text), None) => ("ends with", text),
        (None, Some(text)) => ("starts with", text),
        (None, None) => ("contains", body),
    };
    let is_plain = !text.contains(['%', '_', '*', '^', '$', '.', '[', '\\']);
    is_plain.then(|| format!("{operator} {quote}{text}{quote}"))
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
pub(in crate::query) fn first_token(text: &str) -> &str {
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
        '<' | '>' | '!' if text.get(1..).is_some_and(|rest| rest.starts_with('=')) => 2,
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '$') => {
            let body = text.get(1..).unwrap_or_default();
            let is_end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':'));
            body.find(is_end).map_or(text.len(), |end| end + 1)
        }
        c => c.len_utf8(),
    };
    text.get(..end).unwrap_or(text)
}
