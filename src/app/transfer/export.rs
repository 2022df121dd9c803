//! Exporting records page by page, as the bytes of a file.

use std::fs::File;
use std::io::Read;

use crate::app::selection::{Selection, chosen_fields};
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::identity::{Access, Identity};
use crate::query::{BoundQuery, Field, Schema, Shape, Statement, Value};
use crate::store::{Documents, Place, Record, Store};
use crate::telemetry::metrics::{EXPORT, METRICS};

use super::Format;
use super::csv::Style;
use super::sheet::Sheet;

/// The number of records per page. Each page is one statement, so that a slow client holds nothing in the database.
const PAGE: u32 = 1000;

/// An export in progress. Each page shows the records at the time when it is read. A record that is written during
/// the export may be included or not. It is included twice only if a field of the sort order has changed.
pub struct Export {
    store: Store,
    query: BoundQuery,
    form: Form,
    fields: Vec<&'static Field>,
    /// A workbook, which is complete before its first byte is sent, and the number of its records.
    workbook: Option<(File, usize)>,
    /// Whether a record has been written.
    is_started: bool,
    /// The first page. It is read in advance, so that a database error is returned before the file starts.
    first: Option<Part>,
    is_done: bool,
    /// The place among the concurrent exports; `None` for an export of a single page.
    place: Option<Place>,
}

/// The number of bytes of a workbook that are read at once.
const CHUNK: usize = 64 * 1024;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file of records.
    File(Format),
    /// A JSON object with one member: an array of records with some of their fields.
    List {
        /// The name of the member.
        name: &'static str,
        /// The fields of each record.
        fields: &'static [&'static str],
    },
}

/// A part of an export.
pub struct Part {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The number of records.
    pub count: usize,
}

/// Starts an export of the selected records, with these fields or with all. In tables, chosen ones have this order. A
/// workbook is written here, to its end.
///
/// # Errors
/// [`crate::error::Kind::InvalidParameter`] for an unknown or repeated field, or for more records than a workbook has room
/// for; [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InsufficientScope`],
/// [`crate::error::Kind::TooManyRequests`] if the caller has as many exports as allowed,
/// [`crate::error::Kind::Unavailable`] if the service has; any database error, for the first page.
pub async fn export(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    selection: &Selection,
    form: Form,
    fields: &[String],
) -> Result<Export> {
    caller.require(Access::Read, schema)?;
    let fields = match fields {
        [] => all_fields(schema, form),
        names => chosen_fields(schema, names)?,
    };
    let query = selection.bind(&selection.prepare(schema)?, timestamp_now())?;
    let mut export = Export {
        store: store.clone(),
        query,
        form,
        fields,
        workbook: None,
        is_started: false,
        first: None,
        is_done: false,
        place: None,
    };
    if form == Form::File(Format::Xlsx) {
        export.place = Some(store.export_place(&caller.subject)?);
        export.store = store.transfers();
        export.workbook = Some(export.write_workbook().await?);
        return Ok(export);
    }
    export.first = export.read().await?;
    if !export.is_done {
        export.place = Some(store.export_place(&caller.subject)?);
        export.store = store.transfers();
    }
    Ok(export)
}

