//! The cells of a sheet, row by row (ECMA-376, part 1, section 18.3).

use std::borrow::Cow;
use std::ops::ControlFlow;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use quick_xml::events::{BytesStart, Event};

use super::strings::{Strings, text, unescaped};
use super::styles::{Kind, Styles};
use super::{Part, attribute, invalid, malformed};
use crate::app::transfer::cell::Cell;
use crate::app::transfer::columns::MAX_COLUMNS;
use crate::app::transfer::row::{MAX_ROW_BYTES, Row, Values, too_long};
use crate::error::Result;

/// The greatest number of a row and of a column, both counted from 1: the limits of Excel.
const MAX_ROW: u64 = 1_048_576;
const MAX_COLUMN: usize = 16_384;

/// The greatest number of a day: 9999-12-31.
const MAX_DAY: f64 = 2_958_466.0;

/// What all sheets of a workbook share.
pub(super) struct Book {
    pub(super) strings: Strings,
    pub(super) styles: Styles,
    pub(super) is_1904: bool,
}

/// The cells of a sheet.
pub(super) struct Cells<'a> {
    part: Part<'a>,
    book: &'a Book,
}

impl<'a> Cells<'a> {
    pub(super) fn new(part: Part<'a>, book: &'a Book) -> Self {
        Self { part, book }
    }

    /// Calls `visit` with each row.
    pub(super) fn each(mut self, visit: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>) -> Result<()> {
        let mut last = 0;
        let mut row: Option<Building> = None;
        loop {
            let Some(event) = self.part.next()? else {
                return Err(invalid("the workbook cannot be read: the sheet breaks off"));
            };
            match event {
                Event::Start(element) if element.local_name().as_ref() == b"row" => {
                    let number = attribute(&element, b"r")?;
                    let number = match number {
                        Some(text) => text.parse().ok(),
                        None => Some(last + 1),
                    };
                    let number = number.filter(|number| (1..=MAX_ROW).contains(number));
                    let number = number.ok_or_else(|| {
                        invalid("the workbook cannot be read: a row has no valid number")
                    })?;
                    if number <= last {
                        return Err(invalid("the rows of the sheet are not in order"));
                    }
                    last = number;
                    row = Some(Building::of(number));
                }
                Event::End(element) if element.local_name().as_ref() == b"row" => {
                    if let Some(done) = row.take()
                        && visit(done.finish()).is_break()
                    {
                        return Ok(());
                    }
                }
                Event::Start(element) if element.local_name().as_ref() == b"c" => {
                    let row = row.as_mut().ok_or_else(|| {
                        invalid("the workbook cannot be read: a cell is in no row")
                    })?;
                    let column = row.column(attribute(&element, b"r")?.as_deref())?;
                    self.read(&element, row, column)?;
                }
                Event::Empty(element) if element.local_name().as_ref() == b"c" => {
                    if let Some(row) = &mut row {
                        row.column(attribute(&element, b"r")?.as_deref())?;
                    }
                }
                Event::End(element) if element.local_name().as_ref() == b"sheetData" => {
                    return Ok(());
                }
                Event::Empty(element) if element.local_name().as_ref() == b"sheetData" => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Reads a cell that has started.
    fn read(&mut self, cell: &BytesStart<'_>, row: &mut Building, column: usize) -> Result<()> {
        let kind = attribute(cell, b"t")?;
        let style = attribute(cell, b"s")?.and_then(|style| style.parse().ok()).unwrap_or(0);
        let (mut value, mut is_value) = (String::new(), false);
        loop {
            let Some(event) = self.part.next()? else {
                return Err(invalid("the workbook cannot be read: a cell breaks off"));
            };
            match event {
                Event::Start(element) if element.local_name().as_ref() == b"is" => {
                    let text = text(&mut self.part, b"is")?;
                    row.add(column, &text, || Cell::Text(Cow::Owned(text.clone())));
                }
                Event::Start(element) => is_value = element.local_name().as_ref() == b"v",
                Event::Text(piece) if is_value => {
                    value.push_str(&piece.unescape().map_err(malformed)?);
                }
                Event::End(element) => match element.local_name().as_ref() {
                    b"c" => break,
                    _ => is_value = false,
                },
                _ => {}
            }
        }
        let is_inline = kind.as_deref() == Some("inlineStr");
        if is_inline || value.is_empty() {
            return Ok(());
        }
        match kind.as_deref() {
            Some("s") => {
                let position = value.trim().parse().ok();
                let text = position.and_then(|position| self.book.strings.get(position));
                let text = text.ok_or_else(|| {
                    invalid("the workbook cannot be read: a cell has a text that is not there")
                })?;
                row.add(column, text, || Cell::Text(Cow::Owned(text.to_owned())));
            }
            Some("str") => {
                let text = unescaped(&value);
                row.add(column, &text, || Cell::Text(Cow::Owned(text.clone())));
            }
            Some("d") => row.add(column, &value, || Cell::Text(Cow::Owned(value.clone()))),
            Some("b") => row.add(column, "", || match value.trim() {
                "1" | "true" => Cell::Boolean(true),
                "0" | "false" => Cell::Boolean(false),
                _ => Cell::Other("a boolean that cannot be read"),
            }),
            Some("e") => row.add(column, "", || Cell::Other("the error of a formula")),
            _ => row.add(column, "", || self.number(&value, style)),
        }
        Ok(())
    }

    fn number(&self, value: &str, style: usize) -> Cell<'static> {
        let Ok(number) = value.trim().parse::<f64>() else {
            return Cell::Other("a number that cannot be read");
        };
        if !number.is_finite() {
            return Cell::Other("a number that is too large");
        }
        match self.book.styles.kind(style) {
            Kind::Number => Cell::Number(number),
            Kind::Duration => Cell::Other("a duration"),
            Kind::Moment => moment(number, self.book.is_1904)
                .map_or(Cell::Other("a day that does not exist"), Cell::Moment),
        }
    }
}

/// Returns the moment of a serial number: days since the start of the calendar of the workbook. Excel has a
/// 29 February 1900, so the days before it are counted from another start.
fn moment(number: f64, is_1904: bool) -> Option<NaiveDateTime> {
    if !(0.0..MAX_DAY).contains(&number) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "a number of at most seven digits")]
    let (days, milliseconds) =
        (number.trunc() as i64, (number.fract() * 86_400_000.0).round() as i64);
    let start = match (is_1904, days) {
        (true, _) => NaiveDate::from_ymd_opt(1904, 1, 1)?,
        (false, 1..=59) => NaiveDate::from_ymd_opt(1899, 12, 31)?,
        (false, 61..) => NaiveDate::from_ymd_opt(1899, 12, 30)?,
        (false, _) => return None,
    };
    let day = start.checked_add_signed(TimeDelta::days(days))?.and_time(NaiveTime::MIN);
    day.checked_add_signed(TimeDelta::milliseconds(milliseconds))
}

