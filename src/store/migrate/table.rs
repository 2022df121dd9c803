//! The model of a table: what the database has of a record type. It is kept as JSON in `cinequery_records`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::features::Features;
use super::sql::{literal, quoted};
use super::trigrams::{self, Trigrams};
use crate::query::text::fold;
use crate::query::{Argument, Dialect, Field, Schema, Type, Value};

/// How many kilobytes of new texts PostgreSQL may keep beside an index of trigrams, until it adds them all at once. That
/// makes writes faster; searches read all of them.
const PENDING_KB: u32 = 1024;

/// The longest identifier of PostgreSQL, in bytes. It truncates longer ones.
const MAX_IDENTIFIER: usize = 63;

/// A table, and the rules of its declaration that no constraint of the database holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) collection: String,
    pub(super) columns: Vec<Column>,
    #[serde(default)]
    pub(super) indexes: Vec<Index>,
}

/// A column, with its folded column if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: Type,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) nullable: bool,
    /// Whether an integer has 64 bits in PostgreSQL, and not 32.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) wide: bool,
    /// How many characters a text may have, or between which values an integer may lie. The service
    /// validates this. The database does not, so that wider bounds need no change of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bounds: Option<(i64, i64)>,
    /// The default of the column, as [`Value`] displays it. Instances that do not know the column rely on
    /// it. It stays as it is when the declaration gets another default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) folded: Option<Folded>,
}

/// The column `NAME_folded` of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folded {
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) nullable: bool,
    pub(super) state: Folding,
}

/// How far the values of a folded column can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Folding {
    /// All are there.
    Current,
    /// The column was added and is not filled yet.
    Pending,
    /// The column was filled at that time. Instances of an older declaration may have written texts since,
    /// without folding them.
    Settling(DateTime<Utc>),
    /// The text is not searched any more, and its folded column is not written.
    Unused,
}

