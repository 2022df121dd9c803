//! The tree of a query as clients see it: nodes with their kind, their place and what they hold.
//!
//! The places are bytes of the text, as those of diagnostics are.

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::query::ast::{
    Direction, Expr, Literal, Offset, Operand, OrderKey, Spanned, Subject, Test,
};
use crate::query::diagnostic::{Span, count};
use crate::query::format::literal_text;

/// A filter and an order as they were read, before names and types are looked at.
#[derive(Debug, Clone, PartialEq, Default, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SyntaxTree {
    /// The filter; absent when there is none, or none that the grammar accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<ExpressionNode>,
    /// The keys of the order; absent when there is none, or none that the grammar accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<Vec<OrderKeyNode>>,
}

/// What kind of expression a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ExpressionType {
    /// All of the terms.
    And,
    /// Any of the terms.
    Or,
    /// The opposite of the one term.
    Not,
    /// A test of one field.
    Predicate,
}

/// An expression that is true, false or unknown of a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct ExpressionNode {
    /// What kind of expression it is, and so which members it has.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: ExpressionType,
    /// The byte of the filter it starts on, counted from 0. Parentheses around it are part of it.
    pub start: i32,
    /// One past the last byte of the filter it covers.
    pub end: i32,
    /// With `and` and `or` two or more, none of them of the same type; with `not` one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Vec<ExpressionNode>>,
    /// With `predicate`: what is tested, of type `field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<OperandNode>,
    /// With `predicate`: how; absent when a boolean field stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorNode>,
    /// With `predicate`: against what; two with `between`, any number with `in`, none with `is null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operands: Option<Vec<OperandNode>>,
}

/// The operator of a predicate.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct OperatorNode {
    /// Its name, as in the list of operators of a field.
    pub name: String,
    /// Whether a `not` belongs to it, as in `not in` and `is not null`.
    pub negated: bool,
    /// The byte of the filter it starts on, counted from 0.
    pub start: i32,
    /// One past the last byte of the filter it covers.
    pub end: i32,
}

/// What kind of operand a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum OperandType {
    /// A field, or a function of one.
    Field,
    /// A parameter, whose value comes with a request.
    Parameter,
    /// `today` or `now`, perhaps with an offset.
    Clock,
    /// Text in quotes; or an id, which is told apart by the field opposite.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A day.
    Date,
    /// An instant.
    Timestamp,
    /// `null`.
    Null,
}

/// A side of a predicate.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct OperandNode {
    /// What kind of operand it is, and so which members it has.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: OperandType,
    /// The byte of the filter it starts on, counted from 0.
    pub start: i32,
    /// One past the last byte of the filter it covers.
    pub end: i32,
    /// With `field`, `parameter` and `clock`: its name, without `$` and backticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With `field`: the function that is applied to it, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// With `clock`: how far from it, if an offset is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// With literals other than `null`: the value. Dates and timestamps are strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Any<serde_json::Value>>,
}

/// A key of an order.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct OrderKeyNode {
    /// The field's name.
    pub field: String,
    /// Which way; nulls come last either way.
    pub direction: Direction,
    /// The byte of the order it starts on, counted from 0.
    pub start: i32,
    /// One past the last byte of the order it covers.
    pub end: i32,
}

/// The tree of a filter that was read from this text.
pub(super) fn filter(expr: &Expr, text: &str) -> ExpressionNode {
    let start = text.len() - text.trim_ascii_start().len();
    expression(expr, Span::new(start, text.trim_ascii_end().len()))
}

/// The tree of an order.
pub(super) fn order_by(keys: &[OrderKey]) -> Vec<OrderKeyNode> {
    let node = |OrderKey { field, direction }: &OrderKey| OrderKeyNode {
        field: field.node.to_string(),
        direction: direction.node,
        start: count(field.span.start),
        end: count(direction.span.end),
    };
    keys.iter().map(node).collect()
}

fn expression(expr: &Expr, span: Span) -> ExpressionNode {
    let nodes = |terms: &[Spanned<Expr>]| -> Option<Vec<ExpressionNode>> {
        Some(terms.iter().map(|term| expression(&term.node, term.span)).collect())
    };
    let node = |kind| ExpressionNode {
        kind,
        start: count(span.start),
        end: count(span.end),
        terms: None,
        subject: None,
        operator: None,
        operands: None,
    };
    match expr {
        Expr::All(terms) => ExpressionNode { terms: nodes(terms), ..node(ExpressionType::And) },
        Expr::Any(terms) => ExpressionNode { terms: nodes(terms), ..node(ExpressionType::Or) },
        Expr::Not(term) => {
            ExpressionNode { terms: nodes(std::slice::from_ref(term)), ..node(ExpressionType::Not) }
        }
        Expr::Predicate(predicate) => {
            let Spanned { node: subject, span } = &predicate.subject;
            let (operator, operands) = test(&predicate.test).unzip();
            ExpressionNode {
                subject: Some(field(subject, *span)),
                operator,
                operands,
                ..node(ExpressionType::Predicate)
            }
        }
    }
}

/// The operator and its operands; `None` of a field that stands alone.
fn test(test: &Spanned<Test>) -> Option<(OperatorNode, Vec<OperandNode>)> {
    let (name, negated, operands) = match &test.node {
        Test::Flag => return None,
        Test::Compare { operator, operand } => (operator.as_str(), false, vec![operand]),
        Test::Between { negated, low, high } => ("between", *negated, vec![low, high]),
        Test::In { negated, items } => ("in", *negated, items.iter().collect()),
        Test::Match { negated, matching, operand } => (matching.as_str(), *negated, vec![operand]),
        Test::Null { negated } => ("is null", *negated, Vec::new()),
    };
    let Span { start, end } = test.span;
    let operator =
        OperatorNode { name: name.to_owned(), negated, start: count(start), end: count(end) };
    Some((operator, operands.into_iter().map(operand).collect()))
}

fn operand(operand: &Spanned<Operand>) -> OperandNode {
    let node = |kind| of_type(kind, operand.span);
    match &operand.node {
        Operand::Subject(subject) => field(subject, operand.span),
        Operand::Parameter(name) => {
            OperandNode { name: Some(name.to_string()), ..node(OperandType::Parameter) }
        }
        Operand::Clock(clock) => OperandNode {
            name: Some(clock.base.as_str().to_owned()),
            offset: clock.offset,
            ..node(OperandType::Clock)
        },
        Operand::Literal(literal) => {
            let (kind, value) = match literal {
                Literal::Text(text) => (OperandType::Text, text.as_str().into()),
                Literal::Integer(number) => (OperandType::Integer, (*number).into()),
                Literal::Boolean(flag) => (OperandType::Boolean, (*flag).into()),
                Literal::Date(_) => (OperandType::Date, literal_text(literal).into()),
                Literal::Timestamp(_) => (OperandType::Timestamp, literal_text(literal).into()),
                Literal::Null => return node(OperandType::Null),
            };
            OperandNode { value: Some(Any(value)), ..node(kind) }
        }
    }
}

fn field(subject: &Subject, span: Span) -> OperandNode {
    OperandNode {
        name: Some(subject.field.node.to_string()),
        function: subject.function.as_ref().map(|function| function.node.to_string()),
        ..of_type(OperandType::Field, span)
    }
}

fn of_type(kind: OperandType, span: Span) -> OperandNode {
    OperandNode {
        kind,
        start: count(span.start),
        end: count(span.end),
        name: None,
        function: None,
        offset: None,
        value: None,
    }
}
