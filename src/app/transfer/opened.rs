//! Opening a file of records: its columns, and the values for fields without one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{Read as Input, Write};
use std::ops::ControlFlow;

use super::cell::{Cell, Fit};
use super::columns::Columns;
use super::dates::Order;
use super::options::Options;
use super::rejected::Rejected;
use super::row::{MAX_NAME, Values};
use super::source::Source;
use crate::error::{Error, Kind, Result};
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::{Argument, Field, Schema};
use crate::record::Author;

/// The most rows by which the meaning of columns is guessed.
const SAMPLED_ROWS: usize = 20;

/// A file of records that has been opened, with its columns.
pub struct Opened {
    pub(super) source: Source,
    pub(super) columns: Columns,
    pub(super) dates: Option<Order>,
    pub(super) values: Vec<(&'static Field, Argument)>,
    pub(super) rejected: Option<Rejected>,
    schema: &'static Schema,
}

/// Opens a file of records. The header of a table is read here, so that a wrong one is rejected before anything is
/// changed.
///
/// # Errors
/// [`Kind::InvalidBody`] if the file cannot be read, or if its header lacks a required field or names one twice;
/// [`Kind::InvalidParameter`] for options that do not fit the record type; [`Kind::BodyTooLarge`] for a workbook; errors
/// of the input.
pub fn open(
    input: impl Input + Send + 'static,
    options: impl Into<Options>,
    schema: &'static Schema,
    author: Author,
) -> Result<Opened> {
    let mut opened = open_any(input, options.into(), schema, author)?;
    let (missing, header_row) = (opened.missing(), opened.likely_header());
    let is_wrong = !missing.is_empty() || header_row.is_some();
    let Some((line, names)) = opened.source.header.clone().filter(|_| is_wrong) else {
        return Ok(opened);
    };
    let fields: Vec<String> = missing.iter().map(|field| format!("`{}`", field.name)).collect();
    let fields = if fields.is_empty() { "any field".to_owned() } else { fields.join(", ") };
    let names = names.iter().filter(|name| !name.is_empty()).take(MAX_DIAGNOSTICS);
    let names: Vec<String> = names.map(|name| name.chars().take(MAX_NAME).collect()).collect();
    let help = match header_row {
        Some(row) => try_header(row),
        None => match opened.guesses()?.as_slice() {
            [] => "rename or add it, or map another column to it".to_owned(),
            guesses => format!("perhaps with map {:?}", guesses.join(",")),
        },
    };
    let detail =
        format!("line {line} has no column for {fields}; it has: {}; {help}", names.join(", "));
    Err(Error::new(Kind::InvalidBody, detail))
}

/// Advises to take another row as the header.
fn try_header(row: u64) -> String {
    format!("try header_row={row}")
}

/// Returns the row, among the first ones of a table, that is probably the header, below a title. It has the names of two or
/// more fields, and of more than the header has; or it looks like a header, whose names need a mapping, and the header like
/// a title.
fn likely_header(source: &Source, columns: &Columns) -> Option<u64> {
    let (line, names) = source.header.as_ref()?;
    let own = columns.matched(names);
    let rows = source.top.iter().map(|(row, names)| (*row, columns.matched(names)));
    let likely = rows.filter(|(_, matched)| *matched >= 2 && *matched > own);
    // The first of those with the most names.
    let likely = likely.rev().max_by_key(|(_, matched)| *matched).map(|(row, _)| row);
    let filled = |names: &[String]| names.iter().filter(|name| !name.is_empty()).count();
    let width = source.top.iter().map(|(_, names)| filled(names)).max().unwrap_or(0);
    // A title leaves half of its row empty. A mapping of it may be a guess.
    let is_title = !columns.has_name(names) && 2 * filled(names) <= width;
    let mut below = source.top.iter().filter(|(row, names)| {
        is_title && row > line && 2 * filled(names) > width && are_names(names)
    });
    likely.or_else(|| below.next().map(|(row, _)| *row))
}

/// Returns whether the texts of a row could be the names of columns: distinct and short ones, with letters.
fn are_names(texts: &[String]) -> bool {
    let mut known = HashSet::new();
    texts.iter().filter(|text| !text.is_empty()).all(|text| {
        let is_short = text.chars().nth(MAX_NAME).is_none();
        is_short && text.contains(char::is_alphabetic) && known.insert(text)
    })
}

/// Opens a file that may lack required fields.
pub(super) fn open_any(
    input: impl Input + Send + 'static,
    options: Options,
    schema: &'static Schema,
    author: Author,
) -> Result<Opened> {
    let Options { hints, mapping, dates, defaults } = options;
    let mut columns = Columns::new(schema, author, mapping)?;
    let values = defaults.0.into_iter().map(|(name, value)| {
        let field = schema.field(&name).filter(|field| author.writes(field));
        let field = field.ok_or_else(|| {
            let names = schema.declared().map(|field| field.name);
            let help = did_you_mean(&name, names);
            let detail = format!("{name:?} is not a field that can be set; {help}");
            Error::new(Kind::InvalidParameter, detail)
        })?;
        let fit = Cell::Text(Cow::Owned(value)).fit(field, dates).map_err(|misfit| {
            Error::new(Kind::InvalidParameter, format!("the value for {name}: {}", misfit.detail()))
        })?;
        Ok((field, fit.value.unwrap_or(Argument::NULL)))
    });
    let values = values.collect::<Result<_>>()?;
    let source = Source::open(input, &hints)?;
    if let Some((line, names)) = &source.header {
        columns.add_header(names).map_err(|detail| {
            let other = likely_header(&source, &columns).map(try_header);
            let help = other.map(|help| format!("; {help}")).unwrap_or_default();
            Error::new(Kind::InvalidBody, format!("line {line} {detail}{help}"))
        })?;
    }
    Ok(Opened { source, columns, dates, values, rejected: None, schema })
}

impl Opened {
    /// Writes the rows that the import will reject to a file of CSV: the header with a column for the problem, and the rows as
    /// they are. Nothing is written if no row is rejected.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] for JSON, which has no header.
    pub fn with_rejected(mut self, output: impl Write + Send + 'static) -> Result<Self> {
        let Some(delimiter) = self.source.keep_bytes() else {
            let detail = "rejected rows are written for CSV and workbooks only; JSON has no header";
            return Err(Error::new(Kind::InvalidParameter, detail));
        };
        self.rejected = Some(Rejected::new(output, delimiter, self.schema, &self.columns));
        Ok(self)
    }

