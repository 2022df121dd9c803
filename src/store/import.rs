//! Imports: writes of many records, in one transaction or in one per thousand records.

mod preview;
mod resume;
mod rows;

use std::time::Duration;

use poem_openapi::Enum;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use self::resume::KeyedImport;
use self::resume::{Entry, Open, Passed, Release, Run};
use self::rows::{Lines, Writer};
use super::failure::{Attempts, is_lock_timeout};
use super::idempotency::{Once, Stored};
use super::journal::Origin;
use super::lease::{Lease, Parts};
use super::pool::Pool;
use super::postgres::IMPORT_LOCK_TIMEOUT;
use super::transaction::{Begin, Failure, Transaction};
use super::{Engine, Store, TRANSFER_QUEUE, TRANSFER_STATEMENT, plain};
use crate::error::{Error, Result, Violation, retry_after};
use crate::query::{Dialect, Schema};
use crate::record::Draft;
use crate::telemetry::account;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::{IMPORT, METRICS};

/// The number of records between two commits, for imports that commit before their end.
const BATCH: usize = 1000;

/// The maximum number of listed lines. Further lines are only counted.
pub const MAX_LISTED: usize = 100;

/// How long an import waits for its next turn once it has written something. Other imports of this process write
/// a batch or their whole file meanwhile.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an import waits for its first turn. It is short: nothing is written yet, so the client can retry.
const FIRST_TURN_TIMEOUT: Duration = Duration::from_secs(1);

/// The advisory lock of imports in PostgreSQL: "imports!" as a number.
const ADVISORY_LOCK: i64 = 0x696d_706f_7274_7321;

/// The detail for an import that waited for another one, of this instance or of another.
const WAITED_FOR_IMPORT: &str = "timed out waiting for another import; retry later";

/// What to do if a record with the same natural key exists: `fail` writes nothing, `skip` keeps the existing
/// record, `update` sets the fields that the row or the body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Deserialize)]
#[oai(rename = "OnConflict", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Import nothing, not even other records.
    #[default]
    Fail,
    /// Keep the existing record.
    Skip,
    /// Set the fields that the row has, and keep the others.
    Update,
}

impl Conflict {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Skip, Self::Update];

    /// Returns the name of the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Update => "update",
        }
    }
}

/// A message to an import.
#[derive(Debug)]
pub enum Message {
    /// A record, and its line in the file.
    Record(u64, Draft),
    /// The end of the file: commit. If the channel closes without it, the open transaction is rolled back.
    End,
    /// The end of a file with invalid rows: report conflicts and, under [`Conflict::Fail`], roll back.
    RollBack,
}

/// The committed outcome of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The number of created records.
    pub inserted: u64,
    /// The number of overwritten records.
    pub updated: u64,
    /// The number of existing records that were kept, or that have the values of their row already.
    pub skipped: u64,
    /// The number of records whose natural key exists, under [`Conflict::Fail`], or another unique key.
    pub conflicting: u64,
    /// The first [`MAX_LISTED`] of these, by line.
    pub conflicts: Vec<Violation>,
    /// Under [`Conflict::Skip`], the first [`MAX_LISTED`] rows whose record exists, by line.
    #[serde(default)]
    pub existing: Vec<Violation>,
    /// The number of records whose natural key an earlier one of the same import has.
    #[serde(default)]
    pub repeated: u64,
}

/// Called after each commit with the line of its last record, and with all rows that it has rejected.
pub type Committed = Box<dyn FnMut(u64, &[Violation]) -> Result<()> + Send>;

impl Tally {
    /// Adds what became of further rows, and keeps the first [`MAX_LISTED`] of the listed ones.
    fn add(&mut self, other: Tally) {
        self.gather(other);
        self.conflicts.truncate(MAX_LISTED);
        self.existing.truncate(MAX_LISTED);
    }

