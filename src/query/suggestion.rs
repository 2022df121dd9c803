//! Suggestions are tried before they are sent: the text with the edit is read again.

use super::diagnostic::{Edit, Fault, Stage};
use super::parse;

fn earliest(faults: &[Fault]) -> Option<Stage> {
    faults.iter().map(|fault| fault.code.stage()).min()
}

/// Takes away the edits that do not help. `read` says what is wrong with a text.
///
/// An edit helps when the text with it is no worse understood than before, the problem is gone,
/// nothing is wrong with what was put in, and the grammar goes on beyond it. Edits of what the scan
/// finds help together, too, when with all of them the grammar accepts the text.
pub(super) fn keep_proven(
    mut faults: Vec<Fault>,
    text: &str,
    read: impl Fn(&str) -> Vec<Fault>,
) -> Vec<Fault> {
    let before = earliest(&faults);
    // Quotes and parentheses come in pairs, and half a pair helps nobody.
    let helps_together = before == Some(Stage::Scan) && {
        let after = earliest(&read(&with_all(text, &faults)));
        after.is_none_or(|stage| stage > Stage::Grammar)
    };
    let count = |faults: &[Fault], code| faults.iter().filter(|fault| fault.code == code).count();
    let counts: Vec<usize> = faults.iter().map(|fault| count(&faults, fault.code)).collect();
    for (fault, count_before) in faults.iter_mut().zip(counts) {
        let Some(edit) = &fault.edit else { continue };
        let (edited, place) = edit.apply(text);
        let after = read(&edited);
        let moved = edit.moved(fault.span);
        let is_left = |left: &Fault| left.code == fault.code && left.span.touches(moved);
        let is_gone = !after.iter().any(is_left) || count(&after, fault.code) < count_before;
        let is_in_the_way = |left: &Fault| {
            let between = edited.get(place.end..left.span.start);
            let is_next = between.is_some_and(|between| between.trim_ascii().is_empty());
            let is_grammar = left.code.stage() == Stage::Grammar;
            left.span.touches(place) || (is_grammar && (left.span.start < place.end || is_next))
        };
        // No stage is later than none that fails.
        let is_no_worse = after.is_empty() || earliest(&after) >= before;
        let helps_alone = is_gone && is_no_worse && !after.iter().any(is_in_the_way);
        if !helps_alone && !helps_together {
            fault.edit = None;
        }
    }
    faults
}

/// The text with all edits of its problems, the last one first, so that places stay what they were.
fn with_all(text: &str, faults: &[Fault]) -> String {
    let mut edits: Vec<&Edit> = faults.iter().filter_map(|fault| fault.edit.as_ref()).collect();
    edits.sort_by_key(|edit| edit.span.start);
    edits.iter().rev().fold(text.to_owned(), |text, edit| edit.apply(&text).0)
}

/// Takes away the edits of warnings that would be warned of themselves. Each is a whole expression
/// in the place of another, so it is read alone.
pub(super) fn keep_readable(mut warnings: Vec<Fault>) -> Vec<Fault> {
    for warning in &mut warnings {
        let text = warning.edit.as_ref().map(|edit| edit.text.as_str()).unwrap_or_default();
        if !parse::filter(text).is_ok_and(|parsed| parsed.warnings.is_empty()) {
            warning.edit = None;
        }
    }
    warnings
}
