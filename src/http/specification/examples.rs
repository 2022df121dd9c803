//! Examples: Swagger UI fills its forms with them, and readers copy them.

use serde_json::{Map, Value, json};

use crate::query::{Field, Schema, Type};

/// The password in examples.
const PASSWORD: &str = "correct horse battery staple";

/// The password that replaces it.
const NEW_PASSWORD: &str = "another horse battery staple";

/// Adds examples to the parameters of an operation.
pub(super) fn of_parameters(operation: &mut Value, about: &'static Schema) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if name == "filter" && id != "completeQuery" {
            parameter["examples"] = filters(about);
        } else if let Some(example) = of_parameter(&id, name, about) {
            parameter["example"] = example;
        }
    }
}

/// Returns an example for each search in the declaration of the record type.
fn filters(about: &Schema) -> Value {
    let examples = about.searches.iter().map(|search| {
        let mut example = json!({ "value": search.filter });
        if !search.description.is_empty() {
            example["summary"] = json!(search.description);
        }
        (search.name.to_owned(), example)
    });
    Value::Object(examples.collect())
}

/// Returns the example of a parameter, or `None` for parameters that should be empty in Swagger UI, which sends
/// every example in its forms.
fn of_parameter(operation: &str, name: &str, about: &Schema) -> Option<Value> {
    let is_about_users = operation.contains("User");
    Some(match (operation, name) {
        ("completeQuery", "filter") => json!(format!("{} = \"dr", first_text(about)?.name)),
        ("legacySearchMovies", "genre") => json!("drama"),
        ("legacySearchMovies", _) => return None,
        ("legacyListExpiredMovies", "from") => json!("2026-01-01"),
        ("legacyListExpiredMovies", "to") => json!("2026-12-31"),
        (_, "order_by") => json!(order(about)?),
        (_, "limit") => json!(20),
        // So a form of Swagger UI changes nothing until its user decides otherwise.
        (_, "dry_run") => json!(true),
        (_, "by") => json!(about.natural_key().last()?),
        (_, "interval") => match last_key(about)?.ty {
            Type::Integer => json!("decade"),
            Type::Date | Type::Timestamp => json!("month"),
            Type::Text | Type::Boolean | Type::Id => return None,
        },
        (_, "name") if is_about_users => json!("cataloguer"),
        (_, "name") => json!(query_name(about)),
        (_, "If-Match") => json!("\"1\""),
        (_, "collection") => json!(about.collection),
        // An import follows `Content-Type`, and is all-or-nothing unless its sender decides otherwise.
        (import, "on_conflict" | "format") if import.starts_with("import") => return None,
        (_, "format") => json!("ndjson"),
        _ => value(about.field(name)?),
    })
}

/// Returns the example of the request body of an operation.
pub(super) fn of_body(operation: &str, schema: &str, about: &Schema) -> Option<Value> {
    let field = first_field(about)?;
    let by_field = format!("{name} = ${name}", name = field.name);
    let given = json!({ field.name: value(field) });
    Some(match schema {
        "SearchRequest" => json!({
            "filter": by_field,
            "parameters": given,
            "order_by": order(about),
            "limit": 20,
        }),
        "RunRequest" => json!({ "limit": 20 }),
        "SavedQueryDraft" => query_draft(about),
        "TokenRequest" => json!({ "username": "cataloguer", "password": PASSWORD }),
        "RevocationForm" => json!({ "token": TOKEN }),
        "RevocationRequest" => json!({ "subject": "cataloguer" }),
        "UserDraft" => json!({ "name": "cataloguer", "password": PASSWORD, "role": "editor" }),
        "UserPatch" => json!({ "role": "viewer" }),
        "PasswordChange" => json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD }),
        "RestoreRequest" => json!({ "version": 1 }),
        "BatchRequest" => json!({
            "operations": [{ "op": "create", "on_conflict": "skip", "collection": about.collection, "record": draft(about) }]
        }),
        _ if operation.starts_with("import") => json!(format!("{}\n", draft(about))),
        _ if schema == format!("{}Draft", about.name) => draft(about),
        _ if schema == format!("{}Patch", about.name) => {
            let last = about.writable().last()?;
            json!({ last.name: value(last) })
        }
        _ => return None,
    })
}

