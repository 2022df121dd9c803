//! The parameters of a legacy request, from the query string or from a JSON body (also for GET).

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use poem::http::Method;
use poem::{Request, RequestBody};
use poem_openapi::param::Query;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::Value as Json;

use super::super::body::{MAX_OTHER_BODY_BYTES, json, read_body};
use super::super::idempotency;
use crate::error::{Error, Kind, Result, Violation};
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::{MAX_DIAGNOSTICS, MAX_TEXT_BYTES};
use crate::query::{Schema, literal, value};
use crate::record::{Draft, Members};
use crate::store::IdempotencyKey;

/// The members of the JSON body; empty without a body. The OpenAPI document describes it in prose, because
/// OpenAPI has no bodies of GET and DELETE.
pub(super) struct Body {
    members: Members<Json>,
    /// The idempotency key of a POST.
    key: Option<IdempotencyKey>,
}

impl Body {
    /// Takes the idempotency key out.
    pub(super) fn take_key(&mut self) -> Option<IdempotencyKey> {
        self.key.take()
    }
}

impl<'a> ApiExtractor<'a> for Body {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];
    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = read_body(request, body, MAX_OTHER_BODY_BYTES).await?;
        let key = match *request.method() {
            Method::POST => idempotency::key(request, &bytes)?,
            _ => None,
        };
        if bytes.is_empty() {
            return Ok(Self { members: Members(Vec::new()), key });
        }
        let media_type = request.content_type().unwrap_or_default();
        if !super::super::body::is_media_type(media_type, "application/json") {
            return Err(missing_json().into());
        }
        Ok(Self { members: json(&bytes)?, key })
    }
}

/// Returns the error for a body that is not JSON. It contains the text of the previous service.
pub(in crate::http) fn missing_json() -> Error {
    let detail = "missing JSON in request: send a JSON object and Content-Type: application/json";
    Error::new(Kind::InvalidBody, detail)
}

/// Parameters that are read one by one. Errors are collected, and returned by [`Parameters::end`].
pub(super) struct Parameters {
    members: Vec<(String, Json)>,
    names: Vec<&'static str>,
    missing: Vec<Violation>,
    violations: Vec<Violation>,
}

impl Parameters {
    /// Combines the members of a body with the query parameters. A parameter in both is an error.
    pub(super) fn new<const N: usize>(
        Body { members: Members(mut members), .. }: Body,
        query: [(&'static str, Query<Option<String>>); N],
    ) -> Self {
        let mut violations = Vec::new();
        let names = query.iter().map(|(name, _)| *name).collect();
        for (name, Query(value)) in query {
            let Some(value) = value else { continue };
            if members.iter().any(|(member, _)| member == name) {
                let detail = "is in the body and in the query string; send it once";
                violations.push(Violation::new(name, detail));
            } else {
                members.push((name.to_owned(), Json::String(value)));
            }
        }
        Self { members, names, missing: Vec::new(), violations }
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let position = self.members.iter().position(|(member, _)| member == name)?;
        let value = self.members.swap_remove(position).1;
        let is_absent = matches!(&value, Json::Null) || value.as_str().is_some_and(str::is_empty);
        (!is_absent).then_some(value)
    }

    fn reject<T>(&mut self, name: &str, detail: impl Into<String>) -> Option<T> {
        self.violations.push(Violation::new(name, detail));
        None
    }

    /// Returns the value of a required parameter. Returns a default if it is missing or invalid; callers never use
    /// it, because `end` then returns an error.
    pub(super) fn required<T: Default>(
        &mut self,
        name: &str,
        read: fn(&mut Self, &str) -> Option<T>,
    ) -> T {
        let before = self.violations.len();
        let found = read(self, name);
        if found.is_none() && self.violations.len() == before {
            self.missing.push(Violation::new(name, "is missing"));
        }
        found.unwrap_or_default()
    }

    /// Returns the value of a text parameter.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Json::String(text) if text.len() > MAX_TEXT_BYTES => {
                self.reject(name, format!("is too long; expected at most {MAX_TEXT_BYTES} bytes"))
            }
            Json::String(text) => match value::text_value(&text) {
                Ok(_) => Some(text),
                Err(misread) => {
                    self.reject(name, format!("is not a valid text: {}", misread.message))
                }
            },
            _ => self.reject(name, "must be a text"),
        }
    }

    /// Returns the value of a year parameter. A decimal with only zeros after the point, such as 2000.0, is valid.
    pub(super) fn year(&mut self, name: &str) -> Option<i64> {
        let written = match self.take(name)? {
            Json::String(text) => text,
            Json::Number(number) => number.to_string(),
            _ => return self.reject(name, "must be a whole number, such as 1994"),
        };
        let text = written.trim();
        let whole = match text.split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
            _ => text,
        };
        match whole.parse::<i64>() {
            Ok(year) if i32::try_from(year).is_ok() => Some(year),
            Ok(_) => self.reject(name, "is out of range; expected a year that fits in 32 bits"),
            Err(_) => self.reject(name, "must be a whole number, such as 1994"),
        }
    }

    /// Returns the value of a date parameter.
    pub(super) fn date(&mut self, name: &str) -> Option<NaiveDate> {
        let date = self.take(name)?.as_str().and_then(date);
        date.or_else(|| self.reject(name, "must be a date, such as 2024-01-31"))
    }

    /// Returns the movie that the parameters describe.
    pub(super) fn draft(mut self, schema: &'static Schema) -> Result<Draft> {
        let title = self.required("title", Self::text);
        let genre = self.required("genre", Self::text);
        // The previous service reported missing parameters in this order.
        let expiry_date = self.required("expiry_date", Self::date);
        let release_year = self.required("release_year", Self::year);
        self.end()?;
        let members = [
            ("title", Json::from(title)),
            ("genre", Json::from(genre)),
            ("release_year", Json::from(release_year)),
            ("expiry_date", Json::from(expiry_date.to_string())),
        ];
        let members = members.map(|(name, json)| (name.to_owned(), json)).into();
        Draft::read(schema, Members(members))
            .map_err(|violations| failed(Kind::InvalidRecord, violations))
    }

    /// Checks that all parameters were read.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if a parameter is missing, invalid or unknown. Missing ones come first.
    pub(super) fn end(self) -> Result<()> {
        let names = self.names.iter().copied();
        let unknown = self.members.iter().take(MAX_DIAGNOSTICS).map(|(name, _)| {
            let advice = did_you_mean(name, names.clone());
            Violation::new(name, format!("is not a parameter; {advice}"))
        });
        let violations: Vec<Violation> =
            self.missing.into_iter().chain(self.violations).chain(unknown).collect();
        if violations.is_empty() { Ok(()) } else { Err(failed(Kind::InvalidParameter, violations)) }
    }
}

