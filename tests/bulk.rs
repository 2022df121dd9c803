//! Changing and deleting all records that match a filter, on both databases.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Database, Response, served_on_both, token_of};

const JSON: &str = "application/json";

async fn fill(client: &Client, count: usize) {
    for number in 0..count {
        let genre = if number % 2 == 0 { "drama" } else { "war" };
        let movie = json!({"title": format!("m{number}"), "genre": genre,
                           "release_year": 2000 + number % 3, "expiry_date": "2024-03-31"});
        client.create(&movie).await;
    }
}

async fn send(client: &Client, method: &str, query: &[(&str, &str)], body: Value) -> Response {
    let request = client.request(method, "/api/v1/movies").query(query);
    match method {
        "DELETE" => client.send(request).await,
        _ => client.send(request.header("content-type", JSON).body(body.to_string())).await,
    }
}

async fn total(client: &Client, filter: &str) -> i64 {
    let page = client.search(&[("filter", filter), ("count", "exact"), ("limit", "1")]).await;
    page.json()["total"].as_i64().unwrap()
}

#[tokio::test]
async fn nothing_happens_unless_as_many_match_as_expected() {
    served_on_both(async |client| {
        fill(&client, 250).await;
        let drama = [("filter", "genre = $g"), ("p.g", "drama")];
        let with = |extra: (&'static str, &'static str)| [drama[0], drama[1], extra];
        for method in ["PATCH", "DELETE"] {
            let body = || json!({"genre": "comedy"});
            for expect in ["0", "124", "126", "10000"] {
                let problem = send(&client, method, &with(("expect", expect)), body()).await;
                assert_eq!(problem.problem(409, "unexpected_count")["matched"], 125);
            }
            for wrong in ["-1", "10001", "x"] {
                let problem = send(&client, method, &with(("expect", wrong)), body()).await;
                problem.problem(400, "invalid_parameter");
            }
            let missing = send(&client, method, &drama, body()).await;
            assert_eq!(missing.problem(409, "unexpected_count")["matched"], 125);
            // Without a filter, with an empty one, and with one that is invalid.
            let all = [("expect", "250")];
            send(&client, method, &all, body()).await.problem(400, "invalid_parameter");
            let empty = [("expect", "250"), ("filter", " ")];
            send(&client, method, &empty, body()).await.problem(400, "invalid_query");
            let invalid = [("expect", "1"), ("filter", "gnre = 'x'")];
            send(&client, method, &invalid, body()).await.problem(400, "invalid_query");
            let dry = send(&client, method, &with(("dry_run", "true")), body()).await.json();
            assert_eq!((&dry["matched"], &dry["written"]), (&json!(125), &json!(0)));
            let items = dry["items"].as_array().unwrap();
            assert_eq!((items.len(), &items[1]["title"]), (20, &json!("m2")));
        }
        let detail = async |query: &[(&str, &str)]| {
            let problem = send(&client, "DELETE", query, json!({})).await;
            problem.problem(409, "unexpected_count")["detail"].as_str().unwrap().to_owned()
        };
        assert!(
            detail(&with(("expect", "1")))
                .await
                .ends_with("send expect=125 if all of them are meant")
        );
        let none = [("filter", "genre = 'none'"), ("expect", "1")];
        assert!(detail(&none).await.ends_with("correct the filter"));
        assert_eq!(total(&client, "version = 1").await, 250);
        let changes = client.get("/api/v1/changes?limit=1000").await.json();
        assert_eq!(changes["items"].as_array().unwrap().len(), 250);
    })
    .await;
}

