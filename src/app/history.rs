//! The journal: the changes of records, earlier versions of a record, and restoring one.

use std::collections::BTreeMap;

use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::edit;
use super::search::limit as page_limit;
use super::selection::Selection;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, There, Violation};
use crate::identity::{Access, Identity};
use crate::query::diagnostic::did_you_mean;
use crate::query::evaluate::{Truth, evaluate};
use crate::query::{Argument, Schema, Value};
use crate::record::{Catalogue, Draft, Fields, Row};
use crate::store::{
    self, Changes, Expected, IdempotencyKey, Kept, Keyed, NewRecord, Once, Record, Reply, Store,
    Write, Written,
};

/// The maximum number of changes that a request with a filter examines.
const MAX_EXAMINED: usize = 2000;

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The record was created.
    Created,
    /// Fields of the record were changed, or it was restored to an earlier version.
    Updated,
    /// The record was deleted.
    Deleted,
    /// The record was restored after it had been deleted.
    Restored,
    /// The history of the record was erased.
    Erased,
}

impl ChangeKind {
    fn of(change: &store::Change) -> Self {
        match (&change.before, &change.after, change.version) {
            (None, Some(_), 1) => Self::Created,
            (None, Some(_), _) => Self::Restored,
            (Some(_), Some(_), _) => Self::Updated,
            (Some(_), None, _) => Self::Deleted,
            (None, None, _) => Self::Erased,
        }
    }
}

/// A version of a record, and what it changed.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Revision {
    /// The version that the change made. A deletion also makes one.
    pub version: i64,
    /// What the change did.
    pub kind: ChangeKind,
    /// When the record was changed, in UTC.
    pub changed_at: String,
    /// The user who changed it; `operator` at the command line.
    pub subject: String,
    /// The id of the request, as in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The fields whose values differ. Those that the service manages are left out.
    pub fields: Vec<FieldChange>,
}

/// The values of a field before and after a change.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct FieldChange {
    /// The name of the field. It may no longer be declared.
    pub field: String,
    /// The value before; null if the record was created.
    pub before: Any<Json>,
    /// The value after; null if the record was deleted.
    pub after: Any<Json>,
}

/// A page of the versions of a record, the latest first.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct HistoryPage {
    /// The versions.
    pub items: Vec<Revision>,
    /// The value of `before` for the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Change {
    /// The position in the journal. Changes that depend on each other are in the order of their positions.
    pub position: i64,
    /// The collection of the record.
    pub collection: String,
    /// The id of the record.
    pub id: Uuid,
    /// The version that the change made. A deletion also makes one.
    pub version: i64,
    /// What the change did.
    pub kind: ChangeKind,
    /// When the record was changed, in UTC.
    pub changed_at: String,
    /// The user who changed it; `operator` at the command line.
    pub subject: String,
    /// The id of the request, as in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The record before the change, with the fields of that time; null if it was created.
    pub before: Any<Json>,
    /// The record after the change, with the fields of that time; null if it was deleted.
    pub after: Any<Json>,
}

/// A page of changes, in the order of their positions.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct ChangePage {
    /// The changes.
    pub items: Vec<Change>,
    /// The value of `after` for the next page. It stays the same while there are no more changes.
    pub next_after: i64,
    /// Whether there are more changes already. With a filter, a page may be empty although there are.
    pub has_more: bool,
}

/// Which changes to list.
#[derive(Debug, Clone, Default)]
pub struct ChangesRequest {
    /// The collection; without one, all that the caller may read or, with a filter, the first.
    pub collection: Option<String>,
    /// The position after which the page starts; by default the beginning of the journal.
    pub after: Option<i64>,
    /// A filter on the record after the change, or before it if it was deleted.
    pub selection: Selection,
    /// The maximum number of changes.
    pub limit: Option<i64>,
}

/// Returns a page of the versions of a record, those before a version if one is given.
///
/// # Errors
/// [`Kind::NotFound`] if the journal has no version of the record; [`Kind::InsufficientScope`]; any database error.
pub async fn history(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
    before: Option<i64>,
    limit: Option<i64>,
) -> Result<HistoryPage> {
    caller.require(Access::Read, schema)?;
    require_journal(schema)?;
    let limit = page_limit(limit)?;
    let mut changes = store.changes(&Changes::OfRecord(schema, id, before), limit + 1).await?;
    if changes.is_empty() {
        let any = Changes::OfRecord(schema, id, None);
        if before.is_none() || store.changes(&any, 1).await?.is_empty() {
            edit::get(store, caller, schema, id).await?;
        }
    }
    let has_more = changes.len() > limit as usize;
    changes.truncate(limit as usize);
    let next_before = changes.last().filter(|_| has_more).map(|change| change.version);
    let items = changes.iter().map(|change| revision(schema, change)).collect::<Result<_>>()?;
    Ok(HistoryPage { items, next_before })
}

