//! The rows that an import rejects, as a file of CSV that can be corrected and imported again.
//!
//! A row of CSV is kept as it is, so that also one that cannot be read can be corrected; a row of a workbook is written as
//! CSV. The problem is in the first column, so that it has its place whatever the number of cells of the row.

use std::collections::VecDeque;
use std::io::{Result as IoResult, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cell::Cell;
use super::columns::{Columns, PROBLEM, is_same};
use super::csv::{BYTE_ORDER_MARK, quoted};
use super::quotes::after_first_cell;
use super::row::{Row, Values};
use crate::error::{Error, Result, Violation};
use crate::query::Schema;

/// The end of a row.
const END: &[u8] = b"\r\n";

/// A file of rejected rows. The thread that reads the rows and the task that writes the records share it.
#[derive(Clone)]
pub(super) struct Rejected(Arc<Mutex<Rows>>);

struct Rows {
    output: Box<dyn Write + Send>,
    delimiter: u8,
    /// The header, until the first row is written.
    header: Vec<u8>,
    /// Whether the first column has the problems of an import before, which are replaced.
    is_corrected: bool,
    /// The rows, with their lines, of records that have not been committed yet. These are at most those of a commit and of the
    /// queue before it.
    held: VecDeque<(u64, Vec<u8>)>,
}

impl Rejected {
    /// Starts a file for the rows of a table with these columns.
    pub(super) fn new(
        output: impl Write + Send + 'static,
        delimiter: u8,
        schema: &Schema,
        columns: &Columns,
    ) -> Self {
        let mut names: Vec<&str> = columns.list.iter().map(|column| column.name.as_str()).collect();
        let is_ignored = columns.list.first().is_some_and(|column| column.targets.is_empty());
        let is_free = |name: &String| {
            let mut others = names.iter().skip(usize::from(is_ignored));
            !others.any(|other| is_same(other, name))
                && !schema.names().any(|other| is_same(other, name))
        };
        let numbered = (2..).map(|number| format!("{PROBLEM} {number}"));
        let free = std::iter::once(PROBLEM.to_owned()).chain(numbered).find(is_free);
        let problem = free.unwrap_or_default();
        let is_corrected = is_ignored && names.first().is_some_and(|name| *name == problem);
        if !is_corrected {
            names.insert(0, &problem);
        }
        let names: Vec<String> = names.into_iter().map(quoted).collect();
        let names = names.join(&char::from(delimiter).to_string());
        let header = [BYTE_ORDER_MARK, names.as_bytes(), END].concat();
        let output = Box::new(output);
        let rows = Rows { output, delimiter, header, is_corrected, held: VecDeque::new() };
        Self(Arc::new(Mutex::new(rows)))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // After a panic the file is not completed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a row as it is written to the file, without its problem.
    pub(super) fn original(&self, row: &Row<'_>) -> Vec<u8> {
        let rows = self.rows();
        let first = usize::from(rows.is_corrected);
        match &row.values {
            _ if !row.bytes.is_empty() => {
                let end = row.bytes.iter().rposition(|byte| !b"\r\n".contains(byte));
                let bytes = row.bytes.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
                let bytes =
                    if first == 0 { bytes } else { after_first_cell(bytes, rows.delimiter) };
                bytes.to_vec()
            }
            Ok(Values::Cells(cells)) => {
                let cells = cells.iter().skip(first).map(|cell| quoted(&Cell::to_csv(cell)));
                let cells: Vec<String> = cells.collect();
                cells.join(&char::from(rows.delimiter).to_string()).into_bytes()
            }
            _ => Vec::new(),
        }
    }

    /// Keeps a row until its record has been committed.
    pub(super) fn hold(&self, line: u64, row: Vec<u8>) {
        self.rows().held.push_back((line, row));
    }

    /// Writes the rows that a commit has rejected, and forgets those up to its last line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn settle(&self, last: u64, conflicts: &[Violation]) -> Result<()> {
        let mut rows = self.rows();
        for violation in conflicts {
            let line = violation.line.and_then(|line| u64::try_from(line).ok()).unwrap_or_default();
            let place = rows.held.binary_search_by_key(&line, |(line, _)| *line);
            let row = place.ok().and_then(|place| rows.held.get(place).cloned());
            let row = row.map(|(_, row)| row).unwrap_or_default();
            rows.write(line, &row, std::slice::from_ref(violation)).map_err(unwritable)?;
        }
        let committed = rows.held.partition_point(|(line, _)| *line <= last);
        rows.held.drain(..committed);
        Ok(())
    }

    /// Writes a row that breaks these rules.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, line: u64, row: &[u8], violations: &[Violation]) -> Result<()> {
        self.rows().write(line, row, violations).map_err(unwritable)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(&self) -> Result<()> {
        self.rows().output.flush().map_err(unwritable)
    }
}

impl Rows {
    fn write(&mut self, line: u64, row: &[u8], violations: &[Violation]) -> IoResult<()> {
        let rules = violations.iter().map(|violation| match violation.pointer.strip_prefix('/') {
            Some(field) => format!("{field}: {}", violation.detail),
            None => violation.detail.clone(),
        });
        let rules: Vec<String> = rules.collect();
        let problem = quoted(&format!("line {line}: {}", rules.join("; ")));
        self.output.write_all(&std::mem::take(&mut self.header))?;
        self.output.write_all(problem.as_bytes())?;
        // A row without its cells has fewer than the header, so that it is rejected again unless it is completed.
        if !row.is_empty() {
            self.output.write_all(&[self.delimiter])?;
            self.output.write_all(row)?;
        }
        self.output.write_all(END)
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::internal(format!("cannot write the rejected rows: {error}"))
}
