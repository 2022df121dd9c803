//! Rate limits of one process, with the crate `governor`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::{Decision, Limit, Limits, Policy};

/// The number of keys from which on keys with their whole limit available are removed.
const SWEPT_FROM: usize = 1024;

/// The limits of each policy that has one.
pub(super) struct Local(HashMap<Policy, Limiter>);

struct Limiter {
    limit: Limit,
    cells: Cells,
    governor: RateLimiter<String, Cells, MonotonicClock, StateInformationMiddleware>,
}

/// The arrival time of each key. This store is our own, so that decisions of Redis can be written to it and
/// charges can be refunded.
#[derive(Clone)]
struct Cells {
    /// The origin of all arrival times.
    epoch: Instant,
    map: Arc<Mutex<Map>>,
}

struct Map {
    cells: HashMap<String, Cell>,
    /// The number of keys that triggers the next sweep.
    swept_from: usize,
}

#[derive(Clone, Copy)]
struct Cell {
    arrival: Nanos,
    /// The number of the connection to Redis that reported this; 0 if this process counted.
    link: u64,
}

impl Cells {
    fn new() -> Self {
        let map = Map { cells: HashMap::new(), swept_from: SWEPT_FROM };
        Self { epoch: Instant::now(), map: Arc::new(Mutex::new(map)) }
    }

    fn now(&self) -> Nanos {
        self.epoch.elapsed().into()
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        // A poisoned lock can be used: the map is consistent after each change.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn insert(&mut self, key: &str, cell: Cell, now: Nanos) {
        if self.cells.len() >= self.swept_from {
            // An arrival time in the past is equivalent to none.
            self.cells.retain(|_, cell| cell.arrival > now);
            self.swept_from = SWEPT_FROM.max(self.cells.len().saturating_mul(2));
        }
        self.cells.insert(key.to_owned(), cell);
    }
}

impl StateStore for Cells {
    type Key = String;

    fn measure_and_replace<T, F, E>(&self, key: &String, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let now = self.now();
        let mut map = self.lock();
        let known = map.cells.get(key).map(|cell| cell.arrival);
        let (outcome, arrival) = decide(known)?;
        // Link 0 marks the count as local: Redis learns of it with the next request after it is back.
        map.insert(key, Cell { arrival, link: 0 }, now);
        Ok(outcome)
    }
}

impl Limiter {
    fn new(limit: Limit, cells: Cells) -> Option<Self> {
        let quota = Quota::with_period(limit.interval())?.allow_burst(limit.requests);
        let governor = RateLimiter::new(quota, cells.clone(), MonotonicClock);
        Some(Self { limit, cells, governor })
    }
}

impl Local {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut buckets: HashMap<&str, Cells> = HashMap::new();
        let limiter = |policy: &Policy| {
            let cells = buckets.entry(policy.bucket()).or_insert_with(Cells::new).clone();
            Some((*policy, Limiter::new(limits.of(*policy)?, cells)?))
        };
        Self(Policy::ALL.iter().filter_map(limiter).collect())
    }

    /// Counts a request as several: once per instance, because each instance may admit as many requests.
    pub(super) fn admit(&self, policy: Policy, key: &str, cells: u32) -> Option<Decision> {
        let Limiter { limit, governor, .. } = self.0.get(&policy)?;
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN).min(limit.requests);
        // The first error means more cells than the limit, which `min` rules out.
        let (is_admitted, remaining, wait) =
            match governor.check_key_n(&key.to_owned(), cells).ok()? {
                Ok(state) => (true, state.remaining_burst_capacity(), Duration::ZERO),
                Err(rejected) => (false, 0, rejected.wait_time_from(MonotonicClock.now())),
            };
        let used = limit.requests.get().saturating_sub(remaining);
        let reset = limit.interval().saturating_mul(used);
        let remaining = remaining / cells;
        let counted = Some(cells);
        let (limit, undecided) = (*limit, 0);
        Some(Decision { policy, limit, is_admitted, counted, remaining, undecided, wait, reset })
    }

    /// Refunds a request that was counted as `counted` requests.
    pub(super) fn refund(&self, policy: Policy, key: &str, counted: NonZeroU32) {
        let Some(Limiter { limit, cells, .. }) = self.0.get(&policy) else { return };
        if let Some(cell) = cells.lock().cells.get_mut(key) {
            let interval = limit.interval().saturating_mul(counted.get());
            let interval = Nanos::from(interval).as_u64();
            cell.arrival = cell.arrival.as_u64().saturating_sub(interval).into();
        }
    }

    /// Stores what Redis reported over a connection: how far ahead the arrival time is.
    pub(super) fn write(&self, policy: Policy, key: &str, ahead: Duration, link: u64) {
        let Some(Limiter { cells, .. }) = self.0.get(&policy) else { return };
        let now = cells.now();
        let arrival = now + Nanos::from(ahead);
        cells.lock().insert(key, Cell { arrival, link }, now);
    }

    /// Returns how far ahead the arrival time is, or zero if this connection to Redis reported it. Otherwise Redis
    /// may not know it: it may have lost its data, or this process counted alone.
    pub(super) fn ahead(&self, policy: Policy, key: &str, link: u64) -> Duration {
        let Some(Limiter { cells, .. }) = self.0.get(&policy) else { return Duration::ZERO };
        let now = cells.now();
        let cell = cells.lock().cells.get(key).copied();
        cell.filter(|cell| cell.link != link).map_or(Duration::ZERO, |cell| {
            Duration::from_nanos(cell.arrival.as_u64().saturating_sub(now.as_u64()))
        })
    }
}
