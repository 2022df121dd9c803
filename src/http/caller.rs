//! Who is calling: the bearer token of a request, and whether its scope will do.
//!
//! An operation on records takes a [`Reader`] or a [`Writer`] as its first argument, so that a caller
//! who may not do something is told so before the media type and the body are looked at. One that
//! learns from the request which records are meant takes a [`Caller`], and its function in `app` asks
//! for the scope.

use std::marker::PhantomData;

use poem::{Request, RequestBody};
use poem_openapi::auth::Bearer;
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme};

use crate::app::App;
use crate::error::Error;
use crate::identity::{Access, Identity};
use crate::record::Record;

// The sentence stands in the specification: it describes the scheme.
/// A token of `POST /api/token`, sent as `Authorization: Bearer …`.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "identify")]
pub(super) struct Caller(pub(super) Identity);

async fn identify(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let app = request.data::<App>().ok_or_else(|| Error::internal("the service has no state"))?;
    Ok(app.identify(&bearer.token)?)
}

macro_rules! callers {
    ($($(#[doc = $meaning:literal])+ $caller:ident = $access:expr;)+) => {$(
        $(#[doc = $meaning])+
        pub(super) struct $caller<R>(pub(super) Identity, PhantomData<R>);

        impl<'a, R: Record> ApiExtractor<'a> for $caller<R> {
            const TYPES: &'static [ApiExtractorType] = Caller::TYPES;
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                Caller::register(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                Caller::security_schemes()
            }

            async fn from_request(
                request: &'a Request,
                body: &mut RequestBody,
                options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let Caller(identity) = Caller::from_request(request, body, options).await?;
                identity.require($access, R::SCHEMA)?;
                Ok(Self(identity, PhantomData))
            }
        }
    )+};
}

callers! {
    /// A caller who may read records of the type.
    Reader = Access::Read;
    /// A caller who may change records of the type.
    Writer = Access::Write;
}
