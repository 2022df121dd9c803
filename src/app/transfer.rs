//! Importing and exporting records as files, which are streamed.

mod csv;
mod export;
mod import;
mod infer;
mod ndjson;
mod row;

use std::str::FromStr;

use poem_openapi::Enum;

pub use self::export::{Export, Form, Part, export};
pub(crate) use self::import::read_error;
pub use self::import::{Import, ImportKey, Opened, Report, begin, open};
pub use self::infer::infer;
pub use self::row::MAX_ROW_BYTES;

/// The format of a file of records: `ndjson` has one JSON object per line; `csv` (RFC 4180) has a header line
/// with the names of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename = "FileFormat", rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Ndjson,
    /// Comma-separated values (RFC 4180) with a header line of field names.
    Csv,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Ndjson, Self::Csv];

    /// Returns the name, which is also the file extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == name);
        found.ok_or_else(|| format!("expected {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}
