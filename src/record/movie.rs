//! All there is to say about a movie.

use chrono::NaiveDate;

crate::record! {
    /// A film of the catalogue, and the day its licence ends.
    pub struct Movie in "movies", unique by [title, release_year] {
        /// The title. Remakes share theirs: only title and year together tell films apart.
        title: String, 1..=300;
        /// The main genre, in lower case by convention.
        genre: String, 1..=100;
        /// The year of the first release.
        release_year: i32, 1870..=9999;
        /// The last day on which the film may be shown.
        expiry_date: NaiveDate;
    }
}
