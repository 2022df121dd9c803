//! Reading and writing comma-separated values (RFC 4180).
//!
//! Spreadsheets run a cell that starts with `=`, `+`, `-`, `@`, TAB or CR as a formula. Such texts are therefore
//! prefixed with an apostrophe, also those that already start with apostrophes followed by one of these
//! characters. Reading removes one apostrophe, so that every text round-trips.

use std::borrow::Cow;
use std::io::{BufRead, Result as IoResult};

use csv_core::ReadRecordResult;

use super::row::{MAX_NAME, MAX_ROW_BYTES, Row, too_long};
use crate::error::{Error, Kind, Result};
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::{Argument, Schema, Type, Value};
use crate::store::Record;

/// The maximum number of columns.
const MAX_COLUMNS: usize = 1000;

/// Characters that make a cell a formula if it starts with one of them.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Returns the header line: the names of the fields.
pub(super) fn head(schema: &Schema) -> Result<Vec<u8>> {
    write(|writer| writer.write_record(schema.names()))
}

/// Returns the records, one per line.
pub(super) fn records(records: &[Record]) -> Result<Vec<u8>> {
    write(|writer| {
        for record in records {
            for (_, value) in record.fields() {
                writer.write_field(match value {
                    Some(Value::Text(text)) => guarded(text),
                    Some(value) => value.to_string(),
                    None => String::new(),
                })?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        Ok(())
    })
}

fn write(rows: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut bytes);
    rows(&mut writer).map_err(Error::internal)?;
    writer.flush().map_err(Error::internal)?;
    drop(writer);
    Ok(bytes)
}

fn guarded(text: &str) -> String {
    let guard = if text.trim_start_matches('\'').starts_with(FORMULA) { "'" } else { "" };
    format!("{guard}{text}")
}

/// Removes the apostrophe that keeps spreadsheets from running the text as a formula.
pub(super) fn unguarded(text: &str) -> &str {
    let is_guarded = text.trim_start_matches('\'').starts_with(FORMULA);
    text.strip_prefix('\'').filter(|_| is_guarded).unwrap_or(text)
}

/// The rows of a file.
pub(super) struct Table<I> {
    rows: Rows<I>,
    columns: Vec<Column>,
}

/// A column of a file.
struct Column {
    name: String,
    is_text: bool,
    is_nullable: bool,
}

impl<I: BufRead> Table<I> {
    /// Opens a file and reads its header line.
    ///
    /// # Errors
    /// A header line that names a field twice or lacks a required field; errors of the input.
    pub(super) fn open(input: I, schema: &Schema) -> IoResult<Result<Self>> {
        let mut rows = Rows::new(input, b',');
        let Some((line, cells)) = rows.next()? else {
            return Ok(Err(invalid(
                "the file is empty; expected a header line with the names of the fields",
            )));
        };
        let columns = cells.and_then(|cells| {
            cells
                .iter()
                .map(|cell| Ok(std::str::from_utf8(cell).map_err(not_utf8)?.trim()))
                .collect()
        });
        let columns: Vec<&str> = match columns {
            Ok(columns) => columns,
            Err(detail) => return Ok(Err(invalid(&format!("line {line}: {detail}")))),
        };
        let required = schema.writable().filter(|field| field.is_required());
        let missing = required.filter(|field| !columns.contains(&field.name));
        let missing: Vec<String> = missing.map(|field| format!("`{}`", field.name)).collect();
        if !missing.is_empty() {
            let named =
                columns.iter().take(MAX_DIAGNOSTICS).map(|name| name.chars().take(MAX_NAME));
            let named: Vec<String> = named.map(Iterator::collect).collect();
            let (expected, named) = (missing.join(", "), named.join(", "));
            let help = match (columns.as_slice(), missing.len()) {
                ([only], _) if only.contains([';', '\t']) => "separate the columns with commas",
                (_, 1) => "rename or add it",
                _ => "rename or add them",
            };
            let columns = if missing.len() == 1 { "a column" } else { "columns" };
            let detail =
                format!("line {line} must name {columns} {expected}, and names: {named}; {help}");
            return Ok(Err(invalid(&detail)));
        }
        let columns: Vec<Column> = columns
            .into_iter()
            .map(|name| {
                let field = schema.field(name);
                Column {
                    name: name.to_owned(),
                    is_text: field.is_some_and(|field| field.ty == Type::Text),
                    is_nullable: field.is_some_and(|field| field.nullable),
                }
            })
            .collect();
        let repeated = columns.iter().enumerate().find(|(position, column)| {
            // Spreadsheets write empty columns, which have no name.
            !column.name.is_empty()
                && columns.iter().take(*position).any(|other| other.name == column.name)
        });
        if let Some((_, Column { name, .. })) = repeated {
            return Ok(Err(invalid(&format!("line {line} names the column {name:?} twice"))));
        }
        Ok(Ok(Self { rows, columns }))
    }

    pub(super) fn next(&mut self) -> IoResult<Option<Row<'_>>> {
        let Some((line, cells)) = self.rows.next()? else { return Ok(None) };
        let fields = cells.and_then(|cells| {
            if cells.len() != self.columns.len() {
                let (found, expected) = (cells.len(), self.columns.len());
                return Err(format!("has {found} cells, but the header line has {expected} names"));
            }
            let named =
                self.columns.iter().zip(cells).filter(|(column, _)| !column.name.is_empty());
            named.map(|(column, cell)| column.read(cell)).collect()
        });
        Ok(Some(Row { line, fields }))
    }
}

