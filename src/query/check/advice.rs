//! The problems of a query that the grammar accepts, with the advice for each.

use crate::query::ast::{Clock, ClockBase, Comparison, Literal, Name, Operand, Spanned, Subject};
use crate::query::diagnostic::{Code, Fault, Span, nearest};
use crate::query::format;
use crate::query::literal::{self, PLUS_IS_A_SPACE};
use crate::query::plan::Part;
use crate::query::schema::{Field, Schema};
use crate::query::value::{Type, Value};

/// Words for the current day and the days around it in other languages.
const RELATIVE_DAYS: [&str; 3] = ["tomorrow", "yesterday", "current_date"];

/// A field without an operator that is not boolean.
pub(super) fn not_a_flag(subject: &Spanned<Subject>, ty: Type) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("expected an operator after \"{name}\", {}", ty.with_article());
    let help = format!("compare it, as in `{name} = {}`", ty.example());
    Fault::new(Code::OperatorMismatch, subject.span, message).help(help)
}

/// A text search in a field that is not searchable.
pub(super) fn not_searchable(operator: &str, place: Span, subject: &Spanned<Subject>) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("`{operator}` is not supported for \"{name}\": it is not searchable");
    let help = "use `=`, or remove `search = false` from its declaration";
    Fault::new(Code::OperatorMismatch, place, message).help(help)
}

/// An operator that does not exist for the type of the subject.
pub(super) fn no_such_operator(
    operator: &str,
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("`{operator}` is not supported for \"{name}\", {}", ty.with_article());
    Fault::new(Code::OperatorMismatch, place, message).help(operators(ty))
}

/// A range whose lower bound is greater than its upper one. Each bound comes with its value.
pub(super) fn reversed_bounds(
    (low, low_value): (&Spanned<Operand>, &Value),
    (high, high_value): (&Spanned<Operand>, &Value),
) -> Fault {
    let span = low.span.to(high.span);
    let message = format!("expected the lower bound first, found {low_value} and {high_value}");
    let swapped = [high, low].map(|bound| format::operand_text(&bound.node));
    Fault::new(Code::ReversedBounds, span, message)
        .help("swap the bounds")
        .suggest(span, swapped.join(" and "))
}

/// A name that is not a field.
pub(super) fn unknown_field(name: &Spanned<Name>, schema: &Schema) -> Fault {
    let message = format!("unknown field \"{}\"", name.node);
    Fault::new(Code::UnknownField, name.span, message).did_you_mean(&name.node, schema.names())
}

/// A name that is not a function.
pub(super) fn unknown_function(name: &Spanned<Name>) -> Fault {
    let message = format!("unknown function \"{}\"", name.node);
    let fault = Fault::new(Code::UnknownFunction, name.span, message);
    if ["lower", "upper", "casefold"].iter().any(|case| case.eq_ignore_ascii_case(&name.node)) {
        return fault.help("use `contains`, `starts with` or `ends with`, which ignore case");
    }
    fault.did_you_mean(&name.node, Part::FUNCTIONS.iter().map(|(known, _)| *known))
}

/// A function of a field whose type it does not support.
pub(super) fn function_of(
    function: &Spanned<Name>,
    field: &Field,
    place: Span,
    schema: &Schema,
) -> Fault {
    let (name, takes, is) = (field.name, Part::TAKES.with_article(), field.ty.with_article());
    let message = format!("`{}` expects {takes}, found \"{name}\", {is}", function.node);
    let fault = Fault::new(Code::TypeMismatch, place, message);
    let dates = schema.fields.iter().filter(|field| field.ty == Part::TAKES);
    match dates.map(|field| field.name).collect::<Vec<_>>().join(", ") {
        dates if dates.is_empty() => fault.help("the record type has no dates"),
        dates => fault.help(format!("use one of: {dates}")),
    }
}

