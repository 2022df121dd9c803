//! Searches, writes, imports and migrations, on both databases.

use std::cmp::Ordering;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cinequery::app::edit;
use cinequery::app::search::{Count, SearchRequest};
use cinequery::app::selection::Selection;
use cinequery::clock::timestamp_now;
use cinequery::error::Kind;
use cinequery::identity::Identity;
use cinequery::query::{Argument, Field, Schema, Type, Value};
use cinequery::record::{Author, Catalogue, Draft, Members};
use cinequery::store::{Conflict, Expected, Message, Store, Tally};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::records::{declared, search_in};
use crate::support::{
    Database, Page, Screening, all, catalogue, identity, on_both, screenings, search,
};

fn reader() -> Identity {
    identity(&["screenings:read"])
}

/// All records, in this order.
fn ordered(order_by: Option<&str>) -> Selection {
    Selection { order_by: order_by.map(str::to_owned), ..Selection::default() }
}

fn draft(json: serde_json::Value) -> Draft {
    let members: Members = serde_json::from_value(json).unwrap();
    Draft::read(screenings(), members).unwrap()
}

/// Screenings that the filters of `MEANING` must or must not find, identified by `film`.
fn house() -> Vec<serde_json::Value> {
    let all = [
        json!({"film": "plain", "hall": "Blue", "seats": 100, "subtitled": true,
               "sale_ends": "2024-02-29"}),
        json!({"film": "nulls"}),
        json!({"film": "zero", "hall": "", "seats": 0, "subtitled": false,
               "sale_ends": "0001-01-01"}),
        json!({"film": "last", "hall": "z", "seats": 5000, "sale_ends": "9999-12-31"}),
        json!({"film": "100% wild_card*", "hall": "a\\b", "seats": 7}),
        json!({"film": "STRASSE Ünïted", "hall": "straße"}),
        json!({"film": "it's \"quoted\"", "hall": "O'Hall"}),
        json!({"film": "\u{1F3AC} movie", "hall": "\u{FFFD}"}),
        json!({"film": "e\u{301}clair", "hall": "\u{E000}"}),
    ];
    all.into_iter()
        .enumerate()
        .map(|(number, mut screening)| {
            screening["starts_at"] =
                json!(format!("2024-01-0{}T20:00:00.00000{number}Z", number + 1));
            if screening["hall"] == "" {
                screening["hall"] = json!("zero");
            }
            screening
        })
        .collect()
}

async fn fill(store: &Store, rows: Vec<serde_json::Value>) {
    for row in rows {
        store.insert(Uuid::now_v7(), &draft(row), timestamp_now()).await.unwrap();
    }
}

