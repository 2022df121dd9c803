//! Tests with all of `movies.ndjson`, if that file exists. Both databases find the same movies as a predicate in Rust,
//! and movies that are exported and imported are unchanged.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::PathBuf;

use cinequery::app::search::SearchRequest;
use cinequery::app::selection::Selection;
use cinequery::app::transfer::{self, Form, Format, Report};
use cinequery::store::{Conflict, Store};
use serde::Deserialize;

use crate::support::records::Movie;
use crate::support::{Database, Page, identity, movies, search};

/// A line of the file.
#[derive(Deserialize)]
struct Row {
    title: String,
    genre: String,
    release_year: i32,
    expiry_date: String,
}

type Filter = (&'static str, fn(&Row) -> bool);

/// Filters, and equivalent predicates in Rust. `to_lowercase` is sufficient here, because no text has characters that
/// only Unicode's full case folding changes.
const FILTERS: &[Filter] = &[
    ("genre = 'drama' and expiry_date between 2024-01-01 and 2024-12-31", |movie| {
        movie.genre == "drama" && movie.release_year == 1929
    }),
    ("genre in ('western', 'musical') and release_year >= 1950", |movie| {
        ["western", "musical"].contains(&movie.genre.as_str()) && movie.release_year >= 1950
    }),
    ("title contains 'STAR' and not release_year < 1990", |movie| {
        movie.title.to_lowercase().contains("star") && movie.release_year >= 1990
    }),
    ("title starts with 'the ' and title ends with 'man'", |movie| {
        let title = movie.title.to_lowercase();
        title.starts_with("the ") && title.ends_with("man")
    }),
    ("title contains \"'\" and (genre = 'comedy' or genre = 'drama')", |movie| {
        movie.title.contains('\'') && ["comedy", "drama"].contains(&movie.genre.as_str())
    }),
    ("year(expiry_date) = 2100 and month(expiry_date) = 12", |movie| {
        movie.expiry_date.starts_with("2100-12")
    }),
    ("title > 'Z'", |movie| movie.title.as_str() > "Z"),
    ("genre not contains 'o' and release_year between 1930 and 1931", |movie| {
        !movie.genre.to_lowercase().contains('o') && [1930, 1931].contains(&movie.release_year)
    }),
    ("title > genre and title != 'x'", |movie| movie.title > movie.genre && movie.title != "x"),
    ("title contains '%' or title contains '_' or title contains '*'", |movie| {
        movie.title.contains(['%', '_', '*'])
    }),
];

fn file() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/movies.ndjson");
    let path = std::env::var_os("CINEQUERY_MOVIES").map_or(PathBuf::from(default), PathBuf::from);
    path.is_file().then_some(path)
}

async fn import(store: &Store, file: Vec<u8>, format: Format) -> Report {
    let caller = identity(&["movies:write"]);
    let import = transfer::begin(store, &caller, movies()).unwrap();
    import.run(Cursor::new(file), format, Conflict::Skip, |_| {}).await.unwrap()
}

async fn found(store: &Store, filter: &str) -> BTreeSet<(String, i32)> {
    let mut found = BTreeSet::new();
    let mut cursor = None;
    loop {
        let selection = Selection::filter(filter);
        let request = SearchRequest { selection, limit: Some(1000), cursor, ..Default::default() };
        let page: Page<Movie> = search(store, &identity(&["movies:read"]), request).await.unwrap();
        found.extend(page.items.into_iter().map(|movie| (movie.title, movie.release_year)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

/// Exports all movies as a file.
async fn exported(store: &Store, format: Format) -> Vec<u8> {
    let (caller, form) = (identity(&["movies:read"]), Form::File(format));
    let everything = Selection::default();
    let mut export =
        transfer::export(store, &caller, movies(), &everything, form, &[]).await.unwrap();
    let mut file = export.head().unwrap();
    while let Some(part) = export.next().await.unwrap() {
        file.extend(part.bytes);
    }
    file.extend(export.tail());
    file
}

/// All movies, without the fields that the service adds.
async fn stored(store: &Store) -> Vec<Movie> {
    let file = exported(store, Format::Ndjson).await;
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Exports all movies from one database and imports them into another, and asserts that they are unchanged.
async fn transfer_between(from: &Store, to: Database, format: Format) {
    let to = to.store().await;
    let (file, sent) = (exported(from, format).await, stored(from).await);
    let report = import(&to, file, format).await;
    assert_eq!((report.skipped, report.rejected), (0, 0), "{:?}", report.errors);
    let arrived = stored(&to).await;
    assert!(sent == arrived, "movies have changed in a transfer as {format:?}");
    println!("{:6} movies transferred as {format:?}", sent.len());
}

#[tokio::test]
async fn all_movies_are_found_and_transferred() {
    let Some(path) = file() else {
        println!("skipped: movies.ndjson not found; set CINEQUERY_MOVIES to its path");
        return;
    };
    let lines = std::fs::read_to_string(path).unwrap();
    let movies: Vec<Row> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let distinct: BTreeSet<_> =
        movies.iter().map(|movie| (&movie.title, movie.release_year)).collect();
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres().await);
    let (sqlite, postgres) = (sqlite.store().await, postgres.store().await);
    for store in [&sqlite, &postgres] {
        let report = import(store, lines.clone().into(), Format::Ndjson).await;
        assert_eq!(report.created, i64::try_from(distinct.len()).unwrap());
        assert_eq!(report.skipped, i64::try_from(movies.len() - distinct.len()).unwrap());
        assert_eq!((report.rejected, report.ignored), (0, vec!["genres".to_owned()]));
    }
    for (filter, holds) in FILTERS {
        // Of movies with the same title and year, the first is kept.
        let mut seen = BTreeSet::new();
        let expected: BTreeSet<_> = movies
            .iter()
            .filter(|movie| seen.insert((&movie.title, movie.release_year)))
            .filter(|movie| holds(movie))
            .map(|movie| (movie.title.clone(), movie.release_year))
            .collect();
        assert!(!expected.is_empty(), "{filter} matches no movie, so it tests nothing");
        assert_eq!(found(&sqlite, filter).await, expected, "{filter}");
        assert_eq!(found(&postgres, filter).await, expected, "{filter}");
        println!("{:6} movies: {filter}", expected.len());
    }
    for format in Format::ALL {
        transfer_between(&sqlite, Database::postgres().await, format).await;
        transfer_between(&postgres, Database::sqlite(), format).await;
    }
}
