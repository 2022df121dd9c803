//! The OpenAPI document: what poem-openapi generates, mended in one step.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON object by name inserts what is missing, and what the framework \
              generates are objects; a test renders the document"
)]

use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use super::caller::needs;
use super::{Served, operations};
use crate::app::search::DEFAULT_LIMIT;
use crate::app::transfer::MAX_ROW_BYTES;
use crate::identity::{ADMIN_SCOPE, Access};
use crate::query::{Schema, limits};

/// What stands in front of the operations.
fn description() -> String {
    format!(
        "A movie catalogue, searched with a small filter language.\n\n\
         ```\ngenre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30\n```\n\n\
         Sign in with `POST /api/token` and send the token as `Authorization: Bearer …`. Every \
         error is a problem document (RFC 9457) with a stable `code`; errors of the filter \
         language have `diagnostics` that say where and what to write instead. Only a request so \
         malformed that it never reaches the service, such as one with a broken request line, is \
         answered without.\n\n\
         Limits: {} bytes of filter, {} parentheses and `not`s open at one place, {} predicates, \
         {} items in a list, {} bytes of body; of a file that is imported {} bytes and {} a row.",
        limits::MAX_TEXT_BYTES,
        limits::MAX_DEPTH,
        limits::MAX_PREDICATES,
        limits::MAX_IN_ITEMS,
        super::MAX_BODY_BYTES,
        super::MAX_IMPORT_BYTES,
        MAX_ROW_BYTES,
    )
}

/// Examples of `filter`, each a name, a text and what it shows.
const FILTER_EXAMPLES: &[(&str, &str, &str)] = &[
    (
        "genre_and_dates",
        "genre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30",
        "Dramas whose licence ends in the first half of 2024",
    ),
    (
        "alternatives",
        "(genre in (\"drama\", \"comedy\") or title contains 'star') and not release_year < 1990",
        "Several genres or a word of the title, not before 1990",
    ),
    ("soon", "expiry_date between today and today + 30d", "Licences that end within thirty days"),
];

/// Operation ids by method and by what follows the collection's path. They are given here because
/// the framework takes only literals, and the operations are generic.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("get", "", "list{Records}"),
    ("post", "", "create{Record}"),
    ("post", "/search", "search{Records}"),
    ("get", "/facets", "get{Record}Facets"),
    ("get", "/export", "export{Records}"),
    ("post", "/import", "import{Records}"),
    ("get", "/{id}", "get{Record}"),
    ("get", "/{id}/match", "match{Record}"),
    ("put", "/{id}", "replace{Record}"),
    ("patch", "/{id}", "update{Record}"),
    ("delete", "/{id}", "delete{Record}"),
];

/// The same by what follows the path of the saved queries on a collection.
const QUERY_OPERATIONS: &[(&str, &str, &str)] = &[
    ("get", "", "list{Record}Queries"),
    ("post", "", "create{Record}Query"),
    ("get", "/{name}", "get{Record}Query"),
    ("put", "/{name}", "replace{Record}Query"),
    ("delete", "/{name}", "delete{Record}Query"),
    ("get", "/{name}/results", "run{Record}Query"),
    ("post", "/{name}/results", "run{Record}QueryWithBody"),
];

/// Operation ids of the paths that belong to no record's collection.
const OTHER_OPERATIONS: &[(&str, &str, &str)] = &[
    ("get", "/api/v1/schema", "getSchema"),
    ("get", "/api/v1/query/check", "checkQuery"),
    ("get", "/api/v1/query/explain", "explainQuery"),
    ("get", "/api/v1/query/complete", "completeQuery"),
    ("post", "/api/token", "signIn"),
    ("post", "/api/token/revoke", "signOut"),
    ("post", "/api/v1/revocations", "revokeTokens"),
    ("get", "/api/v1/usage", "getUsage"),
    ("get", "/api/v1/users", "listUsers"),
    ("post", "/api/v1/users", "createUser"),
    ("get", "/api/v1/users/{name}", "getUser"),
    ("patch", "/api/v1/users/{name}", "updateUser"),
    ("delete", "/api/v1/users/{name}", "deleteUser"),
    ("get", "/api", "classicListMovies"),
    ("post", "/api", "classicCreateMovie"),
    ("delete", "/api", "classicDeleteMovie"),
    ("get", "/api/search", "classicSearchMovies"),
    ("get", "/api/expiredMovies", "classicListExpiredMovies"),
    ("get", "/livez", "getLiveness"),
    ("get", "/readyz", "getReadiness"),
];

