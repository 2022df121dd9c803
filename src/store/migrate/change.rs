//! A change of one table: what it makes of the model, its SQL on each engine, and what it is called.

use chrono::{DateTime, Utc};

use super::sql::quoted;
use super::step::{Action, By, Step};
use super::table::{Column, Folded, Folding, Index, Table, folded_name, saved_queries_of};
use super::trigrams::Trigrams;
use crate::query::{Dialect, Type};

/// Records that are folded in one go.
pub(super) const FOLD_BATCH: u64 = 500;

/// A column that can be added only to an empty table. No field can have this name.
const GUARD: &str = "cinequery__no_records";

/// A change of one table. Columns are meant by the names of their fields.
#[derive(Debug, Clone)]
pub(super) enum Change {
    CreateTable(Table),
    DropTable,
    RenameColumn {
        from: String,
        to: String,
    },
    AddColumn(Column),
    DropColumn(String),
    /// These may be null.
    Relax(Vec<String>),
    /// It may not be null any more.
    Require(String),
    /// The integer gets 64 bits.
    Widen(String),
    Bound {
        name: String,
        ty: Type,
        bounds: Option<(i64, i64)>,
        is_narrower: bool,
    },
    AddFolded(String),
    /// The folded column is filled; what was written before that time need not be looked at again.
    Fill(String, DateTime<Utc>),
    /// The folded column is not written any more.
    Unfold(String),
    CreateIndex(Index),
    DropIndex(Index),
    /// Drops the column, so that a field of the same name and another type can be added. Needs an empty table.
    Retype {
        name: String,
        to: Type,
    },
    /// A former name that does not fit the table.
    Misname {
        name: String,
        problem: String,
    },
}

impl Change {
    /// Applies it to the model, and says how it is applied to the database.
    pub(super) fn step(self, table: &mut Option<Table>, dialect: Dialect) -> Option<Step> {
        let before = table.clone();
        *table = self.after(before.clone());
        let collection = before.as_ref().or(table.as_ref())?.collection.clone();
        let (sql, action) = self.statements(before.as_ref(), table.as_ref(), dialect);
        let problem = match &self {
            Self::Misname { problem, .. } => Some(problem.clone()),
            _ => None,
        };
        Some(Step {
            sentence: self.sentence(&collection),
            locks: self.locks(&sql, &action, dialect),
            by: self.by(dialect),
            after: table.clone(),
            questions: Vec::new(),
            collection,
            sql,
            action,
            problem,
        })
    }

    fn after(&self, before: Option<Table>) -> Option<Table> {
        let mut table = match self {
            Self::CreateTable(table) => return Some(table.clone()),
            Self::DropTable => return None,
            _ => before?,
        };
        match self {
            Self::CreateTable(_) | Self::DropTable | Self::Misname { .. } => {}
            Self::RenameColumn { from, to } => {
                for index in &mut table.indexes {
                    for column in &mut index.columns {
                        if column == from {
                            column.clone_from(to);
                        } else if *column == folded_name(from) {
                            *column = folded_name(to);
                        }
                    }
                }
                table.column_mut(from)?.name.clone_from(to);
            }
            Self::AddColumn(column) => table.columns.push(column.clone()),
            Self::DropColumn(name) | Self::Retype { name, .. } => {
                table.columns.retain(|column| column.name != *name);
                table.indexes.retain(|index| !is_on(index, name));
            }
            Self::Relax(names) => {
                for name in names {
                    let column = table.column_mut(name)?;
                    column.nullable = true;
                    column.folded.iter_mut().for_each(|folded| folded.nullable = true);
                }
            }
            Self::Require(name) => table.column_mut(name)?.nullable = false,
            Self::Widen(name) => table.column_mut(name)?.wide = true,
            Self::Bound { name, bounds, .. } => table.column_mut(name)?.bounds = *bounds,
            Self::AddFolded(name) => {
                let folded = Folded { nullable: true, state: Folding::Pending };
                table.column_mut(name)?.folded = Some(folded);
            }
            Self::Fill(name, now) => {
                table.column_mut(name)?.folded.as_mut()?.state = Folding::Settling(*now);
            }
            Self::Unfold(name) => {
                let folded = Folded { nullable: true, state: Folding::Unused };
                table.column_mut(name)?.folded = Some(folded);
            }
            Self::CreateIndex(index) => table.indexes.push(index.clone()),
            Self::DropIndex(dropped) => table.indexes.retain(|index| index != dropped),
        }
        Some(table)
    }

