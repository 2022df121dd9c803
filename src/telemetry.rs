//! The log: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait to be written. Beyond that they are dropped.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// Starts logging to standard error, for as long as what is returned lives. A thread of its own writes: a
/// reader that stalls, such as a full pipe, costs lines of the log and no request.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(filter: &str) -> Result<WorkerGuard, String> {
    let mut targets: Targets = filter.parse().map_err(|error| format!("--log: {error}"))?;
    if !filter.contains("sqlx") {
        // PostgreSQL has notices on every start, such as that a table exists already.
        targets = targets.with_target("sqlx", LevelFilter::WARN);
    }
    let builder = NonBlockingBuilder::default().lossy(true);
    let builder = builder.buffered_lines_limit(MAX_WAITING_LINES);
    let (writer, guard) = builder.finish(std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = if std::io::stderr().is_terminal() {
        layer.with_target(false).boxed()
    } else {
        layer.json().flatten_event(true).with_ansi(false).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(guard)
}
