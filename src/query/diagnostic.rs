//! Problems of a query: a stable code, a place, a message and advice.
//!
//! A message says what was expected and what was found, and the advice says what to write. In both,
//! names and values of the user are in double quotes, and text of the language is in backticks.

use serde::{Deserialize, Serialize};

/// A half-open range of bytes in the text of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest span that contains both.
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The span `by` bytes further on.
    pub fn shifted(self, by: usize) -> Self {
        Self::new(self.start + by, self.end + by)
    }

    /// Whether the two share a byte, or an empty one lies inside the other.
    pub fn touches(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The stage that reports a problem. Problems of one stage hide those of later stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The scan before the grammar.
    Scan,
    /// The grammar.
    Grammar,
    /// Parsing the values that the grammar has found.
    Values,
    /// Resolving names and types, and binding.
    Names,
}

/// Declares the codes with their meanings, names and stages.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $stage:ident;)+) => {
        /// The kind of a problem or warning. Codes are stable, so clients may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $meaning])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every code with its meaning.
            pub const ALL: &[(Code, &str)] = &[$((Code::$variant, concat!($($meaning),+)),)+];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// The stage that reports it.
            pub(super) fn stage(self) -> Stage {
                match self { $(Code::$variant => Stage::$stage,)+ }
            }
        }
    };
}

codes! {
    /// The text is longer than 8 KiB.
    TextTooLong = "text_too_long", Scan;
    /// More than 32 parentheses and `not`s are open at one place.
    TooDeep = "too_deep", Scan;
    /// The filter has more than 200 predicates.
    TooManyPredicates = "too_many_predicates", Values;
    /// An `in` list has more than 1,000 items.
    TooManyItems = "too_many_items", Values;
    /// The filter or order is present but blank.
    Empty = "empty", Scan;
    /// A string or a quoted name is not closed.
    Unterminated = "unterminated", Scan;
    /// A backslash in a string does not start a known escape.
    InvalidEscape = "invalid_escape", Values;
    /// A character that the language does not use, or U+0000.
    InvalidCharacter = "invalid_character", Scan;
    /// An operator of another language, such as `==` or `&&`.
    ForeignOperator = "foreign_operator", Scan;
    /// A parenthesis that is not matched by another.
    UnbalancedParenthesis = "unbalanced_parenthesis", Scan;
    /// The grammar expects something else at this place.
    UnexpectedToken = "unexpected_token", Grammar;
    /// A keyword where a name is expected.
    ReservedWord = "reserved_word", Grammar;
    /// A number that is not a whole number of 64 bits.
    InvalidNumber = "invalid_number", Values;
    /// A date that is not written YYYY-MM-DD, or is not in the calendar.
    InvalidDate = "invalid_date", Values;
    /// A timestamp that is not RFC 3339, or finer than a microsecond.
    InvalidTimestamp = "invalid_timestamp", Values;
    /// A duration that is not a number and one of d, w, mo, y.
    InvalidDuration = "invalid_duration", Values;
    /// Arithmetic on anything but `today` and `now`.
    UnsupportedArithmetic = "unsupported_arithmetic", Grammar;
    /// The record type has no field of this name.
    UnknownField = "unknown_field", Names;
    /// The language has no function of this name.
    UnknownFunction = "unknown_function", Names;
    /// A value or field of another type than the one it is compared with.
    TypeMismatch = "type_mismatch", Names;
    /// The operator does not exist for fields of this type.
    OperatorMismatch = "operator_mismatch", Names;
    /// A comparison with `null`, which is never true.
    NullComparison = "null_comparison", Names;
    /// A day outside the years 0001 to 9999.
    OutOfRange = "out_of_range", Names;
    /// A list without values, `in ()`.
    EmptyList = "empty_list", Names;
    /// The lower bound of `between` is greater than the upper one.
    ReversedBounds = "reversed_bounds", Names;
    /// Something other than a value or a parameter in a list or text search.
    LiteralExpected = "literal_expected", Names;
    /// The same field twice in one order.
    RepeatedOrderKey = "repeated_order_key", Names;
    /// One parameter is used with fields of different types.
    ConflictingParameter = "conflicting_parameter", Names;
    /// A parameter of the filter has no value.
    MissingParameter = "missing_parameter", Names;
    /// A value for a parameter that the filter does not use.
    UnknownParameter = "unknown_parameter", Names;
    /// The value of a parameter does not have the parameter's type.
    InvalidParameter = "invalid_parameter", Names;
    /// Warning: `and` and `or` are mixed without parentheses.
    MixedAndOr = "mixed_and_or", Names;
}

/// A problem of a query, at a place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of problem.
    pub code: Code,
    /// The place.
    pub span: Span,
    /// What was expected and what was found.
    pub message: String,
    /// What to write instead, if known.
    pub help: Option<String>,
    /// The correction, if there is one likely correction.
    pub edit: Option<Edit>,
}

/// A change of a text, at a place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes to replace; empty for an insertion.
    pub span: Span,
    /// The replacement.
    pub text: String,
}

