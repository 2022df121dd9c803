//! Backups of a SQLite database, and their restoration.
//!
//! A file that is in use is not complete: the newest commits are in its log until SQLite moves them. So a backup is read
//! through SQLite as one snapshot, while the service goes on. A mark in the file shows that it is served, so that a copy
//! of the file without its log can be recognized.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::NamedTempFile;

use super::failure::is_busy;
use super::{Engine, Store, beside, database_error, missing_folder, plain, sqlite};
use crate::error::{Error, Result};

/// The permissions of a database file, a backup and a secret: only their owner reads and writes them.
const OWNER_ONLY: u32 = 0o600;

/// The name of the row of `cinequery_meta` that a served file has.
const MARK: &str = "in_use";

/// The name of the row that every database of this service has.
const OWN: &str = "folding";

/// By how much the count of revocations grows when a backup is restored: more than there were since. Tokens have the
/// count of their time, so a later revocation is about all of them.
const REVOCATIONS: u32 = 1_000_000;

/// The end of the names of files that are being written, before a random part.
const PARTIAL: &str = ".partial-";

/// After how long an incomplete file is that of a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A lock that each process holds that may write a database file. The system releases it when the process ends.
#[derive(Debug)]
pub(super) struct InUse(File);

impl InUse {
    /// Takes the lock, together with other processes that use the file.
    pub(super) fn enter(database: &Path) -> Result<Self> {
        let busy = "it is being replaced; wait until `cinequery restore` has ended";
        Self::take(database, File::try_lock_shared, busy)
    }

    /// Takes the lock alone.
    fn alone(database: &Path) -> Result<Self> {
        Self::take(database, File::try_lock, "it is in use; stop the service first")
    }

    fn take(
        database: &Path,
        lock: fn(&File) -> std::result::Result<(), TryLockError>,
        busy: &str,
    ) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(OWNER_ONLY);
        let file = options.open(lock_file(database)).map_err(|error| failed(database, &error))?;
        match lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(failed(database, &busy)),
            Err(TryLockError::Error(error)) => Err(failed(database, &error)),
        }
    }

    /// Whether no other process has the lock.
    fn is_last(&self) -> bool {
        self.0.try_lock().is_ok()
    }
}

/// The file that is locked. It stays beside the database, so that a copy of the database alone is recognized.
fn lock_file(database: &Path) -> PathBuf {
    beside(&linked(database), "in-use")
}

fn log_file(database: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", linked(database).display()))
}

/// Follows symbolic links as far as the file exists, because SQLite keeps its log beside the file itself.
fn linked(database: &Path) -> PathBuf {
    database.canonicalize().unwrap_or_else(|_| database.to_owned())
}

/// Whether a database file has a log with commits that may not be in it.
fn has_log(database: &Path) -> bool {
    size_of(&log_file(database)) > 0
}

/// Whether a database file is alone: it has neither a log nor the lock file of a process that used it.
pub(super) fn is_alone(database: &Path) -> bool {
    !lock_file(database).exists() && !has_log(database)
}

