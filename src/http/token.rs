//! Signing in and out, with JSON or as in OAuth 2.0.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use poem::http::header::{AUTHORIZATION, CACHE_CONTROL};
use poem::http::{HeaderValue, StatusCode};
use poem::web::Data;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{MetaRequest, MetaResponses, Registry};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi, Tags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body::{Body, Input, Json, NoContent, documented, is_media_type, json, read_body};
use super::caller::Caller;
use super::exchange::Exchange;
use super::legacy::missing_json;
use super::limits::Limits;
use super::parameters::decode;
use crate::app::App;
use crate::app::revoke::{self, RevocationRequest};
use crate::app::session::Renewed;
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, Identity, Issued, MAX_TOKEN_BYTES};

const FORM: &str = "application/x-www-form-urlencoded";

/// The maximum body of a request to sign in, in bytes. It is small, because the request needs no token.
const MAX_SIGN_IN_BYTES: usize = 8 * 1024;

/// The maximum number of characters of a user name in the log.
const MAX_LOGGED_CHARACTERS: usize = 64;

#[derive(Tags)]
pub(super) enum Tag {
    /// Sign in and out. All operations on records require a token.
    #[oai(rename = "token")]
    Token,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Token")]
impl Operations {
    /// Sign in
    ///
    /// Returns a bearer token that expires. The operator selects the method: `--auth password` requires a name
    /// and a password; `--auth open` requires a name only. With `--auth oidc`, another service issues tokens, and
    /// the error `sign_in_elsewhere` names it.
    ///
    /// Send JSON, or a form with an OAuth 2.0 token request (RFC 6749, sections 4.3 and 4.4). In a form,
    /// `client_id` and `client_secret` are also a name and a password, and may be sent as `Authorization: Basic`.
    ///
    /// Returns 401 `unauthenticated` for a wrong name or password. A form returns 400 `invalid_grant` (grant type
    /// `password`) or 401 `invalid_client` (grant type `client_credentials`) instead. The token has those of the
    /// requested scopes that the user has; if there are none, the response is 400 `invalid_scope`.
    ///
    /// With `--auth password`, a form with grant type `password` and `offline_access` in `scope` also returns a
    /// `refresh_token`. A form with grant type `refresh_token` renews both tokens (RFC 6749, section 6), with the present
    /// scopes of the user. Each refresh token renews once: its use later than 10 seconds after that renewal ends the
    /// session. It returns 400 `invalid_grant`, as for any invalid refresh token.
    #[oai(path = "/api/token", method = "post")]
    async fn sign_in(
        &self,
        app: Data<&App>,
        request: &Request,
        grant: Grant,
    ) -> Result<TokenResponse> {
        let exchange = Exchange::of(request)?;
        let client = exchange.client_address()?;
        let (credentials, scope, rejection, keeps) = match grant {
            Grant::Refresh { token, scope } => {
                let renewed = app.renew(&token, scope.as_deref(), client).await?;
                let scopes = renewed.issued.scope.split_ascii_whitespace().map(str::to_owned);
                let subject = renewed.subject.clone();
                exchange.is_from(&Identity { subject, scopes: scopes.collect() });
                return Ok(TokenResponse(Json(Token::of_session(renewed))));
            }
            Grant::SignIn(SignIn { credentials, scope, rejection, keeps }) => {
                (credentials, scope, rejection, keeps)
            }
        };
        note_user(exchange, &credentials.username);
        let signed_in = match keeps {
            true => {
                let started = app.start_session(credentials, scope.as_deref(), client).await;
                started.map(Token::of_session)
            }
            false => {
                let issued = app.sign_in(credentials, scope.as_deref(), client).await;
                issued.map(|issued| Token::of(issued, None))
            }
        };
        let token = signed_in.map_err(|error| match error.kind {
            Kind::Unauthenticated => Error { kind: rejection, ..error },
            // OAuth 2.0 has its own code for this.
            Kind::SignInElsewhere if rejection != Kind::Unauthenticated => {
                Error { kind: Kind::UnsupportedGrantType, ..error }
            }
            _ => error,
        })?;
        Ok(TokenResponse(Json(token)))
    }

    /// Sign out
    ///
    /// Revokes the token in the body before it expires (RFC 7009), on all instances within a second. A refresh token
    /// ends its session, with all its access tokens. No other token is required. An expired, revoked or invalid token also returns 200. A form without `token` returns
    /// 400 `invalid_request`.
    #[oai(path = "/api/token/revoke", method = "post")]
    async fn sign_out(
        &self,
        app: Data<&App>,
        request: &Request,
        body: Body<RevocationForm>,
    ) -> Result<Revoked> {
        if let Some(identity) = revoke::one(&app, &body.0.token).await? {
            Exchange::of(request)?.is_from(&identity);
        }
        Ok(Revoked)
    }

