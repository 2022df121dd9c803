//! A movie as the service returns it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A movie. Dates and timestamps are of the types that the database returns.
#[derive(Serialize)]
pub struct Movie<'r, Date, Timestamp> {
    pub id: Uuid,
    pub title: &'r str,
    pub genre: &'r str,
    pub release_year: i64,
    pub expiry_date: Date,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A page of movies.
#[derive(Serialize)]
pub struct Page<M> {
    pub items: Vec<M>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    pub warnings: [(); 0],
}

/// What a page has besides its movies.
#[derive(Serialize)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    pub warnings: [(); 0],
}

/// The fields of a new movie.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft<Date> {
    pub title: String,
    pub genre: String,
    pub release_year: i64,
    pub expiry_date: Date,
}

impl<Date> Draft<Date> {
    /// Whether the service accepts such a movie.
    pub fn is_valid(&self) -> bool {
        (1..=300).contains(&self.title.chars().count())
            && (1..=100).contains(&self.genre.chars().count())
            && (1870..=9999).contains(&self.release_year)
    }
}

/// The columns of `INSERT INTO "movies" ("id", …) VALUES …`, in their order.
pub fn columns(insert: &str) -> impl Iterator<Item = &str> {
    let list = insert.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    list.map_or("", |(list, _)| list).split(',').map(|name| name.trim().trim_matches('"'))
}