    /// Whether `migrate` alone applies it, and a service of the declaration works without.
    pub(super) fn can_wait(&self, dialect: Dialect) -> bool {
        // Not that a value is required: pages would end at a null.
        matches!(self, Self::Bound { .. }) && self.by(dialect) == By::Migrate
    }

    fn by(&self, dialect: Dialect) -> By {
        match self {
            Self::Widen(_) if dialect == Dialect::Sqlite => By::Serve,
            Self::Bound { is_narrower: false, .. } => By::Serve,
            // An import of an instance that knows the key names it in its statement.
            Self::CreateIndex(index) | Self::DropIndex(index) if !index.unique => By::Serve,
            Self::CreateTable(_)
            | Self::AddColumn(_)
            | Self::Relax(_)
            | Self::AddFolded(_)
            | Self::Fill(..)
            | Self::Unfold(_) => By::Serve,
            Self::DropTable
            | Self::DropColumn(_)
            | Self::RenameColumn { .. }
            | Self::Require(_)
            | Self::Widen(_)
            | Self::Bound { .. }
            | Self::CreateIndex(_)
            | Self::DropIndex(_)
            | Self::Retype { .. }
            | Self::Misname { .. } => By::Migrate,
        }
    }

    fn sentence(&self, of: &str) -> String {
        match self {
            Self::CreateTable(_) => format!("create the table {of}"),
            Self::DropTable => format!("drop the table {of}"),
            Self::RenameColumn { from, to } => format!("rename {of}.{from} to {to}"),
            Self::AddColumn(column) => match &column.default {
                Some(default) => {
                    format!(
                        "add {of}.{}, with the default {default:?} in existing records too",
                        column.name
                    )
                }
                None => format!("add {of}.{}, which is null in existing records", column.name),
            },
            Self::DropColumn(name) => format!("drop {of}.{name}"),
            Self::Relax(names) => format!("allow null in {of}.{}", names.join(&format!(", {of}."))),
            Self::Require(name) => format!("require a value in {of}.{name}"),
            Self::Widen(name) => format!("store {of}.{name} in 64 bits"),
            Self::Bound { name, ty, bounds, .. } => {
                format!("accept {} in {of}.{name}", bounds_in_words(*ty, *bounds))
            }
            Self::AddFolded(name) => format!("add a column for searching {of}.{name}"),
            Self::Fill(name, _) => format!("fill the column for searching {of}.{name}"),
            Self::Unfold(name) => format!("stop writing the column for searching {of}.{name}"),
            Self::CreateIndex(index) => {
                let kind = if index.unique { "a unique index" } else { "an index" };
                format!("build {kind} on {} of {of}", index.subject())
            }
            Self::DropIndex(index) => format!("drop the index on {} of {of}", index.subject()),
            Self::Retype { name, to } => {
                format!("drop {of}.{name}, to add it as {}", to.with_article())
            }
            Self::Misname { name, .. } => format!("rename a field of {of} to {name}"),
        }
    }

