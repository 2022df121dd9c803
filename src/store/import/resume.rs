//! Imports with an idempotency key: what was committed is stored with each commit, so a retry of an import that was
//! interrupted continues after it, and a retry of one that has ended gets its response.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Tally;
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::query::Value;
use crate::record::Draft;
use crate::store::idempotency::{
    IdempotencyKey, Once, Reply, Slot, Stored, ToReply, in_use, reused,
};
use crate::store::transaction::{End, Failure, Transaction, Work};

/// How long an import that does not commit anything keeps others with its key from continuing it, in seconds. An
/// instance that was killed cannot say so.
const LEASE: u32 = 10;

/// How to import a file once: the key, and the response to the outcome.
pub struct KeyedImport {
    /// The key. Its fingerprint is about the request without the file.
    pub key: IdempotencyKey,
    /// Returns a hash of the file, which has been read to its end.
    pub digest: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Returns the response to store, or `None` if the import has changed nothing because of an error.
    pub reply: ToReply<Tally>,
}

/// An import with a key, by one request.
pub(super) struct Run {
    id: Uuid,
    subject: String,
    kept: TimeDelta,
    keyed: KeyedImport,
}

/// What was committed for a key.
#[derive(Serialize, Deserialize)]
struct Progress {
    /// The latest [`Run`]. Only this one may commit more.
    run: Uuid,
    /// When another one may continue.
    until: DateTime<Utc>,
    /// The records that were committed.
    passed: Passed,
    /// What became of them.
    tally: Tally,
}

/// The first records of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Passed {
    /// Their number.
    records: u64,
    /// A hash of them.
    hash: Vec<u8>,
}

impl Passed {
    fn add(&mut self, line: u64, draft: &Draft) {
        let mut hash = Sha256::new();
        hash.update(&self.hash);
        hash.update(line.to_be_bytes());
        for (field, value) in draft.row() {
            // U+0000 is not in a text, so no two rows give the same bytes.
            hash.update(field.name);
            hash.update([0, u8::from(value.is_some())]);
            hash.update(value.as_ref().map(Value::to_string).unwrap_or_default());
            hash.update([0]);
        }
        self.records += 1;
        self.hash = hash.finalize().to_vec();
    }
}

/// What a transaction of an import finds for its key.
pub(super) enum Entry {
    /// The import has ended before.
    Ended(Stored),
    /// It has not.
    Open(Open),
}

/// The state of an import in a transaction.
pub(super) struct Open {
    progress: Option<Progress>,
}

impl Open {
    /// Returns the rows that are not committed yet.
    ///
    /// # Errors
    /// [`crate::error::Kind::IdempotencyKeyReused`] if the rows before them are others than the committed ones.
    pub(super) fn fresh<'r>(
        &self,
        passed: &mut Passed,
        rows: &'r [(u64, Draft)],
    ) -> Result<&'r [(u64, Draft)]> {
        let mut known = 0;
        for (line, draft) in rows {
            passed.add(*line, draft);
            if let Some(Progress { passed: committed, .. }) = &self.progress
                && passed.records <= committed.records
            {
                known += 1;
                if passed.records == committed.records && passed != committed {
                    return Err(reused());
                }
            }
        }
        Ok(rows.get(known..).unwrap_or_default())
    }
}

impl Run {
    pub(super) fn new(keyed: KeyedImport, subject: String, kept: TimeDelta) -> Self {
        Self { id: Uuid::now_v7(), subject, kept, keyed }
    }

