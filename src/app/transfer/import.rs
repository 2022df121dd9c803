//! Importing records from a file, which is read while it arrives.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read as Input;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::cell::{Cell, Fit, Misfit};
use super::columns::{Columns, Shown, Target};
use super::dates::Order;
use super::infer::Summary;
use super::options::Options;
use super::report::{Problem, Problems, Report};
use super::row::{MAX_NAME, Row, Values};
use super::source::{FileFacts, Source};
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Access, Identity};
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::{Argument, Field, Schema};
use crate::record::{Author, Draft, Fields, Row as Record};
use crate::store::{
    Conflict, IdempotencyKey, KeyedImport, MAX_LISTED, Message, Once, Place, Reply, Store, Tally,
};

/// The most records that have been read and not yet been written.
const QUEUE: usize = 256;

/// The longest detail of a row that cannot be read, in characters.
const MAX_DETAIL: usize = 300;

/// The most columns that a report lists.
const MAX_SHOWN_COLUMNS: usize = 200;

/// The most kinds of problems in the detail of an error.
const MAX_SUMMARIZED: usize = 5;

/// The most rows by which the meaning of columns is guessed.
const SAMPLED_ROWS: usize = 20;

/// The number of records that a dry run shows.
const PREVIEWED: usize = 10;

/// A file of records that has been opened, with its columns.
pub struct Opened {
    source: Source,
    columns: Columns,
    dates: Option<Order>,
    values: Vec<(&'static Field, Argument)>,
}

/// Opens a file of records. The header of a table is read here, so that a wrong one is rejected before anything is
/// changed.
///
/// # Errors
/// [`Kind::InvalidBody`] if the file cannot be read, or if its header lacks a required field or names one twice;
/// [`Kind::InvalidParameter`] for options that do not fit the record type; [`Kind::BodyTooLarge`] for a workbook; errors
/// of the input.
pub fn open(
    input: impl Input + Send + 'static,
    options: impl Into<Options>,
    schema: &'static Schema,
    author: Author,
) -> Result<Opened> {
    let mut opened = open_any(input, options.into(), schema, author)?;
    let missing = opened.missing();
    let Some((line, names)) = opened.source.header.clone().filter(|_| !missing.is_empty()) else {
        return Ok(opened);
    };
    let fields: Vec<String> = missing.iter().map(|field| format!("`{}`", field.name)).collect();
    let names = names.iter().filter(|name| !name.is_empty()).take(MAX_DIAGNOSTICS);
    let names: Vec<String> = names.map(|name| name.chars().take(MAX_NAME).collect()).collect();
    let mut sample = Sample::default();
    opened.source.each(&mut |row| {
        if let Ok(Values::Cells(cells)) = row.values {
            sample.add(cells.into_iter().enumerate());
        }
        if sample.rows < SAMPLED_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let columns = opened.columns.shown(|column, field| sample.can_be(column, field, opened.dates));
    let guesses: Vec<String> = columns.into_iter().filter_map(|column| column.guess).collect();
    let help = match guesses.as_slice() {
        [] => "rename or add it, or map another column to it".to_owned(),
        guesses => format!("perhaps with map {:?}", guesses.join(",")),
    };
    let detail = format!(
        "line {line} has no column for {}; it has: {}; {help}",
        fields.join(", "),
        names.join(", ")
    );
    Err(Error::new(Kind::InvalidBody, detail))
}

/// Reads a file to its end and reports what it has, as a dry run without a database.
///
/// # Errors
/// As [`open`], but for required fields.
pub fn inspect(
    input: impl Input + Send + 'static,
    options: impl Into<Options>,
    schema: &'static Schema,
    author: Author,
) -> Result<Report> {
    let mut file = open_any(input, options.into(), schema, author)?;
    let mut reading = Reading::of(schema, author, Conflict::Fail);
    reading.unknown = Some(Summary::default());
    reading.all(&mut file, |_| true, |_| {})?;
    Ok(reading.counted(Tally::default()))
}

/// Opens a file that may lack required fields.
fn open_any(
    input: impl Input + Send + 'static,
    options: Options,
    schema: &'static Schema,
    author: Author,
) -> Result<Opened> {
    let Options { hints, mapping, dates, defaults } = options;
    let mut columns = Columns::new(schema, author, mapping)?;
    let values = defaults.0.into_iter().map(|(name, value)| {
        let field = schema.field(&name).filter(|field| author.writes(field));
        let field = field.ok_or_else(|| {
            let names = schema.declared().map(|field| field.name);
            let help = did_you_mean(&name, names);
            let detail = format!("{name:?} is not a field that can be set; {help}");
            Error::new(Kind::InvalidParameter, detail)
        })?;
        let fit = Cell::Text(Cow::Owned(value)).fit(field, dates).map_err(|misfit| {
            Error::new(Kind::InvalidParameter, format!("the value for {name}: {}", misfit.detail()))
        })?;
        Ok((field, fit.value.unwrap_or(Argument::NULL)))
    });
    let values = values.collect::<Result<_>>()?;
    let source = Source::open(input, &hints)?;
    if let Some((line, names)) = &source.header {
        let added = columns.add_header(names);
        added.map_err(|detail| Error::new(Kind::InvalidBody, format!("line {line} {detail}")))?;
    }
    Ok(Opened { source, columns, dates, values })
}

impl Opened {
    /// Returns the required fields that have neither a column nor a given value.
    fn missing(&self) -> Vec<&'static Field> {
        let is_given =
            |field: &Field| self.values.iter().any(|(given, _)| given.name == field.name);
        self.columns.missing().into_iter().filter(|field| !is_given(field)).collect()
    }
}

/// The first values of each column.
#[derive(Debug, Clone, Default)]
struct Sample {
    rows: usize,
    columns: Vec<Vec<Cell<'static>>>,
}

impl Sample {
    fn add<'a>(&mut self, cells: impl Iterator<Item = (usize, Cell<'a>)>) {
        self.rows += 1;
        for (position, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            let length = self.columns.len().max(position + 1);
            self.columns.resize_with(length, Vec::new);
            if let Some(column) = self.columns.get_mut(position) {
                column.push(cell.into_owned());
            }
        }
    }

