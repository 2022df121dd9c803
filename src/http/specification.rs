//! The OpenAPI document: the output of poem-openapi, repaired and completed. The service, the repository and client
//! generators all use the result, so they cannot differ.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON object by name inserts missing members, and the framework generates \
              objects here; a test renders the document"
)]

mod examples;
mod records;
mod repair;
mod responses;
mod security;
mod values;

use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use super::ROUTES;
use super::resource::{Strict, placed};
use super::route::{LEGACY_SCHEMAS, LINKS, Link, Route, is_legacy, named};
use crate::app::legacy::movies as legacy_movies;
use crate::app::transfer::MAX_ROW_BYTES;
use crate::error::Kind;
use crate::identity::Anonymous;
use crate::query::diagnostic::Code;
use crate::query::{Schema, limits};
use crate::record::Catalogue;

/// Returns the description of the whole API.
fn description(schemas: &[&'static Schema]) -> String {
    let search = schemas.iter().flat_map(|schema| schema.searches).next();
    let example = search.map(|search| format!("```\n{}\n```\n\n", search.filter));
    format!(
        "Store records and search them with a small filter language.\n\n\
         {}Sign in with `POST /api/token` and send the token as `Authorization: Bearer …`. Every \
         error is a problem document (RFC 9457) with a stable `code`. Errors in a filter also have \
         `diagnostics` with the position and a correction. The [manual](docs/guide/index.html) has a \
         tour, the reference of the filter language and all limits.\n\n\
         Limits: a filter has at most {} KiB, {} predicates, {} items per list, and {} levels of \
         parentheses and `not`. By default, a request body has at most {} MiB and an imported file {} GiB, \
         with {} KiB per row.",
        example.unwrap_or_default(),
        limits::MAX_TEXT_BYTES >> 10,
        limits::MAX_PREDICATES,
        limits::MAX_IN_ITEMS,
        limits::MAX_DEPTH,
        super::DEFAULT_BODY_BYTES >> 20,
        super::DEFAULT_IMPORT_BYTES >> 30,
        MAX_ROW_BYTES >> 10,
    )
}

/// The tags, in the order in which new users need them. The tags of collections come after the first one.
const TAGS: &[&str] = &["token", "session", "query", "legacy", "users", "usage", "health"];

/// Returns the OpenAPI document for the record types of a catalogue.
pub fn specification(catalogue: Catalogue) -> Value {
    specification_for(catalogue, None)
}

/// Returns the OpenAPI document of a service whose callers without a token may read what `anonymous` names: security is
/// optional for the operations that are open to them.
pub fn specification_for(catalogue: Catalogue, anonymous: Option<&Anonymous>) -> Value {
    let generated = OpenApiService::new(Strict(catalogue), "cinequery", env!("CARGO_PKG_VERSION"));
    let generated = generated.description(description(catalogue.schemas())).server("/").spec();
    // Parsing cannot fail: the framework renders JSON.
    let mut document: Value = serde_json::from_str(&generated).unwrap_or_default();
    repair::repair(&mut document);
    let schemas = catalogue.schemas();
    let movies = legacy_movies(catalogue);
    if movies.is_none() {
        remove_legacy(&mut document);
    }
    introduce(&mut document, schemas);
    complete_components(&mut document["components"], schemas);
    let components = document["components"]["schemas"].clone();
    let mut paths = Map::new();
    for (template, mut operations) in take_members(&mut document["paths"]) {
        let is_template = template.contains("{records}");
        let about = if is_template { schemas } else { &schemas[..schemas.len().min(1)] };
        for about in about {
            let mut operations = if is_template { operations.clone() } else { operations.take() };
            for (method, operation) in members(&mut operations) {
                let route = ROUTES.iter().find(|r| r.method == method && r.path == template);
                let tags = operation["tags"].as_array().into_iter().flatten();
                // The legacy routes use movies, also if another record type is the first.
                let movies = movies.filter(|_| is_legacy(tags.filter_map(Value::as_str)));
                let about = movies.unwrap_or(about);
                if let Some(route) = route {
                    // `complete` finds examples by the final names of schemas.
                    name_record(operation, about);
                    complete(operation, route, about, schemas, (&components, anonymous));
                    name_record(operation, about);
                }
            }
            paths.insert(placed(&template, is_template.then_some(*about)), operations);
        }
    }
    document["paths"] = Value::Object(paths);
    document
}

/// Removes the legacy routes, for a catalogue without a collection `movies` that has their fields.
fn remove_legacy(document: &mut Value) {
    for (_, operations) in members(&mut document["paths"]) {
        if let Some(operations) = operations.as_object_mut() {
            operations.retain(|_, operation| {
                let tags = operation["tags"].as_array().into_iter().flatten();
                !is_legacy(tags.filter_map(Value::as_str))
            });
        }
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|_, operations| operations.as_object().is_some_and(|all| !all.is_empty()));
    }
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| !is_legacy(tag["name"].as_str()));
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| !LEGACY_SCHEMAS.contains(&name.as_str()));
    }
}