/// `null` on the right of a comparison, or as a bound, which has no operator.
pub(super) fn compared_with_null(
    place: Span,
    subject: &Spanned<Subject>,
    operator: Option<(Comparison, Span)>,
) -> Fault {
    let name = subject_text(&subject.node);
    let is_unequal = matches!(operator, Some((Comparison::NotEqual, _)));
    let test = if is_unequal { "is not null" } else { "is null" };
    let fault = Fault::new(Code::NullComparison, place, "a comparison with `null` is never true")
        .help(format!("write `{name} {test}`"));
    match operator {
        Some((Comparison::Equal | Comparison::NotEqual, operator)) => {
            fault.suggest(operator.to(place), test)
        }
        _ => fault,
    }
}

/// `null` in a list, or as the text to find.
pub(super) fn null_as_item(place: Span, subject: &Spanned<Subject>) -> Fault {
    let name = subject_text(&subject.node);
    let help = format!("use `{name} is null` or `{name} is not null` as a condition of its own");
    Fault::new(Code::NullComparison, place, "`null` never equals anything").help(help)
}

/// Adds advice to the problem of an unknown field that is likely a day or a text.
pub(super) fn likely_value(
    fault: Fault,
    place: Span,
    name: &Subject,
    ty: Type,
    schema: &Schema,
) -> Fault {
    let word = name.field.node.to_ascii_lowercase();
    let day = match (ty, nearest(&word, RELATIVE_DAYS)) {
        (Type::Date, Some("tomorrow")) => Some("today + 1d"),
        (Type::Date, Some("yesterday")) => Some("today - 1d"),
        (Type::Date, Some(_)) => Some("today"),
        (Type::Timestamp, Some("tomorrow")) => Some("now + 1d"),
        (Type::Timestamp, Some("yesterday")) => Some("now - 1d"),
        (Type::Timestamp, Some(_)) => Some("now"),
        _ => None,
    };
    if let Some(day) = day {
        return fault.help(format!("write `{day}`")).suggest(place, day);
    }
    let is_text = ty == Type::Text
        && name.function.is_none()
        && nearest(&name.field.node, schema.names()).is_none();
    if is_text { in_quotes(fault, place, name) } else { fault }
}

/// An operand of another type than the subject. `found` is its text and its type.
pub(super) fn other_type(
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
    (found, found_type): (String, Type),
) -> Fault {
    let (name, expected) = (subject_text(&subject.node), ty.with_article());
    let found_type = found_type.with_article();
    let message = format!("expected {expected} for \"{name}\", found {found}, {found_type}");
    Fault::new(Code::TypeMismatch, place, message)
}

/// `today` or `now`, whose type `clock_type` is not that of the subject.
pub(super) fn other_clock(
    clock: &Clock,
    clock_type: Type,
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
) -> Fault {
    let found = format!("`{}`", clock.base.as_str());
    let fault = other_type(place, subject, ty, (found, clock_type));
    match ty {
        Type::Date => {
            let likely = Clock { base: ClockBase::Today, ..*clock };
            let likely = format::operand_text(&Operand::Clock(likely));
            fault.help(format!("write `{likely}`")).suggest(place, likely)
        }
        // A day contains many timestamps, so there is no suggestion.
        Type::Timestamp => {
            let help =
                "write a timestamp such as 2024-01-31T00:00:00Z, or an offset such as `now - 1d`";
            fault.help(help)
        }
        _ => fault,
    }
}

/// A field, `today` or `now` in a list or text search.
pub(super) fn literal_expected(operand: &Spanned<Operand>, ty: Type) -> Fault {
    let found = format::operand_text(&operand.node);
    let message = format!("expected a value or a parameter, found `{found}`");
    let fault = Fault::new(Code::LiteralExpected, operand.span, message);
    match &operand.node {
        Operand::Subject(word) if ty == Type::Text => in_quotes(fault, operand.span, word),
        _ => fault.help("compare with `=` or `<` instead, and join the conditions with `or`"),
    }
}

