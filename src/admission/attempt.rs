//! Attempts: what may fail, and counts towards its limit only then.
//!
//! An attempt is charged before it is decided: otherwise parallel guesses would all pass before the first
//! failure is recorded. A success refunds the charge. So a limit may be exhausted merely because of
//! attempts that are still undecided; further attempts then wait for these instead of being rejected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Admission, Decision, Policy};

/// How many attempts may wait at a time; further ones are rejected.
pub(super) const MAX_WAITING: usize = 64;

/// How long an attempt waits for others to be decided.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How often a waiting attempt asks again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// After this time an attempt that was never settled, as when its client disconnected, no longer makes
/// others wait. Its charge remains.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It failed: the charge remains.
    Failure,
    /// It did not fail: the charge is refunded.
    Success,
}

impl Admission {
    /// Charges an attempt, which [`Admission::settle`] then settles. While the limit is exhausted because of
    /// undecided attempts, waits for them: at most 5 seconds, and at most 64 attempts at a time. Returns
    /// nothing where there is no limit.
    pub async fn attempt(&self, policy: Policy, key: &str) -> Option<Decision> {
        let deadline = Instant::now() + MAX_WAIT;
        let mut place = None;
        loop {
            let decision = self.admit(policy, key).await?;
            if decision.is_admitted || decision.undecided == 0 || Instant::now() >= deadline {
                return Some(decision);
            }
            if place.is_none() {
                place = self.waiting.try_acquire().ok();
            }
            if place.is_none() {
                return Some(decision);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

/// How many attempts of each key are charged and not yet settled.
#[derive(Default)]
pub(super) struct Undecided(Mutex<HashMap<(Policy, String), Count>>);

struct Count {
    attempts: u32,
    forgotten_at: Instant,
}

impl Undecided {
    /// Charges and counts in one step, so that no other attempt sees the one without the other.
    pub(super) fn count(
        &self,
        policy: Policy,
        key: &str,
        charge: impl FnOnce() -> Option<Decision>,
    ) -> Option<Decision> {
        let now = Instant::now();
        let mut counts = self.lock();
        let decision = charge()?;
        counts.retain(|_, count| count.forgotten_at > now);
        let key = (policy, key.to_owned());
        if decision.is_admitted {
            let count = counts.entry(key).or_insert(Count { attempts: 0, forgotten_at: now });
            count.attempts = count.attempts.saturating_add(1);
            count.forgotten_at = now + FORGOTTEN_AFTER;
            return Some(decision);
        }
        let undecided = counts.get(&key).map_or(0, |count| count.attempts);
        Some(Decision { undecided, ..decision })
    }

    pub(super) fn settle(&self, policy: Policy, key: &str) {
        let mut counts = self.lock();
        let key = (policy, key.to_owned());
        if let Some(count) = counts.get_mut(&key) {
            count.attempts = count.attempts.saturating_sub(1);
            if count.attempts == 0 {
                counts.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Policy, String), Count>> {
        // Each change leaves the map whole, wherever it might panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
