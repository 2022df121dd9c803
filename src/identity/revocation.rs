//! Revoked tokens: tokens that are rejected before they expire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::rejection::{Reason, rejected_of};
use super::{Bearer, IssuedAt};
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::store::{Revoked, Store};

/// The maximum age of the known revocations. A revocation takes effect on every instance within this time.
const MAX_AGE: Duration = Duration::from_millis(500);

/// Their maximum age while the database cannot be read. After that, requests get 503.
const GRACE: Duration = Duration::from_secs(5);

/// The pause between two reads, while there are requests.
const INTERVAL: Duration = Duration::from_millis(300);

/// How long a request waits for a read: if the known revocations are older than [`MAX_AGE`], and if they cannot be
/// used at all.
const SHORT_WAIT: Duration = Duration::from_millis(250);
const LONG_WAIT: Duration = Duration::from_secs(2);

/// Caches the revocations of the database for at most half a second. One task reads them while there are requests;
/// a service without requests sends no statements. Requests never read by themselves, so a database that does
/// not respond blocks one task and not all requests.
pub struct Revocations {
    shared: Arc<Shared>,
    has_started: AtomicBool,
}

struct Shared {
    store: Store,
    last: watch::Sender<Reading>,
    /// Notifies the task that a request waits for a read.
    is_wanted: Notify,
    /// Whether there was a request since the last read.
    is_used: AtomicBool,
}

/// The outcome of the last read.
#[derive(Clone, Default)]
struct Reading {
    known: Known,
    /// When the read ended.
    ended_at: Option<Instant>,
    has_failed: bool,
}

/// The known revocations, and when they were read.
#[derive(Clone, Default)]
struct Known {
    /// When the read started.
    asked_at: Option<Instant>,
    revision: i64,
    all: Arc<All>,
}

#[derive(Clone, Default)]
struct All {
    /// The ids of revoked tokens, and of sessions whose tokens are, with the times when these have expired.
    tokens: HashMap<String, DateTime<Utc>>,
    /// The last revocation of each subject: its number, and its time in seconds since 1970.
    subjects: HashMap<String, (i64, i64)>,
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < age)
    }
}

/// Returns whether the token was issued after more revocations than are known. If this remains so after a read, the
/// database was restored from a backup, or is another one.
fn is_ahead(bearer: &Bearer, known: &Known) -> bool {
    matches!(bearer.issued, IssuedAt::Revision(issued) if issued > known.revision)
}

impl All {
    fn has(&self, bearer: &Bearer) -> bool {
        let ids = [&bearer.token_id, &bearer.session].into_iter().flatten();
        let by_token = ids.into_iter().any(|id| self.tokens.contains_key(id));
        let by_subject =
            self.subjects.get(&bearer.identity.subject).is_some_and(|(revision, at)| match bearer
                .issued
            {
                IssuedAt::Revision(issued) => issued < *revision,
                // This is the earliest time: otherwise tokens of an issuer whose clock is ahead would survive
                // their revocation. The price: a token issued within that time after the revocation is rejected
                // too.
                IssuedAt::Time(issued) => issued <= *at,
            });
        by_token || by_subject
    }
}

