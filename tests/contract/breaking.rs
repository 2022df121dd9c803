//! Compares the OpenAPI document with that of the last release: no change may break a client.
//!
//! A request that was valid must stay valid, and the document of the release must permit every response of the new one.
//! openapi-diff compares the documents as well. It knows more about bodies, but ignores parameters, security and the names
//! in generated clients.

use std::collections::BTreeSet;

use cinequery::http::specification;
use cinequery::record::Catalogue;
use serde_json::{Map, Value, json};

use super::tools::{emptied, node, succeed};

/// The document of the last release.
const RELEASED: &str = include_str!("../../openapi/released.json");

#[test]
fn clients_of_the_release_continue_to_work() {
    let released: Value = serde_json::from_str(RELEASED).unwrap();
    let breaks = breaks(&released, &specification(Catalogue::built_in()));
    assert!(
        breaks.is_empty(),
        "changes that break clients of the release (docs/api.md, \"Guarantees\"):\n{breaks:#?}"
    );
}

#[test]
fn openapi_diff_finds_no_breaking_change() {
    let folder = emptied("openapi-diff");
    let mut command = node("openapi-diff");
    let released: Value = serde_json::from_str(RELEASED).unwrap();
    for (name, mut document) in
        [("released.json", released), ("now.json", specification(Catalogue::built_in()))]
    {
        cut_cycles(&mut document);
        let file = folder.join(name);
        std::fs::write(&file, document.to_string()).unwrap();
        command.arg(file);
    }
    let output = succeed(&mut command);
    assert!(output.contains("No changes") || output.contains("Non breaking"), "{output}");
}

/// Removes references of schemas to themselves, which openapi-diff does not support.
fn cut_cycles(document: &mut Value) {
    fn cut(value: &mut Value, name: &str) {
        match value {
            Value::Object(object) if object.get("$ref").is_some_and(|r| name_of(r) == name) => {
                *value = json!({});
            }
            Value::Object(object) => object.values_mut().for_each(|inner| cut(inner, name)),
            Value::Array(items) => items.iter_mut().for_each(|inner| cut(inner, name)),
            _ => {}
        }
    }
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    schemas.iter_mut().for_each(|(name, schema)| cut(schema, name));
}

fn name_of(reference: &Value) -> &str {
    reference.as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default()
}

/// The changes in `new` that break clients generated from `old`.
fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, breaks: Vec::new(), compared: BTreeSet::new() };
    let urls = |document: &Value| {
        elements(&document["servers"]).iter().map(|s| s["url"].clone()).collect()
    };
    let (before, now): (Vec<Value>, Vec<Value>) = (urls(old), urls(new));
    comparison.expect(before == now, "servers", "changed");
    comparison.schemes();
    for (path, operations) in members(&old["paths"]) {
        for (method, operation) in members(operations) {
            let place = format!("{method} {path}");
            match new["paths"][path].get(method) {
                Some(now) => comparison.operation(&place, operation, now),
                None => comparison.breaks.push(format!("{place}: was removed")),
            }
        }
    }
    comparison.breaks
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a value is sent in a request or in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Request,
    Response,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    breaks: Vec<String>,
    /// The named schemas that were compared, or are about to be.
    compared: BTreeSet<(String, Way)>,
}

impl<'a> Comparison<'a> {
    fn expect(&mut self, is_kept: bool, place: &str, what: &str) {
        if !is_kept {
            self.breaks.push(format!("{place}: {what}"));
        }
    }

    fn schemes(&mut self) {
        let schemes = |document: &'a Value| &document["components"]["securitySchemes"];
        for (name, scheme) in members(schemes(self.old)) {
            let now = &schemes(self.new)[name];
            for part in ["type", "scheme", "in", "name"] {
                self.expect(scheme[part] == now[part], name, &format!("{part} changed"));
            }
            for (flow, before) in members(&scheme["flows"]) {
                let (place, now) = (format!("{name} {flow}"), &now["flows"][flow]);
                let is_kept = before["tokenUrl"] == now["tokenUrl"];
                self.expect(is_kept, &place, "tokenUrl changed");
                for (scope, _) in members(&before["scopes"]) {
                    let is_kept = now["scopes"].get(scope).is_some();
                    self.expect(is_kept, &place, &format!("{scope} was removed"));
                }
            }
        }
    }

