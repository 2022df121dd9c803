//! Roles, which are sets of scopes.

use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

use super::Access;
use crate::query::Schema;

/// The scope of administrators.
pub const ADMIN_SCOPE: &str = "admin";

/// The role of a user: a `viewer` reads records, an `editor` also changes them, an `admin` also administers the
/// service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads records.
    Viewer,
    /// Reads and changes records.
    Editor,
    /// Reads and changes records, and administers the service and its users.
    Admin,
}

impl Role {
    /// All roles, from the fewest to the most scopes.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    /// Returns the name of the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// Returns the role of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Returns the role for a set of scopes: one scope to write makes an editor.
    pub fn holding(scopes: &[String]) -> Self {
        let is_admin = scopes.iter().any(|scope| scope == ADMIN_SCOPE);
        let writes = scopes.iter().any(|scope| scope.ends_with(Access::Write.suffix()));
        match (is_admin, writes) {
            (true, _) => Self::Admin,
            (false, true) => Self::Editor,
            (false, false) => Self::Viewer,
        }
    }

    /// Returns the scopes of the role, on records of these types and for administration.
    pub fn scopes(self, schemas: &[&'static Schema]) -> Vec<String> {
        let access: &[Access] = match self {
            Self::Viewer => &[Access::Read],
            Self::Editor | Self::Admin => &[Access::Read, Access::Write],
        };
        let on =
            |schema: &&'static Schema| access.iter().map(|access| access.scope(schema)).collect();
        let mut scopes: Vec<String> =
            schemas.iter().flat_map(|schema| -> Vec<String> { on(schema) }).collect();
        if self == Self::Admin {
            scopes.push(ADMIN_SCOPE.to_owned());
        }
        scopes
    }
}
