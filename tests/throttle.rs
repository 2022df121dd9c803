//! How often somebody may come: in one process, and over several instances with a real Redis.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cinequery::admission::{
    Admission, Forwarded, Limit, Limits, Outcome, Policy, Proxies, Redis, Scope,
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
fn limits_are_read_as_they_are_written() {
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
        ("0/min", "no limit"),
        ("-1/s", "no limit"),
        ("1/day", "no limit"),
        ("5000000000/min", "at most 600000/min"),
        ("viewer=60/min", "comes first"),
        ("20000/s", "at most 10000/s"),
        ("600/min,owner=1/s", "there are viewer, editor and admin"),
        ("600/min,1/s", "viewer=60/min"),
        ("1/s,admin=1/s,admin=2/s", "twice"),
    ] {
        let error = wrong.parse::<Limits>().unwrap_err();
        assert!(error.contains(part), "{wrong:?}: {error}");
    }
    // Whoever switches limits off does not switch off those of failing.
    assert!(limits("off").of(Policy::SignIn).is_none());
    assert!(limits("off").of(Policy::FailedByName).is_some());
    assert!(limits("off,admin=1/s").of(Policy::SignIn).is_some());
}

proptest! {
    /// An interval is never shorter than asked for, so that no more than the rate is admitted, and longer
    /// by a hundredth at most.
    #[test]
    fn intervals_are_exact_to_a_hundredth(requests in 1_u32..600_000, unit in 0_usize..3) {
        let (unit, window) = [("s", 1_u64), ("min", 60), ("h", 3600)][unit];
        if let Ok(limit) = format!("{requests}/{unit}").parse::<Limit>() {
            let taken = limit.interval().as_micros() * u128::from(requests);
            let window = u128::from(window) * 1_000_000;
            prop_assert!(taken >= window && taken * 100 <= window * 101);
        }
    }
}

#[tokio::test]
async fn the_fields_say_what_is_left_and_when_to_come_again() {
    on_both(async |database| {
        let provider = Box::new(Open::new(catalogue().schemas()));
        let app = app_with(database.store().await, provider, local("3/h,admin=2/h"));
        let client = Client::with_app(database, app).await;
        let viewer = client.with_scopes(&["movies:read"]);
        for left in [2, 1, 0] {
            let answer = viewer.get(MOVIES).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("ratelimit-policy"), "\"viewer\";q=3;w=3600");
            let state = answer.header("ratelimit");
            assert!(state.starts_with(&format!("\"viewer\";r={left};t=")), "{state}");
        }
        let refused = viewer.get(MOVIES).await;
        refused.problem(429, "too_many_requests");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1100..=1200).contains(&wait), "{wait}");
        assert!(refused.header("ratelimit").starts_with("\"viewer\";r=0;t="));
        // A request that is refused for another reason counts as well, and says so.
        let admin = client.with_token(Some(token_of("dora", &["admin"])));
        let forbidden = admin.get(MOVIES).await;
        forbidden.problem(403, "insufficient_scope");
        assert!(forbidden.header("ratelimit").starts_with("\"admin\";r=1;t="));
        // Probes, and whoever shows nothing, are not counted.
        for path in ["/livez", "/readyz", MOVIES] {
            assert_eq!(client.with_token(None).get(path).await.header("ratelimit"), "");
        }
    })
    .await;
}

/// Peer, `X-Forwarded-For`, `Forwarded`, and where the request comes from; 10.0.0.0/8 and ::1 are proxies.
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
    // A quote that the client left open does not hide what its proxy appended.
    ("10.0.0.1", "", "for=9.9.8.7;x=\", for=198.51.100.7", "10.0.0.1"),
    // With both, `Forwarded` may be the client's own.
    ("10.0.0.1", "198.51.100.7", "for=1.2.3.4", "198.51.100.7"),
    ("10.0.0.1", "unknown", "for=1.2.3.4", "10.0.0.1"),
];

