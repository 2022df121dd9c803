//! Why credentials were rejected. Only the log and the metrics say so: clients get the same response in all cases, except
//! for genuine tokens that have expired.

use crate::error::{Error, Kind};

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $reason:ident = $code:literal;)+) => {
        /// Why credentials were rejected.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $reason,)+
        }

        impl Reason {
            /// Every reason with its meaning.
            pub const ALL: &[(Reason, &str)] = &[$((Reason::$reason, concat!($($meaning),+)),)+];

            /// The code in logs and metrics.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$reason => $code,)+ }
            }
        }
    };
}

reasons! {
    /// No user has the name.
    User = "user";
    /// The password is wrong.
    Password = "password";
    /// The rate limit of sign-ins is exhausted.
    RateLimit = "rate_limit";
    /// The token is not a JSON Web Token of the expected form.
    Malformed = "malformed";
    /// No known key has the id in the token.
    Key = "key";
    /// The signature is not that of the key.
    Signature = "signature";
    /// Another issuer than the expected one.
    Issuer = "issuer";
    /// The token is for another service.
    Audience = "audience";
    /// A claim has a value that is not accepted.
    Claim = "claim";
    /// The token has expired.
    Expired = "expired";
    /// The token is valid only in the future: clocks differ.
    Clock = "clock";
    /// The token grants no scope of this service. The response is 403.
    Scope = "scope";
    /// The token was revoked.
    Revoked = "revoked";
    /// The refresh token is of a session that has ended.
    Session = "session";
    /// The refresh token was used before: it may be stolen, so its session has ended.
    Reused = "reused";
    /// The user has started too many sessions, and this one was not renewed for the longest time.
    Displaced = "displaced";
    /// The token is newer than the database, which was restored from a backup or is another one.
    Database = "database";
}

/// The cause of an error about rejected credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why they were rejected.
    pub reason: Reason,
    /// More about it, for operators.
    pub detail: String,
    /// The name that was to be signed in; `None` for a token.
    pub user: Option<String>,
    /// The subject of a token whose signature is right.
    pub subject: Option<String>,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Rejection {}

/// The maximum number of characters of a name in the log.
const MAX_LOGGED: usize = 64;

impl Rejection {
    /// The rejection of a sign-in with a name.
    pub fn of_sign_in(reason: Reason, user: &str, detail: impl Into<String>) -> Self {
        let user = Some(user.chars().take(MAX_LOGGED).collect());
        Self { reason, detail: detail.into(), user, subject: None }
    }

    /// Returns the rejection that caused an error.
    pub fn cause_of(error: &Error) -> Option<&Self> {
        error.cause.as_deref()?.downcast_ref()
    }
}

/// Creates the error for a rejected token.
pub(super) fn rejected(reason: Reason, detail: impl Into<String>) -> Error {
    of_token(Rejection { reason, detail: detail.into(), user: None, subject: None })
}

/// Creates the error for a token of a subject, which was signed by the issuer.
pub(super) fn rejected_of(subject: &str, reason: Reason, detail: impl Into<String>) -> Error {
    let subject = Some(subject.chars().take(MAX_LOGGED).collect());
    of_token(Rejection { reason, detail: detail.into(), user: None, subject })
}

/// Creates the error for a token that has expired. It was signed by the issuer, and all else about it is right.
pub(super) fn expired(subject: &str) -> Error {
    let subject = Some(subject.chars().take(MAX_LOGGED).collect());
    let (reason, detail) = (Reason::Expired, "the token has expired".to_owned());
    let rejection = Rejection { reason, detail, user: None, subject };
    Error { cause: Some(Box::new(rejection)), ..Error::expired() }
}

/// Returns the cause of an error about a missing scope, if the token grants none at all.
pub(super) fn without_scopes(detail: &str) -> Rejection {
    Rejection { reason: Reason::Scope, detail: detail.to_owned(), user: None, subject: None }
}

fn of_token(rejection: Rejection) -> Error {
    Error {
        cause: Some(Box::new(rejection)),
        ..Error::new(Kind::Unauthenticated, "the token is invalid or has expired")
    }
}
