//! The faults of a query whose grammar is right: what is wrong in each case, and what to write instead.

use crate::query::ast::{Clock, ClockBase, Comparison, Literal, Name, Operand, Spanned, Subject};
use crate::query::diagnostic::{Code, Fault, Span, nearest};
use crate::query::limits::MAX_IN_ITEMS;
use crate::query::plan::{Part, Term};
use crate::query::schema::{Field, Schema};
use crate::query::value::{Type, Value};
use crate::query::{format, literal};

/// Words for days relative to the present one, which are no fields.
const RELATIVE_DAYS: [&str; 3] = ["tomorrow", "yesterday", "current_date"];

/// A field that stands alone and is no boolean.
pub(super) fn not_a_flag(subject: &Spanned<Subject>, ty: Type) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("`{name}` is {} and cannot stand alone", ty.with_article());
    let help = format!("compare it, as in {name} = {}", ty.example());
    Fault::new(Code::OperatorMismatch, subject.span, message).help(help)
}

/// A part of a text is looked for in one that is not searchable.
pub(super) fn not_searchable(operator: &str, place: Span, subject: &Spanned<Subject>) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("`{operator}` does not exist for `{name}`, which is not searchable");
    let help = "its declaration has `search = false`; compare it with `=`";
    Fault::new(Code::OperatorMismatch, place, message).help(help)
}

/// An operator that fields of the type do not have.
pub(super) fn no_such_operator(
    operator: &str,
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
) -> Fault {
    let name = subject_text(&subject.node);
    let message = format!("`{operator}` does not exist for `{name}`, {}", ty.with_article());
    Fault::new(Code::OperatorMismatch, place, message).help(operators(ty))
}

/// A range whose first bound is the greater one. Each bound comes with its value.
pub(super) fn reversed_bounds(
    (low, low_value): (&Spanned<Operand>, &Value),
    (high, high_value): (&Spanned<Operand>, &Value),
) -> Fault {
    let span = low.span.to(high.span);
    let message = format!("nothing lies between {low_value} and {high_value}");
    let swapped = [high, low].map(|bound| format::operand_text(&bound.node));
    Fault::new(Code::ReversedBounds, span, message)
        .help("the lower bound stands first")
        .suggest(span, swapped.join(" and "))
}

/// A name that is no field.
pub(super) fn unknown_field(name: &Spanned<Name>, schema: &Schema) -> Fault {
    let message = format!("{} has no field `{}`", schema.name, name.node);
    Fault::new(Code::UnknownField, name.span, message).did_you_mean(&name.node, schema.names())
}

/// A name that is no function.
pub(super) fn unknown_function(name: &Spanned<Name>) -> Fault {
    let message = format!("there is no function `{}`", name.node);
    let fault = Fault::new(Code::UnknownFunction, name.span, message);
    if ["lower", "upper", "casefold"].iter().any(|case| case.eq_ignore_ascii_case(&name.node)) {
        return fault.help("`contains`, `starts with` and `ends with` are indifferent to case");
    }
    fault.did_you_mean(&name.node, Part::FUNCTIONS.iter().map(|(known, _)| *known))
}

/// A function of a field that is of another type than it takes.
pub(super) fn function_of(
    function: &Spanned<Name>,
    field: &Field,
    place: Span,
    schema: &Schema,
) -> Fault {
    let (name, takes, is) = (field.name, Part::TAKES.with_article(), field.ty.with_article());
    let message = format!("{} takes {takes}, and `{name}` is {is}", function.node);
    let dates = schema.fields.iter().filter(|field| field.ty == Type::Date);
    let dates = dates.map(|field| field.name).collect::<Vec<_>>().join(", ");
    Fault::new(Code::TypeMismatch, place, message).help(format!("there are the dates: {dates}"))
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
    let fault = Fault::new(Code::NullComparison, place, "a comparison with null is never true")
        .help(format!("write {name} {test}"));
    match operator {
        Some((Comparison::Equal | Comparison::NotEqual, operator)) => {
            fault.suggest(operator.to(place), test)
        }
        _ => fault,
    }
}

/// `null` in a list, or as the text that is looked for.
pub(super) fn null_as_item(place: Span, subject: &Spanned<Subject>) -> Fault {
    let name = subject_text(&subject.node);
    let help = format!("test it apart: {name} is null, or {name} is not null");
    Fault::new(Code::NullComparison, place, "null is equal to nothing and part of nothing")
        .help(help)
}

/// The same fault of a name that is no field, for a name that was meant as a day or as a text.
pub(super) fn meant_as_value(
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
        return fault.help(format!("write {day}")).suggest(place, day);
    }
    let is_text = ty == Type::Text
        && name.function.is_none()
        && nearest(&name.field.node, schema.names()).is_none();
    if is_text { in_quotes(fault, place, name) } else { fault }
}

