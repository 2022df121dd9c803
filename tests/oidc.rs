//! Tokens of an OpenID Connect issuer: verification, and what happens if the issuer changes its keys or is
//! unreachable.

use std::time::{Duration, Instant};

use cinequery::app::App;
use cinequery::error::Kind;
use cinequery::identity::{Ages, Hasher, Leeway, Oidc, PageClient, RoleClaim, Trust};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::command_line::{Service, cinequery, folder, run};
use crate::console;
use crate::contract::tools::succeed;
use crate::support::issuer::{AUDIENCE, AUTHORITY, Issuer, Key, Mood};
use crate::support::{Client, Database, catalogue, on_both, token, tokens, unlimited};

const MOVIES: &str = "/api/v1/movies";

/// Longer than a revocation or a change of keys takes in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short ages of keys, so that a test sees them expire.
const SHORT: Ages = Ages {
    fresh: Duration::from_millis(200),
    rest: Duration::from_millis(20),
    usable: Duration::from_secs(3600),
};

/// Starts a service that accepts the issuer's tokens, and returns a client without a token.
async fn served(database: Database, trust: Trust, ages: Ages) -> Client {
    let store = database.store().await;
    let provider = Oidc::new(trust, ages, catalogue().schemas()).unwrap();
    provider.prepare().await;
    let own = tokens(Duration::from_secs(600));
    let app = App::new(catalogue(), store, Box::new(provider), own, Hasher::new(), unlimited());
    Client::with_app(database, app).await.with_token(None)
}

/// Returns the status of a search with this token.
async fn status(client: &Client, token: String) -> u16 {
    let response = client.with_token(Some(token)).get(MOVIES).await;
    match response.status {
        200 => {}
        401 if response.json()["code"] == "token_expired" => {}
        401 => drop(response.problem(401, "unauthenticated")),
        403 => drop(response.problem(403, "insufficient_scope")),
        _ => drop(response.problem(503, "unavailable")),
    }
    response.status
}

/// Waits until a search with this token has that status.
async fn await_status(client: &Client, token: &str, expected: u16) {
    let started = Instant::now();
    while status(client, token.to_owned()).await != expected {
        assert!(started.elapsed() < PATIENCE, "expected status {expected} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A change of a valid token's claims, and the resulting scopes, or `None` if the token is rejected.
type Grant = (&'static str, fn(&mut Value), Option<&'static str>);

const ALL: &str = "movies:read movies:write screenings:read screenings:write admin";

const GRANTS: &[Grant] = &[
    ("scope", |_| {}, Some("movies:read")),
    ("unknown scopes", |c| c["scope"] = json!("openid movies:read x:y"), Some("movies:read")),
    ("no scope", |c| drop(c.as_object_mut().unwrap().remove("scope")), Some("")),
    ("scp as list", |c| c["scp"] = json!(["admin", "email"]), Some("movies:read admin")),
    ("scp as text", |c| c["scp"] = json!("movies:write email"), Some("movies:read movies:write")),
    ("viewer", |c| c["roles"] = json!(["viewer"]), Some("movies:read screenings:read")),
    (
        "editor",
        |c| c["roles"] = json!(["unheard of", "editor"]),
        Some("movies:read movies:write screenings:read screenings:write"),
    ),
    ("admin", |c| c["roles"] = json!(["admin"]), Some(ALL)),
    ("Admin", |c| c["roles"] = json!(["Admin"]), Some("movies:read")),
    ("several audiences", |c| c["aud"] = json!(["other", AUDIENCE]), Some("movies:read")),
    ("no jti", |c| drop(c.as_object_mut().unwrap().remove("jti")), Some("movies:read")),
    ("other claims", |c| c["email_verified"] = json!(true), Some("movies:read")),
    ("several issuers", |c| c["iss"] = json!([c["iss"]]), None),
    ("roles as text", |c| c["roles"] = json!("admin"), Some(ALL)),
    ("roles null", |c| c["roles"] = Value::Null, Some("movies:read")),
    ("scope as list", |c| c["scope"] = json!(["admin", "email"]), Some("admin")),
    (
        "fractions",
        |c| (c["iat"], c["exp"]) = (json!(1.5), json!(c["exp"].as_f64().unwrap() + 0.5)),
        Some("movies:read"),
    ),
    ("roles as object", |c| c["roles"] = json!({"admin": true}), None),
    ("roles with a number", |c| c["roles"] = json!(["admin", 1]), None),
    ("iat huge", |c| c["iat"] = json!(1e300), None),
    ("exp huge", |c| c["exp"] = json!(1e300), None),
    ("exp unsigned", |c| c["exp"] = json!(u64::MAX), None),
    ("iat negative", |c| c["iat"] = json!(-0.5), None),
    ("nbf negative", |c| c["nbf"] = json!(-1), None),
    ("nbf huge", |c| c["nbf"] = json!(1e300), None),
    ("scp as number", |c| c["scp"] = json!(1), None),
    ("jti with NUL", |c| c["jti"] = json!("a\u{0}"), None),
    ("jti very long", |c| c["jti"] = json!("x".repeat(300)), None),
    ("jti empty", |c| c["jti"] = json!(""), None),
    ("sub with a newline", |c| c["sub"] = json!("a\nb"), None),
    ("sub of 101 characters", |c| c["sub"] = json!("x".repeat(101)), None),
];

#[tokio::test]
async fn scopes_and_roles_are_mapped_to_scopes_of_the_service() {
    let (rsa, elliptic) = (Key::first(), Key::elliptic());
    let issuer = Issuer::with(&[&rsa, &elliptic]).await;
    let provider = Oidc::new(issuer.trust(), Ages::default(), catalogue().schemas()).unwrap();
    let own = tokens(Duration::from_secs(600));
    for key in [&rsa, &elliptic] {
        for (name, change, expected) in GRANTS {
            let token = issuer.token(key, change);
            let bearer = cinequery::identity::Provider::verify(&provider, &token, &own).await;
            let scopes = bearer.ok().map(|bearer| bearer.identity.scopes.join(" "));
            assert_eq!(scopes.as_deref(), *expected, "{name}");
        }
    }
    assert_eq!(issuer.requests(), 2, "the keys are kept");
}

#[tokio::test]
async fn the_clock_of_the_issuer_may_be_a_minute_ahead() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), issuer.trust(), Ages::default()).await;
    for (member, seconds, expected) in [
        ("exp", -3, 200),
        ("exp", -8, 401),
        ("nbf", 55, 200),
        ("nbf", 66, 401),
        ("iat", 55, 200),
        ("iat", 66, 401),
    ] {
        let moment = json!(chrono::Utc::now().timestamp() + seconds);
        let token = issuer.token(&key, |claims| claims[member] = moment);
        assert_eq!(status(&client, token).await, expected, "{member} {seconds}");
    }
}

