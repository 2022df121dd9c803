//! Writes of one record, with their entry in the journal. On PostgreSQL each is a single statement that returns the
//! written record.

use chrono::{DateTime, Utc};
use sea_query::{
    Alias, Asterisk, Expr, ExprTrait, Query as Sql, SelectStatement, Value as SqlValue,
};
use uuid::Uuid;

use super::idempotency::{Keyed, Once};
use super::journal::{
    Changed, Note, Origin, Writing, note_statement, note_values, noted, noted_creation,
};
use super::texts::{self, Form, Kind};
use super::transaction::{End, Failure, Transaction, Work};
use super::{Record, Store};
use crate::clock::timestamp_now;
use crate::error::{Error, Result};
use crate::query::compile::folded_column;
use crate::query::text::fold;
use crate::query::{Dialect, Field, Schema, Statement, Value};
use crate::record::{Draft, Row};
use crate::telemetry::audit::Audit;

/// Which version of a record a write expects to find (RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any version.
    Any,
    /// One of these.
    Versions(Vec<i64>),
}

impl Expected {
    /// Returns whether it allows a version.
    pub fn allows(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// A write of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Creates a record.
    Create(NewRecord),
    /// Sets fields of a record that has the expected version. A record that has these values stays as it is.
    Update(Uuid, Row, Expected),
    /// Deletes a record that has the expected version.
    Delete(Uuid, Expected),
}

/// The maximum number of attempts of a write of any version.
const MAX_ATTEMPTS: usize = 5;

impl Write {
    fn allows_any_version(&self) -> bool {
        matches!(self, Self::Update(.., Expected::Any) | Self::Delete(_, Expected::Any))
    }

    fn changed(&self) -> Changed {
        match self {
            Self::Create(_) => Changed::Created,
            Self::Update(..) => Changed::Updated,
            Self::Delete(..) => Changed::Deleted,
        }
    }

    /// Returns the id of the record.
    pub fn id(&self) -> Uuid {
        match self {
            Self::Create(record) => record.id,
            Self::Update(id, ..) | Self::Delete(id, _) => *id,
        }
    }
}

/// A record to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// Its id.
    pub id: Uuid,
    /// Its version: 1, or more if the record is restored.
    pub version: i64,
    /// The values of all fields of the declaration.
    pub row: Row,
    /// When it was created; `None` for now.
    pub created_at: Option<DateTime<Utc>>,
}

impl NewRecord {
    /// Returns a record with a new id.
    pub fn of(row: Row) -> Self {
        Self { id: Uuid::now_v7(), version: 1, row, created_at: None }
    }

    /// Returns the record as it is stored.
    pub(super) fn record(&self, schema: &'static Schema, now: DateTime<Utc>) -> Record {
        let times = [self.created_at.unwrap_or(now), now];
        Record::new(schema, (self.id, self.version), times, &self.row)
    }
}

/// The outcome of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The record as it is now, or as it was before its deletion.
    Done(Record),
    /// The record has these values already. It keeps its version.
    Unchanged(Record),
    /// The record has another version than expected. Nothing was written.
    Stale(Record),
    /// No record has this id.
    Missing,
}

impl Written {
    /// The outcome of a write that matched no record, of which `found` now has the id.
    fn nothing(write: &Write, found: Option<Record>) -> Self {
        let Some(record) = found else { return Self::Missing };
        match write {
            Write::Update(_, row, expected)
                if expected.allows(record.version())
                    && row
                        .iter()
                        .all(|(field, value)| record.value(field.name) == value.as_ref()) =>
            {
                Self::Unchanged(record)
            }
            _ => Self::Stale(record),
        }
    }
}

impl Store {
    /// Creates a record.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Duplicate`] if a unique key exists; any database error.
    pub async fn insert(&self, id: Uuid, draft: &Draft, now: DateTime<Utc>) -> Result<Record> {
        let record = NewRecord { id, ..NewRecord::of(draft.row().clone()) };
        match self.write_one(draft.schema(), Write::Create(record), now).await? {
            Written::Done(record) => Ok(record),
            _ => Err(Error::internal("the insert returned no row")),
        }
    }

