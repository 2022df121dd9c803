//! The steps from the tables of a database to the declared ones. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::table::{Column, Folded, Folding, Index, Table, folded_name, literal, quoted};
use crate::clock::timestamp_now;
use crate::query::diagnostic::did_you_mean;
use crate::query::{Dialect, Field, Schema, Type};

/// Records that are folded in one go.
pub(super) const FOLD_BATCH: u64 = 500;

/// The fields of every record type.
const MANAGED: [&str; 4] = ["id", "version", "created_at", "updated_at"];

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
    pub(super) question: Option<Question>,
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
    /// `FROM … WHERE …`: the records that are meant.
    pub(super) from: String,
    pub(super) meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    /// They break this rule.
    Break(String),
    /// The step loses them; by what they are called.
    Lose(&'static str),
}

/// What `migrate --drop` names: a field or a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target<'a> {
    collection: &'a str,
    field: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(name: &'a str) -> Self {
        match name.split_once('.') {
            Some((collection, field)) => Self { collection, field: Some(field) },
            None => Self { collection: name, field: None },
        }
    }
}

/// The steps from the tables that were applied to the declared ones.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) applied: Vec<Step>,
    /// Those that [`By::Serve`] leaves to `migrate`, and works without. They are what an instance of an older
    /// declaration sees that starts again in a rolling update, so it must start.
    pub(super) left: Vec<Step>,
}

