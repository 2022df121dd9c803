//! Callers without a token, which may read the records of a public catalogue.

use super::{Access, Identity, Role};
use crate::query::Schema;

/// The subject of all callers without a token. No user has this name.
pub const ANONYMOUS: &str = "anonymous";

/// What callers without a token may read. It never has other scopes than those for reading records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous(Identity);

impl Anonymous {
    /// Parses `viewer`, for all collections, or some of its scopes, such as `movies:read`, separated by commas.
    ///
    /// # Errors
    /// Fails if the value is another role, or a scope that does not exist or allows more than reading.
    pub fn parse(text: &str, schemas: &[&'static Schema]) -> Result<Self, String> {
        let readable = Role::Viewer.scopes(schemas);
        let scopes = match text.trim() {
            role if role == Role::Viewer.as_str() => readable,
            list => list
                .split(',')
                .map(|scope| read_scope(scope.trim(), &readable))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self(Identity { subject: ANONYMOUS.to_owned(), scopes }))
    }

    /// Returns the identity of these callers.
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    /// Returns whether these callers may read the records of a type.
    pub fn reads(&self, schema: &Schema) -> bool {
        self.0.scopes.contains(&Access::Read.scope(schema))
    }
}

fn read_scope(scope: &str, readable: &[String]) -> Result<String, String> {
    let found = readable.iter().find(|known| *known == scope).cloned();
    found.ok_or_else(|| {
        format!(
            "expected {}, or some of its scopes: {}; found {scope:?}. Callers without a token can only read",
            Role::Viewer.as_str(),
            readable.join(", ")
        )
    })
}
