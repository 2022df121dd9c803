//! The OpenAPI document: the published file is the one served, and it is valid and complete.

mod breaking;
mod browser;
mod lint;
mod properties;
mod routes;
pub mod tools;

use std::collections::BTreeSet;
use std::io::Read;

use cinequery::http::specification;
use cinequery::query::Facet;
use cinequery::record::Catalogue;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::support::records::declared;
use crate::support::{Client, Database, catalogue, served_on_both};

const PUBLISHED: &str = include_str!("../../openapi/v1.json");

#[test]
fn the_published_document_is_the_generated_one() {
    let published: Value = serde_json::from_str(PUBLISHED).unwrap();
    assert!(
        published == specification(Catalogue::built_in()),
        "openapi/v1.json differs from the generated document: run `make openapi` and review the diff"
    );
}

#[tokio::test]
async fn the_served_document_is_the_generated_one() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    assert_eq!(client.get("/openapi.json").await.json(), specification(catalogue()));
}

/// Any JSON value. Deserializing it fails if a member is repeated.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Strict;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut seen = BTreeSet::new();
                while let Some((name, Strict)) = map.next_entry::<String, Strict>()? {
                    assert!(seen.insert(name.clone()), "{name} is repeated");
                }
                Ok(Strict)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
                while seq.next_element::<Strict>()?.is_some() {}
                Ok(Strict)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[test]
fn no_member_of_the_document_is_repeated() {
    serde_json::from_str::<Strict>(PUBLISHED).unwrap();
}

/// Collects every value below `value` whose member has this name.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            for (member, inner) in object {
                if member == name {
                    found.push(inner);
                }
                all(inner, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

#[test]
fn defects_of_the_framework_are_corrected() {
    let document = specification(catalogue());
    let mut formats = Vec::new();
    all(&document, "format", &mut formats);
    let formats: BTreeSet<&str> = formats.iter().filter_map(|format| format.as_str()).collect();
    let known = BTreeSet::from(["binary", "date", "date-time", "int32", "int64", "uuid"]);
    assert!(formats.is_subset(&known), "{formats:?}");

    let mut contents = Vec::new();
    all(&document, "content", &mut contents);
    let types: BTreeSet<&str> =
        contents.iter().flat_map(|c| c.as_object().unwrap().keys().map(String::as_str)).collect();
    let known = [
        "application/json",
        "application/octet-stream",
        "application/problem+json",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "text/csv",
    ];
    assert_eq!(types, BTreeSet::from(known));

    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for reference in references {
        let place = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some_and(Value::is_object), "{place} does not exist");
    }
    assert!(!document.to_string().contains("null,") && !document.to_string().contains(":null"));
    // `allOf` is used only around a reference that can also be null.
    let text = document.to_string();
    let wrapped = text.matches("\"allOf\":[{\"$ref\":").count();
    let mut lists = Vec::new();
    all(&document, "allOf", &mut lists);
    assert_eq!(lists.len(), wrapped);
    assert!(!document.to_string().to_lowercase().contains("{record"), "a placeholder is left");
    assert_eq!(
        document["components"]["schemas"]["Screening"]["properties"]["hall"]["nullable"],
        true
    );
    assert_eq!(
        document["components"]["schemas"]["ScreeningDraft"]["required"].as_array().unwrap().len(),
        2
    );
}

/// The paths whose operations need no token.
const PUBLIC: &[&str] = &[
    "/api/token",
    "/api/token/revoke",
    "/api/v1/session/renew",
    "/api/v1/session/sign-in",
    "/api/v1/session/sign-out",
    "/api/v1/sign-in",
    "/livez",
    "/readyz",
];

/// Each operation with its method and path.
fn operations(document: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn every_operation_is_described_and_has_typed_problems() {
    let document = specification(catalogue());
    let tags: BTreeSet<&str> = elements(&document["tags"])
        .iter()
        .map(|tag| {
            assert!(tag["description"].as_str().unwrap().ends_with('.'), "{tag}");
            tag["name"].as_str().unwrap()
        })
        .collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        println!("{method} {path} {id}");
        assert!(ids.insert(id), "the id is repeated");
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()));
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()));
        let summary = operation["summary"].as_str().unwrap();
        assert!(summary.len() < 60 && !summary.ends_with('.'), "{summary}");
        assert!(
            operation["description"].as_str().expect("no description").ends_with(['.', '`', ')'])
        );
        assert!(
            elements(&operation["tags"]).iter().all(|tag| tags.contains(tag.as_str().unwrap()))
        );
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].as_str().unwrap().len() > 5, "{status}");
        }
        for range in ["4XX", "5XX"] {
            let content = &operation["responses"][range]["content"];
            let schema = &content["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem");
        }
        let is_public = PUBLIC.contains(&path);
        assert_eq!(elements(&operation["security"]).is_empty(), is_public);
    }
}

#[test]
fn parameters_and_bodies_have_an_example() {
    let document = specification(catalogue());
    for (method, path, operation) in operations(&document) {
        println!("{method} {path}");
        for parameter in elements(&operation["parameters"]) {
            let examples = ["example", "examples"].map(|name| parameter.get(name)).into_iter();
            let count = examples.flatten().count();
            assert!(count == 1 || count == 0 && parameter["required"] != true, "{parameter}");
            let is_filter = parameter["name"] == "filter" && path != "/api/v1/query/complete";
            assert_eq!(parameter.get("examples").is_some(), is_filter, "{parameter}");
        }
        for (_, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            assert!(content.get("example").is_some());
        }
    }
}

