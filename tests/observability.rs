//! The log and the metrics of a running service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Command, Stdio};

use cinequery::identity::Reason;
use cinequery::telemetry::fields::FIELDS;
use cinequery::telemetry::metrics::Metrics;
use serde_json::{Value, json};

use crate::command_line::{PASSWORD, Service, cinequery, folder, run, signs_in};
use crate::request_lines::exchange;
use crate::support::{Client, Database, Response, SECRET, on_both, token, token_of};

const PAGE: &str = include_str!("../docs/operate/observability.md");

/// The fields that the logger adds to every event.
const OF_THE_LOGGER: [&str; 4] = ["timestamp", "level", "message", "target"];

/// Starts a service on a database, with a listener for operators and these settings.
fn start(database: &Database, settings: &[&str]) -> Service {
    let folder = folder();
    std::fs::write(folder.path().join("admin"), format!("{PASSWORD}\n")).unwrap();
    let listen = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let files = ["--jwt-secret", SECRET, "--admin-password-file", "admin"];
    let mut command = cinequery(folder.path(), &[&listen[..], &files, settings].concat());
    command.args(["--database", &database.url()]);
    Service::start(command)
}

/// Stops a service and returns the events of its log.
fn events(service: Service) -> Vec<Value> {
    let log = service.whole_log();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events with this message.
fn with<'e>(events: &'e [Value], message: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["message"] == message).collect()
}

/// Asserts that an event has these members with these values.
#[track_caller]
fn has(event: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&event[name], value, "{name}: {event}");
    }
}

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2030-01-31"})
}

/// One request and what its event says.
struct Case {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    token: Option<String>,
    expected: Value,
}

fn cases() -> Vec<Case> {
    let reader = || Some(token_of("rita", &["movies:read"]));
    let get = |path, token, expected| Case { method: "GET", path, body: None, token, expected };
    let post = |path, body, token, expected| {
        let body = Some(body);
        Case { method: "POST", path, body, token, expected }
    };
    let of = |operation: &str, route: &str, status: u16| {
        json!({"operation": operation, "route": route, "status": status, "client": "127.0.0.1",
               "level": "INFO"})
    };
    let and = |mut event: Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(more);
        event
    };
    let search = || of("listMovies", "/api/v1/movies", 200);
    let rejected = |status: u16, code: &str| {
        and(of("listMovies", "/api/v1/movies", status), json!({"code": code}))
    };
    vec![
        get(
            "/api/v1/movies?filter=release_year>2000&order_by=title",
            reader(),
            and(
                search(),
                json!({"subject": "rita", "role": "viewer", "rows": 1, "method": "GET",
                       "url.path": "/api/v1/movies", "query": "release_year > ? order by title"}),
            ),
        ),
        get(
            "/api/v1/movies?filter=genre%20in%20(%22a%22,%22b%22)%20or%20not%20title%20contains%20%22x%22",
            reader(),
            and(search(), json!({"query": "genre in (?) or not title contains ?"})),
        ),
        get(
            "/api/v1/movies?filter=gnre=%22x%22%20and%20release_year=%22y%22",
            reader(),
            and(
                rejected(400, "invalid_query"),
                json!({"diagnostics": "unknown_field type_mismatch", "query": null}),
            ),
        ),
        get(
            "/api/v1/movies?limit=0",
            reader(),
            and(rejected(400, "invalid_parameter"), json!({"subject": "rita"})),
        ),
        get(
            "/api/v1/movies",
            None,
            and(rejected(401, "unauthenticated"), json!({"subject": null, "reason": null})),
        ),
        get(
            "/api/v1/movies",
            Some("a.b.c".to_owned()),
            and(rejected(401, "unauthenticated"), json!({"level": "WARN", "reason": "malformed"})),
        ),
        post(
            "/api/v1/movies",
            movie("Two"),
            reader(),
            and(
                of("createMovie", "/api/v1/movies", 403),
                json!({"code": "insufficient_scope", "subject": "rita"}),
            ),
        ),
        post(
            "/api/v1/movies",
            json!({"title": "", "release_year": 2001, "expiry_date": "2030-01-31", "genre": "drama"}),
            Some(token(&["movies:write"])),
            and(
                of("createMovie", "/api/v1/movies", 400),
                json!({"code": "invalid_record", "pointers": "/title"}),
            ),
        ),
        get(
            "/api/v1/movies/00000000-0000-0000-0000-000000000000",
            reader(),
            and(of("getMovie", "/api/v1/movies/{id}", 404), json!({"code": "not_found"})),
        ),
        post(
            "/api/token",
            json!({"username": "admin", "password": "wrong"}),
            None,
            and(
                of("signIn", "/api/token", 401),
                json!({"level": "WARN", "reason": "password", "user": "admin",
                       "cause": "wrong password"}),
            ),
        ),
        post(
            "/api/token",
            json!({"username": "no\nsuch user", "password": "wrong"}),
            None,
            and(
                of("signIn", "/api/token", 401),
                json!({"level": "WARN", "reason": "user", "user": "no\nsuch user"}),
            ),
        ),
        get("/nowhere", None, json!({"operation": null, "route": null, "code": "unknown_route"})),
        get("/docs", None, json!({"operation": null, "status": 200})),
        Case {
            method: "DELETE",
            path: "/livez",
            body: None,
            token: None,
            expected: json!({"method": "DELETE", "code": "method_not_allowed", "status": 405}),
        },
    ]
}

