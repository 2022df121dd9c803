//! Reading JSON: files with one object per line, and files with one array of objects.

use std::borrow::Cow;
use std::io::{BufRead, Read, Result};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::Cell;
use super::row::{MAX_ROW_BYTES, too_long};
use crate::record::Members;
use crate::record::json::describe;

/// A JSON object of a file and its first line, or why it cannot be read.
pub(super) type Object = (u64, std::result::Result<Members<Cell<'static>>, String>);

/// How many characters of a text that is not a JSON object are shown.
const MAX_SHOWN: usize = 20;

/// The lines of a file, each an object. Blank lines are ignored.
pub(super) struct Lines<I> {
    input: I,
    number: u64,
    line: Vec<u8>,
}

impl<I: BufRead> Lines<I> {
    /// Returns the input.
    pub(super) fn input(&self) -> &I {
        &self.input
    }

    pub(super) fn new(input: I) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Object>> {
        loop {
            self.number += 1;
            self.line.clear();
            // One more byte than allowed shows that the line is too long.
            let mut limited = (&mut self.input).take(MAX_ROW_BYTES as u64 + 1);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            let is_complete = self.line.last() == Some(&b'\n');
            if self.line.len() - usize::from(is_complete) > MAX_ROW_BYTES {
                if !is_complete {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some((self.number, Err(too_long()))));
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let object = read(&self.line, "expected one JSON object per line");
            return Ok(Some((self.number, object)));
        }
    }
}

/// The elements of the array that a file is. Each is found by its brackets and quotes, so an element that cannot be
/// read does not affect the others.
pub(super) struct Elements<I> {
    input: I,
    place: Place,
    line: u64,
    element: Vec<u8>,
}

/// Where in the array the next byte is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Before,
    Inside,
    After,
    End,
}

impl<I: BufRead> Elements<I> {
    /// Returns the input.
    pub(super) fn input(&self) -> &I {
        &self.input
    }

    pub(super) fn new(input: I) -> Self {
        Self { input, place: Place::Before, line: 1, element: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Object>> {
        if self.place == Place::Before {
            if self.visible()? != Some(b'[') {
                return self.broken("expected a JSON array of objects");
            }
            self.take()?;
            self.place = Place::Inside;
            if self.visible()? == Some(b']') {
                self.take()?;
                self.place = Place::After;
            }
        }
        if self.place == Place::Inside {
            self.visible()?;
            let line = self.line;
            self.scan()?;
            self.place = match self.take()? {
                Some(b',') => Place::Inside,
                Some(_) => Place::After,
                None => return self.broken("the array breaks off"),
            };
            let object = match self.element.len() > MAX_ROW_BYTES {
                true => Err(too_long()),
                false => read(&self.element, "expected a JSON object"),
            };
            return Ok(Some((line, object)));
        }
        if self.place == Place::After && self.visible()?.is_some() {
            return self.broken("expected the end of the file after the array");
        }
        Ok(None)
    }

    /// Ends the file with a problem of the array.
    fn broken(&mut self, detail: &str) -> Result<Option<Object>> {
        self.place = Place::End;
        // The input must be read to its end, as that of an upload whose hash is needed.
        std::io::copy(&mut self.input, &mut std::io::sink())?;
        Ok(Some((self.line, Err(detail.to_owned()))))
    }

    /// Returns the next byte that is not white space, without taking it; `None` at the end.
    fn visible(&mut self) -> Result<Option<u8>> {
        loop {
            let input = self.input.fill_buf()?;
            let Some(first) = input.first().copied() else { return Ok(None) };
            if !first.is_ascii_whitespace() {
                return Ok(Some(first));
            }
            self.line += u64::from(first == b'\n');
            self.input.consume(1);
        }
    }

    fn take(&mut self) -> Result<Option<u8>> {
        let first = self.input.fill_buf()?.first().copied();
        self.input.consume(usize::from(first.is_some()));
        Ok(first)
    }

    /// Reads an element up to the comma or bracket after it. Of one that is too long only the start is kept.
    fn scan(&mut self) -> Result<()> {
        let (mut depth, mut is_text, mut is_escaped) = (0_u64, false, false);
        self.element.clear();
        loop {
            let input = self.input.fill_buf()?;
            let mut read = 0;
            let mut is_end = input.is_empty();
            for byte in input {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_text => is_escaped = true,
                    b'"' => is_text = !is_text,
                    _ if is_text => {}
                    b'{' | b'[' => depth += 1,
                    b'}' => depth = depth.saturating_sub(1),
                    b']' if depth > 0 => depth -= 1,
                    b',' | b']' if depth == 0 => {
                        is_end = true;
                        break;
                    }
                    _ => {}
                }
                read += 1;
                self.line += u64::from(*byte == b'\n');
            }
            let room = (MAX_ROW_BYTES + 1).saturating_sub(self.element.len());
            self.element.extend(input.iter().take(read.min(room)));
            self.input.consume(read);
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Reads an object.
fn read(json: &[u8], expected: &str) -> std::result::Result<Members<Cell<'static>>, String> {
    let text = std::str::from_utf8(json).map_err(|error| format!("not UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| {
        let json = text.trim_ascii();
        if error.is_eof() && !json.is_empty() {
            return format!("{expected}, found a part of one");
        }
        if json.starts_with('{') {
            return describe(&error);
        }
        let start: String = json.chars().take(MAX_SHOWN).collect();
        let cut = if start.len() < json.len() { "…" } else { "" };
        format!("{expected}, found {start:?}{cut}")
    })
}

impl<'de> Deserialize<'de> for Cell<'static> {
    /// Reads a JSON value. Arrays and objects, which no field accepts, are validated but not stored.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Json;
        impl<'de> Visitor<'de> for Json {
            type Value = Cell<'static>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Text(Cow::Owned(text)))
            }

            fn visit_bool<E>(self, flag: bool) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Boolean(flag))
            }

            fn visit_i64<E>(self, number: i64) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> std::result::Result<Self::Value, E> {
                let too_large = Cell::Other("a number that is too large");
                Ok(i64::try_from(number).map_or(too_large, Cell::Integer))
            }

            fn visit_f64<E>(self, number: f64) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Number(number))
            }

            fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
                Ok(Cell::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Cell::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut members: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Cell::Other("an object"))
            }
        }
        deserializer.deserialize_any(Json)
    }
}
