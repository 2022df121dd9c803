//! The options of an import.

use super::Format;
use super::columns::{Defaults, Mapping};
use super::dates::Order;
use super::source::Hints;

/// How to read a file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is known of the file.
    pub hints: Hints,
    /// Columns with other names than those of their fields.
    pub mapping: Mapping,
    /// The order of day, month and year in dates whose year comes last. Without it such dates are rejected.
    pub dates: Option<Order>,
    /// Values for fields of which a row has none.
    pub defaults: Defaults,
}

impl From<Format> for Options {
    fn from(format: Format) -> Self {
        let hints = Hints { format: Some(format), ..Hints::default() };
        Self { hints, ..Self::default() }
    }
}