/// An operator sees for each request who sent it, what it cost, and why it failed.
#[tokio::test]
async fn one_event_says_everything_about_a_request() {
    on_both(async |database| {
        let service = start(&database, &["--log-queries"]);
        let client = Client::at(service.address.clone());
        client.with_token(Some(token(&["movies:write"]))).create(&movie("One")).await;
        for (position, case) in cases().iter().enumerate() {
            let client = client.with_token(case.token.clone());
            let request = client.request(case.method, case.path);
            let request = request.header("x-request-id", position.to_string());
            let request = match &case.body {
                Some(body) => request.json(body),
                None => request,
            };
            let response = client.send(request).await;
            let status = case.expected["status"].as_u64();
            let is_expected = status.is_none_or(|status| status == u64::from(response.status));
            assert!(is_expected, "{} {}: {}", case.method, case.path, response.status);
        }
        let events = events(service);
        for (position, case) in cases().iter().enumerate() {
            let id = position.to_string();
            let found = events.iter().filter(|event| event["request_id"] == id.as_str());
            let found: Vec<&Value> = found.collect();
            assert_eq!(found.len(), 1, "{} {}: {found:?}", case.method, case.path);
            has(found[0], &case.expected);
        }
        for event in with(&events, "request") {
            for field in FIELDS {
                if let Some(alias) = field.alias {
                    assert_eq!(event[field.name], event[alias], "{event}");
                }
            }
            assert!(event["microseconds"].as_u64() >= event["database_microseconds"].as_u64());
        }
        let known: BTreeSet<&str> = FIELDS
            .iter()
            .flat_map(|field| std::iter::once(field.name).chain(field.alias))
            .chain(OF_THE_LOGGER)
            .collect();
        let concerned = events.iter().filter(|event| {
            ["request", "write", "slow statement"].contains(&event["message"].as_str().unwrap())
        });
        for event in concerned {
            let unknown = event.as_object().unwrap().keys();
            let unknown: Vec<_> = unknown.filter(|name| !known.contains(name.as_str())).collect();
            assert!(unknown.is_empty(), "{unknown:?}: {event}");
        }
    })
    .await;
}

/// The values of a query never reach the log.
#[tokio::test]
async fn the_log_has_no_values_of_queries() {
    const SECRET_VALUE: &str = "Xanthippe";
    on_both(async |database| {
        let service = start(&database, &["--log-queries", "--slow-statement", "1us"]);
        let client = Client::at(service.address.clone());
        let filter = format!("title = \"{SECRET_VALUE}\" or title contains \"{SECRET_VALUE}\"");
        let page = client.search(&[("filter", &filter), ("why", "true")]).await;
        assert_eq!(page.status, 200);
        client.search(&[("filter", &format!("title = {SECRET_VALUE}"))]).await;
        client.create(&movie(SECRET_VALUE)).await;
        let log = service.whole_log();
        assert!(log.contains("slow statement"), "{log}");
        assert!(!log.contains(SECRET_VALUE), "{log}");
        assert!(!log.contains(&SECRET_VALUE.to_lowercase()), "{log}");
    })
    .await;
}

