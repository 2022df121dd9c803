//! `cinequery query`: search from the command line.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};

use super::{Outcome, explain_in, location, open, operator, print};
use crate::app::search::{Count, SearchRequest, search};
use crate::config::DatabaseSettings;
use crate::error::Error;
use crate::query::{Argument, Arguments, Dialect, Shape, compile, prepare};
use crate::record::{Movie, Record, timestamp_now};
use crate::store::{Location, Missing};

#[derive(Args)]
pub(super) struct Query {
    /// The filter, such as: genre = "drama" and release_year >= 1990. All movies when absent
    filter: Option<String>,
    /// The order, such as: release_year desc, title
    #[arg(long)]
    order_by: Option<String>,
    /// How many movies at most, 1 to 1000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// A value for a $NAME of the filter; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Count all movies that match
    #[arg(long)]
    count: bool,
    /// Show the statement and its values instead of running it
    #[arg(long)]
    sql: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Query {
    pub(super) async fn run(self) -> Outcome {
        let parameters: Arguments = self
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), Argument::Untyped(value.clone())))
            .collect();
        if self.sql {
            return self.show_statement(&parameters);
        }
        let store = open(&self.database, Missing::Refuse).await?;
        let request = SearchRequest {
            filter: self.filter.clone(),
            order_by: self.order_by.clone(),
            limit: Some(i64::from(self.limit)),
            cursor: None,
            count: if self.count { Count::Exact } else { Count::None },
            parameters,
        };
        let page = search::<Movie>(&store, &operator(), request).await;
        let page = page.map_err(|error| self.explain(error))?;
        for warning in &page.warnings {
            let help = warning.help.as_deref().unwrap_or_default();
            eprintln!("warning: {}; {help}", warning.message);
        }
        print(&table(&page.items).to_string())?;
        let more = if page.next_cursor.is_some() { ", and there are more" } else { "" };
        match page.total {
            Some(total) => eprintln!("{} of {total}", page.items.len()),
            None => eprintln!("{}{more}", page.items.len()),
        }
        store.close().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Problems of the filter, the order and the parameters, each below the text it is in.
    fn explain(&self, error: Error) -> String {
        explain_in(error, |parameter| match parameter {
            "filter" => self.filter.as_deref(),
            "order_by" => self.order_by.as_deref(),
            other => {
                let name = other.strip_prefix("p.")?;
                let given = self.parameters.iter().find(|(known, _)| known == name);
                given.map(|(_, value)| value.as_str())
            }
        })
    }

    fn show_statement(&self, parameters: &Arguments) -> Outcome {
        let dialect = match location(&self.database)? {
            Location::Sqlite(_) => Dialect::Sqlite,
            Location::Postgres(_) => Dialect::Postgres,
        };
        let refused = |problems| self.explain(Error::query(problems));
        let prepared = prepare(self.filter.as_deref(), self.order_by.as_deref(), Movie::SCHEMA)
            .map_err(refused)?;
        let query = prepared.bind(parameters, timestamp_now()).map_err(refused)?;
        let statement = compile(&query, Shape::Page { limit: self.limit }, dialect);
        let values = (1..).zip(statement.values.iter());
        let values = values.map(|(position, value)| format!("\n-- {position}: {value:?}"));
        print(&format!("{}{}", statement.sql, values.collect::<String>()))?;
        Ok(ExitCode::SUCCESS)
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
