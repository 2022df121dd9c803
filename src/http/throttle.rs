//! Limits as clients see them: who is counted, and what an answer says of it
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::web::RemoteAddr;
use poem::{Addr, Request};

use crate::admission::{Admission, Decision, Forwarded};
use crate::app::usage::Class;
use crate::app::{App, refused};
use crate::error::{Error, Result};
use crate::identity::Identity;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What became of a request under its limit, for its answer: the request takes it inside.
#[derive(Default)]
pub(super) struct Noted(OnceLock<Decision>);

impl Noted {
    /// Writes the fields of the limit. What is left and the time until all of it is left again are of
    /// this moment: without a request they only get better.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(decision) = self.0.get() else { return };
        let (name, limit) = (decision.policy.name(), decision.limit);
        let window = limit.window.as_secs();
        let policy = format!("\"{name}\";q={};w={window}", limit.requests);
        let reset = decision.reset.as_millis().div_ceil(1000);
        let state = format!("\"{name}\";r={};t={reset}", decision.remaining);
        for (field, value) in [(POLICY, policy), (STATE, state)] {
            // Names and numbers are printable ASCII.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(field, value);
            }
        }
    }
}

/// Counts the request of somebody who has shown a token.
pub(super) async fn admit(request: &Request, identity: &Identity, class: Class) -> Result<()> {
    let app = request.data::<App>().ok_or_else(|| Error::internal("the service has no state"))?;
    let Some(decision) = app.admit(identity, class).await else { return Ok(()) };
    if let Some(noted) = request.data::<Arc<Noted>>() {
        // A request is counted once.
        let _ = noted.0.set(decision);
    }
    if decision.is_admitted { Ok(()) } else { Err(refused(&decision)) }
}

/// Where the request comes from.
pub(super) fn address(request: &Request, admission: &Admission) -> IpAddr {
    let RemoteAddr(peer) = request.remote_addr();
    let peer = match peer {
        Addr::SocketAddr(address) => address.ip(),
        // There are no others: the service listens on sockets of the internet.
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let fields = |name: &str| {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default()).collect()
    };
    let (x_forwarded_for, forwarded) = (fields("x-forwarded-for"), fields("forwarded"));
    admission.client(peer, &Forwarded { x_forwarded_for, forwarded })
}