/// The log says who has signed in, and whose revoked token is still used.
#[tokio::test]
async fn sign_ins_and_revoked_tokens_have_a_name() {
    let database = Database::sqlite();
    let service = start(&database, &[]);
    let client = Client::at(service.address.clone()).with_token(None);
    let credentials = json!({"username": "admin", "password": PASSWORD});
    let signed_in = client.post("/api/token", &credentials).await.json();
    let token = signed_in["access_token"].as_str().unwrap().to_owned();
    let form = client.request("POST", "/api/token/revoke");
    assert_eq!(client.send(form.form(&[("token", &token)])).await.status, 200);
    let revoked = client.with_token(Some(token));
    while revoked.get("/api/v1/movies").await.status != 401 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let events = events(service);
    let of = |operation: &str| {
        let found = with(&events, "request");
        (*found.iter().rfind(|event| event["operation"] == operation).unwrap()).clone()
    };
    has(&of("signIn"), &json!({"user": "admin", "status": 200}));
    has(&of("signOut"), &json!({"subject": "admin", "status": 200}));
    has(&of("listMovies"), &json!({"subject": "admin", "reason": "revoked", "level": "WARN"}));
}

/// The log says when sessions start and end, and that a refresh token was used twice.
#[tokio::test]
async fn sessions_are_in_the_audit_log() {
    on_both(async |database| {
        let service = start(&database, &[]);
        let client = Client::at(service.address.clone()).with_token(None);
        let send = async |form: &[(&str, &str)]| {
            client.send(client.request("POST", "/api/token").form(form)).await
        };
        let sign_in = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", PASSWORD),
            ("scope", "offline_access"),
        ];
        let refresh = |response: &Response| {
            response.json()["refresh_token"].as_str().unwrap().to_owned()
        };
        let renew = async |token: &str| {
            send(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
        };
        let first = refresh(&send(&sign_in).await);
        assert_eq!(renew(&first).await.status, 200);
        // As after two more renewals.
        database.run_sql("UPDATE cinequery_sessions SET generation = generation + 2").await;
        renew(&first).await.problem(400, "invalid_grant");
        let last = send(&sign_in).await;
        let revoke = client.request("POST", "/api/token/revoke");
        let revoke = revoke.form(&[("token", &refresh(&last))]);
        assert_eq!(client.send(revoke).await.status, 200);
        let credentials = json!({"username": "admin", "password": PASSWORD});
        let token = client.post("/api/token", &credentials).await.json();
        let own = client.with_token(Some(token["access_token"].as_str().unwrap().to_owned()));
        let change = |current: &str| {
            json!({"current_password": current, "new_password": "another horse battery"})
        };
        for (current, status) in [("wrong", 403), (PASSWORD, 200)] {
            let path = "/api/v1/me/password";
            let body = change(current);
            let changed = own.change("PUT", path, "application/json", None, &body).await;
            assert_eq!(changed.status, status, "{changed:?}");
        }
        let events = events(service);
        let audit: Vec<&Value> = with(&events, "write");
        let expected = [
            json!({"action": "start_session"}),
            json!({"action": "end_session", "reason": "reused"}),
            json!({"action": "start_session"}),
            json!({"action": "sign_out", "reason": null}),
            json!({"action": "change_password", "user": "admin", "from_version": 1, "to_version": 2}),
        ];
        let audit: Vec<&&Value> =
            audit.iter().filter(|event| event["action"] != "create_user").collect();
        assert_eq!(audit.len(), expected.len(), "{audit:?}");
        for (event, expected) in audit.iter().zip(&expected) {
            has(event, expected);
            has(event, &json!({"subject": "admin", "target": "audit", "client": "127.0.0.1"}));
        }
        let rejected = with(&events, "request");
        let rejected = rejected.iter().filter(|event| event["code"] == "invalid_grant");
        for event in rejected {
            has(event, &json!({"reason": "reused", "subject": "admin", "level": "WARN"}));
        }
        let wrong = with(&events, "request");
        let wrong = wrong.iter().find(|event| event["code"] == "wrong_password").unwrap();
        has(wrong, &json!({"reason": "password", "subject": "admin", "level": "WARN"}));
        let log = events.iter().map(Value::to_string).collect::<String>();
        assert!(!log.contains("cqr_"), "the log has no tokens");
    })
    .await;
}

