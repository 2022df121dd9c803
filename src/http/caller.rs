//! Callers: authentication by bearer token, callers without one, rate limits, and required scopes.
//!
//! Every operation that is not public has one of these types as its first argument. Unauthenticated and unauthorized
//! requests are therefore rejected before the parameters, the media type and the body are checked. The OpenAPI document
//! derives the scopes of an operation from the same type.

use poem::http::header::AUTHORIZATION;
use poem::{Request, RequestBody};
use poem_openapi::auth::Bearer;
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme};

use super::exchange::Exchange;
use super::{parameters, throttle};
use crate::app::App;
use crate::app::usage::Class;
use crate::error::{Error, Result};
use crate::identity::{Access, Identity};
use crate::query::Schema;
use crate::store::Store;

// The doc comment is the description of the scheme in the OpenAPI document.
/// A token from `POST /api/token`, sent as `Authorization: Bearer …`. The requirement `oauth2` of an operation lists
/// the required scope.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "identify")]
struct Authenticated(Identity);

async fn identify(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let bearer = app(request)?.identify(&bearer.token).await?;
    // Already set only if a request is authenticated twice, which does not happen.
    let _ = Exchange::of(request)?.token_expires_at.set(bearer.expires_at);
    Ok(bearer.identity)
}

fn app(request: &Request) -> Result<&App> {
    request.data::<App>().ok_or_else(|| Error::internal("a request without `App` in its data"))
}

/// The names of requirements, which `specification` replaces by scopes.
pub(super) mod needs {
    /// Any token.
    pub(in crate::http) const TOKEN: &str = "token";
    /// Any token; none if the catalogue is public.
    pub(in crate::http) const VISIT: &str = "visit";
    /// The scope for reading records of the collection in the path.
    pub(in crate::http) const READ: &str = "read";
    /// The same, also if callers without a token may read these records.
    pub(in crate::http) const READ_WITH_TOKEN: &str = "read with token";
    /// The scope for changing records of the collection in the path.
    pub(in crate::http) const WRITE: &str = "write";
    /// The scopes for reading and for changing records of the collection in the path.
    pub(in crate::http) const READ_AND_WRITE: &str = "read and write";
    /// A scope for reading records of any collection.
    pub(in crate::http) const READ_SOME: &str = "read some";
    /// The same, also if callers without a token may read records.
    pub(in crate::http) const READ_SOME_WITH_TOKEN: &str = "read some with token";
    /// A scope for changing records of any collection.
    pub(in crate::http) const WRITE_SOME: &str = "write some";
    /// The scope `admin`.
    pub(in crate::http) const ADMIN: &str = "admin";
}

/// A caller with a valid token, with or without scopes.
pub(super) struct Caller(pub(super) Identity);

/// A caller with a valid token or, if the catalogue is public, without one.
pub(super) struct Visitor(pub(super) Identity);

/// A caller with the scope for reading records of the collection in the path.
pub(super) struct Reader {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
}

/// A [`Reader`] with a token, for what stays closed in a public catalogue, because it names users or is theirs.
pub(super) struct TokenReader {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
}

/// A caller with the scope for changing records of the collection in the path.
pub(super) struct Writer {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
    /// The database for this request.
    pub(super) store: Store,
}

/// A caller with the scopes for reading and for changing records of the collection in the path.
pub(super) struct ReadingWriter {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
    /// The database for this request.
    pub(super) store: Store,
}

/// A caller with a scope for reading records of at least one collection. The operation checks the collection that
/// the request names.
pub(super) struct SomeReader(pub(super) Identity);

/// A [`SomeReader`] with a token, for what stays closed in a public catalogue.
pub(super) struct SomeTokenReader(pub(super) Identity);

/// A caller with a scope for changing records of at least one collection. The operation checks the collections that
/// the request names.
pub(super) struct SomeWriter {
    pub(super) identity: Identity,
    /// The database for this request.
    pub(super) store: Store,
}

/// A caller with the scope `admin`.
pub(super) struct Administrator(pub(super) Identity);

/// A caller with the scope `admin`, for an operation on the collection in the path.
pub(super) struct CollectionAdministrator {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
    /// The database for this request.
    pub(super) store: Store,
}

fn request_id(request: &Request) -> Result<&str> {
    Ok(Exchange::of(request)?.request_id())
}

