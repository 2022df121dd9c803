//! The formats of cells: which numbers are dates (ECMA-376, part 1, section 18.8).

use std::collections::HashMap;

use quick_xml::events::Event;

use super::{Part, attribute};
use crate::error::Result;

/// The most formats of cells: the limit of Excel.
const MAX_FORMATS: usize = 65_490;

/// What a number of a format is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Kind {
    #[default]
    Number,
    Moment,
    Duration,
}

/// The kinds of the formats, by the number that cells have.
#[derive(Default)]
pub(super) struct Styles(Vec<Kind>);

impl Styles {
    pub(super) fn read(part: &mut Part<'_>) -> Result<Self> {
        let (mut own, mut formats, mut is_cells) = (HashMap::new(), Vec::new(), false);
        while let Some(event) = part.next()? {
            let element = match event {
                Event::Start(element) | Event::Empty(element) => element,
                Event::End(end) => {
                    is_cells &= end.local_name().as_ref() != b"cellXfs";
                    continue;
                }
                _ => continue,
            };
            let number = |name| -> Result<Option<u32>> {
                Ok(attribute(&element, name)?.and_then(|id| id.parse().ok()))
            };
            match element.local_name().as_ref() {
                b"cellXfs" => is_cells = true,
                b"numFmt" if own.len() < MAX_FORMATS => {
                    let code = attribute(&element, b"formatCode")?.unwrap_or_default();
                    if let Some(id) = number(b"numFmtId")? {
                        own.insert(id, kind_of(&code));
                    }
                }
                b"xf" if is_cells && formats.len() < MAX_FORMATS => {
                    let id = number(b"numFmtId")?.unwrap_or(0);
                    formats.push(own.get(&id).copied().unwrap_or_else(|| built_in(id)));
                }
                _ => {}
            }
        }
        Ok(Self(formats))
    }

    /// Returns the kind of the format with this number.
    pub(super) fn kind(&self, position: usize) -> Kind {
        self.0.get(position).copied().unwrap_or_default()
    }
}

/// The formats that need no code (section 18.8.30), also those of East Asian languages.
fn built_in(id: u32) -> Kind {
    match id {
        14..=22 | 27..=36 | 50..=58 => Kind::Moment,
        45..=47 => Kind::Duration,
        _ => Kind::Number,
    }
}

/// Returns what a code of a format makes of a number: a moment if it has letters of a date or time outside quotes and
/// brackets, a duration if a bracket has hours, minutes or seconds.
fn kind_of(code: &str) -> Kind {
    let mut characters = code.chars();
    while let Some(character) = characters.next() {
        match character.to_ascii_lowercase() {
            // The next character, or the text in quotes, is shown as it is.
            '\\' | '_' | '*' => drop(characters.next()),
            '"' => drop(characters.by_ref().find(|c| *c == '"')),
            '[' => {
                let inner: String =
                    characters.by_ref().take_while(|c| *c != ']').take(10).collect();
                let is_time = |c: char| matches!(c, 'h' | 'H' | 'm' | 'M' | 's' | 'S');
                if !inner.is_empty() && inner.chars().all(is_time) {
                    return Kind::Duration;
                }
            }
            'd' | 'm' | 'y' | 'h' | 's' => return Kind::Moment,
            // The format for other signs of the number.
            ';' => return Kind::Number,
            'g' if code.eq_ignore_ascii_case("general") => return Kind::Number,
            _ => {}
        }
    }
    Kind::Number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_dates_are_recognised() {
        for (code, kind) in [
            ("General", Kind::Number),
            ("0.00", Kind::Number),
            ("#,##0 \"days\"", Kind::Number),
            ("[Red]0", Kind::Number),
            ("0\\d", Kind::Number),
            ("yyyy-mm-dd", Kind::Moment),
            ("[$-409]d\\-mmm\\-yy;@", Kind::Moment),
            ("h:mm AM/PM", Kind::Moment),
            ("[h]:mm:ss", Kind::Duration),
            ("[mm]:ss", Kind::Duration),
            ("0;d", Kind::Number),
            ("", Kind::Number),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