    fn operation(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        for name in ["operationId", "tags"] {
            self.expect(old[name] == new[name], place, &format!("{name} changed"));
        }
        // An old alternative is sufficient if a new one requires no more than it has.
        let suffices = |one: &Value| {
            elements(&new["security"]).iter().any(|other| {
                members(other).all(|(scheme, scopes)| {
                    let had = one.get(scheme).map(elements);
                    had.is_some_and(|had| elements(scopes).iter().all(|s| had.contains(s)))
                })
            })
        };
        let is_public = elements(&new["security"]).is_empty();
        let was_public = elements(&old["security"]).is_empty();
        let is_kept = is_public || !was_public && elements(&old["security"]).iter().all(suffices);
        self.expect(is_kept, place, "requires more of a token");
        self.parameters(place, old, new);
        self.body(place, &old["requestBody"], &new["requestBody"]);
        for (status, response) in members(&old["responses"]) {
            let place = format!("{place} {status}");
            match new["responses"].get(status) {
                Some(now) => self.response(&place, response, now),
                None => self.expect(false, &place, "was removed"),
            }
        }
        for (status, _) in members(&new["responses"]) {
            let is_known = !status.starts_with('2') || old["responses"].get(status).is_some();
            self.expect(is_known, place, &format!("succeeds with {status}"));
        }
    }

    fn parameters(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        let find = |all: &'a Value, one: &Value| {
            elements(all).iter().find(|p| p["name"] == one["name"] && p["in"] == one["in"])
        };
        for parameter in elements(&old["parameters"]) {
            let place = format!("{place} {}", parameter["name"].as_str().unwrap());
            let Some(now) = find(&new["parameters"], parameter) else {
                self.expect(false, &place, "was removed");
                continue;
            };
            let is_kept = now["required"] != true || parameter["required"] == true;
            self.expect(is_kept, &place, "is required");
            self.schema(&place, Way::Request, &parameter["schema"], &now["schema"]);
        }
        for parameter in elements(&new["parameters"]) {
            let is_known = find(&old["parameters"], parameter).is_some();
            let place = format!("{place} {}", parameter["name"].as_str().unwrap());
            self.expect(is_known || parameter["required"] != true, &place, "is required");
        }
    }

    fn body(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        let is_kept = new["required"] != true || old["required"] == true;
        self.expect(is_kept, place, "the body is required");
        for (media_type, content) in members(&old["content"]) {
            let place = format!("{place} {media_type}");
            match new["content"].get(media_type) {
                Some(now) => self.schema(&place, Way::Request, &content["schema"], &now["schema"]),
                None => self.expect(false, &place, "is not accepted"),
            }
        }
    }

    fn response(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        for (name, header) in members(&old["headers"]) {
            let place = format!("{place} {name}");
            let Some(now) = new["headers"].get(name) else {
                self.expect(false, &place, "was removed");
                continue;
            };
            let (header, now) = (resolved(self.old, header), resolved(self.new, now));
            let is_kept = header["required"] != true || now["required"] == true;
            self.expect(is_kept, &place, "may be absent");
            self.schema(&place, Way::Response, &header["schema"], &now["schema"]);
        }
        let codes = codes(new["description"].as_str().unwrap_or_default());
        for (code, status) in self::codes(old["description"].as_str().unwrap_or_default()) {
            let now = codes.iter().find(|(other, _)| *other == code);
            let is_kept = now.is_none_or(|(_, now)| *now == status);
            self.expect(is_kept, place, &format!("{code} has another status"));
        }
        for (media_type, content) in members(&old["content"]) {
            let place = format!("{place} {media_type}");
            match new["content"].get(media_type) {
                Some(now) => self.schema(&place, Way::Response, &content["schema"], &now["schema"]),
                None => self.expect(false, &place, "was removed"),
            }
        }
    }

    fn schema(&mut self, place: &str, way: Way, old: &'a Value, new: &'a Value) {
        let (old, new) = match (old.get("$ref"), new.get("$ref")) {
            (Some(before), Some(now)) => {
                let (before, now) = (name_of(before), name_of(now));
                self.expect(before == now, place, &format!("{before} was renamed to {now}"));
                if !self.compared.insert((before.to_owned(), way)) {
                    return;
                }
                let schemas = |document: &'a Value| &document["components"]["schemas"];
                (&schemas(self.old)[before], &schemas(self.new)[now])
            }
            (None, None) => (old, new),
            _ => return self.expect(false, place, "changed between a named and an inline schema"),
        };
        for name in ["type", "format"] {
            self.expect(old[name] == new[name], place, &format!("{name} changed"));
        }
        let is_kept = way == Way::Response || old["default"] == new["default"];
        self.expect(is_kept, place, "the default changed");
        // `outer` must permit every value that `inner` permits.
        let (inner, outer) = match way {
            Way::Request => (old, new),
            Way::Response => (new, old),
        };
        let is_nullable = |schema: &Value| schema["nullable"] == true;
        self.expect(!is_nullable(inner) || is_nullable(outer), place, "null");
        for name in LIMITS {
            self.expect(is_within(name, inner, outer), place, &format!("{name} changed"));
        }
        for code in elements(&old["x-extensible-enum"]) {
            let is_kept = elements(&new["x-extensible-enum"]).contains(code);
            self.expect(is_kept, place, &format!("{code} was removed"));
        }
        let keywords: BTreeSet<&str> =
            members(old).chain(members(new)).map(|(key, _)| key).collect();
        for keyword in keywords.into_iter().filter(|keyword| !KNOWN.contains(keyword)) {
            self.expect(old[keyword] == new[keyword], place, &format!("{keyword} changed"));
        }
        for member in elements(&outer["required"]) {
            let is_kept = elements(&inner["required"]).contains(member);
            self.expect(is_kept, &format!("{place} {}", member.as_str().unwrap()), "required");
        }
        for (member, schema) in members(&old["properties"]) {
            let place = format!("{place} {member}");
            match new["properties"].get(member) {
                Some(now) => self.schema(&place, way, schema, now),
                None => self.expect(false, &place, "was removed"),
            }
        }
        let closed = |schema: &Value| schema["additionalProperties"] == false;
        self.expect(!closed(outer) || closed(inner), place, "rejects additional members");
        for name in ["items", "additionalProperties"] {
            if let (Some(before), Some(now)) = (old.get(name), new.get(name)) {
                self.schema(place, way, before, now);
            }
        }
        let shape =
            |schema: &Value| (schema.get("items").is_some(), elements(&schema["allOf"]).len());
        self.expect(shape(old) == shape(new), place, "has another structure");
        for (before, now) in elements(&old["allOf"]).iter().zip(elements(&new["allOf"])) {
            self.schema(place, way, before, now);
        }
    }
}

