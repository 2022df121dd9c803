//! The service over HTTP: every route on one screen.
//!
//! A request passes, from the outside in: `envelope` (request id, log, panics, compression, and
//! the one place where an error becomes a problem document), `resource` (methods and query
//! parameters, as strict as the specification says), the operation.

mod body;
mod caller;
mod classic;
mod conditional;
mod connection;
mod documentation;
mod envelope;
mod exchange;
mod facets;
mod health;
mod host;
mod limits;
mod probe;
mod problem;
mod query;
mod records;
mod resource;
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
use poem_openapi::OpenApi;

pub use self::body::MAX_BODY_BYTES;
pub use self::limits::Limits;
pub use self::serve::{serve, serve_within};
pub use self::specification::specification;
pub use self::transfer::{IMPORT_IDLE_TIMEOUT, MAX_IMPORT_BYTES};
use crate::app::App;
use crate::record::{Record, Records};

/// A set of record types with their operations.
pub trait Served: Records {
    /// The operations of all of them.
    type Operations: OpenApi + Send + Sync + 'static;

    /// The operations of all of them.
    fn operations() -> Self::Operations;
}

macro_rules! served {
    ($(($($record:ident),+) => $operations:ty;)+) => {$(
        impl<$($record: Record),+> Served for ($($record,)+) {
            type Operations = $operations;

            fn operations() -> Self::Operations {
                Default::default()
            }
        }
    )+};
}

served! {
    (A) => OfRecord<A>;
    (A, B) => (OfRecord<A>, OfRecord<B>);
    (A, B, C) => (OfRecord<A>, (OfRecord<B>, OfRecord<C>));
}

/// The operations on one type of record.
type OfRecord<R> = (
    records::Operations<R>,
    ((facets::Operations<R>, transfer::Operations<R>), saved::Operations<R>),
);

/// The operations of the specification: those of the records, those on queries, `/api/token`, users,
/// the classic ones, and `/livez` and `/readyz`.
type Operations<C> = (<C as Served>::Operations, (query::Operations<C>, OfService));

/// The operations that know no record types.
type OfService = (
    (token::Operations, (users::Operations, usage::Operations)),
    (classic::Operations, health::Operations),
);

fn operations<C: Served>() -> Operations<C> {
    let people = (token::Operations, (users::Operations, usage::Operations));
    let of_service = (people, (classic::Operations, health::Operations));
    (C::operations(), (query::Operations::default(), of_service))
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
fn endpoint<C: Served>(app: App) -> impl Endpoint + 'static {
    let specification = specification::<C>();
    Route::new()
        .nest("/", resource::routes(operations::<C>()))
        .at("/openapi.json", documentation::specification(&specification))
        .at("/docs", documentation::page())
        .at("/docs/", documentation::redirect())
        .at("/docs/:file", documentation::file())
        .data(app)
        .before(canonical)
        .before(host::check)
        .around(envelope::wrap)
}
