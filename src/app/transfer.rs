//! Importing and exporting records as files, which are streamed.

mod cell;
mod columns;
mod csv;
mod dates;
mod encoding;
mod export;
mod formula;
mod import;
mod infer;
mod json;
mod numbers;
mod opened;
mod options;
mod quotes;
mod reading;
mod rejected;
mod report;
mod row;
mod sheet;
mod source;
mod workbook;

use std::str::FromStr;

use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

pub use self::columns::{Defaults, Mapping, Shown as Column};
pub use self::dates::Order;
pub use self::encoding::Encoding;
pub use self::export::{Export, Form, Part, export};
pub use self::import::{Import, ImportKey, begin};
pub use self::infer::{infer, quoted_for_shell};
pub use self::opened::{Opened, open};
pub use self::options::Options;
pub use self::reading::inspect;
pub use self::report::{Problem, Report};
pub use self::row::MAX_ROW_BYTES;
pub(crate) use self::sheet::no_room;
pub use self::source::Hints;
pub(crate) use self::source::read_error;
pub use self::workbook::MAX_WORKBOOK_BYTES;

/// The format of a file of records: `ndjson` has one JSON object per line; `json` is an array of objects; `csv`
/// (RFC 4180) has a header line with the names of the fields; `excel-csv` is CSV as Excel opens it, with `;` and a byte
/// order mark; `xlsx` is a workbook of Excel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Serialize, Deserialize)]
#[oai(rename = "FileFormat", rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Ndjson,
    /// A JSON array of objects.
    Json,
    /// Comma-separated values (RFC 4180) with a header line of field names.
    Csv,
    /// The same for Excel: with semicolons and a byte order mark.
    ExcelCsv,
    /// A workbook of Excel (ECMA-376).
    Xlsx,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Ndjson, Self::Json, Self::Csv, Self::ExcelCsv, Self::Xlsx];

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::ExcelCsv => "excel-csv",
            Self::Xlsx => "xlsx",
        }
    }

    /// Returns the file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::ExcelCsv => "csv",
            other => other.as_str(),
        }
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Csv | Self::ExcelCsv => "text/csv",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == name);
        found.ok_or_else(|| format!("expected one of: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}
