//! Requests with an idempotency key, on both databases.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, Database, Response, served_on_both, token_of};

const JSON: &str = "application/json";

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2024-03-31"})
}

async fn send(
    client: &Client,
    (method, path): (&str, &str),
    key: &str,
    tag: Option<&str>,
    body: &Value,
) -> Response {
    let request = client.request(method, path).header("content-type", JSON);
    let request = request.header("idempotency-key", key).body(body.to_string());
    client.send(tag.into_iter().fold(request, |request, tag| request.header("if-match", tag))).await
}

async fn create(client: &Client, key: &str, body: &Value) -> Response {
    send(client, ("POST", "/api/v1/movies"), key, None, body).await
}

async fn count(client: &Client) -> Value {
    client.search(&[("count", "exact")]).await.json()["total"].clone()
}

/// Checks that a response is the same as an earlier one, and marked as repeated.
fn check_replayed(first: &Response, again: &Response) {
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    for name in ["etag", "location", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_retry_gets_the_same_response() {
    served_on_both(async |client| {
        let first = create(&client, "\"a\"", &movie("One")).await;
        assert_eq!((first.status, first.header("etag")), (201, "\"1\""));
        let path = first.location();
        assert_eq!(first.json(), client.get(&path).await.json());
        // The quotes are optional.
        check_replayed(&first, &create(&client, "a", &movie("One")).await);
        assert_eq!(count(&client).await, 1);

        // Without a key, the retry of a change is rejected, because the version is another one.
        for (method, body) in [("PUT", movie("Two")), ("PATCH", json!({"genre": "war"}))] {
            let tag = client.get(&path).await.header("etag").to_owned();
            let change = async || send(&client, (method, &path), method, Some(&tag), &body).await;
            let first = change().await;
            assert_eq!(first.status, 200);
            check_replayed(&first, &change().await);
            let without = client.change(method, &path, JSON, Some(&tag), &body).await;
            without.problem(412, "precondition_failed");
        }
        client.send(client.request("DELETE", &path)).await;
        let restore = format!("{path}/restore");
        let restore =
            async || send(&client, ("POST", &restore), "r", None, &json!({"version": 1})).await;
        let first = restore().await;
        assert_eq!(first.status, 200);
        check_replayed(&first, &restore().await);
    })
    .await;
}

#[tokio::test]
async fn a_creation_keeps_or_updates_what_is_there() {
    served_on_both(async |client| {
        let first = create(&client, "first", &movie("One")).await;
        let path = first.location();
        let other = |genre: &str| {
            let mut movie = movie("One");
            movie["genre"] = json!(genre);
            movie
        };
        let put = async |policy: &str, key: &str, body: &Value| {
            let path = format!("/api/v1/movies?on_conflict={policy}");
            send(&client, ("POST", &path), key, None, body).await
        };
        let kept = put("skip", "a", &other("war")).await;
        assert_eq!((kept.status, kept.header("etag"), kept.header("location")), (200, "\"1\"", ""));
        assert_eq!(kept.json(), first.json());
        let updated = put("update", "b", &other("war")).await;
        assert_eq!((updated.status, updated.header("etag")), (200, "\"2\""));
        assert_eq!(updated.json(), client.get(&path).await.json());
        assert_eq!(updated.json()["genre"], "war");
        // The record has these values already, so it keeps its version.
        let same = put("update", "c", &other("war")).await;
        assert_eq!((same.status, same.header("etag")), (200, "\"2\""));
        check_replayed(&kept, &put("skip", "a", &other("war")).await);
        check_replayed(&updated, &put("update", "b", &other("war")).await);
        put("skip", "b", &other("war")).await.problem(422, "idempotency_key_reused");
        let rejected = put("fail", "d", &other("war")).await;
        let problem = rejected.problem(409, "duplicate");
        assert_eq!(problem["existing_id"], first.json()["id"]);
        put("keep", "e", &other("war")).await.problem(400, "invalid_parameter");
        for policy in ["skip", "update"] {
            let created = put(policy, policy, &movie(policy)).await;
            assert_eq!((created.status, created.header("etag")), (201, "\"1\""));
            assert_eq!(client.get(&created.location()).await.json(), created.json());
            check_replayed(&created, &put(policy, policy, &movie(policy)).await);
        }
        assert_eq!(count(&client).await, 3);
        // What is there may be a record that the token does not allow reading.
        let writer = client.with_scopes(&["movies:write"]);
        for policy in ["skip", "update"] {
            let path = format!("/api/v1/movies?on_conflict={policy}");
            let response = writer.post(&path, &movie("One")).await;
            response.problem(403, "insufficient_scope");
        }
    })
    .await;
}

#[tokio::test]
async fn the_legacy_route_takes_a_key() {
    served_on_both(async |client| {
        let create = async |key: &str, title: &str| {
            send(&client, ("POST", "/api"), key, None, &movie(title)).await
        };
        let first = create("a", "One").await;
        assert_eq!(first.status, 200);
        check_replayed(&first, &create("a", "One").await);
        create("a", "Two").await.problem(422, "idempotency_key_reused");
        create("b", "One").await.problem(400, "invalid_record");
        create("b", "Two").await;
        assert_eq!(count(&client).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_user() {
    served_on_both(async |client| {
        create(&client, "k", &movie("One")).await;
        let path = create(&client, "l", &movie("Two")).await.location();
        for (request, key, tag, body) in [
            (("POST", "/api/v1/movies"), "k", None, movie("Three")),
            (("PUT", path.as_str()), "k", Some("*"), movie("One")),
        ] {
            let other = send(&client, request, key, tag, &body).await;
            other.problem(422, "idempotency_key_reused");
        }
        let scopes = ["movies:read", "movies:write"];
        let ben = client.with_token(Some(token_of("ben", &scopes)));
        // Otherwise a user could read what another one has written.
        let own = create(&ben, "k", &movie("One")).await;
        own.problem(409, "duplicate");
        assert_eq!(create(&ben, "k", &movie("Three")).await.status, 201);
        // A request that failed has changed nothing, so it is done anew.
        create(&ben, "m", &movie("Three")).await.problem(409, "duplicate");
        assert_eq!(create(&ben, "m", &movie("Four")).await.status, 201);
        let long = "k".repeat(256);
        for malformed in ["", "\"\"", "a b", "\"a\"b\"", "é", long.as_str()] {
            let problem = create(&client, malformed, &movie("Five")).await;
            problem.problem(400, "invalid_parameter");
        }
        let twice = client.request("POST", "/api/v1/movies").header("idempotency-key", "x");
        let twice = twice.header("idempotency-key", "y").header("content-type", JSON);
        client.send(twice.body(movie("Five").to_string())).await.problem(400, "invalid_parameter");
        assert_eq!(create(&client, &"k".repeat(255), &movie("Five")).await.status, 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_with_one_key_write_once() {
    for database in [Database::sqlite(), Database::postgres().await] {
        let first = Client::of(database).await;
        let mut clients = vec![first];
        for _ in 1..4 {
            clients.push(Client::of(clients[0].database().again()).await);
        }
        let body = movie("One");
        let requests = (0..100).map(|number| create(&clients[number % 4], "k", &body));
        let responses = join_all(requests).await;
        let created: Vec<&Response> = responses
            .iter()
            .filter(|r| r.status == 201 && r.header("idempotency-replayed").is_empty())
            .collect();
        assert_eq!(created.len(), 1);
        for response in &responses {
            match response.status {
                201 => assert_eq!(response.body, created[0].body),
                409 => {
                    assert!(!response.header("retry-after").is_empty());
                    let _ = response.problem(409, "idempotency_key_in_use");
                }
                // Too many requests of one user wait for the writer of SQLite.
                _ => {
                    let _ = response.problem(503, "unavailable");
                }
            }
        }
        assert_eq!(count(&clients[0]).await, 1);
    }
}
