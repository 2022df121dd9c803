//! Which records a request is about: a filter, an order and the values of parameters.

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::query::ast::Expr;
use crate::query::{Arguments, BoundQuery, Prepared, Schema, prepare_within};

/// Which records, and in which order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A condition that was built and not written; it holds beside the filter.
    pub within: Option<Expr>,
    /// Which records; all when absent.
    pub filter: Option<String>,
    /// In which order; of creation when absent.
    pub order_by: Option<String>,
    /// Values for the `$parameters` of the filter.
    pub parameters: Arguments,
}

impl Selection {
    /// The records for which a condition holds, in order of creation.
    pub fn within(condition: Expr) -> Self {
        Self { within: Some(condition), ..Self::default() }
    }

    /// The records for which a filter holds, in order of creation.
    pub fn filter(filter: impl Into<String>) -> Self {
        Self { filter: Some(filter.into()), ..Self::default() }
    }

    /// Parses and checks it.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn prepare(&self, schema: &'static Schema) -> Result<Prepared<'_>> {
        let Self { within, filter, order_by, .. } = self;
        prepare_within(within.as_ref(), filter.as_deref(), order_by.as_deref(), schema)
            .map_err(Error::query)
    }

    /// What is prepared, with the values of its parameters.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidQuery`].
    pub fn bind(&self, prepared: &Prepared<'_>, now: DateTime<Utc>) -> Result<BoundQuery> {
        prepared.bind(&self.parameters, now).map_err(Error::query)
    }
}
