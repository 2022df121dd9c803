//! Faults of the database and of the network between it and the service.

mod clocks;
mod cuts;
mod keys;
mod kills;
mod load;
mod outage;
mod pooler;
mod replica;
mod retries;
mod silent;
mod vanish;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection;

use super::RECOVERY_LIMIT;
use super::instance::{Caller, Reply, movie};

/// The rows of an import of more than one batch. The service commits every thousand rows.
pub const ROWS: usize = 1500;

/// Returns every title in the database.
pub async fn titles(url: &str) -> Vec<String> {
    let select = "SELECT title FROM movies";
    if url.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(select).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(select).fetch_all(&mut connection).await.unwrap()
    }
}

/// Replaces a movie regardless of its version.
pub async fn put(caller: &Caller, id: &str, title: &str) -> Reply {
    let body = Some(("application/json", movie(title).to_string().into_bytes()));
    caller.send("PUT", &format!("/api/v1/movies/{id}"), &[("if-match", "*")], body).await
}

/// Signs a user in and revokes the token.
pub async fn revoke(caller: &Caller) -> Reply {
    let issued = caller.post("/api/token", &json!({"username": "someone"})).await;
    let issued_token = issued.json()["access_token"].clone();
    match issued_token.as_str() {
        Some(token) => revoke_token(caller, token).await,
        None => issued,
    }
}

/// Revokes a token.
pub async fn revoke_token(caller: &Caller, token: &str) -> Reply {
    let form = Some(("application/x-www-form-urlencoded", format!("token={token}").into_bytes()));
    caller.send("POST", "/api/token/revoke", &[], form).await
}

/// Repeats a request until it succeeds. Returns a text with the time that took, and whether it was within the
/// limit.
pub async fn recovery<F: Future<Output = Reply>>(send: impl Fn(usize) -> F) -> (String, bool) {
    let start = Instant::now();
    let mut last = String::new();
    for attempt in 0.. {
        if start.elapsed() > RECOVERY_LIMIT {
            break;
        }
        let reply = send(attempt).await;
        if reply.is_success() {
            let took = start.elapsed();
            return (format!("{} after {took:.1?}", reply.status), took < RECOVERY_LIMIT);
        }
        last = format!("{} {}", reply.status, reply.failure);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (format!("not within {RECOVERY_LIMIT:?}: {last}"), false)
}

/// The writes of clients, and which of them were acknowledged.
#[derive(Default)]
pub struct Written {
    /// Titles of movies whose creation was acknowledged.
    created: Vec<String>,
    /// Imports: the prefix of the titles, the `on_conflict` policy, and whether the import was acknowledged.
    imports: Vec<(String, &'static str, bool)>,
    /// The number of responses by status.
    pub statuses: BTreeMap<u16, usize>,
}

impl Written {
    fn add(&mut self, other: Self) {
        self.created.extend(other.created);
        self.imports.extend(other.imports);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn count(&mut self, reply: &Reply) {
        *self.statuses.entry(reply.status).or_default() += 1;
    }

    /// Returns the number of acknowledged writes.
    pub fn acknowledged(&self) -> usize {
        self.created.len() + self.imports.iter().filter(|(.., is_done)| *is_done).count()
    }

    /// Returns the acknowledged writes that are missing in the database, and the partial imports.
    pub async fn missing_and_partial(&self, url: &str) -> (Vec<String>, Vec<String>) {
        let titles = titles(url).await;
        let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
        for title in &titles {
            let prefix = title.rsplit_once(' ').map_or(title.as_str(), |(prefix, _)| prefix);
            *rows.entry(prefix).or_default() += 1;
            rows.entry(title).or_default();
        }
        let lost = self.created.iter().filter(|title| !rows.contains_key(title.as_str()));
        let mut missing: Vec<String> = lost.cloned().collect();
        let mut partial = Vec::new();
        for (prefix, policy, is_done) in &self.imports {
            let found = rows.get(prefix.as_str()).copied().unwrap_or_default();
            let is_whole = found == 0 || found == ROWS || (*policy == "skip" && found == 1000);
            if *is_done && found != ROWS {
                missing.push(format!("{prefix}: {found} rows"));
            } else if !is_whole {
                partial.push(format!("{prefix} ({policy}): {found} rows"));
            }
        }
        (missing, partial)
    }
}

/// Writes from several clients at once until `stop` is true. All titles start with `name`.
pub async fn write_until(
    caller: &Caller,
    name: &str,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Written {
    let creator = |number: usize| {
        let (stop, caller) = (stop.clone(), caller.named(&format!("creator {number}")));
        async move {
            let mut written = Written::default();
            for count in 0.. {
                if *stop.borrow() {
                    break;
                }
                let title = format!("{name} {number}.{count}");
                let reply = caller.create(&title).await;
                written.count(&reply);
                if reply.status == 201 {
                    written.created.push(title);
                } else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            written
        }
    };
    let importer = |policy: &'static str| {
        let (stop, caller) = (stop.clone(), caller.named(policy));
        async move {
            let mut written = Written::default();
            for count in 0.. {
                if *stop.borrow() {
                    break;
                }
                let prefix = format!("{name}-{policy}-{count}");
                let reply = caller.import(&prefix, ROWS, policy).await;
                written.count(&reply);
                written.imports.push((prefix, policy, reply.status == 200));
                if !reply.is_success() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            written
        }
    };
    let creators = futures_util::future::join_all((0..3).map(creator));
    let (creators, fail, skip) = tokio::join!(creators, importer("fail"), importer("skip"));
    let mut all = Written::default();
    for written in creators.into_iter().chain([fail, skip]) {
        all.add(written);
    }
    all
}
