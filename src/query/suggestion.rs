//! Suggestions are tried before they are sent: the text with the edit is read again.

use super::diagnostic::{Code, Fault};
use super::parse;

/// In which order problems come to light; those of a stage hide those of the later ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Scan,
    Grammar,
    Values,
    Names,
}

fn stage(code: Code) -> Stage {
    match code {
        Code::TextTooLong
        | Code::TooDeep
        | Code::Empty
        | Code::Unterminated
        | Code::InvalidCharacter
        | Code::ForeignOperator
        | Code::UnbalancedParenthesis => Stage::Scan,
        Code::UnexpectedToken | Code::ReservedWord | Code::UnsupportedArithmetic => Stage::Grammar,
        Code::InvalidEscape
        | Code::InvalidNumber
        | Code::InvalidDate
        | Code::InvalidTimestamp
        | Code::InvalidDuration
        | Code::TooManyPredicates
        | Code::TooManyItems => Stage::Values,
        _ => Stage::Names,
    }
}

fn earliest(faults: &[Fault]) -> Option<Stage> {
    faults.iter().map(|fault| stage(fault.code)).min()
}

/// Takes away the edits that do not help. `read` says what is wrong with a text.
///
/// An edit helps when the text with it is no worse understood than before, the problem is gone from
/// its place, and the grammar goes on beyond it.
pub(super) fn keep_proven(
    mut faults: Vec<Fault>,
    text: &str,
    read: impl Fn(&str) -> Vec<Fault>,
) -> Vec<Fault> {
    let before = earliest(&faults);
    for fault in &mut faults {
        let Some(edit) = &fault.edit else { continue };
        let (edited, place) = edit.apply(text);
        let after = read(&edited);
        let is_in_the_way = |left: &Fault| {
            (left.code == fault.code && left.span.touches(place))
                || (left.code == Code::UnexpectedToken && left.span.start < place.end)
        };
        // No stage is later than none that fails.
        let is_no_worse = after.is_empty() || earliest(&after) >= before;
        if !is_no_worse || after.iter().any(is_in_the_way) {
            fault.edit = None;
        }
    }
    faults
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