    /// Returns the required fields that have neither a column nor a given value.
    pub(super) fn missing(&self) -> Vec<&'static Field> {
        let is_given =
            |field: &Field| self.values.iter().any(|(given, _)| given.name == field.name);
        self.columns.missing().into_iter().filter(|field| !is_given(field)).collect()
    }

    /// Returns the row that is probably the header, if the file has no column, or lacks one for a required field.
    pub(super) fn likely_header(&self) -> Option<u64> {
        let is_read = self.columns.list.iter().any(|column| !column.targets.is_empty());
        let is_right = is_read && self.missing().is_empty();
        if is_right { None } else { likely_header(&self.source, &self.columns) }
    }

    /// Reads the first rows and returns entries for the mapping that may be meant.
    fn guesses(&mut self) -> Result<Vec<String>> {
        let mut sample = Sample::default();
        self.source.each(&mut |row| {
            if let Ok(Values::Cells(cells)) = row.values {
                sample.add(cells.into_iter().enumerate());
            }
            if sample.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let columns = self.columns.shown(|column, field| sample.can_be(column, field, self.dates));
        Ok(columns.into_iter().filter_map(|column| column.guess).collect())
    }
}

/// The first values of each column.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    rows: usize,
    columns: Vec<Vec<Cell<'static>>>,
}

impl Sample {
    /// Adds a row, unless enough rows are known.
    pub(super) fn add<'a>(&mut self, cells: impl Iterator<Item = (usize, Cell<'a>)>) {
        if self.is_full() {
            return;
        }
        self.rows += 1;
        for (position, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            let length = self.columns.len().max(position + 1);
            self.columns.resize_with(length, Vec::new);
            if let Some(column) = self.columns.get_mut(position) {
                column.push(cell.into_owned());
            }
        }
    }

    /// Returns whether enough rows are known.
    fn is_full(&self) -> bool {
        self.rows == SAMPLED_ROWS
    }

    /// Returns whether all values of a column could be values of a field; `None` if there are no values.
    pub(super) fn can_be(
        &self,
        column: usize,
        field: &Field,
        dates: Option<Order>,
    ) -> Option<bool> {
        let fits = |cell: &Cell<'static>| match cell.clone().fit(field, dates) {
            Ok(Fit { value: Some(Argument::Integer(number)), .. }) => {
                field.bounds.contains(&number)
            }
            Ok(_) => true,
            Err(misfit) => !misfit.orders.is_empty(),
        };
        let cells = self.columns.get(column).map(Vec::as_slice).unwrap_or_default();
        (!cells.is_empty()).then(|| cells.iter().all(fits))
    }
}
