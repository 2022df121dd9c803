//! A row of a file, whatever its form.

use crate::record::Fields;

/// The longest row that is read, in bytes.
pub const MAX_ROW_BYTES: usize = 64 * 1024;

/// As much of a name that is passed over as is told, in characters.
pub(super) const MAX_NAME: usize = 100;

/// A row of a file: the line it begins on, and its fields, or why it has none.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) fields: Result<Fields<'a>, String>,
}

/// Why a row is not read.
pub(super) fn too_long() -> String {
    format!("is longer than {MAX_ROW_BYTES} bytes")
}
