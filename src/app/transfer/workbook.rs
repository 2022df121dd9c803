//! Reading workbooks of Excel (ECMA-376, `.xlsx`).
//!
//! A workbook is a ZIP archive of XML. What it unpacks to is measured first, because an archive of a few kilobytes can
//! contain gigabytes, and because the reader allocates what a part says about its own size. The cells are then read one
//! after the other; the rectangle that they span, which can be millions of times larger, is never built.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{DataRef, ExcelDateTime, Reader, Xlsx, XlsxError};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use zip::ZipArchive;

use super::cell::Cell;
use super::columns::MAX_COLUMNS;
use super::row::{MAX_ROW_BYTES, Row, Values, too_long};
use crate::error::{Error, Kind, Result};
use crate::query::diagnostic::did_you_mean;

/// The maximum size of a workbook, packed and unpacked, in bytes.
pub const MAX_WORKBOOK_BYTES: u64 = 64 * 1024 * 1024;

/// The maximum size of the texts of all rows, in bytes. A text that many cells share is stored once in the workbook.
const MAX_TEXT_BYTES: u64 = 1024 * 1024 * 1024;

/// The maximum number of parts of a workbook.
const MAX_PARTS: usize = 10_000;

/// The least number of bytes of a text in the table of shared texts: `<si/>`.
const MIN_SHARED_TEXT: u64 = 5;

/// The attribute with the number of texts in that table, for which the reader allocates memory at once.
const COUNT: &[u8] = b"uniqueCount";

/// The longest value of that attribute, with quotes and blanks around it, in bytes.
const MAX_COUNT: usize = 64;

/// A workbook, and the name of the sheet with the records.
pub(super) struct Workbook {
    book: Xlsx<BufReader<File>>,
    pub(super) sheet: String,
}

impl Workbook {
    /// Opens a workbook: the named sheet, or the first one with a cell that is not empty.
    ///
    /// # Errors
    /// [`Kind::BodyTooLarge`]; [`Kind::InvalidBody`] if it is no workbook or has no such sheet.
    pub(super) fn open(mut input: impl Read, sheet: Option<&str>) -> Result<Self> {
        let mut file = tempfile::tempfile().map_err(Error::internal)?;
        let mut limited = (&mut input).take(MAX_WORKBOOK_BYTES + 1);
        let size = std::io::copy(&mut limited, &mut file).map_err(super::read_error)?;
        if size > MAX_WORKBOOK_BYTES {
            return Err(too_large());
        }
        check(&mut file)?;
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        let book = guarded(|| Xlsx::new(BufReader::new(file)).map_err(|error| unreadable(&error)))?;
        let mut workbook = Self { book, sheet: String::new() };
        let names = workbook.book.sheet_names();
        workbook.sheet = match sheet {
            Some(name) if names.iter().any(|known| known == name) => name.to_owned(),
            Some(name) => {
                let help = did_you_mean(name, names.iter().map(String::as_str));
                return Err(invalid(&format!("the workbook has no sheet {name:?}; {help}")));
            }
            None => {
                let mut filled = names.first().cloned().unwrap_or_default();
                for name in names {
                    if workbook.has_cells(&name) {
                        filled = name;
                        break;
                    }
                }
                filled
            }
        };
        Ok(workbook)
    }

