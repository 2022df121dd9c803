//! Formats a query as its canonical text: minimal parentheses, lower-case keywords, single quotes.
//! For every tree that the parser can build, `parse(format(tree)) == tree`.

use std::fmt::Write;

use chrono::SecondsFormat;

use super::ast::{
    Direction, Expr, Literal, Operand, OrderKey, Predicate, Query, Spanned, Subject, Test,
    is_reserved,
};

/// Formats a filter as its canonical text.
pub fn filter(expr: &Expr) -> String {
    print(expr, Style::Canonical)
}

/// Formats a filter with parentheses around every `and` inside an `or`, to show precedence.
pub fn explicit(expr: &Expr) -> String {
    print(expr, Style::Explicit)
}

/// Formats an order as its canonical text.
pub fn order_by(keys: &[OrderKey]) -> String {
    let mut out = String::new();
    for (position, key) in keys.iter().enumerate() {
        if position > 0 {
            out.push_str(", ");
        }
        name(&mut out, &key.field.node);
        if key.direction.node == Direction::Descending {
            out.push_str(" desc");
        }
    }
    out
}

/// Formats a literal.
pub fn literal_text(value: &Literal) -> String {
    let mut out = String::new();
    literal(&mut out, value);
    out
}

/// Formats an operand.
pub fn operand_text(value: &Operand) -> String {
    let mut out = String::new();
    operand(&mut out, value, Style::Canonical);
    out
}

/// Formats a name, in backticks if it is a keyword.
pub fn name_text(text: &str) -> String {
    let mut out = String::new();
    name(&mut out, text);
    out
}

/// Formats a text between the given quotes.
pub fn quoted(text: &str, quote: char) -> String {
    let mut out = String::new();
    string(&mut out, text, quote);
    out
}

/// Formats filter and order, one line each, for the fingerprint of a cursor.
pub fn query(query: &Query) -> String {
    let filter = query.filter.as_ref().map(filter).unwrap_or_default();
    format!("{filter}\n{}", order_by(&query.order_by))
}

/// Formats filter and order without the values, for the log. They can be personal data.
pub fn masked(query: &Query) -> String {
    let filter = query.filter.as_ref().map(|filter| print(filter, Style::Masked));
    let order = Some(order_by(&query.order_by)).filter(|order| !order.is_empty());
    let order = order.map(|order| format!("order by {order}"));
    filter.into_iter().chain(order).collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Canonical,
    /// With parentheses around every `and` inside an `or`.
    Explicit,
    /// With `?` for each literal, and for all of a list.
    Masked,
}

fn print(expr: &Expr, style: Style) -> String {
    let mut out = String::new();
    expression(&mut out, expr, style);
    out
}

fn expression(out: &mut String, expr: &Expr, style: Style) {
    match expr {
        Expr::All(terms) => chain(out, terms, " and ", style, |term| matches!(term, Expr::Any(_))),
        Expr::Any(terms) => chain(out, terms, " or ", style, |term| {
            style == Style::Explicit && matches!(term, Expr::All(_))
        }),
        Expr::Not(inner) => {
            out.push_str("not ");
            let inner = &inner.node;
            parenthesised(out, inner, style, matches!(inner, Expr::All(_) | Expr::Any(_)));
        }
        Expr::Predicate(test) => predicate(out, test, style),
    }
}

fn chain(
    out: &mut String,
    terms: &[Spanned<Expr>],
    joint: &str,
    style: Style,
    needs_parentheses: impl Fn(&Expr) -> bool,
) {
    for (position, Spanned { node: term, .. }) in terms.iter().enumerate() {
        if position > 0 {
            out.push_str(joint);
        }
        parenthesised(out, term, style, needs_parentheses(term));
    }
}

fn parenthesised(out: &mut String, expr: &Expr, style: Style, needed: bool) {
    if needed {
        out.push('(');
    }
    expression(out, expr, style);
    if needed {
        out.push(')');
    }
}

fn predicate(out: &mut String, predicate: &Predicate, style: Style) {
    subject(out, &predicate.subject.node);
    let not = |negated: &bool| if *negated { " not" } else { "" };
    match &predicate.test.node {
        Test::Flag => {}
        Test::Compare { operator, operand: right } => {
            push(out, format_args!(" {} ", operator.as_str()));
            operand(out, &right.node, style);
        }
        Test::Between { negated, low, high } => {
            push(out, format_args!("{} between ", not(negated)));
            operand(out, &low.node, style);
            out.push_str(" and ");
            operand(out, &high.node, style);
        }
        Test::In { negated, items } => {
            push(out, format_args!("{} in (", not(negated)));
            for (position, item) in items.iter().enumerate() {
                if style == Style::Masked {
                    out.push('?');
                    break;
                }
                if position > 0 {
                    out.push_str(", ");
                }
                operand(out, &item.node, style);
            }
            out.push(')');
        }
        Test::Match { negated, matching, operand: right } => {
            push(out, format_args!("{} {} ", not(negated), matching.as_str()));
            operand(out, &right.node, style);
        }
        Test::Null { negated } => push(out, format_args!(" is{} null", not(negated))),
    }
}

fn subject(out: &mut String, subject: &Subject) {
    match &subject.function {
        None => name(out, &subject.field.node),
        Some(function) => {
            push(out, format_args!("{}(", function.node));
            name(out, &subject.field.node);
            out.push(')');
        }
    }
}

fn operand(out: &mut String, operand: &Operand, style: Style) {
    match operand {
        Operand::Literal(_) if style == Style::Masked => out.push('?'),
        Operand::Literal(value) => literal(out, value),
        Operand::Parameter(parameter) => push(out, format_args!("${parameter}")),
        Operand::Subject(other) => subject(out, other),
        Operand::Clock(clock) => {
            out.push_str(clock.base.as_str());
            if let Some(offset) = clock.offset {
                let sign = if offset.count < 0 { '-' } else { '+' };
                let count = offset.count.unsigned_abs();
                push(out, format_args!(" {sign} {count}{}", offset.unit.as_str()));
            }
        }
    }
}

fn literal(out: &mut String, literal: &Literal) {
    match literal {
        Literal::Text(text) => string(out, text, '\''),
        Literal::Integer(number) => push(out, format_args!("{number}")),
        Literal::Boolean(flag) => push(out, format_args!("{flag}")),
        Literal::Date(date) => push(out, format_args!("{date}")),
        Literal::Timestamp(instant) => {
            out.push_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
        Literal::Null => out.push_str("null"),
    }
}

fn string(out: &mut String, text: &str, quote: char) {
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                push(out, format_args!("\\u{:04X}", u32::from(control)));
            }
            other if other == quote => push(out, format_args!("\\{quote}")),
            other => out.push(other),
        }
    }
    out.push(quote);
}

/// Writes a name, in backticks if it is a keyword.
fn name(out: &mut String, name: &str) {
    if is_reserved(name) {
        push(out, format_args!("`{name}`"));
    } else {
        out.push_str(name);
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
