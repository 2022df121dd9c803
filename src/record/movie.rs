//! All there is to say about a movie.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::{Declared, UNBOUNDED, leaked, managed};
use crate::query::{Field, Schema, Search, Type};

static MOVIES: LazyLock<&'static Schema> = LazyLock::new(|| {
    leaked(Declared {
        name: "Movie",
        collection: "movies",
        description: "A film of the catalogue, and the day its licence ends.",
        fields: vec![
            field(
                "title",
                "The title. Remakes share theirs: only title and year together tell films apart.",
                Type::Text,
                1..=300,
                "The Third Man",
            ),
            field(
                "genre",
                "The main genre, in lower case by convention.",
                Type::Text,
                1..=100,
                "film noir",
            ),
            field(
                "release_year",
                "The year of the first release.",
                Type::Integer,
                1870..=9999,
                "1949",
            ),
            field(
                "expiry_date",
                "The last day on which the film may be shown.",
                Type::Date,
                UNBOUNDED,
                "2031-12-31",
            ),
        ],
        unique: vec![vec!["title", "release_year"]],
        indexes: vec![vec!["genre", "expiry_date"], vec!["expiry_date"], vec!["release_year"]],
        searches: vec![
            Search {
                name: "genre_and_dates",
                description: "Dramas whose licence ends in the first half of 2024.",
                filter: "genre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30",
            },
            Search {
                name: "alternatives",
                description: "Several genres or a word of the title, not before 1990.",
                filter: "(genre in (\"drama\", \"comedy\") or title contains 'star') and not release_year < 1990",
            },
            Search {
                name: "soon",
                description: "Licences that end within thirty days.",
                filter: "expiry_date between today and today + 30d",
            },
            Search {
                name: "beginning",
                description: "Titles that begin with a word, of one decade.",
                filter: "title starts with \"the\" and release_year between 1940 and 1949",
            },
            Search {
                name: "year",
                description: "Licences that end in one year.",
                filter: "year(expiry_date) = 2025",
            },
        ],
    })
});

fn field(
    name: &'static str,
    description: &'static str,
    ty: Type,
    bounds: RangeInclusive<i64>,
    example: &'static str,
) -> Field {
    let searchable = ty == Type::Text;
    let field = managed(name, description, ty, example);
    Field { bounds, writable: true, managed: false, searchable, ..field }
}

/// The record type of the movies.
pub fn movies() -> &'static Schema {
    *MOVIES
}
