//! The probes: liveness of the process, and readiness to serve requests.

use poem::Request;
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, Tags};
use serde::Serialize;

use super::body::Json;
use super::exchange::Exchange;
use super::probe;
use crate::admission::Scope;
use crate::app::App;
use crate::error::{Error, Result};

#[derive(Tags)]
enum Tag {
    /// Probes for operators and load balancers. They require no token.
    #[oai(rename = "health")]
    Health,
}

/// The response to a liveness probe.
#[derive(Object, Serialize)]
struct Health {
    /// Always `ok`. A failed probe returns a problem instead.
    status: String,
}

/// The response to a readiness probe.
#[derive(Object, Serialize)]
struct Readiness {
    /// Always `ok`. A failed probe returns a problem instead.
    status: String,
    /// Where rate limits are counted.
    throttle: Throttle,
}

/// Where rate limits are counted: in this instance (`local`); in Redis, for all instances (`redis`); or in this
/// instance with its share of the limits, because Redis is unreachable (`fallback`).
#[derive(Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum Throttle {
    /// In this instance only, as configured.
    Local,
    /// In Redis, for all instances.
    Redis,
    /// In this instance, with its share of the limits: Redis is unreachable.
    Fallback,
}

impl From<Scope> for Throttle {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Process => Self::Local,
            Scope::Instances => Self::Redis,
            Scope::Fallback => Self::Fallback,
        }
    }
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Health")]
impl Operations {
    /// Check liveness
    ///
    /// Returns 200 while the process is running. It does not query the database.
    #[oai(path = "/livez", method = "get")]
    async fn livez(&self) -> Result<Json<Health>> {
        Ok(Json(Health { status: "ok".to_owned() }))
    }

    /// Check readiness
    ///
    /// Returns 200 if the service can serve requests. Returns 503 `unavailable` if the database is unreachable or
    /// not migrated, and while the service is shutting down. An unreachable Redis does not make it fail: each
    /// instance then applies its share of the limits.
    #[oai(path = "/readyz", method = "get")]
    async fn readyz(&self, app: Data<&App>, request: &Request) -> Result<Json<Readiness>> {
        let exchange = Exchange::of(request)?;
        if exchange.is_stopping() {
            let detail = "the service is shutting down".to_owned();
            // A cause would be logged at every probe.
            return Err(Error { detail, cause: None, ..Error::unavailable("shutting down") });
        }
        probe::database(&app, &exchange.service.probe).await?;
        let throttle = app.admission().scope().into();
        Ok(Json(Readiness { status: "ok".to_owned(), throttle }))
    }
}