/// Creates an empty file for a new database. SQLite gives its log the same permissions.
///
/// # Errors
/// As [`OpenOptions::open`]; none if the file exists.
pub(super) fn create(database: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    // An existing file must not be opened here: closing it would release the locks of SQLite.
    match options.create_new(true).write(true).mode(OWNER_ONLY).open(database) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Store {
    /// Marks a SQLite file as served until [`Store::close`], if it can be written. Nothing happens on PostgreSQL.
    pub async fn mark_served(&self) {
        let Engine::Sqlite { is_marked, .. } = &self.shared.engine else { return };
        let mark = format!(
            "INSERT INTO cinequery_meta (name, value) \
             VALUES ('{MARK}', strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        );
        if let Err(error) = self.write::<(i64,)>(plain(&mark)).await {
            // For example, before the first migration.
            tracing::warn!(cause = error.cause, "copies of the database file are not recognized");
            return;
        }
        // Fails if it is set already.
        let _ = is_marked.set(());
        // A copy has only what is in the file. If this takes too long, a later checkpoint moves the mark.
        let checkpoint = plain("PRAGMA wal_checkpoint(PASSIVE)");
        if let Err(error) = self.write::<(i64, i64, i64)>(checkpoint).await {
            tracing::debug!(cause = error.cause, "the mark is not in the file yet");
        }
    }

    /// Removes the mark from the file, unless another process serves it.
    pub(super) async fn clear_mark(&self) {
        let Engine::Sqlite { is_marked, in_use, .. } = &self.shared.engine else { return };
        if is_marked.get().is_none() || !in_use.as_ref().is_some_and(InUse::is_last) {
            return;
        }
        let delete = format!("DELETE FROM cinequery_meta WHERE name = '{MARK}'");
        if let Err(error) = self.write::<(i64,)>(plain(&delete)).await {
            tracing::warn!(cause = error.cause, "the mark that the database is served stays in it");
            return;
        }
        // SQLite moves the log into the file when its last connection is closed, and that may be one that only reads and
        // cannot: of a request that was cancelled, or of another process.
        let checkpoint = plain("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err(error) = self.write::<(i64, i64, i64)>(checkpoint).await {
            tracing::warn!(
                cause = error.cause,
                "the newest commits stay in the log of the database"
            );
        }
    }

    /// Whether the database is a file that was copied while it was served, without its log: its newest records are missing.
    pub async fn is_incomplete_copy(&self) -> bool {
        match &self.shared.engine {
            Engine::Sqlite { is_alone: true, .. } => {
                let select = format!("SELECT value FROM cinequery_meta WHERE name = '{MARK}'");
                // Fails before the first migration.
                self.texts(plain(&select)).await.is_ok_and(|marks| !marks.is_empty())
            }
            _ => false,
        }
    }
}

/// Receives how many bytes of a file are written, and about how many there will be.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// How often progress is shown.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Writes a backup of a database file to a new file, also while it is served, and returns its size in bytes. If the
/// database has a file with the secret of its tokens, that is copied to `TARGET.secret`. The backup appears when it is
/// complete and was read again.
///
/// # Errors
/// [`crate::error::Kind::Internal`] if a target exists, if the database is an incomplete copy, or if a file cannot be read
/// or written; any database error.
pub async fn back_up(database: &Path, target: &Path, progress: Progress<'_>) -> Result<u64> {
    let (secret, secret_target) = (beside(database, "secret"), beside(target, "secret"));
    for file in [target, &secret_target] {
        if file.symlink_metadata().is_ok() {
            return Err(failed(file, &"it exists; choose another file"));
        }
    }
    let was_alone = is_alone(database);
    let copy = partial(target)?;
    let path = copy.path().to_owned();
    let mut source = connect(reading(database), database).await?;
    if was_alone && has_row(&mut source, MARK).await.map_err(|error| of_file(database, error))? {
        return Err(failed(database, &INCOMPLETE));
    }
    let expected = bytes_of(&mut source).await.map_err(|error| of_file(database, error))?;
    let name = path.to_str().ok_or_else(|| failed(&path, &"the name is not UTF-8"))?;
    let vacuum = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut source);
    let vacuum = shown(vacuum, &path, expected, progress).await;
    vacuum.map_err(|error| of_file(database, error))?;
    source.close().await.map_err(|error| of_file(database, error))?;
    // The snapshot is complete, so it has no mark.
    let unmark = format!("DELETE FROM cinequery_meta WHERE name = '{MARK}'");
    run(&path, &unmark).await.map_err(|error| of_file(&path, error))?;
    check(&path).await?;
    let has_secret = secret.exists();
    if has_secret {
        let secret_copy = partial(&secret_target)?;
        fill(&secret, &secret_copy, &|_, _| ()).await?;
        keep_new(secret_copy, &secret_target)?;
    }
    let bytes = size_of(&path);
    keep_new(copy, target).inspect_err(|_| {
        if has_secret {
            // The first error is reported.
            let _ = fs::remove_file(&secret_target);
        }
    })?;
    Ok(bytes)
}

/// The form of the time in the names of backups, in UTC.
const NAME_TIME: &str = "%Y%m%dT%H%M%SZ";

/// Writes a backup with the time in its name, `NAME-20260131T020000Z.db`, and then deletes the oldest backups with such
/// names except `keep`. Returns its file and its size in bytes.
///
/// # Errors
/// As [`back_up`]. An old backup that cannot be deleted is logged.
pub async fn back_up_next(
    database: &Path,
    target: &Path,
    keep: usize,
    now: DateTime<Utc>,
    progress: Progress<'_>,
) -> Result<(PathBuf, u64)> {
    let file = dated(target, now);
    let bytes = back_up(database, &file, progress).await?;
    // Names are in the order of their times. Those after now come from a clock that was wrong.
    let mut earlier = backups(target, now).map_err(|error| failed(target, &error))?;
    earlier.sort_unstable_by(|left, right| right.cmp(left));
    for (_, old) in earlier.into_iter().skip(keep) {
        if let Err(error) = fs::remove_file(&old) {
            tracing::warn!(file = %old.display(), %error, "an old backup was not deleted");
        }
        // There is none if the secret is configured.
        let _ = fs::remove_file(beside(&old, "secret"));
    }
    Ok((file, bytes))
}

/// Returns when the last backup with such a name was written.
///
/// # Errors
/// [`crate::error::Kind::Internal`] if the folder cannot be read.
pub fn last_backup(target: &Path, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let all = backups(target, now).map_err(|error| failed(target, &error))?;
    Ok(all.into_iter().map(|(written_at, _)| written_at).max())
}

/// Returns the backups that [`back_up_next`] has written for a name until now, with their times.
fn backups(target: &Path, now: DateTime<Utc>) -> std::io::Result<Vec<(DateTime<Utc>, PathBuf)>> {
    let (start, end) = parts_of(target);
    let time = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let time = name.strip_prefix(&format!("{start}-"))?.strip_suffix(&end)?;
        let time = NaiveDateTime::parse_from_str(time, NAME_TIME).ok()?.and_utc();
        (time <= now).then_some(time)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(target))? {
        let path = entry?.path();
        found.extend(time(&path).map(|time| (time, path)));
    }
    Ok(found)
}

