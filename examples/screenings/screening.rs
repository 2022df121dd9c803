//! A second record type, with fields that may be null and every type the language has.

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::store::Migrations;

cinequery::record! {
    /// A showing of a film in a hall.
    pub struct Screening in "screenings", unique by [film, starts_at] {
        /// The title of the film.
        film: String, 1..=300, such as "The Third Man";
        /// The hall, once it has been chosen.
        hall: Option<String>, 1..=40, such as "Blue Hall";
        /// How many seats are for sale.
        seats: Option<i32>, 0..=5000, such as 120;
        /// Whether it is shown with subtitles.
        subtitled: Option<bool>, such as true;
        /// When it begins.
        starts_at: DateTime<Utc>, such as "2026-05-01T20:15:00Z";
        /// The last day of the sale.
        sale_ends: Option<NaiveDate>, such as "2026-04-30";
    }
    searches {
        /// With subtitles, in halls that have been chosen.
        subtitled: "subtitled and hall is not null";
        /// Those of the next day, in large halls.
        soon: "starts_at between now and now + 1d and seats > 300";
    }
}

/// The service's tables. That of the screenings follows from their declaration.
pub(crate) fn migrations() -> Migrations {
    Migrations::default()
}
