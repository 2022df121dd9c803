//! The journal of changes, on both databases.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cinequery::clock::timestamp_now;
use cinequery::error::{Kind, Result};
use cinequery::record::{Draft, Members, Patch};
use cinequery::store::{Change, Changes, Conflict, Expected, Message, Store, Written};
use proptest::prelude::Rng;
use proptest::test_runner::TestRunner;

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::{Database, all, movies, on_both};

const COLLECTIONS: &[&str] = &["movies"];

fn draft(title: &str, genre: &str) -> Draft {
    let json =
        json!({"title": title, "genre": genre, "release_year": 2001, "expiry_date": "2024-01-01"});
    let members: Members = serde_json::from_value(json).unwrap();
    Draft::read(movies(), members).unwrap()
}

fn patch(json: Json) -> Patch {
    let members: Members = serde_json::from_value(json).unwrap();
    Patch::read(movies(), members).unwrap()
}

/// Applies changes in the order of their positions to an empty table, and returns it as JSON by id.
fn replayed(changes: &[Change]) -> HashMap<Uuid, Json> {
    let mut table = HashMap::new();
    let parsed = |json: &Option<String>| {
        json.as_ref().map(|json| plain(serde_json::from_str(json).unwrap()))
    };
    for change in changes {
        let before = table.remove(&change.id);
        assert_eq!(before, parsed(&change.before), "at position {}", change.position);
        if let Some(after) = parsed(&change.after) {
            assert_eq!(after["version"], change.version);
            table.insert(change.id, after);
        }
    }
    table
}

/// A record with its timestamps in one format.
fn plain(mut record: Json) -> Json {
    for field in ["created_at", "updated_at"] {
        let text = record[field].as_str().unwrap();
        let instant: chrono::DateTime<chrono::Utc> = text.parse().unwrap();
        record[field] = json!(instant.timestamp_micros());
    }
    record
}

async fn table(store: &Store) -> HashMap<Uuid, Json> {
    let records = all(store, movies()).await;
    records.iter().map(|r| (r.id(), plain(serde_json::to_value(r).unwrap()))).collect()
}

/// Reads all changes, page by page.
async fn journal(store: &Store) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let after = changes.last().map_or(0, |last| last.position);
        let page = store.changes(&Changes::After(after, COLLECTIONS), 1000).await.unwrap();
        if page.is_empty() {
            return changes;
        }
        changes.extend(page);
    }
}

#[tokio::test]
async fn each_change_is_noted_with_its_author() {
    on_both(async |database| {
        let store = database.store().await.of_subject("anna").in_request("r-1");
        let created =
            store.insert(Uuid::now_v7(), &draft("one", "a"), timestamp_now()).await.unwrap();
        let id = created.id();
        let change = patch(json!({"genre": "b"}));
        let now = timestamp_now();
        let first = Expected::Versions(vec![1]);
        let updated = store.update(movies(), id, change.row(), &first, now).await.unwrap();
        let Written::Done(updated) = updated else { panic!("{updated:?}") };
        // A change to the values that are there, one of a version that is not, and one of another id note nothing.
        let second = Expected::Versions(vec![2]);
        let same = store.update(movies(), id, change.row(), &second, now).await.unwrap();
        assert_eq!(same, Written::Unchanged(updated.clone()));
        let other = patch(json!({"genre": "c"}));
        let stale = store.update(movies(), id, other.row(), &first, now).await.unwrap();
        assert_eq!(stale, Written::Stale(updated.clone()));
        let unknown = Uuid::now_v7();
        let missing = store.update(movies(), unknown, other.row(), &second, now).await;
        assert_eq!(missing.unwrap(), Written::Missing);
        let deleted = store.delete(movies(), id, &Expected::Any).await.unwrap();
        assert_eq!(deleted, Written::Done(updated));

        let changes = journal(&store).await;
        assert!(replayed(&changes).is_empty());
        assert!(changes.windows(2).all(|pair| pair[0].position < pair[1].position));
        let shown: Vec<_> = changes.iter().map(|c| (c.version, c.id, &*c.subject)).collect();
        assert_eq!(shown, [(1, id, "anna"), (2, id, "anna"), (3, id, "anna")]);
        assert!(changes.iter().all(|change| change.request_id.as_deref() == Some("r-1")));
        let history = store.changes(&Changes::OfRecord(movies(), id, None), 10).await.unwrap();
        let reversed: Vec<Change> = changes.into_iter().rev().collect();
        assert_eq!(history, reversed);
    })
    .await;
}