/// A literal of another type than the subject.
pub(super) fn other_literal(
    literal: &Literal,
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
) -> Fault {
    let name = subject_text(&subject.node);
    let written = format::literal_text(literal);
    let message = format!("expected {} for \"{name}\", found {written}", ty.with_article());
    let fault = Fault::new(Code::TypeMismatch, place, message);
    let (operators, example) = (operators(ty), ty.example());
    match (likely_literal(literal, ty), literal, ty) {
        (Some(likely), ..) => fault.help(format!("write `{likely}`")).suggest(place, likely),
        (None, Literal::Integer(year @ 1..=9999), Type::Date) => fault
            .help(format!("compare the year, as in `year({name}) = {year}`, or write {example}")),
        (None, Literal::Text(text), Type::Timestamp) if plus_lost(text).is_some() => {
            let likely = plus_lost(text).unwrap_or_default();
            fault.help(format!("write `{likely}`; {PLUS_IS_A_SPACE}")).suggest(place, likely)
        }
        _ => fault.help(format!("write a value such as {example}; {operators}")),
    }
}

/// Returns the literal of the type that a literal of another type likely represents.
fn likely_literal(literal: &Literal, ty: Type) -> Option<String> {
    match (literal, ty) {
        (Literal::Text(text), Type::Date) if text == "today" => Some(text.clone()),
        (Literal::Text(text), Type::Timestamp) if text == "now" => Some(text.clone()),
        (Literal::Text(text), Type::Date) => match literal::date(text) {
            Ok(date) => Some(date.to_string()),
            Err(misread) => misread.likely.filter(|likely| literal::date(likely).is_ok()),
        },
        (Literal::Text(text), Type::Timestamp) => {
            literal::timestamp(text).ok().map(|_| text.clone())
        }
        (Literal::Text(text), Type::Integer) => text.parse::<i64>().ok().map(|n| n.to_string()),
        (Literal::Text(text), Type::Boolean) => {
            text.parse::<bool>().ok().map(|flag| flag.to_string())
        }
        (Literal::Date(date), Type::Timestamp) => Some(format!("{date}T00:00:00Z")),
        (Literal::Integer(number), Type::Text) => Some(format!("\"{number}\"")),
        _ => None,
    }
}

/// A list without items.
pub(super) fn empty_list(place: Span) -> Fault {
    Fault::new(Code::EmptyList, place, "expected at least one value, found an empty list")
        .help("add a value, or remove the condition")
}

/// A parameter that is used with fields of two types.
pub(super) fn conflicting_parameter(name: &str, place: Span, first: Type, second: Type) -> Fault {
    let (first, second) = (first.with_article(), second.with_article());
    let message = format!("expected {first} for `${name}` as before, found {second}");
    Fault::new(Code::ConflictingParameter, place, message)
        .help("use two parameters with different names")
}

/// A field that is repeated in an order. `key` is the place to remove.
pub(super) fn repeated_key(name: &str, place: Span, key: Span) -> Fault {
    Fault::new(Code::RepeatedOrderKey, place, format!("repeated field \"{name}\""))
        .help("remove it: only its first use has an effect")
        .suggest(key, "")
}

fn operators(ty: Type) -> String {
    format!("operators of {}: {}", ty.with_article(), ty.operators().join(", "))
}

/// Adds advice to the problem of a word that is likely text.
fn in_quotes(fault: Fault, place: Span, word: &Subject) -> Fault {
    let text = format!("\"{}\"", subject_text(word));
    fault.help(format!("quote text: write `{text}`")).suggest(place, text)
}

/// Adds the `+` of an offset to a timestamp that has a space instead.
fn plus_lost(text: &str) -> Option<String> {
    let likely = text.replacen(' ', "+", 1);
    literal::timestamp(&likely).is_ok().then_some(likely)
}

/// Returns a field, or a function of one, as it is written.
pub(super) fn subject_text(subject: &Subject) -> String {
    match &subject.function {
        None => subject.field.node.to_string(),
        Some(function) => format!("{}({})", function.node, subject.field.node),
    }
}