impl Revocations {
    /// Creates the cache for a database.
    pub fn new(store: &Store) -> Self {
        let shared = Shared {
            store: store.reserved(),
            last: watch::Sender::default(),
            is_wanted: Notify::new(),
            is_used: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), has_started: AtomicBool::new(false) }
    }

    /// Returns how old the revocations are that requests are checked against; zero without requests.
    pub fn lag(&self) -> Duration {
        let last = self.shared.last.borrow();
        let is_used = last.has_failed || self.shared.is_used.load(Ordering::Relaxed);
        let asked_at = last.known.asked_at.filter(|_| is_used);
        asked_at.map_or(Duration::ZERO, |asked_at| asked_at.elapsed())
    }

    /// Rejects revoked tokens, and tokens that were issued after more revocations than the database has.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Unauthenticated`] for these tokens, and
    /// [`crate::error::Kind::Unavailable`] if the revocations could not be read for some seconds.
    pub async fn check(&self, bearer: &Bearer) -> Result<()> {
        self.shared.is_used.store(true, Ordering::Relaxed);
        let mut known = self.shared.last.borrow().known.clone();
        if !known.is_younger_than(MAX_AGE) || is_ahead(bearer, &known) {
            known = self.wait(bearer).await?;
        }
        if is_ahead(bearer, &known) {
            return Err(rejected_of(
                &bearer.identity.subject,
                Reason::Database,
                "the token was issued after more revocations than the database has",
            ));
        }
        if known.all.has(bearer) {
            Err(rejected_of(&bearer.identity.subject, Reason::Revoked, "the token was revoked"))
        } else {
            Ok(())
        }
    }

    /// Waits for a read that ends from now on. If it fails or takes too long, returns the previous revocations, as
    /// long as they are recent enough.
    async fn wait(&self, bearer: &Bearer) -> Result<Known> {
        let called_at = Instant::now();
        let mut readings = self.shared.last.subscribe();
        let before = readings.borrow().known.clone();
        let is_usable = before.is_younger_than(GRACE) && !is_ahead(bearer, &before);
        self.start();
        self.shared.is_wanted.notify_one();
        let is_new = |reading: &Reading| {
            let is_ahead = !reading.has_failed && is_ahead(bearer, &reading.known);
            // A read that started before the token was issued cannot include its revocations.
            let since = if is_ahead { reading.known.asked_at } else { reading.ended_at };
            since.is_some_and(|since| since >= called_at)
        };
        let limit = if is_usable { SHORT_WAIT } else { LONG_WAIT };
        match tokio::time::timeout(limit, readings.wait_for(is_new)).await {
            Ok(Ok(reading)) if !reading.has_failed => Ok(reading.known.clone()),
            _ if is_usable => Ok(before),
            _ => Err(Error {
                detail: "cannot read the revoked tokens from the database; retry later".to_owned(),
                ..Error::unavailable("the last attempt to read revocations failed or timed out")
            }),
        }
    }

    /// Starts the reading task once.
    fn start(&self) {
        if !self.has_started.swap(true, Ordering::Relaxed) {
            tokio::spawn(keep_reading(Arc::downgrade(&self.shared)));
        }
    }
}

/// Reads revocations while there are requests, until the service ends.
async fn keep_reading(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        if !shared.is_used.swap(false, Ordering::Relaxed) {
            // The timeout lets the task notice that the service has ended.
            let _ = tokio::time::timeout(GRACE, shared.is_wanted.notified()).await;
            let has_failed = shared.last.borrow().has_failed;
            if !shared.is_used.swap(false, Ordering::Relaxed) && !has_failed {
                continue;
            }
        }
        let known = shared.read(Instant::now()).await;
        if known.is_err() && shared.store.is_closed() {
            // The service is stopping. There are no more requests.
            return;
        }
        shared.last.send_modify(|last| {
            last.ended_at = Some(Instant::now());
            let had_failed = std::mem::replace(&mut last.has_failed, known.is_err());
            match known {
                Ok(known) => last.known = known,
                Err(error) if !had_failed => {
                    tracing::warn!(
                        cause = error.cause,
                        "cannot read the revoked tokens from the database; requests with tokens fail \
                         after 5 s"
                    );
                }
                Err(_) => {}
            }
        });
        let _ = tokio::time::timeout(INTERVAL, shared.is_wanted.notified()).await;
    }
}

impl Shared {
    async fn read(&self, asked_at: Instant) -> Result<Known> {
        let known = self.last.borrow().known.clone();
        let revision = self.store.revocation_revision().await?;
        let asked_at = Some(asked_at);
        if known.asked_at.is_some() && revision == known.revision {
            return Ok(Known { asked_at, ..known });
        }
        // If the count went back, the database was restored from a backup. Read everything again.
        let is_newer = revision > known.revision;
        let (after, mut all) = match is_newer {
            true => (known.revision, All::clone(&known.all)),
            false => (0, All::default()),
        };
        let now = timestamp_now();
        all.tokens.retain(|_, expires_at| *expires_at > now);
        for revocation in self.store.revocations(after, now).await? {
            let at = revocation.revoked_at.timestamp();
            match revocation.what {
                Revoked::Token { id, expires_at } => {
                    all.tokens.insert(id, expires_at);
                }
                Revoked::Subject(subject) => {
                    all.subjects.insert(subject, (revocation.revision, at));
                }
            }
        }
        Ok(Known { asked_at, revision, all: Arc::new(all) })
    }
}
