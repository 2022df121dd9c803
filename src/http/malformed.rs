//! Requests that the HTTP parser rejects: a problem document in place of its empty response.

use bytes::Bytes;
use poem::http::{HeaderValue, StatusCode};

use super::limits::MAX_HEADER_BYTES;
use super::problem::MEDIA_TYPE;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind};

/// The headers that the parser sets. Every response of an operation has others, such as `X-Request-Id`.
const PARSER_HEADERS: [&str; 3] = ["content-length", "connection", "date"];

/// Returns the error that the parser reports, if these bytes are a response of it as a whole: a status line, no other
/// headers than the parser's, and no body. It is the last response of its connection.
pub(super) fn reported(bytes: &[u8]) -> Option<Error> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4").or_else(|| bytes.strip_prefix(b"HTTP/1.0 4"))?;
    let lines = std::str::from_utf8(bytes.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut headers = lines.split("\r\n").skip(1).map(|line| line.split_once(": "));
    let is_of_parser = |name: &str| PARSER_HEADERS.iter().any(|it| name.eq_ignore_ascii_case(it));
    if !headers.all(|header| header.is_some_and(|(name, _)| is_of_parser(name))) {
        return None;
    }
    match status.get(..2)? {
        b"00" => Some(Error::new(
            Kind::MalformedRequest,
            "the request line or a header field is malformed; percent-encode spaces, quotes, `<`, `>` and \
             characters that are not ASCII in the URL, such as %20 for a space",
        )),
        b"14" | b"31" => Some(Error::new(
            Kind::HeadersTooLarge,
            format!("the URL and the header fields exceed {MAX_HEADER_BYTES} bytes or 100 fields"),
        )),
        _ => None,
    }
}

/// Returns the error for a client that starts to speak HTTP/2 without asking, for which the parser has no response.
pub(super) fn http2() -> Error {
    let detail = "expected HTTP/1.1, found HTTP/2; send HTTP/1.1, or let a proxy accept HTTP/2";
    Error::new(Kind::MalformedRequest, detail)
}

/// Returns the whole response with a problem document, the last of its connection. Pages of the origin `page` may read
/// it.
pub(super) fn response(
    status: u16,
    request_id: &str,
    problem: &str,
    page: Option<&HeaderValue>,
) -> Bytes {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or_default();
    // The format of RFC 9110, section 5.6.7.
    let date = timestamp_now().format("%a, %d %b %Y %H:%M:%S GMT");
    let page = page.and_then(|page| page.to_str().ok());
    let page = page.map(|page| format!("access-control-allow-origin: {page}\r\n"));
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\ndate: {date}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
         x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\ncache-control: private, no-cache\r\n\
         {}connection: close\r\n\r\n{problem}",
        problem.len(),
        page.unwrap_or_default()
    );
    response.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_responses_of_the_parser_are_replaced() {
        for (bytes, is_replaced) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 431 Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n", false),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}", false),
            ("HTTP/1.1 400HTTP/1.1 400,drama\r\n", false),
            ("HTTP/1.1 400", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        ] {
            assert_eq!(reported(bytes.as_bytes()).is_some(), is_replaced, "{bytes}");
        }
    }
}