/// As a network that the proxy 10.1.2.3 is in, or not.
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
fn only_proxies_say_where_a_request_comes_from() {
    let admission = |proxies: &str| Admission::local(Limits::NONE, proxies.parse().unwrap());
    let check = |proxies: &str, peer: &str, list: &str, forwarded: &str, expected: &str| {
        let lines = |value| if str::is_empty(value) { vec![] } else { vec![value] };
        let fields = Forwarded { x_forwarded_for: lines(list), forwarded: lines(forwarded) };
        let client = admission(proxies).client(peer.parse().unwrap(), &fields);
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
    // Several lines are one list.
    let fields = Forwarded { x_forwarded_for: vec!["198.51.100.7", "10.0.0.2"], forwarded: vec![] };
    let client = admission("10.0.0.0/8").client("10.0.0.1".parse().unwrap(), &fields);
    assert_eq!(client.to_string(), "198.51.100.7");
    for wrong in ["", "10.0.0.0/33", "proxy", "10.0.0.1,"] {
        assert!(wrong.parse::<Proxies>().is_err(), "{wrong}");
    }
}

/// `--trusted-proxies`, and how often the log says what to set when requests bring the fields of proxies.
#[tokio::test]
async fn a_proxy_that_is_not_configured_is_logged_once() {
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
            let answer = client.send(request.json(&json!({"username": "anna"}))).await;
            assert_eq!(answer.status, 200, "{answer:?}");
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

/// A service of users with one of them, whose limits of signing in are those of the product.
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

async fn sign_in(client: &Client, address: &str, name: &str, password: &str) -> u16 {
    let request = client
        .request("POST", "/api/token")
        .header("x-forwarded-for", format!("203.0.113.77, {address}"))
        .json(&json!({"username": name, "password": password}));
    client.send(request).await.status
}

#[tokio::test]
async fn failing_is_limited_by_address_and_by_name() {
    on_both(async |database| {
        let client = with_user(database, "127.0.0.1").await;
        let right = "correct horse battery";
        // As many at once as there may be, and more: what is not yet known to fail counts.
        let attempts = (0..30).map(|n| {
            let client = client.clone();
            async move { sign_in(&client, "198.51.100.1", &format!("user {n}"), "wrong").await }
        });
        let mut answers = futures_util::future::join_all(attempts).await;
        answers.sort_unstable();
        assert_eq!(answers[..10], [401; 10]);
        assert_eq!(answers[10..], [429; 20]);
        // That address is not let in with the right password either; others are.
        assert_eq!(sign_in(&client, "198.51.100.1", "anna", right).await, 429);
        assert_eq!(sign_in(&client, "198.51.100.2", "anna", right).await, 200);
        // By name, from wherever; an unknown one like any other.
        for name in ["anna", "nobody"] {
            for n in 0..10 {
                let address = format!("2001:db8:{n}:{}::1", name.len());
                assert_eq!(sign_in(&client, &address, name, "wrong").await, 401);
            }
            assert_eq!(sign_in(&client, "198.51.100.3", name, right).await, 429);
        }
        // What the name refused was not held against the address.
        for _ in 0..10 {
            assert_eq!(sign_in(&client, "198.51.100.3", "other", "wrong").await, 401);
        }
    })
    .await;
}

/// Failures so far, right and wrong attempts that come at once, and how often the responses are 200, 401 and
/// 429. Where right and wrong ones together exceed the limit, their order decides which right ones succeed.
const AT_ONCE: &[(usize, usize, usize, [std::ops::RangeInclusive<usize>; 3])] = &[
    (0, 30, 0, [30..=30, 0..=0, 0..=0]),
    (9, 30, 0, [30..=30, 0..=0, 0..=0]),
    (10, 30, 0, [0..=0, 0..=0, 30..=30]),
    (0, 0, 30, [0..=0, 10..=10, 20..=20]),
    (4, 0, 30, [0..=0, 6..=6, 24..=24]),
    (0, 20, 5, [20..=20, 5..=5, 0..=0]),
    (0, 15, 15, [0..=15, 10..=10, 5..=20]),
];

/// `sign_in` takes the number of the attempt, the address and whether it is right, and returns the status.
async fn check_at_once(sign_in: impl AsyncFn(usize, &str, bool) -> u16) {
    for (case, (before, right, wrong, expected)) in AT_ONCE.iter().enumerate() {
        let address = format!("198.51.100.{case}");
        for n in 0..*before {
            assert_eq!(sign_in(n, &address, false).await, 401);
        }
        let all = right + wrong;
        // The wrong ones come between the right ones.
        let is_right = |n: usize| n * right / all < (n + 1) * right / all;
        let started = Instant::now();
        let attempts = (0..all).map(|n| sign_in(n, &address, is_right(n)));
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
async fn right_attempts_at_once_succeed_and_wrong_ones_stay_limited() {
    on_both(async |database| {
        let client = with_user(database, "127.0.0.1").await;
        check_at_once(async |n, address, is_right| match is_right {
            true => sign_in(&client, address, "anna", RIGHT).await,
            false => sign_in(&client, address, &format!("{n} {address}"), "wrong").await,
        })
        .await;
    })
    .await;
}

/// Without passwords: they would keep both cores busy, and Redis too slow to be asked.
#[tokio::test]
async fn so_they_do_over_two_instances_on_one_redis() {
    let redis = RedisServer::start();
    let instances = [shared("600/min", &redis).await, shared("600/min", &redis).await];
    let hashing = tokio::sync::Semaphore::new(2);
    check_at_once(async |n, address, is_right| {
        let instance = &instances[n % 2];
        let decision = instance.attempt(Policy::FailedByAddress, address).await.unwrap();
        if !decision.is_admitted {
            return 429;
        }
        let turn = hashing.acquire().await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        drop(turn);
        let (outcome, status) =
            if is_right { (Outcome::Success, 200) } else { (Outcome::Failure, 401) };
        instance.settle(&decision, address, outcome).await;
        status
    })
    .await;
    assert!(instances.iter().all(|instance| instance.scope() == Scope::Instances));
}

#[tokio::test]
async fn an_attempt_does_not_wait_for_ever() {
    let instance = Arc::new(local("600/min"));
    let attempt = || instance.attempt(Policy::FailedByName, "anna");
    for _ in 0..10 {
        assert!(attempt().await.unwrap().is_admitted);
    }
    let started = Instant::now();
    // More than there are places to wait: those that find none are rejected at once.
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
async fn signing_in_well_uses_up_no_failures() {
    let client = with_user(Database::sqlite(), "127.0.0.1").await;
    for _ in 0..25 {
        assert_eq!(sign_in(&client, "198.51.100.1", "anna", "correct horse battery").await, 200);
    }
}

#[tokio::test]
async fn nobody_but_a_proxy_says_where_a_request_comes_from() {
    let client = with_user(Database::sqlite(), "192.0.2.0/24").await;
    let mut answers = Vec::new();
    for n in 0..12 {
        answers.push(sign_in(&client, &format!("198.51.100.{n}"), &format!("user {n}"), "x").await);
    }
    assert_eq!(answers, [[401; 10].as_slice(), &[429; 2]].concat());
}

/// What four instances admit of one key between them, while they are asked without a pause; `event`
/// is done in the middle.
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
    // Each hears of all of them with its next beat.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    all.try_into().unwrap_or_else(|_| unreachable!())
}

/// Burst 200, then 200 each second.
const RATE: &str = "200/s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_admit_what_one_would() {
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
async fn without_redis_four_instances_go_on_together_from_where_they_were() {
    let mut redis = RedisServer::start();
    let instances = four(RATE, &redis).await;
    let (before, time_before) =
        admitted(instances.clone(), Duration::from_secs(4), move || redis.stop()).await;
    assert!(instances.iter().all(|instance| instance.scope() == Scope::Fallback));
    let most = 200.0 + 200.0 * time_before.as_secs_f64();
    println!("{before} admitted of {most:.1}, Redis stopped in the middle, in {time_before:?}");
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let share = before as f64 / most;
    // Rounding: each instance may be one request ahead of its share.
    assert!(share >= 0.97 && share <= 1.0 + 4.0 / most, "{share}");
}

#[tokio::test]
async fn a_redis_that_has_forgotten_everything_is_told() {
    let mut redis = RedisServer::start();
    let instance = shared("5/h", &redis).await;
    let ask = async || instance.admit(Policy::Viewer, "anna").await.unwrap().is_admitted;
    for expected in [true, true, true] {
        assert_eq!(ask().await, expected);
    }
    redis.stop();
    // The first to notice waits for it; then the limits of the process go on.
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
    panic!("the limits are not kept in {scope:?}");
}

#[tokio::test]
async fn a_service_without_its_redis_serves_and_says_so() {
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
async fn what_is_given_back_can_be_used_again() {
    let redis = RedisServer::start();
    for instance in [local("3/h"), shared("3/h", &redis).await] {
        let ask = async || instance.admit(Policy::Editor, "x").await.unwrap();
        let mut admitted = None;
        for remaining in [2, 1, 0] {
            let decision = ask().await;
            assert_eq!(decision.remaining, remaining);
            admitted = Some(decision);
        }
        let refused = ask().await;
        assert!(!refused.is_admitted && refused.wait > Duration::from_secs(1190));
        // What was refused has taken nothing.
        instance.settle(&refused, "x", Outcome::Success).await;
        assert!(!ask().await.is_admitted);
        instance.settle(&admitted.unwrap(), "x", Outcome::Failure).await;
        assert!(!ask().await.is_admitted);
        instance.settle(&admitted.unwrap(), "x", Outcome::Success).await;
        assert!(ask().await.is_admitted);
        assert!(!ask().await.is_admitted);
        // Another key, and what is counted apart, have limits of their own; another role has not.
        assert!(instance.admit(Policy::Editor, "y").await.unwrap().is_admitted);
        assert!(instance.admit(Policy::FailedByName, "x").await.unwrap().is_admitted);
        assert!(!instance.admit(Policy::Viewer, "x").await.unwrap().is_admitted);
    }
}

#[tokio::test]
async fn redis_is_reached_over_tls() {
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
fn addresses_of_redis_are_read() {
    for wrong in ["", "localhost", "http://localhost"] {
        assert!(Redis::new(wrong, None).is_err(), "{wrong}");
    }
    assert!(Redis::new("redis://:secret@localhost:6379/1", None).is_ok());
}
