//! Limits of what clients may occupy.

use std::time::Duration;

/// The largest head of a request, in bytes: a filter of 8 KiB, each character encoded as three, a token
/// of 8 KiB and the rest. hyper stops reading at about that size.
pub(super) const MAX_HEAD_BYTES: usize = 40 * 1024;

/// Smaller requests and responses are not counted, in bytes: their number is limited by that of
/// connections.
pub(super) const UNCOUNTED_BYTES: usize = 8 * 1024;

/// Limits of what clients may occupy, and of how long a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. Beyond that one that is waited for is closed, and where there is none a
    /// new one may only ask `/livez` and `/readyz`.
    pub connections: usize,
    /// Bytes of requests and responses in memory, but for small ones.
    pub buffered_bytes: usize,
    /// How long the service may work on a request.
    pub request: Duration,
    /// How long requests are still served after the service was told to stop, while `/readyz` is 503.
    pub shutdown_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            buffered_bytes: 16 * 1024 * 1024,
            request: Duration::from_secs(7),
            shutdown_delay: Duration::ZERO,
        }
    }
}
