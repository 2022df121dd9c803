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
pub mod usage;
pub mod users;
pub mod why;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use self::usage::{Class, Ledger};
use crate::admission::{Admission, Decision, Outcome, Policy};
use crate::error::{Error, Kind, Result};
use crate::identity::{
    Bearer, Credentials, Hasher, Identity, Issued, Provider, Revocations, Role, Tokens,
    name_problem,
};
use crate::query::text::nfc;
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

    /// Signs in from an address, under the limits of that.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`], and those of [`App::issue`].
    pub async fn sign_in(
        &self,
        credentials: Credentials,
        scopes: Option<&str>,
        address: IpAddr,
    ) -> Result<Issued> {
        let admission = &self.0.admission;
        let address = address.to_string();
        // What is no name is nobody's: all of that is counted together, however long it is.
        let name = match name_problem(&credentials.username) {
            Some(_) => String::new(),
            None => nfc(&credentials.username).into_owned(),
        };
        admitted(admission.admit(Policy::SignIn, &address).await, &address)?;
        // Charge the failure budgets first and refund them on success: otherwise parallel guesses all pass
        // before the first failure is recorded.
        let of_address = admission.attempt(Policy::FailedByAddress, &address).await;
        let of_address = admitted(of_address, &address)?;
        let of_name = admission.attempt(Policy::FailedByName, &name).await;
        let (of_name, issued) = match admitted(of_name, &name) {
            Ok(of_name) => (of_name, self.issue(credentials, scopes).await),
            Err(refusal) => (None, Err(refusal)),
        };
        let outcome = match &issued {
            Err(error) if error.kind == Kind::Unauthenticated => Outcome::Failure,
            _ => Outcome::Success,
        };
        for (decision, key) in [(of_address, &address), (of_name, &name)] {
            if let Some(decision) = decision {
                admission.settle(&decision, key, outcome).await;
            }
        }
        issued
    }

    /// Signs in and issues a token: for all that the identity may do, or for those of these scopes that
    /// are among it.
    ///
    /// # Errors
    /// The provider's; [`Kind::InvalidScope`] when nothing is left; the database's.
    pub async fn issue(&self, credentials: Credentials, scopes: Option<&str>) -> Result<Issued> {
        let shared = &self.0;
        // First of all: what is revoked while the provider looks is revoked of this token as well.
        let revision = shared.store.reserved().revocation_revision().await?;
        let mut identity = shared.provider.sign_in(credentials).await?;
        if let Some(scopes) = scopes.filter(|scopes| !scopes.is_empty()) {
            let asked: Vec<&str> = scopes.split_ascii_whitespace().collect();
            identity.scopes.retain(|scope| asked.contains(&scope.as_str()));
            if identity.scopes.is_empty() {
                let detail = "none of the scopes that are asked for is granted";
                return Err(Error::new(Kind::InvalidScope, detail));
            }
        }
        let issued = shared.tokens.issue(&identity, revision)?;
        shared.ledger.count(&identity.subject, Class::SignIn, true);
        Ok(issued)
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

/// The decision on a sign-in, unless it rejects that.
fn admitted(decision: Option<Decision>, key: &str) -> Result<Option<Decision>> {
    match decision {
        Some(decision) if !decision.is_admitted => {
            let limit = decision.policy.name();
            tracing::warn!(limit, key, "sign-in rejected: rate limit exhausted");
            Err(refused(&decision))
        }
        decision => Ok(decision),
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