    /// Adds what became of further rows of one batch, all of which are listed.
    fn gather(&mut self, other: Tally) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.skipped += other.skipped;
        self.conflicting += other.conflicting;
        self.repeated += other.repeated;
        self.conflicts.extend(other.conflicts);
        self.existing.extend(other.existing);
    }

    /// Returns the tally with the first [`MAX_LISTED`] of the listed rows.
    fn listed(self) -> Self {
        let mut tally = Self::default();
        tally.add(self);
        tally
    }

    /// Returns the outcome after a rollback, with the conflicts only.
    fn rolled_back(self) -> Self {
        Self { inserted: 0, updated: 0, skipped: 0, ..self }
    }
}

impl Store {
    /// Writes records as they arrive.
    ///
    /// # Errors
    /// Any database error. Uncommitted records are then rolled back.
    pub async fn import(
        &self,
        schema: &'static Schema,
        policy: Conflict,
        records: mpsc::Receiver<Message>,
    ) -> Result<Tally> {
        match self.import_once(schema, policy, records, None, None).await? {
            Once::Unkeyed(tally) => Ok(tally),
            Once::Stored(_) | Once::Replayed(_) => Err(Error::internal("a reply without a key")),
        }
    }

    /// Writes records as they arrive, once for an idempotency key. This runs as a separate task, so the transaction ends
    /// normally even if the caller is cancelled. Imports of one process write one at a time. Under policies that commit before
    /// the end of the file, `committed` is called after each commit.
    ///
    /// # Errors
    /// As [`Store::import`]; [`crate::error::Kind::IdempotencyKeyInUse`],
    /// [`crate::error::Kind::IdempotencyKeyReused`]; errors of `committed`.
    pub async fn import_once(
        &self,
        schema: &'static Schema,
        policy: Conflict,
        records: mpsc::Receiver<Message>,
        keyed: Option<KeyedImport>,
        committed: Option<Committed>,
    ) -> Result<Once<Tally>> {
        let store = self.transfers();
        let run =
            keyed.map(|keyed| Run::new(keyed, self.origin.subject.to_string(), self.keys_kept()));
        let task = match &self.shared.engine {
            Engine::Sqlite { write, .. } => {
                let pool = write.clone();
                account::spawn(released(store, pool, schema, policy, records, run, committed))
            }
            Engine::Postgres(lanes) => {
                let pool = lanes.of(store.lane).clone();
                account::spawn(released(store, pool, schema, policy, records, run, committed))
            }
        };
        task.await.map_err(Error::internal)?
    }

    /// Returns the maximum time of one statement of an import. PostgreSQL may be unreachable, which must be noticed
    /// as early as in other requests. SQLite gets more time, because its commit writes a large file to the log.
    fn import_statement(&self) -> Duration {
        match self.dialect() {
            Dialect::Sqlite => TRANSFER_STATEMENT,
            Dialect::Postgres => self.shared.bounds.statement,
        }
    }

    /// Waits until no other import of this process writes. Call this before taking a connection: otherwise waiting
    /// imports would hold all connections.
    async fn import_turn(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let turn = self.shared.import_turn.clone().acquire_owned();
        match tokio::time::timeout(limit, turn).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => Err(Error {
                detail: WAITED_FOR_IMPORT.to_owned(),
                retry_after: Some(retry_after(10)),
                ..Error::unavailable("timed out waiting for another import")
            }),
        }
    }
}

/// Writes the records, and lets another request continue if this one does not come to its end.
async fn released<O: Begin>(
    store: Store,
    pool: Pool<O>,
    schema: &'static Schema,
    policy: Conflict,
    records: mpsc::Receiver<Message>,
    run: Option<Run>,
    committed: Option<Committed>,
) -> Result<Once<Tally>> {
    let outcome = write(&store, &pool, schema, policy, records, run.as_ref(), committed).await;
    if let (Ok(Once::Unkeyed(_)) | Err(_), Some(run)) = (&outcome, run)
        && let Err(error) = store.in_transaction(Release(run)).await
    {
        // A retry has to wait for it to expire.
        tracing::warn!(error = %error.detail, "cannot release the idempotency key of an import");
    }
    outcome
}

