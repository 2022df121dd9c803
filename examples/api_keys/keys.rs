//! An authentication provider with fixed API keys instead of passwords and tokens.

use std::collections::HashMap;

use cinequery::error::{Error, Kind, Result};
use cinequery::identity::{Bearer, Credentials, Identity, IssuedAt, Provider, Tokens};
use futures_util::future::{BoxFuture, ready};

/// Maps each API key to its owner. Clients send the key as `Authorization: Bearer …` and do not sign in.
pub(crate) struct Keys(pub(crate) HashMap<&'static str, Identity>);

impl Provider for Keys {
    fn sign_in(&self, _: Credentials) -> BoxFuture<'_, Result<Identity>> {
        let detail =
            "this service issues no tokens; send your API key as `Authorization: Bearer …`";
        Box::pin(ready(Err(Error::new(Kind::SignInElsewhere, detail))))
    }

    fn verify<'a>(&'a self, token: &'a str, _: &'a Tokens) -> BoxFuture<'a, Result<Bearer>> {
        let unknown_key = || Error::new(Kind::Unauthenticated, "unknown API key");
        let bearer = self.0.get(token).map(|identity| Bearer {
            identity: identity.clone(),
            // Revocations are stored under this id, so it must not contain the key itself.
            token_id: Some(format!("key of {}", identity.subject)),
            // Revision 0 precedes every revocation, so each revocation of the subject applies to the key.
            issued: IssuedAt::Revision(0),
            session: None,
            expires_at: i64::from(i32::MAX),
        });
        Box::pin(ready(bearer.ok_or_else(unknown_key)))
    }
}
