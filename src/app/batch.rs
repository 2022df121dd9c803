//! Batches: several writes in one request, all or nothing or each for itself.

use std::sync::Arc;

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::edit;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, There, Violation};
use crate::identity::{Access, Identity};
use crate::query::Schema;
use crate::query::diagnostic::did_you_mean;
use crate::record::{Catalogue, Draft, Members, Patch, Row};
use crate::store::{
    Conflict, Expected, IdempotencyKey, Item, ItemOutcome, Keyed, NewRecord, Once, Record, Reply,
    Store, Write,
};

/// The maximum number of writes of a batch.
pub const MAX_ITEMS: usize = 1000;

/// The maximum number of listed failures.
const MAX_LISTED: usize = 100;

/// What a write of a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum BatchOperation {
    /// Creates `record`.
    Create,
    /// Replaces the writable fields of the record `id` by those of `record`.
    Replace,
    /// Updates the fields in `record` of the record `id`.
    Patch,
    /// Deletes the record `id`.
    Delete,
}

/// A write of a batch, as it was sent.
#[derive(Debug)]
pub struct BatchItem {
    /// What it does.
    pub op: BatchOperation,
    /// The collection; `None` for that of the request.
    pub collection: Option<String>,
    /// The id of the record.
    pub id: Option<Uuid>,
    /// The version that the record must have.
    pub version: Option<i64>,
    /// The fields.
    pub record: Option<Members<Json>>,
    /// For a creation, what to do if the natural key exists.
    pub on_conflict: Option<Conflict>,
}

/// The result of a write of a batch.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct BatchResult {
    /// The HTTP status that a request of its own would have.
    pub status: i32,
    /// The id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The ETag of the record, which is its version in quotes. Absent after a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The code of the problem, if the write failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was found, what was expected, and what to do, if the write failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The rules that the record breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<Violation>>,
    /// With `precondition_failed`: the current record, if the token allows reading it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Any<Json>>,
}

/// The results of a batch.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct BatchReport {
    /// A result for each write, in their order.
    pub results: Vec<BatchResult>,
}

/// A batch whose items were validated: each is a write, or the result of one that is invalid.
type Checked = Vec<std::result::Result<Item, Box<BatchResult>>>;

/// Returns the response to a batch.
pub type ReplyTo = fn(&BatchReport) -> Result<Reply>;

/// Runs a batch, once for an idempotency key. `about` is the record type of items without a collection.
///
/// # Errors
/// [`Kind::InvalidBody`] for too many items, or none; [`Kind::InsufficientScope`]; with `is_atomic`,
/// [`Kind::InvalidRecord`] if a record is invalid and [`Kind::BatchFailed`] if a write fails, with `violations` by
/// position; any database error.
pub async fn run(
    store: &Store,
    catalogue: Catalogue,
    caller: &Identity,
    about: Option<&'static Schema>,
    is_atomic: bool,
    items: Vec<BatchItem>,
    key: Option<(IdempotencyKey, ReplyTo)>,
) -> Result<Once<BatchReport>> {
    let checked = check(catalogue, caller, about, items)?;
    if is_atomic {
        let invalid = checked.iter().enumerate();
        let invalid = invalid.filter_map(|(n, item)| Some((n, item.as_ref().err()?)));
        let violations: Vec<Violation> =
            invalid.flat_map(|(n, result)| placed(n, result)).take(MAX_LISTED).collect();
        if !violations.is_empty() {
            return Err(Error::record(violations));
        }
    }
    let writes: Vec<Item> = checked.iter().filter_map(|item| item.clone().ok()).collect();
    let invalid: Vec<Option<Box<BatchResult>>> =
        checked.into_iter().map(std::result::Result::err).collect();
    let identity = caller.clone();
    let schemas: Vec<&'static Schema> = writes.iter().map(|item| item.schema).collect();
    let report = move |outcomes: &[ItemOutcome]| -> Result<BatchReport> {
        let mut written = schemas.iter().zip(outcomes);
        let results = invalid.iter().map(|invalid| match invalid {
            Some(invalid) => Ok(BatchResult::clone(invalid)),
            None => match written.next() {
                Some((schema, outcome)) => result(&identity, schema, outcome),
                None => Err(Error::internal("a write without an outcome")),
            },
        });
        Ok(BatchReport { results: results.collect::<Result<_>>()? })
    };
    let report = Arc::new(report);
    let keyed = key.map(|(key, reply)| {
        let report = report.clone();
        Keyed {
            key,
            reply: Box::new(move |outcomes: &Vec<ItemOutcome>| reply(&report(outcomes)?).map(Some)),
        }
    });
    Ok(match store.write_batch(writes, is_atomic, keyed, timestamp_now()).await? {
        Once::Unkeyed(outcomes) if is_atomic && outcomes.iter().any(ItemOutcome::is_failure) => {
            return Err(failed(caller, &outcomes)?);
        }
        Once::Unkeyed(outcomes) => Once::Unkeyed(report(&outcomes)?),
        Once::Stored(reply) => Once::Stored(reply),
        Once::Replayed(reply) => Once::Replayed(reply),
    })
}

