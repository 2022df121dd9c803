//! A declaration that fits a file of records. The file may be of any size: of each column only a summary is kept.

mod column;
mod keys;

use std::collections::HashMap;
use std::io::Read;
use std::ops::ControlFlow;

use self::column::Column;
use self::keys::Keys;
use super::columns::{entry, is_same, unnumbered};
use super::dates::Order;
use super::options::Options;
use super::row::Values;
use super::source::{Hints, Source};
use crate::error::{Error, Kind, Result};
use crate::query::{Argument, Schema};
use crate::record::declaration::{MANAGED, MAX_FIELDS, record_name};

/// The most columns that are looked at. More names can only be a mistake, such as a value in the place of a name.
const MAX_COLUMNS: usize = 200;

/// A declaration of the collection that fits the records of a file, with comments that say why.
///
/// # Errors
/// [`Kind::InvalidBody`] when the input breaks off, or has no column from which a field could be made.
pub fn infer(
    input: impl Read + Send + 'static,
    options: impl Into<Options>,
    collection: &str,
) -> Result<String> {
    let Options { hints, dates, .. } = options.into();
    let mut source = Source::open(input, &hints)?;
    let mut file = Summary { dates, hints, ..Summary::default() };
    if let Some((_, names)) = &source.header {
        file.columns = names.iter().map(|name| Column::new(name)).collect();
        file.more_columns = file.columns.len().saturating_sub(MAX_COLUMNS);
        file.columns.truncate(MAX_COLUMNS);
    }
    source.each(&mut |row| {
        match row.values {
            // Spreadsheets end a file with empty rows.
            Ok(Values::Cells(cells)) if cells.iter().all(super::cell::Cell::is_empty) => {}
            Ok(Values::Cells(cells)) => {
                let values = cells.into_iter().map(|cell| cell.into_argument(dates));
                file.add(values.take(MAX_COLUMNS).enumerate().collect());
            }
            Ok(Values::Members(members)) => {
                let members = members.into_iter();
                file.add_named(members.map(|(name, cell)| (name, cell.into_argument(dates))));
            }
            Err(detail) => file.skip(row.line, &detail),
        }
        ControlFlow::Continue(())
    })?;
    file.declaration(collection)
}

/// What is known of a file while it is read.
#[derive(Default)]
pub(super) struct Summary {
    rows: u64,
    columns: Vec<Column>,
    positions: HashMap<String, usize>,
    keys: Keys,
    /// Rows that could not be read, and why the first could not.
    unread: u64,
    first_unread: String,
    /// The number of ignored columns, which follow the first [`MAX_COLUMNS`].
    more_columns: usize,
    dates: Option<Order>,
    hints: Hints,
}

impl Summary {
    /// Adds a row: values at the positions of their columns.
    fn add(&mut self, found: Vec<(usize, Argument)>) {
        self.rows += 1;
        let mut values = vec![Argument::NULL; self.columns.len()];
        for (position, value) in found {
            if let Some(column) = self.columns.get_mut(position) {
                column.add(&value);
            }
            if let Some(place) = values.get_mut(position) {
                *place = value;
            }
        }
        self.keys.add(&values);
    }

    /// Adds a row: values with the names of their columns.
    pub(super) fn add_named(&mut self, found: impl Iterator<Item = (String, Argument)>) {
        let mut values = Vec::new();
        for (name, value) in found {
            let position = match self.positions.get(&name) {
                Some(position) => *position,
                None if self.columns.len() == MAX_COLUMNS => {
                    self.more_columns += 1;
                    continue;
                }
                None => {
                    let position = self.columns.len();
                    self.columns.push(Column::new(&name));
                    self.positions.insert(name, position);
                    position
                }
            };
            values.push((position, value));
        }
        self.add(values);
    }

    /// Returns fields for the columns as lines of the declaration of a record type that has other fields; `None` if there
    /// are none.
    pub(super) fn fields(mut self, schema: &Schema) -> Option<String> {
        self.name_fields(schema.names().map(str::to_owned).collect());
        let kept = self.columns.iter().filter(|column| column.field.is_some());
        // A record that exists has no value for a new field.
        let fields: Vec<String> = kept.map(|column| column.declare(self.rows, true)).collect();
        (!fields.is_empty()).then(|| fields.join("\n"))
    }

    fn skip(&mut self, line: u64, detail: &str) {
        self.unread += 1;
        if self.unread == 1 {
            self.first_unread = format!("line {line}: {detail}");
        }
    }

