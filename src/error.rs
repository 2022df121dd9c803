//! Errors, independent of HTTP: a stable code and a public text for the client, and a cause for the
//! log.

use std::num::NonZeroU32;

use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::query::Diagnostic;

/// Returns a number of seconds for `Retry-After`: a random number from `least` to twice that, so that
/// clients that were rejected together do not retry together.
pub fn retry_after(least: u32) -> NonZeroU32 {
    // Without random numbers all clients wait equally long. That is no reason to fail.
    let spread = getrandom::u32().unwrap_or(0) % (least + 1);
    NonZeroU32::new(least + spread).unwrap_or(NonZeroU32::MIN)
}

macro_rules! kinds {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// The kinds of error. This table is the only place that names their codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl Kind {
            /// Every kind with its meaning.
            pub const ALL: &[(Kind, &str)] = &[$((Kind::$variant, concat!($($meaning),+)),)+];

            /// The stable code that clients match on.
            pub fn code(self) -> &'static str {
                match self { $(Kind::$variant => $code,)+ }
            }

            /// The HTTP status of the response.
            pub fn status(self) -> u16 {
                match self { $(Kind::$variant => $status,)+ }
            }

            /// A short text, the same for every error of this kind.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$variant => $title,)+ }
            }
        }
    };
}

kinds! {
    /// The filter, the order or a bind parameter is not valid; `diagnostics` lists the problems.
    InvalidQuery = "invalid_query", 400, "The query is not valid";
    /// The cursor is malformed, or belongs to another search.
    InvalidCursor = "invalid_cursor", 400, "The cursor is not valid for this search";
    /// The request line or a header field is not valid HTTP/1.1.
    MalformedRequest = "malformed_request", 400, "The request is malformed";
    /// A parameter of the URL or a header is unknown, repeated or malformed.
    InvalidParameter = "invalid_parameter", 400, "A parameter is not valid";
    /// The body is not the expected JSON.
    InvalidBody = "invalid_body", 400, "The body is not valid";
    /// The record breaks a rule; `errors` says which.
    InvalidRecord = "invalid_record", 400, "The record is not valid";
    /// An all-or-nothing import contains rows that cannot be written; `errors` lists them.
    RowsRejected = "rows_rejected", 400, "Nothing was imported";
    /// Every row of an import breaks a rule; `errors` lists the first of them.
    EveryRowRejected = "every_row_rejected", 422, "Every row was rejected";
    /// The name, the password or the refresh token of an OAuth 2.0 request is wrong.
    InvalidGrant = "invalid_grant", 400, "The credentials are not valid";
    /// None of the requested scopes can be granted.
    InvalidScope = "invalid_scope", 400, "The scope is not granted";
    /// A parameter of an OAuth 2.0 request is missing, repeated or malformed.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// The grant type of an OAuth 2.0 request is unknown.
    UnsupportedGrantType = "unsupported_grant_type", 400, "The grant type is not supported";
    /// Another service issues the tokens; `detail` names it.
    SignInElsewhere = "sign_in_elsewhere", 400, "Another service issues the tokens";
    /// The name or the secret of an OAuth 2.0 client is wrong.
    InvalidClient = "invalid_client", 401, "Unknown client or wrong secret";
    /// The token is missing, invalid or revoked.
    Unauthenticated = "unauthenticated", 401, "Not signed in";
    /// The token is genuine and has expired. The client can get a new one and retry.
    TokenExpired = "token_expired", 401, "The token has expired";
    /// The token lacks the required scope.
    InsufficientScope = "insufficient_scope", 403, "The token does not allow this";
    /// The current password of a request to change it is wrong.
    WrongPassword = "wrong_password", 403, "The current password is wrong";
    /// A page of another origin has sent a request that uses the cookie of a session.
    CrossOrigin = "cross_origin", 403, "Only pages of this service may send this request";
    /// The request would change a built-in query.
    BuiltIn = "built_in", 403, "A built-in query is read-only";
    /// No record, saved query or user has this id or name.
    NotFound = "not_found", 404, "Not found";
    /// No route has this path.
    UnknownRoute = "unknown_route", 404, "Unknown path";
    /// The route does not support the method; `Allow` lists those that it supports.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed for this path";
    /// The client sent nothing for too long.
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    /// A saved query is no longer valid for its record type; `diagnostics` says why.
    QueryOutdated = "query_outdated", 409, "The saved query is no longer valid";
    /// The change would leave the service without an administrator.
    LastAdministrator = "last_administrator", 409, "The last administrator must stay";
    /// The password of the caller is not kept in this service.
    NoPassword = "no_password", 409, "No password is kept here";
    /// Several records match where only one may; `records` lists them.
    Ambiguous = "ambiguous", 409, "Several records match";
    /// Another request with the same `Idempotency-Key` has not ended; `Retry-After` says when to retry.
    IdempotencyKeyInUse = "idempotency_key_in_use", 409, "The idempotency key is in use";
    /// Another request was sent with the same `Idempotency-Key`.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key belongs to another request";
    /// A record with the same natural key exists.
    Duplicate = "duplicate", 409, "The name or key already exists";
    /// A write of an all-or-nothing batch failed; `errors` says which.
    BatchFailed = "batch_failed", 409, "Nothing was written";
    /// Another number of records matches the filter than `expect`; `matched` is the number.
    UnexpectedCount = "unexpected_count", 409, "Another number of records matches";
    /// The record has changed since the version in `If-Match`.
    PreconditionFailed = "precondition_failed", 412, "The record has changed";
    /// The body exceeds the size limit.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The media type or content coding of the body is not supported here.
    UnsupportedMediaType = "unsupported_media_type", 415, "The media type is not supported";
    /// A change needs `If-Match`.
    PreconditionRequired = "precondition_required", 428, "The request must be conditional";
    /// The rate limit is exhausted; `Retry-After` says when to retry.
    TooManyRequests = "too_many_requests", 429, "Too many requests";
    /// The request line and the header fields exceed the size limit.
    HeadersTooLarge = "headers_too_large", 431, "The request headers are too large";
    /// An error of the service, or of its set-up. The log has the cause.
    Internal = "internal", 500, "Internal error";
    /// The service, the database or the issuer of tokens is overloaded or cannot be reached. The request
    /// can be retried.
    Unavailable = "unavailable", 503, "The service is temporarily unavailable";
}

