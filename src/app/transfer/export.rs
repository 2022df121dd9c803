//! Exporting records page by page, as the bytes of a file.

use crate::app::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::Result;
use crate::identity::{Access, Identity};
use crate::query::{BoundQuery, Schema, Shape, Statement, Value};
use crate::store::{Documents, Place, Store};
use crate::telemetry::metrics::{EXPORT, METRICS};

use super::{Format, csv};

/// The number of records per page. Each page is one statement, so that a slow client holds nothing in the database.
const PAGE: u32 = 1000;

/// An export in progress. Each page shows the records at the time when it is read. A record that is written during
/// the export may be included or not. It is included twice only if a field of the sort order has changed.
pub struct Export {
    store: Store,
    query: BoundQuery,
    form: Form,
    /// Whether a record has been written.
    is_started: bool,
    /// The first page. It is read in advance, so that a database error is returned before the file starts.
    first: Option<Part>,
    is_done: bool,
    /// The place among the concurrent exports; `None` for an export of a single page.
    place: Option<Place>,
}

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

/// Starts an export of the selected records.
///
/// # Errors
/// [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InsufficientScope`],
/// [`crate::error::Kind::TooManyRequests`] if the caller has as many exports as allowed,
/// [`crate::error::Kind::Unavailable`] if the service has; any database error, for the first page.
pub async fn export(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    selection: &Selection,
    form: Form,
) -> Result<Export> {
    caller.require(Access::Read, schema)?;
    let query = selection.bind(&selection.prepare(schema)?, timestamp_now())?;
    let mut export = Export {
        store: store.clone(),
        query,
        form,
        is_started: false,
        first: None,
        is_done: false,
        place: None,
    };
    export.first = export.read().await?;
    if !export.is_done {
        export.place = Some(store.export_place(&caller.subject)?);
        export.store = store.transfers();
    }
    Ok(export)
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
            Form::File(Format::Ndjson) => Ok(Vec::new()),
            Form::File(Format::Csv) => csv::head(self.schema()),
            Form::List { name, .. } => Ok(format!("{{\"{name}\":[").into_bytes()),
        }
    }

    /// Returns the bytes after the records.
    pub fn tail(&self) -> &'static [u8] {
        match self.form {
            Form::File(_) => b"",
            Form::List { .. } => b"]}",
        }
    }

    /// Returns the next records, at least one, or `None` at the end.
    ///
    /// # Errors
    /// Any database error.
    pub async fn next(&mut self) -> Result<Option<Part>> {
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
            Form::File(Format::Csv) => {
                let found = self.store.fetch(self.schema(), statement).await?;
                let last = found.last().filter(|_| found.len() == PAGE as usize);
                let last = last.map(|last| last.sort_keys(&self.query.order));
                (Part { bytes: csv::records(&found)?, count: found.len() }, last)
            }
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

    async fn read_json(
        &self,
        form: Form,
        statement: Statement,
    ) -> Result<(Part, Option<Vec<Option<Value>>>)> {
        let separator = if form == Form::File(Format::Ndjson) { b'\n' } else { b',' };
        let mut found = Documents::new(self.schema(), &self.query.order, PAGE, separator);
        if let Form::List { fields, .. } = form {
            found = found.with_fields(fields);
        }
        self.store.fetch_into(&mut found, statement).await?;
        let (count, last) = (found.len(), found.last().map(<[_]>::to_vec));
        let mut bytes = found.into_json();
        match form {
            // Every line ends with a newline, also the last one.
            Form::File(_) if count > 0 => bytes.push(separator),
            Form::List { .. } if count > 0 && self.is_started => bytes.insert(0, separator),
            _ => {}
        }
        Ok((Part { bytes, count }, last))
    }
}