/// Returns the record type of the path of a request.
///
/// # Errors
/// [`crate::error::Kind::Internal`] if the path has no record type, which is a defect of the routes.
pub(super) fn path_schema(request: &Request) -> Result<&'static Schema> {
    let schema = request.data::<&'static Schema>().copied();
    schema.ok_or_else(|| Error::internal("the path has no record type"))
}

/// Who can be a caller of an operation.
enum Callers {
    /// Those with a token.
    Users,
    /// Also those without a token, if the catalogue is public.
    All,
}

impl Callers {
    /// Returns the identity of a request without a token, if the operation and the catalogue are open to it. A request with
    /// any `Authorization` has none: a token that is invalid or has expired must not become no token.
    fn anonymous(self, request: &Request) -> Result<Option<Identity>> {
        let anonymous = match self {
            Self::All if !request.headers().contains_key(AUTHORIZATION) => {
                app(request)?.anonymous()
            }
            Self::All | Self::Users => None,
        };
        Ok(anonymous.map(|anonymous| anonymous.identity().clone()))
    }
}

macro_rules! callers {
    ($($caller:ident needs $needs:ident, from $callers:ident, as $class:ident: $of:expr;)+) => {$(
        impl<'a> ApiExtractor<'a> for $caller {
            const TYPES: &'static [ApiExtractorType] = Authenticated::TYPES;
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                Authenticated::register(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![needs::$needs]
            }

            async fn from_request(
                request: &'a Request,
                body: &mut RequestBody,
                options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let identity = match Callers::$callers.anonymous(request)? {
                    Some(identity) => identity,
                    None => Authenticated::from_request(request, body, options).await?.0,
                };
                let exchange = Exchange::of(request)?;
                exchange.is_from(&identity);
                throttle::admit(request, &identity, Class::$class).await?;
                if !identity.is_anonymous() {
                    exchange.client.shows_token();
                }
                let of: fn(Identity, &Request) -> Result<Self> = $of;
                let caller = of(identity, request)?;
                parameters::check(request)?;
                Ok(caller)
            }
        }
    )+};
}

callers! {
    Caller needs TOKEN, from Users, as Other: |identity, _| Ok(Self(identity));
    Visitor needs VISIT, from All, as Other: |identity, _| Ok(Self(identity));
    Reader needs READ, from All, as Read: |identity, request| {
        let schema = path_schema(request)?;
        identity.require(Access::Read, schema)?;
        Ok(Self { identity, schema })
    };
    TokenReader needs READ_WITH_TOKEN, from Users, as Read: |identity, request| {
        let schema = path_schema(request)?;
        identity.require(Access::Read, schema)?;
        Ok(Self { identity, schema })
    };
    Writer needs WRITE, from Users, as Write: |identity, request| {
        let schema = path_schema(request)?;
        identity.require(Access::Write, schema)?;
        let store = app(request)?.store_for(&identity).in_request(request_id(request)?);
        Ok(Self { identity, schema, store })
    };
    ReadingWriter needs READ_AND_WRITE, from Users, as Write: |identity, request| {
        let schema = path_schema(request)?;
        identity.require(Access::Read, schema)?;
        identity.require(Access::Write, schema)?;
        let store = app(request)?.store_for(&identity).in_request(request_id(request)?);
        Ok(Self { identity, schema, store })
    };
    SomeReader needs READ_SOME, from All, as Read: |identity, request| {
        let schemas = app(request)?.catalogue().schemas();
        identity.require_one(Access::Read, schemas)?;
        Ok(Self(identity))
    };
    SomeTokenReader needs READ_SOME_WITH_TOKEN, from Users, as Read: |identity, request| {
        identity.require_one(Access::Read, app(request)?.catalogue().schemas())?;
        Ok(Self(identity))
    };
    SomeWriter needs WRITE_SOME, from Users, as Write: |identity, request| {
        let app = app(request)?;
        identity.require_one(Access::Write, app.catalogue().schemas())?;
        let store = app.store_for(&identity).in_request(request_id(request)?);
        Ok(Self { identity, store })
    };
    Administrator needs ADMIN, from Users, as Admin: |identity, _| {
        identity.require_admin()?;
        Ok(Self(identity))
    };
    CollectionAdministrator needs ADMIN, from Users, as Admin: |identity, request| {
        let schema = path_schema(request)?;
        identity.require_admin()?;
        let store = app(request)?.store_for(&identity).in_request(request_id(request)?);
        Ok(Self { identity, schema, store })
    };
}