/// The steps that `by` applies.
///
/// # Errors
/// A drop of something that is declared, or that is not there.
pub(super) fn steps(
    applied: &[Table],
    declared: &[&'static Schema],
    drops: &[String],
    by: By,
    dialect: Dialect,
) -> Result<Steps, String> {
    let now = timestamp_now();
    let mut diffs: Vec<TableDiff> =
        applied.iter().map(|table| TableDiff::of(Some(table.clone()), by, dialect, now)).collect();
    for name in drops {
        let wanted = Target::parse(name);
        let schema = declared.iter().find(|schema| schema.collection == wanted.collection);
        let is_declared = match wanted.field {
            Some(field) => schema.is_some_and(|schema| schema.field(field).is_some()),
            None => schema.is_some(),
        };
        if is_declared {
            return Err(format!(
                "cannot drop {name}: it is declared; remove it from the declaration first"
            ));
        }
        if wanted.field.is_some_and(|field| MANAGED.contains(&field)) {
            return Err(format!("cannot drop {name}: every collection has this field"));
        }
        let diff = diffs.iter_mut().find(|diff| diff.is_of(wanted.collection));
        let dropped = diff.is_some_and(|diff| diff.drop(wanted.field));
        if !dropped {
            return Err(format!("cannot drop {name}: the database has nothing of that name"));
        }
    }
    let mut taken: BTreeSet<String> = applied.iter().flat_map(Table::names).collect();
    taken.extend(declared.iter().map(|schema| schema.collection.to_owned()));
    for schema in declared {
        match diffs.iter_mut().find(|diff| diff.is_of(schema.collection)) {
            Some(diff) => diff.compare(schema, &mut taken),
            None => {
                let mut diff = TableDiff::of(None, by, dialect, now);
                let mut table = Table::of(schema);
                // Its own name is among those that are taken; an index cannot have that of another table.
                for index in &mut table.indexes {
                    index.rename(schema.collection, &taken);
                    taken.insert(index.name.clone());
                }
                diff.push(Change::CreateTable(table));
                diffs.push(diff);
            }
        }
    }
    let mut all = Steps::default();
    for TableDiff { steps, left, .. } in diffs {
        all.applied.extend(steps);
        all.left.extend(left);
    }
    Ok(all)
}

/// The columns of applied tables that are not declared any more: they are kept, and nothing writes them.
pub(super) fn undeclared(applied: &[Table], declared: &[&'static Schema]) -> Vec<String> {
    let names = declared.iter().filter_map(|schema| {
        let table = applied.iter().find(|table| table.collection == schema.collection)?;
        let kept = table.columns.iter().filter(|column| schema.field(&column.name).is_none());
        Some(kept.map(|column| format!("{}.{}", schema.collection, column.name)))
    });
    names.flatten().collect()
}

/// The difference between a table and its declaration, as steps.
struct TableDiff {
    by: By,
    dialect: Dialect,
    now: DateTime<Utc>,
    /// The table after the steps so far; `None` before it is created and after it is dropped.
    table: Option<Table>,
    /// Each column as an expression of the table before the first step.
    origins: BTreeMap<String, String>,
    steps: Vec<Step>,
    left: Vec<Step>,
}

impl TableDiff {
    fn of(table: Option<Table>, by: By, dialect: Dialect, now: DateTime<Utc>) -> Self {
        let columns = table.iter().flat_map(|table| &table.columns);
        let origins = columns.map(|column| (column.name.clone(), quoted(&column.name))).collect();
        Self { by, dialect, now, table, origins, steps: Vec::new(), left: Vec::new() }
    }

    fn is_of(&self, collection: &str) -> bool {
        self.table.as_ref().is_some_and(|table| table.collection == collection)
    }

    /// Whether there is such a field, or the table itself; then it is dropped.
    fn drop(&mut self, field: Option<&str>) -> bool {
        let Some(table) = &self.table else { return false };
        let from = format!("FROM {}", quoted(&table.collection));
        match field {
            None => self.ask(Change::DropTable, from, Meaning::Lose("record")),
            Some(field) if table.column(field).is_some() => {
                let from = format!("{from} WHERE {} IS NOT NULL", quoted(field));
                self.ask(Change::DropColumn(field.to_owned()), from, Meaning::Lose("value"));
            }
            Some(_) => return false,
        }
        true
    }

    fn push(&mut self, change: Change) {
        self.push_asking(change, None);
    }

    fn ask(&mut self, change: Change, from: String, meaning: Meaning) {
        self.push_asking(change, Some(Question { from, meaning }));
    }

    fn push_asking(&mut self, change: Change, question: Option<Question>) {
        let is_left = self.by == By::Serve && change.can_wait(self.dialect);
        // The steps after one that is left start from the table without it.
        let mut without = self.table.clone();
        let table = if is_left { &mut without } else { &mut self.table };
        let step = change.step(table, self.dialect).map(|step| Step { question, ..step });
        if is_left { self.left.extend(step) } else { self.steps.extend(step) }
    }

    fn origin(&self, column: &str) -> String {
        self.origins.get(column).cloned().unwrap_or_else(|| "NULL".to_owned())
    }

    fn compare(&mut self, schema: &'static Schema, taken: &mut BTreeSet<String>) {
        let declared = Table::of(schema);
        for field in schema.fields {
            let Some(from) = field.renamed_from else { continue };
            if let Some(problem) = self.misnamed(field, from, schema) {
                self.push(Change::Misname { name: field.name.to_owned(), problem });
            }
            let is_there =
                |name| self.table.as_ref().is_some_and(|table| table.column(name).is_some());
            if is_there(from) && !is_there(field.name) && schema.field(from).is_none() {
                let origin = self.origin(from);
                self.origins.insert(field.name.to_owned(), origin);
                let to = field.name.to_owned();
                self.push(Change::RenameColumn { from: from.to_owned(), to });
            }
        }
        self.relax(&declared);
        for column in &declared.columns {
            self.compare_column(column);
        }
        self.compare_indexes(&declared, taken);
    }

    /// Why `renamed_from` cannot be applied, if it was not applied before.
    fn misnamed(&self, field: &Field, from: &str, schema: &Schema) -> Option<String> {
        let (table, name) = (self.table.as_ref()?, field.name);
        let of = &table.collection;
        match (table.column(from).is_some(), table.column(name).is_some()) {
            (true, true) if schema.field(from).is_none() => Some(format!(
                "{of}.{name} is to be renamed from {from}, and the database has both. Remove {name} from the \
                 declaration, run `cinequery migrate --drop {of}.{name}`, and declare it again"
            )),
            (false, false) => {
                let kept = table.columns.iter().map(|column| column.name.as_str());
                let kept = kept.filter(|name| schema.field(name).is_none());
                let help = did_you_mean(from, kept);
                Some(format!(
                    "{of}.{name} is to be renamed from {from}, which the database does not have; {help}"
                ))
            }
            _ => None,
        }
    }

    /// Lets columns be null that are required no more, and those that nothing writes any more.
    fn relax(&mut self, declared: &Table) {
        let columns = self.table.iter().flat_map(|table| &table.columns);
        let is_relaxed = |column: &&Column| match declared.column(&column.name) {
            Some(declared) => declared.nullable,
            None => column.default.is_none(),
        };
        let relaxed = columns.filter(|column| !column.nullable).filter(is_relaxed);
        let relaxed: Vec<String> = relaxed.map(|column| column.name.clone()).collect();
        if !relaxed.is_empty() {
            self.push(Change::Relax(relaxed));
        }
    }

    fn compare_column(&mut self, declared: &Column) {
        let Some(table) = &self.table else { return };
        let name = || declared.name.clone();
        let from = format!("FROM {}", quoted(&table.collection));
        let path = format!("{}.{}", table.collection, declared.name);
        let Some(column) = table.column(&declared.name).cloned() else {
            let mut added = declared.clone();
            // There may be records already. A table without any is then told to require it.
            added.nullable |= declared.default.is_none();
            added.folded.iter_mut().for_each(|folded| folded.nullable = added.nullable);
            let origin = added.default_value().map(|value| literal(&value, self.dialect));
            self.origins.insert(name(), origin.unwrap_or_else(|| "NULL".to_owned()));
            let is_required = added.nullable && !declared.nullable;
            self.push(Change::AddColumn(added));
            if is_required {
                let rule = format!(
                    "{path} is required and has no default; give it one, or make it optional"
                );
                self.ask(Change::Require(name()), from, Meaning::Break(rule));
            }
            return;
        };
        if column.ty != declared.ty {
            self.push(Change::Retype { name: name(), from: column.ty, to: declared.ty });
            return;
        }
        if column.nullable && !declared.nullable {
            let from = format!("{from} WHERE {} IS NULL", self.origin(&declared.name));
            let rule = format!("{path} is required");
            self.ask(Change::Require(name()), from, Meaning::Break(rule));
        }
        if declared.wide && !column.wide {
            self.push(Change::Widen(name()));
        }
        self.compare_bounds(&column, declared, &from, &path);
        let state = column.folded.as_ref().map(|folded| &folded.state);
        match (state, declared.folded.is_some()) {
            (None, true) => {
                self.push(Change::AddFolded(name()));
                self.push(Change::Fill(name(), self.now));
            }
            (Some(Folding::Unused | Folding::Pending), true) => {
                self.push(Change::Fill(name(), self.now))
            }
            (Some(Folding::Current | Folding::Pending | Folding::Settling(_)), false) => {
                self.push(Change::Unfold(name()));
            }
            (Some(Folding::Current | Folding::Settling(_)), true)
            | (None | Some(Folding::Unused), false) => {}
        }
    }

    fn compare_bounds(&mut self, column: &Column, declared: &Column, from: &str, path: &str) {
        let ((old_low, old_high), (low, high)) = (column.range(), declared.range());
        if (old_low, old_high) == (low, high) {
            return;
        }
        let is_narrower = low > old_low || high < old_high;
        let (name, bounds) = (declared.name.clone(), declared.bounds);
        let rule = format!("{path} must have {}", bounds_in_words(declared.ty, bounds));
        let change = Change::Bound { name, ty: declared.ty, bounds, is_narrower };
        if !is_narrower {
            self.push(change);
            return;
        }
        let origin = self.origin(&declared.name);
        let measure = match (declared.ty, self.dialect) {
            (Type::Text, Dialect::Sqlite) => format!("length({origin})"),
            (Type::Text, Dialect::Postgres) => format!("char_length({origin})"),
            _ => origin,
        };
        // The ends of 64 bits need no comparison, and SQLite could not read the lower one.
        let below = (low > i64::MIN).then(|| format!("{measure} < {low}"));
        let above = (high < i64::MAX).then(|| format!("{measure} > {high}"));
        let outside: Vec<String> = below.into_iter().chain(above).collect();
        let from = format!("{from} WHERE {}", outside.join(" OR "));
        self.ask(change, from, Meaning::Break(rule));
    }

    fn compare_indexes(&mut self, declared: &Table, taken: &mut BTreeSet<String>) {
        let Some(table) = self.table.clone() else { return };
        for index in declared.indexes.iter().filter(|index| table.same_index(index).is_none()) {
            let mut index = index.clone();
            index.rename(&table.collection, taken);
            taken.insert(index.name.clone());
            if !index.unique {
                self.push(Change::CreateIndex(index));
                continue;
            }
            let (numbers, key): (Vec<String>, Vec<String>) = index
                .columns
                .iter()
                .enumerate()
                .map(|(number, name)| (format!("k{number}"), self.origin(name)))
                .unzip();
            let named =
                key.iter().zip(&numbers).map(|(origin, name)| format!("{origin} AS {name}"));
            let named = named.collect::<Vec<_>>().join(", ");
            let keys = format!("(SELECT id, {named} FROM {})", quoted(&table.collection));
            let columns = numbers.join(", ");
            let from = format!(
                "FROM {keys} AS r WHERE ({columns}) IN \
                 (SELECT {columns} FROM {keys} AS q GROUP BY {columns} HAVING count(*) > 1)"
            );
            let rule =
                format!("{} must be unique in {}", index.columns.join(", "), table.collection);
            self.ask(Change::CreateIndex(index), from, Meaning::Break(rule));
        }
        for index in table.indexes.iter().filter(|index| declared.same_index(index).is_none()) {
            self.push(Change::DropIndex(index.clone()));
        }
    }
}

/// A change of one table. Columns are meant by the names of their fields.
#[derive(Debug, Clone)]
enum Change {
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
    Retype {
        name: String,
        from: Type,
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
    fn step(self, table: &mut Option<Table>, dialect: Dialect) -> Option<Step> {
        let before = table.clone();
        *table = self.after(before.clone());
        let collection = before.as_ref().or(table.as_ref())?.collection.clone();
        let (sql, action) = self.statements(before.as_ref(), table.as_ref(), dialect);
        let problem = match &self {
            Self::Retype { name, from, to } => Some(format!(
                "{collection}.{name} is {} in the database and {} in the declaration. The type of a \
                 field cannot be changed. Declare a field of another name, copy the values, remove \
                 this field from the declaration, and drop it with `cinequery migrate --drop \
                 {collection}.{name}`",
                from.with_article(),
                to.with_article()
            )),
            Self::Misname { problem, .. } => Some(problem.clone()),
            _ => None,
        };
        Some(Step {
            sentence: self.sentence(&collection),
            locks: self.locks(&sql, &action, dialect),
            by: self.by(dialect),
            after: table.clone(),
            question: None,
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
            Self::CreateTable(_) | Self::DropTable | Self::Retype { .. } | Self::Misname { .. } => {
            }
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
            Self::DropColumn(name) => {
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
    fn can_wait(&self, dialect: Dialect) -> bool {
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
                format!("build {kind} on {} of {of}", index.columns.join(", "))
            }
            Self::DropIndex(index) => {
                format!("drop the index on {} of {of}", index.columns.join(", "))
            }
            Self::Retype { name, from, to } => {
                format!("change {of}.{name} from {} to {}", from.as_str(), to.as_str())
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
                .chain(table.create_indexes())
                .collect(),
            Self::DropTable => vec![format!("DROP TABLE {}", quoted(collection))],
            Self::RenameColumn { from, to } => {
                let is_folded = |column: &Column| column.folded.is_some();
                let is_folded = before.and_then(|table| table.column(from)).is_some_and(is_folded);
                let folded = is_folded.then(|| (folded_name(from), folded_name(to)));
                std::iter::once((from.clone(), to.clone()))
                    .chain(folded)
                    .map(|(from, to)| {
                        format!("{alter} RENAME COLUMN {} TO {}", quoted(&from), quoted(&to))
                    })
                    .collect()
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
            Self::DropColumn(name) => {
                let indexes = before.iter().flat_map(|table| &table.indexes);
                let indexes = indexes.filter(|index| is_on(index, name));
                let column = before.and_then(|table| table.column(name));
                let folded = column.and_then(|column| column.folded.as_ref());
                let names = std::iter::once(name.clone()).chain(folded.map(|_| folded_name(name)));
                indexes
                    .flat_map(|index| drop_index(index, &alter, dialect))
                    .chain(names.map(|name| format!("{alter} DROP COLUMN {}", quoted(&name))))
                    .collect()
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
                let sql = vec![index.create(collection, "CONCURRENTLY ")];
                return (sql, Action::BuildIndex(index.clone()));
            }
            Self::CreateIndex(index) => vec![index.create(collection, "")],
            Self::DropIndex(index) if is_postgres && !index.unique => {
                let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&index.name));
                return (vec![sql], Action::DropIndex);
            }
            Self::DropIndex(index) => drop_index(index, &alter, dialect),
            Self::Retype { .. } | Self::Misname { .. } => return (Vec::new(), Action::Reject),
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

/// Drops an index in a transaction. In PostgreSQL that of a unique key may belong to a constraint, as in the
/// first table of movies.
fn drop_index(index: &Index, alter: &str, dialect: Dialect) -> Vec<String> {
    let name = quoted(&index.name);
    let constraint = index.unique && dialect == Dialect::Postgres;
    let constraint = constraint.then(|| format!("{alter} DROP CONSTRAINT IF EXISTS {name}"));
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
    (copy.into_iter().chain(after.create_indexes()).collect(), action)
}

fn bounds_in_words(ty: Type, bounds: Option<(i64, i64)>) -> String {
    let noun = if ty == Type::Text { "characters" } else { "values" };
    match bounds {
        None => format!("any {noun}"),
        Some((low, i64::MAX)) => format!("{noun} from {low}"),
        Some((i64::MIN, high)) => format!("{noun} up to {high}"),
        Some((low, high)) if ty == Type::Text => format!("{low} to {high} characters"),
        Some((low, high)) => format!("values from {low} to {high}"),
    }
}
