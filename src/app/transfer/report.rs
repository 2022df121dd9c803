//! What an import did, or would do, and the problems of its rows.

use std::cmp::Ordering;
use std::collections::HashMap;

use poem_openapi::Object;
use serde::Serialize;

use super::columns::Shown;
use super::dates::Order;
use super::numbers::RowNumbers;
use super::row::MAX_NAME;
use super::source::FileFacts;
use crate::error::Violation;
use crate::record::declaration::MAX_FIELDS;

/// The most kinds of problems that are listed. The rows of further ones are in the last.
const MAX_PROBLEMS: usize = 2 * MAX_FIELDS;

/// The most rows that are listed for a problem.
const MAX_EXAMPLES: usize = 5;

/// The problem of rows whose record exists.
const EXISTING: &str = "the record exists";

/// The result of an import, or of a dry run.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "ImportReport")]
pub struct Report {
    /// The number of records that were created.
    pub created: i64,
    /// The number of records that were updated.
    pub updated: i64,
    /// The number of rows that were skipped because their record exists or, with `update`, has these values already.
    pub skipped: i64,
    /// The number of rows that were rejected because they break a rule.
    pub rejected: i64,
    /// The rules that rejected rows break, by line; at most those of the first 100 rows.
    pub errors: Vec<Violation>,
    /// Names in the file that were ignored because they are not writable fields; at most 20.
    pub ignored: Vec<String>,
    /// The number of texts whose outer white space was removed, or whose line breaks were replaced by blanks.
    pub trimmed: i64,
    /// The problems of rejected rows, grouped by field and kind; the most frequent first.
    pub problems: Vec<Problem>,
    /// The number of rows that were skipped or rejected because an earlier row of the file has their natural key, or with
    /// `update`, that replace the values of that row. They are counted among the others, too.
    pub repeated: i64,
    /// The rows that were skipped because their record exists or, with `update`, that are for the record of an earlier row;
    /// at most the first 100.
    pub existing: Vec<Violation>,
    /// How the file was read.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFacts>,
    /// The columns of the file, and the fields that they were read into.
    pub columns: Vec<Shown>,
    /// In a dry run: the required fields for which the file has no column.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// In a dry run of a table that lacks a required field: the row that is probably its header, as the value for
    /// `header_row`. It has the names of more fields than the header, or the header looks like a title.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_row: Option<i64>,
    /// In a dry run: the first ten valid records as they would be; with `update`, the fields that would be set.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Vec<serde_json::Value>>,
    /// In a dry run: fields that would take the ignored columns, as lines of a declaration.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_fields: Option<String>,
}

/// A problem that several rows have.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportProblem")]
pub struct Problem {
    /// The field; absent if the problem is that of the whole row.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong or expected.
    pub detail: String,
    /// The number of rows.
    pub count: i64,
    /// What was found in the first of them.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// The line of the first of them.
    pub line: i64,
    /// Its row as a spreadsheet counts it, if line breaks in cells of CSV make it another number than the line.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<i64>,
    /// The first rows with different values; at most 5.
    pub examples: Vec<Example>,
    /// Parameters one of which may fix the problem, such as `dates=dmy`.
    pub parameters: Vec<String>,
    /// Why the parameters may fix it.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A row with a problem.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportExample")]
pub struct Example {
    /// What was found, if the message says so.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The line.
    pub line: i64,
    /// The row as a spreadsheet counts it, if line breaks in cells of CSV make it another number than the line.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<i64>,
    /// The value of the first field with texts, which names the record.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl std::fmt::Display for Problem {
    /// Writes the problem on one line: `expiry_date: 500 × expected a date, like "15/02/2030" (line 2); try dates=dmy`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, detail, count, example, line, row, parameters, reason, .. } = self;
        if let Some(field) = field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{count} × {detail}")?;
        if let Some(example) = example {
            write!(f, ", like {example}")?;
        }
        match row {
            Some(row) => write!(f, " (row {row}, line {line})")?,
            None => write!(f, " (line {line})")?,
        }
        if !parameters.is_empty() {
            write!(f, "; try {}", parameters.join(" or "))?;
        }
        match reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// The problems of a file, while it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    groups: HashMap<(String, String), Group>,
}

#[derive(Debug, Clone)]
struct Group {
    problem: Problem,
    /// The number of values that are dates in some order, and of those in each.
    dates: u64,
    orders: HashMap<Order, u64>,
}

impl Group {
    fn new(field: Option<String>, detail: &str, example: Option<String>, line: i64) -> Self {
        let problem = Problem {
            field,
            detail: detail.to_owned(),
            count: 0,
            example,
            line,
            row: None,
            examples: Vec::new(),
            parameters: Vec::new(),
            reason: None,
        };
        Self { problem, dates: 0, orders: HashMap::new() }
    }

