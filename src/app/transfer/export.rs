//! Records out of the database, a page at a time, and as the bytes of a file.

use crate::app::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::Result;
use crate::identity::{Access, Identity};
use crate::query::{BoundQuery, Schema, Shape, Statement, Value, compile};
use crate::store::{Documents, Place, Store};

use super::{Format, csv};

/// Records of a page. One statement each: nothing is held in the database between two pages.
const PAGE: u32 = 1000;

/// Records in order. Each page is read as it is at that moment: a record that is written meanwhile
/// is in it or not, and none is in it twice unless the order is by what has been changed.
pub struct Export {
    store: Store,
    query: BoundQuery,
    form: Form,
    /// Whether a record is written.
    is_begun: bool,
    /// The page that was read first, to see that the database responds.
    first: Option<Part>,
    is_done: bool,
    /// A file of a single page needs none.
    place: Option<Place>,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file.
    File(Format),
    /// A JSON object with one member, an array of records with some of their fields.
    List {
        /// The member.
        name: &'static str,
        /// The fields.
        fields: &'static [&'static str],
    },
}

/// A part of an export.
pub struct Part {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many records it has.
    pub count: usize,
}

/// Begins to read the records of a selection, to be written in that form.
///
/// # Errors
/// [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InsufficientScope`],
/// [`crate::error::Kind::TooManyRequests`] when the caller has as many exports as one may have,
/// [`crate::error::Kind::Unavailable`] when there are as many as the service writes at a time; any
/// database error, for the first page.
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
        is_begun: false,
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
    /// Its record type.
    pub fn schema(&self) -> &'static Schema {
        self.query.schema
    }

    /// What stands before the records.
    ///
    /// # Errors
    /// None that could be provoked: field names are text.
    pub fn head(&self) -> Result<Vec<u8>> {
        match self.form {
            Form::File(Format::Ndjson) => Ok(Vec::new()),
            Form::File(Format::Csv) => csv::head(self.schema()),
            Form::List { name, .. } => Ok(format!("{{\"{name}\":[").into_bytes()),
        }
    }

    /// What follows the records.
    pub fn tail(&self) -> &'static [u8] {
        match self.form {
            Form::File(_) => b"",
            Form::List { .. } => b"]}",
        }
    }

    /// The next records, at least one; `None` when there are no more.
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
        let statement = compile(&self.query, Shape::Page { limit: PAGE }, self.store.dialect());
        let (part, last) = match self.form {
            Form::File(Format::Csv) => {
                let found = self.store.fetch(self.schema(), statement).await?;
                let last = found.last().filter(|_| found.len() == PAGE as usize);
                let last = last.map(|last| last.sort_keys(&self.query.order));
                (Part { bytes: csv::records(&found)?, count: found.len() }, last)
            }
            form => self.read_json(form, statement).await?,
        };
        self.is_begun |= part.count > 0;
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
            // A line of its own for each, the last one too.
            Form::File(_) if count > 0 => bytes.push(separator),
            Form::List { .. } if count > 0 && self.is_begun => bytes.insert(0, separator),
            _ => {}
        }
        Ok((Part { bytes, count }, last))
    }
}
