//! `cinequery import`: imports records from a file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use super::explain::{escaped, printable, rule};
use super::file::{self, FileSettings, NewFile};
use super::{
    CollectionSettings, Outcome, catalogue, explain, location, migrate, open, open_to_read,
    operator,
};
use crate::app::transfer::{
    self, Column, Defaults, Mapping, Opened, Options, Problem, Report, quoted_for_shell,
};
use crate::config::DatabaseSettings;
use crate::error::{Error, Kind, Violation};
use crate::query::Schema;
use crate::record::{Author, Catalogue};
use crate::store::{Conflict, Location, Missing, Store};

/// The exit code if rows were rejected.
const REJECTED: u8 = 2;

/// The most ignored columns that a dry run lists.
const MAX_IGNORED: usize = 20;

const NOTHING_KEPT: &str = "--rejected needs --on-conflict skip or update: with fail, a rejected row means that no row is \
     imported";

const EXAMPLES: &str = "\
Examples:
  cinequery import movies.ndjson
  cinequery import movies.csv.gz --on-conflict skip
  cinequery import movies.xlsx --map 'Name=title,Licence ends=expiry_date' --dates dmy --dry-run
  cinequery import movies.csv --on-conflict skip --rejected wrong.csv
  cat movies.csv | cinequery import -

Exit codes:
  0  every row was imported or skipped
  1  the import failed
  2  rows were rejected";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Import {
    /// File: JSON lines, a JSON array, CSV with a header line, or .xlsx. `.gz` is decompressed; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    hints: FileSettings,
    /// Columns with the fields that they are for; may be repeated. A name with a comma or = is in double quotes;
    /// year(COLUMN)=FIELD takes the year of dates [default: by name, regardless of case and blanks]
    #[arg(long, value_name = "COLUMN=FIELD,…")]
    map: Vec<Mapping>,
    /// Values for fields of which a row has none; may be repeated
    #[arg(long, value_name = "FIELD=VALUE,…")]
    set: Vec<Defaults>,
    /// Report what would be imported, with the first ten records, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// File to write rejected rows to, as CSV with their problems, to be corrected and imported again. It must not exist,
    /// and is not written if no row is rejected. It needs --on-conflict skip or update
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    rejected: Option<PathBuf>,
    /// What to do if a record with the same natural key exists (for movies: title and year)
    #[arg(long, value_enum, default_value = "fail")]
    on_conflict: Conflict,
    #[command(flatten)]
    collection: CollectionSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl ValueEnum for Conflict {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Fail => "Import nothing if a record exists or any row is rejected",
            Self::Skip => "Keep the existing record",
            Self::Update => "Set the fields that the file has, and keep the others",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let catalogue = catalogue(&self.database.records)?;
        let schema = self.collection.find(catalogue)?;
        let input = file::open(&self.file)?;
        let failed = |error| with_options(&format!("{}: {}", self.file.display(), explain(error)));
        let options = Options {
            mapping: self.map.into_iter().fold(Mapping::default(), Mapping::and),
            defaults: self.set.into_iter().fold(Defaults::default(), Defaults::and),
            ..self.hints.options()
        };
        if self.dry_run {
            let (store, _scratch) = open_or_scratch(&self.database, catalogue).await?;
            let import = transfer::begin(&store, &operator(catalogue), schema).map_err(failed)?;
            let (bar, progress) = file::counting();
            let report =
                import.by_operator().dry_run(input, options, self.on_conflict, progress).await;
            bar.finish_and_clear();
            store.close().await;
            return report.map(|report| print_dry_run(&report)).map_err(failed);
        }
        // The header is checked first, so that a file that cannot be imported does not change the database.
        let mut file = transfer::open(input, options, schema, Author::Operator).map_err(failed)?;
        let mut rejected = None;
        if let Some(path) = self.rejected {
            if self.on_conflict == Conflict::Fail {
                return Err(NOTHING_KEPT.to_owned());
            }
            let (new, output) =
                NewFile::create(path).map_err(|error| format!("--rejected: {error}"))?;
            file = file.with_rejected(output).map_err(failed)?;
            rejected = Some(new);
        }
        let store = open(&self.database, Missing::Create).await?;
        migrate(&store, catalogue).await?;
        let report = load(&store, catalogue, schema, file, self.on_conflict).await;
        store.close().await;
        let code = match report {
            Ok(report) => print(&report, schema.natural_key().is_empty()),
            Err(error) if matches!(error.kind, Kind::RowsRejected | Kind::EveryRowRejected) => {
                list(&error.violations);
                let detail = with_options(&escaped(&error.detail));
                eprintln!("nothing was imported from {}: {detail}", self.file.display());
                ExitCode::from(REJECTED)
            }
            Err(error) => return Err(failed(error)),
        };
        let rejected = rejected.map(NewFile::finish).transpose();
        if let Some(path) = rejected.map_err(|error| format!("--rejected: {error}"))?.flatten() {
            eprintln!(
                "the rejected rows are in {}: correct them, and import that file",
                path.display()
            );
        }
        Ok(code)
    }
}

