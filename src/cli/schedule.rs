//! The backups that `cinequery serve --backup` writes.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::timestamp_now;
use crate::config::BackupSettings;
use crate::store::backup::{back_up_next, last_backup};
use crate::store::{Location, missing_folder};
use crate::telemetry::metrics::METRICS;

/// What to do with PostgreSQL.
pub(super) const BY_POSTGRES: &str = "is for SQLite; back up PostgreSQL with its own tools, such as `pg_dump` (docs/operate/backup.md)";

/// The backups that a service writes.
pub(super) struct Schedule {
    database: PathBuf,
    file: PathBuf,
    interval: Duration,
    keep: usize,
}

/// How long to wait after a backup that failed, if that is less than the interval.
const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

impl Schedule {
    /// Returns the schedule of the settings, if there is one.
    ///
    /// # Errors
    /// A message for PostgreSQL, or if the folder does not exist.
    pub(super) fn of(
        settings: &BackupSettings,
        location: &Location,
    ) -> Result<Option<Self>, String> {
        let Some(file) = settings.backup.clone() else { return Ok(None) };
        let Location::Sqlite(database) = location else {
            return Err(format!("--backup {BY_POSTGRES}"));
        };
        if let Some(message) = missing_folder(&file) {
            return Err(format!("--backup: {message}"));
        }
        if file.is_dir() || file.file_name().is_none() {
            return Err(
                "--backup: expected the name of a file, to which the time is added".to_owned()
            );
        }
        let (interval, keep) = (settings.backup_interval, settings.backup_keep.into());
        Ok(Some(Self { database: database.clone(), file, interval, keep }))
    }

    /// Writes the backups, the first of them when the last one of an earlier process is old enough. It never returns.
    pub(super) async fn run(self) {
        let interval = i64::try_from(self.interval.as_secs()).unwrap_or(i64::MAX);
        METRICS.backup_interval.set(interval);
        if let Ok(Some(last)) = last_backup(&self.file, timestamp_now()) {
            METRICS.last_backup.set(last.timestamp());
        }
        loop {
            let now = timestamp_now();
            let due = last_backup(&self.file, now).map(|last| match last {
                Some(last) => {
                    self.interval.saturating_sub((now - last).to_std().unwrap_or_default())
                }
                None => Duration::ZERO,
            });
            let written = match due {
                Ok(due) => {
                    tokio::time::sleep(due).await;
                    let (database, file, now) = (&self.database, &self.file, timestamp_now());
                    back_up_next(database, file, self.keep, now, &|_, _| ()).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok((file, bytes)) => {
                    METRICS.last_backup.set(timestamp_now().timestamp());
                    tracing::info!(file = %file.display(), bytes, "backup written and checked");
                }
                Err(error) => {
                    tracing::error!(cause = error.cause, "no backup written; retrying later");
                    tokio::time::sleep(self.interval.min(RETRY_AFTER)).await;
                }
            }
        }
    }
}
