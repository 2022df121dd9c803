//! Requests whose clients disconnect before the response.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::Report;
use super::super::instance::{Instance, file, movie};
use super::{put, titles};
use crate::support::{Database, token_of};

/// The number of concurrent requests.
const CLIENTS: usize = 32;

/// The default number of connections in the service's pool.
const POOL: i64 = 8;

/// The rows of an import.
const ROWS: usize = 120;

/// Sends a request and disconnects after 0 to 50 ms, with RST or FIN.
async fn cut(socket: SocketAddr, number: usize, id: &str) {
    let json = |title: &str| movie(title).to_string().into_bytes();
    let (line, kind, body) = match number % 6 {
        0 => ("POST /api/v1/movies".to_owned(), "json", json(&format!("cut {number}"))),
        1 => (format!("PUT /api/v1/movies/{id}"), "json", json(&format!("First {number}"))),
        2 => {
            let body = file(&format!("import{number}"), ROWS);
            ("POST /api/v1/movies/import?on_conflict=fail".to_owned(), "x-ndjson", body)
        }
        3 => {
            let body = file(&format!("import{number}"), ROWS);
            ("POST /api/v1/movies/import?on_conflict=skip".to_owned(), "x-ndjson", body)
        }
        4 => ("GET /api/v1/movies?count=exact&limit=100".to_owned(), "json", Vec::new()),
        _ => ("GET /api/v1/movies/export".to_owned(), "json", Vec::new()),
    };
    let headers = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/{kind}\r\n\
         if-match: *\r\ncontent-length: {}\r\n\r\n",
        token_of(&format!("user {}", number % CLIENTS), &["movies:read", "movies:write"]),
        body.len()
    );
    let request = [headers.into_bytes(), body].concat();
    let mut stream = TcpStream::connect(socket).await.unwrap();
    // Some requests are cut off before they are completely sent.
    let sent = if number.is_multiple_of(11) { request.len() / 2 } else { request.len() };
    let _ = stream.write_all(&request[..sent]).await;
    tokio::time::sleep(Duration::from_millis((number as u64 * 7919) % 51)).await;
    if !number.is_multiple_of(4) {
        stream.set_zero_linger().unwrap();
    }
}

async fn sessions(connection: &mut PgConnection, condition: &str) -> i64 {
    let select = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND {condition}"
    );
    sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(connection).await.unwrap()
}

async fn check(count: usize) {
    let database = Database::postgres().await;
    let url = database.url();
    let instance = Instance::start(&url).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let id = caller.create("First 0").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut most = 0;
    let socket = instance.socket();
    let cuts =
        stream::iter(0..count).for_each_concurrent(CLIENTS, |number| cut(socket, number, &id));
    let counting = async {
        loop {
            most = most.max(sessions(&mut connection, "true").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = cuts => {}
        () = counting => {}
    }
    let mut report = Report::new(&format!("{count} requests are cut off after 0 to 50 ms"));
    // A new session may start once an old one is cancelled, but the server needs a moment to end the old one.
    report.row("at most 16 sessions: 8, and 8 that are ending", most, most <= 2 * POOL);
    // Statements that are already running may finish without their client.
    let mut open = i64::MAX;
    for _ in 0..50 {
        open = sessions(&mut connection, "state <> 'idle'").await;
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    report.row("0 sessions in a transaction 5 s later", open, open == 0);
    let mut failed = Vec::new();
    for number in 0..40 {
        let created = caller.create(&format!("created {number}")).await;
        for reply in [created, put(&caller, &id, &format!("put {number}")).await] {
            if !reply.is_success() {
                failed.push(format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body)));
            }
        }
    }
    let import = caller.import("after", ROWS, "fail").await;
    if import.status != 200 {
        failed.push(format!("import {}", import.status));
    }
    report.row("0 failed requests afterwards", format!("{failed:?}"), failed.is_empty());
    let titles = titles(&url).await;
    let mut rows = std::collections::BTreeMap::<&str, usize>::new();
    for title in titles.iter().filter(|title| title.starts_with("import")) {
        *rows.entry(title.split(' ').next().unwrap()).or_default() += 1;
    }
    // Imports that were cut off within the file may have written the rows that had arrived.
    rows.retain(|name, count| {
        let number: usize = name.trim_start_matches("import").parse().unwrap();
        *count != ROWS && !number.is_multiple_of(11)
    });
    report.row("0 partial imports", format!("{rows:?}"), rows.is_empty());
    let panics = instance.log_text().matches("panicked").count();
    report.row("0 panics", panics, panics == 0);
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_cut_off() {
    check(500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn ten_thousand_requests_are_cut_off() {
    check(10_000).await;
}
