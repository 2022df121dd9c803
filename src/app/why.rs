//! Explaining a filter: why it matches a record or not, and why it matches no record at all.

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use uuid::Uuid;

use super::edit;
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::query::ast::{self, Comparison, Expr, Literal, Operand, Predicate, Spanned, Test};
use crate::query::compile::compile_respelling;
use crate::query::diagnostic::Span;
use crate::query::evaluate::{Truth, evaluate};
use crate::query::text::nfc;
use crate::query::{
    Argument, Arguments, BoundQuery, Diagnostic, Prepared, Schema, Shape, bind, check, format,
};
use crate::store::Store;

/// The maximum number of conditions of a search that are examined.
const MAX_CONDITIONS: usize = 10;

/// The limit up to which the matches without a condition are counted.
const MAX_COUNT: u32 = 1000;

/// The maximum number of texts of a search for which other spellings are searched.
const MAX_SPELLINGS: usize = 20;

/// The result of a condition. It is `unknown` if a null value leaves it undecided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// A null value leaves the condition undecided.
    Unknown,
}

impl From<Truth> for Verdict {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::True => Verdict::True,
            Truth::False => Verdict::False,
            Truth::Unknown => Verdict::Unknown,
        }
    }
}

/// Whether a filter matches a record, with the result of each test.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "FilterMatch")]
pub struct Match {
    /// The result of the whole filter. The record matches if it is true.
    pub verdict: Verdict,
    /// The tests of the filter, from left to right.
    pub tests: Vec<Tested>,
    /// Warnings about a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

/// A test of a filter, evaluated for a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Tested {
    /// The test, in canonical form.
    pub test: String,
    /// The position of the test in the filter, counted from 0. Parentheses around it are included.
    pub start: i32,
    /// The position after the test.
    pub end: i32,
    /// The result of the test, without a preceding `not`.
    pub verdict: Verdict,
    /// The field that is tested.
    pub field: String,
    /// The value of the field in the record.
    pub value: Any<serde_json::Value>,
}

/// Tests a filter against one record.
///
/// # Errors
/// [`crate::error::Kind::NotFound`], [`crate::error::Kind::InvalidQuery`],
/// [`crate::error::Kind::InsufficientScope`]; any database error.
pub async fn match_record(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
    selection: &Selection,
) -> Result<Match> {
    let record = edit::get(store, caller, schema, id).await?;
    let prepared = selection.prepare(schema)?;
    let now = timestamp_now();
    let query = selection.bind(&prepared, now)?;
    let text = selection.text("filter").unwrap_or_default();
    let position = |byte| selection.positions.position(text, byte);
    let whole = Span::new(0, text.len());
    let filter = prepared.ast.filter.as_ref();
    let predicates = filter.map(|filter| filter.predicates(whole)).unwrap_or_default();
    let tests = predicates.into_iter().map(|(place, predicate)| {
        let alone = Expr::Predicate(Box::new(predicate.clone()));
        let query = part(alone.clone(), schema, &selection.parameters, now)?;
        let field = predicate.subject.node.field.node.clone();
        let value = record.value(&field).map(Into::into).unwrap_or_default();
        let verdict = evaluate(&query, &record).into();
        let test = format::filter(&alone);
        let (start, end) = (position(place.start), position(place.end));
        let field = field.to_string();
        Ok(Tested { test, start, end, verdict, field, value: Any(value) })
    });
    let tests = tests.collect::<Result<_>>()?;
    Ok(Match { verdict: evaluate(&query, &record).into(), tests, warnings: prepared.warnings })
}