    /// Revoke all tokens of a user
    ///
    /// Revokes every token issued to the user so far, on all instances within a second, and ends all sessions. Returns 204, also if the
    /// user has no tokens. Users can revoke their own tokens; the tokens of others require the scope `admin`,
    /// otherwise the response is 403 `insufficient_scope`.
    #[oai(path = "/api/v1/revocations", method = "post")]
    async fn revoke(
        &self,
        caller: Caller,
        app: Data<&App>,
        body: Body<RevocationRequest>,
    ) -> Result<NoContent> {
        revoke::all_of(&app.store_for(&caller.0), &caller.0, &body.0).await.map(|()| NoContent)
    }
}

/// Notes the name that a request signs in, for the log.
pub(super) fn note_user(exchange: &Exchange, username: &str) {
    // Already set only if a request signs in twice, which does not happen.
    let _ = exchange.user.set(username.chars().take(MAX_LOGGED_CHARACTERS).collect());
}

/// A request to sign in.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// The user name.
    pub(super) username: String,
    /// The password. Required with `--auth password`.
    pub(super) password: Option<String>,
    /// The requested scopes, such as `movies:read`, separated by spaces. Default: all scopes of the user.
    pub(super) scope: Option<String>,
}

/// An OAuth 2.0 token request.
#[derive(Deserialize)]
struct TokenForm {
    /// The grant type.
    grant_type: GrantType,
    /// With `password`: the user name.
    username: Option<String>,
    /// With `password`: the password.
    password: Option<String>,
    /// With `client_credentials`: the user name.
    client_id: Option<String>,
    /// With `client_credentials`: the password.
    client_secret: Option<String>,
    /// With `refresh_token`: the token.
    refresh_token: Option<String>,
    /// The requested scopes, separated by spaces.
    scope: Option<String>,
}

/// A grant type of OAuth 2.0.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrantType {
    /// A user signs in with a name and a password.
    Password,
    /// A program signs in with a name and a password.
    ClientCredentials,
    /// A client renews its session.
    RefreshToken,
}

/// The scope that requests a refresh token (OpenID Connect Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// Removes [`OFFLINE_ACCESS`] from requested scopes. Returns whether it was there.
fn without_offline_access(scope: Option<String>) -> (Option<String>, bool) {
    let Some(scope) = scope else { return (None, false) };
    let others: Vec<&str> =
        scope.split_ascii_whitespace().filter(|scope| *scope != OFFLINE_ACCESS).collect();
    let is_requested = others.len() < scope.split_ascii_whitespace().count();
    if is_requested { (Some(others.join(" ")), true) } else { (Some(scope), false) }
}

/// A request to revoke a token.
#[derive(Object, Deserialize)]
struct RevocationForm {
    /// The token to revoke.
    token: String,
    /// The kind of the token. Ignored, because the tokens say it themselves.
    #[allow(dead_code, reason = "RFC 7009 defines it and allows servers to ignore it")]
    token_type_hint: Option<String>,
}

impl Input for RevocationForm {
    const MEDIA_TYPES: &'static [&'static str] = &[FORM];

    fn max_bytes(_limits: &Limits) -> usize {
        2 * MAX_TOKEN_BYTES
    }

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        form(bytes)
    }
}

impl Input for RevocationRequest {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

/// Parses a form. Unknown parameters are ignored, as OAuth 2.0 requires (RFC 6749, section 3.2).
///
/// # Errors
/// [`Kind::InvalidRequest`] if a parameter is missing, repeated or malformed.
fn form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let invalid = |detail: String| Error::new(Kind::InvalidRequest, detail);
    serde_urlencoded::from_bytes(bytes).map_err(|error| invalid(error.to_string()))
}

/// A request for a token, from JSON or a form.
enum Grant {
    /// To sign in.
    SignIn(SignIn),
    /// To renew a session.
    Refresh { token: String, scope: Option<String> },
}

/// A request to sign in.
struct SignIn {
    credentials: Credentials,
    scope: Option<String>,
    /// The kind of error for a wrong name or password.
    rejection: Kind,
    /// Whether a refresh token is requested.
    keeps: bool,
}

impl Grant {
    fn of_json(request: TokenRequest) -> Self {
        let TokenRequest { username, password, scope } = request;
        let credentials = Credentials { username, password };
        Self::SignIn(SignIn { credentials, scope, rejection: Kind::Unauthenticated, keeps: false })
    }

