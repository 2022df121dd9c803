//! Imports with an idempotency key, on both databases.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Database, Response, served_on_both, token_of};

const NDJSON: &str = "application/x-ndjson";

/// A file of `rows` movies. Every tenth row is invalid, and every fifth has the key of an earlier one, with another
/// genre.
fn file(rows: usize) -> String {
    let row = |number: usize| {
        let title = if number % 5 == 4 { number - 3 } else { number };
        let year = if number.is_multiple_of(10) { json!("long ago") } else { json!(2000) };
        let movie = json!({
            "title": format!("movie {title}"), "genre": format!("g{}", number % 5),
            "release_year": year, "expiry_date": "2024-01-05",
        });
        format!("{movie}\n")
    };
    (0..rows).map(row).collect()
}

fn valid(rows: usize) -> String {
    file(rows * 10 / 9)
        .lines()
        .filter(|line| !line.contains("long ago"))
        .fold(String::new(), |file, line| file + line + "\n")
}

async fn import(client: &Client, policy: &str, key: &str, file: &str) -> Response {
    let path = format!("/api/v1/movies/import?on_conflict={policy}");
    let request = client.request("POST", &path).header("content-type", NDJSON);
    client.send(request.header("idempotency-key", key).body(file.to_owned())).await
}

async fn count_of(client: &Client, filter: &str) -> Value {
    client.search(&[("count", "exact"), ("filter", filter)]).await.json()["total"].clone()
}

async fn count(client: &Client) -> Value {
    count_of(client, "title != ''").await
}

/// Sends the start of an import, which the client then breaks off or completes.
struct Upload(TcpStream);

