//! The part of the OpenAPI document that the framework cannot generate for our operations: it accepts ids and
//! descriptions as literals only, without placeholders.

use crate::error::Kind;
use crate::query::Schema;

/// A route and its documentation. The placeholders `{record}`, `{Record}`, `{records}` and `{Records}` in its texts
/// become the names of a record type. A route with `{records}` in its path is served for each collection.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The `operationId`, from which generated clients derive the method name.
    pub(super) id: &'static str,
    /// The description of the successful response.
    pub(super) done: &'static str,
    /// Its additional errors. The document derives the others from parameters, body and security.
    pub(super) errors: &'static [Kind],
}

macro_rules! routes {
    ($($method:ident $path:literal as $id:literal: $done:literal $(, or $($error:ident)|+)?;)+) => {
        /// All documented routes.
        const ROUTES: &[$crate::http::route::Route] = &[$($crate::http::route::Route {
            method: stringify!($method),
            path: $path,
            id: $id,
            done: $done,
            errors: &[$($($crate::error::Kind::$error),+)?],
        }),+];
    };
}

pub(super) use routes;

/// Replaces the placeholders `{record}`, `{Record}`, `{records}` and `{Records}` by the names of a record type.
pub(super) fn named(text: &str, schema: &Schema) -> String {
    let (record, records) = (schema.name, schema.collection);
    let mut plural: Vec<char> = records.chars().collect();
    if let Some(initial) = plural.first_mut() {
        initial.make_ascii_uppercase();
    }
    text.replace("{Records}", &plural.into_iter().collect::<String>())
        .replace("{records}", records)
        .replace("{Record}", record)
        .replace("{record}", &record.to_lowercase())
}

/// The operations that accept any text as a query, even an unfinished or too long one, and report its errors in a 200
/// response.
pub(super) const LENIENT: &[&str] = &["checkQuery", "completeQuery"];

/// A link of OpenAPI: an operation that can follow, and the sources of its parameters. The next page of a search has no
/// link, because it requires all parameters of the search, and links cannot express that some are optional.
pub(super) struct Link {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// The parameters: name and runtime expression.
    pub(super) parameters: &'static [(&'static str, &'static str)],
}

const ID: (&str, &str) = ("id", "$response.body#/id");
const NAME: (&str, &str) = ("name", "$response.body#/name");
const OLD_ID: (&str, &str) = ("id", "$request.path.id");
const OLD_NAME: (&str, &str) = ("name", "$request.path.name");
const VERSION: (&str, &str) = ("If-Match", "$response.header.ETag");
const AFTER: (&str, &str) = ("after", "$response.body#/next_after");

macro_rules! links {
    ($($from:literal => $($to:literal [$($parameter:expr),+]),+;)+) => {
        /// All links, by operation id.
        pub(super) const LINKS: &[Link] =
            &[$($(Link { from: $from, to: $to, parameters: &[$($parameter),+] }),+),+];
    };
}

links! {
    "create{Record}" => "get{Record}" [ID], "match{Record}" [ID], "replace{Record}" [ID, VERSION],
        "update{Record}" [ID, VERSION], "delete{Record}" [ID, VERSION];
    "get{Record}" => "replace{Record}" [OLD_ID, VERSION], "update{Record}" [OLD_ID, VERSION],
        "delete{Record}" [OLD_ID, VERSION];
    "replace{Record}" => "get{Record}" [OLD_ID], "delete{Record}" [OLD_ID, VERSION];
    "update{Record}" => "get{Record}" [OLD_ID], "delete{Record}" [OLD_ID, VERSION];
    "create{Record}Query" => "get{Record}Query" [NAME], "replace{Record}Query" [NAME, VERSION],
        "delete{Record}Query" [NAME, VERSION], "run{Record}Query" [NAME],
        "run{Record}QueryWithBody" [NAME];
    "get{Record}Query" => "replace{Record}Query" [OLD_NAME, VERSION],
        "delete{Record}Query" [OLD_NAME, VERSION];
    "createUser" => "getUser" [NAME], "updateUser" [NAME, VERSION], "deleteUser" [NAME, VERSION];
    "getUser" => "updateUser" [OLD_NAME, VERSION], "deleteUser" [OLD_NAME, VERSION];
    "listUsers" => "listUsers" [AFTER];
}

/// The tag of the legacy routes, which exist if the catalogue has a collection `movies` with their fields.
const LEGACY_TAG: &str = "legacy";

/// The schemas that only the legacy routes use.
pub(super) const LEGACY_SCHEMAS: [&str; 2] = ["LegacyMovie", "MovieList"];

/// Returns whether an operation with these tags is a legacy route.
pub(super) fn is_legacy<'t>(tags: impl IntoIterator<Item = &'t str>) -> bool {
    tags.into_iter().any(|tag| tag == LEGACY_TAG)
}
