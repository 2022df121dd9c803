//! Counts of requests, by day, class and subject.

use chrono::{DateTime, NaiveDate, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query as Sql};
use uuid::Uuid;

use super::Store;
use crate::error::{Error, Result};
use crate::query::Value;

/// Requests of one subject, day and class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// The class of requests.
    pub class: String,
    /// The subject that sent them.
    pub subject: String,
    /// The number of admitted requests.
    pub requests: i64,
    /// The number of requests that were rejected by the rate limit.
    pub throttled: i64,
}

const TABLE: &str = "usage";
const BATCHES: &str = "usage_batches";
const KEY: [&str; 3] = ["day", "class", "subject"];
const COLUMNS: [&str; 5] = ["day", "class", "subject", "requests", "throttled"];

impl Store {
    /// Adds a batch to the counts. A repeated batch is ignored, so the caller can retry.
    ///
    /// # Errors
    /// Any database error. The caller should then retry.
    pub async fn add_usage(&self, batch: Uuid, usage: &[Usage], now: DateTime<Utc>) -> Result<()> {
        let mut sorted: Vec<&Usage> = usage.iter().collect();
        // Two instances that lock the same rows in different orders would deadlock.
        sorted.sort_unstable();
        let mut insert = Sql::insert();
        insert.into_table(TABLE).columns(COLUMNS);
        for Usage { day, class, subject, requests, throttled } in sorted {
            let key = [Expr::val(*day), Expr::val(class.as_str()), Expr::val(subject.as_str())];
            let counts = [Expr::val(*requests), Expr::val(*throttled)];
            insert.values(key.into_iter().chain(counts)).map_err(Error::internal)?;
        }
        let sum = |column| Expr::col((TABLE, column)).add(Expr::col(("excluded", column)));
        let mut conflict = OnConflict::columns(KEY);
        conflict.values(["requests", "throttled"].map(|column| (column, sum(column))));
        insert.on_conflict(conflict);
        let (id, now) = (Value::Id(batch), Value::Timestamp(now));
        let row = [id, now].map(|value| Expr::val(self.dialect().value(&value)));
        let mut added = Sql::insert();
        added
            .into_table(BATCHES)
            .columns(["id", "added_at"])
            .values(row)
            .map_err(Error::internal)?;
        added.on_conflict(OnConflict::column("id").do_nothing().to_owned());
        added.returning(Sql::returning().column("id"));
        // If the batch exists already, this returns no row, and the transaction is rolled back.
        let insert = self.dialect().build(&insert).into();
        let _: Option<(Uuid,)> =
            self.transact(vec![insert], self.dialect().build(&added).into()).await?;
        Ok(())
    }

    /// Returns the counts of one subject or of all, from one day to another. They are ordered by day, class and
    /// subject, and start after a place in this order.
    ///
    /// # Errors
    /// Any database error.
    pub async fn usage(
        &self,
        subject: Option<&str>,
        (from, to): (NaiveDate, NaiveDate),
        after: Option<(NaiveDate, &str, &str)>,
        limit: u32,
    ) -> Result<Vec<Usage>> {
        type Row = (NaiveDate, String, String, i64, i64);
        let mut select = Sql::select();
        select
            .columns(COLUMNS)
            .from(TABLE)
            .and_where_option(subject.map(|subject| Expr::col("subject").eq(subject)))
            .and_where(Expr::col("day").gte(from))
            .and_where(Expr::col("day").lte(to))
            .and_where_option(after.map(|(day, class, subject)| {
                let place = [Expr::val(day), Expr::val(class), Expr::val(subject)];
                Expr::tuple(KEY.map(Expr::col)).gt(Expr::tuple(place))
            }))
            .limit(u64::from(limit));
        for column in KEY {
            select.order_by(column, Order::Asc);
        }
        let rows: Vec<Row> = self.read(self.dialect().build(&select).into()).await?;
        let usage = |(day, class, subject, requests, throttled): Row| Usage {
            day,
            class,
            subject,
            requests,
            throttled,
        };
        Ok(rows.into_iter().map(usage).collect())
    }

    /// Deletes the counts of days before `day`, and the ids of batches that were added before `moment`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn forget_usage(&self, day: NaiveDate, moment: DateTime<Utc>) -> Result<()> {
        let moment = self.dialect().value(&Value::Timestamp(moment));
        let mut counts = Sql::delete();
        counts.from_table(TABLE).and_where(Expr::col("day").lt(day));
        let mut batches = Sql::delete();
        batches.from_table(BATCHES).and_where(Expr::col("added_at").lt(moment));
        for delete in [counts, batches] {
            let _: Vec<(i64,)> = self.write(self.dialect().build(&delete).into()).await?;
        }
        Ok(())
    }
}
