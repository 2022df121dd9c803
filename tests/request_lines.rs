//! URLs as they are typed: with `"`, `<` and `>`, which no URL may have; and requests that the parser rejects.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Database, token};

/// Sends bytes on one connection, in pieces if a pause is given, and reads the responses until it is closed.
pub async fn exchange(
    client: &Client,
    pieces: &[&[u8]],
    pause: Option<Duration>,
) -> Vec<(u16, Value)> {
    let address = client.address().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // A connection that is reset after its last response has been read to the end, too.
    let _ = tokio::time::timeout(Duration::from_secs(15), read).await.unwrap();
    responses(&String::from_utf8_lossy(&bytes))
}

/// The status and body of each response, which have a `Content-Length`.
fn responses(mut text: &str) -> Vec<(u16, Value)> {
    let mut found = Vec::new();
    while let Some((headers, rest)) = text.split_once("\r\n\r\n") {
        let status = headers[9..12].parse().unwrap();
        let mut fields = headers.lines().filter_map(|line| line.split_once(": "));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        found.push((status, serde_json::from_str(&rest[..length]).unwrap_or_default()));
        text = &rest[length..];
    }
    found
}

/// A GET request that closes its connection if it is the last.
fn get(target: &str, is_last: bool) -> String {
    let close = if is_last { "connection: close\r\n" } else { "" };
    let token = token(&["movies:read"]);
    format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{close}\r\n"
    )
}

async fn catalogue() -> Client {
    let client = Client::of(Database::sqlite()).await;
    for (title, year) in [("One", 1990), ("Two", 2000)] {
        let movie = json!({"title": title, "genre": "drama", "release_year": year, "expiry_date": "2030-01-01"});
        client.create(&movie).await;
    }
    client
}

fn titles(body: &Value) -> Vec<&str> {
    body["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn filters_in_a_url_need_not_be_encoded() {
    let client = catalogue().await;
    for (target, expected) in [
        ("/api/v1/movies?filter=genre=\"drama\"", &["One", "Two"][..]),
        ("/api/v1/movies?filter=genre=\"drama\"+and+release_year>1990", &["Two"]),
        ("/api/v1/movies?filter=release_year<2000&limit=5", &["One"]),
        ("/api/v1/movies?filter=genre%20=%20\"drama\"%20and%20title<>\"One\"", &[]),
        ("http://localhost/api/v1/movies?filter=title=\"One\"", &["One"]),
    ] {
        let sent = get(target, true);
        let all = exchange(&client, &[sent.as_bytes()], None).await;
        let [(status, body)] = &all[..] else { panic!("{target}: {all:?}") };
        if expected.is_empty() {
            // `<>` is an operator of SQL, so the filter has arrived.
            assert_eq!((*status, &body["code"]), (400, &json!("invalid_query")), "{target}");
        } else {
            assert_eq!((*status, titles(body)), (200, expected.to_vec()), "{target}");
        }
        // The same in two pieces, cut at each place.
        for at in [1, 20, target.len() / 2, target.len(), sent.len() - 1] {
            let (first, second) = sent.as_bytes().split_at(at);
            let cut = exchange(&client, &[first, second], Some(Duration::from_millis(5))).await;
            assert_eq!(
                cut.first().map(|(status, _)| *status),
                Some(*status),
                "{target} cut at {at}"
            );
        }
    }
}

/// Requests on one connection: each is served by itself, and no byte of a header or body is changed.
#[tokio::test]
async fn a_connection_keeps_its_requests_apart() {
    let client = catalogue().await;
    let search = "/api/v1/movies?filter=title=\"One\"";
    let token = token(&["movies:read", "movies:write"]);
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/v1/movies/search HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let body = json!({"filter": "title = \"Two\" or release_year < 0"}).to_string();
    let with_length = post(&format!("content-length: {}\r\n", body.len()), &body);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let in_chunks = post("transfer-encoding: chunked\r\n", &chunked);
    // A body that looks like a request stays a body.
    let hostile = format!("{}\r\n", get(search, false));
    let smuggled = post(&format!("content-length: {}\r\n", hostile.len()), &hostile);
    for (name, requests, expected) in [
        (
            "three in a row",
            vec![get(search, false), get(search, false), get(search, true)],
            &[200, 200, 200][..],
        ),
        ("after a body", vec![with_length.clone(), get(search, true)], &[200, 200]),
        ("a request in a body", vec![smuggled, get(search, true)], &[400, 200]),
        // What follows a body in chunks is left to the parser, which rejects it with a problem.
        ("after chunks", vec![in_chunks.clone(), get(search, true)], &[200, 400]),
        (
            "encoded after chunks",
            vec![in_chunks, get(&search.replace('"', "%22"), true)],
            &[200, 200],
        ),
    ] {
        let sent = requests.concat();
        for pause in [None, Some(Duration::from_millis(50))] {
            let all: Vec<&[u8]> = match pause {
                None => vec![sent.as_bytes()],
                Some(_) => requests.iter().map(|request| request.as_bytes()).collect(),
            };
            let responses = exchange(&client, &all, pause).await;
            let statuses: Vec<u16> = responses.iter().map(|(status, _)| *status).collect();
            assert_eq!(statuses, expected, "{name}: {responses:?}");
        }
    }
}

/// What the parser rejects is a problem like any other.
#[tokio::test]
async fn malformed_requests_are_problems() {
    let client = catalogue().await;
    let headers = "x: y\r\n".repeat(20_000);
    for (sent, status, code) in [
        ("GET /api/v1/movies?filter=a b HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400, "malformed_request"),
        ("\x16\x03\x01\x02\r\n\r\n", 400, "malformed_request"),
        // A client that assumes HTTP/2, with its first frame.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400, "malformed_request"),
        ("PRI * HTTP/2.0\r\n\r\n", 400, "malformed_request"),
        (&format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n"), 431, "headers_too_large"),
        (
            &format!("GET /?{} HTTP/1.1\r\nhost: x\r\n\r\n", "<".repeat(40 << 10)),
            431,
            "headers_too_large",
        ),
    ] {
        let responses = exchange(&client, &[sent.as_bytes()], None).await;
        let [(found, body)] = &responses[..] else {
            panic!("{}: {responses:?}", &sent[..sent.len().min(60)])
        };
        assert_eq!(
            (*found, &body["code"]),
            (status, &json!(code)),
            "{}",
            &sent[..sent.len().min(60)]
        );
        assert_eq!(body["status"], json!(status));
        assert!(body["request_id"].as_str().is_some_and(|id| id.len() == 36), "{body}");
    }
}

/// Characters that end a value in a URL, or start an encoding there.
#[tokio::test]
async fn unencoded_values_get_a_hint() {
    let client = catalogue().await;
    for (target, hint) in [
        ("/api/v1/movies?filter=title=\"Bob's+Burgers+&+Friends\"", "`&` in a value as `%26`"),
        ("/api/v1/movies?filter=title=\"100%+Wolf\"", "`%` in a value as `%25`"),
        ("/api/v1/movies?filter=expiry_date<today+30d", "`%2B`"),
    ] {
        let all = exchange(&client, &[get(target, true).as_bytes()], None).await;
        let [(400, body)] = &all[..] else { panic!("{target}: {all:?}") };
        assert!(body.to_string().contains(hint), "{target}: {body}");
    }
}

/// Sends requests, and reads their responses slowly and with a small buffer until the connection is closed.
async fn read_slowly(client: &Client, requests: &str) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = client.address().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 4096];
    let mut read = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let part = tokio::time::timeout(Duration::from_secs(15), stream.read(&mut bytes));
        match part.await.unwrap() {
            Ok(0) => return String::from_utf8_lossy(&read).into_owned(),
            count => read.extend_from_slice(&bytes[..count.unwrap()]),
        }
    }
}

