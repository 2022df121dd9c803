//! A step from the tables that a database has to those that are declared.

use super::table::{Index, Table};

/// A step from the tables that a database has to those that are declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it does, such as `add the field movies.tagline`.
    pub sentence: String,
    /// Its SQL. It is empty where only the service's own rules change.
    pub sql: Vec<String>,
    /// What waits while it runs, such as `all access to movies, for a moment`.
    pub locks: &'static str,
    /// Who applies it.
    pub by: By,
    /// Why it cannot be applied, such as records that break a new rule.
    pub problem: Option<String>,
    pub(super) collection: String,
    pub(super) action: Action,
    /// The table after the step; `None` if it is dropped.
    pub(super) after: Option<Table>,
    pub(super) questions: Vec<Question>,
}

/// Who applies a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `serve` when it starts, and `cinequery migrate`: instances of the previous declaration go on working.
    Serve,
    /// `cinequery migrate` alone: instances of the previous declaration may fail, or records may be rejected.
    Migrate,
}

/// How a step runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// A migration of the service's own tables.
    Migration,
    /// Its SQL, in one transaction with the note that it was applied.
    Transaction,
    /// PostgreSQL builds an index beside the work of others, which no transaction can do.
    BuildIndex(Index),
    /// PostgreSQL drops an index, likewise.
    DropIndex,
    /// SQLite copies the table into a new one. So many of the statements do that; the others, which create
    /// the indexes, are read from the database when the step runs.
    Rebuild(usize),
    /// The service fills a folded column.
    Fill(String),
    /// Not at all: the step has a problem that no data can solve.
    Reject,
}

/// What to ask the database before a step is applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// `FROM … WHERE …`: the rows to count.
    pub(super) from: String,
    pub(super) meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    /// The rows are records that break this rule.
    Break(String),
    /// The rows are records, and the step needs an empty table.
    Hinder {
        /// Why the step needs it, as a clause.
        reason: String,
        /// What the operator can do, in sentences.
        help: String,
    },
    /// The step deletes the rows; the singular and the plural of their noun.
    Lose(&'static str, &'static str),
}
