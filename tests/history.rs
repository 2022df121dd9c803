//! The routes of the journal, on both databases.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, Response, served_on_both};

const JSON: &str = "application/json";
const PATCH: &str = "application/merge-patch+json";

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2024-03-31"})
}

async fn patch(client: &Client, path: &str, patch: Value) -> Response {
    client.change("PATCH", path, PATCH, Some("*"), &patch).await
}

/// A movie of which the journal has a creation, two updates and a deletion.
async fn deleted(client: &Client) -> String {
    let path = client.post("/api/v1/movies", &movie("One")).await.location();
    patch(client, &path, json!({"genre": "war"})).await;
    patch(client, &path, json!({"genre": "comedy", "release_year": 2002})).await;
    assert_eq!(client.send(client.request("DELETE", &path)).await.status, 204);
    path
}

#[tokio::test]
async fn the_history_says_who_changed_what() {
    served_on_both(async |client| {
        let path = deleted(&client).await;
        let page = client.get(&format!("{path}/history")).await.json();
        let items = page["items"].as_array().unwrap();
        let kinds: Vec<(&Value, &Value)> =
            items.iter().map(|i| (&i["version"], &i["kind"])).collect();
        let expected = [(4, "deleted"), (3, "updated"), (2, "updated"), (1, "created")];
        let expected = expected.map(|(version, kind)| (json!(version), json!(kind)));
        assert_eq!(kinds, expected.iter().map(|(v, k)| (v, k)).collect::<Vec<_>>());
        let fields = json!([
            {"field": "genre", "before": "war", "after": "comedy"},
            {"field": "release_year", "before": 2001, "after": 2002},
        ]);
        assert_eq!(items[1]["fields"], fields);
        assert!(
            items.iter().all(|item| item["subject"] == "tester" && item["request_id"].is_string())
        );
        // Two pages of two.
        let first = client.get(&format!("{path}/history?limit=2")).await.json();
        let next = first["next_before"].as_i64().unwrap();
        let second = client.get(&format!("{path}/history?limit=2&before={next}")).await.json();
        assert_eq!(second["items"], json!(items[2..]));
        assert!(second["next_before"].is_null());
    })
    .await;
}

#[tokio::test]
async fn a_version_is_read_and_restored() {
    served_on_both(async |client| {
        let path = deleted(&client).await;
        let second = client.get(&format!("{path}?version=2")).await;
        assert_eq!((second.status, second.header("etag")), (200, "\"2\""));
        assert_eq!(second.json()["genre"], "war");
        let deletion = client.get(&format!("{path}?version=4")).await.problem(404, "not_found");
        assert!(deletion["detail"].as_str().unwrap().contains("is the deletion"), "{deletion}");
        for unknown in ["5", "0", "-1", "9223372036854775807"] {
            let unknown = client.get(&format!("{path}?version={unknown}")).await;
            unknown.problem(404, "not_found");
        }
        let restore = async |version: i64, tag: Option<&str>| {
            let path = format!("{path}/restore");
            client.change("POST", &path, JSON, tag, &json!({"version": version})).await
        };
        let restored = restore(2, None).await;
        assert_eq!((restored.status, restored.header("etag")), (200, "\"5\""));
        let (record, mut expected) = (restored.json()["record"].clone(), second.json());
        assert_eq!(restored.json()["left_out"], json!([]));
        expected["version"] = json!(5);
        expected["updated_at"] = record["updated_at"].clone();
        assert_eq!(record, expected);
        assert_eq!(client.get(&path).await.json(), expected);
        // Restoring a version of a record that exists.
        restore(1, Some("\"4\"")).await.problem(412, "precondition_failed");
        let restored = restore(1, Some("\"5\"")).await;
        assert_eq!(restored.json()["record"]["genre"], "drama");
        let history = client.get(&format!("{path}/history?limit=2")).await.json();
        assert_eq!(history["items"][0]["kind"], "updated");
        assert_eq!(history["items"][1]["kind"], "restored");
        restore(4, None).await.problem(404, "not_found");
        // Its natural key is taken meanwhile.
        client.send(client.request("DELETE", &path)).await;
        let other = client.post("/api/v1/movies", &movie("One")).await.location();
        let problem = restore(1, None).await;
        assert_eq!(problem.location(), other);
        problem.problem(409, "duplicate");
    })
    .await;
}

