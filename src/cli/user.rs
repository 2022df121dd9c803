//! `cinequery user`: manages the users who sign in with a password, and creates the first administrator.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{Outcome, catalogue, explain, migrate, open, print};
use crate::app::revoke::{self, RevocationRequest};
use crate::app::search::MAX_LIMIT;
use crate::app::users::{self, UserDraft, UserPatch};
use crate::clock::timestamp_now;
use crate::config::DatabaseSettings;
use crate::error::Kind;
use crate::identity::{ADMIN_SCOPE, Hasher, Identity, Role, password_problem, random_password};
use crate::store::{Expected, Missing, Origin, Store};
use crate::telemetry::audit::Audit;

const EXAMPLES: &str = "\
Examples:
  cinequery user add anna --role editor                 generates a password and prints it once
  cinequery user add reports --role viewer --password-file /run/secrets/reports
  cinequery user change anna --new-password
  cinequery user list

If standard input is not a terminal, the password is its first line.";

/// The name of the first administrator.
const FIRST: &str = "admin";

/// The message if there is no administrator, and no way to set or print the password of one.
const NO_ADMINISTRATOR: &str = "there is no administrator: pass a file with a password in CINEQUERY_ADMIN_PASSWORD_FILE or \
     --admin-password-file, run `cinequery user add NAME --role admin`, or use --auth open";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a user
    Add {
        /// Name of the user
        name: String,
        /// Role, which decides what the user may do
        #[arg(long)]
        role: Role,
        /// File that contains the password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Change the password or role of a user and revoke their tokens
    #[command(group(ArgGroup::new("what").args(["role", "password_file", "new_password"]).multiple(true).required(true)))]
    Change {
        /// Name of the user
        name: String,
        /// New role
        #[arg(long)]
        role: Option<Role>,
        /// File that contains the new password
        #[arg(long, value_name = "FILE", conflicts_with = "new_password")]
        password_file: Option<PathBuf>,
        /// Set a new password: from standard input, or generated and printed once if that is a terminal
        #[arg(long)]
        new_password: bool,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Remove a user and revoke their tokens
    Remove {
        /// Name of the user
        name: String,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Revoke all tokens of a user, also of one who signs in at another issuer
    SignOut {
        /// Name of the user, or subject of the tokens
        name: String,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// List users and their roles
    List {
        #[command(flatten)]
        database: DatabaseSettings,
    },
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Viewer => "Read records",
            Self::Editor => "Read and write records",
            Self::Admin => "Read and write records, and manage users",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

impl User {
    pub(super) async fn run(self) -> Outcome {
        let catalogue = catalogue(&self.command.database().records)?;
        let store = open(self.command.database(), Missing::Create).await?;
        migrate(&store, catalogue).await?;
        let done = self.command.run(&store).await;
        store.close().await;
        done.map(|()| ExitCode::SUCCESS)
    }
}

impl Command {
    fn database(&self) -> &DatabaseSettings {
        match self {
            Self::Add { database, .. }
            | Self::Change { database, .. }
            | Self::Remove { database, .. }
            | Self::SignOut { database, .. }
            | Self::List { database } => database,
        }
    }

    async fn run(self, store: &Store) -> Result<(), String> {
        let hasher = Hasher::new();
        let caller = administrator();
        match self {
            Self::Add { name, role, password_file, .. } => {
                let password = Password::of(password_file.as_deref())?;
                let draft = UserDraft { name, password: password.text.clone(), role };
                users::add(store, &hasher, &caller, draft).await.map_err(explain)?;
                password.show()
            }
            Self::Change { name, role, password_file, new_password, .. } => {
                let password = match (password_file, new_password) {
                    (None, false) => None,
                    (file, _) => Some(Password::of(file.as_deref())?),
                };
                let patch = UserPatch {
                    password: password.as_ref().map(|password| password.text.clone()),
                    role,
                };
                let changed =
                    users::change(store, &hasher, &caller, &name, patch, &Expected::Any).await;
                changed.map_err(explain)?;
                password.map_or(Ok(()), |password| password.show())
            }
            Self::Remove { name, .. } => {
                users::remove(store, &caller, &name, &Expected::Any).await.map_err(explain)
            }
            Self::SignOut { name, .. } => {
                let request = RevocationRequest { subject: name };
                revoke::all_of(store, &caller, &request).await.map_err(explain)
            }
            Self::List { .. } => {
                let mut after = None;
                loop {
                    let page =
                        users::list(store, &caller, after.as_deref(), Some(MAX_LIMIT.into())).await;
                    let page = page.map_err(explain)?;
                    if after.is_none() && page.items.is_empty() {
                        eprintln!("no users; add one with `cinequery user add NAME --role admin`");
                    }
                    for user in page.items {
                        print(&format!("{:<8} {}", user.role.as_str(), user.name))?;
                    }
                    after = page.next_after;
                    if after.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Returns the identity of the command line: it has the database credentials, so it may manage users.
fn administrator() -> Identity {
    Identity { subject: "operator".to_owned(), scopes: vec![ADMIN_SCOPE.to_owned()] }
}

/// A password, and whether it was generated, so that it has to be printed.
pub(super) struct Password {
    text: String,
    is_generated: bool,
}

impl Password {
    /// Reads the password from the file if there is one, otherwise from standard input unless that is a terminal.
    /// Otherwise generates one.
    fn of(file: Option<&Path>) -> Result<Self, String> {
        let given = |text: &str| Self {
            text: text.trim_end_matches(['\r', '\n']).to_owned(),
            is_generated: false,
        };
        if let Some(file) = file {
            let text = std::fs::read_to_string(file);
            return text.map(|text| given(&text)).map_err(|e| format!("{}: {e}", file.display()));
        }
        if std::io::stdin().is_terminal() {
            return random_password()
                .map(|text| Self { text, is_generated: true })
                .map_err(explain);
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            let message = "standard input is empty: expected the password on its first line; or pass a \
                           file with --password-file";
            return Err(message.to_owned());
        }
        Ok(given(&line))
    }

    fn show(&self) -> Result<(), String> {
        if self.is_generated { print(&format!("password: {}", self.text)) } else { Ok(()) }
    }
}

/// Returns the password of the first administrator, or `None` if there is an administrator.
///
/// # Errors
/// A message if there is neither a file nor a terminal, or the password is invalid.
pub(super) async fn first_password(
    store: &Store,
    file: Option<&Path>,
) -> Result<Option<Password>, String> {
    if store.has_user_with(Role::Admin.as_str()).await.map_err(explain)? {
        return Ok(None);
    }
    new_password(file).map(Some)
}

/// Returns the password for the first administrator.
///
/// # Errors
/// A message if there is neither a file nor a terminal, or the password is invalid.
pub(super) fn new_password(file: Option<&Path>) -> Result<Password, String> {
    let password = match file {
        Some(_) => Password::of(file)?,
        None if std::io::stdout().is_terminal() => {
            Password { text: random_password().map_err(explain)?, is_generated: true }
        }
        None => return Err(NO_ADMINISTRATOR.to_owned()),
    };
    match password_problem(&password.text) {
        Some(problem) => Err(format!("the password of the administrator {problem}")),
        None => Ok(password),
    }
}

/// Creates the first administrator if there is none, with the password of the file, or with a generated one that is
/// printed once on a terminal. If several instances start at the same time, one of them creates it.
///
/// # Errors
/// A message if there is neither a file nor a terminal, or the password is invalid.
pub(super) async fn ensure_administrator(
    store: &Store,
    hasher: &Hasher,
    file: Option<&Path>,
) -> Result<(), String> {
    let Some(password) = first_password(store, file).await? else { return Ok(()) };
    let hash = hasher.hash(password.text.clone()).await.map_err(explain)?;
    let added = store.add_user(FIRST, &hash, Role::Admin.as_str(), timestamp_now()).await;
    if added.is_ok() {
        let origin = Origin::default();
        let audit = Audit::by("create_user", &origin.subject, None);
        let role = Some(Role::Admin.as_str());
        Audit { user: Some(FIRST), role, to_version: Some(1), ..audit }.log();
    }
    match added {
        Ok(_) if password.is_generated => print(&format!(
            "Created the first administrator {FIRST:?} with the password {}\nIt is not shown again.",
            password.text
        )),
        Ok(_) => Ok(()),
        // Another instance created it, or a user without the role has this name. That user keeps its role.
        Err(error) if error.kind == Kind::Duplicate => {
            match store.has_user_with(Role::Admin.as_str()).await.map_err(explain)? {
                true => Ok(()),
                false => Err(format!(
                    "there is no administrator, and the user {FIRST:?} has another role: run \
                     `cinequery user change NAME --role admin`"
                )),
            }
        }
        Err(error) => Err(explain(error)),
    }
}
