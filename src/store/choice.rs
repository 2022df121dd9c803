//! The statement of a query. SQLite reads the candidates of an index of trigrams if they are few.
//!
//! Its planner cannot know how many they are, and many candidates take longer than reading the table in order. So they
//! are counted first, up to a bound.

use sea_query::Values;

use super::Store;
use super::transaction::Transaction;
use crate::error::{Kind, Result};
use crate::query::compile::compile_for_candidates;
use crate::query::trigram::{Candidates, Tables};
use crate::query::{BoundQuery, Dialect, Schema, Shape, Statement, compile};

/// How many records can be read in the order of their ids in the time that one candidate takes.
const READ_BY_ID: u64 = 20;

/// How many records can be read in the order of an index in that time.
const READ_BY_INDEX: u64 = 2;

/// The number of records for which the bound on the candidates is meant.
const EXPECTED_RECORDS: u64 = 1_000_000;

impl Store {
    /// Compiles a query. On SQLite it may ask the database for the fastest way.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if the database does not respond.
    pub async fn statement(&self, query: &BoundQuery, shape: Shape) -> Result<Statement> {
        let dialect = self.dialect();
        let Some(probe) = Probe::of(query, shape, dialect) else {
            return Ok(compile(query, shape, dialect));
        };
        match self.read(probe.statement.clone()).await {
            Ok(counted) => Ok(probe.chosen(query, shape, &counted)),
            Err(error) if error.kind == Kind::Unavailable => Err(error),
            Err(error) => {
                // For example, an instance of another declaration has dropped the index.
                let cause = error.cause.map(|cause| cause.to_string()).unwrap_or(error.detail);
                tracing::warn!(cause, "searching without an index of trigrams");
                Ok(compile(query, shape, dialect))
            }
        }
    }
}

impl Transaction<'_> {
    /// Compiles a query, as [`Store::statement`] does.
    pub(super) async fn statement(
        &mut self,
        query: &BoundQuery,
        shape: Shape,
    ) -> sqlx::Result<Statement> {
        let dialect = self.dialect();
        let Some(probe) = Probe::of(query, shape, dialect) else {
            return Ok(compile(query, shape, dialect));
        };
        let counted: Vec<Counted> = self.rows(probe.statement.clone()).await?;
        Ok(probe.chosen(query, shape, &counted))
    }
}

/// The number of candidates, up to the bound, and about the number of records.
type Counted = (i64, i64);

/// A count of the candidates of a query.
struct Probe {
    statement: Statement,
    /// The maximum number of records of the result; `None` if the whole table is read without the index.
    limit: Option<u64>,
    /// How many records can be read without the index in the time that one candidate takes.
    cost: u64,
    bound: u64,
}

impl Probe {
    /// Returns the probe for a query that an index of trigrams can serve.
    fn of(query: &BoundQuery, shape: Shape, dialect: Dialect) -> Option<Self> {
        let candidates = Candidates::of(query).filter(|_| dialect == Dialect::Sqlite)?;
        let first = query.order.first().map(|key| key.field.name);
        let (limit, cost) = match shape {
            Shape::Page { limit } if first.is_none_or(|name| name == "id") => {
                (Some(limit), READ_BY_ID)
            }
            Shape::Page { limit } if first.is_some_and(|name| has_index(query.schema, name)) => {
                (Some(limit), READ_BY_INDEX)
            }
            Shape::LockedIds { limit } | Shape::CountUpTo { limit } => (Some(limit), READ_BY_ID),
            Shape::Page { .. } | Shape::Count | Shape::Groups { .. } => (None, READ_BY_ID),
        };
        let limit = limit.map(u64::from);
        let bound = match limit {
            Some(limit) => (limit * EXPECTED_RECORDS / cost).isqrt(),
            None => EXPECTED_RECORDS / cost,
        };
        let Tables { trigrams, numbers } = &candidates.tables;
        let sql = format!(
            "SELECT count(*), (SELECT coalesce(max(number), 0) FROM \"{numbers}\") \
             FROM (SELECT 1 FROM \"{trigrams}\"(?) LIMIT ?)"
        );
        let values = Values(vec![candidates.sought.into(), bound.into()]);
        Some(Self { statement: Statement { sql, values }, limit, cost, bound })
    }

    fn chosen(&self, query: &BoundQuery, shape: Shape, counted: &[Counted]) -> Statement {
        match counted.first().is_some_and(|counted| self.is_selective(*counted)) {
            true => compile_for_candidates(query, shape),
            false => compile(query, shape, Dialect::Sqlite),
        }
    }

    /// Whether reading the candidates is faster than reading the table until the page is full.
    fn is_selective(&self, (candidates, records): Counted) -> bool {
        let [candidates, records] =
            [candidates, records].map(|number| u64::try_from(number).unwrap_or_default());
        // If so many of the records match, the page is full after this part of the table.
        let read = match self.limit {
            Some(limit) => (limit.saturating_mul(records) / candidates.max(1)).min(records),
            None => records,
        };
        candidates < self.bound && candidates.saturating_mul(self.cost) <= read
    }
}

/// Whether records can be read in the order of a field.
fn has_index(schema: &Schema, field: &str) -> bool {
    schema.unique.iter().chain(schema.indexes).any(|key| key.first() == Some(&field))
}
