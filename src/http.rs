//! The HTTP interface: the table of all routes, and the endpoint that serves them.
//!
//! A request passes three layers, from the outside in:
//!
//! 1. `envelope`: request id, panics, compression. Errors become problem documents here only. `event` notes the request.
//! 2. `resource`: methods and query parameters, exactly as the OpenAPI document lists them.
//! 3. The operation.

mod account;
mod admin;
mod batch;
mod body;
mod bulk;
mod caller;
mod conditional;
mod connection;
mod console;
mod cors;
mod documentation;
mod envelope;
mod event;
mod exchange;
mod facets;
mod filters;
mod forms;
mod guide;
mod health;
mod history;
mod host;
mod idempotency;
mod legacy;
mod limits;
mod listener;
mod malformed;
mod page;
mod parameters;
mod probe;
mod problem;
mod query;
mod records;
mod request_line;
mod resource;
mod route;
mod saved;
mod serve;
mod session;
mod specification;
mod stream;
mod throttle;
mod token;
mod transfer;
mod unknown;
mod usage;
mod users;

use std::sync::LazyLock;

use poem::error::NotFoundError;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route};

pub use self::cors::Origins;
pub use self::guide::files as guide;
pub use self::limits::{DEFAULT_BODY_BYTES, DEFAULT_IMPORT_BYTES, Limits};
pub use self::listener::{Listener, SocketFile};
use self::route::routes;
pub use self::serve::{Settings, serve, serve_with};
pub use self::specification::{specification, specification_for};
pub use self::transfer::IMPORT_IDLE_TIMEOUT;
use self::unknown::Known;
use crate::app::App;
use crate::error::{Error, Kind};

/// The operations on the records of a collection. Each is declared once, with `{records}` in its path, and
/// served for every collection of the catalogue.
type OnRecords = (
    (
        (records::Operations, history::Operations),
        ((bulk::Operations, batch::Operations), facets::Operations),
    ),
    (transfer::Operations, saved::Operations),
);

/// All other operations: changes, batches, queries, tokens, sessions, users, usage, the legacy routes, `/livez` and `/readyz`.
type OnService = (
    (
        ((history::ChangeOperations, batch::SeveralOperations), query::Operations),
        (
            (token::Operations, session::Operations, account::Operations),
            (users::Operations, usage::Operations),
        ),
    ),
    (legacy::Operations, health::Operations),
);

fn on_records() -> OnRecords {
    let bulk = ((bulk::Operations, batch::Operations), facets::Operations);
    let records = ((records::Operations, history::Operations), bulk);
    (records, (transfer::Operations, saved::Operations))
}

fn on_service() -> OnService {
    let several = ((history::ChangeOperations, batch::SeveralOperations), query::Operations);
    let tokens = (token::Operations, session::Operations, account::Operations);
    let accounts = (tokens, (users::Operations, usage::Operations));
    ((several, accounts), (legacy::Operations, health::Operations))
}

