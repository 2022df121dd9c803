//! Probes: whether the process lives, and whether it can serve.

use std::time::{Duration, Instant};

use poem::Request;
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, Tags};
use serde::Serialize;

use super::body::Json;
use super::exchange::Exchange;
use crate::admission::Scope;
use crate::app::App;
use crate::error::{Error, Result};

/// How long the database may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long the database counts as well after a probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The paths of probes.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

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

/// When the database was last asked for a probe, and whether it responded.
pub(super) type LastProbe = tokio::sync::Mutex<Option<(Instant, bool)>>;

/// Asks the database, unless another probe did so since this one came, or found it well a moment ago:
/// many probes must neither keep the connections busy that are reserved for them, nor be worked for while
/// others wait.
async fn check_database(app: &App, last: &LastProbe) -> Result<()> {
    let called_at = Instant::now();
    let mut last = last.lock().await;
    if let Some((asked_at, has_responded)) = *last {
        if has_responded && asked_at.elapsed() < PROBE_INTERVAL {
            return Ok(());
        }
        if !has_responded && asked_at >= called_at {
            return Err(Error::unavailable("as for the probe before"));
        }
    }
    let asked_at = Instant::now();
    let ping = tokio::time::timeout(PROBE_TIMEOUT, app.store().reserved().ping()).await;
    let outcome = ping.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)));
    *last = Some((asked_at, outcome.is_ok()));
    outcome
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
        check_database(&app, &exchange.service.probe).await?;
        let throttle = app.admission().scope().into();
        Ok(Json(Readiness { status: "ok".to_owned(), throttle }))
    }
}
