//! What is wrong with a query: a stable code, a place, a sentence and what to do about it.

use serde::{Deserialize, Serialize};

/// A half-open range of bytes in the text a query was read from.
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

    /// The smallest span that holds both.
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Whether the two share a byte, or an empty one lies inside the other.
    pub fn touches(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The stage that reports a problem. Problems of one stage hide those of the later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The scan before the grammar.
    Scan,
    /// The grammar.
    Grammar,
    /// Reading the values that the grammar has found.
    Values,
    /// Resolving names and types, and binding.
    Names,
}

/// Declares the codes: the meaning of each, its name and its stage.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $stage:ident;)+) => {
        /// Why a query was refused, or what it was warned of. Codes are stable: clients may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $meaning])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every code, with what it means.
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
    /// A string or a quoted name is never closed.
    Unterminated = "unterminated", Scan;
    /// A backslash in a string is not followed by one of the known escapes.
    InvalidEscape = "invalid_escape", Values;
    /// A character that has no meaning in the language, or U+0000.
    InvalidCharacter = "invalid_character", Scan;
    /// An operator of another language, such as `==` or `&&`.
    ForeignOperator = "foreign_operator", Scan;
    /// A parenthesis without its partner.
    UnbalancedParenthesis = "unbalanced_parenthesis", Scan;
    /// Something else was expected at this place.
    UnexpectedToken = "unexpected_token", Grammar;
    /// A keyword stands where a name should.
    ReservedWord = "reserved_word", Grammar;
    /// A number that is not a whole number of 64 bits.
    InvalidNumber = "invalid_number", Values;
    /// A date that is not written YYYY-MM-DD, or not in the calendar.
    InvalidDate = "invalid_date", Values;
    /// A timestamp that is not RFC 3339, or finer than a microsecond.
    InvalidTimestamp = "invalid_timestamp", Values;
    /// A duration that is not a count and one of d, w, mo, y.
    InvalidDuration = "invalid_duration", Values;
    /// Arithmetic on anything but `today` and `now`.
    UnsupportedArithmetic = "unsupported_arithmetic", Grammar;
    /// The record has no such field.
    UnknownField = "unknown_field", Names;
    /// There is no such function.
    UnknownFunction = "unknown_function", Names;
    /// A value or field of another type than the one it meets.
    TypeMismatch = "type_mismatch", Names;
    /// The operator does not exist for fields of this type.
    OperatorMismatch = "operator_mismatch", Names;
    /// A comparison with `null`, which is neither true nor false of anything.
    NullComparison = "null_comparison", Names;
    /// A value that cannot be held by the field, or a day outside the years 0001 to 9999.
    OutOfRange = "out_of_range", Names;
    /// `in ()` holds nothing.
    EmptyList = "empty_list", Names;
    /// The bounds of `between` are the wrong way round.
    ReversedBounds = "reversed_bounds", Names;
    /// A place that takes only a literal or a parameter.
    LiteralExpected = "literal_expected", Names;
    /// The same field twice in one order.
    RepeatedOrderKey = "repeated_order_key", Names;
    /// One parameter is used with fields of different types.
    ConflictingParameter = "conflicting_parameter", Names;
    /// A parameter of the filter was given no value.
    MissingParameter = "missing_parameter", Names;
    /// A value was given for a parameter that the filter does not use.
    UnknownParameter = "unknown_parameter", Names;
    /// The value of a parameter is not of its type.
    InvalidParameter = "invalid_parameter", Names;
    /// Warning: `and` and `or` are mixed without parentheses.
    MixedAndOr = "mixed_and_or", Names;
}

/// A problem found in a query, at a place given in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of problem.
    pub code: Code,
    /// Where.
    pub span: Span,
    /// One sentence on what was found.
    pub message: String,
    /// What to write instead, where that can be said.
    pub help: Option<String>,
    /// The same as a change of the text, where one is evident.
    pub edit: Option<Edit>,
}

/// A change of a text, at a place given in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; nothing when it is empty.
    pub span: Span,
    /// By what.
    pub text: String,
}

