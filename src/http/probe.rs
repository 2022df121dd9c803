//! The database check of the readiness probe.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::error::{Error, Result};

/// The maximum time for the database to respond to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the result of a successful probe is reused.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The paths of probes.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// The time of the last query for a probe, and the detail of its error if it failed.
pub(super) type LastProbe = tokio::sync::Mutex<Option<(Instant, Option<String>)>>;

/// Checks that the database responds. The result of another probe is reused if it failed after this one started, or
/// succeeded within [`PROBE_INTERVAL`]: many probes must not occupy the reserved connections, or take time from other
/// requests.
///
/// # Errors
/// [`crate::error::Kind::Unavailable`] if the database does not respond within [`PROBE_TIMEOUT`]; its other errors.
pub(super) async fn database(app: &App, last: &LastProbe) -> Result<()> {
    let called_at = Instant::now();
    let mut last = last.lock().await;
    match &*last {
        Some((asked_at, None)) if asked_at.elapsed() < PROBE_INTERVAL => return Ok(()),
        Some((asked_at, Some(detail))) if *asked_at >= called_at => {
            let failed = Error::unavailable("a concurrent probe has failed");
            return Err(Error { detail: detail.clone(), ..failed });
        }
        _ => {}
    }
    let asked_at = Instant::now();
    let ping = tokio::time::timeout(PROBE_TIMEOUT, app.store().reserved().ping()).await;
    let outcome = ping.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)));
    *last = Some((asked_at, outcome.as_ref().err().map(|error| error.detail.clone())));
    outcome
}