fn dated(target: &Path, now: DateTime<Utc>) -> PathBuf {
    let (start, end) = parts_of(target);
    target.with_file_name(format!("{start}-{}{end}", now.format(NAME_TIME)))
}

/// Returns the name of a file without its extension, and the extension with its point.
fn parts_of(target: &Path) -> (String, String) {
    let end = target.extension().map(|end| format!(".{}", end.to_string_lossy()));
    let start = target.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (start, end.unwrap_or_default())
}

/// A restored database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its size in bytes.
    pub bytes: u64,
    /// Where the previous database is now, if there was one.
    pub replaced: Option<PathBuf>,
    /// Whether the backup had the secret of its tokens, which are valid again.
    pub has_secret: bool,
}

/// What is wrong with a file that was copied while it was served.
const INCOMPLETE: &str = "it was copied while it was in use, without its log: its newest records are missing; use another backup";

/// Creates a database file from a backup, which is checked first. `replaces` moves an existing file aside, with its log
/// and its secret if the backup includes another. Until then the existing file stays as it is.
///
/// # Errors
/// [`crate::error::Kind::Internal`] if the backup is damaged or incomplete, if the database is in use, if it exists and
/// `replaces` is false, or if a file cannot be read or written.
pub async fn restore(
    backup: &Path,
    database: &Path,
    replaces: bool,
    progress: Progress<'_>,
) -> Result<Restored> {
    let (secret, own_secret) = (beside(backup, "secret"), beside(database, "secret"));
    let database = &linked(database);
    if has_log(backup) {
        let advice = "it may be in use; copy it with `cinequery backup`";
        return Err(failed(backup, &format!("it has a log of its own: {advice}")));
    }
    if check(backup).await? && is_alone(backup) {
        return Err(failed(backup, &INCOMPLETE));
    }
    if let Some(message) = missing_folder(database) {
        return Err(failed(database, &message));
    }
    let _alone = InUse::alone(database)?;
    let exists = database.exists();
    if exists && !replaces {
        let advice = "add --replace to move it aside, or choose another file with --database";
        return Err(failed(database, &format!("it exists; {advice}")));
    }
    if !exists && has_log(database) {
        let log = log_file(database);
        return Err(failed(&log, &"it is the log of another database; move it to that one"));
    }
    let copy = partial(database)?;
    fill(backup, &copy, progress).await?;
    let revoke = format!(
        "DELETE FROM cinequery_meta WHERE name = '{MARK}'; UPDATE cinequery_meta \
         SET value = CAST(CAST(value AS INTEGER) + {REVOCATIONS} AS TEXT) WHERE name = 'revocations'"
    );
    run(copy.path(), &revoke).await.map_err(|error| of_file(copy.path(), error))?;
    end_sessions(copy.path()).await.map_err(|error| of_file(copy.path(), error))?;
    let secret_copy = match secret.exists() {
        true => {
            let secret_copy = partial(&own_secret)?;
            fill(&secret, &secret_copy, &|_, _| ()).await?;
            Some(secret_copy)
        }
        false => None,
    };
    for file in std::iter::once(&copy).chain(&secret_copy) {
        give_to_owner_of(if exists { database } else { folder_of(database) }, file);
    }
    let bytes = size_of(copy.path());
    let aside = beside(database, &Utc::now().format(NAME_TIME).to_string());
    if exists {
        move_aside(database, &aside).await?;
        keep(copy, database)?;
    } else {
        keep_new(copy, database)?;
    }
    let has_secret = secret_copy.is_some();
    if let Some(secret_copy) = secret_copy {
        if own_secret.exists() {
            rename(&own_secret, &beside(&aside, "secret"))?;
        }
        keep(secret_copy, &own_secret)?;
    }
    Ok(Restored { bytes, replaced: exists.then_some(aside), has_secret })
}

