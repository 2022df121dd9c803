//! Strict routing: each path accepts the documented methods only, and each operation the documented query parameters
//! only (`parameters.rs`). Anything else is an error and not ignored.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::endpoint::BoxEndpoint;
use poem::http::header::{ALLOW, CONTENT_LENGTH};
use poem::http::{HeaderValue, Method};
use poem::{Endpoint, EndpointExt, IntoEndpoint, Request, Response, RouteMethod};
use poem_openapi::error::{AuthorizationError, ParseParamError, ParsePathError};
use poem_openapi::registry::{MetaApi, MetaParamIn, Registry};
use poem_openapi::{OpenApi, OpenApiService};

use super::envelope::{METHODS, error_response, from_status};
use super::exchange::{Exchange, Operation};
use super::parameters::{Parameter, Parameters, decode};
use super::route::{Route, is_legacy, named};
use super::{OnRecords, OnService, ROUTES, conditional, on_records, on_service, parameters};
use crate::app::legacy::movies as legacy_movies;
use crate::error::{Error, Kind};
use crate::query::Schema;
use crate::record::Catalogue;

type Methods = HashMap<Method, BoxEndpoint<'static>>;

/// The placeholder for the name of a collection in paths.
const RECORDS: &str = "{records}";

/// The suffix of the paths that run a saved query.
const SAVED_FILTER: &str = "/results";

/// Returns the routes of all documented operations for a catalogue.
pub(super) fn routes(catalogue: Catalogue) -> impl Endpoint {
    OpenApiService::new(Strict(catalogue), "", "").into_endpoint()
}

/// Returns a GET route that is not in the OpenAPI document. It accepts no query parameters.
pub(super) fn read_only(
    endpoint: impl Endpoint + 'static,
) -> impl IntoEndpoint<Endpoint = RouteMethod> {
    let endpoint = endpoint.map_to_response().boxed();
    let parameters = Arc::new(Parameters::default());
    let strict = StrictOperation { endpoint, operation: None, parameters, is_public: true };
    let strict = strict.boxed();
    complete(HashMap::from([(Method::GET, strict)]))
        .into_iter()
        .fold(RouteMethod::new(), |route, (method, endpoint)| route.method(method, endpoint))
}

/// All operations with strict checks. Operations on records are added once per record type.
pub(super) struct Strict(pub(super) Catalogue);

impl OpenApi for Strict {
    fn meta() -> Vec<MetaApi> {
        let mut merged: Vec<MetaApi> = Vec::new();
        for api in <(OnRecords, OnService)>::meta() {
            let mut own = MetaApi { paths: Vec::new() };
            for path in api.paths {
                // Otherwise the document would have the path twice, if its operations are declared in two places.
                let mut others = merged.iter_mut().flat_map(|api| api.paths.iter_mut());
                match others.find(|other| other.path == path.path) {
                    Some(other) => other.operations.extend(path.operations),
                    None => own.paths.push(path),
                }
            }
            merged.push(own);
        }
        merged
    }

    fn register(registry: &mut Registry) {
        <(OnRecords, OnService)>::register(registry);
    }

    fn add_routes(self, table: &mut HashMap<String, Methods>) {
        let Self(catalogue) = self;
        for schema in catalogue.schemas() {
            add_strict(on_records(), Some(schema), table);
        }
        add_strict(on_service(), legacy_movies(catalogue), table);
    }
}

/// What is documented about an operation.
struct Documented {
    operation: Option<&'static Operation>,
    query: Vec<Parameter>,
    is_public: bool,
}

/// Adds the routes of operations. `about` is the record type of operations on records and of legacy routes.
fn add_strict<A: OpenApi>(
    operations: A,
    about: Option<&'static Schema>,
    table: &mut HashMap<String, Methods>,
) {
    let mut registry = Registry::new();
    A::register(&mut registry);
    let mut documented: HashMap<(String, Method), Documented> = HashMap::new();
    for path in A::meta().into_iter().flat_map(|api| api.paths) {
        let pattern = route_pattern(&placed(&path.path, about));
        for operation in path.operations {
            // The legacy routes require a collection `movies` with their fields.
            if about.is_none() && is_legacy(operation.tags.iter().copied()) {
                continue;
            }
            let query = operation.params.iter();
            let query = query.filter(|parameter| parameter.in_type == MetaParamIn::Query);
            let query = query.map(|parameter| Parameter::of(parameter, &registry));
            let of_operation = Documented {
                operation: known(&path.path, &operation.method, about),
                query: query.collect(),
                is_public: operation.security.is_empty(),
            };
            documented.insert((pattern.clone(), operation.method), of_operation);
        }
    }
    let mut routes = HashMap::new();
    operations.add_routes(&mut routes);
    for (path, methods) in routes {
        let path = placed(&path, about);
        let strict = methods.into_iter().filter_map(|(method, endpoint)| {
            // Undocumented routes are not served.
            let of_operation = documented.remove(&(path.clone(), method.clone()))?;
            let Documented { operation, query, is_public } = of_operation;
            let has_filter = query.iter().any(|known| known.name == "filter");
            let takes_arguments = has_filter || path.ends_with(SAVED_FILTER);
            let parameters = Arc::new(Parameters { query, about, takes_arguments });
            let strict = StrictOperation { endpoint, operation, parameters, is_public };
            Some((method, strict.boxed()))
        });
        let strict: Methods = strict.collect();
        if !strict.is_empty() {
            table.entry(path).or_default().extend(complete(strict));
        }
    }
}