/// The audit log has an event for each write: who, what, and from which version to which.
#[tokio::test]
async fn each_write_is_in_the_audit_log() {
    on_both(async |database| {
        let service = start(&database, &[]);
        let of = |scopes: &[&str]| token_of("carol", scopes);
        let client = Client::at(service.address.clone());
        let client = client.with_token(Some(of(&["admin", "movies:read", "movies:write"])));
        let created = client.create(&movie("One")).await;
        let path = format!("/api/v1/movies/{}", created["id"].as_str().unwrap());
        let patch = "application/merge-patch+json";
        let year = |year: i64| json!({"release_year": year});
        for (method, tag, body) in [
            ("PATCH", Some("\"1\""), Some(year(2002))),
            // It has this value already.
            ("PATCH", Some("\"2\""), Some(year(2002))),
            // It has another version.
            ("PATCH", Some("\"1\""), Some(year(2003))),
            ("DELETE", Some("\"2\""), None),
        ] {
            client.change(method, &path, patch, tag, &body.unwrap_or_default()).await;
        }
        let keyed = client.request("POST", "/api/v1/movies").header("idempotency-key", "1");
        let mut batch_id = Value::Null;
        for request in [keyed.try_clone().unwrap(), keyed] {
            let created = client.send(request.json(&movie("Two"))).await;
            assert_eq!(created.status, 201);
            batch_id = created.json()["id"].clone();
        }
        let batch = json!({"operations": [
            {"op": "create", "record": movie("Three")},
            {"op": "create", "record": movie("Three"), "on_conflict": "update"},
            {"op": "patch", "id": batch_id, "version": 1, "record": {"genre": "drama"}},
        ]});
        let batch = client.post("/api/v1/movies/batch", &batch).await;
        assert_eq!(batch.status, 200, "{batch:?}");
        let bulk = "/api/v1/movies?filter=genre=%22drama%22&expect=2";
        let bulk = client.change("PATCH", bulk, patch, None, &json!({"genre": "comedy"})).await;
        assert_eq!(bulk.status, 200, "{bulk:?}");
        let import = client.request("POST", "/api/v1/movies/import");
        let import = import.header("content-type", "application/x-ndjson");
        let import = client.send(import.body(format!("{}\n", movie("Four")))).await;
        assert_eq!(import.status, 200, "{import:?}");
        let user = json!({"name": "dave", "password": PASSWORD, "role": "editor"});
        assert_eq!(client.post("/api/v1/users", &user).await.status, 201);
        let role = json!({"role": "viewer"});
        client.change("PATCH", "/api/v1/users/dave", patch, Some("\"1\""), &role).await;
        client.change("DELETE", "/api/v1/users/dave", patch, Some("\"2\""), &Value::Null).await;
        let subject = json!({"subject": "erin"});
        assert_eq!(client.post("/api/v1/revocations", &subject).await.status, 204);

        let events = events(service);
        let id = &created["id"];
        let record = |action: &str, from: Option<i64>, to: Option<i64>| {
            json!({"action": action, "collection": "movies", "from_version": from, "to_version": to})
        };
        let of_user = |action: &str, role: &str, from: Option<i64>, to: Option<i64>| {
            json!({"action": action, "user": "dave", "role": role, "from_version": from,
                   "to_version": to})
        };
        let several = |action: &str, records: u64| {
            json!({"action": action, "collection": "movies", "records": records, "id": null})
        };
        let expected = [
            record("create", None, Some(1)),
            record("update", Some(1), Some(2)),
            record("delete", Some(2), None),
            record("create", None, Some(1)),
            record("create", None, Some(1)),
            several("update", 2),
            several("import", 1),
            of_user("create_user", "editor", None, Some(1)),
            of_user("update_user", "viewer", Some(1), Some(2)),
            of_user("delete_user", "viewer", Some(2), None),
            json!({"action": "revoke", "user": "erin"}),
        ];
        let found: Vec<&Value> =
            events.iter().filter(|event| event["target"] == "audit").collect();
        let actions = |events: &[&Value]| -> Vec<Value> {
            events.iter().map(|event| event["action"].clone()).collect()
        };
        assert_eq!(actions(&found), actions(&expected.iter().collect::<Vec<_>>()));
        for (event, expected) in found.iter().zip(&expected) {
            has(event, expected);
            let common = json!({"subject": "carol", "level": "INFO", "client": "127.0.0.1"});
            has(event, &common);
            let request = with(&events, "request");
            let request = request.iter().filter(|r| r["request_id"] == event["request_id"]);
            assert_eq!(request.count(), 1, "{event}");
        }
        assert_eq!(&found[0]["id"], id);
    })
    .await;
}

