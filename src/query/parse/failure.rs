//! Describes the place where the grammar fails: what it expects, what is there, and what to write.

use pest::error::{ErrorVariant, InputLocation};

use super::{Rule, reserved};
use crate::query::ast::{Comparison, Unit, VALUE_KEYWORDS, is_reserved};
use crate::query::diagnostic::{Code, Fault, Span, nearest};
use crate::query::literal::{DATE_LENGTH, PLUS_IS_A_SPACE, date, timestamp};

/// The words for the rules that pest expected, in the order of the message. A rule without words is
/// never the only one that could follow.
const EXPECTATIONS: &[(&[Rule], &[&str])] = &[
    (&[Rule::name], &["a field"]),
    (&[Rule::string, Rule::numeric, Rule::parameter], &["a value"]),
    (&[Rule::list_open], &["a list in parentheses"]),
    (&[Rule::comparison], &["an operator"]),
    (&[Rule::kw_between], &["`between`", "`in`", "`contains`", "`starts with`", "`ends with`"]),
    (&[Rule::duration], &["a duration such as 30d"]),
    (&[Rule::comma], &["`,`"]),
    (&[Rule::close], &["`)`"]),
    (&[Rule::kw_null], &["`null`"]),
    (&[Rule::kw_and], &["`and`"]),
    (&[Rule::connective], &["`and`", "`or`"]),
    (&[Rule::kw_asc], &["`asc`", "`desc`"]),
    (&[Rule::EOI], &["the end"]),
];

/// Words of other languages where the grammar does not expect them: the words, their replacement if
/// it is always the same, and advice.
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
    (&["order", "sort"], None, "use the parameter `order_by` for the order"),
    (&["limit"], None, "use the parameter `limit` for the limit"),
    (&["asc", "desc"], None, "write the direction after the field: `title desc`"),
];

/// Operators of SQL that take a pattern or wildcards.
const PATTERNS: &[&str] = &["like", "ilike", "matches", "regexp", "rlike", "similar"];

/// The message about arithmetic.
pub(super) const NO_ARITHMETIC: &str = "arithmetic is not supported on fields and values";

/// The advice for a duration in hours, minutes or seconds.
pub(super) const NO_HOURS: &str =
    "the smallest unit is a day: write a duration such as 1d, or a timestamp";

/// The place where the grammar fails.
pub(super) struct Failure<'a> {
    text: &'a str,
    /// The rules that could follow.
    expected: Vec<Rule>,
    /// The token there; empty at the end of the text.
    found: &'a str,
    span: Span,
}

/// The byte where the grammar fails.
pub(super) fn place(error: &pest::error::Error<Rule>) -> usize {
    match error.location {
        InputLocation::Pos(start) | InputLocation::Span((start, _)) => start,
    }
}

/// The rules that the grammar expects there.
pub(super) fn expected_rules(error: &pest::error::Error<Rule>) -> Vec<Rule> {
    match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.clone(),
        ErrorVariant::CustomError { .. } => Vec::new(),
    }
}

/// Advice, and the correction if there is one likely correction.
type Advice = (String, Option<(Span, String)>);

impl<'a> Failure<'a> {
    /// Reads the place from pest's error.
    pub(super) fn of(error: &pest::error::Error<Rule>, text: &'a str) -> Self {
        let rest = text.get(place(error)..).unwrap_or_default().trim_ascii_start();
        let (start, found) = (text.len() - rest.len(), first_token(rest));
        let span = Span::new(start, start + found.len());
        Self { text, expected: expected_rules(error), found, span }
    }

    /// Converts to a problem of the text.
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
        let message = match code {
            Code::UnsupportedArithmetic => NO_ARITHMETIC.to_owned(),
            _ => expected(&self.words(), found),
        };
        let fault = Fault::new(code, span, message);
        match self.advice() {
            Some((help, Some((place, text)))) => fault.help(help).suggest(place, text),
            Some((help, None)) => fault.help(help),
            None => fault,
        }
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// The text before the token, without blanks at its end.
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

