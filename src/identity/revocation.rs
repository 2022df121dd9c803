//! Tokens that are not accepted any more although they have not expired.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::token::{LEEWAY, refused};
use super::{Bearer, IssuedAt};
use crate::error::{Error, Result};
use crate::record::timestamp_now;
use crate::store::{Revoked, Store};

/// How old what is known of revocations may be: then a revocation is effective everywhere that much
/// later.
const MAX_AGE: Duration = Duration::from_millis(500);

/// Knows the revocations of the database, no older than [`MAX_AGE`]. It reads them when somebody asks:
/// a service that nobody calls asks nothing of its database.
pub struct Revocations {
    store: Store,
    known: RwLock<Known>,
    /// When the last reading ended, and whether it failed. Whoever holds it reads.
    reading: Mutex<Option<(Instant, bool)>>,
}

/// What is known, and since when.
#[derive(Clone, Default)]
struct Known {
    /// When the database began to be asked.
    asked_at: Option<Instant>,
    revision: i64,
    all: Arc<All>,
}

#[derive(Default)]
struct All {
    tokens: HashSet<String>,
    /// The last revocation of each subject: its number, and when it was, in seconds since 1970.
    subjects: HashMap<String, (i64, i64)>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < MAX_AGE)
    }
}

impl All {
    fn has(&self, bearer: &Bearer) -> bool {
        let by_token = bearer.token_id.as_ref().is_some_and(|id| self.tokens.contains(id));
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

    /// Refuses a token that was revoked.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`]; the database's, when it cannot say.
    pub async fn check(&self, bearer: &Bearer) -> Result<()> {
        let mut known = self.known();
        if !known.is_fresh() {
            self.read().await?;
            known = self.known();
        }
        if known.all.has(bearer) { Err(refused("it was revoked")) } else { Ok(()) }
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the revocations, unless somebody else has done so since this was called.
    async fn read(&self) -> Result<()> {
        let called_at = Instant::now();
        let mut last = self.reading.lock().await;
        if let Some((ended_at, has_failed)) = *last
            && ended_at > called_at
        {
            return match has_failed {
                true => Err(Error::unavailable("the revocations could not be read")),
                false => Ok(()),
            };
        }
        let known = self.read_anew().await;
        *last = Some((Instant::now(), known.is_err()));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known?;
        Ok(())
    }

    async fn read_anew(&self) -> Result<Known> {
        let asked_at = Some(Instant::now());
        let known = self.known();
        let revision = self.store.revocation_revision().await?;
        if known.asked_at.is_some() && revision == known.revision {
            return Ok(Known { asked_at, ..known });
        }
        let mut all = All::default();
        for revocation in self.store.revocations(timestamp_now()).await? {
            let at = revocation.revoked_at.timestamp();
            match revocation.what {
                Revoked::Token { id, .. } => {
                    all.tokens.insert(id);
                }
                Revoked::Subject(subject) => {
                    all.subjects.insert(subject, (revocation.revision, at));
                }
            }
        }
        Ok(Known { asked_at, revision, all: Arc::new(all) })
    }
}
