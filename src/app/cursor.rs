//! Cursors: the position after a page. The next page continues there, even if records are written in between.
//!
//! A cursor is opaque to clients, but not secret: it contains nothing that a filter could not find out.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::query::plan::SortKey;
use crate::query::{Argument, Arguments, Schema, Value, ast, format, literal};

/// The maximum length of a cursor in characters. It is a query parameter of a URL.
const MAX_CHARACTERS: usize = 16 * 1024;

/// The length of a fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 12;

/// The version of how orders are completed: records with the same keys are in the order of their ids, in the direction of
/// the last key. A cursor of another version would skip records.
const ORDER: u8 = 2;

/// The end of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The time of the first page, so that `today` and `now` are the same on all pages.
    pub as_of: DateTime<Utc>,
    /// The values of the sort keys of the last record, `None` for null.
    pub keys: Vec<Option<Value>>,
}

/// The JSON in a cursor, which is encoded as base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    search: String,
    as_of: String,
    keys: Vec<serde_json::Value>,
}

impl Cursor {
    /// Encodes the cursor, with the fingerprint of its search.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if the values of the last record are too long.
    pub fn encode(&self, search: &str) -> Result<String> {
        let keys = self.keys.iter().map(|key| key.as_ref().into());
        let as_of = Value::Timestamp(self.as_of).to_string();
        let wire = Wire { search: search.to_owned(), as_of, keys: keys.collect() };
        let json = serde_json::to_vec(&wire).map_err(Error::internal)?;
        let cursor = BASE64_URL_SAFE_NO_PAD.encode(json);
        if cursor.len() > MAX_CHARACTERS {
            let detail =
                "the values of order_by are too long for a cursor; order by a shorter field";
            return Err(Error::new(Kind::InvalidParameter, detail));
        }
        Ok(cursor)
    }

    /// Decodes a cursor of the search with this fingerprint and order.
    ///
    /// # Errors
    /// [`Kind::InvalidCursor`].
    pub fn decode(text: &str, search: &str, order: &[SortKey]) -> Result<Self> {
        let invalid = |detail: &str| Error::new(Kind::InvalidCursor, detail);
        let malformed = || invalid("expected `next_cursor` of the previous page, unchanged");
        if text.len() > MAX_CHARACTERS {
            return Err(malformed());
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| malformed())?;
        if wire.search != search {
            return Err(invalid("filter, order_by and parameters must be those of the first page"));
        }
        // The bounds of a literal: beyond them, `today` with an offset would be outside the calendar.
        let as_of = literal::timestamp(&wire.as_of).map_err(|_| malformed())?;
        if wire.keys.len() != order.len() {
            return Err(malformed());
        }
        let keys = order.iter().zip(wire.keys).map(|(key, json)| match json {
            serde_json::Value::Null if key.field.nullable => Ok(None),
            json => Argument::from(json).read(key.field.ty).map(Some).map_err(|_| malformed()),
        });
        Ok(Self { as_of, keys: keys.collect::<Result<_>>()? })
    }
}

/// Returns the fingerprint of a search: of its record type, canonical filter and order, and parameters.
pub fn fingerprint(schema: &Schema, query: &ast::Query, arguments: &Arguments) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{}\n{ORDER}", schema.name, format::query(query)));
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Untyped(text) | Argument::Text(text) => text.clone(),
            Argument::Integer(number) => number.to_string(),
            Argument::Boolean(flag) => flag.to_string(),
            Argument::Unsupported(kind) => (*kind).to_owned(),
        };
        hash.update(format!("\n{name}={}:{value}", value.len()));
    }
    let digest = hash.finalize();
    BASE64_URL_SAFE_NO_PAD.encode(digest.get(..FINGERPRINT_BYTES).unwrap_or(&digest))
}
