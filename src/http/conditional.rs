//! Conditional requests (RFC 9110, section 13). The ETag of a record is its version.

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
pub(super) fn is_known(if_none_match: &str, version: i64) -> bool {
    let tag = etag(version);
    let names_it =
        |listed: &str| listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag;
    if_none_match.split(',').any(|listed| names_it(listed.trim()))
}

/// The comparison is strong: a weak tag matches nothing, and neither does one that is not ours.
fn parse(if_match: &str) -> Result<Expected> {
    if if_match.trim() == "*" {
        return Ok(Expected::Any);
    }
    let mut versions = Vec::new();
    for listed in if_match.split(',').map(str::trim) {
        let opaque = listed.strip_prefix("W/").unwrap_or(listed);
        let Some(tag) = opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) else {
            let detail = "If-Match takes entity tags in double quotes, such as \"3\"";
            return Err(Error::new(Kind::InvalidParameter, detail));
        };
        if !listed.starts_with("W/") {
            // Only what we would write ourselves: `"+3"` and `"03"` are other tags.
            versions.extend(tag.parse::<i64>().ok().filter(|version| version.to_string() == tag));
        }
    }
    Ok(Expected::Versions(versions))
}
