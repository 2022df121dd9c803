//! The filter language: parses a text, checks and binds it, and compiles it to SQL.
//!
//! This module does no I/O and knows neither database drivers nor HTTP. Each stage has one type. A
//! later type cannot represent a mistake that an earlier stage has ruled out:
//!
//! ```text
//! &str ──parse──▶ ast::Query ──check──▶ Plan ──bind──▶ BoundQuery ──compile──▶ Statement
//!                                                               └────evaluate──▶ Truth
//! ```
//!
//! [`prepare`] does the first two steps:
//!
//! ```
//! use cinequery::query::{Argument, Arguments, Dialect, Shape, compile, prepare};
//! use cinequery::record::Catalogue;
//!
//! let movies = Catalogue::built_in().find("movies").unwrap();
//! let filter = "genre = 'drama' and release_year > $since";
//! let prepared = prepare(Some(filter), Some("title"), movies).unwrap();
//!
//! // Values are bound, never part of the SQL.
//! let arguments = Arguments::from([("since".to_owned(), Argument::Integer(1990))]);
//! let query = prepared.bind(&arguments, chrono::Utc::now()).unwrap();
//! let statement = compile(&query, Shape::Page { limit: 20 }, Dialect::Sqlite);
//! assert!(statement.sql.contains(r#""genre" = ?"#));
//! assert!(!statement.sql.contains("drama"));
//!
//! // A mistake has a place, and a correction that was tried.
//! let mistakes = prepare(Some("gnre = 'drama'"), None, movies).unwrap_err();
//! assert_eq!((mistakes[0].line, mistakes[0].column), (1, 1));
//! assert_eq!(mistakes[0].suggestion.as_ref().unwrap().text, "genre");
//! ```

pub mod access;
pub mod ast;
pub mod bind;
pub mod check;
pub mod compile;
pub mod complete;
pub mod diagnostic;
pub mod dialect;
pub mod evaluate;
pub mod facet;
mod filters;
pub mod format;
pub mod limits;
pub mod literal;
pub mod parse;
pub mod plan;
mod scan;
pub mod schema;
pub mod shape;
pub mod statistics;
mod suggestion;
pub mod text;
pub mod trigram;
pub mod value;

pub use bind::{Argument, Arguments, BoundQuery, bind};
pub use check::check;
pub use compile::{Statement, compile};
pub use diagnostic::{Code, Diagnostic, Fault};
pub use dialect::Dialect;
pub use facet::Facet;
use filters::Filters;
pub use plan::Plan;
pub use schema::{Field, Schema, Search};
pub use shape::Shape;
use suggestion::Reading;
pub use value::{Type, Value};

/// A filter and an order, parsed and checked against a record's schema.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The syntax tree.
    pub ast: ast::Query,
    /// The tree with names and types resolved.
    pub plan: Plan,
    /// Warnings about a filter that is valid but easy to misread.
    pub warnings: Vec<Diagnostic>,
    /// How much of each limit the filter uses.
    pub usage: limits::Usage,
    filters: Filters<'a>,
}

/// Parses and checks a filter and an order together.
///
/// # Errors
/// Returns the problems of both texts, each with its place; at most [`limits::MAX_DIAGNOSTICS`].
pub fn prepare<'a>(
    filter: Option<&'a str>,
    order_by: Option<&str>,
    schema: &'static Schema,
) -> Result<Prepared<'a>, Vec<Diagnostic>> {
    prepare_within(None, filter.into_iter().collect(), order_by, schema)
}

/// Like [`prepare`], for the records that match all of several filters and also satisfy `within`. Callers use it for
/// conditions that they have as a tree and not as text. The values of `within` must fit its fields, because its
/// problems have no place in the texts.
///
/// # Errors
/// As for [`prepare`].
pub fn prepare_within<'a>(
    within: Option<&ast::Expr>,
    filters: Vec<&'a str>,
    order_by: Option<&str>,
    schema: &'static Schema,
) -> Result<Prepared<'a>, Vec<Diagnostic>> {
    Parsed::of(within, filters, order_by).check(schema)
}

/// Filters and an order that were parsed. Some of them may be malformed: their problems are reported together with those
/// that a check finds in the others.
#[derive(Debug)]
pub struct Parsed<'a, 'o> {
    within: Option<ast::Expr>,
    filters: Filters<'a>,
    trees: Vec<Result<parse::Parsed, Vec<Fault>>>,
    order_by: Option<&'o str>,
    order: Result<Vec<ast::OrderKey>, Vec<Fault>>,
}

impl<'a, 'o> Parsed<'a, 'o> {
    /// Parses filters and an order, for [`prepare_within`].
    pub fn of(
        within: Option<&ast::Expr>,
        filters: Vec<&'a str>,
        order_by: Option<&'o str>,
    ) -> Self {
        let filters = Filters(filters);
        let trees = filters.parse();
        let order = order_by.map(parse::order_by).transpose().map(Option::unwrap_or_default);
        Self { within: within.cloned(), filters, trees, order_by, order }
    }

