//! Reading the rows of an import: each becomes a record or a problem of the report.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read as Input;
use std::ops::ControlFlow;

use super::cell::{Cell, Fit, Misfit};
use super::columns::{Columns, Shown, Target};
use super::dates::Order;
use super::infer::Summary;
use super::numbers::RowNumbers;
use super::opened::{Opened, Sample, open_any};
use super::options::Options;
use super::report::{Problem, Problems, Report};
use super::row::{Row, Values};
use super::source::FileFacts;
use crate::error::{Error, Kind, Result, Violation};
use crate::query::{Argument, Field, Schema, Type};
use crate::record::{Author, Draft, Fields, Row as Record};
use crate::store::{Conflict, MAX_LISTED, Message, Tally};

/// The longest detail of a row that cannot be read, in characters.
const MAX_DETAIL: usize = 300;

/// The most columns that a report lists.
const MAX_SHOWN_COLUMNS: usize = 200;

/// The most kinds of problems in the detail of an error.
const MAX_SUMMARIZED: usize = 5;

/// The number of records that a dry run shows.
const PREVIEWED: usize = 10;

/// Reads a file to its end and reports what it has, as a dry run without a database.
///
/// # Errors
/// As [`super::open`], but for required fields.
pub fn inspect(
    input: impl Input + Send + 'static,
    options: impl Into<Options>,
    schema: &'static Schema,
    author: Author,
) -> Result<Report> {
    let mut file = open_any(input, options.into(), schema, author)?;
    let mut reading = Reading::dry(schema, author, Conflict::Fail);
    reading.all(&mut file, |_| true, |_| {})?;
    Ok(reading.counted(Tally::default()))
}

/// The state of an import while its file is read.
pub(super) struct Reading {
    schema: &'static Schema,
    author: Author,
    policy: Conflict,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    errors: Vec<Violation>,
    problems: Problems,
    trimmed: u64,
    /// The first values of each column.
    sample: Sample,
    /// The first valid records.
    preview: Vec<serde_json::Value>,
    missing: Vec<String>,
    header_row: Option<u64>,
    /// In a dry run: the columns that no field takes.
    unknown: Option<Summary>,
    new_fields: Option<String>,
    /// How the file was read; known at its end.
    file: Option<FileFacts>,
    numbers: RowNumbers,
    columns: Vec<Shown>,
    ignored: Vec<String>,
}

impl Reading {
    /// Starts the reading of a dry run.
    pub(super) fn dry(schema: &'static Schema, author: Author, policy: Conflict) -> Self {
        Self { unknown: Some(Summary::default()), ..Self::of(schema, author, policy) }
    }

    /// Starts the reading of an import.
    pub(super) fn of(schema: &'static Schema, author: Author, policy: Conflict) -> Self {
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
            header_row: None,
            unknown: None,
            new_fields: None,
            file: None,
            numbers: RowNumbers::default(),
            columns: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// Reads the rows and sends their records to the database, until it takes no more.
    pub(super) fn all(
        &mut self,
        file: &mut Opened,
        send: impl Fn(Message) -> bool,
        progress: impl Fn(u64),
    ) -> Result<()> {
        let Opened { source, columns, dates, values, rejected, .. } = file;
        let reader = RowReader { dates: *dates, values };
        let mut unwritten = None;
        source.each(&mut |row| {
            let rejected = rejected.as_ref().map(|rejected| (rejected, rejected.original(&row)));
            let Row { line, breaks, values, .. } = row;
            self.numbers.add(line, breaks);
            let Some(read) = self.read(&reader, columns, line, values) else {
                return ControlFlow::Continue(());
            };
            self.rows += 1;
            progress(self.rows);
            match read {
                Ok(draft) => {
                    if let Some((rejected, original)) = rejected {
                        rejected.hold(line, original);
                    }
                    // If the channel is closed, the database has failed, and its error is returned.
                    if !send(Message::Record(line, draft)) {
                        return ControlFlow::Break(());
                    }
                }
                Err(violations) => {
                    self.rejected += 1;
                    if let Some((rejected, original)) = rejected
                        && let Err(error) = rejected.write(line, &original, &violations)
                    {
                        unwritten = Some(error);
                        return ControlFlow::Break(());
                    }
                    if self.rejected <= MAX_LISTED as u64 {
                        self.errors.extend(violations.into_iter().map(|v| v.on_line(line)));
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = unwritten {
            return Err(error);
        }
        self.file = Some(source.facts());
        self.ignored = columns.ignored(self.policy == Conflict::Update);
        self.columns = columns.shown(|column, field| self.sample.can_be(column, field, *dates));
        self.columns.truncate(MAX_SHOWN_COLUMNS);
        if let Some(unknown) = &mut self.unknown {
            self.new_fields = std::mem::take(unknown).fields(self.schema);
        }
        self.header_row = file.likely_header();
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
                self.problems.add(line, &violation, &[], None);
                return Some(Err(vec![violation]));
            }
        };
        self.sample.add(cells.iter().cloned());
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
        let name = self.schema.declared().find(|field| field.ty == Type::Text);
        let title = fields.iter().find(|(field, _)| name.is_some_and(|name| name.name == field));
        let title = title.and_then(|(_, value)| value.text()).map(str::to_owned);
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
            self.problems.add(line, violation, orders, title.as_deref());
        }
        Some(Err(broken.into_iter().map(|(violation, _)| violation).collect()))
    }

    /// Returns the report, or the error of an import that writes nothing.
    pub(super) fn report(&self, tally: Tally, policy: Conflict) -> Result<Report> {
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
            let help = "; try on_conflict=skip, which imports the other rows";
            let detail = format!("{rejected} {rows} rejected{listed}{}{help}", kinds());
            return Err(Error {
                violations: report.errors,
                ..Error::new(Kind::RowsRejected, detail)
            });
        }
        Ok(report)
    }

    /// Returns the report of what was read and written.
    pub(super) fn counted(&self, tally: Tally) -> Report {
        let mut errors = self.errors.clone();
        let mut problems = self.problems.clone();
        for violation in &tally.conflicts {
            let line = violation.line.and_then(|line| u64::try_from(line).ok()).unwrap_or_default();
            match self.policy {
                // Other conflicts are those of another unique key, or of a record that was changed.
                Conflict::Fail => problems.add_existing(line, violation),
                _ => problems.add(line, violation, &[], None),
            }
        }
        problems.count_existing(tally.conflicting);
        errors.extend(tally.conflicts);
        errors.sort_by_key(|violation| violation.line);
        let lines: BTreeSet<_> = errors.iter().map(|violation| violation.line).collect();
        if let Some(first_unlisted) = lines.iter().nth(MAX_LISTED) {
            errors.retain(|violation| violation.line < *first_unlisted);
        }
        let mut existing = tally.existing;
        for violation in errors.iter_mut().chain(&mut existing) {
            violation.row = violation.line.and_then(|line| self.numbers.of(line));
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
            problems: problems.list(&self.numbers),
            repeated: count(tally.repeated),
            existing,
            file: self.file.clone(),
            columns: self.columns.clone(),
            missing: is_dry.then(|| self.missing.clone()),
            header_row: self.header_row.filter(|_| is_dry).map(count),
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
