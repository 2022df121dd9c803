//! Public catalogues: callers without a token.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cinequery::admission::{Admission, Limits, Policy, Proxies};
use cinequery::error::Kind;
use cinequery::identity::{Anonymous, Open};
use serde_json::{Value, json};

use crate::access::send;
use crate::command_line::{Service, cinequery, folder, run};
use crate::support::{
    Client, Database, Response, SECRET, app_with, catalogue, identity, on_both, token_of, tokens,
    unlimited,
};

const MOVIES: &str = "/api/v1/movies";

/// Operations that need only a scope for reading and stay closed, because they name users or are theirs.
const CLOSED: &[&str] = &[
    "explainQuery",
    "getMovieHistory",
    "getMovieQuery",
    "getScreeningHistory",
    "getScreeningQuery",
    "listChanges",
    "listMovieQueries",
    "listScreeningQueries",
    "runMovieQuery",
    "runMovieQueryWithBody",
    "runScreeningQuery",
    "runScreeningQueryWithBody",
];

/// Starts a public service with these rate limits behind a trusted proxy, and returns a client without a token.
async fn public(database: Database, scopes: &str, admission: Admission) -> Client {
    let provider = Box::new(Open::new(catalogue().schemas()));
    let app = app_with(database.store().await, provider, admission);
    app.open_to(Anonymous::parse(scopes, catalogue().schemas()).unwrap());
    Client::with_app(database, app).await.with_token(None)
}

fn limited(limits: &str) -> Admission {
    let proxies: Proxies = "127.0.0.1".parse().unwrap();
    Admission::local(limits.parse::<Limits>().unwrap(), proxies)
}

async fn from(client: &Client, address: &str, path: &str) -> Response {
    client.send(client.request("GET", path).header("x-forwarded-for", address)).await
}

#[tokio::test]
async fn every_operation_is_open_as_documented_and_never_to_writes() {
    on_both(async |database| {
        let client = public(database, "viewer", unlimited()).await;
        let document = client.get("/openapi.json").await.json();
        let (mut open, mut reading) = (BTreeSet::new(), BTreeSet::new());
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let security = operation["security"].as_array().unwrap();
                let is_public = security.is_empty();
                let is_open = security.iter().any(|one| one.as_object().unwrap().is_empty());
                let scopes: Vec<&Value> = security
                    .iter()
                    .flat_map(|one| one["oauth2"].as_array().into_iter().flatten())
                    .collect();
                let reads = |scope: &&Value| scope.as_str().unwrap().ends_with(":read");
                if !scopes.is_empty() && scopes.iter().all(reads) {
                    reading.insert(id.to_owned());
                }
                if is_open {
                    open.insert(id.to_owned());
                }
                let route = format!("{} {path}", method.to_uppercase());
                let status = send(&client, &route, operation).await;
                assert_eq!(status != 401, is_public || is_open, "{id} without a token: {status}");
                // Those of the session cookie are for pages of the service.
                let is_for_pages = path.starts_with("/api/v1/session/");
                assert!(
                    (status != 403 || is_for_pages) && status < 500,
                    "{id} without a token: {status}"
                );
                if is_open {
                    assert!([200, 400, 404].contains(&status), "{id}: {status}");
                    // A token that is not accepted does not become no token.
                    let invalid = client.with_token(Some("x.y.z".to_owned()));
                    assert_eq!(send(&invalid, &route, operation).await, 401, "{id}");
                }
            }
        }
        let closed: BTreeSet<String> = CLOSED.iter().map(|id| (*id).to_owned()).collect();
        let expected: BTreeSet<String> = reading.difference(&closed).cloned().collect();
        let others = ["getMe", "getSchema"].map(str::to_owned);
        assert_eq!(open, &expected | &BTreeSet::from(others));
    })
    .await;
}

