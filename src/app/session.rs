//! Sessions: refresh tokens that rotate, and whose reuse ends the session (RFC 9700, section 4.14.2).

use std::net::IpAddr;
use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::sign_in::{SignedIn, narrow};
use super::{App, rejection};
use crate::admission::{Policy, network_of};
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, Issued, Reason, RefreshClaims, Rejection};
use crate::store::{NewSession, Session};
use crate::telemetry::account::{Account, completed};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::METRICS;

/// How long a refresh token is the newest at least. In this time after a renewal, the newest token stays as it is, and the
/// one before it gets it again: after a lost response, and from tabs of a browser that renew together. A later use of an
/// old token means that a second client has it.
const REUSE_GRACE: TimeDelta = TimeDelta::seconds(10);

/// How often a renewal is tried again after a parallel one. The second attempt sees the result of that one, so more are
/// needed only if others renew the session in turn.
const MAX_ATTEMPTS: usize = 3;

/// How much longer the access tokens of an ended session stay revoked than they live, because clocks differ.
const CLOCK_MARGIN: TimeDelta = TimeDelta::minutes(1);

/// What a renewal returns. The same is returned for a sign-in with a session.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The subject of the session.
    pub subject: String,
    /// The access token.
    pub issued: Issued,
    /// The refresh token for the next renewal; `None` if the provider has no sessions.
    pub refresh: Option<Refresh>,
}

/// A refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The token.
    pub token: String,
    /// The time until it expires.
    pub expires_in: Duration,
}

impl App {
    /// Signs in as [`App::sign_in`], and starts a session if the provider has sessions.
    ///
    /// # Errors
    /// As [`App::sign_in`].
    pub async fn start_session(
        &self,
        credentials: Credentials,
        scopes: Option<&str>,
        address: IpAddr,
    ) -> Result<Renewed> {
        let username = credentials.username.clone();
        let signed_in = self.authenticate(credentials, scopes);
        let signed_in = self.guarded(&username, address, signed_in).await?;
        let subject = signed_in.identity.subject.clone();
        if self.0.provider.look_up(&subject).is_none() {
            let issued = self.grant(&signed_in, None)?;
            return Ok(Renewed { subject, issued, refresh: None });
        }
        let id = Uuid::now_v7();
        let session = NewSession {
            id,
            subject: subject.clone(),
            scope: scopes.unwrap_or_default().to_owned(),
            revision: signed_in.revision,
        };
        let app = self.clone();
        let write = async move {
            let store = app.0.store.reserved();
            let left = store.add_session(&session).await?;
            audit("start_session", &session.subject, None);
            for surplus in store.surplus_sessions(&session).await? {
                app.end(surplus, Reason::Displaced).await?;
            }
            Ok::<_, Error>(left)
        };
        let left = completed(write).await.map_err(Error::internal)??;
        let issued = self.grant(&signed_in, Some(id))?;
        let refresh = Some(self.refresh(id, 0, left)?);
        Ok(Renewed { subject, issued, refresh })
    }

    /// Renews a session: returns a new access token with the present scopes of the user, or those of them in `scopes`,
    /// and the next refresh token.
    ///
    /// # Errors
    /// [`Kind::InvalidGrant`] if the token is not valid or its session has ended, with a [`Rejection`] as its cause;
    /// [`Kind::InvalidScope`]; [`Kind::TooManyRequests`]; any database error.
    pub async fn renew(
        &self,
        token: &str,
        scopes: Option<&str>,
        address: IpAddr,
    ) -> Result<Renewed> {
        let address = network_of(address).to_string();
        match self.0.admission.admit(Policy::Renewal, &address).await {
            Some(decision) if !decision.is_admitted => return Err(rejection(&decision)),
            _ => {}
        }
        self.renew_once(token, scopes.unwrap_or_default()).await.map_err(|error| {
            let detail = "the refresh token is not valid: it was used, has expired or was revoked; \
                          sign in again";
            match error.kind {
                Kind::Unauthenticated => {
                    Error { kind: Kind::InvalidGrant, detail: detail.to_owned(), ..error }
                }
                _ => error,
            }
        })
    }

