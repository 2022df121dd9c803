//! Records out of the database, a page at a time, and as the bytes of a file.

use crate::app::cursor::sort_keys;
use crate::app::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::identity::{Access, Identity};
use crate::query::{Query, Shape, compile};
use crate::record::Record;
use crate::store::{Place, Store};

use super::{Format, csv};

/// Records of a page. One statement each: nothing is held in the database between two pages.
const PAGE: u32 = 1000;

/// Records in order. Each page is read as it is at that moment: a record that is written meanwhile
/// is in it or not, and none is in it twice unless the order is by what has been changed.
pub struct Export<R> {
    store: Store,
    query: Query,
    /// The page that was read first, to see that the database answers.
    first: Option<Vec<R>>,
    is_done: bool,
    /// A file of a single page needs none.
    place: Option<Place>,
}

/// Begins to read the records of a selection.
///
/// # Errors
/// [`crate::error::Kind::InvalidQuery`], [`crate::error::Kind::InsufficientScope`],
/// [`crate::error::Kind::TooManyRequests`] when the caller has as many exports as one may have,
/// [`crate::error::Kind::Unavailable`] when there are as many as the service writes at a time; any
/// database error, for the first page.
pub async fn export<R: Record>(
    store: &Store,
    caller: &Identity,
    selection: &Selection,
) -> Result<Export<R>> {
    caller.require(Access::Read, R::SCHEMA)?;
    let query = selection.bind(&selection.prepare(R::SCHEMA)?, timestamp_now())?;
    let mut export =
        Export { store: store.clone(), query, first: None, is_done: false, place: None };
    export.first = export.read().await?;
    if !export.is_done {
        export.place = Some(store.export_place(&caller.subject)?);
        export.store = store.transfers();
    }
    Ok(export)
}

impl<R: Record> Export<R> {
    /// The next records, at least one; `None` when there are no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn next(&mut self) -> Result<Option<Vec<R>>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<Vec<R>>> {
        if self.is_done {
            return Ok(None);
        }
        let statement = compile(&self.query, Shape::Page { limit: PAGE }, self.store.dialect());
        let records: Vec<R> = self.store.fetch(statement).await?;
        self.is_done = records.len() < PAGE as usize;
        let Some(last) = records.last() else { return Ok(None) };
        let keys = sort_keys(last, &self.query.order);
        self.query.continue_after(&keys);
        Ok(Some(records))
    }
}

/// Records as the bytes of a file.
#[derive(Debug, Clone, Copy)]
pub struct Writer(pub Format);

impl Writer {
    /// What the file begins with.
    ///
    /// # Errors
    /// None that could be provoked: field names are text.
    pub fn head<R: Record>(self) -> Result<Vec<u8>> {
        match self.0 {
            Format::Ndjson => Ok(Vec::new()),
            Format::Csv => csv::head::<R>(),
        }
    }

    /// The records, in all the form they have.
    ///
    /// # Errors
    /// None that could be provoked: the fields of a record all have a text.
    pub fn records<R: Record>(self, records: &[R]) -> Result<Vec<u8>> {
        match self.0 {
            Format::Csv => csv::records(records),
            Format::Ndjson => {
                let mut bytes = Vec::new();
                for record in records {
                    serde_json::to_writer(&mut bytes, record).map_err(Error::internal)?;
                    bytes.push(b'\n');
                }
                Ok(bytes)
            }
        }
    }
}