/// An operand of another type than the subject: what it is called, and its type.
pub(super) fn other_type(
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
    (found, found_type): (String, Type),
) -> Fault {
    let (name, found_type) = (subject_text(&subject.node), found_type.with_article());
    let message = format!("`{name}` is {}, and `{found}` is {found_type}", ty.with_article());
    Fault::new(Code::TypeMismatch, place, message)
}

/// `today` or `now`, which is of type `clock_type`, opposite a subject of another type.
pub(super) fn other_clock(
    clock: &Clock,
    clock_type: Type,
    place: Span,
    subject: &Spanned<Subject>,
    ty: Type,
) -> Fault {
    let fault = other_type(place, subject, ty, (clock.base.as_str().to_owned(), clock_type));
    match ty {
        Type::Date => {
            let meant = Clock { base: ClockBase::Today, ..*clock };
            let meant = format::operand_text(&Operand::Clock(meant));
            fault.help(format!("write {meant}")).suggest(place, meant)
        }
        // A day has many instants, so there is no suggestion.
        Type::Timestamp => {
            fault.help("write an instant, as in 2024-01-31T00:00:00Z, or an offset, as in now - 1d")
        }
        _ => fault,
    }
}

/// A field or a clock where only a value may stand.
pub(super) fn literal_expected(operand: &Spanned<Operand>, ty: Type) -> Fault {
    let message = "only a literal or a $parameter can stand here";
    let fault = Fault::new(Code::LiteralExpected, operand.span, message);
    match &operand.node {
        Operand::Subject(word) if ty == Type::Text => in_quotes(fault, operand.span, word),
        _ => fault.help("compare with = or < instead, joined by or"),
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
    let message = format!("`{name}` is {}, and {written} is not", ty.with_article());
    let fault = Fault::new(Code::TypeMismatch, place, message);
    let (operators, example) = (operators(ty), ty.example());
    match (meant_literal(literal, ty), literal, ty) {
        (Some(meant), ..) => {
            fault.help(format!("write {meant}; {operators}")).suggest(place, meant)
        }
        (None, Literal::Integer(year @ 1..=9999), Type::Date) => {
            fault.help(format!("write year({name}) = {year}, or a date such as {example}"))
        }
        _ => fault.help(format!("write {example}, say; {operators}")),
    }
}

/// The literal of the type that one of another type was probably meant to be.
fn meant_literal(literal: &Literal, ty: Type) -> Option<String> {
    match (literal, ty) {
        (Literal::Text(text), Type::Date) if text == "today" => Some(text.clone()),
        (Literal::Text(text), Type::Timestamp) if text == "now" => Some(text.clone()),
        (Literal::Text(text), Type::Date) => match literal::date(text) {
            Ok(date) => Some(date.to_string()),
            Err(misread) => misread.meant.filter(|meant| literal::date(meant).is_ok()),
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

/// A number that no value of the term can be equal to.
pub(super) fn out_of_range(number: i64, place: Span, term: Term) -> Fault {
    let range = term.column_range();
    let message = format!("{number} does not fit into `{term}`");
    let help = format!("it holds {} to {}", range.start(), range.end());
    Fault::new(Code::OutOfRange, place, message).help(help)
}

/// A list without items.
pub(super) fn empty_list(place: Span) -> Fault {
    Fault::new(Code::EmptyList, place, "the list is empty, and nothing is in it")
        .help("name at least one value, or leave the test out")
}

/// A list with this many items, more than are allowed.
pub(super) fn too_many_items(count: usize, place: Span) -> Fault {
    Fault::new(Code::TooManyItems, place, format!("the list has {count} items"))
        .help(format!("at most {MAX_IN_ITEMS} are allowed"))
}

/// A parameter that is used with fields of both types.
pub(super) fn conflicting_parameter(name: &str, place: Span, first: Type, second: Type) -> Fault {
    let (first, second) = (first.with_article(), second.with_article());
    let message = format!("`${name}` is used as {first} and as {second}");
    Fault::new(Code::ConflictingParameter, place, message)
        .help("use two parameters of different names")
}

/// A field that an order names again; `key` is what to remove.
pub(super) fn repeated_key(name: &str, place: Span, key: Span) -> Fault {
    Fault::new(Code::RepeatedOrderKey, place, format!("`{name}` is in the order already"))
        .help("remove it: only the first decides")
        .suggest(key, "")
}

fn operators(ty: Type) -> String {
    format!("{} fields have {}", ty.as_str(), ty.operators().join(", "))
}

/// The fault of a word that was probably meant as text.
fn in_quotes(fault: Fault, place: Span, word: &Subject) -> Fault {
    let text = format!("\"{}\"", subject_text(word));
    fault.help(format!("text stands in quotes: {text}")).suggest(place, text)
}

/// A field, or a function of one, as it is written.
pub(super) fn subject_text(subject: &Subject) -> String {
    match &subject.function {
        None => subject.field.node.to_string(),
        Some(function) => format!("{}({})", function.node, subject.field.node),
    }
}
