//! Tokens that are not accepted any more although they have not expired.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::token::{LEEWAY, refused};
use super::{Bearer, IssuedAt};
use crate::error::{Error, Result};
use crate::record::timestamp_now;
use crate::store::{Revoked, Store};

/// How old what is known of revocations may be: then a revocation is effective everywhere that much
/// later.
const MAX_AGE: Duration = Duration::from_millis(500);

/// Knows the revocations of the database, no older than half a second. It reads them when somebody asks:
/// a service that nobody calls asks nothing of its database.
pub struct Revocations {
    store: Store,
    known: RwLock<Known>,
    /// The last reading. Whoever holds it reads.
    reading: Mutex<Option<Reading>>,
}

/// What is known, and since when.
#[derive(Clone, Default)]
struct Known {
    /// When the database began to be asked.
    asked_at: Option<Instant>,
    revision: i64,
    all: Arc<All>,
}

struct Reading {
    asked_at: Instant,
    ended_at: Instant,
    has_failed: bool,
}

#[derive(Clone, Default)]
struct All {
    /// The ids of tokens, with when these would have expired.
    tokens: HashMap<String, DateTime<Utc>>,
    /// The last revocation of each subject: its number, and when it was, in seconds since 1970.
    subjects: HashMap<String, (i64, i64)>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < MAX_AGE)
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
                IssuedAt::Time(issued) => issued <= at.saturating_add(LEEWAY.cast_signed()),
            });
        by_token || by_subject
    }
}

impl Revocations {
    /// Those of the database.
    pub fn new(store: Store) -> Self {
        Self { store, known: RwLock::default(), reading: Mutex::default() }
    }

    /// Refuses a token that was revoked, and one that the database cannot have been asked for.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`]; the database's, when it cannot say.
    pub async fn check(&self, bearer: &Bearer) -> Result<()> {
        let mut known = self.known();
        if !known.is_fresh() || is_ahead(bearer, &known) {
            self.read().await?;
            known = self.known();
        }
        if is_ahead(bearer, &known) {
            return Err(refused("the database knows fewer revocations than it"));
        }
        if known.all.has(bearer) { Err(refused("it was revoked")) } else { Ok(()) }
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the revocations, unless somebody has done so since this was called, or has begun to not long
    /// before.
    async fn read(&self) -> Result<()> {
        let called_at = Instant::now();
        let mut last = self.reading.lock().await;
        if let Some(last) = &*last
            && last.ended_at > called_at
        {
            if last.has_failed {
                return Err(Error::unavailable("the revocations could not be read"));
            }
            if called_at.saturating_duration_since(last.asked_at) < MAX_AGE {
                return Ok(());
            }
        }
        let asked_at = Instant::now();
        let known = self.read_anew(asked_at).await;
        let has_failed = known.is_err();
        *last = Some(Reading { asked_at, ended_at: Instant::now(), has_failed });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known?;
        Ok(())
    }

    async fn read_anew(&self, asked_at: Instant) -> Result<Known> {
        let known = self.known();
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