/// The examples of the parameters of facets are valid for every type in the natural key.
#[test]
fn the_examples_of_facets_are_accepted() {
    for ty in ["text", "integer", "boolean", "date", "timestamp", "id"] {
        let source = format!(
            "name = \"Thing\"\ncollection = \"things\"\nunique = [[\"name\", \"last\"]]\n\
             [fields.name]\ntype = \"text\"\nlength = [1, 100]\n[fields.last]\ntype = \"{ty}\"\n"
        );
        let source = if ty == "text" { source + "length = [1, 100]\n" } else { source };
        let catalogue = declared(&[&source]);
        let document = specification(catalogue);
        let parameters = &document["paths"]["/api/v1/things/facets"]["get"]["parameters"];
        let example = |name: &str| {
            let parameter = elements(parameters).iter().find(|parameter| parameter["name"] == name);
            parameter.unwrap()["example"].as_str()
        };
        let (by, interval) = (example("by").unwrap(), example("interval"));
        let facet = Facet::of(catalogue.schemas()[0], by, interval);
        assert!(facet.is_ok(), "{ty}: {by} {interval:?}: {facet:?}");
        assert_eq!(interval.is_some(), ["integer", "date", "timestamp"].contains(&ty), "{ty}");
    }
}

/// Sends every example of a filter to the operation that has it.
#[tokio::test]
async fn every_example_of_a_filter_succeeds() {
    served_on_both(async |client| {
        let document = specification(catalogue());
        let example = |value: &Value| match &value["example"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut sent = 0;
        for (method, path, operation) in operations(&document) {
            let parameters = elements(&operation["parameters"]);
            let filter = parameters.iter().find(|parameter| parameter["name"] == "filter");
            let Some(examples) = filter.and_then(|filter| filter["examples"].as_object()) else {
                continue;
            };
            let mut path = path.to_owned();
            if let Some((collection, _)) = path.clone().split_once("/{id}") {
                let draft = &document["paths"][collection]["post"]["requestBody"]["content"];
                let draft = &draft["application/json"]["example"];
                let created = client.post(collection, draft).await.json();
                path = path.replace("{id}", created["id"].as_str().unwrap());
            }
            let is_needed = |p: &&&Value| {
                p["in"] == "query" && (p["required"] == true || p["name"] == "dry_run")
            };
            let needed = parameters.iter().filter(|p| is_needed(&p));
            let needed = needed.filter(|parameter| parameter["name"] != "filter");
            let needed: Vec<(String, String)> =
                needed.map(|p| (p["name"].as_str().unwrap().to_owned(), example(p))).collect();
            for (name, shown) in examples {
                let filter = [("filter", shown["value"].as_str().unwrap())];
                println!("{method} {path} {name}");
                let request = client.request(&method, &path).query(&filter).query(&needed);
                let body = &operation["requestBody"]["content"]["application/json"];
                let request = match body["example"].as_object() {
                    Some(patch) => request
                        .header("content-type", "application/json")
                        .body(json!(patch).to_string()),
                    None => request,
                };
                let response = client.send(request).await;
                let body = String::from_utf8(response.body).unwrap();
                assert_eq!(response.status, 200, "{body}");
                assert!(!body.contains("\"warnings\":[{"), "{body}");
                sent += 1;
            }
        }
        println!("{sent} examples were sent");
        assert!(sent > 20);
    })
    .await;
}

#[tokio::test]
async fn the_documentation_loads_nothing_from_other_origins() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let page = client.get("/docs").await;
    assert!(client.get("/docs/").await.body == page.body, "/docs/ returns another page");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert!(!html.contains("http:") && !html.contains("https:"), "{html}");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let files: Vec<&str> = html.split('"').filter(|part| part.starts_with("docs/")).collect();
    assert_eq!(files.len(), 8);
    for file in files {
        let response = client.get(&format!("/{file}")).await;
        assert!(response.status == 200 && !response.body.is_empty(), "{file}: {}", response.status);
        assert_eq!(response.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn the_documentation_is_cached_until_it_changes() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let page = client.get("/docs").await;
    assert_eq!(page.header("cache-control"), "no-cache");
    let html = String::from_utf8(page.body.clone()).unwrap();
    for file in html.split('"').filter(|part| part.starts_with("docs/")) {
        let file = &*format!("/{file}");
        let response = client.get(file).await;
        assert_eq!(response.header("cache-control"), "public, max-age=31536000, immutable");
        let packed = client.send(client.request("GET", file).header("accept-encoding", "gzip"));
        let packed = packed.await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{file}");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == response.body, "{file}");
    }
    for path in ["/docs", "/openapi.json"] {
        let tag = client.get(path).await.header("etag").to_owned();
        let ask = async |tag: &str| {
            client.send(client.request("GET", path).header("if-none-match", tag)).await
        };
        let known = ask(&format!("\"other\", {tag}")).await;
        assert_eq!((known.status, known.header("etag"), known.body.len()), (304, &*tag, 0));
        assert_eq!(ask("W/\"other\"").await.status, 200, "{path}");
    }
}