/// Writes the records in one or several transactions, depending on the policy.
async fn write<O: Begin>(
    store: &Store,
    pool: &Pool<O>,
    schema: &'static Schema,
    policy: Conflict,
    mut records: mpsc::Receiver<Message>,
    run: Option<&Run>,
    mut committed: Option<Committed>,
) -> Result<Once<Tally>> {
    let mut tally = Tally::default();
    let mut passed = Passed::default();
    let mut turn_limit = FIRST_TURN_TIMEOUT;
    loop {
        let (first, next) = batch(&mut records).await;
        if next == Next::BrokenOff {
            return Ok(Once::Unkeyed(tally));
        }
        let _turn = store.import_turn(turn_limit).await?;
        turn_limit = TURN_TIMEOUT;
        // An all-or-nothing import cannot be retried once it has taken more than its first batch, because
        // those records are gone. Other imports keep a batch until it is committed.
        let mut attempts = Attempts::default();
        let (written, next) = loop {
            let limit = store.import_statement();
            let mut lease = pool.lease_within(TRANSFER_QUEUE, limit).await?;
            let passed = passed.clone();
            let records = &mut records;
            let mut file =
                File { schema, records, first: &first, next, has_taken: false, run, passed };
            let outcome = transaction(&mut lease, &mut file, policy, &store.origin).await;
            match outcome {
                Err(Failure::Database(error))
                    if !file.has_taken && attempts.again(&error).await => {}
                Err(failure) => return Err(failure.into()),
                Ok(outcome) => break (outcome, (file.next, file.passed)),
            }
        };
        passed = next.1;
        match written {
            Outcome::Written(written) => {
                if let (Some(committed), Some((last, _))) = (&mut committed, first.last()) {
                    committed(*last, &written.conflicts)?;
                }
                tally.add(written);
            }
            Outcome::Ended(reply) => return Ok(reply),
            Outcome::Earlier(stored) => return replay(stored, next.0, records, run).await,
        }
        if next.0 != Next::More {
            return Ok(Once::Unkeyed(tally));
        }
    }
}

/// Reads the rest of a file whose import has ended before, and returns the response.
async fn replay(
    stored: Stored,
    mut next: Next,
    mut records: mpsc::Receiver<Message>,
    run: Option<&Run>,
) -> Result<Once<Tally>> {
    while next == Next::More {
        next = batch(&mut records).await.1;
    }
    match run {
        Some(run) if next != Next::BrokenOff => run.replay(stored).map(Once::Replayed),
        _ => Ok(Once::Unkeyed(Tally::default())),
    }
}

/// The input of one transaction: a batch and, for an all-or-nothing import, all following batches.
struct File<'a> {
    schema: &'static Schema,
    records: &'a mut mpsc::Receiver<Message>,
    first: &'a [(u64, Draft)],
    /// What follows the last batch that was taken.
    next: Next,
    /// Whether batches after the first were taken.
    has_taken: bool,
    /// The import, if it has an idempotency key.
    run: Option<&'a Run>,
    /// The records of the file up to here, if the import has a key.
    passed: Passed,
}

impl File<'_> {
    /// Returns the rows that no earlier request has committed.
    fn fresh<'r>(
        &mut self,
        open: Option<&Open>,
        rows: &'r [(u64, Draft)],
    ) -> Result<&'r [(u64, Draft)]> {
        match open {
            Some(open) => open.fresh(&mut self.passed, rows),
            None => Ok(rows),
        }
    }
}

/// The outcome of a transaction of an import.
enum Outcome {
    /// Records were written, or rolled back.
    Written(Tally),
    /// The import has ended, with this response if it has a key.
    Ended(Once<Tally>),
    /// An import with the same key has ended before.
    Earlier(Stored),
}

/// Writes in one transaction, and commits or rolls it back as the policy requires.
async fn transaction<O: Begin>(
    lease: &mut Lease<O>,
    file: &mut File<'_>,
    policy: Conflict,
    origin: &Origin,
) -> std::result::Result<Outcome, Failure> {
    let Parts { connection, limit } = lease.parts()?;
    // A failed transaction is not rolled back here: closing its connection does that.
    let outcome = match Transaction::begin::<O>(connection, limit).await {
        Ok(transaction) => write_all(transaction, file, policy, origin).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(outcome) => Ok(lease.settle(Ok(outcome))?),
        Err(Failure::Database(error)) => {
            let outcome = lease.settle(Err(error));
            lease.doubt();
            Ok(outcome?)
        }
        Err(own) => Err(own),
    }
}

