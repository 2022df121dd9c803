//! Instances that are killed after the commit of a request with an idempotency key, before the client has its response.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Report;
use super::super::instance::{Caller, Launch, Reply, file, movie};
use super::super::proxy::{Action, Proxy};
use super::titles;
use crate::support::{Database, token};

/// The rows of an import, and the operations of a batch.
const ROWS: usize = 40;

/// How long a client retries.
const ATTEMPTS: usize = 300;

/// A request that writes: its path, its media type, and what it creates.
#[derive(Debug, Clone, Copy)]
enum Write {
    Create,
    Batch,
    Import(&'static str),
}

const WRITES: [Write; 4] =
    [Write::Create, Write::Batch, Write::Import("fail"), Write::Import("skip")];

impl Write {
    fn path(self) -> String {
        match self {
            Self::Create => "/api/v1/movies".to_owned(),
            Self::Batch => "/api/v1/movies/batch".to_owned(),
            Self::Import(policy) => format!("/api/v1/movies/import?on_conflict={policy}"),
        }
    }

    fn body(self, title: &str) -> (&'static str, Vec<u8>) {
        let operation =
            |n: usize| json!({"op": "create", "record": movie(&format!("{title} {n}"))});
        match self {
            Self::Create => {
                ("application/json", movie(&format!("{title} 0")).to_string().into_bytes())
            }
            Self::Batch => {
                let operations: Vec<_> = (0..ROWS).map(operation).collect();
                let batch = json!({"operations": operations});
                ("application/json", batch.to_string().into_bytes())
            }
            Self::Import(_) => ("application/x-ndjson", file(title, ROWS)),
        }
    }

    /// Returns the number of its records.
    fn rows(self) -> usize {
        match self {
            Self::Create => 1,
            Self::Batch | Self::Import(_) => ROWS,
        }
    }

    async fn send(self, caller: &Caller, title: &str) -> Reply {
        let headers = [("idempotency-key", title)];
        caller.send("POST", &self.path(), &headers, Some(self.body(title))).await
    }

    /// Sends the request and returns when the first byte of the response has arrived.
    async fn send_until_response(self, to: SocketAddr, title: &str) {
        let (media_type, body) = self.body(title);
        let (path, length) = (self.path(), body.len());
        let token = token(&["movies:read", "movies:write"]);
        let headers = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n\
             content-length: {length}\r\nidempotency-key: {title}\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&[headers.into_bytes(), body].concat()).await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    }
}

/// Kills instances and retries the requests that they have not responded to.
async fn kill_before_response(database: &Database, rounds: usize) {
    let url = database.url();
    let is_postgres = url.starts_with("postgres");
    let proxy = is_postgres.then(|| Proxy::before(&url));
    let behind = proxy.as_ref().map_or(url.clone(), |proxy| proxy.url(&url));
    let (mut replayed, mut expected, mut wrong) = (0, 0, Vec::new());
    for round in 0..rounds {
        let write = WRITES[round % WRITES.len()];
        let title = format!("round-{round}");
        let mut instance = Launch::on(&behind).start().await;
        match &proxy {
            // The commit arrives, and its confirmation is lost.
            Some(proxy) => {
                proxy.on(|sql| sql.eq_ignore_ascii_case("commit"), 0, 1, Action::SwallowResponse);
                let caller = instance.client().within(Duration::from_secs(20));
                let lost = tokio::spawn({
                    let title = title.clone();
                    async move { write.send(&caller, &title).await }
                });
                while proxy.hits() == 0 && !lost.is_finished() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Until the server has committed.
                while titles(&url).await.iter().all(|found| *found != format!("{title} 0")) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                instance.kill();
                lost.await.unwrap();
                proxy.clear();
            }
            None => {
                write.send_until_response(instance.socket(), &title).await;
                instance.kill();
            }
        }
        let instance = Launch::on(&behind).start().await;
        let caller = instance.client().within(Duration::from_secs(20));
        let mut reply = write.send(&caller, &title).await;
        for _ in 0..ATTEMPTS {
            if reply.status != 409 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            reply = write.send(&caller, &title).await;
        }
        expected += write.rows();
        replayed += usize::from(reply.header("idempotency-replayed") == "true");
        let found = titles(&url).await;
        let own = found.iter().filter(|found| found.starts_with(&format!("{title} "))).count();
        if !reply.is_success() || own != write.rows() {
            wrong.push(format!("{write:?}: {} {own} rows {}", reply.status, reply.json()));
        }
    }
    let engine = url.split(':').next().unwrap();
    let mut report =
        Report::new(&format!("{rounds} × kill -9 between commit and response on {engine}"));
    report.row(
        "each retry gets the response",
        format!("{replayed} of {rounds}"),
        replayed == rounds,
    );
    let count = titles(&url).await.len();
    report.row(
        "each request is done once",
        format!("{count} of {expected} rows"),
        count == expected,
    );
    let first = wrong.first().cloned().unwrap_or_default();
    report.row("0 wrong", format!("{} {first}", wrong.len()), wrong.is_empty());
    report.finish();
}

/// Kills an instance after the first commit of an import, and retries the import with another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_continues_after_a_kill() {
    let database = Database::postgres().await;
    let url = database.url();
    let proxy = Proxy::before(&url);
    let mut instance = Launch::on(&proxy.url(&url)).start().await;
    let send = async |caller: Caller| {
        let body = Some(("application/x-ndjson", file("row", 2500)));
        let path = "/api/v1/movies/import?on_conflict=skip";
        caller.send("POST", path, &[("idempotency-key", "k")], body).await
    };
    proxy.on(|sql| sql.eq_ignore_ascii_case("commit"), 1, 1, Action::SwallowResponse);
    let lost = tokio::spawn(send(instance.client()));
    while titles(&url).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    instance.kill();
    assert_eq!(lost.await.unwrap().status, 0);
    let before = titles(&url).await.len();
    let instance = Launch::on(&url).start().await;
    let mut reply = send(instance.client()).await;
    let mut waits = 0;
    while reply.status == 409 && waits < ATTEMPTS {
        waits += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        reply = send(instance.client()).await;
    }
    let mut report = Report::new("kill -9 during an import with an idempotency key");
    let created = reply.json()["created"].clone();
    report.row(
        "the retry continues",
        format!("after {before}: {}", reply.status),
        reply.status == 200,
    );
    report.row("the report is about all rows", &created, created == 2500);
    let changes = database.rows("SELECT count(*)::text FROM changes").await;
    let changes = changes[0][0].clone().unwrap_or_default();
    report.row("each row is written once", &changes, changes == "2500");
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_a_kill_on_postgres_gets_the_response() {
    kill_before_response(&Database::postgres().await, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_a_kill_on_sqlite_gets_the_response() {
    kill_before_response(&Database::sqlite(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn fifty_retries_after_a_kill_get_the_response() {
    kill_before_response(&Database::postgres().await, 50).await;
    kill_before_response(&Database::sqlite(), 50).await;
}
