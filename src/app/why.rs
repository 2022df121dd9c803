//! Why a record is found or not, and why nothing is found.

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
use crate::query::diagnostic::{Span, count};
use crate::query::evaluate::{Truth, evaluate};
use crate::query::text::nfc;
use crate::query::{
    Argument, Arguments, BoundQuery, Diagnostic, Prepared, Schema, Shape, bind, check, compile,
    format,
};
use crate::store::Store;

/// The most conditions of a search that are looked into.
const MAX_CONDITIONS: usize = 10;

/// How far the records are counted that there would be without a condition.
const MAX_COUNT: u32 = 1000;

/// The most texts of a search whose other spellings are looked for.
const MAX_SPELLINGS: usize = 20;

/// What a condition comes to; `unknown` when a null keeps it from being decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// A null keeps it from being decided.
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

/// Whether a filter finds a record, test by test.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "FilterMatch")]
pub struct Match {
    /// What the filter as a whole comes to. The record is found when it is true.
    pub verdict: Verdict,
    /// Each test of the filter, from left to right.
    pub tests: Vec<Tested>,
    /// Remarks on a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
}

/// One test of a filter, asked of one record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Tested {
    /// The test, in canonical form.
    pub test: String,
    /// The byte of the filter it starts on, counted from 0. Parentheses around it are part of it.
    pub start: i32,
    /// One past the last byte of the filter it covers.
    pub end: i32,
    /// What it comes to, before any `not` in front of it.
    pub verdict: Verdict,
    /// The field it is about.
    pub field: String,
    /// The value the record has there.
    pub value: Any<serde_json::Value>,
}

/// Asks a filter of one record.
///
/// # Errors
/// [`crate::error::Kind::NotFound`], [`crate::error::Kind::InvalidQuery`],
/// [`crate::error::Kind::InsufficientScope`]; the database's.
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
    let whole = Span::new(0, selection.filter.as_deref().unwrap_or_default().len());
    let filter = prepared.ast.filter.as_ref();
    let predicates = filter.map(|filter| filter.predicates(whole)).unwrap_or_default();
    let tests = predicates.into_iter().map(|(place, predicate)| {
        let alone = Expr::Predicate(Box::new(predicate.clone()));
        let query = part(alone.clone(), schema, &selection.parameters, now)?;
        let field = predicate.subject.node.field.node.clone();
        let value = record.value(&field).map(Into::into).unwrap_or_default();
        let verdict = evaluate(&query, &record).into();
        let test = format::filter(&alone);
        let (start, end) = (count(place.start), count(place.end));
        let field = field.to_string();
        Ok(Tested { test, start, end, verdict, field, value: Any(value) })
    });
    let tests = tests.collect::<Result<_>>()?;
    Ok(Match { verdict: evaluate(&query, &record).into(), tests, warnings: prepared.warnings })
}

/// A part of a filter that has been accepted, as a query of its own.
fn part(
    filter: Expr,
    schema: &'static Schema,
    parameters: &Arguments,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<BoundQuery> {
    // What is accepted as a whole is accepted in parts.
    let refused = || Error::internal(format!("{} is refused alone", schema.name));
    let ast = ast::Query { filter: Some(filter), ..ast::Query::default() };
    let plan = check(&ast, schema).map_err(|_| refused())?;
    let is_used = |name: &str| plan.parameters.iter().any(|parameter| parameter.name == name);
    let used = parameters.iter().filter(|(name, _)| is_used(name));
    let used = used.map(|(name, value)| (name.clone(), value.clone())).collect();
    bind(&plan, &used, now).map_err(|_| refused())
}

/// A condition that a search which found nothing has to meet.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Reason {
    /// The condition, in canonical form.
    pub condition: String,
    /// How many records there would be if this condition alone were left out, counted to 1,000.
    #[oai(validator(maximum(value = "1000")))]
    pub without: i64,
    /// The condition with values that do exist, where those it names differ from them in case alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// Why a search has found nothing: each of its first ten conditions that are joined by `and`.
///
/// # Errors
/// The database's.
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
        let shape = Shape::CountUpTo { limit: MAX_COUNT };
        let without = store.count(compile(&query, shape, store.dialect())).await?;
        let instead = respelt(store, schema, condition, parameters, &mut spellings).await?;
        let condition = format::filter(condition);
        let instead = instead.map(|instead| format::filter(&instead));
        reasons.push(Reason { condition, without, instead });
    }
    Ok(reasons)
}

/// The condition with texts as they are spelt in the database, if that changes any.
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
        let spelling = compile_respelling(schema, field, &nfc(text), store.dialect());
        let meant = nfc(text);
        if let Some(spelling) =
            store.texts(spelling).await?.pop().filter(|spelling| *spelling != meant)
        {
            operand.node = Operand::Literal(Literal::Text(spelling));
            is_changed = true;
        }
    }
    Ok(is_changed.then(|| Expr::Predicate(Box::new(predicate))))
}