impl Column {
    fn read(&self, cell: &[u8]) -> std::result::Result<(Cow<'_, str>, Argument), String> {
        let text = std::str::from_utf8(cell).map_err(not_utf8)?;
        let argument = if text.is_empty() && self.is_nullable {
            Argument::NULL
        } else if self.is_text {
            Argument::Untyped(unguarded(text).to_owned())
        } else {
            Argument::Untyped(text.to_owned())
        };
        Ok((Cow::Borrowed(self.name.as_str()), argument))
    }
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::InvalidBody, detail)
}

pub(super) fn not_utf8(error: std::str::Utf8Error) -> String {
    format!("not UTF-8: {error}")
}

/// The cells of a file, row by row, in buffers of a fixed size. After a quote that is never closed, the rest of the
/// file is one row that is too long, and does not take more memory.
pub(super) struct Rows<I> {
    input: I,
    reader: csv_core::Reader,
    /// The number of the next line, counted from 1.
    line: u64,
    cells: Vec<u8>,
    /// The end of each cell in `cells`.
    ends: Vec<usize>,
}

/// The cells of a row, or the reason why they cannot be read.
pub(super) type Cells<'a> = std::result::Result<Vec<&'a [u8]>, String>;

impl<I: BufRead> Rows<I> {
    pub(super) fn new(input: I, delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        let (cells, ends) = (vec![0; MAX_ROW_BYTES], vec![0; MAX_COLUMNS]);
        Self { input, reader, line: 1, cells, ends }
    }

    /// Returns the next row and its first line. Blank lines are ignored.
    pub(super) fn next(&mut self) -> IoResult<Option<(u64, Cells<'_>)>> {
        self.skip_blank_lines()?;
        let line = self.line;
        let (mut filled, mut ended, mut quotes, mut problem) = (0, 0, 0, None);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, written, ends) = self.reader.read_record(
                input,
                self.cells.get_mut(filled..).unwrap_or_default(),
                self.ends.get_mut(ended..).unwrap_or_default(),
            );
            let count = |wanted| input.iter().take(read).filter(|byte| **byte == wanted).count();
            self.line += count(b'\n') as u64;
            quotes += count(b'"');
            self.input.consume(read);
            filled += written;
            ended += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                // Read and discard the rest of the row.
                ReadRecordResult::OutputFull => {
                    (filled, ended) = (0, 0);
                    problem = problem.or(Some(too_long()));
                }
                ReadRecordResult::OutputEndsFull => {
                    (filled, ended) = (0, 0);
                    problem = problem.or(Some(format!("has more than {MAX_COLUMNS} cells")));
                }
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => break,
            }
        }
        // The file may have been truncated inside a cell, whose start must not be taken for its value.
        if problem.is_none() && quotes % 2 == 1 {
            problem = Some("has an unclosed quote".to_owned());
        }
        if let Some(problem) = problem {
            return Ok(Some((line, Err(problem))));
        }
        let mut start = 0;
        let cells = self.ends.iter().take(ended).map(|end| {
            let cell = self.cells.get(start..*end).unwrap_or_default();
            start = *end;
            cell
        });
        Ok(Some((line, Ok(cells.collect()))))
    }

    fn skip_blank_lines(&mut self) -> IoResult<()> {
        loop {
            let input = self.input.fill_buf()?;
            let blank = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            if blank == 0 {
                return Ok(());
            }
            self.line += input.iter().take(blank).filter(|byte| **byte == b'\n').count() as u64;
            self.input.consume(blank);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_guarded_text_is_not_a_formula_and_round_trips(text in "['=+\\-@\t\ra ]{0,6}|.{0,20}") {
            let guarded = guarded(&text);
            prop_assert!(!guarded.starts_with(FORMULA));
            prop_assert_eq!(unguarded(&guarded), text);
        }
    }
}