async fn write_all(
    mut transaction: Transaction<'_>,
    file: &mut File<'_>,
    policy: Conflict,
    origin: &Origin,
) -> std::result::Result<Outcome, Failure> {
    wait_for_imports(&mut transaction).await?;
    let open = match file.run {
        None => None,
        Some(run) => match run.enter(&mut transaction, &file.passed).await? {
            Entry::Open(open) => Some(open),
            Entry::Ended(stored) => {
                transaction.roll_back().await?;
                return Ok(Outcome::Earlier(stored));
            }
        },
    };
    let mut writing = Writer { schema: file.schema, policy, origin, lines: Lines::default() };
    let rows = file.fresh(open.as_ref(), file.first)?;
    let mut tally = writing.write(&mut transaction, rows).await?;
    while policy == Conflict::Fail && file.next == Next::More {
        let (rows, next) = batch(file.records).await;
        (file.next, file.has_taken) = (next, true);
        let rows = file.fresh(open.as_ref(), &rows)?;
        tally.add(writing.write(&mut transaction, rows).await?);
    }
    let is_broken_off = policy == Conflict::Fail && file.next == Next::BrokenOff;
    let is_conflicting = policy == Conflict::Fail && tally.conflicting > 0;
    if is_conflicting || is_broken_off || file.next == Next::RollBack {
        transaction.roll_back().await?;
        return Ok(Outcome::Written(tally.rolled_back()));
    }
    let written = tally.inserted + tally.updated;
    let audit = Audit { records: Some(written), ..origin.audit("import", file.schema) };
    let Some((run, open)) = file.run.zip(open) else {
        transaction.commit().await?;
        note(written, audit);
        return Ok(Outcome::Written(tally));
    };
    let is_last = file.next == Next::End;
    let once =
        run.leave(&mut transaction, open, &file.passed, tally.clone().listed(), is_last).await?;
    transaction.commit().await?;
    note(written, audit);
    Ok(if is_last { Outcome::Ended(once) } else { Outcome::Written(tally) })
}

/// Notes records that were committed.
fn note(written: u64, audit: Audit<'_>) {
    METRICS.transferred.get_or_create(&IMPORT).inc_by(written);
    if written > 0 {
        audit.log();
    }
}

/// Waits for other imports. Without this, two imports that write the same rows in different orders could deadlock.
/// SQLite has taken its write lock when the transaction began. PostgreSQL takes an advisory lock of imports, which the
/// server releases if the connection ends.
async fn wait_for_imports(transaction: &mut Transaction<'_>) -> std::result::Result<(), Failure> {
    if transaction.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let timeout = format!("SET LOCAL lock_timeout = {}", IMPORT_LOCK_TIMEOUT.as_millis());
    transaction.execute(plain(&timeout)).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
    match transaction.execute(plain(&lock)).await {
        Err(error) if is_lock_timeout(&error) => Err(Failure::Own(Error {
            detail: WAITED_FOR_IMPORT.to_owned(),
            retry_after: Some(retry_after(10)),
            ..Error::unavailable("timed out waiting for an import of another instance")
        })),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// What follows a batch.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    More,
    End,
    RollBack,
    BrokenOff,
}

/// Collects the next records. This happens before a transaction starts, so that no lock is held while waiting
/// for a slow client.
async fn batch(records: &mut mpsc::Receiver<Message>) -> (Vec<(u64, Draft)>, Next) {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        match records.recv().await {
            Some(Message::Record(line, draft)) => batch.push((line, draft)),
            Some(Message::End) => return (batch, Next::End),
            Some(Message::RollBack) => return (batch, Next::RollBack),
            None => return (batch, Next::BrokenOff),
        }
    }
    (batch, Next::More)
}
