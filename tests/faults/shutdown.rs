//! Shutdown and restart under load. /readyz returns 503 first, so that a load balancer can remove the instance.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Report;
use super::instance::{Instance, Launch};
use super::raw::{Raw, bearer, exchange, get};
use crate::support::{Database, token_of};

/// How long an instance continues to serve after SIGTERM.
const DELAY: Duration = Duration::from_secs(2);

/// Added to limits, because the machine also runs other tests.
const ALLOWANCE: Duration = Duration::from_millis(500);

const LIMIT: Duration = Duration::from_secs(10);

async fn launch(database: &Database) -> Instance {
    Launch::on(&database.url()).environment(&[("CINEQUERY_SHUTDOWN_DELAY", "2s")]).start().await
}

fn search() -> Vec<u8> {
    get("/api/v1/movies?limit=5", &bearer(&token_of("reader", &["movies:read"])))
}

/// Sends requests on new connections, one after the other with a pause, until a point in time. Returns when each
/// was sent, and its response.
async fn steady(to: SocketAddr, request: Vec<u8>, until: Instant) -> Vec<(Instant, Raw)> {
    let mut sent = Vec::new();
    while Instant::now() < until {
        let at = Instant::now();
        sent.push((at, exchange(to, &request, LIMIT).await));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sent
}

/// Sends requests like a load balancer: it polls /readyz every 100 ms and sends no requests unless that returns
/// 200.
async fn balanced(to: SocketAddr, until: Instant) -> Vec<Raw> {
    let is_ready = Arc::new(Mutex::new(true));
    let seen = is_ready.clone();
    let poll = async move {
        while Instant::now() < until {
            let raw = exchange(to, &get("/readyz", "connection: close\r\n"), LIMIT).await;
            *seen.lock().unwrap() = raw.status == 200;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let send = async move {
        let mut sent = Vec::new();
        while Instant::now() < until {
            if *is_ready.lock().unwrap() {
                sent.push(exchange(to, &search(), LIMIT).await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    };
    tokio::join!(poll, send).1
}

#[tokio::test]
async fn readyz_returns_503_before_the_listener_closes() {
    let mut report = Report::new("Shutdown under load on new connections");
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let mut instance = launch(&database).await;
        let to = instance.socket();
        let signalled = Instant::now() + Duration::from_millis(500);
        let until = signalled + DELAY + Duration::from_secs(2);
        let mut load = JoinSet::new();
        for _ in 0..4 {
            load.spawn(steady(to, search(), until));
        }
        let probe = tokio::spawn(steady(to, get("/readyz", "connection: close\r\n"), until));
        let alive = tokio::spawn(steady(to, get("/livez", "connection: close\r\n"), until));
        let balanced = tokio::spawn(balanced(to, until));
        tokio::time::sleep(signalled - Instant::now()).await;
        instance.signal("TERM");
        let status = instance.wait(DELAY + LIMIT).await;
        let ended = signalled.elapsed();
        let served: Vec<(Instant, Raw)> = load.join_all().await.into_iter().flatten().collect();
        let (probed, alive) = (probe.await.unwrap(), alive.await.unwrap());
        let left = balanced.await.unwrap();

        let within = |sent: &[(Instant, Raw)], from: Duration, to: Duration| -> Vec<Raw> {
            let inside =
                sent.iter().filter(|(at, _)| (signalled + from..signalled + to).contains(at));
            inside.map(|(_, raw)| raw.clone()).collect()
        };
        let of = |raws: &[Raw], status: u16| raws.iter().filter(|raw| raw.status == status).count();
        let early = Duration::from_millis(200);
        let late = DELAY - Duration::from_millis(200);
        let meanwhile = within(&probed, early, late);
        let text = format!("{} of {} are 503", of(&meanwhile, 503), meanwhile.len());
        let is_kept = !meanwhile.is_empty() && of(&meanwhile, 503) == meanwhile.len();
        report.row(&format!("{engine}: /readyz is 503 at once"), text, is_kept);
        let meanwhile = within(&alive, early, late);
        let text = format!("{} of {} are 200", of(&meanwhile, 200), meanwhile.len());
        let is_kept = !meanwhile.is_empty() && of(&meanwhile, 200) == meanwhile.len();
        report.row(&format!("{engine}: /livez stays 200"), text, is_kept);
        let meanwhile = within(&served, Duration::ZERO, late);
        let text = format!("{} of {} are 200", of(&meanwhile, 200), meanwhile.len());
        let is_kept = !meanwhile.is_empty() && of(&meanwhile, 200) == meanwhile.len();
        report.row(&format!("{engine}: requests are served for 2 s"), text, is_kept);
        let meanwhile = within(&served, early, late);
        let closing = meanwhile.iter().filter(|raw| raw.header("connection") == "close").count();
        let text = format!("{closing} of {}", meanwhile.len());
        let is_kept = !meanwhile.is_empty() && closing == meanwhile.len();
        report.row(&format!("{engine}: responses have Connection: close"), text, is_kept);
        let after = within(&served, DELAY + ALLOWANCE, DELAY + 2 * LIMIT);
        let text = format!("{} of {} fail", of(&after, 0), after.len());
        report.row(
            &format!("{engine}: after that the listener is closed"),
            text,
            of(&after, 0) == after.len(),
        );
        let failed = left.len() - of(&left, 200);
        let text = format!("{failed} of {}", left.len());
        let promised = format!("{engine}: 0 failed requests of a client that stops at 503");
        report.row(&promised, text, failed == 0 && !left.is_empty());
        let text = format!("{status:?} after {ended:?}");
        let is_kept = status.is_some_and(|status| status.success())
            && (DELAY - ALLOWANCE..DELAY + 4 * ALLOWANCE).contains(&ended);
        report.row(&format!("{engine}: it exits by itself after 2 s"), text, is_kept);
    }
    report.finish();
}

/// A second signal stops the process without waiting for running requests.
#[tokio::test]
async fn a_second_signal_stops_it_at_once() {
    let database = Database::sqlite();
    let environment = [("CINEQUERY_SHUTDOWN_DELAY", "30s")];
    let mut instance = Launch::on(&database.url()).environment(&environment).start().await;
    let mut stuck = TcpStream::connect(instance.socket()).await.unwrap();
    let headers = format!(
        "POST /api/v1/movies/import?on_conflict=fail HTTP/1.1\r\nhost: localhost\r\n\
         content-type: text/csv\r\ncontent-length: 1000\r\n{}\r\n",
        bearer(&token_of("writer", &["movies:write"]))
    );
    stuck.write_all(headers.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    instance.signal("TERM");
    let early = instance.wait(Duration::from_millis(500)).await;
    let start = Instant::now();
    instance.signal("TERM");
    let status = instance.wait(Duration::from_secs(20)).await;
    let took = start.elapsed();
    let mut report = Report::new("A second SIGTERM while a request is stuck");
    report.row("the first signal waits for the delay", format!("{early:?}"), early.is_none());
    report.row(
        "the second signal stops it within 1 s",
        format!("{status:?} after {took:?}"),
        status.is_some() && took <= Duration::from_secs(1) + ALLOWANCE,
    );
    report.finish();
}

/// Restarts four instances of a load balancer one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `make faults`"]
async fn a_rolling_restart_fails_no_request() {
    let database = Database::postgres().await;
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(launch(&database).await);
    }
    // The socket address of each instance, and whether it was ready at the last poll.
    let known = instances.iter().map(|instance| (instance.socket(), true)).collect();
    let known: Arc<Mutex<Vec<(SocketAddr, bool)>>> = Arc::new(Mutex::new(known));
    let mut tasks = JoinSet::new();
    let places = known.clone();
    tasks.spawn(async move {
        loop {
            let sockets: Vec<SocketAddr> =
                places.lock().unwrap().iter().map(|(at, _)| *at).collect();
            for (place, at) in sockets.into_iter().enumerate() {
                let raw = exchange(at, &get("/readyz", "connection: close\r\n"), LIMIT).await;
                if let Some(known) =
                    places.lock().unwrap().get_mut(place).filter(|known| known.0 == at)
                {
                    known.1 = raw.status == 200;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let sent = Arc::new(Mutex::new(Vec::new()));
    for client in 0..8 {
        let (places, sent) = (known.clone(), sent.clone());
        tasks.spawn(async move {
            for turn in client.. {
                let ready: Vec<SocketAddr> = places
                    .lock()
                    .unwrap()
                    .iter()
                    .filter(|known| known.1)
                    .map(|known| known.0)
                    .collect();
                let at = ready[turn % ready.len()];
                let raw = exchange(at, &search(), LIMIT).await;
                sent.lock().unwrap().push((raw.status, raw.failure));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut codes = Vec::new();
    for (place, instance) in instances.iter_mut().enumerate() {
        let status = instance.terminate(DELAY + LIMIT).await;
        codes.push(status.and_then(|status| status.code()));
        *instance = launch(&database).await;
        known.lock().unwrap()[place] = (instance.socket(), true);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    tasks.shutdown().await;
    let sent = sent.lock().unwrap();
    let failed: Vec<_> = sent.iter().filter(|(status, _)| *status != 200).collect();
    let mut report = Report::new("Rolling restart of 4 instances under load");
    report.row(
        "0 failed requests",
        format!("{} of {} {:?}", failed.len(), sent.len(), failed.first()),
        failed.is_empty() && sent.len() > 500,
    );
    report.row("all exit by themselves", format!("{codes:?}"), codes == [Some(0); 4]);
    report.finish();
}