    async fn renew_once(&self, token: &str, scopes: &str) -> Result<Renewed> {
        let shared = &self.0;
        let claims = shared.tokens.verify_refresh(token)?;
        let store = shared.store.reserved();
        for _ in 0..MAX_ATTEMPTS {
            // Read this first: a revocation from here on must apply to the access token.
            let revision = store.revocation_revision().await?;
            let session = store.session(claims.session).await?;
            let Some(session) = session else {
                return Err(ended(None, Reason::Session, "the session has ended"));
            };
            let is_recent = self.check(&session, claims).await?;
            let Some(found) = shared.provider.look_up(&session.subject) else {
                return Err(ended(Some(session.subject), Reason::User, "there are no sessions"));
            };
            let mut identity = match found.await {
                Err(error) if error.kind == Kind::Unauthenticated => {
                    self.end(claims.session, Reason::User).await?;
                    return Err(error);
                }
                found => found?,
            };
            // Before the renewal, so that a request for too much can be sent again.
            narrow(&mut identity, &session.scope)?;
            narrow(&mut identity, scopes)?;
            let (generation, left) = match is_recent {
                true => (session.generation, session.left),
                false if store.renew_session(claims.session, claims.generation).await? => {
                    (claims.generation.saturating_add(1), session.left_if_renewed)
                }
                // A parallel renewal was first, or the session has ended.
                false => continue,
            };
            let subject = session.subject;
            let issued = self.grant(&SignedIn { identity, revision }, Some(claims.session))?;
            let refresh = Some(self.refresh(claims.session, generation, left)?);
            METRICS.renewals.inc();
            return Ok(Renewed { subject, issued, refresh });
        }
        Err(Error::unavailable("the session is renewed by many requests at the same time"))
    }

    /// Returns whether the session was renewed a moment ago. Then the newest token stays the newest: if each request renewed
    /// it, one that was delayed could find its token two generations behind.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] if the session has expired or is revoked, or if the token was used before. Then the
    /// session ends.
    async fn check(&self, session: &Session, claims: RefreshClaims) -> Result<bool> {
        // If the clock was set back, the age is not known, and the token before the newest one has no grace.
        let is_recent = (TimeDelta::zero()..REUSE_GRACE).contains(&session.idle);
        let (reason, detail) = match session.generation.checked_sub(claims.generation) {
            _ if session.is_revoked => (Reason::Revoked, "all tokens of the user were revoked"),
            _ if session.left <= TimeDelta::zero() => (Reason::Expired, "the session has expired"),
            Some(0 | 1) if is_recent => return Ok(true),
            Some(0) => return Ok(false),
            Some(1..) => (Reason::Reused, "the refresh token was used before; its session ends"),
            _ => (Reason::Database, "the token is newer than the session in the database"),
        };
        if matches!(reason, Reason::Reused | Reason::Database) {
            self.end(claims.session, reason).await?;
        }
        Err(ended(Some(session.subject.clone()), reason, detail))
    }

    /// Ends the session of a refresh token, also of one that was used before, and revokes its access tokens. An invalid token
    /// is not an error (RFC 7009, section 2.2).
    ///
    /// # Errors
    /// Any database error.
    pub async fn end_session(&self, token: &str) -> Result<()> {
        match self.0.tokens.verify_refresh(token) {
            Ok(claims) => self.end_with(claims.session, "sign_out", None).await,
            Err(error) if error.kind == Kind::Unauthenticated => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends a session for a reason that the log has.
    async fn end(&self, session: Uuid, reason: Reason) -> Result<()> {
        self.end_with(session, "end_session", Some(reason.code())).await
    }

    async fn end_with(
        &self,
        session: Uuid,
        action: &'static str,
        reason: Option<&'static str>,
    ) -> Result<()> {
        let ttl = TimeDelta::from_std(self.0.tokens.ttl()).map_err(Error::internal)?;
        let expired_at = timestamp_now() + ttl + CLOCK_MARGIN;
        let store = self.0.store.reserved();
        let write = async move {
            let subject = store.end_session(session, expired_at).await?;
            if let Some(subject) = &subject {
                audit(action, subject, reason);
            }
            Ok(())
        };
        // Also if the client disconnects: otherwise a thief could prevent it.
        completed(write).await.map_err(Error::internal)?
    }

    fn refresh(&self, session: Uuid, generation: i64, left: TimeDelta) -> Result<Refresh> {
        let token = self.0.tokens.refresh_token(RefreshClaims { session, generation })?;
        Ok(Refresh { token, expires_in: left.to_std().unwrap_or_default() })
    }
}

/// Logs the start or the end of a session.
fn audit(action: &'static str, subject: &str, reason: Option<&'static str>) {
    let account = Account::current();
    let audit = Audit::by(action, subject, account.as_deref());
    Audit { reason, ..audit }.log();
}

/// The error for a refresh token whose session has ended.
fn ended(subject: Option<String>, reason: Reason, detail: &str) -> Error {
    let rejection = Rejection { reason, detail: detail.to_owned(), user: None, subject };
    Error { cause: Some(Box::new(rejection)), ..Error::new(Kind::Unauthenticated, detail) }
}