    fn statements(
        &self,
        before: Option<&Table>,
        after: Option<&Table>,
        dialect: Dialect,
    ) -> (Vec<String>, Action) {
        let nothing = (Vec::new(), Action::Transaction);
        let collection = before.or(after).map(|table| table.collection.as_str());
        let Some(collection) = collection else { return nothing };
        let alter = format!("ALTER TABLE {}", quoted(collection));
        let is_postgres = dialect == Dialect::Postgres;
        let sql = match self {
            Self::CreateTable(table) => std::iter::once(table.create(collection, dialect))
                .chain(table.create_indexes(dialect))
                .collect(),
            Self::DropTable => trigrams_of(before, dialect)
                .flat_map(|(_, trigrams)| trigrams.drop())
                .chain([
                    format!("DROP TABLE {}", quoted(collection)),
                    format!("DELETE {}", saved_queries_of(collection, dialect)),
                ])
                .collect(),
            Self::RenameColumn { from, to } => {
                let is_folded = |column: &Column| column.folded.is_some();
                let is_folded = before.and_then(|table| table.column(from)).is_some_and(is_folded);
                let folded = is_folded.then(|| (folded_name(from), folded_name(to)));
                let columns =
                    std::iter::once((from.clone(), to.clone())).chain(folded).map(|(from, to)| {
                        format!("{alter} RENAME COLUMN {} TO {}", quoted(&from), quoted(&to))
                    });
                let (mut first, mut last) = (Vec::new(), Vec::new());
                for (index, trigrams) in trigrams_of(before, dialect) {
                    if is_on(index, from) {
                        let [before, after] = trigrams.rename(&folded_name(to));
                        first.extend(before);
                        last.extend(after);
                    }
                }
                first.into_iter().chain(columns).chain(last).collect()
            }
            // Existing records are known to satisfy the check, and need not be read for it.
            Self::AddColumn(column) if is_postgres => {
                let columns = std::iter::once(column.definition(dialect))
                    .chain(column.folded_definition(dialect))
                    .map(|definition| format!("ADD COLUMN {definition}"));
                let check = column.check(dialect);
                let check = check.map(|check| format!("ADD CHECK ({check}) NOT VALID"));
                let clauses: Vec<String> = columns.chain(check).collect();
                vec![format!("{alter} {}", clauses.join(", "))]
            }
            Self::AddColumn(column) => column
                .definitions(dialect)
                .iter()
                .map(|definition| format!("{alter} ADD COLUMN {definition}"))
                .collect(),
            Self::DropColumn(name) => drop_column(name, before, collection, dialect),
            Self::Retype { name, .. } => {
                // The guard fails if a record was created after the records were counted.
                let guard = [
                    format!("{alter} ADD COLUMN {GUARD} integer CHECK (false)"),
                    format!("{alter} DROP COLUMN {GUARD}"),
                ];
                guard.into_iter().chain(drop_column(name, before, collection, dialect)).collect()
            }
            Self::Relax(_) | Self::Require(_) | Self::Unfold(_) if !is_postgres => {
                let is_shaped = |old: &Table, new: &Table| {
                    old.create(collection, dialect) != new.create(collection, dialect)
                };
                return match (before, after) {
                    (Some(before), Some(after)) if is_shaped(before, after) => rebuild(after),
                    _ => nothing,
                };
            }
            Self::Relax(names) => {
                let is_strict = |folded: &Folded| !folded.nullable;
                let clauses: Vec<String> = names
                    .iter()
                    .flat_map(|name| {
                        let column = before.and_then(|table| table.column(name));
                        let folded = column.and_then(|column| column.folded.as_ref());
                        let folded = folded.filter(|folded| is_strict(folded));
                        std::iter::once(name.clone()).chain(folded.map(|_| folded_name(name)))
                    })
                    .map(|name| format!("ALTER COLUMN {} DROP NOT NULL", quoted(&name)))
                    .collect();
                vec![format!("{alter} {}", clauses.join(", "))]
            }
            Self::Require(name) => {
                vec![format!("{alter} ALTER COLUMN {} SET NOT NULL", quoted(name))]
            }
            Self::Unfold(name) => {
                vec![format!("{alter} ALTER COLUMN {} DROP NOT NULL", quoted(&folded_name(name)))]
            }
            Self::Widen(name) if is_postgres => {
                vec![format!("{alter} ALTER COLUMN {} TYPE bigint", quoted(name))]
            }
            Self::Widen(_) | Self::Bound { .. } => Vec::new(),
            Self::AddFolded(name) => {
                let column = after.and_then(|table| table.column(name));
                let definition = column.and_then(|column| column.folded_definition(dialect));
                definition.iter().map(|column| format!("{alter} ADD COLUMN {column}")).collect()
            }
            Self::Fill(name, _) => {
                let update = format!(
                    "-- in batches of {FOLD_BATCH} records, with texts that the service folds:\n\
                     UPDATE {} SET {} = $1 WHERE id = $2 AND version = $3",
                    quoted(collection),
                    quoted(&folded_name(name))
                );
                return (vec![update], Action::Fill(name.clone()));
            }
            Self::CreateIndex(index) if is_postgres => {
                let sql = index.create(collection, "CONCURRENTLY ", dialect);
                return (sql, Action::BuildIndex(index.clone()));
            }
            Self::CreateIndex(index) => index.create(collection, "", dialect),
            Self::DropIndex(index) if is_postgres && !index.unique => {
                let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&index.name));
                return (vec![sql], Action::DropIndex);
            }
            Self::DropIndex(index) => drop_index(index, collection, dialect),
            Self::Misname { .. } => return (Vec::new(), Action::Reject),
        };
        (sql, Action::Transaction)
    }

    fn locks(&self, sql: &[String], action: &Action, dialect: Dialect) -> &'static str {
        if sql.is_empty() {
            return "nothing";
        }
        match (self, action, dialect) {
            (_, Action::Rebuild(_), _) | (Self::DropColumn(_), _, Dialect::Sqlite) => {
                "writes to the database while the table is rewritten"
            }
            (Self::CreateIndex(_), _, Dialect::Sqlite) => {
                "writes to the database while the index is built"
            }
            (Self::Fill(..), ..) => "writes to the records of a batch",
            (_, _, Dialect::Sqlite) => "writes to the database, for a moment",
            (Self::CreateTable(_), ..) | (_, Action::BuildIndex(_) | Action::DropIndex, _) => {
                "nothing"
            }
            (Self::Require(_), ..) => "all access to the table while its records are checked",
            (Self::Widen(_), ..) => "all access to the table while it is rewritten",
            _ => "all access to the table, for a moment",
        }
    }
}

