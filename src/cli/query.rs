//! `cinequery query`: searches records from the command line.

use std::process::ExitCode;

use annotate_snippets::Level;
use clap::Args;
use serde_json::{Map, Value};

use super::explain::describe;
use super::{
    CollectionSettings, Given, Outcome, catalogue, explain, explain_in, location, open_to_read,
    operator, print, table,
};
use crate::app::search::{About, Count, SearchRequest, page_shape, search};
use crate::app::selection::chosen_fields;
use crate::app::why::Reason;
use crate::clock::timestamp_now;
use crate::config::DatabaseSettings;
use crate::error::Error;
use crate::query::compile::Bound;
use crate::query::{Diagnostic, Dialect, Field, Schema, compile};
use crate::record::Catalogue;
use crate::store::{Location, Store};

const EXAMPLES: &str = "\
Examples:
  cinequery query 'genre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30'
  cinequery query 'title contains \"star\"' --order-by 'release_year desc' --limit 5 --count
  cinequery query 'release_year = $y' --param y=1994 --fields id,title,version
  cinequery query 'expiry_date <= today + 30d' --sql";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Query {
    /// Filter, such as: genre = "drama" and release_year >= 1990 [default: all records]
    filter: Option<String>,
    /// Sort order, such as: release_year desc, title [default: by creation]
    #[arg(long)]
    order_by: Option<String>,
    #[command(flatten)]
    given: Given,
    /// Maximum number of records, 1 to 1000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Fields to show, separated by commas, such as id,title,version [default: those of the declaration]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "sql")]
    fields: Vec<String>,
    /// Also count all matching records
    #[arg(long)]
    count: bool,
    /// Print the SQL statement and its values instead of executing it
    #[arg(long)]
    sql: bool,
    #[command(flatten)]
    collection: CollectionSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Query {
    pub(super) async fn run(self) -> Outcome {
        let request = SearchRequest {
            selection: self.given.selection(self.filter, self.order_by),
            limit: Some(i64::from(self.limit)),
            cursor: None,
            count: if self.count { Count::Exact } else { Count::None },
            why: true,
        };
        let selection = request.selection.clone();
        let catalogue = catalogue(&self.database.records)?;
        let schema = self.collection.find(catalogue)?;
        let fields = match self.fields.as_slice() {
            [] => schema.declared().collect(),
            names => chosen_fields(schema, names).map_err(explain)?,
        };
        let shown = if self.sql {
            let dialect = match location(&self.database)? {
                Location::Sqlite(_) => Dialect::Sqlite,
                Location::Postgres(_) => Dialect::Postgres,
            };
            show(schema, &request, self.limit, dialect)
        } else {
            // A mistake in the filter is reported even if there is no database.
            selection.prepare(schema).map_err(|error| explain_in(error, &selection))?;
            let store = open_to_read(&self.database, catalogue).await?;
            let found = find(&store, catalogue, schema, request, &fields).await;
            store.close().await;
            found
        };
        let Shown { output, warnings, remark } =
            shown.map_err(|error| explain_in(error, &selection))?;
        if !warnings.is_empty() {
            eprintln!("{}", describe(&warnings, &Level::WARNING, &selection));
        }
        print(&output)?;
        if let Some(remark) = remark {
            eprintln!("{remark}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is printed: the result on standard output, warnings and a remark on standard error.
struct Shown {
    output: String,
    warnings: Vec<Diagnostic>,
    remark: Option<String>,
}

/// Runs the search.
async fn find(
    store: &Store,
    catalogue: Catalogue,
    schema: &'static Schema,
    request: SearchRequest,
    fields: &[&'static Field],
) -> Result<Shown, Error> {
    let page = search(store, &operator(catalogue), schema, request).await?;
    let records: Vec<Map<String, Value>> = page.read()?;
    let shown = records.len();
    let About { total, next_cursor, why, warnings, .. } = page.about;
    let mut remark = match (total, next_cursor) {
        (Some(total), _) => format!("{shown} of {total}"),
        (None, Some(_)) => format!("{shown}, more available"),
        (None, None) => shown.to_string(),
    };
    for Reason { condition, without, capped, instead } in why.unwrap_or_default() {
        let or_more = if capped { " or more" } else { "" };
        let help = instead.map(|instead| format!("; did you mean {instead}?")).unwrap_or_default();
        remark.push_str(&format!("\n{without}{or_more} without {condition}{help}"));
    }
    Ok(Shown { output: table::of_records(fields, &records), warnings, remark: Some(remark) })
}

/// Compiles the statement instead of executing it.
fn show(
    schema: &'static Schema,
    request: &SearchRequest,
    limit: u32,
    dialect: Dialect,
) -> Result<Shown, Error> {
    let selection = &request.selection;
    let prepared = selection.prepare(schema)?;
    let query = selection.bind(&prepared, timestamp_now())?;
    let statement = compile(&query, page_shape(limit), dialect);
    let values = (1..).zip(statement.bound());
    let values = values.map(|(position, Bound { ty, value })| {
        format!("\n-- {position}: {value} ({})", ty.as_str())
    });
    let output = format!("{}{}", statement.sql, values.collect::<String>());
    Ok(Shown { output, warnings: prepared.warnings, remark: None })
}
