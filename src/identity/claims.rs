//! The claims of tokens of another issuer. Issuers differ in their names and forms, so they are read from the JSON of the
//! token, and each error names its claim.

use serde_json::{Map, Value};

use super::Role;
use super::rejection::{Reason, rejected};
use crate::error::{self, Error};

/// The claim that has roles by default (RFC 9068, section 2.2.3.1).
const ROLES: &str = "roles";

/// The maximum length of the name of a claim, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// The maximum length of a `jti`, in bytes, because revocations store it.
const MAX_ID_BYTES: usize = 255;

/// The last second of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;
const MAX_FRACTIONAL_SECONDS: f64 = 253_402_300_799.0;

/// The maximum number of values of a claim in the log.
const MAX_LOGGED_VALUES: usize = 8;

/// The claim with the roles of a user, and what its values mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleClaim {
    name: String,
    /// The values and their roles. All other values are ignored.
    roles: Vec<(String, Role)>,
}

impl Default for RoleClaim {
    /// The claim `roles`, with the names of roles.
    fn default() -> Self {
        let roles = Role::ALL.iter().map(|role| (role.as_str().to_owned(), *role));
        Self { name: ROLES.to_owned(), roles: roles.collect() }
    }
}

impl RoleClaim {
    /// Parses the name of the claim, and its values with their roles: `catalogue-editors=editor,staff=viewer`. Without
    /// values, they are the names of the roles; with values, those are not accepted in addition.
    ///
    /// # Errors
    /// Fails if the name is empty or too long, or if a value has no role or several.
    pub fn new(name: Option<&str>, values: Option<&str>) -> Result<Self, String> {
        let usual = Self::default();
        let name = name.unwrap_or(ROLES);
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(format!(
                "--oidc-roles-claim: expected the name of a claim or a path such as realm_access.roles, of at most \
                 {MAX_NAME_BYTES} bytes"
            ));
        }
        let roles = match values {
            None => usual.roles,
            Some(values) => mapped(values).map_err(|error| format!("--oidc-roles: {error}"))?,
        };
        Ok(Self { name: name.to_owned(), roles })
    }

    /// Returns the roles that some values of the claim stand for.
    fn of<'a>(&'a self, values: &'a [String]) -> impl Iterator<Item = Role> + 'a {
        let known = self.roles.iter().filter(|(value, _)| values.contains(value));
        known.map(|(_, role)| *role)
    }
}

fn mapped(text: &str) -> Result<Vec<(String, Role)>, String> {
    let mut roles: Vec<(String, Role)> = Vec::new();
    for part in text.split(',') {
        let pair = part.rsplit_once('=').map(|(value, role)| (value.trim(), role.trim()));
        let Some((value, name)) = pair.filter(|(value, _)| !value.is_empty()) else {
            return Err(format!(
                "expected VALUE=ROLE such as catalogue-editors=editor, found {part:?}; values with commas are not \
                 supported"
            ));
        };
        let role = Role::of(name).ok_or_else(|| {
            format!("unknown role {name:?} for {value:?}; expected viewer, editor or admin")
        })?;
        if roles.iter().any(|(other, _)| other == value) {
            return Err(format!("{value:?} appears twice; keep its highest role"));
        }
        roles.push((value.to_owned(), role));
    }
    Ok(roles)
}

/// The claims that the service reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) subject: String,
    /// Seconds since 1970, as all times.
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) not_before: Option<i64>,
    pub(super) token_id: Option<String>,
    /// The scopes of `scope` and `scp`, also of other services.
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<Role>,
    /// Which values the claim with roles has; `None` if the token has no such claim.
    found: Option<Vec<String>>,
}

impl Claims {
    /// Reads the claims of a token with a valid signature.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`] if a required claim is missing, or if one is not of its type.
    pub(super) fn of(claims: &Map<String, Value>, of_roles: &RoleClaim) -> error::Result<Self> {
        let text = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(unexpected(name, "a string", other)),
        };
        let required = |name: &str| text(name)?.ok_or_else(|| missing(name));
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => seconds(value)
                .map(Some)
                .ok_or_else(|| unexpected(name, "a number of seconds from 1970 to 9999", value)),
        };
        // The library has checked its value. It also accepts a list.
        required("iss")?;
        let token_id = text("jti")?;
        if token_id.as_deref().is_some_and(|id| !is_id(id)) {
            let detail = "the jti of the token is empty, too long or has control characters";
            return Err(rejected(Reason::Claim, detail));
        }
        let mut scopes = Vec::new();
        // Separated by spaces (RFC 8693, section 4.2), under this name and that of some issuers.
        for name in ["scope", "scp"] {
            let values = values(name, claims.get(name))?.unwrap_or_default();
            let words = values.iter().flat_map(|value| value.split_whitespace());
            scopes.extend(words.map(str::to_owned));
        }
        let found = values(&of_roles.name, find(claims, &of_roles.name))?;
        Ok(Self {
            subject: required("sub")?,
            issued_at: time("iat")?.ok_or_else(|| missing("iat"))?,
            expires_at: time("exp")?.ok_or_else(|| missing("exp"))?,
            not_before: time("nbf")?,
            token_id,
            scopes,
            roles: of_roles.of(found.as_deref().unwrap_or_default()).collect(),
            found,
        })
    }

    /// Returns why the token grants nothing, for the log.
    pub(super) fn explain(&self, of_roles: &RoleClaim) -> String {
        let name = &of_roles.name;
        let roles = match &self.found {
            None => format!("it has no claim {name} with roles"),
            Some(values) => {
                let some: Vec<&str> =
                    values.iter().take(MAX_LOGGED_VALUES).map(String::as_str).collect();
                format!("no value of its claim {name} is mapped to a role: {}", some.join(", "))
            }
        };
        format!("the token has no scope of this service in scope or scp, and {roles}")
    }
}

