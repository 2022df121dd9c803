//! Saved queries, on both databases.

use serde_json::{Value, json};

use crate::support::{Client, served_on_both};

const QUERIES: &str = "/api/v1/queries/movies";

async fn fill(client: &Client) {
    for (title, genre, release_year, expiry_date) in [
        ("Alpha", "drama", 1994, "2024-01-01"),
        ("Beta", "comedy", 2001, "2024-03-31"),
        ("Gamma", "drama", 2010, "2024-06-30"),
        ("Delta", "drama", 2015, "2025-01-01"),
    ] {
        let movie = json!({
            "title": title, "genre": genre, "release_year": release_year, "expiry_date": expiry_date,
        });
        client.create(&movie).await;
    }
}

fn by_genre() -> Value {
    json!({
        "name": "by-genre",
        "description": "One genre since a year",
        "filter": "genre = $genre and\n  release_year >= $since",
        "order_by": "release_year desc",
        "parameters": [
            {"name": "since", "default": 1900, "description": "The first year"},
            {"name": "genre", "type": "text"},
        ],
    })
}

#[tokio::test]
async fn a_query_is_saved_read_listed_changed_and_deleted() {
    served_on_both(async |client| {
        let created = client.post(QUERIES, &by_genre()).await;
        assert_eq!((created.status, created.header("etag")), (201, "\"1\""), "{created:?}");
        let path = created.location();
        assert_eq!(path, format!("{QUERIES}/by-genre"));
        let query = created.json();
        // In the order of their use, with the types inferred from it.
        let parameters = json!([
            {"name": "genre", "type": "text"},
            {"name": "since", "type": "integer", "default": 1900, "description": "The first year"},
        ]);
        assert_eq!(query["parameters"], parameters);
        assert_eq!(query["filter"], by_genre()["filter"]);
        assert_eq!((&query["valid"], &query["built_in"]), (&json!(true), &json!(false)));

        let read = client.get(&path).await;
        assert_eq!((read.header("etag"), read.json()), ("\"1\"", query.clone()));
        client.post(QUERIES, &by_genre()).await.problem(409, "duplicate");

        let mut draft = by_genre();
        draft["name"] = json!("of-a-genre");
        let change = async |path: &str, tag: Option<&str>, draft: &Value| {
            client.change("PUT", path, "application/json", tag, draft).await
        };
        change(&path, None, &draft).await.problem(428, "precondition_required");
        change(&path, Some("\"2\""), &draft).await.problem(412, "precondition_failed");
        let renamed = change(&path, Some("\"1\""), &draft).await;
        assert_eq!((renamed.status, renamed.header("etag")), (200, "\"2\""));
        client.get(&path).await.problem(404, "not_found");
        let path = format!("{QUERIES}/of-a-genre");
        assert_eq!(client.get(&path).await.json(), renamed.json());
        client.post(QUERIES, &by_genre()).await;
        change(&path, Some("*"), &by_genre()).await.problem(409, "duplicate");

        let page = client.get(&format!("{QUERIES}?limit=1")).await;
        assert_eq!(page.column("name"), ["by-genre"]);
        let page = page.json();
        let built_in: Vec<_> = page["built_in"].as_array().unwrap().iter().collect();
        assert_eq!(built_in.len(), 2);
        assert!(built_in.iter().all(|query| query["valid"] == true && query["built_in"] == true));
        let cursor = page["next_cursor"].as_str().unwrap();
        let next = client.get(&format!("{QUERIES}?limit=1&cursor={cursor}")).await;
        assert_eq!(next.column("name"), ["of-a-genre"]);
        assert_eq!(next.json()["next_cursor"], Value::Null);
        // Each collection has its own saved queries.
        assert_eq!(client.get("/api/v1/queries/screenings").await.json()["items"], json!([]));

        let delete = |tag: &str| client.request("DELETE", &path).header("if-match", tag);
        client.send(delete("\"1\"")).await.problem(412, "precondition_failed");
        assert_eq!(client.send(delete("\"2\"")).await.status, 204);
        client.get(&path).await.problem(404, "not_found");
        client.send(client.request("DELETE", &path)).await.problem(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_query_is_run_a_page_at_a_time() {
    served_on_both(async |client| {
        fill(&client).await;
        client.post(QUERIES, &by_genre()).await;
        let results = format!("{QUERIES}/by-genre/results");
        let run = async |query: &str| client.get(&format!("{results}?{query}")).await;
        let post = async |body: Value| client.post(&results, &body).await;

        assert_eq!(run("p.genre=drama").await.column("title"), ["Delta", "Gamma", "Alpha"]);
        assert_eq!(run("p.genre=drama&p.since=2011").await.column("title"), ["Delta"]);
        let body = json!({"parameters": {"genre": "drama", "since": 2010}, "count": "exact"});
        let response = post(body).await;
        assert_eq!(response.column("title"), ["Delta", "Gamma"]);
        assert_eq!(response.json()["total"], 2);

        let first = run("p.genre=drama&limit=2").await;
        assert_eq!(first.column("title"), ["Delta", "Gamma"]);
        assert_eq!(client.get(&first.next().unwrap()).await.column("title"), ["Alpha"]);
        // Sending the default explicitly is the same search, so the cursor stays valid.
        let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
        let body = json!({"parameters": {"genre": "drama", "since": 1900}, "cursor": cursor});
        assert_eq!(post(body).await.column("title"), ["Alpha"]);
        let other = json!({"parameters": {"genre": "comedy"}, "cursor": cursor});
        post(other).await.problem(400, "invalid_cursor");

        for (query, code, parameter) in [
            ("", "missing_parameter", "filter"),
            ("p.genre=drama&p.since=x", "invalid_parameter", "p.since"),
            ("p.genre=drama&p.year=1", "unknown_parameter", "p.year"),
        ] {
            let problem = run(query).await.problem(400, "invalid_query");
            let found = &problem["diagnostics"][0];
            assert_eq!(
                (found["code"].as_str(), found["parameter"].as_str()),
                (Some(code), Some(parameter))
            );
        }
        run("genre=drama").await.problem(400, "invalid_parameter");
        client.get(&format!("{QUERIES}/nothing/results")).await.problem(404, "not_found");
        client.get(&format!("{QUERIES}/a%00b")).await.problem(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn invalid_saved_queries_are_rejected() {
    served_on_both(async |client| {
        let with = |member: &str, value: Value| {
            let mut draft = by_genre();
            draft[member] = value;
            draft
        };
        let parameter = |parameter: Value| with("parameters", json!([parameter]));
        for (draft, pointer) in [
            (with("name", json!("By Genre")), "/name"),
            (with("name", json!("")), "/name"),
            (with("name", json!("a--b")), "/name"),
            (with("name", json!("x".repeat(61))), "/name"),
            (with("description", json!("")), "/description"),
            (with("description", json!("a\u{0}b")), "/description"),
            (with("description", json!("x".repeat(501))), "/description"),
            (json!({"name": "nothing"}), "/filter"),
            (with("parameters", json!(vec![json!({"name": "genre"}); 3_000])), "/parameters"),
            (with("description", json!("a\u{7}b")), "/description"),
            (parameter(json!({"name": "genres"})), "/parameters/0/name"),
            (parameter(json!({"name": "since", "type": "date"})), "/parameters/0/type"),
            (parameter(json!({"name": "since", "default": "1900"})), "/parameters/0/default"),
            (parameter(json!({"name": "since", "default": u64::MAX})), "/parameters/0/default"),
            (parameter(json!({"name": "since", "description": ""})), "/parameters/0/description"),
            (
                with("parameters", json!([{"name": "since"}, {"name": "since"}])),
                "/parameters/1/name",
            ),
        ] {
            let response = client.post(QUERIES, &draft).await;
            assert!(response.body.len() < 4096, "{} bytes", response.body.len());
            let problem = response.problem(400, "invalid_record");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
        let both = json!({"name": "X", "filter": "gnre = 'drama'", "order_by": "titel"});
        let problem = client.post(QUERIES, &both).await.problem(400, "invalid_query");
        assert_eq!(problem["diagnostics"].as_array().unwrap().len(), 2);
        assert_eq!(problem["errors"][0]["pointer"], "/name");
        let stranger = json!({"name": "x", "filter": "genre = 'drama'", "sort": "title"});
        client.post(QUERIES, &stranger).await.problem(400, "invalid_body");
        assert_eq!(client.get(QUERIES).await.json()["items"], json!([]));
    })
    .await;
}

/// Uses characters that take more bytes in NFC, at the limits of a request.
#[tokio::test]
async fn a_saved_query_can_be_run_and_saved_again() {
    served_on_both(async |client| {
        let text = "\u{958}".repeat(2700);
        let draft = json!({
            "name": "long", "description": "\u{958}".repeat(500),
            "filter": format!("title = '{text}' or title = $t"),
            "parameters": [{"name": "t", "default": text}],
        });
        let created = client.post(QUERIES, &draft).await;
        assert_eq!((created.status, &created.json()["valid"]), (201, &json!(true)));
        for member in ["filter", "description"] {
            assert_eq!(created.json()[member], draft[member], "{member} is stored as it was sent");
        }
        let path = format!("{QUERIES}/long");
        assert_eq!(client.get(&format!("{path}/results")).await.status, 200);
        let again = client.change("PUT", &path, "application/json", Some("*"), &draft).await;
        assert_eq!(again.status, 200);
    })
    .await;
}

#[tokio::test]
async fn built_in_queries_can_be_run_but_not_changed() {
    served_on_both(async |client| {
        fill(&client).await;
        let path = format!("{QUERIES}/expired-between");
        let query = client.get(&path).await;
        assert_eq!((query.status, query.header("etag")), (200, ""));
        let query = query.json();
        let types: Vec<_> = query["parameters"].as_array().unwrap().iter().collect();
        assert!(types.iter().all(|parameter| parameter["type"] == "date"), "{query}");
        let days = "p.from=2024-01-01&p.to=2024-06-30";
        let found = client.get(&format!("{path}/results?{days}")).await;
        assert_eq!(found.column("title"), ["Alpha", "Beta", "Gamma"]);
        let soon = client.get(&format!("{QUERIES}/expiring-soon/results")).await;
        assert_eq!(soon.status, 200);
        assert!(soon.json()["as_of"].is_string());

        let change = client.change("PUT", &path, "application/json", Some("*"), &by_genre()).await;
        change.problem(403, "built_in");
        client.send(client.request("DELETE", &path)).await.problem(403, "built_in");
        let taken = json!({"name": "expired-between", "filter": "genre = 'drama'"});
        client.post(QUERIES, &taken).await.problem(409, "duplicate");
        // A copy under another name can be changed.
        let copy = json!({
            "name": "expired-dramas", "description": query["description"],
            "filter": format!("{} and genre = 'drama'", query["filter"].as_str().unwrap()),
            "order_by": query["order_by"], "parameters": query["parameters"],
        });
        assert_eq!(client.post(QUERIES, &copy).await.status, 201);
        let found = client.get(&format!("{QUERIES}/expired-dramas/results?{days}")).await;
        assert_eq!(found.column("title"), ["Alpha", "Gamma"]);
    })
    .await;
}

#[tokio::test]
async fn an_outdated_query_is_reported() {
    served_on_both(async |client| {
        client.post(QUERIES, &by_genre()).await;
        let rename = "UPDATE saved_queries SET filter = 'gnre = $genre', version = 2";
        client.database().run_sql(rename).await;
        let path = format!("{QUERIES}/by-genre");
        let query = client.get(&path).await.json();
        assert_eq!(
            (&query["valid"], &query["diagnostics"][0]["code"]),
            (&json!(false), &json!("unknown_field"))
        );
        assert_eq!(query["diagnostics"][0]["suggestion"]["text"], "genre");
        assert_eq!(client.get(QUERIES).await.json()["items"][0], query);
        let problem =
            client.get(&format!("{path}/results?p.genre=x")).await.problem(409, "query_outdated");
        assert_eq!(problem["diagnostics"], query["diagnostics"]);
        // Replacing the query repairs it.
        let repaired =
            client.change("PUT", &path, "application/json", Some("\"2\""), &by_genre()).await;
        assert_eq!(repaired.json()["valid"], true);
    })
    .await;
}

#[tokio::test]
async fn scopes_are_those_of_the_records() {
    served_on_both(async |client| {
        client.post(QUERIES, &by_genre()).await;
        let path = format!("{QUERIES}/by-genre");
        let reader = client.with_scopes(&["movies:read"]);
        assert_eq!(reader.get(&path).await.status, 200);
        assert_eq!(reader.get(&format!("{path}/results?p.genre=x")).await.status, 200);
        reader.post(QUERIES, &by_genre()).await.problem(403, "insufficient_scope");
        reader.send(reader.request("DELETE", &path)).await.problem(403, "insufficient_scope");
        let stranger = client.with_scopes(&["screenings:read", "screenings:write"]);
        stranger.get(&path).await.problem(403, "insufficient_scope");
        stranger.get(QUERIES).await.problem(403, "insufficient_scope");
        client.with_token(None).get(&path).await.problem(401, "unauthenticated");
    })
    .await;
}
