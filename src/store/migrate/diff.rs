//! The steps from the tables of a database to the declared ones. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::change::{Change, bounds_in_words};
use super::features::Features;
use super::sql::{literal, quoted};
use super::step::{By, Meaning, Question, Step};
use super::table::{Column, Folding, Table, saved_queries_of};
use crate::clock::timestamp_now;
use crate::query::diagnostic::did_you_mean;
use crate::query::{Dialect, Field, Schema, Type};

/// The fields of every record type.
const MANAGED: [&str; 4] = ["id", "version", "created_at", "updated_at"];

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
    features: Features,
) -> Result<Steps, String> {
    let Features { dialect, .. } = features;
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
            let first = match wanted.field {
                Some(_) => "remove it from the declaration first",
                None => "remove its declaration from the folder that --records names first",
            };
            return Err(format!("cannot drop {name}: it is declared; {first}"));
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
            Some(diff) => diff.compare(schema, Table::possible(schema, features), &mut taken),
            None => {
                let mut diff = TableDiff::of(None, by, dialect, now);
                let mut table = Table::possible(schema, features);
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

/// Returns the applied tables, and the columns of declared ones, that are no longer declared, by the names that `--drop`
/// takes. They are kept, but no longer written.
pub(super) fn undeclared(applied: &[Table], declared: &[&'static Schema]) -> Vec<String> {
    let names = applied.iter().flat_map(|table| {
        let of = &table.collection;
        let Some(schema) = declared.iter().find(|schema| schema.collection == of) else {
            return vec![of.clone()];
        };
        let kept = table.columns.iter().filter(|column| schema.field(&column.name).is_none());
        kept.map(|column| format!("{of}.{}", column.name)).collect()
    });
    names.collect()
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
            None => {
                let queries = saved_queries_of(&table.collection, self.dialect);
                let losses = [
                    Question { from, meaning: Meaning::Lose("record", "records") },
                    Question {
                        from: queries,
                        meaning: Meaning::Lose("saved query", "saved queries"),
                    },
                ];
                self.push_asking(Change::DropTable, losses.into());
            }
            Some(field) if table.column(field).is_some() => {
                let from = format!("{from} WHERE {} IS NOT NULL", quoted(field));
                self.ask(
                    Change::DropColumn(field.to_owned()),
                    from,
                    Meaning::Lose("value", "values"),
                );
            }
            Some(_) => return false,
        }
        true
    }

    fn push(&mut self, change: Change) {
        self.push_asking(change, Vec::new());
    }

    fn ask(&mut self, change: Change, from: String, meaning: Meaning) {
        self.push_asking(change, vec![Question { from, meaning }]);
    }

    fn push_asking(&mut self, change: Change, questions: Vec<Question>) {
        let is_left = self.by == By::Serve && change.can_wait(self.dialect);
        // The steps after one that is left start from the table without it.
        let mut without = self.table.clone();
        let table = if is_left { &mut without } else { &mut self.table };
        let step = change.step(table, self.dialect).map(|step| Step { questions, ..step });
        if is_left { self.left.extend(step) } else { self.steps.extend(step) }
    }

    fn origin(&self, column: &str) -> String {
        self.origins.get(column).cloned().unwrap_or_else(|| "NULL".to_owned())
    }

    fn compare(&mut self, schema: &'static Schema, declared: Table, taken: &mut BTreeSet<String>) {
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
        self.unfold(&declared);
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

    /// Stops the folding of texts that are no longer declared. New records get the default of such a text, but not
    /// always that of its folded column, which is therefore filled when the field is declared again.
    fn unfold(&mut self, declared: &Table) {
        let texts = self.table.iter().flat_map(Table::folded_texts);
        let is_kept = |column: &&Column| declared.column(&column.name).is_none();
        let kept = texts.filter(is_kept).filter(|column| column.default.is_some());
        for name in kept.map(|column| column.name.clone()).collect::<Vec<_>>() {
            self.push(Change::Unfold(name));
        }
    }

    fn compare_column(&mut self, declared: &Column) {
        let Some(table) = &self.table else { return };
        let name = || declared.name.clone();
        let from = format!("FROM {}", quoted(&table.collection));
        let path = format!("{}.{}", table.collection, declared.name);
        let mut column = table.column(&declared.name).cloned();
        if let Some(Column { ty, .. }) = column.take_if(|column| column.ty != declared.ty) {
            let (old, new) = (ty.with_article(), declared.ty.with_article());
            let reason = format!("{path} is {old} in the database and {new} in the declaration");
            let help = format!(
                "The type of a field can be changed only while there are no records. Declare a field of another \
                 name, copy the values, remove this field from the declaration, and drop it with `cinequery \
                 migrate --drop {path}`"
            );
            let change = Change::Retype { name: name(), to: declared.ty };
            self.ask(change, from.clone(), Meaning::Hinder { reason, help });
        }
        let Some(column) = column else {
            let mut added = declared.clone();
            // There may be records already. The step that requires a value follows, and succeeds on an empty table.
            added.nullable |= declared.default.is_none();
            added.folded.iter_mut().for_each(|folded| folded.nullable = added.nullable);
            let origin = added.default_value().map(|value| literal(&value, self.dialect));
            self.origins.insert(name(), origin.unwrap_or_else(|| "NULL".to_owned()));
            let is_required = added.nullable && !declared.nullable;
            self.push(Change::AddColumn(added));
            if is_required {
                let reason = format!("{path} is required and has no default");
                let help = "Give it a default, or make it optional".to_owned();
                self.ask(Change::Require(name()), from, Meaning::Hinder { reason, help });
            }
            return;
        };
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
