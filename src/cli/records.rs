//! `cinequery records`: validates and creates declarations of record types.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::file::{self, FileSettings};
use super::{Outcome, catalogue, explain, print};
use crate::app::transfer::{infer, quoted_for_shell};
use crate::config::RecordsSettings;
use crate::query::Schema;
use crate::record::declaration::{self, check_collection, collection_name};

const EXAMPLES: &str = "\
Examples:
  cinequery records init screenings > records/screenings.toml
  cinequery records infer books.csv > records/books.toml
  cinequery records check records
  cinequery records schema > record-type.schema.json";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Records {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate the declarations of a folder, or a single file, and list the record types
    Check(Check),
    /// Print a commented declaration to start from
    Init {
        /// Collection, such as screenings; for movies the built-in declaration is printed
        name: String,
    },
    /// Print the JSON Schema of declarations, for editors
    Schema,
    /// Print a declaration that fits a file of records
    Infer(Infer),
}

#[derive(Args)]
struct Check {
    /// Folder or file, the same as --records
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    #[command(flatten)]
    records: RecordsSettings,
}

#[derive(Args)]
struct Infer {
    /// File: JSON lines, a JSON array, CSV with a header line, or .xlsx. `.gz` is decompressed; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    hints: FileSettings,
    /// Collection, such as books [default: from the file name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Records {
    pub(super) fn run(self) -> Outcome {
        let text = match self.command {
            Command::Check(check) => check.run()?,
            Command::Init { name } => {
                declaration::start(&name).map_err(|mistake| mistake.to_string())?
            }
            Command::Schema => format!("{:#}", declaration::json_schema()),
            Command::Infer(infer) => infer.run()?,
        };
        print(text.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self) -> Result<String, String> {
        let records = self.path.or(self.records.records);
        let catalogue = catalogue(&RecordsSettings { records })?;
        let lines: Vec<String> =
            catalogue.schemas().iter().map(|schema| describe(schema)).collect();
        Ok(lines.join("\n"))
    }
}

/// Describes a record type in one line.
fn describe(schema: &'static Schema) -> String {
    let Schema { name, collection, indexes, searches, .. } = schema;
    let count = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let key = match schema.natural_key() {
        [] => "no natural key".to_owned(),
        fields => format!("natural key {}", fields.join(", ")),
    };
    let fields = count(schema.declared().count(), "field", "fields");
    let indexes = count(indexes.len(), "index", "indexes");
    let searches = count(searches.len(), "search", "searches");
    format!("{collection}: {name}, {fields}, {key}, {indexes}, {searches}")
}

impl Infer {
    fn run(self) -> Result<String, String> {
        let collection = match self.name {
            Some(name) => {
                check_collection(&name).map_err(|mistake| format!("--name: {mistake}"))?;
                name
            }
            None => {
                let stem = self.file.file_name().map(Path::new).and_then(|name| name.to_str());
                let stem = stem.and_then(|name| name.split('.').next());
                stem.and_then(collection_name)
                    .ok_or("cannot derive the collection from the file name: pass it with --name")?
            }
        };
        let input = file::open(&self.file)?;
        let path = quoted_for_shell(&self.file.display().to_string());
        infer(input, self.hints.options(), &collection)
            .map(|text| text.replace("import FILE ", &format!("import {path} ")))
            .map_err(|error| format!("{}: {}", self.file.display(), explain(error)))
    }
}
