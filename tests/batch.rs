//! Batches of writes, on both databases.

use cinequery::clock::timestamp_now;
use cinequery::http::specification;
use cinequery::record::{Draft, Members};
use cinequery::store::{Conflict, Item, ItemOutcome, NewRecord, Once, Write};
use serde_json::{Value, json};

use crate::support::records::declared;
use crate::support::{Client, Response, catalogue, on_both, served_on_both};

const JSON: &str = "application/json";
const MOVIES: &str = "/api/v1/movies/batch";

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2024-03-31"})
}

fn create(title: &str) -> Value {
    json!({"op": "create", "record": movie(title)})
}

async fn send(client: &Client, path: &str, batch: Value) -> Response {
    client.post(path, &batch).await
}

async fn total(client: &Client) -> i64 {
    client.search(&[("count", "exact")]).await.json()["total"].as_i64().unwrap()
}

fn column(report: &Value, member: &str) -> Vec<Value> {
    let results = report["results"].as_array().unwrap();
    results.iter().map(|result| result[member].clone()).collect()
}

#[tokio::test]
async fn a_batch_writes_in_its_order() {
    served_on_both(async |client| {
        let one = client.create(&movie("One")).await;
        let two = client.create(&movie("Two")).await;
        let batch = json!({"operations": [
            create("Three"),
            {"op": "patch", "id": one["id"], "version": 1, "record": {"genre": "war"}},
            {"op": "delete", "id": two["id"]},
            // Its natural key is free now.
            create("Two"),
            {"op": "replace", "id": one["id"], "version": 2, "record": movie("Four")},
            // It has these values already.
            {"op": "patch", "id": one["id"], "version": 3, "record": {"title": "Four"}},
        ]});
        let report = send(&client, MOVIES, batch).await;
        assert_eq!(report.status, 200);
        let report = report.json();
        assert_eq!(column(&report, "status"), [201, 200, 204, 201, 200, 200]);
        let tags = [
            json!("\"1\""),
            json!("\"2\""),
            Value::Null,
            json!("\"1\""),
            json!("\"3\""),
            json!("\"3\""),
        ];
        assert_eq!(column(&report, "etag"), tags);
        let titles = client.search(&[("order_by", "title")]).await.column("title");
        assert_eq!(titles, ["Four", "Three", "Two"]);
        let ids = column(&report, "id");
        let three = client.get(&format!("/api/v1/movies/{}", ids[0].as_str().unwrap())).await;
        assert_eq!(three.json()["title"], "Three");
        let changes = client.get("/api/v1/changes").await.json();
        assert_eq!(changes["items"].as_array().unwrap().len(), 2 + 5);
    })
    .await;
}

#[tokio::test]
async fn a_batch_with_one_bad_item_of_a_thousand_changes_nothing() {
    served_on_both(async |client| {
        let taken = client.create(&movie("m500")).await;
        let batch = |bad: Value| {
            let mut items: Vec<Value> = (0..1000).map(|n| create(&format!("x{n}"))).collect();
            items[700] = bad;
            json!({"operations": items})
        };
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (bad, status, code) in [
            (create("m500"), 409, "batch_failed"),
            (create("x3"), 409, "batch_failed"),
            (json!({"op": "delete", "id": unknown}), 409, "batch_failed"),
            (
                json!({"op": "patch", "id": taken["id"], "version": 7, "record": {}}),
                409,
                "batch_failed",
            ),
            (
                json!({"op": "patch", "id": taken["id"], "version": 1, "record": {"title": "x3"}}),
                409,
                "batch_failed",
            ),
            (json!({"op": "create", "record": {"title": "x"}}), 400, "invalid_record"),
            (json!({"op": "patch", "id": taken["id"], "record": {}}), 400, "invalid_record"),
            (json!({"op": "create", "id": unknown, "record": movie("y")}), 400, "invalid_record"),
        ] {
            let problem = send(&client, MOVIES, batch(bad.clone())).await.problem(status, code);
            let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
            assert!(pointer.starts_with("/operations/700"), "{bad}: {problem}");
            assert_eq!(total(&client).await, 1, "{bad}");
        }
        let changes = client.get("/api/v1/changes").await.json();
        assert_eq!(changes["items"].as_array().unwrap().len(), 1);
        let good = send(&client, MOVIES, batch(create("good"))).await.json();
        assert_eq!(good["results"].as_array().unwrap().len(), 1000);
        assert_eq!(total(&client).await, 1001);
    })
    .await;
}

