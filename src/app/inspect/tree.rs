//! The syntax tree of a query for clients. Its nodes have a type, a position and the members of their type.
//!
//! Positions count bytes of the text, like those of diagnostics, until they are converted.

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::app::position::PositionEncoding;
use crate::query::ast::{
    Direction, Expr, Literal, Offset, Operand, OrderKey, Spanned, Subject, Test,
};
use crate::query::diagnostic::{Span, count};
use crate::query::format::literal_text;

/// A filter and an order as parsed, before names and types are checked.
#[derive(Debug, Clone, PartialEq, Default, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct SyntaxTree {
    /// The filter; absent if there is none or it cannot be parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<ExpressionNode>,
    /// The keys of the order; absent if there is none or it cannot be parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<Vec<OrderKeyNode>>,
}

impl SyntaxTree {
    /// Converts the positions, which are those of bytes.
    pub(super) fn convert(&mut self, filter: &str, order_by: &str, positions: PositionEncoding) {
        if let Some(expression) = &mut self.filter {
            expression.convert(filter, positions);
        }
        for key in self.order_by.iter_mut().flatten() {
            positions.convert(order_by, [&mut key.start, &mut key.end]);
        }
    }
}

impl ExpressionNode {
    fn convert(&mut self, text: &str, positions: PositionEncoding) {
        positions.convert(text, [&mut self.start, &mut self.end]);
        for term in self.terms.iter_mut().flatten() {
            term.convert(text, positions);
        }
        if let Some(operator) = &mut self.operator {
            positions.convert(text, [&mut operator.start, &mut operator.end]);
        }
        let operands = self.operands.iter_mut().flatten();
        for OperandNode { start, end, .. } in self.subject.iter_mut().chain(operands) {
            positions.convert(text, [start, end]);
        }
    }
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ExpressionType {
    /// All terms are true.
    And,
    /// At least one term is true.
    Or,
    /// The negation of the only term.
    Not,
    /// A test of a field.
    Predicate,
}

/// An expression that is true, false or unknown for a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct ExpressionNode {
    /// The type of the expression, which decides which members the node has.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: ExpressionType,
    /// The first byte of the node in the filter, counted from 0. Parentheses around it are included.
    pub start: i32,
    /// One past the last byte of the node in the filter.
    pub end: i32,
    /// For `and` and `or`, two or more terms, which are of other types; for `not`, one term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Vec<ExpressionNode>>,
    /// For `predicate`: the field that is tested, of type `field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<OperandNode>,
    /// For `predicate`: the operator; absent for a boolean field without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorNode>,
    /// For `predicate`: the operands. `between` has two, `in` any number, `is null` none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operands: Option<Vec<OperandNode>>,
}

/// The operator of a predicate.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct OperatorNode {
    /// The name, as in the list of operators of a field.
    pub name: String,
    /// Whether the operator is negated, as in `not in` and `is not null`.
    pub negated: bool,
    /// The first byte of the node in the filter, counted from 0.
    pub start: i32,
    /// One past the last byte of the node in the filter.
    pub end: i32,
}

/// The type of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum OperandType {
    /// A field, or a function of a field.
    Field,
    /// A parameter, whose value is part of a request.
    Parameter,
    /// `today` or `now`, optionally with an offset.
    Clock,
    /// A quoted text. For a field of type id, the text is an id.
    Text,
    /// An integer.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A date.
    Date,
    /// A timestamp.
    Timestamp,
    /// `null`.
    Null,
}

/// The subject or an operand of a predicate.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct OperandNode {
    /// The type of the operand, which decides which members the node has.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: OperandType,
    /// The first byte of the node in the filter, counted from 0.
    pub start: i32,
    /// One past the last byte of the node in the filter.
    pub end: i32,
    /// For `field`, `parameter` and `clock`: the name, without `$` and backticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For `field`: the function that is applied to it, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// For `clock`: the offset, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// For literals except `null`: the value. Dates and timestamps are strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Any<serde_json::Value>>,
}

/// A key of an order.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct OrderKeyNode {
    /// The name of the field.
    pub field: String,
    /// The direction. Nulls come last in both.
    pub direction: Direction,
    /// The first byte of the node in the order, counted from 0.
    pub start: i32,
    /// One past the last byte of the node in the order.
    pub end: i32,
}

/// Returns the syntax tree of a filter that was parsed from this text.
pub(super) fn filter(expr: &Expr, text: &str) -> ExpressionNode {
    let start = text.len() - text.trim_ascii_start().len();
    expression(expr, Span::new(start, text.trim_ascii_end().len()))
}

/// Returns the syntax tree of an order.
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

/// Returns the operator and its operands; `None` for a boolean field without an operator.
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
