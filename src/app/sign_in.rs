//! Signing in: issues a token for credentials, within the rate limits of sign-ins.

use std::net::IpAddr;

use uuid::Uuid;

use super::usage::Class;
use super::{App, rejection};
use crate::admission::{Decision, Outcome, Policy, network_of};
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, Identity, Issued, Reason, Rejection, name_problem};
use crate::query::text::nfc;
use crate::telemetry::metrics::METRICS;

/// A user who has signed in, as far as a token needs it.
pub(super) struct SignedIn {
    /// The user, with the granted scopes.
    pub(super) identity: Identity,
    /// The number of revocations before the credentials were checked.
    pub(super) revision: i64,
}

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
        let username = credentials.username.clone();
        self.guarded(&username, address, self.issue(credentials, scopes)).await
    }

    /// Runs work that checks the password of a user, within the rate limits of sign-ins. Only the errors
    /// [`Kind::Unauthenticated`] and [`Kind::WrongPassword`] count as failures.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`], and those of the work.
    pub(super) async fn guarded<T>(
        &self,
        username: &str,
        address: IpAddr,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let admission = &self.0.admission;
        let address = network_of(address).to_string();
        // Invalid names share one key, so that long garbage cannot fill the store.
        let name = match name_problem(username) {
            Some(_) => String::new(),
            None => nfc(username).into_owned(),
        };
        admitted(admission.admit(Policy::SignIn, &address).await, &name)?;
        // Charge the failure budgets first and refund them on success: otherwise parallel guesses all pass
        // before the first failure is recorded.
        let of_address = admission.attempt(Policy::FailedByAddress, &address).await;
        let of_address = admitted(of_address, &name)?;
        let of_name = admission.attempt(Policy::FailedByName, &name).await;
        let (of_name, done) = match admitted(of_name, &name) {
            Ok(of_name) => (of_name, work.await),
            Err(error) => (None, Err(error)),
        };
        let is_failure =
            |error: &Error| matches!(error.kind, Kind::Unauthenticated | Kind::WrongPassword);
        let outcome = match &done {
            Err(error) if is_failure(error) => Outcome::Failure,
            _ => Outcome::Success,
        };
        for (decision, key) in [(of_address, &address), (of_name, &name)] {
            if let Some(decision) = decision {
                admission.settle(&decision, key, outcome).await;
            }
        }
        done
    }

    /// Signs in and issues a token. It has all scopes of the user, or those of the requested scopes that the
    /// user has.
    ///
    /// # Errors
    /// Errors of the provider; [`Kind::InvalidScope`] if the user has none of the requested scopes; any
    /// database error.
    pub async fn issue(&self, credentials: Credentials, scopes: Option<&str>) -> Result<Issued> {
        let signed_in = self.authenticate(credentials, scopes).await?;
        self.grant(&signed_in, None)
    }

    /// Checks credentials. The errors are those of [`App::issue`].
    pub(super) async fn authenticate(
        &self,
        credentials: Credentials,
        scopes: Option<&str>,
    ) -> Result<SignedIn> {
        let shared = &self.0;
        // Read this before the provider checks the credentials: a revocation in between must apply to the token.
        let revision = shared.store.reserved().revocation_revision().await?;
        let mut identity = shared.provider.sign_in(credentials).await?;
        narrow(&mut identity, scopes.unwrap_or_default())?;
        METRICS.sign_ins.inc();
        Ok(SignedIn { identity, revision })
    }

    /// Issues an access token, which belongs to a session if there is one.
    pub(super) fn grant(&self, signed_in: &SignedIn, session: Option<Uuid>) -> Result<Issued> {
        let SignedIn { identity, revision } = signed_in;
        let issued = self.0.tokens.issue_within(identity, *revision, session)?;
        self.0.ledger.count(&identity.subject, Class::SignIn, true);
        Ok(issued)
    }
}

/// Removes the scopes that were not requested. Without a request all remain.
///
/// # Errors
/// [`Kind::InvalidScope`] if none remains.
pub(super) fn narrow(identity: &mut Identity, requested: &str) -> Result<()> {
    let requested: Vec<&str> = requested.split_ascii_whitespace().collect();
    if requested.is_empty() {
        return Ok(());
    }
    identity.scopes.retain(|scope| requested.contains(&scope.as_str()));
    if identity.scopes.is_empty() {
        let detail = "none of the requested scopes can be granted";
        return Err(Error::new(Kind::InvalidScope, detail));
    }
    Ok(())
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