/// Adds the license, contact, server and tags of the document.
fn introduce(document: &mut Value, schemas: &[&'static Schema]) {
    document["info"]["license"] =
        json!({ "name": "MIT", "url": "https://spdx.org/licenses/MIT.html" });
    let contact = "The operator of this service (quote the `X-Request-Id` of the response)";
    document["info"]["contact"] = json!({ "name": contact });
    // Relative to the URL of the document, so that it is correct behind a proxy that adds a path prefix. It has no
    // trailing slash, because clients append paths that start with one.
    let description = "The service that serves this document.";
    document["servers"] = json!([{ "url": ".", "description": description }]);
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| tag["name"] != "{records}");
        let of_record = |about: &&Schema| match about.description {
            "" => json!({ "name": about.collection }),
            description => json!({ "name": about.collection, "description": description }),
        };
        tags.extend(schemas.iter().map(of_record));
        let place = |name: &str| TAGS.iter().position(|tag| *tag == name);
        tags.sort_by_key(|tag| match tag["name"].as_str().and_then(place) {
            Some(place) => place + usize::from(place > 0),
            None => 1,
        });
    }
}

/// Adds what the framework cannot generate for an operation.
fn complete(
    operation: &mut Value,
    route: &Route,
    about: &'static Schema,
    schemas: &[&'static Schema],
    (components, anonymous): (&Value, Option<&Anonymous>),
) {
    operation["operationId"] = json!(route.id);
    let needs = operation["security"].as_array().and_then(|all| all.first()?.as_object());
    let needs = needs.and_then(|needs| needs.keys().next().cloned());
    operation["security"] = security::requirements(needs.as_deref(), about, schemas, anonymous);
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        values::of_parameter(parameter, route.id, about, components);
    }
    examples::of_parameters(operation, about);
    responses::describe(operation, route, about);
    link(operation, about);
    let body = operation.pointer_mut("/requestBody/content");
    for (_, media) in body.into_iter().flat_map(members) {
        if let Some(example) = examples::of_body(route.id, schema_of(media), about) {
            media["example"] = example;
        }
    }
    let success = operation.pointer_mut("/responses").into_iter().flat_map(members);
    let success = success.filter(|(status, _)| status.starts_with('2'));
    let contents = success.filter_map(|(_, response)| response.get_mut("content"));
    for (_, media) in contents.flat_map(members) {
        if let Some(example) = examples::of_success(schema_of(media), about) {
            media["example"] = example;
        }
    }
}

const SCHEMAS: &str = "#/components/schemas/";

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{schema}") })
}

/// Returns the name of the schema that a media type refers to.
fn schema_of(media: &Value) -> &str {
    let reference = media["schema"]["$ref"].as_str().unwrap_or_default();
    reference.strip_prefix(SCHEMAS).unwrap_or_default()
}

/// Adds the links to operations that can follow.
fn link(operation: &mut Value, about: &Schema) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let success = operation["responses"].as_object_mut().into_iter().flatten();
    let success = success.filter(|(status, _)| status.starts_with('2'));
    for (_, response) in success {
        for Link { to, parameters, .. } in LINKS.iter().filter(|link| link.from == id) {
            let parameters: Map<String, Value> =
                parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            response["links"][named(to, about)] =
                json!({ "operationId": to, "parameters": parameters });
        }
    }
}

/// Adds what the framework cannot generate for schemas, headers and security schemes.
fn complete_components(components: &mut Value, schemas: &[&'static Schema]) {
    components["securitySchemes"]["oauth2"] = security::oauth2(schemas);
    components["headers"] = responses::headers();
    for (template, schema) in take_members(&mut components["schemas"]) {
        let is_template = template.contains("{Record}");
        let about = if is_template { schemas } else { &schemas[..schemas.len().min(1)] };
        for about in about {
            let name = named(&template, about);
            let mut schema = schema.clone();
            if is_template {
                schema = records::describe(&template, about).unwrap_or(schema);
                name_record(&mut schema, about);
            }
            components["schemas"][name] = schema;
        }
    }
    for (name, schema) in members(&mut components["schemas"]) {
        values::of_members(name, schema);
        let about = schemas.iter().find(|about| {
            let form = name.strip_prefix(about.name);
            form.is_some_and(|form| ["", "Draft", "Patch"].contains(&form))
        });
        if let Some(about) = about {
            examples::of_properties(schema, about);
        }
    }
    for about in schemas {
        components["schemas"][format!("{}Field", about.name)] = json!({
            "type": "string",
            "description": format!("A field of a {}.", about.name.to_lowercase()),
            "enum": about.names().collect::<Vec<_>>(),
        });
    }
    components["schemas"]["Collection"] = json!({
        "type": "string",
        "description": "The name of a collection, as in URLs.",
        "enum": schemas.iter().map(|about| about.collection).collect::<Vec<_>>(),
        "default": schemas.first().map(|about| about.collection),
    });
    // More codes may be added. Clients must be able to parse a response with a new code.
    let kinds: Vec<&str> = Kind::ALL.iter().map(|(kind, _)| kind.code()).collect();
    let problem = &mut components["schemas"]["Problem"]["properties"];
    problem["code"]["x-extensible-enum"] = json!(kinds);
    let codes: Vec<&str> = Code::ALL.iter().map(|(code, _)| code.as_str()).collect();
    components["schemas"]["DiagnosticCode"] = json!({
        "type": "string",
        "description": "The code of an error or a warning about a query. Codes are stable; more may be added.",
        "x-extensible-enum": codes,
    });
}

/// Replaces the placeholders in all strings of a JSON value.
fn name_record(value: &mut Value, schema: &Schema) {
    match value {
        Value::String(text) => *text = named(text, schema),
        Value::Array(items) => items.iter_mut().for_each(|item| name_record(item, schema)),
        Value::Object(object) => object.values_mut().for_each(|item| name_record(item, schema)),
        _ => {}
    }
}

/// Takes all members out of a JSON object.
fn take_members(object: &mut Value) -> Map<String, Value> {
    object.as_object_mut().map(std::mem::take).unwrap_or_default()
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}
