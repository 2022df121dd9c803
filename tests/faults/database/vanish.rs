//! Instances that vanish during an import, and the session limits by which the server notices that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::super::Report;
use super::super::instance::{Caller, Instance, Reply};
use super::super::proxy::{Action, MEASURED, Proxy};
use super::put;
use crate::support::Database;

/// The maximum time until other instances can import again.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);

/// Session settings and their maximum values in requests and in imports, in the unit of `pg_settings`. Zero means no
/// limit, which is not allowed.
const SETTINGS: &[(&str, i64, i64)] = &[
    ("statement_timeout", 5_000, 60_000),
    ("lock_timeout", 2_000, 60_000),
    ("idle_in_transaction_session_timeout", 60_000, 60_000),
    ("tcp_keepalives_idle", 60, 60),
];

/// Returns an action whose statement fails with the session's settings in the error message.
fn reveal() -> Action {
    let names = SETTINGS.iter().map(|(name, ..)| format!("'{name}'"));
    let names = names.collect::<Vec<_>>().join(", ");
    Action::Replace(format!(
        "DO $$ BEGIN RAISE EXCEPTION '{MEASURED}%', (SELECT string_agg(name || '=' || setting, ' ') \
         FROM pg_settings WHERE name IN ({names})) USING ERRCODE = '40001'; END $$"
    ))
}

fn is_insert(sql: &str) -> bool {
    let sql = sql.to_lowercase();
    sql.contains("insert") && sql.contains("\"movies\"")
}

#[tokio::test]
async fn sessions_have_limits() {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.url());
    let instance = Instance::start(&proxy.url(&database.url())).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut report = Report::new("The settings of the service's sessions");
    let is_search: fn(&str) -> bool = |sql| sql.contains("\"movies\"");
    for (name, matches) in [
        ("search", is_search),
        ("update", is_search),
        ("import (skip)", is_insert),
        ("import (fail)", is_insert),
    ] {
        proxy.on(matches, 0, 1, reveal());
        match name {
            "search" => caller.get("/api/v1/movies").await,
            "update" => put(&caller, &id, "Second").await,
            "import (skip)" => caller.import("Skip", 10, "skip").await,
            _ => caller.import("Fail", 10, "fail").await,
        };
        let measured = proxy.measured().unwrap_or_default();
        let found: BTreeMap<&str, i64> = measured
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        for (setting, of_requests, of_imports) in SETTINGS {
            let most = if name.starts_with("import") { of_imports } else { of_requests };
            let value = found.get(setting).copied().unwrap_or_default();
            let unit = if setting.starts_with("tcp") { "s" } else { "ms" };
            let promised = format!("{name}: {setting} at most {most} {unit}");
            report.row(&promised, value, (1..=*most).contains(&value));
        }
    }
    report.finish();
}

/// How an instance vanishes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Its machine loses power, so the server is not notified.
    Power,
    /// The process is suspended, so its sockets stay open.
    Stop,
}

/// Returns the number of sessions that hold the import lock.
async fn holders(connection: &mut PgConnection) -> i64 {
    let select = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query_scalar(select).fetch_one(connection).await.unwrap()
}

/// Repeats an import until it succeeds. Returns how long that took, and the replies other than 200 and 503.
async fn import_again(caller: &Caller) -> (Option<Duration>, Vec<Reply>) {
    let start = Instant::now();
    let mut bad = Vec::new();
    for attempt in 0.. {
        if start.elapsed() > TAKEOVER_LIMIT + Duration::from_secs(30) {
            break;
        }
        let reply = caller.import(&format!("other {attempt}"), 10, "skip").await;
        if reply.status == 200 {
            return (Some(start.elapsed()), bad);
        }
        if !reply.is_unavailable() {
            bad.push(reply);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    (None, bad)
}

async fn check(report: &mut Report, way: Way, policy: &str) {
    let database = Database::postgres().await;
    let url = database.url();
    let proxy = Proxy::before(&url);
    let mut first = Instance::start(&proxy.url(&url)).await;
    let second = Instance::start(&url).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let caller = first.client();
    if way == Way::Power {
        // At the second statement of the batch the lock is held and the first rows are written.
        proxy.on(is_insert, 1, 1, Action::Vanish);
    }
    let rows = if way == Way::Power { 300 } else { 20_000 };
    let policy = policy.to_owned();
    let name = policy.clone();
    let importing = tokio::spawn(async move { caller.import("first", rows, &policy).await });
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "the import did not acquire its lock within 30 s");
        if way == Way::Power && proxy.hits() == 1 {
            first.kill();
            break;
        }
        if way == Way::Stop && holders(&mut connection).await == 1 {
            first.signal("STOP");
            tokio::time::sleep(Duration::from_millis(200)).await;
            if holders(&mut connection).await == 1 {
                break;
            }
            first.signal("CONT");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (took, bad) = import_again(&second.client().within(Duration::from_secs(90))).await;
    importing.abort();
    let measured = took.map_or("not within 90 s".to_owned(), |took| format!("after {took:.0?}"));
    let is_kept = took.is_some_and(|took| took <= TAKEOVER_LIMIT);
    let promised = format!("{way:?}, {name}: another instance imports again within 60 s");
    report.row(&promised, measured, is_kept);
    let bad: Vec<_> =
        bad.iter().map(|reply| format!("{} in {:.0?}", reply.status, reply.took)).collect();
    report.row("meanwhile 503 with Retry-After", format!("{bad:?}"), bad.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn an_instance_vanishes_during_an_import() {
    let mut report = Report::new("An instance vanishes during an import");
    for way in [Way::Power, Way::Stop] {
        for policy in ["skip", "fail"] {
            check(&mut report, way, policy).await;
        }
    }
    report.finish();
}
