//! A collection with the same records in both databases, and the comparison of queries on it.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use chrono::Utc;
use cinequery::app::search::{Count, SearchRequest};
use cinequery::app::selection::Selection;
use cinequery::identity::Identity;
use cinequery::query::access::Access;
use cinequery::query::compile::compile_for_access;
use cinequery::query::evaluate::{Truth, compare, evaluate};
use cinequery::query::statistics::Statistics;
use cinequery::query::{BoundQuery, Dialect, Schema, Shape, Value, format, prepare};
use cinequery::record::{Draft, Row};
use cinequery::store::{Expected, Record, Store};
use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::Value as Json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::generate::{Query, query, row};
use crate::support::records::search_in;
use crate::support::{Database, all, identity};

const ROWS: usize = 30;

/// Of how many records the statistics know these as a sample, so that access paths differ.
const RECORDS: u64 = 1_000_000;

/// The maximum number of records to generate until [`ROWS`] of them have different unique keys.
const CANDIDATES: usize = 3 * ROWS;

/// Creates an empty database of each engine, with the tables of these record types.
pub(super) async fn stores(schemas: &[&'static Schema]) -> ([Store; 2], [Database; 2]) {
    let databases = [Database::sqlite(), Database::postgres().await];
    let stores = [databases[0].open().await, databases[1].open().await];
    for store in &stores {
        store.migrate(schemas).await.unwrap();
    }
    (stores, databases)
}

pub(super) fn engine(store: &Store) -> &'static str {
    match store.dialect() {
        Dialect::Sqlite => "SQLite",
        Dialect::Postgres => "PostgreSQL",
    }
}

/// Counts of queries by outcome.
#[derive(Default)]
pub(super) struct Tally {
    run: Cell<u32>,
    /// Rejected by the language.
    rejected: Cell<u32>,
    /// Found some of the rows, but not all.
    selective: Cell<u32>,
}

impl Tally {
    /// Prints the counts. Fails if more than a tenth of the queries was rejected, or fewer than one in `selective_in`
    /// found some of the rows but not all: such queries would test little.
    pub(super) fn assess(&self, selective_in: u32) {
        let [run, rejected, selective] =
            [&self.run, &self.rejected, &self.selective].map(Cell::get);
        println!("{run} queries, {rejected} rejected, {selective} that find some of the rows");
        let is_meaningful = rejected * 10 < run && selective * selective_in > run;
        assert!(is_meaningful, "too many queries were rejected, or found all rows or none");
    }
}

fn increment(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

enum Failure {
    /// The query is not valid, for example because `today` plus an offset is outside the calendar.
    Rejected,
    /// The query, and the difference between an engine's result and the evaluator's.
    Disagreement(String),
}

/// A collection with the same records in both databases.
pub(super) struct Collection<'s> {
    pub schema: &'static Schema,
    pub stores: &'s [Store; 2],
    /// In the order of their ids.
    pub rows: Vec<Record>,
}

impl<'s> Collection<'s> {
    /// Replaces the records with random ones.
    pub(super) async fn random(
        schema: &'static Schema,
        stores: &'s [Store; 2],
        runner: &mut TestRunner,
    ) -> Self {
        let (row, id) = (row(schema), any::<[u8; 16]>());
        let mut keys: Vec<HashSet<Vec<Option<Value>>>> = vec![HashSet::new(); schema.unique.len()];
        let mut drafts = Vec::new();
        for _ in 0..CANDIDATES {
            let members = row.new_tree(runner).unwrap().current();
            let id = Uuid::from_bytes(id.new_tree(runner).unwrap().current());
            let draft = Draft::read(schema, members).unwrap();
            let is_new = |(names, taken): (&&[&str], &mut HashSet<_>)| {
                let is_key = |name: &str| names.contains(&name);
                let key = draft.row().iter().filter(|(field, _)| is_key(field.name));
                taken.insert(key.map(|(_, value)| value.clone()).collect())
            };
            if schema.unique.iter().zip(&mut keys).all(is_new) {
                drafts.push((id, draft));
            }
            if drafts.len() == ROWS {
                break;
            }
        }
        Self::of(schema, stores, drafts).await
    }

