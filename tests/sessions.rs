//! Sessions: refresh tokens, their cookie, and changes of the own password.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cinequery::app::App;
use cinequery::clock::timestamp_now;
use cinequery::identity::{Hasher, Passwords, RefreshClaims, Secrets, Tokens};
use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Client, Database, Response, SECRET, app_with, catalogue, on_both, served_on_both, tokens,
    unlimited,
};

const TOKEN: &str = "/api/token";
const REVOKE: &str = "/api/token/revoke";
const ME: &str = "/api/v1/me";
const MOVIES: &str = "/api/v1/movies";
const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "another horse battery";

/// Longer than a revocation takes until all instances know it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service with the users `admin` and `anna`, who is an editor.
async fn instance(database: &Database, secrets: &str) -> App {
    let store = database.store().await;
    let hasher = Hasher::new();
    if !store.has_users().await.unwrap() {
        let hash = hasher.hash(PASSWORD.to_owned()).await.unwrap();
        store.add_user("admin", &hash, "admin", timestamp_now()).await.unwrap();
        store.add_user("anna", &hash, "editor", timestamp_now()).await.unwrap();
    }
    let provider = Passwords::new(store.clone(), hasher.clone(), catalogue().schemas());
    let tokens =
        Tokens::new(&Secrets::parse(secrets.as_bytes()).unwrap(), Duration::from_secs(600));
    App::new(catalogue(), store, Box::new(provider), tokens, hasher, unlimited())
}

async fn served(database: Database) -> Client {
    let app = instance(&database, SECRET).await;
    Client::with_app(database, app).await.with_token(None)
}

async fn passwords_on_both(test: impl AsyncFn(Client)) {
    on_both(async |database| test(served(database).await).await).await;
}

async fn form(client: &Client, path: &str, form: &[(&str, &str)]) -> Response {
    client.send(client.request("POST", path).form(form)).await
}

/// Signs anna in and returns the response with a refresh token.
async fn start(client: &Client, scope: &str) -> Value {
    let scope = format!("{scope} offline_access");
    let fields = [
        ("grant_type", "password"),
        ("username", "anna"),
        ("password", PASSWORD),
        ("scope", &scope),
    ];
    let response = form(client, TOKEN, &fields).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("cache-control"), "no-store");
    response.json()
}

