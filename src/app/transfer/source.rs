//! Opening a file of records: its format, and the rows of any format.

use std::io::{BufRead, BufReader, Chain, Cursor, Read};
use std::ops::ControlFlow;

use poem_openapi::Object;
use serde::Serialize;

use super::Format;
use super::cell::Cell;
use super::columns::numbered;
use super::csv::{Table, first_lines, names_of};
use super::encoding::{Encoding, Text};
use super::json::{Elements, Lines};
use super::row::{Row, TOP_ROWS, Values, no_header};
use super::workbook::Workbook;
use crate::error::{Error, Kind, Result};

/// The most bytes at the start of a file by which its format is recognised.
const SNIFFED: u64 = 1024;

/// The start of a ZIP archive, which a workbook is, and of one without parts.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// The start of a file of old versions of Excel, or of a workbook with a password.
const COMPOUND: &[u8] = b"\xD0\xCF\x11\xE0";

/// What is known of a file before its format is.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Its format. Without it, the format is recognised by the content.
    pub format: Option<Format>,
    /// The encoding of a text file. Without it, the encoding is recognised.
    pub encoding: Option<Encoding>,
    /// The sheet of a workbook. Without it, the first one that is not empty is read.
    pub sheet: Option<String>,
    /// The line of CSV or the row of a sheet that is the header, counted from 1; what is above it is ignored. Without it,
    /// the first one that is not empty is the header.
    pub header_row: Option<u32>,
}

/// How a file was read.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportedFile")]
pub struct FileFacts {
    /// The format.
    pub format: Format,
    /// The encoding of a text file.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What separates the cells of CSV.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The sheet of a workbook.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
}

type Input = Box<dyn BufRead + Send>;

/// A text file whose first lines have been read, to know which could be the header.
type Started = Chain<Cursor<Vec<u8>>, Text<Input>>;

/// A table after its header, which has been read to find the delimiter.
type Headed = Chain<Cursor<Vec<u8>>, Started>;

/// The rows of a file.
pub(super) struct Source {
    rows: Rows,
    /// The line of the header and the names of the columns; `None` for JSON.
    pub(super) header: Option<(u64, Vec<String>)>,
    /// The lines of the first rows of a table, and the names that they would have as a header.
    pub(super) top: Vec<(u64, Vec<String>)>,
    /// The first row after the header of a workbook.
    first_row: u64,
}

