//! Authentication and authorization.
//!
//! A [`Provider`] authenticates users. [`Tokens`] carry the identity from request to request until they expire or
//! are revoked ([`Revocations`]). To replace authentication, implement another provider.

mod anonymous;
mod claims;
mod name;
mod oidc;
mod open;
mod password;
mod refresh;
mod rejection;
mod revocation;
mod role;
mod secret;
mod token;

use futures_util::future::BoxFuture;

pub use self::anonymous::{ANONYMOUS, Anonymous};
pub use self::claims::RoleClaim;
pub use self::name::name_problem;
pub use self::oidc::{Ages, Oidc, PageClient, Trust};
pub use self::open::Open;
pub use self::password::{
    Hasher, MAX_PASSWORD_BYTES, MIN_PASSWORD, Passwords, password_problem, random_password,
};
pub use self::refresh::{RefreshClaims, is_refresh_token};
pub use self::rejection::{Reason, Rejection};
pub use self::revocation::Revocations;
pub use self::role::{ADMIN_SCOPE, Role};
pub use self::secret::{MIN_SECRET_BYTES, Secrets};
pub use self::token::{
    Bearer, Issued, IssuedAt, Leeway, MAX_LEEWAY_SECONDS, MAX_TOKEN_BYTES, Tokens,
};
use crate::error::{Error, Kind, Result};
use crate::query::Schema;
use crate::telemetry::account::Account;

/// The credentials of a sign-in.
#[derive(Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password, if the provider requires one.
    pub password: Option<String>,
}

/// Authenticates users and verifies tokens.
///
/// A provider that accepts one user, who may do everything:
///
/// ```
/// use cinequery::error::{Error, Kind, Result};
/// use cinequery::identity::{ADMIN_SCOPE, Credentials, Identity, Provider};
/// use futures_util::future::{BoxFuture, ready};
///
/// struct OnlyAnna;
///
/// impl Provider for OnlyAnna {
///     fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
///         let is_anna = credentials.username == "anna";
///         let anna = Identity { subject: "anna".to_owned(), scopes: vec![ADMIN_SCOPE.to_owned()] };
///         let unknown = || Error::new(Kind::Unauthenticated, "unknown user");
///         Box::pin(ready(is_anna.then_some(anna).ok_or_else(unknown)))
///     }
/// }
///
/// let credentials = Credentials { username: "anna".to_owned(), password: None };
/// let identity = futures_util::FutureExt::now_or_never(OnlyAnna.sign_in(credentials)).unwrap();
/// assert_eq!(identity.unwrap().subject, "anna");
/// ```
///
/// `examples/api_keys/` is a service with a provider of its own.
pub trait Provider: Send + Sync {
    /// Returns the identity of the credentials, for which the service then issues a token.
    ///
    /// # Errors
    /// Returns [`Kind::Unauthenticated`] if the credentials are wrong.
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>>;

    /// Looks up a user that has signed in before, with the present scopes. A session is renewed with them. The default,
    /// `None`, means that the provider has no sessions, so that its users get no refresh tokens.
    ///
    /// # Errors
    /// Returns [`Kind::Unauthenticated`] if the user is unknown or may not sign in any more.
    fn look_up<'a>(&'a self, _subject: &'a str) -> Option<BoxFuture<'a, Result<Identity>>> {
        None
    }

    /// Returns how users sign in. The default is a name and a password.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if that depends on another service, which cannot be reached.
    fn method(&self) -> BoxFuture<'_, Result<Method>> {
        Box::pin(std::future::ready(Ok(Method::Password)))
    }

    /// Returns whether the passwords are those of the users in the database, who can change them here. The default is
    /// `false`.
    fn keeps_passwords(&self) -> bool {
        false
    }

    /// Verifies a token and returns its claims. The default implementation verifies tokens of this service.
    /// Override it if another service issues the tokens.
    ///
    /// # Errors
    /// Returns [`Kind::TokenExpired`] if the token is genuine and has expired, and [`Kind::Unauthenticated`] for all
    /// others that are not accepted.
    fn verify<'a>(&'a self, token: &'a str, own: &'a Tokens) -> BoxFuture<'a, Result<Bearer>> {
        Box::pin(std::future::ready(own.verify(token)))
    }
}

