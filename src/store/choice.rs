//! The statement of a query, for the fastest access path.
//!
//! The statistics of a collection determine it, except for indexes of trigrams. PostgreSQL chooses these itself. On SQLite
//! the candidates of such an index are counted first, up to the number with which another path is faster.

use sea_query::Values;

use super::Store;
use super::transaction::Transaction;
use crate::error::{Kind, Result};
use crate::query::access::{Access, Path};
use crate::query::compile::{compile_for_access, compile_for_candidates};
use crate::query::statistics::Statistics;
use crate::query::trigram::{Candidates, Tables};
use crate::query::{BoundQuery, Dialect, Schema, Shape, Statement};
use crate::telemetry::account::{Stage, measure};

/// How many records can be read in the order of their ids in the time that one candidate takes.
const READ_BY_ID: u64 = 20;

/// How many records can be read in the order of an index in that time.
const READ_BY_INDEX: u64 = 2;

/// The number of records of a collection without statistics for which the bound on the candidates is meant.
const EXPECTED_RECORDS: u64 = 1_000_000;

impl Store {
    /// Compiles a query for the fastest access path that is known. On SQLite it may ask the database for it.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if the database does not respond.
    pub async fn statement(&self, query: &BoundQuery, shape: Shape) -> Result<Statement> {
        let dialect = self.dialect();
        let choose = || {
            let statistics = self.statistics(query.schema);
            let path = statistics.and_then(|known| Access::cheapest(query, shape, dialect, &known));
            (Probe::of(query, shape, dialect, path.as_ref()), path)
        };
        let (probe, path) = measure(Stage::Compile, choose);
        let Some(probe) = probe else {
            return Ok(by_path(query, shape, dialect, path));
        };
        match self.read::<Counted>(probe.statement.clone()).await {
            Ok(counted) if probe.finds_few(&counted) => {
                Ok(measure(Stage::Compile, || compile_for_candidates(query, shape)))
            }
            Ok(_) => Ok(by_path(query, shape, dialect, path)),
            Err(error) if error.kind == Kind::Unavailable => Err(error),
            Err(error) => {
                // For example, an instance of another declaration has dropped the index.
                let cause = error.cause.map(|cause| cause.to_string()).unwrap_or(error.detail);
                tracing::warn!(cause, "searching without an index of trigrams");
                Ok(by_path(query, shape, dialect, path))
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
        statistics: Option<&Statistics>,
    ) -> sqlx::Result<Statement> {
        let dialect = self.dialect();
        let path = statistics.and_then(|known| Access::cheapest(query, shape, dialect, known));
        if let Some(probe) = Probe::of(query, shape, dialect, path.as_ref()) {
            let counted: Vec<Counted> = self.rows(probe.statement.clone()).await?;
            if probe.finds_few(&counted) {
                return Ok(compile_for_candidates(query, shape));
            }
        }
        Ok(by_path(query, shape, dialect, path))
    }
}

fn by_path(query: &BoundQuery, shape: Shape, dialect: Dialect, path: Option<Path>) -> Statement {
    let access = path.map(|path| path.access).unwrap_or_default();
    measure(Stage::Compile, || compile_for_access(query, shape, dialect, access))
}

/// The number of candidates, up to the bound, and about the number of records.
type Counted = (i64, i64);

/// A count of the candidates of a query.
struct Probe {
    statement: Statement,
    bound: u64,
    guess: Option<Guess>,
}

/// What is assumed about the other access paths of a collection without statistics.
#[derive(Clone, Copy)]
struct Guess {
    /// The maximum number of records of the result; `None` if the whole table is read without the index.
    limit: Option<u64>,
    /// How many records can be read without the index in the time that one candidate takes.
    cost: u64,
}

impl Probe {
    /// Returns the probe for a query that an index of trigrams can serve. `other` is the cheapest path without it.
    fn of(
        query: &BoundQuery,
        shape: Shape,
        dialect: Dialect,
        other: Option<&Path>,
    ) -> Option<Self> {
        let candidates = Candidates::of(query).filter(|_| dialect == Dialect::Sqlite)?;
        let (bound, guess) = match other {
            #[expect(clippy::cast_precision_loss, reason = "the cost of one candidate is small")]
            Some(path) => (whole(path.cost / READ_BY_ID as f64), None),
            None => {
                let guess = Guess::of(query, shape);
                (guess.bound(), Some(guess))
            }
        };
        let Tables { trigrams, numbers } = &candidates.tables;
        let sql = format!(
            "SELECT count(*), (SELECT coalesce(max(number), 0) FROM \"{numbers}\") \
             FROM (SELECT 1 FROM \"{trigrams}\"(?) LIMIT ?)"
        );
        let values = Values(vec![candidates.sought.into(), bound.into()]);
        // Without a bound the other path is faster in any case.
        (bound > 0).then_some(Self { statement: Statement { sql, values }, bound, guess })
    }

    /// Whether reading the candidates is faster than another access path.
    fn finds_few(&self, counted: &[Counted]) -> bool {
        let Some((candidates, records)) = counted.first() else { return false };
        let [candidates, records] =
            [candidates, records].map(|number| u64::try_from(*number).unwrap_or_default());
        candidates < self.bound
            && self.guess.is_none_or(|guess| guess.is_slower(candidates, records))
    }
}

impl Guess {
    fn of(query: &BoundQuery, shape: Shape) -> Self {
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
        Self { limit: limit.map(u64::from), cost }
    }

    fn bound(self) -> u64 {
        match self.limit {
            Some(limit) => (limit * EXPECTED_RECORDS / self.cost).isqrt(),
            None => EXPECTED_RECORDS / self.cost,
        }
    }

    /// Whether reading the table until the page is full takes longer than reading the candidates.
    fn is_slower(self, candidates: u64, records: u64) -> bool {
        // If so many of the records match, the page is full after this part of the table.
        let read = match self.limit {
            Some(limit) => (limit.saturating_mul(records) / candidates.max(1)).min(records),
            None => records,
        };
        candidates.saturating_mul(self.cost) <= read
    }
}

/// Returns a number without its fraction, at most [`EXPECTED_RECORDS`].
fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
    let whole = number.clamp(0.0, 1e6) as u64;
    whole
}

/// Whether records can be read in the order of a field.
fn has_index(schema: &Schema, field: &str) -> bool {
    schema.unique.iter().chain(schema.indexes).any(|key| key.first() == Some(&field))
}
