//! Errors as text for a terminal. Unlike clients, operators see the cause.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

use crate::app::selection::Selection;
use crate::error::{Error, Kind, Violation};
use crate::query::Diagnostic;
use crate::query::diagnostic::Span;
use crate::record::declaration::{Mistake, Mistakes};

/// Describes an error.
pub(super) fn explain(error: Error) -> String {
    explain_in(error, &Selection::default())
}

/// Describes an error of a selection. Each problem of a filter or an order is shown with its place in the text.
pub(super) fn explain_in(error: Error, selection: &Selection) -> String {
    if !error.diagnostics.is_empty() {
        let problems = describe(&error.diagnostics, &Level::ERROR, selection);
        return format!("{}\n{problems}", error.kind.title());
    }
    // Without the title, which the detail would only repeat.
    let text = if error.kind == Kind::InvalidRecord && !error.violations.is_empty() {
        let rules: Vec<String> = error.violations.iter().map(rule).collect();
        rules.join("\n")
    } else {
        error.detail
    };
    match &error.cause {
        // The detail refers clients to the log. At the command line the cause is shown instead.
        Some(cause) if error.kind == Kind::Internal => printable(&cause.to_string()),
        // The error of the unique index would only repeat the detail.
        Some(_) if error.kind == Kind::Duplicate => printable(&text),
        Some(cause) => format!("{}\n  {}", printable(&text), printable(&cause.to_string())),
        None => printable(&text),
    }
}

/// Describes a broken rule, such as `line 2: title: is missing`.
pub(super) fn rule(violation: &Violation) -> String {
    let (place, detail) = (violation.place(), &violation.detail);
    match violation.pointer.strip_prefix('/') {
        Some(member) => format!("{place}{member}: {detail}"),
        None => format!("{place}{detail}"),
    }
}

/// Replaces control characters in a text from outside, which a terminal would execute.
pub(super) fn printable(text: &str) -> String {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_command(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Escapes control characters in a text from outside that has one line.
pub(super) fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Describes problems or warnings of a selection, in colour on a terminal unless `NO_COLOR` is set.
pub(super) fn describe(
    problems: &[Diagnostic],
    level: &Level<'_>,
    selection: &Selection,
) -> String {
    let groups: Vec<Group<'_>> =
        problems.iter().flat_map(|problem| groups(problem, level, selection)).collect();
    render(&groups)
}

/// Describes the mistakes of declarations, each with its place in the file.
pub(super) fn explain_mistakes(files: &[Mistakes]) -> String {
    let groups = files.iter().flat_map(|Mistakes { file, source, list }| {
        // The name of a file may contain control characters.
        let file = printable(file).replace(['\n', '\t'], " ");
        list.iter().map(move |Mistake { span, message, help }| {
            let title = Level::ERROR.primary_title(message);
            let help = help.as_deref().map(|help| Level::HELP.message(help));
            if source.is_empty() {
                return title.element(Origin::path(file.clone())).elements(help);
            }
            let (lines, start, line) = lines_of(source, *span);
            let place = span.start.saturating_sub(start)..span.end.saturating_sub(start);
            let snippet = Snippet::source(lines).path(file.clone()).line_start(line);
            let place = AnnotationKind::Primary.span(place);
            title.element(snippet.annotation(place)).elements(help)
        })
    });
    render(&groups.collect::<Vec<_>>())
}

/// Returns the lines around a place, their offset in bytes, and the number of the first. The renderer scans its whole
/// input for each mistake, which would be slow for a large file.
fn lines_of(source: &str, place: Span) -> (&str, usize, usize) {
    let before = source.get(..place.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let after = source.get(place.end..).unwrap_or_default();
    let end = place.end + after.find('\n').unwrap_or(after.len());
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    match source.get(start..end) {
        Some(lines) if !lines.is_empty() => (lines, start, line),
        _ => (source, 0, 1),
    }
}

fn render(groups: &[Group<'_>]) -> String {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let renderer = if std::io::stderr().is_terminal() && !is_plain {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.render(groups)
}

/// Returns a problem with its place, followed by the text with the suggestion.
fn groups<'a>(
    problem: &'a Diagnostic,
    level: &Level<'a>,
    selection: &'a Selection,
) -> Vec<Group<'a>> {
    let Diagnostic { code, parameter, message, help, start, end, suggestion, .. } = problem;
    let title = level.clone().primary_title(message).id(code.as_str());
    let text = selection.text(parameter);
    let snippet = text.zip(range(*start, *end)).map(|(text, place)| {
        Snippet::source(text).path(parameter).annotation(AnnotationKind::Primary.span(place))
    });
    let help = help.as_deref().unwrap_or("write");
    let patch = suggestion.as_ref().and_then(|edit| {
        let patch = Patch::new(range(edit.start, edit.end)?, edit.text.as_str());
        Some(Level::HELP.secondary_title(help).element(Snippet::source(text?).patch(patch)))
    });
    let is_patched = patch.is_some();
    let message = Some(Level::HELP.message(help)).filter(|_| !is_patched && problem.help.is_some());
    [title.elements(snippet).elements(message)].into_iter().chain(patch).collect()
}

fn range(start: i32, end: i32) -> Option<std::ops::Range<usize>> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    Some(start..end.max(start))
}
