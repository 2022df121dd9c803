//! What a record type is, and the list of them.
//!
//! A type is a [`Schema`](crate::query::Schema) from which everything else follows: the filter language, validation, the specification,
//! the columns.

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
