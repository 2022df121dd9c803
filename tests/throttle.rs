//! Rate limits: in one process, and across several instances with a real Redis.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cinequery::admission::{
    Admission, Forwarded, Limit, Limits, Outcome, Policy, Proxies, Redis, Scope, network_of,
};
use cinequery::clock::timestamp_now;
use cinequery::identity::{Hasher, Open, Passwords};
use proptest::prelude::*;
use serde_json::json;

use crate::command_line::{Service, cinequery, folder};
use crate::support::redis::RedisServer;
use crate::support::{Client, Database, app_with, catalogue, on_both, token_of};

const MOVIES: &str = "/api/v1/movies";

fn limits(text: &str) -> Limits {
    text.parse().unwrap()
}

fn local(text: &str) -> Admission {
    Admission::local(limits(text), Proxies::default())
}

async fn shared(text: &str, redis: &RedisServer) -> Admission {
    let redis = Redis::new(&redis.url(), None).unwrap();
    Admission::shared(limits(text), Proxies::default(), redis).await
}

#[test]
fn limits_are_parsed() {
    let of = |text: &str| {
        let limits = limits(text);
        let show =
            |policy| limits.of(policy).map(|limit| (limit.requests.get(), limit.window.as_secs()));
        [Policy::Viewer, Policy::Editor, Policy::Admin].map(show)
    };
    assert_eq!(of("600/min"), [Some((600, 60)); 3]);
    assert_eq!(of("off"), [None; 3]);
    assert_eq!(of("10/s,admin=off"), [Some((10, 1)), Some((10, 1)), None]);
    assert_eq!(of(" off , viewer = 1000/h"), [Some((1000, 3600)), None, None]);
    for (wrong, part) in [
        ("", "600/min"),
        ("600", "600/min"),
        ("0/min", "expected COUNT/UNIT"),
        ("-1/s", "expected COUNT/UNIT"),
        ("1/day", "expected COUNT/UNIT"),
        ("5000000000/min", "at most 600000/min"),
        ("viewer=60/min", "for all roles first"),
        ("20000/s", "at most 10000/s"),
        ("600/min,owner=1/s", "expected viewer, editor, admin or anonymous"),
        ("600/min,1/s", "viewer=60/min"),
        ("1/s,admin=1/s,admin=2/s", "twice"),
    ] {
        let error = wrong.parse::<Limits>().unwrap_err();
        assert!(error.contains(part), "{wrong:?}: {error}");
    }
    // `off` disables the limits of requests, but not those of failed sign-ins.
    assert!(limits("off").of(Policy::SignIn).is_none());
    assert!(limits("off").of(Policy::FailedByName).is_some());
    assert!(limits("off,admin=1/s").of(Policy::SignIn).is_some());
}

proptest! {
    /// An interval is never shorter than the configured one, so that the rate is not exceeded, and at most 1 %
    /// longer.
    #[test]
    fn intervals_are_exact_to_one_percent(requests in 1_u32..600_000, unit in 0_usize..3) {
        let (unit, window) = [("s", 1_u64), ("min", 60), ("h", 3600)][unit];
        if let Ok(limit) = format!("{requests}/{unit}").parse::<Limit>() {
            let taken = limit.interval().as_micros() * u128::from(requests);
            let window = u128::from(window) * 1_000_000;
            prop_assert!(taken >= window && taken * 100 <= window * 101);
        }
    }
}

#[tokio::test]
async fn header_fields_have_the_remaining_requests_and_the_wait() {
    on_both(async |database| {
        let provider = Box::new(Open::new(catalogue().schemas()));
        let app = app_with(database.store().await, provider, local("3/h,admin=2/h"));
        let client = Client::with_app(database, app).await;
        let viewer = client.with_scopes(&["movies:read"]);
        for left in [2, 1, 0] {
            let response = viewer.get(MOVIES).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("ratelimit-policy"), "\"viewer\";q=3;w=3600");
            let state = response.header("ratelimit");
            assert!(state.starts_with(&format!("\"viewer\";r={left};t=")), "{state}");
        }
        let limited = viewer.get(MOVIES).await;
        limited.problem(429, "too_many_requests");
        let wait: u64 = limited.header("retry-after").parse().unwrap();
        assert!((1100..=1200).contains(&wait), "{wait}");
        assert!(limited.header("ratelimit").starts_with("\"viewer\";r=0;t="));
        // A request that is rejected for another reason counts, too, and has the header field.
        let admin = client.with_token(Some(token_of("dora", &["admin"])));
        let forbidden = admin.get(MOVIES).await;
        forbidden.problem(403, "insufficient_scope");
        assert!(forbidden.header("ratelimit").starts_with("\"admin\";r=1;t="));
        // Probes and requests without a token are not counted.
        for path in ["/livez", "/readyz", MOVIES] {
            assert_eq!(client.with_token(None).get(path).await.header("ratelimit"), "");
        }
    })
    .await;
}