/// Opens the database for reading. If it does not exist yet, an empty one in a temporary folder takes its place.
async fn open_or_scratch(
    settings: &DatabaseSettings,
    catalogue: Catalogue,
) -> Result<(Store, Option<TempDir>), String> {
    match location(settings)? {
        Location::Sqlite(path) if !path.exists() => {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let scratch = Location::Sqlite(folder.path().join("scratch.db"));
            let store = Store::open(scratch, Missing::Create).await.map_err(explain)?;
            migrate(&store, catalogue).await?;
            Ok((store, Some(folder)))
        }
        _ => open_to_read(settings, catalogue).await.map(|store| (store, None)),
    }
}

/// Imports the records of a file, with a progress display.
async fn load(
    store: &Store,
    catalogue: Catalogue,
    schema: &'static Schema,
    file: Opened,
    policy: Conflict,
) -> Result<Report, Error> {
    let (bar, progress) = file::counting();
    let import = transfer::begin(store, &operator(catalogue), schema)?.by_operator();
    let report = import.run_opened(file, policy, progress).await;
    bar.finish_and_clear();
    report
}

fn print(report: &Report, has_no_key: bool) -> ExitCode {
    let Report { created, rejected, errors, ignored, trimmed, .. } = report;
    if !ignored.is_empty() {
        let names = escaped(&ignored.join(", "));
        eprintln!("warning: ignored unknown or read-only fields: {names}");
    }
    let more = rejected.saturating_sub(list(errors));
    if more > 0 {
        eprintln!("and {more} more");
    }
    list(&report.existing);
    list_problems(report);
    if *trimmed > 0 {
        eprintln!("removed outer white space or line breaks of {trimmed} texts");
    }
    if *created > 0 && has_no_key {
        eprintln!(
            "warning: the records have no natural key: importing the file again creates them again"
        );
    }
    print_counts(report)
}

/// Prints the counts, and returns the exit code for them.
fn print_counts(report: &Report) -> ExitCode {
    let Report { created, updated, skipped, rejected, .. } = report;
    eprintln!("{created} created, {updated} updated, {skipped} skipped, {rejected} rejected");
    if *rejected > 0 { ExitCode::from(REJECTED) } else { ExitCode::SUCCESS }
}

