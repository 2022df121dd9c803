//! The log: text on a terminal, JSON elsewhere.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{FormatFields, format};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::fields::FIELDS;

/// The maximum number of lines that wait to be written. Further lines are dropped.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// Formats fields for a terminal, without those that have a short name too. Names with a dot are long.
fn with_short_names() -> impl for<'w> FormatFields<'w> + 'static {
    format::debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        name if name.contains('.') && !is_only_name(name) => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    })
}

/// Returns whether this is the name of a field without a short one.
fn is_only_name(name: &str) -> bool {
    FIELDS.iter().any(|field| field.name == name && field.alias.is_none())
}

/// Counts the lines that were dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Returns how many lines were dropped, because standard error could not be written fast enough.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Returns whether the lines of the log are JSON objects.
pub fn is_json() -> bool {
    !std::io::stderr().is_terminal()
}

/// Starts logging to standard error until the returned guard is dropped. A separate thread writes: if the
/// reader of standard error stalls, log lines are lost but no request waits.
///
/// # Errors
/// Fails if the filter cannot be parsed.
pub fn start(filter: &str) -> Result<WorkerGuard, String> {
    // A misspelt level would be a target that does not exist, and nothing would be logged.
    let mut levels = filter.split(',').map(str::trim).filter(|part| !part.contains('='));
    if let Some(level) = levels.find(|level| level.parse::<LevelFilter>().is_err()) {
        return Err(format!(
            "--log: expected error, warn, info, debug, trace or off, found {level:?}"
        ));
    }
    let mut targets: Targets = filter.parse().map_err(|error| format!("--log: {error}"))?;
    if !filter.contains("sqlx") {
        // PostgreSQL sends notices at every start, such as that a table already exists.
        targets = targets.with_target("sqlx", LevelFilter::WARN);
    }
    let builder = NonBlockingBuilder::default().lossy(true);
    let builder = builder.buffered_lines_limit(MAX_WAITING_LINES);
    let (writer, guard) = builder.finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = if is_json() {
        layer.json().flatten_event(true).with_ansi(false).boxed()
    } else {
        layer.with_target(false).fmt_fields(with_short_names()).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(guard)
}