    /// Replaces the records with these.
    pub(super) async fn of(
        schema: &'static Schema,
        stores: &'s [Store; 2],
        mut drafts: Vec<(Uuid, Draft)>,
    ) -> Self {
        let now = "2024-02-29T12:00:00Z".parse().unwrap();
        let mut read: Vec<Vec<Record>> = Vec::new();
        for store in stores {
            clear(store, schema).await;
            for (id, draft) in &drafts {
                store.insert(*id, draft, now).await.unwrap();
            }
            read.push(all(store, schema).await);
        }
        let [rows, others]: [Vec<Record>; 2] = read.try_into().unwrap();
        assert_eq!(rows, others, "the engines store different rows");
        drafts.sort_by_key(|(id, _)| *id);
        let written: Vec<_> = drafts.iter().map(|(id, draft)| (*id, draft.row().clone())).collect();
        let stored: Vec<_> = rows.iter().map(|row| (row.id(), declared(row))).collect();
        assert_eq!(stored, written, "the engines store other values than were written");
        Self { schema, stores, rows }
    }

    /// Returns a caller who may read and write the records.
    pub(super) fn caller(&self) -> Identity {
        let scope = |access: &str| format!("{}:{access}", self.schema.collection);
        identity(&[&scope("read"), &scope("write")])
    }

    /// Compares both engines with the evaluator on as many queries as the runner has cases.
    pub(super) fn agree(
        &self,
        runtime: &Runtime,
        runner: &mut TestRunner,
        tally: &Tally,
    ) -> Result<(), String> {
        let outcome = runner.run(&query(self.schema, &self.rows), |query| {
            increment(&tally.run);
            let found = runtime.block_on(async {
                self.compare(&query, &self.stores[0]).await?;
                self.compare(&query, &self.stores[1]).await
            });
            match found {
                Err(Failure::Rejected) => increment(&tally.rejected),
                Err(Failure::Disagreement(difference)) => {
                    return Err(TestCaseError::fail(difference));
                }
                Ok(found) if (1..self.rows.len()).contains(&found) => increment(&tally.selective),
                Ok(_) => {}
            }
            Ok(())
        });
        outcome.map_err(|error| error.to_string())
    }

    /// Reads all pages of a search and compares them with the evaluator's result. Returns the number of rows found.
    async fn compare(&self, query: &Query, store: &Store) -> Result<usize, Failure> {
        let Self { schema, rows, .. } = self;
        let filter = query.filter.as_ref().map(format::filter);
        let order_by = (!query.order_by.is_empty()).then(|| format::order_by(&query.order_by));
        let prepared = prepare(filter.as_deref(), order_by.as_deref(), schema)
            .map_err(|_| Failure::Rejected)?;
        let used: BTreeSet<&str> =
            prepared.plan.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let mut parameters = query.arguments.clone();
        parameters.retain(|name, _| used.contains(name.as_str()));
        let now = Utc::now();
        if prepared.bind(&parameters, now).is_err() {
            return Err(Failure::Rejected);
        }

        let mut request = SearchRequest {
            selection: Selection {
                filters: filter.clone().into_iter().collect(),
                order_by: order_by.clone(),
                parameters: parameters.clone(),
                ..Selection::default()
            },
            limit: Some(query.limit),
            count: Count::Exact,
            cursor: None,
            why: false,
        };
        let caller = self.caller();
        let disagree = |difference: String| {
            let engine = engine(store);
            Failure::Disagreement(format!("{query:?}\n{parameters:?}\n{engine} {difference}"))
        };
        let mut found: Vec<Json> = Vec::new();
        let (mut as_of, mut total) = (None, None);
        loop {
            let page = search_in::<Json>(store, &caller, schema, request.clone())
                .await
                .map_err(|error| disagree(format!("{error:?}")))?;
            if found.is_empty() {
                (as_of, total) = (page.as_of, page.total);
            }
            found.extend(page.items);
            request.cursor = page.next_cursor;
            // The total is the same on every page, so it is requested once.
            request.count = Count::None;
            if request.cursor.is_none() || found.len() > rows.len() {
                break;
            }
        }
        let bound = prepared.bind(&parameters, as_of.unwrap_or(now)).unwrap();
        let expected = expected(&bound, rows);
        self.compare_paths(&bound, store, &expected).await.map_err(disagree)?;
        let expected: Vec<Json> =
            expected.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
        if found == expected {
            let is_total = total == Some(i64::try_from(found.len()).unwrap());
            let counted = || disagree(format!("counts {total:?}, but finds {}", found.len()));
            return if is_total { Ok(found.len()) } else { Err(counted()) };
        }
        let is_in = |rows: &[Json], row: &Json| rows.iter().any(|other| other["id"] == row["id"]);
        let missing = expected.iter().filter(|row| !is_in(&found, row));
        let wrong = found.iter().filter(|row| !is_in(&expected, row));
        let differences: Vec<String> = missing
            .map(|row| format!("does not find {row:?}"))
            .chain(wrong.map(|row| format!("finds {row:?}")))
            .collect();
        if differences.is_empty() {
            let ids =
                |rows: &[Json]| rows.iter().map(|row| row["id"].to_string()).collect::<Vec<_>>();
            let (found, expected) = (ids(&found), ids(&expected));
            return Err(disagree(format!("has the order {found:?}, expected {expected:?}")));
        }
        Err(disagree(differences.join("\n")))
    }

