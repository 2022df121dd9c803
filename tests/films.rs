//! All of `movies.ndjson`, when it is there: both engines find the same films, and those that a
//! filter of the file itself finds; and they leave and come back unchanged.

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
struct Film {
    title: String,
    genre: String,
    release_year: i32,
    expiry_date: String,
}

type Question = (&'static str, fn(&Film) -> bool);

/// Filters, and what they mean in other words. No text here has anything that Unicode's full case
/// folding would change and `to_lowercase` would not.
const QUESTIONS: &[Question] = &[
    ("genre = 'drama' and expiry_date between 2024-01-01 and 2024-12-31", |film| {
        film.genre == "drama" && film.release_year == 1929
    }),
    ("genre in ('western', 'musical') and release_year >= 1950", |film| {
        ["western", "musical"].contains(&film.genre.as_str()) && film.release_year >= 1950
    }),
    ("title contains 'STAR' and not release_year < 1990", |film| {
        film.title.to_lowercase().contains("star") && film.release_year >= 1990
    }),
    ("title starts with 'the ' and title ends with 'man'", |film| {
        let title = film.title.to_lowercase();
        title.starts_with("the ") && title.ends_with("man")
    }),
    ("title contains \"'\" and (genre = 'comedy' or genre = 'drama')", |film| {
        film.title.contains('\'') && ["comedy", "drama"].contains(&film.genre.as_str())
    }),
    ("year(expiry_date) = 2100 and month(expiry_date) = 12", |film| {
        film.expiry_date.starts_with("2100-12")
    }),
    ("title > 'Z'", |film| film.title.as_str() > "Z"),
    ("genre not contains 'o' and release_year between 1930 and 1931", |film| {
        !film.genre.to_lowercase().contains('o') && [1930, 1931].contains(&film.release_year)
    }),
    ("title > genre and title != 'x'", |film| film.title > film.genre && film.title != "x"),
    ("title contains '%' or title contains '_' or title contains '*'", |film| {
        film.title.contains(['%', '_', '*'])
    }),
];

fn file() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/movies.ndjson");
    let path = std::env::var_os("CINEQUERY_FILMS").map_or(PathBuf::from(default), PathBuf::from);
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

/// All films as a file.
async fn exported(store: &Store, format: Format) -> Vec<u8> {
    let (caller, form) = (identity(&["movies:read"]), Form::File(format));
    let everything = Selection::default();
    let mut export = transfer::export(store, &caller, movies(), &everything, form).await.unwrap();
    let mut file = export.head().unwrap();
    while let Some(part) = export.next().await.unwrap() {
        file.extend(part.bytes);
    }
    file
}

/// All films without what the service adds.
async fn films(store: &Store) -> Vec<Movie> {
    let file = exported(store, Format::Ndjson).await;
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What leaves one engine in one format comes into the other unchanged.
async fn travel(from: &Store, to: Database, format: Format) {
    let to = to.store().await;
    let (file, sent) = (exported(from, format).await, films(from).await);
    let report = import(&to, file, format).await;
    assert_eq!((report.skipped, report.refused), (0, 0), "{:?}", report.errors);
    let arrived = films(&to).await;
    assert!(sent == arrived, "films have changed on the way as {format:?}");
    println!("{:6} films as {format:?} and back", sent.len());
}

#[tokio::test]
async fn all_films_are_found_and_travel() {
    let Some(path) = file() else {
        println!("skipped: there is no movies.ndjson; name one with CINEQUERY_FILMS");
        return;
    };
    let lines = std::fs::read_to_string(path).unwrap();
    let films: Vec<Film> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let distinct: BTreeSet<_> = films.iter().map(|film| (&film.title, film.release_year)).collect();
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres().await);
    let (sqlite, postgres) = (sqlite.store().await, postgres.store().await);
    for store in [&sqlite, &postgres] {
        let report = import(store, lines.clone().into(), Format::Ndjson).await;
        assert_eq!(report.created, i64::try_from(distinct.len()).unwrap());
        assert_eq!(report.skipped, i64::try_from(films.len() - distinct.len()).unwrap());
        assert_eq!((report.refused, report.ignored), (0, vec!["genres".to_owned()]));
    }
    for (filter, holds) in QUESTIONS {
        // Of a repeated title and year the first was kept.
        let mut seen = BTreeSet::new();
        let expected: BTreeSet<_> = films
            .iter()
            .filter(|film| seen.insert((&film.title, film.release_year)))
            .filter(|film| holds(film))
            .map(|film| (film.title.clone(), film.release_year))
            .collect();
        assert!(!expected.is_empty(), "{filter} says nothing");
        assert_eq!(found(&sqlite, filter).await, expected, "{filter}");
        assert_eq!(found(&postgres, filter).await, expected, "{filter}");
        println!("{:6} films: {filter}", expected.len());
    }
    for format in Format::ALL {
        travel(&sqlite, Database::postgres().await, format).await;
        travel(&postgres, Database::sqlite(), format).await;
    }
}