#[tokio::test]
async fn without_atomic_each_item_has_its_result() {
    served_on_both(async |client| {
        let one = client.create(&movie("One")).await;
        let two = client.create(&movie("Two")).await;
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        let batch = json!({"atomic": false, "operations": [
            create("One"),
            create("Three"),
            {"op": "create", "on_conflict": "skip", "record": movie("Two")},
            {"op": "create", "on_conflict": "update", "record":
                {"title": "One", "genre": "war", "release_year": 2001, "expiry_date": "2024-03-31"}},
            {"op": "patch", "id": two["id"], "version": 1, "record": {"title": "One"}},
            {"op": "patch", "id": two["id"], "version": 9, "record": {"genre": "war"}},
            {"op": "delete", "id": unknown},
            {"op": "create", "record": {"title": ""}},
            create("Four"),
        ]});
        let report = send(&client, MOVIES, batch).await.json();
        assert_eq!(column(&report, "status"), [409, 201, 200, 200, 409, 412, 404, 400, 201]);
        let ids = column(&report, "id");
        for (position, id) in [(0, &one), (2, &two), (3, &one), (4, &one), (5, &two)] {
            assert_eq!(ids[position], id["id"], "{position}");
        }
        assert_eq!(ids[6], unknown);
        assert_eq!(report["results"][5]["current"], two);
        assert_eq!(report["results"][7]["errors"][0]["pointer"], "/record/title");
        let path = format!("/api/v1/movies/{}", one["id"].as_str().unwrap());
        let updated = client.get(&path).await.json();
        assert_eq!((&updated["genre"], &updated["version"]), (&json!("war"), &json!(2)));
        assert_eq!(total(&client).await, 4);
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_bounded_and_needs_the_scopes_of_its_collections() {
    served_on_both(async |client| {
        // serde accepts an array for a structure, and reports `null` as a mistake of syntax.
        for (operation, expected) in [
            (json!(["create", null, null, null, {}, null]), "expected a JSON object, found an array"),
            (json!({"op": null}), "expected a string, found another value"),
            (json!({"op": "upsert"}), "expected one of create, replace, patch, delete, found"),
        ] {
            let problem = send(&client, MOVIES, json!({"operations": [operation]})).await;
            let problem = problem.problem(400, "invalid_body");
            assert!(problem["detail"].as_str().unwrap().starts_with(expected), "{problem}");
        }
        let of = |collection: &str, record: Value| {
            json!({"op": "create", "collection": collection, "record": record})
        };
        let post = &specification(catalogue())["paths"]["/api/v1/screenings"]["post"];
        let screening = post["requestBody"]["content"][JSON]["example"].clone();
        let both = || json!({"operations": [of("movies", movie("One")), of("screenings", screening.clone())]});
        let all = ["movies:read", "movies:write", "screenings:write"];
        let editor = client.with_scopes(&all);
        send(&client.with_scopes(&["movies:write"]), "/api/v1/batch", both()).await
            .problem(403, "insufficient_scope");
        assert_eq!(total(&client).await, 0);
        let report = send(&editor, "/api/v1/batch", both()).await.json();
        assert_eq!(column(&report, "status"), [201, 201]);
        for (path, batch) in [
            (MOVIES, both()),
            (MOVIES, json!({"operations": []})),
            (MOVIES, json!({"operations": vec![create("x"); 1001]})),
            (MOVIES, json!({"operations": [{"op": "upsert"}]})),
            (MOVIES, json!([])),
            ("/api/v1/batch", json!({"operations": [create("x")]})),
            ("/api/v1/batch", json!({"operations": [of("actors", movie("x"))]})),
        ] {
            let problem = send(&editor, path, batch.clone()).await;
            assert_eq!((problem.status, problem.json()["code"].as_str()), (400, Some("invalid_body")), "{batch}");
        }
        // A retry with a key gets the same results.
        let keyed = async || {
            let request = client.request("POST", MOVIES).header("content-type", JSON);
            let body = json!({"operations": [create("Two")]}).to_string();
            client.send(request.header("idempotency-key", "k").body(body)).await
        };
        let (first, again) = (keyed().await, keyed().await);
        assert_eq!((again.status, again.json()), (200, first.json()));
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(total(&client).await, 2);
    })
    .await;
}

/// A record type with two unique keys.
const PAIRS: &str = r#"
name = "Pair"
collection = "pairs"
unique = [["a"], ["b"]]

[fields]
a = { type = "text" }
b = { type = "text" }
"#;

/// A creation that updates another record does not overtake the operations before it, nor fall behind those after it.
#[tokio::test]
async fn creations_that_update_keep_their_place() {
    on_both(async |database| {
        let schema = declared(&[PAIRS]).schemas()[0];
        let store = database.open().await;
        store.migrate(&[schema]).await.unwrap();
        let item = |a: &str, b: &str, policy| {
            let members: Members = serde_json::from_value(json!({"a": a, "b": b})).unwrap();
            let draft = Draft::read(schema, members).unwrap();
            let write = Write::Create(NewRecord::of(draft.row().clone()));
            Item { schema, write, on_conflict: (policy, draft.update()) }
        };
        let run = async |items: Vec<Item>| {
            let outcome = store.write_batch(items, false, None, timestamp_now()).await.unwrap();
            let Once::Unkeyed(outcomes) = outcome else { panic!("{outcome:?}") };
            outcomes
                .iter()
                .map(|outcome| match outcome {
                    ItemOutcome::Created(_) => "created",
                    ItemOutcome::Updated(_) => "updated",
                    ItemOutcome::Duplicate(Some(_)) => "duplicate",
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        let (fail, update) = (Conflict::Fail, Conflict::Update);
        assert_eq!(run(vec![item("a1", "b1", fail)]).await, ["created"]);
        // The first frees the key of the second.
        let frees = vec![item("a1", "b3", update), item("a9", "b1", fail)];
        assert_eq!(run(frees).await, ["updated", "created"]);
        // The first takes the key of the second.
        let takes = vec![item("a1", "b2", update), item("a2", "b2", fail), item("a3", "b4", fail)];
        assert_eq!(run(takes).await, ["updated", "duplicate", "created"]);
    })
    .await;
}
