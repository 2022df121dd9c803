//! Bearer tokens: JSON Web Tokens (RFC 7519) with strict validation (RFC 8725). Tokens of this service are signed
//! with HS256.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::name_problem;
use super::refresh::{self, RefreshClaims, RefreshKey};
use super::rejection::{Reason, expired, rejected, rejected_of};
use super::secret::Secret;
use super::{Identity, Secrets};
use crate::error::{Error, Result};

/// The issuer and the audience of tokens of this service.
const ISSUER: &str = "cinequery";

/// How far the clock of the issuer may be ahead of the clock here, in seconds: `iat` and `nbf` may be that far in
/// the future. Badly synchronized clocks differ by up to a minute, and users must not be rejected right after
/// signing in.
const CLOCK_SKEW: i64 = 60;

/// How long a token is accepted after its `exp`, in seconds. It is short, because it also extends the life of a
/// stolen token.
const EXPIRY_LEEWAY: i64 = 5;

/// The maximum of both for tokens of another issuer, in seconds. A revocation is kept for longer than that.
pub const MAX_LEEWAY_SECONDS: i64 = 5 * 60;

/// How far the times of a token may be off, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway {
    /// How far `iat` and `nbf` may be in the future.
    pub clock_skew: i64,
    /// How long a token is accepted after its `exp`.
    pub expiry: i64,
}

impl Default for Leeway {
    fn default() -> Self {
        Self { clock_skew: CLOCK_SKEW, expiry: EXPIRY_LEEWAY }
    }
}

/// The times of a token, in seconds since 1970.
pub(super) struct Times {
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) not_before: Option<i64>,
}

/// The maximum lifetime of a token, in seconds: a leap year, as for `--token-ttl`.
const MAX_LIFE_SECONDS: i64 = 366 * 24 * 60 * 60;

/// The maximum length of a token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

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
    /// The number of revocations when the token was issued.
    rev: i64,
    /// The id of the session, if the token belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
    /// Not before (RFC 7519, section 4.1.5). The service issues none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
}

/// An issued token.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub access_token: String,
    /// The lifetime of the token.
    pub expires_in: Duration,
    /// The scopes of the token, separated by spaces.
    pub scope: String,
}

/// The claims of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The subject and its scopes.
    pub identity: Identity,
    /// The unique id of the token (`jti`), if it has one.
    pub token_id: Option<String>,
    /// When the token was issued.
    pub issued: IssuedAt,
    /// The id of the session that the token belongs to, and whose end revokes it. `None` for a token of its own.
    pub session: Option<String>,
    /// When the token expires, in seconds since 1970.
    pub expires_at: i64,
}

/// When a token was issued, in the form that revocations need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuedAt {
    /// For tokens of this service: the number of revocations at that time. This does not depend on clocks.
    Revision(i64),
    /// For tokens of other issuers: the earliest time at which the token can have been issued by the clock here, in seconds
    /// since 1970. It is as far before `iat` as the clock of the issuer may be ahead.
    Time(i64),
}

/// Issues and verifies tokens of this service.
pub struct Tokens {
    signing: Key,
    others: Vec<Key>,
    validation: Validation,
    ttl: Duration,
}

struct Key {
    id: String,
    /// The encoded header of all tokens that are signed with it.
    header: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    refresh: RefreshKey,
}

impl Key {
    fn of(secret: &Secret) -> Self {
        let (id, encoding) = (secret.id(), EncodingKey::from_secret(secret.bytes()));
        // Encoding fails only for claims that are not an object.
        let encoded = encode(&header(&id), &serde_json::Map::new(), &encoding).unwrap_or_default();
        Self {
            id,
            header: encoded.split('.').next().unwrap_or_default().to_owned(),
            encoding,
            decoding: DecodingKey::from_secret(secret.bytes()),
            refresh: RefreshKey::of(secret),
        }
    }

    /// Returns the claims of a token that the service has issued as it does now: the header is the same text as ever, and
    /// the claims are parsed once. `None` for all other tokens, which may be valid.
    fn own_claims(&self, token: &str) -> Option<Claims> {
        let (message, signature) = token.rsplit_once('.')?;
        let encoded = message.strip_prefix(&self.header)?.strip_prefix('.')?;
        let is_signed =
            crypto::verify(signature, message.as_bytes(), &self.decoding, Algorithm::HS256);
        if !is_signed.ok()? {
            return None;
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (claims.iss == ISSUER && claims.aud == ISSUER && claims.nbf.is_none()).then_some(claims)
    }
}

fn header(key_id: &str) -> Header {
    Header { kid: Some(key_id.to_owned()), ..Header::new(Algorithm::HS256) }
}

impl Tokens {
    /// Creates an issuer that signs with the first secret. Each token is accepted for `ttl`.
    pub fn new(secrets: &Secrets, ttl: Duration) -> Self {
        Self {
            signing: Key::of(&secrets.signing),
            others: secrets.others.iter().map(Key::of).collect(),
            validation: validation(vec![Algorithm::HS256], ISSUER, ISSUER),
            ttl,
        }
    }

    /// Returns the lifetime of an access token.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Issues a token. `revision` is the number of revocations, read before the identity was looked up.
    ///
    /// # Errors
    /// Fails if the expiry time overflows.
    pub fn issue(&self, identity: &Identity, revision: i64) -> Result<Issued> {
        self.issue_within(identity, revision, None)
    }