#[tokio::test]
async fn records_are_read_without_a_token() {
    on_both(async |database| {
        let client = public(database, "viewer", unlimited()).await;
        let editor = client.with_token(Some(token_of("anna", &["movies:read", "movies:write"])));
        let movie = json!({"title": "Heat", "genre": "drama", "release_year": 1995,
                           "expiry_date": "2031-01-01"});
        let path = format!("{MOVIES}/{}", editor.create(&movie).await["id"].as_str().unwrap());
        for path in [
            path.as_str(),
            "/api/v1/movies?filter=genre%20=%20%22drama%22&count=exact",
            "/api/v1/movies/facets?by=genre",
            "/api/v1/movies/export?format=csv",
            "/api/v1/query/check?filter=x",
            "/api/v1/query/complete?filter=ge",
            "/api/v1/schema",
            "/api/v1/me",
            "/api",
            "/api/search?title=Heat",
        ] {
            let response = client.get(path).await;
            assert_eq!(response.status, 200, "{path}: {response:?}");
            let head = client.send(client.request("HEAD", path)).await;
            assert_eq!(head.status, 200, "HEAD {path}");
        }
        let search = json!({"filter": "title = \"Heat\""});
        let found = client.post("/api/v1/movies/search", &search).await;
        assert_eq!(found.column("title"), ["Heat"]);
        // An earlier version can have what was removed since.
        client.get(&format!("{path}?version=1")).await.problem(401, "unauthenticated");
        assert_eq!(editor.get(&format!("{path}?version=1")).await.status, 200);
        let challenge = client.post(MOVIES, &movie).await;
        challenge.problem(401, "unauthenticated");
        assert_eq!(challenge.header("www-authenticate"), "Bearer realm=\"cinequery\"");
        // Any `Authorization` is checked.
        for authorization in ["", "Bearer", "Bearer ", "Basic YTpi", "bearer x", "x"] {
            let request = client.request("GET", MOVIES).header("authorization", authorization);
            let response = client.send(request).await;
            response.problem(401, "unauthenticated");
        }
        let anna = identity(&["movies:read"]);
        let expired = tokens(Duration::ZERO).issue(&anna, 0).unwrap().access_token;
        tokio::time::sleep(Duration::from_secs(7)).await;
        let expired = client.with_token(Some(expired)).get(MOVIES).await;
        expired.problem(401, "token_expired");
    })
    .await;
}

#[tokio::test]
async fn a_collection_can_stay_closed() {
    let client = public(Database::sqlite(), "movies:read", unlimited()).await;
    assert_eq!(client.get(MOVIES).await.status, 200);
    for path in ["/api/v1/screenings", "/api/v1/query/check?collection=screenings&filter=x"] {
        let problem = client.get(path).await.problem(401, "unauthenticated");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("screenings:read"), "{detail}");
    }
    let document = client.get("/openapi.json").await.json();
    let security = |path: &str| document["paths"][path]["get"]["security"].clone();
    let is_open = |path: &str| security(path).as_array().unwrap().contains(&json!({}));
    assert_eq!([MOVIES, "/api/v1/screenings"].map(is_open), [true, false]);
}

#[test]
fn only_reading_can_be_public() {
    let schemas = catalogue().schemas();
    let scopes = |text: &str| {
        Anonymous::parse(text, schemas).map(|anonymous| anonymous.identity().scopes.join(" "))
    };
    assert_eq!(scopes("viewer").unwrap(), "movies:read screenings:read");
    assert_eq!(scopes(" movies:read , screenings:read ").unwrap(), "movies:read screenings:read");
    for text in
        ["editor", "admin", "Viewer", "", ",", "movies:write", "movies:read,admin", "x:read", "*"]
    {
        let error = scopes(text).unwrap_err();
        assert!(error.contains("expected viewer, or some of its scopes: movies:read"), "{error}");
    }
}

#[tokio::test]
async fn callers_without_a_token_are_limited_by_address_and_counted_together() {
    on_both(async |database| {
        let client = public(database, "viewer", limited("100/min,anonymous=2/min")).await;
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"];
        for address in addresses {
            for remaining in [1, 0] {
                let response = from(&client, address, MOVIES).await;
                assert_eq!(response.status, 200, "{address}");
                let limit = response.header("ratelimit-policy");
                assert_eq!(limit, "\"anonymous\";q=2;w=60");
                let left = format!("\"anonymous\";r={remaining};");
                assert!(response.header("ratelimit").starts_with(&left), "{response:?}");
            }
        }
        // Of the same network as 2001:db8::1.
        let rejected = from(&client, "2001:db8::2", MOVIES).await;
        rejected.problem(429, "too_many_requests");
        assert!(!rejected.header("retry-after").is_empty());
        // Users have limits of their own, also at the same address.
        let admin = client.with_token(Some(token_of("root", &["movies:read", "admin"])));
        assert_eq!(from(&admin, "192.0.2.1", MOVIES).await.status, 200);
        let usage = admin.get("/api/v1/usage?subject=anonymous").await.json();
        let usage = usage["items"].as_array().unwrap();
        assert_eq!(usage.len(), 1, "{usage:?}");
        let count = |name: &str| usage[0][name].as_i64().unwrap();
        assert_eq!((count("requests"), count("throttled")), (8, 1));
    })
    .await;
}

