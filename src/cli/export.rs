//! `cinequery export`: records to a file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures_util::future::BoxFuture;

use super::file::{self, Output, STREAM};
use super::serve::stop_signal;
use super::{Given, Outcome, explain_in, known_type, of_type, open_to_read, operator};
use crate::app::selection::Selection;
use crate::app::transfer::{Format, Writer, export};
use crate::config::DatabaseSettings;
use crate::error::Error;
use crate::record::{Record, Visitor};
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  cinequery export films.ndjson.gz
  cinequery export dramas.csv --filter 'genre = \"drama\"'
  cinequery export | head -n 3";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// The file. It appears when it is whole. `.gz` is compressed; `-` is standard output
    #[arg(default_value = STREAM)]
    file: PathBuf,
    /// What is written, ndjson or csv [default: by the file's name, else ndjson]
    #[arg(long)]
    format: Option<Format>,
    /// Which records, such as: genre = "drama" and release_year >= 1990. All when absent
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    given: Given,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE", default_value = "movies")]
    table: String,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Export {
    pub(super) async fn run(self) -> Outcome {
        let writer = Writer(self.format.unwrap_or_else(|| file::format(&self.file)));
        let selection = self.given.selection(self.filter, None);
        known_type(&self.table)?;
        let stop = stop_signal()?;
        let store = open_to_read(&self.database).await?;
        let output = Output::create(&self.file)?;
        let save = Save { store: store.clone(), selection: selection.clone(), output, writer };
        let save = of_type(&self.table, save)?;
        let saved = tokio::select! {
            saved = save => saved,
            // What is not whole goes, as it would have if nothing had been begun.
            () = stop => return Err(format!("{}: stopped before it was whole", self.file.display())),
        };
        store.close().await;
        match saved {
            Ok(count) => {
                eprintln!("{count} exported");
                Ok(ExitCode::SUCCESS)
            }
            Err(Failure::Record(error)) => Err(explain_in(error, &selection)),
            Err(Failure::File(error)) => Err(format!("{}: {error}", self.file.display())),
        }
    }
}

struct Save {
    store: Store,
    selection: Selection,
    output: Output,
    writer: Writer,
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

impl Visitor for Save {
    type Output = BoxFuture<'static, Result<u64, Failure>>;

    fn visit<R: Record>(self) -> Self::Output {
        Box::pin(self.save::<R>())
    }
}

impl Save {
    /// How many records were written.
    async fn save<R: Record>(mut self) -> Result<u64, Failure> {
        let mut records = export::<R>(&self.store, &operator(), &self.selection).await?;
        let progress = file::progress();
        let mut count = 0;
        let mut is_read = self.output.write(&self.writer.head::<R>()?)?;
        while is_read && let Some(page) = records.next().await? {
            is_read = self.output.write(&self.writer.records(&page)?)?;
            count += page.len() as u64;
            progress.set_position(count);
        }
        progress.finish_and_clear();
        self.output.finish()?;
        Ok(count)
    }
}
