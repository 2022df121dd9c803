//! The fault suite: what `docs/reliability.md` promises, tested against the real binary while something
//! is broken on purpose.
//!
//! Each kind of fault has a short form that `make test` runs and a long one that is ignored there and run
//! by `make faults`. Both are the same check on other figures.

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

/// Every request ends within 7 s; the rest is the slowness of the machine that runs the tests.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// The service responds with success again within 5 s after a fault has gone; with the same allowance.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(6);

/// What is promised beside what was measured, printed as rows of a table (`-- --nocapture` shows them) and
/// asserted at the end, so that one broken promise does not hide the others.
pub struct Report {
    name: String,
    broken: Vec<String>,
}

impl Report {
    pub fn new(name: &str) -> Self {
        println!("\n{name}\n| promised | measured | |\n| --- | --- | --- |");
        Self { name: name.to_owned(), broken: Vec::new() }
    }

    /// One promise, and whether what was measured keeps it.
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

/// Says that a test did not run, and what it needs.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Whether a program is on PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
