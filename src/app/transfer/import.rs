//! Importing records from a file, which is read while it arrives.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, OnceLock};

use poem_openapi::Object;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Format;
use super::csv::Table;
use super::ndjson::Lines;
use super::row::{MAX_NAME, Row};
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Access, Identity};
use crate::query::Schema;
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::record::{Author, Draft, Fields};
use crate::store::{
    Conflict, IdempotencyKey, KeyedImport, MAX_LISTED, Message, Once, Place, Reply, Store, Tally,
};

/// The most records that have been read and not yet been written.
const QUEUE: usize = 256;

/// The byte order mark that some programs write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportReport")]
pub struct Report {
    /// The number of records that were created.
    pub created: i64,
    /// The number of records that were updated.
    pub updated: i64,
    /// The number of rows that were skipped because their record exists or, with `update`, has these values already.
    pub skipped: i64,
    /// The number of rows that were rejected because they break a rule.
    pub rejected: i64,
    /// The rules that rejected rows break, by line; at most those of the first 100 rows.
    pub errors: Vec<Violation>,
    /// Names in the file that were ignored because they are not writable fields; at most 20.
    pub ignored: Vec<String>,
}

/// A file of records that has been opened. If it is CSV, its header fits the record type.
pub struct Opened(Rows<Box<dyn BufRead + Send>>);

/// Opens a file of records. The header of a CSV file is read here, so that a wrong one is rejected before anything
/// is changed.
///
/// # Errors
/// [`Kind::InvalidBody`] if the header lacks a required field or repeats a name; errors of the input.
pub fn open(
    input: impl Read + Send + 'static,
    format: Format,
    schema: &'static Schema,
) -> Result<Opened> {
    let input: Box<dyn BufRead + Send> =
        Box::new(without_mark(BufReader::new(input)).map_err(read_error)?);
    Ok(Opened(match format {
        Format::Ndjson => Rows::Ndjson(Lines::new(input)),
        Format::Csv => Rows::Csv(Box::new(Table::open(input, schema).map_err(read_error)??)),
    }))
}

/// An import that can start: its caller may write, and the limit of concurrent imports allows it.
pub struct Import {
    store: Store,
    schema: &'static Schema,
    author: Author,
    place: Place,
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
        input: impl Read + Send + 'static,
        format: Format,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Report> {
        let schema = self.schema;
        let open = move || open(input, format, schema);
        unkeyed(self.run_when_open(open, policy, progress, None).await?)
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
        unkeyed(self.run_when_open(|| Ok(file), policy, progress, None).await?)
    }

    /// Does the same as [`Import::run`], once for an idempotency key.
    ///
    /// # Errors
    /// As [`Import::run`]; [`Kind::IdempotencyKeyInUse`], [`Kind::IdempotencyKeyReused`].
    pub async fn run_once(
        self,
        input: impl Read + Send + 'static,
        format: Format,
        policy: Conflict,
        key: Option<ImportKey>,
    ) -> Result<Once<Report>> {
        let schema = self.schema;
        self.run_when_open(move || open(input, format, schema), policy, |_| {}, key).await
    }

    async fn run_when_open(
        self,
        open: impl FnOnce() -> Result<Opened> + Send + 'static,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
        key: Option<ImportKey>,
    ) -> Result<Once<Report>> {
        let Self { store, schema, author, place } = self;
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
            let mut reading = Reading {
                schema,
                author,
                rows: 0,
                rejected: 0,
                errors: Vec::new(),
                ignored: BTreeSet::new(),
            };
            let file = open()?;
            reading.all(file.0, &sender, progress)?;
            let is_rejected = policy == Conflict::Fail && reading.rejected > 0;
            // Nothing else sets it.
            let _ = read.set(reading);
            // If the channel is closed, the database has failed, and its error is returned.
            let end = if is_rejected { Message::RollBack } else { Message::End };
            let _ = sender.blocking_send(end);
            Ok(())
        });
        // A database error returns at once. The reader notices the closed channel when it next sends a record.
        let once = store.import_once(schema, policy, receiver, keyed).await?;
        let outcome: Result<()> = reading.await.map_err(Error::internal)?;
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

/// The state of an import while its file is read.
struct Reading {
    schema: &'static Schema,
    author: Author,
    rows: u64,
    rejected: u64,
    errors: Vec<Violation>,
    ignored: BTreeSet<String>,
}