/// Validates the items.
fn check(
    catalogue: Catalogue,
    caller: &Identity,
    about: Option<&'static Schema>,
    items: Vec<BatchItem>,
) -> Result<Checked> {
    if items.is_empty() || items.len() > MAX_ITEMS {
        let found = items.len();
        let detail = format!("operations: expected 1 to {MAX_ITEMS} operations, found {found}");
        return Err(Error::new(Kind::InvalidBody, detail));
    }
    let mut checked = Vec::with_capacity(items.len());
    for (position, item) in items.into_iter().enumerate() {
        let schema = match (&item.collection, about) {
            (None, Some(about)) => about,
            (Some(name), Some(about)) if name == about.collection => about,
            (Some(name), None) => catalogue.find(name).ok_or_else(|| {
                let known = catalogue.schemas().iter().map(|schema| schema.collection);
                let help = did_you_mean(name, known);
                let detail = format!("/operations/{position}: unknown collection {name:?}; {help}");
                Error::new(Kind::InvalidBody, detail)
            })?,
            (found, _) => {
                let expected = about.map_or("the name of a collection", |about| about.collection);
                let found = found.as_ref().map_or("none".to_owned(), |name| format!("{name:?}"));
                let detail = format!(
                    "/operations/{position}/collection: expected {expected}, found {found}"
                );
                return Err(Error::new(Kind::InvalidBody, detail));
            }
        };
        caller.require(Access::Write, schema)?;
        checked.push(item.read(schema));
    }
    Ok(checked)
}

impl BatchItem {
    /// Validates the item.
    fn read(self, schema: &'static Schema) -> std::result::Result<Item, Box<BatchResult>> {
        let Self { op, id, version, record, on_conflict, .. } = self;
        let misses = |member: &str, what: &str| {
            let violation =
                Violation::at(format!("/{member}"), format!("is missing; expected {what}"));
            invalid(id, vec![violation])
        };
        let unused = |member: &str| {
            let violation = Violation::at(
                format!("/{member}"),
                "has no meaning for this operation; leave it out",
            );
            invalid(id, vec![violation])
        };
        let in_record = |violations: Vec<Violation>| {
            let placed = violations.into_iter().map(|violation| Violation {
                pointer: format!("/record{}", violation.pointer),
                ..violation
            });
            invalid(id, placed.collect())
        };
        if op != BatchOperation::Create && on_conflict.is_some() {
            return Err(unused("on_conflict"));
        }
        if op == BatchOperation::Create {
            if id.is_some() || version.is_some() {
                return Err(unused(if id.is_some() { "id" } else { "version" }));
            }
            let record = record.ok_or_else(|| misses("record", "the fields of the record"))?;
            let draft = Draft::read(schema, record).map_err(in_record)?;
            let write = Write::Create(NewRecord::of(draft.row().clone()));
            let on_conflict = (on_conflict.unwrap_or_default(), draft.update());
            return Ok(Item { schema, write, on_conflict });
        }
        let id = id.ok_or_else(|| misses("id", "the id of the record"))?;
        let expected = match version {
            Some(version) => Expected::Versions(vec![version]),
            None if op == BatchOperation::Delete => Expected::Any,
            None => return Err(misses("version", "the version that you have read")),
        };
        let write = match (op, record) {
            (BatchOperation::Delete, None) => Write::Delete(id, expected),
            (BatchOperation::Delete, Some(_)) => return Err(unused("record")),
            (_, None) => return Err(misses("record", "the fields to set")),
            (BatchOperation::Replace, Some(record)) => {
                let draft = Draft::read(schema, record).map_err(in_record)?;
                Write::Update(id, draft.replacement(), expected)
            }
            (_, Some(record)) => {
                let patch = Patch::read(schema, record).map_err(in_record)?;
                Write::Update(id, patch.row().clone(), expected)
            }
        };
        Ok(Item { schema, write, on_conflict: (Conflict::Fail, Row::new()) })
    }
}

