//! The records that a request is about: a filter, an order, the values of parameters, and the fields to show.

use chrono::{DateTime, Utc};

use super::position::PositionEncoding;
use crate::error::{Error, Kind, Result};
use crate::query::ast::Expr;
use crate::query::diagnostic::did_you_mean;
use crate::query::{Arguments, BoundQuery, Diagnostic, Field, Parsed, Prepared, Schema, format};
use crate::telemetry::account::{self, Stage, measure};

/// Selects records and their order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A condition that the service adds to the filter.
    pub within: Option<Expr>,
    /// The filters, all of which must match; without one, all records match.
    pub filters: Vec<String>,
    /// The sort order; the default is the order of creation.
    pub order_by: Option<String>,
    /// The values of the `$parameters` of the filter.
    pub parameters: Arguments,
    /// The unit of positions in errors and warnings about these texts.
    pub positions: PositionEncoding,
}

impl Selection {
    /// Selects the records that match a condition, in order of creation.
    pub fn within(condition: Expr) -> Self {
        Self { within: Some(condition), ..Self::default() }
    }

    /// Selects the records that match a filter, in order of creation.
    pub fn filter(filter: impl Into<String>) -> Self {
        Self { filters: vec![filter.into()], ..Self::default() }
    }

    /// Returns whether it selects all records, and has no values for parameters.
    pub fn is_everything(&self) -> bool {
        self.within.is_none() && self.filters.is_empty() && self.parameters.is_empty()
    }

    /// Returns the text that a diagnostic is about, by the name of its parameter.
    pub fn text(&self, parameter: &str) -> Option<&str> {
        let number = parameter.strip_prefix("filter[").and_then(|rest| rest.strip_suffix(']'));
        match (parameter, number) {
            ("filter", _) => self.filters.first().map(String::as_str),
            ("order_by", _) => self.order_by.as_deref(),
            (_, Some(number)) => {
                let position = number.parse::<usize>().ok()?.checked_sub(1)?;
                self.filters.get(position).map(String::as_str)
            }
            (other, None) => self.parameters.get(other.strip_prefix("p.")?)?.text(),
        }
    }

    /// Parses and checks the filters and the order.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn prepare(&self, schema: &'static Schema) -> Result<Prepared<'_>> {
        let Self { within, filters, order_by, positions, .. } = self;
        let filters = filters.iter().map(String::as_str).collect();
        let parse = || Parsed::of(within.as_ref(), filters, order_by.as_deref());
        let parsed = measure(Stage::Parse, parse);
        let checked = measure(Stage::Check, || parsed.check(schema));
        let mut prepared = checked.map_err(|problems| self.invalid(problems))?;
        positions.convert_diagnostics(&mut prepared.warnings, |name| self.text(name));
        account::note_query(|| format::masked(&prepared.ast));
        Ok(prepared)
    }

    /// Binds the values of the parameters to the prepared query.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn bind(&self, prepared: &Prepared<'_>, now: DateTime<Utc>) -> Result<BoundQuery> {
        let bound = measure(Stage::Check, || prepared.bind(&self.parameters, now));
        bound.map_err(|problems| self.invalid(problems))
    }

    fn invalid(&self, mut problems: Vec<Diagnostic>) -> Error {
        self.positions.convert_diagnostics(&mut problems, |name| self.text(name));
        Error::query(problems)
    }
}

/// Returns the fields with these names, in their order.
///
/// # Errors
/// [`Kind::InvalidParameter`] for an unknown or repeated field.
pub fn chosen_fields(schema: &'static Schema, names: &[String]) -> Result<Vec<&'static Field>> {
    let mut fields: Vec<&'static Field> = Vec::new();
    for name in names.iter().map(|name| name.trim()) {
        let field = schema.field(name).ok_or_else(|| {
            let help = did_you_mean(name, schema.names());
            let detail = format!("{name:?} is not a field of {}; {help}", schema.name);
            Error::new(Kind::InvalidParameter, detail)
        })?;
        if fields.contains(&field) {
            let detail = format!("the field {name:?} is chosen twice; name it once");
            return Err(Error::new(Kind::InvalidParameter, detail));
        }
        fields.push(field);
    }
    Ok(fields)
}
