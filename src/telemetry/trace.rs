//! Traces: a span for each request and for each of its stages, sent to a collector over OTLP.
//!
//! They are off unless one of the standard variables names a collector. The context of a request (W3C Trace Context) is
//! also read without one, so that the log has its trace id.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::stage::Stage;

/// The variables that name a collector (OpenTelemetry, OTLP Exporter Configuration).
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variables of the protocol. Only protobuf over HTTP is supported.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const PROTOCOL: &str = "http/protobuf";

/// The variables of the certificate authority of the collector: a file (PEM).
const CERTIFICATES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];

/// The variables of the timeout, in milliseconds, and its default.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of stages of a request that become spans. An export has one for each statement.
const MAX_SPANS: usize = 128;

/// How long a stop waits for the spans that are left.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The tracer of this process, if traces are on.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends spans until it is stopped.
#[derive(Debug)]
pub struct Tracing {
    provider: SdkTracerProvider,
    collector: String,
}

impl Tracing {
    /// Starts to send spans, if the environment names a collector. `service` and `version` describe this process, unless
    /// the environment does.
    ///
    /// # Errors
    /// A message if a variable has a value that is not supported.
    pub fn start(service: &'static str, version: &'static str) -> Result<Option<Self>, String> {
        let is_off = variable(&["OTEL_SDK_DISABLED"]).is_some_and(|value| value == "true")
            || variable(&["OTEL_TRACES_EXPORTER"]).is_some_and(|value| value == "none");
        let Some(endpoint) = variable(&ENDPOINTS).filter(|_| !is_off) else { return Ok(None) };
        let collector = origin(&endpoint);
        if let Some(protocol) = variable(&PROTOCOLS).filter(|protocol| protocol != PROTOCOL) {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL: expected {PROTOCOL}, found {protocol:?}"
            ));
        }
        let client = Client { http: client()?, runtime: Handle::current() };
        let exporter = OtlpExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", version));
        if variable(&["OTEL_SERVICE_NAME"]).is_none() {
            resource = resource.with_service_name(service);
        }
        let exporter = Exporter { exporter, collector: collector.clone() };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        let provider = provider.with_resource(resource.build()).build();
        let _ = TRACER.set(provider.tracer(service));
        Ok(Some(Self { provider, collector }))
    }

    /// Sends the spans that are left, for at most two seconds.
    pub async fn stop(self) {
        let Self { provider, collector } = self;
        // It blocks its thread.
        let stopped =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        if let Ok(Err(error)) = stopped.await {
            tracing::warn!(%error, collector, "the last spans were not sent");
        }
    }
}

/// Returns the first of these variables that has a value.
fn variable(names: &[&str]) -> Option<String> {
    let values = names.iter().filter_map(|name| std::env::var(name).ok());
    values.into_iter().find(|value| !value.is_empty())
}

/// Returns the scheme, the host and the port of a URL. The rest may have a password or a key.
fn origin(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(
        |_| "a collector with a malformed URL".to_owned(),
        |url| url.origin().ascii_serialization(),
    )
}

/// Names the collector in errors. Those of the library do not say where it sends the spans.
#[derive(Debug)]
struct Exporter {
    exporter: OtlpExporter,
    collector: String,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.exporter.export(batch).await.map_err(|error| {
            let reason = match error {
                OTelSdkError::InternalFailure(reason) => reason,
                other => other.to_string(),
            };
            OTelSdkError::InternalFailure(format!("spans not sent to {}: {reason}", self.collector))
        })
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn client() -> Result<reqwest::Client, String> {
    let timeout = variable(&TIMEOUTS).and_then(|time| time.parse().ok());
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout);
    let mut client = client.redirect(reqwest::redirect::Policy::none());
    if let Some(path) = variable(&CERTIFICATES) {
        let failed = |error: String| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {path}: {error}");
        let pem = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem);
        for certificate in certificates.map_err(|error| failed(error.to_string()))? {
            client = client.add_root_certificate(certificate);
        }
    }
    client.build().map_err(|error| error.to_string())
}

