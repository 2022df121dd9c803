//! Groups of records: what they have in common and how many they are.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Decode, Postgres, Sqlite, Type as SqlType};
use uuid::Uuid;

use super::Store;
use crate::error::Result;
use crate::query::facet::Group;
use crate::query::{Statement, Type};
use crate::record::Column;

impl Store {
    /// The groups a statement selects, in its order. Their keys are of the type.
    ///
    /// # Errors
    /// The database's.
    pub async fn groups(&self, statement: Statement, key: Type) -> Result<Vec<Group>> {
        match key {
            Type::Text => self.groups_by::<String>(statement).await,
            Type::Integer => self.groups_by::<i64>(statement).await,
            Type::Boolean => self.groups_by::<bool>(statement).await,
            Type::Date => self.groups_by::<NaiveDate>(statement).await,
            Type::Timestamp => self.groups_by::<DateTime<Utc>>(statement).await,
            Type::Id => self.groups_by::<Uuid>(statement).await,
        }
    }

    async fn groups_by<K>(&self, statement: Statement) -> Result<Vec<Group>>
    where
        K: Column + Send + Unpin + SqlType<Sqlite> + SqlType<Postgres>,
        for<'r> K: Decode<'r, Sqlite> + Decode<'r, Postgres>,
    {
        let rows: Vec<(Option<K>, i64, i64, i64)> = self.read(statement).await?;
        let groups = rows.into_iter().map(|(key, count, groups, total)| {
            let key = key.as_ref().and_then(Column::value);
            Group { key, count, groups, total }
        });
        Ok(groups.collect())
    }
}
