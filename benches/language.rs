//! Measures the CPU time of a filter before it reaches the database. One run measures all stages, so that their
//! figures can be compared.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use chrono::{DateTime, Utc};
use cinequery::query::{Arguments, Dialect, Shape, bind, check, compile, parse, prepare};
use cinequery::record::Catalogue;
use criterion::{Criterion, criterion_group, criterion_main};

const CARD: &str = r#"genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30"#;

fn stages(criterion: &mut Criterion) {
    let schema = movies();
    let none = Arguments::new();
    let now: DateTime<Utc> = DateTime::UNIX_EPOCH;
    let shape = Shape::Page { limit: 21 };
    let expr = parse::filter(CARD).ok().map(|parsed| parsed.expr);
    let ast = cinequery::query::ast::Query { filter: expr, order_by: Vec::new() };
    let Ok(plan) = check(&ast, schema) else { return };
    let Ok(query) = bind(&plan, &none, now) else { return };

    let mut group = criterion.benchmark_group("card");
    group.bench_function("parse", |b| b.iter(|| parse::filter(black_box(CARD))));
    group.bench_function("check", |b| b.iter(|| check(black_box(&ast), schema)));
    group.bench_function("bind", |b| b.iter(|| bind(black_box(&plan), &none, now)));
    for (name, dialect) in [("sqlite", Dialect::Sqlite), ("postgres", Dialect::Postgres)] {
        group.bench_function(format!("compile/{name}"), |b| {
            b.iter(|| compile(black_box(&query), shape, dialect));
        });
    }
    group.bench_function("text to statement", |b| {
        b.iter(|| {
            let prepared = prepare(Some(black_box(CARD)), None, schema).ok()?;
            let query = prepared.bind(&none, now).ok()?;
            Some(compile(&query, shape, Dialect::Postgres))
        });
    });
    group.finish();
}

/// Measures filters written to be expensive. Rejected ones include the cost of trying suggestions.
fn hostile(criterion: &mut Criterion) {
    let fill = |piece: &str| piece.repeat(8192 / piece.len());
    let padding = "x".repeat(20);
    let texts = [
        ("25 open parentheses", "(".repeat(25)),
        ("8 KiB of parentheses", "(".repeat(8192)),
        ("8 KiB of not", fill("not ")),
        ("8 KiB of letters", fill("a")),
        ("8 KiB of quotes", fill("\"")),
        ("8 KiB of curly quotes", fill("“")),
        ("8 KiB of bad escapes", format!("title = '{}'", "\\d".repeat(4000))),
        ("8 KiB of bad dates", format!("title in ({})", vec!["2024-02-30"; 700].join(","))),
        ("200 unknown fields", vec![format!("titel = '{padding}'"); 200].join(" or ")),
        ("200 times mixed and/or", vec!["(id>'a' or id<'b' and version=1)"; 66].join(" and ")),
        ("1,000 items", format!("release_year in ({})", vec!["1234"; 1000].join(","))),
        ("1 MiB", "x".repeat(1 << 20)),
    ];
    let order = fill("releas_yea,");
    let mut group = criterion.benchmark_group("hostile");
    for (name, text) in &texts {
        group.bench_function(*name, |b| {
            b.iter(|| prepare(Some(black_box(text)), None, movies()).is_err());
        });
    }
    group.bench_function("8 KiB of unknown keys", |b| {
        b.iter(|| prepare(None, Some(black_box(&order)), movies()).is_err());
    });
    group.finish();
}

criterion_group!(benches, stages, hostile);
criterion_main!(benches);

/// The record type of the movies.
fn movies() -> &'static cinequery::query::Schema {
    Catalogue::built_in().find("movies").expect("movies are built in")
}
