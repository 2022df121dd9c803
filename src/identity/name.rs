//! The rules for user names, whichever provider they come from.

use crate::query::text::nfc;

/// The longest name, in characters.
const MAX_NAME: usize = 100;

/// The rule that a user name breaks, as the rest of a sentence; `None` for a valid name.
pub fn name_problem(name: &str) -> Option<String> {
    let has_length = |name: &str| (1..=MAX_NAME).contains(&name.chars().count());
    // Names are stored in NFC, which may be longer. The first check keeps long texts from being composed.
    let is_name = has_length(name) && has_length(&nfc(name));
    // A URL cannot end in `.` or `..`: they are steps of a path (RFC 3986, section 5.2.4).
    let is_dots = name.chars().all(|c| c == '.');
    (!is_name || is_dots || name.chars().any(char::is_control)).then(|| {
        format!(
            "must have 1 to {MAX_NAME} characters, none of them a control character, and not dots alone"
        )
    })
}