async fn import(store: &Store, policy: Conflict, rows: Vec<(u64, Draft)>) -> Result<()> {
    let (sender, receiver) = mpsc::channel(16);
    let send = async move {
        for (line, draft) in rows {
            // The channel is closed if the import has failed.
            let _ = sender.send(Message::Record(line, draft)).await;
        }
        let _ = sender.send(Message::End).await;
    };
    tokio::join!(store.import(movies(), policy, receiver), send).0.map(|_| ())
}

#[tokio::test]
async fn imports_note_what_they_create_and_update() {
    on_both(async |database| {
        let store = database.store().await;
        let rows =
            |genre| (0..250).map(|n| (n, draft(&format!("f{n}"), genre))).collect::<Vec<_>>();
        import(&store, Conflict::Fail, rows("a").split_off(100)).await.unwrap();
        import(&store, Conflict::Skip, rows("b")).await.unwrap();
        assert_eq!(journal(&store).await.len(), 250);
        import(&store, Conflict::Update, rows("c")).await.unwrap();
        let changes = journal(&store).await;
        assert_eq!(changes.len(), 500);
        assert_eq!(replayed(&changes), table(&store).await);
    })
    .await;
}

/// Reads the journal while others write, always after the last position that it got. Checks at the end that it got
/// every change, and that the changes replayed on an empty table give the table.
async fn follows(database: &Database, writers: usize, operations: usize) {
    let mut stores = vec![database.store().await];
    for _ in 1..4 {
        stores.push(database.open().await);
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, is_done) = (stores[0].clone(), is_done.clone());
        async move {
            let mut read: Vec<Change> = Vec::new();
            loop {
                let is_last = is_done.load(Ordering::SeqCst);
                let after = read.last().map_or(0, |last| last.position);
                let page = store.changes(&Changes::After(after, COLLECTIONS), 100).await.unwrap();
                if page.is_empty() && is_last {
                    return read;
                }
                read.extend(page);
            }
        }
    });
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let store = stores[writer % stores.len()].clone();
        let mut random = TestRunner::deterministic().new_rng();
        for _ in 0..writer * 1000 {
            random.next_u32();
        }
        tasks.push(tokio::spawn(async move {
            for _ in 0..operations {
                operate(&store, &mut random).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    let read = reader.await.unwrap();
    assert_eq!(read, journal(&stores[0]).await, "the reader missed changes");
    assert_eq!(replayed(&read), table(&stores[0]).await);
}

/// A random operation on one of few records, so that writers meet. It may fail: the natural key may exist, and other
/// writers may keep the database busy.
async fn operate(store: &Store, random: &mut impl Rng) {
    let mut number = |below: u32| random.next_u32() % below;
    let (title, genre) = (format!("f{}", number(30)), format!("h{}", number(100)));
    let now = timestamp_now();
    let kind = number(10);
    if kind < 4 {
        let created = store.insert(Uuid::now_v7(), &draft(&title, &genre), now).await;
        return expected_failures(created.map(|_| ()));
    }
    if kind == 9 {
        let rows = (0..5).map(|n| (n, draft(&format!("f{}", number(30)), &genre))).collect();
        return expected_failures(import(store, Conflict::Update, rows).await);
    }
    let records = all(store, movies()).await;
    let count = u32::try_from(records.len()).unwrap();
    let Some(record) = records.get(number(count.max(1)) as usize) else { return };
    let expected = match number(2) {
        0 => Expected::Any,
        _ => Expected::Versions(vec![record.version()]),
    };
    let change = match kind {
        4..7 => json!({"genre": genre}),
        _ => json!({"title": title}),
    };
    let written = match kind {
        4..8 => store.update(movies(), record.id(), patch(change).row(), &expected, now).await,
        _ => store.delete(movies(), record.id(), &expected).await,
    };
    expected_failures(written.map(|_| ()));
}

fn expected_failures(outcome: Result<()>) {
    if let Err(error) = outcome {
        assert!(matches!(error.kind, Kind::Duplicate | Kind::Unavailable), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_replayed_gives_the_table() {
    on_both(async |database| follows(&database, 8, 40).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn the_journal_replayed_gives_the_table_long() {
    on_both(async |database| follows(&database, 8, 12_500).await).await;
}
