//! Requests of pages that another server has delivered (CORS: the Fetch Standard, section 3.3).
//!
//! The middleware of the framework is not used, for four reasons. It rejects every request of an origin that is not
//! listed, also those of programs. It omits `Vary` for listed origins, and replaces the `Vary` of the response otherwise.
//! It allows all headers of a request as soon as it allows one of them. It handles each `OPTIONS` of a page as a preflight.
//!
//! Cookies and other credentials of the browser are never allowed: `Access-Control-Allow-Credentials` is not sent. A page
//! can use the service only with a token that it was given, so an origin needs no trust beyond that of its users.

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Once;

use poem::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode};
use poem::{Request, Response};

/// The methods of all documented operations. They are the same for every path: if a path does not support one, the page
/// gets the problem and not only the failure of its preflight.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The request headers that the service reads, without those that need no permission.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Content-Encoding, If-Match, If-None-Match, Idempotency-Key, \
     Prefer, X-Request-Id, traceparent, tracestate";

/// The response headers that the service sends, without those that need no permission.
const EXPOSED: &str = "ETag, Link, Location, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, WWW-Authenticate, Allow, \
     Content-Disposition, Idempotency-Replayed, Preference-Applied, Server-Timing";

/// How long a browser may keep the response to a preflight, in seconds. Chromium keeps none for longer.
const MAX_AGE: &str = "7200";

/// The hosts of [`Origins::loopback`], as browsers send them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The maximum length of an origin in the log, in bytes.
const MAX_LOGGED_BYTES: usize = 256;

/// The origins whose pages may use the service. By default there is none.
#[derive(Debug, Clone, Default)]
pub struct Origins(Allowed);

#[derive(Debug, Clone, Default)]
enum Allowed {
    #[default]
    None,
    /// These, as browsers send them.
    Listed(Vec<HeaderValue>),
    /// All ports of [`LOOPBACK`].
    Loopback,
    Any,
}

impl Origins {
    /// Allows pages of this machine, on any port.
    pub fn loopback() -> Self {
        Self(Allowed::Loopback)
    }

    /// Returns whether pages of every origin are allowed.
    pub fn is_any(&self) -> bool {
        matches!(self.0, Allowed::Any)
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        match &self.0 {
            Allowed::None => false,
            Allowed::Listed(listed) => listed.contains(origin),
            Allowed::Loopback => origin.to_str().is_ok_and(is_loopback),
            Allowed::Any => true,
        }
    }

    /// Returns the origin that can be allowed without knowing that of the request: a request that cannot be parsed has
    /// none. `None` if there are several.
    pub(super) fn only(&self) -> Option<HeaderValue> {
        match &self.0 {
            Allowed::Any => Some(HeaderValue::from_static("*")),
            Allowed::Listed(listed) => match listed.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            Allowed::None | Allowed::Loopback => None,
        }
    }
}

impl FromStr for Origins {
    type Err = String;

    /// Parses origins separated by commas, or `*` for every origin.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self(Allowed::Any));
        }
        let listed = text.split(',').map(|origin| parsed(origin.trim()));
        listed.collect::<Result<_, _>>().map(|listed| Self(Allowed::Listed(listed)))
    }
}

/// Parses an origin, which must be written as browsers send it, because it is compared as it is.
fn parsed(text: &str) -> Result<HeaderValue, String> {
    let expected = "expected SCHEME://HOST or SCHEME://HOST:PORT, such as https://movies.example";
    let malformed = || format!("{expected}; found {text:?}");
    if text == "*" {
        return Err("write `*` alone, or list the origins without it".to_owned());
    }
    if text == "null" {
        return Err(format!("{expected}; found \"null\", which any page can send"));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.contains('*') {
        return Err(format!("list each origin; patterns such as {text:?} are not supported"));
    }
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let ip = rest.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok());
            format!("[{}]", ip.ok_or_else(malformed)?)
        }
        None => host,
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_host = !host.is_empty()
        && (host.starts_with('[')
            || host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)));
    if !is_scheme || !is_host {
        let help = if text.is_ascii() { "" } else { "; write international names as xn--…" };
        return Err(format!("{}{help}", malformed()));
    }
    let port = port.map(|port| port.parse::<u16>().map_err(|_| malformed())).transpose()?;
    let usual = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = port.filter(|port| Some(*port) != usual).map(|port| format!(":{port}"));
    let origin = format!("{scheme}://{host}{}", port.unwrap_or_default());
    if origin != text {
        return Err(format!("expected {origin}, as browsers send it; found {text:?}"));
    }
    HeaderValue::from_str(&origin).map_err(|_| malformed())
}

