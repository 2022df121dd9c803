//! The time of the service.

use chrono::{DateTime, SubsecRound, Utc};

/// The present moment, cut to the microseconds that both databases store.
pub fn timestamp_now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
