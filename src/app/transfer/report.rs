//! What an import did, or would do, and the problems of its rows.

use std::collections::HashMap;

use poem_openapi::Object;
use serde::Serialize;

use super::columns::Shown;
use super::dates::Order;
use super::source::FileFacts;
use crate::error::Violation;
use crate::record::declaration::MAX_FIELDS;

/// The most kinds of problems that are listed. The rows of further ones are in the last.
const MAX_PROBLEMS: usize = 2 * MAX_FIELDS;

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
    /// In a dry run of a table that lacks a required field: the row that has the names of more fields than its header, and is
    /// the value for `header_row`.
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
    /// Parameters one of which may fix the problem, such as `dates=dmy`.
    pub parameters: Vec<String>,
}

impl std::fmt::Display for Problem {
    /// Writes the problem on one line: `expiry_date: 500 × expected a date, like "15/02/2030" (line 2); try dates=dmy`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, detail, count, example, line, parameters } = self;
        if let Some(field) = field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{count} × {detail}")?;
        if let Some(example) = example {
            write!(f, ", like {example}")?;
        }
        write!(f, " (line {line})")?;
        match parameters.as_slice() {
            [] => Ok(()),
            parameters => write!(f, "; try {}", parameters.join(" or ")),
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
    orders: HashMap<Order, u64>,
}

impl Problems {
    /// Adds a broken rule of a row, with the orders in which its value would be a date.
    pub(super) fn add(&mut self, line: u64, violation: &Violation, orders: &[Order]) {
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
        let group = self.groups.entry(key).or_insert_with(|| Group {
            problem: Problem {
                field: violation.pointer.strip_prefix('/').map(str::to_owned).filter(|_| !is_other),
                detail: if is_other { "other problems".to_owned() } else { detail.to_owned() },
                count: 0,
                example: example.filter(|_| !is_other),
                line,
                parameters: Vec::new(),
            },
            orders: HashMap::new(),
        });
        group.problem.count += 1;
        for order in orders {
            *group.orders.entry(*order).or_default() += 1;
        }
    }

    /// Adds a row whose record exists.
    pub(super) fn add_existing(&mut self, line: u64, violation: &Violation) {
        let key = (String::new(), EXISTING.to_owned());
        let group = self.groups.entry(key).or_insert_with(|| Group {
            problem: Problem {
                field: None,
                detail: EXISTING.to_owned(),
                count: 0,
                example: Some(violation.detail.clone()),
                line: i64::try_from(line).unwrap_or(i64::MAX),
                parameters: Vec::new(),
            },
            orders: HashMap::new(),
        });
        group.problem.count += 1;
    }

    /// Sets the number of rows whose record exists, of which only the first are listed.
    pub(super) fn count_existing(&mut self, count: u64) {
        if let Some(group) = self.groups.get_mut(&(String::new(), EXISTING.to_owned())) {
            group.problem.count = i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// Returns the problems, the most frequent first.
    pub(super) fn list(&self) -> Vec<Problem> {
        let problem = |group: &Group| {
            let mut problem = group.problem.clone();
            // The orders that fit most of the values.
            let most = group.orders.values().max().copied().unwrap_or(0);
            let orders = Order::ALL
                .into_iter()
                .filter(|order| most > 0 && group.orders.get(order) == Some(&most));
            problem.parameters = orders.map(|order| format!("dates={}", order.as_str())).collect();
            problem
        };
        let mut problems: Vec<Problem> = self.groups.values().map(problem).collect();
        problems.sort_by(|a, b| {
            (b.count, a.line, &a.field, &a.detail).cmp(&(a.count, b.line, &b.field, &b.detail))
        });
        problems
    }
}
