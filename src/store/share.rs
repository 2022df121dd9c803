//! How much of the database one subject may use at a time, so that nobody's heavy requests keep
//! others waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_WAITING;
use crate::error::{Error, Kind, Result, retry_after};

/// From so many entries on, those of subjects without a running request are removed.
const SWEEP_FROM: usize = 1024;

/// The statements of one subject that may run at the same time.
#[derive(Debug, Clone)]
pub(super) struct Share {
    running: Arc<Semaphore>,
    most: usize,
    /// Who may wait, of all subjects.
    waiting: Arc<Semaphore>,
}

impl Share {
    /// Waits until the subject may run another statement.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when its own statements take too long.
    pub(super) async fn enter(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let exhausted = || {
            let detail = format!(
                "you have {} statements running, which is the limit; send fewer requests at a time",
                self.most
            );
            Error { detail, ..Error::unavailable("the share of a subject is exhausted") }
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| exhausted())?;
        match tokio::time::timeout(limit, self.running.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(Error::internal),
            Err(_) => Err(exhausted()),
        }
    }
}

/// The shares of the subjects that have requests.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    waiting: Arc<Semaphore>,
    of: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Shares {
    /// No subject has more than so many statements running.
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Arc::new(Semaphore::new(MAX_WAITING)), of: Mutex::default() }
    }

    /// The share of a subject.
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

/// Places for work that takes long, such as exports: so many in all, and so many of each subject.
#[derive(Debug)]
pub(super) struct Places {
    what: &'static str,
    all: Arc<Semaphore>,
    most: usize,
    shares: Shares,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_subject: OwnedSemaphorePermit,
}

impl Places {
    /// `what` names the work, in the plural.
    pub(super) fn new(what: &'static str, most: usize, of_subject: usize) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self { what, all, most, shares: Shares::new(of_subject) }
    }

    /// A place. It does not wait for one, because places may be taken for minutes.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] when the subject has as many as one may have;
    /// [`Kind::Unavailable`] when all are taken.
    pub(super) fn enter(&self, subject: &str) -> Result<Place> {
        let share = self.shares.of(subject);
        let retry_after = Some(retry_after(2));
        let of_subject = share.running.try_acquire_owned().map_err(|_| {
            let detail = format!(
                "you have {} {} running, which is the limit; retry when one has ended",
                share.most, self.what
            );
            Error { retry_after, ..Error::new(Kind::TooManyRequests, detail) }
        })?;
        let of_all = self.all.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{} {} are running; retry later", self.most, self.what);
            Error { detail, retry_after, ..Error::unavailable("the limit of transfers is reached") }
        })?;
        Ok(Place { _of_all: of_all, _of_subject: of_subject })
    }
}
