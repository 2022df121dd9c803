//! Rolling updates: instances of the old and of the new declaration run side by side under load.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::command_line::{Service, folder_of, serve_records};
use crate::support::{Client, Database, Response, on_both, token};

const OLD: &str = r#"
name = "Ticket"
collection = "tickets"
unique = [["title"]]

[fields.title]
type = "text"
length = [1, 60]

[fields.priority]
type = "integer"
range = [1, 5]

[fields.due]
type = "date"
required = false
"#;

/// Adds two fields and an index, and widens the limits of a text and a number.
const NEW: &str = r#"
name = "Ticket"
collection = "tickets"
unique = [["title"]]
indexes = [["priority", "due"], ["state"]]

[fields.title]
type = "text"
length = [1, 200]

[fields.priority]
type = "integer"
range = [1, 9]

[fields.due]
type = "date"
required = false

[fields.state]
type = "text"
length = [1, 20]
default = "open"

[fields.note]
type = "text"
required = false
"#;

fn declared(source: &str) -> TempDir {
    folder_of(&[("tickets.toml", source)])
}

const TICKETS: &str = "/api/v1/tickets";

/// Starts an instance that continues to serve for a second after SIGTERM, as it does with a load balancer.
fn start(records: &TempDir, database: &Database) -> Service {
    let mut command: Command = serve_records(records.path(), database);
    command.env("CINEQUERY_SHUTDOWN_DELAY", "1s");
    Service::start(command)
}

fn client_of(service: &Service) -> Client {
    let token = token(&["tickets:read", "tickets:write"]);
    Client::at(service.address.clone()).with_token(Some(token))
}

/// Clients that send requests until they are stopped, each for its own tickets.
struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Value>>>,
}

#[derive(Default)]
struct Shared {
    /// The instances that get requests, in turn. While it is empty, clients wait.
    instances: RwLock<Vec<Client>>,
    sent: AtomicUsize,
    failures: Mutex<Vec<String>>,
    is_stopped: AtomicBool,
}

impl Load {
    fn start(clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..clients).map(|number| tokio::spawn(shared.clone().client(number)));
        Self { clients: clients.collect(), shared }
    }

    /// Sends requests to these instances from now on.
    fn send_to(&self, instances: &[&Service]) {
        let instances = instances.iter().map(|one| client_of(one)).collect();
        *self.shared.instances.write().unwrap() = instances;
    }

    /// Waits until this many more requests were sent.
    async fn go_on(&self, requests: usize) {
        let until = self.shared.sent.load(Ordering::Relaxed) + requests;
        while self.shared.sent.load(Ordering::Relaxed) < until {
            self.shared.assert_no_failure();
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the clients. Returns the number of requests, and the tickets as they were last returned.
    async fn stop(self) -> (usize, Vec<Value>) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        let mut tickets = Vec::new();
        for client in self.clients {
            tickets.extend(client.await.unwrap());
        }
        self.shared.assert_no_failure();
        (self.shared.sent.load(Ordering::Relaxed), tickets)
    }
}

impl Shared {
    async fn client(self: Arc<Self>, number: usize) -> Vec<Value> {
        let mut tickets = Vec::new();
        for round in 0.. {
            if self.is_stopped.load(Ordering::Relaxed) {
                break;
            }
            let title = format!("ticket {round} of client {number}");
            let draft = json!({"title": title, "priority": 1 + round % 5});
            let created = self.ask(201, |c| c.request("POST", TICKETS).json(&draft)).await;
            let path = format!("{TICKETS}/{}", created["id"].as_str().unwrap_or_default());
            self.ask(200, |c| c.request("GET", &path)).await;
            let query = [("filter", format!("title = '{title}' and due is null"))];
            let found = self.ask(200, |c| c.request("GET", TICKETS).query(&query)).await;
            if found["items"][0]["id"] != created["id"] {
                self.fail(format!("{title} is not found: {found}"));
            }
            let patch = json!({"due": "2030-01-31"});
            let patch = |c: &Client| c.request("PATCH", &path).json(&patch);
            let mut ticket = self.ask(200, |c| patch(c).header("if-match", "\"1\"")).await;
            // An instance of the old declaration does not return the new fields.
            ticket["state"] = json!("open");
            ticket["note"] = Value::Null;
            tickets.push(ticket);
            let export = format!("{TICKETS}/export?format=csv");
            let query = [("filter", format!("title ends with 'client {number}'"))];
            let file = self.ask(200, |c| c.request("GET", &export).query(&query)).await;
            let rows = file.as_str().unwrap_or_default().lines().count();
            if rows != tickets.len() + 1 {
                self.fail(format!("an export has {rows} lines, and not {}", tickets.len() + 1));
            }
        }
        tickets
    }

