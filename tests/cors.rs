//! Requests of pages from other origins (CORS).

use std::collections::BTreeSet;

use cinequery::admission::{Admission, Proxies};
use cinequery::http::{Limits, Settings, specification};
use cinequery::identity::Open;
use reqwest::header::HeaderMap;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::command_line::{Service, cinequery, folder, run};
use crate::support::{Client, Database, Response, app, app_with, catalogue, on_both};

const MOVIES: &str = "/api/v1/movies";
const PAGE: &str = "https://movies.example";
const OTHER: &str = "http://localhost:5173";

/// Response headers that every page may read (Fetch Standard, section 2.2.2).
const READABLE: &[&str] = &["cache-control", "content-length", "content-type"];

/// Response headers that no page needs.
const UNREADABLE: &[&str] = &["connection", "date", "vary", "x-content-type-options"];

async fn served(database: Database, origins: &str) -> Client {
    let app = app(database.store().await);
    let settings = Settings { origins: origins.parse().unwrap(), ..Settings::default() };
    Client::by(database, app, settings).await
}

/// Sends a request of a page.
async fn send(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request).await
}

async fn preflight(client: &Client, origin: &str, method: &str, path: &str) -> Response {
    let asked = [("origin", origin), ("access-control-request-method", method)];
    send(&client.with_token(None), "OPTIONS", path, &asked).await
}

fn items(headers: &HeaderMap, name: &str) -> BTreeSet<String> {
    let values = headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap().split(','));
    values.map(|item| item.trim().to_lowercase()).collect()
}

/// The setting, the origin of the request, the allowed origin of the response, and whether it varies.
const ORIGINS: &[(Option<&str>, Option<&str>, &str, bool)] = &[
    (None, Some(PAGE), "", false),
    (Some(PAGE), None, "", true),
    (Some(PAGE), Some(PAGE), PAGE, true),
    (Some(PAGE), Some(OTHER), "", true),
    (Some(PAGE), Some("https://movies.example:8443"), "", true),
    (Some(PAGE), Some("http://movies.example"), "", true),
    (Some(PAGE), Some("https://movies.example.evil.example"), "", true),
    (Some(PAGE), Some("https://sub.movies.example"), "", true),
    (Some(PAGE), Some("HTTPS://MOVIES.EXAMPLE"), "", true),
    (Some(PAGE), Some("null"), "", true),
    (Some(PAGE), Some("*"), "", true),
    (Some(PAGE), Some(""), "", true),
    (Some("https://movies.example,http://localhost:5173"), Some(OTHER), OTHER, true),
    (Some("*"), Some("https://any.example"), "*", false),
    (Some("*"), Some("null"), "*", false),
    (Some("*"), None, "*", false),
];

#[tokio::test]
async fn the_listed_origins_may_read_responses() {
    for (setting, origin, expected, varies) in ORIGINS {
        let client = match setting {
            Some(setting) => served(Database::sqlite(), setting).await,
            None => Client::of(Database::sqlite()).await,
        };
        let sent: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
        for path in [MOVIES, "/docs", "/openapi.json", "/livez", "/nothing"] {
            let response = send(&client, "GET", path, &sent).await;
            let name = format!("{setting:?} {origin:?} {path}");
            assert_eq!(response.header("access-control-allow-origin"), *expected, "{name}");
            let exposed = response.header("access-control-expose-headers");
            assert_eq!(exposed.is_empty(), expected.is_empty(), "{name}");
            let vary = items(&response.headers, "vary");
            assert_eq!(vary.contains("origin"), *varies, "{name}: {vary:?}");
            assert!(vary.contains("accept-encoding"), "{name}: {vary:?}");
            let credentials = response.header("access-control-allow-credentials");
            assert_eq!(credentials, "", "never allowed");
        }
    }
}

/// Requests without an error of the connection, by the status that they get.
#[tokio::test]
async fn every_error_can_be_read() {
    on_both(async |database| {
        let app = app(database.store().await);
        let limits = Limits { body_bytes: 64, connections: 64, ..Limits::default() };
        let origins = PAGE.parse().unwrap();
        let client =
            Client::by(database, app, Settings { limits, origins, ..Settings::default() }).await;
        let movie = json!({"title": "x".repeat(100)}).to_string();
        let long = format!("{MOVIES}?filter={}", "x".repeat(40_900));
        let unknown = "/api/v1/movies/00000000-0000-7000-8000-000000000000";
        for (method, path, token, headers, body, status) in [
            ("GET", MOVIES, "", &[][..], "", 401),
            ("GET", MOVIES, "x.y.z", &[], "", 401),
            ("GET", "/api/v1/movies?filter=x", "good", &[], "", 400),
            ("GET", "/api/v1/movies?unknown=x", "good", &[], "", 400),
            ("GET", "/docs/%ff", "good", &[], "", 400),
            ("GET", "/api/v1/users", "good", &[], "", 403),
            ("GET", "/nothing", "good", &[], "", 404),
            ("GET", unknown, "good", &[], "", 404),
            ("PUT", MOVIES, "good", &[], "", 405),
            ("BREW", MOVIES, "good", &[], "", 405),
            ("PATCH", unknown, "good", &[("content-type", "application/json")], "{}", 428),
            ("POST", MOVIES, "good", &[("content-type", "application/json")], &movie, 413),
            ("POST", MOVIES, "good", &[("content-type", "text/plain")], "{}", 415),
            ("GET", &long, "good", &[], "", 431),
        ] {
            let token = match token {
                "good" => client.with_scopes(&["movies:read", "movies:write"]),
                "" => client.with_token(None),
                other => client.with_token(Some(other.to_owned())),
            };
            let mut request = token.request(method, path).header("origin", PAGE);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = token.send(request.body(body.to_owned())).await;
            let allowed = response.header("access-control-allow-origin");
            let name = path.get(..40).unwrap_or(path);
            assert_eq!((response.status, allowed), (status, PAGE), "{method} {name}");
            assert!(response.header("content-type").starts_with("application/problem+json"));
        }
    })
    .await;
}