#[test]
fn the_limit_of_callers_without_a_token_has_a_default() {
    for (text, expected) in [
        ("600/min", Some((120, 60))),
        ("120/min", Some((120, 60))),
        ("10/h,admin=off", Some((10, 3600))),
        ("off", None),
        ("off,anonymous=1/s", Some((1, 1))),
        ("600/min,anonymous=off", None),
    ] {
        let limits: Limits = text.parse().unwrap();
        let limit = limits.of(Policy::Anonymous);
        assert_eq!(
            limit.map(|limit| (limit.requests.get(), limit.window.as_secs())),
            expected,
            "{text}"
        );
    }
}

/// One caller without a token never has the whole share of them all, and all of them leave users theirs.
#[tokio::test]
async fn exports_of_visitors_leave_room_for_others() {
    on_both(async |database| {
        let store = database.store().await;
        let of = |address: &str| store.of_visitor("anonymous", address.parse::<IpAddr>().unwrap());
        let (first, second) = (of("192.0.2.1"), of("192.0.2.2"));
        let held = first.export_place("anonymous").unwrap();
        let error = first.export_place("anonymous").unwrap_err();
        assert_eq!(error.kind, Kind::TooManyRequests);
        assert!(error.detail.starts_with("1 exports from this IP address"), "{}", error.detail);
        let _other = second.export_place("anonymous").unwrap();
        let error = of("192.0.2.3").export_place("anonymous").unwrap_err();
        assert!(
            error.detail.starts_with("2 exports of callers without a token"),
            "{}",
            error.detail
        );
        let _users = [(); 2].map(|()| store.of_subject("anna").export_place("anna").unwrap());
        drop(held);
        assert!(of("192.0.2.3").export_place("anonymous").is_ok());
    })
    .await;
}

#[tokio::test]
async fn no_user_is_named_like_callers_without_a_token() {
    let client = Client::of(Database::sqlite()).await;
    let anonymous = json!({"username": "anonymous"});
    client.post("/api/token", &anonymous).await.problem(400, "invalid_record");
    let token = token_of("anonymous", &["movies:read", "movies:write", "admin"]);
    let forged = client.with_token(Some(token));
    forged.get(MOVIES).await.problem(401, "unauthenticated");
    let admin = client.with_token(Some(token_of("root", &["admin"])));
    let user = json!({"name": "anonymous", "password": "correct horse battery", "role": "viewer"});
    let problem = admin.post("/api/v1/users", &user).await.problem(400, "invalid_record");
    assert!(problem["detail"].as_str().unwrap().contains("callers without a token"), "{problem}");
}

#[tokio::test]
async fn a_public_catalogue_is_announced_at_start() {
    let folder = folder();
    let warning = "the catalogue is public: requests without a token have the scopes movies:read";
    for auth in [
        &["--auth", "open"][..],
        &["--auth", "oidc", "--oidc-issuer", "http://127.0.0.1:1", "--oidc-audience", "x"],
    ] {
        let settings = ["--listen", "127.0.0.1:0", "--anonymous", "viewer", "--jwt-secret", SECRET];
        let settings = [auth, &settings].concat();
        let (_, report, _) = run(folder.path(), &[&["check"][..], &settings].concat());
        assert!(report.contains(&format!("warning        {warning}")), "{report}");
        let command = cinequery(folder.path(), &[&["serve"][..], &settings].concat());
        let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
        let client = Client::at(service.address.clone()).with_token(None);
        assert_eq!(client.get(MOVIES).await.status, 200);
        client.post(MOVIES, &json!({})).await.problem(401, "unauthenticated");
    }
    for (value, part) in [("editor", "expected viewer"), ("movies:write", "found \"movies:write\"")]
    {
        for command in ["serve", "check"] {
            let settings = [command, "--auth", "open", "--anonymous", value];
            let (code, out, log) = run(folder.path(), &settings);
            // The log may be JSON.
            let printed = format!("{out}{log}").replace("\\\"", "\"");
            assert!(
                code == 1 && printed.contains("--anonymous: ") && printed.contains(part),
                "{printed}"
            );
        }
    }
}
