//! What the log and the metrics say about a request, once it has been served.
//!
//! There is one event for each request, also for one that the parser rejects. It is a warning or an error if the
//! service has failed, and a warning if credentials were rejected, so that an operator who logs warnings only sees who
//! guesses passwords.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};
use poem::http::Method;
use poem::{Request, Response};
use tracing::Level;

use super::exchange::Exchange;
use crate::error::{Error, Kind};
use crate::identity::Rejection;
use crate::telemetry::account::Stage;
use crate::telemetry::metrics::{self, Aborted, METRICS, OTHER_METHOD, Problem, Rejected};
use crate::telemetry::trace::Trace;

/// The status in logs and metrics of a request whose client has disconnected before its response was ready.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The maximum number of warnings about rejected credentials in a second, and at once. Further ones are no warnings.
const WARNINGS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
const WARNINGS_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// The maximum length of the path and of the cause in logs and traces, in bytes.
const MAX_LOGGED_BYTES: usize = 1024;

/// The standard methods (RFC 9110, section 9; RFC 5789).
const METHOD_NAMES: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

static WARNINGS: LazyLock<DefaultDirectRateLimiter> = LazyLock::new(|| {
    RateLimiter::direct(Quota::per_second(WARNINGS_PER_SECOND).allow_burst(WARNINGS_AT_ONCE))
});

/// The number of warnings that were left out since the last one.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// The event of a request, which is noted when it is dropped.
pub(super) struct Event {
    exchange: Arc<Exchange>,
    method: &'static str,
    path: String,
    /// The status of the response; [`CLIENT_CLOSED_REQUEST`] until there is one.
    status: u16,
    error: Option<Arc<Error>>,
    /// The size of the body, as far as it was sent if it is streamed.
    bytes: u64,
    /// Whether a streamed body has ended early.
    is_aborted: bool,
    is_preflight: bool,
}

impl Event {
    /// Begins the event of a request.
    pub(super) fn of(exchange: Arc<Exchange>, request: &Request) -> Self {
        METRICS.active_requests.inc();
        Self {
            exchange,
            method: name(request.method()),
            path: request.uri().path().to_owned(),
            status: CLIENT_CLOSED_REQUEST,
            error: None,
            bytes: 0,
            is_aborted: false,
            is_preflight: false,
        }
    }

    /// Notes a request that the parser has rejected, so that only its client is known. `bytes` is the size of the body
    /// of the response.
    pub(super) fn note_malformed(exchange: Exchange, error: Error, bytes: usize) {
        METRICS.active_requests.inc();
        drop(Self {
            exchange: Arc::new(exchange),
            method: OTHER_METHOD,
            path: String::new(),
            status: error.kind.status(),
            error: Some(Arc::new(error)),
            bytes: bytes as u64,
            is_aborted: false,
            is_preflight: false,
        });
    }

    /// Returns the path of the request.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Notes that the request is a preflight of a page. It is logged at debug level, because the request of the page follows.
    pub(super) fn is_preflight(&mut self) {
        self.is_preflight = true;
    }

    /// Notes the error that the response reports.
    pub(super) fn fails(&mut self, error: Arc<Error>) {
        self.error = Some(error);
    }

    /// Notes the response. If its body is streamed, the event continues until the body ends.
    pub(super) fn ends_with(mut self, mut response: Response) -> Response {
        self.status = response.status().as_u16();
        let body: BoxBody<Bytes, std::io::Error> = response.take_body().into();
        match body.size_hint().exact() {
            Some(bytes) => {
                self.bytes = bytes;
                response.set_body(body);
            }
            // Its body is not sent.
            None if self.method == "HEAD" => response.set_body(body),
            None => {
                self.is_aborted = true;
                response.set_body(BoxBody::new(Streamed { body, event: self }));
            }
        }
        response
    }

    /// Returns the level of the event and, for a warning about rejected credentials, how many were left out before it.
    fn level(&self, rejection: Option<&Rejection>) -> (Level, u64) {
        match self.error.as_ref().map(|error| error.kind) {
            Some(Kind::Internal) => (Level::ERROR, 0),
            Some(Kind::Unavailable) => (Level::WARN, 0),
            None if self.is_preflight => (Level::DEBUG, 0),
            _ if rejection.is_none() => (Level::INFO, 0),
            _ if WARNINGS.check().is_ok() => (Level::WARN, SUPPRESSED.swap(0, Ordering::Relaxed)),
            _ => {
                SUPPRESSED.fetch_add(1, Ordering::Relaxed);
                (Level::INFO, 0)
            }
        }
    }

