//! Compares the facets of both engines with a grouping in Rust, and checks that the filter of each item finds
//! exactly its rows.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate, Utc, Weekday};
use cinequery::app::facets::{Facets, FacetsRequest, facets};
use cinequery::app::search::{Count, SearchRequest, search};
use cinequery::app::selection::Selection;
use cinequery::query::evaluate::{Truth, evaluate};
use cinequery::query::{Field, Schema, Type, Value, format, prepare};
use cinequery::record::{Draft, Members};
use cinequery::store::{Record, Store};
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::collection::{Collection, engine, stores};
use super::generate::{Query, query};
use super::specimen::specimens;
use super::{CASES, from_environment, runner};

/// The number of queries for each facet request.
pub(super) const QUERIES_PER_FACET: u32 = 5;

/// The number of facet requests on the same rows.
const CASES_PER_BATCH: u32 = 50;

/// The number of items whose filters are run by the engines. The evaluator runs those of all items.
const SEARCHED: usize = 4;

const WIDTHS: &[&str] = &[
    "decade",
    "century",
    "1",
    "7",
    "1000",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
];

const CALENDAR: &[&str] = &["day", "week", "month", "quarter", "year"];

/// A field and a valid interval for it.
type By = (&'static Field, Option<&'static str>);

/// Returns every field without an interval, and with every valid interval.
fn every_facet(schema: &'static Schema) -> Vec<By> {
    let of = |field: &'static Field| {
        let intervals = match field.ty {
            Type::Integer => WIDTHS,
            Type::Date | Type::Timestamp => CALENDAR,
            _ => &[],
        };
        let intervals = intervals.iter().map(|interval| Some(*interval));
        std::iter::once(None).chain(intervals).map(move |interval| (field, interval))
    };
    schema.fields.iter().flat_map(of).collect()
}

#[test]
fn the_engines_count_alike() {
    let cases = from_environment("AGREE_CASES").unwrap_or(CASES).div_ceil(QUERIES_PER_FACET);
    let seed: u64 = from_environment("AGREE_SEED").unwrap_or(1);
    let runtime = Runtime::new().unwrap();
    let (stores, _databases) = runtime.block_on(stores(&[specimens()]));
    for batch in 0..cases.div_ceil(CASES_PER_BATCH) {
        println!("batch {batch} of seed {seed}");
        let mut runner = runner(seed, batch, CASES_PER_BATCH.min(cases - batch * CASES_PER_BATCH));
        let filled = Collection::random(specimens(), &stores, &mut runner);
        let specimens = runtime.block_on(filled);
        for by in every_facet(specimens.schema) {
            for store in &stores {
                let counted = runtime.block_on(count(&everything(1000), by, &specimens, store));
                counted.unwrap_or_else(|difference| panic!("{difference}"));
            }
        }
        let counted = count_alike(&specimens, &runtime, &mut runner);
        counted.unwrap_or_else(|difference| panic!("{difference}"));
    }
}