    fn has_cells(&mut self, sheet: &str) -> bool {
        guarded(|| {
            // A sheet with a chart has no cells.
            let Ok(mut cells) = self.book.worksheet_cells_reader(sheet) else { return Ok(false) };
            while let Ok(Some(cell)) = cells.next_cell() {
                if *cell.get_value() != DataRef::Empty {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .unwrap_or(false)
    }

    /// Calls `visit` with each row that has a cell.
    ///
    /// # Errors
    /// [`Kind::InvalidBody`] if the sheet cannot be read; [`Kind::BodyTooLarge`].
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>) -> Result<()> {
        guarded(|| {
            let sheet = self.sheet.clone();
            let cells = self.book.worksheet_cells_reader(&sheet);
            let mut cells = cells.map_err(|error| unreadable(&error))?;
            let mut budget = MAX_TEXT_BYTES;
            let mut row: Option<Building> = None;
            loop {
                let cell = cells.next_cell().map_err(|error| unreadable(&error))?;
                let position = cell.as_ref().map(calamine::Cell::get_position);
                let is_other =
                    |row: &Building| position.is_none_or(|(number, _)| number != row.number);
                if let Some(done) = row.take_if(|row| is_other(row)) {
                    if position.is_some_and(|(number, _)| number < done.number) {
                        return Err(invalid("the rows of the sheet are not in order"));
                    }
                    budget = budget.checked_sub(done.bytes as u64).ok_or_else(too_much_text)?;
                    if visit(done.finish()).is_break() {
                        return Ok(());
                    }
                }
                let (Some(cell), Some((number, column))) = (cell, position) else { return Ok(()) };
                let row = row.get_or_insert_with(|| Building::of(number));
                row.add(column as usize, value(cell.get_value()));
            }
        })
    }
}

/// A row while its cells are read.
struct Building {
    /// The number of the row, from 0.
    number: u32,
    cells: Vec<Cell<'static>>,
    bytes: usize,
    problem: Option<String>,
}

impl Building {
    fn of(number: u32) -> Self {
        Self { number, cells: Vec::new(), bytes: 0, problem: None }
    }

    fn add(&mut self, column: usize, cell: Cell<'static>) {
        if cell == Cell::Null || self.problem.is_some() {
            return;
        }
        if let Cell::Text(text) = &cell {
            self.bytes += text.len();
        }
        if column >= MAX_COLUMNS {
            self.problem = Some(format!("has more than {MAX_COLUMNS} cells"));
        } else if self.bytes > MAX_ROW_BYTES {
            self.problem = Some(too_long());
        } else {
            let length = self.cells.len().max(column + 1);
            self.cells.resize(length, Cell::Null);
            if let Some(place) = self.cells.get_mut(column) {
                *place = cell;
            }
        }
    }

    fn finish(self) -> Row<'static> {
        let values = match self.problem {
            Some(problem) => Err(problem),
            None => Ok(Values::Cells(self.cells)),
        };
        Row { line: u64::from(self.number) + 1, values }
    }
}

fn value(cell: &DataRef<'_>) -> Cell<'static> {
    match cell {
        DataRef::Empty => Cell::Null,
        DataRef::Int(number) => Cell::Integer(*number),
        DataRef::Float(number) => Cell::Number(*number),
        DataRef::Bool(flag) => Cell::Boolean(*flag),
        DataRef::String(text) => Cell::Text(Cow::Owned(text.clone())),
        DataRef::SharedString(text) => Cell::Text(Cow::Owned((*text).to_owned())),
        DataRef::DateTimeIso(text) => Cell::Text(Cow::Owned(text.clone())),
        DataRef::DateTime(moment) if moment.is_duration() => Cell::Other("a duration"),
        DataRef::DateTime(moment) => {
            time_of(*moment).map_or(Cell::Other("a day that does not exist"), Cell::Moment)
        }
        DataRef::DurationIso(_) => Cell::Other("a duration"),
        DataRef::Error(_) => Cell::Other("the error of a formula"),
    }
}

fn time_of(moment: ExcelDateTime) -> Option<NaiveDateTime> {
    if !moment.as_f64().is_finite() || moment.as_f64() < 0.0 {
        return None;
    }
    let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
    let day = NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())?;
    let (hour, minute, second) = (hour.into(), minute.into(), second.into());
    Some(day.and_time(NaiveTime::from_hms_milli_opt(hour, minute, second, milli.into())?))
}

/// Measures what an archive unpacks to.
fn check(file: &mut File) -> Result<()> {
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    let broken = |error: &dyn std::fmt::Display| {
        invalid(&format!(
            "the workbook cannot be read; save it again as .xlsx without a password ({error})"
        ))
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&error))?;
    if archive.len() > MAX_PARTS {
        return Err(too_large());
    }
    let mut unpacked = 0;
    let mut buffer = vec![0; 64 * 1024];
    for position in 0..archive.len() {
        let mut part = archive.by_index(position).map_err(|error| broken(&error))?;
        let is_xml = part.name_raw().to_ascii_lowercase().ends_with(b".xml");
        let (mut size, mut start) = (0, 0);
        let mut count = 0;
        loop {
            let room = buffer.get_mut(start..).unwrap_or_default();
            let read = part.read(room).map_err(|error| broken(&error))?;
            if read == 0 {
                break;
            }
            unpacked += read as u64;
            size += read as u64;
            if unpacked > MAX_WORKBOOK_BYTES {
                return Err(too_large());
            }
            if is_xml {
                let text = buffer.get(..start + read).unwrap_or_default();
                // In UTF-8 there is no zero. In other encodings the attribute would not be found.
                if text.contains(&0) {
                    return Err(invalid("the workbook has a part that is not UTF-8"));
                }
                count = declared(text).max(count);
                // The attribute may be continued in the next piece.
                let kept = text.len().min(COUNT.len() + MAX_COUNT);
                let from = text.len() - kept;
                buffer.copy_within(from..from + kept, 0);
                start = kept;
            }
        }
        if count > size / MIN_SHARED_TEXT {
            return Err(invalid("the workbook says that it has more texts than it has room for"));
        }
    }
    Ok(())
}

/// Returns the greatest number of texts that a piece of XML declares. One that cannot be read is the greatest number.
fn declared(text: &[u8]) -> u64 {
    let places = text.windows(COUNT.len()).enumerate().filter(|(_, part)| *part == COUNT);
    let counts = places.filter_map(|(place, _)| {
        let rest = text.get(place + COUNT.len()..)?;
        let value = rest.get(..MAX_COUNT).unwrap_or(rest);
        let digits = value.iter().skip_while(|byte| !byte.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().take_while(u8::is_ascii_digit).collect();
        let number = std::str::from_utf8(&digits).ok()?;
        (!number.is_empty()).then(|| number.parse().unwrap_or(u64::MAX))
    });
    counts.max().unwrap_or(0)
}

/// Calls the reader of workbooks, and reports its panics as those of a file that cannot be read.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(invalid("the workbook cannot be read")))
}

fn unreadable(error: &XlsxError) -> Error {
    invalid(&format!("the workbook cannot be read: {error}"))
}

fn too_much_text() -> Error {
    let gibibytes = MAX_TEXT_BYTES / (1024 * 1024 * 1024);
    let detail = format!("the sheet has too many texts; expected at most {gibibytes} GiB of texts");
    Error::new(Kind::BodyTooLarge, detail)
}

fn too_large() -> Error {
    let mebibytes = MAX_WORKBOOK_BYTES / (1024 * 1024);
    let detail = format!(
        "the workbook is too large; expected at most {mebibytes} MiB, packed and unpacked; save it as CSV"
    );
    Error::new(Kind::BodyTooLarge, detail)
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::InvalidBody, detail)
}