impl Reading {
    /// Reads the rows and sends their records to the database.
    fn all(
        &mut self,
        mut rows: Rows<impl BufRead>,
        records: &mpsc::Sender<Message>,
        progress: impl Fn(u64),
    ) -> Result<()> {
        for count in 1.. {
            let Some(Row { line, fields }) = rows.next()? else { break };
            match self.read(fields) {
                Ok(draft) => {
                    if records.blocking_send(Message::Record(line, draft)).is_err() {
                        // The database has failed, and its error is returned.
                        return Ok(());
                    }
                }
                Err(violations) => {
                    self.rejected += 1;
                    if self.rejected <= MAX_LISTED as u64 {
                        self.errors.extend(violations.into_iter().map(|v| v.on_line(line)));
                    }
                }
            }
            self.rows = count;
            progress(count);
        }
        Ok(())
    }

    fn read(
        &mut self,
        fields: std::result::Result<Fields<'_>, String>,
    ) -> std::result::Result<Draft, Vec<Violation>> {
        let fields = fields.map_err(|detail| vec![Violation::of_all(detail)])?;
        let (draft, others) = Draft::read_among_others(self.schema, fields, self.author);
        // Limit the names, because a file can have a new one in every row.
        let room = (MAX_DIAGNOSTICS + 1).saturating_sub(self.ignored.len());
        let others = others.into_iter().take(room);
        self.ignored.extend(others.map(|name| name.chars().take(MAX_NAME).collect::<String>()));
        draft
    }

    fn report(&self, tally: Tally, policy: Conflict) -> Result<Report> {
        let mut errors = self.errors.clone();
        errors.extend(tally.conflicts);
        errors.sort_by_key(|violation| violation.line);
        let lines: BTreeSet<_> = errors.iter().map(|violation| violation.line).collect();
        if let Some(first_unlisted) = lines.iter().nth(MAX_LISTED) {
            errors.retain(|violation| violation.line < *first_unlisted);
        }
        let rejected = self.rejected.saturating_add(tally.conflicting);
        let ignored: Vec<String> = self.ignored.iter().take(MAX_DIAGNOSTICS).cloned().collect();
        let is_cut = rejected > MAX_LISTED as u64;
        let listed = if is_cut { "; the first ones are listed" } else { "" };
        // With `fail`, another policy could import the rows whose record exists.
        let hopeless = if policy == Conflict::Fail { self.rejected } else { rejected };
        if self.rows > 0 && hopeless == self.rows {
            let rows = match self.rows {
                1 => "the only row was rejected".to_owned(),
                rows => format!("all {rows} rows were rejected{listed}"),
            };
            let names = match ignored.as_slice() {
                [] => String::new(),
                names => format!("; ignored unknown or read-only fields: {}", names.join(", ")),
            };
            let error = Error::new(Kind::EveryRowRejected, rows + &names);
            return Err(Error { violations: errors, ..error });
        }
        if policy == Conflict::Fail && rejected > 0 {
            let rows = if rejected == 1 { "row was" } else { "rows were" };
            let detail = format!("{rejected} {rows} rejected{listed}");
            return Err(Error { violations: errors, ..Error::new(Kind::RowsRejected, detail) });
        }
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Report {
            created: count(tally.inserted),
            updated: count(tally.updated),
            skipped: count(tally.skipped),
            rejected: count(rejected),
            errors,
            ignored,
        })
    }
}

/// The rows of a file in either format.
enum Rows<I> {
    Ndjson(Lines<I>),
    Csv(Box<Table<I>>),
}

impl<I: BufRead> Rows<I> {
    fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Self::Ndjson(lines) => lines.next(),
            Self::Csv(table) => table.next(),
        }
        .map_err(read_error)
    }
}

/// Returns the input without its byte order mark, if it has one.
pub(super) fn without_mark(mut input: impl BufRead) -> std::io::Result<impl BufRead> {
    let mut start = Vec::new();
    (&mut input).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    Ok(Cursor::new(start).chain(input))
}

/// Returns the error of an input that cannot be read. It may wrap an [`Error`], such as that of an exceeded limit.
pub(crate) fn read_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error {
        cause: Some(error.into()),
        ..Error::new(Kind::InvalidBody, "the input breaks off")
    })
}
