//! The whole database is unreachable, for a while or at the start.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use super::super::instance::{Caller, Instance, Launch, Reply};
use super::super::proxy::{Mode, Proxy};
use super::super::{RECOVERY_LIMIT, REQUEST_LIMIT, Report};
use super::silent::{PATIENCE, Victim, has};
use crate::support::Database;

/// Sends every kind of request repeatedly until `until`. Returns when each was sent, its kind and the reply.
async fn load(
    caller: &Caller,
    id: &str,
    name: &str,
    until: Instant,
) -> Vec<(Instant, String, Reply)> {
    let kinds = [
        ("read", Victim::Read),
        ("search", Victim::Search),
        ("create", Victim::Create),
        ("update", Victim::Update),
        ("import", Victim::Import("skip")),
        ("import all", Victim::Import("fail")),
        ("/readyz", Victim::Ready),
    ];
    // Each kind is sent by another user, so that no user's share of the database is exhausted.
    let streams = kinds.map(|(kind, victim)| async move {
        let caller = &caller.named(kind);
        let mut replies = Vec::new();
        while Instant::now() < until {
            let start = Instant::now();
            let title = format!("{name} {kind} {}", replies.len());
            let reply = victim.send(caller, id, &title).await;
            replies.push((start, kind.to_owned(), reply));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        replies
    });
    let alive = async {
        let mut replies = Vec::new();
        while Instant::now() < until {
            let start = Instant::now();
            replies.push((start, "/livez".to_owned(), caller.get("/livez").await));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        replies
    };
    let (streams, alive) = tokio::join!(join_all(streams), alive);
    streams.into_iter().flatten().chain(alive).collect()
}

/// Interrupts the network to the database for that long.
async fn blackhole(report: &mut Report, mode: Mode, outage: Duration) {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.url());
    let instance = Instance::start(&proxy.url(&database.url())).await;
    let caller = instance.client().within(outage.max(PATIENCE));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let start = Instant::now();
    let fails = start + Duration::from_secs(1);
    let heals = fails + outage;
    // The network is slow, so that statements are in transit when it fails.
    proxy.set(Mode::Delay(Duration::from_millis(20)));
    let fault = async {
        tokio::time::sleep_until(fails.into()).await;
        proxy.set(mode);
        tokio::time::sleep_until(heals.into()).await;
        proxy.set(Mode::Pass);
    };
    let settled = heals + RECOVERY_LIMIT;
    let end = settled + Duration::from_secs(1);
    let ((), replies) = tokio::join!(fault, load(&caller, &id, "Black hole", end));

    let slowest = replies.iter().max_by_key(|(.., reply)| reply.took).unwrap();
    let slow = replies.iter().filter(|(.., reply)| reply.took >= REQUEST_LIMIT).count();
    let measured = format!("{slow} too late, slowest {} {:.1?}", slowest.1, slowest.2.took);
    report.row(&format!("{mode:?}: every request ends within 7 s"), measured, slow == 0);
    let is_proper = |kind: &str, reply: &Reply| match kind {
        "/livez" => reply.status == 200,
        _ => reply.is_success() || reply.is_unavailable(),
    };
    let bad: Vec<_> = replies.iter().filter(|(_, kind, reply)| !is_proper(kind, reply)).collect();
    let first = bad.first().map(|(_, kind, reply)| {
        let body = String::from_utf8_lossy(&reply.body);
        format!(": {kind} {} {} {body}", reply.status, reply.failure)
    });
    let measured = format!("{} others{}", bad.len(), first.unwrap_or_default());
    let promised = format!("{mode:?}: only 2xx and 503 with Retry-After; /livez 200");
    report.row(&promised, measured, bad.is_empty());
    let late = replies.iter().filter(|(at, _, reply)| *at > settled && !reply.is_success());
    let late: Vec<_> = late.map(|(_, kind, reply)| format!("{kind} {}", reply.status)).collect();
    let is_kind = |kind: &str| replies.iter().any(|(at, of, _)| *at > settled && of == kind);
    let kinds = ["read", "search", "create", "update", "import", "import all", "/readyz"];
    let silent: Vec<_> = kinds.into_iter().filter(|kind| !is_kind(kind)).collect();
    let measured = format!("failures later: {late:?}; still waiting: {silent:?}");
    let is_kept = late.is_empty() && silent.is_empty();
    report.row(
        &format!("{mode:?}: 2xx of every kind 5 s after the network is back"),
        measured,
        is_kept,
    );
}

async fn unreachable(modes: &[Mode], outage: Duration) {
    let mut report = Report::new(&format!("The database is unreachable for {outage:?}"));
    for mode in modes {
        blackhole(&mut report, *mode, outage).await;
    }
    report.finish();
}

#[tokio::test]
async fn the_network_loses_all_data() {
    unreachable(&[Mode::Silent], Duration::from_secs(8)).await;
}

#[tokio::test]
async fn the_network_delivers_late() {
    unreachable(&[Mode::Hold], Duration::from_secs(8)).await;
}

#[tokio::test]
#[ignore = "takes minutes: `make faults`"]
async fn the_network_is_interrupted_for_a_minute() {
    unreachable(&[Mode::Silent, Mode::Hold, Mode::Reject], Duration::from_secs(60)).await;
}

/// An instance that is started while the database does not respond logs that.
#[tokio::test]
async fn an_instance_that_waits_for_the_database_logs_it() {
    let mut report = Report::new("The database does not respond at the start");
    for mode in [Mode::Silent, Mode::Reject] {
        let database = Database::postgres().await;
        let proxy = Proxy::before(&database.url());
        proxy.set(mode);
        let launch = Launch::on(&proxy.url(&database.url()));
        let mut instance = launch.spawn();
        let limit = Duration::from_secs(11);
        let logged = loop {
            let names = |line: &Value| has(&line.to_string(), &["database"]);
            if let Some((at, line)) = instance.log().into_iter().find(|(_, line)| names(line)) {
                break Some((at, line));
            }
            if instance.wait(Duration::from_millis(100)).await.is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                break instance.log().pop();
            }
            if instance.log().is_empty() && instance.age() > limit {
                break None;
            }
        };
        let is_kept = logged.as_ref().is_some_and(|(at, _)| *at < limit);
        let logged = logged.map_or("nothing".to_owned(), |(at, line)| format!("{at:.1?}: {line}"));
        report.row(&format!("{mode:?}: a log line about it within 10 s"), logged, is_kept);
    }
    report.finish();
}
