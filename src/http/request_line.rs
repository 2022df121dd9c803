//! Percent-encoding `"`, `<` and `>` in the query of a request line, before the parser sees it.
//!
//! RFC 3986 allows none of the three in a URL, so the parser rejects them. They are what a filter is made of, and
//! curl, Python's and Node's clients and nginx send them as they were written.
//!
//! Only bytes after the `?` of a request line are changed. To know where request lines start on a connection that is
//! kept open, this follows the framing of HTTP/1.1 (RFC 9112, section 6) for requests without a body or with one
//! `Content-Length` of digits. After anything else, such as a chunked body, the rest of the connection is passed on
//! unchanged. So no byte of a header or body is ever changed, whatever a client sends, and framing is left to the
//! parser: the two cannot disagree about where a request ends and still both accept it.

/// The longest header line that is looked at: `Content-Length` with its value fits. Others are only skipped.
const MAX_LOOKED_AT: usize = 64;

/// Where in the requests of a connection the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a request line, or in an empty line before one.
    Line { is_empty: bool, is_in_query: bool },
    /// In the header fields.
    Headers,
    /// In a body that has so many more bytes.
    Body(u64),
    /// Somewhere that only the parser knows.
    Unknown,
}

const START: At = At::Line { is_empty: true, is_in_query: false };

/// The requests that arrive on a connection.
#[derive(Debug)]
pub(super) struct RequestLines {
    at: At,
    /// The start of the header line that arrives.
    header: Vec<u8>,
    /// The value of `Content-Length` in the request that arrives.
    length: Option<u64>,
    /// Whether the framing of the request that arrives is not followed here.
    is_unusual: bool,
}

impl RequestLines {
    pub(super) fn new() -> Self {
        Self { at: START, header: Vec::new(), length: None, is_unusual: false }
    }

    /// Takes the next bytes of the connection. Returns what to pass on in their place, or `None` if that is the same.
    /// At most three bytes are returned for each that is taken.
    pub(super) fn encode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut encoded: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.at {
                At::Unknown => {
                    if let Some(encoded) = &mut encoded {
                        encoded.extend_from_slice(rest);
                    }
                    return encoded;
                }
                At::Body(left) => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (body, after) = rest.split_at(taken);
                    if let Some(encoded) = &mut encoded {
                        encoded.extend_from_slice(body);
                    }
                    let left = left.saturating_sub(taken as u64);
                    self.at = if left == 0 { START } else { At::Body(left) };
                    rest = after;
                    continue;
                }
                At::Headers => {
                    let length = rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
                    let (line, after) = rest.split_at(length.unwrap_or(rest.len()));
                    self.take_header(line);
                    if let Some(encoded) = &mut encoded {
                        encoded.extend_from_slice(line);
                    }
                    rest = after;
                    continue;
                }
                At::Line { is_empty, is_in_query } => {
                    let escape = if is_in_query { escape(byte) } else { None };
                    if let Some(escape) = escape {
                        let so_far = bytes.len() - rest.len();
                        encoded
                            .get_or_insert_with(|| bytes.get(..so_far).unwrap_or_default().to_vec())
                            .extend_from_slice(escape);
                        rest = after;
                        continue;
                    }
                    self.at = match byte {
                        b'\n' if is_empty => START,
                        b'\n' => At::Headers,
                        b'\r' => At::Line { is_empty, is_in_query },
                        _ => At::Line { is_empty: false, is_in_query: is_in_query || byte == b'?' },
                    };
                }
            }
            if let Some(encoded) = &mut encoded {
                encoded.push(byte);
            }
            rest = after;
        }
        encoded
    }

    /// Takes a header line, or a part of one: only the last part ends with a newline.
    fn take_header(&mut self, part: &[u8]) {
        let room = (MAX_LOOKED_AT + 1).saturating_sub(self.header.len());
        let Some(end) = part.strip_suffix(b"\n") else {
            self.header.extend(part.iter().take(room));
            return;
        };
        if self.header.is_empty() {
            self.end_header(end);
            return;
        }
        let mut line = std::mem::take(&mut self.header);
        line.extend(end.iter().take(room));
        self.end_header(&line);
    }

    fn end_header(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.at = match (self.is_unusual, self.length.take()) {
                (true, _) => At::Unknown,
                (false, None | Some(0)) => START,
                (false, Some(length)) => At::Body(length),
            };
            return;
        }
        let name_length = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(name_length);
        let is = |known: &[u8]| name.trim_ascii().eq_ignore_ascii_case(known);
        if is(b"content-length") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let digits = std::str::from_utf8(value).ok();
            let digits = digits.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok());
            let is_whole = line.len() <= MAX_LOOKED_AT;
            self.is_unusual |= length.is_none() || self.length.is_some() || !is_whole;
            self.length = length;
        } else if is(b"transfer-encoding") || is(b"upgrade") {
            self.is_unusual = true;
        } else {
            // A line that continues the one before is obsolete, and read in different ways.
            self.is_unusual |= line.first().is_some_and(u8::is_ascii_whitespace);
        }
    }
}

