//! The quotes of a row of CSV (RFC 4180).
//!
//! The reader of rows accepts any bytes: it drops a quote that ends a cell before its end, and of `"a "b" c"` it makes
//! `a b" c"`. This follows the same bytes, one step for each, and knows where a row is not what its writer meant.

/// The place in a row after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a cell.
    Start,
    /// In a cell without quotes.
    Plain,
    /// In a quoted cell.
    Quoted,
    /// After a quote in a quoted cell: its end, or the first of two that stand for one.
    Quote,
}

/// Returns the bytes of a row after its first cell.
pub(super) fn after_first_cell(row: &[u8], delimiter: u8) -> &[u8] {
    let mut quotes = Quotes::new(delimiter);
    let end = row.iter().position(|byte| {
        let is_end = *byte == delimiter && quotes.place != Place::Quoted;
        quotes.follow(std::slice::from_ref(byte));
        is_end
    });
    end.and_then(|end| row.get(end + 1..)).unwrap_or_default()
}

/// Follows the quotes of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quotes {
    delimiter: u8,
    place: Place,
    is_malformed: bool,
}

impl Quotes {
    /// Starts at the start of a row.
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, place: Place::Start, is_malformed: false }
    }

    /// Follows the next bytes of the row.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.place = match (self.place, *byte) {
                (Place::Start | Place::Quote, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::Quote,
                (Place::Quoted, _) => Place::Quoted,
                (_, b'\r' | b'\n') => Place::Start,
                (_, byte) if byte == self.delimiter => Place::Start,
                (Place::Quote, _) => {
                    self.is_malformed = true;
                    Place::Plain
                }
                (Place::Start | Place::Plain, _) => Place::Plain,
            };
        }
    }

    /// Returns what is wrong with the row, which has ended, and what to do.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = if self.is_malformed {
            "has a text after the closing quote of a cell; write each quote in a quoted cell twice"
        } else if matches!(self.place, Place::Quoted) {
            // The file may have been truncated inside a cell, whose start must not be taken for its value.
            "has an unclosed quote; close the cell with a quote"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }
}
