//! `cinequery user`: administer those who sign in with a password, and the first of them.

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
use crate::store::{Expected, Missing, Store};

const EXAMPLES: &str = "\
Examples:
  cinequery user add anna --role editor                 prints a password once
  cinequery user add reports --role viewer --password-file /run/secrets/reports
  cinequery user change anna --new-password
  cinequery user list

In a pipe the password is the first line of standard input.";

/// The name of the first administrator.
const FIRST: &str = "admin";

/// What is said where one can neither be made nor be told the password.
pub(super) const NO_ADMINISTRATOR: &str = "there is no administrator yet: name a file with a password in CINEQUERY_ADMIN_PASSWORD_FILE \
     or --admin-password-file, run `cinequery user add NAME --role admin`, or choose --auth open";

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
        /// The name
        name: String,
        /// What they may do
        #[arg(long)]
        role: Role,
        /// A file that holds the password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Give a user another password or role. The tokens they have end
    #[command(group(ArgGroup::new("what").args(["role", "password_file", "new_password"]).multiple(true).required(true)))]
    Change {
        /// The name
        name: String,
        /// Another role
        #[arg(long)]
        role: Option<Role>,
        /// A file that holds another password
        #[arg(long, value_name = "FILE", conflicts_with = "new_password")]
        password_file: Option<PathBuf>,
        /// Take a new password: from standard input, or made up and printed once
        #[arg(long)]
        new_password: bool,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Remove a user. The tokens they have end
    Remove {
        /// The name
        name: String,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// End every token that somebody has, also one who signs in elsewhere
    SignOut {
        /// The name
        name: String,
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// List the users and their roles
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
            Self::Viewer => "Reads records",
            Self::Editor => "Reads and changes records",
            Self::Admin => "Does everything, and administers users",
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

/// Whoever can reach the database at the command line may administer users.
fn administrator() -> Identity {
    Identity { subject: "operator".to_owned(), scopes: vec![ADMIN_SCOPE.to_owned()] }
}

/// A password, and whether somebody has to be told it.
pub(super) struct Password {
    text: String,
    is_made_up: bool,
}

impl Password {
    /// From the file; else from standard input, when that is no terminal; else made up.
    fn of(file: Option<&Path>) -> Result<Self, String> {
        let given = |text: &str| Self {
            text: text.trim_end_matches(['\r', '\n']).to_owned(),
            is_made_up: false,
        };
        if let Some(file) = file {
            let text = std::fs::read_to_string(file);
            return text.map(|text| given(&text)).map_err(|e| format!("{}: {e}", file.display()));
        }
        if std::io::stdin().is_terminal() {
            return random_password().map(|text| Self { text, is_made_up: true }).map_err(explain);
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            let what = "standard input is empty: its first line is the password, where it is no \
                        terminal; or name a file with --password-file";
            return Err(what.to_owned());
        }
        Ok(given(&line))
    }

    fn show(&self) -> Result<(), String> {
        if self.is_made_up { print(&format!("password: {}", self.text)) } else { Ok(()) }
    }
}

/// The password that the first administrator would get; nothing where there is one.
///
/// # Errors
/// Neither a file nor a terminal; a password that will not do.
pub(super) async fn first_password(
    store: &Store,
    file: Option<&Path>,
) -> Result<Option<Password>, String> {
    if store.has_user_with(Role::Admin.as_str()).await.map_err(explain)? {
        return Ok(None);
    }
    let password = match file {
        Some(_) => Password::of(file)?,
        None if std::io::stdout().is_terminal() => {
            Password { text: random_password().map_err(explain)?, is_made_up: true }
        }
        None => return Err(NO_ADMINISTRATOR.to_owned()),
    };
    match password_problem(&password.text) {
        Some(problem) => Err(format!("the password of the administrator {problem}")),
        None => Ok(Some(password)),
    }
}

/// Makes the first administrator where there is none: with the password of the file, or with one
/// that is made up and printed once, to somebody at a terminal. Of several instances that start
/// together one makes it.
///
/// # Errors
/// Neither a file nor a terminal; a password that will not do.
pub(super) async fn ensure_administrator(
    store: &Store,
    hasher: &Hasher,
    file: Option<&Path>,
) -> Result<(), String> {
    let Some(password) = first_password(store, file).await? else { return Ok(()) };
    let hash = hasher.hash(password.text.clone()).await.map_err(explain)?;
    match store.add_user(FIRST, &hash, Role::Admin.as_str(), timestamp_now()).await {
        Ok(_) if password.is_made_up => print(&format!(
            "The first administrator is {FIRST:?}, with the password {}\nIt is not shown again.",
            password.text
        )),
        Ok(_) => {
            tracing::info!(user = FIRST, "the first administrator is made");
            Ok(())
        }
        // Another instance was faster. Somebody of that name who is no administrator stays so.
        Err(error) if error.kind == Kind::Duplicate => {
            match store.has_user_with(Role::Admin.as_str()).await.map_err(explain)? {
                true => Ok(()),
                false => Err(format!(
                    "the user {FIRST:?} is no administrator, and nobody else is: run `cinequery \
                     user change NAME --role admin`"
                )),
            }
        }
        Err(error) => Err(explain(error)),
    }
}
