//! The location of a database, and of the files beside it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The location of a database.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, as a URL. The URL may contain a password and is never displayed.
    Postgres(String),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Location::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Location::Postgres(url.to_owned()));
        }
        let Some(path) = url.strip_prefix("sqlite:") else {
            // The text may contain a password, so the message does not repeat it.
            return Err("expected sqlite:FILE or postgres://USER@HOST/NAME".into());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.contains(":memory:") || path.contains("mode=memory") {
            return Err("SQLite in memory is not supported: every connection would have its own \
                        database. Use a file, such as sqlite:cinequery.db"
                .into());
        }
        if path.is_empty() || path.contains('?') {
            return Err("expected the path of a file after sqlite:, without parameters".into());
        }
        Ok(Location::Sqlite(PathBuf::from(path)))
    }
}

/// Returns a message if the folder of a file does not exist.
pub(crate) fn missing_folder(file: &Path) -> Option<String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    (!folder.is_dir()).then(|| format!("the folder {} does not exist", folder.display()))
}

/// Returns the path of a file that belongs to the database file.
pub(crate) fn beside(database: &Path, extension: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
