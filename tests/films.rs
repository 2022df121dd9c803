//! All of `movies.ndjson`, when it is there: both engines find the same films, and those that a
//! filter of the file itself finds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cinequery::app::search::{Page, SearchRequest, search};
use cinequery::record::{Draft, Members, Movie};
use cinequery::store::{Conflict, Message, Store, Tally};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::support::{Database, identity};

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

async fn import(store: &Store, lines: &str) -> Tally {
    let (sender, receiver) = mpsc::channel(256);
    let feed = async {
        for (number, line) in (1..).zip(lines.lines()) {
            let members: Members = serde_json::from_str(line).unwrap();
            let draft = Draft::<Movie>::read_among_others(members).0.unwrap();
            sender.send(Message::Record(number, draft)).await.unwrap();
        }
        sender.send(Message::End).await.unwrap();
    };
    let (tally, ()) = tokio::join!(store.import(Conflict::Skip, receiver), feed);
    tally.unwrap()
}

async fn found(store: &Store, filter: &str) -> BTreeSet<(String, i32)> {
    let mut found = BTreeSet::new();
    let mut cursor = None;
    loop {
        let filter = Some(filter.to_owned());
        let request = SearchRequest { filter, limit: Some(1000), cursor, ..Default::default() };
        let page: Page<Movie> = search(store, &identity(&["movies:read"]), request).await.unwrap();
        found.extend(page.items.into_iter().map(|movie| (movie.title, movie.release_year)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn ten_questions_have_one_answer() {
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
        let tally = import(store, &lines).await;
        assert_eq!(tally.inserted, distinct.len() as u64);
        assert_eq!(tally.skipped, (films.len() - distinct.len()) as u64);
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
}