/// The IP address of the peer, `X-Forwarded-For`, `Forwarded`, and the expected IP address of the client. 10.0.0.0/8
/// and ::1 are trusted proxies.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("192.0.2.1", "", "", "192.0.2.1"),
    ("192.0.2.1", "198.51.100.7", "", "192.0.2.1"),
    ("192.0.2.1", "", "for=198.51.100.7", "192.0.2.1"),
    ("10.0.0.1", "", "", "10.0.0.1"),
    ("10.0.0.1", "198.51.100.7", "", "198.51.100.7"),
    ("10.0.0.1", "1.2.3.4, 198.51.100.7", "", "198.51.100.7"),
    ("10.0.0.1", "198.51.100.7,10.0.0.2 , 10.0.0.3", "", "198.51.100.7"),
    ("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.0.0.2", "", "198.51.100.7"),
    ("10.0.0.1", "unknown", "", "10.0.0.1"),
    ("10.0.0.1", "198.51.100.7, unknown", "", "10.0.0.1"),
    ("::ffff:10.0.0.1", "198.51.100.7", "", "198.51.100.7"),
    ("::1", "::ffff:198.51.100.7", "", "198.51.100.7"),
    ("::1", "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
    ("2001:db8:1:2:3:4:5:6", "198.51.100.7", "", "2001:db8:1:2::"),
    // With ports, as Azure and IIS write them.
    ("10.0.0.1", "198.51.100.7:50123", "", "198.51.100.7"),
    ("10.0.0.1", "198.51.100.7:50123, 10.0.0.2:80", "", "198.51.100.7"),
    ("10.0.0.1", "[2001:db8:1:2:3:4:5:6]:50123", "", "2001:db8:1:2::"),
    ("10.0.0.1", "[2001:db8:1:2:3:4:5:6]", "", "2001:db8:1:2::"),
    ("10.0.0.1", "[2001:db8::1]50123", "", "10.0.0.1"),
    ("10.0.0.1", "[198.51.100.7]:80", "", "10.0.0.1"),
    ("10.0.0.1", "client:80", "", "10.0.0.1"),
    // RFC 7239.
    ("10.0.0.1", "", "for=198.51.100.7", "198.51.100.7"),
    ("10.0.0.1", "", "For=\"198.51.100.7:_port\";proto=https;by=10.0.0.1", "198.51.100.7"),
    ("10.0.0.1", "", "proto=https; for=\"[2001:db8:1:2:3:4:5:6]:4711\"", "2001:db8:1:2::"),
    (
        "10.0.0.1",
        "",
        "for=1.2.3.4, for=198.51.100.7;host=\"a,for=5.6.7.8\", for=10.0.0.2",
        "198.51.100.7",
    ),
    ("10.0.0.1", "", "for=\"198.51.100\\.7\"", "198.51.100.7"),
    ("10.0.0.1", "", "for=198.51.100.7, for=_hidden", "10.0.0.1"),
    ("10.0.0.1", "", "for=198.51.100.7, for=unknown", "10.0.0.1"),
    ("10.0.0.1", "", "for=198.51.100.7, proto=http", "10.0.0.1"),
    ("10.0.0.1", "", "for=198.51.100.7, for=\"10.0.0.2", "10.0.0.1"),
    // An open quote of the client does not hide what its proxy appended.
    ("10.0.0.1", "", "for=9.9.8.7;x=\", for=198.51.100.7", "10.0.0.1"),
    // With both header fields, `Forwarded` may come from the client.
    ("10.0.0.1", "198.51.100.7", "for=1.2.3.4", "198.51.100.7"),
    ("10.0.0.1", "unknown", "for=1.2.3.4", "10.0.0.1"),
];

/// Values of `--trusted-proxies`, and whether they include the proxy 10.1.2.3.
const NETWORKS: &[(&str, bool)] = &[
    ("10.0.0.0/8", true),
    ("10.1.2.3", true),
    ("::ffff:10.0.0.0/104", true),
    ("::ffff:10.1.2.3", true),
    ("::ffff:0:0/96", true),
    ("::ffff:10.2.0.0/112", false),
    ("::1, 10.1.0.0/16", true),
];

