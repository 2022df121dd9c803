//! Parses values as they are written: dates, timestamps, ids, and escapes in strings.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use uuid::Uuid;

use super::diagnostic::Misread;
use super::limits::{MAX_YEAR, MIN_YEAR};

/// The length of a date, YYYY-MM-DD.
pub(super) const DATE_LENGTH: usize = 10;

/// Parses a date, `YYYY-MM-DD`.
///
/// # Errors
/// Returns the problem and, if there is one likely date, that date.
pub fn date(text: &str) -> Result<NaiveDate, Misread> {
    // The number parser would accept a sign.
    let number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten()
    };
    let misread = || Misread::new(format!("expected a date (YYYY-MM-DD), found {text:?}"));
    let mut parts = text.splitn(3, '-').map(|part| (part.len(), number(part)));
    let (Some((y, Some(year))), Some((m, Some(month))), Some((d, Some(day)))) =
        (parts.next(), parts.next(), parts.next())
    else {
        // The date of another notation, such as 31/12/2027 or 31.12.2027.
        let is_short = text.len() <= DATE_LENGTH && text.contains(['/', '.']);
        let likely = is_short.then(|| date(&text.replace(['/', '.'], "-")));
        return Err(match (id(text), month_of(text), likely) {
            (Some(_), ..) => {
                let quoted = format!("\"{text}\"");
                let help = format!("quote an id: write `{quoted}`");
                misread().likely(quoted, help)
            }
            (_, Some((first, last)), _) => {
                misread().help(format!("for a whole month write `between {first} and {last}`"))
            }
            (_, _, Some(Ok(date))) => misread().likely(date.to_string(), format!("write {date}")),
            (_, _, Some(Err(Misread { help, likely, .. }))) => {
                Misread { help, likely, ..misread() }
            }
            _ => misread(),
        });
    };
    if (y <= 2, d) == (true, 4) {
        return Err(year_first(misread(), year, month, day));
    }
    let year = i32::try_from(year).unwrap_or(i32::MAX);
    if !(MIN_YEAR..=MAX_YEAR).contains(&year) {
        let message = format!("expected a date from 0001-01-01 to 9999-12-31, found {text:?}");
        return Err(Misread::new(message));
    }
    if y != 4 {
        return Err(misread().help("write the year with four digits"));
    }
    let clamped = |day: u32| NaiveDate::from_ymd_opt(year, month, day);
    match clamped(day) {
        Some(date) if (m, d) == (2, 2) => Ok(date),
        Some(date) => Err(misread().likely(date.to_string(), format!("write {date}"))),
        None => {
            let misread = Misread::new(format!("expected a day of the calendar, found {text:?}"));
            let last = (28..=31).rev().find_map(clamped).filter(|_| (29..=31).contains(&day));
            let turned = NaiveDate::from_ymd_opt(year, day, month).filter(|_| month > 12);
            Err(match (last, turned) {
                (Some(last), _) => {
                    misread.likely(last.to_string(), format!("the month ends on {last}"))
                }
                (None, Some(turned)) => {
                    let help = format!("the month comes before the day: write {turned}");
                    misread.likely(turned.to_string(), help)
                }
                (None, None) => misread.help("months are 01 to 12, and days 01 to 31 at most"),
            })
        }
    }
}

/// The first and the last day of a month that is written YYYY-MM.
fn month_of(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let (year, month) = text.split_once('-').filter(|(year, _)| year.len() == 4)?;
    let first = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
    Some((first, first.checked_add_months(Months::new(1))?.pred_opt()?))
}

/// Adds advice for a date whose year comes last. The day or the month comes first, and sometimes
/// either could.
fn year_first(misread: Misread, first: u32, second: u32, year: u32) -> Misread {
    let date = |month: u32, day: u32| {
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day).filter(|_| year > 0)
    };
    match (date(second, first), date(first, second)) {
        (Some(likely), None) | (None, Some(likely)) => {
            misread.likely(likely.to_string(), format!("the year comes first: write {likely}"))
        }
        (Some(likely), Some(other)) if likely == other => {
            misread.likely(likely.to_string(), format!("the year comes first: write {likely}"))
        }
        _ => misread.help("the year comes first, then the month, then the day"),
    }
}

/// Parses an id in hyphenated form, in either case.
pub fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| text.len() == id.hyphenated().to_string().len())
}

/// The advice for a `+` that the form encoding of a query string has turned into a space.
pub(super) const PLUS_IS_A_SPACE: &str = "in a URL, `+` means a space: write it as `%2B`";

/// The message for an offset that is too large.
pub(super) const LEAVES_THE_CALENDAR: &str = "the result is outside the years 0001 to 9999";

/// Parses a timestamp: RFC 3339, at most to the microsecond.
///
/// # Errors
/// Returns the problem and how to write a timestamp.
pub fn timestamp(text: &str) -> Result<DateTime<Utc>, Misread> {
    let expected = |what: &str| Misread::new(format!("expected {what}, found {text:?}"));
    // chrono also accepts a blank instead of the T, and a Unicode minus sign.
    let is_strict = text.is_ascii() && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let instant = Some(text).filter(|_| is_strict).and_then(timestamp_of).ok_or_else(|| {
        let misread = expected("a timestamp (RFC 3339)");
        let in_utc = format!("{text}Z");
        match timestamp_of(&in_utc).filter(|_| is_strict) {
            Some(_) => misread.likely(in_utc, "add the offset from UTC, such as `Z`"),
            None => misread.help("write it like 2024-01-31T12:00:00Z"),
        }
    })?;
    if instant.timestamp_subsec_nanos() % 1000 != 0 {
        return Err(expected("at most microseconds").help("write at most six digits of a second"));
    }
    // chrono represents second 60 as more than 999 ms of second 59.
    if instant.timestamp_subsec_nanos() >= 1_000_000_000 {
        return Err(expected("a second from 00 to 59").help("leap seconds are not supported"));
    }
    if !(MIN_YEAR..=MAX_YEAR).contains(&instant.year()) {
        return Err(expected("a timestamp in the years 0001 to 9999, in UTC"));
    }
    Ok(instant)
}

fn timestamp_of(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.to_utc())
}

/// Parses the escape at the start of a text. Returns the character and the number of its bytes, or
/// the number of wrong bytes and a message. A character beyond U+FFFF is written as two surrogates,
/// as in JSON (RFC 8259, section 7).
pub(super) fn read_escape(text: &str) -> Result<(char, usize), (usize, String)> {
    let letter = text.chars().nth(1).unwrap_or(' ');
    let simple = match letter {
        '\\' | '\'' | '"' => letter,
        'n' => '\n',
        't' => '\t',
        'u' => return unicode_escape(text),
        other => {
            return Err((1 + other.len_utf8(), format!("unknown escape `\\{other}`")));
        }
    };
    Ok((simple, 2))
}

fn unicode_escape(text: &str) -> Result<(char, usize), (usize, String)> {
    let unit = |start: usize| {
        let digits = text.get(start..start + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let Some(first) = unit(0) else {
        return Err((2, "expected four hexadecimal digits after `\\u`".to_owned()));
    };
    let second = unit(6);
    let units: Vec<u16> = std::iter::once(first).chain(second).collect();
    match char::decode_utf16(units).next() {
        Some(Ok('\0')) => Err((6, "text cannot contain the character U+0000".to_owned())),
        Some(Ok(character)) => Ok((character, 6 * character.len_utf16())),
        _ => Err((6, "expected a surrogate pair, found half of one".to_owned())),
    }
}
