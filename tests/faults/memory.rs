//! Clients that try to exhaust the memory of an instance. It has 128 MiB, as in a small container.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::instance::{Instance, Launch, movie};
use super::raw::{Habit, Raw, bearer, exchange, get, hold, raise_file_limit};
use super::{Report, skip};
use crate::support::{Database, token_of};

/// The memory limit of the instance, in bytes.
const LIMIT: u64 = 128 << 20;

/// The maximum memory use over that of an idle instance, in bytes.
const OVER_IDLE: u64 = 64 << 20;

/// The durations of a test.
struct Times {
    /// The duration of the load.
    held: Duration,
    /// The maximum time of a normal client's request, on a machine that also runs other tests.
    patience: Duration,
}

const SHORT: Times = Times { held: Duration::from_millis(1500), patience: Duration::from_secs(2) };
const LONG: Times = Times { held: Duration::from_secs(20), patience: Duration::from_secs(5) };

const MIB: usize = 1 << 20;

/// A control group with a memory limit, removed on drop.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// Creates a control group. Prints the reason and returns `None` if that is not possible.
    fn create() -> Option<Self> {
        let name = format!("cinequery-{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let roots =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, file) in roots {
            let group = Self(Path::new(root).join(&name));
            if std::fs::create_dir(&group.0).is_ok()
                && std::fs::write(group.0.join(file), LIMIT.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        skip("the memory limit of 128 MiB needs a control group (root)");
        None
    }

    /// Returns whether the kernel killed a process of the group.
    fn has_killed(&self) -> bool {
        ["memory.oom_control", "memory.events"].iter().any(|file| {
            let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
            let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
            counts.any(|count| count.trim() != "0")
        })
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The group stays busy until the kernel has removed the killed process.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns a figure of /proc/PID/status in bytes, or `None` if the process has exited.
fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// The behaviour of hostile clients, and the number of their connections.
struct Case {
    name: &'static str,
    connections: usize,
    habit: Habit,
    /// Whether each connection reads its response and is reopened, instead of being held.
    is_read: bool,
    rate_limit: &'static str,
}

impl Case {
    fn new(name: &'static str, connections: usize, first: Vec<u8>) -> Self {
        let habit = Habit { first, ..Habit::default() };
        Self { name, connections, habit, is_read: false, rate_limit: "off" }
    }

    fn and_then(mut self, more: Vec<u8>, pause: Duration) -> Self {
        (self.habit.more, self.habit.pause) = (more, pause);
        self
    }
}

/// Returns a POST request with these header fields and this first part of a body.
fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{lines}\r\n"
    );
    [headers.as_bytes(), body].concat()
}

/// Returns a request without the last byte of its body, so that the service has to buffer the rest.
fn unfinished(path: &str, lines: &str, length: usize) -> Vec<u8> {
    let body = [br#"{"username":""#.as_slice(), &vec![b'a'; length - 14]].concat();
    post(path, &format!("{lines}content-length: {length}\r\n"), &body)
}

/// Returns the cases that need no token.
fn without_token(is_long: bool, script: &str) -> Vec<Case> {
    let count = |long, short| if is_long { long } else { short };
    let second = Duration::from_secs(1);
    let chunk = [b"10000\r\n".as_slice(), &vec![b'a'; 0x10000], b"\r\n"].concat();
    let chunks = [post("/api/token", "transfer-encoding: chunked\r\n", b""), chunk.repeat(15)];
    let fields = format!("x-filler: {}\r\n", "a".repeat(4000));
    let headers = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{}", fields.repeat(95));
    let page = get("/openapi.json", "accept-encoding: identity\r\n");
    let script = get(script, "accept-encoding: identity\r\n");
    let mut cases = vec![
        Case::new(
            "unfinished sign-ins of 1 MiB, with Content-Length",
            count(1000, 250),
            unfinished("/api/token", "", MIB),
        ),
        Case::new("unfinished sign-ins of 1 MiB, in chunks", count(1000, 250), chunks.concat()),
        Case::new("endless request headers of 390 KB", count(1000, 400), headers.into_bytes())
            .and_then(b"x-more: a\r\n".to_vec(), second),
        Case::new("connections", count(20_000, 3000), b"GET /livez HT".to_vec()),
        Case::new("unread downloads of /openapi.json", count(1000, 250), page.repeat(4)),
    ];
    if is_long {
        let name = "unread downloads of the documentation";
        cases.push(Case::new(name, 1000, script.repeat(4)));
    }
    cases
}

/// Returns the cases that need a token with `movies:read`.
fn with_token(is_long: bool, _script: &str) -> Vec<Case> {
    let count = |long, short| if is_long { long } else { short };
    let token = bearer(&token_of("hostile", &["movies:read"]));
    let search = "/api/v1/movies/search";
    let explosive = |name, body: String| {
        let lines = format!("{token}connection: close\r\ncontent-length: {}\r\n", body.len());
        let request = post(search, &lines, body.as_bytes());
        Case { is_read: true, ..Case::new(name, count(64, 16), request) }
    };
    let within = |opening: &str, item: &str, closing: &str| {
        let items = (MIB - opening.len() - closing.len() - 1) / item.len();
        format!("{opening}{}0{closing}", item.repeat(items))
    };
    let members: String = (0..70_000).map(|number| format!("\"m{number:05}\":0,")).collect();
    let facets = "/api/v1/movies/facets?by=title&limit=1000&filter=title%20contains%20%22a%22";
    let facets = get(facets, &format!("{token}connection: close\r\n"));
    let slow = format!("{token}content-length: {MIB}\r\n");
    let mut cases = vec![
        Case::new("unread exports", count(1000, 200), get("/api/v1/movies/export", &token)),
        Case::new(
            "unread searches with limit=1000",
            count(1000, 200),
            get("/api/v1/movies?limit=1000", &token).repeat(4),
        ),
        Case {
            is_read: true,
            rate_limit: "600/min",
            ..Case::new("facets at the default rate limit", count(100, 40), facets)
        },
        Case::new(
            "slow bodies of 1 MiB",
            count(1000, 200),
            post(search, &slow, &vec![b' '; MIB - 64]),
        )
        .and_then(b" ".to_vec(), Duration::from_secs(1)),
        explosive("bodies of [0,0,0,…", within("{\"parameters\":{\"a\":[", "0,", "]}}")),
        explosive("bodies of many members", format!("{{\"parameters\":{{{members}\"z\":0}}}}")),
    ];
    if is_long {
        let nested = format!("{{\"parameters\":{{\"a\":{}", "[".repeat(MIB - 40));
        cases.push(explosive("bodies of [[[[", nested));
        let objects = within("{\"parameters\":{\"a\":[", "{},", "]}}");
        cases.push(explosive("bodies of many objects", objects));
    }
    cases
}

/// The results of normal clients during the load.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    failures: Vec<String>,
}

impl Seen {
    fn note(&mut self, what: &str, status: u16, took: Duration, failure: &str) {
        self.took.push(took);
        if status != 200 {
            let failure: String = failure.chars().take(80).collect();
            self.failures.push(format!("{what}: {status} {failure}"));
        }
    }

    /// Returns the 99th percentile and the maximum.
    fn slowest(&self) -> (Duration, Duration) {
        let mut took = self.took.clone();
        took.sort();
        let at = |index: usize| took.get(index).copied().unwrap_or_default();
        (at(took.len() * 99 / 100), at(took.len().saturating_sub(1)))
    }
}

/// Four clients that keep their connections, and a probe of /readyz on new connections. They run in a thread of
/// their own, so that the hostile clients do not delay them.
struct Normal {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(Seen, Seen)>,
}

impl Normal {
    fn start(instance: &Instance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, socket) = (instance.url().unwrap(), instance.socket());
        let is_stopped = stop.clone();
        let clients = async move {
            let client = async |number: usize| {
                let token = token_of(&format!("normal {number}"), &["movies:read"]);
                let client = super::instance::Caller::at(&url).with_token(Some(token));
                let mut seen = Seen::default();
                while !is_stopped.load(Ordering::Relaxed) {
                    for path in ["/api/v1/movies?limit=5", "/api/v1/schema"] {
                        let reply = client.get(path).await;
                        seen.note(path, reply.status, reply.took, &reply.failure);
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                }
                seen
            };
            let probe = async {
                let mut seen = Seen::default();
                let request = get("/readyz", "connection: close\r\n");
                while !is_stopped.load(Ordering::Relaxed) {
                    let raw = exchange(socket, &request, Duration::from_secs(10)).await;
                    seen.note("/readyz", raw.status, raw.took, &raw.failure);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                seen
            };
            let (a, b, c, d, probed) =
                tokio::join!(client(1), client(2), client(3), client(4), probe);
            let mut all = Seen::default();
            for seen in [a, b, c, d] {
                all.took.extend(seen.took);
                all.failures.extend(seen.failures);
            }
            (all, probed)
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(clients)
        });
        Self { stop, thread }
    }

    /// Stops the clients and the probe, and returns their results.
    async fn end(self) -> (Seen, Seen) {
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap()
    }
}

/// Starts an instance with a memory limit.
async fn launch(database: &str, rate_limit: &str) -> (Instance, Option<ControlGroup>) {
    let mut launch = Launch::on(database).flags(&["--rate-limit", rate_limit]);
    let group = ControlGroup::create();
    if let Some(ControlGroup(path)) = &group {
        let join = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", path.display());
        launch = launch.wrapper(&["sh", "-c", &join, "sh"]);
    }
    (launch.start().await, group)
}

async fn check(report: &mut Report, database: &str, case: &Case, times: &Times) {
    let held = times.held;
    let (mut instance, group) = launch(database, case.rate_limit).await;
    let (pid, to) = (instance.pid(), instance.socket());
    let normal = Normal::start(&instance);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (unloaded, _) = normal.end().await;
    let idle = memory(pid, "VmRSS").unwrap();
    // Resets the peak, because the start may have used more memory than the idle instance.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");

    let normal = Normal::start(&instance);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let until = Instant::now() + held + Duration::from_micros(250 * case.connections as u64);
    let beyond = async {
        // All connections are open by now.
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.saturating_sub(held / 2)).await;
        let request = get("/api/v1/schema", "");
        exchange(to, &request, Duration::from_secs(5)).await
    };
    let load = async {
        if case.is_read {
            repeat(to, case, until).await
        } else {
            hold(to, case.connections, case.habit.clone(), until).await
        }
    };
    let (opened, beyond) = tokio::join!(load, beyond);
    let peak = memory(pid, "VmHWM");
    let (seen, probed) = normal.end().await;

    let promise =
        |text: &str| format!("{} {} ({opened} opened): {text}", case.connections, case.name);
    let status = instance.wait(Duration::from_millis(1)).await;
    let killed = group.as_ref().is_some_and(ControlGroup::has_killed);
    let alive = match status {
        None => "running".to_owned(),
        Some(status) if killed => format!("{status}: killed by the kernel, out of memory"),
        Some(status) => status.to_string(),
    };
    report.row(&promise("runs in 128 MiB"), alive, status.is_none());
    match peak {
        Some(peak) => {
            let (over, mib) = (peak.saturating_sub(idle), |bytes: u64| bytes >> 20);
            let text = format!("{} MiB over {} MiB", mib(over), mib(idle));
            report.row(&promise("at most 64 MiB over idle"), text, over <= OVER_IDLE);
        }
        None => report.row(&promise("at most 64 MiB over idle"), "killed", false),
    }
    let verdict = |seen: &Seen| {
        let ((p99, longest), failed) = (seen.slowest(), seen.failures.len());
        let first = seen.failures.first().cloned().unwrap_or_default();
        let text = format!(
            "{failed} of {} failed, p99 {p99:?}, longest {longest:?} {first}",
            seen.took.len()
        );
        (text, failed == 0 && longest <= times.patience)
    };
    let (text, is_kept) = verdict(&seen);
    let before = unloaded.slowest().0;
    report.row(
        // The promise that their p99 at most doubles holds for a machine without other load. It is only printed.
        &promise(&format!("no normal client fails or waits longer than {:?}", times.patience)),
        format!("{text}; p99 before {before:?}"),
        is_kept,
    );
    let (text, is_kept) = verdict(&probed);
    report.row(&promise("/readyz on new connections always 200"), text, is_kept);
    if case.name == "connections" {
        let Raw { status, failure, .. } = &beyond;
        // An idle connection is closed to make room. `tests/http.rs` tests the case that all connections are busy.
        let is_kept = *status == 401 && failure.is_empty();
        let text = format!("{status} {failure}");
        report.row(&promise("one more connection is served"), text, is_kept);
    }
    instance.kill();
}

