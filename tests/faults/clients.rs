//! Clients that use more than their share, and malformed, oversized or slow requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::instance::{Caller, Instance, Launch, file};
use super::raw::{Raw, bearer, exchange, get, raise_file_limit};
use super::{Report, has_program, skip};
use crate::support::{Database, token_of};

const READ: &[&str] = &["movies:read"];
const BOTH: &[&str] = &["movies:read", "movies:write"];

/// The maximum time of a cheap request.
const PATIENCE: Duration = Duration::from_secs(2);

/// The maximum time of an export, on a machine that also runs other tests.
const EXPORT_LIMIT: Duration = Duration::from_secs(100);

/// Runs a test on an instance with 50,000 movies, on each engine.
async fn on_many_movies(name: &str, test: impl AsyncFn(&mut Report, &str, Instance)) {
    let mut report = Report::new(name);
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let instance = Instance::start(&database.url()).await;
        let many = if engine == "SQLite" { MANY_ON_SQLITE } else { MANY_ON_POSTGRES };
        database.run_sql(many).await;
        test(&mut report, engine, instance).await;
    }
    report.finish();
}

const MANY: usize = 50_000;

const MANY_ON_SQLITE: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000)
    INSERT INTO movies
    SELECT randomblob(16), 'A movie of number ' || n, 'a movie of number ' || n, 'drama', 'drama',
           1900 + n % 120, '2030-01-01', 1, '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z'
    FROM numbers";

const MANY_ON_POSTGRES: &str = "
    INSERT INTO movies
    SELECT gen_random_uuid(), 'A movie of number ' || n, 'a movie of number ' || n, 'drama', 'drama',
           1900 + n % 120, '2030-01-01', 1, now(), now()
    FROM generate_series(1, 50000) numbers (n)";

/// Requests that read every movie. The first also groups them by title, and each title is different.
const HEAVY: &[&str] = &[
    "/api/v1/movies/facets?by=title&limit=1000&filter=title%20contains%20%22movie%22%20and%20title%20contains%20%22number%22",
    "/api/v1/movies?count=exact&filter=title%20contains%20%22ovie%22%20and%20title%20contains%20%22umber%22%20and%20not%20title%20contains%20%22zzz%22",
];

/// Counts the responses by status.
fn tally(statuses: impl IntoIterator<Item = u16>) -> BTreeMap<u16, usize> {
    let mut tally = BTreeMap::new();
    for status in statuses {
        *tally.entry(status).or_default() += 1;
    }
    tally
}

