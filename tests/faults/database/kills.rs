//! Instances and servers that are killed during writes.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::instance::{Instance, Launch};
use super::super::{RECOVERY_LIMIT, Report};
use super::{Written, recovery, write_until};
use crate::support::Database;
use crate::support::server::Server;

/// Returns how long a round writes before the kill. It differs in every round.
fn pause(round: usize) -> Duration {
    Duration::from_millis(150 + (round as u64 * 7919) % 400)
}

async fn judge(mut report: Report, written: &Written, url: &str, slowest: Duration) {
    let (missing, partial) = written.missing_and_partial(url).await;
    let acknowledged = written.acknowledged();
    let first = missing.first().cloned().unwrap_or_default();
    let measured = format!("{} of {acknowledged} lost {first}", missing.len());
    report.row("0 acknowledged writes lost", measured, missing.is_empty() && acknowledged > 0);
    let first = partial.first().cloned().unwrap_or_default();
    report.row("0 partial batches", format!("{} {first}", partial.len()), partial.is_empty());
    let statuses = &written.statuses;
    let is_proper = |status: &u16| [0, 200, 201, 503].contains(status);
    let is_kept = statuses.keys().all(is_proper);
    report.row("no errors other than 503 and lost connections", format!("{statuses:?}"), is_kept);
    let measured = format!("slowest {slowest:.1?}");
    report.row("2xx 5 s after the start", measured, slowest < RECOVERY_LIMIT);
    report.finish();
}

/// Kills an instance repeatedly.
async fn kill_instances(database: &Database, rounds: usize) {
    let url = database.url();
    let mut written = Written::default();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let start = Instant::now();
        let mut instance = Launch::on(&url).start().await;
        let caller = instance.client().within(Duration::from_secs(20));
        let name = format!("round{round}");
        let first = recovery(|count| {
            let (caller, title) = (&caller, format!("{name}-first-{count}"));
            async move { caller.create(&title).await }
        });
        assert!(first.await.1, "{}", instance.log_text());
        slowest = slowest.max(start.elapsed());
        let (stop, stopped) = watch::channel(false);
        let killing = async {
            tokio::time::sleep(pause(round)).await;
            instance.kill();
            stop.send_replace(true);
        };
        let (round, ()) = tokio::join!(write_until(&caller, &name, stopped), killing);
        written.add(round);
    }
    let engine = url.split(':').next().unwrap();
    let report = Report::new(&format!("{rounds} × kill -9 of an instance on {engine}"));
    judge(report, &written, &url, slowest).await;
}

/// Kills PostgreSQL repeatedly while an instance keeps running.
async fn kill_servers(rounds: usize) {
    let mut server = Server::start();
    let instance = Instance::start(&server.url()).await;
    let caller = instance.client().within(Duration::from_secs(20));
    let mut written = Written::default();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let name = format!("round{round}");
        let (stop, stopped) = watch::channel(false);
        let killing = async {
            tokio::time::sleep(pause(round)).await;
            tokio::task::block_in_place(|| {
                server.kill();
                server.start_again();
            });
            let start = Instant::now();
            let first = recovery(|count| {
                let (caller, title) = (&caller, format!("{name}-again-{count}"));
                async move { caller.create(&title).await }
            });
            first.await;
            stop.send_replace(true);
            start.elapsed()
        };
        let (round, took) = tokio::join!(write_until(&caller, &name, stopped), killing);
        written.add(round);
        slowest = slowest.max(took);
    }
    let report = Report::new(&format!("{rounds} × kill -9 of PostgreSQL"));
    judge(report, &written, &server.url(), slowest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_on_postgres_is_killed() {
    kill_instances(&Database::postgres().await, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_on_sqlite_is_killed() {
    kill_instances(&Database::sqlite(), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed() {
    kill_servers(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn an_instance_is_killed_a_hundred_times() {
    kill_instances(&Database::postgres().await, 100).await;
    kill_instances(&Database::sqlite(), 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make faults`"]
async fn postgres_is_killed_twenty_times() {
    kill_servers(20).await;
}