#[tokio::test]
async fn invalid_tokens_are_rejected() {
    let (rsa, elliptic) = (Key::first(), Key::elliptic());
    let issuer = Issuer::with(&[&rsa, &elliptic]).await;
    // The long rest keeps unknown key ids from causing requests, however long the attacks take.
    let ages = Ages { rest: Duration::from_secs(3600), ..Ages::default() };
    let client = served(Database::sqlite(), issuer.trust(), ages).await;
    for key in [&rsa, &elliptic] {
        let good = issuer.good(key);
        assert_eq!(status(&client, good.token()).await, 200);
        for (name, token) in good.attacks() {
            assert_eq!(status(&client, token).await, 401, "{name}");
        }
        // A token of another type that is signed with the same key.
        for kind in ["logout+jwt", "dpop+jwt", "x"] {
            let mut other = issuer.good(key);
            other.header["typ"] = json!(kind);
            assert_eq!(status(&client, other.token()).await, 401, "{kind}");
        }
    }
    // Signed with one key under the id of the other: both are known, but with different algorithms.
    let mut crossed = issuer.good(&rsa);
    crossed.header["kid"] = json!(elliptic.id);
    assert_eq!(status(&client, crossed.token()).await, 401);
    // A token signed with the secret of this service.
    assert_eq!(status(&client, token(&["movies:read"])).await, 401);
    assert_eq!(issuer.requests(), 2, "unknown key ids cause no requests");
}

