//! The query parameters of an operation: which are documented, and what is wrong with those of a request.
//!
//! The parameters of a request are checked after its token, rate limit and scope. Otherwise a request without a token
//! would get the mistakes in its parameters instead of 401, and they would not count for a rate limit.

use std::sync::Arc;

use poem::Request;
use poem_openapi::registry::{MetaOperationParam, MetaSchemaRef, Registry};

use super::conditional;
use super::filters::{ARGUMENT_PREFIX, REPEATABLE};
use crate::error::{Error, Kind};
use crate::query::ast::Literal;
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::MAX_FILTERS;
use crate::query::{Argument, Field, Schema, format};

/// The query parameters of an operation.
#[derive(Default)]
pub(super) struct Parameters {
    /// Those of the document.
    pub(super) query: Vec<Parameter>,
    /// The record type of the operation, if it has one.
    pub(super) about: Option<&'static Schema>,
    /// Whether the operation accepts values for the `$parameters` of a filter.
    pub(super) takes_arguments: bool,
}

/// A documented query parameter.
pub(super) struct Parameter {
    pub(super) name: String,
    /// Whether it is required.
    is_required: bool,
    /// Whether it may be sent several times.
    is_repeatable: bool,
    /// The expected values, for error messages.
    pub(super) expectation: String,
}

impl Parameter {
    /// Returns the parameter for a documented one. `registry` has the schemas.
    pub(super) fn of(parameter: &MetaOperationParam, registry: &Registry) -> Self {
        Self {
            name: parameter.name.clone(),
            is_required: parameter.required,
            is_repeatable: is_repeatable(&parameter.schema),
            expectation: expectation(&parameter.schema, registry),
        }
    }
}

/// Returns whether a parameter with this schema may be sent several times.
fn is_repeatable(schema: &MetaSchemaRef) -> bool {
    matches!(schema, MetaSchemaRef::Inline(schema) if schema.format == Some(REPEATABLE))
}

/// Describes the values of a schema as they are written in a query, for error messages.
fn expectation(schema: &MetaSchemaRef, registry: &Registry) -> String {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => Some(schema.as_ref()),
        MetaSchemaRef::Reference(name) => registry.schemas.get(name),
    };
    let Some(schema) = schema else { return "another value".to_owned() };
    match (schema.ty, schema.minimum, schema.maximum) {
        _ if !schema.enum_items.is_empty() => {
            let items = schema.enum_items.iter().filter_map(|item| item.as_str());
            format!("one of {}", items.collect::<Vec<_>>().join(", "))
        }
        ("boolean", ..) => "true or false".to_owned(),
        ("integer", Some(low), Some(high)) => format!("an integer from {low} to {high}"),
        ("integer", ..) => "an integer".to_owned(),
        (ty, ..) => format!("a {ty}"),
    }
}

/// Checks the query parameters and the conditional header fields of a request.
///
/// # Errors
/// [`Kind::InvalidParameter`]; [`Kind::Internal`] if the request did not come through [`super::resource`].
pub(super) fn check(request: &Request) -> Result<(), Error> {
    let parameters = request.data::<Arc<Parameters>>();
    let parameters =
        parameters.ok_or_else(|| Error::internal("a request without `Parameters` in its data"))?;
    parameters.check(request.uri().query().unwrap_or_default())?;
    conditional::check(request.headers())
}

impl Parameters {
    /// Returns the documented parameter of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Parameter> {
        self.query.iter().find(|parameter| parameter.name == name)
    }

    /// Checks the names of the query parameters.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if one is unknown, repeated, missing, or not percent-encoded UTF-8.
    fn check(&self, query: &str) -> Result<(), Error> {
        let reject = |detail: String| Err(Error::new(Kind::InvalidParameter, detail));
        let mut seen: Vec<String> = Vec::new();
        let mut is_in_quotes = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name).filter(|_| decode(value).is_some()) else {
                return reject(format!(
                    "expected percent-encoded UTF-8 in the query, found {pair:?}; write `%` in a value as `%25`"
                ));
            };
            let is_argument = self.takes_arguments
                && name.strip_prefix(ARGUMENT_PREFIX).is_some_and(|name| !name.is_empty());
            if !is_argument && !self.query.iter().any(|known| known.name == name) {
                let mut help =
                    did_you_mean(&name, self.query.iter().map(|known| known.name.as_str()));
                if let Some(field) = self.filtered(&name) {
                    help = format!("write `filter={}`", condition(field, value));
                }
                if self.takes_arguments
                    && decode(query).is_some_and(|q| q.contains(&format!("${name}")))
                {
                    help = format!("send the value for `${name}` as `{ARGUMENT_PREFIX}{name}`");
                }
                if is_in_quotes {
                    help = "write `&` in a value as `%26`".to_owned();
                }
                return reject(format!("unknown query parameter {name:?}; {help}"));
            }
            let is_repeatable =
                self.query.iter().any(|known| known.name == name && known.is_repeatable);
            let count = seen.iter().filter(|seen| **seen == name).count();
            if is_repeatable && count >= MAX_FILTERS {
                return reject(format!(
                    "{name}: expected at most {MAX_FILTERS} of them, found more"
                ));
            }
            if seen.contains(&name) && !is_repeatable {
                return reject(format!("repeated query parameter {name:?}; send it once"));
            }
            seen.push(name);
            // The text of a filter that goes on after an `&`.
            is_in_quotes = decode(value).is_some_and(|value| value.matches('"').count() % 2 == 1);
        }
        let is_missing = |known: &&Parameter| known.is_required && !seen.contains(&known.name);
        match self.query.iter().find(is_missing) {
            Some(missing) => reject(format!("missing query parameter {:?}", missing.name)),
            None => Ok(()),
        }
    }

    /// Returns the field of this name, if the operation has a filter.
    fn filtered(&self, name: &str) -> Option<&'static Field> {
        let has_filter = self.query.iter().any(|known| known.name == "filter");
        self.about.filter(|_| has_filter).and_then(|schema| schema.field(name))
    }
}

/// Returns the condition that a client likely means by a query parameter with the name of a field.
fn condition(field: &Field, value: &str) -> String {
    let value = decode(value).and_then(|value| Argument::Untyped(value).read(field.ty).ok());
    let literal = value.map(|value| match Literal::from(value) {
        Literal::Text(text) => format::quoted(&text, '"'),
        other => format::literal_text(&other),
    });
    format!(
        "{} = {}",
        format::name_text(field.name),
        literal.unwrap_or_else(|| field.ty.example().to_owned())
    )
}

/// Decodes a component of a query string. Returns `None` if it has a malformed escape or is not UTF-8.
pub(super) fn decode(component: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