/// Returns the id and the route of an operation, for logs and metrics. They live as long as the routes, which is as long
/// as the process.
fn known(
    template: &str,
    method: &Method,
    about: Option<&'static Schema>,
) -> Option<&'static Operation> {
    let is_it = |route: &&Route| {
        route.path == template && route.method.eq_ignore_ascii_case(method.as_str())
    };
    let route = ROUTES.iter().find(is_it)?;
    let id = match about {
        Some(schema) => named(route.id, schema),
        None => route.id.to_owned(),
    };
    Some(Box::leak(Box::new(Operation { id, route: placed(template, about) })))
}

/// Returns the path of a template for a record type.
pub(super) fn placed(template: &str, about: Option<&Schema>) -> String {
    match about {
        Some(schema) => template.replace(RECORDS, schema.collection),
        None => template.to_owned(),
    }
}

/// Converts a path to the syntax of the router: `/movies/{id}` becomes `/movies/:param0`.
fn route_pattern(path: &str) -> String {
    let mut count = 0..;
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            format!(":param{}", count.next().unwrap_or_default())
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// An operation that checks its query parameters.
struct StrictOperation {
    endpoint: BoxEndpoint<'static>,
    /// The operation, if the document has it.
    operation: Option<&'static Operation>,
    parameters: Arc<Parameters>,
    /// Whether the operation requires no token. Others check their parameters once the caller is known.
    is_public: bool,
}

impl Endpoint for StrictOperation {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        if let Some(operation) = self.operation {
            let _ = Exchange::of(&request)?.operation.set(operation);
        }
        conditional::normalise(request.headers_mut());
        if let Some(about) = self.parameters.about {
            request.set_data(about);
        }
        request.set_data(self.parameters.clone());
        if self.is_public
            && let Err(error) = parameters::check(&request)
        {
            return Ok(error_response(error));
        }
        let uri = request.uri().clone();
        let response = self.endpoint.call(request).await;
        Ok(response.unwrap_or_else(|error| {
            error_response(self.translate(error, uri.query().unwrap_or_default()))
        }))
    }
}

impl StrictOperation {
    /// Converts an error of the framework to ours. `query` is the query string of the request.
    fn translate(&self, error: poem::Error, query: &str) -> Error {
        let error = match error.downcast::<Error>() {
            Ok(ours) => return ours,
            Err(error) => error,
        };
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            let documented = self.parameters.find(name);
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let sent = pairs.find(|(sent, _)| decode(sent).is_some_and(|sent| sent == *name));
            let found = sent.and_then(|(_, value)| decode(value)).unwrap_or_default();
            let detail = match documented {
                Some(Parameter { expectation, .. }) => {
                    format!("{name}: expected {expectation}, found {found:?}")
                }
                None => format!("{name}: {reason}"),
            };
            return Error::new(Kind::InvalidParameter, detail);
        }
        if error.is::<ParsePathError>() {
            return Error::new(Kind::NotFound, "expected a UUID as the id in the path");
        }
        if error.is::<AuthorizationError>() {
            let detail = "missing bearer token; send `Authorization: Bearer …` with a token from POST /api/token";
            return Error::new(Kind::Unauthenticated, detail);
        }
        from_status(error.status())
    }
}

/// Completes the methods of a path: HEAD like GET without its body, OPTIONS, and 405 with `Allow` for all others.
fn complete(mut methods: Methods) -> Methods {
    if let Some(get) = methods.remove(&Method::GET) {
        let get = Arc::new(get);
        methods.insert(Method::GET, get.clone().boxed());
        methods.insert(Method::HEAD, poem::endpoint::make(move |r| head(get.clone(), r)).boxed());
    }
    let mut names: Vec<&str> = methods.keys().map(Method::as_str).collect();
    names.push(Method::OPTIONS.as_str());
    names.sort_unstable();
    let allow = names.join(", ");
    let with_allow = |error: fn(&str) -> Option<Error>| {
        let allow = allow.clone();
        poem::endpoint::make_sync(move |_| {
            let mut response = match error(&allow) {
                Some(error) => error_response(error),
                None => Response::builder().status(poem::http::StatusCode::NO_CONTENT).finish(),
            };
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                response.headers_mut().insert(ALLOW, allow);
            }
            response
        })
        .map_to_response()
        .boxed()
    };
    methods.insert(Method::OPTIONS, with_allow(|_| None));
    for method in METHODS {
        methods.entry(method).or_insert_with(|| {
            with_allow(|allow| {
                let detail = format!("unsupported method; expected one of: {allow}");
                Some(Error::new(Kind::MethodNotAllowed, detail))
            })
        });
    }
    methods
}

/// Responds to HEAD with the headers of GET. `Content-Length` is present if the length is known without generating the
/// body.
async fn head(get: Arc<BoxEndpoint<'static>>, mut request: Request) -> poem::Result<Response> {
    request.set_method(Method::GET);
    let mut response = get.call(request).await?;
    let body: BoxBody<Bytes, std::io::Error> = response.take_body().into();
    if let Some(length) = body.size_hint().exact().filter(|_| response.status().is_success()) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
