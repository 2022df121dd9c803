//! The journal: a row of `changes` for each change of a record, written with the change itself.
//!
//! PostgreSQL writes both in one statement, SQLite in one transaction. Changes are numbered by their positions. The
//! position of a change is greater than those of all changes that it depends on: it is taken when the record is locked,
//! and a transaction that waited for another's lock continues after that one has ended.
//!
//! Changes of concurrent transactions become visible in another order than their positions. A reader must not continue
//! after a position while a lesser one can still appear. So each transaction of PostgreSQL publishes, in the key of a
//! shared advisory lock, a position before all of its own (`turn`), and readers stop at the least of these. No
//! transaction waits for another one. A sequence and a snapshot alone could not tell: the position of a change that is
//! not yet visible is unknown. SQLite has one writer at a time.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sea_query::{
    CommonTableExpression, Expr, ExprTrait, InsertStatement, Order, Query as Sql, SelectStatement,
    SubQueryStatement, Value as SqlValue, WithClause,
};
use uuid::Uuid;

use super::transaction::{End, Failure, Transaction, Work};
use super::{Record, Store, plain};
use crate::error::{Error, Result};
use crate::query::{Argument, Dialect, Schema, Statement, Value};
use crate::record::Row;
use crate::telemetry::audit::Audit;

const TABLE: &str = "changes";

/// The columns of a change, without its position.
const COLUMNS: [&str; 8] =
    ["collection", "id", "version", "before", "after", "subject", "request_id", "changed_at"];

/// The maximum number of changes that one statement deletes.
const SWEPT: u64 = 1000;

/// Publishes a position before all that the transaction takes, until it ends. The key has 31 bits of the position, of
/// which readers know the others. A migration has taken the first position, so there is a last one.
const TURN: &str = "pg_advisory_xact_lock_shared(CAST(CAST('changes_position' AS regclass) AS oid)::int, \
                    (pg_sequence_last_value('changes_position') & 2147483647)::int)";

/// Who changes records, for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The subject of the token; `operator` at the command line.
    pub subject: Arc<str>,
    /// The id of the request.
    pub request_id: Option<Arc<str>>,
}

impl Origin {
    /// Returns a write of this origin, for the audit log.
    pub(super) fn audit(&self, action: &'static str, schema: &Schema) -> Audit<'_> {
        Audit {
            action,
            subject: &self.subject,
            request_id: self.request_id.as_deref(),
            collection: Some(schema.collection),
            ..Audit::default()
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { subject: Arc::from("operator"), request_id: None }
    }
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its position in the journal.
    pub position: i64,
    /// The collection of the record.
    pub collection: String,
    /// The id of the record.
    pub id: Uuid,
    /// The version that the change made. A deletion also makes one.
    pub version: i64,
    /// The record before, as JSON; `None` for a creation.
    pub before: Option<String>,
    /// The record after, as JSON; `None` for a deletion.
    pub after: Option<String>,
    /// Who changed it.
    pub subject: String,
    /// The id of the request.
    pub request_id: Option<String>,
    /// When it was changed.
    pub changed_at: DateTime<Utc>,
}

/// A record as the journal has it. Its record type may have changed since.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The record. A field that was declared later is null.
    pub record: Record,
    /// The values of the declared fields that the journal has, in the order of the schema.
    pub row: Row,
    /// The names of the fields that are no longer declared, or that have another type now.
    pub others: Vec<String>,
}

impl Kept {
    /// Reads the JSON of a record.
    ///
    /// # Errors
    /// Fails if it is not the JSON of a record, which only a change of the database by others can cause.
    pub fn read(schema: &'static Schema, id: Uuid, version: i64, json: &str) -> Result<Self> {
        let mut members: HashMap<String, Argument> =
            serde_json::from_str(json).map_err(Error::internal)?;
        let (mut values, mut row) = (HashMap::new(), Row::new());
        for field in schema.fields {
            let value = match members.get(field.name) {
                Some(argument) if *argument == Argument::NULL => None,
                Some(argument) => match argument.read(field.ty) {
                    Ok(value) => Some(value),
                    Err(_) => continue,
                },
                None => continue,
            };
            members.remove(field.name);
            values.extend(value.clone().map(|value| (field.name, value)));
            if !field.managed {
                row.push((field, value));
            }
        }
        let mut others: Vec<String> = members.into_keys().collect();
        others.sort_unstable();
        Ok(Self { record: Record::of(schema, id, version, values), row, others })
    }
}

/// How a statement changes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Created,
    Updated,
    Deleted,
}

