//! A row of a file, of any format.

use super::cell::Cell;
use crate::error::{Error, Kind};

/// The maximum length of a row, in bytes.
pub const MAX_ROW_BYTES: usize = 64 * 1024;

/// The number of rows at the start of a table among which its header is looked for.
pub(super) const TOP_ROWS: usize = 10;

/// The length to which a name of the file is cut in reports, in characters.
pub(super) const MAX_NAME: usize = 100;

/// A row of a file: its first line, and its values or the reason why they cannot be read.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    /// The lines of CSV before it that are no row of a spreadsheet, because they continue a cell.
    pub(super) breaks: u64,
    /// The bytes of a row of CSV, if they are kept; otherwise none.
    pub(super) bytes: &'a [u8],
    pub(super) values: Result<Values<'a>, String>,
}

impl Row<'_> {
    /// Returns whether no cell has a value.
    pub(super) fn is_empty(&self) -> bool {
        match &self.values {
            Ok(Values::Cells(cells)) => cells.iter().all(Cell::is_empty),
            _ => false,
        }
    }
}

/// The values of a row.
pub(super) enum Values<'a> {
    /// In the order of the header. There can be fewer.
    Cells(Vec<Cell<'a>>),
    /// With their names.
    Members(Vec<(String, Cell<'a>)>),
}

/// Returns the error for a place that should have the header, and is empty.
pub(super) fn no_header(place: &str) -> Error {
    let detail = format!("{place} is empty; expected the header, with the names of the fields");
    Error::new(Kind::InvalidBody, detail)
}

/// Returns the message for a row that exceeds [`MAX_ROW_BYTES`].
pub(super) fn too_long() -> String {
    format!("is longer than {MAX_ROW_BYTES} bytes")
}