/// Requests over a rate limit, and those of a service that is not available.
#[tokio::test]
async fn the_time_of_a_retry_can_be_read() {
    on_both(async |database| {
        let store = database.store().await;
        let provider = Box::new(Open::new(catalogue().schemas()));
        let admission = Admission::local("2/h".parse().unwrap(), Proxies::default());
        let limited = app_with(store.clone(), provider, admission);
        let settings = || Settings { origins: PAGE.parse().unwrap(), ..Settings::default() };
        let client = Client::by(database.again(), limited, settings()).await;
        let mut responses = Vec::new();
        for _ in 0..3 {
            responses.push(send(&client, "GET", MOVIES, &[("origin", PAGE)]).await);
        }
        let client = Client::by(database, app(store.clone()), settings()).await;
        store.close().await;
        responses.push(send(&client, "GET", MOVIES, &[("origin", PAGE)]).await);
        let statuses: Vec<u16> = responses.iter().map(|response| response.status).collect();
        assert_eq!(statuses, [200, 200, 429, 503]);
        for response in &responses[2..] {
            assert_eq!(response.header("access-control-allow-origin"), PAGE);
            let exposed = items(&response.headers, "access-control-expose-headers");
            assert!(exposed.contains("retry-after"), "{exposed:?}");
            assert_ne!(response.header("retry-after"), "");
        }
    })
    .await;
}

/// A request that the parser rejects has no known origin, so only the problem for a single one can be read.
#[tokio::test]
async fn the_problem_of_a_malformed_request_can_be_read_by_the_only_origin() {
    for (origins, expected) in [
        (PAGE, Some("access-control-allow-origin: https://movies.example\r\n")),
        ("*", Some("access-control-allow-origin: *\r\n")),
        ("https://movies.example,http://localhost:5173", None),
    ] {
        let client = served(Database::sqlite(), origins).await;
        let address = client.address().strip_prefix("http://").unwrap().to_owned();
        for request in
            ["GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            assert!(response.starts_with("HTTP/1.1 400"), "{response}");
            let found = response.contains("access-control-allow-origin");
            assert_eq!(found, expected.is_some(), "{response}");
            assert!(expected.is_none_or(|expected| response.contains(expected)), "{response}");
        }
    }
}

#[tokio::test]
async fn a_preflight_needs_no_token() {
    let client = served(Database::sqlite(), PAGE).await;
    for path in [MOVIES, "/api/v1/movies/x", "/nothing", "/docs", "/livez", "/api/token"] {
        for method in ["GET", "PATCH", "DELETE", "BREW"] {
            let response = preflight(&client, PAGE, method, path).await;
            assert_eq!((response.status, response.body.len()), (204, 0), "{method} {path}");
            assert_eq!(response.header("access-control-allow-origin"), PAGE);
            assert_eq!(response.header("access-control-max-age"), "7200");
            assert_eq!(response.header("allow"), "", "it is not the response to an OPTIONS");
            assert_eq!(response.header("ratelimit"), "", "it is not counted");
        }
    }
    // All others are ordinary requests, and have `Allow` as ever.
    let allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST";
    let method = ("access-control-request-method", "GET");
    for (headers, allowed) in [
        (&[][..], ""),
        (&[("origin", PAGE)], PAGE),
        (&[method], ""),
        (&[("origin", OTHER), method], ""),
    ] {
        let response = send(&client.with_token(None), "OPTIONS", MOVIES, headers).await;
        assert_eq!((response.status, response.header("allow")), (204, allow), "{headers:?}");
        assert_eq!(response.header("access-control-allow-origin"), allowed, "{headers:?}");
        assert_eq!(response.header("access-control-allow-methods"), "", "{headers:?}");
    }
    let unknown = send(&client, "OPTIONS", "/nothing", &[("origin", PAGE)]).await;
    unknown.problem(404, "unknown_route");
}

