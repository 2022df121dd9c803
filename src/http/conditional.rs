//! Conditional requests (RFC 9110, section 13). The ETag of a record is its version.

use poem::http::header::{IF_MATCH, IF_NONE_MATCH};
use poem::http::{HeaderMap, HeaderValue};

use crate::error::{Error, Kind, Result};
use crate::store::Expected;

/// The entity tag of a version.
pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// What `If-Match` expects; a change without it is refused.
pub(super) fn required(if_match: Option<&str>) -> Result<Expected> {
    if_match.map(parse).unwrap_or_else(|| {
        let detail = "send If-Match with the ETag of the version you have read";
        Err(Error::new(Kind::PreconditionRequired, detail))
    })
}

/// What `If-Match` expects, where it may be absent.
pub(super) fn optional(if_match: Option<&str>) -> Result<Expected> {
    if_match.map_or(Ok(Expected::Any), parse)
}

/// Whether `If-None-Match` names this version. The comparison is weak: `W/` makes no difference.
///
/// # Errors
/// A field that is no list of entity tags.
pub(super) fn is_known(if_none_match: &str, version: i64) -> Result<bool> {
    if if_none_match.trim() == "*" {
        return Ok(true);
    }
    let own = version.to_string();
    Ok(tags("If-None-Match", if_none_match)?.iter().any(|tag| *tag == own))
}

/// `W/"3"` is accepted as `"3"`. RFC 9110, section 8.8.3.2, demands a strong comparison here, since a weak tag
/// does not promise the same bytes; but a version is compared and never bytes, and a version is exact. A proxy
/// that compresses, as nginx does, makes every tag weak, and its clients could change nothing otherwise.
fn parse(if_match: &str) -> Result<Expected> {
    if if_match.trim() == "*" {
        return Ok(Expected::Any);
    }
    let tags = tags("If-Match", if_match)?.into_iter();
    // Only what we would write ourselves: `"+3"` and `"03"` are other tags.
    let versions =
        tags.filter_map(|tag| tag.parse::<i64>().ok().filter(|version| version.to_string() == tag));
    Ok(Expected::Versions(versions.collect()))
}

/// The entity tags of a list without their `W/` and quotes. Empty elements do not count.
fn tags<'a>(field: &str, list: &'a str) -> Result<Vec<&'a str>> {
    let malformed = || {
        let detail = format!("{field} takes entity tags in double quotes, such as \"3\"");
        Error::new(Kind::InvalidParameter, detail)
    };
    let is_separator = |c: char| matches!(c, ',' | ' ' | '\t');
    let mut tags = Vec::new();
    let mut rest = list.trim_matches(is_separator);
    while !rest.is_empty() {
        let (strength, opened) = rest.split_once('"').ok_or_else(malformed)?;
        let (tag, behind) = opened.split_once('"').ok_or_else(malformed)?;
        let next = behind.trim_start_matches([' ', '\t']);
        if !["", "W/"].contains(&strength) || !(next.is_empty() || next.starts_with(',')) {
            return Err(malformed());
        }
        tags.push(tag);
        rest = next.trim_start_matches(is_separator);
    }
    if tags.is_empty() { Err(malformed()) } else { Ok(tags) }
}

/// Makes one readable line of each conditional field. Several lines of a list are one list (RFC
/// 9110, section 5.3), of which the framework would read the first alone; and what it cannot read
/// it would take for absent, and so for no condition.
///
/// # Errors
/// A field that is not visible ASCII.
pub(super) fn normalise(headers: &mut HeaderMap) -> Result<()> {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            continue;
        }
        let line = HeaderValue::from_bytes(&lines.join(&b", "[..])).ok();
        let Some(line) = line.filter(|line| line.to_str().is_ok()) else {
            let detail = format!("{name} is not readable: entity tags are of visible ASCII");
            return Err(Error::new(Kind::InvalidParameter, detail));
        };
        headers.insert(name, line);
    }
    Ok(())
}
