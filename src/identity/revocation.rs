//! Tokens that are not accepted any more although they have not expired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::token::{CLOCK_SKEW, refused};
use super::{Bearer, IssuedAt};
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::store::{Revoked, Store};

/// How old what is known of revocations may be: then a revocation is effective everywhere that much
/// later.
const MAX_AGE: Duration = Duration::from_millis(500);

/// How old it may be while the database cannot say: then requests are 503.
const GRACE: Duration = Duration::from_secs(5);

/// How long after a reading the next one begins, as long as there are requests.
const INTERVAL: Duration = Duration::from_millis(300);

/// How long a request waits for a reading when what is known is older than it should be, and when it
/// cannot be used at all.
const SHORT_WAIT: Duration = Duration::from_millis(250);
const LONG_WAIT: Duration = Duration::from_secs(2);

/// Knows the revocations of the database, no older than half a second. One task reads them, for as long
/// as there are requests: a service without requests asks nothing of its database. No request reads by
/// itself, so that a database that does not respond keeps one task waiting and not all requests.
pub struct Revocations {
    shared: Arc<Shared>,
    has_started: AtomicBool,
}

struct Shared {
    store: Store,
    last: watch::Sender<Reading>,
    /// A request waits for a reading.
    is_wanted: Notify,
    /// There has been a request since the last reading.
    is_used: AtomicBool,
}

/// The last attempt to read.
#[derive(Clone, Default)]
struct Reading {
    known: Known,
    /// When the attempt ended.
    ended_at: Option<Instant>,
    has_failed: bool,
}

/// What is known, and since when.
#[derive(Clone, Default)]
struct Known {
    /// When the database began to be asked.
    asked_at: Option<Instant>,
    revision: i64,
    all: Arc<All>,
}

#[derive(Clone, Default)]
struct All {
    /// The ids of tokens, with when these would have expired.
    tokens: HashMap<String, DateTime<Utc>>,
    /// The last revocation of each subject: its number, and when it was, in seconds since 1970.
    subjects: HashMap<String, (i64, i64)>,
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < age)
    }
}

/// Whether the token was issued after more revocations than there have been: then the database has gone
/// back, or is another.
fn is_ahead(bearer: &Bearer, known: &Known) -> bool {
    matches!(bearer.issued, IssuedAt::Revision(issued) if issued > known.revision)
}

impl All {
    fn has(&self, bearer: &Bearer) -> bool {
        let by_token = bearer.token_id.as_ref().is_some_and(|id| self.tokens.contains_key(id));
        let by_subject =
            self.subjects.get(&bearer.identity.subject).is_some_and(|(revision, at)| match bearer
                .issued
            {
                IssuedAt::Revision(issued) => issued < *revision,
                // The whole skew that `iat` is accepted with: a smaller one would let tokens of an issuer
                // whose clock is ahead survive their revocation. The price is that a token issued within
                // this time after the revocation is rejected as well.
                IssuedAt::Time(issued) => issued <= at.saturating_add(CLOCK_SKEW.cast_signed()),
            });
        by_token || by_subject
    }
}

impl Revocations {
    /// Those of the database.
    pub fn new(store: &Store) -> Self {
        let shared = Shared {
            store: store.reserved(),
            last: watch::Sender::default(),
            is_wanted: Notify::new(),
            is_used: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), has_started: AtomicBool::new(false) }
    }

    /// Rejects a token that was revoked, and one that the database cannot have been asked for.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`]; [`crate::error::Kind::Unavailable`] when the database
    /// has not said for a while which are revoked.
    pub async fn check(&self, bearer: &Bearer) -> Result<()> {
        self.shared.is_used.store(true, Ordering::Relaxed);
        let mut known = self.shared.last.borrow().known.clone();
        if !known.is_younger_than(MAX_AGE) || is_ahead(bearer, &known) {
            known = self.wait(bearer).await?;
        }
        if is_ahead(bearer, &known) {
            return Err(refused("the database knows fewer revocations than it"));
        }
        if known.all.has(bearer) { Err(refused("it was revoked")) } else { Ok(()) }
    }

    /// Waits for a reading that ends from now on. If it fails or takes too long, what was known before
    /// will do for a few seconds.
    async fn wait(&self, bearer: &Bearer) -> Result<Known> {
        let called_at = Instant::now();
        let mut readings = self.shared.last.subscribe();
        let before = readings.borrow().known.clone();
        let will_do = before.is_younger_than(GRACE) && !is_ahead(bearer, &before);
        self.start();
        self.shared.is_wanted.notify_one();
        let is_new = |reading: &Reading| {
            let is_ahead = !reading.has_failed && is_ahead(bearer, &reading.known);
            // One that had begun before the token was issued says nothing of it.
            let since = if is_ahead { reading.known.asked_at } else { reading.ended_at };
            since.is_some_and(|since| since >= called_at)
        };
        let limit = if will_do { SHORT_WAIT } else { LONG_WAIT };
        match tokio::time::timeout(limit, readings.wait_for(is_new)).await {
            Ok(Ok(reading)) if !reading.has_failed => Ok(reading.known.clone()),
            _ if will_do => Ok(before),
            _ => Err(Error::unavailable("the revocations cannot be read")),
        }
    }

    /// Starts the task that reads, once.
    fn start(&self) {
        if !self.has_started.swap(true, Ordering::Relaxed) {
            tokio::spawn(read_on(Arc::downgrade(&self.shared)));
        }
    }
}

/// Reads for as long as there is somebody to read for.
async fn read_on(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        if !shared.is_used.swap(false, Ordering::Relaxed) {
            // Looks up now and then whether the service is still there.
            let _ = tokio::time::timeout(GRACE, shared.is_wanted.notified()).await;
            if !shared.is_used.swap(false, Ordering::Relaxed) {
                continue;
            }
        }
        let known = shared.read(Instant::now()).await;
        shared.last.send_modify(|last| {
            last.ended_at = Some(Instant::now());
            let had_failed = std::mem::replace(&mut last.has_failed, known.is_err());
            match known {
                Ok(known) => last.known = known,
                Err(error) if !had_failed => {
                    tracing::warn!(cause = error.cause, "the revocations cannot be read");
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
        // A database that has gone back is read from the beginning.
        let goes_on = revision > known.revision;
        let (after, mut all) = match goes_on {
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