/// The keywords that limit a value.
const LIMITS: &[&str] =
    &["enum", "pattern", "maxLength", "minLength", "maximum", "minimum", "maxItems", "minItems"];

/// The keywords of a schema that are compared specially or are only for humans. Any other must stay unchanged.
const KNOWN: &[&str] = &[
    "$ref",
    "additionalProperties",
    "allOf",
    "default",
    "description",
    "enum",
    "example",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-extensible-enum",
];

/// The header of a response that a reference names, or the header itself.
fn resolved<'a>(document: &'a Value, header: &'a Value) -> &'a Value {
    header.get("$ref").map_or(header, |r| &document["components"]["headers"][name_of(r)])
}

/// The codes that a description lists, with their statuses: `code` (400).
fn codes(description: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = description.split('`').collect();
    let pairs = parts.get(1..).unwrap_or_default().chunks(2);
    let pairs = pairs.filter_map(|pair| {
        let [code, after] = pair else { return None };
        Some((*code, after.strip_prefix(" (")?.split(')').next()?))
    });
    pairs.collect()
}

/// Whether the inner schema permits no more than the outer one by this keyword.
fn is_within(keyword: &str, inner: &Value, outer: &Value) -> bool {
    match (inner.get(keyword), outer.get(keyword)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) if keyword.starts_with("max") => {
            inner.as_f64().unwrap() <= outer.as_f64().unwrap()
        }
        (Some(inner), Some(outer)) if keyword.starts_with("min") => {
            inner.as_f64().unwrap() >= outer.as_f64().unwrap()
        }
        (Some(Value::Array(inner)), Some(Value::Array(outer))) => {
            inner.iter().all(|value| outer.contains(value))
        }
        (Some(inner), Some(outer)) => inner == outer,
    }
}

