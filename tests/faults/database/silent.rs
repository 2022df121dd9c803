//! Connections that become silent: no data arrives any more, and no socket is closed. Two cases are reset
//! instead.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::super::instance::{Caller, Instance, Reply};
use super::super::proxy::{Action, Proxy};
use super::super::{REQUEST_LIMIT, Report};
use super::{put, recovery};
use crate::support::Database;

/// The timeout of a client. This is longer than any request may take, to distinguish a late response from a missing
/// one.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The maximum time until the service writes the usage counts.
const FLUSH_LIMIT: Duration = Duration::from_secs(15);

/// A request whose statement is lost.
#[derive(Clone, Copy, PartialEq)]
pub enum Victim {
    Read,
    Search,
    Count,
    Create,
    Update,
    Import(&'static str),
    Ready,
    /// No request: the service writes the usage counts by itself.
    Flush,
}

struct Case {
    name: &'static str,
    victim: Victim,
    /// Returns whether a statement is the one that fails.
    matches: fn(&str) -> bool,
    action: Action,
}

/// Returns whether the text contains all these words, ignoring case.
pub fn has(sql: &str, words: &[&str]) -> bool {
    let sql = sql.to_lowercase();
    words.iter().all(|word| sql.contains(word))
}

fn is_revision(sql: &str) -> bool {
    let is_read = has(sql, &["select"]) && !has(sql, &["insert"]);
    is_read && has(sql, &["cinequery_meta"]) && !has(sql, &["folding"])
}

fn is_select_of_movies(sql: &str) -> bool {
    has(sql, &["select", "\"movies\""]) && !has(sql, &["count("])
}

fn cases() -> Vec<Case> {
    let is_insert: fn(&str) -> bool = |sql| has(sql, &["insert", "\"movies\""]);
    let is_commit: fn(&str) -> bool = |sql| has(sql, &["commit"]);
    let is_lock: fn(&str) -> bool = |sql| has(sql, &["advisory"]);
    let silence = |name, victim, matches| Case { name, victim, matches, action: Action::Silence };
    let swallow =
        |name, victim, matches| Case { name, victim, matches, action: Action::SwallowResponse };
    let reset = |name, victim, matches| Case { name, victim, matches, action: Action::Reset };
    vec![
        reset("search, reset", Victim::Search, is_select_of_movies),
        reset("create, reset", Victim::Create, is_insert),
        silence("revocation number", Victim::Read, is_revision),
        silence("search", Victim::Search, is_select_of_movies),
        silence("count", Victim::Count, |sql| has(sql, &["count(", "\"movies\""])),
        silence("read by id", Victim::Read, is_select_of_movies),
        silence("create", Victim::Create, is_insert),
        swallow("create, response lost", Victim::Create, is_insert),
        silence("update", Victim::Update, |sql| has(sql, &["update", "\"movies\""])),
        silence("import (skip): batch", Victim::Import("skip"), is_insert),
        silence("import (fail): batch", Victim::Import("fail"), is_insert),
        silence("import (skip): lock", Victim::Import("skip"), is_lock),
        swallow("import (fail): commit", Victim::Import("fail"), is_commit),
        silence("/readyz", Victim::Ready, |sql| has(sql, &["folding"])),
        silence("usage", Victim::Flush, |sql| has(sql, &["insert", "\"usage\""])),
    ]
}

impl Victim {
    pub async fn send(self, caller: &Caller, id: &str, title: &str) -> Reply {
        match self {
            Self::Read | Self::Flush => caller.get(&format!("/api/v1/movies/{id}")).await,
            Self::Search => caller.get("/api/v1/movies?limit=3").await,
            Self::Count => caller.get("/api/v1/movies?limit=1&count=exact").await,
            Self::Create => caller.create(title).await,
            Self::Update => put(caller, id, title).await,
            Self::Import(policy) => caller.import(title, 20, policy).await,
            Self::Ready => caller.get("/readyz").await,
        }
    }
}

/// The results of one case, as text.
struct Seen {
    name: &'static str,
    ended: String,
    others: String,
    closed: String,
    again: String,
    is_kept: bool,
}

async fn check(case: Case) -> Seen {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.url());
    let instance = Instance::start(&proxy.url(&database.url())).await;
    let caller = instance.client().within(PATIENCE);
    let other = caller.named("other");
    let created = caller.create("First").await;
    let id = created.json()["id"].as_str().expect("a movie").to_owned();
    // Longer than the known revocations are fresh, so that the next request reads them again.
    tokio::time::sleep(Duration::from_millis(700)).await;
    proxy.on(case.matches, 0, 1, case.action.clone());

    let victim = async {
        if case.victim == Victim::Flush {
            let deadline = Instant::now() + FLUSH_LIMIT;
            while proxy.hits() == 0 && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None
        } else {
            Some(case.victim.send(&caller, &id, "Second").await)
        }
    };
    // Requests of another user, from the lost statement until its request has ended or should have ended.
    let others = async {
        let deadline = Instant::now() + FLUSH_LIMIT;
        while proxy.hits() == 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The proxy drops a response shortly after it has seen the statement.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        let mut failed = Vec::new();
        let mut count = 0;
        while start.elapsed() < REQUEST_LIMIT && proxy.silent() > 0 {
            let reads = [Victim::Read, Victim::Search].map(|one| one.send(&other, &id, ""));
            for reply in join_all(reads).await {
                count += 1;
                if reply.status != 200 || reply.took > Duration::from_secs(2) {
                    failed.push(format!("{} in {:.1?}", reply.status, reply.took));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (count, failed)
    };
    let (reply, (count, failed)) = tokio::join!(victim, others);
    let was_hit = proxy.hits() == 1;
    let ended = match &reply {
        Some(reply) => format!("{} in {:.1?}", reply.status, reply.took),
        None => "no request".to_owned(),
    };
    let has_ended = reply.as_ref().is_none_or(|reply| {
        (reply.is_success() || reply.is_unavailable()) && reply.took < REQUEST_LIMIT
    });

    let start = Instant::now();
    while proxy.silent() > 0 && start.elapsed() < REQUEST_LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let is_closed = proxy.silent() == 0;
    let (again, recovered) = recovery(|attempt| {
        let (caller, id) = (&caller, &id);
        async move { case.victim.send(caller, id, &format!("Again {attempt}")).await }
    })
    .await;
    let others = match failed.len() {
        0 => format!("{count} of {count}: 200"),
        bad => format!("{bad} of {count} failed: {}", failed[0]),
    };
    Seen {
        name: case.name,
        ended: if was_hit { ended } else { "the statement was not seen".to_owned() },
        others,
        closed: if is_closed { "yes".to_owned() } else { "no".to_owned() },
        again,
        is_kept: was_hit && has_ended && failed.is_empty() && is_closed && recovered,
    }
}

#[tokio::test]
async fn one_connection_becomes_silent() {
    let mut report = Report::new("One connection becomes silent at a statement of …");
    for seen in join_all(cases().into_iter().map(check)).await {
        let Seen { name, ended, others, closed, again, is_kept } = seen;
        let promised = format!(
            "{name}: 503 or 2xx within 7 s; other requests 200; connection closed; 2xx within 5 s"
        );
        let measured = format!("{ended}; others {others}; closed: {closed}; then {again}");
        report.row(&promised, measured, is_kept);
    }
    report.finish();
}