/// A change of a key's JWK, and whether the key is used after that.
type Use = (&'static str, fn(&mut Value), bool);

const KEYS: &[Use] = &[
    ("as it is", |_| {}, true),
    ("no use", |k| drop(k.as_object_mut().unwrap().remove("use")), true),
    ("no alg", |k| drop(k.as_object_mut().unwrap().remove("alg")), true),
    ("more members", |k| k["x5t"] = json!("x"), true),
    ("to verify", |k| k["key_ops"] = json!(["verify"]), true),
    ("to wrap", |k| k["key_ops"] = json!(["wrapKey"]), false),
    ("to encrypt", |k| k["use"] = json!("enc"), false),
    ("RS512", |k| k["alg"] = json!("RS512"), false),
    ("HS256", |k| k["alg"] = json!("HS256"), false),
    ("symmetric", |k| k["kty"] = json!("oct"), false),
    ("unknown kind", |k| k["kty"] = json!("XYZ"), false),
    ("no kid", |k| drop(k.as_object_mut().unwrap().remove("kid")), false),
    ("kid a number", |k| k["kid"] = json!(1), false),
    ("another curve", |k| k["crv"] = json!("P-384"), false),
    ("no numbers", |k| (k["n"], k["x"]) = (json!("!"), json!("!")), false),
    ("short numbers", |k| (k["n"], k["x"]) = (json!("AQAB"), json!("AQAB")), false),
    ("no object", |k| *k = json!("key"), false),
];

#[tokio::test]
async fn only_valid_signing_keys_are_used() {
    let (rsa, elliptic) = (Key::first(), Key::elliptic());
    let issuer = Issuer::with(&[]).await;
    let own = tokens(Duration::from_secs(600));
    let accepted = async |key: &Key, jwk: Value| {
        // An unusable key does not affect other keys.
        issuer.publish(vec![jwk, Key::second().jwk()]);
        let provider = Oidc::new(issuer.trust(), Ages::default(), catalogue().schemas()).unwrap();
        let token = issuer.token(key, |_| {});
        let other = issuer.token(&Key::second(), |_| {});
        let verify = async |token: &str| {
            cinequery::identity::Provider::verify(&provider, token, &own).await.is_ok()
        };
        assert!(verify(&other).await);
        verify(&token).await
    };
    for key in [&rsa, &elliptic] {
        for (name, change, expected) in KEYS {
            let mut jwk = key.jwk();
            change(&mut jwk);
            // `crv` is ignored in an RSA key.
            let expected =
                *expected || *name == "another curve" && key.algorithm == Algorithm::RS256;
            assert_eq!(accepted(key, jwk).await, expected, "{name}");
        }
    }
    assert!(!accepted(&Key::weak(), Key::weak().jwk()).await, "1024 bits");
}

#[tokio::test]
async fn added_keys_are_accepted_and_removed_keys_rejected() {
    on_both(async |database| {
        let (old, new) = (Key::first(), Key::second());
        let issuer = Issuer::with(&[&old]).await;
        let client = served(database, issuer.trust(), SHORT).await;
        let (by_old, by_new) = (issuer.token(&old, |_| {}), issuer.token(&new, |_| {}));
        assert_eq!(status(&client, by_old.clone()).await, 200);
        issuer.publish(vec![old.jwk(), new.jwk()]);
        tokio::time::sleep(SHORT.rest).await;
        assert_eq!(status(&client, by_new.clone()).await, 200);
        assert_eq!(status(&client, by_old.clone()).await, 200);
        issuer.publish(vec![new.jwk()]);
        await_status(&client, &by_old, 401).await;
        assert_eq!(status(&client, by_new).await, 200);
    })
    .await;
}

#[tokio::test]
async fn unknown_key_ids_cause_one_request_to_the_issuer() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    let ages = Ages { rest: Duration::from_secs(2), ..Ages::default() };
    let client = served(Database::sqlite(), issuer.trust(), ages).await;
    tokio::time::sleep(ages.rest).await;
    // The issuer is slow, so that all requests arrive before it responds.
    issuer.behave(Mood::Slow(Duration::from_millis(100)));
    let before = issuer.requests();
    let made_up = |number: u32| {
        let mut good = issuer.good(&key);
        good.header["kid"] = json!(format!("made up {number}"));
        status(&client, good.token())
    };
    let statuses = futures_util::future::join_all((0..50).map(made_up)).await;
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(issuer.requests() - before, 2, "one for the discovery document, one for the keys");
    // During the rest no further request waits for the issuer.
    issuer.behave(Mood::Slow(PATIENCE));
    assert_eq!(made_up(50).await, 401);
    assert_eq!(issuer.requests() - before, 2);
}

#[tokio::test]
async fn cached_keys_are_used_while_the_issuer_is_unreachable() {
    on_both(async |database| {
        let key = Key::first();
        let mut issuer = Issuer::with(&[&key]).await;
        let ages = Ages { usable: Duration::from_secs(4), ..SHORT };
        let client = served(database, issuer.trust(), ages).await;
        let token = issuer.token(&key, |_| {});
        assert_eq!(status(&client, token.clone()).await, 200);
        issuer.stop().await;
        tokio::time::sleep(ages.fresh * 2).await;
        assert_eq!(status(&client, token.clone()).await, 200, "the keys are not fresh, but usable");
        await_status(&client, &token, 503).await;
        let problem = client.with_token(Some(token)).get(MOVIES).await.problem(503, "unavailable");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&issuer.name) && detail.contains("cannot fetch the keys"),
            "{detail}"
        );
    })
    .await;
}

