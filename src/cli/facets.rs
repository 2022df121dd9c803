//! `cinequery facets`: counts records by the values of a field.

use std::process::ExitCode;

use annotate_snippets::Level;
use clap::Args;

use super::explain::describe;
use super::{
    CollectionSettings, Given, Outcome, catalogue, explain_in, open_to_read, operator, print, table,
};
use crate::app::facets::{FacetRest, FacetsRequest, facets};
use crate::config::DatabaseSettings;

const EXAMPLES: &str = "\
Examples:
  cinequery facets --by genre
  cinequery facets --by release_year --interval decade --filter 'genre = \"drama\"'
  cinequery facets --by expiry_date --interval month --limit 12";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FacetsCommand {
    /// Field to count by
    #[arg(long, value_name = "FIELD")]
    by: String,
    /// Size of the buckets: decade, century or a width for integers; day, week, month, quarter or year for dates and
    /// timestamps [default: one count for each value]
    #[arg(long)]
    interval: Option<String>,
    /// Filter, such as: genre = "drama" and release_year >= 1990 [default: all records]
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    given: Given,
    /// Maximum number of values or buckets, 1 to 1000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    collection: CollectionSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl FacetsCommand {
    pub(super) async fn run(self) -> Outcome {
        let selection = self.given.selection(self.filter, None);
        let request = FacetsRequest {
            selection: selection.clone(),
            by: self.by,
            interval: self.interval,
            limit: Some(i64::from(self.limit)),
        };
        let catalogue = catalogue(&self.database.records)?;
        let schema = self.collection.find(catalogue)?;
        // A mistake in the filter is reported even if there is no database.
        selection.prepare(schema).map_err(|error| explain_in(error, &selection))?;
        let store = open_to_read(&self.database, catalogue).await?;
        let counted = facets(&store, &operator(catalogue), schema, request).await;
        store.close().await;
        let counted = counted.map_err(|error| explain_in(error, &selection))?;
        if !counted.warnings.is_empty() {
            eprintln!("{}", describe(&counted.warnings, &Level::WARNING, &selection));
        }
        let items = counted.items.iter();
        let items = items.map(|item| (&item.value.0, item.count, item.filter.as_str()));
        print(&table::of_counts(&counted.by, items))?;
        let FacetRest { values, count } = counted.rest;
        let rest = match values {
            0 => String::new(),
            1 => format!("; 1 more value with {count} of them, see --limit"),
            _ => format!("; {values} more values with {count} of them, see --limit"),
        };
        eprintln!("{} matched{rest}", counted.total);
        Ok(ExitCode::SUCCESS)
    }
}
