//! The `Host` header field of a request (RFC 9112, section 3.2).

use std::net::IpAddr;
use std::sync::Arc;

use poem::Request;
use poem::error::ResponseError;
use poem::http::Version;
use poem::http::header::HOST;

use super::exchange::Exchange;
use crate::error::{Error, Kind};

/// Rejects an HTTP/1.1 request without `Host`, and any request with several. Otherwise two servers on the route could
/// use different fields and disagree on the target. A service for this machine also rejects the names of others.
pub(super) async fn check(request: Request) -> poem::Result<Request> {
    let found = request.headers().get_all(HOST).iter().count();
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let is_local = Exchange::of(&request).is_ok_and(|exchange| exchange.service.is_local);
    let detail = match (found, request.version()) {
        (1, _) if is_local && !host.is_some_and(is_of_this_machine) => {
            "Host: expected localhost or a loopback address, because every client may write; to serve other names, add \
             --allow-open"
                .to_owned()
        }
        (1, _) | (0, Version::HTTP_09 | Version::HTTP_10) => return Ok(request),
        _ => format!("expected exactly one Host header field; found {found}"),
    };
    let error = Error::new(Kind::InvalidParameter, detail);
    let mut rejected = poem::Error::from_status(error.status());
    // `envelope` takes the error out of the data of the framework's error.
    rejected.set_data(Arc::new(error));
    Err(rejected)
}

/// Returns whether a host, with or without a port, is this machine for every resolver.
fn is_of_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let is_loopback = name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    is_loopback || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_recognised() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("movies.localhost:1", true),
            ("127.0.0.1:8080", true),
            ("127.8.9.1", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("evil.example:8080", false),
            ("127.0.0.1.example", false),
            ("192.0.2.7:8080", false),
            ("0.0.0.0:8080", false),
            ("", false),
        ] {
            assert_eq!(is_of_this_machine(host), expected, "{host}");
        }
    }
}
