//! Checks suggestions before they are sent: applies each edit and reads the text again.

use super::diagnostic::{Edit, Fault, Span, Stage};
use super::parse;

/// What is found in a text that is read again.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Everything that is wrong with the text.
    pub(super) faults: Vec<Fault>,
    /// The places of the conditions of a filter, or of the keys of an order. Empty if the text is
    /// valid, or if the grammar rejects it.
    pub(super) parts: Vec<Span>,
    /// The words between conditions: those of a filter; an order has none.
    pub(super) connectives: &'static [&'static str],
}

/// The words between the conditions of a filter.
pub(super) const CONNECTIVES: &[&str] = &["and", "or"];

impl Reading {
    /// Whether a problem of the text is in the condition or key that has an edit at `place`. If the
    /// grammar rejects the text, connectives and commas decide.
    fn is_near(&self, text: &str, fault: &Fault, place: Span) -> bool {
        let (first, second) =
            if fault.span.start < place.start { (fault.span, place) } else { (place, fault.span) };
        // A connective that is inserted belongs to no condition.
        let edit = text.get(place.start..place.end).unwrap_or_default();
        let is_connective = ["and", "or", ","].contains(&edit.trim_ascii());
        let is_adjacent = text.get(first.end..second.start).is_none_or(|gap| !self.separates(gap));
        fault.span.touches(place)
            || (is_adjacent && !is_connective)
            || self.parts.iter().any(|part| part.touches(place) && part.touches(fault.span))
    }

    /// Whether a piece of the text has a word or sign between two conditions or keys.
    fn separates(&self, piece: &str) -> bool {
        let is_connective =
            |word: &str| self.connectives.iter().any(|c| c.eq_ignore_ascii_case(word));
        piece.contains(',') || piece.split_ascii_whitespace().any(is_connective)
    }
}

fn earliest(faults: &[Fault]) -> Option<Stage> {
    faults.iter().map(|fault| fault.code.stage()).min()
}

/// Removes the edits that do not help. `read` reads a text again.
///
/// An edit helps if it removes its problem, causes no problem of an earlier stage, and leaves no new
/// problem in the condition that it changes. Other conditions may have problems of later stages,
/// which the removed one has hidden. Edits of the scan's problems also help if all of them together
/// do.
pub(super) fn keep_proven(
    mut faults: Vec<Fault>,
    text: &str,
    read: impl Fn(&str) -> Reading,
) -> Vec<Fault> {
    // Quotes and parentheses come in pairs, and half a pair does not help.
    let is_scan = earliest(&faults) == Some(Stage::Scan);
    if is_scan && together(&faults, text, &read).iter().all(|helps| *helps) {
        return faults;
    }
    let alone: Vec<bool> = faults.iter().map(|fault| helps(fault, &faults, text, &read)).collect();
    remove(&mut faults, &alone);
    // Each of two bounds can be right, and yet be the wrong way round with the other.
    if alone.iter().filter(|helps| **helps).count() > 1 {
        let kept = together(&faults, text, &read);
        remove(&mut faults, &kept);
    }
    faults
}

/// Removes the edits that are not kept.
fn remove(faults: &mut [Fault], kept: &[bool]) {
    for (position, fault) in faults.iter_mut().enumerate() {
        fault.edit = fault.edit.take().filter(|_| kept.get(position) == Some(&true));
    }
}

/// Whether the edit of one of the problems of a text helps without those of the others.
fn helps(fault: &Fault, faults: &[Fault], text: &str, read: impl Fn(&str) -> Reading) -> bool {
    let Some(edit) = &fault.edit else { return false };
    let (edited, place) = edit.apply(text);
    let after = read(&edited);
    let moved = edit.moved(fault.span);
    let count = |faults: &[Fault]| faults.iter().filter(|other| other.code == fault.code).count();
    let is_left = |left: &Fault| left.code == fault.code && left.span.touches(moved);
    let is_gone = !after.faults.iter().any(is_left) || count(&after.faults) < count(faults);
    let is_known = |left: &Fault| {
        faults.iter().any(|known| known.code == left.code && edit.moved(known.span) == left.span)
    };
    let is_in_the_way = |left: &Fault| {
        left.span.touches(place) || (!is_known(left) && after.is_near(&edited, left, place))
    };
    let is_no_worse = after.faults.is_empty() || earliest(&after.faults) >= earliest(faults);
    is_gone && is_no_worse && !after.faults.iter().any(is_in_the_way)
}

/// For each problem, whether its edit helps if the edits of all are applied: the scan finds no new
/// problem, and the condition has none.
fn together(faults: &[Fault], text: &str, read: impl Fn(&str) -> Reading) -> Vec<bool> {
    let mut edits: Vec<&Edit> = faults.iter().filter_map(|fault| fault.edit.as_ref()).collect();
    // The last one first, so that the places of the others stay what they were.
    edits.sort_by_key(|edit| edit.span.start);
    edits.reverse();
    let edited = edits.iter().fold(text.to_owned(), |text, edit| edit.apply(&text).0);
    let after = read(&edited);
    let moved = |place: Span| edits.iter().fold(place, |place, edit| edit.moved(place));
    let is_known = |left: &&Fault| {
        let is_same = |known: &Fault| known.code == left.code && moved(known.span) == left.span;
        faults.iter().any(|known| known.edit.is_none() && is_same(known))
    };
    let new: Vec<&Fault> = after.faults.iter().filter(|left| !is_known(left)).collect();
    let is_scan = |fault: &&Fault| fault.code.stage() == Stage::Scan;
    let is_clean = |fault: &Fault| {
        fault.edit.as_ref().is_none_or(|edit| {
            let start = edit.span.start;
            let earlier = edits.iter().filter(|other| other.span.start < start);
            let place = Span::new(start, start + edit.text.len());
            let place = earlier.fold(place, |place, edit| edit.moved(place));
            !new.iter().any(|left| is_scan(left) || after.is_near(&edited, left, place))
        })
    };
    faults.iter().map(is_clean).collect()
}

/// Removes the edits of warnings that would cause a warning themselves. Each replaces a whole
/// expression, so it is read alone.
pub(super) fn keep_readable(mut warnings: Vec<Fault>) -> Vec<Fault> {
    for warning in &mut warnings {
        let text = warning.edit.as_ref().map(|edit| edit.text.as_str()).unwrap_or_default();
        if !parse::filter(text).is_ok_and(|parsed| parsed.warnings.is_empty()) {
            warning.edit = None;
        }
    }
    warnings
}