    fn log(&self) {
        let rejection = self.rejection();
        let (level, suppressed) = self.level(rejection);
        let Self { exchange, method, status, .. } = self;
        let path = Some(shortened(&self.path)).filter(|path| !path.is_empty());
        let Exchange { account, operation, caller, .. } = exchange.as_ref();
        let (operation, caller) = (operation.get(), caller.get());
        let route = operation.map(|operation| operation.route.as_str());
        let code = self.error.as_ref().map(|error| error.kind.code());
        let of_token = rejection.and_then(|rejection| rejection.subject.as_deref());
        let subject = caller.map(|caller| caller.subject.as_str()).or(of_token);
        let role = caller.map(|caller| caller.role.as_str());
        let client = account.client().map(tracing::field::display);
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    request_id = account.request_id(),
                    trace_id = account.trace().map(Trace::id),
                    operation = operation.map(|operation| operation.id.as_str()),
                    http.request.method = method,
                    method,
                    http.route = route,
                    route,
                    url.path = path,
                    http.response.status_code = status,
                    status,
                    error.type = code,
                    code,
                    diagnostics = self.diagnostics(),
                    pointers = self.pointers(),
                    user.id = subject,
                    subject,
                    user.roles = role,
                    role,
                    client.address = client,
                    client,
                    microseconds = microseconds(account.elapsed()),
                    database_microseconds = microseconds(account.time_of_database()),
                    waiting_microseconds = microseconds(account.time_of(Stage::Acquire)),
                    statements = account.statements(),
                    rows = account.rows(),
                    http.response.body.size = self.bytes,
                    bytes = self.bytes,
                    aborted = self.is_aborted.then_some(true),
                    query = account.query().filter(|query| !query.is_empty()),
                    reason = rejection.map(|rejection| rejection.reason.code()),
                    user = exchange.user.get().map(String::as_str),
                    cause = self.cause(),
                    suppressed = Some(suppressed).filter(|count| *count > 0),
                    "request"
                )
            };
        }
        match level {
            Level::ERROR => write!(error),
            Level::WARN => write!(warn),
            Level::DEBUG => write!(debug),
            _ => write!(info),
        }
    }

    fn rejection(&self) -> Option<&Rejection> {
        self.error.as_deref().and_then(Rejection::cause_of)
    }

    fn cause(&self) -> Option<String> {
        let cause = self.error.as_ref()?.cause.as_ref()?.to_string();
        Some(shortened(&cause).to_owned())
    }

    /// Returns the codes of the problems of a query.
    fn diagnostics(&self) -> Option<String> {
        let codes = self.error.as_ref()?.diagnostics.iter().map(|problem| problem.code.as_str());
        Some(codes.collect::<Vec<_>>().join(" ")).filter(|codes| !codes.is_empty())
    }

    /// Ends the span of the request. A rejected request is no failure of the service.
    fn end_trace(&self) {
        let Exchange { account, operation, caller, .. } = self.exchange.as_ref();
        let Some(trace) = account.trace() else { return };
        let route = operation.get().map(|operation| operation.route.as_str());
        let facts = || {
            let name = format!("{} {}", self.method, route.unwrap_or_default());
            let code = self.error.as_ref().map(|error| error.kind.code().to_owned());
            let attributes = [
                ("request_id", Some(account.request_id().to_owned())),
                ("http.request.method", Some(self.method.to_owned())),
                ("http.route", route.map(str::to_owned)),
                ("url.path", Some(shortened(&self.path).to_owned())),
                ("http.response.status_code", Some(self.status.to_string())),
                ("error.type", code),
                ("user.id", caller.get().map(|caller| caller.subject.clone())),
                ("client.address", account.client().map(|client| client.to_string())),
            ];
            let known = attributes.into_iter().filter_map(|(name, value)| Some((name, value?)));
            (name.trim_end().to_owned(), known.collect())
        };
        // A streamed response can fail after its status was sent.
        let kind = self.error.as_ref().map(|error| error.kind);
        let has_failed = matches!(kind, Some(Kind::Internal | Kind::Unavailable));
        let failure = has_failed.then(|| self.cause().unwrap_or_default());
        trace.end(facts, failure.as_deref());
    }

    /// Returns the members of a record that break a rule.
    fn pointers(&self) -> Option<String> {
        let pointers = self.error.as_ref()?.violations.iter().map(|rule| rule.pointer.as_str());
        let pointers = pointers.collect::<Vec<_>>().join(" ");
        Some(shortened(&pointers).to_owned()).filter(|pointers| !pointers.is_empty())
    }

    fn count(&self) {
        METRICS.active_requests.dec();
        let operation = self.exchange.operation.get().map_or("", |operation| &operation.id);
        let labels = metrics::Request { operation, method: self.method, status: self.status };
        let seconds = self.exchange.account.elapsed().as_secs_f64();
        METRICS.requests.get_or_create(&labels).observe(seconds);
        if self.is_aborted {
            let by = if self.error.is_some() { "service" } else { "client" };
            METRICS.aborted.get_or_create(&Aborted { by }).inc();
        }
        for problem in self.error.iter().flat_map(|error| &error.diagnostics) {
            METRICS.problems.get_or_create(&Problem { code: problem.code.as_str() }).inc();
        }
        if let Some(rejection) = self.rejection() {
            let credentials = if rejection.user.is_some() { "password" } else { "token" };
            let labels = Rejected { credentials, reason: rejection.reason.code() };
            METRICS.rejections.get_or_create(&labels).inc();
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.count();
        self.log();
        self.end_trace();
    }
}

/// Returns the start of a text that a client can make long.
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LOGGED_BYTES)).unwrap_or(text)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the name of a method in logs and metrics.
fn name(method: &Method) -> &'static str {
    let known = METHOD_NAMES.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or(OTHER_METHOD)
}

/// A streamed body, whose end is that of the event.
struct Streamed {
    body: BoxBody<Bytes, std::io::Error>,
    event: Event,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.event.bytes += bytes as u64;
            }
            Poll::Ready(Some(Err(error))) => {
                // The client has an incomplete file or list.
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
                let kind = cause.map_or(Kind::Internal, |cause| cause.kind);
                let cause = cause.map_or_else(|| error.to_string(), Error::chain);
                self.event.error =
                    Some(Arc::new(Error { cause: Some(cause.into()), ..Error::new(kind, "") }));
            }
            Poll::Pending => {}
            Poll::Ready(None) => self.event.is_aborted = false,
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
