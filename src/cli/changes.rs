//! `cinequery changes`: prints the journal.

use std::process::ExitCode;

use clap::Args;

use super::{Given, Outcome, catalogue, explain, explain_in, open_to_read, operator, print};
use crate::app::history::{ChangesRequest, changes};
use crate::config::DatabaseSettings;
use crate::query::{Argument, Type, Value};

const EXAMPLES: &str = "\
Examples:
  cinequery changes --since 2026-01-31
  cinequery changes --since 4711 --collection movies --filter 'genre = \"drama\"'";

/// The maximum number of changes of one statement.
const PAGE: i64 = 1000;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ChangesCommand {
    /// Position after which to start, or a date or timestamp [default: the beginning of the journal]
    #[arg(long, value_name = "POSITION|TIME")]
    since: Option<Since>,
    /// Collection of the records, such as movies [default: all; with a filter, the first]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Filter on the records, such as: genre = "drama"
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Where the output starts.
#[derive(Debug, Clone)]
enum Since {
    Position(i64),
    /// In the format of timestamps in responses, which sorts by time.
    Time(String),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let argument = Argument::Untyped(text.to_owned());
        let midnight = || match argument.read(Type::Date) {
            Ok(date @ Value::Date(_)) => Some(format!("{date}T00:00:00.000000Z")),
            _ => None,
        };
        let time = argument.read(Type::Timestamp).map(|time| time.to_string()).ok();
        time.or_else(midnight).map(Self::Time).ok_or_else(|| {
            "expected a position such as 4711, a date or a timestamp such as 2026-01-31T12:00:00Z"
                .to_owned()
        })
    }
}

impl ChangesCommand {
    pub(super) async fn run(self) -> Outcome {
        let catalogue = catalogue(&self.database.records)?;
        let selection = self.given.selection(self.filter, None);
        let store = open_to_read(&self.database, catalogue).await?;
        let (mut after, first) = match self.since {
            Some(Since::Position(position)) => (position, String::new()),
            Some(Since::Time(time)) => (0, time),
            None => (0, String::new()),
        };
        loop {
            let request = ChangesRequest {
                collection: self.collection.clone(),
                after: Some(after),
                selection: selection.clone(),
                limit: Some(PAGE),
            };
            let page = changes(&store, catalogue, &operator(catalogue), request).await;
            let page = page.map_err(|error| explain_in(error, &selection))?;
            for change in page.items.iter().filter(|change| change.changed_at >= first) {
                let line = serde_json::to_string(change).map_err(crate::error::Error::internal);
                print(&line.map_err(explain)?)?;
            }
            if !page.has_more {
                break;
            }
            after = page.next_after;
        }
        store.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
