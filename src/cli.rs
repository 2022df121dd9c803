//! The command line: one file for each subcommand.

mod check;
mod demo;
mod explain;
mod export;
mod file;
mod healthcheck;
mod import;
mod migrate;
mod openapi;
mod query;
mod records;
mod serve;
mod token;
mod user;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::explain::{explain, explain_in, explain_mistakes};
use crate::app::selection::Selection;
use crate::config::{DatabaseSettings, LogSettings, RecordsSettings, TokenSettings};
use crate::identity::{Identity, Secrets, record_scopes};
use crate::query::diagnostic::did_you_mean;
use crate::query::{Argument, Schema};
use crate::record::Catalogue;
use crate::record::declaration::MAX_MISTAKES;
use crate::store::{Location, Missing, State, Store};
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  cinequery demo                                   a first look, with films in it
  cinequery serve --auth open                      SQLite in ./cinequery.db, on 127.0.0.1:8080
  cinequery import films.csv && cinequery query 'genre = \"drama\"'
  cinequery migrate --database postgres://cinequery@db.example/cinequery
  cinequery COMMAND --help                         more of them";

/// Records served over HTTP and searched with a small, safe filter language
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a sample catalogue from a throwaway database, for a first look
    Demo(demo::Demo),
    /// Serve the catalogue over HTTP
    Serve(serve::Serve),
    /// Ask a running service whether it can serve: exit code 0 if so, 1 otherwise
    Healthcheck(healthcheck::Healthcheck),
    /// Apply pending migrations: to the tables of this version and of the declarations
    Migrate(migrate::Migrate),
    /// Tell whether these settings of the service will do, without starting it
    Check(check::Check),
    /// Import records from a file, as JSON objects or CSV
    Import(import::Import),
    /// Export records to a file, as JSON objects or CSV
    Export(export::Export),
    /// Search the database from the command line
    Query(query::Query),
    /// Check, write and infer declarations of record types
    Records(records::Records),
    /// Issue a token
    Token(token::Token),
    /// Administer those who sign in with a password
    User(user::User),
    /// Print the OpenAPI document
    Openapi(RecordsSettings),
    /// Print a script that completes the command line, for a shell to load
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What a subcommand ends with: an exit code, or a message for standard error and exit code 1.
type Outcome = Result<ExitCode, String>;

/// Parses the command line, runs the subcommand and returns its exit code.
pub fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    // The terminal of a demo holds the token and the requests to paste.
    let default = if matches!(command, Command::Demo(_)) { "warn" } else { "info" };
    let log = log.log.as_deref().unwrap_or(default);
    let outcome = telemetry::start(log).and_then(|_log| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let outcome = runtime.block_on(run(command));
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|message| {
        eprintln!("cinequery: {message}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(demo) => demo.run().await,
        Command::Serve(serve) => serve.run().await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Check(check) => check.run().await,
        Command::Import(import) => import.run().await,
        Command::Export(export) => export.run().await,
        Command::Query(query) => query.run().await,
        Command::Records(records) => records.run(),
        Command::Token(token) => token.run().await,
        Command::User(user) => user.run().await,
        Command::Openapi(records) => openapi::run(catalogue(&records)?),
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

/// Opens a database that is read and not changed: it must be there, at this version's tables.
async fn open_to_read(settings: &DatabaseSettings, catalogue: Catalogue) -> Result<Store, String> {
    let store = open(settings, Missing::ReadOnly).await?;
    match store.state(catalogue.schemas()).await.map_err(explain)? {
        State::Current => Ok(store),
        State::Behind { .. } => {
            Err("migrations are pending: run `cinequery migrate` first".to_owned())
        }
        State::Foreign => {
            Err("the tables are not those of this version; see `cinequery check`".to_owned())
        }
    }
}

async fn migrate(store: &Store, catalogue: Catalogue) -> Result<(), String> {
    store.migrate(catalogue.schemas()).await.map_err(explain)
}

/// The record types of the folder, or the built-in one.
fn catalogue(settings: &RecordsSettings) -> Result<Catalogue, String> {
    let Some(folder) = &settings.records else { return Ok(Catalogue::built_in()) };
    Catalogue::load(folder).map_err(|files| {
        let is_cut = files.iter().any(|file| file.list.len() == MAX_MISTAKES);
        let mistakes = match files.iter().map(|file| file.list.len()).sum() {
            1 => "a mistake".to_owned(),
            count => format!("{count} mistakes{}", if is_cut { " or more" } else { "" }),
        };
        format!("found {mistakes} in the declarations\n{}", explain_mistakes(&files))
    })
}

/// Writes to standard output. That its reader has gone away, as `head` does, is no failure.
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
    /// The collection [default: the first of the catalogue]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
}

impl CollectionSettings {
    /// Its record type.
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

/// Values for the parameters of a filter.
#[derive(Args)]
struct Given {
    /// A value for a $NAME of the filter; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Given {
    fn selection(self, filter: Option<String>, order_by: Option<String>) -> Selection {
        let parameters = self.parameters.into_iter();
        let parameters = parameters.map(|(name, value)| (name, Argument::Untyped(value)));
        Selection { filter, order_by, parameters: parameters.collect(), ..Selection::default() }
    }
}

/// Whoever can reach the database at the command line may do everything with records.
fn operator(catalogue: Catalogue) -> Identity {
    Identity { subject: "operator".to_owned(), scopes: record_scopes(catalogue.schemas()) }
}

/// Where the secrets of tokens come from.
enum SecretSource {
    /// The settings.
    Given(Secrets),
    /// A file beside a SQLite database, made when it is first needed.
    Kept(PathBuf),
}

impl SecretSource {
    fn of(settings: &TokenSettings, location: &Location) -> Result<Self, String> {
        match (settings.given_secret()?, location) {
            (Some(secrets), _) => {
                let secrets = Secrets::parse(&secrets);
                secrets.map(Self::Given).map_err(|error| format!("the secret of tokens: {error}"))
            }
            (None, Location::Sqlite(path)) => Ok(Self::Kept(crate::store::beside(path, "secret"))),
            (None, Location::Postgres(_)) => Err(format!(
                "on PostgreSQL the secret must be given, the same to all instances: set \
                 CINEQUERY_JWT_SECRET or CINEQUERY_JWT_SECRET_FILE to at least {} bytes, such as \
                 those of `openssl rand -base64 48`",
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