/// Gives a database another name in addition to its own, for its replacement, and its log that name. The log is applied
/// before, unless the database is damaged.
async fn move_aside(database: &Path, aside: &Path) -> Result<()> {
    if aside.exists() {
        return Err(failed(aside, &"it exists; retry"));
    }
    let settle = format!(
        "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; \
         DELETE FROM cinequery_meta WHERE name = '{MARK}'; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
    );
    match run(database, &settle).await {
        // Another process has it open without the lock, such as a shell of SQLite.
        Err(error) if is_busy(&error) => return Err(of_file(database, error)),
        Err(error) => tracing::warn!(%error, "the previous database is damaged"),
        Ok(()) => {}
    }
    // With two names there is a database at every moment.
    if fs::hard_link(database, aside).is_err() {
        rename(database, aside)?;
    }
    if has_log(database) {
        rename(&log_file(database), &log_file(aside))?;
    }
    Ok(())
}

/// Runs statements on a file, without a wait for other processes.
async fn run(path: &Path, sql: &str) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::ZERO);
    let mut connection = options.connect().await?;
    let outcome = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
    outcome.map(drop).and(connection.close().await)
}

/// Deletes the sessions of a database that was restored. Otherwise those that have ended since would revive, and refresh
/// tokens that were used since could be used again. Earlier versions have no sessions.
async fn end_sessions(path: &Path) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::ZERO);
    let mut connection = options.connect().await?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'cinequery_sessions'";
    let tables: sqlx::Result<i64> = sqlx::query_scalar(tables).fetch_one(&mut connection).await;
    connection.close().await?;
    if tables? == 0 { Ok(()) } else { run(path, "DELETE FROM cinequery_sessions").await }
}

