//! Usage counts per user and day, on both engines.

use chrono::{Days, Utc};
use cinequery::app::App;
use cinequery::clock::timestamp_now;
use cinequery::identity::Open;
use serde_json::{Value, json};

use crate::support::{
    Client, Database, Response, app_with, catalogue, on_both, token_of, unlimited,
};

const USAGE: &str = "/api/v1/usage";

async fn app(database: &Database, limit: &str) -> App {
    let admission = match limit {
        "off" => unlimited(),
        limit => cinequery::admission::Admission::local(limit.parse().unwrap(), Default::default()),
    };
    app_with(database.store().await, Box::new(Open::new(catalogue().schemas())), admission)
}

/// Returns a client of the same service for another user.
fn of(client: &Client, subject: &str, scopes: &[&str]) -> Client {
    client.with_token(Some(token_of(subject, scopes)))
}

/// Returns the counts in a response without the day: subject, class, requests, throttled.
fn counts(response: &Response) -> Vec<(String, String, i64, i64)> {
    assert_eq!(response.status, 200, "{response:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let page = response.json();
    let items = page["items"].as_array().unwrap().iter().map(|item| {
        let number = |name: &str| item[name].as_i64().unwrap();
        (text(&item["subject"]), text(&item["class"]), number("requests"), number("throttled"))
    });
    items.collect()
}

fn row(subject: &str, class: &str, requests: i64, throttled: i64) -> (String, String, i64, i64) {
    (subject.to_owned(), class.to_owned(), requests, throttled)
}

#[tokio::test]
async fn requests_are_counted_by_user_and_class_across_instances() {
    on_both(async |database| {
        let other = app(&database, "off").await;
        let first = Client::with_app(Database::sqlite(), app(&database, "off").await).await;
        let second = Client::with_app(database, other.clone()).await;
        let anna = ["movies:read", "movies:write"];
        for client in [&first, &second] {
            let anna = of(client, "anna", &anna);
            for _ in 0..5 {
                anna.get("/api/v1/movies").await;
            }
            anna.get("/api/v1/query/check?filter=x").await;
            // Requests that are rejected for a reason other than the rate limit are counted.
            anna.post("/api/v1/movies", &json!({})).await.problem(400, "invalid_record");
            anna.get("/api/v1/users").await.problem(403, "insufficient_scope");
            of(client, "bert", &["movies:read"]).get("/api/v1/movies").await;
            client.with_token(None).post("/api/token", &json!({"username": "carl"})).await;
            client.with_token(None).get("/api/v1/movies").await.problem(401, "unauthenticated");
        }
        other.flush_usage().await.unwrap();
        let anna = of(&first, "anna", &anna);
        let own = [row("anna", "admin", 2, 0), row("anna", "other", 1, 0)];
        let own: Vec<_> = own
            .into_iter()
            .chain([row("anna", "read", 12, 0), row("anna", "write", 2, 0)])
            .collect();
        assert_eq!(counts(&anna.get(USAGE).await), own);
        for subject in ["*", "bert"] {
            let path = format!("{USAGE}?subject={subject}");
            anna.get(&path).await.problem(403, "insufficient_scope");
        }
        let admin = of(&first, "dora", &["admin"]);
        let bert = admin.get(&format!("{USAGE}?subject=bert")).await;
        assert_eq!(counts(&bert), [row("bert", "read", 2, 0)]);
        // The counts of all users, two per page.
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let mut query = vec![("subject", "*".to_owned()), ("limit", "2".to_owned())];
            query.extend(after.map(|after: String| ("after", after)));
            let page = admin.send(admin.request("GET", USAGE).query(&query)).await;
            all.extend(counts(&page));
            after = page.json()["next_after"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        let sign_ins = all.iter().filter(|(_, class, ..)| class == "sign_in");
        assert_eq!(sign_ins.collect::<Vec<_>>(), [&row("carl", "sign_in", 2, 0)]);
        let of_anna: i64 = all.iter().filter(|(name, ..)| name == "anna").map(|row| row.2).sum();
        // This includes the two rejected requests to the usage endpoint.
        assert_eq!(of_anna, 17 + 2);
    })
    .await;
}

#[tokio::test]
async fn days_can_be_selected_and_invalid_parameters_are_rejected() {
    on_both(async |database| {
        let client = Client::with_app(Database::sqlite(), app(&database, "off").await).await;
        let anna = of(&client, "anna", &["movies:read"]);
        anna.get("/api/v1/movies").await;
        let today = Utc::now().date_naive();
        let day = |ago: u64| today.checked_sub_days(Days::new(ago)).unwrap();
        let ask = async |query: &str| anna.get(&format!("{USAGE}?{query}")).await;
        let read =
            |response: &Response| counts(response).iter().filter(|row| row.1 == "read").count();
        assert_eq!(read(&ask(&format!("from={}&to={}", day(1), today)).await), 1);
        assert_eq!(read(&ask(&format!("to={}", day(2))).await), 0);
        assert_eq!(read(&ask(&format!("from={}", day(2))).await), 1);
        for wrong in [
            "from=yesterday",
            "limit=0",
            "after=x",
            "after=2024-01-01%20read",
            "who=anna",
            "from=-9999-01-01",
            "to=%2B99999-01-01",
            "to=-262143-01-01",
            "after=-9999-01-01%20read%20x",
            "from=2024-02-01&to=2024-01-01",
        ] {
            ask(wrong).await.problem(400, "invalid_parameter");
        }
        let admin = of(&client, "dora", &["admin"]);
        let unknown = admin.get(&format!("{USAGE}?subject=a%00b")).await;
        assert_eq!(counts(&unknown), []);
    })
    .await;
}

#[tokio::test]
async fn requests_over_the_limit_are_counted_as_throttled() {
    let database = Database::sqlite();
    let client = Client::with_app(Database::sqlite(), app(&database, "3/h,admin=off").await).await;
    let anna = of(&client, "anna", &["movies:read"]);
    for _ in 0..5 {
        anna.get("/api/v1/movies").await;
    }
    let admin = of(&client, "dora", &["admin"]);
    let response = admin.get(&format!("{USAGE}?subject=anna")).await;
    assert_eq!(counts(&response), [row("anna", "read", 3, 2)]);
}

#[tokio::test]
async fn a_stopped_service_has_written_all_counts() {
    on_both(async |database| {
        let app = app(&database, "off").await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::at(format!("http://{}", listener.local_addr().unwrap()));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async { stopped.await.unwrap_or_default() };
        let service = tokio::spawn(async { cinequery::http::serve(listener, app, stopped).await });
        for _ in 0..7 {
            assert_eq!(client.get("/api/v1/movies").await.status, 200);
        }
        stop.send(()).unwrap();
        service.await.unwrap().unwrap();
        let today = Utc::now().date_naive();
        let rows = database.store().await.usage(None, (today, today), None, 10).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.subject.as_str(), row.requests)).collect();
        assert_eq!(rows, [("tester", 7)]);
    })
    .await;
}

