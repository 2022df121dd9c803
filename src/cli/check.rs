//! `cinequery check`: validates the configuration and inspects the database without starting the server.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::schedule::Schedule;
use super::serve::INCOMPLETE_COPY;
use super::user::first_password;
use super::{Outcome, SecretSource, bind, catalogue, explain, location, print, serve};
use crate::config::{Auth, DatabaseSettings, ServeSettings, TokenSettings};
use crate::error::Error;
use crate::record::Catalogue;
use crate::store::{By, Location, Missing, State, Store, missing_folder};

const HELP: &str = "\
Pass the settings of `serve`, and run it as the same user. The check only reads the database, and
leaves no file. It does not connect to Redis or to the issuer of tokens, and it does not listen on
the port.

Exit codes:
  0  the configuration is valid, and no migrations are pending
  1  the configuration is invalid
  2  the command line is invalid
  3  the database cannot be reached
  4  migrations are pending, or the database does not exist: run `cinequery migrate`
  5  the tables belong to a newer version or to another program";

/// What is wrong if the count of revocations is behind their table.
const LACKS_REVOCATIONS: &str =
    "it is older than its revocations: tables of different backups are mixed; restore one backup";

const NO_USERS: &str = "it has no users: `serve` creates the first administrator; if there were users, it is not complete";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Check {
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten, next_help_heading = "Database")]
    database: DatabaseSettings,
    #[command(flatten, next_help_heading = "Identity")]
    tokens: TokenSettings,
}

/// The result of the check, as an exit code.
#[derive(Clone, Copy)]
enum Verdict {
    Ready = 0,
    Invalid = 1,
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
        let (location, catalogue) = match self.configuration().await {
            Ok(configured) => configured,
            Err(message) => {
                lines.push(("configuration", message));
                return Verdict::Invalid;
            }
        };
        lines.push(("configuration", "ok".to_owned()));
        lines.extend(serve::unused(&self.serve).map(|warning| ("warning", warning)));
        // Valid, as `configuration` has found.
        if let Ok(Some(anonymous)) = serve::anonymous(&self.serve, catalogue) {
            lines.push(("warning", serve::public(&anonymous)));
        }
        if let Location::Sqlite(path) = &location
            && let Err((verdict, message)) = check_file(path)
        {
            lines.push(("database", message));
            return verdict;
        }
        let found = match reach(location, catalogue, &self.serve).await {
            Ok(found) => found,
            Err(error) => {
                lines.push(("database", explain(error)));
                return Verdict::Unreachable;
            }
        };
        lines.push(("database", format!("ok: {}", found.version)));
        lines.extend(found.warnings.iter().map(|warning| ("warning", (*warning).to_owned())));
        if let Some(damage) = found.damage {
            lines.push(("database", damage.to_owned()));
            return Verdict::Invalid;
        }
        let (verdict, message) = match found.state {
            State::Current => (Verdict::Ready, "ok".to_owned()),
            State::Behind { missing, .. } if found.missing_privilege.is_some() => (
                Verdict::Behind,
                format!(
                    "{missing} to be applied, but {}",
                    found.missing_privilege.unwrap_or_default()
                ),
            ),
            State::Behind { missing, by: By::Serve } => (
                Verdict::Behind,
                format!(
                    "{missing} pending: run `cinequery migrate`, or `serve`, which applies them at start"
                ),
            ),
            State::Behind { missing, by: By::Migrate } => (
                Verdict::Behind,
                format!(
                    "{missing} pending: run `cinequery migrate`; `serve` does not start before"
                ),
            ),
            State::Foreign => (
                Verdict::Foreign,
                "the tables have migrations of another version: run that version or a later one"
                    .to_owned(),
            ),
        };
        lines.push(("migrations", message));
        if !found.undeclared.is_empty() {
            let names = found.undeclared.join(", ");
            let advice = "to drop one, run `cinequery migrate --drop NAME`";
            lines.push(("not declared", format!("{names}: kept in the database; {advice}")));
        }
        match found.administrator {
            Err(message) => {
                lines.push(("administrator", message));
                Verdict::Invalid
            }
            Ok(()) => verdict,
        }
    }

    /// Validates everything that `serve` validates before it opens the database.
    async fn configuration(&self) -> Result<(Location, Catalogue), String> {
        let catalogue = catalogue(&self.database.records)?;
        let addresses = self.serve.listen.resolve("--listen").await?;
        bind::check(&self.serve.listen, "--listen")?;
        serve::check_auth(&self.serve, &addresses, catalogue)?;
        if let Some(admin) = &self.serve.observability.admin_listen {
            admin.resolve("--admin-listen").await?;
            bind::check(admin, "--admin-listen")?;
        }
        serve::origins(&self.serve)?;
        serve::anonymous(&self.serve, catalogue)?;
        serve::check_temporary_folder()?;
        serve::Throttle::of(&self.serve.throttle)?;
        let location = location(&self.database)?;
        match serve::secrets(&self.serve, &self.tokens, &location)? {
            // The first start creates the file. An existing one is validated.
            SecretSource::Kept(path) if !path.exists() => {}
            source => drop(source.read()?),
        }
        serve::check_administrator(&self.serve, &location)?;
        Schedule::of(&self.serve.backup, &location)?;
        Ok((location, catalogue))
    }
}