fn is_on(index: &Index, field: &str) -> bool {
    index.columns.iter().any(|column| column == field || *column == folded_name(field))
}

/// What SQLite has in place of the indexes of trigrams.
fn trigrams_of(
    table: Option<&Table>,
    dialect: Dialect,
) -> impl Iterator<Item = (&Index, Trigrams)> {
    let table = table.filter(|_| dialect == Dialect::Sqlite);
    table.into_iter().flat_map(|table| {
        let of =
            |index| Index::trigrams(index, &table.collection).map(|trigrams| (index, trigrams));
        table.indexes.iter().filter_map(of)
    })
}

/// Drops a column, its folded column and the indexes that it is part of.
fn drop_column(
    name: &str,
    before: Option<&Table>,
    collection: &str,
    dialect: Dialect,
) -> Vec<String> {
    let indexes = before.iter().flat_map(|table| &table.indexes);
    let indexes = indexes.filter(|index| is_on(index, name));
    let column = before.and_then(|table| table.column(name));
    let folded = column.and_then(|column| column.folded.as_ref());
    let names = std::iter::once(name.to_owned()).chain(folded.map(|_| folded_name(name)));
    let alter = format!("ALTER TABLE {}", quoted(collection));
    indexes
        .flat_map(|index| drop_index(index, collection, dialect))
        .chain(names.map(|name| format!("{alter} DROP COLUMN {}", quoted(&name))))
        .collect()
}

/// Drops an index in a transaction. In PostgreSQL that of a unique key may belong to a constraint, as in the
/// first table of movies.
fn drop_index(index: &Index, collection: &str, dialect: Dialect) -> Vec<String> {
    if let (Some(trigrams), Dialect::Sqlite) = (index.trigrams(collection), dialect) {
        return trigrams.drop();
    }
    let (name, table) = (quoted(&index.name), quoted(collection));
    let constraint = index.unique && dialect == Dialect::Postgres;
    let constraint =
        constraint.then(|| format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"));
    constraint.into_iter().chain([format!("DROP INDEX IF EXISTS {name}")]).collect()
}

/// SQLite changes constraints only by copying the table (<https://sqlite.org/lang_altertable.html>, section 7).
fn rebuild(after: &Table) -> (Vec<String>, Action) {
    const COPY: &str = "cinequery_rebuilt";
    let (table, columns) = (quoted(&after.collection), after.column_list());
    let copy = vec![
        after.create(COPY, Dialect::Sqlite),
        format!("INSERT INTO {COPY} ({columns}) SELECT {columns} FROM {table}"),
        format!("DROP TABLE {table}"),
        format!("ALTER TABLE {COPY} RENAME TO {table}"),
    ];
    let action = Action::Rebuild(copy.len());
    let create = |index: &Index| match index.trigrams(&after.collection) {
        Some(trigrams) => trigrams.create_table_triggers().into(),
        None => index.create(&after.collection, "", Dialect::Sqlite),
    };
    (copy.into_iter().chain(after.indexes.iter().flat_map(create)).collect(), action)
}

pub(super) fn bounds_in_words(ty: Type, bounds: Option<(i64, i64)>) -> String {
    let noun = if ty == Type::Text { "characters" } else { "values" };
    match bounds {
        None => format!("any {noun}"),
        Some((low, i64::MAX)) => format!("{noun} from {low}"),
        Some((i64::MIN, high)) => format!("{noun} up to {high}"),
        Some((low, high)) if ty == Type::Text => format!("{low} to {high} characters"),
        Some((low, high)) => format!("values from {low} to {high}"),
    }
}
