//! Compares the engines on generated record types: queries, facets, exports and imports.

use std::io::Cursor;

use cinequery::app::search::SearchRequest;
use cinequery::app::selection::Selection;
use cinequery::app::transfer::{Form, Format, begin, export};
use cinequery::query::ast::Matching;
use cinequery::query::{Code, Type};
use cinequery::record::{Catalogue, Row};
use cinequery::store::{Conflict, Record, Store};
use proptest::strategy::{Strategy, ValueTree};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use super::collection::{Collection, Tally, clear, declared, engine, stores};
use super::facets::{QUERIES_PER_FACET, count_alike};
use super::{from_environment, runner};
use crate::support::all;
use crate::support::declarations::numbered_declaration;
use crate::support::records::search_in;

/// The number of record types unless `AGREE_SCHEMAS` is set.
const SCHEMAS: u32 = 20;

/// The number of queries of all record types together unless `AGREE_CASES` is set.
const CASES: u32 = 1200;

/// The number of record types in one database.
const SCHEMAS_PER_DATABASE: u32 = 20;

#[test]
fn the_engines_agree_on_generated_types() {
    let count: u32 = from_environment("AGREE_SCHEMAS").unwrap_or(SCHEMAS);
    let cases: u32 = from_environment("AGREE_CASES").unwrap_or(CASES).div_ceil(count);
    let seed: u64 = from_environment("AGREE_SEED").unwrap_or(1);
    let runtime = Runtime::new().unwrap();
    let tally = Tally::default();
    for first in (0..count).step_by(SCHEMAS_PER_DATABASE as usize) {
        let numbers = first..count.min(first + SCHEMAS_PER_DATABASE);
        println!("record types {numbers:?} of seed {seed}");
        let sources: Vec<(String, String)> = numbers
            .map(|number| {
                let mut runner = runner(seed, number, 1);
                let source = numbered_declaration(number).new_tree(&mut runner).unwrap().current();
                (format!("{number}.toml"), source)
            })
            .collect();
        let files = sources.iter().map(|(name, source)| (name.as_str(), source.as_str()));
        let schemas = Catalogue::parse(files).unwrap().schemas();
        let (stores, _databases) = runtime.block_on(stores(schemas));
        for ((number, schema), (_, source)) in (first..).zip(schemas).zip(&sources) {
            let mut queries = runner(seed, number, cases);
            let mut facets = runner(seed, number, cases.div_ceil(QUERIES_PER_FACET));
            let filled = Collection::random(schema, &stores, &mut queries);
            let collection = runtime.block_on(filled);
            let outcome = collection
                .agree(&runtime, &mut queries, &tally)
                .and_then(|()| count_alike(&collection, &runtime, &mut facets))
                .and_then(|()| runtime.block_on(reject_searches(&collection)))
                .and_then(|()| runtime.block_on(exchange(&collection)));
            outcome.unwrap_or_else(|difference| panic!("{difference}\n\n{source}"));
        }
    }
    // Many fields have narrow bounds or the same value in all rows, so fewer queries are selective.
    tally.assess(3);
}

/// Checks that text operators are rejected for a field that cannot be searched.
async fn reject_searches(collection: &Collection<'_>) -> Result<(), String> {
    let Collection { schema, stores, .. } = collection;
    let texts = schema.fields.iter().filter(|field| field.ty == Type::Text && !field.searchable);
    for field in texts {
        for matching in Matching::ALL {
            let filter = format!("{} {} 'a'", field.name, matching.as_str());
            let selection = Selection::filter(filter.as_str());
            let request = SearchRequest { selection, ..SearchRequest::default() };
            for store in *stores {
                let caller = collection.caller();
                let found = search_in::<Json>(store, &caller, schema, request.clone()).await;
                let codes = found.map_err(|error| {
                    error.diagnostics.iter().map(|problem| problem.code).collect::<Vec<_>>()
                });
                if codes.as_ref().err() != Some(&vec![Code::OperatorMismatch]) {
                    let engine = engine(store);
                    return Err(format!("{filter}\n{engine} responds with {codes:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Checks that both engines export the same file, and that each imports the other's file as the same records.
async fn exchange(collection: &Collection<'_>) -> Result<(), String> {
    let Collection { schema, stores: [sqlite, postgres], rows } = collection;
    let file = exported(collection, sqlite).await;
    let other = exported(collection, postgres).await;
    if file != other {
        let [file, other] = [file, other].map(|file| String::from_utf8_lossy(&file).into_owned());
        return Err(format!("SQLite exports\n{file}\nPostgreSQL exports\n{other}"));
    }
    let values = |rows: &[Record]| rows.iter().map(declared).collect::<Vec<Row>>();
    let created = i64::try_from(rows.len()).unwrap();
    for (store, file) in [(sqlite, other), (postgres, file)] {
        clear(store, schema).await;
        let import = begin(store, &collection.caller(), schema).unwrap();
        let report = import.run(Cursor::new(file), Format::Ndjson, Conflict::Fail, |_| ()).await;
        let report = report.map_err(|error| format!("{} rejects {error:?}", engine(store)))?;
        let imported = all(store, schema).await;
        if report.created != created || values(&imported) != values(rows) {
            let engine = engine(store);
            return Err(format!("{engine} imports\n{imported:?}\nof\n{rows:?}\n{report:?}"));
        }
    }
    Ok(())
}

async fn exported(collection: &Collection<'_>, store: &Store) -> Vec<u8> {
    let (caller, everything) = (collection.caller(), Selection::default());
    let form = Form::File(Format::Ndjson);
    let mut export =
        export(store, &caller, collection.schema, &everything, form, &[]).await.unwrap();
    let mut file = Vec::new();
    while let Some(part) = export.next().await.unwrap() {
        file.extend(part.bytes);
    }
    file
}