/// Returns whether an origin is a page of this machine.
fn is_loopback(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let is_port = |rest: &str| match rest.strip_prefix(':') {
        Some(port) => port.chars().all(|c| c.is_ascii_digit()),
        None => rest.is_empty(),
    };
    host.is_some_and(|host| {
        LOOPBACK.iter().any(|loopback| host.strip_prefix(loopback).is_some_and(is_port))
    })
}

/// What a response says to the page that has sent the request.
pub(super) struct Page {
    /// The value of `Access-Control-Allow-Origin`, if the page may read the response.
    allowed: Option<HeaderValue>,
    /// Whether the response depends on the origin of the request.
    varies: bool,
    /// Whether the browser asks if the page may send a request.
    is_preflight: bool,
}

impl Page {
    /// Finds out whether a page has sent the request, and whether its origin is allowed.
    pub(super) fn of(origins: &Origins, request: &Request) -> Self {
        let mut sent = request.headers().get_all(ORIGIN).iter();
        // A browser sends one.
        let origin = match (sent.next(), sent.next()) {
            (Some(origin), None) => Some(origin),
            _ => None,
        };
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let is_allowed = origin.is_some_and(|origin| origins.allow(origin));
        if let Some(origin) = origin.filter(|_| asks && !is_allowed) {
            hint(origin);
        }
        let allowed = match origins.is_any() {
            true => Some(HeaderValue::from_static("*")),
            false => origin.filter(|_| is_allowed).cloned(),
        };
        let varies = !matches!(origins.0, Allowed::None | Allowed::Any);
        Self { allowed, varies, is_preflight: asks && is_allowed }
    }

    /// Returns the response to a preflight of an allowed origin. Every other `OPTIONS` is an ordinary request.
    ///
    /// It needs no token, because browsers send none with a preflight, and is not counted as a request of a user. It
    /// costs as little as a request for an unknown path.
    pub(super) fn preflight(&self) -> Option<Response> {
        self.is_preflight.then(|| {
            let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        })
    }

    /// Adds the header fields that let the page read the response.
    pub(super) fn write_headers(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.allowed else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !self.is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Logs that an origin may be missing from the configuration: browsers say little about it. Logs it once, because any client
/// can send an origin and must not be able to fill the log.
fn hint(origin: &HeaderValue) {
    static HINTED: Once = Once::new();
    HINTED.call_once(|| {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin.get(..MAX_LOGGED_BYTES).unwrap_or(origin);
        tracing::info!(
            origin,
            "a page of an origin that is not allowed has asked for permission; if it is yours, add the origin to \
             --cors-origins"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        let host = "expected SCHEME://HOST";
        for (text, expected) in [
            ("http://localhost:5173", Ok(())),
            ("https://movies.example,http://[::1]:8080,capacitor://localhost", Ok(())),
            (" https://movies.example , https://a.b ", Ok(())),
            ("*", Ok(())),
            ("*,https://movies.example", Err("write `*` alone")),
            ("null", Err("which any page can send")),
            ("", Err(host)),
            (",", Err(host)),
            ("movies.example", Err(host)),
            ("https://", Err(host)),
            ("://movies.example", Err(host)),
            ("https://joe:secret@movies.example", Err(host)),
            ("https://movies.example:port", Err(host)),
            ("https://movies.example:65536", Err(host)),
            ("https://[::1", Err(host)),
            ("https://[x]", Err(host)),
            ("https://kino.exämple", Err("write international names as xn--…")),
            ("https://*.example", Err("list each origin")),
            (
                "https://movies.example/",
                Err("expected https://movies.example, as browsers send it"),
            ),
            ("https://movies.example/app?x#y", Err("expected https://movies.example, as")),
            ("HTTPS://Movies.Example", Err("expected https://movies.example, as")),
            ("https://movies.example:443", Err("expected https://movies.example, as")),
            ("http://movies.example:080", Err("expected http://movies.example, as")),
            ("http://[0:0::1]:81", Err("expected http://[::1]:81, as")),
        ] {
            match (text.parse::<Origins>(), expected) {
                (Ok(_), Ok(())) => {}
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, _) => assert!(found.is_err() == expected.is_err(), "{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_pages_of_this_machine_are_known() {
        for (origin, expected) in [
            ("http://localhost", true),
            ("http://localhost:5173", true),
            ("https://127.0.0.1:1", true),
            ("http://[::1]:8080", true),
            ("http://localhost.example", false),
            ("http://localhost:5173.example", false),
            ("http://127.0.0.10", false),
            ("ftp://localhost", false),
            ("localhost", false),
            ("null", false),
        ] {
            assert_eq!(
                Origins::loopback().allow(&HeaderValue::from_static(origin)),
                expected,
                "{origin}"
            );
        }
    }
}