    /// Whether a key of an order could start here. A condition could start with more.
    fn is_order_key(&self) -> bool {
        self.expects(Rule::name) && !self.expects(Rule::open) && !self.expects(Rule::string)
    }

    /// A keyword directly before, which the grammar has read as a name. Keywords that end an operand
    /// are not such names.
    fn keyword_before(&self) -> Option<(Span, &'a str)> {
        let before = self.before();
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let word = before.get(rest.len()..)?;
        let mut ends_operand = VALUE_KEYWORDS.iter().chain(&["asc", "desc"]);
        let is_operand = ends_operand.any(|known| known.eq_ignore_ascii_case(word));
        let place = Span::new(rest.len(), before.len());
        (is_reserved(word) && !is_operand).then_some((place, word))
    }

    /// The most specific advice.
    fn advice(&self) -> Option<Advice> {
        self.lost_plus()
            .or_else(|| self.slip())
            .or_else(|| self.misplaced())
            .or_else(|| self.habit())
            .or_else(|| self.missing())
    }

    /// The start of the text after the token, and that text without blanks at its start.
    fn rest(&self) -> (usize, &'a str) {
        let rest = self.text.get(self.span.end..).unwrap_or_default();
        let trimmed = rest.trim_ascii_start();
        (self.text.len() - trimmed.len(), trimmed)
    }

    fn is_word(&self) -> bool {
        self.found.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }

