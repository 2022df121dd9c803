//! Security requirements and schemes: the scopes that each operation requires.

use serde_json::{Map, Value, json};

use crate::http::caller::needs;
use crate::identity::{ADMIN_SCOPE, Access, Anonymous};
use crate::query::Schema;

/// Returns the security requirements for the caller type of an operation: alternatives, each with a scope of OAuth
/// 2.0, and a plain bearer token for tools without OAuth 2.0. A public operation has an explicit empty list. One that is
/// open to callers without a token has the alternative `{}`, in which nothing is required.
pub(super) fn requirements(
    needs: Option<&str>,
    about: &Schema,
    schemas: &[&'static Schema],
    anonymous: Option<&Anonymous>,
) -> Value {
    let is_open = match (needs, anonymous) {
        (Some(needs::READ), Some(anonymous)) => anonymous.reads(about),
        (Some(needs::READ_SOME | needs::VISIT), Some(_)) => true,
        _ => false,
    };
    let scopes = |access: Access, schemas: &[&Schema]| -> Vec<Vec<String>> {
        schemas.iter().map(|schema| vec![access.scope(schema)]).collect()
    };
    let about = &[about];
    let alternatives = match needs {
        Some(needs::READ | needs::READ_WITH_TOKEN) => scopes(Access::Read, about),
        Some(needs::WRITE) => scopes(Access::Write, about),
        Some(needs::READ_AND_WRITE) => {
            let both = [Access::Read, Access::Write];
            vec![both.iter().flat_map(|access| scopes(*access, about)).flatten().collect()]
        }
        Some(needs::READ_SOME | needs::READ_SOME_WITH_TOKEN) => scopes(Access::Read, schemas),
        Some(needs::WRITE_SOME) => scopes(Access::Write, schemas),
        Some(needs::ADMIN) => vec![vec![ADMIN_SCOPE.to_owned()]],
        Some(_) => vec![Vec::new()],
        None => return json!([]),
    };
    let alternatives = alternatives.into_iter().map(|scopes| json!({ "oauth2": scopes }));
    let alternatives = alternatives.chain([json!({ "bearer": [] })]);
    alternatives.chain(is_open.then(|| json!({}))).collect()
}

/// Returns the security scheme of OAuth 2.0, with a name and a password.
pub(super) fn oauth2(schemas: &[&'static Schema]) -> Value {
    let of_records = schemas.iter().flat_map(|schema| {
        let scope = |access: Access, verb| {
            (access.scope(schema), json!(format!("{verb} {}", schema.collection)))
        };
        [scope(Access::Read, "Read"), scope(Access::Write, "Change")]
    });
    let admin = (ADMIN_SCOPE.to_owned(), json!("Administer users, tokens and usage"));
    let scopes: Map<String, Value> = of_records.chain([admin]).collect();
    let flow = json!({ "tokenUrl": "api/token", "scopes": scopes });
    json!({
        "type": "oauth2",
        "description": "Sign in with a name and a password. With `--auth open`, a name is sufficient.",
        "flows": { "password": flow, "clientCredentials": flow },
    })
}
