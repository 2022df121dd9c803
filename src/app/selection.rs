//! The records that a request is about: a filter, an order and the values of parameters.

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::query::ast::Expr;
use crate::query::{Arguments, BoundQuery, Prepared, Schema, prepare_within};

/// Selects records and their order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A condition that the service adds to the filter.
    pub within: Option<Expr>,
    /// The filter; without one, all records match.
    pub filter: Option<String>,
    /// The sort order; the default is the order of creation.
    pub order_by: Option<String>,
    /// The values of the `$parameters` of the filter.
    pub parameters: Arguments,
}

impl Selection {
    /// Selects the records that match a condition, in order of creation.
    pub fn within(condition: Expr) -> Self {
        Self { within: Some(condition), ..Self::default() }
    }

    /// Selects the records that match a filter, in order of creation.
    pub fn filter(filter: impl Into<String>) -> Self {
        Self { filter: Some(filter.into()), ..Self::default() }
    }

    /// Parses and checks the filter and the order.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn prepare(&self, schema: &'static Schema) -> Result<Prepared<'_>> {
        let Self { within, filter, order_by, .. } = self;
        prepare_within(within.as_ref(), filter.as_deref(), order_by.as_deref(), schema)
            .map_err(Error::query)
    }

    /// Binds the values of the parameters to the prepared query.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn bind(&self, prepared: &Prepared<'_>, now: DateTime<Utc>) -> Result<BoundQuery> {
        prepared.bind(&self.parameters, now).map_err(Error::query)
    }
}
