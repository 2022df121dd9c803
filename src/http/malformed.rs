//! Requests that the HTTP parser rejects: a problem document and a line in the log in place of its empty response.

use bytes::Bytes;
use uuid::Uuid;

use super::limits::MAX_HEADER_BYTES;
use super::problem::{MEDIA_TYPE, Problem};
use crate::error::{Error, Kind};

/// The name of a header that every response of an operation has, and no response of the parser.
const OURS: &[u8] = b"x-request-id";

/// Returns the response to send in place of that of the parser, if these bytes are one. It is the last response of its
/// connection.
pub(super) fn replaced(bytes: &[u8]) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4").or_else(|| bytes.strip_prefix(b"HTTP/1.0 4"))?;
    if bytes.windows(OURS.len()).any(|part| part == OURS) {
        return None;
    }
    let error = match status.get(..2)? {
        b"00" => Error::new(
            Kind::MalformedRequest,
            "the request line or a header field is malformed; percent-encode each space and each character in the \
             URL that is not ASCII, such as %20 for a space",
        ),
        b"14" | b"31" => Error::new(
            Kind::HeadersTooLarge,
            format!("the URL and the header fields have more than {MAX_HEADER_BYTES} bytes"),
        ),
        _ => return None,
    };
    let id = Uuid::now_v7().to_string();
    tracing::info!(request_id = id, code = error.kind.code(), "rejected by the HTTP parser");
    // Strings and numbers always serialise.
    let body = serde_json::to_string(&Problem::of(&error, "", &id)).unwrap_or_default();
    let status = error.kind.status();
    let reason = poem::http::StatusCode::from_u16(status).ok()?.canonical_reason()?;
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: private, no-cache\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    Some(response.into())
}
