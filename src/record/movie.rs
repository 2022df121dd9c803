//! All there is to say about a movie.

use chrono::NaiveDate;

crate::record! {
    /// A film of the catalogue, and the day its licence ends.
    pub struct Movie in "movies", unique by [title, release_year],
        indexes [[genre, expiry_date], [expiry_date], [release_year]] {
        /// The title. Remakes share theirs: only title and year together tell films apart.
        title: String, 1..=300, such as "The Third Man";
        /// The main genre, in lower case by convention.
        genre: String, 1..=100, such as "film noir";
        /// The year of the first release.
        release_year: i32, 1870..=9999, such as 1949;
        /// The last day on which the film may be shown.
        expiry_date: NaiveDate, such as "2031-12-31";
    }
    searches {
        /// Dramas whose licence ends in the first half of 2024.
        genre_and_dates: "genre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30";
        /// Several genres or a word of the title, not before 1990.
        alternatives: "(genre in (\"drama\", \"comedy\") or title contains 'star') and not release_year < 1990";
        /// Licences that end within thirty days.
        soon: "expiry_date between today and today + 30d";
        /// Titles that begin with a word, of one decade.
        beginning: "title starts with \"the\" and release_year between 1940 and 1949";
        /// Licences that end in one year.
        year: "year(expiry_date) = 2025";
    }
}
