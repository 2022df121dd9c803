//! Sessions: what refresh tokens renew. One row each, which every renewal changes.
//!
//! Times are those of the database server, because instances compare them and their clocks differ.

use chrono::{DateTime, TimeDelta, Utc};
use sea_query::{Expr, ExprTrait, Order, Query as Sql};
use uuid::Uuid;

use super::{Revoked, Store, plain};
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::query::{Dialect, Value};

const TABLE: &str = "cinequery_sessions";

/// The maximum number of sessions of a subject ([`Store::surplus_sessions`]).
const MAX_SESSIONS: u64 = 100;

/// The maximum number of sessions that one statement deletes.
const SWEPT: u64 = 1000;

/// A session to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its unique id.
    pub id: Uuid,
    /// Who has signed in.
    pub subject: String,
    /// The requested scopes, separated by spaces; empty for all scopes of the subject.
    pub scope: String,
    /// The number of revocations, read before the subject was authenticated.
    pub revision: i64,
}

/// A session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who has signed in.
    pub subject: String,
    /// The requested scopes, separated by spaces; empty for all scopes of the subject.
    pub scope: String,
    /// The number of renewals, which the newest refresh token has.
    pub generation: i64,
    /// The time since the last renewal, or since the sign-in. It is negative if the clock was set back since.
    pub idle: TimeDelta,
    /// The time until the session expires unless it is renewed. It is not positive if the session has expired.
    pub left: TimeDelta,
    /// The same if it were renewed now.
    pub left_if_renewed: TimeDelta,
    /// Whether all tokens of the subject were revoked since the sign-in.
    pub is_revoked: bool,
}

impl Store {
    /// Stores a session. Returns the time until it expires unless it is renewed.
    ///
    /// # Errors
    /// Any database error.
    pub async fn add_session(&self, session: &NewSession) -> Result<TimeDelta> {
        let now = Expr::val(self.timestamp(self.database_now().await?));
        let mut insert = Sql::insert();
        insert
            .into_table(TABLE)
            .columns([
                "id",
                "subject",
                "scope",
                "generation",
                "revision",
                "created_at",
                "renewed_at",
            ])
            .values([
                Expr::val(session.id.to_string()),
                Expr::val(session.subject.as_str()),
                Expr::val(session.scope.as_str()),
                Expr::val(0_i64),
                Expr::val(session.revision),
                now.clone(),
                now,
            ])
            .map_err(Error::internal)?
            .returning(Sql::returning().column("generation"));
        let added: Vec<(i64,)> = self.write(self.dialect().build(&insert).into()).await?;
        added.first().ok_or_else(|| Error::internal("the insert returned no row"))?;
        let (life, idle_life) = self.session_lives();
        Ok(life.min(idle_life))
    }

    /// Returns the sessions that a subject has too many after a new one was added: those that were not renewed for the
    /// longest time.
    ///
    /// # Errors
    /// Any database error.
    pub async fn surplus_sessions(&self, added: &NewSession) -> Result<Vec<Uuid>> {
        let mut select = Sql::select();
        select
            .column("id")
            .from(TABLE)
            .and_where(Expr::col("subject").eq(added.subject.as_str()))
            .and_where(Expr::col("id").ne(added.id.to_string()))
            .order_by("renewed_at", Order::Desc)
            .order_by("id", Order::Desc)
            .offset(MAX_SESSIONS - 1)
            .limit(MAX_SESSIONS);
        let ids = self.texts(self.dialect().build(&select).into()).await?;
        ids.iter().map(|id| id.parse().map_err(Error::internal)).collect()
    }

    /// Returns the session of that id, also if it has expired or is revoked.
    ///
    /// # Errors
    /// Any database error.
    pub async fn session(&self, id: Uuid) -> Result<Option<Session>> {
        type Row = (String, String, i64, DateTime<Utc>, DateTime<Utc>, bool);
        // Revocations are rows of their own, so that instances of earlier versions revoke sessions too.
        let mut revocation = Sql::select();
        revocation
            .column("revision")
            .from("revocations")
            .and_where(Expr::col(("revocations", "subject")).equals((TABLE, "subject")))
            .and_where(Expr::col(("revocations", "revision")).gt(Expr::col((TABLE, "revision"))));
        let mut select = Sql::select();
        select
            .columns(["subject", "scope", "generation", "created_at", "renewed_at"])
            .expr(Expr::exists(revocation))
            .from(TABLE)
            .and_where(Expr::col("id").eq(id.to_string()));
        let rows: Vec<Row> = self.read(self.dialect().build(&select).into()).await?;
        let found = rows.into_iter().next();
        // After the row: a parallel renewal must not be later than now.
        let now = self.database_now().await?;
        let (life, idle_life) = self.session_lives();
        Ok(found.map(|(subject, scope, generation, created_at, renewed_at, is_revoked)| {
            let (age, idle) = (now - created_at, now - renewed_at);
            let left = (life - age).min(idle_life - idle);
            let left_if_renewed = (life - age).min(idle_life);
            Session { subject, scope, generation, idle, left, left_if_renewed, is_revoked }
        }))
    }