    fn declaration(mut self, collection: &str) -> Result<String> {
        if self.rows == 0 && self.unread > 0 {
            return Err(invalid(&format!("no row can be read; {}", self.first_unread)));
        }
        self.name_fields(Vec::new());
        let fields: Vec<String> =
            self.columns.iter().map(|column| column.declare(self.rows, false)).collect();
        if self.columns.iter().all(|column| column.field.is_none()) {
            return Err(invalid("no column has a name and values of a type that fields have"));
        }
        let mut text = self.remarks();
        text.extend(self.import_advice(collection));
        text.push_str(&format!(
            "name = \"{}\"\ncollection = \"{collection}\"\ndescription = \"\"\n\n",
            record_name(collection)
        ));
        text.push_str(&self.keys.declare(&self.columns, self.rows));
        for field in fields {
            text.push('\n');
            text.push_str(&field);
        }
        Ok(text)
    }

    /// Gives the columns that become fields their names, each once and none of those that are taken.
    fn name_fields(&mut self, mut taken: Vec<String>) {
        // An export of this service has the fields that the service adds. They are no part of a declaration.
        let headers: Vec<&str> = self.columns.iter().map(|column| column.header.as_str()).collect();
        let is_export = MANAGED.iter().all(|name| headers.contains(name));
        let mut count = 0;
        for column in &mut self.columns {
            if is_export && MANAGED.contains(&column.header.as_str()) {
                column.leave_out("the service adds this field itself");
            } else if column.header.is_empty() {
                column.leave_out("it has no name");
            } else if count == MAX_FIELDS {
                column.leave_out(&format!("a record type has at most {MAX_FIELDS} fields"));
            }
            count += usize::from(column.is_kept());
        }
        let kept: Vec<&mut Column> =
            self.columns.iter_mut().filter(|column| column.is_kept()).collect();
        let wanted: Vec<String> = kept.iter().map(|column| column.wanted()).collect();
        // A header that is a valid field name is kept, even if it follows others that would get the same name.
        let (named, others): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|column| column.wanted() == column.header);
        for column in named.into_iter().chain(others) {
            column.name_field(&mut taken, &wanted);
        }
    }

    /// Returns a comment on how to import the file, if names or dates in it need options.
    fn import_advice(&self, collection: &str) -> Option<String> {
        let names: Vec<String> = self.columns.iter().map(|column| column.header.clone()).collect();
        let fields =
            self.columns.iter().filter_map(|column| Some((column, column.field.as_deref()?)));
        let mut entries = Vec::new();
        for (Column { header, .. }, field) in fields {
            if header.chars().any(char::is_control) {
                let advice = "Some names have control characters. To import the file, rename them.";
                return Some(format!("# {advice}\n"));
            }
            if !is_same(unnumbered(header, &names), field) {
                entries.push(entry(header, field));
            }
        }
        let mut options = String::new();
        if !entries.is_empty() {
            options.push_str(&format!(" --map {}", quoted_for_shell(&entries.join(","))));
        }
        let Hints { format, encoding, sheet, header_row } = &self.hints;
        if let Some(format) = format {
            options.push_str(&format!(" --format {}", format.as_str()));
        }
        if let Some(encoding) = encoding {
            options.push_str(&format!(" --encoding {}", encoding.as_str()));
        }
        if let Some(sheet) = sheet.as_ref().filter(|sheet| !sheet.chars().any(char::is_control)) {
            options.push_str(&format!(" --sheet {}", quoted_for_shell(sheet)));
        }
        if let Some(row) = header_row {
            options.push_str(&format!(" --header-row {row}"));
        }
        if let Some(order) = self.dates {
            options.push_str(&format!(" --dates {}", order.as_str()));
        }
        (!options.is_empty()).then(|| {
            format!("# To import the file:\n# cinequery import FILE --collection {collection}{options}\n")
        })
    }

    /// What is to be said of the file, as comments.
    fn remarks(&self) -> String {
        let Self { rows, unread, first_unread, .. } = self;
        let mut lines = vec![
            format!(
                "Inferred from {}. It only knows this file: check types, lengths, ranges",
                count(*rows)
            ),
            "and keys, and `cinequery records check` the result.".to_owned(),
        ];
        if *unread > 0 {
            // The reason may quote the file.
            let reason: String =
                first_unread.chars().filter(|c| !c.is_control()).take(150).collect();
            lines.push(format!("{} could not be read. The first: {reason}", count(*unread)));
        }
        if self.more_columns > 0 {
            lines.push(format!("Columns after the first {MAX_COLUMNS} were ignored."));
        }
        lines.into_iter().map(|line| format!("# {line}\n")).collect()
    }
}

/// Quotes a text for a POSIX shell.
pub fn quoted_for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn count(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::InvalidBody, detail)
}
