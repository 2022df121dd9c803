//! Texts that a spreadsheet would run as a formula.
//!
//! Spreadsheets run a cell that starts with `=`, `+`, `-`, `@`, TAB or CR as a formula. Such texts are therefore
//! prefixed with an apostrophe, also those that already start with apostrophes followed by one of these
//! characters. Reading removes one apostrophe, so that every text round-trips.

/// Characters that make a cell a formula if it starts with one of them.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Adds an apostrophe to a text that a spreadsheet would run.
pub(super) fn guarded(text: &str) -> String {
    let guard = if text.trim_start_matches('\'').starts_with(FORMULA) { "'" } else { "" };
    format!("{guard}{text}")
}

/// Removes the apostrophe that keeps spreadsheets from running the text as a formula.
pub(super) fn unguarded(text: &str) -> &str {
    let is_guarded = text.trim_start_matches('\'').starts_with(FORMULA);
    text.strip_prefix('\'').filter(|_| is_guarded).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_guarded_text_is_not_a_formula_and_round_trips(text in "['=+\\-@\t\ra ]{0,6}|.{0,20}") {
            let guarded = guarded(&text);
            prop_assert!(!guarded.starts_with(FORMULA));
            prop_assert_eq!(unguarded(&guarded), text);
        }
    }
}
