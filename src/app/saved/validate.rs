//! What a saved query may have.

use poem_openapi::types::Any;

use super::{SavedQueryDraft, built_in, checked};
use crate::app::position::PositionEncoding;
use crate::error::{Error, Kind, Result, Violation};
use crate::query::diagnostic::did_you_mean;
use crate::query::limits::{MAX_DIAGNOSTICS, MAX_PREDICATES, MAX_TEXT_BYTES};
use crate::query::{Argument, Schema, Value};
use crate::record::{Row, saved_queries};

/// The maximum length of a name, in characters.
const MAX_NAME: usize = 60;

/// The maximum length of a description of a query or a parameter, in characters.
const MAX_DESCRIPTION: usize = 500;

/// The maximum size of the parameters of a query, in bytes of JSON.
const MAX_PARAMETERS_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// Validates a draft and returns it as a row.
pub(super) fn row(
    schema: &'static Schema,
    draft: SavedQueryDraft,
    positions: PositionEncoding,
) -> Result<Row> {
    let mut violations = Vec::new();
    let mut reject = |member: &str, detail: String| {
        if violations.len() < MAX_DIAGNOSTICS {
            violations.push(Violation::at(format!("/{member}"), detail));
        }
    };
    let SavedQueryDraft { name, description, filter, order_by, parameters } = draft;
    let parameters = parameters.unwrap_or_default();
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() > MAX_NAME || !name.split('-').all(is_word) {
        let rule = "must be words of lower-case letters and digits, joined by `-`";
        reject("name", format!("{rule}, with at most {MAX_NAME} characters"));
    }
    if filter.is_none() && order_by.is_none() {
        reject("filter", "is missing; a query needs a filter or order_by".to_owned());
    }
    let descriptions = [("description".to_owned(), &description)].into_iter().chain(
        parameters.iter().enumerate().take(MAX_PREDICATES).map(|(position, parameter)| {
            (format!("parameters/{position}/description"), &parameter.description)
        }),
    );
    for (pointer, description) in descriptions {
        let Some(description) = description else { continue };
        if description.chars().any(char::is_control) {
            reject(&pointer, "must not contain control characters".to_owned());
        } else if !(1..=MAX_DESCRIPTION).contains(&description.chars().count()) {
            reject(&pointer, format!("must have 1 to {MAX_DESCRIPTION} characters"));
        }
    }
    let plan = match checked(filter.as_deref(), order_by.as_deref(), schema, positions) {
        Ok(plan) => plan,
        Err(diagnostics) => return Err(Error { violations, ..Error::query(diagnostics) }),
    };
    let count = plan.parameters.len();
    if parameters.len() > count {
        let found = parameters.len();
        reject("parameters", format!("has {found} items, but the filter has {count} parameters"));
        return Err(Error::record(violations));
    }
    for (position, saved) in parameters.iter().enumerate() {
        let pointer = |member: &str| format!("parameters/{position}/{member}");
        let used = &plan.parameters;
        let Some(parameter) = used.iter().find(|used| used.name == saved.name) else {
            let help = did_you_mean(&saved.name, used.iter().map(|used| used.name.as_str()));
            let name = &saved.name;
            reject(&pointer("name"), format!("{name:?} is not a parameter of the filter; {help}"));
            continue;
        };
        if parameters.iter().take(position).any(|earlier| earlier.name == saved.name) {
            reject(&pointer("name"), "is repeated".to_owned());
        }
        let ty = parameter.term.ty();
        if saved.ty.is_some_and(|saved| saved != ty) {
            reject(&pointer("type"), format!("must be {}, as the filter uses it", ty.as_str()));
        }
        if let Some(Any(default)) = &saved.default
            && let Err(fault) = parameter.read(&Argument::from(default.clone()))
        {
            reject(&pointer("default"), format!("is not {}: {}", ty.with_article(), fault.message));
        }
    }
    let parameters = serde_json::to_string(&parameters).map_err(Error::internal)?;
    if parameters.len() > MAX_PARAMETERS_BYTES {
        reject("parameters", format!("must have at most {MAX_PARAMETERS_BYTES} bytes of JSON"));
    }
    if !violations.is_empty() {
        return Err(Error::record(violations));
    }
    if built_in(schema).any(|query| query.name == name) {
        let detail = format!("{name:?} is a built-in query: choose another name");
        return Err(Error::new(Kind::Duplicate, detail));
    }
    let collection = Some(schema.collection.to_owned());
    let texts = [collection, Some(name), description, filter, order_by, Some(parameters)];
    // The texts are not normalised to NFC like those of records: diagnostics count their bytes, and they are never
    // compared.
    let values = texts.map(|text| text.map(Value::Text));
    Ok(saved_queries().writable().zip(values).collect())
}