/// The document for these record types.
pub fn specification<C: Served>() -> Value {
    let generated = OpenApiService::new(operations::<C>(), "cinequery", env!("CARGO_PKG_VERSION"))
        .description(description())
        .server("/")
        .spec();
    // What the framework renders is JSON.
    let mut document: Value = serde_json::from_str(&generated).unwrap_or_default();
    document["info"]["license"] =
        json!({ "name": "MIT", "url": "https://spdx.org/licenses/MIT.html" });
    mend_dates(&mut document);
    let movie = document["components"]["schemas"]["ClassicMovie"]["properties"].clone();
    let schemas = C::schemas();
    for (path, operations) in members(&mut document["paths"]) {
        let below = |parent: &str| {
            schemas.iter().find_map(|schema| {
                Some((*schema, path.strip_prefix(&format!("/api/v1/{parent}{}", schema.table))?))
            })
        };
        let (schema, operation_ids) = match below("queries/") {
            Some(found) => (Some(found), QUERY_OPERATIONS),
            None => (below(""), OPERATIONS),
        };
        for (method, operation) in members(operations) {
            match schema {
                Some((schema, rest)) => {
                    let id = operation_ids.iter().find(|(m, r, _)| m == method && *r == rest);
                    operation["operationId"] = json!(id.map(|(_, _, id)| *id));
                    name_record(operation, schema);
                }
                None => {
                    let id = OTHER_OPERATIONS.iter().find(|(m, p, _)| m == method && p == path);
                    operation["operationId"] = json!(id.map(|(_, _, id)| *id));
                }
            }
            // Said and not only left out: some need no token.
            let needs = operation["security"].as_array().cloned().unwrap_or_default();
            let needs = needs.first().and_then(Value::as_object).and_then(|map| map.keys().next());
            let is_classic = operation["tags"] == json!(["Classic"]);
            let about = schema.map(|(schema, _)| schema);
            let about = about.or_else(|| schemas.first().copied().filter(|_| is_classic));
            operation["security"] = security(needs.map(String::as_str), about, &schemas);
            describe_parameters(operation, schema.map(|(schema, _)| schema), &schemas);
            if is_classic {
                type_classic_parameters(operation, &movie);
            }
        }
    }
    document["components"]["securitySchemes"]["oauth2"] = oauth2(&schemas);
    for (name, schema) in members(&mut document["components"]["schemas"]) {
        // What a request may hold is refused when it holds more.
        let closed = ["Draft", "Patch", "Request", "SavedParameter"];
        if closed.iter().any(|suffix| name.ends_with(suffix)) {
            schema["additionalProperties"] = json!(false);
        }
    }
    if let Some(tags) = document["tags"].as_array_mut() {
        // As somebody comes to need them: sign in, records, queries, probes.
        tags.sort_by_key(|tag| match tag["name"].as_str() {
            Some("token") => 0,
            Some("query") => 2,
            Some("users") => 5,
            Some("usage") => 6,
            Some("Classic") => 3,
            Some("health") => 4,
            _ => 1,
        });
    }
    unwrap_references(&mut document);
    document
}

