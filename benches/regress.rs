//! Runs the stages whose instructions `make regress` counts. Callgrind finds them by their names, and counts nothing else.

use std::hint::black_box;

use chrono::{DateTime, Utc};
use cinequery::app::search::{SearchRequest, search};
use cinequery::clock::timestamp_now;
use cinequery::identity::Identity;
use cinequery::query::{Arguments, Dialect, Schema, Shape, compile, prepare};
use cinequery::record::{Catalogue, Draft, Members};
use cinequery::store::{Location, Missing, Store};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// How often a stage runs before it is counted, and while it is.
const RUNS: usize = 20;

/// The number of movies of the page.
const LIMIT: usize = 100;

const FILTERS: [&str; 3] = [
    r#"genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30"#,
    r#"(genre in ("drama", "comedy") or title contains 'star') and not release_year < 1990"#,
    "expiry_date between today and today + 30d",
];

fn main() {
    let schema = Catalogue::built_in().find("movies").expect("movies are built in");
    for _ in 0..RUNS {
        text_to_sql(schema);
    }
    counted_text_to_sql(schema);

    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let file = Location::Sqlite(folder.path().join("movies.db"));
    let store = runtime.block_on(filled(file, schema));
    for _ in 0..RUNS {
        page_to_json(&runtime, &store, schema);
    }
    counted_page_to_json(&runtime, &store, schema);
    runtime.block_on(store.close());
}

/// From the text of each filter to its SQL in both dialects.
fn text_to_sql(schema: &'static Schema) {
    let now: DateTime<Utc> = DateTime::UNIX_EPOCH;
    for filter in FILTERS {
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let prepared = prepare(Some(black_box(filter)), None, schema).expect("a valid filter");
            let query = prepared.bind(&Arguments::new(), now).expect("no parameters");
            black_box(compile(&query, Shape::Page { limit: 21 }, dialect));
        }
    }
}

#[inline(never)]
fn counted_text_to_sql(schema: &'static Schema) {
    for _ in 0..RUNS {
        text_to_sql(schema);
    }
}

/// From the rows of a page to its JSON. SQLite itself runs in another thread, which is not counted.
fn page_to_json(runtime: &Runtime, store: &Store, schema: &'static Schema) {
    let caller = Identity { subject: "bench".to_owned(), scopes: vec!["movies:read".to_owned()] };
    let request = SearchRequest { limit: i64::try_from(LIMIT).ok(), ..SearchRequest::default() };
    let page = runtime.block_on(search(store, &caller, schema, request)).expect("a page");
    black_box(page.into_json().expect("a page as JSON"));
}

#[inline(never)]
fn counted_page_to_json(runtime: &Runtime, store: &Store, schema: &'static Schema) {
    for _ in 0..RUNS {
        page_to_json(runtime, store, schema);
    }
}

/// A new database with more movies than the page has.
async fn filled(file: Location, schema: &'static Schema) -> Store {
    let store = Store::open(file, Missing::Create).await.expect("a new file");
    store.migrate(&[schema]).await.expect("new tables");
    for number in 0..=LIMIT {
        let movie = json!({
            "title": format!("The Third \"Man\" of {number}"),
            "genre": "film noir",
            "release_year": 1949,
            "expiry_date": "2031-12-31",
        });
        let members: Members = serde_json::from_value(movie).expect("an object");
        let draft = Draft::read(schema, members).expect("a valid movie");
        // The same ids in each run.
        let id = Uuid::from_u128(number as u128);
        store.insert(id, &draft, timestamp_now()).await.expect("a new movie");
    }
    store
}
