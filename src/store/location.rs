//! Where a database is.

use std::path::PathBuf;
use std::str::FromStr;

/// The address of a database.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A server, as a URL. It may hold a password and is never shown.
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
            // The text may hold a password: it is not repeated.
            return Err("the database is given as sqlite:FILE or postgres://USER@HOST/NAME".into());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.contains(":memory:") || path.contains("mode=memory") {
            return Err("SQLite in memory is refused: every connection would see a database of \
                        its own. Give a file, such as sqlite:cinequery.db"
                .into());
        }
        if path.is_empty() || path.contains('?') {
            return Err("sqlite: is followed by the path of a file and nothing else".into());
        }
        Ok(Location::Sqlite(PathBuf::from(path)))
    }
}
