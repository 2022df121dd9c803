//! Dates as files have them.

use std::str::FromStr;

use chrono::NaiveDate;
use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

/// The order of day, month and year in dates such as 03/04/2030. `ymd` has no meaning of its own: a year that comes
/// first is always recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[oai(rename = "DateOrder", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Day, month, year, as in most of the world.
    Dmy,
    /// Month, day, year, as in the United States.
    Mdy,
    /// Year, month, day.
    Ymd,
}

impl Order {
    /// All orders.
    pub const ALL: [Self; 3] = [Self::Dmy, Self::Mdy, Self::Ymd];

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dmy => "dmy",
            Self::Mdy => "mdy",
            Self::Ymd => "ymd",
        }
    }

    /// Returns the order in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Dmy => "day/month/year",
            Self::Mdy => "month/day/year",
            Self::Ymd => "year/month/day",
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|order| order.as_str() == name);
        found.ok_or_else(|| "expected dmy, mdy or ymd".to_owned())
    }
}

/// What a text is as a date.
#[derive(Debug, PartialEq)]
pub(super) enum Form {
    /// One day.
    Day(NaiveDate),
    /// A day with a time other than midnight.
    Timed,
    /// A date whose year comes last, without an order that is for such dates: the orders in which it is a day.
    Ordered(Vec<Order>),
    /// A date whose month in this order is above 12. In the other one it is a day, but an order that was given is not in
    /// doubt because of single dates.
    NoMonth(Order),
    /// A year with two digits, whose century is not known.
    ShortYear,
    /// It has the form of a date, but there is no such day.
    NoDay,
    /// It does not have the form of a date.
    None,
}

/// The English names of the months, of which three letters are enough. Other programs write dates with them.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Reads a date: the year first, with `-`, `/` or `.`; in the given order, if the year comes last; or with the name of a
/// month. Midnight may follow it.
pub(super) fn date(text: &str, order: Option<Order>) -> Form {
    let (day, time) = split_time(text);
    let form = numeric(day, order).or_else(|| compact(day)).or_else(|| named(day));
    let form = form.unwrap_or(Form::None);
    match (form, time) {
        (Form::Day(_) | Form::Ordered(_) | Form::NoMonth(_), Some(time)) if !is_midnight(time) => {
            Form::Timed
        }
        (form, _) => form,
    }
}

/// Splits the text where a time begins: at a `T` between digits, or before the last word with a colon.
fn split_time(text: &str) -> (&str, Option<&str>) {
    let Some(colon) = text.find(':') else { return (text, None) };
    let start = text.get(..colon).unwrap_or_default().rfind([' ', 'T', 't']);
    match start {
        Some(at) => {
            let (day, time) = text.split_at(at);
            (day.trim_end(), time.get(1..))
        }
        None => (text, None),
    }
}

/// Whether a time is midnight: `00:00`, also with seconds, a fraction, `Z` or `12:00 AM`.
fn is_midnight(time: &str) -> bool {
    let time = time.trim();
    let half = time.get(..time.len().saturating_sub(2)).unwrap_or_default();
    if time.to_ascii_lowercase().ends_with("am") {
        return half.trim().strip_prefix("12").is_some_and(is_zero);
    }
    let time =
        time.strip_suffix(['Z', 'z']).or_else(|| time.strip_suffix("+00:00")).unwrap_or(time);
    is_zero(time)
}

fn is_zero(time: &str) -> bool {
    time.chars().all(|c| matches!(c, '0' | ':' | '.'))
}

