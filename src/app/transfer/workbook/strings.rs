//! The texts that the cells of a workbook share (ECMA-376, part 1, section 18.4).

use quick_xml::events::Event;

use super::{Part, malformed};
use crate::error::Result;

/// The shared texts, one after the other in one buffer: a workbook can have millions of empty ones.
#[derive(Default)]
pub(super) struct Strings {
    text: String,
    /// The end of each text.
    ends: Vec<u32>,
}

impl Strings {
    pub(super) fn read(part: &mut Part<'_>) -> Result<Self> {
        let mut strings = Self::default();
        while let Some(event) = part.next()? {
            match event {
                Event::Start(element) if element.local_name().as_ref() == b"si" => {
                    let text = text(part, b"si")?;
                    strings.text.push_str(&text);
                    strings.end();
                }
                Event::Empty(element) if element.local_name().as_ref() == b"si" => strings.end(),
                _ => {}
            }
        }
        Ok(strings)
    }

    fn end(&mut self) {
        // The budget of a workbook is far below 4 GiB.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// Returns a text by its position.
    pub(super) fn get(&self, position: usize) -> Option<&str> {
        let end = *self.ends.get(position)?;
        let start = position.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.text.get(start.unwrap_or(0) as usize..end as usize)
    }
}

/// Reads the text of an element that has started, of all its runs but without phonetic ones.
pub(super) fn text(part: &mut Part<'_>, element: &[u8]) -> Result<String> {
    let (mut text, mut is_text, mut phonetic) = (String::new(), false, 0_u32);
    while let Some(event) = part.next()? {
        match event {
            Event::Start(start) => match start.local_name().as_ref() {
                b"t" => is_text = phonetic == 0,
                b"rPh" => phonetic += 1,
                _ => {}
            },
            Event::End(end) => match end.local_name().as_ref() {
                b"t" => is_text = false,
                b"rPh" => phonetic = phonetic.saturating_sub(1),
                name if name == element => break,
                _ => {}
            },
            Event::Text(piece) if is_text => text.push_str(&piece.unescape().map_err(malformed)?),
            Event::CData(piece) if is_text => {
                text.push_str(&String::from_utf8_lossy(&piece));
            }
            _ => {}
        }
    }
    Ok(unescaped(&text))
}

/// Replaces `_xHHHH_`, by which workbooks write characters that XML cannot have (ECMA-376, part 1, section 22.4.2.4).
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("_x") {
        let (before, escape) = rest.split_at(start);
        plain.push_str(before);
        let code = escape.get(2..6).filter(|_| escape.as_bytes().get(6) == Some(&b'_'));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        match code.and_then(char::from_u32) {
            Some(character) => {
                plain.push(character);
                rest = escape.get(7..).unwrap_or_default();
            }
            None => {
                plain.push_str("_x");
                rest = escape.get(2..).unwrap_or_default();
            }
        }
    }
    plain.push_str(rest);
    plain
}