/// Reads the metrics of a service: the values by name and labels.
async fn metrics(service: &Service) -> (String, HashMap<String, f64>) {
    let admin = Client::at(service.admin.clone().unwrap()).with_token(None);
    let response = admin.get("/metrics").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(response.body).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let values = values.collect();
    (text, values)
}

#[tokio::test]
async fn metrics_count_what_has_happened() {
    on_both(async |database| {
        let service = start(&database, &["--rate-limit", "5/h,admin=off"]);
        let client = Client::at(service.address.clone());
        let editor = client.with_token(Some(token_of("eve", &["movies:read", "movies:write"])));
        editor.create(&movie("One")).await;
        for _ in 0..2 {
            assert_eq!(editor.get("/api/v1/movies").await.status, 200);
        }
        assert_eq!(editor.search(&[("filter", "gnre = 1")]).await.status, 400);
        assert_eq!(editor.get("/api/v1/movies/export").await.status, 200);
        assert_eq!(editor.get("/api/v1/movies").await.status, 429);
        assert_eq!(signs_in(&client, "admin", PASSWORD).await, 200);
        assert_eq!(signs_in(&client, "admin", "wrong").await, 401);
        let forged = client.with_token(Some("a.b.c".to_owned()));
        assert_eq!(forged.get("/api/v1/movies").await.status, 401);

        let (text, values) = metrics(&service).await;
        let of = |operation: &str, method: &str, status: u16| {
            format!(
                "http_server_request_duration_seconds_count{{operation=\"{operation}\",\
                 method=\"{method}\",status=\"{status}\"}}"
            )
        };
        let reads = if database.url().starts_with("sqlite") { "writer" } else { "requests" };
        for (name, value) in [
            (of("listMovies", "GET", 200), 2.0),
            (of("listMovies", "GET", 400), 1.0),
            (of("listMovies", "GET", 429), 1.0),
            (of("listMovies", "GET", 401), 1.0),
            (of("createMovie", "POST", 201), 1.0),
            (of("exportMovies", "GET", 200), 1.0),
            (of("signIn", "POST", 401), 1.0),
            ("cinequery_query_problems_total{code=\"unknown_field\"}".to_owned(), 1.0),
            ("cinequery_sign_ins_total".to_owned(), 1.0),
            (
                "cinequery_rejected_credentials_total{credentials=\"password\",reason=\"password\"}"
                    .to_owned(),
                1.0,
            ),
            (
                "cinequery_rejected_credentials_total{credentials=\"token\",reason=\"malformed\"}"
                    .to_owned(),
                1.0,
            ),
            (
                "cinequery_rate_limit_decisions_total{policy=\"editor\",outcome=\"rejected\",scope=\"local\"}"
                    .to_owned(),
                1.0,
            ),
            (
                "cinequery_rate_limit_decisions_total{policy=\"editor\",outcome=\"admitted\",scope=\"local\"}"
                    .to_owned(),
                5.0,
            ),
            ("cinequery_transferred_records_total{direction=\"export\"}".to_owned(), 1.0),
            ("cinequery_transfers{direction=\"export\"}".to_owned(), 0.0),
            ("cinequery_pending_migrations".to_owned(), 0.0),
            // The scrape is no request of the service.
            ("http_server_active_requests".to_owned(), 0.0),
        ] {
            assert_eq!(values.get(&name), Some(&value), "{name}\n{text}");
        }
        for name in [
            format!("db_client_operation_duration_seconds_count{{pool=\"{reads}\"}}"),
            format!("db_client_connection_wait_time_seconds_count{{pool=\"{reads}\"}}"),
            format!("db_client_connection_max{{pool=\"{reads}\"}}"),
            "process_resident_memory_bytes".to_owned(),
            "process_cpu_seconds_total".to_owned(),
        ] {
            assert!(values.get(&name).is_some_and(|value| *value > 0.0), "{name}\n{text}");
        }
        assert_eq!(promtool(&["check", "metrics"], &text), "");
    })
    .await;
}

