//! Limits on how much of the database one subject may use at a time, so that the heavy requests of one user do
//! not delay others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_WAITING;
use crate::error::{Error, Kind, Result, retry_after};

/// The number of entries from which on those of subjects without a running request are removed.
const SWEEP_FROM: usize = 1024;

/// The statements of one subject, or of one visitor, that may run at the same time.
#[derive(Debug, Clone)]
pub(super) struct Share {
    running: Arc<Semaphore>,
    most: usize,
    /// Whose share it is, for messages.
    whose: &'static str,
    /// Limits how many requests wait, of all subjects or of all visitors.
    waiting: Arc<Semaphore>,
    /// The share of all visitors, in which that of a visitor is.
    within: Option<Box<Share>>,
}

/// What a running statement or a transfer takes of a share.
#[derive(Debug)]
pub(super) struct Permit {
    _own: OwnedSemaphorePermit,
    _within: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Waits until the subject may run another statement.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if its other statements take longer than `limit`, or if too many requests
    /// wait.
    pub(super) async fn enter(&self, limit: Duration) -> Result<Permit> {
        // The own share first: a visitor who has to wait holds nothing of the others.
        let own = self.enter_one(limit).await?;
        let within = match &self.within {
            Some(within) => Some(within.enter_one(limit).await?),
            None => None,
        };
        Ok(Permit { _own: own, _within: within })
    }

    async fn enter_one(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let exhausted = || {
            let detail = format!(
                "{} database statements {} are running (limit); send fewer requests at a time",
                self.most, self.whose
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
    subjects: Group,
    visitors: Group,
}

impl Shares {
    /// Creates shares of at most `most` running statements per subject. If many visitors share a subject, each may have
    /// one less, so that one of them never has the whole share.
    pub(super) fn new(most: usize) -> Self {
        let of_visitor = most.saturating_sub(1).max(1);
        Self {
            subjects: Group::new(most, "of this user"),
            visitors: Group::new(of_visitor, "from this IP address"),
        }
    }

    /// Returns the share of a subject.
    pub(super) fn of(&self, subject: &str) -> Share {
        self.subjects.of(subject)
    }

    /// Returns the share of a visitor, within that of the subject of all visitors. They wait apart from users, so a flood of
    /// them leaves users their places.
    pub(super) fn of_visitor(&self, subject: &str, network: IpAddr) -> Share {
        let waiting = self.visitors.waiting.clone();
        let whose = "of callers without a token";
        let within = Share { waiting, whose, ..self.subjects.of(subject) };
        Share { within: Some(Box::new(within)), ..self.visitors.of(&network.to_string()) }
    }
}

/// Shares of the same size, by name.
#[derive(Debug)]
struct Group {
    most: usize,
    whose: &'static str,
    waiting: Arc<Semaphore>,
    of: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Group {
    fn new(most: usize, whose: &'static str) -> Self {
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        Self { most, whose, waiting, of: Mutex::default() }
    }

    fn of(&self, name: &str) -> Share {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = all.get(name).and_then(Weak::upgrade) {
            return self.share(running);
        }
        if all.len() >= SWEEP_FROM {
            all.retain(|_, running| running.strong_count() > 0);
        }
        let running = Arc::new(Semaphore::new(self.most));
        all.insert(name.to_owned(), Arc::downgrade(&running));
        self.share(running)
    }

    fn share(&self, running: Arc<Semaphore>) -> Share {
        let (most, whose, waiting) = (self.most, self.whose, self.waiting.clone());
        Share { running, most, whose, waiting, within: None }
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
    _of_subject: Permit,
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

    /// Takes a place without waiting, because places may be taken for minutes. `visitor` is the network of one of the callers
    /// that share the subject.
    ///
    /// # Errors
    /// Returns [`Kind::TooManyRequests`] if the subject has reached its limit, and [`Kind::Unavailable`] if all
    /// places are taken.
    pub(super) fn enter(&self, subject: &str, visitor: Option<IpAddr>) -> Result<Place> {
        let share = match visitor {
            Some(network) => self.shares.of_visitor(subject, network),
            None => self.shares.of(subject),
        };
        let retry_after = Some(retry_after(2));
        let enter = |share: &Share| {
            share.running.clone().try_acquire_owned().map_err(|_| {
                let detail = format!(
                    "{} {} {} are running (limit); retry when one has ended",
                    share.most, self.what, share.whose
                );
                Error { retry_after, ..Error::new(Kind::TooManyRequests, detail) }
            })
        };
        let own = enter(&share)?;
        let within = share.within.as_deref().map(enter).transpose()?;
        let of_subject = Permit { _own: own, _within: within };
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
