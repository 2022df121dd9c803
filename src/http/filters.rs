//! The query parameter `filter`, which may be repeated, and the values of its `$parameters`.

use std::borrow::Cow;

use poem::Request;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type as Documented};

use crate::query::{Argument, Arguments};

/// The prefix of the query parameters with the values for the `$parameters` of a filter.
pub(super) const ARGUMENT_PREFIX: &str = "p.";

/// The format that marks a parameter that may be repeated. In the document it is a string and not an array, so that
/// generated clients take one filter, which can join conditions itself.
pub(super) const REPEATABLE: &str = "filter";

/// Filters that `and` joins, in the order of the request.
#[derive(Default)]
pub(super) struct Filters(pub(super) Vec<String>);

impl Filters {
    /// Returns the filters of an optional parameter.
    pub(super) fn of(parameter: Option<Self>) -> Vec<String> {
        parameter.unwrap_or_default().0
    }
}

impl Documented for Filters {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string_filter".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", REPEATABLE)))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for Filters {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(vec![value.to_owned()]))
    }

    fn parse_from_parameters<I: IntoIterator<Item = A>, A: AsRef<str>>(
        values: I,
    ) -> ParseResult<Self> {
        Ok(Self(values.into_iter().map(|value| value.as_ref().to_owned()).collect()))
    }
}

/// Returns the values for the `$parameters` of a filter: the query parameters named `p.NAME`.
pub(super) fn arguments(request: &Request) -> Arguments {
    let pairs: Vec<(String, String)> = request.params().unwrap_or_default();
    let arguments = pairs.into_iter().filter_map(|(name, value)| {
        Some((name.strip_prefix(ARGUMENT_PREFIX)?.to_owned(), Argument::Untyped(value)))
    });
    arguments.collect()
}
