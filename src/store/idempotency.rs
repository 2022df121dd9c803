//! Requests with an idempotency key (draft-ietf-httpapi-idempotency-key-header): their responses are stored in the
//! transaction of the write, so a retry gets the same response and writes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use sea_query::{Condition, Expr, ExprTrait, Order, Query as Sql};
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
    /// The outcome for the caller and, if its response was stored, that of the work.
    type Output = (Once<W::Output>, Option<W::Output>);

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Self::Output>, Failure> {
        let Self { subject, keyed: Keyed { key, reply }, kept, now, .. } = self;
        let slot = Slot { subject, key, kept: *kept, now: *now };
        match slot.enter(transaction).await? {
            Some(stored) if stored.fingerprint != key.fingerprint => return Err(reused().into()),
            Some(Stored { reply: Some(reply), .. }) => {
                return Ok(End::RollBack((Once::Replayed(reply), None)));
            }
            Some(_) => return Err(in_use(1).into()),
            None => {}
        }
        Ok(match self.work.run(transaction).await? {
            End::Commit(output) => {
                let Some(reply) = reply(&output)? else {
                    return Ok(End::Commit((Once::Unkeyed(output), None)));
                };
                let fingerprint = key.fingerprint.clone();
                let stored = Stored { fingerprint, reply: Some(reply.clone()), progress: None };
                slot.store(transaction, &stored).await?;
                End::Commit((Once::Stored(reply), Some(output)))
            }
            End::RollBack(output) => End::RollBack((Once::Unkeyed(output), None)),
        })
    }

    fn audit(&self, (once, stored): &Self::Output) {
        match (once, stored) {
            (Once::Unkeyed(output), _) | (_, Some(output)) => self.work.audit(output),
            _ => {}
        }
    }
}

/// The place of a key in the table, for one transaction.
pub(super) struct Slot<'a> {
    /// The subject whose key it is.
    pub(super) subject: &'a str,
    /// The key.
    pub(super) key: &'a IdempotencyKey,
    /// How long responses are stored.
    pub(super) kept: TimeDelta,
    /// The time of the request.
    pub(super) now: DateTime<Utc>,
}

/// What is stored for a key.
pub(super) struct Stored {
    /// A hash of the request.
    pub(super) fingerprint: Vec<u8>,
    /// The response; `None` for an import that has not ended.
    pub(super) reply: Option<Reply>,
    /// What an import that has not ended has committed, as JSON.
    pub(super) progress: Option<String>,
}

impl Slot<'_> {
    /// Returns what is stored for the key, and rejects other requests with it until the transaction ends.
    ///
    /// # Errors
    /// [`Kind::IdempotencyKeyInUse`] if another transaction has the key.
    pub(super) async fn enter(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<Option<Stored>, Failure> {
        let (dialect, key) = (transaction.dialect(), &self.key.key);
        // On SQLite the transaction is the only one that writes.
        if dialect == Dialect::Postgres {
            // The length of the subject, so that no two pairs give the same text.
            let name = format!("{} {} {key}", self.subject.len(), self.subject);
            let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
            let values = vec![name.into()];
            let statement = Statement { sql: lock.to_owned(), values: sea_query::Values(values) };
            let locked: Vec<(bool,)> = transaction.rows(statement).await?;
            if locked != [(true,)] {
                return Err(in_use(1).into());
            }
        }
        let mut select = Sql::select();
        select
            .columns(["fingerprint", "response", "progress", "created_at"])
            .from(TABLE)
            .cond_where(self.is_own());
        type Row = (Vec<u8>, String, Option<String>, DateTime<Utc>);
        let rows: Vec<Row> = transaction.rows(dialect.build(&select).into()).await?;
        let Some((fingerprint, response, progress, created_at)) = rows.into_iter().next() else {
            return Ok(None);
        };
        if created_at.checked_add_signed(self.kept).is_some_and(|end| end <= self.now) {
            // It has expired and is not swept yet.
            self.clear(transaction).await?;
            return Ok(None);
        }
        let reply = serde_json::from_str(&response).map_err(Error::internal)?;
        Ok(Some(Stored { fingerprint, reply, progress }))
    }

    /// Stores something for the key, for which nothing is stored.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] if the subject has too many keys.
    pub(super) async fn store(
        &self,
        transaction: &mut Transaction<'_>,
        stored: &Stored,
    ) -> std::result::Result<(), Failure> {
        let dialect = transaction.dialect();
        let end = |order| {
            let mut select = Sql::select();
            select
                .column("number")
                .from(TABLE)
                .and_where(Expr::col("subject").eq(self.subject))
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
            .columns(["subject", "key", "number", "created_at"].into_iter().chain(CONTENT))
            .values(
                [
                    Expr::val(self.subject),
                    Expr::val(self.key.key.as_str()),
                    Expr::val(number),
                    Expr::val(dialect.value(&Value::Timestamp(self.now))),
                ]
                .into_iter()
                .chain(content(stored)?),
            )
            .map_err(Error::internal)?;
        transaction.execute(dialect.build(&insert).into()).await?;
        Ok(())
    }

    /// Replaces what is stored for the key.
    pub(super) async fn replace(
        &self,
        transaction: &mut Transaction<'_>,
        stored: &Stored,
    ) -> std::result::Result<(), Failure> {
        let mut update = Sql::update();
        update.table(TABLE).values(CONTENT.into_iter().zip(content(stored)?));
        update.cond_where(self.is_own());
        let statement = transaction.dialect().build(&update).into();
        transaction.execute(statement).await?;
        Ok(())
    }

    /// Deletes what is stored for the key.
    pub(super) async fn clear(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<(), Failure> {
        let mut delete = Sql::delete();
        delete.from_table(TABLE).cond_where(self.is_own());
        let statement = transaction.dialect().build(&delete).into();
        transaction.execute(statement).await?;
        Ok(())
    }

    fn is_own(&self) -> Condition {
        Condition::all()
            .add(Expr::col("subject").eq(self.subject))
            .add(Expr::col("key").eq(self.key.key.as_str()))
    }
}

/// The columns of what is stored for a key.
const CONTENT: [&str; 3] = ["fingerprint", "response", "progress"];

fn content(stored: &Stored) -> Result<[Expr; 3]> {
    let Stored { fingerprint, reply, progress } = stored;
    let response = serde_json::to_string(reply).map_err(Error::internal)?;
    Ok([Expr::val(fingerprint.clone()), Expr::val(response), Expr::val(progress.clone())])
}

/// The error for a key that another request has. `seconds` is a good time for a retry.
pub(super) fn in_use(seconds: u32) -> Error {
    let detail = "another request with this Idempotency-Key has not ended; retry later";
    Error {
        retry_after: Some(retry_after(seconds)),
        ..Error::new(Kind::IdempotencyKeyInUse, detail)
    }
}

/// The error for a key that was sent with another request.
pub(super) fn reused() -> Error {
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
        let kept = self.keys_kept();
        let subject = self.origin.subject.to_string();
        let work = KeyedWork { work, subject, keyed, kept, now };
        self.in_transaction(work).await.map(|(once, _)| once)
    }

    /// Returns how long responses are stored.
    pub(super) fn keys_kept(&self) -> TimeDelta {
        TimeDelta::from_std(self.shared.bounds.idempotency).unwrap_or(TimeDelta::MAX)
    }

    /// Deletes some of the keys that have expired ([`super::Bounds::idempotency`]), the oldest first. Returns whether
    /// there may be more of them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn sweep_keys(&self, now: DateTime<Utc>) -> Result<bool> {
        let Some(moment) = now.checked_sub_signed(self.keys_kept()) else { return Ok(false) };
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
