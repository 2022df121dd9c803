//! Values of files as people have them, and the values of fields that they mean.
//!
//! The API is strict about types, because a program that sends `"2000"` for a number has a defect. A file has what a
//! spreadsheet or another program made of a value, so an import reads every form that has one meaning only.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta};

use super::dates::{Form, Order, date};
use super::formula::{guarded, unguarded};
use crate::query::text::{is_blank, trimmed};
use crate::query::{Argument, Field, Type};

/// The first and the last serial day that is read as a date: 1927-05-18 and 9999-12-31. Smaller numbers in a column of
/// dates are rather years.
const SERIAL_DAYS: std::ops::RangeInclusive<i64> = 10_000..=2_958_465;

/// A value of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    /// A cell of CSV, or an empty one of a workbook. A text may have an apostrophe before it.
    Plain(Cow<'a, str>),
    /// A text of JSON or of a workbook.
    Text(Cow<'a, str>),
    Integer(i64),
    /// A number that is not an integer of 64 bits.
    Number(f64),
    Boolean(bool),
    /// A day and a time of a workbook, without a time zone.
    Moment(NaiveDateTime),
    Null,
    /// A value that no field has, by the name of its kind.
    Other(&'static str),
}

/// Why a cell has no value for a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Misfit {
    /// What is expected, for example `expected a date (YYYY-MM-DD)`.
    pub(super) expected: String,
    /// What was found, as a message shows it.
    pub(super) found: String,
    /// For a date in another order, the orders in which it is a day of the calendar.
    pub(super) orders: Vec<Order>,
}

impl Misfit {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), orders: Vec::new() }
    }

    /// A second value for a field in one row.
    pub(super) fn repeated(column: &str) -> Self {
        Self::new("expected one value for the field", format!("another in {}", shown(column)))
    }

    /// Returns the message.
    pub(super) fn detail(&self) -> String {
        format!("{}, found {}", self.expected, self.found)
    }
}

/// What a field gets from a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// The value; `None` if the cell is empty and the field cannot be null. It then gets its default.
    pub(super) value: Option<Argument>,
    /// Whether outer white space of a text was removed, or line breaks in it.
    pub(super) is_trimmed: bool,
}

