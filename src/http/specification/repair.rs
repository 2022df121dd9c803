//! Repairs of what poem-openapi generates incorrectly.

use serde_json::{Value, json};

/// Repairs the whole document.
pub(super) fn repair(document: &mut Value) {
    each(document, &mut |value| {
        unwrap_reference(value);
        name_date(value);
        write_whole_numbers(value);
    });
}

/// Calls `change` with each value of the document, outer values first.
fn each(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        Value::Object(object) => object.values_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

/// Replaces `allOf` of a reference and a description by the reference. The framework generates `allOf` for a
/// reference with a description, and client generators treat that as another type.
fn unwrap_reference(value: &mut Value) {
    let Some([reference, rest]) = value.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return;
    };
    let is_description =
        rest.as_object().is_some_and(|rest| rest.keys().all(|key| key == "description"));
    if reference.get("$ref").is_some() && is_description {
        *value = reference.clone();
    }
}

/// Replaces the format `naive-date` by the standard one, `date`.
fn name_date(value: &mut Value) {
    if value.get("format").is_some_and(|format| format == "naive-date") {
        value["format"] = json!("date");
    }
}

/// Writes limits of integers as integers. The framework generates `1.0`, which is an error in the generated code of
/// some languages.
fn write_whole_numbers(value: &mut Value) {
    for limit in ["minimum", "maximum"] {
        let number = value.get(limit).and_then(Value::as_f64);
        let whole = number.filter(|number| number.fract() == 0.0);
        if let Some(whole) = whole.and_then(|whole| format!("{whole:.0}").parse::<i64>().ok()) {
            value[limit] = json!(whole);
        }
    }
}
