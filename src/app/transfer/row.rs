//! A row of a file, of any format.

use crate::record::Fields;

/// The maximum length of a row, in bytes.
pub const MAX_ROW_BYTES: usize = 64 * 1024;

/// The length to which an ignored name is cut in reports, in characters.
pub(super) const MAX_NAME: usize = 100;

/// A row of a file: its first line, and its fields or the reason why they cannot be read.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) fields: Result<Fields<'a>, String>,
}

/// Returns the message for a row that exceeds [`MAX_ROW_BYTES`].
pub(super) fn too_long() -> String {
    format!("is longer than {MAX_ROW_BYTES} bytes")
}
