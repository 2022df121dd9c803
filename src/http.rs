//! The service over HTTP: every route on one screen.
//!
//! A request passes, from the outside in: `envelope` (request id, log, panics, compression, and
//! the one place where an error becomes a problem document), `resource` (methods and query
//! parameters, as strict as the specification says), the operation.

mod body;
mod caller;
mod conditional;
mod connection;
mod documentation;
mod envelope;
mod exchange;
mod facets;
mod health;
mod host;
mod legacy;
mod limits;
mod probe;
mod problem;
mod query;
mod records;
mod resource;
mod route;
mod saved;
mod serve;
mod specification;
mod stream;
mod throttle;
mod token;
mod transfer;
mod usage;
mod users;

use poem::{Endpoint, EndpointExt, Request, Route};

pub use self::body::MAX_BODY_BYTES;
pub use self::limits::Limits;
use self::route::routes;
pub use self::serve::{serve, serve_within};
pub use self::specification::specification;
pub use self::transfer::{IMPORT_IDLE_TIMEOUT, MAX_IMPORT_BYTES};
use crate::app::App;

/// The operations on the records of a collection. They are written once, with `{records}` in their paths, and
/// served for each collection of the catalogue.
type OnRecords =
    ((records::Operations, facets::Operations), (transfer::Operations, saved::Operations));

/// The other operations: on queries, `/api/token`, users, the legacy ones, and `/livez` and `/readyz`.
type OnService = (
    (query::Operations, (token::Operations, (users::Operations, usage::Operations))),
    (legacy::Operations, health::Operations),
);

fn on_records() -> OnRecords {
    ((records::Operations, facets::Operations), (transfer::Operations, saved::Operations))
}

fn on_service() -> OnService {
    let people = (token::Operations, (users::Operations, usage::Operations));
    ((query::Operations, people), (legacy::Operations, health::Operations))
}

routes! {
    // Records.
    get "/api/v1/{records}" as "list{Records}": "A page of {records}.";
    post "/api/v1/{records}" as "create{Record}": "The {record} as created.", or InvalidRecord | Duplicate;
    post "/api/v1/{records}/search" as "search{Records}": "A page of {records}.", or InvalidQuery | InvalidCursor;
    get "/api/v1/{records}/facets" as "get{Record}Facets": "How many {records} there are, by value or bucket.";
    get "/api/v1/{records}/export" as "export{Records}": "The file.";
    post "/api/v1/{records}/import" as "import{Records}": "What was done with the rows.", or RowsRejected;
    get "/api/v1/{records}/{id}" as "get{Record}": "The {record}.";
    get "/api/v1/{records}/{id}/match" as "match{Record}": "Whether the filter finds the {record}, test by test.";
    put "/api/v1/{records}/{id}" as "replace{Record}": "The {record} as it is now.", or InvalidRecord | Duplicate;
    patch "/api/v1/{records}/{id}" as "update{Record}": "The {record} as it is now.", or InvalidRecord | Duplicate;
    delete "/api/v1/{records}/{id}" as "delete{Record}": "The {record} is deleted.";

    // Saved queries.
    get "/api/v1/queries/{records}" as "list{Record}Queries": "The queries.";
    post "/api/v1/queries/{records}" as "create{Record}Query": "The query as saved.", or InvalidQuery | InvalidRecord | Duplicate;
    get "/api/v1/queries/{records}/{name}" as "get{Record}Query": "The query.";
    put "/api/v1/queries/{records}/{name}" as "replace{Record}Query": "The query as it is now.",
        or InvalidQuery | InvalidRecord | BuiltIn | Duplicate;
    delete "/api/v1/queries/{records}/{name}" as "delete{Record}Query": "The query is deleted.", or BuiltIn;
    get "/api/v1/queries/{records}/{name}/results" as "run{Record}Query": "A page of {records}.", or InvalidQuery | QueryOutdated;
    post "/api/v1/queries/{records}/{name}/results" as "run{Record}QueryWithBody": "A page of {records}.",
        or InvalidQuery | InvalidCursor | QueryOutdated;

    // The language.
    get "/api/v1/schema" as "getSchema": "The records with their fields, and the language.";
    get "/api/v1/query/check" as "checkQuery": "What there is to say of the query, be it right or wrong.";
    get "/api/v1/query/explain" as "explainQuery": "The statement and the plan of the database.";
    get "/api/v1/query/complete" as "completeQuery": "How the filter may go on.";

    // Signing in, and users.
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

    // The routes of the previous service.
    get "/api" as "legacyListMovies": "All movies.";
    post "/api" as "legacyCreateMovie": "The movie as created.", or InvalidRecord;
    delete "/api" as "legacyDeleteMovie": "The movie that was deleted.", or Ambiguous;
    get "/api/search" as "legacySearchMovies": "The movies that were found.";
    get "/api/expiredMovies" as "legacyListExpiredMovies": "The movies that were found.";

    // Probes.
    get "/livez" as "getLiveness": "The process lives.";
    get "/readyz" as "getReadiness": "The service can serve.";
}

/// Paths that stand for another one: the previous service served `/api/` as well as `/api`, and a browser
/// that opens the service gets the page. `/docs/` is not among them: the page's relative URLs would resolve
/// to other paths there, so it redirects.
const ALIASES: &[(&str, &str)] = &[("/", "/docs"), ("/api/", "/api")];

async fn canonical(mut request: Request) -> poem::Result<Request> {
    let uri = request.uri();
    if let Some((_, path)) = ALIASES.iter().find(|(alias, _)| *alias == uri.path()) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // What was an address is one with another path.
        if let Ok(uri) = format!("{path}{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
    Ok(request)
}

/// The whole service.
fn endpoint(app: App) -> impl Endpoint + 'static {
    let specification = specification(app.catalogue());
    Route::new()
        .nest("/", resource::routes(app.catalogue()))
        .at("/openapi.json", documentation::specification(&specification))
        .at("/docs", documentation::page())
        .at("/docs/", documentation::redirect())
        .at("/docs/:file", documentation::file())
        .data(app)
        .before(canonical)
        .before(host::check)
        .around(envelope::wrap)
}
