//! The operations for probes: whether the process lives, and whether it can serve.

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
    /// Probes for those who operate the service. They need no token.
    #[oai(rename = "health")]
    Health,
}

/// The answer to a probe.
#[derive(Object, Serialize)]
struct Health {
    /// Always `ok`; otherwise the answer is a problem.
    status: String,
}

/// The answer of a service that is ready.
#[derive(Object, Serialize)]
struct Readiness {
    /// Always `ok`; otherwise the answer is a problem.
    status: String,
    /// Where requests are counted.
    throttle: Throttle,
}

/// Where requests are counted: in this instance (`local`), in Redis for all instances (`redis`), or, as that
/// does not answer, in this instance with its share of the limits (`fallback`).
#[derive(Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum Throttle {
    /// In this instance alone, as it was set up.
    Local,
    /// In Redis, for all instances.
    Redis,
    /// In this instance alone, with its share of the limits: Redis does not answer.
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
    /// Whether the process lives
    ///
    /// It does not ask the database.
    #[oai(path = "/livez", method = "get")]
    async fn livez(&self) -> Result<Json<Health>> {
        Ok(Json(Health { status: "ok".to_owned() }))
    }

    /// Whether the service can serve
    ///
    /// It asks the database: 503 when that does not answer or is not migrated, and when the service was
    /// told to stop. That Redis does not answer is no reason: each instance goes on with its share of
    /// the limits.
    #[oai(path = "/readyz", method = "get")]
    async fn readyz(&self, app: Data<&App>, request: &Request) -> Result<Json<Readiness>> {
        let exchange = Exchange::of(request)?;
        if exchange.is_stopping() {
            let detail = "the service is shutting down".to_owned();
            // Without a cause, which would be logged at every probe.
            return Err(Error { detail, cause: None, ..Error::unavailable("shutting down") });
        }
        probe::database(&app, &exchange.service.probe).await?;
        let throttle = app.admission().scope().into();
        Ok(Json(Readiness { status: "ok".to_owned(), throttle }))
    }
}
