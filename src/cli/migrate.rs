//! `cinequery migrate`: applies pending migrations of this version and of the declarations.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::explain::printable;
use super::{Outcome, catalogue_by, explain, open, print};
use crate::config::DatabaseSettings;
use crate::record::Catalogue;
use crate::store::{By, Missing, Step};

const HELP: &str = "\
Examples:
  cinequery migrate --plan                         prints the steps and what they lock
  cinequery migrate
  cinequery migrate --drop movies.tagline          drops a field that is no longer declared

At start, `serve` applies the steps that instances with the previous declarations tolerate. This
command also applies the others: renames, drops, new unique keys, required fields and narrower
limits. If records break a new rule, it lists them and changes nothing.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Migrate {
    /// Print the steps with their SQL and locks, without applying them
    #[arg(long)]
    plan: bool,
    /// Drop a field (movies.tagline) with its values, or a collection (movies) with its records and saved queries, that
    /// is no longer declared; may be repeated
    #[arg(long = "drop", value_name = "NAME")]
    drops: Vec<String>,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> Outcome {
        // The only collection of a folder is dropped with the empty folder.
        let load = if self.drops.is_empty() { Catalogue::load } else { Catalogue::load_or_empty };
        let catalogue = catalogue_by(&self.database.records, load)?;
        let schemas = catalogue.schemas();
        if !self.plan {
            let store = open(&self.database, Missing::Create).await?;
            store.migrate_all(schemas, &self.drops).await.map_err(explain)?;
            store.close().await;
            return Ok(ExitCode::SUCCESS);
        }
        let store = open(&self.database, Missing::ReadOnly).await?;
        let steps = store.plan(schemas, &self.drops).await.map_err(explain)?;
        let kept = store.undeclared(schemas).await.map_err(explain)?;
        store.close().await;
        print(&printable(&describe(&steps)))?;
        let is_dropped = |field: &&String| self.drops.contains(field);
        for field in kept.iter().filter(|field| !is_dropped(field)) {
            print(&format!("not declared, and kept: {field} (drop it with `--drop {field}`)"))?;
        }
        let is_possible = steps.iter().all(|step| step.problem.is_none());
        Ok(if is_possible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn describe(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing to do: the tables are as declared".to_owned();
    }
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        let by = match step.by {
            By::Serve => "`serve` at start, or `migrate`",
            By::Migrate => "`migrate` only",
        };
        let blank = if number == 0 { "" } else { "\n" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{blank}{}. {}", number + 1, step.sentence);
        let _ = writeln!(text, "   applied by: {by}\n   locks: {}", step.locks);
        if let Some(problem) = &step.problem {
            let _ = writeln!(text, "   problem: {}", problem.replace('\n', "\n     "));
        }
        for statement in &step.sql {
            let _ = writeln!(text);
            for line in format!("{statement};").lines() {
                let _ = writeln!(text, "{}", format!("     {line}").trim_end());
            }
        }
    }
    text.trim_end().to_owned()
}
