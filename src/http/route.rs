//! What the specification says of each operation that the framework cannot take from the code: it takes ids and
//! descriptions as literals alone.

use crate::error::Kind;

/// A route and what is said of it. In its texts `{record}`, `{Record}`, `{records}` and `{Records}` stand for the
/// names of a record type; a route with `{records}` in its path is served for each collection.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The `operationId`: the name that generated clients give it.
    pub(super) id: &'static str,
    /// What a success returns.
    pub(super) done: &'static str,
    /// The errors it may respond with, beside those of every operation of its shape.
    pub(super) errors: &'static [Kind],
}

macro_rules! routes {
    ($($method:ident $path:literal as $id:literal: $done:literal $(, or $($error:ident)|+)?;)+) => {
        /// Every route.
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

/// The operations that take any text for a query, an unfinished or too long one too, and say what is wrong
/// with it.
pub(super) const LENIENT: &[&str] = &["checkQuery", "completeQuery"];

/// A link of OpenAPI: what an operation may be followed by, and where that takes its parameters from. There
/// is none to the next page of a search: it needs all that the search had, and a link cannot say "if".
pub(super) struct Link {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// Names of parameters, and runtime expressions.
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
        /// The links, by operation ids.
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

/// The tag of the routes of the previous service, which are there where its movies are.
const LEGACY_TAG: &str = "legacy";

/// The schemas that these routes alone use.
pub(super) const LEGACY_SCHEMAS: [&str; 2] = ["LegacyMovie", "MovieList"];

/// Whether an operation with these tags is one of them.
pub(super) fn is_legacy<'t>(tags: impl IntoIterator<Item = &'t str>) -> bool {
    tags.into_iter().any(|tag| tag == LEGACY_TAG)
}
