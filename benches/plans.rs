//! Compares the access path that is chosen for each of many questions with its alternatives, on a database of movies.
//! `make plans` runs it on 1,000,000 movies in each database.
//!
//! The argument is the URL of the database; a second one, `explain`, prints the statements and the estimated costs of
//! questions that take more than twice as long as by their fastest path. Without an argument, as in `cargo test`, it does
//! nothing.

use std::time::{Duration, Instant};

use chrono::Utc;
use cinequery::query::access::Access;
use cinequery::query::compile::compile_for_access;
use cinequery::query::{Arguments, BoundQuery, Facet, Schema, Shape, Statement, prepare};
use cinequery::record::Catalogue;
use cinequery::store::{Bounds, Location, Missing, Store};
use proptest::sample::{Index, select};
use proptest::strategy::{Just, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest::{arbitrary::any, prop_oneof};

type Failure = Box<dyn std::error::Error>;

/// The number of generated questions.
const QUESTIONS: usize = 300;

/// How often a chosen statement is executed. PostgreSQL plans a prepared statement without its values from the sixth
/// execution on.
const EXECUTIONS: usize = 8;

/// How long one execution may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Shorter times are compared as if they were this long: they are mostly those of the driver and of the threads.
const LEAST: Duration = Duration::from_micros(1000);

#[derive(Debug, Clone)]
struct Question {
    filter: String,
    order_by: Option<&'static str>,
    result: &'static str,
}

/// The questions that were slow once.
const KNOWN: [(&str, Option<&str>, &str); 8] = [
    ("release_year > 1990", Some("title desc"), "page"),
    ("genre = \"drama\" or release_year = 1931", None, "page"),
    ("genre = \"drama\"", None, "by release_year decade"),
    ("genre = \"drama\"", Some("title"), "page"),
    ("genre = \"drama\"", None, "count"),
    ("genre = \"silent\"", None, "page"),
    ("genre = \"silent\"", Some("title"), "page"),
    ("not release_year < 2020", Some("expiry_date"), "page"),
];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(database) = arguments.next() else { return Ok(()) };
    let is_explained = arguments.next().is_some_and(|argument| argument == "explain");
    let movies = Catalogue::built_in().find("movies").ok_or("no movies")?;
    // All executions of a statement are on one connection, which prepares it.
    let connections = Bounds::MIN_CONNECTIONS;
    let bounds = Bounds { statement: LIMIT, connections, ..Bounds::default() };
    let store =
        Store::open_within(database.parse::<Location>()?, Missing::ReadOnly, bounds).await?;
    store.sample(movies).await?;
    let known = KNOWN.map(|(filter, order_by, result)| Question {
        filter: filter.to_owned(),
        order_by,
        result,
    });
    for question in known.into_iter().chain(questions()) {
        measure(&store, movies, &question, is_explained).await?;
    }
    Ok(())
}

/// Prints the ratio of the chosen path's time to that of the fastest, both times in milliseconds, and the question,
/// separated by tabs.
async fn measure(
    store: &Store,
    movies: &'static Schema,
    question: &Question,
    is_explained: bool,
) -> Result<(), Failure> {
    let prepared = prepare(Some(&question.filter), question.order_by, movies)
        .map_err(|problems| format!("{question:?}: {problems:?}"))?;
    let query = prepared
        .bind(&Arguments::new(), Utc::now())
        .map_err(|problems| format!("{question:?}: {problems:?}"))?;
    let shape = shape(movies, question.result)?;
    let chosen = store.statement(&query, shape).await?;
    let time = fastest(store, &query, shape, &chosen, EXECUTIONS, LIMIT).await;
    let time = time.ok_or_else(|| format!("{question:?} failed or took too long"))?;
    let mut best = (time, chosen.sql.clone());
    for other in alternatives(store, &query, shape) {
        if other.sql != chosen.sql
            && let Some(other_time) = fastest(store, &query, shape, &other, 3, best.0).await
        {
            best = best.min((other_time, other.sql));
        }
    }
    let ratio = time.max(LEAST).as_secs_f64() / best.0.max(LEAST).as_secs_f64();
    let [time, best_time] = [time, best.0].map(|time| time.as_secs_f64() * 1000.0);
    let Question { filter, order_by, result } = question;
    let order_by = order_by.map(|keys| format!(" order by {keys}")).unwrap_or_default();
    println!("{ratio:.2}\t{time:.2}\t{best_time:.2}\t{filter}{order_by}: {result}");
    if is_explained && ratio > 2.0 {
        println!("  chosen {}\n  best   {}", chosen.sql, best.1);
        let statistics = store.statistics(movies).ok_or("no statistics")?;
        for path in Access::paths(&query, shape, store.dialect(), &statistics) {
            println!("  {path:?}");
        }
    }
    Ok(())
}

/// Returns the statements of all paths, and the one that hides nothing.
fn alternatives(store: &Store, query: &BoundQuery, shape: Shape) -> Vec<Statement> {
    let dialect = store.dialect();
    let paths = store
        .statistics(query.schema)
        .map(|statistics| Access::paths(query, shape, dialect, &statistics))
        .unwrap_or_default();
    let accesses = paths.into_iter().map(|path| path.access).chain([Access::default()]);
    let compile = |access| compile_for_access(query, shape, dialect, access);
    let mut statements: Vec<Statement> = accesses.map(compile).collect();
    statements.sort_by(|left, right| left.sql.cmp(&right.sql));
    statements.dedup_by(|left, right| left.sql == right.sql);
    statements
}

