//! How an error is told to somebody at a terminal, who may see its cause.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::app::search::Selection;
use crate::error::{Error, Kind};
use crate::query::{Argument, Diagnostic};

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
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let renderer = if std::io::stderr().is_terminal() && !is_plain {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let groups: Vec<Group<'_>> =
        problems.iter().map(|problem| group(problem, level, selection)).collect();
    renderer.render(&groups)
}

fn group<'a>(problem: &'a Diagnostic, level: &Level<'a>, selection: &'a Selection) -> Group<'a> {
    let Diagnostic { code, parameter, message, help, start, end, .. } = problem;
    let title = level.clone().primary_title(message).id(code.as_str());
    let place = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
    let snippet = text(selection, parameter).zip(place).map(|(text, (start, end))| {
        let place = AnnotationKind::Primary.span(start..end.max(start));
        Snippet::source(text).path(parameter).annotation(place)
    });
    let help = help.as_ref().map(|help| Level::HELP.message(help));
    title.elements(snippet).elements(help)
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