/// Prints what an import would do: the records on standard output, all else on standard error.
fn print_dry_run(report: &Report) -> ExitCode {
    if let Some(file) = &report.file {
        let encoding = file.encoding.map(|encoding| format!(", {}", encoding.as_str()));
        let delimiter =
            file.delimiter.as_deref().map(|delimiter| format!(", delimiter {delimiter:?}"));
        let sheet = file.sheet.as_deref().map(|sheet| format!(", sheet {sheet:?}"));
        let facts = [encoding, delimiter, sheet].into_iter().flatten().collect::<String>();
        eprintln!("read as {}{facts}", file.format.as_str());
    }
    let missing = report.missing.as_deref().unwrap_or_default();
    let is_unread = report.columns.iter().all(|column| column.fields.is_empty());
    print_columns(&report.columns);
    let code = if is_unread || !missing.is_empty() {
        print_missing(report, missing);
        print_counts(report)
    } else {
        for record in report.preview.iter().flatten() {
            println!("{record}");
        }
        if let Some(fields) = &report.new_fields {
            eprintln!(
                "fields that would take the ignored columns, for the declaration:\n\n{}",
                fields.trim_end()
            );
            eprintln!();
        }
        print(report, false)
    };
    eprintln!("nothing was imported: this was a dry run");
    code
}

/// Prints the columns with their fields. Of the ignored ones only the first are listed.
fn print_columns(columns: &[Column]) {
    let mut ignored = 0;
    for column in columns {
        let name = escaped(&column.name);
        match (column.fields.as_slice(), &column.guess) {
            ([], Some(guess)) => {
                let field = guess.rsplit_once('=').map_or("", |(_, field)| field);
                eprintln!("  {name} is ignored; it could be {field}");
            }
            ([], None) => {
                ignored += 1;
                if ignored <= MAX_IGNORED {
                    eprintln!("  {name} is ignored");
                }
            }
            (fields, _) => eprintln!("  {name} is read into {}", fields.join(", ")),
        }
    }
    if ignored > MAX_IGNORED {
        eprintln!("  {} more are ignored", ignored - MAX_IGNORED);
    }
}

/// Prints how required fields without a column could get one. Each row lacks them, so the rows are not listed: only their
/// other problems are summarized.
fn print_missing(report: &Report, missing: &[String]) {
    if let Some(row) = report.header_row {
        eprintln!("row {row} looks like the header: add --header-row {row}");
        return;
    }
    let is_other =
        |problem: &&Problem| problem.field.as_ref().is_none_or(|field| !missing.contains(field));
    for problem in report.problems.iter().filter(is_other) {
        eprintln!("{}", with_options(&escaped(&problem.to_string())));
    }
    let guesses = report.columns.iter().filter_map(|column| column.guess.as_deref());
    let guesses: Vec<&str> = guesses.collect();
    let is_guessed = |field: &str| {
        guesses.iter().any(|guess| guess.rsplit_once('=').is_some_and(|(_, name)| name == field))
    };
    for field in missing.iter().filter(|field| !is_guessed(field)) {
        eprintln!(
            "  {field} has no column: rename or map one, or give a value with --set {field}=VALUE"
        );
    }
    if !guesses.is_empty() {
        eprintln!("perhaps add --map {}", quoted_for_shell(&escaped(&guesses.join(","))));
    }
}

/// Prints the problems of several rows, with the options that may fix them.
fn list_problems(report: &Report) {
    for problem in report.problems.iter().filter(|problem| problem.count > 1) {
        eprintln!("{}", with_options(&escaped(&problem.to_string())));
    }
}

/// Writes the parameters of a message as options of the command line.
fn with_options(message: &str) -> String {
    message
        .replace("; try dates=", "; add --dates ")
        .replace(" or dates=", " or --dates ")
        .replace("; perhaps with map ", "; perhaps with --map ")
        .replace("; try header_row=", "; add --header-row ")
        .replace("; try on_conflict=", "; add --on-conflict ")
}

/// Prints the broken rules and returns the number of rows that they are about.
fn list(errors: &[Violation]) -> i64 {
    errors.iter().for_each(|violation| eprintln!("{}", printable(&rule(violation))));
    let lines: BTreeSet<_> = errors.iter().map(|violation| violation.line).collect();
    i64::try_from(lines.len()).unwrap_or(i64::MAX)
}