impl Cell<'_> {
    /// Returns the cell with texts of its own.
    pub(super) fn into_owned(self) -> Cell<'static> {
        match self {
            Cell::Plain(text) => Cell::Plain(Cow::Owned(text.into_owned())),
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Integer(number) => Cell::Integer(number),
            Cell::Number(number) => Cell::Number(number),
            Cell::Boolean(flag) => Cell::Boolean(flag),
            Cell::Moment(moment) => Cell::Moment(moment),
            Cell::Null => Cell::Null,
            Cell::Other(kind) => Cell::Other(kind),
        }
    }

    /// Returns whether the cell shows nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Cell::Plain(text) | Cell::Text(text) => is_blank(text),
            Cell::Null => true,
            _ => false,
        }
    }

    /// Returns the cell as the name of a column.
    pub(super) fn into_name(self) -> String {
        match self {
            Cell::Plain(text) | Cell::Text(text) => trimmed(&text).to_owned(),
            Cell::Integer(number) => number.to_string(),
            Cell::Number(number) => number.to_string(),
            Cell::Boolean(flag) => flag.to_string(),
            Cell::Moment(moment) => moment.date().to_string(),
            Cell::Null | Cell::Other(_) => String::new(),
        }
    }

    /// Returns the cell as one of CSV that an import reads as it does this one.
    pub(super) fn to_csv(&self) -> String {
        match self {
            // An apostrophe would make a text of a negative number.
            Cell::Text(text) if integer(text).is_none() => guarded(text),
            Cell::Plain(text) | Cell::Text(text) => text.to_string(),
            Cell::Integer(number) => number.to_string(),
            Cell::Number(number) => number.to_string(),
            Cell::Boolean(flag) => flag.to_string(),
            Cell::Moment(moment) if moment.time() == NaiveTime::MIN => moment.date().to_string(),
            Cell::Moment(moment) => rfc3339(*moment),
            Cell::Null | Cell::Other(_) => String::new(),
        }
    }

    /// Returns the value that the cell means in a field. Dates are read in this order, if their year comes last.
    ///
    /// # Errors
    /// The cell has no such meaning, or several.
    pub(super) fn fit(self, field: &Field, order: Option<Order>) -> Result<Fit, Misfit> {
        if self.is_empty() {
            let value = self.nothing(field);
            return Ok(Fit { value, is_trimmed: false });
        }
        let is_trimmed = match &self {
            Cell::Plain(text) | Cell::Text(text) if field.ty == Type::Text => {
                trimmed(text).len() < text.len() || text.contains(BREAKS)
            }
            _ => false,
        };
        let value = match field.ty {
            Type::Text => self.into_text(),
            Type::Integer => self.into_integer(),
            Type::Boolean => self.into_boolean(),
            Type::Date => self.into_date(order).map(|day| Argument::Untyped(day.to_string())),
            Type::Timestamp => self.into_timestamp(),
            Type::Id => self.into_id(),
        }?;
        Ok(Fit { value: Some(value), is_trimmed })
    }

    /// Returns what a field gets from a cell that shows nothing: the empty text, if it is a value of the field and the cell
    /// can mean it, or else null. In a table, an empty cell of a field that can be null is null.
    fn nothing(&self, field: &Field) -> Option<Argument> {
        let has_empty_text = field.ty == Type::Text && field.bounds.contains(&0);
        match self {
            Cell::Text(text) if text.is_empty() && has_empty_text => {
                Some(Argument::Untyped(String::new()))
            }
            Cell::Plain(text) if text.is_empty() && has_empty_text && !field.nullable => {
                Some(Argument::Untyped(String::new()))
            }
            _ => field.nullable.then_some(Argument::NULL),
        }
    }

    /// Returns the year of the date that the cell means.
    ///
    /// # Errors
    /// The cell is no date, or could be several.
    pub(super) fn year(self, order: Option<Order>) -> Result<Cell<'static>, Misfit> {
        if self.is_empty() {
            return Ok(Cell::Null);
        }
        let day = self.into_date(order)?;
        Ok(Cell::Integer(chrono::Datelike::year(&day).into()))
    }

    /// Returns the cell as an argument of any type, of which [`super::infer()`] finds the narrowest that fits.
    pub(super) fn into_argument(self, order: Option<Order>) -> Argument {
        match self {
            _ if self.is_empty() => Argument::NULL,
            Cell::Integer(number) => Argument::Integer(number),
            Cell::Boolean(flag) => Argument::Boolean(flag),
            Cell::Null => Argument::NULL,
            Cell::Other(kind) => Argument::Unsupported(kind),
            Cell::Moment(moment) if moment.time() == NaiveTime::MIN => {
                Argument::Untyped(moment.date().to_string())
            }
            Cell::Moment(moment) => Argument::Untyped(rfc3339(moment)),
            Cell::Number(number) => match whole(number) {
                Some(number) => Argument::Integer(number),
                None => Argument::Untyped(number.to_string()),
            },
            Cell::Plain(text) | Cell::Text(text) => {
                let typed = Cell::Text(Cow::Borrowed(text.as_ref()));
                match typed.into_date_text(order) {
                    Some(day) => Argument::Untyped(day.to_string()),
                    None => match unguarded(&text) {
                        plain if plain.len() == text.len() => {
                            Argument::Untyped(trimmed(&text).to_owned())
                        }
                        // An apostrophe keeps spreadsheets from running it, which only texts need.
                        plain => Argument::Text(plain.to_owned()),
                    },
                }
            }
        }
    }

    /// The cell as a date, if its text is one in a form that has one meaning.
    fn into_date_text(self, order: Option<Order>) -> Option<NaiveDate> {
        match &self {
            Cell::Text(text) if text.chars().all(|c| c.is_ascii_digit()) => None,
            // A timestamp at midnight is one.
            Cell::Text(text)
                if Argument::Untyped(text.to_string()).read(Type::Timestamp).is_ok() =>
            {
                None
            }
            Cell::Text(_) => self.into_date(order).ok(),
            _ => None,
        }
    }

    fn into_text(self) -> Result<Argument, Misfit> {
        Ok(Argument::Untyped(match self {
            Cell::Plain(text) => on_one_line(unguarded(&text)),
            Cell::Text(text) => on_one_line(&text),
            // A column of texts in which a spreadsheet has recognised a date.
            Cell::Moment(moment) if moment.time() == NaiveTime::MIN => moment.date().to_string(),
            // Spreadsheets make numbers of titles such as 300.
            Cell::Integer(number) => number.to_string(),
            Cell::Number(number) => number.to_string(),
            other => return Err(other.misfit("expected a text")),
        }))
    }

    fn into_integer(self) -> Result<Argument, Misfit> {
        let expected = "expected an integer";
        let number = match &self {
            Cell::Plain(text) | Cell::Text(text) => integer(trimmed(text)),
            Cell::Integer(number) => Some(*number),
            Cell::Number(number) => whole(*number),
            _ => None,
        };
        number.map(Argument::Integer).ok_or_else(|| self.misfit(expected))
    }

    fn into_boolean(self) -> Result<Argument, Misfit> {
        let flag = match &self {
            Cell::Plain(text) | Cell::Text(text) => match trimmed(text) {
                "1" => Some(true),
                "0" => Some(false),
                word => flag(word),
            },
            Cell::Integer(0) => Some(false),
            Cell::Integer(1) => Some(true),
            Cell::Boolean(flag) => Some(*flag),
            _ => None,
        };
        let expected = "expected a boolean (true, false, yes, no, 1 or 0)";
        flag.map(Argument::Boolean).ok_or_else(|| self.misfit(expected))
    }

    fn into_date(self, order: Option<Order>) -> Result<NaiveDate, Misfit> {
        let serial = match &self {
            Cell::Plain(text) | Cell::Text(text) => {
                let text = trimmed(text);
                match date(text, order) {
                    Form::Day(day) => return Ok(day),
                    Form::Timed => return Err(self.misfit("expected a date without a time")),
                    Form::Ordered(orders) => {
                        let misfit = self.misfit("expected a date (YYYY-MM-DD)");
                        return Err(Misfit { orders, ..misfit });
                    }
                    Form::NoMonth(order) => {
                        let expected =
                            format!("expected a month from 1 to 12 in {}", order.words());
                        return Err(self.misfit(&expected));
                    }
                    Form::ShortYear => {
                        return Err(self.misfit("expected a year with four digits"));
                    }
                    Form::NoDay => {
                        return Err(self.misfit("expected a day of the calendar"));
                    }
                    Form::None => integer(text),
                }
            }
            Cell::Moment(moment) if moment.time() == NaiveTime::MIN => return Ok(moment.date()),
            Cell::Moment(_) => return Err(self.misfit("expected a date without a time")),
            Cell::Integer(number) => Some(*number),
            Cell::Number(number) => whole(*number),
            _ => None,
        };
        let day = serial.filter(|serial| SERIAL_DAYS.contains(serial)).and_then(|serial| {
            NaiveDate::from_ymd_opt(1899, 12, 30)?.checked_add_signed(TimeDelta::days(serial))
        });
        day.ok_or_else(|| self.misfit("expected a date (YYYY-MM-DD)"))
    }

    fn into_timestamp(self) -> Result<Argument, Misfit> {
        match self {
            Cell::Moment(moment) => Ok(Argument::Untyped(rfc3339(moment))),
            Cell::Plain(text) | Cell::Text(text) => {
                let text = trimmed(&text).to_owned();
                let read = Argument::Untyped(text.clone()).read(Type::Timestamp);
                match read {
                    Ok(_) => Ok(Argument::Untyped(text)),
                    Err(misread) => {
                        let help = misread.help.map(|help| format!("; {help}")).unwrap_or_default();
                        let expected = "expected a timestamp (RFC 3339)";
                        Err(Misfit::new(expected, format!("{}{help}", shown(&text))))
                    }
                }
            }
            other => Err(other.misfit("expected a timestamp (RFC 3339)")),
        }
    }

    fn into_id(self) -> Result<Argument, Misfit> {
        match &self {
            Cell::Plain(text) | Cell::Text(text) => {
                let id = Argument::Untyped(trimmed(text).to_owned());
                id.read(Type::Id).map(|_| id).map_err(|_| self.misfit("expected an id (a UUID)"))
            }
            _ => Err(self.misfit("expected an id (a UUID)")),
        }
    }

    fn misfit(&self, expected: &str) -> Misfit {
        let found = match self {
            Cell::Plain(text) | Cell::Text(text) => shown(text),
            Cell::Integer(number) => format!("the number {number}"),
            Cell::Number(number) => format!("the number {number}"),
            Cell::Boolean(flag) => flag.to_string(),
            Cell::Moment(moment) => format!("the date {moment}"),
            Cell::Null => "null".to_owned(),
            Cell::Other(kind) => (*kind).to_owned(),
        };
        Misfit::new(expected, found)
    }
}