routes! {
    // Records.
    get "/api/v1/{records}" as "list{Records}": "A page of {records}.";
    post "/api/v1/{records}" as "create{Record}": "The {record}.", or InvalidRecord | Duplicate;
    patch "/api/v1/{records}" as "bulkUpdate{Records}": "What was updated.",
        or InvalidQuery | InvalidRecord | UnexpectedCount | Duplicate;
    delete "/api/v1/{records}" as "bulkDelete{Records}": "What was deleted.", or InvalidQuery | UnexpectedCount;
    post "/api/v1/{records}/batch" as "batch{Records}": "The results by position.", or InvalidRecord | BatchFailed;
    post "/api/v1/{records}/search" as "search{Records}": "A page of {records}.", or InvalidQuery | InvalidCursor;
    get "/api/v1/{records}/facets" as "get{Record}Facets": "The number of {records} per value or bucket.";
    get "/api/v1/{records}/export" as "export{Records}": "A file with the matching {records}.";
    post "/api/v1/{records}/import" as "import{Records}": "The import report.", or RowsRejected | EveryRowRejected;
    get "/api/v1/{records}/{id}" as "get{Record}": "The {record}.";
    get "/api/v1/{records}/{id}/match" as "match{Record}": "The result of the filter and of each of its tests.";
    put "/api/v1/{records}/{id}" as "replace{Record}": "The replaced {record}.", or InvalidRecord | Duplicate;
    patch "/api/v1/{records}/{id}" as "update{Record}": "The updated {record}.", or InvalidRecord | Duplicate;
    delete "/api/v1/{records}/{id}" as "delete{Record}": "The {record} was deleted.";
    get "/api/v1/{records}/{id}/history" as "get{Record}History": "A page of versions.";
    delete "/api/v1/{records}/{id}/history" as "erase{Record}History": "The history was erased.";
    post "/api/v1/{records}/{id}/restore" as "restore{Record}": "The restored {record}.", or InvalidRecord | Duplicate;
    post "/api/v1/batch" as "writeBatch": "The results by position.", or InvalidRecord | BatchFailed;
    get "/api/v1/changes" as "listChanges": "A page of changes.", or InvalidQuery;

    // Saved queries.
    get "/api/v1/queries/{records}" as "list{Record}Queries": "A page of saved queries.";
    post "/api/v1/queries/{records}" as "create{Record}Query": "The saved query.", or InvalidQuery | InvalidRecord | Duplicate;
    get "/api/v1/queries/{records}/{name}" as "get{Record}Query": "The saved query.";
    put "/api/v1/queries/{records}/{name}" as "replace{Record}Query": "The replaced query.",
        or InvalidQuery | InvalidRecord | BuiltIn | Duplicate;
    delete "/api/v1/queries/{records}/{name}" as "delete{Record}Query": "The query was deleted.", or BuiltIn;
    get "/api/v1/queries/{records}/{name}/results" as "run{Record}Query": "A page of {records}.", or InvalidQuery | QueryOutdated;
    post "/api/v1/queries/{records}/{name}/results" as "run{Record}QueryWithBody": "A page of {records}.",
        or InvalidQuery | InvalidCursor | QueryOutdated;

    // The language.
    get "/api/v1/schema" as "getSchema": "The record types with their fields, and the functions, keywords and limits of the language.";
    get "/api/v1/query/check" as "checkQuery": "The result of the check, also for an invalid query.";
    get "/api/v1/query/explain" as "explainQuery": "The SQL statement, its values and the query plan.";
    get "/api/v1/query/complete" as "completeQuery": "The candidates for completion.";

    // Tokens, usage and users.
    post "/api/token" as "signIn": "An access token.",
        or InvalidRecord | InvalidGrant | InvalidScope | InvalidRequest | UnsupportedGrantType | SignInElsewhere
            | InvalidClient | Unauthenticated | TooManyRequests;
    post "/api/token/revoke" as "signOut": "The token is revoked within a second, or was not valid.", or InvalidRequest;
    post "/api/v1/revocations" as "revokeTokens": "The tokens are revoked within a second.",
        or InvalidRecord | InsufficientScope;
    get "/api/v1/sign-in" as "getSignInMethod": "How users sign in.";
    post "/api/v1/session/sign-in" as "startSession": "An access token. The cookie is set.",
        or InvalidRecord | InvalidScope | SignInElsewhere | Unauthenticated | CrossOrigin | TooManyRequests;
    post "/api/v1/session/renew" as "renewSession": "An access token. The next cookie is set.",
        or InvalidScope | Unauthenticated | CrossOrigin | UnsupportedMediaType | TooManyRequests;
    post "/api/v1/session/sign-out" as "endSession": "The session has ended.", or CrossOrigin | UnsupportedMediaType;
    get "/api/v1/me" as "getMe": "The caller.";
    put "/api/v1/me/password" as "changePassword": "A new access token.",
        or InvalidRecord | WrongPassword | NoPassword;
    get "/api/v1/usage" as "getUsage": "A page of request counts.", or InsufficientScope;
    get "/api/v1/users" as "listUsers": "A page of users.";
    post "/api/v1/users" as "createUser": "The created user.", or InvalidRecord | Duplicate;
    get "/api/v1/users/{name}" as "getUser": "The user.";
    patch "/api/v1/users/{name}" as "updateUser": "The updated user.",
        or InvalidRecord | LastAdministrator;
    delete "/api/v1/users/{name}" as "deleteUser": "The user was deleted.", or LastAdministrator;

    // The routes of the previous service.
    get "/api" as "legacyListMovies": "All movies.";
    post "/api" as "legacyCreateMovie": "The created movie.", or InvalidRecord;
    delete "/api" as "legacyDeleteMovie": "The deleted movie.", or Ambiguous;
    get "/api/search" as "legacySearchMovies": "The matching movies.";
    get "/api/expiredMovies" as "legacyListExpiredMovies": "The matching movies.";

    // Probes.
    get "/livez" as "getLiveness": "The process is running.";
    get "/readyz" as "getReadiness": "The service is ready to serve requests.";
}

