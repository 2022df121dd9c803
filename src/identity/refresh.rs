//! Refresh tokens, which renew a session: the id of the session, the number of its renewals, and a signature.
//!
//! Only the key is secret. The database stores no token, so a stolen copy of it contains none.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use uuid::Uuid;

use super::rejection::{Reason, rejected};
use super::secret::Secret;
use crate::error::{Error, Result};

/// The start of every refresh token. It distinguishes them from access tokens, and scanners for leaked secrets find it.
const PREFIX: &str = "cqr_";

/// The message whose signature with a secret is the key of refresh tokens. An access token has dots, so no signature of
/// one is that of the other.
const PURPOSE: &[u8] = b"cinequery refresh token";

const ID_BYTES: usize = 16;
const CLAIM_BYTES: usize = ID_BYTES + 8;
const TOKEN_BYTES: usize = CLAIM_BYTES + 32;

/// What a valid refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshClaims {
    /// The id of the session.
    pub session: Uuid,
    /// The number of renewals before this token was issued.
    pub generation: i64,
}

/// A key for refresh tokens, derived from a secret.
pub(super) struct RefreshKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl RefreshKey {
    pub(super) fn of(secret: &Secret) -> Self {
        let secret = EncodingKey::from_secret(secret.bytes());
        // Signing with HS256 fails only for a key of another algorithm.
        let derived = crypto::sign(PURPOSE, &secret, Algorithm::HS256).unwrap_or_default();
        Self {
            encoding: EncodingKey::from_secret(derived.as_bytes()),
            decoding: DecodingKey::from_secret(derived.as_bytes()),
        }
    }

    /// Returns the refresh token of a session. It is the same for the same claims, so a repeated renewal gets the same
    /// successor.
    ///
    /// # Errors
    /// Fails if the library cannot sign.
    pub(super) fn issue(&self, claims: RefreshClaims) -> Result<String> {
        let mut bytes = [0; CLAIM_BYTES];
        let (id, generation) = bytes.split_at_mut(ID_BYTES);
        id.copy_from_slice(claims.session.as_bytes());
        generation.copy_from_slice(&claims.generation.to_be_bytes());
        let signature = crypto::sign(&bytes, &self.encoding, Algorithm::HS256);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature.map_err(Error::internal)?);
        let bytes = [bytes.as_slice(), &signature.map_err(Error::internal)?].concat();
        Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Returns whether the key has signed these claims.
    fn has_signed(&self, claims: &[u8], signature: &[u8]) -> bool {
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        crypto::verify(&signature, claims, &self.decoding, Algorithm::HS256).unwrap_or(false)
    }
}

/// Returns whether a token is meant to be a refresh token.
pub fn is_refresh_token(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Returns the claims of a refresh token that one of the keys has signed.
///
/// # Errors
/// Returns [`crate::error::Kind::Unauthenticated`] for any other text.
pub(super) fn verify<'k>(
    token: &str,
    mut keys: impl Iterator<Item = &'k RefreshKey>,
) -> Result<RefreshClaims> {
    let malformed = || rejected(Reason::Malformed, "not a refresh token of this service");
    let encoded = token.strip_prefix(PREFIX).ok_or_else(malformed)?;
    // Checked before decoding, so that a long text costs nothing.
    if encoded.len() > TOKEN_BYTES * 2 {
        return Err(malformed());
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed())?;
    let bytes: [u8; TOKEN_BYTES] = bytes.try_into().map_err(|_| malformed())?;
    let (claims, signature) = bytes.split_at(CLAIM_BYTES);
    if !keys.any(|key| key.has_signed(claims, signature)) {
        return Err(rejected(Reason::Signature, "no secret has signed the refresh token"));
    }
    let (id, generation) = claims.split_at(ID_BYTES);
    let session = Uuid::from_slice(id).map_err(Error::internal)?;
    let generation = i64::from_be_bytes(generation.try_into().map_err(Error::internal)?);
    Ok(RefreshClaims { session, generation })
}
