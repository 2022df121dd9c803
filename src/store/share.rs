//! Limits on how much of the database one subject may use at a time, so that the heavy requests of one user do
//! not delay others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_WAITING;
use crate::error::{Error, Kind, Result, retry_after};

/// The number of entries from which on those of subjects without a running request are removed.
const SWEEP_FROM: usize = 1024;

/// The statements of one subject that may run at the same time.
#[derive(Debug, Clone)]
pub(super) struct Share {
    running: Arc<Semaphore>,
    most: usize,
    /// Limits how many requests of all subjects wait.
    waiting: Arc<Semaphore>,
}

impl Share {
    /// Waits until the subject may run another statement.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if its other statements take longer than `limit`, or if too many requests
    /// wait.
    pub(super) async fn enter(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let exhausted = || {
            let detail = format!(
                "{} database statements of this user are running (limit); send fewer requests at a time",
                self.most
            );
            Error { detail, ..Error::unavailable("the limit of statements per subject is reached") }
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| exhausted())?;
        match tokio::time::timeout(limit, self.running.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(Error::internal),
            Err(_) => Err(exhausted()),
        }
    }
}

/// The shares of all subjects with running requests.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    waiting: Arc<Semaphore>,
    of: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Shares {
    /// Creates shares of at most `most` running statements per subject.
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Arc::new(Semaphore::new(MAX_WAITING)), of: Mutex::default() }
    }

    /// Returns the share of a subject.
    pub(super) fn of(&self, subject: &str) -> Share {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = all.get(subject).and_then(Weak::upgrade) {
            return self.share(running);
        }
        if all.len() >= SWEEP_FROM {
            all.retain(|_, running| running.strong_count() > 0);
        }
        let running = Arc::new(Semaphore::new(self.most));
        all.insert(subject.to_owned(), Arc::downgrade(&running));
        self.share(running)
    }

    fn share(&self, running: Arc<Semaphore>) -> Share {
        Share { running, most: self.most, waiting: self.waiting.clone() }
    }
}

/// Limits long-running work, such as exports: its number in total, and per subject.
#[derive(Debug)]
pub(super) struct Places {
    what: &'static str,
    all: Arc<Semaphore>,
    most: usize,
    shares: Shares,
}

/// A place for long-running work. Dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_subject: OwnedSemaphorePermit,
}

impl Places {
    /// Creates `most` places, of which one subject may have `of_subject`. `what` names the work, in the plural.
    pub(super) fn new(what: &'static str, most: usize, of_subject: usize) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self { what, all, most, shares: Shares::new(of_subject) }
    }

    /// Returns how many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.most.saturating_sub(self.all.available_permits())
    }

    /// Takes a place without waiting, because places may be taken for minutes.
    ///
    /// # Errors
    /// Returns [`Kind::TooManyRequests`] if the subject has reached its limit, and [`Kind::Unavailable`] if all
    /// places are taken.
    pub(super) fn enter(&self, subject: &str) -> Result<Place> {
        let share = self.shares.of(subject);
        let retry_after = Some(retry_after(2));
        let of_subject = share.running.try_acquire_owned().map_err(|_| {
            let detail = format!(
                "{} {} of this user are running (limit); retry when one has ended",
                share.most, self.what
            );
            Error { retry_after, ..Error::new(Kind::TooManyRequests, detail) }
        })?;
        let of_all = self.all.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{} {} are running (limit); retry later", self.most, self.what);
            Error {
                detail,
                retry_after,
                ..Error::unavailable("the limit of imports or exports is reached")
            }
        })?;
        Ok(Place { _of_all: of_all, _of_subject: of_subject })
    }
}
