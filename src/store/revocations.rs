//! The revocations of tokens, numbered in the order of their commits.

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query as Sql};

use super::Store;
use crate::error::{Error, Result};
use crate::query::{Statement, Value};

/// For how long the revocation of a subject is kept: as long as a token may live, and a day.
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
    /// Every token that somebody has been issued so far.
    Subject(String),
}

/// A revocation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// How many there had been, with this one.
    pub revision: i64,
    /// What is revoked.
    pub what: Revoked,
    /// When, in UTC.
    pub revoked_at: DateTime<Utc>,
}

/// The one row that says how many revocations there have been.
const NAME: &str = "revocations";

impl Store {
    /// How many revocations there have been.
    ///
    /// # Errors
    /// The database's.
    pub async fn revocation_revision(&self) -> Result<i64> {
        let mut select = Sql::select();
        select
            .expr(Expr::cust("CAST(value AS bigint)"))
            .from("cinequery_meta")
            .and_where(Expr::col("name").eq(NAME));
        self.count(self.dialect().build(&select).into()).await
    }

    /// The revocations after that one, of tokens that have not expired, in their order.
    ///
    /// # Errors
    /// The database's.
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

    /// Revokes tokens, and forgets the revocations of those that have expired.
    ///
    /// # Errors
    /// The database's.
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

    /// The statements of a revocation, for one transaction. The first counts, and whoever comes
    /// second waits there: so they are committed in the order of their numbers.
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
            // Of one token and of one subject the last revocation is enough.
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
