//! Values as they are written: dates, timestamps, escapes in strings.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use uuid::Uuid;

use super::diagnostic::Misread;
use super::limits::{MAX_YEAR, MIN_YEAR};

/// Reads a date as literals are read.
///
/// # Errors
/// What is wrong and, where it can be guessed, the date that was probably meant.
pub fn date(text: &str) -> Result<NaiveDate, Misread> {
    // Digits alone: the number parser would take a sign.
    let number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten()
    };
    let mut parts = text.splitn(3, '-').map(|part| (part.len(), number(part)));
    let (Some((y, Some(year))), Some((m, Some(month))), Some((d, Some(day)))) =
        (parts.next(), parts.next(), parts.next())
    else {
        let misread = Misread::new(format!("`{text}` is not a date"));
        return Err(match id(text) {
            Some(_) => misread.meant(format!("\"{text}\""), "an id stands in quotes"),
            None if month_of(text).is_some() => {
                let (first, last) = month_of(text).unwrap_or_default();
                misread.help(format!("a whole month is `between {first} and {last}`"))
            }
            None if text.contains('+') => {
                misread.help("write YYYY-MM-DD; only `today` and `now` take an offset")
            }
            None => misread.help("write YYYY-MM-DD; there is no arithmetic on values"),
        });
    };
    let year = i32::try_from(year).unwrap_or(i32::MAX);
    if !(MIN_YEAR..=MAX_YEAR).contains(&year) {
        return Err(Misread::new(format!("`{text}` is outside the years 0001 to 9999")));
    }
    let misread = || Misread::new(format!("`{text}` is not a date"));
    if (y <= 2, d) == (true, 4) {
        return Err(year_first(misread(), year, month, day));
    }
    if y != 4 {
        return Err(misread().help("write YYYY-MM-DD, the year with four digits"));
    }
    let clamped = |day: u32| NaiveDate::from_ymd_opt(year, month, day);
    match clamped(day) {
        Some(date) if (m, d) == (2, 2) => Ok(date),
        Some(date) => Err(misread().meant(date.to_string(), format!("write {date}"))),
        None => {
            let misread = Misread::new(format!("`{text}` is not in the calendar"));
            let last = (28..=31).rev().find_map(clamped).filter(|_| (29..=31).contains(&day));
            let turned = NaiveDate::from_ymd_opt(year, day, month).filter(|_| month > 12);
            Err(match (last, turned) {
                (Some(last), _) => {
                    misread.meant(last.to_string(), format!("the month ends on {last}"))
                }
                (None, Some(turned)) => {
                    let help = format!("the month stands before the day: write {turned}");
                    misread.meant(turned.to_string(), help)
                }
                (None, None) => misread.help("months are 01 to 12 and days 01 to 31 at most"),
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

/// A date whose year stands last: the day or the month stands first, and sometimes either could.
fn year_first(misread: Misread, first: i32, second: u32, year: u32) -> Misread {
    let date = |month: u32, day: u32| {
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day).filter(|_| year > 0)
    };
    let first = u32::try_from(first).unwrap_or_default();
    match (date(second, first), date(first, second)) {
        (Some(meant), None) | (None, Some(meant)) => {
            misread.meant(meant.to_string(), format!("the year stands first: write {meant}"))
        }
        (Some(meant), Some(other)) if meant == other => {
            misread.meant(meant.to_string(), format!("the year stands first: write {meant}"))
        }
        _ => misread.help("the year stands first, then the month: write YYYY-MM-DD"),
    }
}

/// Reads an id as literals and arguments are read: in the form with hyphens alone, of either case.
pub fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| text.len() == id.hyphenated().to_string().len())
}

/// What is said of a moment that an offset has moved too far.
pub(super) const LEAVES_THE_CALENDAR: &str = "this leaves the years 0001 to 9999";

/// Reads a timestamp as literals are read: RFC 3339, at most microseconds.
///
/// # Errors
/// What is wrong, and how one is written.
pub fn timestamp(text: &str) -> Result<DateTime<Utc>, Misread> {
    let wrong =
        |message: String| Misread::new(message).help("one is written as in 2024-01-31T12:00:00Z");
    // chrono takes a blank for the T and a minus sign of Unicode, too.
    let is_strict = text.is_ascii() && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let instant = Some(text).filter(|_| is_strict).and_then(timestamp_of).ok_or_else(|| {
        let misread = wrong(format!("`{text}` is not an RFC 3339 timestamp"));
        let in_utc = format!("{text}Z");
        match timestamp_of(&in_utc).filter(|_| is_strict) {
            Some(_) => misread.meant(in_utc, "the offset from UTC is missing: `Z`, say"),
            None => misread,
        }
    })?;
    if instant.timestamp_subsec_nanos() % 1000 != 0 {
        return Err(wrong(format!("`{text}` is finer than a microsecond")));
    }
    // A 60th second is folded by chrono into more than 999 ms of the 59th.
    if instant.timestamp_subsec_nanos() >= 1_000_000_000 {
        return Err(wrong(format!("`{text}` is a leap second")));
    }
    if !(MIN_YEAR..=MAX_YEAR).contains(&instant.year()) {
        return Err(wrong(format!("`{text}` is outside the years 0001 to 9999")));
    }
    Ok(instant)
}

fn timestamp_of(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.to_utc())
}

/// Reads the escape the text starts with: the character and how many bytes it took, or how many
/// bytes are wrong and why. A character beyond U+FFFF is written as two surrogates, as in JSON
/// (RFC 8259, section 7).
pub(super) fn read_escape(text: &str) -> Result<(char, usize), (usize, String)> {
    let letter = text.chars().nth(1).unwrap_or(' ');
    let simple = match letter {
        '\\' | '\'' | '"' => letter,
        'n' => '\n',
        't' => '\t',
        'u' => return unicode_escape(text),
        other => {
            return Err((1 + other.len_utf8(), format!("`\\{other}` is not an escape")));
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
        return Err((2, "`\\u` needs four hexadecimal digits".to_owned()));
    };
    let second = unit(6);
    let units: Vec<u16> = std::iter::once(first).chain(second).collect();
    match char::decode_utf16(units).next() {
        Some(Ok('\0')) => Err((6, "text cannot hold the character U+0000".to_owned())),
        Some(Ok(character)) => Ok((character, 6 * character.len_utf16())),
        _ => Err((6, "half of a surrogate pair is not a character".to_owned())),
    }
}