#[test]
fn forwarding_headers_are_used_only_from_trusted_proxies() {
    let admission = |proxies: &str| Admission::local(Limits::NONE, proxies.parse().unwrap());
    let check = |proxies: &str, peer: &str, list: &str, forwarded: &str, expected: &str| {
        let lines = |value| if str::is_empty(value) { vec![] } else { vec![value] };
        let fields = Forwarded { x_forwarded_for: lines(list), forwarded: lines(forwarded) };
        let client = network_of(admission(proxies).client(peer.parse().ok(), &fields));
        let expected = expected.parse::<IpAddr>().unwrap();
        assert_eq!(client, expected, "{proxies}: {peer}, {list}, {forwarded}");
    };
    for (peer, list, forwarded, expected) in CASES {
        check("10.0.0.0/8, ::1", peer, list, forwarded, expected);
    }
    for (network, is_proxy) in NETWORKS {
        let expected = if *is_proxy { "198.51.100.7" } else { "10.1.2.3" };
        check(network, "10.1.2.3", "198.51.100.7", "", expected);
    }
    // Several header lines form one list.
    let fields = Forwarded { x_forwarded_for: vec!["198.51.100.7", "10.0.0.2"], forwarded: vec![] };
    let client = admission("10.0.0.0/8").client("10.0.0.1".parse().ok(), &fields);
    assert_eq!(client.to_string(), "198.51.100.7");
    for wrong in ["", "10.0.0.0/33", "proxy", "10.0.0.1,"] {
        assert!(wrong.parse::<Proxies>().is_err(), "{wrong}");
    }
}

