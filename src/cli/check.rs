//! `cinequery check`: whether the service could be started, without starting it.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::user::first_password;
use super::{Outcome, SecretSource, catalogue, explain, location, print, serve};
use crate::config::{Auth, DatabaseSettings, ServeSettings, TokenSettings};
use crate::error::Error;
use crate::record::Catalogue;
use crate::store::{By, Location, Missing, State, Store};

const HELP: &str = "\
Give it the settings of `serve`. The database is only read, neither Redis nor an issuer of
tokens is asked, and the address is not listened on.

Exit codes:
  0  the settings will do, and the tables are there
  1  a setting is refused
  2  the command line cannot be read
  3  the database cannot be reached
  4  tables are missing: `cinequery migrate` makes them, and so does `serve`
  5  the tables are those of a newer version, or of something else";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Check {
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    tokens: TokenSettings,
}

/// How far the check came, as an exit code.
#[derive(Clone, Copy)]
enum Verdict {
    Ready = 0,
    Refused = 1,
    Unreachable = 3,
    Behind = 4,
    Foreign = 5,
}

impl Check {
    pub(super) async fn run(self) -> Outcome {
        let mut lines = Vec::new();
        let verdict = self.check(&mut lines).await;
        let lines = lines.iter().map(|(what, how)| format!("{what:<14} {how}"));
        print(&lines.collect::<Vec<_>>().join("\n"))?;
        Ok(ExitCode::from(verdict as u8))
    }

    async fn check(self, lines: &mut Vec<(&'static str, String)>) -> Verdict {
        let (location, catalogue) = match self.configuration() {
            Ok(configured) => configured,
            Err(message) => {
                lines.push(("configuration", message));
                return Verdict::Refused;
            }
        };
        lines.push(("configuration", "ok".to_owned()));
        if let Location::Sqlite(path) = &location
            && !path.exists()
        {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let (verdict, message) = match folder.filter(|folder| !folder.is_dir()) {
                Some(folder) => {
                    (Verdict::Unreachable, format!("there is no folder {}", folder.display()))
                }
                None => {
                    let made = "`serve` and `cinequery migrate` make it";
                    (Verdict::Behind, format!("there is no {} yet: {made}", path.display()))
                }
            };
            lines.push(("database", message));
            return verdict;
        }
        if let Location::Sqlite(path) = &location
            && let Err(message) = check_writable(path)
        {
            lines.push(("database", message));
            return Verdict::Refused;
        }
        let reached = reach(location, catalogue, &self.serve).await;
        let (version, state, missing_privilege, administrator) = match reached {
            Ok(found) => found,
            Err(error) => {
                lines.push(("database", explain(error)));
                return Verdict::Unreachable;
            }
        };
        lines.push(("database", format!("ok: {version}")));
        let (verdict, message) = match state {
            State::Current => (Verdict::Ready, "ok".to_owned()),
            State::Behind { missing, .. } if missing_privilege.is_some() => (
                Verdict::Behind,
                format!("{missing} to be applied, but {}", missing_privilege.unwrap_or_default()),
            ),
            State::Behind { missing, by: By::Serve } => (
                Verdict::Behind,
                format!("{missing} to be applied: run `cinequery migrate`, or let `serve` do it"),
            ),
            State::Behind { missing, by: By::Migrate } => (
                Verdict::Behind,
                format!("{missing} to be applied: run `cinequery migrate`; `serve` does not start before"),
            ),
            State::Foreign => (
                Verdict::Foreign,
                "some are not those of this version: run the version that applied them, or a later \
                 one"
                .to_owned(),
            ),
        };
        lines.push(("migrations", message));
        match administrator {
            Err(message) => {
                lines.push(("administrator", message));
                Verdict::Refused
            }
            Ok(()) => verdict,
        }
    }

    /// Everything that `serve` would refuse before it opens the database.
    fn configuration(&self) -> Result<(Location, Catalogue), String> {
        let catalogue = catalogue(&self.database.records)?;
        serve::check_auth(&self.serve, catalogue)?;
        serve::check_temporary_folder()?;
        serve::Throttle::of(&self.serve.throttle)?;
        let location = location(&self.database)?;
        match serve::secrets(&self.serve, &self.tokens, &location)? {
            // It is made by whoever starts first; one that is there must do.
            SecretSource::Kept(path) if !path.exists() => {}
            source => drop(source.read()?),
        }
        Ok((location, catalogue))
    }
}

/// Whether `serve` could write a database file. It also writes beside it, where SQLite keeps its log.
fn check_writable(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let opened = OpenOptions::new().write(true).open(path).map(drop);
    opened.and_then(|()| tempfile::tempfile_in(folder).map(drop)).map_err(|error| {
        format!(
            "cannot write {}: {error}; `serve` needs write permission for the file and its folder, \
             `query` and `export` do not",
            path.display()
        )
    })
}

/// What can be read of the database: its version, its tables, and whether somebody will administer the
/// service.
async fn reach(
    location: Location,
    catalogue: Catalogue,
    settings: &ServeSettings,
) -> Result<(String, State, Option<String>, Result<(), String>), Error> {
    let store = Store::open(location, Missing::ReadOnly).await?;
    let version = store.version().await?;
    let state = store.state(catalogue.schemas()).await?;
    let missing_privilege = match state {
        State::Behind { .. } => store.missing_privilege().await?,
        _ => None,
    };
    let administrator = match (settings.auth, state) {
        (Auth::Password, State::Current) => {
            let file = settings.admin_password_file.as_deref();
            first_password(&store, file).await.map(|_| ())
        }
        _ => Ok(()),
    };
    store.close().await;
    Ok((version, state, missing_privilege, administrator))
}
