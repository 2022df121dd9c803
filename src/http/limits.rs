//! Limits for connections, memory and time.

use std::time::Duration;

/// The maximum size of the request line and headers, in bytes: a filter of 8 KiB, percent-encoded to three times its
/// size, a token of 8 KiB, and 8 KiB for the rest. hyper stops reading at about this size.
pub(super) const MAX_HEADER_BYTES: usize = 40 * 1024;

/// The size up to which requests and responses need no memory reservation, in bytes. The limit of connections also
/// limits their number.
pub(super) const UNCOUNTED_BYTES: usize = 8 * 1024;

/// The default maximum body of a request with records, in bytes.
pub const DEFAULT_BODY_BYTES: usize = 1024 * 1024;

/// The default maximum size of an imported file, in bytes.
pub const DEFAULT_IMPORT_BYTES: u64 = 1024 * 1024 * 1024;

/// Limits for connections, memory and the time of requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum number of connections. A new connection over the limit closes a connection whose client the service
    /// waits for. If there is none, the new connection may only request `/livez` and `/readyz`.
    pub connections: usize,
    /// Memory for requests and responses of more than 8 KiB, in bytes.
    pub buffered_bytes: usize,
    /// The maximum body of a request with records, in bytes.
    pub body_bytes: usize,
    /// The maximum size of an imported file, in bytes.
    pub import_bytes: u64,
    /// The maximum time for request headers to arrive, and for a connection to be idle.
    pub header: Duration,
    /// The maximum time that a client does not read a response that is ready. It is the only time limit of an export.
    pub write: Duration,
    /// The maximum time that the service works on a request.
    pub request: Duration,
    /// The time between the stop signal and the end of listening. `/readyz` returns 503 meanwhile.
    pub shutdown_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            buffered_bytes: 16 * 1024 * 1024,
            body_bytes: DEFAULT_BODY_BYTES,
            import_bytes: DEFAULT_IMPORT_BYTES,
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
            request: Duration::from_secs(7),
            shutdown_delay: Duration::ZERO,
        }
    }
}