/// Repeats the request on that many connections at a time and reads the responses. Returns the number of requests.
async fn repeat(to: std::net::SocketAddr, case: &Case, until: Instant) -> usize {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..case.connections {
        let request = case.habit.first.clone();
        clients.spawn(async move {
            let mut sent = 0;
            while Instant::now() < until {
                let raw = exchange(to, &request, Duration::from_secs(10)).await;
                if raw.failure.contains("refused") {
                    // The instance has exited.
                    break;
                }
                sent += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            sent
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// Creates a database of movies with long titles, all of which match the searches of the hostile clients. Also
/// returns the path of the largest file of the documentation, which contains a hash.
async fn filled(rows: usize) -> (Database, String) {
    let database = Database::sqlite();
    let instance = Instance::start(&database.url()).await;
    let rows: String = (0..rows)
        .map(|number| format!("{}\n", movie(&format!("{number} {}", "a long title ".repeat(15)))))
        .collect();
    let body = Some(("application/x-ndjson", rows.into_bytes()));
    let path = "/api/v1/movies/import?on_conflict=skip";
    let reply = instance.client().send("POST", path, &[], body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let page = String::from_utf8(instance.client().get("/docs").await.body).unwrap();
    let mut files = page.split('"').filter_map(|part| part.rsplit('/').next());
    let script = files.find(|file| file.contains("bundle") && file.ends_with(".js"));
    (database, format!("/docs/{}", script.unwrap()))
}

async fn all(name: &str, cases: impl FnOnce(bool, &str) -> Vec<Case>, is_long: bool, rows: usize) {
    raise_file_limit();
    let (database, script) = filled(rows).await;
    let times = if is_long { LONG } else { SHORT };
    let mut report = Report::new(name);
    for case in &cases(is_long, &script) {
        check(&mut report, &database.url(), case, &times).await;
    }
    report.finish();
}

#[tokio::test]
async fn clients_without_a_token_cannot_exhaust_the_memory() {
    all("Memory, without a token", without_token, false, 10).await;
}

#[tokio::test]
async fn users_cannot_exhaust_the_memory() {
    all("Memory, with a token", with_token, false, 5000).await;
}

#[tokio::test]
#[ignore = "run by `make faults`"]
async fn clients_without_a_token_cannot_exhaust_the_memory_long() {
    all("Memory, without a token, long", without_token, true, 10).await;
}

#[tokio::test]
#[ignore = "run by `make faults`"]
async fn users_cannot_exhaust_the_memory_long() {
    all("Memory, with a token, long", with_token, true, 50_000).await;
}
