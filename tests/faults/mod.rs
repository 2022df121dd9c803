//! The fault suite: tests the promises of `docs/reliability.md` against the real binary while faults are
//! injected.
//!
//! Most faults have a short test, which `make test` runs, and a long one, which is `#[ignore]`d and run by
//! `make faults`. Both run the same check with other figures.

mod caller;
mod clients;
mod database;
mod disk;
mod injection;
pub mod instance;
mod memory;
mod proxy;
mod raw;
mod shutdown;

use std::fmt::Display;
use std::time::Duration;

/// The promise is that every request ends within 7 s. One more second allows for a slow test machine.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// The promise is that requests succeed again within 5 s after a fault. One more second allows for a slow test
/// machine.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(6);

/// Prints each promise next to its measurement as a row of a table; run with `-- --nocapture` to see it.
/// Promises are asserted only at the end, so that one broken promise does not hide the others.
pub struct Report {
    name: String,
    broken: Vec<String>,
}

impl Report {
    pub fn new(name: &str) -> Self {
        println!("\n{name}\n| promised | measured | |\n| --- | --- | --- |");
        Self { name: name.to_owned(), broken: Vec::new() }
    }

    /// Adds a promise, its measurement, and whether the measurement keeps the promise.
    pub fn row(&mut self, promised: &str, measured: impl Display, is_kept: bool) {
        let verdict = if is_kept { "ok" } else { "BROKEN" };
        println!("| {promised} | {measured} | {verdict} |");
        if !is_kept {
            self.broken.push(format!("promised: {promised}; measured: {measured}"));
        }
    }

    /// Fails the test if any promise was broken.
    #[track_caller]
    pub fn finish(self) {
        assert!(self.broken.is_empty(), "{}:\n{}", self.name, self.broken.join("\n"));
    }
}

/// Prints that a test was skipped, and what it needs.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Returns whether a program is on PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
