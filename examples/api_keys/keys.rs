//! Authentication replaced: fixed keys instead of passwords and tokens.

use std::collections::HashMap;

use cinequery::error::{Error, Kind, Result};
use cinequery::identity::{Bearer, Credentials, Identity, IssuedAt, Provider, Tokens};
use futures_util::future::{BoxFuture, ready};

/// Everybody has one key, sent as `Authorization: Bearer …`, and does not sign in.
pub(crate) struct Keys(pub(crate) HashMap<&'static str, Identity>);

impl Provider for Keys {
    fn sign_in(&self, _: Credentials) -> BoxFuture<'_, Result<Identity>> {
        let detail = "there are no tokens: send your key as `Authorization: Bearer …`";
        Box::pin(ready(Err(Error::new(Kind::SignInElsewhere, detail))))
    }

    fn verify<'a>(&'a self, token: &'a str, _: &'a Tokens) -> BoxFuture<'a, Result<Bearer>> {
        let refused = || Error::new(Kind::Unauthenticated, "nobody has this key");
        let bearer = self.0.get(token).map(|identity| Bearer {
            identity: identity.clone(),
            // What revocations know it by: not the key itself.
            token_id: Some(format!("key of {}", identity.subject)),
            // Older than every revocation, so that each ends it.
            issued: IssuedAt::Revision(0),
            expires_at: i64::from(i32::MAX),
        });
        Box::pin(ready(bearer.ok_or_else(refused)))
    }
}
