//! Authorization: every documented operation with every role.

use std::collections::BTreeMap;

use cinequery::http::specification;
use cinequery::identity::Role;
use cinequery::record::{BUILT_IN, Catalogue};
use serde_json::Value;

use crate::support::records::{SCREENINGS, declared};
use crate::support::{Client, Database, served_on_both};

/// The operations that require no token. Add an operation only with a good reason.
const PUBLIC: &[&str] = &[
    "endSession",
    "getLiveness",
    "getReadiness",
    "getSignInMethod",
    "renewSession",
    "signIn",
    "signOut",
    "startSession",
];

/// Those of them that only pages of the service may use. `tests/sessions.rs` has their rules.
const OF_PAGES: &[&str] = &["endSession", "renewSession", "startSession"];

/// The operations that require a token, but no scope.
const ANY_TOKEN: &[&str] = &["changePassword", "getMe", "getSchema", "getUsage", "revokeTokens"];

/// Returns the published table: the requirement of each operation, by method and path, and operation id.
fn published() -> BTreeMap<(String, String), String> {
    let page = include_str!("../docs/security.md");
    let (_, table) = page.split_once("| operation | id | needs |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")));
    cells
        .map(|mut cells| {
            let mut next = || cells.next().unwrap();
            next();
            ((next(), next()), next())
        })
        .collect()
}

/// Returns the same from the OpenAPI document, with the operation.
fn specified() -> BTreeMap<(String, String), (String, Value)> {
    let document = specification(Catalogue::built_in());
    let mut all = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let security = operation["security"].as_array().unwrap();
            let scopes: Vec<String> = security
                .iter()
                .filter_map(|alternative| alternative["oauth2"].as_array())
                .map(|scopes| {
                    match scopes.iter().map(|scope| scope.as_str().unwrap()).collect::<Vec<_>>() {
                        none if none.is_empty() => "any token".to_owned(),
                        scopes => scopes.join(" and "),
                    }
                })
                .collect();
            let needs =
                if security.is_empty() { "none: public".to_owned() } else { scopes.join(", ") };
            let key = (format!("{} {path}", method.to_uppercase()), id);
            all.insert(key, (needs, operation.clone()));
        }
    }
    all
}

#[test]
fn the_published_table_names_every_operation() {
    let specified: BTreeMap<_, _> =
        specified().into_iter().map(|(key, (needs, _))| (key, needs)).collect();
    assert_eq!(published(), specified);
    for (needs, ids) in [("none: public", PUBLIC), ("any token", ANY_TOKEN)] {
        let mut found: Vec<&str> = specified
            .iter()
            .filter(|(_, needed)| *needed == needs)
            .map(|((_, id), _)| id.as_str())
            .collect();
        found.sort_unstable();
        assert_eq!(found, ids, "{needs}");
    }
}

/// Sends a request that passes the checks before authorization, and returns the status.
pub(crate) async fn send(client: &Client, route: &str, operation: &Value) -> u16 {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path
        .replace("{id}", "01900000-0000-7000-8000-000000000000")
        .replace("{name}", "unknown-name");
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let required = parameters.iter().filter(|one| one["in"] == "query" && one["required"] == true);
    let query: Vec<(&str, &str)> = required
        .map(|one| (one["name"].as_str().unwrap(), one["example"].as_str().unwrap_or("x")))
        .collect();
    let mut request = client.request(method, &path).query(&query);
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let media_type = content.keys().next().unwrap();
        request = request.header("content-type", media_type).body("{}");
    }
    client.send(request).await.status
}

#[tokio::test]
async fn every_role_has_exactly_the_published_permissions() {
    served_on_both(async |client| {
        let all = specified().into_iter();
        for ((route, id), (needs, operation)) in
            all.filter(|((_, id), _)| !OF_PAGES.contains(&id.as_str()))
        {
            let is_public = needs == "none: public";
            // Requests without a token, or with a malformed one, are unauthenticated.
            for token in [None, Some("x.y.z".to_owned())] {
                let status = send(&client.with_token(token), &route, &operation).await;
                assert_eq!(status == 401, !is_public, "{id} without a token: {status}");
            }
            for role in Role::ALL {
                let scopes = role.scopes(Catalogue::built_in().schemas());
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                let status = send(&client.with_scopes(&scopes), &route, &operation).await;
                let may = is_public
                    || needs == "any token"
                    || needs.split(" and ").all(|scope| scopes.contains(&scope));
                assert_eq!(status != 403, may, "{id} as {role:?}: {status}");
                assert_ne!(status, 401, "{id} as {role:?}");
                assert!(status < 500, "{id} as {role:?}: {status}");
            }
            // A token without scopes.
            let status = send(&client.with_scopes(&[]), &route, &operation).await;
            assert_eq!(status != 403, is_public || needs == "any token", "{id}: {status}");
        }
    })
    .await;
}

/// The token, its rate limit and its scope are checked before everything else, so that a client that is not signed in
/// learns nothing else, and its mistakes count for its rate limit.
#[tokio::test]
async fn nothing_is_checked_before_the_token_and_its_scope() {
    let client = Client::of(Database::sqlite()).await;
    for ((route, id), (needs, _)) in specified() {
        let (method, path) = route.split_once(' ').unwrap();
        // Neither id, parameters, conditions, media type nor body are valid, and required ones are missing.
        let path = path.replace("{id}", "none").replace("{name}", "none");
        for query in ["", "?unknown=1", "?limit=x&limit=%FF"] {
            let status = async |client: &Client| {
                let request = client.request(method, &format!("{path}{query}"));
                let request = request.header("if-match", b"\xff".as_slice()).body("x");
                client.send(request.header("content-type", "image/png")).await.status
            };
            let (anonymous, unscoped) = (client.with_token(None), client.with_scopes(&[]));
            let found = (status(&anonymous).await, status(&unscoped).await);
            match needs.as_str() {
                "none: public" => assert!(found.0 != 401 && found.0 == found.1, "{id}: {found:?}"),
                "any token" => assert!(found.0 == 401 && found.1 != 403, "{id}: {found:?}"),
                _ => assert_eq!(found, (401, 403), "{id}{query}"),
            }
            let status =
                status(&client.with_scopes(&["admin", "movies:read", "movies:write"])).await;
            assert!(query.is_empty() || status == 400, "{id}{query}: {status}");
        }
    }
}

#[test]
fn the_legacy_routes_require_scopes_of_movies_at_any_position_of_the_catalogue() {
    let document = specification(declared(&[SCREENINGS, BUILT_IN]));
    for (path, method, scope) in [
        ("/api", "get", "movies:read"),
        ("/api", "post", "movies:write"),
        ("/api/search", "get", "movies:read"),
        ("/api/v1/screenings", "get", "screenings:read"),
    ] {
        let security = &document["paths"][path][method]["security"];
        assert_eq!(security[0]["oauth2"], serde_json::json!([scope]), "{method} {path}");
    }
}
