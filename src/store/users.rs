//! Users and the hashes of their passwords. This is not a record type, so that users can be neither searched nor
//! exported.

use chrono::{DateTime, Utc};
use sea_query::{Expr, ExprTrait, Order, Query as Sql, QueryStatementWriter};

use super::write::version_is;
use super::{Expected, Revoked, Store, plain};
use crate::error::{Error, Result};
use crate::query::Value;

/// A user as stored.
#[derive(Clone, PartialEq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The hash of the password, a PHC string.
    pub password_hash: String,
    /// The name of the role.
    pub role: String,
    /// The version, which counts writes.
    pub version: i64,
    /// When it was created, in UTC.
    pub created_at: DateTime<Utc>,
    /// When it was last written, in UTC.
    pub updated_at: DateTime<Utc>,
}

/// Omits the hash, which must not reach the log.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User {{ name: {:?}, role: {:?} }}", self.name, self.role)
    }
}

/// A change to a user.
#[derive(Clone, Default)]
pub struct UserChange {
    /// The new hash, if the password changes.
    pub password_hash: Option<String>,
    /// The new role, if it changes.
    pub role: Option<&'static str>,
}

const COLUMNS: [&str; 6] = ["name", "password_hash", "role", "version", "created_at", "updated_at"];

/// A row of these columns.
type Row = (String, String, String, i64, DateTime<Utc>, DateTime<Utc>);

impl From<Row> for User {
    fn from((name, password_hash, role, version, created_at, updated_at): Row) -> Self {
        Self { name, password_hash, role, version, created_at, updated_at }
    }
}

impl Store {
    /// Returns the user of that name.
    ///
    /// # Errors
    /// Any database error.
    pub async fn user(&self, name: &str) -> Result<Option<User>> {
        let mut select = Sql::select();
        select.columns(COLUMNS).from("users").and_where(Expr::col("name").eq(name));
        Ok(self.read_users(&select).await?.pop())
    }

    /// Returns users in order of their names, starting after `after`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn users(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>> {
        let mut select = Sql::select();
        select
            .columns(COLUMNS)
            .from("users")
            .and_where_option(after.map(|after| Expr::col("name").gt(after)))
            .order_by("name", Order::Asc)
            .limit(u64::from(limit));
        self.read_users(&select).await
    }

    /// Returns whether any user has the role.
    ///
    /// # Errors
    /// Any database error.
    pub async fn has_user_with(&self, role: &str) -> Result<bool> {
        let mut select = Sql::select();
        select.expr(Expr::cust("count(*)")).from("users").and_where(Expr::col("role").eq(role));
        Ok(self.count(self.dialect().build(&select).into()).await? > 0)
    }

    /// Returns whether there are any users.
    ///
    /// # Errors
    /// Any database error.
    pub async fn has_users(&self) -> Result<bool> {
        Ok(self.count(plain("SELECT count(*) FROM users")).await? > 0)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Duplicate`] if the name exists; any database error.
    pub async fn add_user(
        &self,
        name: &str,
        password_hash: &str,
        role: &str,
        now: DateTime<Utc>,
    ) -> Result<User> {
        let now = self.dialect().value(&Value::Timestamp(now));
        let values = [
            Expr::val(name),
            Expr::val(password_hash),
            Expr::val(role),
            Expr::val(1_i64),
            Expr::val(now.clone()),
            Expr::val(now),
        ];
        let mut insert = Sql::insert();
        insert.into_table("users").columns(COLUMNS).values(values).map_err(Error::internal)?;
        insert.returning(Sql::returning().columns(COLUMNS));
        let written = self.write_user(&insert).await?;
        written.ok_or_else(|| Error::internal("the insert returned no row"))
    }

    /// Changes a user and revokes the user's tokens. Returns `None` if no user has this name and version, or if
    /// no user would be left with the role `kept`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn change_user(
        &self,
        name: &str,
        change: &UserChange,
        expected: &Expected,
        kept: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Option<User>> {
        let mut update = Sql::update();
        update.table("users");
        if let Some(hash) = &change.password_hash {
            update.value("password_hash", hash.as_str());
        }
        if let Some(role) = change.role {
            update.value("role", role);
        }
        update
            .and_where_option(change.role.filter(|role| *role != kept).map(|_| keeps_role(kept)))
            .value("version", Expr::col("version").add(Expr::cust("1")))
            .value("updated_at", self.dialect().value(&Value::Timestamp(now)))
            .and_where(Expr::col("name").eq(name))
            .and_where_option(version_is(expected))
            .returning(Sql::returning().columns(COLUMNS));
        self.write_and_revoke(&update, name, now).await
    }

    /// Changes the password of a user of this version and revokes the user's tokens. Returns the new version of the user and
    /// the number of the revocation, or `None` if no user has this name and version.
    ///
    /// # Errors
    /// Any database error.
    pub async fn change_password(
        &self,
        name: &str,
        password_hash: &str,
        version: i64,
        now: DateTime<Utc>,
    ) -> Result<Option<(i64, i64)>> {
        let mut update = Sql::update();
        // The transaction has incremented the count and holds its row. A later number would include later revocations, which
        // must apply to a token with this number.
        let revision =
            "(SELECT CAST(value AS bigint) FROM cinequery_meta WHERE name = 'revocations')";
        update
            .table("users")
            .value("password_hash", password_hash)
            .value("version", Expr::col("version").add(Expr::cust("1")))
            .value("updated_at", self.dialect().value(&Value::Timestamp(now)))
            .and_where(Expr::col("name").eq(name))
            .and_where(Expr::col("version").eq(version))
            .returning(Sql::returning().exprs([Expr::col("version"), Expr::cust(revision)]));
        let revocation = self.revocation(&Revoked::Subject(name.to_owned()), now)?;
        self.transact(revocation.into(), self.dialect().build(&update).into()).await
    }

    /// Removes a user and revokes the user's tokens. Returns `None` if no user has this name and version, or if
    /// no user would be left with the role `kept`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn remove_user(
        &self,
        name: &str,
        expected: &Expected,
        kept: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Option<User>> {
        let mut delete = Sql::delete();
        delete
            .from_table("users")
            .and_where(Expr::col("name").eq(name))
            .and_where_option(version_is(expected))
            .and_where(keeps_role(kept))
            .returning(Sql::returning().columns(COLUMNS));
        self.write_and_revoke(&delete, name, now).await
    }

    async fn write_and_revoke(
        &self,
        write: &impl QueryStatementWriter,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<User>> {
        // The revocation comes first and locks its row. So concurrent changes wait for each other, and the second
        // one sees the result of the first.
        let revocation = self.revocation(&Revoked::Subject(name.to_owned()), now)?;
        let write = self.dialect().build(write).into();
        let row: Option<Row> = self.transact(revocation.into(), write).await?;
        Ok(row.map(User::from))
    }

    async fn read_users(&self, select: &impl QueryStatementWriter) -> Result<Vec<User>> {
        let rows: Vec<Row> = self.read(self.dialect().build(select).into()).await?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    async fn write_user(&self, statement: &impl QueryStatementWriter) -> Result<Option<User>> {
        let rows: Vec<Row> = self.write(self.dialect().build(statement).into()).await?;
        Ok(rows.into_iter().next().map(User::from))
    }
}

/// The condition that another user keeps this role: the user lacks it, or at least two users have it.
fn keeps_role(role: &str) -> Expr {
    let mut others = Sql::select();
    others.expr(Expr::cust("count(*)")).from("users").and_where(Expr::col("role").eq(role));
    let others = Expr::from(others).gt(Expr::val(1_i64));
    Expr::col("role").ne(role).or(others)
}
