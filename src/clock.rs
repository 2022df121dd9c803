//! The clock of the service.

use chrono::{DateTime, SubsecRound, Utc};

/// Returns the current time, truncated to microseconds, which is what both databases store.
pub fn timestamp_now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