/// A change: the place, its new value (null removes it), and the expected message, if it breaks clients.
type Change = (String, Value, Option<&'static str>);

const OAUTH: &str = "/components/securitySchemes/oauth2";
const LIST: &str = "/paths//api/v1/movies/get";
const CREATE: &str = "/paths//api/v1/movies/post";
const MOVIE: &str = "/components/schemas/Movie/properties";
const DRAFT: &str = "/components/schemas/MovieDraft";
const SEARCH: &str = "/components/schemas/SearchRequest/properties";

fn changes() -> Vec<Change> {
    let at = |start: &str, rest: &str, value: Value, breaks: Option<&'static str>| {
        (format!("{start}{rest}"), value, breaks)
    };
    let required = || json!({"name": "stars", "in": "query", "required": true, "schema": {}});
    let optional = || json!({"name": "stars", "in": "query", "schema": {}});
    vec![
        at("", "/paths//livez", Value::Null, Some("get /livez: was removed")),
        at("", "/info/description", json!("other words"), None),
        at("", "/servers", json!([{"url": "/movies"}]), Some("servers: changed")),
        at(OAUTH, "/type", json!("apiKey"), Some("oauth2: type changed")),
        at(OAUTH, "/flows/password/tokenUrl", json!("/token"), Some("tokenUrl changed")),
        at(OAUTH, "/flows/password/scopes/admin", Value::Null, Some("admin was removed")),
        at(OAUTH, "/flows/password/scopes/actors:read", json!("Read actors"), None),
        at("", "/paths//api/v1/actors", json!({"get": {}}), None),
        at(LIST, "/operationId", json!("getMovies"), Some("operationId changed")),
        at(LIST, "/tags", json!(["actors"]), Some("tags changed")),
        at(LIST, "/summary", json!("other words"), None),
        at(LIST, "/security", json!([{"oauth2": ["admin"]}]), Some("requires more of a token")),
        at(LIST, "/security", json!([]), None),
        at("/paths//livez/get", "/security", json!([{"bearer": []}]), Some("requires more")),
        at(LIST, "/parameters/limit", Value::Null, Some("limit: was removed")),
        at(LIST, "/parameters/limit/required", json!(true), Some("limit: is required")),
        at(LIST, "/parameters/limit/schema/maximum", json!(999), Some("limit: maximum")),
        at(LIST, "/parameters/limit/schema/maximum", json!(1001), None),
        at(LIST, "/parameters/limit/schema/minimum", json!(2), Some("limit: minimum")),
        at(LIST, "/parameters/limit/schema/default", json!(10), Some("default changed")),
        at(LIST, "/parameters/limit/schema/type", json!("string"), Some("limit: type")),
        at(LIST, "/parameters/cursor/schema/pattern", json!("^x"), Some("cursor: pattern")),
        at(LIST, "/parameters/cursor/schema/pattern", Value::Null, None),
        at(LIST, "/parameters/stars", required(), Some("stars: is required")),
        at(LIST, "/parameters/stars", optional(), None),
        at(LIST, "/responses/200", Value::Null, Some("200: was removed")),
        at(LIST, "/responses/206", json!({}), Some("succeeds with 206")),
        at(LIST, "/responses/200/headers/Link", Value::Null, Some("Link: was removed")),
        at(LIST, "/responses/200/headers/Sunset", json!({}), None),
        at(CREATE, "/responses/201/headers/ETag/required", json!(false), Some("may be absent")),
        at(CREATE, "/responses/201/headers/ETag/schema/type", json!("integer"), Some("type")),
        at(
            "",
            "/components/headers/RateLimit/schema/type",
            json!("integer"),
            Some("RateLimit: type changed"),
        ),
        at(
            CREATE,
            "/responses/4XX/description",
            json!("Errors: `duplicate` (400), `new` (418)."),
            Some("duplicate has another status"),
        ),
        at(
            "",
            "/components/schemas/Problem/properties/code/x-extensible-enum",
            json!(["internal"]),
            Some("\"invalid_query\" was removed"),
        ),
        at(DRAFT, "/properties/release_year/multipleOf", json!(2), Some("multipleOf")),
        at(
            LIST,
            "/responses/200/content/application~1json/schema",
            json!({"$ref": "#/components/schemas/UserPage"}),
            Some("MoviePage was renamed to UserPage"),
        ),
        at(CREATE, "/requestBody/content/text~1csv", json!({"schema": {}}), None),
        at(CREATE, "/requestBody/content/application~1json", Value::Null, Some("is not accepted")),
        at(MOVIE, "/stars", json!({"type": "integer"}), None),
        at(MOVIE, "/genre", Value::Null, Some("genre: was removed")),
        at(MOVIE, "/genre/nullable", json!(true), Some("genre: null")),
        at(MOVIE, "/title/maxLength", json!(301), Some("title: maxLength")),
        at(MOVIE, "/expiry_date/format", json!("date-time"), Some("expiry_date: format")),
        at("/components/schemas/Movie", "/required", json!([]), Some("title: required")),
        at(DRAFT, "/required", json!(["title"]), None),
        at(DRAFT, "/properties/stars", json!({"type": "integer"}), None),
        at(
            DRAFT,
            "/required",
            json!(["title", "genre", "release_year", "expiry_date", "stars"]),
            Some("stars: required"),
        ),
        at(DRAFT, "/properties/title/maxLength", json!(299), Some("title: maxLength")),
        at(DRAFT, "/properties/title/maxLength", json!(301), None),
        at(DRAFT, "/additionalProperties", json!(true), None),
        at(
            "/components/schemas/UserDraft",
            "/properties/name/pattern",
            json!("x"),
            Some("name: pattern"),
        ),
        at(SEARCH, "/limit/nullable", Value::Null, Some("limit: null")),
        at(
            SEARCH,
            "/count/allOf",
            json!([{"type": "integer"}]),
            Some("a named and an inline schema"),
        ),
        // The roles are in responses, so none may be added; they are in requests too, so none may be removed.
        at(
            "",
            "/components/schemas/Role/enum",
            json!(["viewer", "editor", "admin", "owner"]),
            Some("role: enum"),
        ),
        at("", "/components/schemas/Role/enum", json!(["viewer", "editor"]), Some("role: enum")),
        at("", "/components/schemas/OnConflict/enum", json!(["fail"]), Some("on_conflict: enum")),
        at(
            "",
            "/components/schemas/OnConflict/enum",
            json!(["fail", "skip", "update", "ask"]),
            None,
        ),
    ]
}

