//! Writing workbooks of Excel (ECMA-376, `.xlsx`), row by row into temporary files.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, Write};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};

use crate::error::{Error, Kind, Result, retry_after};
use crate::query::{Field, Schema, Type, Value};
use crate::store::Record;

/// The maximum number of rows of a sheet, with the header (ECMA-376, and the limits of Excel).
const MAX_ROWS: u32 = 1_048_576;

/// The greatest integer that spreadsheets keep: they have 15 digits. Greater ones are written as texts.
const MAX_NUMBER: i64 = 999_999_999_999_999;

/// The first day whose number is the same for every program: Excel has a 29 February 1900. Days before it are texts.
const FIRST_DAY: Option<NaiveDate> = NaiveDate::from_ymd_opt(1900, 3, 1);

/// The day with the number 0, counted back from [`FIRST_DAY`].
const DAY_ZERO: Option<NaiveDate> = NaiveDate::from_ymd_opt(1899, 12, 30);

/// The longest name of a sheet, in characters.
const MAX_SHEET_NAME: usize = 31;

/// A workbook with one sheet of records, which grows row by row.
pub(super) struct Sheet {
    book: Workbook,
    fields: Vec<&'static Field>,
    row: u32,
    styles: Styles,
}

/// How numbers are shown that are dates and times.
struct Styles {
    day: Format,
    moment: Format,
}

impl Sheet {
    /// Starts a workbook with the names of the fields, which stay in view.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if no temporary file can be written.
    pub(super) fn new(schema: &Schema, fields: &[&'static Field]) -> Result<Self> {
        let mut book = Workbook::new();
        let styles = Styles {
            day: Format::new().set_num_format("yyyy-mm-dd"),
            moment: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        };
        let bold = Format::new().set_bold();
        let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
        let name: String = schema.collection.chars().take(MAX_SHEET_NAME).collect();
        sheet.set_name(name).map_err(failed)?;
        for (column, field) in (0..).zip(fields) {
            let width = match field.ty {
                Type::Text => 30,
                Type::Id => 38,
                Type::Timestamp if field.managed => 20,
                Type::Timestamp => 28,
                _ => 12,
            };
            sheet
                .set_column_width(
                    column,
                    width.max(u32::try_from(field.name.len()).unwrap_or(width)),
                )
                .map_err(failed)?;
        }
        for (column, field) in (0..).zip(fields) {
            sheet.write_string_with_format(0, column, field.name, &bold).map_err(failed)?;
        }
        sheet.set_freeze_panes(1, 0).map_err(failed)?;
        Ok(Self { book, fields: fields.to_vec(), row: 1, styles })
    }

    /// Adds records.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if a sheet cannot have as many rows, or a cell as long a text.
    pub(super) fn add(&mut self, records: &[Record]) -> Result<()> {
        let sheet = self.book.worksheet_from_index(0).map_err(failed)?;
        for record in records {
            if self.row == MAX_ROWS {
                let most = MAX_ROWS - 1;
                let detail = format!(
                    "a workbook has room for {most} records; add a filter, or export to csv or ndjson"
                );
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            for (column, field) in (0..).zip(&self.fields) {
                if let Some(value) = record.value(field.name) {
                    write(sheet, (self.row, column), (field, value), &self.styles)
                        .map_err(failed)?;
                }
            }
            self.row += 1;
        }
        Ok(())
    }

    /// Returns the file, at its start. Its rows can be filtered and sorted by their columns.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if there is no room for it.
    pub(super) fn finish(mut self) -> Result<File> {
        let last_column = u16::try_from(self.fields.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let sheet = self.book.worksheet_from_index(0).map_err(failed)?;
        sheet.autofilter(0, 0, self.row - 1, last_column).map_err(failed)?;
        let mut writer = BufWriter::new(tempfile::tempfile().map_err(no_room)?);
        self.book.save_to_writer(&mut writer).map_err(failed)?;
        writer.flush().map_err(no_room)?;
        let mut file = writer.into_inner().map_err(|error| no_room(error.into_error()))?;
        file.rewind().map_err(no_room)?;
        Ok(file)
    }
}

fn write(
    sheet: &mut Worksheet,
    (row, column): (u32, u16),
    (field, value): (&Field, &Value),
    styles: &Styles,
) -> std::result::Result<(), XlsxError> {
    match value {
        Value::Integer(number) if number.abs() <= MAX_NUMBER =>
        {
            #[allow(clippy::cast_precision_loss, reason = "a number of 15 digits is exact")]
            sheet.write_number(row, column, *number as f64)?
        }
        Value::Boolean(flag) => sheet.write_boolean(row, column, *flag)?,
        Value::Date(date) if FIRST_DAY.is_some_and(|first| *date >= first) => {
            let days = DAY_ZERO.map_or(0, |zero| (*date - zero).num_days());
            sheet.write_number_with_format(
                row,
                column,
                i32::try_from(days).unwrap_or(0),
                &styles.day,
            )?
        }
        // An import ignores the times of the service, so their fractions of a second may be lost. Those of
        // other fields must survive: they are texts.
        Value::Timestamp(instant) if field.managed => {
            sheet.write_number_with_format(row, column, serial(*instant), &styles.moment)?
        }
        other => sheet.write_string(row, column, other.to_string())?,
    };
    Ok(())
}

/// Returns the number of a moment in UTC: days since [`DAY_ZERO`]. It is one of whole seconds, because some spreadsheets
/// round what they do not show.
fn serial(instant: DateTime<Utc>) -> f64 {
    const DAY: f64 = 86_400.0;
    let since = DAY_ZERO.map(|zero| instant.naive_utc() - zero.and_time(NaiveTime::MIN));
    #[allow(clippy::cast_precision_loss, reason = "the seconds of ten thousand years are exact")]
    let seconds = since.map_or(0, |since| since.num_seconds()) as f64;
    seconds / DAY
}

fn failed(error: XlsxError) -> Error {
    match error {
        XlsxError::IoError(error) => no_room(error),
        XlsxError::MaxStringLengthExceeded => {
            let detail = "a text is too long for a cell of a workbook; export to csv or ndjson";
            Error::new(Kind::InvalidParameter, detail)
        }
        other => Error::internal(other.to_string()),
    }
}

/// Returns the error of a temporary file that cannot be written.
pub(crate) fn no_room(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull => Error {
            detail: "no space left for temporary files; retry later".to_owned(),
            retry_after: Some(retry_after(10)),
            ..Error::unavailable(error)
        },
        _ => Error::internal(error),
    }
}
