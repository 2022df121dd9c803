//! Importing records from a file, which is read while it arrives.

use std::io::Read as Input;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::opened::{Opened, open, open_any};
use super::options::Options;
use super::reading::Reading;
use super::rejected::Rejected;
use super::report::Report;
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::Schema;
use crate::record::Author;
use crate::store::{
    Committed, Conflict, IdempotencyKey, KeyedImport, Message, Once, Place, Reply, Store, Tally,
};

/// The most records that have been read and not yet been written.
const QUEUE: usize = 256;

/// An import that can start: its caller may write, and the limit of concurrent imports allows it.
pub struct Import {
    store: Store,
    schema: &'static Schema,
    author: Author,
    place: Place,
}

/// Rejects an update of records that cannot be found: each row would create another record.
fn check_key(schema: &Schema, policy: Conflict) -> Result<()> {
    if policy != Conflict::Update || !schema.natural_key().is_empty() {
        return Ok(());
    }
    let detail = format!(
        "records of {} have no natural key by which `update` could find them; declare `unique`, or import with `fail` or \
         `skip`, which creates a record for each row",
        schema.name
    );
    Err(Error::new(Kind::InvalidParameter, detail))
}

/// Prepares an import, before its file is read.
///
/// # Errors
/// [`Kind::InsufficientScope`]; [`Kind::TooManyRequests`] if the caller has as many imports as allowed,
/// [`Kind::Unavailable`] if the service has.
pub fn begin(store: &Store, caller: &Identity, schema: &'static Schema) -> Result<Import> {
    caller.require(Access::Write, schema)?;
    let (author, place) = (Author::Client, store.import_place(&caller.subject)?);
    Ok(Import { store: store.clone(), schema, author, place })
}

impl Import {
    /// Allows read-only fields, as for an operator at the command line.
    #[must_use]
    pub fn by_operator(self) -> Self {
        Self { author: Author::Operator, ..self }
    }

    /// Writes the records of a file while it is read. With [`Conflict::Fail`] the whole file is written or
    /// nothing; otherwise every thousand records are committed. `progress` is called with the number of
    /// rows that have been read.
    ///
    /// # Errors
    /// [`Kind::EveryRowRejected`] if every row breaks a rule; [`Kind::RowsRejected`] if any row is rejected, with
    /// [`Conflict::Fail`] only; [`Kind::InvalidBody`]; errors of the input; any database error.
    pub async fn run(
        self,
        input: impl Input + Send + 'static,
        options: impl Into<Options>,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Report> {
        let (schema, author, options) = (self.schema, self.author, options.into());
        let open = move || open(input, options, schema, author);
        unkeyed(self.run_when_open(open, policy, progress, None, None).await?)
    }

    /// Does the same as [`Import::run`] for a file that has been opened for this record type.
    ///
    /// # Errors
    /// As [`Import::run`].
    pub async fn run_opened(
        self,
        file: Opened,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Report> {
        let rejected = file.rejected.clone();
        let open = || Ok(file);
        unkeyed(self.run_when_open(open, policy, progress, None, rejected).await?)
    }

    /// Does the same as [`Import::run`], once for an idempotency key.
    ///
    /// # Errors
    /// As [`Import::run`]; [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`].
    pub async fn run_once(
        self,
        input: impl Input + Send + 'static,
        options: impl Into<Options>,
        policy: Conflict,
        key: Option<ImportKey>,
    ) -> Result<Once<Report>> {
        let (schema, author, options) = (self.schema, self.author, options.into());
        let open = move || open(input, options, schema, author);
        self.run_when_open(open, policy, |_| {}, key, None).await
    }

    /// Reads a file and reports what an import would do, without changing anything. The file may lack required fields, so
    /// that the report shows how its columns could be mapped.
    ///
    /// # Errors
    /// As [`open`], but for required fields; any database error.
    pub async fn dry_run(
        self,
        input: impl Input + Send + 'static,
        options: impl Into<Options>,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Report> {
        let Self { store, schema, author, place } = self;
        check_key(schema, policy)?;
        let options = options.into();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut file = open_any(input, options, schema, author)?;
            let mut reading = Reading::dry(schema, author, policy);
            reading.all(&mut file, |message| sender.blocking_send(message).is_ok(), progress)?;
            Ok(reading)
        });
        let tally = store.preview(schema, policy, receiver).await?;
        let reading: Result<Reading> = reading.await.map_err(Error::internal)?;
        reading.map(|reading| reading.counted(tally))
    }

    async fn run_when_open(
        self,
        open: impl FnOnce() -> Result<Opened> + Send + 'static,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
        key: Option<ImportKey>,
        rejected: Option<Rejected>,
    ) -> Result<Once<Report>> {
        let Self { store, schema, author, place } = self;
        check_key(schema, policy)?;
        let rows = rejected.clone();
        let committed = rows.map(|rows| -> Committed {
            Box::new(move |last, conflicts| rows.settle(last, conflicts))
        });
        let (sender, receiver) = mpsc::channel(QUEUE);
        let finished: Arc<OnceLock<Reading>> = Arc::default();
        let keyed = key.map(|ImportKey { key, digest, reply }| {
            let finished = finished.clone();
            let reply = move |tally: &Tally| {
                let read =
                    finished.get().ok_or_else(|| Error::internal("the file has not ended"))?;
                match read.report(tally.clone(), policy) {
                    Ok(report) => reply(&report).map(Some),
                    Err(_) => Ok(None),
                }
            };
            KeyedImport { key, digest, reply: Box::new(reply) }
        });
        let read = finished.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut file = open()?;
            let mut reading = Reading::of(schema, author, policy);
            reading.all(&mut file, |message| sender.blocking_send(message).is_ok(), progress)?;
            let is_rejected = policy == Conflict::Fail && reading.rejected > 0;
            // Nothing else sets it.
            let _ = read.set(reading);
            // If the channel is closed, the database has failed, and its error is returned.
            let end = if is_rejected { Message::RollBack } else { Message::End };
            let _ = sender.blocking_send(end);
            Ok(())
        });
        // A database error returns at once. The reader notices the closed channel when it next sends a record.
        let once = store.import_once(schema, policy, receiver, keyed, committed).await?;
        let outcome: Result<()> = reading.await.map_err(Error::internal)?;
        if let Some(rejected) = rejected {
            rejected.finish()?;
        }
        if let Some(read) = finished.get() {
            store.note_writes(schema, read.rows);
        }
        once.try_map(|tally| match (outcome, finished.get()) {
            (Ok(()), Some(read)) => read.report(tally, policy),
            (Ok(()), None) => Err(Error::internal("the file has not ended")),
            (Err(mut error), _) => {
                let written = tally.inserted + tally.updated;
                if written > 0 {
                    let detail = &error.detail;
                    error.detail =
                        format!("{detail}; {written} records before it have been written");
                }
                Err(error)
            }
        })
    }
}

/// An idempotency key of an import.
pub struct ImportKey {
    /// The key. Its fingerprint is about the request without the file.
    pub key: IdempotencyKey,
    /// Returns a hash of the file, which has been read to its end.
    pub digest: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Returns the response to store.
    pub reply: fn(&Report) -> Result<Reply>,
}

/// Returns the report of an import without a key.
fn unkeyed(once: Once<Report>) -> Result<Report> {
    match once {
        Once::Unkeyed(report) => Ok(report),
        Once::Stored(_) | Once::Replayed(_) => Err(Error::internal("a reply without a key")),
    }
}
