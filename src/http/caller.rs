//! Who is calling: the bearer token of a request, whether its limit is used up, and whether its scope
//! will do.
//!
//! Every operation but the public ones takes one of these as its first argument, so that a caller who
//! may not do something is told so before the media type and the body are looked at. The
//! specification takes the scopes of an operation from the same type.

use poem::{Request, RequestBody};
use poem_openapi::auth::Bearer;
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme};

use super::exchange::Exchange;
use super::throttle;
use crate::app::App;
use crate::app::usage::Class;
use crate::error::{Error, Result};
use crate::identity::{Access, Identity};
use crate::query::Schema;

// The sentence stands in the specification: it describes the scheme.
/// A token of `POST /api/token`, sent as `Authorization: Bearer …`. It needs the scope that stands beside it, of
/// `oauth2`.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "identify")]
struct Anybody(Identity);

async fn identify(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    Ok(app(request)?.identify(&bearer.token).await?.identity)
}

fn app(request: &Request) -> Result<&App> {
    request.data::<App>().ok_or_else(|| Error::internal("the service has no state"))
}

/// The name under which `specification` finds what an operation needs.
pub(super) mod needs {
    /// Any token.
    pub(in crate::http) const TOKEN: &str = "token";
    /// The scope for reading the records that the path is about.
    pub(in crate::http) const READ: &str = "read";
    /// The scope for changing the records that the path is about.
    pub(in crate::http) const WRITE: &str = "write";
    /// The scope for reading records of some type.
    pub(in crate::http) const READ_SOME: &str = "read some";
    /// The scope `admin`.
    pub(in crate::http) const ADMIN: &str = "admin";
}

/// A caller with any token.
pub(super) struct Caller(pub(super) Identity);

/// A caller who may read the records of the collection that the path is about.
pub(super) struct Reader {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
}

/// A caller who may change the records of the collection that the path is about.
pub(super) struct Writer {
    pub(super) identity: Identity,
    pub(super) schema: &'static Schema,
}

/// A caller who may read the records of some collection; which it must be, the request says.
pub(super) struct SomeReader(pub(super) Identity);

/// A caller who administers the service.
pub(super) struct Administrator(pub(super) Identity);

/// The record type that the path of a request is about.
///
/// # Errors
/// A path that is about none: a defect of the routes.
pub(super) fn about(request: &Request) -> Result<&'static Schema> {
    let schema = request.data::<&'static Schema>().copied();
    schema.ok_or_else(|| Error::internal("the path is about no record type"))
}

macro_rules! callers {
    ($($caller:ident needs $needs:ident, as $class:ident: $of:expr;)+) => {$(
        impl<'a> ApiExtractor<'a> for $caller {
            const TYPES: &'static [ApiExtractorType] = Anybody::TYPES;
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                Anybody::register(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![needs::$needs]
            }

            async fn from_request(
                request: &'a Request,
                body: &mut RequestBody,
                options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let Anybody(identity) = Anybody::from_request(request, body, options).await?;
                throttle::admit(request, &identity, Class::$class).await?;
                Exchange::of(request)?.client.shows_token();
                let of: fn(Identity, &Request) -> Result<Self> = $of;
                Ok(of(identity, request)?)
            }
        }
    )+};
}

callers! {
    Caller needs TOKEN, as Other: |identity, _| Ok(Self(identity));
    Reader needs READ, as Read: |identity, request| {
        let schema = about(request)?;
        identity.require(Access::Read, schema)?;
        Ok(Self { identity, schema })
    };
    Writer needs WRITE, as Write: |identity, request| {
        let schema = about(request)?;
        identity.require(Access::Write, schema)?;
        Ok(Self { identity, schema })
    };
    SomeReader needs READ_SOME, as Read: |identity, request| {
        let schemas = app(request)?.catalogue().schemas();
        identity.require_one(Access::Read, schemas)?;
        Ok(Self(identity))
    };
    Administrator needs ADMIN, as Admin: |identity, _| {
        identity.require_admin()?;
        Ok(Self(identity))
    };
}
