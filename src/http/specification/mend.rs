//! What the framework generates wrong, made right.

use serde_json::{Value, json};

/// Mends the whole document.
pub(super) fn mend(document: &mut Value) {
    each(document, &mut |value| {
        unwrap_reference(value);
        name_date(value);
        write_whole_numbers(value);
    });
}

/// Calls `change` with each value of the document, the inner ones last.
fn each(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        Value::Object(object) => object.values_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

/// A described reference is generated as `allOf` of the reference and its description, which
/// generators of clients take for another type.
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

/// The framework has a name of its own for the format of a date.
fn name_date(value: &mut Value) {
    if value.get("format").is_some_and(|format| format == "naive-date") {
        value["format"] = json!("date");
    }
}

/// Limits of integers are generated as `1.0`, which some clients' languages refuse in their code.
fn write_whole_numbers(value: &mut Value) {
    for limit in ["minimum", "maximum"] {
        let number = value.get(limit).and_then(Value::as_f64);
        let whole = number.filter(|number| number.fract() == 0.0);
        if let Some(whole) = whole.and_then(|whole| format!("{whole:.0}").parse::<i64>().ok()) {
            value[limit] = json!(whole);
        }
    }
}
