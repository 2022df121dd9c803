//! Checking a query: its problems, its canonical form and its syntax tree.

use poem_openapi::Object;
use serde::Serialize;

use super::readable;
use super::tree::{self, SyntaxTree};
use crate::app::position::PositionEncoding;
use crate::error::Result;
use crate::identity::Identity;
use crate::query::plan::Parameter;
use crate::query::{Diagnostic, Plan, Type, format, limits, parse, prepare};
use crate::record::Catalogue;

/// The result of checking a query.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "QueryCheck")]
pub struct Check {
    /// The collection.
    pub collection: String,
    /// Whether a search would accept the query, with values for its parameters.
    pub valid: bool,
    /// The problems for which a search would reject the query.
    pub diagnostics: Vec<Diagnostic>,
    /// Warnings about a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
    /// The canonical form, of a filter and an order that can be parsed.
    pub canonical: Canonical,
    /// The parameters of a valid filter, in the order of their first use.
    pub parameters: Vec<NamedParameter>,
    /// The syntax tree, of a filter and an order that can be parsed.
    pub ast: SyntaxTree,
}

/// A query in canonical form: the fewest parentheses, keywords in lower case, single quotes.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Canonical {
    /// The filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
}

/// A parameter of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct NamedParameter {
    /// The name, without the `$`.
    pub name: String,
    /// The type of its values, which is that of the field that it is compared with.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
}

/// Checks a query on a collection. Parameters need no values.
///
/// # Errors
/// [`crate::error::Kind::InvalidParameter`] for an unknown collection,
/// [`crate::error::Kind::InsufficientScope`].
pub fn check(
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
    filter: Option<&str>,
    order_by: Option<&str>,
    positions: PositionEncoding,
) -> Result<Check> {
    let schema = readable(catalogue, caller, collection)?;
    // Checked separately, so that a problem of one does not hide those of the other.
    let of_filter = prepare(filter, None, schema);
    let of_order = prepare(None, order_by, schema);
    let (mut warnings, parameters) = match &of_filter {
        Ok(prepared) => (prepared.warnings.clone(), parameters(&prepared.plan)),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let of_filter = of_filter.err().unwrap_or_default();
    let problems = of_filter.into_iter().chain(of_order.err().unwrap_or_default());
    let mut diagnostics: Vec<Diagnostic> = problems.take(limits::MAX_DIAGNOSTICS).collect();
    let text = |parameter: &str| if parameter == "order_by" { order_by } else { filter };
    positions.convert_diagnostics(&mut diagnostics, text);
    positions.convert_diagnostics(&mut warnings, text);
    let read = |text| parse::filter(text).ok().map(|parsed| (parsed.expr, text));
    let parsed = filter.and_then(read);
    let keys = order_by.and_then(|text| parse::order_by(text).ok());
    let mut ast = SyntaxTree {
        filter: parsed.as_ref().map(|(expr, text)| tree::filter(expr, text)),
        order_by: keys.as_deref().map(tree::order_by),
    };
    ast.convert(filter.unwrap_or_default(), order_by.unwrap_or_default(), positions);
    Ok(Check {
        collection: schema.collection.to_owned(),
        valid: diagnostics.is_empty(),
        diagnostics,
        warnings,
        canonical: Canonical {
            filter: parsed.as_ref().map(|(expr, _)| format::filter(expr)),
            order_by: keys.as_deref().map(format::order_by),
        },
        parameters,
        ast,
    })
}

fn parameters(plan: &Plan) -> Vec<NamedParameter> {
    let named = |parameter: &Parameter| NamedParameter {
        name: parameter.name.clone(),
        ty: parameter.term.ty(),
    };
    plan.parameters.iter().map(named).collect()
}
