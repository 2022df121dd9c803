//! What is wrong with a query, or what it says.

use poem_openapi::Object;
use serde::Serialize;

use super::readable;
use super::tree::{self, SyntaxTree};
use crate::error::Result;
use crate::identity::Identity;
use crate::query::plan::Parameter;
use crate::query::{Diagnostic, Plan, Type, format, limits, parse, prepare};
use crate::record::Catalogue;

/// What is said of a query.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "QueryCheck")]
pub struct Check {
    /// The collection it is about.
    pub collection: String,
    /// Whether a search would take it, given values for its parameters.
    pub valid: bool,
    /// What is wrong with it: what a search would refuse it for.
    pub diagnostics: Vec<Diagnostic>,
    /// Remarks on a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
    /// The canonical form of what the grammar accepts.
    pub canonical: Canonical,
    /// The parameters of a valid filter, as they first appear.
    pub parameters: Vec<NamedParameter>,
    /// The tree of what the grammar accepts.
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
    /// Its name, without the `$`.
    pub name: String,
    /// The type its values must have: that of the field opposite.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub ty: Type,
}

/// Checks a query on a collection. Parameters need no values.
///
/// # Errors
/// [`crate::error::Kind::InvalidParameter`] for a collection that does not exist,
/// [`crate::error::Kind::InsufficientScope`].
pub fn check(
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
    filter: Option<&str>,
    order_by: Option<&str>,
) -> Result<Check> {
    let schema = readable(catalogue, caller, collection)?;
    // Apart, so that one can be told about while the other is wrong.
    let of_filter = prepare(filter, None, schema);
    let of_order = prepare(None, order_by, schema);
    let (warnings, parameters) = match &of_filter {
        Ok(prepared) => (prepared.warnings.clone(), parameters(&prepared.plan)),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let problems = [of_filter.err(), of_order.err()].into_iter().flatten().flatten();
    let diagnostics: Vec<Diagnostic> = problems.take(limits::MAX_DIAGNOSTICS).collect();
    let read = |text| parse::filter(text).ok().map(|parsed| (parsed.expr, text));
    let parsed = filter.and_then(read);
    let keys = order_by.and_then(|text| parse::order_by(text).ok());
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
        ast: SyntaxTree {
            filter: parsed.as_ref().map(|(expr, text)| tree::filter(expr, text)),
            order_by: keys.as_deref().map(tree::order_by),
        },
    })
}

fn parameters(plan: &Plan) -> Vec<NamedParameter> {
    let named = |parameter: &Parameter| NamedParameter {
        name: parameter.name.clone(),
        ty: parameter.term.ty(),
    };
    plan.parameters.iter().map(named).collect()
}