#[tokio::test]
async fn requests_do_not_wait_for_an_issuer_that_has_failed() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), issuer.trust(), SHORT).await;
    issuer.behave(Mood::Failing);
    tokio::time::sleep(SHORT.fresh).await;
    assert_eq!(status(&client, issuer.token(&key, |_| {})).await, 200);
    issuer.behave(Mood::Slow(PATIENCE));
    let started = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(SHORT.rest).await;
        assert_eq!(status(&client, issuer.token(&key, |_| {})).await, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn invalid_responses_of_the_issuer_are_rejected() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    issuer.behave(Mood::Failing);
    let client = served(Database::sqlite(), issuer.trust(), SHORT).await;
    let token = issuer.token(&key, |_| {});
    let wrong: &[(&str, &dyn Fn())] = &[
        ("failing", &|| issuer.behave(Mood::Failing)),
        ("garbage", &|| issuer.behave(Mood::Garbage)),
        ("endless", &|| issuer.behave(Mood::Endless)),
        ("redirecting", &|| issuer.behave(Mood::Redirecting)),
        ("slow", &|| issuer.behave(Mood::Slow(PATIENCE))),
        ("another issuer", &|| issuer.rename("https://issuer.example")),
        ("almost the same issuer", &|| issuer.rename(&format!("{}/", issuer.name))),
        ("keys in the clear", &|| issuer.point_to("http://issuer.example/keys")),
        ("keys in a file", &|| issuer.point_to("file:///etc/hosts")),
        ("keys nowhere", &|| issuer.point_to("keys")),
    ];
    for (name, change) in wrong {
        println!("{name}");
        change();
        tokio::time::sleep(SHORT.rest).await;
        assert_eq!(status(&client, token.clone()).await, 503, "{name}");
        // A malformed token is rejected without the issuer.
        assert_eq!(status(&client, "x.y.z".to_owned()).await, 401);
        issuer.behave(Mood::Well);
        if matches!(*name, "another issuer" | "almost the same issuer") {
            tokio::time::sleep(SHORT.rest).await;
            assert_eq!(status(&client, token.clone()).await, 503, "{name}");
        }
        issuer.rename(&issuer.name);
        if !name.starts_with("keys") {
            continue;
        }
        issuer.point_to("http://localhost:1/keys");
    }
    issuer.point_to(&format!("{}/keys", issuer.name));
    await_status(&client, &token, 200).await;
    // With a configured URL of the keys, only that is requested.
    issuer.rename("https://issuer.example");
    let trust = Trust { jwks: Some(format!("{}/keys", issuer.name)), ..issuer.trust() };
    let before = issuer.requests();
    let client = served(Database::sqlite(), trust, Ages::default()).await;
    assert_eq!(status(&client, token).await, 200);
    assert_eq!(issuer.requests() - before, 1);
}

#[tokio::test]
async fn an_issuer_with_tls_needs_a_trusted_authority() {
    let key = Key::first();
    let issuer = Issuer::with_tls(&[&key]).await;
    for (authorities, expected) in [(None, 503), (Some(AUTHORITY.to_vec()), 200)] {
        let trust = Trust { authorities, ..issuer.trust() };
        let client = served(Database::sqlite(), trust, Ages::default()).await;
        assert_eq!(status(&client, issuer.token(&key, |_| {})).await, expected);
    }
}

#[tokio::test]
async fn a_sign_in_with_a_password_returns_the_issuer() {
    let issuer = Issuer::with(&[]).await;
    let client = served(Database::sqlite(), issuer.trust(), Ages::default()).await;
    let credentials = json!({"username": "anna", "password": "correct horse battery"});
    let response = client.post("/api/token", &credentials).await;
    let problem = response.problem(400, "sign_in_elsewhere");
    assert!(problem["detail"].as_str().unwrap().contains(&issuer.name), "{problem}");
    let form = [("grant_type", "password"), ("username", "anna"), ("password", "x")];
    let response = client.send(client.request("POST", "/api/token").form(&form)).await;
    let problem = response.problem(400, "unsupported_grant_type");
    assert!(problem["error_description"].as_str().unwrap().contains(&issuer.name), "{problem}");
}

#[tokio::test]
async fn tokens_of_the_issuer_can_be_revoked() {
    on_both(async |database| {
        let key = Key::first();
        let issuer = Issuer::with(&[&key]).await;
        let client = served(database, issuer.trust(), Ages::default()).await;
        let of = |name: &str| {
            let name = name.to_owned();
            issuer.token(&key, |claims| claims["sub"] = json!(name))
        };
        let (one, other) = (of("anna"), of("anna"));
        let revoke = client.request("POST", "/api/token/revoke").form(&[("token", &one)]);
        assert_eq!(client.send(revoke).await.status, 200);
        await_status(&client, &one, 401).await;
        assert_eq!(status(&client, other.clone()).await, 200);
        // All tokens of a user are revoked, in every Unicode normalization form of the name.
        let (rene, composed) = ("Rene\u{301}", "Ren\u{e9}");
        let (theirs, same) = (of(rene), of(composed));
        let path = "/api/v1/revocations";
        let admin = issuer.token(&key, |claims| claims["scope"] = json!("admin"));
        let admin = client.with_token(Some(admin));
        let by_other = client.with_token(Some(other.clone()));
        let body = json!({"subject": rene});
        by_other.post(path, &body).await.problem(403, "insufficient_scope");
        assert_eq!(admin.post(path, &body).await.status, 204);
        await_status(&client, &theirs, 401).await;
        await_status(&client, &same, 401).await;
        assert_eq!(status(&client, other).await, 200);
        // The clock of the issuer may be a minute ahead. So a token with `iat` within the next minute may have been
        // issued before the revocation; one with a later `iat` was not.
        let issued_in = |seconds: i64| {
            issuer.token(&key, |claims| {
                claims["sub"] = json!(rene);
                claims["iat"] = json!(chrono::Utc::now().timestamp() + seconds);
            })
        };
        assert_eq!(status(&client, issued_in(30)).await, 401);
        await_status(&client, &issued_in(61), 200).await;
    })
    .await;
}