    /// Renews a session that has this generation. Returns whether it had: of parallel renewals, one changes the row.
    ///
    /// # Errors
    /// Any database error.
    pub async fn renew_session(&self, id: Uuid, generation: i64) -> Result<bool> {
        let now = self.database_now().await?;
        let mut update = Sql::update();
        update
            .table(TABLE)
            .value("generation", generation.saturating_add(1))
            .value("renewed_at", self.timestamp(now))
            .and_where(Expr::col("id").eq(id.to_string()))
            .and_where(Expr::col("generation").eq(generation))
            .returning(Sql::returning().column("generation"));
        let renewed: Vec<(i64,)> = self.write(self.dialect().build(&update).into()).await?;
        Ok(!renewed.is_empty())
    }

    /// Deletes a session and revokes its access tokens, which have expired at `expired_at`. Returns its subject, or
    /// `None` if there is no such session.
    ///
    /// # Errors
    /// Any database error.
    pub async fn end_session(&self, id: Uuid, expired_at: DateTime<Utc>) -> Result<Option<String>> {
        let tokens = Revoked::Token { id: id.to_string(), expires_at: expired_at };
        let revocation = self.revocation(&tokens, timestamp_now())?;
        let mut delete = Sql::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::col("id").eq(id.to_string()))
            .returning(Sql::returning().column("subject"));
        let delete = self.dialect().build(&delete).into();
        // Without a session, nothing is revoked either.
        let ended: Option<(String,)> = self.transact(revocation.into(), delete).await?;
        Ok(ended.map(|(subject,)| subject))
    }

    /// Deletes some of the sessions that have expired ([`super::Bounds::session_idle`]), the oldest first. Returns
    /// whether there may be more of them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn sweep_sessions(&self) -> Result<bool> {
        // A session that was not renewed for its whole life has expired too, however long it may be idle.
        let (life, idle_life) = self.session_lives();
        let now = self.database_now().await?;
        let Some(moment) = now.checked_sub_signed(life.min(idle_life)) else { return Ok(false) };
        let mut oldest = Sql::select();
        oldest
            .column("id")
            .from(TABLE)
            .and_where(Expr::col("renewed_at").lt(self.timestamp(moment)))
            .order_by("renewed_at", Order::Asc)
            .limit(SWEPT);
        let mut delete = Sql::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::col("id").in_subquery(oldest))
            // A renewal in the meantime keeps its session.
            .and_where(Expr::col("renewed_at").lt(self.timestamp(moment)))
            .returning(Sql::returning().column("generation"));
        let deleted: Vec<(i64,)> = self.write(self.dialect().build(&delete).into()).await?;
        Ok(deleted.len() as u64 == SWEPT)
    }

    /// Returns the maximum life of a session, and how long it lives without a renewal.
    fn session_lives(&self) -> (TimeDelta, TimeDelta) {
        let bounds = self.shared.bounds;
        // A century, so that sums with times of the database cannot overflow.
        let most = TimeDelta::days(36_525);
        let delta = |life| TimeDelta::from_std(life).map_or(most, |life| life.min(most));
        (delta(bounds.session), delta(bounds.session_idle))
    }

    /// Returns the time of the database server. That of SQLite is the time here.
    async fn database_now(&self) -> Result<DateTime<Utc>> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(timestamp_now());
        }
        let rows: Vec<(DateTime<Utc>,)> = self.read(plain("SELECT clock_timestamp()")).await?;
        let now = rows.into_iter().next();
        now.map(|(now,)| now).ok_or_else(|| Error::internal("the database has no time"))
    }

    fn timestamp(&self, time: DateTime<Utc>) -> sea_query::Value {
        self.dialect().value(&Value::Timestamp(time))
    }
}
