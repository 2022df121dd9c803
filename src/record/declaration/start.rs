//! A declaration to start from.

use super::Mistake;
use super::names::{check_collection, record_name};
use crate::record::BUILT_IN;

/// A commented declaration of a record type with that collection; of `movies` the built-in one.
///
/// # Errors
/// A name that no collection can have.
pub fn start(collection: &str) -> Result<String, Mistake> {
    if collection == "movies" {
        return Ok(BUILT_IN.to_owned());
    }
    check_collection(collection)?;
    Ok(include_str!("start.toml")
        .replace("{name}", &record_name(collection))
        .replace("{collection}", collection))
}
