//! Users with passwords, on both engines.

use cinequery::clock::timestamp_now;
use cinequery::identity::{Hasher, Passwords, Role};
use serde_json::{Value, json};

use crate::support::{Client, Database, app_with, catalogue, on_both, unlimited};

const USERS: &str = "/api/v1/users";
const PASSWORD: &str = "correct horse battery";

/// Starts a service with an administrator, and returns a client with the administrator's token.
async fn served(database: Database) -> Client {
    let store = database.store().await;
    let hasher = Hasher::new();
    let hash = hasher.hash(PASSWORD.to_owned()).await.unwrap();
    store.add_user("admin", &hash, "admin", timestamp_now()).await.unwrap();
    let provider = Passwords::new(store.clone(), hasher.clone(), catalogue().schemas());
    let app = app_with(store, Box::new(provider), unlimited());
    let client = Client::with_app(database, app).await;
    let admin = sign_in(&client, "admin", PASSWORD).await;
    client.with_token(Some(admin["access_token"].as_str().unwrap().to_owned()))
}

async fn sign_in(client: &Client, username: &str, password: &str) -> Value {
    let credentials = json!({"username": username, "password": password});
    let response = client.with_token(None).post("/api/token", &credentials).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn a_user_is_created_signs_in_is_changed_and_deleted() {
    on_both(async |database| {
        let client = served(database).await;
        let anna = json!({"name": "Anna B", "password": PASSWORD, "role": "editor"});
        let added = client.post(USERS, &anna).await;
        assert_eq!((added.status, added.header("etag")), (201, "\"1\""), "{added:?}");
        let path = added.location();
        assert_eq!(path, format!("{USERS}/Anna%20B"));
        assert_eq!(
            (&added.json()["role"], &added.json()["password"]),
            (&json!("editor"), &Value::Null)
        );
        assert_eq!(client.get(&path).await.json(), added.json());
        let duplicate = client.post(USERS, &anna).await.problem(409, "duplicate");
        assert_eq!(duplicate["title"], "The name or key already exists");
        assert_eq!(duplicate["detail"], "the user \"Anna B\" already exists");

        let token = sign_in(&client, "Anna B", PASSWORD).await;
        let expected = "movies:read movies:write screenings:read screenings:write";
        assert_eq!(token["scope"], expected);
        let own = client.with_token(Some(token["access_token"].as_str().unwrap().to_owned()));
        assert_eq!(own.get("/api/v1/movies").await.status, 200);
        own.get(USERS).await.problem(403, "insufficient_scope");

        let patch = async |tag: Option<&str>, body: Value| {
            client.change("PATCH", &path, "application/merge-patch+json", tag, &body).await
        };
        patch(None, json!({"role": "viewer"})).await.problem(428, "precondition_required");
        patch(Some("\"2\""), json!({"role": "viewer"})).await.problem(412, "precondition_failed");
        let changed = patch(Some("\"1\""), json!({"role": "viewer"})).await;
        assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
        assert_eq!(
            sign_in(&client, "Anna B", PASSWORD).await["scope"],
            "movies:read screenings:read"
        );
        let other = "another horse battery";
        assert_eq!(patch(Some("*"), json!({"password": other})).await.status, 200);
        sign_in(&client, "Anna B", other).await;
        let old = json!({"username": "Anna B", "password": PASSWORD});
        client.post("/api/token", &old).await.problem(401, "unauthenticated");

        let page = client.get(&format!("{USERS}?limit=1")).await;
        assert_eq!(page.column("name"), ["Anna B"]);
        let after = page.json()["next_after"].as_str().unwrap().to_owned();
        let next = client.request("GET", USERS).query(&[("after", &*after)]);
        assert_eq!(client.send(next).await.column("name"), ["admin"]);

        assert_eq!(client.send(client.request("DELETE", &path)).await.status, 204);
        client.get(&path).await.problem(404, "not_found");
        client.post("/api/token", &old).await.problem(401, "unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_get_the_same_response() {
    on_both(async |database| {
        let client = served(database).await.with_token(None);
        let mut responses = Vec::new();
        for credentials in [
            json!({"username": "admin", "password": "wrong horse battery"}),
            json!({"username": "admin", "password": ""}),
            json!({"username": "admin"}),
            json!({"username": "admin", "password": "x".repeat(2000)}),
            json!({"username": "ADMIN", "password": PASSWORD}),
            json!({"username": "unknown", "password": PASSWORD}),
            json!({"username": "un\u{0}known", "password": PASSWORD}),
            json!({"username": "' or 1=1 --", "password": PASSWORD}),
            json!({"username": "\u{fb2c}".repeat(2_000), "password": PASSWORD}),
        ] {
            let response = client.post("/api/token", &credentials).await;
            let mut problem = response.problem(401, "unauthenticated");
            problem["request_id"] = Value::Null;
            let mut headers = response.headers.clone();
            headers.remove("x-request-id");
            headers.remove("date");
            responses.push((problem.to_string(), format!("{headers:?}")));
        }
        responses.dedup();
        assert_eq!(responses.len(), 1, "{responses:#?}");
    })
    .await;
}

#[tokio::test]
async fn invalid_users_are_rejected() {
    on_both(async |database| {
        let client = served(database).await;
        let draft = |name: &str, password: &str, role: &str| {
            json!({"name": name, "password": password, "role": role})
        };
        for (draft, pointer) in [
            (draft("", PASSWORD, "viewer"), "/name"),
            (draft("..", PASSWORD, "viewer"), "/name"),
            (draft("a\nb", PASSWORD, "viewer"), "/name"),
            (draft("a\u{0}b", PASSWORD, "viewer"), "/name"),
            (draft(&"x".repeat(101), PASSWORD, "viewer"), "/name"),
            // NFC turns each of these characters into two.
            (draft(&"\u{958}".repeat(51), PASSWORD, "viewer"), "/name"),
            (draft("anna", "short", "viewer"), "/password"),
            (draft("anna", &"x".repeat(1025), "viewer"), "/password"),
        ] {
            let problem = client.post(USERS, &draft).await.problem(400, "invalid_record");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
        client.post(USERS, &draft("anna", PASSWORD, "owner")).await.problem(400, "invalid_body");
        assert_eq!(client.get(USERS).await.column("name"), ["admin"]);
        for name in ["unknown", "a%00b", "%F0%9F%8E%AC"] {
            let path = format!("{USERS}/{name}");
            client.get(&path).await.problem(404, "not_found");
            let (media_type, role) = ("application/merge-patch+json", json!({"role": "viewer"}));
            let changed = client.change("PATCH", &path, media_type, Some("*"), &role).await;
            changed.problem(404, "not_found");
            client.send(client.request("DELETE", &path)).await.problem(404, "not_found");
        }
        client.get(&format!("{USERS}?after=%00")).await.problem(400, "invalid_parameter");
        client.with_token(None).get(USERS).await.problem(401, "unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn the_last_administrator_cannot_be_demoted_or_deleted() {
    on_both(async |database| {
        let client = served(database).await;
        let demote = async |name: &str| {
            let (path, media_type) = (format!("{USERS}/{name}"), "application/merge-patch+json");
            client.change("PATCH", &path, media_type, Some("*"), &json!({"role": "viewer"})).await
        };
        let remove = async |name: &str| {
            client.send(client.request("DELETE", &format!("{USERS}/{name}"))).await
        };
        demote("admin").await.problem(409, "last_administrator");
        remove("admin").await.problem(409, "last_administrator");
        assert_eq!(client.get(USERS).await.status, 200, "its tokens stay valid");
        // If both administrators are removed at the same time, one request fails.
        let second = json!({"name": "second", "password": PASSWORD, "role": "admin"});
        assert_eq!(client.post(USERS, &second).await.status, 201);
        let (one, other) = futures_util::join!(demote("admin"), remove("second"));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses[1], 409, "{statuses:?}");
    })
    .await;
}

#[tokio::test]
async fn an_empty_change_keeps_the_version() {
    let client = served(Database::sqlite()).await;
    let path = format!("{USERS}/admin");
    let patch = async |tag: &str, patch: Value| {
        client.change("PATCH", &path, "application/merge-patch+json", Some(tag), &patch).await
    };
    assert_eq!(patch("\"1\"", json!({})).await.header("etag"), "\"1\"");
    patch("\"2\"", json!({})).await.problem(412, "precondition_failed");
    for member in ["role", "password"] {
        let rejected = patch("\"1\"", json!({member: null})).await;
        let problem = rejected.problem(400, "invalid_record");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{member}"));
    }
}

#[test]
fn roles_are_sets_of_scopes() {
    let scopes = |role: Role| role.scopes(&[crate::support::movies()]).join(" ");
    assert_eq!(scopes(Role::Viewer), "movies:read");
    assert_eq!(scopes(Role::Editor), "movies:read movies:write");
    assert_eq!(scopes(Role::Admin), "movies:read movies:write admin");
}

#[tokio::test]
async fn passwords_are_hashed_with_argon2id() {
    let hasher = Hasher::new();
    let hash = hasher.hash(PASSWORD.to_owned()).await.unwrap();
    // The parameters that OWASP recommends: Argon2id with 19 MiB, two passes, one lane.
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(hash, hasher.hash(PASSWORD.to_owned()).await.unwrap(), "each has a salt of its own");
    for (password, hash, expected) in [
        (PASSWORD, Some(hash.clone()), true),
        ("wrong", Some(hash.clone()), false),
        (PASSWORD, None, false),
        (PASSWORD, Some("no hash".to_owned()), false),
    ] {
        assert_eq!(hasher.verify(password.to_owned(), hash).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn names_are_equal_in_every_unicode_normalization_form() {
    let database = Database::sqlite();
    let client = served(database).await;
    let rene = json!({"name": "Rene\u{301}", "password": PASSWORD, "role": "viewer"});
    assert_eq!(client.post(USERS, &rene).await.json()["name"], "Ren\u{e9}");
    sign_in(&client, "Ren\u{e9}", PASSWORD).await;
    sign_in(&client, "Rene\u{301}", PASSWORD).await;
}
