//! Records as they come out of the database: as values where something looks at them, as JSON where they only pass.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::row::{Cell, Columns};
use crate::query::plan::SortKey;
use crate::query::{Field, Schema, Value, evaluate};

/// What the rows of a statement are read into. A statement that is run again begins anew.
pub(super) trait Sink: Send {
    /// Forgets what was read.
    fn clear(&mut self);

    /// Reads one more row.
    ///
    /// # Errors
    /// A row that is not of the schema.
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

    /// Its record type.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Its id, a UUIDv7.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// How often it has been written; the ETag.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The value of a field; `None` for null, and for a field that its schema does not have.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.fields().find(|(known, _)| known.name == field)?.1
    }

    /// Its fields in the order of the schema, with their values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, Option<&Value>)> {
        self.schema.fields.iter().zip(self.values.iter().map(Option::as_ref))
    }

    /// The values by which an order places it, `None` for null.
    pub fn sort_keys(&self, order: &[SortKey]) -> Vec<Option<Value>> {
        order.iter().map(|key| self.value(key.field.name).cloned()).collect()
    }
}

impl evaluate::Fields for Record {
    fn field(&self, field: &Field) -> Option<Value> {
        self.value(field.name).cloned()
    }
}

/// As an object with a member for each field.
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
    fn clear(&mut self) {
        self.list.clear();
    }

    fn push(&mut self, row: &impl Columns) -> sqlx::Result<()> {
        self.list.push(Record::read(self.schema, row)?);
        Ok(())
    }
}

/// Records as JSON objects, one after the other: each row is written as it arrives, without values in between.
#[derive(Debug)]
pub struct Documents<'q> {
    schema: &'static Schema,
    order: &'q [SortKey],
    limit: usize,
    separator: u8,
    /// The fields that are written, with their positions.
    fields: Vec<(usize, &'static Field)>,
    json: Vec<u8>,
    count: usize,
    last: Option<Vec<Option<Value>>>,
}

impl<'q> Documents<'q> {
    /// None yet. Of the rows, at most `limit` are written, with the separator between two of them.
    pub fn new(schema: &'static Schema, order: &'q [SortKey], limit: u32, separator: u8) -> Self {
        let limit = limit as usize;
        let fields = schema.fields.iter().enumerate().collect();
        Self { schema, order, limit, separator, fields, json: Vec::new(), count: 0, last: None }
    }

    /// The same with these fields alone.
    #[must_use]
    pub fn with_fields(mut self, names: &[&str]) -> Self {
        self.fields.retain(|(_, field)| names.contains(&field.name));
        self
    }

    /// How many are written.
    pub fn len(&self) -> usize {
        self.count.min(self.limit)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there were rows past the limit.
    pub fn has_more(&self) -> bool {
        self.count > self.limit
    }

    /// The values by which the order places the last of as many as the limit allows; `None` when there are fewer.
    pub fn last(&self) -> Option<&[Option<Value>]> {
        self.last.as_deref()
    }

    /// The objects.
    pub fn into_json(self) -> Vec<u8> {
        self.json
    }

    fn write(&mut self, row: &impl Columns) -> sqlx::Result<()> {
        let mut begin = b'{';
        for &(position, field) in &self.fields {
            self.json.push(begin);
            begin = b',';
            // Names of fields are letters, digits and underscores.
            self.json.push(b'"');
            self.json.extend_from_slice(field.name.as_bytes());
            self.json.extend_from_slice(b"\":");
            match row.cell(position, field.ty)? {
                None => self.json.extend_from_slice(b"null"),
                Some(cell) => serde_json::to_writer(&mut self.json, &cell)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            }
        }
        self.json.push(b'}');
        Ok(())
    }
}

impl Sink for Documents<'_> {
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