/// Returns a record as it was in a version.
///
/// # Errors
/// [`Kind::NotFound`] if the journal does not have the version; [`Kind::InsufficientScope`]; any database error.
pub async fn version(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
    version: i64,
) -> Result<Record> {
    caller.require(Access::Read, schema)?;
    // An earlier version can have what was removed from the record since.
    caller.require_token()?;
    match edit::get(store, caller, schema, id).await {
        Ok(record) if record.version() == version => return Ok(record),
        Err(error) if error.kind != Kind::NotFound => return Err(error),
        _ => {}
    }
    Ok(kept(store, schema, id, version).await?.record)
}

/// A restored record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restored {
    /// The record.
    pub record: Record,
    /// The fields of the earlier version that are no longer declared.
    pub left_out: Vec<String>,
}

/// Returns the response to a restored record.
pub type ReplyTo = fn(&Restored) -> Result<Reply>;

/// Restores a record to an earlier version, once for an idempotency key, also if it was deleted. Fields that the version
/// lacks keep their values, or get their defaults if the record was deleted.
///
/// # Errors
/// [`Kind::NotFound`] if the journal does not have the version; [`Kind::PreconditionFailed`] if the record has another
/// version than expected; [`Kind::Duplicate`]; [`Kind::InvalidRecord`] if the values break rules of the current
/// declaration; [`Kind::InsufficientScope`]; any database error.
pub async fn restore(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
    version: i64,
    expected: &Expected,
    key: Option<(IdempotencyKey, ReplyTo)>,
) -> Result<Once<Restored>> {
    caller.require(Access::Write, schema)?;
    // The response has values of earlier versions.
    caller.require(Access::Read, schema)?;
    let Kept { record: earlier, row, others: left_out } = kept(store, schema, id, version).await?;
    for _ in 0..MAX_ATTEMPTS {
        let keyed = key.clone().map(|(key, reply)| keyed(key, reply, left_out.clone()));
        let (row, write) = restoration(store, schema, &earlier, &row, expected).await?;
        match edit::written(store, schema, caller, &row, write, keyed).await {
            Ok(Once::Unkeyed(record)) => return Ok(Once::Unkeyed(Restored { record, left_out })),
            Ok(Once::Stored(reply)) => return Ok(Once::Stored(reply)),
            Ok(Once::Replayed(reply)) => return Ok(Once::Replayed(reply)),
            // Another request has restored it, or deleted a version that was restored.
            Err(error) if is_about_itself(&error, id) => {}
            Err(error) => return Err(error),
        }
    }
    let detail = "other requests keep restoring and deleting the record; retry".to_owned();
    Err(Error { detail, ..Error::unavailable("a record was restored concurrently") })
}

/// The maximum number of attempts to restore a record that other requests restore or delete at the same time.
const MAX_ATTEMPTS: usize = 5;

/// Returns whether a creation failed because the record itself exists, or its version did.
fn is_about_itself(error: &Error, id: Uuid) -> bool {
    match error.there.as_deref() {
        _ if error.kind == Kind::NotFound => true,
        _ if error.kind != Kind::Duplicate => false,
        Some(There::Other(_, other)) => *other == id,
        _ => true,
    }
}

fn keyed(key: IdempotencyKey, reply: ReplyTo, left_out: Vec<String>) -> Keyed<Written> {
    let reply = move |written: &Written| match written {
        Written::Done(record) | Written::Unchanged(record) => {
            reply(&Restored { record: record.clone(), left_out: left_out.clone() }).map(Some)
        }
        Written::Stale(_) | Written::Missing => Ok(None),
    };
    Keyed { key, reply: Box::new(reply) }
}

