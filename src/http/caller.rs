//! Who is calling: the bearer token of a request, whether its limit is used up, and whether its scope
//! will do.
//!
//! Every operation but the public ones takes one of these as its first argument, so that a caller who
//! may not do something is told so before the media type and the body are looked at. The
//! specification takes the scopes of an operation from the same type.

use std::marker::PhantomData;

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
use crate::record::{Record, Records};

// The sentence stands in the specification: it describes the scheme.
/// A token of `POST /api/token`, sent as `Authorization: Bearer …`. It needs the scope that stands beside it, of
/// `oauth2`.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "identify")]
struct Anybody(Identity);

async fn identify(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let app = request.data::<App>().ok_or_else(|| Error::internal("the service has no state"))?;
    Ok(app.identify(&bearer.token).await?.identity)
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

macro_rules! callers {
    ($($(#[doc = $meaning:literal])+ $caller:ident$(<$r:ident: $bound:path>)? needs $needs:ident, as $class:ident: $require:expr;)+) => {$(
        $(#[doc = $meaning])+
        pub(super) struct $caller$(<$r>)?(pub(super) Identity, PhantomData<fn() -> ($($r,)?)>);

        impl<'a, $($r: $bound + 'static)?> ApiExtractor<'a> for $caller$(<$r>)? {
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
                let require: fn(&Identity) -> Result<()> = $require;
                require(&identity)?;
                Ok(Self(identity, PhantomData))
            }
        }
    )+};
}

callers! {
    /// A caller with any token.
    Caller needs TOKEN, as Other: |_| Ok(());
    /// A caller who may read records of the type.
    Reader<R: Record> needs READ, as Read: |caller| caller.require(Access::Read, R::SCHEMA);
    /// A caller who may change records of the type.
    Writer<R: Record> needs WRITE, as Write: |caller| caller.require(Access::Write, R::SCHEMA);
    /// A caller who may read records of one of these types; which it must be, the request says.
    SomeReader<C: Records> needs READ_SOME, as Read: |caller| {
        caller.require_one(Access::Read, &C::schemas())
    };
    /// A caller who administers the service.
    Administrator needs ADMIN, as Admin: Identity::require_admin;
}
