//! Access paths: a sample of the records determines how a search reads them, on both databases. The agreement tests
//! compare the results of all paths.

use std::io::Cursor;
use std::time::Duration;

use chrono::Utc;
use cinequery::app::transfer::{Format, begin};
use cinequery::query::access::Access;
use cinequery::query::statistics::Statistics;
use cinequery::query::{Arguments, BoundQuery, Dialect, Facet, Shape, compile, prepare};
use cinequery::store::{Conflict, Store};
use serde_json::json;

use crate::support::records::movies;
use crate::support::{all, identity, on_both};

/// The number of movies. One of a thousand is a western and the others are dramas; each year has a hundredth of them,
/// and each title one.
const MOVIES: u32 = 5000;

const PAGE: Shape = Shape::Page { limit: 21 };

async fn fill(store: &Store) {
    store.migrate(&[movies()]).await.unwrap();
    let movie = |number: u32| {
        json!({
            "title": format!("Movie {number:05}"),
            "genre": if number.is_multiple_of(1000) { "western" } else { "drama" },
            "release_year": 1900 + number % 100,
            "expiry_date": format!("20{:02}-06-01", number % 90),
        })
    };
    let file: String = (0..MOVIES).map(|number| format!("{}\n", movie(number))).collect();
    let caller = identity(&["movies:write"]);
    let import = begin(store, &caller, movies()).unwrap();
    let report = import.run(Cursor::new(file), Format::Ndjson, Conflict::Fail, |_| ()).await;
    assert_eq!(report.unwrap().created, i64::from(MOVIES));
}

fn bound(filter: &str, order_by: &str) -> BoundQuery {
    let prepared = prepare(Some(filter), Some(order_by), movies()).unwrap();
    prepared.bind(&Arguments::new(), Utc::now()).unwrap()
}

/// Searches, and whether their statement reads the records in their order on SQLite and on PostgreSQL.
const SEARCHES: [(&str, &str, [bool; 2]); 8] = [
    // A page of dramas is full soon, in every order with an index; one of westerns never.
    ("genre = 'drama'", "id", [true, true]),
    ("genre = 'western'", "id", [false, false]),
    ("genre = 'drama'", "title desc", [true, true]),
    ("genre = 'western'", "title desc", [false, false]),
    ("genre = 'western' or title = 'Movie 00001'", "id", [false, false]),
    ("genre = 'western' and release_year > 1850", "release_year", [false, false]),
    // SQLite's index on the year has the movies of one year in the order of their ids.
    ("release_year = 1931", "id", [true, false]),
    ("not release_year < 1999", "release_year", [true, true]),
];

#[tokio::test]
async fn the_frequency_of_a_value_determines_the_path() {
    on_both(async |database| {
        let store = database.open().await;
        fill(&store).await;
        store.sample(movies()).await.unwrap();
        for (filter, order_by, reads_in_order) in SEARCHES {
            let query = bound(filter, order_by);
            let (dialect, key) = (store.dialect(), query.order[0].field.name);
            let (reads_in_order, sorted) = match dialect {
                Dialect::Sqlite => (reads_in_order[0], format!("ORDER BY +\"{key}\"")),
                Dialect::Postgres => {
                    (reads_in_order[1], format!("ORDER BY COALESCE(\"{key}\", \"{key}\")"))
                }
            };
            let statement = store.statement(&query, PAGE).await.unwrap();
            let sorts = statement.sql.contains(&sorted);
            assert_eq!(sorts, !reads_in_order, "{filter} by {order_by}: {}", statement.sql);
            let found = store.fetch(movies(), statement).await.unwrap();
            let plain = store.fetch(movies(), compile(&query, PAGE, dialect)).await.unwrap();
            assert!(found == plain && !found.is_empty(), "{filter} by {order_by}");
        }
    })
    .await;
}

#[tokio::test]
async fn statistics_follow_the_number_of_records() {
    on_both(async |database| {
        let store = database.open().await;
        store.migrate(&[movies()]).await.unwrap();
        store.sample(movies()).await.unwrap();
        assert!(store.statistics(movies()).is_none(), "an empty collection");
        fill(&store).await;
        store.sample(movies()).await.unwrap();
        let statistics = store.statistics(movies()).unwrap();
        assert!((statistics.records() - f64::from(MOVIES)).abs() < f64::from(MOVIES) / 10.0);
        // Of 5,000 records about 3,600 are in the sample.
        let number = statistics.number(&bound("release_year < 1950", "id").filter);
        assert!((2000.0..3000.0).contains(&number), "{number}");
        let number = statistics.number(&bound("genre = 'opera'", "id").filter);
        assert!(number > 0.0 && number < 1.0, "{number}");
    })
    .await;
}

#[tokio::test]
async fn counts_and_facets_of_sqlite_read_the_table_for_a_frequent_value() {
    let database = crate::support::Database::sqlite();
    let store = database.open().await;
    fill(&store).await;
    store.sample(movies()).await.unwrap();
    let decades = Facet::of(movies(), "release_year", Some("decade")).unwrap();
    for shape in [Shape::Count, Shape::Groups { facet: decades, limit: 20 }] {
        for (genre, is_hidden) in [("drama", true), ("western", false)] {
            let filter = format!("genre = '{genre}' and not title contains 'x'");
            let statement = store.statement(&bound(&filter, "id"), shape).await.unwrap();
            let hidden = statement.sql.contains("+\"genre\"");
            assert_eq!(hidden, is_hidden, "{shape:?} of {genre}: {}", statement.sql);
        }
    }
}

#[tokio::test]
async fn a_large_import_is_sampled() {
    on_both(async |database| {
        let store = database.open().await;
        store.migrate(&[movies()]).await.unwrap();
        let keeper = store.clone();
        let keeping = tokio::spawn(async move { keeper.keep_statistics(&[movies()]).await });
        fill(&store).await;
        let sampled = async {
            while store.statistics(movies()).is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), sampled).await.unwrap();
        keeping.abort();
    })
    .await;
}

/// Where there is no choice, or too many tests to evaluate each on the sample, statements stay as they are.
#[tokio::test]
async fn nothing_is_hidden_without_a_choice() {
    let database = crate::support::Database::sqlite();
    let store = database.open().await;
    fill(&store).await;
    let statistics = Statistics::of(movies(), 1_000_000, &all(&store, movies()).await).unwrap();
    let paths = |filter: &str, order_by: &str, shape: Shape, dialect: Dialect| {
        Access::paths(&bound(filter, order_by), shape, dialect, &statistics).len()
    };
    let many = |tests: usize| vec!["title contains 'x'"; tests].join(" and ");
    assert_eq!(paths(&many(33), "id", PAGE, Dialect::Sqlite), 0, "too many tests");
    assert!(paths(&many(32), "id", PAGE, Dialect::Sqlite) > 0);
    let none = [
        ("genre = 'western'", "created_at", PAGE, "no index has the order"),
        ("genre = 'western'", "id", Shape::Count, "a count has no order"),
        ("title contains 'western'", "id", PAGE, "planned for its values"),
    ];
    for (filter, order_by, shape, why) in none {
        assert_eq!(paths(filter, order_by, shape, Dialect::Postgres), 0, "{why}");
    }
    assert!(paths("genre = 'western'", "id", PAGE, Dialect::Postgres) > 0);
}