    /// Counts a row, and lists it unless one with the same value is.
    fn add(&mut self, found: Option<String>, line: i64, title: Option<&str>) {
        self.problem.count += 1;
        let examples = &mut self.problem.examples;
        let is_known = |example: &Example| found.is_some() && example.found == found;
        if examples.len() < MAX_EXAMPLES && !examples.iter().any(is_known) {
            let title = title.map(|title| title.chars().take(MAX_NAME).collect());
            examples.push(Example { found, line, row: None, title });
        }
    }

    /// Returns the order in which most of the dates are days, and why it is probably meant; `None` if there are several.
    fn likely_order(&self) -> Option<(Order, String)> {
        let fit = |order| self.orders.get(&order).copied().unwrap_or(0);
        let (order, other) = match fit(Order::Dmy).cmp(&fit(Order::Mdy)) {
            Ordering::Greater => (Order::Dmy, Order::Mdy),
            Ordering::Less => (Order::Mdy, Order::Dmy),
            Ordering::Equal => return None,
        };
        let (words, fit, only) = (order.words(), fit(order), self.dates - fit(other));
        let reason = match self.dates {
            1 => format!("the date fits {words} only"),
            dates if fit == dates => {
                let have = if only == 1 { "has" } else { "have" };
                format!("all {dates} dates fit {words}, and {only} of them {have} a day above 12")
            }
            dates => format!("{fit} of {dates} dates fit {words}"),
        };
        Some((order, reason))
    }
}

impl Problems {
    /// Adds a broken rule of a row, with the orders in which its value would be a date.
    pub(super) fn add(
        &mut self,
        line: u64,
        violation: &Violation,
        orders: &[Order],
        title: Option<&str>,
    ) {
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let (detail, example) = match violation.detail.split_once(", found ") {
            Some((detail, example)) => (detail, Some(example.to_owned())),
            None => (violation.detail.as_str(), None),
        };
        // Numbers are places and sizes.
        let kind: String =
            detail.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let mut key = (violation.pointer.clone(), kind);
        if !self.groups.contains_key(&key) && self.groups.len() >= MAX_PROBLEMS {
            key = (String::new(), String::new());
        }
        let is_other = key.1.is_empty();
        let group = self.groups.entry(key).or_insert_with(|| {
            let field = violation.pointer.strip_prefix('/').map(str::to_owned);
            if is_other {
                return Group::new(None, "other problems", None, line);
            }
            Group::new(field, detail, example.clone(), line)
        });
        group.add(example, line, title);
        group.dates += u64::from(!orders.is_empty());
        for order in orders {
            *group.orders.entry(*order).or_default() += 1;
        }
    }

    /// Adds a row whose record exists.
    pub(super) fn add_existing(&mut self, line: u64, violation: &Violation) {
        let key = (String::new(), EXISTING.to_owned());
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let example = Some(violation.detail.clone());
        let new = || Group::new(None, EXISTING, example.clone(), line);
        self.groups.entry(key).or_insert_with(new).add(example.clone(), line, None);
    }

    /// Sets the number of rows whose record exists, of which only the first are listed.
    pub(super) fn count_existing(&mut self, count: u64) {
        if let Some(group) = self.groups.get_mut(&(String::new(), EXISTING.to_owned())) {
            group.problem.count = i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// Returns the problems, the most frequent first.
    pub(super) fn list(&self, rows: &RowNumbers) -> Vec<Problem> {
        let problem = |group: &Group| {
            let mut problem = group.problem.clone();
            let parameter = |order: Order| format!("dates={}", order.as_str());
            match group.likely_order() {
                Some((order, reason)) => {
                    problem.parameters = vec![parameter(order)];
                    problem.reason = Some(reason);
                }
                None if group.dates > 0 => {
                    problem.parameters = [Order::Dmy, Order::Mdy].map(parameter).into();
                }
                None => {}
            }
            problem.row = rows.of(problem.line);
            for example in &mut problem.examples {
                example.row = rows.of(example.line);
            }
            problem
        };
        let mut problems: Vec<Problem> = self.groups.values().map(problem).collect();
        problems.sort_by(|a, b| {
            (b.count, a.line, &a.field, &a.detail).cmp(&(a.count, b.line, &b.field, &b.detail))
        });
        problems
    }
}