/// Checks that there is a database file, and that `serve` can write to it and to its folder, in which SQLite keeps its
/// log.
fn check_file(path: &Path) -> Result<(), (Verdict, String)> {
    if let Some(message) = missing_folder(path) {
        return Err((Verdict::Unreachable, message));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let exists = path.exists();
    let opened = if exists { OpenOptions::new().write(true).open(path).map(drop) } else { Ok(()) };
    if let Err(error) = opened.and_then(|()| tempfile::tempfile_in(folder).map(drop)) {
        let message = format!(
            "cannot write {}: {error}; `serve` needs write permission for the file and its folder \
             (`query` and `export` do not)",
            path.display()
        );
        return Err((Verdict::Invalid, message));
    }
    if !exists {
        let help = "`serve` and `cinequery migrate` create it";
        return Err((Verdict::Behind, format!("{} does not exist; {help}", path.display())));
    }
    Ok(())
}

/// What the command reads from the database.
struct Found {
    version: String,
    state: State,
    /// What the database role lacks to apply migrations, and how to grant it.
    missing_privilege: Option<String>,
    /// Fields and collections that are in the database but not declared.
    undeclared: Vec<String>,
    /// Why records are missing, if some are.
    damage: Option<&'static str>,
    warnings: Vec<&'static str>,
    /// Whether there is an administrator or a password for the first one, and otherwise what is wrong.
    administrator: Result<(), String>,
}

/// Reads the version of the database, the state of its tables, and whether there is an administrator or a password for
/// the first one.
async fn reach(
    location: Location,
    catalogue: Catalogue,
    settings: &ServeSettings,
) -> Result<Found, Error> {
    let store = Store::open(location, Missing::ReadOnly).await?;
    let version = store.version().await?;
    let state = store.state(catalogue.schemas()).await?;
    let missing_privilege = match state {
        State::Behind { .. } => store.missing_privilege().await?,
        _ => None,
    };
    let undeclared = match state {
        State::Foreign => Vec::new(),
        State::Current | State::Behind { .. } => store.undeclared(catalogue.schemas()).await?,
    };
    let (mut damage, mut warnings) = (None, Vec::new());
    if store.is_incomplete_copy().await {
        damage = Some(INCOMPLETE_COPY);
    } else if matches!(state, State::Current) {
        if store.lacks_revocations().await? {
            damage = Some(LACKS_REVOCATIONS);
        }
        if settings.auth == Auth::Password && !store.has_users().await? {
            warnings.push(NO_USERS);
        }
    }
    let administrator = match (settings.auth, state) {
        (Auth::Password, State::Current) => {
            let file = settings.admin_password_file.as_deref();
            first_password(&store, file).await.map(|_| ())
        }
        _ => Ok(()),
    };
    store.close().await;
    Ok(Found { version, state, missing_privilege, undeclared, damage, warnings, administrator })
}