/// Returns an error with these violations. Its text is the first one, because the previous service reported one
/// problem at a time.
fn failed(kind: Kind, violations: Vec<Violation>) -> Error {
    let detail = violations.first().map(ToString::to_string).unwrap_or_default();
    Error { violations, ..Error::new(kind, detail) }
}

/// Parses a date, or the date of a date-time without converting its time zone. Accepts RFC 3339, the output of
/// Python's `isoformat`, the date of an HTTP header (RFC 9110, section 5.6.7), and the numbers of a date-time
/// separated by `/`, `\`, `:` or `-`, which the previous service accepted.
fn date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    if let Ok(instant) = DateTime::parse_from_rfc2822(text) {
        return Some(instant.date_naive());
    }
    let (day, time) = text.split_at(text.find(['T', 't', ' ']).unwrap_or(text.len()));
    if !time.is_empty() && !is_time(time.get(1..)?) {
        return None;
    }
    let numbers: Vec<&str> = day.split(['/', '\\', ':', '-']).collect();
    match numbers.as_slice() {
        [year, month, day, clock @ ..]
            if year.len() == 4 && month.len() <= 2 && day.len() <= 2 && is_clock(clock) =>
        {
            literal::date(&format!("{year}-{month:0>2}-{day:0>2}")).ok()
        }
        _ => None,
    }
}

/// Returns whether these are hour, minute, second and microsecond, or the first ones of them.
fn is_clock(numbers: &[&str]) -> bool {
    const LIMITS: [u32; 4] = [24, 60, 60, 1_000_000];
    let is_below = |(number, limit): (&&str, u32)| {
        let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
        is_number && number.parse::<u32>().is_ok_and(|number| number < limit)
    };
    numbers.len() <= LIMITS.len() && numbers.iter().zip(LIMITS).all(is_below)
}

fn is_time(text: &str) -> bool {
    let instant = format!("2000-01-01T{text}");
    let is_local = |format| NaiveDateTime::parse_from_str(&instant, format).is_ok();
    is_local("%FT%T%.f") || is_local("%FT%R") || DateTime::parse_from_rfc3339(&instant).is_ok()
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_in_the_formats_of_legacy_clients_are_parsed() {
        let cases = [
            ("2024-01-05", "2024-01-05"),
            (" 2024/1/5 ", "2024-01-05"),
            ("2024-1-5", "2024-01-05"),
            ("2024-01-05T23:30:00+02:00", "2024-01-05"),
            ("2024-01-05T23:30:00Z", "2024-01-05"),
            ("2024-01-05T23:30:00.123456", "2024-01-05"),
            ("2024-01-05 23:30:00", "2024-01-05"),
            ("2024-01-05 23:30", "2024-01-05"),
            ("Fri, 05 Jan 2024 00:00:00 GMT", "2024-01-05"),
            ("2024-02-29", "2024-02-29"),
            ("2024-02-30", ""),
            ("2024-01-05T", ""),
            ("2024-01-05T25:00:00", ""),
            ("2024-01-05 noon", ""),
            ("05/01/2024", ""),
            ("2024/01-05", "2024-01-05"),
            ("2024:1:5", "2024-01-05"),
            ("2024\\01\\05", "2024-01-05"),
            ("2024/1/5/23:59:59", "2024-01-05"),
            ("2024-01-05-24", ""),
            ("2024-01-05-1-2-3-4-5", ""),
            ("2024-01-05-", ""),
            ("2024-01", ""),
            ("2024-01-005", ""),
            ("24-01-05", ""),
            ("-024-01-05", ""),
            ("2024-é-05", ""),
            ("", ""),
            ("soon", ""),
        ];
        for (text, expected) in cases {
            let found = date(text).map(|date| date.to_string()).unwrap_or_default();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
