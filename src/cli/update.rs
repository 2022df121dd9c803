//! `cinequery update`: sets fields of all records that match a filter.

use std::collections::HashSet;

use clap::Args;

use super::Outcome;
use super::explain::{printable, rule};
use super::matching::Matching;
use crate::app::transfer::Defaults;
use crate::query::{Argument, Schema};
use crate::record::{Members, Patch};

const EXAMPLES: &str = "\
Examples:
  cinequery update --filter 'genre = \"Dramma\"' --set genre=drama --dry-run
  cinequery update --filter 'genre = \"Dramma\"' --set genre=drama --expect 12
  cinequery update --filter 'title = $t' --param t=Wings --set 'genre=\"war, drama\",release_year=1927' --expect 1";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Update {
    /// Values to set; may be repeated. A value with a comma is in double quotes, and an empty one is null
    #[arg(long, value_name = "FIELD=VALUE,…", required = true)]
    set: Vec<Defaults>,
    #[command(flatten)]
    matching: Matching,
}

impl Update {
    pub(super) async fn run(self) -> Outcome {
        let set = self.set.into_iter().fold(Defaults::default(), Defaults::and);
        self.matching.run("updated", |schema| patch(schema, set).map(Some)).await
    }
}

/// Reads the values to set.
fn patch(schema: &'static Schema, set: Defaults) -> Result<Patch, String> {
    let set = set.into_entries();
    let mut names = HashSet::new();
    if let Some((name, _)) = set.iter().find(|(name, _)| !names.insert(name)) {
        return Err(printable(&format!("--set: the field {name:?} is set twice")));
    }
    let members = set.into_iter().map(|(name, value)| {
        let is_null = value.is_empty() && schema.field(&name).is_some_and(|field| field.nullable);
        let value = if is_null { Argument::NULL } else { Argument::Untyped(value) };
        (name, value)
    });
    Patch::read_by_operator(schema, Members(members.collect())).map_err(|violations| {
        let rules: Vec<String> = violations.iter().map(rule).collect();
        printable(&format!("--set: {}", rules.join("\n")))
    })
}