/// Returns the shortest time after the first executions; `None` if one takes longer than `limit`.
async fn fastest(
    store: &Store,
    query: &BoundQuery,
    shape: Shape,
    statement: &Statement,
    executions: usize,
    limit: Duration,
) -> Option<Duration> {
    let mut times = Vec::new();
    for _ in 0..executions {
        let started = Instant::now();
        let statement = statement.clone();
        let executed = async {
            match shape {
                Shape::Groups { facet, .. } => {
                    store.groups(statement, facet.key_type()).await.map(drop)
                }
                Shape::Count => store.count(statement).await.map(drop),
                _ => store.fetch(query.schema, statement).await.map(drop),
            }
        };
        tokio::time::timeout(limit.max(LEAST), executed).await.ok()?.ok()?;
        times.push(started.elapsed());
    }
    times.split_off(executions - 2).into_iter().min()
}

fn shape(movies: &'static Schema, result: &str) -> Result<Shape, Failure> {
    let groups = |by: &str, interval: Option<&str>| -> Result<Shape, Failure> {
        Ok(Shape::Groups { facet: Facet::of(movies, by, interval)?, limit: 20 })
    };
    match result.split(' ').collect::<Vec<_>>()[..] {
        ["page"] => Ok(Shape::Page { limit: 21 }),
        ["large", "page"] => Ok(Shape::Page { limit: 101 }),
        ["count"] => Ok(Shape::Count),
        ["by", field] => groups(field, None),
        ["by", field, interval] => groups(field, Some(interval)),
        _ => Err(format!("unknown result {result:?}").into()),
    }
}

/// Returns random questions, the same each time.
fn questions() -> Vec<Question> {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let order = select(vec![
        None,
        None,
        Some("title"),
        Some("title desc"),
        Some("release_year"),
        Some("release_year desc"),
        Some("expiry_date"),
        Some("expiry_date desc"),
        Some("genre"),
        Some("genre, expiry_date"),
        Some("created_at desc"),
    ]);
    let result = select(vec![
        "page",
        "page",
        "page",
        "page",
        "large page",
        "count",
        "by genre",
        "by release_year decade",
        "by expiry_date month",
    ]);
    let question = (filter(), order, result).prop_map(|(filter, order_by, result)| {
        let order_by = order_by.filter(|_| result.ends_with("page"));
        Question { filter, order_by, result }
    });
    let generate = |_| question.new_tree(&mut runner).ok().map(|tree| tree.current());
    (0..QUESTIONS).filter_map(generate).collect()
}

fn filter() -> impl Strategy<Value = String> {
    let pair = |joined: &'static str| {
        (condition(), condition()).prop_map(move |(left, right)| format!("{left} {joined} {right}"))
    };
    let either = || pair("or").prop_map(|either| format!("({either})"));
    prop_oneof![
        3 => condition(),
        3 => pair("and"),
        2 => pair("or"),
        1 => (condition(), pair("and")).prop_map(|(one, two)| format!("{one} and {two}")),
        1 => (condition(), either()).prop_map(|(one, two)| format!("{one} and {two}")),
        1 => (condition(), either()).prop_map(|(one, two)| format!("{one} or {two}")),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let genre = || {
        let genres = ["drama", "comedy", "noir", "biography", "western", "silent", "opera"];
        select(genres.to_vec()).prop_map(|genre| format!("{genre:?}"))
    };
    let compared = || select(vec!["=", "<", "<=", ">", ">="]);
    let year = || prop_oneof![1900_i32..2026, 2000_i32..2026, 1900_i32..1910];
    let date = || {
        (2020_i32..2031, 1_u32..13, 1_u32..29).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"))
    };
    let word = || select(vec!["the", "silent", "night", "harbour", "kotor", "x", "zz"]);
    prop_oneof![
        4 => genre().prop_map(|genre| format!("genre = {genre}")),
        1 => genre().prop_map(|genre| format!("genre != {genre}")),
        2 => (genre(), genre()).prop_map(|(one, two)| format!("genre in ({one}, {two})")),
        4 => (compared(), year()).prop_map(|(by, year)| format!("release_year {by} {year}")),
        1 => year().prop_map(|year| format!("not release_year < {year}")),
        2 => (year(), any::<Index>()).prop_map(|(year, length)| {
            format!("release_year between {year} and {}", usize::try_from(year).unwrap_or(0) + length.index(20))
        }),
        3 => (compared(), date()).prop_map(|(by, date)| format!("expiry_date {by} {date}")),
        1 => (2020_i32..2031).prop_map(|year| format!("year(expiry_date) = {year}")),
        1 => (1_u32..13).prop_map(|month| format!("month(expiry_date) = {month}")),
        1 => word().prop_map(|word| format!("title starts with \"{word}\"")),
        1 => word().prop_map(|word| format!("title contains \"{word}\"")),
        1 => Just("title > \"The V\"".to_owned()),
        1 => Just("title = \"The Silent Harbour\"".to_owned()),
    ]
}