    /// Sends a request to the next instance and returns the body. Any other status is a failure.
    async fn ask(&self, expected: u16, request: impl Fn(&Client) -> RequestBuilder) -> Value {
        let client = loop {
            match self.next() {
                Some(client) => break client,
                None => sleep(Duration::from_millis(5)).await,
            }
        };
        let request = request(&client);
        let (status, body) = match request.send().await {
            Ok(response) => (response.status().as_u16(), response.text().await),
            Err(error) => (0, Err(error)),
        };
        let body = body.unwrap_or_else(|error| format!("{error:?}"));
        if status != expected {
            self.fail(format!("expected {expected}, found {status}: {body}"));
        }
        serde_json::from_str::<Value>(&body).unwrap_or(Value::String(body))
    }

    fn next(&self) -> Option<Client> {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        let instances = self.instances.read().unwrap();
        let next = instances.get(turn % instances.len().max(1)).cloned();
        if next.is_none() {
            self.sent.fetch_sub(1, Ordering::Relaxed);
        }
        next
    }

    fn fail(&self, failure: String) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.failures.lock().unwrap().push(failure);
    }

    #[track_caller]
    fn assert_no_failure(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

/// Asserts that an instance of the new declaration has these tickets and no others.
async fn assert_kept(service: &Service, tickets: &[Value]) {
    let client = client_of(service);
    let file = client.get(&format!("{TICKETS}/export")).await;
    let text = String::from_utf8(file.body).unwrap();
    let mut found: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    found.sort_by_key(|ticket| ticket["id"].to_string());
    let mut expected: Vec<Value> = tickets.to_vec();
    expected.sort_by_key(|ticket| ticket["id"].to_string());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

async fn stop(service: Service) {
    let code = tokio::task::spawn_blocking(|| service.stop()).await.unwrap();
    assert_eq!(code, Some(0));
}

const CLIENTS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_instances_are_replaced_one_by_one() {
    let database = Arc::new(Database::postgres().await);
    let (before, after) = (declared(OLD), declared(NEW));
    let old = start(&before, &database);
    let load = Load::start(CLIENTS);
    load.send_to(&[&old]);
    load.go_on(300).await;
    // It applies the steps at start, while the old instance gets requests.
    let new = {
        let database = database.clone();
        tokio::task::spawn_blocking(move || start(&after, &database)).await.unwrap()
    };
    load.send_to(&[&old, &new]);
    load.go_on(300).await;
    // The load balancer reacts a little later than the instance.
    let stopping = tokio::spawn(stop(old));
    sleep(Duration::from_millis(300)).await;
    load.send_to(&[&new]);
    stopping.await.unwrap();
    load.go_on(300).await;
    let (sent, tickets) = load.stop().await;
    println!("PostgreSQL, side by side: {sent} requests, 0 failed, {} tickets", tickets.len());
    assert_kept(&new, &tickets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_service_is_restarted_with_another_declaration() {
    on_both(async |database| {
        let (before, after) = (declared(OLD), declared(NEW));
        let old = start(&before, &database);
        let load = Load::start(CLIENTS);
        load.send_to(&[&old]);
        load.go_on(200).await;
        // New requests wait for the new instance; the old one completes those it has received.
        load.send_to(&[]);
        stop(old).await;
        let new = start(&after, &database);
        load.send_to(&[&new]);
        load.go_on(200).await;
        let (sent, tickets) = load.stop().await;
        println!("restarted: {sent} requests, 0 failed, {} tickets", tickets.len());
        assert_kept(&new, &tickets).await;
    })
    .await;
}

/// An instance of the old declaration writes its own fields and does not change the others.
#[tokio::test]
async fn an_old_instance_does_not_change_the_new_fields() {
    on_both(async |database| {
        let (before, after) = (declared(OLD), declared(NEW));
        let old = start(&before, &database);
        let new = start(&after, &database);
        let (old, new) = (client_of(&old), client_of(&new));
        let created = |response: Response| {
            assert_eq!(response.status, 201, "{response:?}");
            (response.location(), response.json())
        };
        let read = async |path: &str| new.get(path).await.json();

        // In records that the old instance creates or imports, new fields have their default or null.
        let (path, ticket) =
            created(old.post(TICKETS, &json!({"title": "A", "priority": 1})).await);
        assert_eq!(ticket.get("state"), None);
        let ticket = read(&path).await;
        assert_eq!((&ticket["state"], &ticket["note"]), (&json!("open"), &Value::Null));
        let import = |body: &'static str| {
            let path = format!("{TICKETS}/import?on_conflict=update");
            old.request("POST", &path).header("content-type", "application/x-ndjson").body(body)
        };
        let imported = old.send(import("{\"title\": \"B\", \"priority\": 2}\n")).await.json();
        assert_eq!(imported["created"], 1, "{imported}");
        let b = new.get(&format!("{TICKETS}?filter=title%20%3D%20'B'")).await.json();
        assert_eq!(b["items"][0]["state"], "open", "{b}");

        // When it replaces, patches or reimports a record, the new fields keep their values.
        let draft =
            json!({"title": "C", "priority": 9, "state": "closed", "note": "by the new one"});
        let (path, _) = created(new.post(TICKETS, &draft).await);
        // It returns a value that it would not accept.
        assert_eq!(old.get(&path).await.json()["priority"], 9);
        let json_type = "application/json";
        let body = json!({"title": "C", "priority": 3, "due": "2030-01-31"});
        let replaced = old.change("PUT", &path, json_type, Some("\"1\""), &body).await;
        assert_eq!((replaced.status, replaced.header("etag")), (200, "\"2\""), "{replaced:?}");
        let patch = json!({"priority": 4});
        let merge = "application/merge-patch+json";
        let patched = old.change("PATCH", &path, merge, Some("\"2\""), &patch).await;
        assert_eq!(patched.status, 200, "{patched:?}");
        let again = old.send(import("{\"title\": \"C\", \"priority\": 5}\n")).await.json();
        assert_eq!(again["updated"], 1, "{again}");
        let ticket = read(&path).await;
        assert_eq!((&ticket["priority"], &ticket["version"]), (&json!(5), &json!(4)), "{ticket}");
        assert_eq!(ticket["state"], "closed", "{ticket}");
        assert_eq!(ticket["note"], "by the new one", "{ticket}");

        // It rejects new fields in records and in filters.
        let unknown = json!({"title": "D", "priority": 1, "state": "closed"});
        old.post(TICKETS, &unknown).await.problem(400, "invalid_record");
        let filter = format!("{TICKETS}?filter=state%20%3D%20'open'");
        old.get(&filter).await.problem(400, "invalid_query");
        assert_eq!(new.get(&filter).await.json()["items"].as_array().unwrap().len(), 2);
        assert_eq!(old.request("DELETE", &path).send().await.unwrap().status(), 204);
        assert_eq!(new.get(&path).await.status, 404);
    })
    .await;
}