    /// A `+` that a URL has turned into a space: before a duration, or before the offset of a
    /// timestamp.
    fn lost_plus(&self) -> Option<Advice> {
        let (found, before) = (self.found, self.before());
        let place = Span::new(before.len(), self.span.end);
        let help = || PLUS_IS_A_SPACE.to_owned();
        let is_clock = |word: &&str| {
            let split =
                before.len().checked_sub(word.len()).and_then(|at| before.split_at_checked(at));
            split.is_some_and(|(rest, last)| last.eq_ignore_ascii_case(word) && ends_word(rest))
        };
        if ["today", "now"].iter().any(is_clock) && found.starts_with(|c: char| c.is_ascii_digit())
        {
            let unit = found.trim_start_matches(|c: char| c.is_ascii_digit());
            if !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return None;
            }
            let digits = found.strip_suffix(unit).unwrap_or(found);
            let known = Unit::ALL.into_iter().find(|known| known.as_str() == unit);
            let unit = known.or_else(|| Unit::of_name(unit));
            let duration = unit.map(|unit| format!(" + {digits}{}", unit.as_str()));
            return Some((help(), duration.map(|duration| (place, duration))));
        }
        let last = before.rsplit(|c: char| c.is_ascii_whitespace() || "(,=<>".contains(c)).next();
        let with_offset = format!("{}+{found}", last?);
        let is_offset = found.contains(':') && timestamp(&with_offset).is_ok();
        is_offset.then(|| (help(), Some((place, format!("+{found}")))))
    }

    /// A small mistake, such as one word written as two, or a sign too many.
    fn slip(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        let end = before.len();
        if before.eq_ignore_ascii_case("where") {
            let place = Span::new(0, span.start);
            let help = "start the filter with its first condition, without `where`";
            return Some((help.to_owned(), Some((place, String::new()))));
        }
        let unit = Unit::ALL.into_iter().find(|unit| unit.as_str() == found);
        let digits = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_after_count = digits.len() < end && digits.trim_ascii_end().ends_with(['+', '-']);
        if is_after_count && Unit::is_too_small(found) {
            return Some((NO_HOURS.to_owned(), None));
        }
        if let Some(unit) = unit.or_else(|| Unit::of_name(found))
            && is_after_count
        {
            let edit = (Span::new(end, span.end), unit.as_str().to_owned());
            return Some(("write the number and its unit as one word: 30d".to_owned(), Some(edit)));
        }
        let date_before = end.checked_sub(DATE_LENGTH).and_then(|start| before.get(start..));
        if found.contains(':') && date_before.is_some_and(|text| date(text).is_ok()) {
            let help = "write a timestamp as one word: 2024-01-31T12:00:00Z".to_owned();
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
            return Some(("write `today` and `now` without parentheses".to_owned(), Some(edit)));
        }
        let quote = found.chars().next().filter(|quote| matches!(quote, '"' | '\''));
        if let Some(quote) = quote
            && before.ends_with(['"', '\''])
            && end == span.start
        {
            let is_doubled = before.ends_with(quote);
            let edit = is_doubled.then(|| (Span::new(end - 1, end + 1), format!("\\{quote}")));
            return Some(("write a quote inside text as `\\'` or `\\\"`".to_owned(), edit));
        }
        None
    }

    /// A token that belongs to another place.
    fn misplaced(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        if found == "="
            && let Some(rest) = strip_word(before, "not")
        {
            let edit = (Span::new(rest.len(), span.end), " !=".to_owned());
            return Some(("write `!=`".to_owned(), Some(edit)));
        }
        if self.is_order_key() && matches!(found, "+" | "-") {
            let (start, rest) = self.rest();
            let key = first_token(rest);
            let place = Span::new(span.start, start + key.len());
            return Some(match found {
                "-" => {
                    let help = "write a descending order as `title desc`".to_owned();
                    (help, Some((place, format!("{key} desc"))))
                }
                _ => {
                    let help = "write an ascending order without a sign".to_owned();
                    (help, Some((place, key.to_owned())))
                }
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
            return Some(("write `in (…)` for several values".to_owned(), Some(edit)));
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
                "write one value; join several conditions with `or`"
            }
            "+" | "-" if self.expects(Rule::string) => {
                "write a number without a sign, or with a `-` directly before its digits"
            }
            "+" | "-" => "only `today` and `now` take an offset, and only one",
            "." => "write the field alone: names have no dots",
            _ if found.starts_with('$') && !self.is_value() => {
                "start the name of a parameter with a letter or `_`"
            }
            _ if is_comparison && self.expects(Rule::open) => {
                "repeat the field after `and` and `or`"
            }
            _ if is_comparison
                && self.expects(Rule::connective)
                && !self.expects(Rule::comparison) =>
            {
                "join two comparisons with `and`"
            }
            _ => return None,
        };
        Some((help.to_owned(), None))
    }

    /// A value where a field is expected: a field in quotes, or a comparison with exchanged sides.
    fn value_for_field(&self) -> Advice {
        let (found, span) = (self.found, self.span);
        if !self.expects(Rule::open) {
            return ("write a field, without quotes".to_owned(), None);
        }
        let (start, rest) = self.rest();
        let operator = first_token(rest);
        let Some(comparison) = Comparison::of(operator) else {
            let help = "put the field on the left; write `in (…)` for several values";
            return (help.to_owned(), None);
        };
        let after = rest.get(operator.len()..).unwrap_or_default();
        let right = first_token(after.trim_ascii_start());
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !is_reserved(text)
        };
        let unquoted = found.trim_matches(['"', '\'']);
        if unquoted.len() < found.len() && is_name(unquoted) {
            let help = "write a field without quotes".to_owned();
            return (help, Some((span, unquoted.to_owned())));
        }
        let help = "put the field on the left".to_owned();
        if !is_name(right) {
            return (help, None);
        }
        let end = start + operator.len() + after.len() - after.trim_ascii_start().len();
        let place = Span::new(span.start, end + right.len());
        let turned = comparison.turned().as_str();
        (help, Some((place, format!("{right} {turned} {found}"))))
    }

    /// A word of another language, or a misspelt word.
    fn habit(&self) -> Option<Advice> {
        let (found, span) = (self.found, self.span);
        let is_found = |word: &&str| word.eq_ignore_ascii_case(found);
        let (next_start, rest) = self.rest();
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
                // `starts wiht` is one mistake and not two.
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
        let likely = nearest(found, known.iter().copied())?;
        Some((format!("did you mean `{likely}`?"), Some((span, likely.to_owned()))))
    }

    /// Something that is missing before this token.
    fn missing(&self) -> Option<Advice> {
        let (found, span, before) = (self.found, self.span, self.before());
        let end = before.len();
        if self.is_word() && self.expects(Rule::connective) && !self.expects(Rule::comparison) {
            return Some(self.word_after_value());
        }
        if let Some(operator) = self.operator_before() {
            return Some((format!("write a field before `{operator}`"), None));
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
            if ["empty", "blank"].iter().any(|word| word.eq_ignore_ascii_case(found)) {
                let is_null = if operator == "=" { "is null" } else { "is not null" };
                let help = format!("write `{operator} \"\"` for an empty text, or `{is_null}`");
                let edit = (Span::new(start, span.end), format!(" {operator} \"\""));
                return Some((help, Some(edit)));
            }
            let help = format!("write `{operator}`, or `is null`");
            let edit = match self.is_word() {
                true => (Span::new(start, span.end), format!(" {operator} \"{found}\"")),
                false => (Span::new(start, end), format!(" {operator}")),
            };
            return Some((help, Some(edit)));
        }
        let (help, edit) = if self.expects(Rule::list_open) && !found.is_empty() {
            ("put the list in parentheses", (span, format!("({found})")))
        } else if !self.is_value() {
            return None;
        } else if self.expects(Rule::comparison) {
            ("add an operator", (Span::new(span.start, span.start), "= ".to_owned()))
        } else if self.expects(Rule::comma) {
            ("separate the items with `,`", (Span::new(end, end), ",".to_owned()))
        } else {
            return None;
        };
        Some((help.to_owned(), Some(edit)))
    }

    /// A word after a complete condition.
    fn word_after_value(&self) -> Advice {
        let before = self.before();
        let is_quoted = before.ends_with(['"', '\'']);
        if is_quoted && before.len() == self.span.start {
            let help =
                "the quote before it ends the text: write a quote inside text as `\\'` or `\\\"`";
            return (help.to_owned(), None);
        }
        let next = first_token(self.rest().1);
        let is_tested = Comparison::of(next).is_some()
            || ["in", "not", "is", "between", "contains", "starts", "ends"]
                .iter()
                .any(|operator| operator.eq_ignore_ascii_case(next));
        if is_tested && (is_quoted || before.ends_with(|c: char| c == ')' || c.is_ascii_digit())) {
            let edit = (Span::new(self.span.start, self.span.start), "and ".to_owned());
            return ("join the conditions with `and` or `or`".to_owned(), Some(edit));
        }
        ("quote text of several words".to_owned(), None)
    }

    /// An operator of another language directly before, which was read as a field.
    fn operator_before(&self) -> Option<&'a str> {
        let before = self.before();
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let word = before.get(rest.len()..)?;
        let is_operator = PATTERNS.iter().any(|operator| operator.eq_ignore_ascii_case(word));
        (is_operator && self.expects(Rule::comparison)).then_some(word)
    }

    /// The words for what the grammar expects.
    fn words(&self) -> Vec<&'static str> {
        EXPECTATIONS
            .iter()
            .filter(|(rules, _)| rules.iter().any(|rule| self.expects(*rule)))
            // A comparison is never expected without the other operators: "an operator" names all.
            .filter(|(rules, _)| !(self.expects(Rule::comparison) && rules == &[Rule::kw_between]))
            .flat_map(|(_, words)| *words)
            .copied()
            .collect()
    }
}

/// Returns the operator and text for a pattern of SQL that has wildcards only at its ends.
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

/// The message for a token that the grammar does not expect; an empty one is the end of the text.
fn expected(words: &[&str], found: &str) -> String {
    let found = match found {
        "" => "the end".to_owned(),
        found => format!("`{found}`"),
    };
    match words.split_last() {
        None => format!("unexpected {found}"),
        Some((only, [])) => format!("expected {only}, found {found}"),
        Some((last, others)) => {
            format!("expected {} or {last}, found {found}", others.join(", "))
        }
    }
}

/// Whether a word could start after the text.
fn ends_word(text: &str) -> bool {
    !text.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '`'))
}

/// Removes a word and the blanks before it from the end of a text.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let start = text.len().checked_sub(word.len())?;
    let is_word = text.get(start..)?.eq_ignore_ascii_case(word);
    is_word.then(|| text.get(..start).unwrap_or_default().trim_ascii_end())
}

/// Returns the word, number, string or sign at the start of a text.
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