impl Upload {
    async fn start(client: &Client, policy: &str, key: &str, part: &str) -> Self {
        let server = client.address().strip_prefix("http://").unwrap();
        let mut upload = Self(TcpStream::connect(server).await.unwrap());
        let token = token_of("tester", &["movies:read", "movies:write"]);
        let headers = format!(
            "POST /api/v1/movies/import?on_conflict={policy} HTTP/1.1\r\nhost: x\r\n\
             content-type: {NDJSON}\r\nauthorization: Bearer {token}\r\nidempotency-key: {key}\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        upload.0.write_all(headers.as_bytes()).await.unwrap();
        upload.send(part).await;
        upload
    }

    async fn send(&mut self, part: &str) {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        self.0.write_all(chunk.as_bytes()).await.unwrap();
    }

    async fn finish(mut self) -> String {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
        let mut response = String::new();
        self.0.read_to_string(&mut response).await.unwrap();
        response
    }
}

/// Waits until a filter finds a record.
async fn wait_for(client: &Client, filter: &str) {
    for _ in 0..500 {
        if count_of(client, filter).await != 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no record with {filter}");
}

/// Repeats an import until no other request has its key, and until the imports of clients that have disconnected end.
async fn retry(client: &Client, policy: &str, key: &str, file: &str) -> Response {
    for _ in 0..1000 {
        let response = import(client, policy, key, file).await;
        let problem = match response.status {
            409 => response.problem(409, "idempotency_key_in_use"),
            429 => response.problem(429, "too_many_requests"),
            _ => return response,
        };
        assert_ne!(response.header("retry-after"), "", "{problem}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the key is still in use");
}

#[tokio::test]
async fn the_retry_of_an_import_gets_its_report() {
    served_on_both(async |client| {
        for (policy, whole) in [("skip", file(2500)), ("update", file(2500)), ("fail", valid(90))] {
            let whole = whole.replace("movie ", &format!("{policy} "));
            // Without repeated keys, which `fail` rejects.
            let whole = if policy == "fail" {
                whole
                    .lines()
                    .filter(|line| !line.contains("g4"))
                    .fold(String::new(), |f, l| f + l + "\n")
            } else {
                whole
            };
            let first = import(&client, policy, policy, &whole).await;
            assert_eq!(
                (first.status, first.header("idempotency-replayed")),
                (200, ""),
                "{first:?}"
            );
            let records = count(&client).await;
            let changes = changes(&client).await;
            let again = import(&client, policy, policy, &whole).await;
            assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
            assert_eq!(again.body, first.body);
            // Another file, a part of it, another policy, another operation.
            let reused = "idempotency_key_reused";
            let other = whole.replacen("2024-01-05", "2024-01-06", 1);
            import(&client, policy, policy, &other).await.problem(422, reused);
            let part = whole.lines().next().unwrap();
            import(&client, policy, policy, part).await.problem(422, reused);
            import(&client, policy, policy, "").await.problem(422, reused);
            let other = if policy == "skip" { "update" } else { "skip" };
            import(&client, other, policy, &whole).await.problem(422, reused);
            let create = client.request("POST", "/api/v1/movies").header("idempotency-key", policy);
            let create = create.header("content-type", "application/json");
            let movie = json!({
                "title": "other", "genre": "g", "release_year": 2001, "expiry_date": "2024-01-05",
            });
            client.send(create.body(movie.to_string())).await.problem(422, reused);
            assert_eq!((count(&client).await, self::changes(&client).await), (records, changes));
        }
        // An import that was rejected is done anew.
        let rejected = import(&client, "fail", "rejected", &file(20)).await;
        rejected.problem(400, "rows_rejected");
        assert_eq!(import(&client, "fail", "rejected", &valid(3)).await.status, 200);
        let rejected = import(&client, "skip", "every", &file(1)).await;
        rejected.problem(422, "every_row_rejected");
        assert_eq!(import(&client, "skip", "every", &valid(3)).await.status, 200);
    })
    .await;
}

/// The number of changes in the journal.
async fn changes(client: &Client) -> usize {
    let (mut after, mut count) = (0, 0);
    loop {
        let page = client.get(&format!("/api/v1/changes?limit=1000&after={after}")).await.json();
        count += page["items"].as_array().unwrap().len();
        after = page["next_after"].as_i64().unwrap();
        if page["has_more"] == false {
            return count;
        }
    }
}

#[tokio::test]
async fn the_retry_of_an_interrupted_import_continues() {
    served_on_both(async |client| {
        let expected = {
            let whole = Client::of(Database::sqlite()).await;
            let report = import(&whole, "update", "k", &file(4000)).await;
            (report.json(), count(&whole).await, changes(&whole).await, versions(&whole).await)
        };
        let whole = file(4000);
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        // The commits of 1,000 valid rows each are after the rows 1111 and 2222.
        let upload = Upload::start(&client, "update", "k", &lines[..1500].concat()).await;
        wait_for(&client, "title = 'movie 1107'").await;
        // While it is in progress, others wait.
        let waiting = import(&client, "update", "k", &whole).await;
        waiting.problem(409, "idempotency_key_in_use");
        drop(upload);
        // A retry that is interrupted again, further on.
        let upload = loop {
            let mut upload = Upload::start(&client, "update", "k", &lines[..2000].concat()).await;
            upload.send(&lines[2000..2500].concat()).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if count_of(&client, "title = 'movie 2217'").await != 0 {
                break upload;
            }
        };
        drop(upload);
        // Other rows than those that were committed.
        let other = whole.replacen("2024-01-05", "2024-01-06", 3);
        retry(&client, "update", "k", &other).await.problem(422, "idempotency_key_reused");
        let fewer = lines[..1200].concat();
        retry(&client, "update", "k", &fewer).await.problem(422, "idempotency_key_reused");
        let last = retry(&client, "update", "k", &whole).await;
        assert_eq!(last.status, 200);
        let found =
            (last.json(), count(&client).await, changes(&client).await, versions(&client).await);
        assert_eq!(found, expected);
        let again = import(&client, "update", "k", &whole).await;
        assert_eq!((&again.body, again.header("idempotency-replayed")), (&last.body, "true"));
    })
    .await;
}

/// The sum of all versions.
async fn versions(client: &Client) -> i64 {
    let export = String::from_utf8(client.get("/api/v1/movies/export").await.body).unwrap();
    let records = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| record["version"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn an_import_in_progress_ends_although_others_are_rejected() {
    served_on_both(async |client| {
        let whole = file(2500);
        let (start, rest) = whole.split_at(whole.len() / 2);
        let mut upload = Upload::start(&client, "skip", "k", start).await;
        wait_for(&client, "title = 'movie 1107'").await;
        import(&client, "skip", "k", &whole).await.problem(409, "idempotency_key_in_use");
        // Keys belong to one user.
        let scopes = ["movies:read", "movies:write"];
        let ben = client.with_token(Some(token_of("ben", &scopes)));
        assert_eq!(import(&ben, "skip", "k", &valid(3)).await.status, 200);
        upload.send(rest).await;
        let response = upload.finish().await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let again = import(&client, "skip", "k", &whole).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
        assert!(
            response.contains(&String::from_utf8_lossy(&again.body).into_owned()),
            "{response}"
        );
    })
    .await;
}
