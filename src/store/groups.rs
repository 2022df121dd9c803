//! Groups of records, with their common value and their number.

use sqlx::{Decode, Postgres, Sqlite, Type as SqlType};

use super::Store;
use crate::error::Result;
use crate::query::facet::Group;
use crate::query::{Statement, Type, Value};

impl Store {
    /// Returns the groups that a statement selects, in its order. `key` is the type of their keys.
    ///
    /// # Errors
    /// Any database error.
    pub async fn groups(&self, statement: Statement, key: Type) -> Result<Vec<Group>> {
        match key {
            Type::Text => self.groups_by(statement, Value::Text).await,
            Type::Integer => self.groups_by(statement, Value::Integer).await,
            Type::Boolean => self.groups_by(statement, Value::Boolean).await,
            Type::Date => self.groups_by(statement, Value::Date).await,
            Type::Timestamp => self.groups_by(statement, Value::Timestamp).await,
            Type::Id => self.groups_by(statement, Value::Id).await,
        }
    }

    async fn groups_by<K>(&self, statement: Statement, value: fn(K) -> Value) -> Result<Vec<Group>>
    where
        K: Send + Unpin + SqlType<Sqlite> + SqlType<Postgres>,
        for<'r> K: Decode<'r, Sqlite> + Decode<'r, Postgres>,
    {
        let rows: Vec<(Option<K>, i64, i64, i64)> = self.read(statement).await?;
        let groups = rows.into_iter().map(|(key, count, groups, total)| Group {
            key: key.map(value),
            count,
            groups,
            total,
        });
        Ok(groups.collect())
    }
}
