//! Requests that the HTTP parser rejects: a problem document and a line in the log in place of its empty response.

use std::net::IpAddr;

use bytes::Bytes;
use poem::http::HeaderValue;
use uuid::Uuid;

use super::limits::MAX_HEADER_BYTES;
use super::problem::{MEDIA_TYPE, Problem};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind};
use crate::telemetry::metrics::{METRICS, OTHER_METHOD, Request};

/// The headers that the parser sets. Every response of an operation has others, such as `X-Request-Id`.
const PARSER_HEADERS: [&str; 3] = ["content-length", "connection", "date"];

/// Returns the response to send in place of that of the parser, if these bytes are one as a whole: a status line, no
/// other headers than the parser's, and no body. It is the last response of its connection. Pages of the origin `page` may
/// read it.
pub(super) fn replaced(bytes: &[u8], client: IpAddr, page: Option<&HeaderValue>) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4").or_else(|| bytes.strip_prefix(b"HTTP/1.0 4"))?;
    let lines = std::str::from_utf8(bytes.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut headers = lines.split("\r\n").skip(1).map(|line| line.split_once(": "));
    let is_of_parser = |name: &str| PARSER_HEADERS.iter().any(|it| name.eq_ignore_ascii_case(it));
    if !headers.all(|header| header.is_some_and(|(name, _)| is_of_parser(name))) {
        return None;
    }
    let error = match status.get(..2)? {
        b"00" => Error::new(
            Kind::MalformedRequest,
            "the request line or a header field is malformed; percent-encode spaces, quotes, `<`, `>` and \
             characters that are not ASCII in the URL, such as %20 for a space",
        ),
        b"14" | b"31" => Error::new(
            Kind::HeadersTooLarge,
            format!("the URL and the header fields exceed {MAX_HEADER_BYTES} bytes or 100 fields"),
        ),
        _ => return None,
    };
    response(&error, client, page)
}

/// Returns the response to a client that starts to speak HTTP/2 without asking, for which the parser has none.
pub(super) fn http2(client: IpAddr, page: Option<&HeaderValue>) -> Option<Bytes> {
    let detail = "expected HTTP/1.1, found HTTP/2; send HTTP/1.1, or let a proxy accept HTTP/2";
    response(&Error::new(Kind::MalformedRequest, detail), client, page)
}

/// Returns the whole response for an error, the last of its connection.
fn response(error: &Error, client: IpAddr, page: Option<&HeaderValue>) -> Option<Bytes> {
    let id = Uuid::now_v7().to_string();
    note(&id, error, client);
    // Strings and numbers always serialise.
    let body = serde_json::to_string(&Problem::of(error, "", &id)).unwrap_or_default();
    let status = error.kind.status();
    let reason = poem::http::StatusCode::from_u16(status).ok()?.canonical_reason()?;
    // The format of RFC 9110, section 5.6.7.
    let date = timestamp_now().format("%a, %d %b %Y %H:%M:%S GMT");
    let page = page.and_then(|page| page.to_str().ok());
    let page = page.map(|page| format!("access-control-allow-origin: {page}\r\n"));
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\ndate: {date}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: private, no-cache\r\n{}connection: close\r\n\r\n{body}",
        body.len(),
        page.unwrap_or_default()
    );
    Some(response.into())
}

/// Notes a request of which only the client is known.
fn note(request_id: &str, error: &Error, client: IpAddr) {
    let (status, code) = (error.kind.status(), error.kind.code());
    let labels = Request { operation: "", method: OTHER_METHOD, status };
    METRICS.requests.get_or_create(&labels).observe(0.0);
    let client = tracing::field::display(client);
    tracing::info!(
        request_id,
        http.response.status_code = status,
        status,
        error.type = code,
        code,
        client.address = client,
        client,
        "request"
    );
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
            assert_eq!(
                replaced(bytes.as_bytes(), Ipv4Addr::LOCALHOST.into(), None).is_some(),
                is_replaced,
                "{bytes}"
            );
        }
    }
}