impl Edit {
    /// Returns a place of the text as it is after the change, without the bytes that were replaced.
    pub fn moved(&self, place: Span) -> Span {
        let moved = |byte: usize| match byte {
            byte if byte <= self.span.start => byte,
            byte if byte < self.span.end => self.span.start,
            byte => byte - self.span.end + self.span.start + self.text.len(),
        };
        Span::new(moved(place.start), moved(place.end))
    }

    /// Returns the changed text and the place of the replacement in it.
    pub fn apply(&self, text: &str) -> (String, Span) {
        let Span { start, end } = self.span;
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(end..).unwrap_or_default();
        (format!("{before}{}{after}", self.text), Span::new(start, start + self.text.len()))
    }
}

impl Fault {
    /// Creates a problem without advice.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None, edit: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a correction.
    #[must_use]
    pub fn suggest(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edit = Some(Edit { span, text: text.into() });
        self
    }

    /// Adds the known name that is nearest to an unknown `name`, or a list of all known names.
    #[must_use]
    pub fn did_you_mean<'a>(
        self,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let span = self.span;
        let likely = nearest(name, known.clone());
        let fault = self.help(did_you_mean(name, known));
        match likely {
            Some(likely) => fault.suggest(span, likely),
            None => fault,
        }
    }

    /// Converts the place to line and column. `parameter` names the text: `filter`, `order_by` or
    /// `p.NAME`, or `filter[2]` for the second of several filters.
    pub fn locate(self, parameter: &str, text: &str) -> Diagnostic {
        let Span { start, end } = self.span;
        let (line, column) = line_and_column(text, start);
        let (end_line, end_column) = line_and_column(text, end);
        let suggestion = self.edit.map(|Edit { span, text }| Suggestion {
            start: count(span.start),
            end: count(span.end),
            text,
        });
        Diagnostic {
            code: self.code,
            parameter: parameter.to_owned(),
            message: self.message,
            help: self.help,
            line,
            column,
            end_line,
            end_column,
            start: count(start.min(text.len())),
            end: count(end.min(text.len())),
            suggestion,
        }
    }
}

/// Converts a place or size for clients. Texts are far shorter than [`i32::MAX`].
pub fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Returns the line and column, both counted from 1, of a byte of the text.
pub(crate) fn line_and_column(text: &str, byte: usize) -> (i32, i32) {
    let before = text.get(..byte.min(text.len())).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (count(before.matches('\n').count() + 1), count(column))
}

/// Why a value could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// What was expected and what was found.
    pub message: String,
    /// What to write instead, if known.
    pub help: Option<String>,
    /// The likely value, as it is written.
    pub likely: Option<String>,
}

impl Misread {
    /// Creates a problem without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, likely: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the likely value, and advice to write it.
    #[must_use]
    pub fn likely(mut self, likely: impl Into<String>, help: impl Into<String>) -> Self {
        self.likely = Some(likely.into());
        self.help(help)
    }

    /// Converts to a problem of a text that has the value at `span`.
    pub fn at(self, code: Code, span: Span) -> Fault {
        let Misread { message, help, likely } = self;
        Fault { code, span, message, help, edit: likely.map(|text| Edit { span, text }) }
    }
}

/// A problem of a query, or a warning, as clients see it. `start` and `end`, also those of the suggestion, are positions
/// in bytes until they are converted for a client that counts in another unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// A stable code to match on.
    pub code: Code,
    /// The text that has the problem: `filter`, `order_by` or `p.NAME`; `filter[2]` is the second of several filters.
    pub parameter: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line where it starts, counted from 1.
    pub line: i32,
    /// The character of that line where it starts, counted from 1.
    pub column: i32,
    /// The line where it ends, counted from 1.
    pub end_line: i32,
    /// The character of that line after its last one, counted from 1.
    pub end_column: i32,
    /// The byte of the text where it starts, counted from 0.
    pub start: i32,
    /// The byte of the text after its last one.
    pub end: i32,
    /// A correction, if there is one likely correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
}

/// A change of the text that removes a problem. It has been checked: with the change, the condition
/// that it changes has no new problem. Quotes, parentheses and operators of other languages may need
/// the suggestions of the other problems too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The first byte of the text to replace, counted from 0.
    pub start: i32,
    /// The byte after the last one to replace; equal to `start` for an insertion.
    pub end: i32,
    /// The replacement.
    pub text: String,
}

/// The shortest prefix of a name that is taken for the name.
const MIN_PREFIX: usize = 4;

/// Returns the known name that `name` most likely represents: the nearest within two edits, or else
/// the first that starts with it.
pub fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let starts = |candidate: &&str| name.len() >= MIN_PREFIX && candidate.starts_with(name);
    known
        .clone()
        .into_iter()
        // A distance is at least the difference in length; this keeps long nonsense cheap.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= 2)
        .map(|candidate| (strsim::osa_distance(&name.to_ascii_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| known.into_iter().find(starts))
}

/// Advice for an unknown name: the nearest known name, or a list of all.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(candidate) => format!("did you mean \"{candidate}\"?"),
        None => match known.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => "expected none".to_owned(),
            names => format!("expected one of: {names}"),
        },
    }
}
