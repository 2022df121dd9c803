//! Asking the database on behalf of probes.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::error::{Error, Result};

/// How long the database may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long the database counts as well after a probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The paths of probes.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// When the database was last asked for a probe, and whether it responded.
pub(super) type LastProbe = tokio::sync::Mutex<Option<(Instant, bool)>>;

/// Asks the database, unless another probe did so since this one came, or found it well a moment ago:
/// many probes must neither keep the connections busy that are reserved for them, nor be worked for while
/// others wait.
pub(super) async fn database(app: &App, last: &LastProbe) -> Result<()> {
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