/// A date of three numbers; `None` if it is none.
fn numeric(text: &str, order: Option<Order>) -> Option<Form> {
    let separator = text.chars().find(|c| !c.is_ascii_digit())?;
    if !matches!(separator, '-' | '/' | '.') {
        return None;
    }
    let mut parts = text.split(separator).map(str::trim);
    let parts = [parts.next()?, parts.next()?, parts.next().filter(|_| parts.next().is_none())?];
    let is_number = |part: &str| {
        (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !parts.iter().all(|part| is_number(part)) {
        return None;
    }
    let [first, second, third] = parts;
    let [a, b, c] = [number(first)?, number(second)?, number(third)?];
    Some(match (first.len(), second.len(), third.len()) {
        (4, 1 | 2, 1 | 2) => calendar(a, b, c).map_or(Form::NoDay, Form::Day),
        (1 | 2, 1 | 2, 4) => {
            let dmy = calendar(c, b, a);
            let mdy = calendar(c, a, b);
            match (order, dmy, mdy) {
                (_, None, None) => Form::NoDay,
                (Some(Order::Dmy), Some(day), _) | (Some(Order::Mdy), _, Some(day)) => {
                    Form::Day(day)
                }
                (Some(order @ (Order::Dmy | Order::Mdy)), ..) => Form::NoMonth(order),
                (_, dmy, mdy) => {
                    let orders = [(Order::Dmy, dmy), (Order::Mdy, mdy)].into_iter();
                    let orders = orders.filter(|(_, day)| day.is_some()).map(|(order, _)| order);
                    Form::Ordered(orders.collect())
                }
            }
        }
        (1 | 2, 1 | 2, 1 | 2) => Form::ShortYear,
        _ => return None,
    })
}

/// A date of eight digits, `YYYYMMDD` (ISO 8601, basic format); `None` if it is none.
fn compact(text: &str) -> Option<Form> {
    let is_compact = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day] = [text.get(..4)?, text.get(4..6)?, text.get(6..)?];
    let day = calendar(number(year)?, number(month)?, number(day)?);
    is_compact.then(|| day.map_or(Form::NoDay, Form::Day))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn calendar(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    let year = i32::try_from(year).ok()?;
    NaiveDate::from_ymd_opt(year, month, day).filter(|_| year > 0)
}

/// A date with the name of its month, such as `Jun 12 1998`, `12 June 1998` or `12-Jun-1998`; `None` if it is none.
fn named(text: &str) -> Option<Form> {
    let words: Vec<&str> =
        text.split([' ', '-', '.', ',', '/']).filter(|word| !word.is_empty()).collect();
    let &[first, second, year] = words.as_slice() else { return None };
    let (month, day) = match (month_of(first), month_of(second)) {
        (Some(month), _) => (month, second),
        (_, Some(month)) => (month, first),
        _ => return None,
    };
    let day = day.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(day) || !is_number(year) {
        return None;
    }
    Some(match year.len() {
        2 => Form::ShortYear,
        4 => calendar(number(year)?, month, number(day)?).map_or(Form::NoDay, Form::Day),
        _ => return None,
    })
}

fn month_of(word: &str) -> Option<u32> {
    let word = word.to_ascii_lowercase();
    let is_it = |name: &str| {
        word.len() >= 3 && name.starts_with(&word) || word == "sept" && name.starts_with("sep")
    };
    let position = MONTHS.iter().position(|name| is_it(name))?;
    u32::try_from(position + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Argument, Type, Value};
    use proptest::prelude::*;

    /// Whether it is a date as the service writes them.
    fn is_own(text: &str) -> bool {
        matches!(Argument::Untyped(text.to_owned()).read(Type::Date), Ok(Value::Date(_)))
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    /// A text, the order, and the day or the name of the form.
    const DATES: &[(&str, Option<Order>, &str)] = &[
        ("2030-01-31", None, "2030-01-31"),
        ("2030/1/31", None, "2030-01-31"),
        ("2030.01.31", Some(Order::Dmy), "2030-01-31"),
        ("2030-01-01 00:00:00", None, "2030-01-01"),
        ("2027-12-31T00:00:00Z", None, "2027-12-31"),
        ("2027-12-31T00:00:00.000+00:00", None, "2027-12-31"),
        ("12/31/2027 12:00:00 AM", Some(Order::Mdy), "2027-12-31"),
        ("2030-01-01 10:30", None, "timed"),
        ("15/02/2030 08:00", None, "timed"),
        ("15/02/2030", Some(Order::Dmy), "2030-02-15"),
        ("15.2.2030", Some(Order::Dmy), "2030-02-15"),
        ("02-15-2030", Some(Order::Mdy), "2030-02-15"),
        ("15/02/2030", None, "dmy"),
        ("02/15/2030", None, "mdy"),
        ("02/03/2030", None, "dmy mdy"),
        ("02/03/2030", Some(Order::Ymd), "dmy mdy"),
        ("02/15/2030", Some(Order::Dmy), "no month"),
        ("15/02/2030", Some(Order::Mdy), "no month"),
        ("31/31/2030", None, "no day"),
        ("2030-02-30", None, "no day"),
        ("0000-01-01", None, "no day"),
        ("15/02/30", Some(Order::Dmy), "short year"),
        ("Jun 12 1998", None, "1998-06-12"),
        ("June 12, 1998", None, "1998-06-12"),
        ("12th of June", None, "none"),
        ("12 Sept 1998", None, "1998-09-12"),
        ("12-Jun-1998", None, "1998-06-12"),
        ("1st May 2000", None, "2000-05-01"),
        ("12-Jun-98", None, "short year"),
        ("Feb 30 2000", None, "no day"),
        ("soon", None, "none"),
        ("20271231", None, "2027-12-31"),
        ("20271331", None, "no day"),
        ("2030", None, "none"),
        ("1/2", None, "none"),
        ("1-2-3-4", None, "none"),
        ("", None, "none"),
    ];

    #[test]
    fn dates_are_read_in_every_form_with_one_meaning() {
        for (text, order, expected) in DATES {
            let found = match date(text, *order) {
                Form::Day(found) => {
                    assert_eq!(found, day(expected), "{text}");
                    continue;
                }
                Form::Timed => "timed".to_owned(),
                Form::Ordered(orders) => {
                    orders.into_iter().map(Order::as_str).collect::<Vec<_>>().join(" ")
                }
                Form::ShortYear => "short year".to_owned(),
                Form::NoMonth(_) => "no month".to_owned(),
                Form::NoDay => "no day".to_owned(),
                Form::None => "none".to_owned(),
            };
            assert_eq!(found, *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_day_is_read_in_each_order(year in 1..=9999_i32, ordinal in 1..=365_u32) {
            let day = NaiveDate::from_yo_opt(year, ordinal).expect("a day");
            prop_assert!(is_own(&day.to_string()));
            prop_assert_eq!(date(&day.to_string(), None), Form::Day(day));
            for (pattern, order) in [("%d/%m/%Y", Order::Dmy), ("%m/%d/%Y", Order::Mdy), ("%b %d %Y", Order::Ymd)] {
                let text = day.format(pattern).to_string();
                prop_assert_eq!(date(&text, Some(order)), Form::Day(day));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,30}|[0-9/.: TZ-]{0,20}") {
            for order in [None, Some(Order::Dmy)] {
                if let Form::Day(day) = date(&text, order) {
                    prop_assert!(is_own(&day.to_string()));
                }
            }
        }
    }
}
