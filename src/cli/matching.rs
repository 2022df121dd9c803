//! Writing all records that match a filter: what `update` and `delete` share.

use std::process::ExitCode;

use annotate_snippets::Level;
use clap::Args;
use serde_json::{Map, Value};

use super::explain::describe;
use super::{
    CollectionSettings, Given, Outcome, catalogue, explain_in, open_to_read, open_to_write,
    operator, table,
};
use crate::app::bulk::{BulkReport, BulkRequest, preview, write};
use crate::app::selection::Selection;
use crate::config::DatabaseSettings;
use crate::error::{Error, Kind, There};
use crate::query::{Field, Schema};
use crate::record::Patch;
use crate::store::{MAX_MATCHING, Once};

/// The records to write, and how many they must be.
#[derive(Args)]
pub(super) struct Matching {
    /// Filter of the records, such as: genre = "drama" and release_year >= 1990
    #[arg(long)]
    filter: String,
    #[command(flatten)]
    given: Given,
    /// Count the matching records, print the first 20, and change nothing
    #[arg(long, conflicts_with = "expect")]
    dry_run: bool,
    /// Number of records that must match; with another one, nothing is changed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=i64::from(MAX_MATCHING)))]
    expect: Option<i64>,
    #[command(flatten)]
    collection: CollectionSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Matching {
    /// Writes the records. `patch` reads the values to set; `None` deletes the records, of which `done` is the word.
    pub(super) async fn run(
        self,
        done: &str,
        patch: impl FnOnce(&'static Schema) -> Result<Option<Patch>, String>,
    ) -> Outcome {
        let catalogue = catalogue(&self.database.records)?;
        let schema = self.collection.find(catalogue)?;
        let patch = patch(schema)?;
        let selection = self.given.selection(Some(self.filter), None);
        // A mistake in the filter is reported even if there is no database.
        let prepared = selection.prepare(schema);
        let warnings = prepared.map_err(|error| explain_in(error, &selection))?.warnings;
        if !warnings.is_empty() {
            eprintln!("{}", describe(&warnings, &Level::WARNING, &selection));
        }
        let operator = operator(catalogue);
        if self.dry_run {
            let store = open_to_read(&self.database, catalogue).await?;
            let report = preview(&store, &operator, schema, selection.clone()).await;
            store.close().await;
            let report = report.map_err(|error| explain_in(error, &selection))?;
            return print_preview(schema, &report);
        }
        let store = open_to_write(&self.database, catalogue).await?;
        let request = BulkRequest { selection: selection.clone(), expected: self.expect, patch };
        let written = write(&store, &operator, schema, request, None).await;
        store.close().await;
        match written.map_err(|error| unwritten(error, &selection))? {
            Once::Unkeyed(tally) => {
                let BulkReport { matched, written, .. } = tally.into();
                eprintln!("{matched} matched, {written} {done}");
                Ok(ExitCode::SUCCESS)
            }
            Once::Stored(_) | Once::Replayed(_) => Err("a reply without a key".to_owned()),
        }
    }
}

/// Prints the first of the matching records on standard output, and what to do on standard error.
fn print_preview(schema: &'static Schema, report: &BulkReport) -> Outcome {
    let items: Vec<Map<String, Value>> =
        report.items.iter().flatten().filter_map(|item| item.as_object().cloned()).collect();
    if !items.is_empty() {
        let fields: Vec<&'static Field> = schema.declared().collect();
        super::print(&table::of_records(&fields, &items))?;
    }
    eprintln!("{}; nothing was changed: this was a dry run", advice(report.matched));
    Ok(ExitCode::SUCCESS)
}

/// Describes why nothing was written.
fn unwritten(error: Error, selection: &Selection) -> String {
    match error.there.as_deref() {
        Some(There::Matching(matched)) if error.kind == Kind::UnexpectedCount => {
            format!("{}; nothing was changed", advice(*matched))
        }
        _ => explain_in(error, selection),
    }
}

/// Says how many records match, and what to do with so many.
fn advice(matched: i64) -> String {
    match matched {
        0 => "no record matches".to_owned(),
        1.. if matched <= i64::from(MAX_MATCHING) => {
            format!("{matched} matched: add --expect {matched} if all of them are meant")
        }
        _ => format!("{matched} matched: select at most {MAX_MATCHING} at a time"),
    }
}
