//! Shapes: what a statement returns about the records that match a query.

use super::facet::Facet;

/// What a statement returns about the matching records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The records themselves, in order.
    Page {
        /// The maximum number of records.
        limit: u32,
    },
    /// The ids of the records in their order, up to a limit. PostgreSQL locks the records.
    LockedIds {
        /// The maximum number of ids.
        limit: u32,
    },
    /// The number of records on all pages.
    Count,
    /// The number of records, up to a limit.
    CountUpTo {
        /// The limit, where counting stops.
        limit: u32,
    },
    /// The number of records for each value of a field or each bucket, with the columns of a
    /// [`Group`](super::facet::Group). Values are ordered by count, the greatest first, and then by
    /// value; buckets are ordered by value. Null comes after the values of the
    /// same count, and after all buckets.
    Groups {
        /// The field and interval.
        facet: Facet,
        /// The maximum number of groups.
        limit: u32,
    },
}
