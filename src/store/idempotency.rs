//! Requests with an idempotency key (draft-ietf-httpapi-idempotency-key-header): their responses are stored in the
//! transaction of the write, so a retry gets the same response and writes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use sea_query::{Expr, ExprTrait, Order, Query as Sql};
use serde::{Deserialize, Serialize};

use super::Store;
use super::transaction::{End, Failure, Transaction, Work};
use crate::error::{Error, Kind, Result, retry_after};
use crate::query::{Dialect, Statement, Value};

const TABLE: &str = "idempotency_keys";

/// The maximum number of keys of a subject that are stored at the same time.
const MAX_KEYS: i64 = 100_000;

/// The maximum number of keys that one statement deletes.
const SWEPT: u64 = 1000;

/// A key that a client sent with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, unique for the subject.
    pub key: String,
    /// A hash of the request. Another request cannot reuse the key.
    pub fingerprint: Vec<u8>,
}

/// A response as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The header fields that depend on the write, by lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, which is JSON.
    pub body: String,
}

/// The outcome of work that may have been done before.
#[derive(Debug, Clone, PartialEq)]
pub enum Once<T> {
    /// The request had no key, or wrote nothing.
    Unkeyed(T),
    /// The response, which is stored now.
    Stored(Reply),
    /// The response to an earlier request with the same key.
    Replayed(Reply),
}

impl<T> Once<T> {
    /// Converts the outcome of a request without a key.
    ///
    /// # Errors
    /// Those of `convert`.
    pub fn try_map<U>(self, convert: impl FnOnce(T) -> Result<U>) -> Result<Once<U>> {
        Ok(match self {
            Self::Unkeyed(outcome) => Once::Unkeyed(convert(outcome)?),
            Self::Stored(reply) => Once::Stored(reply),
            Self::Replayed(reply) => Once::Replayed(reply),
        })
    }
}

/// Returns the response to an outcome.
pub type ToReply<T> = Box<dyn Fn(&T) -> Result<Option<Reply>> + Send + Sync>;

/// How to do work once: the key, and the response to an outcome; `None` for an outcome that wrote nothing.
pub struct Keyed<T> {
    /// The key.
    pub key: IdempotencyKey,
    /// Returns the response to store.
    pub reply: ToReply<T>,
}

/// Work that is done once for a key.
struct KeyedWork<W: Work> {
    work: W,
    subject: String,
    keyed: Keyed<W::Output>,
    kept: TimeDelta,
    now: DateTime<Utc>,
}

impl<W: Work> Work for KeyedWork<W> {
    type Output = Once<W::Output>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Self::Output>, Failure> {
        if let Some(reply) = self.find(transaction).await? {
            return Ok(End::RollBack(Once::Replayed(reply)));
        }
        Ok(match self.work.run(transaction).await? {
            End::Commit(output) => {
                let Some(reply) = (self.keyed.reply)(&output)? else {
                    return Ok(End::Commit(Once::Unkeyed(output)));
                };
                self.store(transaction, &reply).await?;
                End::Commit(Once::Stored(reply))
            }
            End::RollBack(output) => End::RollBack(Once::Unkeyed(output)),
        })
    }
}