    /// Compares the estimate of the statistics with the number of expected records, and the result of every access path
    /// with them.
    async fn compare_paths(
        &self,
        query: &BoundQuery,
        store: &Store,
        expected: &[Record],
    ) -> Result<(), String> {
        let Self { schema, rows, .. } = self;
        let statistics = Statistics::of(schema, RECORDS, rows).unwrap();
        let estimated = statistics.number(&query.filter) * rows.len() as f64 / RECORDS as f64;
        if (estimated - (expected.len() as f64).max(0.5)).abs() > 1e-6 {
            return Err(format!("{estimated} records estimated, {} expected", expected.len()));
        }
        let dialect = store.dialect();
        let limit = u32::try_from(ROWS).unwrap();
        let mut later = query.clone();
        let (before, rest) = expected.split_at(expected.len() / 2);
        if let Some(last) = before.last() {
            later.continue_after(&last.sort_keys(&query.order));
        }
        for (query, expected) in [(query, expected), (&later, rest)] {
            for path in Access::paths(query, Shape::Page { limit }, dialect, &statistics) {
                let statement =
                    compile_for_access(query, Shape::Page { limit }, dialect, path.access.clone());
                let found = store.fetch(schema, statement.clone()).await;
                let found = found.map_err(|error| format!("{path:?}: {error:?}"))?;
                if found != expected {
                    return Err(format!("{path:?} finds {found:?}: {}", statement.sql));
                }
            }
        }
        let shape = Shape::CountUpTo { limit: 2 };
        for path in Access::paths(query, shape, dialect, &statistics) {
            let statement = compile_for_access(query, shape, dialect, path.access.clone());
            let count =
                store.count(statement.clone()).await.map_err(|error| format!("{error:?}"))?;
            if count != i64::try_from(expected.len().min(2)).unwrap() {
                return Err(format!("{path:?} counts {count} up to 2: {}", statement.sql));
            }
        }
        for path in Access::paths(query, Shape::Count, dialect, &statistics) {
            let statement = compile_for_access(query, Shape::Count, dialect, path.access.clone());
            let count =
                store.count(statement.clone()).await.map_err(|error| format!("{error:?}"))?;
            if count != i64::try_from(expected.len()).unwrap() {
                return Err(format!("{path:?} counts {count}: {}", statement.sql));
            }
        }
        Ok(())
    }
}

/// Returns the records that the evaluator finds, in order.
fn expected(query: &BoundQuery, rows: &[Record]) -> Vec<Record> {
    let holds = |row: &&Record| evaluate(query, *row) == Truth::True;
    let mut expected: Vec<Record> = rows.iter().filter(holds).cloned().collect();
    expected.sort_by(|left, right| compare(&query.order, left, right));
    expected
}

/// Deletes all records.
pub(super) async fn clear(store: &Store, schema: &'static Schema) {
    for row in all(store, schema).await {
        store.delete(schema, row.id(), &Expected::Any).await.unwrap();
    }
}

/// Returns the values of a record without the managed fields.
pub(super) fn declared(record: &Record) -> Row {
    let fields = record.fields().filter(|(field, _)| !field.managed);
    fields.map(|(field, value)| (field, value.cloned())).collect()
}
