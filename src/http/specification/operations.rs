//! What the specification says of each operation that the framework cannot take from the code: it
//! takes ids and descriptions as literals alone, and many operations are generic.

use crate::error::Kind;

/// What is said of an operation. `{record}`, `{Record}`, `{records}` and `{Records}` stand for the names
/// of the record that it is about.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// What follows the path of the collection, or all of the path.
    pub(super) path: &'static str,
    /// The `operationId`: the name that generated clients give it.
    pub(super) id: &'static str,
    /// What a success brings.
    pub(super) done: &'static str,
    /// What it may refuse a request with, beside what every operation of its shape does.
    pub(super) refusals: &'static [Kind],
}

macro_rules! operations {
    ($($(#[doc = $about:literal])+ $table:ident {
        $($method:ident $path:literal as $id:literal: $done:literal $(, or $($refusal:ident)|+)?;)+
    })+) => {$(
        $(#[doc = $about])+
        pub(super) const $table: &[Operation] = &[$(Operation {
            method: stringify!($method),
            path: $path,
            id: $id,
            done: $done,
            refusals: &[$($(Kind::$refusal),+)?],
        }),+];
    )+};
}

operations! {
    /// The operations on records, by what follows the path of their collection.
    ON_RECORDS {
        get "" as "list{Records}": "A page of {records}.";
        post "" as "create{Record}": "The {record} as created.", or InvalidRecord | Duplicate;
        post "/search" as "search{Records}": "A page of {records}.", or InvalidQuery | InvalidCursor;
        get "/facets" as "get{Record}Facets": "How many {records} there are, by value or bucket.";
        get "/export" as "export{Records}": "The file.";
        post "/import" as "import{Records}": "What was done with the rows.", or RowsRefused;
        get "/{id}" as "get{Record}": "The {record}.";
        get "/{id}/match" as "match{Record}": "Whether the filter finds the {record}, test by test.";
        put "/{id}" as "replace{Record}": "The {record} as it is now.", or InvalidRecord | Duplicate;
        patch "/{id}" as "update{Record}": "The {record} as it is now.", or InvalidRecord | Duplicate;
        delete "/{id}" as "delete{Record}": "The {record} is deleted.";
    }

    /// The operations on saved queries, by what follows the path of those on a collection.
    ON_QUERIES {
        get "" as "list{Record}Queries": "The queries.";
        post "" as "create{Record}Query": "The query as saved.", or InvalidQuery | InvalidRecord | Duplicate;
        get "/{name}" as "get{Record}Query": "The query.";
        put "/{name}" as "replace{Record}Query": "The query as it is now.",
            or InvalidQuery | InvalidRecord | BuiltIn | Duplicate;
        delete "/{name}" as "delete{Record}Query": "The query is deleted.", or BuiltIn;
        get "/{name}/results" as "run{Record}Query": "A page of {records}.", or InvalidQuery | QueryOutdated;
        post "/{name}/results" as "run{Record}QueryWithBody": "A page of {records}.",
            or InvalidQuery | InvalidCursor | QueryOutdated;
    }

    /// The operations that belong to no record's collection, by their path.
    ON_SERVICE {
        get "/api/v1/schema" as "getSchema": "The records with their fields, and the language.";
        get "/api/v1/query/check" as "checkQuery": "What there is to say of the query, be it right or wrong.";
        get "/api/v1/query/explain" as "explainQuery": "The statement and the plan of the database.";
        get "/api/v1/query/complete" as "completeQuery": "How the filter may go on.";
        post "/api/token" as "signIn": "A token.",
            or InvalidRecord | InvalidGrant | InvalidScope | InvalidRequest | UnsupportedGrantType | SignInElsewhere
                | InvalidClient | Unauthenticated | TooManyRequests;
        post "/api/token/revoke" as "signOut": "The token ends within a second.", or InvalidRequest;
        post "/api/v1/revocations" as "revokeTokens": "The tokens end within a second.",
            or InvalidRecord | InsufficientScope;
        get "/api/v1/usage" as "getUsage": "How many requests were sent.", or InsufficientScope;
        get "/api/v1/users" as "listUsers": "A page of users.";
        post "/api/v1/users" as "createUser": "The user as added.", or InvalidRecord | Duplicate;
        get "/api/v1/users/{name}" as "getUser": "The user.";
        patch "/api/v1/users/{name}" as "updateUser": "The user as they are now.",
            or InvalidRecord | LastAdministrator;
        delete "/api/v1/users/{name}" as "deleteUser": "The user is removed.", or LastAdministrator;
        get "/api" as "classicListMovies": "All movies.";
        post "/api" as "classicCreateMovie": "The movie as created.", or InvalidRecord;
        delete "/api" as "classicDeleteMovie": "The movie that was deleted.", or Ambiguous;
        get "/api/search" as "classicSearchMovies": "The movies that were found.";
        get "/api/expiredMovies" as "classicListExpiredMovies": "The movies that were found.";
        get "/livez" as "getLiveness": "The process lives.";
        get "/readyz" as "getReadiness": "The service can serve.";
    }
}

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
