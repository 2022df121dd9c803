//! Rate limits of callers, and the response headers that describe them (draft-ietf-httpapi-ratelimit-headers-10).

use std::net::IpAddr;

use poem::http::header::FORWARDED;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::web::RemoteAddr;
use poem::{Addr, Request};

use super::exchange::Exchange;
use crate::admission::{Admission, Decision, Forwarded};
use crate::app::usage::Class;
use crate::app::{App, rejection};
use crate::error::{Error, Result};
use crate::identity::Identity;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// A name that is known at build time is found without parsing it for each request.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Sets the rate-limit headers for a decision. Remaining requests and reset time are those at the time of the decision.
/// Without further requests they only improve.
pub(super) fn write_headers(decision: &Decision, headers: &mut HeaderMap) {
    let (name, limit) = (decision.policy.name(), decision.limit);
    let window = limit.window.as_secs();
    let policy = format!("\"{name}\";q={};w={window}", limit.requests);
    let reset = decision.reset.as_millis().div_ceil(1000);
    let state = format!("\"{name}\";r={};t={reset}", decision.remaining);
    for (field, value) in [(POLICY, policy), (STATE, state)] {
        // Cannot fail: names and numbers are printable ASCII.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(field, value);
        }
    }
}

/// Counts the request of a caller with a valid token, or of one without a token to a public catalogue.
///
/// # Errors
/// [`crate::error::Kind::TooManyRequests`] if the caller is over the rate limit.
pub(super) async fn admit(request: &Request, identity: &Identity, class: Class) -> Result<()> {
    let app = request
        .data::<App>()
        .ok_or_else(|| Error::internal("a request without `App` in its data"))?;
    let exchange = Exchange::of(request)?;
    let client = exchange.client_address()?;
    let Some(decision) = app.admit(identity, client, class).await else { return Ok(()) };
    // Already set only if a request is counted twice, which does not happen.
    let _ = exchange.decision.set(decision);
    if decision.is_admitted { Ok(()) } else { Err(rejection(&decision)) }
}

/// Returns the IP address of the client of a request, which trusted proxies may have forwarded.
pub(super) fn client_ip(request: &Request, admission: &Admission) -> IpAddr {
    let RemoteAddr(peer) = request.remote_addr();
    let peer = match peer {
        Addr::SocketAddr(address) => Some(address.ip()),
        _ => None,
    };
    let fields = |name: HeaderName| {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default()).collect()
    };
    let (x_forwarded_for, forwarded) = (fields(X_FORWARDED_FOR), fields(FORWARDED));
    admission.client(peer, &Forwarded { x_forwarded_for, forwarded })
}