/// The clients' metrics and their log have their requests only, also those that the parser rejects.
#[tokio::test]
async fn requests_of_operators_are_not_those_of_clients() {
    let service = start(&Database::sqlite(), &[]);
    let (client, admin) = (service.address.clone(), service.admin.clone().unwrap());
    for (address, sent) in [
        (&client, "GET /a b HTTP/1.1\r\n\r\n"),
        (&admin, "GET /a b HTTP/1.1\r\n\r\n"),
        (&admin, "PRI * HTTP/2.0\r\n\r\n"),
    ] {
        let responses = exchange(&Client::at(address.clone()), &[sent.as_bytes()], None).await;
        let [(400, problem)] = &responses[..] else { panic!("{sent}: {responses:?}") };
        assert_eq!(problem["code"], "malformed_request", "{sent}");
    }
    let (text, values) = metrics(&service).await;
    for (name, value) in [
        (
            "http_server_request_duration_seconds_count{operation=\"\",method=\"_OTHER\",status=\"400\"}",
            1.0,
        ),
        ("http_server_active_requests", 0.0),
    ] {
        assert_eq!(values.get(name), Some(&value), "{name}\n{text}");
    }
    let events = events(service);
    let [event] = with(&events, "request")[..] else { panic!("{events:?}") };
    has(
        event,
        &json!({"code": "malformed_request", "status": 400, "client": "127.0.0.1", "url.path": null,
                "level": "INFO"}),
    );
    assert!(event["bytes"].as_u64() > Some(100), "{event}");
}

#[tokio::test]
async fn the_listener_for_operators_names_the_methods_that_it_supports() {
    let service = start(&Database::sqlite(), &[]);
    let admin = Client::at(service.admin.clone().unwrap()).with_token(None);
    for (method, path, status, allow) in [
        ("GET", "/metrics", 200, ""),
        ("HEAD", "/metrics", 200, ""),
        ("POST", "/metrics", 405, "GET, HEAD"),
        ("DELETE", "/metrics", 405, "GET, HEAD"),
        ("OPTIONS", "/metrics", 405, "GET, HEAD"),
        ("POST", "/other", 404, ""),
    ] {
        let response = admin.send(admin.request(method, path)).await;
        let found = (response.status, response.header("allow"));
        assert_eq!(found, (status, allow), "{method} {path}");
    }
}

/// Names that a client makes up are no part of a query, and a long path is cut.
#[tokio::test]
async fn the_log_bounds_what_a_client_makes_up() {
    const NAME: &str = "Xanthippe";
    for (settings, with_query) in [(&[][..], false), (&["--log-queries"], true)] {
        let database = Database::sqlite();
        let service = start(&database, settings);
        let client = Client::at(service.address.clone());
        for (query, status) in [
            (format!("{NAME}=1"), 400),
            (format!("filter={NAME}=1"), 400),
            (format!("filter=genre=$x&p.{NAME}=1"), 400),
        ] {
            let response = client.get(&format!("/api/v1/movies?{query}")).await;
            assert_eq!(response.status, status, "{query}");
        }
        let name = NAME.repeat(10);
        let query = format!("filter=genre=${name}&p.{name}=1");
        assert_eq!(client.get(&format!("/api/v1/movies?{query}")).await.status, 200);
        assert_eq!(client.get(&format!("/{}", "x".repeat(5000))).await.status, 404);
        let log = service.whole_log();
        // The name of the parameter, in the text of the filter.
        let expected =
            if with_query { format!("\"query\":\"genre = ${name}\"") } else { String::new() };
        assert!(log.contains(&expected), "{log}");
        assert!(!log.replace(&expected, "").contains(NAME), "{log}");
        assert_eq!(log.matches(&"x".repeat(1000)).count(), 1, "{log}");
    }
}

/// Runs promtool with this input and returns its output, which is empty if it has nothing to say.
fn promtool(arguments: &[&str], input: &str) -> String {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/promtool");
    let mut tool = Command::new(tool);
    tool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = tool.spawn().expect("run `make tools`, which installs promtool");
    std::io::Write::write_all(&mut running.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(output.status.success() || !text.is_empty());
    text
}

const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring");

#[test]
fn each_alert_has_a_test_that_passes() {
    let file = |name: &str| std::fs::read_to_string(format!("{MONITORING}/{name}")).unwrap();
    let (rules, tests) = (file("alerts.yml"), file("alerts_test.yml"));
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 5);
    for alert in alerts {
        let of_alert = tests.split("- eval_time:").filter(|part| part.contains(alert));
        let (fires, stays): (Vec<&str>, Vec<&str>) =
            of_alert.partition(|part| part.contains("exp_alerts"));
        assert!(!fires.is_empty() && !stays.is_empty(), "{alert}");
        assert!(PAGE.contains(&format!("| `{alert}` |")), "{alert} is not documented");
    }
    let tested = promtool(&["test", "rules", &format!("{MONITORING}/alerts_test.yml")], "");
    assert!(tested.contains("SUCCESS") && !tested.contains("FAILED"), "{tested}");
}

