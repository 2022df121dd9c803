//! `cinequery import`: imports records from a file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::explain::{escaped, printable, rule};
use super::file::{self, STEP};
use super::{CollectionSettings, Outcome, catalogue, explain, migrate, open, operator};
use crate::app::transfer::{self, Format, Opened, Report};
use crate::config::DatabaseSettings;
use crate::error::{Error, Kind, Violation};
use crate::query::Schema;
use crate::record::Catalogue;
use crate::store::{Conflict, Missing, Store};

/// The exit code if rows were rejected.
const REJECTED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  cinequery import movies.ndjson
  cinequery import movies.csv.gz --on-conflict skip
  cat movies.csv | cinequery import - --format csv

Exit codes:
  0  every row was imported or skipped
  1  the import failed
  2  rows were rejected";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Import {
    /// File in UTF-8: one JSON object per line, or CSV with a header line. `.gz` is decompressed; `-` is standard
    /// input
    file: PathBuf,
    /// Format, ndjson or csv [default: by the file name, else ndjson]
    #[arg(long)]
    format: Option<Format>,
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
        let format = self.format.unwrap_or_else(|| file::format(&self.file));
        let failed = |error| format!("{}: {}", self.file.display(), explain(error));
        // The header is checked first, so that a file that cannot be imported does not change the database.
        let file = transfer::open(input, format, schema).map_err(failed)?;
        let store = open(&self.database, Missing::Create).await?;
        migrate(&store, catalogue).await?;
        let report = load(&store, catalogue, schema, file, self.on_conflict).await;
        store.close().await;
        match report {
            Ok(report) => Ok(print(&report)),
            Err(error) if matches!(error.kind, Kind::RowsRejected | Kind::EveryRowRejected) => {
                list(&error.violations);
                let detail = escaped(&error.detail);
                eprintln!("nothing was imported from {}: {detail}", self.file.display());
                if error.kind == Kind::RowsRejected {
                    eprintln!("to import the other rows, use --on-conflict skip or update");
                }
                Ok(ExitCode::from(REJECTED))
            }
            Err(error) => Err(failed(error)),
        }
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
    let bar = file::progress();
    let shown = bar.clone();
    let progress = move |count: u64| {
        if count.is_multiple_of(STEP) {
            shown.set_position(count);
        }
    };
    let import = transfer::begin(store, &operator(catalogue), schema)?.by_operator();
    let report = import.run_opened(file, policy, progress).await;
    bar.finish_and_clear();
    report
}

fn print(report: &Report) -> ExitCode {
    let Report { created, updated, skipped, rejected, errors, ignored } = report;
    if !ignored.is_empty() {
        let names = escaped(&ignored.join(", "));
        eprintln!("warning: ignored unknown or read-only fields: {names}");
    }
    let more = rejected.saturating_sub(list(errors));
    if more > 0 {
        eprintln!("and {more} more");
    }
    eprintln!("{created} created, {updated} updated, {skipped} skipped, {rejected} rejected");
    if *rejected > 0 { ExitCode::from(REJECTED) } else { ExitCode::SUCCESS }
}

/// Prints the broken rules and returns the number of rows that they are about.
fn list(errors: &[Violation]) -> i64 {
    errors.iter().for_each(|violation| eprintln!("{}", printable(&rule(violation))));
    let lines: BTreeSet<_> = errors.iter().map(|violation| violation.line).collect();
    i64::try_from(lines.len()).unwrap_or(i64::MAX)
}
