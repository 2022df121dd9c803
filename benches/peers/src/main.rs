//! Compares the time from filter text to SQL with the time of cql2's parser alone, for the same filter.
//! It measures CPU time of this thread in alternating rounds, so that other load on the machine affects
//! all candidates alike.
//!
//! Shared dependencies are built once, with the features that either crate enables. So compare these
//! figures only with each other: with cql2's features, pest checks the remaining stack at every rule,
//! which it does not in the service's own build. `make peers` measures that build first.

use std::hint::black_box;

use chrono::{DateTime, Utc};
use cinequery::query::{Arguments, Dialect, Shape, compile, parse, prepare};
use cinequery::record::Catalogue;
use cpu_time::ThreadTime;
use cql2::{ToSqlAst, parse_text};

const CARD: &str = r#"genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30"#;

/// The same filter in CQL2.
const CQL2: &str =
    "genre = 'drama' AND expiry_date BETWEEN DATE('2024-01-01') AND DATE('2024-06-30')";

/// The filter as it is, apart from the quotes. CQL2 accepts it with another meaning: 2024-01-01 is 2024 - 1 - 1.
const VERBATIM: &str = "genre = 'drama' and expiry_date between 2024-01-01 and 2024-06-30";

const ROUNDS: usize = 31;
const TURNS: u32 = 2000;

/// A name, and a function to measure that returns whether it succeeded.
type Candidate = (&'static str, fn() -> bool);

const CANDIDATES: [Candidate; 5] = [
    ("cinequery, text to SQL and values", || {
        let prepared = prepare(Some(black_box(CARD)), None, movies()).ok();
        let query = prepared.and_then(|p| p.bind(&Arguments::new(), NOW).ok());
        let statement = query.map(|q| compile(&q, Shape::Page { limit: 21 }, Dialect::Postgres));
        black_box(statement).is_some()
    }),
    ("cinequery, parse alone", || black_box(parse::filter(black_box(CARD))).is_ok()),
    ("cql2, parse alone", || black_box(parse_text(black_box(CQL2))).is_ok()),
    ("cql2, parse alone, unquoted dates", || black_box(parse_text(black_box(VERBATIM))).is_ok()),
    ("cql2, text to SQL", || {
        let sql = parse_text(black_box(CQL2)).ok().and_then(|expr| expr.to_sql().ok());
        black_box(sql).is_some()
    }),
];

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn main() {
    for (name, run) in CANDIDATES {
        assert!(run(), "{name} rejects its text");
    }
    let rounds: Vec<[f64; CANDIDATES.len()]> =
        (0..ROUNDS).map(|_| CANDIDATES.map(|(_, run)| nanoseconds(run))).collect();
    println!(
        "CPU time in ns, median of {ROUNDS} rounds of {TURNS}; ratio of the first line's time to it"
    );
    for (position, (name, _)) in CANDIDATES.iter().enumerate() {
        let time = median(rounds.iter().map(|round| round[position]));
        let ratio = median(rounds.iter().map(|round| round[0] / round[position]));
        println!("{name:38} {time:7.0} {ratio:6.2}");
    }
}

fn nanoseconds(run: fn() -> bool) -> f64 {
    let start = ThreadTime::now();
    for _ in 0..TURNS {
        run();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The record type of the movies.
fn movies() -> &'static cinequery::query::Schema {
    Catalogue::built_in().find("movies").expect("movies are built in")
}