    /// Returns whether all values of a column could be values of a field; `None` if there are no values.
    fn can_be(&self, column: usize, field: &Field, dates: Option<Order>) -> Option<bool> {
        let fits = |cell: &Cell<'static>| match cell.clone().fit(field, dates) {
            Ok(Fit { value: Some(Argument::Integer(number)), .. }) => {
                field.bounds.contains(&number)
            }
            Ok(_) => true,
            Err(misfit) => !misfit.orders.is_empty(),
        };
        let cells = self.columns.get(column).map(Vec::as_slice).unwrap_or_default();
        (!cells.is_empty()).then(|| cells.iter().all(fits))
    }
}

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
        input: impl Input + Send + 'static,
        options: impl Into<Options>,
        policy: Conflict,
        key: Option<ImportKey>,
    ) -> Result<Once<Report>> {
        let (schema, author, options) = (self.schema, self.author, options.into());
        let open = move || open(input, options, schema, author);
        self.run_when_open(open, policy, |_| {}, key).await
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
            let mut reading = Reading::of(schema, author, policy);
            reading.unknown = Some(Summary::default());
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
    ) -> Result<Once<Report>> {
        let Self { store, schema, author, place } = self;
        check_key(schema, policy)?;
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
    policy: Conflict,
    rows: u64,
    rejected: u64,
    errors: Vec<Violation>,
    problems: Problems,
    trimmed: u64,
    /// The first values of each column.
    sample: Sample,
    /// The first valid records.
    preview: Vec<serde_json::Value>,
    missing: Vec<String>,
    /// In a dry run: the columns that no field takes.
    unknown: Option<Summary>,
    new_fields: Option<String>,
    /// How the file was read; known at its end.
    file: Option<FileFacts>,
    columns: Vec<Shown>,
    ignored: Vec<String>,
}