impl Kind {
    /// Returns whether OAuth 2.0 defines the code (RFC 6749, section 5.2).
    pub fn is_oauth(self) -> bool {
        matches!(
            self,
            Self::InvalidGrant
                | Self::InvalidScope
                | Self::InvalidRequest
                | Self::UnsupportedGrantType
                | Self::InvalidClient
        )
    }
}

/// One rule that a record breaks.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Violation {
    /// In a file of records, the line on which the record starts, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    /// Its row as a spreadsheet counts it, if line breaks in cells of CSV make it another number than the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<i64>,
    /// The member of the record, as a JSON Pointer (RFC 6901); empty for the record as a whole.
    pub pointer: String,
    /// What is wrong with the value and what is expected.
    pub detail: String,
}

impl Violation {
    /// Creates a violation by a member of the record.
    pub fn new(member: &str, detail: impl Into<String>) -> Self {
        let escaped = member.replace('~', "~0").replace('/', "~1");
        Self::at(format!("/{escaped}"), detail)
    }

    /// Creates a violation by the value at a JSON Pointer (RFC 6901).
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { line: None, row: None, pointer: pointer.into(), detail: detail.into() }
    }

    /// Creates a violation by the record as a whole.
    pub fn of_all(detail: impl Into<String>) -> Self {
        Self::at(String::new(), detail)
    }

    /// Returns whether it is about this member of the record.
    pub fn is_at(&self, member: &str) -> bool {
        self.pointer.strip_prefix('/') == Some(member)
    }

    /// Adds the line of the file on which the record starts.
    #[must_use]
    pub fn on_line(self, line: u64) -> Self {
        Self { line: i64::try_from(line).ok(), ..self }
    }

    /// Returns its place in a file of records, such as `row 26 (line 31): `; empty for a record of its own.
    pub fn place(&self) -> String {
        match (self.line, self.row) {
            (Some(line), Some(row)) => format!("row {row} (line {line}): "),
            (Some(line), None) => format!("line {line}: "),
            (None, _) => String::new(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place())?;
        match self.pointer.strip_prefix('/') {
            Some(member) => write!(f, "{member} {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

/// The records that are there instead of the one that a write expected.
#[derive(Debug, Clone, PartialEq)]
pub enum There {
    /// Another record, of this collection and id, has the unique key.
    Other(&'static str, Uuid),
    /// The record has another version. This is its JSON.
    Current(serde_json::Value),
    /// Several records match where only one may. This is their JSON.
    Several(Vec<serde_json::Value>),
    /// So many records match.
    Matching(i64),
}

/// An error with a public part for the client and a cause for the log.
#[derive(Debug)]
pub struct Error {
    /// The kind of error.
    pub kind: Kind,
    /// Public: what happened and what to do about it.
    pub detail: String,
    /// Public: the problems of a query.
    pub diagnostics: Vec<Diagnostic>,
    /// Public: the rules that a record breaks.
    pub violations: Vec<Violation>,
    /// Public: the records that are there instead. Boxed, because it is rare.
    pub there: Option<Box<There>>,
    /// Public: the number of seconds after which the client may retry; `None` if a retry cannot help.
    pub retry_after: Option<NonZeroU32>,
    /// The cause, for the log only.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result type of most functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error with its public text.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            diagnostics: Vec::new(),
            violations: Vec::new(),
            there: None,
            retry_after: None,
            cause: None,
        }
    }

    /// Creates the error for an invalid query.
    pub fn query(diagnostics: Vec<Diagnostic>) -> Self {
        let detail = match diagnostics.as_slice() {
            [only] => only.message.clone(),
            all => format!("{} problems; see `diagnostics`", all.len()),
        };
        Self { diagnostics, ..Self::new(Kind::InvalidQuery, detail) }
    }

    /// Creates the error for an invalid record.
    pub fn record(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            all => format!("{} problems; see `errors`", all.len()),
        };
        Self { violations, ..Self::new(Kind::InvalidRecord, detail) }
    }

    /// Creates the error for a database that does not respond. Set another `detail` for any other
    /// failure that a retry may solve.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            retry_after: Some(retry_after(1)),
            ..Self::new(Kind::Unavailable, "the database does not respond; retry later")
        }
    }

    /// Creates the error for a genuine token that has expired.
    pub fn expired() -> Self {
        let detail = "the token has expired; get a new one from where it was issued, and retry";
        Self::new(Kind::TokenExpired, detail)
    }

    /// Returns the error with its cause, for the log.
    pub fn chain(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// Creates an internal error: a bug, or a failure that a retry cannot solve.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let detail = "internal error; quote the request ID when you report it";
        Self { cause: Some(cause.into()), ..Self::new(Kind::Internal, detail) }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            // The title is about a service, and the command line has none.
            Kind::Unavailable => f.write_str(&self.detail),
            kind => write!(f, "{}: {}", kind.title(), self.detail),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}