/// The dashboard and the alerts use only metrics that exist.
#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    // The page lists the metrics that exist, as another test checks.
    let known: BTreeSet<String> = rows(PAGE)
        .iter()
        .filter(|row| row.len() == 5)
        .flat_map(|row| {
            let ends =
                if row[1] == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
            ends.iter().map(move |end| format!("{}{end}", row[0]))
        })
        .collect();
    let read = |name: &str| std::fs::read_to_string(format!("{MONITORING}/{name}")).unwrap();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for text in [read("dashboard.json"), read("alerts.yml")] {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = text.split(|c: char| !is_part(c)).filter(|word| {
            ["http_server_", "db_client_", "cinequery_", "process_"]
                .iter()
                .any(|start| word.starts_with(start))
        });
        for name in names {
            let is_of_process = name.starts_with("process_") && PAGE.contains(name);
            assert!(known.contains(name) || is_of_process, "{name}: {known:?}");
        }
    }
}

/// A program that reads the log of a service also reads why it has not started.
#[test]
fn a_start_that_fails_is_one_event() {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for (arguments, cause) in [
        (
            &["--auth", "open", "--database", "sqlite:no/such.db"][..],
            "the folder no does not exist",
        ),
        (&["--auth", "open", "--rate-limit", "600"], "off; found \"600\""),
        (&[], "there is no administrator"),
    ] {
        let arguments = [&serve[..], arguments].concat();
        let (code, _, log) = run(folder().path(), &arguments);
        let event: Value = serde_json::from_str(&log).unwrap();
        has(&event, &json!({"level": "ERROR", "message": "cannot serve"}));
        let found = event["cause"].as_str().unwrap();
        assert!(code == 1 && found.contains(cause), "{arguments:?}: {log}");
        // Without events, and for other commands, it is text.
        let (code, _, log) = run(folder().path(), &[&arguments[..], &["--log", "off"]].concat());
        assert!(code == 1 && log.starts_with("cinequery: ") && log.contains(cause), "{log}");
    }
    let (_, _, log) = run(folder().path(), &["query", "genre = 'x'"]);
    assert!(log.starts_with("cinequery: database file"), "{log}");
}

/// The rows of a table of the page, by their first cell.
fn rows(page: &'static str) -> Vec<Vec<&'static str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cell = |cell: &'static str| {
        let cell = cell.trim();
        let code = cell.strip_prefix('`').unwrap_or(cell).strip_suffix('`');
        code.filter(|code| !code.contains('`')).unwrap_or(cell)
    };
    rows.map(|row| row.split('|').map(cell).collect()).collect()
}

#[test]
fn the_manual_lists_fields_reasons_and_metrics() {
    let page = rows(PAGE);
    for field in FIELDS {
        let row = page.iter().find(|row| row[0] == field.name && row.len() == 4);
        let row = row.unwrap_or_else(|| panic!("{} is not documented", field.name));
        assert_eq!(row[1], field.alias.unwrap_or_default(), "{}", field.name);
        assert_eq!(row[2], field.meaning, "{}", field.name);
    }
    for (reason, meaning) in Reason::ALL {
        let row = page.iter().find(|row| row[0] == reason.code() && row.len() == 3);
        let row = row.unwrap_or_else(|| panic!("{} is not documented", reason.code()));
        assert_eq!(row[1], meaning.trim().trim_end_matches('.'), "{}", reason.code());
    }
    let documented: BTreeMap<&str, &str> =
        page.iter().filter(|row| row.len() == 5).map(|row| (row[0], row[3])).collect();
    let served: BTreeMap<String, String> = Metrics::ALL
        .iter()
        .map(|(name, help)| {
            let help: Vec<&str> = help.iter().map(|line| line.trim()).collect();
            ((*name).to_owned(), help.join(" ").trim_end_matches('.').to_owned())
        })
        .collect();
    let of_counters = documented.iter().map(|(name, help)| {
        let name = name.strip_suffix("_total").unwrap_or(name);
        (name.to_owned(), (*help).to_owned())
    });
    assert_eq!(of_counters.collect::<BTreeMap<_, _>>(), served);
}