/// Sends spans for the exporter, whose thread is outside of the runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for Client {
    // What `async_trait` makes of an asynchronous function.
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move {
            let response = http.execute(request.try_into()?).await?;
            let mut received = Response::builder().status(response.status());
            if let Some(headers) = received.headers_mut() {
                headers.extend(response.headers().clone());
            }
            Ok(received.body(response.bytes().await?)?)
        });
        Box::pin(async move { sent.await? })
    }
}

/// The context of a request, which its client may have sent (W3C Trace Context).
#[derive(Debug)]
pub struct Trace {
    context: SpanContext,
    /// The span of the request and those of its stages, if it is sampled.
    recording: Option<Mutex<Recording>>,
}

/// The spans of a request.
struct Recording {
    span: Span,
    /// The stages with their start and end.
    stages: Vec<(Stage, SystemTime, SystemTime)>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stages", self.stages.len())
    }
}

impl Trace {
    /// Returns the trace of a request with this `traceparent` and `tracestate`; `None` if the request has no valid context
    /// and traces are off.
    pub fn of(parent: Option<&str>, state: Option<&str>) -> Option<Self> {
        let parent = parent.and_then(|parent| parsed(parent, state));
        let Some(tracer) = TRACER.get() else {
            return parent.map(|context| Self { context, recording: None });
        };
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder, &context);
        let context = span.span_context().clone();
        let is_sampled = context.is_sampled();
        let recording = is_sampled.then(|| Mutex::new(Recording { span, stages: Vec::new() }));
        Some(Self { context, recording })
    }

    /// Returns the trace id, 32 hexadecimal digits.
    pub fn id(&self) -> String {
        self.context.trace_id().to_string()
    }

    /// Returns the context for requests that this one causes, in the form of the header `traceparent`.
    pub fn parent(&self) -> String {
        let flags = self.context.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", self.context.trace_id(), self.context.span_id())
    }

    /// Notes a stage that has ended now.
    pub(super) fn note(&self, stage: Stage, time: Duration) {
        let Some(recording) = &self.recording else { return };
        let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
        if recording.stages.len() < MAX_SPANS {
            let end = SystemTime::now();
            recording.stages.push((stage, end.checked_sub(time).unwrap_or(end), end));
        }
    }

    /// Ends the span of the request, with its name, its attributes and, if it has failed, the reason.
    pub fn end(
        &self,
        name: impl FnOnce() -> (String, Vec<(&'static str, String)>),
        failure: Option<&str>,
    ) {
        let (Some(recording), Some(tracer)) = (&self.recording, TRACER.get()) else { return };
        let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = std::mem::take(&mut recording.stages);
        let parent = Context::new().with_remote_span_context(self.context.clone());
        for (stage, start, end) in stages {
            let builder = SpanBuilder::from_name(stage.name()).with_start_time(start);
            tracer.build_with_context(builder, &parent).end_with_timestamp(end);
        }
        let (name, attributes) = name();
        recording.span.update_name(name);
        recording
            .span
            .set_attributes(attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)));
        if let Some(failure) = failure {
            recording.span.set_status(Status::error(failure.to_owned()));
        }
        recording.span.end();
    }
}

/// Parses a `traceparent` of version 00 or later (W3C Trace Context, section 3.2).
fn parsed(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = parent.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2);
    if !is_known {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    // A malformed state does not invalidate the parent.
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, state)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_no_secret_of_the_url() {
        for (url, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("https://joe:hunter2@otel.example/v1/traces?key=hunter2", "https://otel.example"),
            ("otel.example:4318", "null"),
            ("no URL", "a collector with a malformed URL"),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }

    #[test]
    fn contexts_are_parsed_as_the_standard_says() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (parent, is_valid) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true),
            // A later version may have more parts.
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            let found = Trace::of(Some(parent), Some("a=b")).map(|trace| trace.id());
            assert_eq!(found.as_deref(), is_valid.then_some(trace), "{parent}");
        }
    }
}