/// Characters that end a line or separate columns, which a cell of a spreadsheet can have and a field cannot.
const BREAKS: [char; 3] = ['\n', '\r', '\t'];

/// Returns the text with a blank in the place of line breaks and tabs, and of the white space around them.
fn on_one_line(text: &str) -> String {
    if !text.contains(BREAKS) {
        return text.to_owned();
    }
    text.split(BREAKS).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns a text for a message, cut to a length that fits into one.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 70;
    let start: String = text.chars().take(LONGEST).collect();
    let cut = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{cut}")
}

/// Reads an integer, also one that another program wrote with a fraction of zeros, such as `2000.0`.
fn integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            whole
        }
        Some(_) => return None,
        None => text,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| is_number)
}

/// Reads a word for true or false.
pub(super) fn flag(word: &str) -> Option<bool> {
    let is = |words: [&str; 2]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    match (is(["true", "yes"]), is(["false", "no"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Returns the number as an integer, if it is one and was read exactly.
fn whole(number: f64) -> Option<i64> {
    /// Up to here each integer has a float of its own.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let is_exact = number.fract() == 0.0 && number.abs() < MAX_EXACT;
    #[allow(clippy::cast_possible_truncation, reason = "an integer of less than 54 bits")]
    is_exact.then_some(number as i64)
}

/// A workbook has no time zones; its times are read as UTC.
fn rfc3339(moment: NaiveDateTime) -> String {
    DateTime::<chrono::Utc>::from_naive_utc_and_offset(moment, chrono::Utc)
        .to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
