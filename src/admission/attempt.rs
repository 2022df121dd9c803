//! Attempts, which count towards their limit only if they fail.
//!
//! An attempt is charged before its outcome is known: otherwise parallel guesses would all pass before the first
//! failure is recorded. A success refunds the charge. So undecided attempts alone can exhaust a limit. Further
//! attempts then wait for them instead of being rejected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Admission, Decision, Policy};

/// The maximum number of waiting attempts. Further attempts are rejected.
pub(super) const MAX_WAITING: usize = 64;

/// How long an attempt waits for others to be settled.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How often a waiting attempt retries.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// After this time, attempts no longer wait for one that was never settled, for example because its client
/// disconnected. Its charge remains.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt failed: the charge remains.
    Failure,
    /// The attempt succeeded: the charge is refunded.
    Success,
}

impl Admission {
    /// Charges an attempt; the caller must call [`Admission::settle`] with its outcome. Waits while undecided
    /// attempts exhaust the limit, for at most 5 seconds and with at most 64 waiting attempts. Returns `None` if
    /// the policy has no limit.
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

/// The number of attempts of each key that are charged and not yet settled.
#[derive(Default)]
pub(super) struct Undecided(Mutex<HashMap<(Policy, String), Count>>);

struct Count {
    attempts: u32,
    forgotten_at: Instant,
}

impl Undecided {
    /// Charges and counts an attempt in one step, so that no other attempt sees only one of the two.
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
        // A poisoned lock can be used: the map is consistent after each change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