#[tokio::test]
async fn changes_are_followed_and_filtered() {
    served_on_both(async |client| {
        deleted(&client).await;
        client.post("/api/v1/movies", &movie("Two")).await;
        let mut after = 0;
        let mut kinds = Vec::new();
        loop {
            let page = client.get(&format!("/api/v1/changes?after={after}&limit=2")).await.json();
            let items = page["items"].as_array().unwrap();
            kinds.extend(items.iter().map(|item| item["kind"].clone()));
            after = page["next_after"].as_i64().unwrap();
            if page["has_more"] == false {
                break;
            }
            assert_eq!(items.len(), 2);
        }
        assert_eq!(kinds, ["created", "updated", "updated", "deleted", "created"]);
        let empty = client.get(&format!("/api/v1/changes?after={after}")).await.json();
        assert_eq!(empty, json!({"items": [], "next_after": after, "has_more": false}));
        let filtered = async |filter: &str| {
            let filter = [("collection", "movies"), ("filter", filter), ("p.g", "war")];
            let request = client.request("GET", "/api/v1/changes").query(&filter);
            client.send(request).await
        };
        // The update to it alone: the filter is about the record after a change.
        let items = filtered("genre = $g").await.json()["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), 1);
        assert_eq!(
            (&items[0]["before"]["genre"], &items[0]["after"]["genre"]),
            (&json!("drama"), &json!("war"))
        );
        filtered("gnre = $g").await.problem(400, "invalid_query");
        client.get("/api/v1/changes?collection=move").await.problem(400, "invalid_parameter");
        // A value for a parameter without a filter that uses it.
        client.get("/api/v1/changes?p.g=war").await.problem(400, "invalid_query");
    })
    .await;
}

#[tokio::test]
async fn an_administrator_erases_a_history() {
    served_on_both(async |client| {
        let path = deleted(&client).await;
        let history = format!("{path}/history");
        let erase = client.request("DELETE", &history);
        client.send(erase).await.problem(403, "insufficient_scope");
        let administrator = client.with_scopes(&["admin", "movies:read", "movies:write"]);
        let erase = async || administrator.send(administrator.request("DELETE", &history)).await;
        assert_eq!(erase().await.status, 204);
        let page = client.get(&history).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&page["items"][0]["kind"], &page["items"][0]["fields"]),
            (&json!("erased"), &json!([]))
        );
        client.get(&format!("{path}?version=2")).await.problem(404, "not_found");
        let changes = client.get("/api/v1/changes").await.body;
        assert!(!String::from_utf8_lossy(&changes).contains("war"));
        let unknown = "/api/v1/movies/01890a5d-ac96-774b-bcce-b302099a8057/history";
        administrator
            .send(administrator.request("DELETE", unknown))
            .await
            .problem(404, "not_found");
        client.get(unknown).await.problem(404, "not_found");
        client.get(&format!("{unknown}?before=2")).await.problem(404, "not_found");
        let first = client.get(&format!("{history}?before=1")).await;
        assert_eq!(first.json(), json!({"items": []}));
    })
    .await;
}

#[tokio::test]
async fn conflicts_name_the_record_that_is_there() {
    served_on_both(async |client| {
        let path = client.post("/api/v1/movies", &movie("One")).await.location();
        let id = path.rsplit('/').next().unwrap();
        let duplicate = client.post("/api/v1/movies", &movie("One")).await;
        assert_eq!(duplicate.location(), path);
        assert_eq!(duplicate.problem(409, "duplicate")["existing_id"], id);
        let other = client.post("/api/v1/movies", &movie("Two")).await.location();
        let renamed = patch(&client, &other, json!({"title": "One"})).await;
        assert_eq!(renamed.location(), path);
        assert_eq!(renamed.problem(409, "duplicate")["existing_id"], id);
        // A restored record has earlier values, which a token without the scope for reading must not get.
        let writer = client.with_scopes(&["movies:write"]);
        let restore = format!("{path}/restore");
        let restored = writer.change("POST", &restore, JSON, None, &json!({"version": 1})).await;
        restored.problem(403, "insufficient_scope");
        // A client can merge without another request, if it may read.
        let stale = async |client: &Client| {
            let change = client.change("PATCH", &path, PATCH, Some("\"7\""), &json!({})).await;
            change.problem(412, "precondition_failed")["current"].clone()
        };
        assert_eq!(stale(&client).await, client.get(&path).await.json());
        assert_eq!(stale(&client.with_scopes(&["movies:write"])).await, Value::Null);
    })
    .await;
}

/// No two states of a record have the same version, also if it is restored and deleted at the same time.
#[tokio::test]
async fn versions_are_unique_under_concurrent_restores_and_deletions() {
    served_on_both(async |client| {
        let path = deleted(&client).await;
        let restore = format!("{path}/restore");
        let work = (0..6).map(async |worker| {
            for _ in 0..15 {
                let response = if worker < 4 {
                    client.post(&restore, &json!({"version": 1})).await
                } else {
                    client.send(client.request("DELETE", &path)).await
                };
                let expected = if worker < 4 { [200, 503] } else { [204, 404] };
                assert!(expected.contains(&response.status), "{worker}: {}", response.json());
            }
        });
        join_all(work).await;
        let page = client.get(&format!("{path}/history?limit=1000")).await.json();
        let versions =
            page["items"].as_array().unwrap().iter().map(|item| item["version"].as_i64());
        let versions: Vec<i64> = versions.map(Option::unwrap).collect();
        assert!(versions.len() > 6, "{versions:?}");
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1] + 1), "{versions:?}");
    })
    .await;
}