/// Puts a value at a place of the document. A place is a JSON pointer with two differences: the path of operations starts
/// with `//`, and elements of a list are selected by their names.
fn put(document: &mut Value, place: &str, value: &Value) {
    let mut at = document;
    let mut segments = segments(place).into_iter().peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let named = |element: &Value| element["name"] == segment.as_str();
        match at {
            Value::Array(elements) if is_last => {
                elements.retain(|element| !named(element));
                if !value.is_null() {
                    elements.push(value.clone());
                }
                return;
            }
            Value::Array(elements) => at = elements.iter_mut().find(|e| named(e)).unwrap(),
            Value::Object(object) if is_last => {
                if value.is_null() {
                    assert!(object.remove(&segment).is_some(), "{place} does not exist");
                } else {
                    object.insert(segment, value.clone());
                }
                return;
            }
            _ => at = at.get_mut(&segment).unwrap_or_else(|| panic!("{place}: no {segment}")),
        }
    }
}

fn segments(place: &str) -> Vec<String> {
    let Some((start, rest)) = place.split_once("//") else {
        let segments = place.split('/').skip(1);
        return segments.map(|segment| segment.replace("~1", "/")).collect();
    };
    let methods = ["get", "post", "put", "patch", "delete"];
    let rest: Vec<&str> = rest.split('/').collect();
    let end = rest.iter().position(|segment| methods.contains(segment)).unwrap_or(rest.len());
    let path = format!("/{}", rest[..end].join("/"));
    let below = rest[end..].iter().map(|segment| segment.replace("~1", "/"));
    segments(start).into_iter().chain([path]).chain(below).collect()
}

#[test]
fn breaking_changes_are_found() {
    let document = specification(Catalogue::built_in());
    assert_eq!(breaks(&document, &document), Vec::<String>::new());
    for (place, value, expected) in changes() {
        println!("{place} {value}");
        let mut changed = document.clone();
        put(&mut changed, &place, &value);
        assert!(changed != document);
        let found = breaks(&document, &changed);
        match expected {
            Some(part) => assert!(found.iter().any(|one| one.contains(part)), "{found:#?}"),
            None => assert!(found.is_empty(), "{found:#?}"),
        }
    }
}
