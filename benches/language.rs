//! What a filter costs before it reaches the database, in one run so that figures compare.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use chrono::{DateTime, Utc};
use cinequery::query::{Arguments, Dialect, Shape, bind, check, compile, parse, prepare};
use cinequery::record::{Movie, Record};
use criterion::{Criterion, criterion_group, criterion_main};

const CARD: &str = r#"genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30"#;

fn stages(criterion: &mut Criterion) {
    let schema = Movie::SCHEMA;
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

/// Texts made to hurt. Each is refused, and what it costs is bounded.
fn hostile(criterion: &mut Criterion) {
    let texts = [
        ("25 open parentheses", "(".repeat(25)),
        ("8 KiB of parentheses", "(".repeat(8192)),
        ("8 KiB of not", "not ".repeat(2048)),
        ("8 KiB of letters", "a".repeat(8192)),
        ("8 KiB of quotes", "\"".repeat(8192)),
        ("1 MiB", "x".repeat(1 << 20)),
    ];
    let mut group = criterion.benchmark_group("hostile");
    for (name, text) in &texts {
        group.bench_function(*name, |b| {
            b.iter(|| prepare(Some(black_box(text)), None, Movie::SCHEMA).is_err());
        });
    }
    group.finish();
}

criterion_group!(benches, stages, hostile);
criterion_main!(benches);
