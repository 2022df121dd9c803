//! TOML as a tree of values with their places. Only this file names the parser.

use toml::de::{DeTable, DeValue};

use super::{FLAG_KEYS, Mistake, TEXT_KEYS, quoted};
use crate::query::diagnostic::Span;

/// A value and its place in the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) content: Content,
}

/// A value of TOML.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A date, a time or both, as RFC 3339 writes it.
    Moment(String),
    List(Vec<Node>),
    Table(Table),
    /// What no key takes, by what it is called in a message.
    Other(&'static str),
}

impl Content {
    /// What it is called in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// The entries of a table, in the order of the file.
pub(super) type Table = Vec<Entry>;

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The place of the key.
    pub(super) span: Span,
    pub(super) node: Node,
}

/// Parses a file.
///
/// # Errors
/// Every syntax error.
pub(super) fn parse(source: &str) -> Result<Table, Vec<Mistake>> {
    // The parser limits depth, so that neither it nor `table` below can overflow the stack.
    let (document, errors) = DeTable::parse_recoverable(source);
    if errors.is_empty() {
        return Ok(table(document.into_inner()));
    }
    let mistakes = errors.iter().take(super::MAX_MISTAKES).map(|error| {
        let place = error.span().unwrap_or(source.len()..source.len());
        let place = Span::new(place.start, place.end);
        bare_word(source, place, error.message())
            .unwrap_or_else(|| Mistake::new(place, error.message()))
    });
    Err(mistakes.collect())
}

/// How the messages of the parser about words without quotes start. It takes `integer` for `inf` and `text` for `true`.
const BARE_WORD: [&str; 3] = ["string values must be quoted", "invalid boolean", "invalid float"];

/// Returns the mistake of a value without quotes, with what to write instead.
fn bare_word(source: &str, place: Span, message: &str) -> Option<Mistake> {
    let (before, word) = (source.get(..place.start)?, source.get(place.start..place.end)?.trim());
    let is_value = before.ends_with(|c: char| c.is_whitespace() || matches!(c, '=' | '[' | ','));
    let is_word = word.starts_with(|c: char| c.is_alphabetic());
    if !is_value || !is_word || !BARE_WORD.iter().any(|known| message.starts_with(known)) {
        return None;
    }
    let line = before.rsplit('\n').next().unwrap_or_default().trim_end();
    let key = line.strip_suffix('=').and_then(|line| line.rsplit(['{', ',']).next()).map(str::trim);
    let found = format!("found {} without quotes", quoted(word));
    let in_quotes = serde_json::Value::from(word).to_string();
    let Some(key) = key else {
        let help = format!("write `{in_quotes}`");
        return Some(Mistake::new(place, format!("expected a text in quotes, {found}")).help(help));
    };
    let flag = flag_of(word);
    let (expected, help) = match (flag, TEXT_KEYS.contains(&key), FLAG_KEYS.contains(&key)) {
        (Some(flag), false, true) => ("true or false", format!("write `{key} = {flag}`")),
        (Some(flag), false, false) => (
            "true, false or a text in quotes",
            format!("write `{key} = {flag}`, or `{key} = {in_quotes}` if it is a text"),
        ),
        (None, _, true) => ("true or false", format!("write `{key} = true` or `{key} = false`")),
        _ => ("a text in quotes", format!("write `{key} = {in_quotes}`")),
    };
    Some(Mistake::new(place, format!("`{key}`: expected {expected}, {found}")).help(help))
}

/// Returns the boolean that a word stands for in other formats, such as `yes` in YAML.
pub(super) fn flag_of(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

fn table(entries: DeTable<'_>) -> Table {
    let mut table: Table = entries
        .into_iter()
        .map(|(key, value)| Entry {
            span: span(key.span()),
            key: key.into_inner().into_owned(),
            node: Node { span: span(value.span()), content: content(value.into_inner()) },
        })
        .collect();
    // The parser sorts by key.
    table.sort_by_key(|entry| entry.span.start);
    table
}

fn content(value: DeValue<'_>) -> Content {
    match value {
        DeValue::String(text) => Content::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or(Content::Other("a number beyond 64 bits"), Content::Integer)
        }
        DeValue::Float(_) => Content::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Content::Boolean(flag),
        DeValue::Datetime(moment) => Content::Moment(moment.to_string()),
        DeValue::Array(items) => Content::List(
            items
                .into_iter()
                .map(|item| Node { span: span(item.span()), content: content(item.into_inner()) })
                .collect(),
        ),
        DeValue::Table(entries) => Content::Table(table(entries)),
    }
}

fn span(range: std::ops::Range<usize>) -> Span {
    Span::new(range.start, range.end)
}

/// The place in the file of a part of a string: `string` is the string's place with its quotes, `text` its value and
/// `part` a place in that. Where lines are joined by a backslash it is the place of the whole string.
pub(super) fn place_in_string(source: &str, string: Span, text: &str, part: Span) -> Span {
    offsets_in_string(source, string, text, part).unwrap_or(string)
}

fn offsets_in_string(source: &str, string: Span, text: &str, part: Span) -> Option<Span> {
    let raw = source.get(string.start..string.end)?;
    let quote = raw.chars().next()?;
    let is_long = raw.starts_with(&String::from(quote).repeat(3)) && raw.len() >= 6;
    let mut at = if is_long { 3 } else { 1 };
    if is_long {
        // A line break right after the quotes is not part of the value.
        let rest = raw.get(at..)?;
        at += ["\r\n", "\n"].iter().find(|end| rest.starts_with(**end)).map_or(0, |end| end.len());
    }
    let (mut start, mut end) = (None, None);
    for (offset, expected) in
        text.char_indices().map(|(at, c)| (at, Some(c))).chain([(text.len(), None)])
    {
        if offset >= part.start {
            start.get_or_insert(at);
        }
        if offset >= part.end {
            end.get_or_insert(at);
        }
        let (Some(expected), rest) = (expected, raw.get(at..)?) else { break };
        at += match rest.as_bytes() {
            [b'\\', escape, ..] if quote == '"' => match escape {
                b'x' => 4,
                b'u' => 6,
                b'U' => 10,
                escape if escape.is_ascii_whitespace() => return None,
                _ => 2,
            },
            _ if rest.starts_with(expected) => expected.len_utf8(),
            _ => return None,
        };
    }
    Some(Span::new(string.start + start?, string.start + end?))
}
