//! Signing in: a token for credentials, under the limits of sign-ins.

use std::net::IpAddr;

use super::usage::Class;
use super::{App, refused};
use crate::admission::{Decision, Outcome, Policy};
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, Issued, name_problem};
use crate::query::text::nfc;

impl App {
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
        // Invalid names share one key, so that long garbage cannot fill the store.
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