/// Returns all fields in the order of the file. In one for spreadsheets, `id` and `version` come last: they are for an
/// import, which finds columns by their names, and not for the reader.
fn all_fields(schema: &'static Schema, form: Form) -> Vec<&'static Field> {
    let mut fields: Vec<&Field> = schema.fields.iter().collect();
    if matches!(form, Form::File(Format::Xlsx | Format::ExcelCsv)) {
        fields.sort_by_key(|field| field.managed && matches!(field.name, "id" | "version"));
    }
    fields
}

impl Export {
    /// Returns the record type.
    pub fn schema(&self) -> &'static Schema {
        self.query.schema
    }

    /// Returns the bytes before the records.
    ///
    /// # Errors
    /// None in practice, because field names are text.
    pub fn head(&self) -> Result<Vec<u8>> {
        match self.form {
            Form::File(Format::Ndjson | Format::Xlsx) => Ok(Vec::new()),
            Form::File(Format::Json) => Ok(b"[\n".to_vec()),
            Form::File(Format::Csv) => Style::Standard.head(&self.fields),
            Form::File(Format::ExcelCsv) => Style::Excel.head(&self.fields),
            Form::List { name, .. } => Ok(format!("{{\"{name}\":[").into_bytes()),
        }
    }

    /// Returns the bytes after the records.
    pub fn tail(&self) -> &'static [u8] {
        match self.form {
            Form::File(Format::Json) => b"\n]\n",
            Form::File(_) => b"",
            Form::List { .. } => b"]}",
        }
    }

    /// Returns the next records, at least one, or `None` at the end.
    ///
    /// # Errors
    /// Any database error.
    pub async fn next(&mut self) -> Result<Option<Part>> {
        if let Some((file, count)) = &mut self.workbook {
            let mut bytes = Vec::with_capacity(CHUNK);
            file.take(CHUNK as u64).read_to_end(&mut bytes).map_err(Error::internal)?;
            let part = Part { bytes, count: std::mem::take(count) };
            return Ok(Some(part).filter(|part| !part.bytes.is_empty()));
        }
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<Part>> {
        if self.is_done {
            return Ok(None);
        }
        let statement = self.store.statement(&self.query, Shape::Page { limit: PAGE }).await?;
        let (part, last) = match self.form {
            Form::File(Format::Csv) => self.read_table(Style::Standard, statement).await?,
            Form::File(Format::ExcelCsv) => self.read_table(Style::Excel, statement).await?,
            form => self.read_json(form, statement).await?,
        };
        self.is_started |= part.count > 0;
        METRICS.transferred.get_or_create(&EXPORT).inc_by(part.count as u64);
        match last {
            Some(keys) => self.query.continue_after(&keys),
            None => self.is_done = true,
        }
        Ok(Some(part).filter(|part| part.count > 0))
    }

    async fn read_table(
        &self,
        style: Style,
        statement: Statement,
    ) -> Result<(Part, Option<Vec<Option<Value>>>)> {
        let found = self.store.fetch(self.schema(), statement).await?;
        let bytes = style.records(&found, &self.fields)?;
        Ok((Part { bytes, count: found.len() }, self.last(&found)))
    }

    /// Returns the sort keys of the last record; `None` if no page follows.
    fn last(&self, found: &[Record]) -> Option<Vec<Option<Value>>> {
        let last = found.last().filter(|_| found.len() == PAGE as usize);
        last.map(|last| last.sort_keys(&self.query.order))
    }

    /// Writes all records into a workbook, and returns their number.
    async fn write_workbook(&mut self) -> Result<(File, usize)> {
        let mut sheet = Sheet::new(self.schema(), &self.fields)?;
        let mut count = 0;
        loop {
            let statement = self.store.statement(&self.query, Shape::Page { limit: PAGE }).await?;
            let found = self.store.fetch(self.schema(), statement).await?;
            count += found.len();
            METRICS.transferred.get_or_create(&EXPORT).inc_by(found.len() as u64);
            let last = self.last(&found);
            // Compressing would block the other requests.
            let write = move || sheet.add(&found).map(|()| sheet);
            sheet = tokio::task::spawn_blocking(write).await.map_err(Error::internal)??;
            match last {
                Some(keys) => self.query.continue_after(&keys),
                None => break,
            }
        }
        // The place is kept while the file is written, also if the caller has gone meanwhile.
        let place = self.place.take();
        let finish = move || (sheet.finish(), place);
        let (file, place) = tokio::task::spawn_blocking(finish).await.map_err(Error::internal)?;
        self.place = place;
        Ok((file?, count))
    }

    async fn read_json(
        &self,
        form: Form,
        statement: Statement,
    ) -> Result<(Part, Option<Vec<Option<Value>>>)> {
        let separator = if form == Form::File(Format::Ndjson) { b'\n' } else { b',' };
        let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
        let mut found = Documents::new(self.schema(), &self.query.order, PAGE, separator);
        match form {
            Form::List { fields, .. } => found = found.with_fields(fields),
            Form::File(_) if names.len() < self.schema().fields.len() => {
                found = found.with_fields(&names);
            }
            Form::File(_) => {}
        }
        self.store.fetch_into(&mut found, statement).await?;
        let (count, last) = (found.len(), found.last().map(<[_]>::to_vec));
        let mut bytes = found.into_json();
        match form {
            // Every line ends with a newline, also the last one.
            Form::File(Format::Ndjson) if count > 0 => bytes.push(separator),
            Form::List { .. } | Form::File(_) if count > 0 && self.is_started => {
                bytes.insert(0, separator);
            }
            _ => {}
        }
        Ok((Part { bytes, count }, last))
    }
}
