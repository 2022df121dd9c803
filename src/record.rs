//! Record types: their declarations, the list of them, and records that clients send.
//!
//! A record type is a [`Schema`](crate::query::Schema), from which everything else follows: the fields of filters,
//! validation, the OpenAPI document and the columns of the table.

mod catalogue;
pub mod declaration;
mod draft;
mod saved_query;

use std::ops::RangeInclusive;

pub use self::catalogue::{BUILT_IN, Catalogue};
pub use self::draft::{Author, Draft, Fields, Members, Patch, Row};
pub use self::saved_query::saved_queries;

/// The bounds of a field for which none are given.
pub const UNBOUNDED: RangeInclusive<i64> = i64::MIN..=i64::MAX;