/// The three bytes that a URL may not have, and filters do.
fn escape(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'"' => Some(b"%22"),
        b'<' => Some(b"%3C"),
        b'>' => Some(b"%3E"),
        _ => None,
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails this way has failed"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes as they are passed on when they arrive in pieces.
    fn encoded(pieces: &[&[u8]]) -> Vec<u8> {
        let mut lines = RequestLines::new();
        pieces
            .iter()
            .flat_map(|piece| lines.encode(piece).unwrap_or_else(|| piece.to_vec()))
            .collect()
    }

    /// What arrives, and what is passed on.
    const CASES: &[(&str, &str)] = &[
        ("GET /m?filter=a=\"b\" HTTP/1.1\r\n\r\n", "GET /m?filter=a=%22b%22 HTTP/1.1\r\n\r\n"),
        ("GET /m?f=a<1&g=a>1 HTTP/1.1\n\n", "GET /m?f=a%3C1&g=a%3E1 HTTP/1.1\n\n"),
        ("GET /\"m\" HTTP/1.1\r\n\r\n", "GET /\"m\" HTTP/1.1\r\n\r\n"),
        ("GET http://\"h\"/?\"q\" HTTP/1.1\r\n\r\n", "GET http://\"h\"/?%22q%22 HTTP/1.1\r\n\r\n"),
        (
            "\r\n\nGET /?\" HTTP/1.1\r\nif-match: \"1\"?\"<>\r\n\r\nGET /?\"",
            "\r\n\nGET /?%22 HTTP/1.1\r\nif-match: \"1\"?\"<>\r\n\r\nGET /?%22",
        ),
        (
            "POST /?\" HTTP/1.1\r\nContent-Length: 5\r\n\r\n?\"<>\"GET /?\" HTTP/1.1\r\n\r\n",
            "POST /?%22 HTTP/1.1\r\nContent-Length: 5\r\n\r\n?\"<>\"GET /?%22 HTTP/1.1\r\n\r\n",
        ),
        (
            "POST /?\" HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET /?\"",
            "POST /?%22 HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET /?%22",
        ),
    ];

    /// Fields after which nothing more is changed: what comes may be a body.
    const UNUSUAL: &[&str] = &[
        "Transfer-Encoding: chunked",
        "transfer-encoding : chunked",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length:",
        "Content-Length: 3\r\n 4",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 0000000000000000000000000000000000000000000000000000000000000000000003",
        "Upgrade: websocket",
        "x: y\r\n\tz",
    ];

    #[test]
    fn only_queries_of_request_lines_are_encoded() {
        for (arrives, expected) in CASES {
            let shown = String::from_utf8(encoded(&[arrives.as_bytes()])).unwrap();
            assert_eq!(shown, *expected);
            let bytes: Vec<&[u8]> = arrives.as_bytes().chunks(1).collect();
            assert_eq!(encoded(&bytes), expected.as_bytes(), "{arrives} byte by byte");
        }
        for fields in UNUSUAL {
            let request = format!("POST /?\" HTTP/1.1\r\n{fields}\r\n\r\n");
            let rest = "GET /?\"<>\" HTTP/1.1\r\n\r\n".repeat(3);
            let shown = encoded(&[request.as_bytes(), rest.as_bytes()]);
            let expected = format!("{}{rest}", request.replace('"', "%22"));
            assert_eq!(String::from_utf8(shown).unwrap(), expected, "{fields}");
        }
    }

    proptest! {
        /// However requests are cut into pieces, the result is the same; and without the three bytes in it, nothing
        /// is changed.
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET /?", "\"", "<", ">", "?", " HTTP/1.1\r\n", "\r\n", "\n", "a: b\r\n", "\r",
                "Content-Length: 4\r\n", "Content-Length: x\r\n", "Transfer-Encoding: chunked\r\n", "body", ":", " ",
            ]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let whole = parts.concat().into_bytes();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            places.extend([0, whole.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            let result = encoded(&pieces);
            prop_assert_eq!(&result, &encoded(&[&whole]));
            let back = String::from_utf8(result).unwrap();
            let back = back.replace("%22", "\"").replace("%3C", "<").replace("%3E", ">");
            prop_assert_eq!(back.into_bytes(), whole);
        }
    }
}
