//! Traces, received by a collector of the tests' own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use serde_json::{Value, json};

use crate::command_line::{Service, cinequery, folder};
use crate::support::{Client, Database, SECRET, on_both};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Receives spans over HTTP until it is dropped.
struct Collector {
    url: String,
    received: mpsc::Receiver<(String, ExportTraceServiceRequest)>,
}

impl Collector {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::channel();
        // The thread ends with the process of the tests: no more connections come.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    while let Some(request) = receive(&mut stream) {
                        let _ = sender.send(request);
                        let response = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\
                                        content-type: application/x-protobuf\r\n\r\n";
                        stream.write_all(response.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { url, received }
    }

    /// Returns the spans that have been received, with the attributes of their resources.
    fn spans(&self) -> (Vec<Span>, BTreeSet<(String, String)>) {
        let (mut spans, mut resource) = (Vec::new(), BTreeSet::new());
        for (path, request) in self.received.try_iter() {
            assert_eq!(path, "/v1/traces");
            for group in request.resource_spans {
                let attributes = group.resource.unwrap().attributes.into_iter();
                resource.extend(attributes.map(|pair| (pair.key, text(pair.value.unwrap().value))));
                spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (spans, resource)
    }
}

fn text(value: Option<Any>) -> String {
    match value {
        Some(Any::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

/// Reads a request; `None` at the end of the connection.
fn receive(stream: &mut impl Read) -> Option<(String, ExportTraceServiceRequest)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").unwrap().1;
    let length: usize = length.split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1).unwrap().to_owned();
    Some((path, ExportTraceServiceRequest::decode(body.as_slice()).unwrap()))
}

/// Starts a service that sends its spans to this URL.
fn start(database: &Database, variables: &[(&str, &str)]) -> Service {
    let folder = folder();
    let listen = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
    let mut command = cinequery(folder.path(), &listen);
    command.args(["--database", &database.url()]).envs(variables.iter().copied());
    Service::start(command)
}

/// Sends a search with a context and returns its log event.
async fn search(service: Service, filter: &str) -> Value {
    let client = Client::at(service.address.clone());
    let request = client.request("GET", "/api/v1/movies").query(&[("filter", filter)]);
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    client.send(request.header("x-request-id", "1")).await;
    let log = service.whole_log();
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.find(|event| event["request_id"] == "1").unwrap()
}

#[tokio::test]
async fn a_request_is_a_span_with_one_for_each_stage() {
    on_both(async |database| {
        let collector = Collector::start();
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
        let event = search(start(&database, &variables), "genre = \"drama\"").await;
        assert_eq!((&event["trace_id"], &event["status"]), (&json!(TRACE), &json!(200)));

        let (spans, resource) = collector.spans();
        for pair in [("service.name", "cinequery"), ("service.version", env!("CARGO_PKG_VERSION"))]
        {
            let pair = (pair.0.to_owned(), pair.1.to_owned());
            assert!(resource.contains(&pair), "{pair:?}: {resource:?}");
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let of_request: Vec<&Span> = spans.iter().filter(|s| hex(&s.trace_id) == TRACE).collect();
        let root = of_request.iter().find(|span| hex(&span.parent_span_id) == PARENT).unwrap();
        assert_eq!(root.name, "GET /api/v1/movies");
        assert_eq!(root.kind(), SpanKind::Server);
        let attributes = root.attributes.iter().cloned();
        let attributes: BTreeSet<(String, String)> =
            attributes.map(|pair| (pair.key, text(pair.value.unwrap().value))).collect();
        for (name, value) in [
            ("http.request.method", "GET"),
            ("http.route", "/api/v1/movies"),
            ("http.response.status_code", "200"),
            ("user.id", "tester"),
            ("client.address", "127.0.0.1"),
            ("request_id", "1"),
        ] {
            let pair = (name.to_owned(), value.to_owned());
            assert!(attributes.contains(&pair), "{pair:?}: {attributes:?}");
        }
        let children = of_request.iter().filter(|span| span.parent_span_id == root.span_id);
        let mut children: Vec<&&Span> = children.collect();
        children.sort_by_key(|span| span.start_time_unix_nano);
        let mut names: Vec<&str> = children.iter().map(|span| span.name.as_str()).collect();
        // An empty page has no row to encode on PostgreSQL.
        names.retain(|name| *name != "encode");
        // The parameters are checked after the filter, and the SQL is built after the choice of the access path.
        names.dedup();
        assert_eq!(names, ["parse", "check", "compile", "acquire", "execute"]);
        for child in children {
            assert!(child.start_time_unix_nano >= root.start_time_unix_nano, "{child:?}");
            assert!(child.end_time_unix_nano <= root.end_time_unix_nano, "{child:?}");
        }
    })
    .await;
}

/// A failure of the service is a failed span; a mistake of the client is not.
#[tokio::test]
async fn a_rejected_query_is_no_failure_of_the_service() {
    let collector = Collector::start();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_SERVICE_NAME", "catalogue"),
    ];
    let event = search(start(&Database::sqlite(), &variables), "gnre = 1").await;
    assert_eq!(event["status"], 400);
    let (spans, resource) = collector.spans();
    assert!(resource.contains(&("service.name".to_owned(), "catalogue".to_owned())));
    let root = spans.iter().find(|span| span.name == "GET /api/v1/movies").unwrap();
    let status = root.status.as_ref().map_or(StatusCode::Unset, |status| status.code());
    assert_eq!(status, StatusCode::Unset);
    let codes = root.attributes.iter().filter(|pair| pair.key == "error.type");
    let codes: Vec<String> = codes.map(|p| text(p.value.clone().unwrap().value)).collect();
    assert_eq!(codes, ["invalid_query"]);
}

#[tokio::test]
async fn without_a_collector_the_log_has_the_trace_id_only() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        let event = search(start(&Database::sqlite(), variables), "genre = \"drama\"").await;
        assert_eq!((&event["trace_id"], &event["status"]), (&json!(TRACE), &json!(200)));
    }
}

/// Requests never wait for the collector, and spans are sent again when it responds.
#[tokio::test]
async fn a_collector_that_does_not_respond_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let database = Database::sqlite();
    let service = start(&database, &variables);
    let client = Client::at(service.address.clone());
    // More than the queue holds.
    for _ in 0..3000 {
        assert_eq!(client.get("/livez").await.status, 200);
    }
    drop(silent);
    let collector = Collector::on(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let started = Instant::now();
    while collector.spans().0.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "no span arrives");
        assert_eq!(client.get("/livez").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(service.stop(), Some(0));
}

/// A message about spans that were not sent says where they should have gone, without the password.
#[tokio::test]
async fn failures_of_the_collector_are_logged_with_its_url() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://joe:hunter2@127.0.0.1:{closed}");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())];
    let service = start(&Database::sqlite(), &variables);
    assert_eq!(Client::at(service.address.clone()).get("/livez").await.status, 200);
    let log = service.whole_log();
    assert!(log.contains(&format!("spans not sent to http://127.0.0.1:{closed}: ")), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn unsupported_protocols_are_rejected() {
    let folder = folder();
    let mut command =
        cinequery(folder.path(), &["serve", "--auth", "open", "--listen", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let output = command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf"), "{log}");
    assert_eq!(output.status.code(), Some(1));
}

/// A client that asks for it sees how long the stages of its request took.
#[tokio::test]
async fn stages_are_timed_when_asked() {
    on_both(async |database| {
        let client = Client::of(database).await;
        assert_eq!(client.get("/api/v1/movies").await.header("server-timing"), "");
        let request = client.request("GET", "/api/v1/movies?filter=genre=%22drama%22");
        let response = client.send(request.header("prefer", "return=minimal, server-timing")).await;
        assert_eq!(response.header("preference-applied"), "server-timing");
        let timings = response.header("server-timing").split(", ");
        let (mut names, mut sum, mut total) = (Vec::new(), 0.0, 0.0);
        for timing in timings {
            let (name, duration) = timing.split_once(";dur=").unwrap();
            let duration: f64 = duration.parse().unwrap();
            match name {
                "total" => total = duration,
                _ => sum += duration,
            }
            names.push(name);
        }
        assert_eq!(names, ["parse", "check", "compile", "acquire", "execute", "encode", "total"]);
        assert!(sum <= total && total > 0.0, "{sum} {total}");
    })
    .await;
}