/// Concurrent heavy requests of one user do not slow down others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_only_a_share_of_the_service() {
    on_many_movies("40 concurrent heavy requests of one user", async |report, engine, instance| {
        let client = instance.client();
        let id = client.get("/api/v1/movies?limit=1").await.json()["items"][0]["id"].clone();
        let path = format!("/api/v1/movies/{}", id.as_str().unwrap());
        let mut heavy = JoinSet::new();
        for number in 0..40 {
            let client = client.with_token(Some(token_of("heavy", READ)));
            heavy.spawn(async move {
                let mut statuses = Vec::new();
                loop {
                    let reply = client.get(HEAVY[number % HEAVY.len()]).await;
                    statuses.push(reply.status);
                    if reply.status != 200 {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    if statuses.len() > 1000 {
                        return statuses;
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let other = client.with_token(Some(token_of("other", READ)));
        let (mut read, mut ready) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while read.len() < 100 && start.elapsed() < Duration::from_secs(30) {
            read.push(other.get(&path).await);
            if read.len() % 5 == 0 {
                ready.push(client.with_token(None).get("/readyz").await);
            }
        }
        heavy.shutdown().await;
        let promises = [
            ("another user's 100 reads by id are 200, each within 2 s", read, 100),
            ("/readyz is 200", ready, 1),
        ];
        for (promised, replies, expected) in promises {
            let longest = replies.iter().map(|reply| reply.took).max();
            let statuses = tally(replies.iter().map(|reply| reply.status));
            let is_kept = statuses.keys().eq([&200]) && longest <= Some(PATIENCE);
            report.row(
                &format!("{engine}: meanwhile {promised}"),
                format!("{statuses:?}, longest {longest:?}"),
                is_kept && replies.len() >= expected,
            );
        }
    })
    .await;
}

/// Runs concurrent exports of one user, or of one user each. Each is complete, or rejected before it starts.
async fn check_exports(
    report: &mut Report,
    engine: &str,
    instance: &Instance,
    exports: usize,
    one_user: bool,
) {
    // The filter finds one movie in twenty, but has to read all of them.
    let path = "/api/v1/movies/export?filter=title%20contains%20%2277%22";
    let expected = (1..=MANY).filter(|number| number.to_string().contains("77")).count();
    let mut running = JoinSet::new();
    for number in 0..exports {
        let subject = if one_user { "one".to_owned() } else { format!("user {number}") };
        let lines = bearer(&token_of(&subject, READ));
        let request = get(path, &format!("{lines}connection: close\r\n"));
        let to = instance.socket();
        running.spawn(async move { exchange(to, &request, EXPORT_LIMIT).await });
    }
    let results: Vec<Raw> = running.join_all().await;
    let is_whole = |raw: &Raw| {
        let text = String::from_utf8_lossy(&raw.body);
        raw.status == 200 && text.matches("\"title\"").count() == expected
    };
    let rejected =
        |raw: &Raw| [429, 503].contains(&raw.status) && !raw.header("retry-after").is_empty();
    let broken: Vec<&Raw> = results.iter().filter(|raw| !is_whole(raw) && !rejected(raw)).collect();
    let why: BTreeSet<&str> = broken.iter().map(|raw| raw.failure.as_str()).collect();
    let statuses = tally(results.iter().map(|raw| raw.status));
    let users = if one_user { "of one user" } else { "of one user each" };
    report.row(
        &format!(
            "{engine}: {exports} concurrent exports {users}: each is complete, or 429 or 503 with Retry-After"
        ),
        format!("{statuses:?}, {} of them neither {why:?}", broken.len()),
        broken.is_empty() && results.iter().any(is_whole),
    );
    let (code, places) = if one_user { (429, 2) } else { (503, 8) };
    let rejected: Vec<&Raw> = results.iter().filter(|raw| raw.status == code).collect();
    // The number of rejected exports depends on how soon the others end. `check_places` tests the exact limit.
    report.row(
        &format!("{engine}: exports over the limit of {places} get {code} within 2 s"),
        format!(
            "{} times, longest {:?}",
            rejected.len(),
            rejected.iter().map(|raw| raw.took).max()
        ),
        rejected.iter().all(|raw| raw.took <= PATIENCE),
    );
    let waits: BTreeSet<&str> = rejected.iter().map(|raw| raw.header("retry-after")).collect();
    if rejected.len() >= 10 && !one_user {
        report.row(
            &format!("{engine}: their Retry-After varies, so that clients do not retry together"),
            format!("{waits:?}"),
            waits.len() > 1,
        );
    }
}

/// Exports whose clients do not read keep their places, so exactly the next export is rejected.
async fn check_places(report: &mut Report, engine: &str, instance: &Instance, one_user: bool) {
    let (code, places) = if one_user { (429, 2) } else { (503, 8) };
    let path = "/api/v1/movies/export";
    let mut unread = Vec::new();
    for number in 0..places {
        let subject = if one_user { "one".to_owned() } else { format!("user {number}") };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(instance.socket()).await.unwrap();
        stream.write_all(&get(path, &bearer(&token_of(&subject, READ)))).await.unwrap();
        // The export has its place once its first bytes have arrived.
        stream.readable().await.unwrap();
        unread.push(stream);
    }
    let subject = if one_user { "one" } else { "another user" };
    let lines = bearer(&token_of(subject, READ));
    let request = get(path, &format!("{lines}connection: close\r\n"));
    let beyond = exchange(instance.socket(), &request, EXPORT_LIMIT).await;
    report.row(
        &format!("{engine}: with {places} unread exports, the next gets {code} with Retry-After"),
        format!("{} after {:?}", beyond.status, beyond.took),
        beyond.status == code && !beyond.header("retry-after").is_empty(),
    );
    drop(unread);
    // Their places become free only after the service has noticed that the connections are closed.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

async fn exports_of_one_and_of_all(exports: usize) {
    on_many_movies("Concurrent exports", async |report, engine, instance| {
        check_exports(report, engine, &instance, exports, true).await;
        check_exports(report, engine, &instance, exports, false).await;
        check_places(report, engine, &instance, true).await;
        check_places(report, engine, &instance, false).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_are_complete_or_rejected_at_the_start() {
    exports_of_one_and_of_all(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `make faults`"]
async fn exports_are_complete_or_rejected_at_the_start_long() {
    exports_of_one_and_of_all(100).await;
}

const PASSWORD: &str = "correct horse battery staple";

/// Concurrent sign-ins with the correct password do not count as failures; wrong ones among them do.
#[tokio::test]
async fn concurrent_correct_sign_ins_are_all_accepted() {
    let (database, folder) = (Database::sqlite(), tempfile::TempDir::new().unwrap());
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let flags = ["--auth", "password", "--admin-password-file", password.to_str().unwrap()];
    let instance = Launch::on(&database.url()).flags(&flags).start().await;
    let client = instance.client().with_token(None);
    let send = async |passwords: Vec<&'static str>| {
        let mut sent = JoinSet::new();
        for (number, password) in passwords.into_iter().enumerate() {
            let client = client.clone();
            sent.spawn(async move {
                let body = json!({"username": "admin", "password": password});
                let reply = client.post("/api/token", &body).await;
                (number, password, reply)
            });
        }
        sent.join_all().await
    };
    let mut report = Report::new("Signing in");
    // One wrong password after every six correct ones, which is below the limit of the IP address.
    let mixed = (0..35).map(|number| if number % 7 == 6 { "wrong, quite wrong" } else { PASSWORD });
    let replies = send(mixed.collect()).await;
    let of = |correct: bool| {
        let chosen =
            replies.iter().filter(move |(_, password, _)| (*password == PASSWORD) == correct);
        tally(chosen.map(|(_, _, reply)| reply.status))
    };
    let statuses = of(true);
    report.row(
        "30 concurrent correct sign-ins: 30 x 200",
        format!("{statuses:?}"),
        statuses == BTreeMap::from([(200, 30)]),
    );
    let statuses = of(false);
    report.row(
        "5 wrong sign-ins among them: 5 x 401",
        format!("{statuses:?}"),
        statuses == BTreeMap::from([(401, 5)]),
    );
    let before = statuses.get(&401).copied().unwrap_or_default();
    let replies = send(vec!["wrong, quite wrong"; 20]).await;
    let statuses = tally(replies.iter().map(|(_, _, reply)| reply.status));
    let failed = statuses.get(&401).copied().unwrap_or_default();
    report.row(
        "20 more wrong sign-ins: 10 failures per minute, then 429",
        format!("{statuses:?}"),
        // One more is allowed every six seconds.
        before + failed <= 12 && statuses.keys().all(|status| [401, 429].contains(status)),
    );
    report.finish();
}

/// Endless imports of one user do not block imports of others.
#[tokio::test]
async fn slow_imports_do_not_block_other_users() {
    let mut report = Report::new("Imports");
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let instance = Instance::start(&database.url()).await;
        let mut streams = Vec::new();
        for number in 0..8 {
            let mut stream = TcpStream::connect(instance.socket()).await.unwrap();
            let headers = format!(
                "POST /api/v1/movies/import?on_conflict=skip HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n{}\r\n",
                bearer(&token_of("dripping", BOTH))
            );
            stream.write_all(headers.as_bytes()).await.unwrap();
            drip(&mut stream, number).await;
            streams.push(stream);
        }
        let other = instance.client().with_token(Some(token_of("other", BOTH)));
        let mut statuses = Vec::new();
        for round in 0..5 {
            for (number, stream) in streams.iter_mut().enumerate() {
                drip(stream, 100 * (round + 1) + number).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            for reply in [
                other.import(&format!("other {round}"), 10, "skip").await,
                other.import(&format!("another {round}"), 10, "fail").await,
                other.create(&format!("created {round}")).await,
            ] {
                statuses.push(if reply.took > PATIENCE { 0 } else { reply.status });
            }
        }
        let statuses = tally(statuses);
        report.row(
            &format!(
                "{engine}: during 8 slow imports of one user, another imports and creates within 2 s"
            ),
            format!("{statuses:?}"),
            statuses.keys().all(|status| [200, 201].contains(status)),
        );
        let mut rejected = 0;
        for stream in &mut streams {
            let mut start = [0; 12];
            let read =
                tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut start));
            rejected +=
                usize::from(read.await.is_ok_and(|read| read.is_ok()) && start.ends_with(b"429"));
        }
        report.row(
            &format!("{engine}: two of the slow imports run, the others get 429"),
            format!("{rejected} x 429"),
            rejected == 6,
        );
    }
    report.finish();
}

/// Sends one row as a chunk. Ignores errors, because the connection may be closed.
async fn drip(stream: &mut TcpStream, number: usize) {
    let row = file(&format!("dripping {number}"), 1);
    let _ = stream.write_all(format!("{:x}\r\n", row.len()).as_bytes()).await;
    let _ = stream.write_all(&row).await;
    let _ = stream.write_all(b"\r\n").await;
}

/// Returns hand-written requests: a name, the bytes, and the expected status.
fn requests() -> Vec<(&'static str, Vec<u8>, u16)> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let token = bearer(&token_of("reader", READ));
    // 24 KiB in the URL, because an encoded space takes three bytes.
    let filter = format!("title%20=%20%22a%22{}", "%20".repeat(8192 - 11));
    // Claims of 3 KiB make a token of 4 KiB.
    let scopes: Vec<String> = (0..280).map(|number| format!("filler-{number}")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).chain(READ.iter().copied()).collect();
    let large = bearer(&token_of("reader", &scopes));
    assert!(large.len() > 4096, "{}", large.len());
    let headers = |length: usize| get("/livez", &format!("x-filler: {}\r\n", "a".repeat(length)));
    let sign_in = |length: usize| {
        let body = format!("{{\"username\":\"{}\"}}", "a".repeat(length - 15));
        let headers =
            "POST /api/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
        bytes(&format!("{headers}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    vec![
        ("HTTP/1.1 without Host", bytes("GET /livez HTTP/1.1\r\n\r\n"), 400),
        (
            "HTTP/1.1 with two Hosts",
            bytes("GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
            400,
        ),
        (
            "HTTP/1.1 with the same Host twice",
            bytes("GET /livez HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
            400,
        ),
        ("HTTP/1.0 without Host", bytes("GET /livez HTTP/1.0\r\n\r\n"), 200),
        ("request headers of 36 KiB", headers(36 << 10), 200),
        ("request headers of 41 KiB", headers(41 << 10), 431),
        ("request headers of 390 KB", headers(390_000), 431),
        (
            "a filter of 8 KiB, encoded, and a token of 4 KiB",
            get(&format!("/api/v1/movies?filter={filter}"), &large),
            200,
        ),
        (
            "a filter of more than 8 KiB",
            get(&format!("/api/v1/movies?filter={filter}%20"), &token),
            400,
        ),
        ("a sign-in of 8 KiB", sign_in(8192), 400),
        ("a sign-in of more than 8 KiB", sign_in(8193), 413),
        (
            "a sign-in with a Content-Length of 1 MiB",
            bytes(
                "POST /api/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\n\r\n{",
            ),
            413,
        ),
    ]
}

#[tokio::test]
async fn malformed_and_oversized_requests_are_rejected() {
    let database = Database::sqlite();
    let instance = Instance::start(&database.url()).await;
    let mut report = Report::new("Malformed and oversized requests");
    for (name, request, expected) in requests() {
        let raw = exchange(instance.socket(), &request, PATIENCE).await;
        report.row(
            &format!("{name}: {expected}"),
            format!("{} {}", raw.status, raw.failure),
            raw.status == expected,
        );
    }
    if has_program("ss") {
        let listening = std::process::Command::new("ss").args(["-ltnH"]).output().unwrap();
        let listening = String::from_utf8_lossy(&listening.stdout).into_owned();
        let socket = instance.socket().to_string();
        let lines = listening.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.into_iter().find(|line| line.get(3) == Some(&socket.as_str()));
        let backlog = line.and_then(|line| line.get(2)?.parse::<u32>().ok()).unwrap_or_default();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most = most.trim().parse().unwrap_or(u32::MAX).min(4096);
        let promise = format!("queue of connections to accept: {most}");
        report.row(&promise, backlog, backlog == most);
    } else {
        skip("reading the length of the accept queue needs `ss`");
    }
    report.finish();
}

/// Returns kinds of slow clients: a name, the bytes sent first, the bytes sent each second, and the maximum
/// time that the connection may stay open.
fn slow() -> Vec<(&'static str, Vec<u8>, &'static [u8], Duration)> {
    let token = bearer(&token_of("slow", READ));
    let body = format!(
        "POST /api/v1/movies/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n{token}\r\n{{"
    );
    // The responses are larger than all buffers on the way together.
    let page = get("/openapi.json", "accept-encoding: identity\r\n");
    vec![
        (
            "slow request headers",
            b"GET /livez HTTP/1.1\r\n".to_vec(),
            b"x-a: b\r\n",
            Duration::from_secs(10),
        ),
        ("silent connections", Vec::new(), b"", Duration::from_secs(10)),
        ("slow bodies", body.into_bytes(), b" ", Duration::from_secs(30)),
        ("slow readers", page.repeat(40), b"", Duration::from_secs(30)),
    ]
}

#[tokio::test]
#[ignore = "run by `make faults`"]
async fn slow_clients_are_disconnected() {
    raise_file_limit();
    let database = Database::sqlite();
    let instance = Instance::start(&database.url()).await;
    let mut report = Report::new("Slow clients");
    for (name, first, more, limit) in slow() {
        let mut clients = JoinSet::new();
        for _ in 0..200 {
            let (first, to) = (first.clone(), instance.socket());
            clients.spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_recv_buffer_size(4096).unwrap();
                let mut stream = socket.connect(to).await.unwrap();
                let start = Instant::now();
                stream.write_all(&first).await.unwrap();
                let _ = tokio::time::timeout(
                    limit + Duration::from_secs(10),
                    until_cut(&mut stream, more),
                )
                .await;
                start.elapsed()
            });
        }
        let normal = normal_requests(instance.client()).await;
        let took = clients.join_all().await;
        let longest = took.iter().max().unwrap();
        report.row(
            &format!("200 {name}: disconnected within {limit:?}"),
            format!("after {longest:?} at most"),
            *longest <= limit + Duration::from_secs(5),
        );
        let (statuses, longest) = normal;
        report.row(
            "meanwhile normal clients are served",
            format!("{statuses:?}, longest {longest:?}"),
            statuses.keys().eq([&200]) && longest <= PATIENCE,
        );
    }
    report.finish();
}

/// Sends `more` each second until the service responds or closes the connection.
async fn until_cut(stream: &mut TcpStream, more: &[u8]) {
    let mut byte = [0; 1];
    loop {
        if !more.is_empty() && stream.write_all(more).await.is_err() {
            return;
        }
        // A response also means that the client was disconnected: a body that takes too long gets a 408.
        match tokio::time::timeout(Duration::from_secs(1), stream.peek(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) if !more.is_empty() => return,
            Ok(Ok(_)) => {
                // A client that does not read notices the end of the connection only by the reset.
                tokio::time::sleep(Duration::from_millis(250)).await;
                if stream.take_error().is_ok_and(|error| error.is_some()) {
                    return;
                }
            }
            Err(_) => {}
        }
    }
}

/// Sends 50 normal requests, and returns their statuses and the longest time.
async fn normal_requests(client: Caller) -> (BTreeMap<u16, usize>, Duration) {
    let (mut statuses, mut longest) = (Vec::new(), Duration::ZERO);
    for _ in 0..50 {
        let reply = client.get("/api/v1/movies?limit=5").await;
        statuses.push(reply.status);
        longest = longest.max(reply.took);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    (tally(statuses), longest)
}
