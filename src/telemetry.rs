//! The log: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to standard error.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(filter: &str) -> Result<(), String> {
    let mut targets: Targets = filter.parse().map_err(|error| format!("--log: {error}"))?;
    if !filter.contains("sqlx") {
        // PostgreSQL has notices on every start, such as that a table exists already.
        targets = targets.with_target("sqlx", LevelFilter::WARN);
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if std::io::stderr().is_terminal() {
        layer.with_target(false).boxed()
    } else {
        layer.json().flatten_event(true).with_ansi(false).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    subscriber.try_init().map_err(|error| error.to_string())
}
