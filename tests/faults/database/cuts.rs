//! Requests whose clients go away while the service works on them.

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

/// Requests at a time.
const CLIENTS: usize = 32;

/// Connections of the service's pool by default.
const POOL: i64 = 8;

/// The rows of an import here.
const ROWS: usize = 120;

/// Sends a request and goes away after 0 to 50 ms, by RST or in order.
async fn cut(address: SocketAddr, number: usize, id: &str) {
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
    let head = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/{kind}\r\n\
         if-match: *\r\ncontent-length: {}\r\n\r\n",
        token_of(&format!("user {}", number % CLIENTS), &["movies:read", "movies:write"]),
        body.len()
    );
    let request = [head.into_bytes(), body].concat();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Some are cut off before all of it is sent.
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
    let address = instance.socket();
    let cuts =
        stream::iter(0..count).for_each_concurrent(CLIENTS, |number| cut(address, number, &id));
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
    // One takes the place of another as soon as that was told to end, and the server takes a moment.
    report.row("at most 16 sessions: 8, and those that are ending", most, most <= 2 * POOL);
    // What was begun may go on to its end; it has no client any more.
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
    report.row("0 failing statements after", format!("{failed:?}"), failed.is_empty());
    let titles = titles(&url).await;
    let mut rows = std::collections::BTreeMap::<&str, usize>::new();
    for title in titles.iter().filter(|title| title.starts_with("import")) {
        *rows.entry(title.split(' ').next().unwrap()).or_default() += 1;
    }
    // Of those cut off in the middle of the file, what had arrived may be there.
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
