//! The `Host` field of a request (RFC 9112, section 3.2).

use std::sync::Arc;

use poem::Request;
use poem::error::ResponseError;
use poem::http::Version;
use poem::http::header::HOST;

use crate::error::{Error, Kind};

/// Rejects an HTTP/1.1 request without `Host`, and any request with several: two servers on its way that
/// take different ones would disagree on where it goes.
pub(super) async fn check(request: Request) -> poem::Result<Request> {
    let found = request.headers().get_all(HOST).iter().count();
    let expected = match (found, request.version()) {
        (1, _) | (0, Version::HTTP_09 | Version::HTTP_10) => return Ok(request),
        _ => "an HTTP/1.1 request has exactly one Host header field",
    };
    let error = Error::new(Kind::InvalidParameter, format!("{expected}; found {found}"));
    let mut rejected = poem::Error::from_status(error.status());
    // Of an error that is not an operation's, `envelope` finds ours among the data.
    rejected.set_data(Arc::new(error));
    Err(rejected)
}