#[tokio::test]
async fn the_service_is_started_with_an_issuer() {
    on_both(async |database| {
        let (rsa, elliptic) = (Key::first(), Key::elliptic());
        let issuer = Issuer::with(&[&rsa, &elliptic]).await;
        let folder = folder();
        // No secret is needed on either engine.
        let settings = ["serve", "--auth", "oidc", "--listen", "127.0.0.1:0", "--database"];
        let url = database.url();
        let mut command = cinequery(folder.path(), &[&settings[..], &[&url]].concat());
        command.env("CINEQUERY_OIDC_ISSUER", &issuer.name);
        command.env("CINEQUERY_OIDC_AUDIENCE", AUDIENCE);
        let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
        let client = Client::at(service.address.clone());
        assert_eq!(issuer.requests(), 2, "it fetches the keys before the first request");
        for key in [&rsa, &elliptic] {
            assert_eq!(status(&client, issuer.token(key, |_| {})).await, 200);
        }
        assert_eq!(status(&client, token(&["movies:read"])).await, 401);
    })
    .await;
}

#[tokio::test]
async fn the_service_starts_while_the_issuer_is_unreachable() {
    let mut issuer = Issuer::with(&[]).await;
    issuer.stop().await;
    let folder = folder();
    let (auth, listen) = (["serve", "--auth", "oidc"], ["--listen", "127.0.0.1:0"]);
    let trust = ["--oidc-issuer", &issuer.name, "--oidc-audience", AUDIENCE];
    let command = cinequery(folder.path(), &[&auth[..], &listen, &trust].concat());
    let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
    let client = Client::at(service.address.clone());
    assert_eq!(status(&client, issuer.token(&Key::first(), |_| {})).await, 503);
}

#[test]
fn invalid_settings_are_rejected() {
    let folder = folder();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("broken.pem"), broken).unwrap();
    let issuer = ["--oidc-issuer", "https://issuer.example"];
    let audience = ["--oidc-audience", AUDIENCE];
    let both = [issuer, audience].concat();
    let and = |more: &[&'static str]| [&both[..], more].concat();
    let of = |issuer: &'static str| [&["--oidc-issuer", issuer][..], &audience].concat();
    let cases: &[(Vec<&str>, &str)] = &[
        (vec![], "--auth oidc needs --oidc-issuer"),
        (issuer.to_vec(), "--auth oidc needs --oidc-audience"),
        (audience.to_vec(), "--auth oidc needs --oidc-issuer"),
        ([&issuer[..], &["--oidc-audience", ""]].concat(), "--auth oidc needs --oidc-audience"),
        (of("issuer.example"), "must be a URL"),
        (of("http://issuer.example"), "must start with https://"),
        (of("http://127.0.0.1.issuer.example"), "must start with https://"),
        (of("http://10.0.0.1"), "must start with https://"),
        (of("ftp://127.0.0.1"), "must start with https://"),
        (of("https://joe:secret@issuer.example"), "must not contain a user name or a password"),
        (of("http://joe:secret@issuer.example"), "must start with https://"),
        (of("joe:secret@issuer.example"), "must start with https://"),
        (of("https://issuer.example "), "must not contain spaces"),
        (of("https://issuer.example/?tenant=1"), "a query or a fragment"),
        (of("https://issuer.example/#x"), "a query or a fragment"),
        (and(&["--oidc-jwks", "keys.json"]), "--oidc-jwks must be a URL"),
        (and(&["--oidc-jwks", "http://issuer.example/keys"]), "--oidc-jwks"),
        (and(&["--oidc-ca-file", "none.pem"]), "none.pem"),
        (
            and(&["--oidc-ca-file", "empty.pem"]),
            "--oidc-ca-file: expected a certificate (PEM), found none",
        ),
        (and(&["--oidc-ca-file", "broken.pem"]), "--oidc-ca-file"),
    ];
    for (settings, expected) in cases {
        for command in ["serve", "check"] {
            let start = [command, "--auth", "oidc", "--listen", "127.0.0.1:0"];
            let (code, out, log) = run(folder.path(), &[&start[..], settings].concat());
            let printed = format!("{out}{log}");
            assert_eq!((code, printed.contains(expected)), (1, true), "{settings:?}: {printed}");
            assert!(!printed.contains("secret@"), "{printed}");
        }
    }
    // `check` neither sends requests to the issuer nor needs a secret.
    for more in [vec![], vec!["--oidc-jwks", "http://[::1]:9/keys"]] {
        let database = ["--database", "postgres://test@127.0.0.1:1/none"];
        let start = [&["check", "--auth", "oidc"][..], &database, &both, &more].concat();
        let (code, out, _) = run(folder.path(), &start);
        assert_eq!(code, 3, "{out}");
        assert!(out.starts_with("configuration  ok"), "{out}");
    }
}

