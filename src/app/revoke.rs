//! Revoking tokens before they expire.

use chrono::DateTime;
use poem_openapi::Object;
use serde::Deserialize;

use super::App;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Bearer, Identity, MAX_LEEWAY_SECONDS, is_refresh_token, name_problem};
use crate::query::text::nfc;
use crate::store::{Revoked, Store};
use crate::telemetry::account::{Account, completed};
use crate::telemetry::audit::Audit;

/// How long the revocation of a token is kept after the token has expired: the largest leeway, and a minute by which clocks
/// differ.
const REVOKED_LONGER: chrono::Duration = chrono::Duration::seconds(MAX_LEEWAY_SECONDS + 60);

/// A request to revoke all tokens of a user.
#[derive(Debug, Clone, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The user name. All tokens that were issued so far are revoked. The user can sign in again.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub subject: String,
}

/// Revokes all tokens of a user. Callers may revoke their own tokens, administrators those of any user.
///
/// # Errors
/// [`Kind::InsufficientScope`], [`Kind::InvalidRecord`] for an invalid name; any database error.
pub async fn all_of(store: &Store, caller: &Identity, request: &RevocationRequest) -> Result<()> {
    if let Some(problem) = name_problem(&request.subject) {
        return Err(Error::record(vec![Violation::new("subject", problem)]));
    }
    let subject = nfc(&request.subject).into_owned();
    if subject != caller.subject {
        caller.require_admin()?;
    }
    let by = caller.subject.clone();
    revoke(store, "revoke", by, Some(subject.clone()), Revoked::Subject(subject)).await
}

/// Revokes tokens and logs that, also if the client disconnects meanwhile.
async fn revoke(
    store: &Store,
    action: &'static str,
    subject: String,
    user: Option<String>,
    what: Revoked,
) -> Result<()> {
    let store = store.clone();
    let write = async move {
        store.revoke(&what, timestamp_now()).await?;
        let account = Account::current();
        let audit = Audit::by(action, &subject, account.as_deref());
        Audit { user: user.as_deref(), ..audit }.log();
        Ok(())
    };
    completed(write).await.map_err(Error::internal)?
}

/// Revokes one token, and with a refresh token its session, without a scope, because possession of the token is enough. Returns whose access token it was. An invalid token is
/// not an error (RFC 7009, section 2.2).
///
/// # Errors
/// Any database error.
pub async fn one(app: &App, token: &str) -> Result<Option<Identity>> {
    if is_refresh_token(token) {
        app.end_session(token).await?;
        // The scopes of a refresh token are unknown. The audit log has its subject.
        return Ok(None);
    }
    let bearer = match app.identify(token).await {
        Ok(bearer) => bearer,
        Err(error) if matches!(error.kind, Kind::Unauthenticated | Kind::TokenExpired) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Bearer { identity, token_id, expires_at, .. } = bearer;
    let store = app.store_for(&identity);
    let expires_at = DateTime::from_timestamp(expires_at, 0);
    let expires_at = expires_at.ok_or_else(|| Error::internal("a token has no expiry time"))?;
    let subject = identity.subject.clone();
    let what = match token_id {
        // Kept while another instance may accept the token, whose clock is behind.
        Some(id) => Revoked::Token { id, expires_at: expires_at + REVOKED_LONGER },
        None => Revoked::Subject(subject.clone()),
    };
    revoke(&store, "sign_out", subject, None, what).await?;
    Ok(Some(identity))
}
