//! How the engine would answer a statement. It is asked for its plan, and the statement is not run.

use std::collections::BTreeMap;

use sea_query_sqlx::SqlxValues;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlitePool};

use super::{Engine, Store, database_error};
use crate::error::{Error, Result};
use crate::query::Statement;

/// How the engine would answer a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The engine's own description, a step a line.
    pub lines: Vec<String>,
    /// The indexes it would use, each once.
    pub indexes: Vec<String>,
}

impl Store {
    /// Asks for the plan of a statement. Its values are bound, since plans depend on them.
    ///
    /// # Errors
    /// The database's.
    pub async fn explain(&self, statement: &Statement) -> Result<Explained> {
        let (lines, indexes) = match &self.engine {
            Engine::Sqlite { read, .. } => explain_in_sqlite(read, statement).await?,
            Engine::Postgres(pool) => explain_in_postgres(pool, statement).await?,
        };
        let mut distinct: Vec<String> = Vec::with_capacity(indexes.len());
        for index in indexes {
            if !distinct.contains(&index) {
                distinct.push(index);
            }
        }
        Ok(Explained { lines, indexes: distinct })
    }
}

async fn explain_in_sqlite(
    pool: &SqlitePool,
    Statement { sql, values }: &Statement,
) -> Result<(Vec<String>, Vec<String>)> {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let steps: Vec<(i64, i64, i64, String)> =
        sqlx::query_as_with(AssertSqlSafe(sql), SqlxValues(values.clone()))
            .persistent(false)
            .fetch_all(pool)
            .await
            .map_err(database_error)?;
    let indexes = steps.iter().filter_map(|(.., step)| sqlite_index(step)).map(str::to_owned);
    let indexes = indexes.collect();
    // A step names the one it is part of, which stands before it.
    let mut depths: BTreeMap<i64, usize> = BTreeMap::new();
    let lines = steps.into_iter().map(|(id, parent, _, step)| {
        let depth = depths.get(&parent).map_or(0, |depth| depth + 1);
        depths.insert(id, depth);
        format!("{}{step}", "  ".repeat(depth))
    });
    Ok((lines.collect(), indexes))
}

/// The index in a step such as `SEARCH movies USING COVERING INDEX name (genre=?)`. That of a
/// table's own order has no name, and one that is made for the statement alone is none of ours.
fn sqlite_index(step: &str) -> Option<&str> {
    const PRIMARY_KEY: &str = "PRIMARY KEY";
    let (_, access) = step.split_once(" USING ")?;
    if access.starts_with(PRIMARY_KEY) || access.starts_with("INTEGER PRIMARY KEY") {
        return Some(PRIMARY_KEY);
    }
    let (kind, named) = access.split_once("INDEX ")?;
    let name = named.split_once(" (").map_or(named, |(name, _)| name);
    Some(name).filter(|_| ["", "COVERING "].contains(&kind))
}

async fn explain_in_postgres(
    pool: &PgPool,
    Statement { sql, values }: &Statement,
) -> Result<(Vec<String>, Vec<String>)> {
    let lines = sqlx::query_scalar_with(
        AssertSqlSafe(format!("EXPLAIN {sql}")),
        SqlxValues(values.clone()),
    );
    let lines: Vec<String> =
        lines.persistent(false).fetch_all(pool).await.map_err(database_error)?;
    let tree = sqlx::query_with(
        AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {sql}")),
        SqlxValues(values.clone()),
    );
    let tree = tree.persistent(false).fetch_one(pool).await.map_err(database_error)?;
    // JSON travels as text, which is all that is needed of it.
    let tree: String = tree.try_get_unchecked(0).map_err(database_error)?;
    let trees: Vec<PostgresTree> = serde_json::from_str(&tree).map_err(Error::internal)?;
    let mut indexes = Vec::new();
    for tree in trees {
        tree.plan.indexes(&mut indexes);
    }
    Ok((lines, indexes))
}

/// What `EXPLAIN (FORMAT JSON)` says of a statement.
#[derive(Deserialize)]
struct PostgresTree {
    #[serde(rename = "Plan")]
    plan: PostgresStep,
}

#[derive(Deserialize)]
struct PostgresStep {
    #[serde(rename = "Index Name")]
    index: Option<String>,
    #[serde(rename = "Plans", default)]
    parts: Vec<PostgresStep>,
}

impl PostgresStep {
    fn indexes(self, found: &mut Vec<String>) {
        found.extend(self.index);
        for part in self.parts {
            part.indexes(found);
        }
    }
}