/// The settings of the claim and of its values, a change of a valid token's claims, and the resulting scopes or a part of why the
/// token is rejected.
type ClaimCase = (
    Option<&'static str>,
    Option<&'static str>,
    fn(&mut Value),
    Result<&'static str, &'static str>,
);

const READ: &str = "movies:read screenings:read";
const WRITE: &str = "movies:read movies:write screenings:read screenings:write";

const CLAIMS: &[ClaimCase] = &[
    (None, None, |c| c["roles"] = json!(["editor"]), Ok(WRITE)),
    // Keycloak.
    (
        Some("realm_access.roles"),
        None,
        |c| c["realm_access"] = json!({"roles": ["offline_access", "editor"]}),
        Ok(WRITE),
    ),
    (
        Some("resource_access.my.client.roles"),
        None,
        |c| c["resource_access"] = json!({"my.client": {"roles": ["viewer"]}}),
        Ok(READ),
    ),
    // Auth0.
    (
        Some("permissions"),
        Some("read:movies=viewer"),
        |c| c["permissions"] = json!(["read:movies"]),
        Ok(READ),
    ),
    (
        Some("https://example.com/roles"),
        None,
        |c| c["https://example.com/roles"] = json!("admin"),
        Ok(ALL),
    ),
    // Entra and Okta.
    (
        Some("groups"),
        Some("8d6f0d1e-0000-4000-8000-000000000000=editor, Catalogue Readers = viewer"),
        |c| c["groups"] = json!(["Catalogue Readers", "Everyone"]),
        Ok(READ),
    ),
    (Some("groups"), Some("a=b=viewer"), |c| c["groups"] = json!("x a=b"), Ok(READ)),
    // The whole name comes before the path.
    (
        Some("a.b"),
        None,
        |c| (c["a.b"], c["a"]) = (json!("viewer"), json!({"b": "admin"})),
        Ok(READ),
    ),
    // Of several roles all count.
    (Some("roles"), None, |c| c["roles"] = json!(["viewer", "admin"]), Ok(ALL)),
    // Another claim, or another value, is no role.
    (Some("groups"), None, |c| c["roles"] = json!(["admin"]), Ok("")),
    (
        Some("groups"),
        Some("staff=viewer"),
        |c| c["groups"] = json!(["admin", "editor", "Staff"]),
        Ok(""),
    ),
    (Some("a.b"), None, |c| c["a"] = json!("admin"), Ok("")),
    (Some("a.b.c"), None, |c| c["a"] = json!({"b": ["c"]}), Ok("")),
    (Some("a"), None, |c| c["a"] = json!([["admin"]]), Err("a[]")),
    (
        Some("a"),
        None,
        |c| c["a"] = json!(true),
        Err("must be a string or a list of strings, found a boolean"),
    ),
    (Some("a.b"), None, |c| c["a"] = json!({"b": 1.5}), Err("the claim a.b of the token must be")),
    (
        None,
        None,
        |c| c["exp"] = json!("soon"),
        Err("the claim exp of the token must be a number of seconds"),
    ),
    (None, None, |c| c["iat"] = json!(-7), Err("found -7")),
    (None, None, |c| drop(c.as_object_mut().unwrap().remove("exp")), Err("the token has no exp")),
];

#[tokio::test]
async fn roles_are_found_in_the_configured_claim() {
    let key = Key::elliptic();
    let issuer = Issuer::with(&[&key]).await;
    let own = tokens(Duration::from_secs(600));
    for (name, values, change, expected) in CLAIMS {
        let roles = RoleClaim::new(*name, *values).unwrap();
        let trust = Trust { roles, ..issuer.trust() };
        let provider = Oidc::new(trust, Ages::default(), catalogue().schemas()).unwrap();
        let token = issuer.token(&key, |claims| {
            claims["scope"] = json!("openid");
            change(claims);
        });
        let found = cinequery::identity::Provider::verify(&provider, &token, &own).await;
        match (found, expected) {
            (Ok(bearer), Ok(scopes)) => {
                assert_eq!(bearer.identity.scopes.join(" "), *scopes, "{name:?} {values:?}");
            }
            (Err(error), Err(part)) => assert!(error.chain().contains(part), "{}", error.chain()),
            (found, _) => panic!("{name:?} {values:?}: {found:?}"),
        }
    }
}

#[test]
fn role_claims_are_validated() {
    let long = "x".repeat(201);
    for (name, values, part) in [
        (Some(""), None, "--oidc-roles-claim: expected the name of a claim"),
        (Some("a\nb"), None, "--oidc-roles-claim"),
        (Some(long.as_str()), None, "of at most 200 bytes"),
        (None, Some(""), "--oidc-roles: expected VALUE=ROLE"),
        (
            None,
            Some("editor"),
            "expected VALUE=ROLE such as catalogue-editors=editor, found \"editor\"",
        ),
        (None, Some("=editor"), "expected VALUE=ROLE"),
        (None, Some("a=editor,"), "expected VALUE=ROLE"),
        (None, Some("a=owner"), "unknown role \"owner\" for \"a\""),
        (None, Some("CN=Editors,OU=Staff=editor"), "unknown role \"Editors\""),
        (None, Some("a=editor,a=viewer"), "\"a\" appears twice"),
    ] {
        let error = RoleClaim::new(name, values).unwrap_err();
        assert!(error.contains(part), "{name:?} {values:?}: {error}");
    }
}