/// Returns the write that restores a record, and the values that it sets.
async fn restoration(
    store: &Store,
    schema: &'static Schema,
    earlier: &Record,
    row: &Row,
    expected: &Expected,
) -> Result<(Row, Write)> {
    let id = earlier.id();
    match edit::find(store, schema, id).await {
        Ok(_) => {
            let row = checked(schema, row.clone(), true)?;
            Ok((row.clone(), Write::Update(id, row, expected.clone())))
        }
        Err(error) if error.kind == Kind::NotFound => {
            if *expected != Expected::Any {
                let detail = "the record is deleted; restore it without If-Match";
                return Err(Error::new(Kind::PreconditionFailed, detail));
            }
            let row = checked(schema, row.clone(), false)?;
            let last = store.changes(&Changes::OfRecord(schema, id, None), 1).await?;
            let version = last.first().map_or(earlier.version(), |last| last.version) + 1;
            let created_at = match earlier.value("created_at") {
                Some(Value::Timestamp(created_at)) => Some(*created_at),
                _ => None,
            };
            let record = NewRecord { id, version, row: row.clone(), created_at };
            Ok((row, Write::Create(record)))
        }
        Err(error) => Err(error),
    }
}

/// Erases the history of a record. The erasure itself is noted.
///
/// # Errors
/// [`Kind::NotFound`] if the journal has no version of the record; [`Kind::InsufficientScope`] if the caller is not an
/// administrator; any database error.
pub async fn erase(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    id: Uuid,
) -> Result<()> {
    caller.require_admin()?;
    require_journal(schema)?;
    let erased = store.erase_history(schema, id, timestamp_now()).await?;
    erased.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("the journal has no version of the {} {id}", schema.name),
        )
    })
}

/// Returns a page of changes.
///
/// # Errors
/// [`Kind::InvalidParameter`] for an unknown collection or one without a journal; [`Kind::InvalidQuery`]; [`Kind::InsufficientScope`]; any database error.
pub async fn changes(
    store: &Store,
    catalogue: Catalogue,
    caller: &Identity,
    request: ChangesRequest,
) -> Result<ChangePage> {
    let ChangesRequest { collection, after, selection, limit } = request;
    let limit = page_limit(limit)? as usize;
    let schema = match &collection {
        None if !selection.is_everything() => catalogue.schemas().first().copied(),
        None => None,
        Some(name) => Some(catalogue.find(name).ok_or_else(|| {
            let known = catalogue.schemas().iter().map(|schema| schema.collection);
            let detail = format!("unknown collection {name:?}; {}", did_you_mean(name, known));
            Error::new(Kind::InvalidParameter, detail)
        })?),
    };
    let collections: Vec<&'static str> = match schema {
        Some(schema) => {
            caller.require(Access::Read, schema)?;
            if !schema.journal {
                let detail = format!("{} has no journal", schema.collection);
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            vec![schema.collection]
        }
        None => {
            let may_read = |schema: &&&'static Schema| caller.require(Access::Read, schema).is_ok();
            catalogue.schemas().iter().filter(may_read).map(|schema| schema.collection).collect()
        }
    };
    let query = match schema.filter(|_| !selection.is_everything()) {
        None => None,
        Some(schema) => {
            Some((schema, selection.bind(&selection.prepare(schema)?, timestamp_now())?))
        }
    };
    let mut next_after = after.unwrap_or(0);
    let (mut items, mut examined) = (Vec::new(), 0);
    let has_more = loop {
        let wanted = limit + 1 - items.len();
        let wanted = u32::try_from(wanted.max(if query.is_some() { 200 } else { 0 }));
        let which = Changes::After(next_after, &collections);
        let page = store.changes(&which, wanted.unwrap_or(1)).await?;
        if page.is_empty() {
            break false;
        }
        let mut is_full = false;
        for change in page {
            if items.len() == limit || examined == MAX_EXAMINED {
                is_full = true;
                break;
            }
            examined += 1;
            next_after = change.position;
            let matches = match &query {
                Some((schema, query)) => {
                    let state = change.after.as_ref().or(change.before.as_ref());
                    match state {
                        Some(json) => {
                            let kept = Kept::read(schema, change.id, change.version, json)?;
                            evaluate(query, &kept.record) == Truth::True
                        }
                        None => false,
                    }
                }
                None => true,
            };
            if matches {
                items.push(shown(catalogue, change)?);
            }
        }
        if is_full {
            break true;
        }
    };
    Ok(ChangePage { items, next_after, has_more })
}

