//! Probes: whether the process lives, and whether it can serve.

use std::time::Duration;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, Tags};
use serde::Serialize;

use super::body::Json;
use crate::app::App;
use crate::error::{Error, Result};

/// How long the database may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// It asks the database: 503 when that does not answer or is not migrated.
    #[oai(path = "/readyz", method = "get")]
    async fn readyz(&self, app: Data<&App>) -> Result<Json<Health>> {
        tokio::time::timeout(PROBE_TIMEOUT, app.store().ping())
            .await
            .map_err(Error::unavailable)??;
        Ok(Json(Health { status: "ok".to_owned() }))
    }
}