/// What a preflight allows is what the OpenAPI document has.
#[tokio::test]
async fn a_preflight_allows_the_documented_methods_and_headers() {
    let client = served(Database::sqlite(), PAGE).await;
    let response = preflight(&client, PAGE, "GET", MOVIES).await;
    let document = specification(catalogue());
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|operations| operations.as_object().unwrap());
    // Each GET has a HEAD.
    let (mut methods, mut headers) = (BTreeSet::from(["head".to_owned()]), BTreeSet::new());
    for (method, operation) in operations {
        methods.insert(method.clone());
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let fields = parameters.filter(|parameter| parameter["in"] == "header");
        headers.extend(fields.map(|field| field["name"].as_str().unwrap().to_lowercase()));
    }
    assert_eq!(items(&response.headers, "access-control-allow-methods"), methods);
    let allowed = items(&response.headers, "access-control-allow-headers");
    assert!(headers.is_subset(&allowed), "{headers:?}");
    // The others are those of every request.
    let others =
        "authorization content-encoding content-type prefer traceparent tracestate x-request-id";
    let others: BTreeSet<_> = others.split(' ').map(str::to_owned).collect();
    assert_eq!(&allowed - &headers, others);
}

/// A page can read every header that the service sends.
#[tokio::test]
async fn every_header_of_a_response_is_exposed() {
    let client = served(Database::sqlite(), PAGE).await;
    let movie = json!({"title": "Heat", "genre": "drama", "release_year": 1995, "expiry_date": "2030-01-01"});
    let page = |method: &str, path: &str| client.request(method, path).header("origin", PAGE);
    let json = |method: &str, path: &str| page(method, path).json(&movie);
    let key = [("idempotency-key", "one"), ("idempotency-key", "one")];
    let mut responses = Vec::new();
    for (name, value) in key {
        responses.push(client.send(json("POST", MOVIES).header(name, value)).await);
    }
    responses.push(client.send(json("POST", MOVIES)).await);
    let (path, tag) = (responses[0].location(), responses[0].header("etag").to_owned());
    let other = json!({"title": "Ronin", "genre": "drama", "release_year": 1998, "expiry_date": "2030-01-01"});
    client.create(&other).await;
    responses.push(
        client
            .send(page("GET", &format!("{MOVIES}?limit=1")).header("prefer", "server-timing"))
            .await,
    );
    responses.push(client.send(page("GET", &path).header("if-none-match", &tag)).await);
    responses.push(client.send(page("GET", &format!("{MOVIES}/export"))).await);
    responses.push(client.send(page("PUT", MOVIES)).await);
    responses.push(client.send(page("OPTIONS", MOVIES)).await);
    let without_token = client.with_token(None);
    responses.push(
        without_token.send(without_token.request("GET", MOVIES).header("origin", PAGE)).await,
    );
    let mut sent = BTreeSet::new();
    let mut exposed = BTreeSet::new();
    for response in &responses {
        exposed = items(&response.headers, "access-control-expose-headers");
        let names = response.headers.keys().map(|name| name.as_str().to_owned());
        sent.extend(names.filter(|name| !name.starts_with("access-control-")));
    }
    // Sent by services with rate limits, or by those that are overloaded.
    sent.extend(["ratelimit", "ratelimit-policy", "retry-after"].map(str::to_owned));
    let ignored = READABLE.iter().chain(UNREADABLE).chain(&["transfer-encoding"]);
    let ignored: BTreeSet<_> = ignored.map(|name| (*name).to_owned()).collect();
    assert_eq!(&sent - &ignored, exposed);
    let document = specification(catalogue());
    let headers = document["components"]["headers"].as_object().unwrap().len();
    assert!(headers <= exposed.len());
}

#[test]
fn invalid_origins_are_rejected_at_start() {
    let folder = folder();
    for (settings, expected) in [
        (&["--cors-origins", "movies.example"][..], "--cors-origins: expected SCHEME://HOST"),
        (&["--cors-origins", "https://movies.example/"], "as browsers send it"),
        (&["--cors-origins", "*,https://movies.example"], "write `*` alone"),
        (&["--cors-origins", "*", "--auth", "open"], "`*` would let the pages of every site write"),
    ] {
        for command in ["serve", "check"] {
            let start = [command, "--listen", "127.0.0.1:0"];
            let (code, out, log) = run(folder.path(), &[&start[..], settings].concat());
            let printed = format!("{out}{log}");
            assert_eq!((code, printed.contains(expected)), (1, true), "{settings:?}: {printed}");
        }
    }
}

#[tokio::test]
async fn preflights_are_counted_and_logged_at_debug_level() {
    let folder = folder();
    let settings = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--log", "debug"];
    let origins = ["--cors-origins", PAGE];
    let command = cinequery(folder.path(), &[&settings[..], &origins].concat());
    let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
    let client = Client::at(service.address.clone());
    for origin in [PAGE, OTHER, OTHER] {
        assert_eq!(preflight(&client, origin, "PATCH", MOVIES).await.status, 204);
    }
    let log = tokio::task::spawn_blocking(move || service.whole_log()).await.unwrap();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("OPTIONS")).collect();
    assert_eq!(requests.iter().filter(|line| line.contains("DEBUG")).count(), 1, "{log}");
    assert_eq!(requests.len(), 3, "{log}");
    let hints = log.lines().filter(|line| line.contains("--cors-origins")).collect::<Vec<_>>();
    assert!(hints.len() == 1 && hints[0].contains(OTHER), "{log}");
}
