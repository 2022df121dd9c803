//! Tokens of this service: issuing, verification, expiry and revocation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cinequery::clock::timestamp_now;
use cinequery::identity::{Hasher, IssuedAt, Passwords, Secrets, Tokens};
use cinequery::store::Revoked;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::forge::Good;
use crate::support::keys::Keys;
use crate::support::{
    Client, Database, SECRET, app, app_with, catalogue, identity, on_both, served_on_both, token,
    tokens, unlimited,
};

const MOVIES: &str = "/api/v1/movies";
const PASSWORD: &str = "correct horse battery";

/// The maximum time until an instance knows a revocation, with an allowance.
const PROMISE: Duration = Duration::from_secs(1);

/// The maximum time that a test waits. This is longer than promised, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the header and the claims of a token without checking its signature.
fn parts(token: &str) -> (Value, Value) {
    let part = |index: usize| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (part(0), part(1))
}

fn good() -> Good {
    let (header, claims) = parts(&token(&["movies:read"]));
    let other = parts(&other_secret().issue(&identity(&[]), 0).unwrap().access_token).0;
    Good {
        header,
        claims,
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(SECRET.as_bytes()),
        // Nothing about the secret is public except its id. So this also has guesses: empty secrets and another one.
        public: vec![
            Vec::new(),
            vec![0; 32],
            other["kid"].as_str().unwrap().as_bytes().to_vec(),
            b"another secret for tests, as long as the first".to_vec(),
        ],
    }
}

fn other_secret() -> Tokens {
    let secrets = Secrets::parse(b"another secret for tests, as long as the first").unwrap();
    Tokens::new(&secrets, Duration::from_secs(600))
}