/// A statement that writes records, for [`noted`].
pub(super) struct Writing {
    /// The select of the records before an update. It locks them.
    pub(super) old: Option<SelectStatement>,
    /// The statement. It returns all columns.
    pub(super) write: SubQueryStatement,
    pub(super) changed: Changed,
    /// The select from `written` that is the result.
    pub(super) result: SelectStatement,
}

/// Builds the statement of PostgreSQL that writes records and notes the changes.
pub(super) fn noted(
    schema: &'static Schema,
    writing: Writing,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Statement {
    let Writing { old, write, changed, result } = writing;
    let mut with = WithClause::new();
    let version = Expr::col(("written", "version"));
    let null = || Expr::cust("NULL");
    let (version, before, after) = match changed {
        Changed::Created => (version, null(), json("written", schema)),
        Changed::Updated => (version, json("old", schema), json("written", schema)),
        Changed::Deleted => (version.add(Expr::cust("1")), json("written", schema), null()),
    };
    let mut entry = Sql::select();
    // An expression of the row is computed after the rows of `turn`, so the position is taken after the lock.
    entry.from("turn").from("written");
    if let Some(old) = old {
        let table = CommonTableExpression::new().table_name("old").query(old).to_owned();
        with.cte(table);
        entry.left_join("old", Expr::col(("old", "id")).equals(("written", "id")));
    }
    let [collection, subject, request_id, changed_at] =
        note_values(schema, origin, now, Dialect::Postgres);
    let row = [
        Expr::val(collection),
        Expr::col(("written", "id")),
        version,
        before,
        after,
        Expr::val(subject),
        Expr::val(request_id),
        Expr::val(changed_at),
    ];
    entry.exprs(row);
    let mut insert = Sql::insert();
    insert.into_table(TABLE).columns(COLUMNS);
    // Cannot fail: there are as many expressions as columns.
    let _ = insert.select_from(entry);
    let mut turn = Sql::select();
    turn.expr(Expr::cust(TURN));
    let cte = |name: &'static str| CommonTableExpression::new().table_name(name).to_owned();
    with.cte(cte("written").query(write).to_owned());
    with.cte(cte("turn").query(turn).materialized(true).to_owned());
    with.cte(cte("noted").query(insert).to_owned());
    Dialect::Postgres.build(&with.query(result)).into()
}

/// Builds the statement of PostgreSQL that creates a record and notes that. It needs no JSON from the database, because
/// the record is known. `insert` returns the id.
pub(super) fn noted_creation(
    schema: &'static Schema,
    insert: InsertStatement,
    version: i64,
    record: String,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Statement {
    let mut turn = Sql::select();
    turn.expr(Expr::cust(TURN));
    let [collection, subject, request_id, changed_at] =
        note_values(schema, origin, now, Dialect::Postgres);
    let mut entry = Sql::select();
    // As above, the position is taken after the lock, and after the record is inserted.
    entry.from("turn").from("written");
    entry.exprs([
        Expr::val(collection),
        Expr::col(("written", "id")),
        Expr::val(version),
        Expr::cust("NULL"),
        Expr::val(record).cast_as("json"),
        Expr::val(subject),
        Expr::val(request_id),
        Expr::val(changed_at),
    ]);
    let mut note = Sql::insert();
    note.into_table(TABLE).columns(COLUMNS).returning(Sql::returning().column("position"));
    // Cannot fail: there are as many expressions as columns.
    let _ = note.select_from(entry);
    let cte = |name: &'static str| CommonTableExpression::new().table_name(name).to_owned();
    let mut with = WithClause::new();
    with.cte(cte("written").query(insert).to_owned());
    with.cte(cte("turn").query(turn).materialized(true).to_owned());
    Dialect::Postgres.build(&with.query(note)).into()
}

/// Returns the values of a note that do not depend on the record: the collection, the subject, the id of the request,
/// and the time.
pub(super) fn note_values(
    schema: &Schema,
    origin: &Origin,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> [SqlValue; 4] {
    [
        schema.collection.into(),
        (*origin.subject).into(),
        origin.request_id.as_deref().into(),
        dialect.value(&Value::Timestamp(now)),
    ]
}

/// Builds the JSON of the record in a row. Names of fields need no escaping.
fn json(table: &'static str, schema: &Schema) -> Expr {
    let columns = schema.names().map(|name| format!("{table}.\"{name}\""));
    let columns = columns.collect::<Vec<_>>().join(", ");
    Expr::cust(format!("(SELECT row_to_json(r) FROM (SELECT {columns}) AS r)"))
}

/// A change that is noted with a statement of its own.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) id: Uuid,
    pub(super) version: i64,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Note {
    /// Returns the note of a change from one record to another.
    ///
    /// # Errors
    /// Cannot fail in practice: a record is JSON.
    pub(super) fn of(before: Option<&Record>, after: Option<&Record>) -> Result<Self> {
        let json = |record: Option<&Record>| {
            record.map(serde_json::to_string).transpose().map_err(Error::internal)
        };
        let (id, version) = match (before, after) {
            (_, Some(after)) => (after.id(), after.version()),
            (Some(before), None) => (before.id(), before.version() + 1),
            (None, None) => return Err(Error::internal("a change without a record")),
        };
        Ok(Self { id, version, before: json(before)?, after: json(after)? })
    }

    /// Returns the values of the row, in the order of its columns.
    pub(super) fn values(
        self,
        schema: &Schema,
        origin: &Origin,
        now: DateTime<Utc>,
        dialect: Dialect,
    ) -> [SqlValue; 8] {
        let [collection, subject, request_id, changed_at] =
            note_values(schema, origin, now, dialect);
        let Self { id, version, before, after } = self;
        [
            collection,
            id.into(),
            version.into(),
            before.into(),
            after.into(),
            subject,
            request_id,
            changed_at,
        ]
    }
}

impl Transaction<'_> {
    /// Notes changes with a statement of its own.
    pub(super) async fn note(
        &mut self,
        schema: &Schema,
        notes: Vec<Note>,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> std::result::Result<(), Failure> {
        if notes.is_empty() {
            return Ok(());
        }
        let dialect = self.dialect();
        if dialect == Dialect::Postgres {
            self.execute(plain(&format!("SELECT {TURN}"))).await?;
        }
        self.execute(note_statement(schema, notes, origin, now, dialect)?).await?;
        Ok(())
    }
}

/// Builds the statement that notes changes.
pub(super) fn note_statement(
    schema: &Schema,
    notes: Vec<Note>,
    origin: &Origin,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let json = |json: SqlValue| match dialect {
        Dialect::Sqlite => Expr::val(json),
        Dialect::Postgres => Expr::val(json).cast_as("json"),
    };
    let mut insert = Sql::insert();
    insert.into_table(TABLE).columns(COLUMNS);
    for note in notes {
        let [collection, id, version, before, after, subject, request_id, changed_at] =
            note.values(schema, origin, now, dialect);
        let [before, after] = [before, after].map(json);
        let [collection, id, version] = [collection, id, version].map(Expr::val);
        let [subject, request_id, changed_at] = [subject, request_id, changed_at].map(Expr::val);
        insert
            .values([collection, id, version, before, after, subject, request_id, changed_at])
            .map_err(Error::internal)?;
    }
    Ok(dialect.build_rows(&insert).into())
}

/// Which changes to read.
#[derive(Debug, Clone)]
pub enum Changes<'a> {
    /// Those of a record of a collection, the latest first, before a version.
    OfRecord(&'a Schema, Uuid, Option<i64>),
    /// Those of collections, in the order of their positions, after a position.
    After(i64, &'a [&'static str]),
}

type Columns =
    (i64, String, Uuid, i64, Option<String>, Option<String>, String, Option<String>, DateTime<Utc>);

impl Store {
    /// Returns at most `limit` changes.
    ///
    /// A caller that continues after the position of the last one misses none: changes of transactions that may still
    /// get a lesser position are not returned.
    ///
    /// # Errors
    /// Any database error.
    pub async fn changes(&self, which: &Changes<'_>, limit: u32) -> Result<Vec<Change>> {
        let mut select = Sql::select();
        let text = |column: &'static str| Expr::col(column).cast_as("text");
        let columns = COLUMNS.map(|column| match column {
            "before" | "after" => text(column),
            _ => Expr::col(column),
        });
        select.column("position").exprs(columns).from(TABLE).limit(u64::from(limit));
        match which {
            Changes::OfRecord(schema, id, before) => select
                .and_where(Expr::col("id").eq(*id))
                .and_where(Expr::col("collection").eq(schema.collection))
                .and_where_option(before.map(|version| Expr::col("version").lt(version)))
                .order_by("version", Order::Desc)
                .order_by("position", Order::Desc),
            Changes::After(position, collections) => select
                .and_where(Expr::col("position").gt(*position))
                .and_where(Expr::col("position").lte(self.last_settled().await?))
                .and_where(Expr::col("collection").is_in(collections.iter().copied()))
                .order_by("position", Order::Asc),
        };
        let rows: Vec<Columns> = self.read(self.dialect().build(&select).into()).await?;
        let change = |(
            position,
            collection,
            id,
            version,
            before,
            after,
            subject,
            request_id,
            changed_at,
        )| {
            Change {
                position,
                collection,
                id,
                version,
                before,
                after,
                subject,
                request_id,
                changed_at,
            }
        };
        Ok(rows.into_iter().map(change).collect())
    }

    /// Returns the last position for which all lesser ones are settled: no change with a lesser position can still
    /// become visible.
    ///
    /// # Errors
    /// Any database error.
    pub async fn last_settled(&self) -> Result<i64> {
        if self.dialect() == Dialect::Sqlite {
            let last = "SELECT coalesce(max(position), 0) FROM changes";
            return self.count(plain(last)).await;
        }
        // The locks are read for a row of `counter`, so after the sequence: a transaction whose lock is not there
        // yet takes greater positions. The caller reads the changes with a later snapshot, because one that had its
        // lock may have ended since.
        let settled = "WITH counter AS MATERIALIZED (SELECT last_value FROM changes_position) \
             SELECT least(counter.last_value, running.least) \
             FROM counter CROSS JOIN LATERAL ( \
                 SELECT min(counter.last_value \
                     - ((counter.last_value - CAST(objid AS bigint)) & 2147483647)) AS least \
                 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 \
                     AND classid = CAST('changes_position' AS regclass) \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             ) AS running";
        self.count(plain(settled)).await
    }

    /// Deletes some of the changes that the journal no longer keeps ([`super::Bounds::journal`]), the oldest first.
    /// Returns whether there may be more of them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn sweep_changes(&self, now: DateTime<Utc>) -> Result<bool> {
        let kept = TimeDelta::from_std(self.shared.bounds.journal).unwrap_or(TimeDelta::MAX);
        let Some(moment) = now.checked_sub_signed(kept) else { return Ok(false) };
        let mut oldest = Sql::select();
        oldest.column("position").from(TABLE).order_by("position", Order::Asc).limit(SWEPT);
        let mut delete = Sql::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::col("position").in_subquery(oldest))
            .and_where(Expr::col("changed_at").lt(self.dialect().value(&Value::Timestamp(moment))))
            .returning(Sql::returning().column("position"));
        let deleted: Vec<(i64,)> = self.write(self.dialect().build(&delete).into()).await?;
        Ok(deleted.len() as u64 == SWEPT)
    }

    /// Replaces the history of a record by one entry without its content. Returns `None` if it has no history.
    ///
    /// # Errors
    /// Any database error.
    pub async fn erase_history(
        &self,
        schema: &'static Schema,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<()>> {
        self.in_transaction(Erasure { schema, id, origin: self.origin.clone(), now }).await
    }
}

struct Erasure {
    schema: &'static Schema,
    id: Uuid,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Work for Erasure {
    type Output = Option<()>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Self::Output>, Failure> {
        let dialect = transaction.dialect();
        let mut delete = Sql::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::col("id").eq(self.id))
            .and_where(Expr::col("collection").eq(self.schema.collection))
            .returning(Sql::returning().column("version"));
        let versions: Vec<(i64,)> = transaction.rows(dialect.build(&delete).into()).await?;
        let Some((version,)) = versions.into_iter().max() else { return Ok(End::RollBack(None)) };
        // Stored responses have the record too.
        let id = self.id.to_string();
        let mut replies = Sql::delete();
        replies
            .from_table("idempotency_keys")
            .and_where(dialect.contains(Expr::col("response"), &id));
        transaction.execute(dialect.build(&replies).into()).await?;
        let note = Note { id: self.id, version, before: None, after: None };
        transaction.note(self.schema, vec![note], &self.origin, self.now).await?;
        Ok(End::Commit(Some(())))
    }

    fn audit(&self, _erased: &Option<()>) {
        Audit { id: Some(self.id), ..self.origin.audit("erase", self.schema) }.log();
    }
}
