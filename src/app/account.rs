//! The account of the caller: who it is, and a change of the own password.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use super::App;
use super::sign_in::SignedIn;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Credentials, Identity, Issued, Reason, Rejection, Role, password_problem};
use crate::telemetry::account::{Account, completed};
use crate::telemetry::audit::Audit;

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct CurrentUser {
    /// The user name.
    pub subject: String,
    /// The role of the user; absent if this service has no such user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The scopes of the token, such as `movies:read`.
    pub scopes: Vec<String>,
    /// When the token expires, in UTC; absent for a request without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether the user can change the password with `PUT /api/v1/me/password`.
    pub can_change_password: bool,
}

/// A change of the own password.
#[derive(Clone, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The current password.
    #[oai(validator(max_length = 1024))]
    pub current_password: String,
    /// The new password: at least 15 characters, at most 1024 bytes.
    #[oai(validator(min_length = 15, max_length = 1024))]
    pub new_password: String,
}

/// How often a change is tried again after an administrator has changed the user in the meantime.
const MAX_ATTEMPTS: usize = 3;

impl App {
    /// Returns the caller. `expires_at` is the expiry time of the token, in seconds since 1970.
    ///
    /// # Errors
    /// Any database error.
    pub async fn account(&self, caller: &Identity, expires_at: Option<i64>) -> Result<CurrentUser> {
        let role = match self.0.provider.keeps_passwords() {
            true => self.store_for(caller).user(&caller.subject).await?,
            false => None,
        };
        let role = role.and_then(|user| Role::of(&user.role));
        Ok(CurrentUser {
            subject: caller.subject.clone(),
            role,
            scopes: caller.scopes.clone(),
            expires_at: expires_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            can_change_password: role.is_some(),
        })
    }

    /// Changes the password of the caller, revokes all tokens and sessions of the caller, and returns a new token with the
    /// scopes of the present one that the caller's role has.
    ///
    /// # Errors
    /// [`Kind::NoPassword`] if the password is not kept here, [`Kind::InvalidRecord`] for an invalid new password,
    /// [`Kind::WrongPassword`], [`Kind::TooManyRequests`]; any database error.
    pub async fn change_password(
        &self,
        caller: &Identity,
        change: PasswordChange,
        address: IpAddr,
    ) -> Result<Issued> {
        if !self.0.provider.keeps_passwords() {
            let detail = match self.0.provider.method().await {
                Ok(crate::identity::Method::Open) => "users have no passwords (`--auth open`)",
                _ => "another service signs users in; change the password there",
            };
            return Err(Error::new(Kind::NoPassword, detail));
        }
        if let Some(problem) = password_problem(&change.new_password) {
            return Err(Error::record(vec![Violation::new("new_password", problem)]));
        }
        let changed = self.change(caller, change);
        let changed = self.guarded(&caller.subject, address, changed).await?;
        self.grant(&changed, None)
    }

    async fn change(&self, caller: &Identity, change: PasswordChange) -> Result<SignedIn> {
        let PasswordChange { current_password, new_password } = change;
        let store = self.0.store.reserved();
        let subject = caller.subject.as_str();
        let mut new_hash = None;
        for _ in 0..MAX_ATTEMPTS {
            let Some(user) = store.user(subject).await? else {
                let detail = "this service has no user with the name of the token";
                return Err(Error::new(Kind::NoPassword, detail));
            };
            // The provider checks the present password; the version makes sure that the change replaces that one, and
            // not the one that an administrator sets in the meantime.
            let credentials = Credentials {
                username: subject.to_owned(),
                password: Some(current_password.clone()),
            };
            let mut identity = match self.0.provider.sign_in(credentials).await {
                Err(error) if error.kind == Kind::Unauthenticated => return Err(wrong(subject)),
                identity => identity?,
            };
            identity.scopes.retain(|scope| caller.scopes.contains(scope));
            let hash = match new_hash.take() {
                Some(hash) => hash,
                None => self.0.hasher.hash(new_password.clone()).await?,
            };
            let write = {
                let (store, name, hash) = (store.clone(), user.name.clone(), hash.clone());
                async move {
                    let (version, now) = (user.version, timestamp_now());
                    let changed = store.change_password(&name, &hash, version, now).await?;
                    if let Some((to_version, _)) = changed {
                        let account = Account::current();
                        let audit = Audit::by("change_password", &name, account.as_deref());
                        let user = Some(name.as_str());
                        let (from_version, to_version) = (Some(version), Some(to_version));
                        Audit { user, from_version, to_version, ..audit }.log();
                    }
                    Ok::<_, Error>(changed)
                }
            };
            if let Some((_, revision)) = completed(write).await.map_err(Error::internal)?? {
                return Ok(SignedIn { identity, revision });
            }
            new_hash = Some(hash);
        }
        Err(Error::unavailable("the user is changed by many requests at the same time"))
    }
}

/// The error for a wrong current password. The log says so, as for a failed sign-in.
fn wrong(subject: &str) -> Error {
    let rejection = Rejection::of_sign_in(Reason::Password, subject, "wrong current password");
    let detail = "current_password is not the current password";
    Error { cause: Some(Box::new(rejection)), ..Error::new(Kind::WrongPassword, detail) }
}