/// Returns the result of an invalid item.
fn invalid(id: Option<Uuid>, errors: Vec<Violation>) -> Box<BatchResult> {
    let error = Error::record(errors);
    let errors = Some(error.violations.clone());
    Box::new(BatchResult { errors, ..problem(id, &error) })
}

fn problem(id: Option<Uuid>, error: &Error) -> BatchResult {
    BatchResult {
        status: error.kind.status().into(),
        id,
        etag: None,
        code: Some(error.kind.code().to_owned()),
        detail: Some(error.detail.clone()),
        errors: None,
        current: None,
    }
}

/// Returns the errors of a result, with the position of its item.
fn placed(position: usize, result: &BatchResult) -> Vec<Violation> {
    let errors = result.errors.iter().flatten().map(|violation| Violation {
        pointer: format!("/operations/{position}{}", violation.pointer),
        ..violation.clone()
    });
    errors.collect()
}

fn result(
    caller: &Identity,
    schema: &'static Schema,
    outcome: &ItemOutcome,
) -> Result<BatchResult> {
    let done = |status: u16, record: &Record, has_tag: bool| BatchResult {
        status: status.into(),
        id: Some(record.id()),
        etag: has_tag.then(|| format!("\"{}\"", record.version())),
        code: None,
        detail: None,
        errors: None,
        current: None,
    };
    Ok(match outcome {
        ItemOutcome::Created(record) => done(201, record, true),
        ItemOutcome::Updated(record)
        | ItemOutcome::Unchanged(record)
        | ItemOutcome::Skipped(record) => done(200, record, true),
        ItemOutcome::Deleted(record) => done(204, record, false),
        ItemOutcome::Stale(record) => {
            let error = edit::stale(caller, record)?;
            let current = match error.there.as_deref() {
                Some(There::Current(record)) => Some(Any(record.clone())),
                _ => None,
            };
            BatchResult { current, ..problem(Some(record.id()), &error) }
        }
        ItemOutcome::Missing(id) => problem(Some(*id), &edit::missing(schema, *id)),
        ItemOutcome::Duplicate(holder) => {
            let error = Error::new(Kind::Duplicate, "a record with the same key already exists");
            problem(*holder, &edit::name_keys(schema, error))
        }
    })
}

/// Returns the error for a batch of which a write failed.
fn failed(caller: &Identity, outcomes: &[ItemOutcome]) -> Result<Error> {
    let mut violations = Vec::new();
    let failures = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_failure());
    for (position, outcome) in failures.take(MAX_LISTED) {
        let detail = match outcome {
            ItemOutcome::Duplicate(Some(id)) => {
                format!("duplicate: a record with the same key already exists, {id}")
            }
            ItemOutcome::Duplicate(None) => {
                "duplicate: a record with the same key already exists".to_owned()
            }
            ItemOutcome::Stale(record) => {
                format!("precondition_failed: {}", edit::stale(caller, record)?.detail)
            }
            _ => "not_found: no record has this id".to_owned(),
        };
        violations.push(Violation::at(format!("/operations/{position}"), detail));
    }
    let detail = "nothing was written, because a write failed; see `errors`";
    Ok(Error { violations, ..Error::new(Kind::BatchFailed, detail) })
}