/// An index. Its columns are those of the database, folded ones among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) unique: bool,
    /// Whether it is on the trigrams of its only column, a folded one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) trigram: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Table {
    /// The table that a declaration asks for.
    pub(super) fn of(schema: &Schema) -> Self {
        let collection = schema.collection.to_owned();
        let columns: Vec<Column> = schema.fields.iter().map(Column::of).collect();
        let mut indexes: Vec<Index> = Vec::new();
        let mut add = |columns: Vec<String>, unique| {
            // A unique index serves searches as well.
            if !indexes.iter().any(|index| index.columns == columns) {
                indexes.push(Index::of(&collection, columns, unique, false));
            }
        };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for key in schema.unique {
            add(owned(key), true);
        }
        for key in schema.indexes {
            add(owned(key), false);
        }
        // It serves `starts with` on what people search first: the beginning of a title.
        let first = schema.natural_key().first().and_then(|name| schema.field(name));
        if let Some(field) = first.filter(|field| field.searchable) {
            add(vec![folded_name(field.name)], false);
        }
        for field in schema.fields.iter().filter(|field| field.trigram) {
            indexes.push(Index::of(&collection, vec![folded_name(field.name)], false, true));
        }
        Self { collection, columns, indexes }
    }

    /// The same for a database that may not be able to have all indexes.
    pub(super) fn possible(schema: &Schema, features: Features) -> Self {
        let mut table = Self::of(schema);
        table.indexes.retain(|index| features.trigrams || !index.trigram);
        table
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(super) fn column_mut(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.name == name)
    }

    /// The index on the same columns, by whatever name.
    pub(super) fn same_index(&self, other: &Index) -> Option<&Index> {
        let on = |index: &Index| (index.columns.clone(), index.unique, index.trigram);
        self.indexes.iter().find(|index| on(index) == on(other))
    }

    /// The texts whose folded columns are in use.
    pub(super) fn folded_texts(&self) -> impl Iterator<Item = &Column> {
        let is_used = |folded: &Folded| folded.state != Folding::Unused;
        self.columns.iter().filter(move |column| column.folded.as_ref().is_some_and(is_used))
    }

    /// The names that its indexes, its primary key and the table itself take up.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let own = [self.collection.clone(), format!("{}_pkey", self.collection)];
        own.into_iter().chain(self.indexes.iter().map(|index| index.name.clone()))
    }

    /// `CREATE TABLE`, without the indexes.
    pub(super) fn create(&self, name: &str, dialect: Dialect) -> String {
        let lines: Vec<String> =
            self.columns.iter().flat_map(|column| column.definitions(dialect)).collect();
        let options = match dialect {
            Dialect::Sqlite => " STRICT, WITHOUT ROWID",
            Dialect::Postgres => "",
        };
        format!("CREATE TABLE {} (\n    {}\n){options}", quoted(name), lines.join(",\n    "))
    }

    /// The statements that create its indexes, where no other connection uses the table.
    pub(super) fn create_indexes(&self, dialect: Dialect) -> Vec<String> {
        let create = |index: &Index| index.create(&self.collection, "", dialect);
        self.indexes.iter().flat_map(create).collect()
    }

    /// The names of all columns of the database, for a list.
    pub(super) fn column_list(&self) -> String {
        let names = self.columns.iter().flat_map(|column| {
            let folded = column.folded.as_ref().map(|_| quoted(&folded_name(&column.name)));
            std::iter::once(quoted(&column.name)).chain(folded)
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Column {
    pub(super) fn of(field: &Field) -> Self {
        let (low, high) = (*field.bounds.start(), *field.bounds.end());
        let has_bounds = matches!(field.ty, Type::Text | Type::Integer);
        let is_bounded = has_bounds && (low, high) != (i64::MIN, i64::MAX);
        Self {
            name: field.name.to_owned(),
            ty: field.ty,
            nullable: field.nullable,
            wide: field.ty == Type::Integer && *field.column_range().end() == i64::MAX,
            bounds: is_bounded.then_some((low, high)),
            default: field.default.as_ref().map(ToString::to_string),
            folded: field
                .searchable
                .then_some(Folded { nullable: field.nullable, state: Folding::Current }),
        }
    }

    pub(super) fn range(&self) -> (i64, i64) {
        self.bounds.unwrap_or((i64::MIN, i64::MAX))
    }

    pub(super) fn default_value(&self) -> Option<Value> {
        Argument::Untyped(self.default.clone()?).read(self.ty).ok()
    }

    /// The column and its folded column, as `CREATE TABLE` and `ADD COLUMN` take them.
    pub(super) fn definitions(&self, dialect: Dialect) -> Vec<String> {
        let check = self.check(dialect).map(|check| format!(" CHECK ({check})"));
        let main = self.definition(dialect) + check.as_deref().unwrap_or_default();
        std::iter::once(main).chain(self.folded_definition(dialect)).collect()
    }

    /// The column without the check of its type.
    pub(super) fn definition(&self, dialect: Dialect) -> String {
        let ty = match (self.ty, dialect) {
            (Type::Text, Dialect::Postgres) => "text COLLATE \"C\"",
            (Type::Text | Type::Date | Type::Timestamp, Dialect::Sqlite) => "TEXT",
            (Type::Integer | Type::Boolean, Dialect::Sqlite) => "INTEGER",
            (Type::Id, Dialect::Sqlite) => "BLOB",
            (Type::Integer, Dialect::Postgres) if self.wide => "bigint",
            (Type::Integer, Dialect::Postgres) => "integer",
            (Type::Boolean, Dialect::Postgres) => "boolean",
            (Type::Date, Dialect::Postgres) => "date",
            (Type::Timestamp, Dialect::Postgres) => "timestamptz",
            (Type::Id, Dialect::Postgres) => "uuid",
        };
        let null = if self.nullable { "" } else { " NOT NULL" };
        let key = if self.name == "id" { " PRIMARY KEY" } else { "" };
        let default = self.default_value().map(|value| literal(&value, dialect));
        let default = default.map(|literal| format!(" DEFAULT {literal}")).unwrap_or_default();
        format!("{} {ty}{null}{key}{default}", quoted(&self.name))
    }

    /// What the engine must check for the column to have its type.
    pub(super) fn check(&self, dialect: Dialect) -> Option<String> {
        let name = quoted(&self.name);
        match (self.ty, dialect) {
            (Type::Id, Dialect::Sqlite) => Some(format!("length({name}) = 16")),
            (Type::Date, Dialect::Sqlite) => Some(format!("length({name}) = 10")),
            (Type::Timestamp, Dialect::Sqlite) => Some(format!("length({name}) = 27")),
            (Type::Boolean, Dialect::Sqlite) => Some(format!("{name} IN (0, 1)")),
            (Type::Date, Dialect::Postgres) => {
                Some(format!("{name} BETWEEN '0001-01-01' AND '9999-12-31'"))
            }
            (Type::Integer, _) if self.name == "version" => Some(format!("{name} > 0")),
            _ => None,
        }
    }

    pub(super) fn folded_definition(&self, dialect: Dialect) -> Option<String> {
        let folded = self.folded.as_ref()?;
        let default = self.default_value().filter(|_| folded.state == Folding::Current);
        let default = default.map(|value| Value::Text(fold(&value.to_string())).to_string());
        let column = Self {
            name: folded_name(&self.name),
            nullable: folded.nullable,
            default,
            folded: None,
            ..self.clone()
        };
        Some(column.definition(dialect))
    }
}

impl Index {
    fn of(collection: &str, columns: Vec<String>, unique: bool, trigram: bool) -> Self {
        let mut index = Self { name: String::new(), columns, unique, trigram };
        index.name = index.preferred_name(collection);
        index
    }

    /// The statements that create it; `how` is a word such as `CONCURRENTLY ` before the name.
    pub(super) fn create(&self, collection: &str, how: &str, dialect: Dialect) -> Vec<String> {
        let unique = if self.unique { "UNIQUE " } else { "" };
        let columns: Vec<String> = self.columns.iter().map(|name| quoted(name)).collect();
        let (name, table, columns) = (quoted(&self.name), quoted(collection), columns.join(", "));
        match (self.trigrams(collection), dialect) {
            (None, _) => vec![format!("CREATE {unique}INDEX {how}{name} ON {table} ({columns})")],
            (Some(trigrams), Dialect::Sqlite) => trigrams.create(),
            (Some(_), Dialect::Postgres) => vec![
                trigrams::CREATE_EXTENSION.to_owned(),
                format!(
                    "CREATE INDEX {how}{name} ON {table} USING gin ({columns} gin_trgm_ops) \
                     WITH (gin_pending_list_limit = {PENDING_KB})"
                ),
            ],
        }
    }

    /// What it is on, in words.
    pub(super) fn subject(&self) -> String {
        let columns = self.columns.join(", ");
        if self.trigram { format!("the trigrams of {columns}") } else { columns }
    }

    /// What SQLite has in its place, if it is on trigrams.
    pub(super) fn trigrams(&self, collection: &str) -> Option<Trigrams> {
        let column = self.columns.first().filter(|_| self.trigram)?;
        Some(Trigrams::of(collection, column))
    }

    /// Gives it a name that is not taken: the one it has, or else one with a hash.
    pub(super) fn rename(&mut self, collection: &str, taken: &BTreeSet<String>) {
        for attempt in 0.. {
            if !taken.contains(&self.name) {
                return;
            }
            // An index that was renamed with its columns may have the name that this one would get.
            self.name = self.hashed_name(collection, attempt);
        }
    }

    /// `cinequery_COLLECTION_FIELD_FIELD`, unless that is too long. Indexes share their names with tables, and no collection
    /// begins like that.
    fn preferred_name(&self, collection: &str) -> String {
        let name = self.full_name(collection);
        if name.len() <= MAX_IDENTIFIER { name } else { self.hashed_name(collection, 0) }
    }

    /// A name that no other index has: the beginning of the preferred name, and a hash of what it is on.
    fn hashed_name(&self, collection: &str, attempt: u32) -> String {
        let Self { columns, unique, trigram, .. } = self;
        let kind = if *trigram { "trigram" } else { "" };
        let of = format!("{collection}({}){unique}{attempt}{kind}", columns.join(","));
        let hash = Sha256::digest(of);
        let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let most = MAX_IDENTIFIER - hash.len() - 1;
        let start: String = self.full_name(collection).chars().take(most).collect();
        format!("{start}_{hash}")
    }

    fn full_name(&self, collection: &str) -> String {
        let kind = if self.trigram { "_trigram" } else { "" };
        format!("cinequery_{collection}_{}{kind}", self.columns.join("_"))
    }
}

/// The name of the column that holds the folded form of a text.
pub(super) fn folded_name(name: &str) -> String {
    format!("{name}_folded")
}

/// Returns `FROM … WHERE …` for the saved queries of a collection.
pub(super) fn saved_queries_of(collection: &str, dialect: Dialect) -> String {
    let collection = literal(&Value::Text(collection.to_owned()), dialect);
    format!("FROM saved_queries WHERE collection = {collection}")
}
