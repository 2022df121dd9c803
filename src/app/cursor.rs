//! Cursors: where a page ended, so that the next begins there whatever has been written meanwhile.
//!
//! A cursor is opaque to clients and no secret: it says nothing that a filter could not say.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::query::plan::SortKey;
use crate::query::{Argument, Arguments, Schema, Value, ast, format, literal};

/// The longest cursor, in characters. It is a part of a URL.
const MAX_CHARACTERS: usize = 16 * 1024;

/// How many bytes of the fingerprint a cursor keeps.
const FINGERPRINT_BYTES: usize = 12;

/// The end of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The moment of the first page: `today` and `now` stay what they were.
    pub as_of: DateTime<Utc>,
    /// The values of the sort keys of the last record, `None` for null.
    pub keys: Vec<Option<Value>>,
}

/// The form in which a cursor travels: base64url of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    search: String,
    as_of: String,
    keys: Vec<serde_json::Value>,
}

impl Cursor {
    /// The cursor as text, tied to its search.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] when the last record has values that are too long.
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

    /// Reads a cursor that belongs to the search with that fingerprint and order.
    ///
    /// # Errors
    /// [`Kind::InvalidCursor`].
    pub fn decode(text: &str, search: &str, order: &[SortKey]) -> Result<Self> {
        let refused = |detail: &str| Error::new(Kind::InvalidCursor, detail);
        let malformed = || refused("use `next_cursor` of the page before, unchanged");
        if text.len() > MAX_CHARACTERS {
            return Err(malformed());
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| malformed())?;
        if wire.search != search {
            return Err(refused("filter, parameters and order must stay those of the first page"));
        }
        // The same bounds as for a literal: beyond them `today` would leave the calendar.
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

/// What a search is recognised by: its record type, canonical filter and order, and parameters.
pub fn fingerprint(schema: &Schema, query: &ast::Query, arguments: &Arguments) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{}", schema.name, format::query(query)));
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
