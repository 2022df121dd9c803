//! Transient failures: serialization failures, deadlocks, and a busy SQLite.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Connection;

use super::super::instance::{Caller, Instance, Reply};
use super::super::proxy::{Proxy, failing};
use super::super::{REQUEST_LIMIT, Report};
use super::{put, revoke, titles};
use crate::support::Database;

/// A transaction runs once and is retried at most five times.
const MAX_TRIES: usize = 6;

/// The rows of an import.
const ROWS: usize = 150;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Write {
    Create,
    Update,
    Revoke,
    Import(&'static str),
}

const WRITES: [Write; 5] =
    [Write::Create, Write::Update, Write::Revoke, Write::Import("skip"), Write::Import("fail")];

impl Write {
    async fn send(self, caller: &Caller, id: &str, title: &str) -> Reply {
        match self {
            Self::Create => caller.create(&format!("{title} 0")).await,
            Self::Update => put(caller, id, &format!("{title} 0")).await,
            Self::Revoke => revoke(caller).await,
            Self::Import(policy) => caller.import(title, ROWS, policy).await,
        }
    }

    /// Returns the number of rows with its title after a success.
    fn rows(self) -> usize {
        match self {
            Self::Revoke => 0,
            Self::Create | Self::Update => 1,
            Self::Import(_) => ROWS,
        }
    }
}

/// Returns whether a statement belongs to a write request. Statements that start a session or a transaction do not,
/// nor do those that write the usage counts and delete old changes and keys in the background.
fn is_write(sql: &str) -> bool {
    let sql = sql.trim_start().to_lowercase();
    let writes = ["insert", "update", "delete", "with", "commit"];
    let old = ["changes", "idempotency_keys"];
    let is_upkeep = sql.contains("usage")
        || sql.starts_with("delete") && old.iter().any(|table| sql.contains(table));
    writes.iter().any(|word| sql.starts_with(word)) && !is_upkeep
}

/// Makes the nth statement of a write fail, once or every time, and counts the rows afterwards.
async fn check(write: Write, code: &'static str, nths: &[usize]) -> Vec<(String, String, bool)> {
    let database = Database::postgres().await;
    let url = database.url();
    let proxy = Proxy::before(&url);
    let instance = Instance::start(&proxy.url(&url)).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut rows = Vec::new();
    for nth in nths {
        for (times, often) in [(1, "once"), (usize::MAX, "every time")] {
            let title = format!("{code} {nth} {times}");
            proxy.on(is_write, nth - 1, times, failing(code));
            let reply = write.send(&caller, &id, &title).await;
            let hits = proxy.hits();
            proxy.clear();
            let found = titles(&url).await;
            let is_of_title = |found: &&String| found.starts_with(&format!("{title} "));
            let found = found.iter().filter(is_of_title).count();
            let name = format!("{write:?}: {code} at statement {nth}, {often}");
            if hits == 0 {
                rows.push((name, "has no such statement".to_owned(), reply.is_success()));
                continue;
            }
            let (promised, is_kept) = if times == 1 {
                ("2xx", reply.is_success() && found == write.rows())
            } else {
                let is_bounded = hits <= MAX_TRIES && reply.took < REQUEST_LIMIT;
                ("503 with Retry-After", reply.is_unavailable() && found == 0 && is_bounded)
            };
            let measured = format!(
                "{} in {:.1?}, failed {hits} times, {found} rows",
                reply.status, reply.took
            );
            rows.push((format!("{name}: {promised}"), measured, is_kept));
        }
    }
    rows
}

async fn failures(codes: &[&'static str], nths: &[usize]) {
    let mut report = Report::new("A transaction fails with a transient error");
    let cases = codes.iter().flat_map(|code| WRITES.map(|write| check(write, code, nths)));
    for (promised, measured, is_kept) in join_all(cases).await.into_iter().flatten() {
        report.row(&promised, measured, is_kept);
    }
    report.finish();
}

#[tokio::test]
async fn failed_transactions_are_retried() {
    failures(&["40001", "40P01"], &[1, 2, 3]).await;
}

/// Another program holds SQLite's write lock, for a while or permanently.
async fn check_busy(write: Write) -> Vec<(String, String, bool)> {
    let database = Database::sqlite();
    let url = database.url();
    let instance = Instance::start(&url).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut rows = Vec::new();
    for (held, promised) in [
        (Some(Duration::from_millis(700)), "2xx"),
        (None, "503 with Retry-After within 7 s; reads 200"),
    ] {
        let mut holder = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
        let title = format!("busy {held:?}");
        let reading = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            caller.get(&format!("/api/v1/movies/{id}")).await
        };
        let release = async {
            if let Some(held) = held {
                tokio::time::sleep(held).await;
                sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
            }
        };
        let sending = write.send(&caller, &id, &title);
        let (reply, read, ()) = tokio::join!(sending, reading, release);
        let is_proper = if held.is_some() { reply.is_success() } else { reply.is_unavailable() };
        let is_kept = is_proper && read.status == 200 && reply.took < REQUEST_LIMIT;
        let held = held.map_or("permanently".to_owned(), |held| format!("for {held:?}"));
        let measured = format!("{} in {:.1?}; read {}", reply.status, reply.took, read.status);
        rows.push((format!("{write:?}, locked {held}: {promised}"), measured, is_kept));
    }
    rows
}

#[tokio::test]
async fn a_busy_sqlite_is_waited_for_up_to_a_limit() {
    let mut report = Report::new("Another process writes to SQLite");
    let checks = join_all(WRITES.map(check_busy)).await;
    for (promised, measured, is_kept) in checks.into_iter().flatten() {
        report.row(&promised, measured, is_kept);
    }
    report.finish();
}
