//! Ending tokens before they expire.

use chrono::DateTime;
use poem_openapi::Object;
use serde::Deserialize;

use super::App;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Bearer, Identity, name_problem};
use crate::query::text::nfc;
use crate::store::{Revoked, Store};

/// Whose tokens are to end.
#[derive(Debug, Clone, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The name of whose tokens are to end: all that were issued so far. Signing in again goes on.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub subject: String,
}

/// Ends every token that somebody has been issued: one's own, or, for an administrator, anybody's.
///
/// # Errors
/// [`Kind::InsufficientScope`], [`Kind::InvalidRecord`] for what is no name; the database's.
pub async fn all_of(store: &Store, caller: &Identity, request: &RevocationRequest) -> Result<()> {
    if let Some(problem) = name_problem(&request.subject) {
        return Err(Error::record(vec![Violation::new("subject", problem)]));
    }
    let subject = nfc(&request.subject).into_owned();
    if subject != caller.subject {
        caller.require_admin()?;
    }
    tracing::info!(subject, by = caller.subject, "all tokens are revoked");
    store.revoke(&Revoked::Subject(subject), timestamp_now()).await
}

/// Ends one token: whoever holds it may do that. One that is not accepted has ended already (RFC 7009,
/// section 2.2).
///
/// # Errors
/// The database's.
pub async fn one(app: &App, token: &str) -> Result<()> {
    let bearer = match app.identify(token).await {
        Ok(bearer) => bearer,
        Err(error) if error.kind == Kind::Unauthenticated => return Ok(()),
        Err(error) => return Err(error),
    };
    let Bearer { identity, token_id, expires_at, .. } = bearer;
    let store = app.store_for(&identity);
    let expires_at = DateTime::from_timestamp(expires_at, 0);
    let expires_at = expires_at.ok_or_else(|| Error::internal("a token has no end"))?;
    let what = match token_id {
        // Clocks differ: it is accepted for a little while after.
        Some(id) => Revoked::Token { id, expires_at: expires_at + chrono::Duration::minutes(1) },
        None => Revoked::Subject(identity.subject),
    };
    store.revoke(&what, timestamp_now()).await
}
