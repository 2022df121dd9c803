//! The types of the filter language in the OpenAPI document.
//!
//! `query` does not depend on poem-openapi, so that the language can be used without the service. Here
//! each of its types that clients see gets its schema. The declarations below list every variant and
//! every member: one that is added to the language does not compile until it is documented.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type as Documented};
use serde_json::{Value, json};

use crate::query::ast::{Direction, Offset, Unit};
use crate::query::complete::{Candidate, Kind};
use crate::query::diagnostic::Suggestion;
use crate::query::{Code, Diagnostic, Type};

/// Documents a type under a name. It is read and written as serde does.
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

/// Documents enums: the name in the document and the description of each, and its variants.
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

/// Documents structs: the description of each, and the types and descriptions of its members.
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

// The codes are listed by `http/specification.rs`: the list is an open one, which the framework cannot say.
documented!(Code as "DiagnosticCode", |_registry| MetaSchema::new("string"));

enums! {
    Type as "FieldType", "The types of the language." {
        Text, Integer, Boolean, Date, Timestamp, Id
    }
    Kind as "CandidateKind", "What kind of candidate it is." {
        Field, Operator, Keyword, Function, Value, Parameter
    }
    Unit as "CalendarUnit", "A unit of calendar time: days, weeks, months or years." {
        Day, Week, Month, Year
    }
    Direction as "Direction", "Which way an order runs. Nulls come last either way." {
        Ascending, Descending
    }
}

objects! {
    Diagnostic, "A problem with a query, or a warning about one, as clients see it." {
        code: Code, "A stable code to match on.";
        parameter: String, "Which text it is about: `filter`, `order_by` or `p.NAME`.";
        message: String, "One sentence on what was found.";
        help: Option<String>, "What to write instead.";
        line: i32, "The line it starts on, counted from 1.";
        column: i32, "The character of that line it starts on, counted from 1.";
        end_line: i32, "The line it ends on, counted from 1.";
        end_column: i32, "One past the last character of that line it covers, counted from 1.";
        start: i32, "The byte of the text it starts on, counted from 0.";
        end: i32, "One past the last byte of the text it covers.";
        suggestion: Option<Suggestion>, "A change of the text that mends it, where one is evident.";
    }
    Suggestion, "A change of the text a problem was found in. It has been tried: the text with it is free of the
problem. Quotes, parentheses and operators of other languages may need the changes of the other
problems with it, as the second of a pair does." {
        start: i32, "The first byte of the text to replace, counted from 0.";
        end: i32, "One past the last byte to replace; `start` when the text is only added.";
        text: String, "What to put there.";
    }
    Candidate, "What a text may go on with." {
        text: String, "What to write.";
        kind: Kind, "What kind of candidate it is.";
        detail: Option<Type>, "The type of a field, of a value, or of what a function gives.";
    }
    Offset, "A distance in calendar time." {
        count: i32, "How many units; negative is back.";
        unit: Unit, "Of what.";
    }
}
