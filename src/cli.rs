//! The command line: one file for each subcommand.

mod backup;
mod bind;
mod changes;
mod check;
mod delete;
mod demo;
mod environment;
mod explain;
mod export;
mod facets;
mod file;
mod guide;
mod habits;
mod healthcheck;
mod import;
mod matching;
mod migrate;
mod openapi;
mod query;
mod records;
mod restore;
mod schedule;
mod serve;
mod settings_file;
mod table;
mod token;
mod update;
mod user;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use tracing::{Level, enabled};

use self::explain::{explain, explain_in, explain_mistakes};
use crate::app::selection::Selection;
use crate::config::{DatabaseSettings, FileSettings, LogSettings, RecordsSettings, TokenSettings};
use crate::identity::{Identity, Secrets, record_scopes};
use crate::query::diagnostic::did_you_mean;
use crate::query::{Argument, Schema};
use crate::record::Catalogue;
use crate::record::declaration::{MAX_MISTAKES, Mistakes};
use crate::store::{Location, Missing, State, Store};
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  cinequery demo                                   try it out with sample movies
  cinequery serve --auth open                      SQLite in ./cinequery.db, on 127.0.0.1:8080
  cinequery import movies.csv && cinequery query 'genre = \"drama\"'
  cinequery migrate --database postgres://cinequery@db.example/cinequery
  cinequery COMMAND --help                         options and examples of a command";

/// Store records, serve them over HTTP and search them with a filter language
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES, args_override_self = true)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    file: FileSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve sample movies from a temporary database
    Demo(demo::Demo),
    /// Run the HTTP server
    Serve(serve::Serve),
    /// Check whether a running service is ready: exit code 0 if it is, 1 otherwise
    Healthcheck(healthcheck::Healthcheck),
    /// Apply pending migrations, for this version and for changed declarations of record types
    Migrate(migrate::Migrate),
    /// Validate the configuration without starting the server
    Check(check::Check),
    /// Write a backup of a SQLite database, also while it is served
    Backup(backup::Backup),
    /// Create a SQLite database from a backup
    Restore(restore::Restore),
    /// Import records from a file: CSV, a workbook of Excel, or JSON
    Import(import::Import),
    /// Export records to a file: CSV, a workbook of Excel, or JSON
    Export(export::Export),
    /// Search records, without a server
    Query(query::Query),
    /// Count records by the values of a field
    Facets(facets::FacetsCommand),
    /// Set fields of all records that match a filter, if exactly as many match as expected
    Update(update::Update),
    /// Delete all records that match a filter, if exactly as many match as expected
    Delete(delete::Delete),
    /// Print the changes of records from the journal, one JSON object per line
    Changes(changes::ChangesCommand),
    /// Validate, create and infer declarations of record types
    Records(records::Records),
    /// Issue an access token, without a server
    Token(token::Token),
    /// Manage the users who sign in with a password
    User(user::User),
    /// Print the OpenAPI document
    Openapi(RecordsSettings),
    /// Write the manual as HTML pages into a folder
    Guide(guide::Guide),
    /// Print a completion script for a shell
    Completions {
        /// Shell that loads the script
        shell: Shell,
    },
}

/// The outcome of a subcommand: an exit code, or a message for standard error with exit code 1.
type Outcome = Result<ExitCode, String>;