    /// Checks them against the schema of a record type.
    ///
    /// # Errors
    /// Returns the problems of all texts, each with its place; at most [`limits::MAX_DIAGNOSTICS`].
    pub fn check(self, schema: &'static Schema) -> Result<Prepared<'a>, Vec<Diagnostic>> {
        let Self { within, filters, trees, order_by, order } = self;
        let in_order = |text: &str| read_order(text, schema);
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut ast = ast::Query::default();
        let mut usage = limits::Usage::default();
        let mut terms: Vec<ast::Expr> = within.into_iter().collect();
        for (position, parsed) in trees.into_iter().enumerate() {
            match parsed {
                Ok(parsed) => {
                    let (name, text) = (filters.name(position), filters.text(position));
                    let places = suggestion::keep_readable(parsed.warnings).into_iter();
                    warnings.extend(places.map(|warning| warning.locate(&name, text)));
                    terms.push(parsed.expr);
                    usage = parsed.usage;
                }
                Err(faults) if problems.len() < limits::MAX_DIAGNOSTICS => {
                    problems.extend(locate_in(&filters, position, faults, schema));
                }
                Err(_) => {}
            }
        }
        warnings.truncate(limits::MAX_DIAGNOSTICS);
        ast.filter = (!terms.is_empty()).then(|| ast::Expr::all(terms));
        match order {
            Ok(keys) => ast.order_by = keys,
            Err(faults) => problems.extend(locate(faults, "order_by", order_by, in_order)),
        }
        match check(&ast, schema) {
            Ok(plan) if problems.is_empty() => {
                return Ok(Prepared { ast, plan, warnings, usage, filters });
            }
            Ok(_) => {}
            Err(faults) => {
                for (position, faults) in filters.separate(faults.filter).into_iter().enumerate() {
                    if problems.len() >= limits::MAX_DIAGNOSTICS {
                        break;
                    }
                    problems.extend(locate_in(&filters, position, faults, schema));
                }
                problems.extend(locate(faults.order_by, "order_by", order_by, in_order));
            }
        }
        problems.truncate(limits::MAX_DIAGNOSTICS);
        Err(problems)
    }
}

/// Adds line and column to the problems of a filter, and removes suggestions that do not help.
fn locate_in(
    filters: &Filters<'_>,
    position: usize,
    faults: Vec<Fault>,
    schema: &'static Schema,
) -> Vec<Diagnostic> {
    let read = |text: &str| read_filter(filters, position, text, schema);
    locate(faults, &filters.name(position), Some(filters.text(position)), read)
}

/// Parses and checks a filter again, with the edit of a suggestion. The other filters are as they were.
fn read_filter(
    filters: &Filters<'_>,
    position: usize,
    text: &str,
    schema: &'static Schema,
) -> Reading {
    let mut texts = filters.0.clone();
    if let Some(own) = texts.get_mut(position) {
        *own = text;
    }
    let changed = Filters(texts);
    let mut terms = Vec::new();
    let mut faults = Vec::new();
    for (other, parsed) in changed.parse().into_iter().enumerate() {
        match parsed {
            Ok(parsed) => terms.push(parsed.expr),
            Err(found) if other == position => faults = found,
            Err(_) => {}
        }
    }
    if faults.is_empty() {
        let filter = (!terms.is_empty()).then(|| ast::Expr::all(terms));
        let query = ast::Query { filter, ..ast::Query::default() };
        let found = check(&query, schema).err().map(|faults| changed.separate(faults.filter));
        faults = found.and_then(|of_all| of_all.into_iter().nth(position)).unwrap_or_default();
    }
    if faults.is_empty() {
        return Reading::default();
    }
    let outline = parse::outline(text);
    let place = diagnostic::Span::default();
    let predicates = outline.iter().flat_map(|expr| expr.predicates(place));
    let parts = predicates.map(|(_, predicate)| predicate.span()).collect();
    Reading { faults, parts, connectives: suggestion::CONNECTIVES }
}

/// Parses and checks an order again, with the edit of a suggestion.
fn read_order(text: &str, schema: &'static Schema) -> Reading {
    let checked = parse::order_by(text).and_then(|order_by| {
        let query = ast::Query { filter: None, order_by };
        check(&query, schema).map_err(|faults| faults.order_by)
    });
    let Err(faults) = checked else { return Reading::default() };
    let keys = parse::outline_of_order(text).unwrap_or_default();
    Reading { faults, parts: keys.iter().map(ast::OrderKey::span).collect(), connectives: &[] }
}

impl Prepared<'_> {
    /// Binds the plan to the parameters and the time of a request.
    ///
    /// # Errors
    /// Returns the problems of the parameters and of offsets from `today` and `now`.
    pub fn bind(
        &self,
        arguments: &Arguments,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<BoundQuery, Vec<Diagnostic>> {
        bind(&self.plan, arguments, now).map_err(|faults| {
            let mut problems: Vec<Diagnostic> = Vec::new();
            for (position, bound) in self.filters.separate(faults.filter).into_iter().enumerate() {
                let (name, text) = (self.filters.name(position), self.filters.text(position));
                problems.extend(bound.into_iter().map(|fault| fault.locate(&name, text)));
            }
            problems.extend(faults.arguments.into_iter().map(|(name, fault)| {
                let text = arguments.get(&name).and_then(Argument::text).unwrap_or_default();
                let span = diagnostic::Span::new(0, text.len());
                Fault { span, ..fault }.locate(&format!("p.{name}"), text)
            }));
            problems.truncate(limits::MAX_DIAGNOSTICS);
            problems
        })
    }
}

/// Adds line and column to the problems, and removes suggestions that do not help. `read` reads a
/// text again.
fn locate(
    mut faults: Vec<Fault>,
    parameter: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Reading,
) -> Vec<Diagnostic> {
    faults.truncate(limits::MAX_DIAGNOSTICS);
    let text = text.unwrap_or_default();
    let faults = suggestion::keep_proven(faults, text, read).into_iter();
    faults.map(|fault| fault.locate(parameter, text)).collect()
}
