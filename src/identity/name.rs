//! Validation of user names, for all providers.

use super::ANONYMOUS;
use crate::query::text::nfc;

/// The maximum length of a name, in characters.
const MAX_NAME: usize = 100;

/// Returns the rule that a user name breaks, as a predicate such as "must have …"; `None` for a valid name.
pub fn name_problem(name: &str) -> Option<String> {
    let has_length = |name: &str| (1..=MAX_NAME).contains(&name.chars().count());
    // Names are stored in NFC, which may be longer. The first check avoids normalizing long texts.
    let is_name = has_length(name) && has_length(&nfc(name));
    // A URL cannot end in `.` or `..`, which clients resolve as path segments (RFC 3986, section 5.2.4).
    let is_dots = name.chars().all(|c| c == '.');
    if name == ANONYMOUS {
        return Some(format!(
            "must not be {ANONYMOUS:?}, which is the name of callers without a token"
        ));
    }
    (!is_name || is_dots || name.chars().any(char::is_control)).then(|| {
        format!("must have 1 to {MAX_NAME} characters, no control characters, and not only dots")
    })
}
