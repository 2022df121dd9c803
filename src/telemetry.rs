//! The log: text on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The maximum number of lines that wait to be written. Further lines are dropped.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// Starts logging to standard error until the returned guard is dropped. A separate thread writes: if the
/// reader of standard error stalls, log lines are lost but no request waits.
///
/// # Errors
/// Fails if the filter cannot be parsed.
pub fn start(filter: &str) -> Result<WorkerGuard, String> {
    let mut targets: Targets = filter.parse().map_err(|error| format!("--log: {error}"))?;
    if !filter.contains("sqlx") {
        // PostgreSQL sends notices at every start, such as that a table already exists.
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