/// What an operation asks of a token, from the type of its caller: alternatives, each a scope of
/// OAuth 2.0, and a bare bearer token for tools that do not know that.
fn security(needs: Option<&str>, about: Option<&Schema>, schemas: &[&'static Schema]) -> Value {
    let scopes = |access: Access, schemas: &[&Schema]| -> Vec<Vec<String>> {
        schemas.iter().map(|schema| vec![access.scope(schema)]).collect()
    };
    let about = about.as_slice();
    let alternatives = match needs {
        Some(needs::READ) => scopes(Access::Read, about),
        Some(needs::WRITE) => scopes(Access::Write, about),
        Some(needs::READ_SOME) => scopes(Access::Read, schemas),
        Some(needs::ADMIN) => vec![vec![ADMIN_SCOPE.to_owned()]],
        Some(_) => vec![Vec::new()],
        None => return json!([]),
    };
    let alternatives = alternatives.into_iter().map(|scopes| json!({ "oauth2": scopes }));
    alternatives.chain([json!({ "bearer": [] })]).collect()
}

/// Signing in as OAuth 2.0, with a name and a password.
fn oauth2(schemas: &[&'static Schema]) -> Value {
    let of_records = schemas.iter().flat_map(|schema| {
        let scope = |access: Access, verb| {
            (access.scope(schema), json!(format!("{verb} {}", schema.table)))
        };
        [scope(Access::Read, "Read"), scope(Access::Write, "Change")]
    });
    let admin = (ADMIN_SCOPE.to_owned(), json!("Administer users, tokens and usage"));
    let scopes: Map<String, Value> = of_records.chain([admin]).collect();
    let flow = json!({ "tokenUrl": "/api/token", "scopes": scopes });
    json!({
        "type": "oauth2",
        "description": "Sign in with a name and a password.",
        "flows": { "password": flow, "clientCredentials": flow },
    })
}

/// A described reference is generated as `allOf` of the reference and its description, which
/// generators of clients take for another type.
fn unwrap_references(value: &mut Value) {
    let only_reference =
        value.get("allOf").and_then(Value::as_array).and_then(|all| match all.as_slice() {
            [reference, rest] if reference.get("$ref").is_some() => {
                let is_description = rest.as_object()?.keys().all(|key| key == "description");
                is_description.then(|| reference.clone())
            }
            _ => None,
        });
    if let Some(reference) = only_reference {
        *value = reference;
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(unwrap_references),
        Value::Object(object) => object.values_mut().for_each(unwrap_references),
        _ => {}
    }
}

/// The framework has a name of its own for the format of a date.
fn mend_dates(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mend_dates),
        Value::Object(object) => {
            if object.get("format").is_some_and(|format| format == "naive-date") {
                object.insert("format".to_owned(), json!("date"));
            }
            object.values_mut().for_each(mend_dates);
        }
        _ => {}
    }
}

/// The classic routes read their parameters as text, in more forms than they document: the types are
/// those of the movie they are about.
fn type_classic_parameters(operation: &mut Value, movie: &Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let member = match parameter["name"].as_str() {
            Some("from" | "to") => "expiry_date".to_owned(),
            Some(name) => name.to_owned(),
            None => continue,
        };
        for part in ["type", "format"] {
            if let Some(value) = movie.pointer(&format!("/{member}/{part}")) {
                parameter["schema"][part] = value.clone();
            }
        }
    }
}

/// Examples, limits and names of fields, which the framework cannot take from constants.
fn describe_parameters(operation: &mut Value, record: Option<&Schema>, schemas: &[&Schema]) {
    let is_unfinished = operation["operationId"] == json!("completeQuery");
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        match parameter["name"].as_str() {
            Some("filter") if is_unfinished => parameter["example"] = json!("genre = \"dr"),
            Some("interval") => parameter["example"] = json!("decade"),
            Some("filter") => {
                parameter["examples"] = filter_examples();
                parameter["schema"]["maxLength"] = json!(limits::MAX_TEXT_BYTES);
            }
            Some("order_by") => parameter["example"] = json!("release_year desc, title"),
            Some("by") => {
                let names = record.into_iter().flat_map(Schema::names);
                parameter["schema"]["enum"] = names.collect();
                parameter["example"] = json!("release_year");
            }
            Some("limit") => parameter["schema"]["default"] = json!(DEFAULT_LIMIT),
            Some("record") => {
                let collections: Vec<&str> = schemas.iter().map(|schema| schema.table).collect();
                parameter["schema"]["default"] = json!(collections.first());
                parameter["schema"]["enum"] = json!(collections);
            }
            _ => {}
        }
    }
}

fn filter_examples() -> Value {
    let examples = FILTER_EXAMPLES.iter().map(|(name, filter, summary)| {
        ((*name).to_owned(), json!({ "summary": summary, "value": filter }))
    });
    Value::Object(examples.collect())
}

/// Puts the names of a record in the place of `{record}` and its kind, in every text of the value.
fn name_record(value: &mut Value, schema: &Schema) {
    match value {
        Value::String(text) => {
            let (record, records) = (schema.name, schema.table);
            let mut plural: Vec<char> = records.chars().collect();
            if let Some(initial) = plural.first_mut() {
                initial.make_ascii_uppercase();
            }
            *text = text
                .replace("{Records}", &plural.into_iter().collect::<String>())
                .replace("{records}", records)
                .replace("{Record}", record)
                .replace("{record}", &record.to_lowercase());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_record(item, schema)),
        Value::Object(object) => object.values_mut().for_each(|item| name_record(item, schema)),
        _ => {}
    }
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}
