//! What the service can do, free of transport: one file for each capability. Every function takes
//! the store, and the caller's identity to check the scope it needs.

pub mod classic;
pub mod cursor;
pub mod edit;
pub mod facets;
pub mod inspect;
pub mod revoke;
pub mod saved;
pub mod search;
pub mod transfer;
pub mod users;
pub mod why;

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::identity::{Bearer, Credentials, Hasher, Issued, Provider, Revocations, Tokens};
use crate::store::Store;

/// The service: what every request shares. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    provider: Box<dyn Provider>,
    tokens: Tokens,
    revocations: Revocations,
    hasher: Hasher,
}

impl App {
    /// A service on a database, with a way to sign in.
    pub fn new(store: Store, provider: Box<dyn Provider>, tokens: Tokens, hasher: Hasher) -> Self {
        let revocations = Revocations::new(store.clone());
        Self(Arc::new(Shared { store, provider, tokens, revocations, hasher }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What hashes the passwords of users.
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Signs in and issues a token: for all that the identity may do, or for those of these scopes that
    /// are among it.
    ///
    /// # Errors
    /// The provider's; [`Kind::InvalidScope`] when nothing is left; the database's.
    pub async fn sign_in(&self, credentials: Credentials, scopes: Option<&str>) -> Result<Issued> {
        let shared = &self.0;
        // First of all: what is revoked while the provider looks is revoked of this token as well.
        let revision = shared.store.revocation_revision().await?;
        let mut identity = shared.provider.sign_in(credentials).await?;
        if let Some(scopes) = scopes {
            let asked: Vec<&str> = scopes.split_ascii_whitespace().collect();
            identity.scopes.retain(|scope| asked.contains(&scope.as_str()));
            if identity.scopes.is_empty() {
                let detail = format!("none of the scopes {scopes:?} is granted");
                return Err(Error::new(Kind::InvalidScope, detail));
            }
        }
        shared.tokens.issue(&identity, revision)
    }

    /// What a token says that is accepted.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`]; the database's, when it cannot say what was revoked.
    pub async fn identify(&self, token: &str) -> Result<Bearer> {
        let bearer = self.0.provider.verify(token, &self.0.tokens).await?;
        self.0.revocations.check(&bearer).await?;
        Ok(bearer)
    }
}
