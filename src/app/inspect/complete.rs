//! Completing an unfinished filter, with values from the database.

use poem_openapi::Object;
use serde::Serialize;

use super::readable;
use crate::app::position::PositionEncoding;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::query::compile::compile_frequent;
use crate::query::complete::{Candidate, Continuation, complete as continuation};
use crate::query::limits::MAX_TEXT_BYTES;
use crate::record::Catalogue;
use crate::store::Store;

/// The maximum number of values of a field among the candidates.
const MAX_VALUES: u32 = 20;

/// How a filter can continue at the caret.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Completion {
    /// The position that a candidate replaces from, counted from 0: the start of the word or string at the caret.
    pub start: i32,
    /// The position after the last character that a candidate replaces; equal to `start` if it is only inserted.
    pub end: i32,
    /// The candidates: values of the field first, most frequent first, then everything else.
    pub candidates: Vec<Candidate>,
}

/// Completes a filter on a collection at the caret. The default is the end of the filter.
///
/// # Errors
/// [`crate::error::Kind::InvalidParameter`] for a caret outside of the filter or an unknown collection,
/// [`crate::error::Kind::InsufficientScope`]; any database error.
pub async fn complete(
    store: &Store,
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
    filter: &str,
    caret: Option<i64>,
    positions: PositionEncoding,
) -> Result<Completion> {
    let schema = readable(catalogue, caller, collection)?;
    if filter.len() > MAX_TEXT_BYTES {
        let detail =
            format!("filter: expected at most {MAX_TEXT_BYTES} bytes, found {}", filter.len());
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let caret = match caret {
        None => filter.len(),
        Some(caret) => positions.byte(filter, caret)?,
    };
    let Continuation { start, end, candidates, values } = continuation(filter, caret, schema);
    let mut all = Vec::new();
    if let Some(values) = values {
        let (field, prefix) = (values.field, &values.beginning);
        let statement = compile_frequent(schema, field, prefix, MAX_VALUES, store.dialect());
        let found = store.texts(statement).await?;
        all.extend(found.iter().filter_map(|value| values.candidate(value)));
    }
    all.extend(candidates);
    let position = |byte| positions.position(filter, byte);
    Ok(Completion { start: position(start), end: position(end), candidates: all })
}
