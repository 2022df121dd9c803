//! The common behaviour of all routes: errors, methods, headers, bodies, tokens.

use std::io::Read;
use std::time::Duration;

use cinequery::error::Result;
use cinequery::http::{DEFAULT_BODY_BYTES, Limits};
use cinequery::identity::{Credentials, Identity, Provider};
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Client, Database, app_with, identity, served_on_both, token, tokens, unlimited,
};

const MOVIES: &str = "/api/v1/movies";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// Method, path, media type, body, status, code.
type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

const REJECTED: &[Case] = &[
    ("GET", "/api/v1", "", "", 404, "unknown_route"),
    ("GET", "/api/v1/movies/", "", "", 404, "unknown_route"),
    ("GET", "/api/v1/cinemas", "", "", 404, "unknown_route"),
    ("POST", "/nothing", JSON, "{}", 404, "unknown_route"),
    ("GET", "/docs/../Cargo.toml", "", "", 404, "unknown_route"),
    ("GET", "/docs/nothing.js", "", "", 404, "unknown_route"),
    ("GET", "/docs/%ff", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies/%ff", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies/17", "", "", 404, "not_found"),
    ("GET", "/api/v1/movies/00000000-0000-0000-0000-000000000000", "", "", 404, "not_found"),
    ("PUT", "/api/v1/movies", "", "", 405, "method_not_allowed"),
    ("BREW", "/api/v1/movies", "", "", 405, "method_not_allowed"),
    ("TRACE", "/livez", "", "", 405, "method_not_allowed"),
    ("POST", "/docs", "", "", 405, "method_not_allowed"),
    ("PUT", "/openapi.json", "", "", 405, "method_not_allowed"),
    // Query parameters: none is ignored.
    ("GET", "/api/v1/movies?filtre=x", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?order_by=title&order_by=genre", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?p.=x", "", "", 400, "invalid_parameter"),
    ("GET", "/livez?verbose", "", "", 400, "invalid_parameter"),
    ("GET", "/docs?x=1", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?limit=0", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?limit=1001", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?limit=99999999999999999999", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?limit=ten", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?count=maybe", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?filter=%ff", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?filter=%zz", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?%ff=1", "", "", 400, "invalid_parameter"),
    ("GET", "/api/v1/movies?cursor=x", "", "", 400, "invalid_cursor"),
    ("GET", "/api/v1/movies?filter=", "", "", 400, "invalid_query"),
    ("GET", "/api/v1/movies?order_by=", "", "", 400, "invalid_query"),
    ("GET", "/api/v1/movies?filter=genre%20=%20$g", "", "", 400, "invalid_query"),
    ("GET", "/api/v1/movies?p.g=x", "", "", 400, "invalid_query"),
    // Bodies.
    ("POST", MOVIES, "", "{}", 415, "unsupported_media_type"),
    ("POST", MOVIES, "text/plain", "{}", 415, "unsupported_media_type"),
    ("POST", MOVIES, "application/jsonp", "{}", 415, "unsupported_media_type"),
    ("POST", MOVIES, JSON, "", 400, "invalid_body"),
    ("POST", MOVIES, JSON, "{", 400, "invalid_body"),
    ("POST", MOVIES, JSON, "[]", 400, "invalid_body"),
    ("POST", MOVIES, JSON, "null", 400, "invalid_body"),
    ("POST", MOVIES, JSON, "{} {}", 400, "invalid_body"),
    ("POST", MOVIES, JSON, r#"{"title":"a","title":"b"}"#, 400, "invalid_body"),
    ("POST", MOVIES, JSON, r#"{"title":1e999}"#, 400, "invalid_body"),
    ("POST", MOVIES, "application/json; charset=utf-8", "{}", 400, "invalid_record"),
    ("POST", "/api/v1/movies/search", JSON, r#"{"filtre":"x"}"#, 400, "invalid_body"),
    ("POST", "/api/v1/movies/search", JSON, r#"{"limit":"5"}"#, 400, "invalid_body"),
    ("POST", "/api/v1/movies/search", JSON, r#"{"limit":5000}"#, 400, "invalid_parameter"),
    ("POST", "/api/v1/movies/search", JSON, r#"{"count":"all"}"#, 400, "invalid_body"),
    ("POST", "/api/v1/movies/search", JSON, r#"{"parameters":{"a":1,"a":2}}"#, 400, "invalid_body"),
    (
        "POST",
        "/api/v1/movies/search",
        JSON,
        r#"{"filter":"genre = $g","parameters":{"g":null}}"#,
        400,
        "invalid_query",
    ),
    (
        "POST",
        "/api/v1/movies/search",
        JSON,
        r#"{"filter":"genre = $g","parameters":{"g":["x"]}}"#,
        400,
        "invalid_query",
    ),
    ("POST", "/api/v1/movies/search?limit=5", JSON, "{}", 400, "invalid_parameter"),
    ("POST", "/api/v1/movies/search", JSON, r#"["genre = 'x'", null, 1]"#, 400, "invalid_body"),
    ("POST", "/api/token", JSON, r#"["joe", null]"#, 400, "invalid_body"),
    ("POST", "/api/token", JSON, "{}", 400, "invalid_body"),
    ("POST", "/api/token", JSON, r#"{"username":""}"#, 400, "invalid_record"),
    ("POST", "/api/token", JSON, r#"{"username":"a\nb"}"#, 400, "invalid_record"),
    ("POST", "/api/token", JSON, r#"{"username":"a","admin":true}"#, 400, "invalid_body"),
];

#[tokio::test]
async fn every_rejected_request_returns_a_problem_with_its_code() {
    served_on_both(async |client| {
        for (method, path, media_type, body, status, code) in REJECTED {
            let mut request = client.request(method, path).body(*body);
            if !media_type.is_empty() {
                request = request.header(CONTENT_TYPE, *media_type);
            }
            println!("{method} {path} {body}");
            let response = client.send(request).await;
            response.problem(*status, code);
            assert_eq!(response.headers.contains_key("allow"), *status == 405);
        }
    })
    .await;
}

/// Method, path with its query, and the detail of the problem, or its start.
const HINTS: &[(&str, &str, &str)] = &[
    (
        "GET",
        "/api/v1/movies?genre=drama",
        "unknown query parameter \"genre\"; write `filter=genre = \"drama\"`",
    ),
    (
        "GET",
        "/api/v1/movies?release_year=1994",
        "unknown query parameter \"release_year\"; write `filter=release_year = 1994`",
    ),
    (
        "GET",
        "/api/v1/movies/export?expiry_date=soon",
        "unknown query parameter \"expiry_date\"; write `filter=expiry_date = 2024-01-31`",
    ),
    (
        "GET",
        "/api/v1/movies?filter=genre%20=%20$genre&genre=drama",
        "unknown query parameter \"genre\"; send the value for `$genre` as `p.genre`",
    ),
    (
        "GET",
        "/api/v1/movies?filtre=x",
        "unknown query parameter \"filtre\"; did you mean \"filter\"?",
    ),
    ("GET", "/api/v1/movies?limit=0", "limit: expected an integer from 1 to 1000, found \"0\""),
    ("GET", "/api/v1/movies?why=1", "why: expected true or false, found \"1\""),
    ("GET", "/api/v1/movies?count=yes", "count: expected one of none, exact, found \"yes\""),
    ("GET", "/api/v1/movies?count", "count: expected one of none, exact, found \"\""),
    ("GET", "/api/v1/movie", "unknown path; did you mean /api/v1/movies?"),
    ("POST", "/api/v1/screening/search", "unknown path; did you mean /api/v1/screenings/search?"),
    ("GET", "/api/v1/movies/", "unknown path; did you mean /api/v1/movies?"),
    ("GET", "/api/v1/cinemas", "unknown path; see /docs for the routes"),
    (
        "PUT",
        "/api/v1/movies",
        "unsupported method; expected one of: DELETE, GET, HEAD, OPTIONS, PATCH, POST",
    ),
    ("POST", "/livez", "unsupported method; expected one of: GET, HEAD, OPTIONS"),
];

#[tokio::test]
async fn rejected_requests_are_corrected_in_the_detail() {
    let client = Client::of(Database::sqlite()).await;
    for (method, path, expected) in HINTS {
        let response = client.send(client.request(method, path)).await;
        assert_eq!(response.json()["detail"], *expected, "{method} {path}");
    }
    let problem = client.post("/api/token", &json!({})).await.problem(400, "invalid_body");
    assert_eq!(problem["detail"], "missing member \"username\" at line 1 column 2");
}

/// A connection is closed after a response if the body of the request was not read, and the response says so.
#[tokio::test]
async fn a_response_that_comes_before_the_body_is_read_closes_the_connection() {
    let client = Client::of(Database::sqlite()).await;
    let body = json!({"filter": "title = 'x'"}).to_string();
    for (method, path, media_type, status, connection) in [
        ("POST", "/nothing", JSON, 404, "close"),
        ("PUT", MOVIES, JSON, 405, "close"),
        ("POST", "/api/v1/movies/search?limit=5", JSON, 400, "close"),
        ("POST", "/api/v1/movies/search", "text/plain", 415, "close"),
        ("GET", "/docs", JSON, 200, "close"),
        ("POST", "/api/v1/movies/search", JSON, 200, ""),
        ("POST", MOVIES, JSON, 400, ""),
        ("POST", "/api/v1/movies/import", NDJSON, 422, ""),
    ] {
        let request = client.request(method, path).header(CONTENT_TYPE, media_type);
        let response = client.send(request.body(body.clone())).await;
        let found = (response.status, response.header("connection"));
        assert_eq!(found, (status, connection), "{method} {path}");
    }
}

/// `Accept`, and the media type of the response for an unknown page of the manual.
const UNKNOWN_PAGES: &[(&str, &str)] = &[
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
    ("application/json", "application/problem+json"),
    ("*/*", "application/problem+json"),
];

#[tokio::test]
async fn an_unknown_page_of_the_manual_is_a_page_for_browsers() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    for (accept, media_type) in UNKNOWN_PAGES {
        let request = client.request("GET", "/docs/guide/<nothing>.html").header("accept", *accept);
        let response = client.send(request).await;
        let found = (response.status, response.header("content-type"));
        assert_eq!(found, (404, *media_type), "{accept}");
        let vary: Vec<_> = response.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["accept", "accept-encoding"]);
        let page = String::from_utf8(response.body).unwrap();
        assert!(!page.contains("nothing"), "{page}");
        assert_eq!(page.contains("<a href=\"tour.html\">"), media_type.starts_with("text/html"));
    }
}

#[tokio::test]
async fn a_malformed_request_gets_a_response_with_a_date() {
    let client = Client::of(Database::sqlite()).await;
    let response = raw_request(&client, b"GET /a b HTTP/1.1\r\nhost: x\r\n").await;
    let date = response.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap().to_utc();
    assert!((chrono::Utc::now() - date).num_seconds().abs() < 60, "{date}");
}

#[tokio::test]
async fn invalid_utf8_is_rejected_everywhere() {
    let client = Client::of(Database::sqlite()).await;
    let body = b"{\"title\":\"\xff\"}".to_vec();
    let request = client.request("POST", MOVIES).header(CONTENT_TYPE, JSON).body(body);
    client.send(request).await.problem(400, "invalid_body");
    // Raw bytes in the request target: hyper accepts them.
    let raw = raw_request(&client, b"GET /api/v1/movies?filter=\xff HTTP/1.1\r\nhost: x\r\n").await;
    assert!(raw.starts_with("HTTP/1.1 400"), "{raw}");
}

/// HTTP version, `Host` lines, and the expected status.
const HOSTS: &[(&str, &str, u16)] = &[
    ("1.1", "host: x\r\n", 200),
    ("1.1", "host:\r\n", 200),
    ("1.1", "", 400),
    ("1.1", "host: x\r\nhost: x\r\n", 400),
    ("1.1", "host: x\r\nHOST: y\r\n", 400),
    ("1.0", "", 200),
    ("1.0", "host: x\r\nhost: y\r\n", 400),
];

#[tokio::test]
async fn a_request_must_have_exactly_one_host() {
    let client = Client::of(Database::sqlite()).await;
    for (version, hosts, status) in HOSTS {
        let headers = format!("GET /livez HTTP/{version}\r\n{hosts}");
        let response = raw_request(&client, headers.as_bytes()).await;
        assert!(response.starts_with(&format!("HTTP/{version} {status}")), "{headers}{response}");
        let is_problem = response.contains("application/problem+json")
            && response.contains("\"code\":\"invalid_parameter\"");
        assert_eq!(is_problem, *status == 400, "{response}");
    }
}

/// Sends a request that starts with these bytes, and returns the whole response.
async fn raw_request(client: &Client, start: &[u8]) -> String {
    let address = client.address().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(start).await.unwrap();
    stream.write_all(b"connection: close\r\n\r\n").await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// A malformed condition is an error: ignoring it would apply an unconditional change.
#[tokio::test]
async fn a_malformed_condition_is_rejected() {
    let client = Client::of(Database::sqlite()).await;
    let movie =
        json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
    let created = client.create(&movie).await;
    let path = format!("{MOVIES}/{}", created["id"].as_str().unwrap());
    let token = token(&["movies:write"]);
    for lines in ["if-match: \"\u{ff}\"\r\n", "if-match: \"1\"\r\nif-match: \"\u{ff}\"\r\n"] {
        let headers =
            format!("DELETE {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
        let response = raw_request(&client, format!("{headers}{lines}").as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    }
    assert_eq!(client.get(&path).await.status, 200);
}

#[tokio::test]
async fn invalid_members_are_listed_up_to_a_limit() {
    let client = Client::of(Database::sqlite()).await;
    let body: serde_json::Map<String, Value> =
        (0..1000).map(|number| (format!("member {number}"), json!(1))).collect();
    let problem = client.post(MOVIES, &Value::Object(body.clone())).await;
    let problem = problem.problem(400, "invalid_record");
    assert!(problem["errors"].as_array().unwrap().len() < 30);
    let search = json!({"parameters": body});
    let problem = client.post("/api/v1/movies/search", &search).await;
    let problem = problem.problem(400, "invalid_query");
    assert_eq!(problem["diagnostics"].as_array().unwrap().len(), 20);
    // An object with more members is not parsed.
    let body: serde_json::Map<String, Value> =
        (0..1001).map(|number| (format!("member {number}"), json!(1))).collect();
    client.post(MOVIES, &Value::Object(body)).await.problem(400, "invalid_body");
}

#[tokio::test]
async fn each_path_has_its_methods() {
    let client = Client::of(Database::sqlite()).await;
    let created = client
        .create(
            &json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"}),
        )
        .await;
    let record = format!("{MOVIES}/{}", created["id"].as_str().unwrap());
    for (path, allow) in [
        (MOVIES, "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        (record.as_str(), "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/api/v1/movies/search", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        ("/api/token", "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ] {
        let options = client.send(client.request("OPTIONS", path)).await;
        // For the other methods, `search` is an id.
        if path != "/api/v1/movies/search" {
            assert_eq!((options.status, options.header("allow")), (204, allow), "{path}");
        }
        if allow.contains("HEAD") && path != "/api/v1/movies/search" {
            let (get, head) =
                (client.get(path).await, client.send(client.request("HEAD", path)).await);
            assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
            for name in ["content-length", "content-type", "etag"] {
                assert_eq!(head.header(name), get.header(name), "{path} {name}");
            }
        }
    }
    client.with_token(None).send(client.request("HEAD", "/nothing")).await;
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let client = Client::of(Database::sqlite()).await;
    let send = async |id: &str| {
        let response =
            client.send(client.request("GET", "/livez").header("x-request-id", id)).await;
        response.header("x-request-id").to_owned()
    };
    assert_eq!(send("my-id.42").await, "my-id.42");
    for other in ["", "with blank", "x".repeat(129).as_str(), "é"] {
        let id = send(other).await;
        assert!(uuid::Uuid::try_parse(&id).is_ok(), "{other:?} became {id:?}");
    }
    let problem =
        client.send(client.request("GET", "/nothing").header("x-request-id", "abc")).await;
    assert_eq!(problem.problem(404, "unknown_route")["request_id"], "abc");
}

#[tokio::test]
async fn responses_are_compressed_on_request() {
    let client = Client::of(Database::sqlite()).await;
    for number in 0..30 {
        client
            .create(&json!({"title": format!("movie {number}"), "genre": "g", "release_year": 2000,
                            "expiry_date": "2024-01-01"}))
            .await;
    }
    let send = async |path: &str, accept: &str| {
        client.send(client.request("GET", path).header(ACCEPT_ENCODING, accept)).await
    };
    let plain = send(MOVIES, "identity").await;
    for accept in ["gzip", "br, gzip;q=0.5", "*", "GZIP; q=1.0"] {
        let packed = send(MOVIES, accept).await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{accept}");
        assert!(packed.body.len() < plain.body.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        let without = |body: &[u8]| {
            let mut page: Value = serde_json::from_slice(body).unwrap();
            page["next_cursor"] = Value::Null;
            page
        };
        assert_eq!(without(&unpacked), without(&plain.body));
    }
    for accept in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *"] {
        assert_eq!(send(MOVIES, accept).await.header("content-encoding"), "", "{accept}");
    }
    assert_eq!(plain.header("vary"), "accept-encoding");
    // Small responses are not compressed, and HEAD returns the headers of GET.
    for path in ["/livez", "/nothing", "/api/v1/movies?limit=1", MOVIES, "/openapi.json"] {
        let get = send(path, "gzip").await;
        let head = client.send(client.request("HEAD", path).header(ACCEPT_ENCODING, "gzip")).await;
        let is_large = [MOVIES, "/openapi.json"].contains(&path);
        let expected = if is_large { "gzip" } else { "" };
        assert_eq!(get.header("content-encoding"), expected, "{path}");
        assert_eq!(head.header("content-encoding"), expected, "HEAD {path}");
        let length = head.header("content-length");
        assert!(
            length.is_empty() || length == get.header("content-length"),
            "HEAD {path}: {length}"
        );
    }
    // A strong ETag identifies exact bytes, so that the response is not compressed.
    let id = plain.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let record = send(&format!("{MOVIES}/{id}"), "gzip").await;
    assert_eq!((record.header("etag"), record.header("content-encoding")), ("\"1\"", ""));
    // Request bodies are not decompressed.
    let coded = client.request("POST", MOVIES).header("content-encoding", "gzip").body("x");
    client.send(coded).await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn chunked_bodies_are_limited_too() {
    let client = Client::of(Database::sqlite()).await;
    for (path, limit, code) in [
        (MOVIES, DEFAULT_BODY_BYTES, "invalid_record"),
        ("/api/v1/movies/search", 64 * 1024, "invalid_body"),
        ("/api/v1/revocations", 64 * 1024, "invalid_body"),
        ("/api/token", 8 * 1024, "invalid_body"),
    ] {
        let body = |length: usize| {
            let frame = json!({"filtre": ""}).to_string();
            json!({"filtre": " ".repeat(length - frame.len())}).to_string()
        };
        assert_eq!(body(limit).len(), limit);
        let send = async |body: String| {
            client.send(client.request("POST", path).header(CONTENT_TYPE, JSON).body(body)).await
        };
        send(body(limit)).await.problem(400, code);
        send(body(limit + 1)).await.problem(413, "body_too_large");
    }
    let path = MOVIES;
    let address = client.address().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let headers = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        token(&["movies:write"])
    );
    stream.write_all(headers.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    // The service may close the connection before the whole body is sent.
    while sent < 64 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 1;
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    let response = String::from_utf8_lossy(&response);
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    assert!(response.contains("body_too_large"), "{response}");
}

#[tokio::test]
async fn operations_require_their_scopes() {
    served_on_both(async |client| {
        let movie =
            json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
        let created = client.create(&movie).await;
        let record = format!("{MOVIES}/{}", created["id"].as_str().unwrap());
        let anonymous = client.with_token(None);
        let reader = client.with_scopes(&["movies:read"]);
        let writer = client.with_scopes(&["movies:write"]);
        let operations = [
            ("GET", MOVIES, JSON, true),
            ("POST", "/api/v1/movies/search", JSON, true),
            ("GET", "/api/v1/movies/facets?by=genre", JSON, true),
            ("POST", MOVIES, JSON, false),
            ("GET", record.as_str(), JSON, true),
            ("PUT", record.as_str(), JSON, false),
            ("PATCH", record.as_str(), "application/merge-patch+json", false),
            ("DELETE", record.as_str(), JSON, false),
        ];
        for (method, path, media_type, reads) in operations {
            let body = if path.ends_with("search") { json!({}) } else { movie.clone() };
            // Authentication is checked before the media type and the body.
            let response = anonymous.change(method, path, "text/plain", None, &json!(5)).await;
            response.problem(401, "unauthenticated");
            assert_eq!(response.header("www-authenticate"), "Bearer realm=\"cinequery\"");
            let unauthorized = if reads { &writer } else { &reader };
            let response = unauthorized.change(method, path, media_type, Some("*"), &body).await;
            response.problem(403, "insufficient_scope");
            assert!(response.header("www-authenticate").contains("insufficient_scope"));
        }
        assert_eq!(client.get(&record).await.json(), created);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_issued() {
    let client = Client::of(Database::sqlite()).await;
    let anonymous = client.with_token(None);
    let issued = anonymous.post("/api/token", &json!({"username": "Zoë"})).await;
    assert_eq!((issued.status, issued.header("cache-control")), (200, "no-store"));
    let issued = issued.json();
    assert_eq!((&issued["token_type"], &issued["expires_in"]), (&json!("Bearer"), &json!(600)));
    let scope = "movies:read movies:write screenings:read screenings:write";
    assert_eq!(issued["scope"], scope);
    let mine = issued["access_token"].as_str().unwrap().to_owned();
    assert_eq!(client.with_token(Some(mine.clone())).get(MOVIES).await.status, 200);

    let expired =
        tokens(Duration::ZERO).issue(&identity(&["movies:read"]), 0).unwrap().access_token;
    // An expired token is accepted for five more seconds.
    assert_eq!(client.with_token(Some(expired)).get(MOVIES).await.status, 200);
    let basic = anonymous.request("GET", MOVIES).header("authorization", "Basic eDp5");
    client.send(basic).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn probes_report_liveness_and_readiness() {
    served_on_both(async |client| {
        let anonymous = client.with_token(None);
        assert_eq!(anonymous.get("/livez").await.json(), json!({"status": "ok"}));
        let ready = json!({"status": "ok", "throttle": "local"});
        assert_eq!(anonymous.get("/readyz").await.json(), ready);
    })
    .await;
}

/// A provider that accepts every sign-in after a delay.
struct Slow(Duration);

impl Provider for Slow {
    fn sign_in(&self, _: Credentials) -> BoxFuture<'_, Result<Identity>> {
        Box::pin(async {
            tokio::time::sleep(self.0).await;
            Ok(identity(&["movies:read"]))
        })
    }
}

/// Starts a service with these limits and a slow sign-in.
async fn limited(limits: Limits) -> Client {
    let database = Database::sqlite();
    let store = database.store().await;
    let app = app_with(store, Box::new(Slow(Duration::from_secs(2))), unlimited());
    Client::within(database, app, limits).await
}

/// If all connections are busy, another one serves probes only.
#[tokio::test]
async fn connections_over_the_limit_serve_probes_only() {
    let client = limited(Limits { connections: 2, ..Limits::default() }).await.with_token(None);
    let sign_in = || async { client.post("/api/token", &json!({"username": "anna"})).await.status };
    let over_the_limit = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (path, status) in [("/livez", 200), ("/readyz", 200), (MOVIES, 503), ("/docs", 503)] {
            let response = client.get(path).await;
            assert_eq!(
                (response.status, response.header("connection")),
                (status, "close"),
                "{path}"
            );
            assert_eq!(response.headers.contains_key("retry-after"), status == 503, "{path}");
        }
    };
    let (first, second, ()) = tokio::join!(sign_in(), sign_in(), over_the_limit);
    assert_eq!((first, second), (200, 200));
    assert_eq!(client.get("/docs").await.status, 200, "a connection is free again");
}

/// Clients that keep the service waiting lose their connections to clients that do not.
#[tokio::test]
async fn waiting_clients_are_disconnected_to_make_room() {
    let client = limited(Limits { connections: 4, ..Limits::default() }).await;
    let address = client.address().strip_prefix("http://").unwrap();
    let silent = b"GET /livez HTTP/1.1\r\nhost: x\r\n".as_slice();
    let body = b"POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    let mut waiting = Vec::new();
    for number in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let sent = if number % 2 == 0 { silent } else { body.as_slice() };
        stream.write_all(sent).await.unwrap();
        waiting.push(stream);
        let response = client.get("/docs").await;
        assert_eq!((response.status, response.header("connection")), (200, ""), "after {number}");
    }
    let mut first = waiting.remove(0);
    let read = first.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "the longest waiting client is disconnected");
}

/// A request that exceeds the time limit returns 503.
#[tokio::test]
async fn a_request_has_a_time_limit() {
    let request = Duration::from_millis(300);
    let client = limited(Limits { request, ..Limits::default() }).await.with_token(None);
    let response = client.post("/api/token", &json!({"username": "anna"})).await;
    response.problem(503, "unavailable");
    assert!(response.headers.contains_key("retry-after"));
}

/// Clients that do not read their responses lose the memory for them, and others get it.
#[tokio::test]
async fn memory_of_unread_responses_is_reclaimed() {
    let client = limited(Limits { buffered_bytes: 1024 * 1024, ..Limits::default() }).await;
    let rows: String = (0..2000)
        .map(|number| {
            format!(
                "{{\"title\":\"{number} {}\",\"genre\":\"g\",\"release_year\":2000,\
                 \"expiry_date\":\"2030-01-01\"}}\n",
                "x".repeat(200)
            )
        })
        .collect();
    let import = client.request("POST", "/api/v1/movies/import");
    let import = import.header(CONTENT_TYPE, "application/x-ndjson").body(rows);
    assert_eq!(client.send(import).await.status, 200);
    let address = client.address().strip_prefix("http://").unwrap();
    let request = format!(
        "GET {MOVIES}?limit=1000 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        token(&["movies:read"])
    );
    let mut unread = Vec::new();
    for _ in 0..10 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        unread.push(stream);
        // Long enough to count as a client that does not read.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let page = client.get(&format!("{MOVIES}?limit=1000")).await;
    assert_eq!(page.column("title").len(), 1000);
}

/// Numbers without a fraction are integers, and the types in messages are those of JSON.
#[tokio::test]
async fn errors_of_bodies_are_in_terms_of_json() {
    let client = Client::of(Database::sqlite()).await;
    for (body, expected) in [
        (r#"{"limit":1.0}"#, ""),
        (r#"{"limit":1e1}"#, ""),
        (r#"{"limit":null}"#, ""),
        (r#"{"limit":1.5}"#, "expected an integer, found 1.5 at line 1 column"),
        (r#"{"limit":1e10}"#, "expected an integer, found 10000000000.0 at line 1 column"),
        (r#"{"limit":"5"}"#, "expected a number, found string \"5\" at line 1 column"),
        (r#"{"filter":5}"#, "expected a string, found integer `5` at line 1 column"),
        (r#"{"parameters":[]}"#, "expected a JSON object, found an array at line 1 column"),
        (r#"{"why":"yes"}"#, "expected true or false, found string \"yes\" at line 1 column"),
        (r#"{"count":5}"#, "expected a string, found another value at line 1 column"),
        (r#"{"count":"all"}"#, "expected one of none, exact, found \"all\" at line 1 column"),
        (
            r#"{"filtre":"x"}"#,
            "unknown member \"filtre\"; did you mean \"filter\"? at line 1 column",
        ),
        (r#"{"limit":1,"limit":2}"#, "repeated member \"limit\"; send it once at line 1 column"),
        (r#"{"filter":"#, "expected a complete JSON object, found the end at line 1 column"),
        (r#"{"limit":1,}"#, "malformed JSON: trailing comma at line 1 column"),
        ("", "expected a complete JSON object, found the end"),
        ("[]", "expected a JSON object, found an array"),
    ] {
        let request = client.request("POST", "/api/v1/movies/search");
        let request = request.header("content-type", "application/json").body(body);
        let response = client.send(request).await;
        if expected.is_empty() {
            assert_eq!(response.status, 200, "{body}: {response:?}");
        } else {
            let problem = response.problem(400, "invalid_body");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(expected), "{body}: {detail}");
        }
    }
}
