//! Types of which the OpenAPI document has a schema for each record type: the placeholders `{Record}` and `{records}` in
//! names and texts become those of the record type.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as Documented;

use crate::record::{Draft, Patch};
use crate::store::Record;

/// Documents types under a name. The function registers what the schema refers to, and returns it.
macro_rules! forms {
    ($($form:ty => $name:literal, $schema:expr;)+) => {$(
        impl Documented for $form {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Reference($name.to_owned())
            }

            fn register(registry: &mut Registry) {
                let schema: fn(&mut Registry) -> MetaSchema = $schema;
                let schema = schema(registry);
                registry.create_schema::<Self, _>($name.to_owned(), |_| schema);
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

pub(super) use forms;

forms! {
    Record => "{Record}", |_| MetaSchema::new("object");
    Draft => "{Record}Draft", |_| MetaSchema::new("object");
    Patch => "{Record}Patch", |_| MetaSchema::new("object");
}

/// Returns a property with a description.
pub(super) fn described(schema: MetaSchema, description: &'static str) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema { description: Some(description), ..schema }))
}

/// Returns an array.
pub(super) fn array(items: MetaSchemaRef) -> MetaSchema {
    MetaSchema { items: Some(Box::new(items)), ..MetaSchema::new("array") }
}
