//! The command line: one file for each subcommand.

mod demo;
mod import;
mod openapi;
mod query;
mod serve;
mod token;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{DatabaseSettings, LogSettings, TokenSettings};
use crate::error::{Error, Kind};
use crate::identity::{Identity, Secret, record_scopes};
use crate::query::Diagnostic;
use crate::record::{All, Records};
use crate::store::{Location, Migrations, Missing, Store};
use crate::telemetry;

/// A movie catalogue served over HTTP and searched with a small, safe filter language
#[derive(Parser)]
#[command(version, propagate_version = true)]
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
    /// Bring the database to this version's tables
    Migrate(DatabaseSettings),
    /// Import records from a file of JSON objects, one a line
    Import(import::Import),
    /// Search the database from the command line
    Query(query::Query),
    /// Issue a token
    Token(token::Token),
    /// Print the OpenAPI document
    Openapi,
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
    let outcome = telemetry::start(log).and_then(|()| {
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
        Command::Migrate(database) => {
            let store = open(&database, Missing::Create).await?;
            migrate(&store).await?;
            store.close().await;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import(import) => import.run().await,
        Command::Query(query) => query.run().await,
        Command::Token(token) => token.run(),
        Command::Openapi => openapi::run(),
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

async fn migrate(store: &Store) -> Result<(), String> {
    store.migrate(&Migrations::default(), &All::schemas()).await.map_err(explain)
}

/// Writes to standard output. That its reader has gone away, as `head` does, is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// An error for somebody at a terminal, who may see the cause.
fn explain(error: Error) -> String {
    explain_in(error, |_| None)
}

/// An error for somebody at a terminal, and for the problems of a query the text each is in, by the
/// name of the parameter.
fn explain_in<'a>(error: Error, text: impl Fn(&str) -> Option<&'a str>) -> String {
    if error.diagnostics.is_empty() {
        return match &error.cause {
            // The public text sends people to the log; here is its reader.
            Some(cause) if error.kind == Kind::Internal => cause.to_string(),
            Some(cause) => format!("{error}\n  {cause}"),
            None => error.to_string(),
        };
    }
    let problems =
        error.diagnostics.iter().map(|problem| describe(problem, text(&problem.parameter)));
    format!("{}\n{}", error.kind.title(), problems.collect::<Vec<_>>().join("\n"))
}

/// A problem of a query, with the line it is in and a mark below its place when the text is at hand.
fn describe(problem: &Diagnostic, text: Option<&str>) -> String {
    let Diagnostic { code, parameter, message, help, line, column, start, end } = problem;
    let mut lines = vec![format!("{parameter}:{line}:{column}: {message} ({})", code.as_str())];
    let position = usize::try_from(*line).ok().and_then(|line| line.checked_sub(1));
    if let Some(source) = position.and_then(|position| text?.lines().nth(position)) {
        let before = usize::try_from(*column).unwrap_or(1).saturating_sub(1);
        let place = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
        let marked = place.and_then(|(start, end)| text?.get(start..end)).unwrap_or_default();
        // A problem may go on in the next line; its mark ends with this one. One at the end of the
        // text covers nothing, and is marked all the same.
        let rest = source.chars().count().saturating_sub(before);
        let width = marked.chars().count().min(rest).max(1);
        let indent: String =
            source.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        lines.push(source.to_owned());
        lines.push(format!("{indent}{}", "^".repeat(width)));
    }
    lines.extend(help.as_ref().map(|help| format!("help: {help}")));
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Whoever can reach the database at the command line may do everything with records.
fn operator() -> Identity {
    Identity { subject: "operator".to_owned(), scopes: record_scopes(&All::schemas()) }
}

/// The secret that the settings name, or the one that is kept beside a SQLite database.
fn secret(settings: &TokenSettings, location: &Location) -> Result<Secret, String> {
    if let Some(secret) = settings.given_secret()? {
        return Secret::new(secret).map_err(|error| format!("the secret of tokens: {error}"));
    }
    match location {
        Location::Sqlite(path) => Secret::read_or_create(&crate::store::beside(path, "secret")),
        Location::Postgres(_) => Err(format!(
            "on PostgreSQL the secret must be given, the same to all instances: set \
             CINEQUERY_JWT_SECRET or CINEQUERY_JWT_SECRET_FILE to at least {} bytes, such as \
             those of `openssl rand -base64 48`",
            crate::identity::MIN_SECRET_BYTES
        )),
    }
}