impl Reading {
    fn of(schema: &'static Schema, author: Author, policy: Conflict) -> Self {
        Self {
            schema,
            author,
            policy,
            rows: 0,
            rejected: 0,
            errors: Vec::new(),
            problems: Problems::default(),
            trimmed: 0,
            sample: Sample::default(),
            preview: Vec::new(),
            missing: Vec::new(),
            unknown: None,
            new_fields: None,
            file: None,
            columns: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// Reads the rows and sends their records to the database, until it takes no more.
    fn all(
        &mut self,
        file: &mut Opened,
        send: impl Fn(Message) -> bool,
        progress: impl Fn(u64),
    ) -> Result<()> {
        let Opened { source, columns, dates, values } = file;
        let reader = RowReader { dates: *dates, values };
        source.each(&mut |Row { line, values }| {
            let Some(read) = self.read(&reader, columns, line, values) else {
                return ControlFlow::Continue(());
            };
            self.rows += 1;
            progress(self.rows);
            match read {
                Ok(draft) => {
                    // If the channel is closed, the database has failed, and its error is returned.
                    if !send(Message::Record(line, draft)) {
                        return ControlFlow::Break(());
                    }
                }
                Err(violations) => {
                    self.rejected += 1;
                    if self.rejected <= MAX_LISTED as u64 {
                        self.errors.extend(violations.into_iter().map(|v| v.on_line(line)));
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        self.file = Some(source.facts());
        self.ignored = columns.ignored();
        self.columns = columns.shown(|column, field| self.sample.can_be(column, field, *dates));
        self.columns.truncate(MAX_SHOWN_COLUMNS);
        if let Some(unknown) = &mut self.unknown {
            self.new_fields = std::mem::take(unknown).fields(self.schema);
        }
        let missing = file.missing();
        self.missing = missing.into_iter().map(|field| field.name.to_owned()).collect();
        Ok(())
    }

    /// Reads a row; `None` if all of its cells are empty, as spreadsheets have them at the end.
    fn read(
        &mut self,
        reader: &RowReader<'_>,
        columns: &mut Columns,
        line: u64,
        values: std::result::Result<Values<'_>, String>,
    ) -> Option<std::result::Result<Draft, Vec<Violation>>> {
        let cells = match values {
            Ok(Values::Cells(cells)) if cells.iter().all(Cell::is_empty) => return None,
            Ok(Values::Cells(cells)) => cells.into_iter().enumerate().collect(),
            Ok(Values::Members(members)) => {
                let members = members.into_iter();
                let cell = |(name, cell): (String, _)| Some((columns.position(&name)?, cell));
                members.filter_map(cell).collect::<Vec<(usize, Cell<'_>)>>()
            }
            Err(detail) => {
                // It may quote the file.
                let detail: String = detail.chars().take(MAX_DETAIL).collect();
                let violation = Violation::of_all(detail);
                self.problems.add(line, &violation, &[]);
                return Some(Err(vec![violation]));
            }
        };
        if self.sample.rows < SAMPLED_ROWS {
            self.sample.add(cells.iter().cloned());
        }
        if let Some(unknown) = &mut self.unknown {
            let is_unknown = |position: usize| {
                columns.list.get(position).is_some_and(|column| column.targets.is_empty())
            };
            let cells = cells.iter().filter(|(position, _)| is_unknown(*position)).cloned();
            unknown.add_named(cells.filter_map(|(position, cell)| {
                let name = columns.list.get(position)?.name.clone();
                Some((name, cell.into_argument(reader.dates)))
            }));
        }
        let claims = reader.claims(columns, &cells);
        let (fields, misfits, trimmed) = reader.fields(columns, cells);
        let (draft, _) = Draft::read_among_others(self.schema, fields, self.author);
        let violations = match draft {
            Ok(draft) if misfits.is_empty() => {
                self.trimmed += trimmed;
                if self.preview.len() < PREVIEWED {
                    let is_update = self.policy == Conflict::Update;
                    self.preview.push(shown_record(if is_update {
                        draft.update()
                    } else {
                        draft.row().clone()
                    }));
                }
                return Some(Ok(draft.with_claims(claims)));
            }
            Ok(_) => Vec::new(),
            Err(violations) => violations,
        };
        // A value that cannot be read is not missing.
        let is_misfit =
            |violation: &Violation| misfits.iter().any(|(field, _)| violation.is_at(field.name));
        let mut broken: Vec<(Violation, Vec<Order>)> = violations
            .into_iter()
            .filter(|violation| !is_misfit(violation))
            .map(|violation| (violation, Vec::new()))
            .collect();
        broken.extend(
            misfits.into_iter().map(|(field, misfit)| {
                (Violation::new(field.name, misfit.detail()), misfit.orders)
            }),
        );
        let place =
            |violation: &Violation| self.schema.names().position(|name| violation.is_at(name));
        broken.sort_by_key(|(violation, _)| place(violation));
        for (violation, orders) in &broken {
            self.problems.add(line, violation, orders);
        }
        Some(Err(broken.into_iter().map(|(violation, _)| violation).collect()))
    }

    fn report(&self, tally: Tally, policy: Conflict) -> Result<Report> {
        let report = self.counted(tally.clone());
        // With `fail`, another policy could import the rows whose record exists.
        let rejected = self.rejected.saturating_add(tally.conflicting);
        let is_cut = rejected > MAX_LISTED as u64;
        let listed = if is_cut { "; the first ones are listed" } else { "" };
        let hopeless = if policy == Conflict::Fail { self.rejected } else { rejected };
        let kinds = || {
            let problems = report.problems.iter().filter(|problem| problem.count > 1);
            let kinds: Vec<String> =
                problems.take(MAX_SUMMARIZED).map(Problem::to_string).collect();
            if kinds.is_empty() { String::new() } else { format!("; {}", kinds.join("; ")) }
        };
        if self.rows > 0 && hopeless == self.rows {
            let rows = match self.rows {
                1 => "the only row was rejected".to_owned(),
                rows => format!("all {rows} rows were rejected{listed}{}", kinds()),
            };
            let names = match report.ignored.as_slice() {
                [] => String::new(),
                names => format!("; ignored unknown or read-only fields: {}", names.join(", ")),
            };
            let error = Error::new(Kind::EveryRowRejected, rows + &names);
            return Err(Error { violations: report.errors, ..error });
        }
        if policy == Conflict::Fail && rejected > 0 {
            let rows = if rejected == 1 { "row was" } else { "rows were" };
            let detail = format!("{rejected} {rows} rejected{listed}{}", kinds());
            return Err(Error {
                violations: report.errors,
                ..Error::new(Kind::RowsRejected, detail)
            });
        }
        Ok(report)
    }

    /// Returns the report of what was read and written.
    fn counted(&self, tally: Tally) -> Report {
        let mut errors = self.errors.clone();
        let mut problems = self.problems.clone();
        for violation in &tally.conflicts {
            let line = violation.line.and_then(|line| u64::try_from(line).ok()).unwrap_or_default();
            match self.policy {
                // Other conflicts are those of another unique key, or of a record that was changed.
                Conflict::Fail => problems.add_existing(line, violation),
                _ => problems.add(line, violation, &[]),
            }
        }
        problems.count_existing(tally.conflicting);
        errors.extend(tally.conflicts);
        errors.sort_by_key(|violation| violation.line);
        let lines: BTreeSet<_> = errors.iter().map(|violation| violation.line).collect();
        if let Some(first_unlisted) = lines.iter().nth(MAX_LISTED) {
            errors.retain(|violation| violation.line < *first_unlisted);
        }
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let is_dry = self.unknown.is_some();
        Report {
            created: count(tally.inserted),
            updated: count(tally.updated),
            skipped: count(tally.skipped),
            rejected: count(self.rejected.saturating_add(tally.conflicting)),
            errors,
            ignored: self.ignored.clone(),
            trimmed: count(self.trimmed),
            problems: problems.list(),
            existing: tally.existing,
            file: self.file.clone(),
            columns: self.columns.clone(),
            missing: is_dry.then(|| self.missing.clone()),
            preview: is_dry.then(|| self.preview.clone()),
            new_fields: self.new_fields.clone(),
        }
    }
}

/// Returns the record as it would be, without the fields that the service adds; with `update` the fields that are set.
fn shown_record(row: Record) -> serde_json::Value {
    let members = row.into_iter().map(|(field, value)| {
        let value = value.as_ref().map_or(serde_json::Value::Null, serde_json::Value::from);
        (field.name.to_owned(), value)
    });
    serde_json::Value::Object(members.collect())
}

/// Reads the cells of a row into fields.
struct RowReader<'a> {
    dates: Option<Order>,
    /// Values for fields without one.
    values: &'a [(&'static Field, Argument)],
}

/// The values of fields, the cells that are none, and the number of texts with outer white space.
type Read = (Fields<'static>, Vec<(&'static Field, Misfit)>, u64);

impl RowReader<'_> {
    /// Returns the id and the version of the record of a row, as far as the file has them.
    fn claims(&self, columns: &Columns, cells: &[(usize, Cell<'_>)]) -> Record {
        let claim = |(position, cell): &(usize, Cell<'_>)| {
            let field = columns.claim(columns.list.get(*position)?)?;
            let fit = cell.clone().fit(field, self.dates).ok()?;
            Some((field, Some(fit.value?.read(field.ty).ok()?)))
        };
        cells.iter().filter_map(claim).collect()
    }

    fn fields(&self, columns: &Columns, cells: Vec<(usize, Cell<'_>)>) -> Read {
        let (mut fields, mut misfits, mut trimmed): Read = (Vec::new(), Vec::new(), 0);
        for (position, cell) in cells {
            let Some(column) = columns.list.get(position) else { continue };
            for Target { field, is_year } in &column.targets {
                let cell = cell.clone();
                let cell = if *is_year { cell.year(self.dates) } else { Ok(cell) };
                match cell.and_then(|cell| cell.fit(field, self.dates)) {
                    Ok(Fit { value: None, .. }) => {}
                    Ok(Fit { value: Some(value), is_trimmed }) => {
                        trimmed += u64::from(is_trimmed);
                        if fields.iter().any(|(name, _)| name == field.name) {
                            let misfit = Misfit::repeated(&column.name);
                            misfits.push((*field, misfit));
                        } else {
                            fields.push((Cow::Borrowed(field.name), value));
                        }
                    }
                    Err(misfit) => misfits.push((*field, misfit)),
                }
            }
        }
        for (field, value) in self.values {
            let sent = fields.iter_mut().find(|(name, _)| name == field.name);
            let is_misfit = misfits.iter().any(|(other, _)| other.name == field.name);
            match sent {
                Some((_, sent)) if *sent == Argument::NULL => *sent = value.clone(),
                None if !is_misfit => fields.push((Cow::Borrowed(field.name), value.clone())),
                _ => {}
            }
        }
        (fields, misfits, trimmed)
    }
}

/// Returns the error of an input that cannot be read. It may wrap an [`Error`], such as that of an exceeded limit.
pub(crate) fn read_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error {
        cause: Some(error.into()),
        ..Error::new(Kind::InvalidBody, "the input breaks off")
    })
}
