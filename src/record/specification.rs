//! A record's schema as OpenAPI schemas: of the record, of its draft and of its patch.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as Documented;

use super::{Draft, Patch, Record};
use crate::query::{Field, Schema, Type};

/// What a text may be, as a pattern that the regular expressions of most languages take: it holds no
/// control character.
pub const TEXT_PATTERN: &str = r"^[^\x00-\x1F\x7F-\x9F]*$";

/// In which form a record is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is read: all fields, all of them present.
    Record,
    /// As it is created or replaced: the writable fields.
    Draft,
    /// As it is changed: any of the writable fields.
    Patch,
}

/// The OpenAPI schema of a record in one of its forms.
pub fn describe(schema: &'static Schema, form: Form) -> MetaSchema {
    let fields = schema.fields.iter().filter(|field| form == Form::Record || field.writable);
    let is_required = |field: &&Field| match form {
        Form::Record => true,
        Form::Draft => !field.nullable,
        Form::Patch => false,
    };
    let mut object = MetaSchema::new("object");
    object.description = Some(schema.description);
    object.required = fields.clone().filter(is_required).map(|field| field.name).collect();
    object.properties = fields
        .map(|field| (field.name, MetaSchemaRef::Inline(Box::new(describe_field(field)))))
        .collect();
    object
}

fn describe_field(field: &'static Field) -> MetaSchema {
    let mut schema = match field.ty {
        Type::Text => MetaSchema::new("string"),
        Type::Integer if field.column_range() == (i64::MIN..=i64::MAX) => {
            MetaSchema::new_with_format("integer", "int64")
        }
        Type::Integer => MetaSchema::new_with_format("integer", "int32"),
        Type::Boolean => MetaSchema::new("boolean"),
        Type::Date => MetaSchema::new_with_format("string", "date"),
        Type::Timestamp => MetaSchema::new_with_format("string", "date-time"),
        Type::Id => MetaSchema::new_with_format("string", "uuid"),
    };
    schema.description = Some(field.description);
    schema.nullable = field.nullable;
    if field.ty == Type::Text {
        schema.pattern = Some(TEXT_PATTERN.to_owned());
    }
    if field.bounds != super::UNBOUNDED {
        let (low, high) = (*field.bounds.start(), *field.bounds.end());
        match field.ty {
            Type::Text => {
                schema.min_length = usize::try_from(low).ok();
                schema.max_length = usize::try_from(high).ok();
            }
            _ => {
                schema.minimum = i32::try_from(low).ok().map(f64::from);
                schema.maximum = i32::try_from(high).ok().map(f64::from);
            }
        }
    }
    schema
}

macro_rules! documented {
    ($($form:ident),+) => {$(
        impl<R: Record> Documented for $form<R> {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                format!("{}{}", R::SCHEMA.name, stringify!($form)).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Reference(Self::name().into_owned())
            }

            fn register(registry: &mut Registry) {
                registry.create_schema::<Self, _>(Self::name().into_owned(), |_| {
                    describe(R::SCHEMA, Form::$form)
                });
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    )+};
}

documented!(Draft, Patch);