/// Parses the command line, runs the subcommand and returns its exit code.
pub fn main() -> ExitCode {
    let command = habits::add(Cli::command());
    let arguments = match settings_file::add(&command, std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("cinequery: {message}");
            return ExitCode::FAILURE;
        }
    };
    let has_file = arguments.len() > std::env::args_os().len();
    let matches = command.try_get_matches_from(arguments).unwrap_or_else(|error| {
        let _ = error.print();
        if has_file && error.use_stderr() {
            eprintln!("\nSome of these settings are in the file of --config or CINEQUERY_CONFIG.");
        }
        std::process::exit(error.exit_code());
    });
    let Cli { log, command, .. } =
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A demo prints a token and requests to paste. Log lines would scroll them away.
    let default = if matches!(command, Command::Demo(_)) { "warn" } else { "info" };
    let log = log.log.as_deref().unwrap_or(default);
    let is_service = matches!(command, Command::Serve(_));
    let outcome = telemetry::log::start(log).and_then(|_log| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let outcome = runtime.block_on(run(command));
        runtime.shutdown_background();
        match outcome {
            // Programs that read the log of a service expect one event per line.
            Err(cause) if is_service && telemetry::log::is_json() && enabled!(Level::ERROR) => {
                tracing::error!(cause, "cannot serve");
                Ok(ExitCode::FAILURE)
            }
            outcome => outcome,
        }
    });
    outcome.unwrap_or_else(|message| {
        eprintln!("cinequery: {message}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Outcome {
    environment::check()?;
    match command {
        Command::Demo(demo) => demo.run().await,
        Command::Serve(serve) => serve.run().await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Check(check) => check.run().await,
        Command::Backup(backup) => backup.run().await,
        Command::Restore(restore) => restore.run().await,
        Command::Import(import) => import.run().await,
        Command::Export(export) => export.run().await,
        Command::Query(query) => query.run().await,
        Command::Facets(facets) => facets.run().await,
        Command::Update(update) => update.run().await,
        Command::Delete(delete) => delete.run().await,
        Command::Changes(changes) => changes.run().await,
        Command::Records(records) => records.run(),
        Command::Token(token) => token.run().await,
        Command::User(user) => user.run().await,
        Command::Openapi(records) => openapi::run(catalogue(&records)?),
        Command::Guide(guide) => guide.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cinequery", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn location(settings: &DatabaseSettings) -> Result<Location, String> {
    settings.database.parse().map_err(|error| format!("--database: {error}"))
}

async fn open(settings: &DatabaseSettings, missing: Missing) -> Result<Store, String> {
    Store::open(location(settings)?, missing).await.map_err(explain)
}

/// Opens a database for reading only.
///
/// # Errors
/// A message if the database does not exist, has pending migrations, or has tables of another version.
async fn open_to_read(settings: &DatabaseSettings, catalogue: Catalogue) -> Result<Store, String> {
    let store = open(settings, Missing::ReadOnly).await?;
    match store.state(catalogue.schemas()).await.map_err(explain)? {
        State::Current => Ok(store),
        State::Behind { .. } => {
            Err("migrations are pending: run `cinequery migrate` first".to_owned())
        }
        State::Foreign => {
            Err("the tables do not belong to this version: run `cinequery check`".to_owned())
        }
    }
}

/// Opens a database for writing records, without creating or migrating it.
///
/// # Errors
/// As [`open_to_read`].
async fn open_to_write(settings: &DatabaseSettings, catalogue: Catalogue) -> Result<Store, String> {
    open_to_read(settings, catalogue).await?.close().await;
    open(settings, Missing::Create).await
}

async fn migrate(store: &Store, catalogue: Catalogue) -> Result<(), String> {
    store.migrate(catalogue.schemas()).await.map_err(explain)
}

/// Loads the record types of the folder, or the built-in one.
fn catalogue(settings: &RecordsSettings) -> Result<Catalogue, String> {
    catalogue_by(settings, Catalogue::load)
}

/// Loads the record types with a function that reads the folder, or the built-in one.
fn catalogue_by(
    settings: &RecordsSettings,
    load: fn(&Path) -> Result<Catalogue, Vec<Mistakes>>,
) -> Result<Catalogue, String> {
    let Some(folder) = &settings.records else { return Ok(Catalogue::built_in()) };
    load(folder).map_err(|files| {
        let is_cut = files.iter().any(|file| file.list.len() == MAX_MISTAKES);
        let mistakes = match files.iter().map(|file| file.list.len()).sum() {
            1 => "a mistake".to_owned(),
            count => format!("{count} mistakes{}", if is_cut { " or more" } else { "" }),
        };
        format!("found {mistakes} in the declarations\n{}", explain_mistakes(&files))
    })
}

/// Prints to standard output. A closed pipe, as of `head`, is not an error.
fn print(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// The collection that a subcommand works on.
#[derive(Args)]
struct CollectionSettings {
    /// Collection [default: the first one, in the order of the declarations' file names]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
}

impl CollectionSettings {
    /// Returns the record type of the collection.
    fn find(&self, catalogue: Catalogue) -> Result<&'static Schema, String> {
        let found = match &self.collection {
            Some(name) => catalogue.find(name),
            None => catalogue.schemas().first().copied(),
        };
        found.ok_or_else(|| {
            let name = self.collection.as_deref().unwrap_or_default();
            let names = catalogue.schemas().iter().map(|schema| schema.collection);
            format!("unknown collection {name:?}; {}", did_you_mean(name, names))
        })
    }
}

/// Values of the parameters of a filter.
#[derive(Args)]
struct Given {
    /// Value of the parameter $NAME of the filter; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Given {
    fn selection(self, filter: Option<String>, order_by: Option<String>) -> Selection {
        let parameters = self.parameters.into_iter();
        let parameters = parameters.map(|(name, value)| (name, Argument::Untyped(value)));
        let filters = filter.into_iter().collect();
        Selection { filters, order_by, parameters: parameters.collect(), ..Selection::default() }
    }
}

/// Returns the identity of the command line: it has the database credentials, so it may read and write all records.
fn operator(catalogue: Catalogue) -> Identity {
    Identity { subject: "operator".to_owned(), scopes: record_scopes(catalogue.schemas()) }
}

/// Where the secrets of tokens come from.
enum SecretSource {
    /// From the settings.
    Given(Secrets),
    /// From a file next to a SQLite database, which is created on first use.
    Kept(PathBuf),
}

impl SecretSource {
    fn of(settings: &TokenSettings, location: &Location) -> Result<Self, String> {
        match (settings.given_secret()?, location) {
            (Some(secrets), _) => {
                let secrets = Secrets::parse(&secrets);
                secrets
                    .map(Self::Given)
                    .map_err(|error| format!("the secret that signs tokens: {error}"))
            }
            (None, Location::Sqlite(path)) => Ok(Self::Kept(crate::store::beside(path, "secret"))),
            (None, Location::Postgres(_)) => Err(format!(
                "PostgreSQL requires a secret that signs tokens, the same for all instances: set \
                 CINEQUERY_JWT_SECRET or CINEQUERY_JWT_SECRET_FILE to at least {} bytes, for example \
                 with `openssl rand -base64 48`",
                crate::identity::MIN_SECRET_BYTES
            )),
        }
    }

    fn read(self) -> Result<Secrets, String> {
        match self {
            Self::Given(secrets) => Ok(secrets),
            Self::Kept(path) => Secrets::read_or_create(&path),
        }
    }
}
