//! Conditional requests (RFC 9110, section 13). The ETag of a record is its version.

use poem::Response;
use poem::http::header::{IF_MATCH, IF_NONE_MATCH};
use poem::http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Result};
use crate::store::Expected;

/// Sets a response header.
pub(super) fn set_header(response: &mut Response, name: HeaderName, value: &str) {
    // Cannot fail: tags, URLs and cursors are printable ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Returns the entity tag of a version.
pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Parses a required `If-Match`.
///
/// # Errors
/// [`Kind::PreconditionRequired`] if it is absent; [`Kind::InvalidParameter`] if it is malformed.
pub(super) fn required(if_match: Option<&str>) -> Result<Expected> {
    if_match.map(parse).unwrap_or_else(|| {
        let detail = "missing If-Match; send the ETag of the version you have read";
        Err(Error::new(Kind::PreconditionRequired, detail))
    })
}

/// Parses an optional `If-Match`.
///
/// # Errors
/// [`Kind::InvalidParameter`] if it is malformed.
pub(super) fn optional(if_match: Option<&str>) -> Result<Expected> {
    if_match.map_or(Ok(Expected::Any), parse)
}

/// Returns whether `If-None-Match` contains this version. The comparison is weak: `W/` is ignored.
///
/// # Errors
/// [`Kind::InvalidParameter`] if the field is not a list of entity tags.
pub(super) fn is_known(if_none_match: &str, version: i64) -> Result<bool> {
    if if_none_match.trim() == "*" {
        return Ok(true);
    }
    let own = version.to_string();
    Ok(tags("If-None-Match", if_none_match)?.iter().any(|tag| *tag == own))
}

/// Parses `If-Match`. `W/"3"` is accepted as `"3"`. RFC 9110, section 8.8.3.2, requires a strong comparison here,
/// because a weak tag does not guarantee identical bytes. This service compares versions, which are exact even in a
/// weak tag. Proxies that compress, such as nginx, make all tags weak; otherwise their clients could change nothing.
fn parse(if_match: &str) -> Result<Expected> {
    if if_match.trim() == "*" {
        return Ok(Expected::Any);
    }
    let tags = tags("If-Match", if_match)?.into_iter();
    // Only tags as the service writes them: `"+3"` and `"03"` are different tags.
    let versions =
        tags.filter_map(|tag| tag.parse::<i64>().ok().filter(|version| version.to_string() == tag));
    Ok(Expected::Versions(versions.collect()))
}

/// Returns the entity tags of a list without `W/` and quotes. Empty elements are ignored.
fn tags<'a>(field: &str, list: &'a str) -> Result<Vec<&'a str>> {
    let malformed = || {
        let detail =
            format!("malformed {field}; expected entity tags in double quotes, such as \"3\"");
        Error::new(Kind::InvalidParameter, detail)
    };
    let is_separator = |c: char| matches!(c, ',' | ' ' | '\t');
    let mut tags = Vec::new();
    let mut rest = list.trim_matches(is_separator);
    while !rest.is_empty() {
        let (strength, opened) = rest.split_once('"').ok_or_else(malformed)?;
        let (tag, following) = opened.split_once('"').ok_or_else(malformed)?;
        let next = following.trim_start_matches([' ', '\t']);
        if !["", "W/"].contains(&strength) || !(next.is_empty() || next.starts_with(',')) {
            return Err(malformed());
        }
        tags.push(tag);
        rest = next.trim_start_matches(is_separator);
    }
    if tags.is_empty() { Err(malformed()) } else { Ok(tags) }
}

/// Joins the lines of each conditional header field into one. Several lines form one list (RFC 9110, section 5.3), but
/// the framework reads only the first line.
pub(super) fn normalise(headers: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            continue;
        }
        // Cannot fail: the lines are valid, and so is the separator.
        if let Ok(line) = HeaderValue::from_bytes(&lines.join(&b", "[..])) {
            headers.insert(name, line);
        }
    }
}

/// Checks that the conditional header fields are readable. The framework treats an unreadable field as absent, which
/// would drop the condition.
///
/// # Errors
/// [`Kind::InvalidParameter`] if a field is not visible ASCII.
pub(super) fn check(headers: &HeaderMap) -> Result<()> {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if headers.get(&name).is_some_and(|line| line.to_str().is_err()) {
            let detail =
                format!("malformed {name}; expected entity tags of visible ASCII characters");
            return Err(Error::new(Kind::InvalidParameter, detail));
        }
    }
    Ok(())
}
