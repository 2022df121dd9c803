//! Reading and writing comma-separated values (RFC 4180).

use std::borrow::Cow;
use std::io::{BufRead, Chain, Cursor, Read, Result as IoResult};

use csv_core::ReadRecordResult;

use super::cell::Cell;
use super::columns::MAX_COLUMNS;
use super::formula::guarded;
use super::quotes::Quotes;
use super::row::{MAX_ROW_BYTES, Row, TOP_ROWS, Values, no_header, too_long};
use crate::error::{Error, Kind, Result};
use crate::query::text::trimmed;
use crate::query::{Field, Value};
use crate::store::Record;

/// What may separate the cells of a row.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The length of a line `sep=;` with its end.
const SEPARATOR_LINE: usize = 7;

/// The most bytes of a row that are kept: quotes can make a row longer than its cells.
const MAX_KEPT_BYTES: usize = 4 * MAX_ROW_BYTES;

/// The byte order mark, by which Excel recognises UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// With commas (RFC 4180).
    Standard,
    /// As Excel opens it in most countries: with a byte order mark and semicolons.
    Excel,
}

impl Style {
    /// Returns the start of the file: the names of the fields.
    pub(super) fn head(self, fields: &[&'static Field]) -> Result<Vec<u8>> {
        let mark = if self == Self::Excel { BYTE_ORDER_MARK } else { b"" };
        let names =
            self.write(|writer| writer.write_record(fields.iter().map(|field| field.name)))?;
        Ok([mark, &names].concat())
    }

    /// Returns the records, one per line.
    pub(super) fn records(self, records: &[Record], fields: &[&'static Field]) -> Result<Vec<u8>> {
        self.write(|writer| {
            for record in records {
                for field in fields {
                    writer.write_field(match record.value(field.name) {
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

    fn write(
        self,
        rows: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = csv::WriterBuilder::new()
            .delimiter(if self == Self::Excel { b';' } else { b',' })
            .terminator(csv::Terminator::CRLF)
            .from_writer(&mut bytes);
        rows(&mut writer).map_err(Error::internal)?;
        writer.flush().map_err(Error::internal)?;
        drop(writer);
        Ok(bytes)
    }
}

/// The table of a file: its header and rows.
pub(super) struct Table<I> {
    rows: Rows<I>,
    /// The first line of the header, and the names of the columns.
    pub(super) header: (u64, Vec<String>),
    pub(super) delimiter: u8,
}

impl<I: BufRead> Table<Chain<Cursor<Vec<u8>>, I>> {
    /// Opens a file and reads its header: the given line, or the first that is not blank. A first line `sep=;`, as Excel
    /// reads it, names the delimiter; otherwise it is that of [`delimiter_of`].
    ///
    /// # Errors
    /// A file without a header line, or one that cannot be read; errors of the input.
    pub(super) fn open(mut input: I, header: Option<u64>) -> IoResult<Result<Self>> {
        let (mut line, mut start, mut given) = (1, first_line(&mut input)?, None);
        if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, b'\r' | b'\n', ..] =
            start.as_slice()
            && start.len() <= SEPARATOR_LINE
        {
            given = Some(*delimiter);
            (line, start) = (2, first_line(&mut input)?);
        }
        let is_blank = |start: &[u8]| start.trim_ascii().is_empty() && start.len() < MAX_ROW_BYTES;
        while !start.is_empty() && header.map_or_else(|| is_blank(&start), |header| line < header) {
            if start.len() == MAX_ROW_BYTES && !start.ends_with(b"\n") {
                input.skip_until(b'\n')?;
            }
            line += 1;
            start = first_line(&mut input)?;
        }
        if let Some(header) = header.filter(|header| line != *header || is_blank(&start)) {
            return Ok(Err(no_header(&format!("line {header}"))));
        }
        start.extend(first_lines(&mut input)?);
        let delimiter = match given {
            Some(delimiter) => delimiter,
            None => delimiter_of(&start)?,
        };
        let mut rows = Rows::new(Cursor::new(start).chain(input), delimiter);
        rows.line = line;
        // A spreadsheet does not show the line that names the delimiter.
        rows.breaks = u64::from(given.is_some());
        let Some(Found { line, cells, .. }) = rows.next()? else {
            return Ok(Err(invalid(
                "the file is empty; expected a header line with the names of the fields",
            )));
        };
        let names = cells.and_then(|cells| {
            let name = |cell| Ok(trimmed_name(std::str::from_utf8(cell).map_err(not_utf8)?));
            cells.into_iter().map(name).collect()
        });
        Ok(match names {
            Ok(names) => Ok(Self { rows, header: (line, names), delimiter }),
            Err(detail) => Err(invalid(&format!("line {line}: {detail}"))),
        })
    }
}

impl<I: BufRead> Table<I> {
    /// Returns the input.
    pub(super) fn input(&self) -> &I {
        &self.rows.input
    }

    /// Keeps the bytes of each further row.
    pub(super) fn keep_bytes(&mut self) {
        self.rows.bytes = Some(Vec::new());
    }

    /// Returns the next row. Cells after the last column are dropped if they are empty, as spreadsheets write them.
    pub(super) fn next(&mut self) -> IoResult<Option<Row<'_>>> {
        let Some(Found { line, breaks, bytes, cells }) = self.rows.next()? else {
            return Ok(None);
        };
        let expected = self.header.1.len();
        let values = cells.and_then(|mut cells| {
            while cells.len() > expected
                && cells.last().is_some_and(|cell| cell.trim_ascii().is_empty())
            {
                cells.pop();
            }
            let is_empty = cells.iter().all(|cell| cell.trim_ascii().is_empty());
            if cells.len() != expected && !is_empty {
                return Err(format!(
                    "has {}, but the header line has {}",
                    counted(cells.len(), "cell"),
                    counted(expected, "name")
                ));
            }
            let text = |cell| std::str::from_utf8(cell).map_err(not_utf8);
            let cell = |cell| Ok(Cell::Plain(Cow::Borrowed(text(cell)?)));
            cells
                .into_iter()
                .map(cell)
                .collect::<std::result::Result<_, String>>()
                .map(Values::Cells)
        });
        Ok(Some(Row { line, breaks, bytes, values }))
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Writes a cell in double quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Reads the first lines of a file, at most as many bytes as a row may have.
pub(super) fn first_lines(mut input: impl BufRead) -> IoResult<Vec<u8>> {
    let mut lines = Vec::new();
    for _ in 0..TOP_ROWS {
        let room = MAX_ROW_BYTES.saturating_sub(lines.len());
        input.by_ref().take(room as u64).read_until(b'\n', &mut lines)?;
    }
    Ok(lines)
}

/// Returns the names that each of these lines would have as a header, with the delimiter of the rows from there on: a title
/// above the header has none, or another one.
pub(super) fn names_of(lines: &[u8]) -> IoResult<Vec<(u64, Vec<String>)>> {
    let (mut names, mut rest) = (Vec::new(), lines);
    for (number, line) in (1..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
        let delimiter = delimiter_of(rest)?;
        rest = rest.get(line.len()..).unwrap_or_default();
        if let Some(Found { cells: Ok(cells), .. }) = Rows::new(line, delimiter).next()? {
            let cells = cells.into_iter().map(String::from_utf8_lossy);
            names.push((number, cells.map(|name| trimmed_name(&name)).collect()));
        }
    }
    Ok(names)
}

fn trimmed_name(name: &str) -> String {
    trimmed(name).to_owned()
}

/// Reads a line, or as much of it as a row may have.
fn first_line(input: &mut impl BufRead) -> IoResult<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_ROW_BYTES as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Returns the delimiter of a table: of those in its header, the one with which most of the first rows have as many cells as
/// the header, or else the one that the header has most of. A header without any has one name, for which a comma does.
fn delimiter_of(start: &[u8]) -> IoResult<u8> {
    let header = start.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut best = (b',', (0, 0));
    for (delimiter, count) in DELIMITERS.into_iter().zip(counts_of(header)) {
        let mut rows = Rows::new(start, delimiter);
        let (mut width, mut even) = (None, 0);
        for _ in 0..TOP_ROWS {
            let Some(Found { cells, .. }) = rows.next()?.filter(|_| count > 0) else { break };
            let cells = cells.map_or(0, |cells| cells.len());
            even += usize::from(*width.get_or_insert(cells) == cells);
        }
        if (even, count) > best.1 {
            best = (delimiter, (even, count));
        }
    }
    Ok(best.0)
}

/// Counts each of the delimiters in a line, outside quotes.
fn counts_of(line: &[u8]) -> [usize; DELIMITERS.len()] {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut is_quoted = false;
    for byte in line {
        is_quoted ^= *byte == b'"';
        let position = DELIMITERS.iter().position(|delimiter| delimiter == byte);
        if let Some(count) = position.and_then(|at| counts.get_mut(at)).filter(|_| !is_quoted) {
            *count += 1;
        }
    }
    counts
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
    delimiter: u8,
    /// The number of the next line, counted from 1.
    line: u64,
    /// The lines before it that are no row of a spreadsheet, because they continue a cell.
    breaks: u64,
    cells: Vec<u8>,
    /// The end of each cell in `cells`.
    ends: Vec<usize>,
    /// The bytes of the row, if they are kept.
    bytes: Option<Vec<u8>>,
}

/// A row: its first line, the line breaks in cells before it, its bytes if they are kept, and its cells or the reason why
/// they cannot be read.
struct Found<'a> {
    line: u64,
    breaks: u64,
    bytes: &'a [u8],
    cells: std::result::Result<Vec<&'a [u8]>, String>,
}

impl<I: BufRead> Rows<I> {
    pub(super) fn new(input: I, delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        let (cells, ends) = (vec![0; MAX_ROW_BYTES], vec![0; MAX_COLUMNS]);
        Self { input, reader, delimiter, line: 1, breaks: 0, cells, ends, bytes: None }
    }

    /// Returns the next row. Blank lines are ignored.
    fn next(&mut self) -> IoResult<Option<Found<'_>>> {
        self.skip_blank_lines()?;
        if let Some(bytes) = &mut self.bytes {
            bytes.clear();
        }
        let (line, breaks) = (self.line, self.breaks);
        let mut ends_line = false;
        let (mut filled, mut ended, mut problem) = (0, 0, None);
        let mut quotes = Quotes::new(self.delimiter);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, written, ends) = self.reader.read_record(
                input,
                self.cells.get_mut(filled..).unwrap_or_default(),
                self.ends.get_mut(ended..).unwrap_or_default(),
            );
            let bytes = input.get(..read).unwrap_or(input);
            self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            ends_line = bytes.last().map_or(ends_line, |last| *last == b'\n');
            quotes.follow(bytes);
            if let Some(kept) = self.bytes.as_mut().filter(|kept| kept.len() < MAX_KEPT_BYTES) {
                kept.extend_from_slice(bytes);
            }
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
        self.breaks += self.line - line - u64::from(ends_line);
        // The start of a row would be taken for all of it.
        let is_whole = |bytes: &&[u8]| bytes.len() < MAX_KEPT_BYTES;
        let bytes = self.bytes.as_deref().filter(is_whole).unwrap_or_default();
        if let Some(problem) = problem.or_else(|| quotes.problem()) {
            return Ok(Some(Found { line, breaks, bytes, cells: Err(problem) }));
        }
        let mut start = 0;
        let cells = self.ends.iter().take(ended).map(|end| {
            let cell = self.cells.get(start..*end).unwrap_or_default();
            start = *end;
            cell
        });
        Ok(Some(Found { line, breaks, bytes, cells: Ok(cells.collect()) }))
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

    /// Reads all rows, in small pieces, so that rows and quotes are split.
    fn rows(file: &[u8], delimiter: u8) -> Vec<std::result::Result<Vec<Vec<u8>>, String>> {
        let mut rows = Rows::new(std::io::BufReader::with_capacity(3, file), delimiter);
        let mut found = Vec::new();
        while let Some(Found { cells, .. }) = rows.next().expect("memory can be read") {
            found.push(cells.map(|cells| cells.into_iter().map(<[u8]>::to_vec).collect()));
        }
        found
    }

    /// Reads all rows with the csv crate.
    fn others(file: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
        let mut reader = csv::ReaderBuilder::new();
        let mut reader =
            reader.delimiter(delimiter).has_headers(false).flexible(true).from_reader(file);
        let records = reader.byte_records().map(|record| record.expect("memory can be read"));
        records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    /// Rows, and the cells or a part of the problem.
    const ROWS: &[(&str, std::result::Result<&[&str], &str>)] = &[
        ("a,b", Ok(&["a", "b"])),
        ("\"a\",\"\"", Ok(&["a", ""])),
        ("\"a \"\"b\"\" c\",\"\"\"\"", Ok(&["a \"b\" c", "\""])),
        ("\"a\n,b\",c", Ok(&["a\n,b", "c"])),
        // Quotes in a cell without quotes are as they are.
        ("5\" disk,a \"b\" c", Ok(&["5\" disk", "a \"b\" c"])),
        ("a,\"\"", Ok(&["a", ""])),
        ("\"a \"b\" c\",d", Err("text after the closing quote")),
        ("d,\"a\"b", Err("text after the closing quote")),
        ("\"a\" ,b", Err("text after the closing quote")),
        ("\"a\"\"\"b\"", Err("text after the closing quote")),
        ("a,\"b", Err("unclosed quote")),
        ("a,\"b\"\"", Err("unclosed quote")),
    ];

    #[test]
    fn malformed_quotes_are_problems_of_their_row() {
        for (row, expected) in ROWS {
            for end in ["", "\n", "\r\n", "\nx,y\n"] {
                let file = format!("x,y\n{row}{end}");
                let found = rows(file.as_bytes(), b',');
                let second = found.get(1).expect("there are two rows");
                let is_right = match (expected, second) {
                    (Ok(cells), Ok(found)) => {
                        let cells = cells.iter().map(|cell| cell.as_bytes());
                        found.iter().map(Vec::as_slice).eq(cells)
                    }
                    (Err(part), Err(problem)) => problem.contains(part),
                    _ => false,
                };
                assert!(is_right, "{row}: {second:?}");
                // Only an unclosed quote takes the rows that follow.
                let takes_all = expected.is_err_and(|part| part.contains("unclosed"));
                assert_eq!(found.len(), if end.len() > 2 && !takes_all { 3 } else { 2 }, "{row}");
            }
        }
    }

    proptest! {
        #[test]
        fn well_formed_files_are_read_as_by_the_csv_crate(
            table in prop::collection::vec(prop::collection::vec("[a\",;\r\n ]{0,6}|.{0,9}", 1..4), 1..6),
            delimiter in prop::sample::select(DELIMITERS.to_vec()),
            style in prop::sample::select(vec![csv::QuoteStyle::Always, csv::QuoteStyle::Necessary]),
        ) {
            let mut writer = csv::WriterBuilder::new();
            let mut writer = writer.delimiter(delimiter).quote_style(style).flexible(true).from_writer(Vec::new());
            for row in &table {
                writer.write_record(row).expect("memory can be written");
            }
            let file = writer.into_inner().expect("memory can be written");
            // Decoding removes a byte order mark, so that no reader of rows sees one.
            prop_assume!(!file.starts_with("\u{feff}".as_bytes()));
            let found: std::result::Result<Vec<_>, _> = rows(&file, delimiter).into_iter().collect();
            prop_assert_eq!(found.expect("it is well-formed"), others(&file, delimiter));
        }

        #[test]
        fn accepted_rows_are_those_of_the_csv_crate(file in "[ab\",\n\r]{0,30}") {
            let (found, others) = (rows(file.as_bytes(), b','), others(file.as_bytes(), b','));
            prop_assert_eq!(found.len(), others.len());
            for (found, other) in found.into_iter().zip(others) {
                prop_assert!(found.is_err() || found == Ok(other.clone()));
                // Without a quote at the start of a cell there is nothing to be malformed.
                prop_assert!(found.is_ok() || file.contains('"'));
            }
        }

        #[test]
        fn a_text_after_a_closing_quote_is_a_problem(before in "[ab\n,]{0,9}", after in "[ab ][ab\"]{0,5}") {
            let file = format!("x,\"{before}\"{after},y\n");
            prop_assert!(rows(file.as_bytes(), b',').first().is_some_and(std::result::Result::is_err));
        }
    }
}
