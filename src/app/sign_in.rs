//! Signing in: issues a token for credentials, within the rate limits of sign-ins.

use std::net::IpAddr;

use super::usage::Class;
use super::{App, rejection};
use crate::admission::{Decision, Outcome, Policy, network_of};
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, Issued, Reason, Rejection, name_problem};
use crate::query::text::nfc;
use crate::telemetry::metrics::METRICS;

impl App {
    /// Signs in a client, within the rate limits of its IP address and of the user name.
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
        let address = network_of(address).to_string();
        // Invalid names share one key, so that long garbage cannot fill the store.
        let name = match name_problem(&credentials.username) {
            Some(_) => String::new(),
            None => nfc(&credentials.username).into_owned(),
        };
        admitted(admission.admit(Policy::SignIn, &address).await, &name)?;
        // Charge the failure budgets first and refund them on success: otherwise parallel guesses all pass
        // before the first failure is recorded.
        let of_address = admission.attempt(Policy::FailedByAddress, &address).await;
        let of_address = admitted(of_address, &name)?;
        let of_name = admission.attempt(Policy::FailedByName, &name).await;
        let (of_name, issued) = match admitted(of_name, &name) {
            Ok(of_name) => (of_name, self.issue(credentials, scopes).await),
            Err(error) => (None, Err(error)),
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

    /// Signs in and issues a token. It has all scopes of the user, or those of the requested scopes that the
    /// user has.
    ///
    /// # Errors
    /// Errors of the provider; [`Kind::InvalidScope`] if the user has none of the requested scopes; any
    /// database error.
    pub async fn issue(&self, credentials: Credentials, scopes: Option<&str>) -> Result<Issued> {
        let shared = &self.0;
        // Read this before the provider checks the credentials: a revocation in between must apply to the token.
        let revision = shared.store.reserved().revocation_revision().await?;
        let mut identity = shared.provider.sign_in(credentials).await?;
        if let Some(scopes) = scopes.filter(|scopes| !scopes.is_empty()) {
            let requested: Vec<&str> = scopes.split_ascii_whitespace().collect();
            identity.scopes.retain(|scope| requested.contains(&scope.as_str()));
            if identity.scopes.is_empty() {
                let detail = "none of the requested scopes can be granted";
                return Err(Error::new(Kind::InvalidScope, detail));
            }
        }
        let issued = shared.tokens.issue(&identity, revision)?;
        shared.ledger.count(&identity.subject, Class::SignIn, true);
        METRICS.sign_ins.inc();
        Ok(issued)
    }
}

/// Returns the decision on a sign-in, or an error if it rejects the sign-in.
fn admitted(decision: Option<Decision>, name: &str) -> Result<Option<Decision>> {
    match decision {
        Some(decision) if !decision.is_admitted => {
            let policy = decision.policy.name();
            let detail = format!("the limit {policy} is exhausted");
            let rejected = Rejection::of_sign_in(Reason::RateLimit, name, detail);
            Err(Error { cause: Some(Box::new(rejected)), ..rejection(&decision) })
        }
        decision => Ok(decision),
    }
}