/// A filter, and the first word of `film` of each match, in order of creation.
const MEANING: &[(&str, &[&str])] = &[
    // Text: exact and by code point, or by folded part.
    ("film = 'plain'", &["plain"]),
    ("film = 'Plain'", &[]),
    ("film = 'e\u{301}clair'", &["éclair"]),
    ("film = '\u{e9}clair'", &["éclair"]),
    ("film in ('plain', 'nulls', 'unknown')", &["plain", "nulls"]),
    ("film contains 'PLAI'", &["plain"]),
    ("film contains '%'", &["100%"]),
    ("film contains '_'", &["100%"]),
    ("film contains '*'", &["100%"]),
    ("hall contains '\\\\'", &["100%"]),
    ("hall = 'straße'", &["STRASSE"]),
    ("hall contains 'STRASSE'", &["STRASSE"]),
    ("film starts with 'straße ü'", &["STRASSE"]),
    ("film ends with 'NÏTED'", &["STRASSE"]),
    ("film ends with 'wild_card*'", &["100%"]),
    ("film ends with 'a very long text that is longer than any of the titles'", &[]),
    ("film contains '\"QUOTED\"' and hall = \"O'Hall\"", &["it's"]),
    ("film starts with '\u{1F3AC}'", &["\u{1F3AC}"]),
    (
        "hall starts with ''",
        &["plain", "zero", "last", "100%", "STRASSE", "it's", "\u{1F3AC}", "éclair"],
    ),
    ("hall ends with '' and not hall contains ''", &[]),
    ("hall > 'z'", &["zero", "\u{1F3AC}", "éclair"]),
    ("hall >= '\u{E000}'", &["\u{1F3AC}", "éclair"]),
    ("film > hall", &["plain", "it's", "\u{1F3AC}"]),
    ("hall between 'B' and 'C'", &["plain"]),
    // Null neither equals a value nor differs from it.
    ("hall is null", &["nulls"]),
    ("seats is not null", &["plain", "zero", "last", "100%"]),
    ("seats != 7", &["plain", "zero", "last"]),
    ("not seats = 7", &["plain", "zero", "last"]),
    ("not (seats = 7 or hall = 'z')", &["plain", "zero"]),
    ("seats not in (7, 0)", &["plain", "last"]),
    (
        "not (seats = 7 and hall = 'nowhere')",
        &["plain", "zero", "last", "100%", "STRASSE", "it's", "\u{1F3AC}", "éclair"],
    ),
    ("seats not between 1 and 99", &["plain", "zero", "last"]),
    ("hall not contains 'l'", &["zero", "last", "100%", "STRASSE", "\u{1F3AC}", "éclair"]),
    // Booleans.
    ("subtitled", &["plain"]),
    ("not subtitled", &["zero"]),
    ("subtitled != true", &["zero"]),
    ("subtitled in (true, false)", &["plain", "zero"]),
    // Integers.
    ("seats >= -2147483648 and seats <= 2147483647", &["plain", "zero", "last", "100%"]),
    // Dates, and parts of them.
    ("sale_ends = 2024-02-29", &["plain"]),
    ("sale_ends <= 0001-01-01 or sale_ends >= 9999-12-31", &["zero", "last"]),
    ("year(sale_ends) = 2024", &["plain"]),
    ("year(sale_ends) != 2024", &["zero", "last"]),
    ("year(sale_ends) > 2024", &["last"]),
    ("year(sale_ends) <= 2024", &["plain", "zero"]),
    ("year(sale_ends) < 1", &[]),
    ("not year(sale_ends) < -5", &["plain", "zero", "last"]),
    ("year(sale_ends) < 10000", &["plain", "zero", "last"]),
    ("year(sale_ends) != 20000", &["plain", "zero", "last"]),
    ("year(sale_ends) in (1, 9999)", &["zero", "last"]),
    ("year(sale_ends) between 2 and 9998", &["plain"]),
    ("month(sale_ends) = 2", &["plain"]),
    ("month(sale_ends) > 1 and month(sale_ends) != 2", &["last"]),
    ("year(sale_ends) = seats", &[]),
    ("month(sale_ends) < year(sale_ends)", &["plain", "last"]),
    ("sale_ends < today", &["plain", "zero"]),
    // Timestamps, to the microsecond.
    ("starts_at = 2024-01-01T20:00:00Z", &["plain"]),
    ("starts_at = 2024-01-02T21:00:00.000001+01:00", &["nulls"]),
    ("starts_at < 2024-01-02T20:00:00.000001Z", &["plain"]),
    ("starts_at between 2024-01-03T00:00:00Z and 2024-01-04T23:59:59.999999Z", &["zero", "last"]),
    ("created_at > now - 1d and updated_at <= now + 1d and version = 1 and seats = 7", &["100%"]),
];

