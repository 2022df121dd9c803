//! What can go wrong, free of transport: a stable code and public text for the caller, the cause
//! for the log.

use std::num::NonZeroU32;

use poem_openapi::Object;
use serde::Serialize;

use crate::query::Diagnostic;

/// When to retry, in seconds: at least so many, and up to twice that, chosen at random, so that clients
/// that were rejected together do not come back together.
pub fn retry_after(least: u32) -> NonZeroU32 {
    // Without randomness all wait for the same time, which is no reason to fail.
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
            /// Every kind, with what it means.
            pub const ALL: &[(Kind, &str)] = &[$((Kind::$variant, concat!($($meaning),+)),)+];

            /// The stable code that clients match on.
            pub fn code(self) -> &'static str {
                match self { $(Kind::$variant => $code,)+ }
            }

            /// The HTTP status that carries it.
            pub fn status(self) -> u16 {
                match self { $(Kind::$variant => $status,)+ }
            }

            /// A short text that is the same for every error of the kind.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$variant => $title,)+ }
            }
        }
    };
}

kinds! {
    /// The filter, the order or a bind parameter is wrong; `diagnostics` says where.
    InvalidQuery = "invalid_query", 400, "The query is not valid";
    /// The cursor is not one of ours, or belongs to another search.
    InvalidCursor = "invalid_cursor", 400, "The cursor does not belong to this search";
    /// A parameter of the URL or a header is unknown, repeated or malformed.
    InvalidParameter = "invalid_parameter", 400, "A parameter is not valid";
    /// The body is not the JSON that is expected.
    InvalidBody = "invalid_body", 400, "The body is not valid";
    /// The record breaks a rule; `errors` says which.
    InvalidRecord = "invalid_record", 400, "The record is not valid";
    /// An import that is whole or nothing met rows it cannot write; `errors` says which.
    RowsRejected = "rows_rejected", 400, "Nothing was imported";
    /// The name or the password of an OAuth 2.0 request is wrong.
    InvalidGrant = "invalid_grant", 400, "The name or the password is wrong";
    /// The scopes that are asked for are none of those that are granted.
    InvalidScope = "invalid_scope", 400, "The scope is not granted";
    /// An OAuth 2.0 request lacks a parameter, repeats one, or is malformed.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// The grant type of an OAuth 2.0 request is not known.
    UnsupportedGrantType = "unsupported_grant_type", 400, "The grant type is not supported";
    /// Tokens are issued elsewhere; `detail` says by whom.
    SignInElsewhere = "sign_in_elsewhere", 400, "Tokens are issued elsewhere";
    /// The name or the secret of an OAuth 2.0 client is wrong.
    InvalidClient = "invalid_client", 401, "The client is not known";
    /// There is no token, or it is not accepted.
    Unauthenticated = "unauthenticated", 401, "Not signed in";
    /// The token does not carry the scope.
    InsufficientScope = "insufficient_scope", 403, "The token does not allow this";
    /// A query that the service brings is to be changed.
    BuiltIn = "built_in", 403, "A built-in query is read-only";
    /// There is no such record.
    NotFound = "not_found", 404, "There is no such record";
    /// There is no such route.
    UnknownRoute = "unknown_route", 404, "There is nothing at this address";
    /// The route does not know the method; `Allow` lists those it knows.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// The client sent nothing for too long.
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    /// A saved query does not fit the records any more; `diagnostics` says why.
    QueryOutdated = "query_outdated", 409, "The saved query does not fit the records";
    /// Nobody would administer the service any more.
    LastAdministrator = "last_administrator", 409, "Somebody must administer the service";
    /// Several records are meant where one must be; `records` lists them.
    Ambiguous = "ambiguous", 409, "Several records match";
    /// A record with the same natural key exists.
    Duplicate = "duplicate", 409, "The record exists already";
    /// The record has changed since the version in `If-Match`.
    PreconditionFailed = "precondition_failed", 412, "The record has changed";
    /// The body is larger than is read.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is of a media type or coding that is not read here.
    UnsupportedMediaType = "unsupported_media_type", 415, "The media type is not supported";
    /// A change needs `If-Match`.
    PreconditionRequired = "precondition_required", 428, "The request must be conditional";
    /// The limit of requests is used up; `Retry-After` says when to come again.
    TooManyRequests = "too_many_requests", 429, "There were too many requests";
    /// The request line and the header fields are larger than is read.
    HeadersTooLarge = "headers_too_large", 431, "The request headers are too large";
    /// A defect of the service. The log has the cause.
    Internal = "internal", 500, "The service failed";
    /// The database or the issuer of tokens cannot be reached, or is overloaded. The request may be
    /// repeated.
    Unavailable = "unavailable", 503, "The service is not available now";
}

impl Kind {
    /// Whether the code is one of OAuth 2.0 (RFC 6749, section 5.2).
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
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Violation {
    /// In a file of records, the line that the record begins on, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    /// The member of the record, as a JSON Pointer (RFC 6901); empty when all of it is meant.
    pub pointer: String,
    /// What is wrong with it and what it must be.
    pub detail: String,
}

impl Violation {
    /// A rule that the member breaks.
    pub fn new(member: &str, detail: impl Into<String>) -> Self {
        let escaped = member.replace('~', "~0").replace('/', "~1");
        Self { line: None, pointer: format!("/{escaped}"), detail: detail.into() }
    }

    /// A rule that the value at a JSON Pointer (RFC 6901) breaks.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { line: None, pointer: pointer.into(), detail: detail.into() }
    }

    /// A rule that the record as a whole breaks.
    pub fn of_all(detail: impl Into<String>) -> Self {
        Self { line: None, pointer: String::new(), detail: detail.into() }
    }

    /// The same of the record on that line of a file.
    #[must_use]
    pub fn on_line(self, line: u64) -> Self {
        Self { line: i64::try_from(line).ok(), ..self }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match self.pointer.strip_prefix('/') {
            Some(member) => write!(f, "{member} {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

/// An error with two audiences.
#[derive(Debug)]
pub struct Error {
    /// What kind of error it is.
    pub kind: Kind,
    /// Public: what happened and what to do about it.
    pub detail: String,
    /// Public: problems of a query.
    pub diagnostics: Vec<Diagnostic>,
    /// Public: problems of a record.
    pub violations: Vec<Violation>,
    /// Public: the records that match where one was meant, as JSON.
    pub records: Vec<serde_json::Value>,
    /// Public: after how many seconds the same request may succeed, where it may.
    pub retry_after: Option<NonZeroU32>,
    /// For the log alone.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What most of the service returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with its public text.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            diagnostics: Vec::new(),
            violations: Vec::new(),
            records: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// A query that is refused.
    pub fn query(diagnostics: Vec<Diagnostic>) -> Self {
        let detail = match diagnostics.as_slice() {
            [only] => only.message.clone(),
            all => format!("{} problems; see `diagnostics`", all.len()),
        };
        Self { diagnostics, ..Self::new(Kind::InvalidQuery, detail) }
    }

    /// A record that is refused.
    pub fn record(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            all => format!("{} problems; see `errors`", all.len()),
        };
        Self { violations, ..Self::new(Kind::InvalidRecord, detail) }
    }

    /// A failure that may pass.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            retry_after: Some(retry_after(1)),
            ..Self::new(Kind::Unavailable, "the database does not respond; retry later")
        }
    }

    /// A defect, or a failure that trying again will not mend.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let detail = "this is not your fault; the log has the cause under the request's id";
        Self { cause: Some(cause.into()), ..Self::new(Kind::Internal, detail) }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}
