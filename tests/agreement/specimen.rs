//! A record made to be difficult: every type, nearly everything nullable, two fields of most types,
//! and no bounds.

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::store::Migrations;

use crate::support::screening;

cinequery::record! {
    /// A record that exists to be searched.
    pub struct Specimen in "specimens", unique by [label] {
        /// What it is told apart by.
        label: String, 1..=40;
        /// A text.
        name: Option<String>, 0..=60;
        /// Another text.
        note: Option<String>, 0..=60;
        /// An integer of 64 bits.
        number: Option<i64>;
        /// An integer of 32 bits.
        small: Option<i32>, -2_147_483_648..=2_147_483_647;
        /// A boolean.
        flag: Option<bool>;
        /// Another boolean.
        mark: Option<bool>;
        /// A date.
        day: Option<NaiveDate>;
        /// Another date.
        end: Option<NaiveDate>;
        /// A timestamp.
        moment: Option<DateTime<Utc>>;
    }
}

/// The service's tables.
pub(super) fn migrations() -> Migrations {
    screening::migrations()
}
