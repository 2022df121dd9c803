//! Indexes of trigrams: the extension of PostgreSQL, and the tables and triggers of SQLite.

use super::sql::quoted;
use crate::query::compile::FOLDED;
use crate::query::trigram::{BATCH, Tables};

/// The statement of PostgreSQL that makes such indexes possible.
pub(super) const CREATE_EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm";

/// The number of units that SQLite's full-text table merges into one. A greater number makes writes cheaper and searches
/// more expensive; 4 is the default.
const MERGED: u32 = 8;

/// What SQLite has for the trigrams of a column. Triggers keep it up to date, so every write does, also one of an instance
/// of another declaration.
///
/// The full-text table has no copy of the texts, so it needs a number for each record, and the text of a record that
/// is to be removed. Numbers ascend. When one is a multiple of [`BATCH`], the records up to it are added. A record whose
/// text changes gets a new number.
pub(super) struct Trigrams {
    collection: String,
    column: String,
    tables: Tables,
}

impl Trigrams {
    pub(super) fn of(collection: &str, column: &str) -> Self {
        let field = column.strip_suffix(FOLDED).unwrap_or(column);
        let tables = Tables::of(collection, field);
        Self { collection: collection.to_owned(), column: column.to_owned(), tables }
    }

    /// The statements that create it for the records of the table.
    pub(super) fn create(&self) -> Vec<String> {
        let [trigrams, numbers, table, _] = self.names();
        let tables = [
            format!(
                "CREATE TABLE {numbers} (number INTEGER NOT NULL PRIMARY KEY, id BLOB NOT NULL UNIQUE) \
                 STRICT"
            ),
            format!(
                "CREATE VIRTUAL TABLE {trigrams} USING fts5(text, content='', columnsize=0, \
                 detail=none, tokenize='trigram case_sensitive 1')"
            ),
            format!("INSERT INTO {trigrams}({trigrams}, rank) VALUES ('automerge', {MERGED})"),
            format!("INSERT INTO {numbers} (id) SELECT id FROM {table} ORDER BY id"),
            format!("{} WHERE n.number <= {} ORDER BY n.number", self.add(), self.last_added()),
        ];
        tables.into_iter().chain(self.create_triggers()).collect()
    }

    /// The statements that drop it.
    pub(super) fn drop(&self) -> Vec<String> {
        let [trigrams, numbers, ..] = self.names();
        let tables = [trigrams, numbers].map(|table| format!("DROP TABLE IF EXISTS {table}"));
        self.drop_triggers().into_iter().chain(tables).collect()
    }

    /// The statements before and after its column gets another name.
    pub(super) fn rename(&self, column: &str) -> [Vec<String>; 2] {
        let renamed = Self::of(&self.collection, column);
        let tables = self.names().into_iter().zip(renamed.names()).take(2);
        let tables = tables.map(|(from, to)| format!("ALTER TABLE {from} RENAME TO {to}"));
        let before = self.drop_triggers().into_iter().chain(tables).collect();
        [before, renamed.create_triggers()]
    }

    /// The statements that create its triggers of the table of records.
    pub(super) fn create_table_triggers(&self) -> [String; 3] {
        let [trigrams, numbers, table, column] = self.names();
        let [_, created, changed, deleted] = self.triggers();
        let remove = format!(
            "INSERT INTO {trigrams}({trigrams}, rowid, text) SELECT 'delete', number, old.{column} \
             FROM {numbers} WHERE id = old.id AND number <= {}; \
             DELETE FROM {numbers} WHERE id = old.id",
            self.last_added()
        );
        let add = format!("INSERT INTO {numbers} (id) VALUES (new.id)");
        [
            format!("CREATE TRIGGER {created} AFTER INSERT ON {table} BEGIN {add}; END"),
            format!(
                "CREATE TRIGGER {changed} AFTER UPDATE OF {column} ON {table} \
                 WHEN new.{column} IS NOT old.{column} BEGIN {remove}; {add}; END"
            ),
            format!("CREATE TRIGGER {deleted} AFTER DELETE ON {table} BEGIN {remove}; END"),
        ]
    }

    fn create_triggers(&self) -> Vec<String> {
        let [_, numbers, ..] = self.names();
        let [added, ..] = self.triggers();
        let added = format!(
            "CREATE TRIGGER {added} AFTER INSERT ON {numbers} WHEN new.number % {BATCH} = 0 BEGIN \
             {} WHERE n.number > new.number - {BATCH} AND n.number <= new.number \
             ORDER BY n.number; END",
            self.add()
        );
        std::iter::once(added).chain(self.create_table_triggers()).collect()
    }

    fn drop_triggers(&self) -> Vec<String> {
        self.triggers().map(|trigger| format!("DROP TRIGGER IF EXISTS {trigger}")).into()
    }

    /// The start of a statement that adds records. A field may have the name of a column of the tables.
    fn add(&self) -> String {
        let [trigrams, numbers, table, column] = self.names();
        format!(
            "INSERT INTO {trigrams}(rowid, text) SELECT n.number, r.{column} \
             FROM {numbers} AS n JOIN {table} AS r ON r.id = n.id"
        )
    }

    /// The greatest number that may have been added.
    fn last_added(&self) -> String {
        let [_, numbers, ..] = self.names();
        format!("(SELECT max(number) / {BATCH} * {BATCH} FROM {numbers})")
    }

    /// The names of the triggers.
    fn triggers(&self) -> [String; 4] {
        let Tables { trigrams, .. } = &self.tables;
        ["added", "created", "changed", "deleted"]
            .map(|when| quoted(&format!("{trigrams}__{when}")))
    }

    /// The names of the full-text table, the table of numbers, the table of records, and the column.
    fn names(&self) -> [String; 4] {
        let Tables { trigrams, numbers } = &self.tables;
        [trigrams, numbers, &self.collection, &self.column].map(|name| quoted(name))
    }
}
