//! One meaning, three engines: the evaluator, SQLite and PostgreSQL agree on which records a
//! generated filter finds, in which order, and on every page of a walk through them; and on how many
//! there are of each value and in each bucket.

mod facets;
mod generate;
mod specimen;

use std::cell::Cell;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cinequery::app::search::{Count, SearchRequest};
use cinequery::app::selection::Selection;
use cinequery::query::evaluate::{Truth, compare, evaluate};
use cinequery::query::{Arguments, Dialect, Prepared, format, prepare};
use cinequery::record::{Draft, Members};
use cinequery::store::{Expected, Migrations, Record, Store};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value as Json;
use uuid::Uuid;

use self::generate::{Question, question, row};
use self::specimen::specimens;
use crate::support::records::search_in;
use crate::support::{Database, all, identity, movies, screenings};

/// How many questions are asked unless the environment says otherwise.
const CASES: u32 = 2500;

/// How many of them are asked of the same rows.
const CASES_A_BATCH: u32 = 250;

const ROWS: u32 = 30;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_engines_agree() {
    let cases: u32 = from_environment("AGREE_CASES").unwrap_or(CASES);
    let seed: u64 = from_environment("AGREE_SEED").unwrap_or(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ([sqlite, postgres], _databases) = runtime.block_on(stores());
    let (refused, telling) = (Cell::new(0), Cell::new(0));
    for batch in 0..cases.div_ceil(CASES_A_BATCH) {
        println!("batch {batch} of seed {seed}");
        let mut runner = runner(seed, batch, CASES_A_BATCH.min(cases - batch * CASES_A_BATCH));
        let rows = runtime.block_on(refill(&[&sqlite, &postgres], &mut runner));
        let question = question(&rows);
        let outcome = runner.run(&question, |question| {
            let asked = runtime.block_on(async {
                ask(&question, &rows, &sqlite).await?;
                ask(&question, &rows, &postgres).await
            });
            match asked {
                Err(Failure::Refused) => {
                    refused.set(refused.get() + 1);
                    Ok(())
                }
                Err(Failure::Disagreement(told)) => Err(TestCaseError::fail(told)),
                Ok(found) => {
                    telling.set(telling.get() + u32::from((1..rows.len()).contains(&found)));
                    Ok(())
                }
            }
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
    let (refused, telling) = (refused.get(), telling.get());
    println!("{cases} questions, {refused} refused, {telling} with some of the rows for an answer");
    assert!(refused * 10 < cases && telling * 2 > cases, "the questions are beside the point");
}

fn runner(seed: u64, batch: u32, cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&batch.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// An empty database of each engine, and its store.
async fn stores() -> ([Store; 2], [Database; 2]) {
    let databases = [Database::sqlite(), Database::postgres().await];
    let [sqlite, postgres] = &databases;
    ([open(sqlite).await, open(postgres).await], databases)
}

async fn open(database: &Database) -> Store {
    let store = database.open().await;
    let schemas = [movies(), screenings(), specimens()];
    store.migrate(&Migrations::default(), &schemas).await.unwrap();
    store
}

/// Writes the same new rows to both and reads them back.
async fn refill(stores: &[&Store; 2], runner: &mut TestRunner) -> Vec<Record> {
    let mut drafts = Vec::new();
    for number in 0..ROWS {
        let row = row().new_tree(runner).unwrap().current();
        let id: [u8; 16] = proptest::prelude::any::<[u8; 16]>().new_tree(runner).unwrap().current();
        drafts.push((Uuid::from_bytes(id), draft(number, &row)));
    }
    let read = write(stores, &drafts).await;
    assert_eq!(read.len(), ROWS as usize);
    read
}

fn draft(number: u32, row: &Json) -> Draft {
    let mut members: Vec<_> = row.as_object().unwrap().clone().into_iter().collect();
    members.push(("label".to_owned(), format!("row {number}").into()));
    Draft::read(specimens(), Members(members)).unwrap()
}

/// Writes these rows in the place of those that are there, and reads them back.
async fn write(stores: &[&Store; 2], drafts: &[(Uuid, Draft)]) -> Vec<Record> {
    let now = "2024-02-29T12:00:00Z".parse().unwrap();
    let mut read: Vec<Vec<Record>> = Vec::new();
    for store in stores {
        for row in all(store, specimens()).await {
            store.delete(specimens(), row.id(), &Expected::Any).await.unwrap();
        }
        for (id, draft) in drafts {
            store.insert(*id, draft, now).await.unwrap();
        }
        read.push(all(store, specimens()).await);
    }
    let [rows, others]: [Vec<Record>; 2] = read.try_into().unwrap();
    assert_eq!(rows, others, "the engines store different rows");
    rows
}

enum Failure {
    /// It is no question: a clock that leaves the calendar, say.
    Refused,
    /// What was asked, and what the engine says otherwise than the evaluator.
    Disagreement(String),
}

/// Walks all pages of the answer and compares them with what the evaluator finds. How many rows
/// that were.
async fn ask(question: &Question, rows: &[Record], store: &Store) -> Result<usize, Failure> {
    let filter = question.filter.as_ref().map(format::filter);
    let order_by = (!question.order_by.is_empty()).then(|| format::order_by(&question.order_by));
    let prepared = prepare(filter.as_deref(), order_by.as_deref(), specimens())
        .map_err(|_| Failure::Refused)?;
    let used: BTreeSet<&str> =
        prepared.plan.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut parameters = question.arguments.clone();
    parameters.retain(|name, _| used.contains(name.as_str()));
    let now = Utc::now();
    if prepared.bind(&parameters, now).is_err() {
        return Err(Failure::Refused);
    }

    let mut request = SearchRequest {
        selection: Selection {
            filter: filter.clone(),
            order_by: order_by.clone(),
            parameters: parameters.clone(),
            ..Selection::default()
        },
        limit: Some(question.limit),
        count: Count::Exact,
        cursor: None,
        why: false,
    };
    let caller = identity(&["specimens:read"]);
    let disagree = |told: String| {
        let engine = match store.dialect() {
            Dialect::Sqlite => "SQLite",
            Dialect::Postgres => "PostgreSQL",
        };
        Failure::Disagreement(format!("{question:?}\n{parameters:?}\n{engine} {told}"))
    };
    let mut found: Vec<Json> = Vec::new();
    let (mut as_of, mut total) = (None, None);
    loop {
        let page = search_in::<Json>(store, &caller, specimens(), request.clone())
            .await
            .map_err(|error| disagree(format!("{error:?}")))?;
        if found.is_empty() {
            (as_of, total) = (page.as_of, page.total);
        }
        found.extend(page.items);
        request.cursor = page.next_cursor;
        if request.cursor.is_none() || found.len() > rows.len() {
            break;
        }
    }
    let expected = expected(&prepared, &parameters, as_of.unwrap_or(now), rows);
    let expected: Vec<Json> =
        expected.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    if found == expected {
        let is_total = total == Some(i64::try_from(found.len()).unwrap());
        let counted = || disagree(format!("counts {total:?} and finds {}", found.len()));
        return if is_total { Ok(found.len()) } else { Err(counted()) };
    }
    let is_in = |rows: &[Json], row: &Json| rows.iter().any(|other| other["id"] == row["id"]);
    let missing = expected.iter().filter(|row| !is_in(&found, row));
    let wrong = found.iter().filter(|row| !is_in(&expected, row));
    let told: Vec<String> = missing
        .map(|row| format!("does not find {row:?}"))
        .chain(wrong.map(|row| format!("finds {row:?}")))
        .collect();
    if told.is_empty() {
        let ids =
            |rows: &[Json]| rows.iter().map(|row| row["label"].to_string()).collect::<Vec<_>>();
        let (found, expected) = (ids(&found), ids(&expected));
        return Err(disagree(format!("has the order {found:?} and not {expected:?}")));
    }
    Err(disagree(told.join("\n")))
}

/// What the evaluator finds, in order.
fn expected(
    prepared: &Prepared<'_>,
    parameters: &Arguments,
    now: DateTime<Utc>,
    rows: &[Record],
) -> Vec<Record> {
    let query = prepared.bind(parameters, now).unwrap();
    let holds = |row: &&Record| evaluate(&query, *row) == Truth::True;
    let mut expected: Vec<Record> = rows.iter().filter(holds).cloned().collect();
    expected.sort_by(|left, right| compare(&query.order, left, right));
    expected
}
