//! What the service can do, free of transport: one file for each capability. Every function takes
//! the store, and the caller's identity to check the scope it needs.

pub mod cursor;
pub mod edit;
pub mod facets;
pub mod inspect;
pub mod legacy;
pub mod revoke;
pub mod saved;
pub mod search;
pub mod selection;
mod sign_in;
pub mod transfer;
pub mod usage;
pub mod users;
pub mod why;

use std::num::NonZeroU32;
use std::sync::Arc;

use self::usage::{Class, Ledger};
use crate::admission::{Admission, Decision, Policy};
use crate::error::{Error, Kind, Result};
use crate::identity::{Bearer, Hasher, Identity, Provider, Revocations, Role, Tokens};
use crate::record::Catalogue;
use crate::store::Store;

/// The service: what every request shares. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    catalogue: Catalogue,
    store: Store,
    provider: Box<dyn Provider>,
    tokens: Tokens,
    revocations: Revocations,
    hasher: Hasher,
    admission: Admission,
    ledger: Ledger,
}

impl App {
    /// A service of record types on a database, with a way to sign in, and limits.
    pub fn new(
        catalogue: Catalogue,
        store: Store,
        provider: Box<dyn Provider>,
        tokens: Tokens,
        hasher: Hasher,
        admission: Admission,
    ) -> Self {
        let revocations = Revocations::new(&store);
        let ledger = Ledger::default();
        let shared =
            Shared { catalogue, store, provider, tokens, revocations, hasher, admission, ledger };
        Self(Arc::new(shared))
    }

    /// The record types.
    pub fn catalogue(&self) -> Catalogue {
        self.0.catalogue
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The database for the requests of a subject, within its share.
    pub fn store_for(&self, identity: &Identity) -> Store {
        self.0.store.of_subject(&identity.subject)
    }

    /// What hashes the passwords of users.
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// How often somebody may come.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Adds what was counted to the database. It is a task of its own: whoever asks for it may go away.
    ///
    /// # Errors
    /// The database's; then nothing is lost.
    pub async fn flush_usage(&self) -> Result<()> {
        let app = self.clone();
        let flushed =
            tokio::spawn(async move { app.0.ledger.flush(&app.0.store.reserved()).await });
        flushed.await.map_err(Error::internal)?
    }

    /// Counts the request of somebody under the limit of their role, and says what became of it; nothing
    /// where there is no limit.
    pub async fn admit(&self, identity: &Identity, class: Class) -> Option<Decision> {
        let policy = Policy::from(Role::holding(&identity.scopes));
        let decision = self.0.admission.admit(policy, &identity.subject).await;
        let is_admitted = decision.is_none_or(|decision| decision.is_admitted);
        self.0.ledger.count(&identity.subject, class, is_admitted);
        decision
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

/// The refusal of a request that is one too many.
pub fn refused(decision: &Decision) -> Error {
    // Up to the next second: whoever comes then is admitted.
    let seconds = u32::try_from(decision.wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let seconds = NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN);
    let (requests, window) = (decision.limit.requests, decision.limit.window.as_secs());
    let detail = match decision.policy {
        Policy::FailedByAddress | Policy::FailedByName => {
            format!("signing in has failed too often; try again in {seconds} s")
        }
        _ => format!("{requests} requests in {window} s are used up; try again in {seconds} s"),
    };
    Error { retry_after: Some(seconds), ..Error::new(Kind::TooManyRequests, detail) }
}