    /// Sets fields of a record.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn update(
        &self,
        schema: &'static Schema,
        id: Uuid,
        row: &Row,
        expected: &Expected,
        now: DateTime<Utc>,
    ) -> Result<Written> {
        self.write_one(schema, Write::Update(id, row.clone(), expected.clone()), now).await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// Any database error.
    pub async fn delete(
        &self,
        schema: &'static Schema,
        id: Uuid,
        expected: &Expected,
    ) -> Result<Written> {
        self.write_one(schema, Write::Delete(id, expected.clone()), timestamp_now()).await
    }

    /// Returns the record with an id, if there is one.
    ///
    /// # Errors
    /// Any database error.
    pub async fn find(&self, schema: &'static Schema, id: Uuid) -> Result<Option<Record>> {
        let dialect = self.dialect();
        let form = Form::new(dialect, schema, &Row::new(), Kind::Find);
        let statement = texts::statement(form, vec![id.into()], || {
            Ok(dialect.build(&found(schema, id, &Expected::Any)).into())
        })?;
        Ok(self.fetch(schema, statement).await?.pop())
    }

    /// Returns the id of another record that has a unique key of these values, if there is one.
    ///
    /// # Errors
    /// Any database error.
    pub async fn holder(
        &self,
        schema: &'static Schema,
        row: &Row,
        own: Option<Uuid>,
    ) -> Result<Option<Uuid>> {
        for (_, statement) in holder_statements(schema, row, own, self.dialect()) {
            let found: Vec<(Uuid,)> = self.read(statement).await?;
            if let Some((id,)) = found.into_iter().next() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn write_one(
        &self,
        schema: &'static Schema,
        write: Write,
        now: DateTime<Utc>,
    ) -> Result<Written> {
        let dialect = self.dialect();
        if dialect == Dialect::Sqlite {
            let origin = self.origin.clone();
            return self.in_transaction(Single { schema, write, origin, now }).await;
        }
        if let Write::Create(new) = &write {
            let record = new.record(schema, now);
            let statement = creation(schema, new, &record, &self.origin, now, dialect)?;
            let _: Vec<(i64,)> = self.write(statement).await?;
            audit(&self.origin, Changed::Created, &record);
            return Ok(Written::Done(record));
        }
        let statement = statement(schema, &write, &self.origin, now, dialect)?;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(record) = self.write_record(schema, statement.clone()).await? {
                audit(&self.origin, write.changed(), &record);
                return Ok(Written::Done(record));
            }
            let select = found(schema, write.id(), &Expected::Any);
            let found = self.fetch(schema, dialect.build(&select).into()).await?.pop();
            match Written::nothing(&write, found) {
                // The record was created or changed after the write.
                Written::Stale(_) if write.allows_any_version() => {}
                written => return Ok(written),
            }
        }
        Err(Error::unavailable("other requests kept changing the record"))
    }
}

impl Store {
    /// Writes a record once for an idempotency key. The response is stored if the write succeeds.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`crate::error::Kind::IdempotencyKeyInUse`],
    /// [`crate::error::Kind::IdempotencyKeyReused`].
    pub async fn write_once(
        &self,
        schema: &'static Schema,
        write: Write,
        keyed: Keyed<Written>,
        now: DateTime<Utc>,
    ) -> Result<Once<Written>> {
        let origin = self.origin.clone();
        let work = Single { schema, write, origin, now };
        self.once(work, keyed, now).await
    }
}

/// One write in a transaction of its own.
struct Single {
    schema: &'static Schema,
    write: Write,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Work for Single {
    type Output = Written;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Written>, Failure> {
        let Self { schema, write, origin, now } = self;
        transaction.write(schema, write, origin, *now).await.map(End::Commit)
    }

    fn audit(&self, written: &Written) {
        if let Written::Done(record) = written {
            audit(&self.origin, self.write.changed(), record);
        }
    }
}

impl Transaction<'_> {
    /// Writes a record, as [`Store::write_one`] does.
    pub(super) async fn write(
        &mut self,
        schema: &'static Schema,
        write: &Write,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> std::result::Result<Written, Failure> {
        let dialect = self.dialect();
        let has_note = schema.journal && dialect == Dialect::Sqlite;
        if let Write::Create(new) = write {
            let record = new.record(schema, now);
            self.execute(creation(schema, new, &record, origin, now, dialect)?).await?;
            return Ok(Written::Done(record));
        }
        let before = match write {
            Write::Update(id, _, expected) if has_note => {
                let select = found(schema, *id, expected);
                self.records(schema, dialect.build(&select).into()).await?.pop()
            }
            _ => None,
        };
        let statement = statement(schema, write, origin, now, dialect)?;
        let Some(written) = self.records(schema, statement).await?.pop() else {
            let select = found(schema, write.id(), &Expected::Any);
            let found = self.records(schema, dialect.build(&select).into()).await?.pop();
            return Ok(Written::nothing(write, found));
        };
        if has_note {
            let note = match write {
                Write::Delete(..) => Note::of(Some(&written), None)?,
                _ => Note::of(before.as_ref(), Some(&written))?,
            };
            self.note(schema, vec![note], origin, now).await?;
        }
        Ok(Written::Done(written))
    }
}

/// Logs the write of a record: the record as it is now, or as it was before its deletion.
pub(super) fn audit(origin: &Origin, changed: Changed, record: &Record) {
    let version = record.version();
    let (action, from_version, to_version) = match changed {
        // A record that is restored has the versions of before its deletion.
        Changed::Created if version > 1 => ("restore", None, Some(version)),
        Changed::Created => ("create", None, Some(version)),
        Changed::Updated => ("update", Some(version - 1), Some(version)),
        Changed::Deleted => ("delete", Some(version), None),
    };
    let audit = origin.audit(action, record.schema());
    Audit { id: Some(record.id()), from_version, to_version, ..audit }.log();
}

/// Returns the statement of an update or a deletion. On PostgreSQL it also notes the change.
fn statement(
    schema: &'static Schema,
    write: &Write,
    origin: &Origin,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let is_noted = schema.journal && dialect == Dialect::Postgres;
    let id = || SqlValue::from(write.id());
    let versions = |expected: &Expected| match expected {
        Expected::Any => (None, Vec::new()),
        Expected::Versions(versions) => {
            let values = versions.iter().copied().map(SqlValue::from).collect();
            (Some(versions.len()), values)
        }
    };
    let (kind, row, mut values) = match write {
        Write::Create(_) => return Err(Error::internal("a creation is no change")),
        Write::Update(_, row, expected) => {
            let (count, versions) = versions(expected);
            let found = [id()].into_iter().chain(versions.clone()).filter(|_| is_noted);
            let set = columns(row, dialect).map(|(_, value)| value);
            let updated_at = dialect.value(&Value::Timestamp(now));
            let differing =
                row.iter().map(|(field, value)| plain_value(field, value.as_ref(), dialect));
            let values = found.chain(set).chain([updated_at, id()]).chain(differing);
            let values = values.chain(versions.into_iter().filter(|_| !is_noted));
            (Kind::Update(count), row.clone(), values.collect())
        }
        Write::Delete(_, expected) => {
            let (count, versions) = versions(expected);
            let values: Vec<SqlValue> = [id()].into_iter().chain(versions).collect();
            (Kind::Delete(count), Row::new(), values)
        }
    };
    if is_noted {
        values.extend(note_values(schema, origin, now, dialect));
    }
    let form = Form::new(dialect, schema, &row, kind);
    texts::statement(form, values, || build(schema, write, origin, now, dialect))
}

/// Builds the statement of an update or a deletion.
fn build(
    schema: &'static Schema,
    write: &Write,
    origin: &Origin,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let is_noted = schema.journal && dialect == Dialect::Postgres;
    let returning = || match is_noted {
        true => Sql::returning().expr(Expr::col((schema.collection, Asterisk))),
        false => Sql::returning().columns(schema.names()),
    };
    let mut old = None;
    let (changed, statement, write) = match write {
        Write::Create(_) => return Err(Error::internal("a creation is no change")),
        Write::Update(id, row, expected) => {
            let mut update = Sql::update();
            update.table(schema.collection).returning(returning());
            for (column, value) in columns(row, dialect) {
                update.value(column, value);
            }
            update
                .value("version", Expr::col((schema.collection, "version")).add(Expr::cust("1")))
                .value("updated_at", dialect.value(&Value::Timestamp(now)))
                .and_where(Expr::col((schema.collection, "id")).eq(*id))
                .and_where(differs(schema, row, dialect));
            if is_noted {
                // The lock makes the row the latest one, also if another transaction has just changed it.
                let mut locked = Sql::select();
                locked.column(Asterisk).from(schema.collection).and_where(Expr::col("id").eq(*id));
                locked.and_where_option(version_is(expected)).lock_exclusive();
                old = Some(locked);
                update
                    .from("old")
                    .and_where(Expr::col((schema.collection, "id")).equals(("old", "id")));
            } else {
                update.and_where_option(version_is(expected));
            }
            (Changed::Updated, dialect.build(&update), update.into())
        }
        Write::Delete(id, expected) => {
            let mut delete = Sql::delete();
            delete
                .from_table(schema.collection)
                .and_where(Expr::col("id").eq(*id))
                .and_where_option(version_is(expected))
                .returning(returning());
            (Changed::Deleted, dialect.build(&delete), delete.into())
        }
    };
    if !is_noted {
        return Ok(statement.into());
    }
    let mut result = Sql::select();
    result.columns(schema.names()).from("written");
    Ok(noted(schema, Writing { old, write, changed, result }, origin, now))
}

/// Builds a statement for each unique key that the values have: it selects the id of another record with the key. The
/// number is the position of the key; 0 is the natural key.
pub(super) fn holder_statements(
    schema: &'static Schema,
    row: &Row,
    own: Option<Uuid>,
    dialect: Dialect,
) -> impl Iterator<Item = (usize, Statement)> {
    schema.unique.iter().enumerate().filter_map(move |(position, key)| {
        let value = |name: &&str| row.iter().find(|(field, _)| field.name == *name)?.1.as_ref();
        // A key with a null is never taken.
        let values = key.iter().map(value).collect::<Option<Vec<&Value>>>()?;
        let mut select = Sql::select();
        select.column("id").from(schema.collection).limit(1);
        for (name, value) in key.iter().zip(values) {
            select.and_where(Expr::col(*name).eq(dialect.value(value)));
        }
        select.and_where_option(own.map(|own| Expr::col("id").ne(own)));
        Some((position, dialect.build(&select).into()))
    })
}

/// Selects a record if it has the expected version.
pub(super) fn found(schema: &'static Schema, id: Uuid, expected: &Expected) -> SelectStatement {
    let mut select = Sql::select();
    select
        .columns(schema.names())
        .from(schema.collection)
        .and_where(Expr::col("id").eq(id))
        .and_where_option(version_is(expected));
    select
}

/// The condition that a record has another value than the row in at least one field.
pub(super) fn differs(schema: &'static Schema, row: &Row, dialect: Dialect) -> Expr {
    let differs = row.iter().map(|(field, value)| {
        let value = plain_value(field, value.as_ref(), dialect);
        dialect.differs(Expr::col((schema.collection, field.name)), Expr::val(value))
    });
    differs.reduce(ExprTrait::or).unwrap_or_else(|| Expr::cust("FALSE"))
}

pub(super) fn version_is(expected: &Expected) -> Option<Expr> {
    match expected {
        Expected::Any => None,
        Expected::Versions(versions) if versions.is_empty() => Some(Expr::cust("FALSE")),
        Expected::Versions(versions) => Some(Expr::col("version").is_in(versions.iter().copied())),
    }
}

/// Returns the SQL that creates a record and notes that: one statement on PostgreSQL, two on SQLite. It returns no record,
/// because the record is known.
fn creation(
    schema: &'static Schema,
    new: &NewRecord,
    record: &Record,
    origin: &Origin,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<Statement> {
    let inserted = new_values(new, now, dialect).map(|(_, value)| value);
    let form = Form::new(dialect, schema, &new.row, Kind::Create);
    let build_insert = || insert_statement(schema, [new], now, dialect);
    if !schema.journal {
        return texts::statement(form, inserted.collect(), || {
            Ok(dialect.build(&build_insert()?).into())
        });
    }
    if dialect == Dialect::Sqlite {
        let note = Note::of(None, Some(record))?;
        let noted = note.clone().values(schema, origin, now, dialect);
        let values: Vec<SqlValue> = inserted.chain(noted).collect();
        return texts::statement(form, values, || {
            let insert: Statement = dialect.build(&build_insert()?).into();
            let note = note_statement(schema, vec![note], origin, now, dialect)?;
            let sql = format!("{}; {}", insert.sql, note.sql);
            let values = insert.values.into_iter().chain(note.values).collect();
            Ok(Statement { sql, values: sea_query::Values(values) })
        });
    }
    let json = serde_json::to_string(record).map_err(Error::internal)?;
    let [collection, subject, request_id, changed_at] = note_values(schema, origin, now, dialect);
    let noted = [collection, record.version().into(), json.as_str().into()];
    let noted = noted.into_iter().chain([subject, request_id, changed_at]);
    texts::statement(form, inserted.chain(noted).collect(), || {
        let mut insert = build_insert()?;
        insert.returning(Sql::returning().column("id"));
        Ok(noted_creation(schema, insert, record.version(), json.clone(), origin, now))
    })
}

/// Builds the statement that creates records, without a RETURNING clause. All rows must have the same fields.
pub(super) fn insert_statement<'a>(
    schema: &'static Schema,
    records: impl IntoIterator<Item = &'a NewRecord>,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> Result<sea_query::InsertStatement> {
    let mut insert = Sql::insert();
    insert.into_table(schema.collection);
    for record in records {
        let (names, values): (Vec<Alias>, Vec<SqlValue>) = new_values(record, now, dialect).unzip();
        let values = values.into_iter().map(Expr::from);
        insert.columns(names).values(values).map_err(Error::internal)?;
    }
    Ok(insert)
}

/// Returns the columns of a new record.
pub(super) fn new_values(
    record: &NewRecord,
    now: DateTime<Utc>,
    dialect: Dialect,
) -> impl Iterator<Item = (Alias, SqlValue)> + '_ {
    let managed = [
        ("id", Value::Id(record.id)),
        ("version", Value::Integer(record.version)),
        ("created_at", Value::Timestamp(record.created_at.unwrap_or(now))),
        ("updated_at", Value::Timestamp(now)),
    ]
    .map(|(name, value)| (Alias::new(name), dialect.value(&value)));
    managed.into_iter().chain(columns(&record.row, dialect))
}

/// Returns the columns for these values: one for each field, and a folded one for each searchable text.
pub(super) fn columns(row: &Row, dialect: Dialect) -> impl Iterator<Item = (Alias, SqlValue)> + '_ {
    row.iter().flat_map(move |(field, value)| {
        let plain = plain_value(field, value.as_ref(), dialect);
        let folded = field
            .searchable
            .then(|| (folded_column(field), folded_value(field, value.as_ref(), dialect)));
        std::iter::once((Alias::new(field.name), plain)).chain(folded)
    })
}

fn plain_value(field: &Field, value: Option<&Value>, dialect: Dialect) -> SqlValue {
    match value {
        Some(value) => dialect.value(value),
        None => dialect.null(field),
    }
}

fn folded_value(field: &Field, value: Option<&Value>, dialect: Dialect) -> SqlValue {
    match value {
        Some(Value::Text(text)) => SqlValue::from(fold(text)),
        _ => dialect.null(field),
    }
}
