//! What the service can do, free of transport: one file for each capability. Every function takes
//! the store, and the caller's identity to check the scope it needs.

pub mod classic;
pub mod cursor;
pub mod edit;
pub mod facets;
pub mod inspect;
pub mod saved;
pub mod search;
pub mod transfer;
pub mod users;
pub mod why;

use std::sync::Arc;

use crate::error::Result;
use crate::identity::{Credentials, Hasher, Identity, Issued, Provider, Tokens};
use crate::store::Store;

/// The service: what every request shares. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    provider: Box<dyn Provider>,
    tokens: Tokens,
    hasher: Hasher,
}

impl App {
    /// A service on a database, with a way to sign in.
    pub fn new(store: Store, provider: Box<dyn Provider>, tokens: Tokens, hasher: Hasher) -> Self {
        Self(Arc::new(Shared { store, provider, tokens, hasher }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What hashes the passwords of users.
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Signs in and issues a token.
    ///
    /// # Errors
    /// The provider's.
    pub async fn sign_in(&self, credentials: Credentials) -> Result<Issued> {
        let identity = self.0.provider.sign_in(credentials).await?;
        self.0.tokens.issue(&identity)
    }

    /// Who a token belongs to.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`].
    pub fn identify(&self, token: &str) -> Result<Identity> {
        self.0.tokens.verify(token)
    }
}