    fn slot(&self) -> Slot<'_> {
        let Self { subject, kept, keyed, .. } = self;
        Slot { subject, key: &keyed.key, kept: *kept, now: timestamp_now() }
    }

    /// Looks up what was committed. `passed` are the records before those of this transaction.
    ///
    /// # Errors
    /// [`crate::error::Kind::IdempotencyKeyInUse`] if another run is importing;
    /// [`crate::error::Kind::IdempotencyKeyReused`] if the key was sent with another request.
    pub(super) async fn enter(
        &self,
        transaction: &mut Transaction<'_>,
        passed: &Passed,
    ) -> std::result::Result<Entry, Failure> {
        let slot = self.slot();
        let is_first = passed.records == 0;
        let Some(stored) = slot.enter(transaction).await? else {
            // Without its progress, a later transaction does not know what is written.
            return if is_first {
                Ok(Entry::Open(Open { progress: None }))
            } else {
                Err(in_use(1).into())
            };
        };
        let Some(progress) = &stored.progress else {
            return if is_first { Ok(Entry::Ended(stored)) } else { Err(in_use(1).into()) };
        };
        if stored.fingerprint != self.keyed.key.fingerprint {
            return Err(reused().into());
        }
        let progress: Progress = serde_json::from_str(progress).map_err(Error::internal)?;
        let left = (progress.until - slot.now).num_seconds();
        if progress.run != self.id && (!is_first || left > 0) {
            return Err(in_use(u32::try_from(left).unwrap_or(0) + 1).into());
        }
        Ok(Entry::Open(Open { progress: Some(progress) }))
    }

    /// Stores what this transaction commits: the records up to `passed`. Returns the response, if it is the last one.
    ///
    /// # Errors
    /// [`crate::error::Kind::IdempotencyKeyReused`] if the file has ended before the records that were committed.
    pub(super) async fn leave(
        &self,
        transaction: &mut Transaction<'_>,
        open: Open,
        passed: &Passed,
        written: Tally,
        is_last: bool,
    ) -> std::result::Result<Once<Tally>, Failure> {
        let slot = self.slot();
        let is_stored = open.progress.is_some();
        let (mut tally, mut passed) = (written, passed.clone());
        if let Some(earlier) = open.progress {
            if earlier.passed.records > passed.records {
                if is_last {
                    return Err(reused().into());
                }
                passed = earlier.passed;
            }
            let written = std::mem::replace(&mut tally, earlier.tally);
            tally.add(written);
        }
        let stored = if is_last {
            let Some(reply) = (self.keyed.reply)(&tally)? else {
                slot.clear(transaction).await?;
                return Ok(Once::Unkeyed(tally));
            };
            Stored { fingerprint: self.whole(), reply: Some(reply), progress: None }
        } else {
            let until = slot.now + TimeDelta::seconds(LEASE.into());
            let progress = Progress { run: self.id, until, passed, tally };
            let progress = serde_json::to_string(&progress).map_err(Error::internal)?;
            let fingerprint = self.keyed.key.fingerprint.clone();
            Stored { fingerprint, reply: None, progress: Some(progress) }
        };
        match is_stored {
            true => slot.replace(transaction, &stored).await?,
            false => slot.store(transaction, &stored).await?,
        }
        Ok(stored.reply.map_or(Once::Unkeyed(Tally::default()), Once::Stored))
    }

    /// Returns the response of an import that has ended, to a request that has been read.
    ///
    /// # Errors
    /// [`crate::error::Kind::IdempotencyKeyReused`] if that was another request.
    pub(super) fn replay(&self, stored: Stored) -> Result<Reply> {
        match stored.reply {
            Some(reply) if stored.fingerprint == self.whole() => Ok(reply),
            _ => Err(reused()),
        }
    }

    /// Returns a hash of the request with its file.
    fn whole(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(&self.keyed.key.fingerprint);
        hash.update((self.keyed.digest)());
        hash.finalize().to_vec()
    }
}

/// Lets other requests continue an import that was interrupted.
pub(super) struct Release(pub(super) Run);

impl Work for Release {
    type Output = ();

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<()>, Failure> {
        let slot = self.0.slot();
        let Some(stored) = slot.enter(transaction).await? else { return Ok(End::RollBack(())) };
        let Some(progress) = &stored.progress else { return Ok(End::RollBack(())) };
        let progress: Progress = serde_json::from_str(progress).map_err(Error::internal)?;
        if progress.run != self.0.id {
            return Ok(End::RollBack(()));
        }
        let progress = Progress { until: slot.now, ..progress };
        let progress = serde_json::to_string(&progress).map_err(Error::internal)?;
        slot.replace(transaction, &Stored { progress: Some(progress), ..stored }).await?;
        Ok(End::Commit(()))
    }
}
