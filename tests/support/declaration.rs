//! Builds schemas for tests of migrations, and inserts rows as a service with such a schema would.

use cinequery::query::text::fold;
use cinequery::query::{Field, Schema, Type, Value};
use uuid::Uuid;

use super::Database;

/// Returns a required field without bounds.
pub fn field(name: &'static str, ty: Type) -> Field {
    Field {
        name,
        description: "A field.",
        ty,
        bounds: i64::MIN..=i64::MAX,
        nullable: false,
        default: None,
        writable: true,
        managed: false,
        searchable: ty == Type::Text,
        trigram: false,
        renamed_from: None,
        example: "",
    }
}

/// Returns a nullable field.
pub fn optional(name: &'static str, ty: Type) -> Field {
    Field { nullable: true, ..field(name, ty) }
}

/// Returns a required field with this default, whose type is that of the field.
pub fn with_default(name: &'static str, default: Value) -> Field {
    let ty = default.ty();
    Field { default: Some(default), ..field(name, ty) }
}

type Names = &'static [&'static [&'static str]];

/// Returns a record type with these fields and the managed ones.
pub fn declare(
    collection: &'static str,
    fields: Vec<Field>,
    unique: Names,
    indexes: Names,
) -> &'static Schema {
    let managed = |name, ty| Field { writable: false, managed: true, ..field(name, ty) };
    let fields: Vec<Field> = std::iter::once(managed("id", Type::Id))
        .chain(fields)
        .chain([
            managed("version", Type::Integer),
            managed("created_at", Type::Timestamp),
            managed("updated_at", Type::Timestamp),
        ])
        .collect();
    let names: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.name)).collect();
    Box::leak(Box::new(Schema {
        name: "Thing",
        collection,
        description: "A thing.",
        fields: fields.leak(),
        select_list: names.join(", ").leak(),
        unique,
        indexes,
        searches: &[],
        journal: true,
    }))
}

/// Values of a row by field, as SQL literals that both engines accept. Other fields are `NULL`.
pub type Row = &'static [(&'static str, &'static str)];

/// Inserts a row as a service with that declaration would, and returns its id.
///
/// # Errors
/// Returns the error of the database.
pub async fn insert(
    database: &Database,
    schema: &Schema,
    row: &[(&str, &str)],
) -> Result<Uuid, sqlx::Error> {
    let id = Uuid::now_v7();
    let is_sqlite = database.url().starts_with("sqlite");
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for field in schema.fields {
        let given = row.iter().find(|(name, _)| *name == field.name).map(|(_, value)| *value);
        let value = match (field.name, given) {
            (_, Some(value)) => value.to_owned(),
            ("id", _) if is_sqlite => format!("X'{}'", id.simple()),
            ("id", _) => format!("'{id}'"),
            ("version", _) => "1".to_owned(),
            ("created_at" | "updated_at", _) => format!("'{}'", now()),
            _ => "NULL".to_owned(),
        };
        if field.searchable {
            columns.push(format!("\"{}_folded\"", field.name));
            values.push(fold(&value));
        }
        columns.push(format!("\"{}\"", field.name));
        values.push(value);
    }
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        schema.collection,
        columns.join(", "),
        values.join(", ")
    );
    database.try_sql(&sql).await.map(|()| id)
}

/// Returns the current time in a format that both engines accept.
pub fn now() -> String {
    Value::Timestamp(cinequery::clock::timestamp_now()).to_string()
}