/// A row while its cells are read.
struct Building {
    number: u64,
    cells: Vec<Cell<'static>>,
    /// The position of the next cell that does not say its own.
    next: usize,
    bytes: usize,
    problem: Option<String>,
}

impl Building {
    fn of(number: u64) -> Self {
        Self { number, cells: Vec::new(), next: 0, bytes: 0, problem: None }
    }

    /// Returns the position of a cell, from a reference such as `BC23`.
    fn column(&mut self, reference: Option<&str>) -> Result<usize> {
        let column = match reference {
            None => self.next,
            Some(reference) => {
                let letters = reference.bytes().take_while(u8::is_ascii_alphabetic).take(4);
                let number = letters.fold(0, |number: usize, letter| {
                    number * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1
                });
                let number = number.checked_sub(1).filter(|number| *number < MAX_COLUMN);
                number.ok_or_else(|| {
                    invalid("the workbook cannot be read: a cell has no valid place")
                })?
            }
        };
        self.next = column + 1;
        Ok(column)
    }

    /// Adds a cell, if the row has room for its text.
    fn add(&mut self, column: usize, text: &str, cell: impl FnOnce() -> Cell<'static>) {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.problem.is_some() {
            return;
        }
        if column >= MAX_COLUMNS {
            self.problem = Some(format!("has more than {MAX_COLUMNS} cells"));
        } else if self.bytes > MAX_ROW_BYTES {
            self.problem = Some(too_long());
        } else {
            let length = self.cells.len().max(column + 1);
            self.cells.resize(length, Cell::Null);
            if let Some(place) = self.cells.get_mut(column) {
                *place = cell();
            }
        }
    }

    fn finish(self) -> Row<'static> {
        let values = match self.problem {
            Some(problem) => Err(problem),
            None => Ok(Values::Cells(self.cells)),
        };
        Row { line: self.number, breaks: 0, bytes: &[], values }
    }
}
