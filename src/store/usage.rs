//! How many requests somebody has sent, by day and by what they were for.

use chrono::NaiveDate;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::AssertSqlSafe;

use super::{Store, database_error, on};
use crate::error::{Error, Result};
use crate::query::Statement;

/// Requests of one subject, day and class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// What they were for.
    pub class: String,
    /// Whose they are.
    pub subject: String,
    /// How many were admitted.
    pub requests: i64,
    /// How many were refused as one too many.
    pub throttled: i64,
}

const TABLE: &str = "usage";
const KEY: [&str; 3] = ["day", "class", "subject"];
const COLUMNS: [&str; 5] = ["day", "class", "subject", "requests", "throttled"];

impl Store {
    /// Adds to the counts, in one statement.
    ///
    /// # Errors
    /// The database's; then nothing is added.
    pub async fn add_usage(&self, usage: &[Usage]) -> Result<()> {
        let mut sorted: Vec<&Usage> = usage.iter().collect();
        // Two instances that lock the same rows in different order would wait for each other.
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
        let Statement { sql, values } = self.dialect().build(&insert).into();
        on!(write self, pool => {
            let insert = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values));
            insert.execute(pool).await.map(|_| ())
        })
        .map_err(database_error)
    }

    /// The counts of somebody, or of all, from a day to another, by day, class and subject, behind a
    /// place in that order.
    ///
    /// # Errors
    /// The database's.
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
        let (sql, values) = self.dialect().build(&select);
        let rows: Vec<Row> = on!(read self, pool => {
            sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values)).fetch_all(pool).await
        })
        .map_err(database_error)?;
        let usage = |(day, class, subject, requests, throttled): Row| Usage {
            day,
            class,
            subject,
            requests,
            throttled,
        };
        Ok(rows.into_iter().map(usage).collect())
    }

    /// Forgets the counts of days before that one.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_usage(&self, before: NaiveDate) -> Result<()> {
        let mut delete = Sql::delete();
        delete.from_table(TABLE).and_where(Expr::col("day").lt(before));
        let (sql, values) = self.dialect().build(&delete);
        on!(write self, pool => {
            let delete = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values));
            delete.execute(pool).await.map(|_| ())
        })
        .map_err(database_error)
    }
}
