//! The unit of positions in the texts of a query.

use poem_openapi::Enum;

use crate::error::{Error, Kind, Result};
use crate::query::Diagnostic;
use crate::query::diagnostic::count;

/// The unit in which `start`, `end` and `caret` count, named as in the Language Server Protocol (`PositionEncodingKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
pub enum PositionEncoding {
    /// Bytes of UTF-8.
    #[default]
    #[oai(rename = "utf-8")]
    Utf8,
    /// Code units of UTF-16, as in strings of JavaScript, Java and C#.
    #[oai(rename = "utf-16")]
    Utf16,
    /// Unicode scalar values, as in strings of Python.
    #[oai(rename = "utf-32")]
    Utf32,
}

impl PositionEncoding {
    fn length(self, text: &str) -> usize {
        match self {
            Self::Utf8 => text.len(),
            Self::Utf16 => text.encode_utf16().count(),
            Self::Utf32 => text.chars().count(),
        }
    }

    /// Returns the position of a byte of the text.
    pub(super) fn position(self, text: &str, byte: usize) -> i32 {
        count(self.length(text.get(..byte).unwrap_or(text)))
    }

    /// Returns the byte at a position of the text, or at its end.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if the position is outside of the text or inside of a character.
    pub(super) fn byte(self, text: &str, position: i64) -> Result<usize> {
        let mut at = 0;
        let mut found = None;
        for (byte, character) in
            text.char_indices().map(|(byte, c)| (byte, Some(c))).chain([(text.len(), None)])
        {
            if at >= position {
                found = (at == position).then_some(byte);
                break;
            }
            let mut buffer = [0; 4];
            at +=
                character.map_or(0, |c| i64::from(count(self.length(c.encode_utf8(&mut buffer)))));
        }
        found.ok_or_else(|| {
            let last = self.position(text, text.len());
            let detail = format!(
                "caret: expected a position between characters, from 0 to {last}, found {position}"
            );
            Error::new(Kind::InvalidParameter, detail)
        })
    }

    /// Converts positions of bytes.
    pub(super) fn convert<'a>(self, text: &str, places: impl IntoIterator<Item = &'a mut i32>) {
        for place in places {
            *place = self.position(text, usize::try_from(*place).unwrap_or_default());
        }
    }

    /// Converts the positions of diagnostics. `text` returns the text that a diagnostic is about, by its name.
    pub(super) fn convert_diagnostics<'t>(
        self,
        diagnostics: &mut [Diagnostic],
        text: impl Fn(&str) -> Option<&'t str>,
    ) {
        for Diagnostic { parameter, start, end, suggestion, .. } in diagnostics {
            let Some(text) = text(parameter) else { continue };
            self.convert(text, [start, end]);
            if let Some(edit) = suggestion {
                self.convert(text, [&mut edit.start, &mut edit.end]);
            }
        }
    }
}
