//! Reading files with one JSON object per line.

use std::io::{BufRead, Read, Result};

use super::row::{MAX_ROW_BYTES, Row, too_long};
use crate::record::Members;
use crate::record::json::describe;

const EXPECTED: &str = "expected one JSON object per line";

/// How many characters of a line that is not a JSON object are shown.
const MAX_SHOWN: usize = 20;

/// The lines of a file. Blank lines are ignored.
pub(super) struct Lines<I> {
    input: I,
    number: u64,
    line: Vec<u8>,
}

impl<I: BufRead> Lines<I> {
    pub(super) fn new(input: I) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Row<'static>>> {
        loop {
            self.number += 1;
            self.line.clear();
            // One more byte than allowed shows that the line is too long.
            let mut limited = (&mut self.input).take(MAX_ROW_BYTES as u64 + 1);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            let is_complete = self.line.last() == Some(&b'\n');
            if self.line.len() - usize::from(is_complete) > MAX_ROW_BYTES {
                if !is_complete {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some(Row { line: self.number, fields: Err(too_long()) }));
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let fields = read(&self.line).map(Into::into);
            return Ok(Some(Row { line: self.number, fields }));
        }
    }
}

fn read(line: &[u8]) -> std::result::Result<Members, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| {
        let line = text.trim_ascii();
        if error.is_eof() {
            return format!("{EXPECTED}, found a part of one");
        }
        if line.starts_with('{') {
            return describe(&error);
        }
        let start: String = line.chars().take(MAX_SHOWN).collect();
        let cut = if start.len() < line.len() { "…" } else { "" };
        format!("{EXPECTED}, found {start:?}{cut}")
    })
}