/// A request with forwarding headers from a proxy that is not trusted logs one hint about `--trusted-proxies`.
#[tokio::test]
async fn an_untrusted_proxy_is_logged_once() {
    for (proxies, expected) in [("192.0.2.1", 1), ("127.0.0.1", 0)] {
        let folder = folder();
        let serve = ["serve", "--auth", "open", "--listen", "127.0.0.1:0"];
        let settings = [&serve[..], &["--trusted-proxies", proxies]].concat();
        let command = cinequery(folder.path(), &settings);
        let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
        let client = Client::at(service.address.clone()).with_token(None);
        for (name, value) in
            [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")]
        {
            let request = client.request("POST", "/api/token").header(name, value);
            let response = client.send(request.json(&json!({"username": "anna"}))).await;
            assert_eq!(response.status, 200, "{response:?}");
        }
        let log = tokio::task::spawn_blocking(|| service.log()).await.unwrap();
        let hints: Vec<&str> =
            log.lines().filter(|line| line.contains("not a trusted proxy")).collect();
        assert_eq!(hints.len(), expected, "{log}");
        for part in ["WARN", "127.0.0.1", "--trusted-proxies"] {
            assert!(hints.iter().all(|hint| hint.contains(part)), "{hints:?}");
        }
    }
}

/// Starts a service with one user and the default limits for failed sign-ins.
async fn with_user(database: Database, proxies: &str) -> Client {
    let store = database.store().await;
    let hasher = Hasher::new();
    let hash = hasher.hash(RIGHT.to_owned()).await.unwrap();
    store.add_user("anna", &hash, "viewer", timestamp_now()).await.unwrap();
    let provider = Passwords::new(store.clone(), hasher, catalogue().schemas());
    let admission = Admission::local(limits("600/min"), proxies.parse().unwrap());
    Client::with_app(database, app_with(store, Box::new(provider), admission))
        .await
        .with_token(None)
}

const RIGHT: &str = "correct horse battery";

async fn sign_in(client: &Client, ip: &str, name: &str, password: &str) -> u16 {
    let request = client
        .request("POST", "/api/token")
        .header("x-forwarded-for", format!("203.0.113.77, {ip}"))
        .json(&json!({"username": name, "password": password}));
    client.send(request).await.status
}

#[tokio::test]
async fn failed_sign_ins_are_limited_by_ip_address_and_by_name() {
    on_both(async |database| {
        let client = with_user(database, "127.0.0.1").await;
        let right = "correct horse battery";
        // More concurrent attempts than the limit: undecided attempts count, too.
        let attempts = (0..30).map(|n| {
            let client = client.clone();
            async move { sign_in(&client, "198.51.100.1", &format!("user {n}"), "wrong").await }
        });
        let mut statuses = futures_util::future::join_all(attempts).await;
        statuses.sort_unstable();
        assert_eq!(statuses[..10], [401; 10]);
        assert_eq!(statuses[10..], [429; 20]);
        // The limited IP address cannot sign in with the right password either; other IP addresses can.
        assert_eq!(sign_in(&client, "198.51.100.1", "anna", right).await, 429);
        assert_eq!(sign_in(&client, "198.51.100.2", "anna", right).await, 200);
        // The limit by name applies from any IP address, and to unknown names, too.
        for name in ["anna", "unknown"] {
            for n in 0..10 {
                let ip = format!("2001:db8:{n}:{}::1", name.len());
                assert_eq!(sign_in(&client, &ip, name, "wrong").await, 401);
            }
            assert_eq!(sign_in(&client, "198.51.100.3", name, right).await, 429);
        }
        // Attempts rejected by the limit of the name do not count against the IP address.
        for _ in 0..10 {
            assert_eq!(sign_in(&client, "198.51.100.3", "other", "wrong").await, 401);
        }
    })
    .await;
}

/// The number of previous failures, of concurrent right and wrong attempts, and the expected numbers of responses
/// with 200, 401 and 429. If right and wrong attempts together exceed the limit, their order decides which right
/// ones succeed.
const AT_ONCE: &[(usize, usize, usize, [std::ops::RangeInclusive<usize>; 3])] = &[
    (0, 30, 0, [30..=30, 0..=0, 0..=0]),
    (9, 30, 0, [30..=30, 0..=0, 0..=0]),
    (10, 30, 0, [0..=0, 0..=0, 30..=30]),
    (0, 0, 30, [0..=0, 10..=10, 20..=20]),
    (4, 0, 30, [0..=0, 6..=6, 24..=24]),
    (0, 20, 5, [20..=20, 5..=5, 0..=0]),
    (0, 15, 15, [0..=15, 10..=10, 5..=20]),
];

/// Runs [`AT_ONCE`]. `sign_in` takes the number of the attempt, the IP address and whether the password is right, and
/// returns the status.
async fn check_at_once(sign_in: impl AsyncFn(usize, &str, bool) -> u16) {
    for (case, (before, right, wrong, expected)) in AT_ONCE.iter().enumerate() {
        let ip = format!("198.51.100.{case}");
        for n in 0..*before {
            assert_eq!(sign_in(n, &ip, false).await, 401);
        }
        let all = right + wrong;
        // The wrong attempts are spread evenly between the right ones.
        let is_right = |n: usize| n * right / all < (n + 1) * right / all;
        let started = Instant::now();
        let attempts = (0..all).map(|n| sign_in(n, &ip, is_right(n)));
        let statuses = futures_util::future::join_all(attempts).await;
        let count = |status| statuses.iter().filter(|other| **other == status).count();
        let counts = [200, 401, 429].map(count);
        let time = started.elapsed();
        println!("{before} before, {right} right, {wrong} wrong: {counts:?} in {time:?}");
        let is_expected = counts.iter().zip(expected).all(|(count, range)| range.contains(count));
        assert!(is_expected, "case {case}: {counts:?}, expected {expected:?}");
        assert_eq!(counts.iter().sum::<usize>(), all, "{statuses:?}");
    }
}

#[tokio::test]
async fn concurrent_right_attempts_succeed_and_wrong_ones_stay_limited() {
    on_both(async |database| {
        let client = with_user(database, "127.0.0.1").await;
        check_at_once(async |n, ip, is_right| match is_right {
            true => sign_in(&client, ip, "anna", RIGHT).await,
            false => sign_in(&client, ip, &format!("{n} {ip}"), "wrong").await,
        })
        .await;
    })
    .await;
}

/// Simulates the passwords: hashing them would keep both cores busy, so that requests to Redis time out.
#[tokio::test]
async fn concurrent_attempts_are_limited_across_two_instances_on_one_redis() {
    let redis = RedisServer::start();
    let instances = [shared("600/min", &redis).await, shared("600/min", &redis).await];
    let hashing = tokio::sync::Semaphore::new(2);
    check_at_once(async |n, ip, is_right| {
        let instance = &instances[n % 2];
        let decision = instance.attempt(Policy::FailedByAddress, ip).await.unwrap();
        if !decision.is_admitted {
            return 429;
        }
        let turn = hashing.acquire().await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        drop(turn);
        let (outcome, status) =
            if is_right { (Outcome::Success, 200) } else { (Outcome::Failure, 401) };
        instance.settle(&decision, ip, outcome).await;
        status
    })
    .await;
    assert!(instances.iter().all(|instance| instance.scope() == Scope::Instances));
}

#[tokio::test]
async fn an_attempt_does_not_wait_indefinitely() {
    let instance = Arc::new(local("600/min"));
    let attempt = || instance.attempt(Policy::FailedByName, "anna");
    for _ in 0..10 {
        assert!(attempt().await.unwrap().is_admitted);
    }
    let started = Instant::now();
    // More attempts than places in the queue: attempts without a place are rejected at once.
    let attempts = futures_util::future::join_all((0..80).map(|_| async {
        let is_admitted = attempt().await.unwrap().is_admitted;
        (is_admitted, started.elapsed() > Duration::from_secs(4))
    }));
    let waited = attempts.await;
    assert_eq!(waited.iter().filter(|(_, has_waited)| *has_waited).count(), 64);
    assert!(waited.iter().all(|(is_admitted, _)| !is_admitted));
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn successful_sign_ins_do_not_count_as_failures() {
    let client = with_user(Database::sqlite(), "127.0.0.1").await;
    for _ in 0..25 {
        assert_eq!(sign_in(&client, "198.51.100.1", "anna", "correct horse battery").await, 200);
    }
}

#[tokio::test]
async fn forwarding_headers_of_untrusted_peers_are_ignored() {
    let client = with_user(Database::sqlite(), "192.0.2.0/24").await;
    let mut statuses = Vec::new();
    for n in 0..12 {
        statuses
            .push(sign_in(&client, &format!("198.51.100.{n}"), &format!("user {n}"), "x").await);
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
}

/// Sends requests with one key to four instances continuously, and calls `event` after half the time. Returns the
/// number of admitted requests, and the time.
async fn admitted(
    instances: [Arc<Admission>; 4],
    time: Duration,
    event: impl FnOnce() + Send + 'static,
) -> (u64, Duration) {
    let admitted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let tasks: Vec<_> = instances
        .into_iter()
        .flat_map(|instance| [instance.clone(), instance])
        .map(|instance| {
            let (admitted, stop) = (admitted.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let decision = instance.admit(Policy::Viewer, "anna").await.unwrap();
                    if decision.is_admitted {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(time / 2).await;
    tokio::task::spawn_blocking(event).await.unwrap();
    tokio::time::sleep(time / 2).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    (admitted.load(Ordering::Relaxed), started.elapsed())
}

async fn four(text: &str, redis: &RedisServer) -> [Arc<Admission>; 4] {
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(Arc::new(shared(text, redis).await));
    }
    // Each instance knows the number of instances after its next heartbeat.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    all.try_into().unwrap_or_else(|_| unreachable!())
}

/// A burst of 200, then 200 per second.
const RATE: &str = "200/s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_share_one_limit() {
    let redis = RedisServer::start();
    let instances = four(RATE, &redis).await;
    assert!(instances.iter().all(|instance| instance.scope() == Scope::Instances));
    let (admitted, time) = admitted(instances, Duration::from_secs(4), || ()).await;
    let most = 200.0 + 200.0 * time.as_secs_f64();
    println!("{admitted} admitted of {most:.1} over four instances in {time:?}");
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let share = admitted as f64 / most;
    assert!((0.97..=1.0).contains(&share), "{share}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_four_instances_continue_to_share_one_limit() {
    let mut redis = RedisServer::start();
    let instances = four(RATE, &redis).await;
    let (before, time_before) =
        admitted(instances.clone(), Duration::from_secs(4), move || redis.stop()).await;
    assert!(instances.iter().all(|instance| instance.scope() == Scope::Fallback));
    let most = 200.0 + 200.0 * time_before.as_secs_f64();
    println!("{before} admitted of {most:.1}, Redis stopped in the middle, in {time_before:?}");
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let share = before as f64 / most;
    // Because of rounding, each instance may exceed its share by one request.
    assert!(share >= 0.97 && share <= 1.0 + 4.0 / most, "{share}");
}

#[tokio::test]
async fn a_restarted_redis_gets_the_local_state() {
    let mut redis = RedisServer::start();
    let instance = shared("5/h", &redis).await;
    let ask = async || instance.admit(Policy::Viewer, "anna").await.unwrap().is_admitted;
    for expected in [true, true, true] {
        assert_eq!(ask().await, expected);
    }
    redis.stop();
    // The first request waits for the timeout of Redis. After that the local limits apply.
    assert!(ask().await);
    assert_eq!(instance.scope(), Scope::Fallback);
    redis.start_again();
    wait_for(&instance, Scope::Instances).await;
    assert!(ask().await);
    assert!(!ask().await);
    let another = shared("5/h", &redis).await;
    assert!(!another.admit(Policy::Viewer, "anna").await.unwrap().is_admitted);
}

async fn wait_for(instance: &Admission, scope: Scope) {
    for _ in 0..400 {
        if instance.scope() == scope {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the limits did not change to {scope:?} within 20 s");
}

#[tokio::test]
async fn a_service_without_redis_serves_and_reports_the_fallback() {
    let mut redis = RedisServer::start();
    let database = Database::sqlite();
    let provider = Box::new(Open::new(catalogue().schemas()));
    let app = app_with(database.store().await, provider, shared("600/min", &redis).await);
    let client = Client::with_app(database, app).await;
    let throttle = async || client.get("/readyz").await.json()["throttle"].clone();
    assert_eq!(throttle().await, "redis");
    assert_eq!(client.get(MOVIES).await.status, 200);
    redis.stop();
    assert_eq!(client.get(MOVIES).await.status, 200);
    assert_eq!(throttle().await, "fallback");
}

#[tokio::test]
async fn refunded_requests_can_be_used_again() {
    let redis = RedisServer::start();
    for instance in [local("3/h"), shared("3/h", &redis).await] {
        let ask = async || instance.admit(Policy::Editor, "x").await.unwrap();
        let mut admitted = None;
        for remaining in [2, 1, 0] {
            let decision = ask().await;
            assert_eq!(decision.remaining, remaining);
            admitted = Some(decision);
        }
        let rejected = ask().await;
        assert!(!rejected.is_admitted && rejected.wait > Duration::from_secs(1190));
        // A rejected request was not charged, so it is not refunded.
        instance.settle(&rejected, "x", Outcome::Success).await;
        assert!(!ask().await.is_admitted);
        instance.settle(&admitted.unwrap(), "x", Outcome::Failure).await;
        assert!(!ask().await.is_admitted);
        instance.settle(&admitted.unwrap(), "x", Outcome::Success).await;
        assert!(ask().await.is_admitted);
        assert!(!ask().await.is_admitted);
        // Other keys and other kinds of limits are counted separately, but other roles are not.
        assert!(instance.admit(Policy::Editor, "y").await.unwrap().is_admitted);
        assert!(instance.admit(Policy::FailedByName, "x").await.unwrap().is_admitted);
        assert!(!instance.admit(Policy::Viewer, "x").await.unwrap().is_admitted);
    }
}

#[tokio::test]
async fn redis_is_used_over_tls() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &file("key"), "-out", &file("certificate")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let server = RedisServer::start_with_tls(file("certificate").into(), &file("key"));
    let authority = std::fs::read(file("certificate")).unwrap();
    for (authority, scope) in [(Some(authority), Scope::Instances), (None, Scope::Fallback)] {
        let redis = Redis::new(&server.url(), authority).unwrap();
        let instance = Admission::shared(limits("5/h"), Proxies::default(), redis).await;
        assert_eq!(instance.scope(), scope);
        assert!(instance.admit(Policy::Viewer, "anna").await.unwrap().is_admitted);
    }
}

#[test]
fn redis_urls_are_validated() {
    for wrong in ["", "localhost", "http://localhost"] {
        assert!(Redis::new(wrong, None).is_err(), "{wrong}");
    }
    assert!(Redis::new("redis://:secret@localhost:6379/1", None).is_ok());
}

/// A batch costs as much as its items, or the whole limit.
#[tokio::test]
async fn a_batch_counts_as_its_items() {
    let redis = RedisServer::start();
    for admission in [local("10/h"), shared("10/h", &redis).await] {
        let cost = |cost| NonZeroU32::new(cost).unwrap();
        let admit = async |key: &str, n| {
            let decision = admission.admit_several(Policy::Editor, key, cost(n)).await.unwrap();
            (decision.is_admitted, decision.remaining > 0 || decision.wait > Duration::ZERO)
        };
        assert!(admit("a", 4).await.0);
        assert!(admit("a", 4).await.0);
        // Two are left: all of a batch is admitted or nothing.
        assert_eq!(admit("a", 4).await, (false, true));
        assert!(admit("a", 2).await.0);
        assert!(!admit("a", 1).await.0);
        // More than the limit: what is left when the request itself was counted.
        assert!(admit("b", 1).await.0);
        assert!(admit("b", 1000).await.0);
        assert!(!admit("b", 1).await.0);
    }
}
