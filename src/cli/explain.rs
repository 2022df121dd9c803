//! How an error is told to somebody at a terminal, who may see its cause.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

use crate::app::selection::Selection;
use crate::error::{Error, Kind};
use crate::query::{Argument, Diagnostic};
use crate::record::declaration::{Mistake, Mistakes};

/// An error.
pub(super) fn explain(error: Error) -> String {
    explain_in(error, &Selection::default())
}

/// An error of a selection: each problem of a text is shown below its place.
pub(super) fn explain_in(error: Error, selection: &Selection) -> String {
    if !error.diagnostics.is_empty() {
        let problems = describe(&error.diagnostics, &Level::ERROR, selection);
        return format!("{}\n{problems}", error.kind.title());
    }
    match &error.cause {
        // The public text sends people to the log; here is its reader.
        Some(cause) if error.kind == Kind::Internal => printable(&cause.to_string()),
        Some(cause) => {
            format!("{}\n  {}", printable(&error.to_string()), printable(&cause.to_string()))
        }
        None => printable(&error.to_string()),
    }
}

/// A text from outside, without what a terminal would take for a command.
pub(super) fn printable(text: &str) -> String {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_command(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Problems or warnings, coloured on a terminal unless `NO_COLOR` forbids it.
pub(super) fn describe(
    problems: &[Diagnostic],
    level: &Level<'_>,
    selection: &Selection,
) -> String {
    let groups: Vec<Group<'_>> =
        problems.iter().flat_map(|problem| groups(problem, level, selection)).collect();
    render(&groups)
}

/// The mistakes of declarations, each below its place in its file.
pub(super) fn explain_mistakes(files: &[Mistakes]) -> String {
    let groups = files.iter().flat_map(|Mistakes { file, source, list }| {
        list.iter().map(move |Mistake { span, message, help }| {
            let title = Level::ERROR.primary_title(message);
            let help = help.as_deref().map(|help| Level::HELP.message(help));
            if source.is_empty() {
                return title.element(Origin::path(file)).elements(help);
            }
            let place = AnnotationKind::Primary.span(span.start..span.end);
            title.element(Snippet::source(source).path(file).annotation(place)).elements(help)
        })
    });
    render(&groups.collect::<Vec<_>>())
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

/// A problem below its place, and below that the text with the suggestion.
fn groups<'a>(
    problem: &'a Diagnostic,
    level: &Level<'a>,
    selection: &'a Selection,
) -> Vec<Group<'a>> {
    let Diagnostic { code, parameter, message, help, start, end, suggestion, .. } = problem;
    let title = level.clone().primary_title(message).id(code.as_str());
    let text = text(selection, parameter);
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

/// The text a problem is in, by the name of its parameter.
fn text<'a>(selection: &'a Selection, parameter: &str) -> Option<&'a str> {
    match parameter {
        "filter" => selection.filter.as_deref(),
        "order_by" => selection.order_by.as_deref(),
        other => match selection.parameters.get(other.strip_prefix("p.")?)? {
            Argument::Untyped(text) | Argument::Text(text) => Some(text),
            _ => None,
        },
    }
}
