//! The `Host` header field of a request (RFC 9112, section 3.2).

use std::sync::Arc;

use poem::Request;
use poem::error::ResponseError;
use poem::http::Version;
use poem::http::header::HOST;

use crate::error::{Error, Kind};

/// Rejects an HTTP/1.1 request without `Host`, and any request with several. Otherwise two servers on the route could
/// use different fields and disagree on the target.
pub(super) async fn check(request: Request) -> poem::Result<Request> {
    let found = request.headers().get_all(HOST).iter().count();
    let expected = match (found, request.version()) {
        (1, _) | (0, Version::HTTP_09 | Version::HTTP_10) => return Ok(request),
        _ => "expected exactly one Host header field",
    };
    let error = Error::new(Kind::InvalidParameter, format!("{expected}; found {found}"));
    let mut rejected = poem::Error::from_status(error.status());
    // `envelope` takes the error out of the data of the framework's error.
    rejected.set_data(Arc::new(error));
    Err(rejected)
}
