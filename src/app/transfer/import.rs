//! Records into the database, from a file that is read as it arrives.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Cursor, Read};

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
use crate::store::{Conflict, MAX_LISTED, Message, Place, Store, Tally};

/// Records on their way from the file to the database.
const QUEUE: usize = 256;

/// What some programs write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What an import has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportReport")]
pub struct Report {
    /// How many records were created.
    pub created: i64,
    /// How many records were written over.
    pub updated: i64,
    /// How many rows were left out because their record is there already.
    pub skipped: i64,
    /// How many rows break a rule and were left out.
    pub refused: i64,
    /// The rules they break, row by row; of many rows the first.
    pub errors: Vec<Violation>,
    /// Names in the file that are no fields to be written, and were passed over; the first of them.
    pub ignored: Vec<String>,
}

/// An import that may begin: its caller may write, and it has a place among those that read.
pub struct Import {
    store: Store,
    schema: &'static Schema,
    author: Author,
    place: Place,
}

/// Prepares an import, before anything of its file is read.
///
/// # Errors
/// [`Kind::InsufficientScope`]; [`Kind::TooManyRequests`] when the caller has as many as one may
/// have, [`Kind::Unavailable`] when there are as many as the service reads at a time.
pub fn begin(store: &Store, caller: &Identity, schema: &'static Schema) -> Result<Import> {
    caller.require(Access::Write, schema)?;
    let (author, place) = (Author::Client, store.import_place(&caller.subject)?);
    Ok(Import { store: store.clone(), schema, author, place })
}

impl Import {
    /// The same by an operator at the command line, who may write read-only fields.
    #[must_use]
    pub fn by_operator(self) -> Self {
        Self { author: Author::Operator, ..self }
    }

    /// Writes the records of a file as it is read. Under [`Conflict::Fail`] nothing is written unless
    /// everything is; otherwise every thousand records are committed. `progress` is told how many
    /// rows have been read.
    ///
    /// # Errors
    /// [`Kind::RowsRejected`] under [`Conflict::Fail`]; [`Kind::InvalidBody`] and what the input itself
    /// fails with; the database's.
    pub async fn run(
        self,
        input: impl Read + Send + 'static,
        format: Format,
        policy: Conflict,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Report> {
        let Self { store, schema, author, place } = self;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut read = Reading {
                schema,
                author,
                refused: 0,
                errors: Vec::new(),
                ignored: BTreeSet::new(),
            };
            let outcome = read.all(input, format, policy, &sender, progress);
            (read, outcome)
        });
        // When the database fails it says so at once: the reader ends when it next has something to
        // send.
        let tally = store.import(schema, policy, receiver).await?;
        let (read, outcome) = reading.await.map_err(Error::internal)?;
        if let Err(mut error) = outcome {
            let written = tally.inserted + tally.updated;
            if written > 0 {
                let detail = &error.detail;
                error.detail = format!("{detail}; the {written} records before it are written");
            }
            return Err(error);
        }
        read.report(tally, policy)
    }
}

/// What is known of a file while it is read.
struct Reading {
    schema: &'static Schema,
    author: Author,
    refused: u64,
    errors: Vec<Violation>,
    ignored: BTreeSet<String>,
}

impl Reading {
    /// Reads the rows and sends the records on.
    fn all(
        &mut self,
        input: impl Read,
        format: Format,
        policy: Conflict,
        records: &mpsc::Sender<Message>,
        progress: impl Fn(u64),
    ) -> Result<()> {
        let input = without_mark(BufReader::new(input)).map_err(read_error)?;
        let mut rows = Rows::open(input, self.schema, format)?;
        for count in 1.. {
            let Some(Row { line, fields }) = rows.next()? else { break };
            match self.read(fields) {
                Ok(draft) => {
                    if records.blocking_send(Message::Record(line, draft)).is_err() {
                        // The database has failed and says why.
                        return Ok(());
                    }
                }
                Err(violations) => {
                    self.refused += 1;
                    if self.refused <= MAX_LISTED as u64 {
                        self.errors.extend(violations.into_iter().map(|v| v.on_line(line)));
                    }
                }
            }
            progress(count);
        }
        let is_refused = policy == Conflict::Fail && self.refused > 0;
        // When nobody hears it the database has failed and says why.
        let _ = records.blocking_send(if is_refused { Message::RollBack } else { Message::End });
        Ok(())
    }

    fn read(
        &mut self,
        fields: std::result::Result<Fields<'_>, String>,
    ) -> std::result::Result<Draft, Vec<Violation>> {
        let fields = fields.map_err(|detail| vec![Violation::of_all(detail)])?;
        let (draft, others) = Draft::read_among_others(self.schema, fields, self.author);
        // As many as are shown and one more: a file can have a new name in every row.
        let room = (MAX_DIAGNOSTICS + 1).saturating_sub(self.ignored.len());
        let others = others.into_iter().take(room);
        self.ignored.extend(others.map(|name| name.chars().take(MAX_NAME).collect::<String>()));
        draft
    }

    fn report(mut self, tally: Tally, policy: Conflict) -> Result<Report> {
        let taken = "has a natural key that is taken, in the database or by a row before it";
        let conflicts = tally.conflicts.iter();
        self.errors.extend(conflicts.map(|line| Violation::of_all(taken).on_line(*line)));
        self.errors.sort_by_key(|violation| violation.line);
        let refused = self.refused.saturating_add(tally.conflicting);
        if policy == Conflict::Fail && refused > 0 {
            let rows = if refused == 1 { "row is" } else { "rows are" };
            let is_cut = refused > MAX_LISTED as u64;
            let first = if is_cut { ", of which the first are listed" } else { "" };
            let detail = format!("{refused} {rows} refused{first}");
            return Err(Error {
                violations: self.errors,
                ..Error::new(Kind::RowsRejected, detail)
            });
        }
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Report {
            created: count(tally.inserted),
            updated: count(tally.updated),
            skipped: count(tally.skipped),
            refused: count(refused),
            errors: self.errors,
            ignored: self.ignored.into_iter().take(MAX_DIAGNOSTICS).collect(),
        })
    }
}

/// The rows of a file in either form.
enum Rows<I> {
    Ndjson(Lines<I>),
    Csv(Box<Table<I>>),
}

impl<I: BufRead> Rows<I> {
    fn open(input: I, schema: &Schema, format: Format) -> Result<Self> {
        Ok(match format {
            Format::Ndjson => Self::Ndjson(Lines::new(input)),
            Format::Csv => Self::Csv(Box::new(Table::open(input, schema).map_err(read_error)??)),
        })
    }

    fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Self::Ndjson(lines) => lines.next(),
            Self::Csv(table) => table.next(),
        }
        .map_err(read_error)
    }
}

/// The input without a byte order mark, which belongs to no row.
pub(super) fn without_mark(mut input: impl BufRead) -> std::io::Result<impl BufRead> {
    let mut start = Vec::new();
    (&mut input).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    Ok(Cursor::new(start).chain(input))
}

/// Why an input cannot be read. It may fail with an error of ours, such as that of a limit it keeps.
pub(crate) fn read_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error {
        cause: Some(error.into()),
        ..Error::new(Kind::InvalidBody, "the input breaks off")
    })
}