#[tokio::test]
async fn the_leeway_is_a_setting() {
    let key = Key::elliptic();
    let issuer = Issuer::with(&[&key]).await;
    let own = tokens(Duration::from_secs(600));
    for (clock_skew, expiry, member, seconds, expected) in [
        (0, 0, "exp", -2, Err(Kind::TokenExpired)),
        (0, 0, "iat", 5, Err(Kind::Unauthenticated)),
        (0, 0, "nbf", 5, Err(Kind::Unauthenticated)),
        (300, 300, "exp", -290, Ok(())),
        (300, 300, "exp", -310, Err(Kind::TokenExpired)),
        (300, 0, "iat", 290, Ok(())),
        (300, 0, "nbf", 310, Err(Kind::Unauthenticated)),
    ] {
        let trust = Trust { leeway: Leeway { clock_skew, expiry }, ..issuer.trust() };
        let provider = Oidc::new(trust, Ages::default(), catalogue().schemas()).unwrap();
        let moment = json!(chrono::Utc::now().timestamp() + seconds);
        let token = issuer.token(&key, |claims| claims[member] = moment);
        let found = cinequery::identity::Provider::verify(&provider, &token, &own).await;
        let found = found.map(drop).map_err(|error| error.kind);
        assert_eq!(found, expected, "{clock_skew} {expiry} {member} {seconds}");
    }
    let trust = Trust { leeway: Leeway { clock_skew: 301, expiry: 0 }, ..issuer.trust() };
    assert!(Oidc::new(trust, Ages::default(), catalogue().schemas()).is_err());
}

/// A token that the issuer has signed for this service and that has expired can be renewed. No other is one to renew.
#[tokio::test]
async fn only_a_genuine_token_has_expired() {
    let key = Key::elliptic();
    let issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), issuer.trust(), Ages::default()).await;
    let expired = |change: fn(&mut Value)| {
        issuer.token(&key, |claims| {
            claims["exp"] = json!(chrono::Utc::now().timestamp() - 60);
            change(claims);
        })
    };
    let genuine = expired(|_| {});
    let (signed, signature) = genuine.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for (token, code) in [
        (genuine.clone(), "token_expired"),
        (expired(|claims| claims["aud"] = json!("another")), "unauthenticated"),
        (expired(|claims| claims["iss"] = json!("https://another.example")), "unauthenticated"),
        (expired(|claims| claims["sub"] = json!("")), "unauthenticated"),
        (expired(|claims| claims["sub"] = json!("anonymous")), "unauthenticated"),
        (expired(|claims| claims["iat"] = json!(4_000_000_000_u64)), "unauthenticated"),
        (forged, "unauthenticated"),
    ] {
        client.with_token(Some(token)).get(MOVIES).await.problem(401, code);
    }
    // To sign out with it is no error.
    let form = [("token", genuine.as_str())];
    let signed_out = client.request("POST", "/api/token/revoke").form(&form);
    assert_eq!(client.send(signed_out).await.status, 200);
}

#[tokio::test]
async fn the_log_says_why_a_token_grants_nothing() {
    let key = Key::elliptic();
    let issuer = Issuer::with(&[&key]).await;
    let folder = folder();
    let trust = ["--oidc-issuer", &issuer.name, "--oidc-audience", AUDIENCE];
    let roles = ["--oidc-roles-claim", "realm_access.roles", "--oidc-roles", "staff=viewer"];
    let start = ["serve", "--auth", "oidc", "--listen", "127.0.0.1:0"];
    let command = cinequery(folder.path(), &[&start[..], &trust, &roles].concat());
    let service = tokio::task::spawn_blocking(|| Service::start(command)).await.unwrap();
    let client = Client::at(service.address.clone());
    let with = |claim: Option<Value>| {
        issuer.token(&key, |claims| {
            claims["scope"] = json!("openid");
            if let Some(claim) = claim {
                claims["realm_access"] = claim;
            }
        })
    };
    assert_eq!(status(&client, with(Some(json!({"roles": ["staff"]})))).await, 200);
    assert_eq!(status(&client, with(Some(json!({"roles": ["visitor"]})))).await, 403);
    assert_eq!(status(&client, with(None)).await, 403);
    assert_eq!(status(&client, with(Some(json!({"roles": 1})))).await, 401);
    let log = tokio::task::spawn_blocking(move || service.whole_log()).await.unwrap();
    for part in [
        "no value of its claim realm_access.roles is mapped to a role: visitor",
        "it has no claim realm_access.roles with roles",
        "the claim realm_access.roles of the token must be a string or a list of strings, found 1",
    ] {
        let line = log.lines().find(|line| line.contains(part)).expect(part);
        assert!(line.contains("WARN"), "{line}");
        let reason = if part.contains("must be") { "claim" } else { "scope" };
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    }
}