    fn of_form(bytes: &[u8], authorization: Option<&HeaderValue>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Named {
            grant_type: Option<String>,
        }
        let missing = |what: &str| Error::new(Kind::InvalidRequest, format!("missing {what}"));
        let grant = form::<Named>(bytes)?.grant_type.ok_or_else(|| {
            missing("grant_type; for a JSON body, send Content-Type: application/json")
        })?;
        if !["password", "client_credentials", "refresh_token"].contains(&grant.as_str()) {
            let detail =
                "unsupported grant_type; expected password, client_credentials or refresh_token";
            return Err(Error::new(Kind::UnsupportedGrantType, detail));
        }
        let form: TokenForm = form(bytes)?;
        let TokenForm { grant_type, username, password, client_id, .. } = form;
        let TokenForm { client_secret, refresh_token, scope, .. } = form;
        let (scope, is_offline) = without_offline_access(scope);
        let mut keeps = false;
        let (username, password, rejection) = match grant_type {
            GrantType::RefreshToken => {
                let token = refresh_token.ok_or_else(|| missing("refresh_token"))?;
                return Ok(Self::Refresh { token, scope });
            }
            GrantType::Password => {
                let username = username.ok_or_else(|| missing("username"))?;
                keeps = is_offline;
                (username, password, Kind::InvalidGrant)
            }
            GrantType::ClientCredentials => {
                let (id, secret) = match (client_id, basic(authorization)?) {
                    (Some(id), None) => (id, client_secret),
                    (None, Some((id, secret))) => (id, Some(secret)),
                    (Some(_), Some(_)) => {
                        let detail = "found client credentials in the form and in Authorization; send only one of them";
                        return Err(Error::new(Kind::InvalidRequest, detail));
                    }
                    (None, None) => return Err(missing("client_id")),
                };
                (id, secret, Kind::InvalidClient)
            }
        };
        let credentials = Credentials { username, password };
        Ok(Self::SignIn(SignIn { credentials, scope, rejection, keeps }))
    }
}

/// Returns the client id and secret of `Authorization: Basic`, each percent-encoded (RFC 6749, section 2.3.1), or
/// `None` without such a header.
fn basic(authorization: Option<&HeaderValue>) -> Result<Option<(String, String)>> {
    let scheme = authorization.and_then(|value| value.as_bytes().get(..6));
    let (Some(value), Some(scheme)) = (authorization, scheme) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Ok(None);
    }
    let parts = || {
        let encoded = value.to_str().ok()?.get(6..)?.trim();
        let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        Some((decode(id)?, decode(secret)?))
    };
    let malformed = || {
        let detail = "malformed Authorization: Basic; expected the base64 of ID:SECRET, both percent-encoded";
        Error::new(Kind::InvalidClient, detail)
    };
    parts().map(Some).ok_or_else(malformed)
}

impl<'a> ApiExtractor<'a> for Grant {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Body::<TokenRequest>::register(registry);
    }

    // The form is documented where OAuth 2.0 clients look for it: as flows of the scheme `oauth2`.
    fn request_meta() -> Option<MetaRequest> {
        Body::<TokenRequest>::request_meta()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if is_media_type(request.content_type().unwrap_or_default(), FORM) {
            let bytes = read_body(request, body, MAX_SIGN_IN_BYTES).await?;
            return Ok(Self::of_form(&bytes, request.headers().get(AUTHORIZATION))?);
        }
        let body = Body::<TokenRequest>::from_request(request, body, options).await?;
        Ok(Self::of_json(body.0))
    }
}

impl Input for TokenRequest {
    fn max_bytes(_limits: &Limits) -> usize {
        MAX_SIGN_IN_BYTES
    }

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }

    /// The previous service returned 400 instead of 415.
    fn unsupported() -> Error {
        missing_json()
    }
}

/// A token, as in OAuth 2.0 (RFC 6749, section 5.1).
#[derive(Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Token {
    /// The token. Send it as `Authorization: Bearer …`.
    access_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// The lifetime of the token in seconds.
    expires_in: i64,
    /// The scopes of the token, such as `movies:read`, separated by spaces.
    scope: String,
    /// The token that renews the session, if one was requested. It renews once.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl Token {
    pub(super) fn of(issued: Issued, refresh_token: Option<String>) -> Self {
        Self {
            access_token: issued.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: i64::try_from(issued.expires_in.as_secs()).unwrap_or(i64::MAX),
            scope: issued.scope,
            refresh_token,
        }
    }

    fn of_session(renewed: Renewed) -> Self {
        Self::of(renewed.issued, renewed.refresh.map(|refresh| refresh.token))
    }
}

/// A token as a response that caches must not store.
pub(super) struct TokenResponse(pub(super) Json<Token>);

impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl ApiResponse for TokenResponse {
    fn meta() -> MetaResponses {
        Json::<Token>::meta()
    }

    fn register(registry: &mut Registry) {
        Json::<Token>::register(registry);
    }
}

/// The response to a revocation: 200 without a body (RFC 7009, section 2.2).
struct Revoked;

impl IntoResponse for Revoked {
    fn into_response(self) -> Response {
        Response::builder().status(StatusCode::OK).finish()
    }
}

impl ApiResponse for Revoked {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![documented(200, None, &[])] }
    }

    fn register(_registry: &mut Registry) {}
}
