//! Writes of all records that match a filter, if as many match as expected.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, Query as Sql};
use uuid::Uuid;

use super::idempotency::{Keyed, Once};
use super::journal::{Note, Origin};
use super::transaction::{End, Failure, Transaction, Work};
use super::write::{columns, differs};
use super::{Record, Store};
use crate::error::{Error, Kind, Result, There};
use crate::query::statistics::Statistics;
use crate::query::{BoundQuery, Schema, Shape, Statement, Value};
use crate::record::Row;
use crate::telemetry::audit::Audit;

/// The maximum number of records that such a write may change.
pub const MAX_MATCHING: u32 = 10_000;

/// The number of records that are read and written together.
const STEP: usize = 100;

/// What to do with the matching records.
#[derive(Debug, Clone, PartialEq)]
pub enum Bulk {
    /// Sets fields.
    Update(Row),
    /// Deletes the records.
    Delete,
}

/// What a write by filter did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkTally {
    /// The number of matching records.
    pub matched: u32,
    /// The number of records that were changed or deleted. The others have the values already.
    pub written: u32,
}

struct BulkWork {
    schema: &'static Schema,
    query: BoundQuery,
    statistics: Option<Arc<Statistics>>,
    bulk: Bulk,
    expected: u32,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Work for BulkWork {
    type Output = BulkTally;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<BulkTally>, Failure> {
        let shape = Shape::LockedIds { limit: self.expected + 1 };
        let statistics = self.statistics.as_deref();
        let select = transaction.statement(&self.query, shape, statistics).await?;
        let ids: Vec<(Uuid,)> = transaction.rows(select).await?;
        if ids.len() != self.expected as usize {
            let count = transaction.statement(&self.query, Shape::Count, statistics).await?;
            let count: Vec<(i64,)> = transaction.rows(count).await?;
            let matched = count.first().map_or(0, |(count,)| *count);
            return Err(unexpected_count(Some(self.expected), matched).into());
        }
        let mut written = 0;
        for ids in ids.chunks(STEP) {
            written += self.write(transaction, ids).await?;
        }
        Ok(End::Commit(BulkTally { matched: self.expected, written }))
    }

    fn audit(&self, tally: &BulkTally) {
        let action = match self.bulk {
            Bulk::Update(_) => "update",
            Bulk::Delete => "delete",
        };
        if tally.written > 0 {
            let records = Some(tally.written.into());
            Audit { records, ..self.origin.audit(action, self.schema) }.log();
        }
    }
}

impl BulkWork {
    /// Writes some of the records and notes the changes. Returns the number of written records.
    async fn write(
        &self,
        transaction: &mut Transaction<'_>,
        ids: &[(Uuid,)],
    ) -> std::result::Result<u32, Failure> {
        let (schema, dialect) = (self.schema, transaction.dialect());
        let is_one = || Expr::col("id").is_in(ids.iter().map(|(id,)| *id));
        let mut select = Sql::select();
        select.columns(schema.names()).from(schema.collection).and_where(is_one());
        let before = transaction.records(schema, dialect.build(&select).into()).await?;
        let before: HashMap<Uuid, Record> =
            before.into_iter().map(|record| (record.id(), record)).collect();
        let returning = Sql::returning().columns(schema.names());
        let statement: Statement = match &self.bulk {
            Bulk::Delete => {
                let mut delete = Sql::delete();
                delete.from_table(schema.collection).and_where(is_one()).returning(returning);
                dialect.build(&delete).into()
            }
            Bulk::Update(row) => {
                let mut update = Sql::update();
                update.table(schema.collection).values(
                    columns(row, dialect).map(|(column, value)| (column, Expr::from(value))),
                );
                update
                    .value("version", Expr::col("version").add(Expr::cust("1")))
                    .value("updated_at", dialect.value(&Value::Timestamp(self.now)))
                    .and_where(is_one())
                    .and_where(differs(schema, row, dialect))
                    .returning(returning);
                dialect.build(&update).into()
            }
        };
        let written = transaction.records(schema, statement).await?;
        if schema.journal {
            let notes = written.iter().map(|record| match self.bulk {
                Bulk::Delete => Note::of(Some(record), None),
                Bulk::Update(_) => Note::of(before.get(&record.id()), Some(record)),
            });
            let notes = notes.collect::<Result<_>>()?;
            transaction.note(schema, notes, &self.origin, self.now).await?;
        }
        // Cannot fail: there are at most as many as ids.
        Ok(u32::try_from(written.len()).unwrap_or(u32::MAX))
    }
}

/// Returns the error for a write by filter that expected another number of matching records, or did not say which.
pub fn unexpected_count(expected: Option<u32>, matched: i64) -> Error {
    let found = match expected {
        Some(expected) => format!("expected {expected} matching records, found {matched}"),
        None => {
            format!(
                "missing query parameter \"expect\", the number of matching records: {matched} match"
            )
        }
    };
    let advice = match matched {
        0 => "correct the filter".to_owned(),
        1.. if matched <= i64::from(MAX_MATCHING) => {
            format!("send expect={matched} if all of them are meant")
        }
        _ => format!("select at most {MAX_MATCHING} records at a time"),
    };
    let detail = format!("{found}. Nothing was changed; {advice}");
    let there = Some(Box::new(There::Matching(matched)));
    Error { there, ..Error::new(Kind::UnexpectedCount, detail) }
}

impl Store {
    /// Changes or deletes all records that match a query, if exactly `expected` do, once for an idempotency key.
    ///
    /// # Errors
    /// [`Kind::UnexpectedCount`] if another number of records matches; [`Kind::Duplicate`],
    /// [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`]; any database error. Nothing is changed then.
    pub async fn write_matching(
        &self,
        query: BoundQuery,
        bulk: Bulk,
        expected: u32,
        keyed: Option<Keyed<BulkTally>>,
        now: DateTime<Utc>,
    ) -> Result<Once<BulkTally>> {
        let (schema, origin) = (query.schema, self.origin.clone());
        let statistics = self.statistics(schema);
        let work = BulkWork { schema, query, statistics, bulk, expected, origin, now };
        let Some(keyed) = keyed else {
            return self.in_transaction(work).await.map(Once::Unkeyed);
        };
        self.once(work, keyed, now).await
    }
}
