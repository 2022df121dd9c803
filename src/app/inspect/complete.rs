//! How an unfinished filter goes on, with the values that are in the database.

use poem_openapi::Object;
use serde::Serialize;

use super::readable;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::query::compile::compile_frequent;
use crate::query::complete::{Candidate, Continuation, complete as continuation};
use crate::query::diagnostic::count;
use crate::record::Catalogue;
use crate::store::Store;

/// The most values of a field that are offered.
const MAX_VALUES: u32 = 20;

/// How a filter may go on at the caret.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Completion {
    /// The first character that a candidate replaces, counted from 0: that of the word or string which
    /// the caret touches.
    pub start: i32,
    /// One past the last character that it replaces; `start` when it is only added.
    pub end: i32,
    /// What may stand there: values of the field first, the most frequent before the others.
    pub candidates: Vec<Candidate>,
}

/// Completes a filter on a collection at the caret, a position in characters; at its end
/// when none is given.
///
/// # Errors
/// [`Kind::InvalidParameter`] for a caret outside of the filter or a collection that does not exist,
/// [`Kind::InsufficientScope`]; the database's.
pub async fn complete(
    store: &Store,
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
    filter: &str,
    caret: Option<i64>,
) -> Result<Completion> {
    let schema = readable(catalogue, caller, collection)?;
    let caret = match caret {
        None => filter.len(),
        Some(caret) => byte_of(filter, caret)?,
    };
    let Continuation { start, end, candidates, values } = continuation(filter, caret, schema);
    let mut all = Vec::new();
    if let Some(values) = values {
        let (field, beginning) = (values.field, &values.beginning);
        let statement = compile_frequent(schema, field, beginning, MAX_VALUES, store.dialect());
        let found = store.texts(statement).await?;
        all.extend(found.iter().filter_map(|value| values.candidate(value)));
    }
    all.extend(candidates);
    let character = |byte| count(filter.get(..byte).unwrap_or(filter).chars().count());
    Ok(Completion { start: character(start), end: character(end), candidates: all })
}

/// The byte at which a character begins, or the end of the text.
fn byte_of(text: &str, character: i64) -> Result<usize> {
    let mut bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    let place = usize::try_from(character).ok().and_then(|character| bytes.nth(character));
    place.ok_or_else(|| {
        let length = text.chars().count();
        let detail = format!("caret must lie between 0 and {length}, and is {character}");
        Error::new(Kind::InvalidParameter, detail)
    })
}