    /// Issues a token that belongs to a session, if there is one. Otherwise as [`Tokens::issue`].
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub fn issue_within(
        &self,
        identity: &Identity,
        revision: i64,
        session: Option<Uuid>,
    ) -> Result<Issued> {
        let now = Utc::now();
        let ttl = chrono::Duration::from_std(self.ttl).map_err(Error::internal)?;
        let expiry = now
            .checked_add_signed(ttl)
            .ok_or_else(|| Error::internal("the expiry time of the token overflows"))?;
        let scope = identity.scopes.join(" ");
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: identity.subject.clone(),
            iat: now.timestamp(),
            exp: expiry.timestamp(),
            jti: Uuid::now_v7(),
            scope: scope.clone(),
            rev: revision,
            sid: session,
            nbf: None,
        };
        let header = header(&self.signing.id);
        let access_token =
            encode(&header, &claims, &self.signing.encoding).map_err(Error::internal)?;
        Ok(Issued { access_token, expires_in: self.ttl, scope })
    }

    /// Returns the refresh token of a session.
    ///
    /// # Errors
    /// Fails if the library cannot sign.
    pub fn refresh_token(&self, claims: RefreshClaims) -> Result<String> {
        self.signing.refresh.issue(claims)
    }

    /// Verifies the signature of a refresh token and returns its claims. Only the database knows whether its session has
    /// ended.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Unauthenticated`] if this service did not issue it.
    pub fn verify_refresh(&self, token: &str) -> Result<RefreshClaims> {
        let keys = std::iter::once(&self.signing).chain(&self.others);
        refresh::verify(token, keys.map(|key| &key.refresh))
    }

    /// Verifies a token and returns its claims.
    ///
    /// # Errors
    /// Returns [`crate::error::Kind::Unauthenticated`] if this service did not issue the token, and
    /// [`crate::error::Kind::TokenExpired`] if it did and the token has expired.
    pub fn verify(&self, token: &str) -> Result<Bearer> {
        let Claims { sub, iat, exp, jti, scope, rev, sid, nbf, .. } = self.claims(token)?;
        let times = Times { issued_at: iat, expires_at: exp, not_before: nbf };
        check_claims(&sub, &times, Leeway::default())?;
        Ok(Bearer {
            identity: Identity {
                subject: sub,
                scopes: scope.split_ascii_whitespace().map(str::to_owned).collect(),
            },
            token_id: Some(jti.to_string()),
            issued: IssuedAt::Revision(rev),
            session: sid.map(|id| id.to_string()),
            expires_at: exp,
        })
    }

    /// Returns the claims of a token with a valid signature.
    fn claims(&self, token: &str) -> Result<Claims> {
        check_length(token)?;
        if let Some(claims) = self.signing.own_claims(token) {
            return Ok(claims);
        }
        let header = strict_header(token)?;
        let mut keys = std::iter::once(&self.signing).chain(&self.others);
        let key = keys.find(|key| Some(&key.id) == header.kid.as_ref());
        let key =
            key.ok_or_else(|| rejected(Reason::Key, "no secret matches the kid of the token"))?;
        let found = decode::<Claims>(token, &key.decoding, &self.validation).map_err(invalid)?;
        Ok(found.claims)
    }
}

/// Returns the validation of the claims of tokens of any issuer.
pub(super) fn validation(algorithms: Vec<Algorithm>, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation { algorithms, ..Validation::default() };
    validation.set_required_spec_claims(&["iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    // `check_claims` checks the times. The library has one leeway for all, and reports an expired token before it has found
    // that the token is for another service.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

/// Decodes the header of a token. Rejects tokens that are too long, have critical extensions (RFC 7515, section
/// 4.1.11; none is supported) or contain a key.
pub(super) fn strict_header(token: &str) -> Result<Header> {
    check_length(token)?;
    let header = decode_header(token).map_err(invalid)?;
    check_header(&header)?;
    Ok(header)
}

fn check_length(token: &str) -> Result<()> {
    if token.len() > MAX_TOKEN_BYTES {
        Err(rejected(Reason::Malformed, "the token is too long"))
    } else {
        Ok(())
    }
}

fn check_header(header: &Header) -> Result<()> {
    if header.crit.is_some() {
        return Err(rejected(Reason::Malformed, "the token has critical extensions (crit)"));
    }
    if header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() || header.x5c.is_some()
    {
        return Err(rejected(Reason::Malformed, "the token contains a key or the URL of one"));
    }
    Ok(())
}

/// Rejects tokens that lack a valid subject, were issued in the future, live longer than their revocation would be kept, or
/// have expired. This comes last, so that an expired token is one that a client can renew.
pub(super) fn check_claims(subject: &str, times: &Times, leeway: Leeway) -> Result<()> {
    if let Some(problem) = name_problem(subject) {
        return Err(rejected(Reason::Claim, format!("the sub of the token {problem}")));
    }
    let now = Utc::now().timestamp();
    if times.expires_at.saturating_sub(now) > MAX_LIFE_SECONDS {
        return Err(rejected_of(subject, Reason::Claim, "the lifetime of the token is too long"));
    }
    let latest = now.saturating_add(leeway.clock_skew);
    if times.issued_at > latest {
        return Err(rejected_of(subject, Reason::Clock, "the token was issued in the future"));
    }
    if times.not_before.is_some_and(|not_before| not_before > latest) {
        return Err(rejected_of(subject, Reason::Clock, "the token is not valid yet (nbf)"));
    }
    if times.expires_at < now.saturating_sub(leeway.expiry) {
        return Err(expired(subject));
    }
    Ok(())
}

/// Creates the error for a token that the library has rejected.
#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
pub(super) fn invalid(error: jsonwebtoken::errors::Error) -> Error {
    let reason = match error.kind() {
        ErrorKind::InvalidSignature => Reason::Signature,
        ErrorKind::InvalidIssuer => Reason::Issuer,
        ErrorKind::InvalidAudience => Reason::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidSubject => Reason::Claim,
        _ => Reason::Malformed,
    };
    rejected(reason, error.to_string())
}