fn missing(name: &str) -> Error {
    rejected(Reason::Claim, format!("the token has no {name}"))
}

fn unexpected(name: &str, expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    let detail = format!("the claim {name} of the token must be {expected}, found {found}");
    rejected(Reason::Claim, detail)
}

/// Returns the value of a claim: of the member with the whole name or, if there is none, of the member at the path of names
/// that dots separate. Names can have dots themselves, such as `https://example.com/roles`.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        name.match_indices('.').find_map(|(at, _)| {
            let inner = claims.get(name.get(..at)?)?.as_object()?;
            find(inner, name.get(at + 1..)?)
        })
    })
}

/// Returns the values of a claim: the strings of a list, or the words of a string. `None` if it is absent.
fn values(name: &str, claim: Option<&Value>) -> error::Result<Option<Vec<String>>> {
    let expected = "a string or a list of strings";
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.split_whitespace().map(str::to_owned).collect())),
        Some(Value::Array(items)) => {
            let text = |item: &Value| match item {
                Value::String(text) => Ok(text.clone()),
                other => Err(unexpected(&format!("{name}[]"), "a string", other)),
            };
            items.iter().map(text).collect::<error::Result<_>>().map(Some)
        }
        Some(other) => Err(unexpected(name, expected, other)),
    }
}

/// Returns a `NumericDate` (RFC 7519, section 2) in whole seconds. Fractions are rounded down: a token then expires up to a
/// second early, and is revoked as if it were older. `None` unless it is between 1970 and 9999.
fn seconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    let whole = number.as_i64().filter(|seconds| (0..=MAX_SECONDS).contains(seconds));
    let is_whole = number.is_i64() || number.is_u64();
    let fractional = number.as_f64().filter(|_| !is_whole);
    let fractional = fractional.filter(|seconds| (0.0..=MAX_FRACTIONAL_SECONDS).contains(seconds));
    #[expect(clippy::cast_possible_truncation, reason = "the range fits")]
    whole.or(fractional.map(|seconds| seconds.floor() as i64))
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c .]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c.]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_claim_is_found_by_its_path(names in prop::collection::vec("[a-c.]{0,3}", 1..5)) {
            let nested = |inner: Value, name: &String| json!({ name.as_str(): inner });
            let claims = names.iter().rev().fold(json!("viewer"), nested);
            let claims = claims.as_object().cloned().unwrap_or_default();
            prop_assert_eq!(find(&claims, &names.join(".")), Some(&json!("viewer")));
        }

        #[test]
        fn any_claims_are_read_or_rejected(claims in any_json(), name in "[a-c.]{1,6}", times in any::<[f64; 3]>()) {
            let mut claims = claims.as_object().cloned().unwrap_or_default();
            let roles = RoleClaim { name, ..RoleClaim::default() };
            let _ = Claims::of(&claims, &roles);
            for (name, value) in ["iss", "sub"].into_iter().zip(["issuer", "anna"]) {
                claims.insert(name.to_owned(), json!(value));
            }
            for (name, value) in ["iat", "exp", "nbf"].into_iter().zip(times) {
                claims.insert(name.to_owned(), json!(value));
            }
            if let Ok(read) = Claims::of(&claims, &roles) {
                prop_assert!((0..=MAX_SECONDS).contains(&read.expires_at));
                prop_assert!(!read.explain(&roles).is_empty());
            }
        }

        #[test]
        fn whole_seconds_are_kept(number in any::<i64>(), near in -10_i64..MAX_SECONDS + 10) {
            for number in [number, near] {
                let expected = Some(number).filter(|number| (0..=MAX_SECONDS).contains(number));
                prop_assert_eq!(seconds(&json!(number)), expected);
            }
        }

        #[test]
        fn fractions_are_rounded_down(whole in 0..MAX_SECONDS, fraction in 0.001_f64..0.999) {
            let text = format!("{whole}{}", fraction.to_string().trim_start_matches('0'));
            let number: Value = serde_json::from_str(&text).unwrap_or_default();
            prop_assert_eq!(seconds(&number), Some(whole), "{}", text);
        }
    }

    #[test]
    fn absurd_times_are_rejected() {
        for text in [
            "-1",
            "-0.1",
            "1e300",
            "-1e300",
            "18446744073709551615",
            "253402300800",
            "\"1\"",
            "null",
            "[1]",
        ] {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            assert_eq!(seconds(&value), None, "{text}");
        }
        for (text, expected) in
            [("0", 0), ("0.0", 0), ("1e3", 1000), ("1.999", 1), ("253402300799", MAX_SECONDS)]
        {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            assert_eq!(seconds(&value), Some(expected), "{text}");
        }
    }
}
