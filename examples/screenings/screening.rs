//! A second record type, with fields that may be null and every type the language has.

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::store::Migrations;

cinequery::record! {
    /// A showing of a film in a hall.
    pub struct Screening in "screenings", unique by [film, starts_at] {
        /// The title of the film.
        film: String, 1..=300;
        /// The hall, once it has been chosen.
        hall: Option<String>, 1..=40;
        /// How many seats are for sale.
        seats: Option<i32>, 0..=5000;
        /// Whether it is shown with subtitles.
        subtitled: Option<bool>;
        /// When it begins.
        starts_at: DateTime<Utc>;
        /// The last day of the sale.
        sale_ends: Option<NaiveDate>;
    }
}

/// The service's tables and that of the screenings.
pub(crate) fn migrations() -> Migrations {
    let (sqlite, postgres) = (include_str!("sqlite.sql"), include_str!("postgres.sql"));
    Migrations::default().with(1000, "screenings", sqlite, postgres)
}
