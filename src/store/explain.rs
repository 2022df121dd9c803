//! Query plans (`EXPLAIN`). The statement itself is not run.

use std::collections::BTreeMap;

use sea_query_sqlx::SqlxValues;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::lease::Parts;
use super::{Engine, Store, database_error};
use crate::error::{Error, Result};
use crate::query::Statement;

/// The plan of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The engine's own description, one step per line.
    pub lines: Vec<String>,
    /// The indexes that it would use, without repetition.
    pub indexes: Vec<String>,
}

impl Store {
    /// Returns the plan of a statement. Its values are bound, because plans depend on them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn explain(&self, statement: &Statement) -> Result<Explained> {
        let (lines, indexes) = match &self.shared.engine {
            Engine::Sqlite { .. } => {
                let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
                let steps = Statement { sql, values: statement.values.clone() };
                sqlite_plan(self.read(steps).await?)
            }
            Engine::Postgres(lanes) => {
                let mut lease = lanes.of(self.lane).lease(self.share.as_ref()).await?;
                let Parts { connection, limit } = lease.parts().map_err(database_error)?;
                let explained =
                    limit.run("EXPLAIN", explain_in_postgres(connection, statement)).await;
                let (lines, tree) = lease.settle(explained).map_err(database_error)?;
                (lines, postgres_indexes(&tree)?)
            }
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

/// A step of a plan: its number, the number of its parent, an unused number, and its text.
type SqliteStep = (i64, i64, i64, String);

fn sqlite_plan(steps: Vec<SqliteStep>) -> (Vec<String>, Vec<String>) {
    let indexes = steps.iter().filter_map(|(.., step)| sqlite_index(step)).map(str::to_owned);
    let indexes = indexes.collect();
    // A step names its parent, which comes before it.
    let mut depths: BTreeMap<i64, usize> = BTreeMap::new();
    let lines = steps.into_iter().map(|(id, parent, _, step)| {
        let depth = depths.get(&parent).map_or(0, |depth| depth + 1);
        depths.insert(id, depth);
        format!("{}{step}", "  ".repeat(depth))
    });
    (lines.collect(), indexes)
}

/// Returns the index in a step such as `SEARCH movies USING COVERING INDEX name (genre=?)`. The primary key has no
/// index name. An index of trigrams is a virtual table, as in `SCAN name VIRTUAL TABLE INDEX 0:M1`. Automatic indexes,
/// which exist only for the statement, are left out.
fn sqlite_index(step: &str) -> Option<&str> {
    const PRIMARY_KEY: &str = "PRIMARY KEY";
    if let Some((table, _)) = step.split_once(" VIRTUAL TABLE INDEX ") {
        return table.strip_prefix("SCAN ");
    }
    let (_, access) = step.split_once(" USING ")?;
    if access.starts_with(PRIMARY_KEY) || access.starts_with("INTEGER PRIMARY KEY") {
        return Some(PRIMARY_KEY);
    }
    let (kind, named) = access.split_once("INDEX ")?;
    let name = named.split_once(" (").map_or(named, |(name, _)| name);
    Some(name).filter(|_| ["", "COVERING "].contains(&kind))
}

/// Returns the plan as text and as JSON.
async fn explain_in_postgres(
    connection: &mut PgConnection,
    Statement { sql, values }: &Statement,
) -> sqlx::Result<(Vec<String>, String)> {
    let values = || SqlxValues(values.clone());
    let lines = sqlx::query_scalar_with(AssertSqlSafe(format!("EXPLAIN {sql}")), values());
    let lines = lines.persistent(false).fetch_all(&mut *connection).await?;
    let tree = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {sql}"));
    let tree = sqlx::query_with(tree, values()).persistent(false).fetch_one(connection).await?;
    // PostgreSQL sends JSON as text.
    Ok((lines, tree.try_get_unchecked(0)?))
}

fn postgres_indexes(tree: &str) -> Result<Vec<String>> {
    let trees: Vec<PostgresTree> = serde_json::from_str(tree).map_err(Error::internal)?;
    let mut indexes = Vec::new();
    for tree in trees {
        tree.plan.indexes(&mut indexes);
    }
    Ok(indexes)
}

/// The output of `EXPLAIN (FORMAT JSON)`.
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
