//! Who is calling: the bearer token of a request.

use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;

use crate::app::App;
use crate::error::Error;
use crate::identity::Identity;

/// A token of `POST /api/token`, sent as `Authorization: Bearer …`.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "identify")]
pub(super) struct Caller(pub(super) Identity);

async fn identify(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let app = request.data::<App>().ok_or_else(|| Error::internal("the service has no state"))?;
    Ok(app.identify(&bearer.token)?)
}
