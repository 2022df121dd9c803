//! Bearer tokens: JSON Web Tokens (RFC 7519), signed with HS256, strict in what they must claim
//! (RFC 8725).

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Identity, Secret};
use crate::error::{Error, Kind, Result};

/// Who issues tokens and for whom they are: this service, both times.
const ISSUER: &str = "cinequery";

/// How far the clocks of two instances may differ, in seconds.
const LEEWAY: u64 = 5;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    jti: Uuid,
    /// Scopes, separated by spaces (RFC 8693, section 4.2).
    scope: String,
}

/// A token that has been issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub access_token: String,
    /// For how long it is accepted.
    pub expires_in: Duration,
    /// The scopes it carries, separated by spaces.
    pub scope: String,
}

/// Issues and verifies tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

impl Tokens {
    /// Signs with the secret; each token is accepted for `ttl`.
    pub fn new(secret: &Secret, ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Self {
            encoding: EncodingKey::from_secret(secret.bytes()),
            decoding: DecodingKey::from_secret(secret.bytes()),
            validation,
            ttl,
        }
    }

    /// Issues a token.
    ///
    /// # Errors
    /// A lifetime that leaves the range of time.
    pub fn issue(&self, identity: &Identity) -> Result<Issued> {
        let now = Utc::now();
        let ttl = chrono::Duration::from_std(self.ttl).map_err(Error::internal)?;
        let expiry = now
            .checked_add_signed(ttl)
            .ok_or_else(|| Error::internal("the lifetime is too long"))?;
        let scope = identity.scopes.join(" ");
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: identity.subject.clone(),
            iat: now.timestamp(),
            exp: expiry.timestamp(),
            jti: Uuid::now_v7(),
            scope: scope.clone(),
        };
        let header = Header::new(Algorithm::HS256);
        let access_token = encode(&header, &claims, &self.encoding).map_err(Error::internal)?;
        Ok(Issued { access_token, expires_in: self.ttl, scope })
    }

    /// The identity a token carries.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] for every token that we have not issued or that has expired.
    pub fn verify(&self, token: &str) -> Result<Identity> {
        let refused = |cause| Error {
            cause,
            ..Error::new(Kind::Unauthenticated, "the token is not accepted, or has expired")
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused(None));
        }
        let decoded = decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| refused(Some(error.into())))?;
        // RFC 7515, section 4.1.11: extensions that must be understood, and we know none.
        if decoded.header.crit.is_some() {
            return Err(refused(Some("the token has critical extensions".into())));
        }
        let claims = decoded.claims;
        if claims.iat > Utc::now().timestamp() + LEEWAY.cast_signed() {
            return Err(refused(Some("the token is from the future".into())));
        }
        let scopes = claims.scope.split_ascii_whitespace().map(str::to_owned).collect();
        Ok(Identity { subject: claims.sub, scopes })
    }
}