/// The responses before that to a malformed request are whole, however slowly they are read.
#[tokio::test]
async fn pipelined_responses_arrive_before_a_malformed_request_is_rejected() {
    let client = Client::of(Database::sqlite()).await;
    let rows: String = (0..500)
        .map(|number| {
            let title = format!("{number} {}", "HTTP/1.1 400".repeat(20));
            let movie = json!({"title": title, "genre": "g", "release_year": 2000, "expiry_date": "2030-01-01"});
            format!("{movie}\n")
        })
        .collect();
    let import = client.request("POST", "/api/v1/movies/import");
    let import = import.header("content-type", "application/x-ndjson").body(rows);
    assert_eq!(client.send(import).await.status, 200);
    let page = get("/api/v1/movies?limit=500", false);
    let text = read_slowly(&client, &format!("{}GET /a b HTTP/1.1\r\n\r\n", page.repeat(3))).await;
    let all = responses(&text);
    let statuses: Vec<u16> = all.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 400]);
    for (_, page) in &all[..3] {
        assert_eq!(titles(page).len(), 500);
    }
    assert_eq!(all[3].1["code"], "malformed_request");
}

/// A slow reader gets the rest of a response in many writes, each of which may start anywhere in a record.
#[tokio::test]
async fn records_that_look_like_a_response_of_the_parser_are_not_replaced() {
    let client = Client::of(Database::sqlite()).await;
    let rows: String = (0..1000)
        .map(|number| {
            let title = format!("{number:04}{}{}", " ".repeat(number % 12), "HTTP/1.1 400".repeat(23));
            let genre = "HTTP/1.1 400".repeat(8);
            let movie = json!({"title": title, "genre": genre, "release_year": 2000, "expiry_date": "2030-01-01"});
            format!("{movie}\n")
        })
        .collect();
    let import = client.request("POST", "/api/v1/movies/import");
    let import = import.header("content-type", "application/x-ndjson").body(rows);
    assert_eq!(client.send(import).await.status, 200);
    for path in ["/api/v1/movies/export?format=csv", "/api/v1/movies?limit=1000"] {
        let text = read_slowly(&client, &get(path, true)).await;
        assert!(!text.contains("application/problem+json"), "{path}");
        assert_eq!(
            text.matches("0999   HTTP/1.1 400").count(),
            1,
            "{path}: the response is complete"
        );
    }
}