/// Aliases of paths. `/api/` works because the previous service served it. `/docs/` redirects instead, because the
/// relative URLs of the page would resolve to other paths there.
const ALIASES: &[(&str, &str)] = &[("/api/", "/api")];

async fn canonical(mut request: Request) -> poem::Result<Request> {
    let uri = request.uri();
    if let Some((_, path)) = ALIASES.iter().find(|(alias, _)| *alias == uri.path()) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // Parsing cannot fail: only the path of a valid URI changes.
        if let Ok(uri) = format!("{path}{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
    Ok(request)
}

/// Returns the endpoint that serves all routes.
fn endpoint(app: App) -> impl Endpoint + 'static {
    let catalogue = app.catalogue();
    // Building the document takes most of the time of a start, so that happens when it is needed.
    let known = LazyLock::new(Box::new(move || Known::of(&specification(catalogue))) as _);
    let pages = Route::new()
        .at("/", console::page())
        .at("/console/:hash/:file", console::file())
        .at("/openapi.json", documentation::specification(catalogue, app.anonymous().cloned()))
        .at("/docs", documentation::page())
        .at("/docs/", documentation::redirect())
        .at("/docs/oauth2-redirect", documentation::redirected())
        .at("/docs/:hash/:file", documentation::file())
        .at("/docs/guide", guide::redirect("guide/index.html"))
        .at("/docs/guide/", guide::redirect("index.html"))
        .at("/docs/guide/:file", guide::file());
    let routes = Routes { operations: resource::routes(catalogue), pages, known };
    let endpoint = routes.data(app.clone()).before(canonical).before(host::check);
    Enveloped { endpoint, app }
}

/// An endpoint within the outermost layer.
struct Enveloped<E> {
    endpoint: E,
    app: App,
}

impl<E: Endpoint> Endpoint for Enveloped<E> {
    type Output = Response;

    fn call(&self, request: Request) -> impl Future<Output = poem::Result<Response>> + Send {
        envelope::wrap(self.app.admission(), &self.endpoint, request)
    }
}

/// The documented operations and the pages. They have a router each: in one router the operations would be nested, and
/// each request would be routed twice.
struct Routes<O> {
    operations: O,
    pages: Route,
    known: LazyLock<Known, Box<dyn FnOnce() -> Known + Send>>,
}

impl<O: Endpoint> Endpoint for Routes<O> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let uri = request.uri().clone();
        let path = uri.path();
        if path.contains('%') && parameters::decode(path).is_none() {
            let detail = "expected percent-encoded UTF-8 in the path; write `%` as `%25`";
            return Ok(envelope::error_response(Error::new(Kind::InvalidParameter, detail)));
        }
        let is_page = ["/", "/openapi.json", "/docs"].contains(&path)
            || ["/docs/", "/console/"].iter().any(|folder| path.starts_with(folder));
        let response = match is_page {
            true => self.pages.call(request).await,
            false => self.operations.call(request).await.map(IntoResponse::into_response),
        };
        match response {
            Err(error) if error.is::<NotFoundError>() => {
                Ok(envelope::error_response(self.known.error(path)))
            }
            other => other,
        }
    }
}
