//! The revocations of tokens, numbered in the order of their commits.

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query as Sql};

use super::{Store, plain};
use crate::error::{Error, Result};
use crate::query::{Statement, Value};

/// How long the revocation of a subject is kept: the maximum lifetime of a token plus one day.
const KEPT: chrono::Duration = chrono::Duration::days(367);

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// One token.
    Token {
        /// Its id.
        id: String,
        /// When it would have expired.
        expires_at: DateTime<Utc>,
    },
    /// Every token that has been issued to a subject so far.
    Subject(String),
}

/// A revocation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its number: the count of revocations up to and including this one.
    pub revision: i64,
    /// What is revoked.
    pub what: Revoked,
    /// When it was revoked, in UTC.
    pub revoked_at: DateTime<Utc>,
}

/// The name of the row of `cinequery_meta` that counts revocations, and of their table.
const NAME: &str = "revocations";

impl Store {
    /// Returns the number of revocations so far.
    ///
    /// # Errors
    /// Any database error.
    pub async fn revocation_revision(&self) -> Result<i64> {
        let mut select = Sql::select();
        select
            .expr(Expr::cust("CAST(value AS bigint)"))
            .from("cinequery_meta")
            .and_where(Expr::col("name").eq(NAME));
        self.count(self.dialect().build(&select).into()).await
    }

    /// Whether there are revocations that the count does not include. A restored table can be newer than the rest.
    ///
    /// # Errors
    /// Any database error.
    pub async fn lacks_revocations(&self) -> Result<bool> {
        // One statement, so that both are of one moment.
        let sql = "SELECT count(*) FROM revocations WHERE revision > \
                   (SELECT CAST(value AS bigint) FROM cinequery_meta WHERE name = 'revocations')";
        Ok(self.count(plain(sql)).await? > 0)
    }

    /// Returns the revocations after that number, of tokens that have not expired, in ascending order.
    ///
    /// # Errors
    /// Any database error.
    pub async fn revocations(&self, after: i64, now: DateTime<Utc>) -> Result<Vec<Revocation>> {
        type Row = (i64, Option<String>, Option<String>, DateTime<Utc>, DateTime<Utc>);
        let now = self.dialect().value(&Value::Timestamp(now));
        let mut select = Sql::select();
        select
            .columns(["revision", "token_id", "subject", "revoked_at", "expires_at"])
            .from(NAME)
            .and_where(Expr::col("revision").gt(after))
            .and_where(Expr::col("expires_at").gt(now))
            .order_by("revision", Order::Asc);
        let rows: Vec<Row> = self.read(self.dialect().build(&select).into()).await?;
        let revocation = |(revision, token_id, subject, revoked_at, expires_at): Row| {
            let what = match (token_id, subject) {
                (Some(id), _) => Revoked::Token { id, expires_at },
                (None, subject) => Revoked::Subject(subject.unwrap_or_default()),
            };
            Revocation { revision, what, revoked_at }
        };
        Ok(rows.into_iter().map(revocation).collect())
    }

    /// Revokes tokens, and deletes the revocations of expired tokens.
    ///
    /// # Errors
    /// Any database error.
    pub async fn revoke(&self, what: &Revoked, now: DateTime<Utc>) -> Result<()> {
        let statements = self.revocation(what, now)?;
        let expired = self.dialect().value(&Value::Timestamp(now));
        let mut delete = Sql::delete();
        delete.from_table(NAME).and_where(Expr::col("expires_at").lte(expired));
        let delete = self.dialect().build(&delete).into();
        let [count, insert] = statements;
        let numbered: Option<(i64,)> = self.transact(vec![count, delete], insert).await?;
        numbered.map(|_| ()).ok_or_else(|| Error::internal("revocations have no number"))
    }

    /// Returns the statements of a revocation, for one transaction. The first one increments the count and locks
    /// its row. So concurrent revocations wait there and commit in the order of their numbers.
    pub(super) fn revocation(&self, what: &Revoked, now: DateTime<Utc>) -> Result<[Statement; 2]> {
        let time = |time| Expr::val(self.dialect().value(&Value::Timestamp(time)));
        let (token_id, subject, expires_at) = match what {
            Revoked::Token { id, expires_at } => (Some(id.as_str()), None, *expires_at),
            Revoked::Subject(subject) => (None, Some(subject.as_str()), now + KEPT),
        };
        let mut count = Sql::update();
        count
            .table("cinequery_meta")
            .value("value", Expr::cust("CAST(CAST(value AS bigint) + 1 AS text)"))
            .and_where(Expr::col("name").eq(NAME));
        let mut row = Sql::select();
        row.expr(Expr::cust("CAST(value AS bigint)"))
            .exprs([Expr::val(token_id), Expr::val(subject), time(now), time(expires_at)])
            .from("cinequery_meta")
            .and_where(Expr::col("name").eq(NAME));
        let mut insert = Sql::insert();
        insert
            .into_table(NAME)
            .columns(["revision", "token_id", "subject", "revoked_at", "expires_at"])
            .select_from(row)
            .map_err(Error::internal)?
            // Only the last revocation of each token and subject is needed.
            .on_conflict(
                OnConflict::column(match what {
                    Revoked::Token { .. } => "token_id",
                    Revoked::Subject(_) => "subject",
                })
                .update_columns(["revision", "revoked_at", "expires_at"])
                .to_owned(),
            )
            .returning(Sql::returning().column("revision"));
        Ok([self.dialect().build(&count).into(), self.dialect().build(&insert).into()])
    }
}
