//! `cinequery backup`: writes a backup of a SQLite database, also while it is served.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::file::{self, size};
use super::schedule::BY_POSTGRES;
use super::serve::stop_signal;
use super::{Outcome, explain, location, print};
use crate::clock::timestamp_now;
use crate::config::DatabaseSettings;
use crate::store::Location;
use crate::store::backup::{back_up, back_up_next};

const EXAMPLES: &str = "\
Examples:
  cinequery backup /backups/movies.db              one backup, and its secret in /backups/movies.db.secret
  cinequery backup /backups/movies.db --keep 7     movies-20260131T020000Z.db, and the six before it
  cinequery restore /backups/movies.db             make a database of it

`cinequery serve --backup FILE` writes them by itself. Back up PostgreSQL with its own tools, such as `pg_dump`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Backup {
    /// File to write; it must not exist. It appears when it is complete and checked
    file: PathBuf,
    /// Add the time to the name of the file, and delete all but this many of the backups with such names
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Backup {
    pub(super) async fn run(self) -> Outcome {
        let database = sqlite_file(&self.database, "backup")?;
        let stop = stop_signal()?;
        let bar = file::bytes_progress();
        let progress = |bytes, expected| {
            bar.set_length(expected);
            bar.set_position(bytes);
        };
        let write = async {
            match self.keep {
                Some(keep) => {
                    let keep = keep.into();
                    back_up_next(&database, &self.file, keep, timestamp_now(), &progress).await
                }
                None => {
                    let written = back_up(&database, &self.file, &progress).await;
                    written.map(|bytes| (self.file.clone(), bytes))
                }
            }
        };
        let written = tokio::select! {
            written = write => written,
            // Dropping the backup removes the incomplete file.
            () = stop => return Err(format!("{}: stopped before it was complete", self.file.display())),
        };
        bar.finish_and_clear();
        let (file, bytes) = written.map_err(explain)?;
        print(&format!("{}: {}, checked", file.display(), size(bytes)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the database file of the settings.
///
/// # Errors
/// A message for PostgreSQL, or if the file does not exist.
fn sqlite_file(settings: &DatabaseSettings, command: &str) -> Result<PathBuf, String> {
    match location(settings)? {
        Location::Sqlite(path) if path.exists() => Ok(path),
        Location::Sqlite(path) => {
            Err(format!("database file {} not found; choose one with --database", path.display()))
        }
        Location::Postgres(_) => Err(format!("`cinequery {command}` {BY_POSTGRES}")),
    }
}
