//! The types of the filter language in the OpenAPI document.
//!
//! `query` does not depend on poem-openapi, so that the language can be used without the service. This module has
//! the schemas of its public types. The declarations list every variant and every member, so that an undocumented
//! addition to the language does not compile.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type as Documented};
use serde_json::{Value, json};

use crate::query::ast::{Direction, Offset, Unit};
use crate::query::complete::{Candidate, Kind};
use crate::query::diagnostic::Suggestion;
use crate::query::{Code, Diagnostic, Type};

/// Documents a type under a name. Its JSON is the one of serde.
macro_rules! documented {
    ($type:ident as $name:expr, |$registry:ident| $schema:expr) => {
        impl Documented for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Reference($name.to_owned())
            }

            fn register(registry: &mut Registry) {
                registry.create_schema::<Self, _>($name.to_owned(), |$registry| $schema);
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                serde_json::to_value(self).ok()
            }
        }

        impl ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
            }
        }
    };
}

/// Documents enums: type, name in the document, description, variants.
macro_rules! enums {
    ($($type:ident as $name:literal, $description:literal { $($variant:ident),+ })+) => {$(
        documented!($type as $name, |_registry| {
            // Fails to compile when a variant is missing.
            let _: fn($type) = |value| match value { $($type::$variant)|+ => {} };
            let mut schema = MetaSchema::new("string");
            schema.description = Some($description);
            schema.enum_items = vec![$(json!($type::$variant)),+];
            schema
        });
    )+};
}

/// Documents structs: name, description, and the type and description of each member.
macro_rules! objects {
    ($($type:ident, $description:literal { $($member:ident: $of:ty, $about:literal;)+ })+) => {$(
        documented!($type as (stringify!($type)), |registry| {
            // Fails to compile when a member is missing or has another type.
            let _: fn($type) -> ($($of,)+) = |$type { $($member),+ }| ($($member,)+);
            let mut schema = MetaSchema::new("object");
            schema.title = Some(stringify!($type).to_owned());
            schema.description = Some($description);
            $(
                <$of>::register(registry);
                let about = MetaSchema { description: Some($about), ..MetaSchema::ANY };
                schema.properties.push((stringify!($member), <$of>::schema_ref().merge(about)));
                if <$of>::IS_REQUIRED {
                    schema.required.push(stringify!($member));
                }
            )+
            schema
        });
    )+};
}

// `http/specification.rs` adds the codes: poem-openapi has no enums that clients must treat as extensible.
documented!(Code as "DiagnosticCode", |_registry| MetaSchema::new("string"));

enums! {
    Type as "FieldType", "A type of the filter language." {
        Text, Integer, Boolean, Date, Timestamp, Id
    }
    Kind as "CandidateKind", "The kind of a candidate." {
        Field, Operator, Keyword, Function, Value, Parameter
    }
    Unit as "CalendarUnit", "A unit of calendar time: days, weeks, months or years." {
        Day, Week, Month, Year
    }
    Direction as "Direction", "The direction of an order. Nulls come last in both directions." {
        Ascending, Descending
    }
}

objects! {
    Diagnostic, "An error in a query, or a warning about one. `start` and `end` count bytes of UTF-8, or the unit that the request has in `position_encoding`." {
        code: Code, "The stable code of the diagnostic.";
        parameter: String, "The text with the problem: `filter`, `order_by` or `p.NAME`.";
        message: String, "A sentence that describes the problem.";
        help: Option<String>, "A sentence that describes how to fix the problem.";
        line: i32, "The line of the start, counted from 1.";
        column: i32, "The character of the start in its line, counted from 1.";
        end_line: i32, "The line of the end, counted from 1.";
        end_column: i32, "The character after the end in its line, counted from 1.";
        start: i32, "The position of the start in the text, counted from 0.";
        end: i32, "The position after the end in the text.";
        suggestion: Option<Suggestion>, "A replacement that fixes the problem. Absent if there is no obvious fix.";
    }
    Suggestion, "A replacement in the text that fixes a problem. The service has verified that it does. Problems with
quotes, parentheses and operators of other languages may also need the suggestions of the other diagnostics, for
example the one for the second quote of a pair." {
        start: i32, "The position of the start of the replaced range, counted from 0.";
        end: i32, "The position after the replaced range. Equal to `start` if the text is only inserted.";
        text: String, "The replacement.";
    }
    Candidate, "A candidate for completion." {
        text: String, "The text to insert.";
        kind: Kind, "The kind of the candidate.";
        detail: Option<Type>, "The type of the field, the value, or the result of the function.";
    }
    Offset, "A distance in calendar time." {
        count: i32, "The number of units. Negative numbers go back in time.";
        unit: Unit, "The unit.";
    }
}