/// Returns the example of a successful response.
pub(super) fn of_success(schema: &str, about: &Schema) -> Option<Value> {
    Some(match schema {
        "Token" => json!({
            "access_token": TOKEN,
            "token_type": "Bearer",
            "expires_in": 1800,
            "scope": format!("{0}:read {0}:write", about.collection),
        }),
        "CurrentUser" => json!({
            "subject": "cataloguer",
            "role": "viewer",
            "scopes": [format!("{}:read", about.collection)],
            "expires_at": "2026-01-31T12:30:00Z",
            "can_change_password": true,
        }),
        "SignInMethod" => json!({ "method": "password" }),
        "Health" => json!({ "status": "ok" }),
        "Readiness" => json!({ "status": "ok", "throttle": "local" }),
        "LegacyMovie" => draft(about),
        "MovieList" => json!({ "movies": [draft(about)] }),
        "User" => user(about),
        "UserPage" => json!({ "items": [user(about)] }),
        "SavedQuery" => query(about),
        "SavedQueryPage" => json!({ "items": [query(about)], "built_in": [] }),
        "ImportReport" => json!({
            "created": 1,
            "updated": 0,
            "skipped": 0,
            "rejected": 0,
            "errors": [],
            "ignored": [],
            "repeated": 0,
            "trimmed": 0,
            "problems": [],
            "existing": [],
            "columns": [],
        }),
        _ if schema == about.name => record(about),
        _ if schema == format!("{}Page", about.name) => {
            json!({ "items": [record(about)], "warnings": [] })
        }
        _ => return None,
    })
}

/// A token in examples: a header, one claim and a dummy signature.
const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJjaW5lcXVlcnkifQ.c2lnbmF0dXJl";

/// Adds examples to the properties of the schemas of a record type.
pub(super) fn of_properties(schema: &mut Value, about: &Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if let Some(field) = about.field(name) {
            property["example"] = value(field);
        }
    }
}

/// Returns the example of a field as JSON.
fn value(field: &Field) -> Value {
    match field.ty {
        // The text of the declaration: converting a timestamp would drop trailing zeros.
        Type::Date | Type::Timestamp if field.example_value().is_some() => json!(field.example),
        _ => (&field.sample()).into(),
    }
}

fn record(about: &Schema) -> Value {
    let fields = about.fields.iter().map(|field| (field.name.to_owned(), value(field)));
    Value::Object(fields.collect())
}

/// Adds the members of a stored object: its version, and when it was created and updated.
fn written(about: &Schema, members: Value) -> Value {
    let mut all = members;
    for name in ["version", "created_at", "updated_at"] {
        if let Some(field) = about.field(name) {
            all[name] = value(field);
        }
    }
    all
}

fn user(about: &Schema) -> Value {
    written(about, json!({ "name": "cataloguer", "role": "editor" }))
}

fn query(about: &Schema) -> Value {
    let mut query = written(about, query_draft(about));
    query["built_in"] = json!(false);
    query["valid"] = json!(true);
    query["diagnostics"] = json!([]);
    query
}

fn query_draft(about: &Schema) -> Value {
    let name = first_field(about).map_or("name", |field| field.name);
    json!({
        "name": query_name(about),
        "description": format!("{} of one {name}", about.collection),
        "filter": format!("{name} = ${name}"),
        "order_by": order(about),
        "parameters": [{ "name": name, "default": first_field(about).map(value) }],
    })
}

fn draft(about: &Schema) -> Value {
    let fields = about.writable().map(|field| (field.name.to_owned(), value(field)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Returns an order by the natural key: the last key first and descending, then the others.
fn order(about: &Schema) -> Option<String> {
    let mut keys = about.natural_key().iter().rev();
    let first = format!("{} desc", keys.next()?);
    let all = std::iter::once(first).chain(keys.map(|key| (*key).to_owned()));
    Some(all.collect::<Vec<_>>().join(", "))
}

fn query_name(about: &Schema) -> String {
    let name = first_field(about).map_or("name", |field| field.name);
    // Query names are words of lower-case letters and digits, joined by hyphens.
    let words = name.split('_').filter(|word| !word.is_empty());
    std::iter::once("by").chain(words).collect::<Vec<_>>().join("-")
}

/// Returns the field in example filters: the first writable text field, otherwise the first writable field.
fn first_field(about: &Schema) -> Option<&'static Field> {
    first_text(about).or_else(|| about.writable().next())
}

fn first_text(about: &Schema) -> Option<&'static Field> {
    about.writable().find(|field| field.ty == Type::Text)
}

fn last_key(about: &Schema) -> Option<&'static Field> {
    about.natural_key().last().and_then(|key| about.field(key))
}
