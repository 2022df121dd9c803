//! Many concurrent clients: no acknowledged write is lost, excess requests are rejected soon, and files are
//! streamed instead of held in memory.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::instance::{Caller, Instance, Launch, file, movie};
use super::super::{REQUEST_LIMIT, Report};
use crate::support::Database;

/// Increments a counter with If-Match until `until`. Returns the number of successes, and the statuses other than
/// 200 and 412.
async fn count_up(caller: Caller, id: String, until: Instant) -> (u64, Vec<u16>) {
    let (mut counted, mut others) = (0, Vec::new());
    let path = format!("/api/v1/movies/{id}");
    while Instant::now() < until {
        let read = caller.get(&path).await;
        if read.status != 200 {
            others.push(read.status);
            continue;
        }
        let count: u64 = read.json()["title"].as_str().unwrap().parse().unwrap();
        let body = movie(&(count + 1).to_string()).to_string().into_bytes();
        let tag = read.header("etag").to_owned();
        let body = Some(("application/json", body));
        let written = caller.send("PUT", &path, &[("if-match", &tag)], body).await;
        match written.status {
            200 => counted += 1,
            412 => {}
            status => others.push(status),
        }
    }
    (counted, others)
}

async fn lost_updates(instances: usize, clients: usize, time: Duration) {
    let mut report =
        Report::new(&format!("{clients} clients of {instances} instances increment a counter"));
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let mut started = Vec::new();
        for _ in 0..instances {
            started.push(Launch::on(&database.url()).start().await);
        }
        let first = started[0].client();
        let id = first.create("0").await.json()["id"].as_str().unwrap().to_owned();
        let until = Instant::now() + time;
        let mut counting = JoinSet::new();
        for number in 0..clients {
            // Each client is another user, because one user has only a share of the service.
            let caller = started[number % instances].client().named(&format!("user {number}"));
            counting.spawn(count_up(caller, id.clone(), until));
        }
        let (mut counted, mut others) = (0, Vec::new());
        for (count, other) in counting.join_all().await {
            counted += count;
            others.extend(other);
        }
        let last = first.get(&format!("/api/v1/movies/{id}")).await.json();
        let last: u64 = last["title"].as_str().unwrap().parse().unwrap();
        report.row(
            &format!("{engine}: the counter equals the number of successes"),
            format!("{last} after {counted} successes"),
            last == counted && counted > 0,
        );
        others.retain(|status| *status != 503);
        report.row(
            &format!("{engine}: otherwise 412, or 503 under load"),
            format!("{} others {others:?}", others.len()),
            others.is_empty(),
        );
    }
    report.finish();
}

/// Returns the peak memory use of the process, in MiB.
fn peak(instance: &Instance) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn large_files(rows: usize) {
    let mut report = Report::new(&format!("Import and export of {rows} records"));
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let instance = Instance::start(&database.url()).await;
        let caller = instance.client().within(Duration::from_secs(300));
        let idle = peak(&instance);
        let body = Some(("application/x-ndjson", file("large", rows)));
        let imported = caller.send("POST", "/api/v1/movies/import", &[], body).await;
        let exported = caller.get("/api/v1/movies/export").await;
        let lines = exported.body.iter().filter(|byte| **byte == b'\n').count();
        report.row(
            &format!("{engine}: the export has all records"),
            format!("import {}, export {} with {lines}", imported.status, exported.status),
            imported.status == 200 && lines == rows,
        );
        let over = peak(&instance) - idle;
        report.row(
            &format!("{engine}: at most 64 MiB over idle"),
            format!("{over} MiB over {idle} MiB"),
            over <= 64,
        );
    }
    report.finish();
}

/// Sends twenty times as many slow searches as there are connections, each of another user.
async fn overload(rows: usize) {
    let mut report = Report::new("Twenty times as many slow searches as connections");
    let mut all = 0;
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let instance = Instance::start(&database.url()).await;
        let caller = instance.client().within(Duration::from_secs(60));
        assert_eq!(caller.import("slow", rows, "skip").await.status, 200);
        let tests = vec!["title%20contains%20'no'"; 100].join("%20or%20");
        let path = format!("/api/v1/movies?count=exact&filter={tests}");
        let mut searches = JoinSet::new();
        for number in 0..80 {
            let (caller, path) = (caller.named(&format!("user {number}")), path.clone());
            searches.spawn(async move { caller.get(&path).await });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let live = instance.client().get("/livez").await;
        report.row(
            &format!("{engine}: /livez is 200 meanwhile"),
            format!("{} after {:?}", live.status, live.took),
            live.status == 200 && live.took < Duration::from_secs(2),
        );
        let replies = searches.join_all().await;
        let others = replies.iter().filter(|reply| reply.status != 200 && !reply.is_unavailable());
        let others: Vec<u16> = others.map(|reply| reply.status).collect();
        let rejected: Vec<Duration> =
            replies.iter().filter(|reply| reply.status == 503).map(|reply| reply.took).collect();
        report.row(
            &format!("{engine}: each is 200, or 503 with Retry-After"),
            format!(
                "{} × 503, longest {:?}; others {others:?}",
                rejected.len(),
                rejected.iter().max()
            ),
            others.is_empty(),
        );
        report.row(
            &format!("{engine}: 503 after a second in the queue"),
            format!("longest {:?}", rejected.iter().max()),
            // Longer than a second, because the machine itself is overloaded.
            rejected.iter().all(|took| *took <= REQUEST_LIMIT),
        );
        all += rejected.len();
    }
    report.row("at least one engine was overloaded", format!("{all} × 503"), all > 0);
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost() {
    lost_updates(2, 8, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn no_update_is_lost_long() {
    lost_updates(4, 64, Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_not_held_in_memory() {
    large_files(5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn files_are_not_held_in_memory_long() {
    large_files(100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_database_rejects_soon() {
    overload(30_000).await;
}