/// Compares both engines on as many random facet requests as the runner has cases.
pub(super) fn count_alike(
    collection: &Collection<'_>,
    runtime: &Runtime,
    runner: &mut TestRunner,
) -> Result<(), String> {
    let Collection { schema, stores, rows } = collection;
    let limit = select(vec![1, 2, 5, 1000]);
    let asked = (query(schema, rows), select(every_facet(schema)), limit);
    let asked = asked.prop_map(|(query, by, limit)| (Query { limit, ..query }, by));
    let outcome = runner.run(&asked, |(query, by)| {
        for store in *stores {
            let counted = runtime.block_on(count(&query, by, collection, store));
            counted.map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    outcome.map_err(|error| error.to_string())
}

fn everything(limit: i64) -> Query {
    Query { filter: None, order_by: Vec::new(), arguments: Default::default(), limit }
}

/// Compares the facets of an engine with a grouping in Rust.
///
/// # Errors
/// Returns the difference.
async fn count(
    query: &Query,
    (field, interval): By,
    collection: &Collection<'_>,
    store: &Store,
) -> Result<(), String> {
    let Collection { schema, rows, .. } = collection;
    let filter = query.filter.as_ref().map(format::filter);
    let Ok(prepared) = prepare(filter.as_deref(), None, schema) else { return Ok(()) };
    let mut parameters = query.arguments.clone();
    parameters.retain(|name, _| prepared.plan.parameters.iter().any(|known| known.name == *name));
    if prepared.bind(&parameters, Utc::now()).is_err() {
        return Ok(());
    }
    let caller = collection.caller();
    let selection = Selection {
        filters: filter.clone().into_iter().collect(),
        parameters: parameters.clone(),
        ..Selection::default()
    };
    let request = FacetsRequest {
        selection: selection.clone(),
        by: field.name.to_owned(),
        interval: interval.map(str::to_owned),
        limit: Some(query.limit),
    };
    let differs =
        |how: String| format!("{query:?} by {} {interval:?}\n{} {how}", field.name, engine(store));
    let actual = facets(store, &caller, schema, request).await;
    let actual = actual.map_err(|error| differs(format!("{error:?}")))?;

    let as_of = actual.as_of.unwrap_or_else(Utc::now);
    let bound = prepared.bind(&parameters, as_of).unwrap();
    let matching: Vec<&Record> =
        rows.iter().filter(|row| evaluate(&bound, *row) == Truth::True).collect();
    let groups = groups(&matching, field, interval);
    let limit = usize::try_from(query.limit).unwrap();
    let (shown, rest) = groups.split_at(limit.min(groups.len()));
    let expected: Vec<(Json, usize)> =
        shown.iter().map(|(value, ids)| (value.clone(), ids.len())).collect();
    let rest = (rest.len(), rest.iter().map(|(_, ids)| ids.len()).sum());
    if counts(&actual) != (expected.clone(), rest, matching.len()) {
        return Err(differs(format!("counts {actual:?}, expected {expected:?}, {rest:?}")));
    }

    for (position, (item, (_, ids))) in actual.items.iter().zip(shown).enumerate() {
        let joined = match selection.filters.first() {
            Some(filter) => format!("({filter}) and {}", item.filter),
            None => item.filter.clone(),
        };
        let rejected =
            |error: String| differs(format!("has {joined:?}, which is rejected: {error}"));
        let item_query = prepare(Some(&joined), None, schema)
            .map_err(|problems| rejected(format!("{problems:?}")))?;
        let written =
            format::filter(&prepare(Some(&item.filter), None, schema).unwrap().ast.filter.unwrap());
        assert_eq!(written, item.filter, "it is not canonical");
        let item_bound = item_query.bind(&parameters, as_of).unwrap();
        let found = rows.iter().filter(|row| evaluate(&item_bound, *row) == Truth::True);
        let found: Vec<Uuid> = found.map(|row| row.id()).collect();
        if found != *ids {
            return Err(differs(format!(
                "has {joined:?}, which finds {found:?}, expected {ids:?}"
            )));
        }
        // A later search binds `today` and `now` to a later time, so its result may differ.
        if position < SEARCHED && !item_query.plan.uses_clock {
            let request = SearchRequest {
                selection: Selection { filters: vec![joined.clone()], ..selection.clone() },
                limit: Some(1),
                cursor: None,
                why: false,
                count: Count::Exact,
            };
            let page = search(store, &caller, schema, request).await;
            let total = page.map_err(|error| rejected(format!("{error:?}")))?.about.total;
            if total != Some(item.count) {
                return Err(differs(format!("has {joined:?}, which finds {total:?}")));
            }
        }
    }
    Ok(())
}

/// The items with their counts, the number of further values and their count, and the total.
type Counts = (Vec<(Json, usize)>, (usize, usize), usize);

fn counts(facets: &Facets) -> Counts {
    let unsigned = |count: i64| usize::try_from(count).unwrap();
    let items = facets.items.iter();
    let items = items.map(|item| (item.value.0.clone(), unsigned(item.count))).collect();
    let rest = (unsigned(facets.rest.values), unsigned(facets.rest.count));
    (items, rest, unsigned(facets.total))
}

/// Groups the rows by value or bucket. Returns the value and the ids of each group, in the order of facets.
fn groups(
    rows: &[&Record],
    field: &'static Field,
    interval: Option<&str>,
) -> Vec<(Json, Vec<Uuid>)> {
    // Sorts null last, because `false` comes before `true`.
    let mut groups: BTreeMap<(bool, Option<Value>), (Json, Vec<Uuid>)> = BTreeMap::new();
    for row in rows {
        let value = row.value(field.name).cloned();
        let (key, json) = match (value, interval) {
            (Some(value), Some(interval)) => {
                let start = start(&value, interval);
                (
                    Some(start.clone()),
                    match start {
                        Value::Integer(number) => json!(number),
                        other => json!(other.to_string()),
                    },
                )
            }
            (value, _) => (value, serde_json::to_value(row).unwrap()[field.name].clone()),
        };
        let group = groups.entry((key.is_none(), key)).or_insert_with(|| (json, Vec::new()));
        group.1.push(row.id());
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    if interval.is_none() {
        groups.sort_by_key(|(_, ids)| std::cmp::Reverse(ids.len()));
    }
    groups
}

/// Returns the start of the bucket that contains the value.
fn start(value: &Value, interval: &str) -> Value {
    let day = match value {
        Value::Integer(number) => {
            let number = i128::from(*number);
            let width = match interval {
                "decade" => 10,
                "century" => 100,
                width => width.parse().unwrap(),
            };
            let start = i64::try_from(number - number.rem_euclid(width)).unwrap_or(i64::MIN);
            return Value::Integer(start);
        }
        Value::Date(day) => *day,
        Value::Timestamp(instant) => instant.date_naive(),
        other => panic!("{other:?} has no buckets"),
    };
    let first = |month| NaiveDate::from_ymd_opt(day.year(), month, 1).unwrap();
    Value::Date(match interval {
        "day" => day,
        "week" => day.week(Weekday::Mon).first_day(),
        "month" => first(day.month()),
        "quarter" => first([1, 4, 7, 10][day.month0() as usize / 3]),
        "year" => first(1),
        other => panic!("unknown interval {other}"),
    })
}

/// A field, an interval, values of the field, and the items: value, count, filter.
type Case =
    (&'static str, Option<&'static str>, Json, &'static [(&'static str, i64, &'static str)]);

fn cases() -> Vec<Case> {
    vec![
        (
            "name",
            None,
            json!(["b", "a", "it's", "a", null, "A", null, null]),
            &[
                ("null", 3, "name is null"),
                ("\"a\"", 2, "name = 'a'"),
                ("\"A\"", 1, "name = 'A'"),
                ("\"b\"", 1, "name = 'b'"),
                ("\"it's\"", 1, r"name = 'it\'s'"),
            ],
        ),
        (
            "flag",
            None,
            json!([true, false, null]),
            &[
                ("false", 1, "flag = false"),
                ("true", 1, "flag = true"),
                ("null", 1, "flag is null"),
            ],
        ),
        (
            "moment",
            None,
            json!(["2024-02-29T12:00:00.1Z", "2024-02-29T13:00:00+01:00"]),
            &[
                ("\"2024-02-29T12:00:00Z\"", 1, "moment = 2024-02-29T12:00:00Z"),
                ("\"2024-02-29T12:00:00.100Z\"", 1, "moment = 2024-02-29T12:00:00.100Z"),
            ],
        ),
        (
            "small",
            Some("decade"),
            json!([1990, 1999, 2000, null, -1, -10, -11, 0]),
            &[
                ("-20", 1, "small between -20 and -11"),
                ("-10", 2, "small between -10 and -1"),
                ("0", 1, "small between 0 and 9"),
                ("1990", 2, "small between 1990 and 1999"),
                ("2000", 1, "small between 2000 and 2009"),
                ("null", 1, "small is null"),
            ],
        ),
        ("small", Some("1"), json!([7, 7]), &[("7", 2, "small = 7")]),
        // A bucket is not clamped to the range of the column, only to 64 bits.
        (
            "small",
            Some("century"),
            json!([i32::MIN, i32::MAX]),
            &[
                ("-2147483700", 1, "small between -2147483700 and -2147483601"),
                ("2147483600", 1, "small between 2147483600 and 2147483699"),
            ],
        ),
        (
            "number",
            Some("decade"),
            json!([i64::MIN, i64::MAX, i64::MIN + 8]),
            &[
                (
                    "-9223372036854775808",
                    1,
                    "number between -9223372036854775808 and -9223372036854775801",
                ),
                (
                    "-9223372036854775800",
                    1,
                    "number between -9223372036854775800 and -9223372036854775791",
                ),
                (
                    "9223372036854775800",
                    1,
                    "number between 9223372036854775800 and 9223372036854775807",
                ),
            ],
        ),
        (
            "number",
            Some("9223372036854775807"),
            json!([i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX]),
            &[
                ("-9223372036854775808", 1, "number = -9223372036854775808"),
                ("-9223372036854775807", 2, "number between -9223372036854775807 and -1"),
                ("0", 2, "number between 0 and 9223372036854775806"),
                ("9223372036854775807", 1, "number = 9223372036854775807"),
            ],
        ),
        (
            "day",
            Some("month"),
            json!(["2024-02-29", "2024-02-01", "2023-02-28", "9999-12-31", "0001-01-01", null]),
            &[
                ("\"0001-01-01\"", 1, "day between 0001-01-01 and 0001-01-31"),
                ("\"2023-02-01\"", 1, "day between 2023-02-01 and 2023-02-28"),
                ("\"2024-02-01\"", 2, "day between 2024-02-01 and 2024-02-29"),
                ("\"9999-12-01\"", 1, "day between 9999-12-01 and 9999-12-31"),
                ("null", 1, "day is null"),
            ],
        ),
        ("day", Some("day"), json!(["9999-12-31"]), &[("\"9999-12-31\"", 1, "day = 9999-12-31")]),
        // The first day of the calendar is a Monday, the last one a Friday.
        (
            "day",
            Some("week"),
            json!(["0001-01-01", "0001-01-07", "2024-01-07", "2024-01-08", "9999-12-31"]),
            &[
                ("\"0001-01-01\"", 2, "day between 0001-01-01 and 0001-01-07"),
                ("\"2024-01-01\"", 1, "day between 2024-01-01 and 2024-01-07"),
                ("\"2024-01-08\"", 1, "day between 2024-01-08 and 2024-01-14"),
                ("\"9999-12-27\"", 1, "day between 9999-12-27 and 9999-12-31"),
            ],
        ),
        (
            "moment",
            Some("quarter"),
            json!([
                "2024-03-31T23:59:59.999999Z",
                "2024-04-01T00:00:00Z",
                "9999-12-31T23:59:59.999999Z"
            ]),
            &[
                (
                    "\"2024-01-01\"",
                    1,
                    "moment >= 2024-01-01T00:00:00Z and moment < 2024-04-01T00:00:00Z",
                ),
                (
                    "\"2024-04-01\"",
                    1,
                    "moment >= 2024-04-01T00:00:00Z and moment < 2024-07-01T00:00:00Z",
                ),
                ("\"9999-10-01\"", 1, "moment >= 9999-10-01T00:00:00Z"),
            ],
        ),
        ("note", None, json!([]), &[]),
        ("day", Some("year"), json!([]), &[]),
    ]
}

/// Returns a record with this value and a unique label.
fn draft(number: u32, field: &str, value: &Json) -> Draft {
    let label = ("label".to_owned(), json!(format!("row {number}")));
    let members = Members(vec![label, (field.to_owned(), value.clone())]);
    Draft::read(specimens(), members).unwrap()
}

#[tokio::test]
async fn items_have_the_expected_values_counts_and_filters() {
    let (stores, _databases) = stores(&[specimens()]).await;
    for (by, interval, values, expected) in cases() {
        let drafts: Vec<_> = (0..)
            .zip(values.as_array().unwrap())
            .map(|(number, value)| (Uuid::now_v7(), draft(number, by, value)))
            .collect();
        let collection = Collection::of(specimens(), &stores, drafts).await;
        for store in &stores {
            let request = FacetsRequest {
                by: by.to_owned(),
                interval: interval.map(str::to_owned),
                ..FacetsRequest::default()
            };
            let actual = facets(store, &collection.caller(), specimens(), request).await.unwrap();
            let items: Vec<(String, i64, &str)> = actual
                .items
                .iter()
                .map(|item| (item.value.0.to_string(), item.count, item.filter.as_str()))
                .collect();
            let expected: Vec<(String, i64, &str)> = expected
                .iter()
                .map(|(v, count, filter)| ((*v).to_owned(), *count, *filter))
                .collect();
            assert_eq!(items, expected, "{by} {interval:?} {:?}", store.dialect());
        }
    }
}
