//! Failover between a primary and its standby, with a virtual IP address that moves or a URL with both hosts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::instance::{Caller, Instance, Launch, Reply};
use super::super::proxy::{Mode, Proxy};
use super::super::{REQUEST_LIMIT, Report};
use super::{put, recovery, revoke, write_until};
use crate::support::server::Server;

/// The maximum time until writes succeed again after a standby was promoted.
const PROMOTION_LIMIT: Duration = Duration::from_secs(10);

/// How long the IP address points to the standby.
const AWAY: Duration = Duration::from_secs(3);

/// Sends every kind of write repeatedly until `until`.
async fn writes(
    caller: &Caller,
    id: &str,
    name: &str,
    until: Instant,
) -> Vec<(&'static str, Reply)> {
    let mut replies = Vec::new();
    for count in 0.. {
        if Instant::now() >= until {
            break;
        }
        let title = format!("{name} {count}");
        replies.push(("create", caller.create(&title).await));
        replies.push(("update", put(caller, id, &format!("{title}u")).await));
        replies.push(("import (skip)", caller.import(&format!("{title}s"), 5, "skip").await));
        replies.push(("import (fail)", caller.import(&format!("{title}f"), 5, "fail").await));
        replies.push(("revoke", revoke(caller).await));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    replies
}

fn counts<'a>(replies: impl Iterator<Item = &'a (&'static str, Reply)>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (kind, reply) in replies {
        *counts.entry(format!("{kind} {}", reply.status)).or_default() += 1;
    }
    counts.iter().map(|(what, count)| format!("{count} × {what}")).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ip_address_moves_to_a_standby_and_back() {
    let (primary, standby) = tokio::task::block_in_place(|| {
        let primary = Server::start();
        let standby = primary.standby();
        (primary, standby)
    });
    let proxy = Proxy::before(&primary.url());
    let instance = Instance::start(&proxy.url(&primary.url())).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let id = caller.create("First").await.json()["id"].as_str().expect("a movie").to_owned();
    let mut report =
        Report::new("The IP address of the database moves to a standby and back to the primary");
    // Runs twice: first the connections are reset when the IP address moves, then they stay open.
    for (round, is_cut) in [("first", true), ("second", false)] {
        // Waits until the standby has replicated all acknowledged writes.
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.set_upstream(standby.socket());
        if is_cut {
            proxy.reset();
        }
        let until = Instant::now() + AWAY;
        let reading = async {
            let mut bad = Vec::new();
            while Instant::now() < until {
                let reply = caller.get(&format!("/api/v1/movies/{id}")).await;
                if reply.status != 200 && !reply.is_unavailable() {
                    bad.push(reply.status);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bad
        };
        let (replies, bad_reads) = tokio::join!(writes(&caller, &id, round, until), reading);
        // Connections to the primary that stay open can still write.
        let is_proper = |reply: &Reply| reply.is_unavailable() || (!is_cut && reply.is_success());
        let slow = replies.iter().filter(|(_, reply)| reply.took > REQUEST_LIMIT).count();
        let is_kept = replies.iter().all(|(_, reply)| is_proper(reply)) && slow == 0;
        let measured = counts(replies.iter());
        report.row(&format!("{round}: writes 503 with Retry-After, never 500"), measured, is_kept);
        let is_kept = bad_reads.is_empty();
        report.row(&format!("{round}: reads 200 or 503"), format!("{bad_reads:?}"), is_kept);

        // The proxy does not close the connections to the standby; the service has to.
        proxy.set_upstream(primary.socket());
        let (again, is_kept) = recovery(|attempt| {
            let (caller, title) = (&caller, format!("{round} again {attempt}"));
            async move { caller.create(&title).await }
        })
        .await;
        report.row(&format!("{round}: 2xx 5 s after the primary is back"), again, is_kept);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let until = Instant::now() + Duration::from_secs(1);
        let replies = writes(&caller, &id, &format!("{round} later"), until).await;
        let is_kept = replies
            .iter()
            .all(|(kind, reply)| reply.is_success() || (*kind == "revoke" && reply.status == 403));
        report.row(&format!("{round}: all writes 2xx then"), counts(replies.iter()), is_kept);
    }
    report.finish();
}

/// Returns a URL with both servers. The service connects to the one that accepts writes.
fn both(first: &Server, second: &Server) -> String {
    let (first, second) = (first.socket(), second.socket());
    format!("postgres://test@{first},{second}/postgres?target_session_attrs=read-write")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_found_among_several_hosts() {
    let (primary, standby) = tokio::task::block_in_place(|| {
        let primary = Server::start();
        let standby = primary.standby();
        (primary, standby)
    });
    let mut report = Report::new("A URL with several hosts");
    for (name, url) in
        [("standby first", both(&standby, &primary)), ("primary first", both(&primary, &standby))]
    {
        let mut instance = Launch::on(&url).spawn();
        let ended = instance.wait_or_ready(Duration::from_secs(20)).await;
        let measured = match ended {
            Ok(()) => instance.client().create(name).await.status.to_string(),
            Err(why) => why,
        };
        report.row(&format!("{name}: create 201"), &measured, measured == "201");
    }
    report.finish();
}

/// Promotes the standby under load. With synchronous replication it has all acknowledged writes.
async fn promote(has_both_in_url: bool) {
    let (mut primary, mut standby) = tokio::task::block_in_place(|| {
        let primary = Server::start();
        let standby = primary.standby();
        (primary, standby)
    });
    primary.run_sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    primary.run_sql("SELECT pg_reload_conf()").await;
    let proxy = Proxy::before(&primary.url());
    let url = if has_both_in_url { both(&primary, &standby) } else { proxy.url(&primary.url()) };
    let instance = Instance::start(&url).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let (stop, stopped) = watch::channel(false);
    let failing_over = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| primary.kill());
        proxy.set(Mode::Reject);
        tokio::task::block_in_place(|| standby.promote());
        let start = Instant::now();
        proxy.set_upstream(standby.socket());
        proxy.set(Mode::Pass);
        let mut took = None;
        for attempt in 0.. {
            if start.elapsed() > PROMOTION_LIMIT {
                break;
            }
            if caller.create(&format!("promoted {attempt}")).await.is_success() {
                took = Some(start.elapsed());
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.send_replace(true);
        took
    };
    let (written, took) = tokio::join!(write_until(&caller, "load", stopped), failing_over);
    let name = if has_both_in_url { "a URL with both hosts" } else { "an IP address that moves" };
    let mut report = Report::new(&format!("A standby is promoted under load; {name}"));
    let measured = took.map_or("not in time".to_owned(), |took| format!("{took:.1?}"));
    report.row("writes succeed again within 10 s", measured, took.is_some());
    let (missing, partial) = written.missing_and_partial(&standby.url()).await;
    let acknowledged = written.acknowledged();
    let measured = format!("{} of {acknowledged}", missing.len());
    report.row("0 acknowledged writes lost", measured, missing.is_empty() && acknowledged > 0);
    report.row("0 partial batches", format!("{partial:?}"), partial.is_empty());
    let is_proper = |status: &u16| [200, 201, 503].contains(status);
    let is_kept = written.statuses.keys().all(is_proper);
    report.row("clients see 2xx or 503", format!("{:?}", written.statuses), is_kept);
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: `make faults`"]
async fn a_standby_is_promoted_with_a_moving_ip_address() {
    promote(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: `make faults`"]
async fn a_standby_is_promoted_with_several_hosts_in_the_url() {
    promote(true).await;
}