#[tokio::test]
async fn all_matching_records_are_changed_and_deleted() {
    served_on_both(async |client| {
        fill(&client, 250).await;
        let patch = json!({"genre": "war", "release_year": 2001});
        let query = [("filter", "release_year <= 2001"), ("expect", "167")];
        let report = send(&client, "PATCH", &query, patch.clone()).await;
        // Forty-two of these are of genre war and of 2001 already.
        let written = report.json()["written"].as_i64().unwrap();
        assert_eq!(report.json(), json!({"matched": 167, "written": written}));
        assert_eq!(total(&client, "version = 2").await, written);
        assert_eq!(total(&client, "genre = 'war' and release_year = 2001").await, 167);
        assert_eq!(written, 167 - 42);
        let found = client.search(&[("filter", "genre contains 'WAR'"), ("limit", "1")]).await;
        assert_eq!(found.json()["items"][0]["genre"], "war", "the folded column is updated too");
        // A natural key that two of them would have: nothing is changed.
        let title = json!({"title": "same", "release_year": 1999});
        let both = [("filter", "title in ('m0', 'm1')"), ("expect", "2")];
        send(&client, "PATCH", &both, title).await.problem(409, "duplicate");
        send(&client, "PATCH", &both, json!({"release_year": 1}))
            .await
            .problem(400, "invalid_record");
        let deleted = send(&client, "DELETE", &query, Value::Null).await.json();
        assert_eq!(deleted, json!({"matched": 167, "written": 167}));
        assert_eq!(total(&client, "id is not null").await, 83);
        let kinds = client.get("/api/v1/changes?limit=1000").await.json();
        let kinds = kinds["items"].as_array().unwrap();
        let count = |kind: &str| kinds.iter().filter(|change| change["kind"] == kind).count();
        assert_eq!((count("created"), count("deleted")), (250, 167));
        assert_eq!(count("updated"), usize::try_from(written).unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_change_by_filter_is_retried_once() {
    served_on_both(async |client| {
        fill(&client, 4).await;
        let change = async |expect: &str| {
            let query = [("filter", "genre = 'war'"), ("expect", expect)];
            let request = client.request("PATCH", "/api/v1/movies").query(&query);
            let request = request.header("content-type", JSON).header("idempotency-key", "k");
            client.send(request.body(json!({"genre": "drama"}).to_string())).await
        };
        let (first, again) = (change("2").await, change("2").await);
        assert_eq!((first.status, first.json()), (200, json!({"matched": 2, "written": 2})));
        assert_eq!((again.status, again.json()), (200, first.json()));
        assert_eq!(again.header("idempotency-replayed"), "true");
        change("0").await.problem(422, "idempotency_key_reused");
        let reader = client.with_scopes(&["movies:read"]);
        let query = [("filter", "genre = 'drama'"), ("expect", "4")];
        send(&reader, "DELETE", &query, Value::Null).await.problem(403, "insufficient_scope");
        // A writer that may not read can test nothing by its counts.
        let writer = client.with_scopes(&["movies:write"]);
        let dry = [("filter", "genre = 'drama'"), ("dry_run", "true")];
        send(&writer, "DELETE", &dry, Value::Null).await.problem(403, "insufficient_scope");
        let guess = [("filter", "genre = 'drama'"), ("expect", "3")];
        send(&writer, "DELETE", &guess, Value::Null).await.problem(403, "insufficient_scope");
    })
    .await;
}

/// On SQLite the writes that wait are taken in turns of the users.
#[tokio::test]
async fn many_changes_of_one_user_do_not_delay_the_write_of_another() {
    let client = Client::of(Database::sqlite()).await;
    fill(&client, 1000).await;
    let scopes = ["movies:read", "movies:write"];
    let flood = (0..40).map(|n| {
        let client = client.with_token(Some(token_of("flood", &scopes)));
        async move {
            let query = [("filter", "title != 'own'"), ("expect", "1000")];
            let genre = json!({"genre": format!("g{n}")});
            send(&client, "PATCH", &query, genre).await.status
        }
    });
    let other = async {
        // The others are waiting then.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let other = client.with_token(Some(token_of("other", &scopes)));
        let movie = json!({
            "title": "own", "genre": "g", "release_year": 2001, "expiry_date": "2024-03-31",
        });
        other.post("/api/v1/movies", &movie).await.status
    };
    let (statuses, status) = futures_util::join!(futures_util::future::join_all(flood), other);
    assert_eq!(status, 201);
    // Some of the many have waited too long.
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let database = client.database();
    let before = "SELECT CAST(count(DISTINCT request_id) AS text) FROM changes WHERE subject = 'flood' \
                  AND position < (SELECT position FROM changes WHERE subject = 'other')";
    let before = database.rows(before).await[0][0].clone().unwrap();
    assert!(before.parse::<u32>().unwrap() < 10, "{before} changes of 40 came first");
}