#[tokio::test]
async fn filters_mean_the_same_on_both_databases() {
    on_both(async |database| {
        let store = database.store().await;
        fill(&store, house()).await;
        for (filter, expected) in MEANING {
            let request =
                SearchRequest { selection: Selection::filter(*filter), ..Default::default() };
            let page: Page<Screening> = search(&store, &reader(), request)
                .await
                .unwrap_or_else(|error| panic!("{filter}: {error:?}"));
            let found: Vec<&str> =
                page.items.iter().map(|s| s.film.split(' ').next().unwrap()).collect();
            assert_eq!(&found, expected, "{filter}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_finds_its_record() {
    on_both(async |database| {
        let store = database.store().await;
        fill(&store, house()).await;
        let all: Page<Screening> =
            search(&store, &reader(), SearchRequest::default()).await.unwrap();
        for record in &all.items {
            let filter = format!("id in ('{}')", record.id);
            let request =
                SearchRequest { selection: Selection::filter(filter), ..Default::default() };
            let page: Page<Screening> = search(&store, &reader(), request).await.unwrap();
            assert_eq!(page.items, std::slice::from_ref(record));
        }
    })
    .await;
}

/// Rows with many equal and null keys.
fn random_rows(count: usize) -> Vec<serde_json::Value> {
    let mut runner = TestRunner::deterministic();
    let row = (
        proptest::option::of("[ab\u{E000}\u{10000}]"),
        proptest::option::of(0..3_i32),
        proptest::option::of(proptest::bool::ANY),
        proptest::option::of(1..4_u32),
    );
    (0..count)
        .map(|number| {
            let (hall, seats, subtitled, day) = row.new_tree(&mut runner).unwrap().current();
            json!({
                "film": format!("movie {}", number % 7), "hall": hall, "seats": seats,
                "subtitled": subtitled, "sale_ends": day.map(|day| format!("2024-01-0{day}")),
                "starts_at": format!("2024-01-01T00:{:02}:{:02}Z", number / 60, number % 60),
            })
        })
        .collect()
}

fn value(screening: &Screening, field: &str) -> Option<Value> {
    let Screening { id, film, hall, seats, subtitled, starts_at, sale_ends, created_at, .. } =
        screening.clone();
    match field {
        "id" => Some(Value::Id(id)),
        "film" => Some(Value::Text(film)),
        "hall" => hall.map(Value::Text),
        "seats" => seats.map(|seats| Value::Integer(seats.into())),
        "subtitled" => subtitled.map(Value::Boolean),
        "starts_at" => Some(Value::Timestamp(starts_at)),
        "sale_ends" => sale_ends.map(Value::Date),
        "created_at" => Some(Value::Timestamp(created_at)),
        other => panic!("no order has {other}"),
    }
}

/// The order of a search by `order_by`, by values: nulls last in both directions.
fn compare(left: &Screening, right: &Screening, order_by: &str) -> Ordering {
    // Records with the same keys are in the direction of the last key.
    let last = if order_by.ends_with(" desc") { "id desc" } else { "id" };
    for key in order_by.split(", ").filter(|key| !key.is_empty()).chain([last]) {
        let (field, descending) = match key.strip_suffix(" desc") {
            Some(field) => (field, true),
            None => (key, false),
        };
        let ordering = match (value(left, field), value(right, field)) {
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
            (Some(l), Some(r)) if descending => r.cmp(&l),
            (Some(l), Some(r)) => l.cmp(&r),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

const ORDERS: &[&str] = &[
    "",
    "id desc",
    "film",
    "film desc, hall",
    "hall",
    "hall desc",
    "seats desc, hall desc, subtitled",
    "subtitled desc, sale_ends",
    "sale_ends desc, seats",
    "starts_at desc",
    "created_at, hall desc",
];

#[tokio::test]
async fn paging_returns_each_record_once_in_every_order() {
    on_both(async |database| {
        let store = database.store().await;
        fill(&store, random_rows(60)).await;
        let all = SearchRequest { limit: Some(1000), ..Default::default() };
        let mut expected = search::<Screening>(&store, &reader(), all).await.unwrap().items;
        for order_by in ORDERS {
            expected.sort_by(|left, right| compare(left, right, order_by));
            for limit in [1, 7, 59, 60] {
                let mut paged = Vec::new();
                let mut cursor = None;
                loop {
                    let request = SearchRequest {
                        selection: ordered((!order_by.is_empty()).then_some(order_by)),
                        limit: Some(limit),
                        cursor: cursor.take(),
                        ..Default::default()
                    };
                    let page = search::<Screening>(&store, &reader(), request).await.unwrap();
                    paged.extend(page.items);
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(paged, expected, "{order_by:?} by {limit}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn pages_are_stable_while_records_come_and_go() {
    on_both(async |database| {
        let store = database.store().await;
        fill(&store, random_rows(30)).await;
        let request = |cursor| SearchRequest {
            selection: ordered(Some("starts_at")),
            limit: Some(10),
            cursor,
            ..Default::default()
        };
        let first = search::<Screening>(&store, &reader(), request(None)).await.unwrap();
        // One record of the first page is deleted. One is created before the position of the cursor, one after it.
        store.delete(screenings(), first.items[3].id, &Expected::Any).await.unwrap();
        fill(
            &store,
            vec![
                json!({"film": "before", "starts_at": "2023-12-31T00:00:00Z"}),
                json!({"film": "after", "starts_at": "2024-01-01T00:00:10.5Z"}),
            ],
        )
        .await;
        let second =
            search::<Screening>(&store, &reader(), request(first.next_cursor)).await.unwrap();
        let found: Vec<String> = second.items.iter().map(|s| s.starts_at.to_rfc3339()).collect();
        let mut expected: Vec<String> =
            (10..19).map(|second| format!("2024-01-01T00:00:{second}+00:00")).collect();
        expected.insert(1, "2024-01-01T00:00:10.500+00:00".to_owned());
        assert_eq!(found, expected);
    })
    .await;
}

#[tokio::test]
async fn a_cursor_keeps_the_time_of_the_first_page() {
    let database = Database::sqlite();
    let store = database.store().await;
    fill(&store, random_rows(5)).await;
    let request = |cursor| SearchRequest {
        selection: Selection::filter("created_at <= now"),
        limit: Some(2),
        cursor,
        ..Default::default()
    };
    let first = search::<Screening>(&store, &reader(), request(None)).await.unwrap();
    assert!(first.as_of.is_some());
    let second = search::<Screening>(&store, &reader(), request(first.next_cursor)).await.unwrap();
    assert_eq!(first.as_of, second.as_of);
}

#[tokio::test]
async fn a_cursor_of_another_search_is_rejected() {
    let database = Database::sqlite();
    let store = database.store().await;
    fill(&store, random_rows(9)).await;
    let run = async |filter: &str, order: Option<&str>, value: i64, cursor: Option<String>| {
        let request = SearchRequest {
            selection: Selection {
                order_by: order.map(str::to_owned),
                parameters: [("n".to_owned(), Argument::Integer(value))].into(),
                ..Selection::filter(filter)
            },
            limit: Some(1),
            cursor,
            ..Default::default()
        };
        search::<Screening>(&store, &reader(), request).await
    };
    let filter = "seats != $n or seats is null";
    let cursor = run(filter, None, 1, None).await.unwrap().next_cursor.unwrap();
    // The same search with other spelling.
    run("(seats  !=  $n) OR seats IS null", None, 1, Some(cursor.clone())).await.unwrap();
    let others = [
        run("seats != $n", None, 1, Some(cursor.clone())).await,
        run(filter, Some("film"), 1, Some(cursor.clone())).await,
        run(filter, None, 2, Some(cursor.clone())).await,
        run(filter, None, 1, Some(format!("{cursor}x"))).await,
        run(filter, None, 1, Some(String::new())).await,
        run(filter, None, 1, Some("é".repeat(20_000))).await,
        run(filter, None, 1, Some(tampered(&cursor, "as_of", json!("+262000-01-01T00:00:00Z"))))
            .await,
        run(
            filter,
            None,
            1,
            Some(tampered(&cursor, "as_of", json!("2024-01-01T00:00:00.0000001Z"))),
        )
        .await,
        run(filter, None, 1, Some(tampered(&cursor, "keys", json!([])))).await,
        run(filter, None, 1, Some(tampered(&cursor, "keys", json!([null])))).await,
        run(filter, None, 1, Some(tampered(&cursor, "keys", json!([1.5])))).await,
        run(filter, None, 1, Some(tampered(&cursor, "keys", json!(["x"])))).await,
    ];
    for other in others {
        assert_eq!(other.unwrap_err().kind, Kind::InvalidCursor);
    }
}

/// The cursor with another value for one of its members.
fn tampered(cursor: &str, member: &str, value: serde_json::Value) -> String {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap();
    let mut wire: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(wire[member].is_string() || wire[member].is_array());
    wire[member] = value;
    BASE64_URL_SAFE_NO_PAD.encode(wire.to_string())
}

#[tokio::test]
async fn eight_instances_migrate_concurrently() {
    on_both(async |database| {
        let migrate = || async {
            let store = database.open().await;
            let schemas = catalogue().schemas();
            store.migrate(schemas).await.unwrap();
            store.ping().await.unwrap();
        };
        futures_util::future::join_all((0..8).map(|_| migrate())).await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_not_ready() {
    on_both(async |database| {
        assert!(database.open().await.ping().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn text_is_folded_again_when_the_folding_has_changed() {
    on_both(async |database| {
        let store = database.store().await;
        fill(&store, random_rows(50)).await;
        fill(&store, house()).await;
        // The state that an older version of the service would have left.
        for sql in [
            "UPDATE screenings SET film_folded = 'old', hall_folded = 'old'",
            "UPDATE cinequery_meta SET value = 'old' WHERE name = 'folding'",
        ] {
            database.run_sql(sql).await;
        }
        let find = async |filter: &str| {
            let request =
                SearchRequest { selection: Selection::filter(filter), ..Default::default() };
            let page: Page<Screening> = search(&store, &reader(), request).await.unwrap();
            page.items.len()
        };
        assert_eq!(find("film contains 'straße'").await, 0);
        database.store().await;
        assert_eq!(find("film contains 'straße'").await, 1);
        assert_eq!(find("hall contains 'old'").await, 0);
        assert_eq!(find("hall is null and hall contains ''").await, 0);
    })
    .await;
}

async fn import(store: &Store, policy: Conflict, rows: usize, end: bool) -> Tally {
    let (sender, receiver) = mpsc::channel(8);
    let feed = async {
        for (number, row) in (1..).zip(random_rows(rows)) {
            sender.send(Message::Record(number, draft(row))).await.unwrap();
        }
        if end {
            sender.send(Message::End).await.unwrap();
        }
        drop(sender);
    };
    let (tally, ()) = tokio::join!(store.import(screenings(), policy, receiver), feed);
    tally.unwrap()
}

async fn count(store: &Store) -> i64 {
    let request = SearchRequest { count: Count::Exact, limit: Some(1), ..Default::default() };
    search::<Screening>(store, &reader(), request).await.unwrap().total.unwrap()
}

#[tokio::test]
async fn only_skip_and_update_write_part_of_a_file() {
    on_both(async |database| {
        let store = database.store().await;
        // If the file is cut off before its end, nothing is written.
        import(&store, Conflict::Fail, 20, false).await;
        assert_eq!(count(&store).await, 0);

        assert_eq!(import(&store, Conflict::Fail, 20, true).await.inserted, 20);
        // The first twenty exist already. All twenty are reported, and the others are not written either.
        let tally = import(&store, Conflict::Fail, 30, true).await;
        let lines: Vec<i64> = tally.conflicts.iter().filter_map(|taken| taken.line).collect();
        assert_eq!(lines, (1..=20).collect::<Vec<i64>>());
        assert_eq!(count(&store).await, 20);

        let tally = import(&store, Conflict::Skip, 30, true).await;
        assert_eq!((tally.inserted, tally.skipped), (10, 20));
        let tally = import(&store, Conflict::Update, 40, true).await;
        // The others have these values already.
        assert_eq!((tally.inserted, tally.updated, tally.skipped), (10, 0, 30));
        assert_eq!(count(&store).await, 40);

        // A thousand records are committed before the file is cut off; the rest is not.
        import(&store, Conflict::Skip, 1500, false).await;
        assert_eq!(count(&store).await, 1000);
    })
    .await;
}

/// Two imports of the same records in opposite order must not deadlock.
#[tokio::test]
async fn concurrent_imports_of_the_same_records_complete() {
    on_both(async |database| {
        let store = database.store().await;
        let load = async |mut rows: Vec<serde_json::Value>, reverse: bool| {
            if reverse {
                rows.reverse();
            }
            let (sender, receiver) = mpsc::channel(8);
            let feed = async {
                for row in rows {
                    sender.send(Message::Record(0, draft(row))).await.unwrap();
                }
                sender.send(Message::End).await.unwrap();
            };
            let (tally, ()) =
                tokio::join!(store.import(screenings(), Conflict::Skip, receiver), feed);
            tally.unwrap()
        };
        let (one, two) = tokio::join!(load(random_rows(300), false), load(random_rows(300), true));
        assert_eq!((one.inserted + two.inserted, one.skipped + two.skipped), (300, 300));
    })
    .await;
}

/// Another client's open transaction holds the key. The request returns `unavailable` instead of keeping its connection
/// until that transaction ends.
#[tokio::test]
async fn a_write_does_not_wait_indefinitely_for_a_lock() {
    use sqlx::Connection;
    let database = Database::postgres().await;
    let store = database.store().await;
    let row = || json!({"film": "held", "starts_at": "2024-01-01T00:00:00Z"});
    let mut holder = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    let hold = "BEGIN; INSERT INTO screenings (id, film, film_folded, starts_at, version, created_at, \
                updated_at) VALUES (gen_random_uuid(), 'held', 'held', '2024-01-01T00:00:00Z', 1, \
                now(), now())";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let rejected = store.insert(Uuid::now_v7(), &draft(row()), timestamp_now()).await;
    assert_eq!(rejected.unwrap_err().kind, Kind::Unavailable);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    store.insert(Uuid::now_v7(), &draft(row()), timestamp_now()).await.unwrap();
}

/// SQLite checkpoints its log continuously, also if each write is of one record.
#[tokio::test]
async fn the_log_of_sqlite_stays_small() {
    let database = Database::sqlite();
    let store = database.store().await;
    fill(&store, random_rows(600)).await;
    let path = database.url().strip_prefix("sqlite:").unwrap().to_owned();
    let log = std::fs::metadata(format!("{path}-wal")).unwrap().len();
    // The default threshold is a thousand pages of 4 KiB.
    assert!(log < 6 * 1024 * 1024, "the log has {log} bytes");
}

/// A value that a field can hold.
fn sample(field: &Field) -> serde_json::Value {
    match field.ty {
        Type::Text => json!("Sample"),
        Type::Integer => json!((*field.bounds.start()).max(0)),
        Type::Boolean => json!(true),
        Type::Date => json!("2024-02-29"),
        Type::Timestamp => json!("2024-02-29T12:00:00Z"),
        Type::Id => json!("01890a5d-ac96-774b-bcce-b302099a8057"),
    }
}

/// Writes, reads and searches a record with a value in every field, and one with null in every optional field.
async fn exercise(store: &Store, schema: &'static Schema) {
    let caller = identity(&[&format!("{}:read", schema.collection)]);
    for nulls in [false, true] {
        let fields = schema.writable().filter(|field| !(nulls && field.nullable));
        let members = fields.map(|field| (field.name.to_owned(), sample(field))).collect();
        let draft = Draft::read(schema, Members(members)).unwrap();
        let written = store.insert(Uuid::now_v7(), &draft, timestamp_now()).await.unwrap();
        assert_eq!(edit::get(store, &caller, schema, written.id()).await.unwrap(), written);
        for field in schema.fields {
            let filter = match (field.ty, written.value(field.name)) {
                (_, None) => format!("{} is null", field.name),
                (Type::Text, Some(_)) => format!("{} contains 'SAMPLE'", field.name),
                _ => format!("{} is not null", field.name),
            };
            let order_by = Some(field.name.to_owned());
            let filters = vec![filter];
            let selection = Selection { filters, order_by, ..Default::default() };
            let request = SearchRequest { selection, ..Default::default() };
            let page: Page<Json> = search_in(store, &caller, schema, request).await.unwrap();
            assert_eq!(page.items, [serde_json::to_value(&written).unwrap()], "{}", field.name);
        }
        store.delete(schema, written.id(), &Expected::Any).await.unwrap();
    }
}

/// Uses only the migrations of the service itself.
#[tokio::test]
async fn every_built_in_record_type_has_its_table() {
    on_both(async |database| {
        let store = database.open().await;
        let schemas = Catalogue::built_in().schemas();
        store.migrate(schemas).await.unwrap();
        for schema in schemas {
            exercise(&store, schema).await;
        }
    })
    .await;
}

#[tokio::test]
async fn written_records_are_read_unchanged() {
    on_both(async |database| {
        let store = database.store().await;
        for row in house().into_iter().chain(random_rows(20)) {
            let draft = draft(row);
            let written = store.insert(Uuid::now_v7(), &draft, timestamp_now()).await.unwrap();
            let read = edit::get(&store, &reader(), screenings(), written.id()).await.unwrap();
            assert_eq!(read, written);
            for (field, value) in draft.row() {
                assert_eq!(read.value(field.name), value.as_ref(), "{}", field.name);
            }
            assert_eq!(read.value("version"), Some(&Value::Integer(1)));
        }
    })
    .await;
}

/// A record type with a field that only operators can write.
const RATED: &str = r#"
name = "Rated"
collection = "rated"
unique = [["title"]]

[fields]
title = { type = "text" }
rating = { type = "integer", range = [0, 10], required = false, read_only = true }
"#;

#[tokio::test]
async fn clients_do_not_change_read_only_fields() {
    on_both(async |database| {
        let schema = declared(&[RATED]).schemas()[0];
        let store = database.open().await;
        store.migrate(&[schema]).await.unwrap();
        let caller = identity(&["rated:read", "rated:write"]);
        let row = |author, json: Json| {
            let members: Members = serde_json::from_value(json).unwrap();
            Draft::read_among_others(schema, members.into(), author).0.unwrap()
        };
        let import = async |policy, draft| {
            let (sender, receiver) = mpsc::channel(8);
            let feed = async {
                sender.send(Message::Record(1, draft)).await.unwrap();
                sender.send(Message::End).await.unwrap();
            };
            tokio::join!(store.import(schema, policy, receiver), feed).0.unwrap();
            let record = all(&store, schema).await.pop().unwrap();
            (record.id(), record.value("rating").cloned())
        };
        let rated = |rating| json!({"title": "a", "rating": rating});
        let title = || row(Author::Client, json!({"title": "a"}));
        let by_operator = row(Author::Operator, rated(7));
        let (id, rating) = import(Conflict::Fail, by_operator).await;
        assert_eq!(rating, Some(Value::Integer(7)));
        assert_eq!(import(Conflict::Update, title()).await, (id, rating.clone()));
        let replaced = edit::replace(&store, &caller, id, &title(), &Expected::Any).await.unwrap();
        assert_eq!((replaced.version(), replaced.value("rating").cloned()), (1, rating));
        let by_operator = row(Author::Operator, rated(8));
        assert_eq!(import(Conflict::Update, by_operator).await.1, Some(Value::Integer(8)));
        let members: Members = serde_json::from_value(rated(9)).unwrap();
        let rejected = Draft::read(schema, members).unwrap_err();
        assert_eq!(rejected[0].to_string(), "rating is read-only");
    })
    .await;
}
