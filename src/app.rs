//! The capabilities of the service, independent of HTTP: one file each. Every function takes the store
//! and the identity of the caller, and checks the scope that it needs.

pub mod account;
pub mod batch;
pub mod bulk;
pub mod cursor;
pub mod edit;
pub mod facets;
pub mod history;
pub mod inspect;
pub mod legacy;
pub mod position;
pub mod revoke;
pub mod saved;
pub mod search;
pub mod selection;
pub mod session;
mod sign_in;
pub mod transfer;
pub mod usage;
pub mod users;
pub mod why;

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use self::usage::{Class, Ledger};
use crate::admission::{Admission, Decision, Policy, network_of};
use crate::error::{Error, Kind, Result};
use crate::identity::{
    Anonymous, Bearer, Hasher, Identity, Method, Provider, Revocations, Role, Tokens,
};
use crate::record::Catalogue;
use crate::store::Store;
use crate::telemetry::account::Account;
use crate::telemetry::log;
use crate::telemetry::metrics::METRICS;

/// The state that all requests share. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    catalogue: Catalogue,
    store: Store,
    provider: Box<dyn Provider>,
    /// What callers without a token may read, if the catalogue is public.
    anonymous: OnceLock<Anonymous>,
    tokens: Tokens,
    revocations: Revocations,
    hasher: Hasher,
    admission: Admission,
    ledger: Ledger,
}

impl App {
    /// Creates a service from its record types, its database, a provider of identities and rate limits.
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
        let shared = Shared {
            catalogue,
            store,
            provider,
            anonymous: OnceLock::new(),
            tokens,
            revocations,
            hasher,
            admission,
            ledger,
        };
        Self(Arc::new(shared))
    }

    /// Makes the catalogue public: callers without a token may read what `anonymous` names. Call it before the first request;
    /// later calls have no effect.
    pub fn open_to(&self, anonymous: Anonymous) {
        let _ = self.0.anonymous.set(anonymous);
    }

    /// Returns what callers without a token may read, if the catalogue is public.
    pub fn anonymous(&self) -> Option<&Anonymous> {
        self.0.anonymous.get()
    }

    /// Returns the record types.
    pub fn catalogue(&self) -> Catalogue {
        self.0.catalogue
    }

    /// Returns the database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Returns the database for requests of this caller, limited to the caller's share of connections. All callers without a
    /// token have one share, of which those of one IP address never have all.
    pub fn store_for(&self, identity: &Identity) -> Store {
        let client = Account::current().and_then(|account| account.client());
        if let Some(client) = client.filter(|_| identity.is_anonymous()) {
            return self.0.store.of_visitor(&identity.subject, network_of(client));
        }
        self.0.store.of_subject(&identity.subject)
    }

    /// Returns the hasher of passwords.
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Returns the rate limits.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Writes the usage counts to the database. They are written by a separate task, so that a cancelled
    /// request does not interrupt it.
    ///
    /// # Errors
    /// Any database error. No counts are lost then.
    pub async fn flush_usage(&self) -> Result<()> {
        let app = self.clone();
        let flushed =
            tokio::spawn(async move { app.0.ledger.flush(&app.0.store.reserved()).await });
        flushed.await.map_err(Error::internal)?
    }

    /// Sets the metrics about the database and the revocations to what they are now.
    pub fn report(&self) {
        self.0.store.report();
        METRICS.revocations_lag.set(self.0.revocations.lag().as_secs_f64());
        METRICS.dropped_lines.inner().store(log::dropped_lines(), Ordering::Relaxed);
    }

    /// Counts a request of the caller against the rate limit of their role or, without a token, of their IP address `client`.
    /// Returns the decision, or `None` if there is no limit.
    pub async fn admit(
        &self,
        identity: &Identity,
        client: IpAddr,
        class: Class,
    ) -> Option<Decision> {
        let (policy, key) = match identity.is_anonymous() {
            true => (Policy::Anonymous, Cow::from(network_of(client).to_string())),
            false => (Policy::from(Role::holding(&identity.scopes)), Cow::from(&identity.subject)),
        };
        let decision = self.0.admission.admit(policy, &key).await;
        let is_admitted = decision.is_none_or(|decision| decision.is_admitted);
        self.0.ledger.count(&identity.subject, class, is_admitted);
        decision
    }

    /// Counts the further items of a batch against the rate limit of the caller's role. The request itself is counted as
    /// its first item.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`].
    pub async fn admit_items(&self, identity: &Identity, items: usize) -> Result<()> {
        let further = u32::try_from(items.saturating_sub(1)).unwrap_or(u32::MAX);
        let Some(further) = NonZeroU32::new(further) else { return Ok(()) };
        let policy = Policy::from(Role::holding(&identity.scopes));
        match self.0.admission.admit_several(policy, &identity.subject, further).await {
            Some(decision) if !decision.is_admitted => Err(rejection(&decision)),
            _ => Ok(()),
        }
    }

    /// Returns how users sign in.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if that depends on another service, which cannot be reached.
    pub async fn method(&self) -> Result<Method> {
        self.0.provider.method().await
    }

    /// Verifies a token and returns its contents.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`], [`Kind::TokenExpired`]; a database error if the revocations cannot be read.
    pub async fn identify(&self, token: &str) -> Result<Bearer> {
        let bearer = self.0.provider.verify(token, &self.0.tokens).await?;
        if bearer.identity.is_anonymous() {
            return Err(Error::internal(
                "the provider has returned the name of callers without a token",
            ));
        }
        self.0.revocations.check(&bearer).await?;
        Ok(bearer)
    }
}

/// Returns the error for a request that exceeds a rate limit.
pub fn rejection(decision: &Decision) -> Error {
    // Rounded up, so that a retry after this time is admitted.
    let seconds = u32::try_from(decision.wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let seconds = NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN);
    let (requests, window) = (decision.limit.requests, decision.limit.window.as_secs());
    let detail = match decision.policy {
        Policy::FailedByAddress | Policy::FailedByName => {
            format!("too many failed sign-ins; retry in {seconds} s")
        }
        _ => format!(
            "the limit of {requests} requests in {window} s is exhausted; retry in {seconds} s"
        ),
    };
    Error { retry_after: Some(seconds), ..Error::new(Kind::TooManyRequests, detail) }
}
