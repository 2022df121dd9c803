//! Bearer tokens: JSON Web Tokens (RFC 7519), strict in what they must claim (RFC 8725). Our own are
//! signed with HS256.

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::name_problem;
use super::secret::Secret;
use super::{Identity, Secrets};
use crate::error::{Error, Kind, Result};

/// Who issues tokens and for whom they are: this service, both times.
const ISSUER: &str = "cinequery";

/// How far the clock of the issuer may be ahead of ours, in seconds: `iat` and `nbf` may lie that far in
/// the future. Servers that synchronise their clocks badly are a minute apart, and users must not be
/// rejected for that right after they signed in.
pub(super) const CLOCK_SKEW: u64 = 60;

/// How long a token is accepted after its `exp`, in seconds. Short, since every second of it prolongs the
/// life of a stolen token.
const EXPIRY_LEEWAY: i64 = 5;

/// The longest that a token may live, in seconds: as long as `--token-ttl` may say, a leap year.
const MAX_LIFE_SECONDS: i64 = 366 * 24 * 60 * 60;

/// The longest token that is looked at, in bytes.
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
    /// How many revocations there had been.
    rev: i64,
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

/// What a token says that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Whose it is, and what it allows.
    pub identity: Identity,
    /// What tells it from all others.
    pub token_id: Option<String>,
    /// When it was issued.
    pub issued: IssuedAt,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
}

/// When a token was issued, as revocations need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuedAt {
    /// By us: after so many revocations. No clock is trusted with this.
    Revision(i64),
    /// By others: in seconds since 1970.
    Time(i64),
}

/// Issues and verifies tokens of our own.
pub struct Tokens {
    signing: Key,
    others: Vec<Key>,
    validation: Validation,
    ttl: Duration,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Key {
    fn of(secret: &Secret) -> Self {
        Self {
            id: secret.id(),
            encoding: EncodingKey::from_secret(secret.bytes()),
            decoding: DecodingKey::from_secret(secret.bytes()),
        }
    }
}

impl Tokens {
    /// Signs with the first of the secrets; each token is accepted for `ttl`.
    pub fn new(secrets: &Secrets, ttl: Duration) -> Self {
        Self {
            signing: Key::of(&secrets.signing),
            others: secrets.others.iter().map(Key::of).collect(),
            validation: validation(vec![Algorithm::HS256], ISSUER, ISSUER),
            ttl,
        }
    }

    /// Issues a token. `revision` says how many revocations there had been before anything was asked
    /// about the identity.
    ///
    /// # Errors
    /// A lifetime that leaves the range of time.
    pub fn issue(&self, identity: &Identity, revision: i64) -> Result<Issued> {
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
            rev: revision,
        };
        let header = Header { kid: Some(self.signing.id.clone()), ..Header::new(Algorithm::HS256) };
        let access_token =
            encode(&header, &claims, &self.signing.encoding).map_err(Error::internal)?;
        Ok(Issued { access_token, expires_in: self.ttl, scope })
    }

    /// What a token says.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] for every token that we have not issued or that has expired.
    pub fn verify(&self, token: &str) -> Result<Bearer> {
        let header = strict_header(token)?;
        let mut keys = std::iter::once(&self.signing).chain(&self.others);
        let key = keys.find(|key| Some(&key.id) == header.kid.as_ref());
        let key = key.ok_or_else(|| refused("no secret has its kid"))?;
        let claims = decode::<Claims>(token, &key.decoding, &self.validation).map_err(refused)?;
        let Claims { sub, iat, exp, jti, scope, rev, .. } = claims.claims;
        check_claims(&sub, iat, exp)?;
        Ok(Bearer {
            identity: Identity {
                subject: sub,
                scopes: scope.split_ascii_whitespace().map(str::to_owned).collect(),
            },
            token_id: Some(jti.to_string()),
            issued: IssuedAt::Revision(rev),
            expires_at: exp,
        })
    }
}

/// What is asked of every token, whoever has issued it.
pub(super) fn validation(algorithms: Vec<Algorithm>, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation { algorithms, ..Validation::default() };
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.validate_nbf = true;
    // For `nbf`. The library has one leeway for all claims; `check_claims` applies the shorter one to `exp`.
    validation.leeway = CLOCK_SKEW;
    validation
}

/// The header of a token that is short enough, and neither needs extensions (RFC 7515, section 4.1.11:
/// we know none) nor brings a key of its own.
pub(super) fn strict_header(token: &str) -> Result<Header> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(refused("it is too long"));
    }
    let header = decode_header(token).map_err(refused)?;
    if header.crit.is_some() {
        return Err(refused("it has critical extensions"));
    }
    if header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() || header.x5c.is_some()
    {
        return Err(refused("it brings a key of its own"));
    }
    Ok(header)
}

/// Rejects a token without a valid subject, one that has expired, one that was issued later than now, and
/// one that lives longer than its revocation would be kept.
pub(super) fn check_claims(subject: &str, issued_at: i64, expires_at: i64) -> Result<()> {
    if let Some(problem) = name_problem(subject) {
        return Err(refused(format!("its sub {problem}")));
    }
    let now = Utc::now().timestamp();
    if expires_at.saturating_sub(now) > MAX_LIFE_SECONDS {
        return Err(refused("it lives too long"));
    }
    if expires_at < now.saturating_sub(EXPIRY_LEEWAY) {
        return Err(refused("it has expired"));
    }
    let latest = now.saturating_add(CLOCK_SKEW.cast_signed());
    if issued_at > latest { Err(refused("it is from the future")) } else { Ok(()) }
}

/// The refusal of a token, whose cause is for the log alone.
pub(super) fn refused(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error {
        cause: Some(cause.into()),
        ..Error::new(Kind::Unauthenticated, "the token is not accepted, or has expired")
    }
}