impl<W: Work> KeyedWork<W> {
    /// Returns the response to an earlier request with the key.
    ///
    /// # Errors
    /// [`Kind::IdempotencyKeyInUse`] if another request with the key has not ended;
    /// [`Kind::IdempotencyKeyReused`] if the earlier request was another one; [`Kind::TooManyRequests`] if the subject
    /// has too many keys.
    async fn find(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<Option<Reply>, Failure> {
        let (dialect, key) = (transaction.dialect(), &self.keyed.key);
        // On SQLite the transaction is the only one that writes.
        if dialect == Dialect::Postgres {
            // The length of the subject, so that no two pairs give the same text.
            let name = format!("{} {} {}", self.subject.len(), self.subject, key.key);
            let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
            let values = vec![name.into()];
            let statement = Statement { sql: lock.to_owned(), values: sea_query::Values(values) };
            let locked: Vec<(bool,)> = transaction.rows(statement).await?;
            if locked != [(true,)] {
                return Err(in_use().into());
            }
        }
        let mut select = Sql::select();
        select
            .columns(["fingerprint", "response", "created_at"])
            .from(TABLE)
            .and_where(Expr::col("subject").eq(self.subject.as_str()))
            .and_where(Expr::col("key").eq(key.key.as_str()));
        type Row = (Vec<u8>, String, DateTime<Utc>);
        let rows: Vec<Row> = transaction.rows(dialect.build(&select).into()).await?;
        match rows.into_iter().next() {
            Some((fingerprint, response, created_at)) if created_at + self.kept > self.now => {
                if fingerprint != key.fingerprint {
                    return Err(reused().into());
                }
                let reply = serde_json::from_str(&response).map_err(Error::internal)?;
                return Ok(Some(reply));
            }
            // It has expired and is not swept yet.
            Some(_) => {
                let mut delete = Sql::delete();
                delete
                    .from_table(TABLE)
                    .and_where(Expr::col("subject").eq(self.subject.as_str()))
                    .and_where(Expr::col("key").eq(key.key.as_str()));
                transaction.execute(dialect.build(&delete).into()).await?;
            }
            None => {}
        }
        Ok(None)
    }

    /// Stores the response.
    async fn store(
        &self,
        transaction: &mut Transaction<'_>,
        reply: &Reply,
    ) -> std::result::Result<(), Failure> {
        let dialect = transaction.dialect();
        let end = |order| {
            let mut select = Sql::select();
            select
                .column("number")
                .from(TABLE)
                .and_where(Expr::col("subject").eq(self.subject.as_str()))
                .order_by("number", order)
                .limit(1);
            Statement::from(dialect.build(&select))
        };
        let last: Vec<(i64,)> = transaction.rows(end(Order::Desc)).await?;
        let first: Vec<(i64,)> = transaction.rows(end(Order::Asc)).await?;
        let number = last.first().map_or(1, |(last,)| last + 1);
        if first.first().is_some_and(|(first,)| number - first >= MAX_KEYS) {
            return Err(too_many().into());
        }
        let mut insert = Sql::insert();
        insert
            .into_table(TABLE)
            .columns(["subject", "key", "number", "fingerprint", "response", "created_at"])
            .values([
                Expr::val(self.subject.as_str()),
                Expr::val(self.keyed.key.key.as_str()),
                Expr::val(number),
                Expr::val(self.keyed.key.fingerprint.clone()),
                Expr::val(serde_json::to_string(reply).map_err(Error::internal)?),
                Expr::val(dialect.value(&Value::Timestamp(self.now))),
            ])
            .map_err(Error::internal)?;
        transaction.execute(dialect.build(&insert).into()).await?;
        Ok(())
    }
}

fn in_use() -> Error {
    let detail = "another request with this Idempotency-Key has not ended; retry later";
    Error { retry_after: Some(retry_after(1)), ..Error::new(Kind::IdempotencyKeyInUse, detail) }
}

fn reused() -> Error {
    let detail =
        "another request was sent with this Idempotency-Key; send a new key with a new request";
    Error::new(Kind::IdempotencyKeyReused, detail)
}

fn too_many() -> Error {
    let detail = format!(
        "you have {MAX_KEYS} idempotency keys, which is the limit; retry when the oldest have expired"
    );
    Error { retry_after: Some(retry_after(60)), ..Error::new(Kind::TooManyRequests, detail) }
}

impl Store {
    /// Does work once for a key, in one transaction with the stored response.
    pub(super) async fn once<W: Work>(
        &self,
        work: W,
        keyed: Keyed<W::Output>,
        now: DateTime<Utc>,
    ) -> Result<Once<W::Output>>
    where
        W::Output: Sync,
    {
        let kept = TimeDelta::from_std(self.shared.bounds.idempotency).unwrap_or(TimeDelta::MAX);
        let subject = self.origin.subject.to_string();
        self.in_transaction(KeyedWork { work, subject, keyed, kept, now }).await
    }

    /// Deletes some of the keys that have expired ([`super::Bounds::idempotency`]), the oldest first. Returns whether
    /// there may be more of them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn sweep_keys(&self, now: DateTime<Utc>) -> Result<bool> {
        let kept = TimeDelta::from_std(self.shared.bounds.idempotency).unwrap_or(TimeDelta::MAX);
        let Some(moment) = now.checked_sub_signed(kept) else { return Ok(false) };
        let dialect = self.dialect();
        let mut oldest = Sql::select();
        oldest
            .columns(["subject", "key"])
            .from(TABLE)
            .and_where(Expr::col("created_at").lt(dialect.value(&Value::Timestamp(moment))))
            .order_by("created_at", Order::Asc)
            .limit(SWEPT);
        let mut delete = Sql::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::tuple(["subject", "key"].map(Expr::col)).in_subquery(oldest))
            .returning(Sql::returning().column("number"));
        let deleted: Vec<(i64,)> = self.write(dialect.build(&delete).into()).await?;
        Ok(deleted.len() as u64 == SWEPT)
    }
}