enum Rows {
    Lines(Lines<Text<Input>>),
    Elements(Elements<Text<Input>>),
    Table(Box<Table<Headed>>),
    Workbook(Box<Workbook>),
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Kind::InvalidBody`] if it has no header or is no such file; [`Kind::BodyTooLarge`] for a workbook; errors of the
    /// input.
    pub(super) fn open(input: impl Read + Send + 'static, hints: &Hints) -> Result<Self> {
        let mut input = BufReader::new(input);
        let mut start = Vec::new();
        (&mut input).take(SNIFFED).read_to_end(&mut start).map_err(read_error)?;
        let format = format_of(&start, hints.format)?;
        let input = Cursor::new(start).chain(input);
        if format == Format::Xlsx {
            let book = Workbook::open(input, hints.sheet.as_deref())?;
            return Self::workbook(book, hints.header_row.map(u64::from));
        }
        if hints.sheet.is_some() {
            let detail = "only a workbook has sheets; send no sheet for other files";
            return Err(Error::new(Kind::InvalidParameter, detail));
        }
        let is_json = matches!(format, Format::Ndjson | Format::Json);
        if is_json && hints.header_row.is_some() {
            let detail = "only CSV and workbooks have a header; send no header row for JSON";
            return Err(Error::new(Kind::InvalidParameter, detail));
        }
        let mut text = Text::new(Box::new(input) as Input, hints.encoding, is_json);
        let json = |rows| Self { rows, header: None, top: Vec::new(), first_row: 0 };
        match format {
            Format::Ndjson => Ok(json(Rows::Lines(Lines::new(text)))),
            Format::Json => Ok(json(Rows::Elements(Elements::new(text)))),
            Format::Csv | Format::ExcelCsv | Format::Xlsx => {
                let start = first_lines(&mut text).map_err(read_error)?;
                let top = names_of(&start).map_err(read_error)?;
                let started = Cursor::new(start).chain(text);
                let table = Table::open(started, hints.header_row.map(u64::from));
                let table = table.map_err(read_error)??;
                let (line, names) = table.header.clone();
                let header = Some((line, numbered(names)));
                Ok(Self { rows: Rows::Table(Box::new(table)), header, top, first_row: 0 })
            }
        }
    }

    /// Takes the given row of a sheet as its header, or the first one that is not empty.
    fn workbook(mut book: Workbook, header_row: Option<u64>) -> Result<Self> {
        let (mut header, mut top) = (None, Vec::new());
        book.each(&mut |row| {
            if row.is_empty() {
                return ControlFlow::Continue(());
            }
            let line = row.line;
            let names = row.values.map(names);
            if top.len() < TOP_ROWS {
                top.extend(names.as_ref().ok().map(|names| (line, names.clone())));
            }
            if header.is_none() && header_row.is_none_or(|header_row| line == header_row) {
                header = Some((line, names));
            }
            let is_found =
                header.is_some() || header_row.is_some_and(|header_row| line > header_row);
            if is_found && top.len() == TOP_ROWS {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        let Some((line, names)) = header else {
            if let Some(row) = header_row {
                return Err(no_header(&format!("row {row} of the sheet {:?}", book.sheet)));
            }
            let detail = format!(
                "the sheet {:?} is empty; expected a row with the names of the fields",
                book.sheet
            );
            return Err(Error::new(Kind::InvalidBody, detail));
        };
        let names = names.map_err(|detail| {
            Error::new(
                Kind::InvalidBody,
                format!("row {line} of the sheet {:?} {detail}", book.sheet),
            )
        })?;
        let (header, first_row) = (Some((line, numbered(names))), line + 1);
        Ok(Self { rows: Rows::Workbook(Box::new(book)), header, top, first_row })
    }

    /// Calls `visit` with each row.
    ///
    /// # Errors
    /// Errors of the input.
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>) -> Result<()> {
        let object = |(line, members): super::json::Object| {
            let values = members.map(|members| Values::Members(members.0));
            Row { line, breaks: 0, bytes: &[], values }
        };
        loop {
            let row = match &mut self.rows {
                Rows::Lines(lines) => lines.next().map_err(read_error)?.map(object),
                Rows::Elements(elements) => elements.next().map_err(read_error)?.map(object),
                Rows::Table(table) => table.next().map_err(read_error)?,
                Rows::Workbook(book) => {
                    let first = self.first_row;
                    let width = self.header.as_ref().map_or(0, |(_, names)| names.len());
                    return book.each(&mut |row| {
                        if row.line < first {
                            ControlFlow::Continue(())
                        } else {
                            visit(filled(row, width))
                        }
                    });
                }
            };
            let Some(row) = row else { return Ok(()) };
            if visit(row).is_break() {
                return Ok(());
            }
        }
    }

    /// Keeps the bytes of the rows of CSV from here on, and returns the delimiter of a table; `None` for JSON.
    pub(super) fn keep_bytes(&mut self) -> Option<u8> {
        match &mut self.rows {
            Rows::Lines(_) | Rows::Elements(_) => None,
            Rows::Table(table) => {
                table.keep_bytes();
                Some(table.delimiter)
            }
            Rows::Workbook(_) => Some(b','),
        }
    }

    /// Returns how the file was read so far.
    pub(super) fn facts(&self) -> FileFacts {
        let plain = |format, encoding| FileFacts {
            format,
            encoding: Some(encoding),
            delimiter: None,
            sheet: None,
        };
        match &self.rows {
            Rows::Lines(lines) => plain(Format::Ndjson, lines.input().encoding()),
            Rows::Elements(elements) => plain(Format::Json, elements.input().encoding()),
            Rows::Table(table) => FileFacts {
                delimiter: Some(char::from(table.delimiter).to_string()),
                ..plain(Format::Csv, table.input().get_ref().1.get_ref().1.encoding())
            },
            Rows::Workbook(book) => FileFacts {
                format: Format::Xlsx,
                encoding: None,
                delimiter: None,
                sheet: Some(book.sheet.clone()),
            },
        }
    }
}

/// Fills a row of a workbook, which has only the cells with a value, with empty ones.
fn filled(row: Row<'_>, width: usize) -> Row<'_> {
    let Row { line, breaks, bytes, values } = row;
    let values = values.map(|values| match values {
        Values::Cells(mut cells) => {
            for cell in &mut cells {
                if *cell == Cell::Null {
                    *cell = Cell::Plain("".into());
                }
            }
            let length = cells.len().max(width);
            cells.resize(length, Cell::Plain("".into()));
            Values::Cells(cells)
        }
        other => other,
    });
    Row { line, breaks, bytes, values }
}

/// Returns the names in a header of a workbook.
fn names(values: Values<'_>) -> Vec<String> {
    let Values::Cells(cells) = values else { return Vec::new() };
    cells.into_iter().map(Cell::into_name).collect()
}

/// Recognises the format of a file by its start.
///
/// # Errors
/// [`Kind::InvalidBody`] for other files that spreadsheets write, and for a workbook that is said to be something else.
fn format_of(start: &[u8], given: Option<Format>) -> Result<Format> {
    let invalid = |detail: &str| Err(Error::new(Kind::InvalidBody, detail));
    if start.starts_with(COMPOUND) {
        return invalid(
            "the file is a workbook of an old version of Excel, or has a password; save it as .xlsx without a password",
        );
    }
    let is_archive = ZIP.iter().any(|mark| start.starts_with(mark));
    if is_archive && start.windows(8).any(|part| part == b"mimetype") {
        return invalid("the file is an OpenDocument sheet; save it as .xlsx or as CSV");
    }
    match (is_archive, given) {
        (true, None | Some(Format::Xlsx)) => return Ok(Format::Xlsx),
        (true, Some(_)) => {
            return invalid("the file is a workbook (.xlsx); send it as one, or save it as CSV");
        }
        (false, Some(Format::Xlsx)) => {
            return invalid("the file is no workbook (.xlsx); send the format that it has");
        }
        (false, Some(format)) => return Ok(format),
        (false, None) => {}
    }
    // The marks of encodings, and the zeros of UTF-16.
    let mut visible = start.iter().filter(|byte| {
        !matches!(byte, 0 | 0xEF | 0xBB | 0xBF | 0xFE | 0xFF) && !byte.is_ascii_whitespace()
    });
    Ok(match visible.next() {
        Some(b'{') => Format::Ndjson,
        Some(b'[') => Format::Json,
        _ => Format::Csv,
    })
}

/// Returns the error of an input that cannot be read. It may wrap an [`Error`], such as that of an exceeded limit.
pub(crate) fn read_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error {
        cause: Some(error.into()),
        ..Error::new(Kind::InvalidBody, "the input breaks off")
    })
}