impl Edit {
    /// Where a place of the text is after the change, as far as it is still there.
    pub fn moved(&self, place: Span) -> Span {
        let moved = |byte: usize| match byte {
            byte if byte <= self.span.start => byte,
            byte if byte < self.span.end => self.span.start,
            byte => byte - self.span.end + self.span.start + self.text.len(),
        };
        Span::new(moved(place.start), moved(place.end))
    }

    /// The text with the change, and where in it the change is.
    pub fn apply(&self, text: &str) -> (String, Span) {
        let Span { start, end } = self.span;
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(end..).unwrap_or_default();
        (format!("{before}{}{after}", self.text), Span::new(start, start + self.text.len()))
    }
}

impl Fault {
    /// A problem without advice.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None, edit: None }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same problem with a change of the text that mends it.
    #[must_use]
    pub fn suggest(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edit = Some(Edit { span, text: text.into() });
        self
    }

    /// The same problem, which is an unknown name, with the one that was probably meant, or else
    /// all there are.
    #[must_use]
    pub fn did_you_mean<'a>(
        self,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let span = self.span;
        let meant = nearest(name, known.clone());
        let fault = self.help(did_you_mean(name, known));
        match meant {
            Some(meant) => fault.suggest(span, meant),
            None => fault,
        }
    }

    /// Places the problem in the text it was found in. `parameter` names the text: `filter`,
    /// `order_by`, or a bind parameter.
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

/// A place or a size as clients see it. Texts are far shorter than what fits.
pub fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The line and the character of it that a byte of the text is in, both counted from 1.
pub(crate) fn line_and_column(text: &str, byte: usize) -> (i32, i32) {
    let before = text.get(..byte.min(text.len())).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (count(before.matches('\n').count() + 1), count(column))
}

/// Why a value could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// One sentence on what was found.
    pub message: String,
    /// What to write instead, where that can be said.
    pub help: Option<String>,
    /// The value that was probably meant, as it is written.
    pub meant: Option<String>,
}

impl Misread {
    /// A value that could not be read.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, meant: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with the value that was probably meant, and advice to write that.
    #[must_use]
    pub fn meant(mut self, meant: impl Into<String>, help: impl Into<String>) -> Self {
        self.meant = Some(meant.into());
        self.help(help)
    }

    /// The same as a problem of a text that has the value at a place.
    pub fn at(self, code: Code, span: Span) -> Fault {
        let Misread { message, help, meant } = self;
        Fault { code, span, message, help, edit: meant.map(|text| Edit { span, text }) }
    }
}

/// A problem with a query, or a warning about one, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// A stable code to match on.
    pub code: Code,
    /// Which text it is about: `filter`, `order_by` or `p.NAME`.
    pub parameter: String,
    /// One sentence on what was found.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line it starts on, counted from 1.
    pub line: i32,
    /// The character of that line it starts on, counted from 1.
    pub column: i32,
    /// The line it ends on, counted from 1.
    pub end_line: i32,
    /// One past the last character of that line it covers, counted from 1.
    pub end_column: i32,
    /// The byte of the text it starts on, counted from 0.
    pub start: i32,
    /// One past the last byte of the text it covers.
    pub end: i32,
    /// A change of the text that mends it, where one is evident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
}

/// A change of the text a problem was found in. It has been tried: the text with it is free of the
/// problem. Quotes, parentheses and operators of other languages may need the changes of the other
/// problems with it, as the second of a pair does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The first byte of the text to replace, counted from 0.
    pub start: i32,
    /// One past the last byte to replace; `start` when the text is only added.
    pub end: i32,
    /// What to put there.
    pub text: String,
}

/// The shortest beginning of a name that is taken for the name.
const MIN_PREFIX: usize = 4;

/// The name among `known` that `name` was probably meant to be: the nearest within two edits, or
/// else the first that begins with it.
pub fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let begins = |candidate: &&str| name.len() >= MIN_PREFIX && candidate.starts_with(name);
    known
        .clone()
        .into_iter()
        // A distance is at least the difference in length; this keeps long nonsense cheap.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= 2)
        .map(|candidate| (strsim::osa_distance(&name.to_ascii_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| known.into_iter().find(begins))
}

/// Advice for an unknown name: the one that was probably meant, or else all there are.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => match known.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => "there are none here".to_owned(),
            names => format!("there are: {names}"),
        },
    }
}
