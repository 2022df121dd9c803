//! `cinequery query`: search from the command line.

use std::process::ExitCode;

use annotate_snippets::Level;
use clap::Args;
use comfy_table::{Table, presets};
use futures_util::future::BoxFuture;

use super::explain::describe;
use super::{Given, Outcome, explain_in, location, of_type, open_to_read, operator, print};
use crate::app::search::{Count, SearchRequest, page_statement, search};
use crate::app::why::Reason;
use crate::clock::timestamp_now;
use crate::config::DatabaseSettings;
use crate::error::Error;
use crate::query::compile::Bound;
use crate::query::{Diagnostic, Dialect};
use crate::record::{Record, Visitor};
use crate::store::{Location, Store};

const EXAMPLES: &str = "\
Examples:
  cinequery query 'genre = \"drama\" and expiry_date between 2024-01-01 and 2024-06-30'
  cinequery query 'title contains \"star\"' --order-by 'release_year desc' --limit 5 --count
  cinequery query 'release_year = $y' --param y=1994
  cinequery query 'expiry_date <= today + 30d' --sql";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Query {
    /// The filter, such as: genre = "drama" and release_year >= 1990. All records when absent
    filter: Option<String>,
    /// The order, such as: release_year desc, title
    #[arg(long)]
    order_by: Option<String>,
    #[command(flatten)]
    given: Given,
    /// How many records at most, 1 to 1000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Count all records that match
    #[arg(long)]
    count: bool,
    /// Show the statement and its values instead of running it
    #[arg(long)]
    sql: bool,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE", default_value = "movies")]
    table: String,
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
        let answer = if self.sql {
            let dialect = match location(&self.database)? {
                Location::Sqlite(_) => Dialect::Sqlite,
                Location::Postgres(_) => Dialect::Postgres,
            };
            of_type(&self.table, Show { request, limit: self.limit, dialect })?
        } else {
            let store = open_to_read(&self.database).await?;
            let answer = of_type(&self.table, Find { store: store.clone(), request })?.await;
            store.close().await;
            answer
        };
        let Answer { output, warnings, remark } =
            answer.map_err(|error| explain_in(error, &selection))?;
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

/// What is printed: the answer, and what is said about it.
struct Answer {
    output: String,
    warnings: Vec<Diagnostic>,
    remark: Option<String>,
}

/// Runs the search.
struct Find {
    store: Store,
    request: SearchRequest,
}

impl Visitor for Find {
    type Output = BoxFuture<'static, Result<Answer, Error>>;

    fn visit<R: Record>(self) -> Self::Output {
        Box::pin(async move {
            let page = search::<R>(&self.store, &operator(), self.request).await?;
            let shown = page.items.len();
            let mut remark = match (page.total, page.next_cursor) {
                (Some(total), _) => format!("{shown} of {total}"),
                (None, Some(_)) => format!("{shown}, and there are more"),
                (None, None) => shown.to_string(),
            };
            for Reason { condition, without, instead } in page.why.unwrap_or_default() {
                let meant = instead.map(|instead| format!("; did you mean {instead}?"));
                let meant = meant.unwrap_or_default();
                remark.push_str(&format!("\n{without} without {condition}{meant}"));
            }
            let output = table(&page.items).to_string();
            Ok(Answer { output, warnings: page.warnings, remark: Some(remark) })
        })
    }
}

/// Shows the statement.
struct Show {
    request: SearchRequest,
    limit: u32,
    dialect: Dialect,
}

impl Visitor for Show {
    type Output = Result<Answer, Error>;

    fn visit<R: Record>(self) -> Self::Output {
        let selection = &self.request.selection;
        let prepared = selection.prepare(R::SCHEMA)?;
        let query = selection.bind(&prepared, timestamp_now())?;
        let statement = page_statement(&query, self.limit, self.dialect);
        let values = (1..).zip(statement.bound());
        let values = values.map(|(position, Bound { ty, value })| {
            format!("\n-- {position}: {value} ({})", ty.as_str())
        });
        let output = format!("{}{}", statement.sql, values.collect::<String>());
        Ok(Answer { output, warnings: prepared.warnings, remark: None })
    }
}

/// The writable fields as an aligned table.
fn table<R: Record>(records: &[R]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(R::SCHEMA.writable().map(|field| field.name));
    for record in records {
        let cells = R::SCHEMA.writable().map(|field| match record.value(field.name) {
            Some(value) => value.to_string(),
            None => String::new(),
        });
        table.add_row(cells);
    }
    table
}