/// Reads a whole database file and checks its structure. Returns whether it is marked as served.
async fn check(path: &Path) -> Result<bool> {
    let mut connection = connect(reading(path).immutable(true), path).await?;
    let read = async {
        let found: Vec<(String,)> =
            sqlx::query_as("PRAGMA integrity_check(1)").fetch_all(&mut connection).await?;
        let is_own = has_row(&mut connection, OWN).await?;
        Ok((found, is_own, has_row(&mut connection, MARK).await?))
    };
    let read = read.await.map_err(|error: sqlx::Error| of_file(path, error));
    let (found, is_own, is_marked) = read?;
    connection.close().await.map_err(|error| of_file(path, error))?;
    if let Some((problem,)) = found.iter().find(|(line,)| line != "ok") {
        return Err(failed(path, &format!("it is damaged: {problem}")));
    }
    if is_own { Ok(is_marked) } else { Err(failed(path, &"it is not a database of this service")) }
}

async fn has_row(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<bool> {
    let select = sqlx::query_as("SELECT count(*) FROM cinequery_meta WHERE name = ?").bind(name);
    let (count,): (i64,) = select.fetch_one(connection).await?;
    Ok(count > 0)
}

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true)
}

async fn connect(options: SqliteConnectOptions, path: &Path) -> Result<SqliteConnection> {
    options.connect().await.map_err(|error| of_file(path, error))
}

async fn bytes_of(connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let (bytes,): (i64,) = sqlx::query_as(sql).fetch_one(connection).await?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// Does work that writes a file, and shows how far it is.
async fn shown<T>(
    work: impl Future<Output = T>,
    path: &Path,
    expected: u64,
    show: Progress<'_>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SHOW_INTERVAL) => show(size_of(path), expected),
        }
    }
}

/// Copies a file into an incomplete one.
async fn fill(from: &Path, to: &NamedTempFile, progress: Progress<'_>) -> Result<()> {
    let copy = async {
        let mut source = tokio::fs::File::open(from).await?;
        let mut target = tokio::fs::File::from_std(to.reopen()?);
        tokio::io::copy(&mut source, &mut target).await?;
        target.sync_all().await
    };
    let copied: std::io::Result<()> = shown(copy, to.path(), size_of(from), progress).await;
    let names = || format!("{} to {}", from.display(), folder_of(to.path()).display());
    copied.map_err(|error| Error::internal(format!("cannot copy {}: {error}", names())))
}

/// Creates a file that is deleted unless it is kept, in the folder of the file that it will be. Only its owner can read it.
fn partial(path: &Path) -> Result<NamedTempFile> {
    let name = path.file_name().filter(|_| !path.is_dir());
    let name = name.ok_or_else(|| failed(path, &"expected the name of a file"))?.to_string_lossy();
    if let Some(message) = missing_folder(path) {
        return Err(failed(path, &message));
    }
    let prefix = format!(".{name}{PARTIAL}");
    delete_abandoned(folder_of(path), &prefix);
    let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder_of(path));
    file.map_err(|error| failed(path, &error))
}

/// Deletes incomplete files of processes that were killed, as far as possible.
fn delete_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_partial = entry.file_name().to_string_lossy().starts_with(prefix);
        let written_at = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written_at.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if is_partial && age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives an incomplete file its name. It replaces a file with that name.
fn keep(file: NamedTempFile, path: &Path) -> Result<()> {
    let kept = file.as_file().sync_all().and_then(|()| {
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder_of(path))?.sync_all()
    });
    kept.map_err(|error| failed(path, &error))
}

/// Does the same for a name that no file has yet.
fn keep_new(file: NamedTempFile, path: &Path) -> Result<()> {
    let kept = file.as_file().sync_all().and_then(|()| {
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(folder_of(path))?.sync_all()
    });
    kept.map_err(|error| failed(path, &error))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| failed(from, &error))
}

/// Gives a file to the owner of another one, if that is allowed: the service may run as another user than the operator.
fn give_to_owner_of(model: &Path, file: &NamedTempFile) {
    if let Ok(model) = model.metadata() {
        let _ = chown(file.path(), Some(model.uid()), Some(model.gid()));
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn failed(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("{}: {cause}", path.display()))
}

fn of_file(path: &Path, error: sqlx::Error) -> Error {
    sqlite::of_file(database_error(error), path)
}
