//! `cinequery export`: writes records to a file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::file::{self, Output, STREAM};
use super::serve::stop_signal;
use super::{CollectionSettings, Given, Outcome, catalogue, explain_in, open_to_read, operator};
use crate::app::selection::Selection;
use crate::app::transfer::{Form, Format, export};
use crate::config::DatabaseSettings;
use crate::error::Error;
use crate::query::Schema;
use crate::record::Catalogue;
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  cinequery export movies.ndjson.gz
  cinequery export movies.xlsx --order-by 'expiry_date' --fields title,expiry_date
  cinequery export dramas.csv --filter 'genre = \"drama\"'
  cinequery export | head -n 3";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// File to write; it appears when it is complete. `.gz` is compressed; `-` is standard output
    #[arg(default_value = STREAM)]
    file: PathBuf,
    /// Format: ndjson, json, csv, excel-csv (with ; and a byte order mark) or xlsx [default: by the file name]
    #[arg(long)]
    format: Option<Format>,
    /// Filter, such as: genre = "drama" and release_year >= 1990 [default: all records]. It needs the flag, because the
    /// argument is the file
    #[arg(long)]
    filter: Option<String>,
    /// Order, such as: release_year desc, title [default: order of creation]
    #[arg(long)]
    order_by: Option<String>,
    /// Fields, separated by commas; tables have them in this order [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    fields: Vec<String>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    collection: CollectionSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Export {
    pub(super) async fn run(self) -> Outcome {
        let format = self.format.map_or_else(|| file::format(&self.file), Ok)?;
        let selection = self.given.selection(self.filter, self.order_by);
        let what = What { selection, form: Form::File(format), fields: self.fields };
        let catalogue = catalogue(&self.database.records)?;
        let schema = self.collection.find(catalogue)?;
        let stop = stop_signal()?;
        let store = open_to_read(&self.database, catalogue).await?;
        let output = Output::create(&self.file)?;
        let save = save(&store, catalogue, schema, &what, output);
        let saved = tokio::select! {
            saved = save => saved,
            // Dropping the output removes the incomplete file.
            () = stop => return Err(format!("{}: stopped before it was complete", self.file.display())),
        };
        store.close().await;
        match saved {
            Ok(count) => {
                eprintln!("{count} exported");
                Ok(ExitCode::SUCCESS)
            }
            Err(Failure::Record(error)) => Err(explain_in(error, &what.selection)),
            Err(Failure::File(error)) => Err(format!("{}: {error}", self.file.display())),
        }
    }
}

/// What is exported.
struct What {
    selection: Selection,
    form: Form,
    fields: Vec<String>,
}

enum Failure {
    Record(Error),
    File(std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Record(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::File(error)
    }
}

/// Writes the records of a selection to a file and returns their number.
async fn save(
    store: &Store,
    catalogue: Catalogue,
    schema: &'static Schema,
    what: &What,
    mut output: Output,
) -> Result<u64, Failure> {
    let What { selection, form, fields } = what;
    let operator = operator(catalogue);
    let mut records = export(store, &operator, schema, selection, *form, fields).await?;
    let progress = file::progress();
    let mut count = 0;
    let mut is_read = output.write(&records.head()?)?;
    while is_read && let Some(part) = records.next().await? {
        is_read = output.write(&part.bytes)?;
        count += part.count as u64;
        progress.set_position(count);
    }
    progress.finish_and_clear();
    output.finish()?;
    Ok(count)
}
