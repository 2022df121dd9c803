//! Indexes of trigrams, by which `contains` and `ends with` find a text of three characters or more.
//!
//! PostgreSQL chooses its index itself. SQLite has a full-text table, which finds candidates: the records whose
//! text has all trigrams of the needle. The filter is then evaluated for each of them.

use super::ast::Matching;
use super::bind::BoundQuery;
use super::plan::Condition;
use super::schema::Field;
use super::value::Value;

/// The number of characters of a trigram.
const LENGTH: usize = 3;

/// The maximum number of trigrams of a needle that are looked up. Each may exclude candidates, but takes time.
const MAX_LOOKED_UP: usize = 16;

/// SQLite's full-text table gets new records in batches of this number: it keeps what one statement adds as a unit,
/// and merges the units later. Until then the records are candidates for every needle.
pub const BATCH: i64 = 64;

/// Whether a text is long enough to be looked up.
pub fn is_long_enough(needle: &str) -> bool {
    needle.chars().nth(LENGTH - 1).is_some()
}

/// The tables of SQLite for the trigrams of a text field, which triggers keep up to date. Names of declarations have
/// no `__`, so these names are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The full-text table, which has a number for each record.
    pub trigrams: String,
    /// The ids of the records by these numbers.
    pub numbers: String,
}

impl Tables {
    /// Returns the tables of a field.
    pub fn of(collection: &str, field: &str) -> Self {
        let table = |kind: &str| format!("cinequery__{collection}__{field}__{kind}");
        Self { trigrams: table("trigrams"), numbers: table("numbers") }
    }
}

/// The candidates of a query in SQLite: all records that match are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// The tables that find them.
    pub tables: Tables,
    /// The query of the full-text table, such as `"abc" AND "bcd"`.
    pub sought: String,
}

impl Candidates {
    /// Returns the candidates by the longest needle that all matching records have. `None` if there is no such needle
    /// of a field with an index of trigrams.
    pub fn of(query: &BoundQuery) -> Option<Self> {
        let (field, needle) = longest(query.filter.as_ref()?)?;
        let tables = Tables::of(query.schema.collection, field.name);
        Some(Self { tables, sought: full_text(needle) })
    }

    /// Returns the condition that a record is a candidate, with a placeholder for [`Candidates::sought`].
    pub fn condition(&self) -> String {
        let Tables { trigrams, numbers } = &self.tables;
        format!(
            "\"id\" IN (SELECT id FROM \"{numbers}\" WHERE number IN (SELECT rowid FROM \"{trigrams}\"(?)) \
             UNION ALL SELECT id FROM \"{numbers}\" \
             WHERE number > (SELECT max(number) / {BATCH} * {BATCH} FROM \"{numbers}\"))"
        )
    }
}

fn longest(filter: &Condition<Value>) -> Option<(&Field, &str)> {
    match filter {
        Condition::All(terms) => {
            terms.iter().filter_map(longest).max_by_key(|(_, needle)| needle.len())
        }
        Condition::Match(field, Matching::Contains | Matching::EndsWith, Value::Text(needle))
            if field.trigram && is_long_enough(needle) =>
        {
            Some((field, needle))
        }
        _ => None,
    }
}

/// Returns the trigrams of a needle as a query of a full-text table.
fn full_text(needle: &str) -> String {
    let characters: Vec<char> = needle.chars().collect();
    let mut trigrams: Vec<String> =
        characters.windows(LENGTH).map(|trigram| trigram.iter().collect()).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    let step = trigrams.len().div_ceil(MAX_LOOKED_UP).max(1);
    let quoted = |trigram: &String| format!("\"{}\"", trigram.replace('"', "\"\""));
    trigrams.iter().step_by(step).map(quoted).collect::<Vec<_>>().join(" AND ")
}