#[tokio::test]
async fn invalid_tokens_are_rejected_before_the_database() {
    on_both(async |database| {
        let store = database.store().await;
        let client = Client::with_app(database, app(store.clone())).await;
        let good = good();
        assert_eq!(client.with_token(Some(good.token())).get(MOVIES).await.status, 200);
        // Without a database, a request that passes the verification gets 503.
        store.close().await;
        tokio::time::sleep(PROMISE).await;
        let accepted = client.with_token(Some(good.token())).get(MOVIES).await;
        accepted.problem(503, "unavailable");
        for (name, token) in good.attacks() {
            println!("{name}");
            let response = client.with_token(Some(token)).get(MOVIES).await;
            // Only a token of this service without another defect has expired.
            let has_expired = name.starts_with("expired") || name == "exp negative";
            let (code, description) = match has_expired {
                true => (
                    "token_expired",
                    ", error_description=\"the token has expired; get a new one\"",
                ),
                false => ("unauthenticated", ""),
            };
            response.problem(401, code);
            let challenge = response.header("www-authenticate");
            let expected =
                format!("Bearer realm=\"cinequery\", error=\"invalid_token\"{description}");
            assert_eq!(challenge, expected, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute_and_tokens_expire_in_time() {
    let good = good();
    let now = chrono::Utc::now().timestamp();
    for (member, seconds, is_accepted) in [
        ("exp", -3, true),
        ("exp", -7, false),
        ("nbf", 57, true),
        ("nbf", 64, false),
        ("iat", 57, true),
        ("iat", 64, false),
    ] {
        let mut claims = good.claims.clone();
        claims[member] = json!(now + seconds);
        let token = crate::support::forge::sign(&good.header, &claims, &good.key, good.algorithm);
        let verified = tokens(Duration::from_secs(600)).verify(&token);
        assert_eq!(verified.is_ok(), is_accepted, "{member} {seconds}");
    }
}

#[test]
fn secrets_can_be_rotated() {
    let (old, new) =
        ("the old secret, of at least 32 bytes", "the new secret, of at least 32 bytes");
    let tokens = |text: &str| {
        Tokens::new(&Secrets::parse(text.as_bytes()).unwrap(), Duration::from_secs(600))
    };
    // An instance at each step: old secret; old and new; new and old; new secret.
    let steps = [
        tokens(old),
        tokens(&format!("{old}\n{new}\n")),
        tokens(&format!("{new}\r\n\n{old}")),
        tokens(new),
    ];
    for (at, instance) in steps.iter().enumerate() {
        let token = instance.issue(&identity(&["movies:read"]), 0).unwrap().access_token;
        for (verifying, other) in steps.iter().enumerate() {
            // During a rotation, instances are at most one step apart.
            if at.abs_diff(verifying) <= 1 {
                assert!(other.verify(&token).is_ok(), "{at} issues, {verifying} verifies");
            }
        }
    }
    let last = steps[3].issue(&identity(&[]), 0).unwrap().access_token;
    assert!(steps[0].verify(&last).is_err());
    assert!(Secrets::parse(b"short").unwrap_err().contains("5 bytes"));
    assert!(Secrets::parse(format!("{old}\nshort").as_bytes()).is_err());
    assert!(Secrets::parse(b"\n").is_err());
}

/// Starts two instances on one database, and returns a client of each.
async fn two_instances(database: Database) -> [Client; 2] {
    let second = app(database.store().await);
    let first = Client::of(database).await;
    let second = Client::with_app(Database::sqlite(), second).await;
    [first, second]
}

/// Waits until the client's token is rejected.
async fn assert_revoked(client: &Client) {
    let started = Instant::now();
    loop {
        let response = client.get(MOVIES).await;
        if response.status == 401 {
            break;
        }
        assert_eq!(response.status, 200);
        assert!(started.elapsed() < PATIENCE, "the token is still accepted after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_rejected_on_every_instance_and_others_stay_valid() {
    on_both(async |database| {
        let [first, second] = two_instances(database).await;
        let mine = token(&["movies:read"]);
        let other = token(&["movies:read"]);
        for client in [&first, &second] {
            assert_eq!(client.with_token(Some(mine.clone())).get(MOVIES).await.status, 200);
        }
        let form = [("token", mine.as_str()), ("token_type_hint", "access_token")];
        let anonymous = first.with_token(None);
        let revoke = anonymous.request("POST", "/api/token/revoke").form(&form);
        let response = anonymous.send(revoke).await;
        assert_eq!((response.status, response.body.len()), (200, 0), "{response:?}");
        for client in [&first, &second] {
            assert_revoked(&client.with_token(Some(mine.clone()))).await;
            assert_eq!(client.with_token(Some(other.clone())).get(MOVIES).await.status, 200);
        }
        // Revoking a token again, or one that does not exist, is not an error.
        for token in [mine.as_str(), "x.y.z"] {
            let revoke = anonymous.request("POST", "/api/token/revoke").form(&[("token", token)]);
            assert_eq!(anonymous.send(revoke).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn all_tokens_of_a_user_are_revoked_and_a_new_one_is_valid() {
    on_both(async |database| {
        let [first, second] = two_instances(database).await;
        let issue = async |client: &Client, name: &str| {
            let issued =
                client.with_token(None).post("/api/token", &json!({"username": name})).await;
            client.with_token(Some(issued.json()["access_token"].as_str().unwrap().to_owned()))
        };
        let old = [issue(&first, "anna").await, issue(&second, "anna").await];
        let bert = issue(&second, "bert").await;
        let path = "/api/v1/revocations";
        let anna = json!({"subject": "anna"});
        bert.post(path, &anna).await.problem(403, "insufficient_scope");
        first.with_token(None).post(path, &anna).await.problem(401, "unauthenticated");
        assert_eq!(old[0].post(path, &anna).await.status, 204);
        // A sign-in right after that on the other instance gets a valid token, whatever its clock shows.
        let new = issue(&second, "anna").await;
        for client in &old {
            assert_revoked(client).await;
        }
        assert_eq!(new.get(MOVIES).await.status, 200);
        assert_eq!(bert.get(MOVIES).await.status, 200);
        let admin = first.with_scopes(&["admin"]);
        assert_eq!(admin.post(path, &anna).await.status, 204);
        assert_revoked(&new).await;
        for wrong in [json!({"subject": ""}), json!({"subject": "a\u{0}"})] {
            admin.post(path, &wrong).await.problem(400, "invalid_record");
        }
    })
    .await;
}

#[tokio::test]
async fn revocations_are_numbered_in_the_order_of_their_commits() {
    on_both(async |database| {
        let store = database.store().await;
        let revoke = |name: String| {
            let store = store.clone();
            async move { store.revoke(&Revoked::Subject(name), timestamp_now()).await.unwrap() }
        };
        let names = (0..40).map(|number| format!("user {number}"));
        futures_util::future::join_all(names.map(revoke)).await;
        assert_eq!(store.revocation_revision().await.unwrap(), 40);
        let all = store.revocations(0, timestamp_now()).await.unwrap();
        let numbers: Vec<i64> = all.iter().map(|revocation| revocation.revision).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        // Only the last revocation of a subject is kept. Revocations of expired tokens are deleted, but their numbers
        // are not reused.
        store.revoke(&Revoked::Subject("user 1".to_owned()), timestamp_now()).await.unwrap();
        let expired = Revoked::Token { id: "x".to_owned(), expires_at: timestamp_now() };
        store.revoke(&expired, timestamp_now()).await.unwrap();
        store.revoke(&Revoked::Subject("y".to_owned()), timestamp_now()).await.unwrap();
        assert_eq!(store.revocations(0, timestamp_now()).await.unwrap().len(), 41);
        assert_eq!(store.revocation_revision().await.unwrap(), 43);
        let new = store.revocations(40, timestamp_now()).await.unwrap();
        assert_eq!(new.iter().map(|one| one.revision).collect::<Vec<_>>(), [41, 43]);
    })
    .await;
}

/// Starts a service with one administrator, and returns a client without a token.
async fn with_users(database: Database) -> Client {
    let store = database.store().await;
    let hasher = Hasher::new();
    let hash = hasher.hash(PASSWORD.to_owned()).await.unwrap();
    store.add_user("anna & co", &hash, "admin", timestamp_now()).await.unwrap();
    let provider = Passwords::new(store.clone(), hasher.clone(), catalogue().schemas());
    let app = app_with(store, Box::new(provider), unlimited());
    Client::with_app(database, app).await.with_token(None)
}

/// The form, credentials for HTTP Basic, the expected status, and the expected scope or code.
const FORMS: &[(&str, Option<&str>, u16, &str)] = &[
    (
        "grant_type=password&username=anna+%26+co&password=correct+horse+battery",
        None,
        200,
        "movies:read movies:write screenings:read screenings:write admin",
    ),
    (
        "grant_type=password&username=anna+%26+co&password=correct+horse+battery&scope=movies:read+x",
        None,
        200,
        "movies:read",
    ),
    (
        "grant_type=password&username=anna+%26+co&password=correct+horse+battery&scope=&more=1",
        None,
        200,
        "movies:read movies:write screenings:read screenings:write admin",
    ),
    (
        "grant_type=client_credentials&client_id=anna+%26+co&client_secret=correct+horse+battery&scope=admin",
        None,
        200,
        "admin",
    ),
    (
        "grant_type=client_credentials&scope=admin",
        Some("anna+%26+co:correct+horse+battery"),
        200,
        "admin",
    ),
    ("grant_type=client_credentials", Some("anna%20%26%20co:wrong"), 401, "invalid_client"),
    ("grant_type=client_credentials", Some("nocolon"), 401, "invalid_client"),
    (
        "grant_type=client_credentials",
        Some("x&anna+%26+co:junk&correct+horse+battery"),
        401,
        "invalid_client",
    ),
    ("grant_type=client_credentials&client_id=anna", Some("anna:x"), 400, "invalid_request"),
    ("grant_type=client_credentials", None, 400, "invalid_request"),
    ("grant_type=client_credentials&client_id=anna", None, 401, "invalid_client"),
    ("grant_type=password&username=anna+%26+co&password=wrong", None, 400, "invalid_grant"),
    (
        "grant_type=password&username=unknown&password=correct+horse+battery",
        None,
        400,
        "invalid_grant",
    ),
    ("grant_type=password&password=x", None, 400, "invalid_request"),
    ("grant_type=password&username=a&username=b", None, 400, "invalid_request"),
    ("grant_type=authorization_code&code=x", None, 400, "unsupported_grant_type"),
    ("username=a", None, 400, "invalid_request"),
    ("", None, 400, "invalid_request"),
    (
        "grant_type=password&username=anna+%26+co&password=correct+horse+battery&scope=nothing",
        None,
        400,
        "invalid_scope",
    ),
];

#[tokio::test]
async fn oauth_clients_sign_in() {
    on_both(async |database| {
        let client = with_users(database).await;
        for (form, basic, status, expected) in FORMS {
            println!("{form}");
            let mut request = client
                .request("POST", "/api/token")
                .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
                .body(*form);
            if let Some(basic) = basic {
                let encoded = base64::prelude::BASE64_STANDARD.encode(basic);
                request = request.header("authorization", format!("Basic {encoded}"));
            }
            let response = client.send(request).await;
            if *status == 200 {
                assert_eq!(response.status, 200, "{response:?}");
                assert_eq!(response.json()["scope"], *expected);
                assert_eq!(response.header("cache-control"), "no-store");
                continue;
            }
            let problem = response.problem(*status, expected);
            assert_eq!(problem["error"], *expected);
            assert_eq!(problem["error_description"], problem["detail"]);
            let is_challenged = response.header("www-authenticate").starts_with("Basic ");
            assert_eq!(is_challenged, *status == 401);
        }
        // The JSON body of the previous service accepts a scope, too.
        let body = json!({"username": "anna & co", "password": PASSWORD, "scope": "movies:read"});
        assert_eq!(client.post("/api/token", &body).await.json()["scope"], "movies:read");
    })
    .await;
}

#[tokio::test]
async fn changing_or_deleting_a_user_revokes_the_tokens() {
    on_both(async |database| {
        let client = with_users(database).await;
        let sign_in = async |name: &str| {
            let credentials = json!({"username": name, "password": PASSWORD});
            let issued = client.post("/api/token", &credentials).await.json();
            client.with_token(Some(issued["access_token"].as_str().unwrap().to_owned()))
        };
        let admin = sign_in("anna & co").await;
        let bert = json!({"name": "bert", "password": PASSWORD, "role": "viewer"});
        assert_eq!(admin.post("/api/v1/users", &bert).await.status, 201);
        for body in [json!({"role": "editor"}), json!({"password": PASSWORD})] {
            let old = sign_in("bert").await;
            assert_eq!(old.get(MOVIES).await.status, 200);
            let (path, media_type) = ("/api/v1/users/bert", "application/merge-patch+json");
            // A change with an outdated version has no effect and revokes nothing.
            let stale = admin.change("PATCH", path, media_type, Some("\"9\""), &body).await;
            stale.problem(412, "precondition_failed");
            tokio::time::sleep(PROMISE).await;
            assert_eq!(old.get(MOVIES).await.status, 200);
            let changed = admin.change("PATCH", path, media_type, Some("*"), &body).await;
            assert_eq!(changed.status, 200);
            let new = sign_in("bert").await;
            assert_revoked(&old).await;
            assert_eq!(new.get(MOVIES).await.status, 200);
        }
        let last = sign_in("bert").await;
        let removed = admin.send(admin.request("DELETE", "/api/v1/users/bert")).await;
        assert_eq!(removed.status, 204);
        assert_revoked(&last).await;
        assert_eq!(admin.get(MOVIES).await.status, 200);
    })
    .await;
}

#[test]
fn a_token_has_the_number_of_revocations_at_its_issue() {
    let issued = tokens(Duration::from_secs(600)).issue(&identity(&["movies:read"]), 7).unwrap();
    let bearer = tokens(Duration::from_secs(600)).verify(&issued.access_token).unwrap();
    assert_eq!(bearer.issued, IssuedAt::Revision(7));
    assert_eq!(bearer.identity, identity(&["movies:read"]));
    let (header, claims) = parts(&issued.access_token);
    assert_eq!(claims["jti"].as_str(), bearer.token_id.as_deref());
    assert_eq!(claims["exp"], bearer.expires_at);
    assert!(!SECRET.contains(header["kid"].as_str().unwrap()));
}

#[tokio::test]
async fn a_revocation_that_cannot_be_stored_returns_503() {
    served_on_both(async |client| {
        // Signing out with a valid token must not report success if the revocation was not stored.
        client.database().run_sql("DROP TABLE revocations").await;
        let mine = token(&["movies:read"]);
        let anonymous = client.with_token(None);
        let revoke =
            anonymous.request("POST", "/api/token/revoke").form(&[("token", mine.as_str())]);
        anonymous.send(revoke).await.problem(503, "unavailable");
    })
    .await;
}

#[tokio::test]
async fn authentication_can_be_replaced() {
    on_both(async |database| {
        let keys = Keys(HashMap::from([("key-of-anna", identity(&["movies:read"]))]));
        let app = app_with(database.store().await, Box::new(keys), unlimited());
        let client = Client::with_app(database, app).await;
        let with = |key: &str| client.with_token(Some(key.to_owned()));
        assert_eq!(with("key-of-anna").get(MOVIES).await.status, 200);
        with("key-of-anna").post(MOVIES, &json!({})).await.problem(403, "insufficient_scope");
        with("another").get(MOVIES).await.problem(401, "unauthenticated");
        client.get(MOVIES).await.problem(401, "unauthenticated");
        let credentials = json!({"username": "anna"});
        client.post("/api/token", &credentials).await.problem(400, "sign_in_elsewhere");
        // A key can be revoked like a token.
        let form = [("token", "key-of-anna")];
        client.send(client.request("POST", "/api/token/revoke").form(&form)).await;
        assert_revoked(&with("key-of-anna")).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_with_a_later_revocation_number_than_the_database_is_rejected() {
    served_on_both(async |client| {
        let issued = |revision| {
            let issued =
                tokens(Duration::from_secs(600)).issue(&identity(&["movies:read"]), revision);
            client.with_token(Some(issued.unwrap().access_token))
        };
        assert_eq!(issued(0).get(MOVIES).await.status, 200);
        issued(1).get(MOVIES).await.problem(401, "unauthenticated");
        issued(i64::MAX).get(MOVIES).await.problem(401, "unauthenticated");
        // A token issued after a revocation is accepted even by an instance that does not know the revocation yet.
        let anna = json!({"subject": "anna"});
        client.with_scopes(&["admin"]).post("/api/v1/revocations", &anna).await;
        assert_eq!(issued(1).get(MOVIES).await.status, 200);
    })
    .await;
}

/// At a stop the database is closed while the task that reads revocations still runs.
#[tokio::test]
async fn a_closed_database_is_no_reason_for_a_warning() {
    on_both(async |database| {
        let store = database.store().await;
        let app = app(store.clone());
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(log.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
        // The task runs on the thread of the test.
        let _logging = tracing::subscriber::set_default(subscriber);
        let token = token(&["movies:read"]);
        app.identify(&token).await.unwrap();
        // What is known is then too old, and the next read follows 300 ms after this one.
        tokio::time::sleep(Duration::from_millis(600)).await;
        app.identify(&token).await.unwrap();
        app.identify(&token).await.unwrap();
        store.close().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert!(!log.contains("revoked tokens"), "{log}");
    })
    .await;
}
