//! The published document: what stands in the repository is what is served, and it is sound.

mod browser;
mod lint;
mod properties;

pub mod tools;

use std::collections::BTreeSet;
use std::io::Read;

use cinequery::http::specification;
use cinequery::query::prepare;
use cinequery::record::{All, Movie, Record};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Catalogue, Client, Database};

const PUBLISHED: &str = include_str!("../../openapi/v1.json");

#[test]
fn the_published_document_is_the_generated_one() {
    let published: Value = serde_json::from_str(PUBLISHED).unwrap();
    assert!(
        published == specification::<All>(),
        "openapi/v1.json differs from what the code says: run `make openapi` and review the change"
    );
}

#[tokio::test]
async fn the_served_document_is_the_generated_one() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    assert_eq!(client.get("/openapi.json").await.json(), specification::<Catalogue>());
}

/// JSON that refuses a repeated member.
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

/// Every value below with that member name.
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
fn the_framework_s_defects_are_mended() {
    let document = specification::<Catalogue>();
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
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "text/csv",
    ];
    assert_eq!(types, BTreeSet::from(known));

    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for reference in references {
        let place = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some_and(Value::is_object), "{place} is not there");
    }
    for (name, what) in [("allOf", "a reference is wrapped"), ("parameters", "a list is null")] {
        let mut found = Vec::new();
        all(&document, name, &mut found);
        let is_sound = |value: &&Value| name == "parameters" && !value.is_null();
        assert!(found.iter().all(is_sound), "{what}: {found:?}");
    }
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
const PUBLIC: &[&str] = &["/api/token", "/api/token/revoke", "/livez", "/readyz"];

#[test]
fn every_operation_has_an_id_of_its_own_and_typed_problems() {
    let document = specification::<Catalogue>();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str();
            let id = id.unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(ids.insert(id), "{id} is repeated");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            for range in ["4XX", "5XX"] {
                let content = &operation["responses"][range]["content"];
                let schema = &content["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path}");
            }
            let is_public = PUBLIC.contains(&path.as_str());
            let security = operation["security"].as_array().unwrap();
            assert_eq!(security.is_empty(), is_public, "{method} {path}");
        }
    }
}

#[test]
fn every_example_of_a_filter_is_valid() {
    let document = specification::<All>();
    let mut parameters = Vec::new();
    all(&document, "examples", &mut parameters);
    let examples: Vec<&Value> =
        parameters.iter().flat_map(|e| e.as_object().unwrap().values()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let filter = example["value"].as_str().unwrap();
        let prepared = prepare(Some(filter), None, Movie::SCHEMA);
        assert!(prepared.is_ok_and(|prepared| prepared.warnings.is_empty()), "{filter}");
    }
}

#[tokio::test]
async fn the_documentation_needs_no_network() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let page = client.get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert!(!html.contains("http:") && !html.contains("https:"), "{html}");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let files: Vec<&str> = html.split('"').filter(|part| part.starts_with("/docs/")).collect();
    assert_eq!(files.len(), 5);
    for file in files {
        let answer = client.get(file).await;
        assert!(answer.status == 200 && !answer.body.is_empty(), "{file}: {}", answer.status);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn the_documentation_is_kept_until_it_changes() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let page = client.get("/docs").await;
    assert_eq!(page.header("cache-control"), "no-cache");
    let html = String::from_utf8(page.body.clone()).unwrap();
    for file in html.split('"').filter(|part| part.starts_with("/docs/")) {
        let answer = client.get(file).await;
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        let digest = Sha256::digest(&answer.body);
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file.split('.').rev().nth(1), Some(&*hash), "{file}");

        let packed = client.send(client.request("GET", file).header("accept-encoding", "gzip"));
        let packed = packed.await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{file}");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == answer.body, "{file}");
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