const POLICY: &str = "content-security-policy";

/// Returns the trust in an issuer at which pages sign users in.
fn with_page(issuer: &Issuer) -> Trust {
    let scope = "openid movies:read".to_owned();
    Trust { page: Some(PageClient { id: "pages".to_owned(), scope }), ..issuer.trust() }
}

#[tokio::test]
async fn a_page_signs_users_in_with_an_authorization_code() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), with_page(&issuer), Ages::default()).await;
    let method = client.get("/api/v1/sign-in").await.json();
    let name = &issuer.name;
    let expected = json!({
        "method": "oidc", "client_id": "pages", "scope": "openid movies:read",
        "authorization_endpoint": format!("{name}/authorize"), "token_endpoint": format!("{name}/token"),
    });
    assert_eq!(method, expected);
    // The page may connect to the issuer, and to nothing else.
    let page = client.get("/docs").await;
    let allowed = format!("connect-src 'self' {name};");
    assert!(page.header(POLICY).contains(&allowed), "{page:?}");
    let redirected = client.get("/docs/oauth2-redirect?code=x&state=y&iss=z").await;
    assert_eq!(redirected.status, 200);
    assert!(redirected.header(POLICY).contains("connect-src 'self';"));
    assert_eq!(redirected.header("referrer-policy"), "no-referrer");
    let script = String::from_utf8(redirected.body).unwrap();
    let script = script.split("src=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(client.get(&format!("/docs/{script}")).await.status, 200);

    // What the page does: RFC 7636, appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    issuer.grant(issuer.token(&key, |_| {}));
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let browser = browser.build().unwrap();
    let target = format!("{}/docs/oauth2-redirect", client.address());
    let token = async |verifier: &str| -> Value {
        let authorize = [
            ("response_type", "code"),
            ("client_id", "pages"),
            ("redirect_uri", &target),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("state", "s"),
        ];
        let endpoint = method["authorization_endpoint"].as_str().unwrap();
        let sent = browser.get(endpoint).query(&authorize).send().await.unwrap();
        let location = sent.headers()["location"].to_str().unwrap().to_owned();
        let back = reqwest::Url::parse(&location).unwrap();
        assert!(location.starts_with(&format!("{target}?code=")), "{location}");
        let code = back.query_pairs().next().unwrap().1.into_owned();
        let exchange = [
            ("grant_type", "authorization_code"),
            ("client_id", "pages"),
            ("redirect_uri", &target),
            ("code", &code),
            ("code_verifier", verifier),
        ];
        let endpoint = method["token_endpoint"].as_str().unwrap();
        browser.post(endpoint).form(&exchange).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(token("another verifier").await["error"], "invalid_grant");
    let token = token(verifier).await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(status(&client, token.clone()).await, 200);
    let me = client.with_token(Some(token)).get("/api/v1/me").await.json();
    assert_eq!((&me["subject"], &me["can_change_password"]), (&json!("anna"), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `make console`"]
async fn the_pages_sign_users_in_in_a_browser() {
    let key = Key::first();
    let issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), with_page(&issuer), Ages::default()).await;
    issuer.grant(issuer.token(&key, |_| {}));
    let url = client.address().to_owned();
    let clicks = move || {
        let mut clicks = console::playwright("issuer", "issuer");
        println!("{}", succeed(clicks.env("CINEQUERY_URL", url)));
    };
    tokio::task::spawn_blocking(clicks).await.unwrap();
}

#[tokio::test]
async fn pages_offer_no_sign_in_without_a_client_id_or_an_issuer() {
    let key = Key::first();
    let mut issuer = Issuer::with(&[&key]).await;
    let client = served(Database::sqlite(), issuer.trust(), Ages::default()).await;
    assert_eq!(client.get("/api/v1/sign-in").await.json(), json!({"method": "oidc"}));
    let policy = client.get("/docs").await.header(POLICY).to_owned();
    assert!(policy.contains("connect-src 'self';"), "{policy}");
    // Keys from another place than the discovery document.
    let keys = Trust { jwks: Some(format!("{}/keys", issuer.name)), ..with_page(&issuer) };
    let client = served(Database::sqlite(), keys, Ages::default()).await;
    assert_eq!(client.get("/api/v1/sign-in").await.json()["client_id"], "pages");
    let trust = with_page(&issuer);
    issuer.stop().await;
    let client = served(Database::sqlite(), trust, SHORT).await;
    client.get("/api/v1/sign-in").await.problem(503, "unavailable");
    let page = client.get("/docs").await;
    assert_eq!((page.status, page.header(POLICY)), (200, policy.as_str()));
    // Neither sessions nor passwords are kept here.
    let sign_in = client.request("POST", "/api/v1/session/sign-in");
    let sign_in = sign_in.header("origin", client.address()).json(&json!({"username": "anna"}));
    client.send(sign_in).await.problem(400, "sign_in_elsewhere");
}
