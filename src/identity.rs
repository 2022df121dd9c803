//! Who is calling, and what they may do.
//!
//! A [`Provider`] decides who somebody is; [`Tokens`] carry the answer from request to request, until
//! they expire or one of the [`Revocations`] ends them. To replace authentication, write another
//! provider.

mod name;
mod oidc;
mod open;
mod password;
mod revocation;
mod role;
mod secret;
mod token;

use futures_util::future::BoxFuture;

pub use self::name::name_problem;
pub use self::oidc::{Ages, Oidc, Trust};
pub use self::open::Open;
pub use self::password::{
    Hasher, MAX_PASSWORD_BYTES, MIN_PASSWORD, Passwords, password_problem, random_password,
};
pub use self::revocation::Revocations;
pub use self::role::{ADMIN_SCOPE, Role};
pub use self::secret::{MIN_SECRET_BYTES, Secrets};
pub use self::token::{Bearer, Issued, IssuedAt, MAX_TOKEN_BYTES, Tokens};
use crate::error::{Error, Kind, Result};
use crate::query::Schema;

/// What a caller shows to sign in.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password, where the provider asks for one.
    pub password: Option<String>,
}

/// Decides who somebody is.
pub trait Provider: Send + Sync {
    /// The identity behind the credentials, to be carried by a token of our own.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] when they are not accepted.
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>>;

    /// What a token says that somebody sends. A provider whose tokens come from elsewhere verifies
    /// them here; all others leave this to our own.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] when it is not accepted.
    fn verify<'a>(&'a self, token: &'a str, own: &'a Tokens) -> BoxFuture<'a, Result<Bearer>> {
        Box::pin(std::future::ready(own.verify(token)))
    }
}

/// Somebody, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub subject: String,
    /// Which scopes they hold, such as `movies:read`.
    pub scopes: Vec<String>,
}

/// What a request does with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads them.
    Read,
    /// It changes them.
    Write,
}

impl Access {
    /// The scope it needs on a type of record.
    pub fn scope(self, schema: &Schema) -> String {
        format!("{}{}", schema.collection, self.suffix())
    }

    /// What such scopes end with.
    fn suffix(self) -> &'static str {
        match self {
            Access::Read => ":read",
            Access::Write => ":write",
        }
    }
}

/// The scopes for reading and writing records of all these types.
pub fn record_scopes(schemas: &[&'static Schema]) -> Vec<String> {
    let both = |schema| [Access::Read, Access::Write].map(|access| access.scope(schema));
    schemas.iter().flat_map(|schema| both(schema)).collect()
}

impl Identity {
    /// Refuses a caller who does not hold the scope.
    ///
    /// # Errors
    /// [`Kind::InsufficientScope`].
    pub fn require(&self, access: Access, schema: &Schema) -> Result<()> {
        let scope = access.scope(schema);
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(missing_scope(&scope))
    }

    /// Refuses a caller who holds the scope for none of these types of record.
    ///
    /// # Errors
    /// [`Kind::InsufficientScope`].
    pub fn require_one(&self, access: Access, schemas: &[&'static Schema]) -> Result<()> {
        let mut refusals = schemas.iter().map(|schema| self.require(access, schema));
        match refusals.next() {
            Some(Err(refusal)) if refusals.all(|other| other.is_err()) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Refuses a caller who does not administer the service.
    ///
    /// # Errors
    /// [`Kind::InsufficientScope`].
    pub fn require_admin(&self) -> Result<()> {
        let is_admin = self.scopes.iter().any(|scope| scope == ADMIN_SCOPE);
        if is_admin { Ok(()) } else { Err(missing_scope(ADMIN_SCOPE)) }
    }
}

fn missing_scope(scope: &str) -> Error {
    let detail = format!("this needs a token with the scope {scope}");
    Error::new(Kind::InsufficientScope, detail)
}