/// Returns the record of an earlier version.
async fn kept(store: &Store, schema: &'static Schema, id: Uuid, version: i64) -> Result<Kept> {
    require_journal(schema)?;
    let not_kept = || {
        let detail = format!("the journal has no version {version} of the {} {id}", schema.name);
        Error::new(Kind::NotFound, detail)
    };
    // The version itself, or the next one, which has it as its `before`.
    let next = version.checked_add(2).ok_or_else(not_kept)?;
    let changes = store.changes(&Changes::OfRecord(schema, id, Some(next)), 2).await?;
    let is_deletion = |change: &store::Change| change.before.is_some() && change.after.is_none();
    if changes.iter().any(|change| change.version == version && is_deletion(change)) {
        let detail = format!("version {version} is the deletion of the {} {id}", schema.name);
        return Err(Error::new(Kind::NotFound, detail));
    }
    let json = changes.iter().find_map(|change| {
        if change.version == version {
            return change.after.as_ref();
        }
        change.before.as_ref().filter(|_| change.version == version + 1)
    });
    Kept::read(schema, id, version, json.ok_or_else(not_kept)?)
}

fn require_journal(schema: &Schema) -> Result<()> {
    if schema.journal {
        return Ok(());
    }
    let detail = format!("{} have no journal (`journal = false`)", schema.collection);
    Err(Error::new(Kind::NotFound, detail))
}

/// Validates the values of an earlier version against the current declaration.
fn checked(schema: &'static Schema, row: Row, exists: bool) -> Result<Row> {
    let fields: Fields<'_> = row
        .iter()
        .map(|(field, value)| {
            let argument = value.as_ref().map_or(Argument::NULL, |value| Json::from(value).into());
            (field.name.into(), argument)
        })
        .collect();
    let (read, _) = Draft::read_among_others(schema, fields, crate::record::Author::Operator);
    match read {
        Ok(draft) if !exists => Ok(draft.row().clone()),
        Ok(draft) => Ok(draft.update()),
        // The record has the fields that the version lacks.
        Err(violations) => {
            let is_kept = |violation: &Violation| {
                let name = violation.pointer.trim_start_matches('/');
                exists && !row.iter().any(|(field, _)| field.name == name)
            };
            let broken: Vec<Violation> =
                violations.into_iter().filter(|violation| !is_kept(violation)).collect();
            if broken.is_empty() { Ok(row) } else { Err(Error::record(broken)) }
        }
    }
}

fn timestamp(change: &store::Change) -> String {
    Value::Timestamp(change.changed_at).to_string()
}

/// Returns the JSON of a record with the values of declared fields in the format of the API.
fn members(schema: Option<&'static Schema>, json: &str) -> Result<BTreeMap<String, Json>> {
    let mut members: BTreeMap<String, Json> =
        serde_json::from_str(json).map_err(Error::internal)?;
    for (name, value) in &mut members {
        let field = schema.and_then(|schema| schema.field(name));
        if let Some(field) = field
            && let Ok(typed) = Argument::from(value.clone()).read(field.ty)
        {
            *value = Json::from(&typed);
        }
    }
    Ok(members)
}

fn revision(schema: &'static Schema, change: &store::Change) -> Result<Revision> {
    let side = |json: &Option<String>| match json {
        Some(json) => members(Some(schema), json),
        None => Ok(BTreeMap::new()),
    };
    let (mut before, after) = (side(&change.before)?, side(&change.after)?);
    let is_managed = |name: &str| schema.field(name).is_some_and(|field| field.managed);
    let mut fields = Vec::new();
    for (field, after) in after {
        let before = before.remove(&field).unwrap_or(Json::Null);
        if before != after && !is_managed(&field) {
            fields.push(FieldChange { field, before: Any(before), after: Any(after) });
        }
    }
    for (field, before) in before {
        if !before.is_null() && !is_managed(&field) {
            fields.push(FieldChange { field, before: Any(before), after: Any(Json::Null) });
        }
    }
    let place = |name: &str| schema.fields.iter().position(|field| field.name == name);
    fields.sort_by_key(|change| place(&change.field).unwrap_or(usize::MAX));
    Ok(Revision {
        version: change.version,
        kind: ChangeKind::of(change),
        changed_at: timestamp(change),
        subject: change.subject.clone(),
        request_id: change.request_id.clone(),
        fields,
    })
}

fn shown(catalogue: Catalogue, change: store::Change) -> Result<Change> {
    let schema = catalogue.find(&change.collection);
    let side = |json: &Option<String>| {
        let json = json.as_ref().map(|json| members(schema, json)).transpose()?;
        Ok::<_, Error>(Any(json.map_or(Json::Null, |members| members.into_iter().collect())))
    };
    Ok(Change {
        position: change.position,
        id: change.id,
        version: change.version,
        kind: ChangeKind::of(&change),
        changed_at: timestamp(&change),
        before: side(&change.before)?,
        after: side(&change.after)?,
        collection: change.collection,
        subject: change.subject,
        request_id: change.request_id,
    })
}