/// Compiles a part of a valid filter as a separate query.
fn part(
    filter: Expr,
    schema: &'static Schema,
    parameters: &Arguments,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<BoundQuery> {
    // The parts of a valid filter are valid.
    let invalid =
        || Error::internal(format!("a part of a valid filter of {} is invalid", schema.name));
    let ast = ast::Query { filter: Some(filter), ..ast::Query::default() };
    let plan = check(&ast, schema).map_err(|_| invalid())?;
    let is_used = |name: &str| plan.parameters.iter().any(|parameter| parameter.name == name);
    let used = parameters.iter().filter(|(name, _)| is_used(name));
    let used = used.map(|(name, value)| (name.clone(), value.clone())).collect();
    bind(&plan, &used, now).map_err(|_| invalid())
}

/// A condition of a search that found nothing.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Reason {
    /// The condition, in canonical form.
    pub condition: String,
    /// The number of records that match without this condition, counted up to 1,000.
    #[oai(validator(maximum(value = "1000")))]
    pub without: i64,
    /// Whether more records match than were counted.
    pub capped: bool,
    /// The condition with existing values, if its values differ from them only in case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// Explains why a search found nothing, by the first ten of its conditions that are joined by `and`.
///
/// # Errors
/// Any database error.
pub(super) async fn why_nothing(
    store: &Store,
    prepared: &Prepared<'_>,
    parameters: &Arguments,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Vec<Reason>> {
    let schema = prepared.plan.schema;
    let Some(filter) = &prepared.ast.filter else { return Ok(Vec::new()) };
    let conditions = filter.conjuncts();
    let mut reasons = Vec::new();
    let mut spellings = MAX_SPELLINGS;
    for (position, condition) in conditions.iter().enumerate().take(MAX_CONDITIONS) {
        let others = conditions.iter().enumerate().filter(|(other, _)| *other != position);
        let others: Vec<Expr> = others.map(|(_, other)| (*other).clone()).collect();
        let query = if others.is_empty() {
            BoundQuery { schema, filter: None, order: Vec::new(), after: None }
        } else {
            part(Expr::all(others), schema, parameters, now)?
        };
        // Counting one further shows whether there are more.
        let shape = Shape::CountUpTo { limit: MAX_COUNT + 1 };
        let found = store.count(store.statement(&query, shape).await?).await?;
        let (without, capped) = (found.min(i64::from(MAX_COUNT)), found > i64::from(MAX_COUNT));
        let instead = respelt(store, schema, condition, parameters, &mut spellings).await?;
        let condition = format::filter(condition);
        let instead = instead.map(|instead| format::filter(&instead));
        reasons.push(Reason { condition, without, capped, instead });
    }
    Ok(reasons)
}

/// Returns the condition with texts spelled as in the database, if that changes it.
async fn respelt(
    store: &Store,
    schema: &'static Schema,
    condition: &Expr,
    parameters: &Arguments,
    budget: &mut usize,
) -> Result<Option<Expr>> {
    let Expr::Predicate(predicate) = condition else { return Ok(None) };
    let mut predicate: Predicate = (**predicate).clone();
    let name = &predicate.subject.node.field.node;
    let Some(field) = schema.field(name).filter(|field| field.searchable) else {
        return Ok(None);
    };
    let operands: Vec<&mut Spanned<Operand>> = match &mut predicate.test.node {
        Test::Compare { operator: Comparison::Equal, operand } => vec![operand],
        Test::In { negated: false, items } => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    let mut is_changed = false;
    for operand in operands {
        let text = match &operand.node {
            Operand::Literal(Literal::Text(text)) => Some(text.as_str()),
            Operand::Parameter(name) => parameters.get(name.as_str()).and_then(Argument::text),
            _ => None,
        };
        let Some(text) = text else { continue };
        let Some(left) = budget.checked_sub(1) else { break };
        *budget = left;
        let written = nfc(text);
        let spelling = compile_respelling(schema, field, &written, store.dialect());
        if let Some(spelling) =
            store.texts(spelling).await?.pop().filter(|spelling| *spelling != written)
        {
            operand.node = Operand::Literal(Literal::Text(spelling));
            is_changed = true;
        }
    }
    Ok(is_changed.then(|| Expr::Predicate(Box::new(predicate))))
}
