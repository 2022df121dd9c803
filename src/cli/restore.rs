//! `cinequery restore`: makes a SQLite database of a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::file::{self, size};
use super::schedule::BY_POSTGRES;
use super::serve::stop_signal;
use super::{Outcome, explain, location, print};
use crate::config::DatabaseSettings;
use crate::store::Location;
use crate::store::backup::restore;

const EXAMPLES: &str = "\
Examples:
  cinequery restore /backups/movies.db                               creates ./cinequery.db
  cinequery restore /backups/movies.db --replace                     moves the present one aside
  cinequery restore /backups/movies.db --database sqlite:/srv/movies.db

The service must be stopped. Tokens that were revoked after the backup are valid again until they expire. To reject all
tokens, change the secret before the service starts: delete the file DATABASE.secret, or configure another one.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    /// Backup, as `cinequery backup` writes it. It is checked first
    file: PathBuf,
    /// Move the present database aside, to DATABASE.TIME
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Restore {
    pub(super) async fn run(self) -> Outcome {
        let database = match location(&self.database)? {
            Location::Sqlite(path) => path,
            Location::Postgres(_) => return Err(format!("`cinequery restore` {BY_POSTGRES}")),
        };
        if !self.file.exists() {
            return Err(format!("backup {} not found", self.file.display()));
        }
        let stop = stop_signal()?;
        let bar = file::bytes_progress();
        let progress = |bytes, expected| {
            bar.set_length(expected);
            bar.set_position(bytes);
        };
        let restored = tokio::select! {
            restored = restore(&self.file, &database, self.replace, &progress) => restored,
            // Dropping the work removes the incomplete file.
            () = stop => return Err(format!("{}: stopped before it was restored", database.display())),
        };
        bar.finish_and_clear();
        let restored = restored.map_err(explain)?;
        print(&format!("{}: {}, restored", database.display(), size(restored.bytes)))?;
        if let Some(replaced) = restored.replaced {
            print(&format!("the previous database is {}", replaced.display()))?;
        }
        if !restored.has_secret {
            print("the backup has no secret: unless one is configured, users sign in again")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