async fn renew(client: &Client, token: &str) -> Response {
    form(client, TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

fn member(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn refresh(value: &Value) -> String {
    member(value, "refresh_token")
}

fn access(client: &Client, value: &Value) -> Client {
    client.with_token(Some(member(value, "access_token")))
}

async fn renewed(client: &Client, token: &str) -> Value {
    let response = renew(client, token).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[track_caller]
fn assert_invalid(response: &Response) {
    let problem = response.problem(400, "invalid_grant");
    assert_eq!(problem["error"], "invalid_grant");
}

/// Moves the times of all sessions back, as if this time had passed; with a negative time, as if the clock were set back.
async fn pass(database: &Database, seconds: i64) {
    let moved = |column: &str| match database.url().starts_with("sqlite") {
        true => format!(
            "{column} = strftime('%Y-%m-%dT%H:%M:', {column}, '{0:+} seconds') || \
             substr(strftime('%f', {column}, '{0:+} seconds') || '000Z', 1, 10)",
            -seconds
        ),
        false => format!("{column} = {column} - interval '{seconds} seconds'"),
    };
    let (created, renewed) = (moved("created_at"), moved("renewed_at"));
    database.run_sql(&format!("UPDATE cinequery_sessions SET {created}, {renewed}")).await;
}

async fn sessions(database: &Database) -> usize {
    database.rows("SELECT id FROM cinequery_sessions").await.len()
}

/// Waits until the client's token is rejected.
async fn assert_revoked(client: &Client) {
    let started = Instant::now();
    while client.get(ME).await.status != 401 {
        assert!(started.elapsed() < PATIENCE, "the token is still accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_session_is_renewed_and_reuse_ends_it() {
    passwords_on_both(async |client| {
        let database = client.database();
        let first = start(&client, "").await;
        pass(database, 11).await;
        let second = renewed(&client, &refresh(&first)).await;
        assert_ne!(refresh(&first), refresh(&second));
        assert_eq!(first["scope"], second["scope"]);
        // The newest token stays the newest for ten seconds.
        assert_eq!(refresh(&renewed(&client, &refresh(&second)).await), refresh(&second));
        // A lost response: the same token gets the same successor.
        let again = renewed(&client, &refresh(&first)).await;
        assert_eq!(refresh(&second), refresh(&again));
        pass(database, 11).await;
        let third = renewed(&client, &refresh(&second)).await;
        assert_ne!(refresh(&second), refresh(&third));
        let newest = access(&client, &third);
        assert_eq!(newest.get(MOVIES).await.status, 200);
        // Only the token before the newest one has a grace, and only for ten seconds.
        pass(database, 9).await;
        assert_eq!(refresh(&renewed(&client, &refresh(&second)).await), refresh(&third));
        pass(database, 2).await;
        assert_invalid(&renew(&client, &refresh(&second)).await);
        assert_eq!(sessions(database).await, 0);
        assert_invalid(&renew(&client, &refresh(&third)).await);
        assert_revoked(&newest).await;

        let first = start(&client, "").await;
        pass(database, 11).await;
        let second = renewed(&client, &refresh(&first)).await;
        pass(database, 11).await;
        renewed(&client, &refresh(&second)).await;
        assert_invalid(&renew(&client, &refresh(&first)).await);
        assert_eq!(sessions(database).await, 0);
    })
    .await;
}

/// The age of a renewal in the future is not known, so it is not within the grace.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_extend_the_grace() {
    passwords_on_both(async |client| {
        let database = client.database();
        let first = start(&client, "").await;
        pass(database, 11).await;
        let second = renewed(&client, &refresh(&first)).await;
        pass(database, -3600).await;
        let third = renewed(&client, &refresh(&second)).await;
        assert_ne!(refresh(&third), refresh(&second), "the newest token is renewed");
        assert_eq!(refresh(&renewed(&client, &refresh(&second)).await), refresh(&third));
        pass(database, -3600).await;
        assert_invalid(&renew(&client, &refresh(&second)).await);
        assert_eq!(sessions(database).await, 0);
    })
    .await;
}

#[tokio::test]
async fn parallel_renewals_get_the_same_successor() {
    on_both(async |database| {
        let other = instance(&database, SECRET).await;
        let client = served(database).await;
        let other = Client::with_app(client.database().again(), other).await.with_token(None);
        let mut token = refresh(&start(&client, "").await);
        for round in 0..5 {
            pass(client.database(), 11).await;
            let attempts = (0..12).map(|n| {
                let (client, token) = (if n % 2 == 0 { &client } else { &other }, token.clone());
                async move { renew(client, &token).await }
            });
            let responses = join_all(attempts).await;
            let mut successors: Vec<String> = Vec::new();
            for response in responses {
                assert_eq!(response.status, 200, "{response:?}");
                successors.push(refresh(&response.json()));
            }
            successors.dedup();
            assert_eq!(successors.len(), 1, "round {round}");
            token = successors.remove(0);
        }
        let generation = "SELECT CAST(generation AS text) FROM cinequery_sessions";
        let generation = client.database().rows(generation).await;
        assert_eq!(generation, [[Some("5".to_owned())]]);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_without_a_request_for_it_starts_no_session() {
    passwords_on_both(async |client| {
        let password = ("password", PASSWORD);
        let forms: &[&[(&str, &str)]] = &[
            &[("grant_type", "password"), ("username", "anna"), password],
            &[("grant_type", "password"), ("username", "anna"), password, ("scope", "movies:read")],
            // Never for client credentials (RFC 6749, section 4.4.3).
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "anna"),
                ("client_secret", PASSWORD),
                ("scope", "offline_access movies:read"),
            ],
        ];
        for fields in forms {
            let response = form(&client, TOKEN, fields).await;
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.json().get("refresh_token"), None);
        }
        let json = json!({"username": "anna", "password": PASSWORD});
        assert_eq!(client.post(TOKEN, &json).await.json().get("refresh_token"), None);
        assert_eq!(sessions(client.database()).await, 0);
    })
    .await;
    // With `--auth open` a name is enough for a new token.
    served_on_both(async |client| {
        let fields =
            [("grant_type", "password"), ("username", "anna"), ("scope", "offline_access")];
        let response = form(&client, TOKEN, &fields).await;
        assert_eq!((response.status, response.json().get("refresh_token")), (200, None));
        let token = tokens(Duration::from_secs(600));
        let claims = RefreshClaims { session: Uuid::now_v7(), generation: 0 };
        assert_invalid(&renew(&client, &token.refresh_token(claims).unwrap()).await);
    })
    .await;
}

#[tokio::test]
async fn scopes_are_those_that_were_requested_and_that_the_user_has() {
    passwords_on_both(async |client| {
        let admin = json!({"username": "admin", "password": PASSWORD});
        let admin = access(&client, &client.post(TOKEN, &admin).await.json());
        let all = start(&client, "").await;
        let write = start(&client, "movies:write admin").await;
        assert_eq!(write["scope"], "movies:write");
        let narrow = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh(&all)),
            ("scope", "movies:read admin"),
        ];
        let narrowed = form(&client, TOKEN, &narrow).await.json();
        assert_eq!(narrowed["scope"], "movies:read");
        // The scope of one renewal is not that of the next.
        let wide = renewed(&client, &refresh(&narrowed)).await;
        assert_eq!(wide["scope"], "movies:read movies:write screenings:read screenings:write");
        let nothing = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh(&wide)),
            ("scope", "admin"),
        ];
        form(&client, TOKEN, &nothing).await.problem(400, "invalid_scope");
        // That has not used the token.
        let wide = renewed(&client, &refresh(&wide)).await;
        // A new role revokes all tokens, and with them the sessions.
        let change = async |role: &str| {
            let (path, patch) = ("/api/v1/users/anna", "application/merge-patch+json");
            let role = json!({"role": role});
            assert_eq!(admin.change("PATCH", path, patch, Some("*"), &role).await.status, 200);
        };
        change("viewer").await;
        assert_invalid(&renew(&client, &refresh(&wide)).await);
        assert_invalid(&renew(&client, &refresh(&write)).await);
        let read = start(&client, "movies:read movies:write").await;
        assert_eq!(read["scope"], "movies:read");
        // Without the revocation, as if the role were changed in the table.
        client.database().run_sql("UPDATE users SET role = 'editor' WHERE name = 'anna'").await;
        let both = renewed(&client, &refresh(&read)).await;
        assert_eq!(both["scope"], "movies:read movies:write");
        client.database().run_sql("DELETE FROM users WHERE name = 'anna'").await;
        assert_invalid(&renew(&client, &refresh(&both)).await);
        assert_revoked(&access(&client, &both)).await;
    })
    .await;
}

#[tokio::test]
async fn sessions_expire_and_expired_rows_are_deleted() {
    const DAY: i64 = 24 * 60 * 60;
    passwords_on_both(async |client| {
        let database = client.database();
        let store = database.open().await;
        let mut newest = start(&client, "").await;
        // Idle for just under a week, several times.
        for _ in 0..4 {
            pass(database, 7 * DAY - 60).await;
            newest = renewed(&client, &refresh(&newest)).await;
        }
        // The absolute limit of 30 days.
        pass(database, 2 * DAY + 300).await;
        assert_invalid(&renew(&client, &refresh(&newest)).await);
        assert!(!store.sweep_sessions().await.unwrap());
        assert_eq!(sessions(database).await, 1, "its last renewal is recent");
        pass(database, 5 * DAY).await;
        let idle = start(&client, "").await;
        assert!(!store.sweep_sessions().await.unwrap());
        assert_eq!(sessions(database).await, 1, "only the new one is left");
        pass(database, 7 * DAY + 60).await;
        assert_invalid(&renew(&client, &refresh(&idle)).await);
        assert!(!store.sweep_sessions().await.unwrap());
        assert_eq!(sessions(database).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_sessions() {
    passwords_on_both(async |client| {
        let database = client.database();
        let first = start(&client, "").await;
        pass(database, 60).await;
        let second = start(&client, "").await;
        let first = renewed(&client, &refresh(&first)).await;
        let now = database.rows("SELECT CAST(max(renewed_at) AS text) FROM cinequery_sessions");
        let now = now.await[0][0].clone().unwrap();
        let rows: Vec<String> = (0..98)
            .map(|n| format!("('{}', 'anna', '', 0, 0, '{now}', '{now}')", Uuid::from_u128(n)))
            .collect();
        let rows = rows.join(", ");
        database.run_sql(&format!("INSERT INTO cinequery_sessions VALUES {rows}")).await;
        assert_eq!(sessions(database).await, 100);
        start(&client, "").await;
        assert_eq!(sessions(database).await, 100);
        // The one that was not renewed for the longest time is gone, with its access tokens.
        assert_invalid(&renew(&client, &refresh(&second)).await);
        assert_revoked(&access(&client, &second)).await;
        renewed(&client, &refresh(&first)).await;
        assert_eq!(access(&client, &first).get(ME).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn revocations_end_sessions() {
    passwords_on_both(async |client| {
        let database = client.database();
        // All tokens of the user, also by an instance that knows no sessions.
        let session = start(&client, "").await;
        let own = access(&client, &session);
        let subject = json!({"subject": "anna"});
        assert_eq!(own.post("/api/v1/revocations", &subject).await.status, 204);
        assert_invalid(&renew(&client, &refresh(&session)).await);
        assert_revoked(&own).await;
        // The refresh token, with the access tokens of its session and of no other.
        let other = start(&client, "").await;
        let session = start(&client, "").await;
        let next = renewed(&client, &refresh(&session)).await;
        let before = sessions(database).await;
        for (token, hint) in [(refresh(&session), "refresh_token"), ("cqr_x".to_owned(), "x")] {
            let fields = [("token", token.as_str()), ("token_type_hint", hint)];
            let response = form(&client, REVOKE, &fields).await;
            assert_eq!((response.status, response.body.len()), (200, 0), "{response:?}");
        }
        assert_eq!(sessions(database).await, before - 1);
        assert_invalid(&renew(&client, &refresh(&next)).await);
        assert_revoked(&access(&client, &session)).await;
        assert_revoked(&access(&client, &next)).await;
        assert_eq!(access(&client, &other).get(ME).await.status, 200);
        renewed(&client, &refresh(&other)).await;
    })
    .await;
}

#[tokio::test]
async fn secrets_can_be_rotated() {
    let other = "another secret for tests, as long as the first";
    on_both(async |database| {
        let old = served(database).await;
        let app = instance(old.database(), &format!("{other}\n{SECRET}")).await;
        let both = Client::with_app(old.database().again(), app).await.with_token(None);
        let app = instance(old.database(), other).await;
        let new = Client::with_app(old.database().again(), app).await.with_token(None);
        let session = start(&old, "").await;
        assert_invalid(&renew(&new, &refresh(&session)).await);
        let next = renewed(&both, &refresh(&session)).await;
        assert_invalid(&renew(&old, &refresh(&next)).await);
        renewed(&new, &refresh(&next)).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_newer_than_the_database_ends_the_session() {
    passwords_on_both(async |client| {
        let session = start(&client, "").await;
        pass(client.database(), 11).await;
        let next = renewed(&client, &refresh(&session)).await;
        // As after a restore of a backup.
        client.database().run_sql("UPDATE cinequery_sessions SET generation = 0").await;
        assert_invalid(&renew(&client, &refresh(&next)).await);
        assert_invalid(&renew(&client, &refresh(&session)).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_as_a_refresh_token_is_rejected() {
    let database = Database::sqlite();
    let client = Arc::new(served(database).await);
    let good = refresh(&start(&client, "").await);
    let runtime = tokio::runtime::Handle::current();
    let check = move |text: &str| {
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                assert_invalid(&renew(&client, text).await);
                let revoked = form(&client, REVOKE, &[("token", text)]).await;
                assert_eq!(revoked.status, 200, "{text:?}");
            });
        });
    };
    for text in ["", "cqr_", "cqr_====", "cqr_A", "x.y.z", &format!("{good}A"), &good[..74]] {
        check(text);
    }
    // A change of any character.
    for at in 4..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        check(&String::from_utf8(changed).unwrap());
    }
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(text in "(cqr_)?(\\PC{0,80}|[A-Za-z0-9_-]{60,90})")| check(&text));
}

/// The header fields of a page of the service.
fn page(client: &Client, path: &str, cookie: Option<&str>) -> reqwest::RequestBuilder {
    let request = client.request("POST", path).header("origin", client.address());
    let request = request.header("sec-fetch-site", "same-origin");
    match cookie {
        Some(cookie) => request.header("cookie", format!("theme=dark; {cookie}")),
        None => request,
    }
}

const SIGN_IN: &str = "/api/v1/session/sign-in";
const RENEW: &str = "/api/v1/session/renew";
const SIGN_OUT: &str = "/api/v1/session/sign-out";

/// Returns the cookie that a response sets, without its attributes.
fn cookie(response: &Response) -> String {
    response.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_page_stays_signed_in_with_a_cookie() {
    passwords_on_both(async |client| {
        let credentials = json!({"username": "anna", "password": PASSWORD});
        let signed_in = client.send(page(&client, SIGN_IN, None).json(&credentials)).await;
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        assert_eq!(signed_in.header("cache-control"), "no-store");
        assert_eq!(signed_in.json().get("refresh_token"), None, "it is in the cookie only");
        let attributes = signed_in.header("set-cookie").split_once(';').unwrap().1;
        assert_eq!(attributes, " Max-Age=604800; HttpOnly; SameSite=Strict");
        let first = cookie(&signed_in);
        pass(client.database(), 11).await;
        let second = client.send(page(&client, RENEW, Some(&first))).await;
        assert_eq!(second.status, 200, "{second:?}");
        assert_ne!(cookie(&second), first);
        let token = access(&client, &second.json());
        assert_eq!(token.get(ME).await.json()["subject"], "anna");
        // A new sign-in ends the previous session of the browser.
        let again = page(&client, SIGN_IN, Some(&cookie(&second))).json(&credentials);
        let again = client.send(again).await;
        assert_eq!(again.status, 200);
        assert_eq!(sessions(client.database()).await, 1);
        assert_revoked(&token).await;
        let rejected = client.send(page(&client, RENEW, Some(&cookie(&second)))).await;
        rejected.problem(401, "unauthenticated");
        let removed = "cinequery_session=; Max-Age=0; HttpOnly; SameSite=Strict";
        assert_eq!(rejected.header("set-cookie"), removed);
        client.send(page(&client, RENEW, None)).await.problem(401, "unauthenticated");

        let token = access(&client, &again.json());
        for _ in 0..2 {
            let out = client.send(page(&client, SIGN_OUT, Some(&cookie(&again)))).await;
            assert_eq!((out.status, out.header("set-cookie")), (204, removed));
        }
        assert_eq!(client.send(page(&client, SIGN_OUT, None)).await.status, 204);
        assert_eq!(sessions(client.database()).await, 0);
        assert_revoked(&token).await;

        // With two cookies of the name, either may be from the service: signing out ends both sessions.
        let mut tokens = Vec::new();
        let mut both = Vec::new();
        for _ in 0..2 {
            let one = client.send(page(&client, SIGN_IN, None).json(&credentials)).await;
            tokens.push(access(&client, &one.json()));
            both.push(cookie(&one));
        }
        let both = both.join("; ");
        let rejected = client.send(page(&client, RENEW, Some(&both))).await;
        rejected.problem(401, "unauthenticated");
        assert_eq!(rejected.header("set-cookie"), removed);
        assert_eq!(sessions(client.database()).await, 2);
        assert_eq!(client.send(page(&client, SIGN_OUT, Some(&both))).await.status, 204);
        assert_eq!(sessions(client.database()).await, 0);
        for token in tokens {
            assert_revoked(&token).await;
        }

        // Over HTTPS the cookie has another name, and is sent over HTTPS only.
        let secure = client.request("POST", SIGN_IN).header("origin", "https://app.example");
        let secure = secure.header("sec-fetch-site", "same-origin").json(&credentials);
        let secure = client.send(secure).await;
        let name = "__Secure-cinequery_session=cqr_";
        assert!(secure.header("set-cookie").starts_with(name), "{secure:?}");
        assert!(secure.header("set-cookie").ends_with("; SameSite=Strict; Secure"));
    })
    .await;
}

/// Header fields of a request, and the expected status and code.
type Foreign<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn pages_of_other_origins_cannot_use_the_cookie() {
    passwords_on_both(async |client| {
        let credentials = json!({"username": "anna", "password": PASSWORD});
        let signed_in = client.send(page(&client, SIGN_IN, None).json(&credentials)).await;
        let cookie = cookie(&signed_in);
        let own = client.address().to_owned();
        let cases: &[Foreign<'_>] = &[
            (&[], 403, "cross_origin"),
            (&[("origin", "https://evil.example")], 403, "cross_origin"),
            // Another port of the same host is the same site, and gets the cookie.
            (&[("origin", "http://127.0.0.1:1")], 403, "cross_origin"),
            (&[("origin", "null")], 403, "cross_origin"),
            (&[("origin", &own), ("sec-fetch-site", "same-site")], 403, "cross_origin"),
            (&[("origin", &own), ("sec-fetch-site", "cross-site")], 403, "cross_origin"),
            (&[("origin", &own), ("sec-fetch-site", "none")], 403, "cross_origin"),
            (&[("origin", &own), ("content-type", "text/plain")], 415, "unsupported_media_type"),
        ];
        for path in [SIGN_IN, RENEW, SIGN_OUT] {
            for (fields, status, code) in cases {
                let mut request = client.request("POST", path).header("cookie", &cookie);
                for (name, value) in *fields {
                    request = request.header(*name, *value);
                }
                let response = client.send(request.body(credentials.to_string())).await;
                response.problem(*status, code);
                assert_eq!(response.header("set-cookie"), "", "{path} {fields:?}");
            }
            let simple = client.request("POST", path).header("origin", &own);
            let simple = simple.header("cookie", &cookie).form(&[("username", "anna")]);
            client.send(simple).await.problem(415, "unsupported_media_type");
        }
        assert_eq!(client.send(page(&client, RENEW, Some(&cookie))).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_on_a_page_does_not_reveal_users() {
    passwords_on_both(async |client| {
        let mut responses = Vec::new();
        for name in ["anna", "unknown", "un\u{0}known"] {
            let wrong = json!({"username": name, "password": OTHER});
            let response = client.send(page(&client, SIGN_IN, None).json(&wrong)).await;
            let mut problem = response.problem(401, "unauthenticated");
            problem["request_id"] = Value::Null;
            assert_eq!(response.header("set-cookie"), "");
            responses.push(problem);
        }
        responses.dedup();
        assert_eq!(responses.len(), 1);
    })
    .await;
    // Without passwords there is a token, and no session.
    served_on_both(async |client| {
        let client = client.with_token(None);
        let named = page(&client, SIGN_IN, None).json(&json!({"username": "anna"}));
        let named = client.send(named).await;
        assert_eq!(named.status, 200);
        assert!(named.header("set-cookie").starts_with("cinequery_session=; Max-Age=0"));
        assert_eq!(client.get("/api/v1/sign-in").await.json(), json!({"method": "open"}));
    })
    .await;
}

#[tokio::test]
async fn the_caller_is_described_and_changes_the_password() {
    passwords_on_both(async |client| {
        assert_eq!(client.get("/api/v1/sign-in").await.json(), json!({"method": "password"}));
        client.get(ME).await.problem(401, "unauthenticated");
        let session = start(&client, "movies:read movies:write").await;
        let own = access(&client, &session);
        let me = own.get(ME).await.json();
        assert_eq!(me["subject"], "anna");
        assert_eq!(me["role"], "editor");
        assert_eq!(me["scopes"], json!(["movies:read", "movies:write"]));
        assert_eq!(me["can_change_password"], true);
        let expires_at: chrono::DateTime<chrono::Utc> =
            serde_json::from_value(me["expires_at"].clone()).unwrap();
        let left = (expires_at - chrono::Utc::now()).num_seconds();
        assert!((590..=600).contains(&left), "{me}");

        let change = async |client: &Client, current: &str, new: &str| {
            let body = json!({"current_password": current, "new_password": new});
            let path = format!("{ME}/password");
            client.change("PUT", &path, "application/json", None, &body).await
        };
        change(&client, PASSWORD, OTHER).await.problem(401, "unauthenticated");
        change(&own, OTHER, OTHER).await.problem(403, "wrong_password");
        let short = change(&own, PASSWORD, "short").await.problem(400, "invalid_record");
        assert_eq!(short["errors"][0]["pointer"], "/new_password");
        change(&own, &"x".repeat(2000), OTHER).await.problem(403, "wrong_password");
        assert_eq!(own.get(ME).await.status, 200);
        let changed = change(&own, PASSWORD, OTHER).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(changed.header("cache-control"), "no-store");
        let next = access(&client, &changed.json());
        assert_eq!(changed.json()["scope"], "movies:read movies:write");
        assert_eq!(next.get(MOVIES).await.status, 200);
        assert_revoked(&own).await;
        assert_invalid(&renew(&client, &refresh(&session)).await);
        let old = json!({"username": "anna", "password": PASSWORD});
        client.post(TOKEN, &old).await.problem(401, "unauthenticated");
        let new = json!({"username": "anna", "password": OTHER});
        assert_eq!(client.post(TOKEN, &new).await.status, 200);
        assert_eq!(next.get(ME).await.status, 200);
        // A later revocation applies to the token of the change.
        let subject = json!({"subject": "anna"});
        assert_eq!(next.post("/api/v1/revocations", &subject).await.status, 204);
        assert_revoked(&next).await;
    })
    .await;
    served_on_both(async |client| {
        let me = client.get(ME).await.json();
        assert_eq!((&me["role"], &me["can_change_password"]), (&Value::Null, &json!(false)));
        let body = json!({"current_password": PASSWORD, "new_password": OTHER});
        let path = format!("{ME}/password");
        let response = client.change("PUT", &path, "application/json", None, &body).await;
        response.problem(409, "no_password");
    })
    .await;
}

#[tokio::test]
async fn parallel_changes_of_a_password_leave_one_of_them() {
    passwords_on_both(async |client| {
        let own = json!({"username": "anna", "password": PASSWORD});
        let own = access(&client, &client.post(TOKEN, &own).await.json());
        let changes = (0..4).map(|n| {
            let own = own.clone();
            async move {
                let new = format!("{OTHER} {n}");
                let body = json!({"current_password": PASSWORD, "new_password": new});
                let path = format!("{ME}/password");
                own.change("PUT", &path, "application/json", None, &body).await
            }
        });
        let responses = join_all(changes).await;
        let succeeded: Vec<usize> = (0..4).filter(|n| responses[*n].status == 200).collect();
        assert_eq!(succeeded.len(), 1, "{responses:?}");
        for response in responses.iter().filter(|response| response.status != 200) {
            // The password was changed in the meantime, or the token was revoked by that.
            assert!([401, 403].contains(&response.status), "{response:?}");
        }
        let new = format!("{OTHER} {}", succeeded[0]);
        let new = json!({"username": "anna", "password": new});
        assert_eq!(client.post(TOKEN, &new).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn guesses_of_the_current_password_are_limited_like_failed_sign_ins() {
    use cinequery::admission::{Admission, Proxies};
    on_both(async |database| {
        let store = database.store().await;
        let hasher = Hasher::new();
        let hash = hasher.hash(PASSWORD.to_owned()).await.unwrap();
        store.add_user("anna", &hash, "viewer", timestamp_now()).await.unwrap();
        let provider = Passwords::new(store.clone(), hasher, catalogue().schemas());
        let admission = Admission::local("600/min".parse().unwrap(), Proxies::default());
        let app = app_with(store, Box::new(provider), admission);
        let client = Client::with_app(database, app).await.with_token(None);
        let own = json!({"username": "anna", "password": PASSWORD});
        let own = access(&client, &client.post(TOKEN, &own).await.json());
        let change = async |current: &str| {
            let body = json!({"current_password": current, "new_password": OTHER});
            let path = format!("{ME}/password");
            own.change("PUT", &path, "application/json", None, &body).await
        };
        for _ in 0..10 {
            change("wrong").await.problem(403, "wrong_password");
        }
        change(PASSWORD).await.problem(429, "too_many_requests");
        // Renewals have a limit of their own, so that guesses of tokens end too: malformed ones, those with a wrong
        // signature, and cookies are counted together.
        let guess = format!("cqr_{}", "A".repeat(75));
        let attempts = (0..800).map(|number| {
            let (client, guess) = (&client, &guess);
            async move {
                match number % 3 {
                    0 => renew(client, "cqr_x").await,
                    1 => renew(client, guess).await,
                    _ => {
                        let cookie = format!("cinequery_session={guess}");
                        client.send(page(client, RENEW, Some(&cookie))).await
                    }
                }
            }
        });
        let responses = join_all(attempts).await;
        let limited = responses.iter().filter(|response| response.status == 429);
        // Ten more are admitted in each second.
        assert!((1..=200).contains(&limited.clone().count()), "{}", limited.count());
        for response in responses.iter().filter(|response| response.status == 429) {
            assert_eq!(response.header("set-cookie"), "", "the session goes on");
        }
    })
    .await;
}