/// How users sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// With any name.
    Open,
    /// With a name and a password.
    Password,
    /// At another service, which issues the tokens; `None` if pages of this service cannot start that.
    Elsewhere(Option<AuthorizationServer>),
}

/// Where a page obtains a token with an authorization code (RFC 6749, section 4.1) and PKCE (RFC 7636).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// The URL to which the page sends the user.
    pub authorization_endpoint: String,
    /// The URL at which the page exchanges the code for a token.
    pub token_endpoint: String,
    /// The id of the page at the issuer.
    pub client_id: String,
    /// The scopes to request, separated by spaces.
    pub scope: String,
}

/// An authenticated subject and its scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the subject.
    pub subject: String,
    /// The scopes of the subject, such as `movies:read`.
    pub scopes: Vec<String>,
}

/// The access of a request to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads records.
    Read,
    /// Changes records.
    Write,
}

impl Access {
    /// Returns the scope that this access to a record type requires.
    pub fn scope(self, schema: &Schema) -> String {
        format!("{}{}", schema.collection, self.suffix())
    }

    /// Returns the suffix of such scopes.
    fn suffix(self) -> &'static str {
        match self {
            Access::Read => ":read",
            Access::Write => ":write",
        }
    }
}

/// Returns the scopes for reading and writing records of these types.
pub fn record_scopes(schemas: &[&'static Schema]) -> Vec<String> {
    let both = |schema| [Access::Read, Access::Write].map(|access| access.scope(schema));
    schemas.iter().flat_map(|schema| both(schema)).collect()
}

impl Identity {
    /// Requires the scope for this access to a record type.
    ///
    /// # Errors
    /// Returns [`Kind::InsufficientScope`] if the scope is missing; without a token, [`Kind::Unauthenticated`].
    pub fn require(&self, access: Access, schema: &Schema) -> Result<()> {
        let scope = access.scope(schema);
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(self.missing(&scope))
    }

    /// Requires the scope for this access to at least one of these record types.
    ///
    /// # Errors
    /// Returns [`Kind::InsufficientScope`] if all of them are missing.
    pub fn require_one(&self, access: Access, schemas: &[&'static Schema]) -> Result<()> {
        let mut checks = schemas.iter().map(|schema| self.require(access, schema));
        match checks.next() {
            Some(Err(error)) if checks.all(|other| other.is_err()) => Err(error),
            _ => Ok(()),
        }
    }

    /// Requires the scope of administrators.
    ///
    /// # Errors
    /// Returns [`Kind::InsufficientScope`] if it is missing.
    pub fn require_admin(&self) -> Result<()> {
        let is_admin = self.scopes.iter().any(|scope| scope == ADMIN_SCOPE);
        if is_admin { Ok(()) } else { Err(self.missing(ADMIN_SCOPE)) }
    }

    /// Requires a token.
    ///
    /// # Errors
    /// Returns [`Kind::Unauthenticated`] if the caller has none.
    pub fn require_token(&self) -> Result<()> {
        let missing = || Error::new(Kind::Unauthenticated, "this request requires a token");
        if self.is_anonymous() { Err(missing()) } else { Ok(()) }
    }

    /// Returns whether the caller has no token.
    pub fn is_anonymous(&self) -> bool {
        self.subject == ANONYMOUS
    }

    fn missing(&self, scope: &str) -> Error {
        let kind = match self.is_anonymous() {
            // A token can help.
            true => Kind::Unauthenticated,
            false => Kind::InsufficientScope,
        };
        let account = Account::current();
        let reason = account.as_ref().and_then(|account| account.no_scopes());
        let cause = reason.map(|reason| Box::new(rejection::without_scopes(reason)) as _);
        let detail = format!("this request requires a token with the scope {scope}");
        Error { cause, ..Error::new(kind, detail) }
    }
}