#[tokio::test]
async fn counts_that_cannot_be_written_are_kept() {
    on_both(async |database| {
        let app = app(&database, "off").await;
        let client = Client::with_app(Database::sqlite(), app.clone()).await;
        client.get("/api/v1/movies").await;
        database.run_sql("ALTER TABLE usage RENAME TO hidden").await;
        assert!(app.flush_usage().await.is_err());
        client.get("/api/v1/movies").await;
        database.run_sql("ALTER TABLE hidden RENAME TO usage").await;
        app.flush_usage().await.unwrap();
        app.flush_usage().await.unwrap();
        let today = Utc::now().date_naive();
        let rows = database.store().await.usage(None, (today, today), None, 10).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.requests).collect::<Vec<_>>(), [2]);
    })
    .await;
}

#[tokio::test]
async fn a_batch_whose_acknowledgement_was_lost_is_added_once() {
    on_both(async |database| {
        let store = database.store().await;
        let today = Utc::now().date_naive();
        let row = cinequery::store::Usage {
            day: today,
            class: "read".to_owned(),
            subject: "anna".to_owned(),
            requests: 3,
            throttled: 1,
        };
        let (one, other) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
        for batch in [one, one, other, one] {
            store.add_usage(batch, std::slice::from_ref(&row), timestamp_now()).await.unwrap();
        }
        let rows = store.usage(None, (today, today), None, 10).await.unwrap();
        assert_eq!((rows[0].requests, rows[0].throttled, rows.len()), (6, 2, 1));
    })
    .await;
}
