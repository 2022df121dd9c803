//! Records read from the database: as values where the service uses them, as JSON where it only passes them on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::row::{Cell, Columns};
use crate::query::plan::SortKey;
use crate::query::{Field, Schema, Value, evaluate};
use crate::record::Row;

/// Receives the rows of a statement. It is cleared before a statement is retried.
pub(super) trait Sink: Send {
    /// Returns the schema of the rows.
    fn schema(&self) -> &'static Schema;

    /// Discards all rows.
    fn clear(&mut self);

    /// Reads one row.
    ///
    /// # Errors
    /// Fails if the row does not match the schema.
    fn push(&mut self, row: &impl Columns) -> sqlx::Result<()>;
}

/// A record: a value, or null, for each field of its schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    schema: &'static Schema,
    id: Uuid,
    version: i64,
    /// In the order of the schema.
    values: Vec<Option<Value>>,
}

impl Record {
    fn read(schema: &'static Schema, row: &impl Columns) -> sqlx::Result<Self> {
        let cells = schema.fields.iter().enumerate();
        let values =
            cells.map(|(position, field)| Ok(row.cell(position, field.ty)?.map(Value::from)));
        let values: Vec<Option<Value>> = values.collect::<sqlx::Result<_>>()?;
        let (mut id, mut version) = (None, None);
        for (field, value) in schema.fields.iter().zip(&values) {
            match (field.name, value) {
                ("id", Some(Value::Id(value))) => id = Some(*value),
                ("version", Some(Value::Integer(value))) => version = Some(*value),
                _ => {}
            }
        }
        match (id, version) {
            (Some(id), Some(version)) => Ok(Self { schema, id, version, values }),
            _ => Err(sqlx::Error::Decode("a record without id or version".into())),
        }
    }

    /// Returns a record of these values. `times` are those of its creation and its last change.
    pub(super) fn new(
        schema: &'static Schema,
        (id, version): (Uuid, i64),
        [created_at, updated_at]: [DateTime<Utc>; 2],
        row: &Row,
    ) -> Self {
        let value = |field: &'static Field| match field.name {
            "id" => Some(Value::Id(id)),
            "version" => Some(Value::Integer(version)),
            "created_at" => Some(Value::Timestamp(created_at)),
            "updated_at" => Some(Value::Timestamp(updated_at)),
            _ => row.iter().find(|(own, _)| std::ptr::eq(*own, field))?.1.clone(),
        };
        let values = schema.fields.iter().map(value).collect();
        Self { schema, id, version, values }
    }

    /// Returns a record that the journal has. Fields that it lacks are null.
    pub(super) fn of(
        schema: &'static Schema,
        id: Uuid,
        version: i64,
        mut values: HashMap<&'static str, Value>,
    ) -> Self {
        values.insert("id", Value::Id(id));
        values.insert("version", Value::Integer(version));
        let values = schema.names().map(|name| values.remove(name)).collect();
        Self { schema, id, version, values }
    }

    /// Returns the record type.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Returns the id, a UUIDv7.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the version, which counts writes and is the ETag.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Returns the value of a field; `None` for null and for unknown fields.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.fields().find(|(known, _)| known.name == field)?.1
    }

    /// Returns the fields in the order of the schema, with their values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, Option<&Value>)> {
        self.schema.fields.iter().zip(self.values.iter().map(Option::as_ref))
    }

    /// Returns the values of the sort keys of an order; `None` for null.
    pub fn sort_keys(&self, order: &[SortKey]) -> Vec<Option<Value>> {
        order.iter().map(|key| self.value(key.field.name).cloned()).collect()
    }
}

impl evaluate::Fields for Record {
    fn field(&self, field: &Field) -> Option<Value> {
        self.value(field.name).cloned()
    }
}

/// Serializes the record as an object with a member for each field.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.values.len()))?;
        for (field, value) in self.fields() {
            object.serialize_entry(field.name, &value.map(Cell::from))?;
        }
        object.end()
    }
}

/// Records of one type.
pub(super) struct Records {
    schema: &'static Schema,
    pub(super) list: Vec<Record>,
}

impl Records {
    pub(super) fn of(schema: &'static Schema) -> Self {
        Self { schema, list: Vec::new() }
    }
}

impl Sink for Records {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn clear(&mut self) {
        self.list.clear();
    }

    fn push(&mut self, row: &impl Columns) -> sqlx::Result<()> {
        self.list.push(Record::read(self.schema, row)?);
        Ok(())
    }
}

/// Records as JSON objects in one buffer. Each row is written as it arrives, without intermediate values.
#[derive(Debug)]
pub struct Documents<'q> {
    schema: &'static Schema,
    order: &'q [SortKey],
    limit: usize,
    separator: u8,
    /// The fields to write, with their positions in the row.
    fields: Vec<(usize, &'static Field)>,
    json: Vec<u8>,
    count: usize,
    last: Option<Vec<Option<Value>>>,
}

impl<'q> Documents<'q> {
    /// Creates an empty buffer. It takes at most `limit` rows and writes `separator` between them.
    pub fn new(schema: &'static Schema, order: &'q [SortKey], limit: u32, separator: u8) -> Self {
        let limit = limit as usize;
        let fields = schema.fields.iter().enumerate().collect();
        Self { schema, order, limit, separator, fields, json: Vec::new(), count: 0, last: None }
    }

    /// Restricts the objects to these fields.
    #[must_use]
    pub fn with_fields(mut self, names: &[&str]) -> Self {
        self.fields.retain(|(_, field)| names.contains(&field.name));
        self
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.count.min(self.limit)
    }

    /// Returns whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether there were more rows than the limit.
    pub fn has_more(&self) -> bool {
        self.count > self.limit
    }

    /// Returns the values of the sort keys of the last record; `None` if there are fewer than `limit` records.
    pub fn last(&self) -> Option<&[Option<Value>]> {
        self.last.as_deref()
    }

    /// Returns the objects as JSON.
    pub fn into_json(self) -> Vec<u8> {
        self.json
    }

    fn write(&mut self, row: &impl Columns) -> sqlx::Result<()> {
        let mut before = b'{';
        for &(position, field) in &self.fields {
            self.json.push(before);
            before = b',';
            // Field names need no escaping: they consist of letters, digits and underscores.
            self.json.push(b'"');
            self.json.extend_from_slice(field.name.as_bytes());
            self.json.extend_from_slice(b"\":");
            match row.cell(position, field.ty)? {
                None => self.json.extend_from_slice(b"null"),
                Some(cell) => cell
                    .write_json(&mut self.json)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            }
        }
        self.json.push(b'}');
        Ok(())
    }
}

impl Sink for Documents<'_> {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn clear(&mut self) {
        self.json.clear();
        (self.count, self.last) = (0, None);
    }

    fn push(&mut self, row: &impl Columns) -> sqlx::Result<()> {
        self.count += 1;
        if self.count > self.limit {
            return Ok(());
        }
        if self.count > 1 {
            self.json.push(self.separator);
        }
        self.write(row)?;
        if self.count == self.limit {
            let position = |key: &SortKey| self.schema.fields.iter().position(|f| f == key.field);
            let keys = self.order.iter().map(|key| {
                let position = position(key).unwrap_or(self.schema.fields.len());
                Ok(row.cell(position, key.field.ty)?.map(Value::from))
            });
            self.last = Some(keys.collect::<sqlx::Result<_>>()?);
        }
        Ok(())
    }
}
