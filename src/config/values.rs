//! The ranges of the values of settings.

use std::time::Duration;

/// Rejects 0, which PostgreSQL would take as no limit.
pub(super) fn statement_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), Duration::from_secs(600), "100ms to 10m")
}

pub(super) fn queue_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(60), "0s to 1m")
}

pub(super) fn client_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), Duration::from_secs(3600), "1s to 1h")
}

pub(super) fn leeway(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(300), "0s to 5m")
}

pub(super) fn slow_statement(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(600), "0s to 10m")
}

pub(super) fn backup_interval(text: &str) -> Result<Duration, String> {
    let (minute, year) = (Duration::from_secs(60), Duration::from_secs(366 * 24 * 60 * 60));
    duration(text, minute, year, "1m to 366d")
}

pub(super) fn shutdown_delay(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(600), "0s to 10m")
}

fn duration(text: &str, least: Duration, most: Duration, range: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    let expected = || format!("expected a duration from {range}, such as 5s or 500ms");
    duration.filter(|duration| (least..=most).contains(duration)).ok_or_else(expected)
}

/// Parses a number of connections that leaves at least one for requests.
pub(super) fn database_connections(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| (5..=1000).contains(number)).ok_or_else(|| {
        "expected a number from 5 to 1000: two connections are for imports and exports, and two for \
         probes and revocations"
            .to_owned()
    })
}

/// Parses a size in MiB.
pub(super) fn mebibytes(text: &str) -> Result<u16, String> {
    let expected = || "expected a number of MiB from 4 to 65535, such as 16".to_owned();
    text.parse().ok().filter(|number| *number >= 4).ok_or_else(expected)
}

/// Parses how long something is kept, from one minute to 100 years.
pub(super) fn retention(text: &str) -> Result<Duration, String> {
    const MINUTE: Duration = Duration::from_secs(60);
    const CENTURY: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);
    let expected = || "expected a duration such as 24h, 90d, 2y, from 1m to 100y".to_owned();
    let kept = humantime::parse_duration(text).ok();
    kept.filter(|kept| (MINUTE..=CENTURY).contains(kept)).ok_or_else(expected)
}

/// Parses a lifetime of sessions from one minute to one year. Revocations are kept longer than that.
pub(super) fn session(text: &str) -> Result<Duration, String> {
    let (minute, year) = (Duration::from_secs(60), Duration::from_secs(366 * 24 * 60 * 60));
    duration(text, minute, year, "1m to 366d")
}

/// Parses a token lifetime from one second to one year.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let expected = || "expected a duration such as 15m, 12h, 30d, from 1s to 1y".to_owned();
    let ttl = humantime::parse_duration(text).ok();
    ttl.filter(|ttl| (Duration::from_secs(1)..=YEAR).contains(ttl)).ok_or_else(expected)
}
