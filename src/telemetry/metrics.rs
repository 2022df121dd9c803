//! The metrics of the process, in the text format of Prometheus.
//!
//! Names are those of the semantic conventions of OpenTelemetry, as far as these have one, in the form that Prometheus
//! gives them. Gauges that only mirror another value are set when the metrics are read.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::process::ProcessCollector;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The upper bounds of the buckets of request durations, in seconds: those of the semantic conventions.
const REQUEST_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The upper bounds of the buckets of statements and waits, in seconds. Most take less than a millisecond.
const STATEMENT_BUCKETS: [f64; 11] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The upper bounds of the buckets of writes that were committed together.
const GROUP_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The label of all methods that are not standard ones. Clients can invent methods, and the number of metrics is limited.
pub const OTHER_METHOD: &str = "_OTHER";

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// The operation id of the OpenAPI document; empty for pages and unknown paths.
    pub operation: &'static str,
    /// The method; `_OTHER` for an unknown one.
    pub method: &'static str,
    /// The status of the response.
    pub status: u16,
}

macro_rules! labels {
    ($($(#[doc = $about:literal])+ $name:ident { $(#[doc = $meaning:literal] $label:ident),+ })+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            $(
                #[doc = $meaning]
                pub $label: &'static str,
            )+
        }
    )+};
}

labels! {
    /// The label of a pool of connections.
    Pool {
        /// What its connections are for.
        pool
    }
    /// The labels of connections.
    Connections {
        /// What they are for.
        pool,
        /// `used` or `idle`.
        state
    }
    /// The labels of a decision under a rate limit.
    Decision {
        /// The name of the limit.
        policy,
        /// `admitted` or `rejected`.
        outcome,
        /// Where requests are counted, as in `/readyz`: `local`, `redis`, or `fallback` without Redis.
        scope
    }
    /// The labels of rejected credentials.
    Rejected {
        /// `token` or `password`.
        credentials,
        /// Why.
        reason
    }
    /// The label of an aborted response.
    Aborted {
        /// `service` or `client`.
        by
    }
    /// The label of a problem of a query.
    Problem {
        /// The code of the diagnostic.
        code
    }
    /// The label of imports and exports.
    Transfer {
        /// `import` or `export`.
        direction
    }
    /// The labels of the build.
    Build {
        /// The version of the service.
        version,
        /// The database: `SQLite` or `PostgreSQL`.
        database
    }
}

/// The pool with the connection that writes SQLite.
pub const WRITER: Pool = Pool { pool: "writer" };

/// The label of imports.
pub const IMPORT: Transfer = Transfer { direction: "import" };

/// The label of exports.
pub const EXPORT: Transfer = Transfer { direction: "export" };

/// Histograms by the labels of a family.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn histograms<L: Clone + std::hash::Hash + Eq>(new: fn() -> Histogram) -> Histograms<L> {
    Family::new_with_constructor(new)
}

fn of_requests() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

fn of_statements() -> Histogram {
    Histogram::new(STATEMENT_BUCKETS)
}

fn of_groups() -> Histogram {
    Histogram::new(GROUP_BUCKETS)
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:literal, $new:expr;)+) => {
        /// All metrics. The names of counters end in `_total`, which the text format adds.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl Metrics {
            /// Every metric with its meaning.
            pub const ALL: &[(&str, &[&str])] = &[$(($name, &[$($help),+])),+];

            fn new() -> Self {
                let mut registry = Registry::default();
                $(
                    let $field: $type = $new;
                    let help = [$($help),+].map(str::trim).join(" ");
                    registry.register($name, help.trim_end_matches('.'), $field.clone());
                )+
                registry.register_collector(Box::new(ProcessCollector));
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    /// Duration of requests, until the response is ready or, for a streamed one, complete.
    requests: Histograms<Request> = "http_server_request_duration_seconds", histograms(of_requests);
    /// Requests that are being served.
    active_requests: Gauge = "http_server_active_requests", Gauge::default();
    /// Streamed responses that were not sent to their end, because the service has failed or the client has disconnected.
    aborted: Family<Aborted, Counter> = "cinequery_aborted_responses", Family::default();
    /// Open connections of clients.
    clients: Gauge = "cinequery_client_connections", Gauge::default();
    /// Memory that is reserved for the bodies of requests and responses, in bytes.
    buffered: Gauge = "cinequery_buffered_bytes", Gauge::default();
    /// Connections to the database.
    connections: Family<Connections, Gauge> = "db_client_connections", Family::default();
    /// Maximum number of connections to the database.
    max_connections: Family<Pool, Gauge> = "db_client_connection_max", Family::default();
    /// Requests that wait for a connection to the database.
    waiting: Family<Pool, Gauge> = "db_client_connection_pending_requests", Family::default();
    /// How long requests have waited for a connection to the database.
    waits: Histograms<Pool> = "db_client_connection_wait_time_seconds", histograms(of_statements);
    /// Duration of statements, their rows included.
    statements: Histograms<Pool> = "db_client_operation_duration_seconds", histograms(of_statements);
    /// Transactions that were repeated after a conflict with another one.
    retries: Counter = "cinequery_transaction_retries", Counter::default();
    /// Writes that were committed together (SQLite).
    group_commits: Histogram = "cinequery_group_commit_writes", of_groups();
    /// Requests that were counted under a rate limit.
    decisions: Family<Decision, Counter> = "cinequery_rate_limit_decisions", Family::default();
    /// Sign-ins that have succeeded.
    sign_ins: Counter = "cinequery_sign_ins", Counter::default();
    /// Renewals of sessions that have succeeded.
    renewals: Counter = "cinequery_session_renewals", Counter::default();
    /// Sign-ins and tokens that were rejected.
    rejections: Family<Rejected, Counter> = "cinequery_rejected_credentials", Family::default();
    /// Problems that were found in queries.
    problems: Family<Problem, Counter> = "cinequery_query_problems", Family::default();
    /// Imports and exports that are running.
    transfers: Family<Transfer, Gauge> = "cinequery_transfers", Family::default();
    /// Records that were imported and exported.
    transferred: Family<Transfer, Counter> = "cinequery_transferred_records", Family::default();
    /// Age of the revocations that requests are checked against; 0 without requests. It is below half a second while the
    /// database responds.
    revocations_lag: Gauge<f64, AtomicU64> = "cinequery_revocations_lag_seconds", Gauge::default();
    /// Steps of migrations that were not applied when the instance started.
    pending_migrations: Gauge = "cinequery_pending_migrations", Gauge::default();
    /// Time of the last scheduled backup, in seconds since 1970; 0 if there is none.
    last_backup: Gauge = "cinequery_last_backup_timestamp_seconds", Gauge::default();
    /// Time between two scheduled backups; 0 if none are scheduled.
    backup_interval: Gauge = "cinequery_backup_interval_seconds", Gauge::default();
    /// Lines of the log that were dropped, because standard error was not read fast enough.
    dropped_lines: Counter = "cinequery_log_dropped_lines", Counter::default();
    /// The build. The value is always 1.
    build: Family<Build, Gauge> = "cinequery_build_info", Family::default();
}

impl Metrics {
    /// Returns all metrics as text.
    ///
    /// # Errors
    /// None in practice: the buffer grows.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
