//! The encoding of text files. Every file is read as UTF-8.

use std::io::{BufRead, Read, Result};
use std::str::FromStr;

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE, WINDOWS_1252};
use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// The number of bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// The longest sequence of bytes that is one character of UTF-8.
const LONGEST: usize = 4;

/// The encoding of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename = "FileEncoding", rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8.
    #[oai(rename = "utf-8")]
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, little or big endian by its byte order mark or its zeros.
    #[oai(rename = "utf-16")]
    #[serde(rename = "utf-16")]
    Utf16,
    /// Windows-1252, which includes ISO 8859-1.
    #[oai(rename = "windows-1252")]
    #[serde(rename = "windows-1252")]
    Windows1252,
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 3] = [Self::Utf8, Self::Utf16, Self::Windows1252];

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16 => "utf-16",
            Self::Windows1252 => "windows-1252",
        }
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|encoding| encoding.as_str() == name);
        found.ok_or_else(|| format!("expected one of: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A text file as UTF-8, without a byte order mark.
///
/// Without a known encoding, UTF-16 is recognised by its byte order mark or by the zeros of the first characters. Otherwise
/// the first character outside ASCII decides between UTF-8 and Windows-1252: a sequence of bytes that is valid UTF-8 is
/// almost never meant as anything else. A file that has both is rejected, because one of them would be stored wrongly.
pub(super) struct Text<I> {
    input: I,
    /// Bytes that are not decoded yet.
    raw: Vec<u8>,
    /// Decoded bytes, and how many of them have been read.
    ready: Vec<u8>,
    taken: usize,
    is_at_end: bool,
    decoding: Decoding,
}

enum Decoding {
    /// Nothing has been read: the given encoding, and whether the file is JSON.
    Unknown(Option<Encoding>, bool),
    /// Only ASCII so far.
    Ascii,
    /// UTF-8, which the readers of rows validate.
    Utf8,
    Utf16(Decoder),
    /// Windows-1252, and whether it was recognised rather than given.
    Windows1252(Decoder, bool),
}

impl<I: BufRead> Text<I> {
    /// Decodes a file. JSON is always Unicode (RFC 8259, section 8.1).
    pub(super) fn new(input: I, encoding: Option<Encoding>, is_json: bool) -> Self {
        let decoding = Decoding::Unknown(encoding, is_json);
        Self { input, raw: Vec::new(), ready: Vec::new(), taken: 0, is_at_end: false, decoding }
    }

    /// Returns the encoding, as far as it has been read.
    pub(super) fn encoding(&self) -> Encoding {
        match self.decoding {
            Decoding::Utf16(_) | Decoding::Unknown(Some(Encoding::Utf16), _) => Encoding::Utf16,
            Decoding::Windows1252(..) | Decoding::Unknown(Some(Encoding::Windows1252), _) => {
                Encoding::Windows1252
            }
            _ => Encoding::Utf8,
        }
    }

    /// Reads and decodes more of the input.
    fn advance(&mut self) -> Result<()> {
        self.ready.clear();
        self.taken = 0;
        while self.ready.is_empty() && !(self.is_at_end && self.raw.is_empty()) {
            let missing = CHUNK.saturating_sub(self.raw.len()) as u64;
            let read = (&mut self.input).take(missing).read_to_end(&mut self.raw)?;
            self.is_at_end |= (read as u64) < missing;
            self.decode()?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<()> {
        if let Decoding::Unknown(encoding, is_json) = self.decoding {
            self.decoding = start(encoding, is_json, &mut self.raw);
        }
        if let Decoding::Ascii = self.decoding {
            let ascii = self.raw.iter().take_while(|byte| byte.is_ascii()).count();
            let rest = self.raw.get(ascii..).unwrap_or_default();
            if rest.len() >= LONGEST || (self.is_at_end && !rest.is_empty()) {
                self.decoding = match starts_with_utf8(rest) {
                    true => Decoding::Utf8,
                    false => {
                        Decoding::Windows1252(WINDOWS_1252.new_decoder_without_bom_handling(), true)
                    }
                };
            } else {
                self.ready.extend(self.raw.drain(..ascii));
                return Ok(());
            }
        }
        match &mut self.decoding {
            Decoding::Utf8 => self.ready.append(&mut self.raw),
            Decoding::Utf16(decoder) => {
                decode_all(decoder, &mut self.raw, &mut self.ready, self.is_at_end)
            }
            Decoding::Windows1252(decoder, is_recognised) => {
                if *is_recognised && self.raw.windows(3).any(is_mistaken) {
                    let detail = "the file has texts in UTF-8 and in Windows-1252; save it in one encoding, or \
                                  give the encoding to read all of it in that";
                    return Err(std::io::Error::other(Error::new(Kind::InvalidBody, detail)));
                }
                decode_all(decoder, &mut self.raw, &mut self.ready, self.is_at_end);
            }
            Decoding::Unknown(..) | Decoding::Ascii => {}
        }
        Ok(())
    }
}

/// Finds out how a file is decoded by its first bytes, and removes its byte order mark.
fn start(encoding: Option<Encoding>, is_json: bool, raw: &mut Vec<u8>) -> Decoding {
    let mut marked = |mark: &[u8]| {
        let is_marked = raw.starts_with(mark);
        if is_marked {
            raw.drain(..mark.len());
        }
        is_marked
    };
    let is_utf8 = matches!(encoding, None | Some(Encoding::Utf8)) && marked(b"\xEF\xBB\xBF");
    if is_utf8 || encoding == Some(Encoding::Utf8) {
        return Decoding::Utf8;
    }
    if encoding == Some(Encoding::Windows1252) {
        return Decoding::Windows1252(WINDOWS_1252.new_decoder_without_bom_handling(), false);
    }
    let little = || Decoding::Utf16(UTF_16LE.new_decoder_without_bom_handling());
    let big = || Decoding::Utf16(UTF_16BE.new_decoder_without_bom_handling());
    match (marked(b"\xFF\xFE"), marked(b"\xFE\xFF"), raw.as_slice()) {
        (true, ..) => little(),
        (_, true, _) => big(),
        // Names of columns start with characters of which one byte is zero.
        (_, _, [0, 1..=255, 0, 1..=255, ..]) => big(),
        (_, _, [1..=255, 0, 1..=255, 0, ..]) => little(),
        _ if encoding == Some(Encoding::Utf16) => little(),
        _ if is_json => Decoding::Utf8,
        _ => Decoding::Ascii,
    }
}

/// Returns whether the bytes start with a character of UTF-8.
fn starts_with_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes.get(..LONGEST).unwrap_or(bytes)) {
        Ok(_) => true,
        Err(error) => error.valid_up_to() > 0,
    }
}

/// Returns whether bytes are UTF-8 that Windows-1252 would show as `Ã¼`, `Â°` or `â€™`.
fn is_mistaken(bytes: &[u8]) -> bool {
    matches!(bytes, [0xC3, 0xA0..=0xBF, byte] if byte.is_ascii_lowercase())
        || matches!(bytes, [0xE2, 0x80, 0x90..=0xA6])
}

/// Decodes the bytes. Malformed sequences become U+FFFD.
fn decode_all(decoder: &mut Decoder, raw: &mut Vec<u8>, ready: &mut Vec<u8>, is_last: bool) {
    let mut text = String::new();
    let mut start = 0;
    loop {
        let rest = raw.get(start..).unwrap_or_default();
        text.reserve(decoder.max_utf8_buffer_length(rest.len()).unwrap_or(CHUNK));
        let (result, read, _) = decoder.decode_to_string(rest, &mut text, is_last);
        start += read;
        if result == CoderResult::InputEmpty {
            break;
        }
    }
    raw.clear();
    ready.append(&mut text.into_bytes());
}

impl<I: BufRead> Read for Text<I> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut ready = self.fill_buf()?;
        let read = ready.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<I: BufRead> BufRead for Text<I> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.taken >= self.ready.len() {
            self.advance()?;
        }
        Ok(self.ready.get(self.taken..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::UTF_8;
    use proptest::prelude::*;

    fn read(bytes: &[u8], encoding: Option<Encoding>) -> Result<(String, Encoding)> {
        // Small pieces, so that characters are split.
        let mut text = Text::new(std::io::BufReader::with_capacity(3, bytes), encoding, false);
        let mut bytes = Vec::new();
        text.read_to_end(&mut bytes)?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), text.encoding()))
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    }

    #[test]
    fn encodings_are_recognised() {
        let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
        let long = "a".repeat(CHUNK - 1);
        let cases: Vec<(Vec<u8>, &str, Encoding)> = vec![
            (b"".to_vec(), "", Encoding::Utf8),
            (b"title".to_vec(), "title", Encoding::Utf8),
            ("Amélie".into(), "Amélie", Encoding::Utf8),
            ("\u{FEFF}Amélie".into(), "Amélie", Encoding::Utf8),
            (b"Am\xE9lie".to_vec(), "Amélie", Encoding::Windows1252),
            (b"caf\xE9".to_vec(), "café", Encoding::Windows1252),
            (b"\x80 5".to_vec(), "€ 5", Encoding::Windows1252),
            (b"\xAB LIBERT\xC9\xBB".to_vec(), "« LIBERTÉ»", Encoding::Windows1252),
            (marked(b"\xFF\xFE", utf16("Zoë", true)), "Zoë", Encoding::Utf16),
            (marked(b"\xFE\xFF", utf16("Zoë", false)), "Zoë", Encoding::Utf16),
            (utf16("title\nZoë 🎬", true), "title\nZoë 🎬", Encoding::Utf16),
            (utf16("title", false), "title", Encoding::Utf16),
            (format!("{long}é").into(), &*format!("{long}é"), Encoding::Utf8),
        ]
        .into_iter()
        .map(|(bytes, text, encoding)| {
            (bytes, Box::leak(text.to_owned().into_boxed_str()) as &str, encoding)
        })
        .collect();
        for (bytes, text, encoding) in cases {
            assert_eq!(read(&bytes, None).expect(text), (text.to_owned(), encoding));
        }
        let mixed = [b"Am\xE9lie, ".as_slice(), "Müller".as_bytes()].concat();
        assert!(read(&mixed, None).is_err());
        let given = read(&mixed, Some(Encoding::Windows1252)).expect("it is given");
        assert_eq!(given.0, "Amélie, MÃ¼ller");
    }

    proptest! {
        #[test]
        fn utf_8_is_unchanged(text in ".{0,200}") {
            let expected = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
            // A text such as "a\0b\0" is UTF-16 for all that is known.
            prop_assume!(!text.contains('\0'));
            prop_assert_eq!(read(text.as_bytes(), None).expect("UTF-8"), (expected.to_owned(), Encoding::Utf8));
        }

        #[test]
        fn windows_1252_is_decoded(text in "[a-z]{0,20}[àéîöüß€][a-zàéîöüß, ]{0,50}") {
            let (bytes, _, _) = WINDOWS_1252.encode(&text);
            prop_assume!(UTF_8.decode_without_bom_handling_and_without_replacement(&bytes).is_none());
            if let Ok(found) = read(&bytes, None) {
                prop_assert_eq!(found, (text, Encoding::Windows1252));
            }
        }
    }
}
