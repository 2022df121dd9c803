//! Signing in and out: in JSON, and as OAuth 2.0 asks for it.

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
use super::legacy::missing_json;
use super::resource::decode;
use super::throttle;
use crate::app::App;
use crate::app::revoke::{self, RevocationRequest};
use crate::error::{Error, Kind, Result};
use crate::identity::{Credentials, MAX_TOKEN_BYTES};

const FORM: &str = "application/x-www-form-urlencoded";

/// The largest request to sign in, in bytes. Anybody may send one.
const MAX_SIGN_IN_BYTES: usize = 8 * 1024;

#[derive(Tags)]
enum Tag {
    /// Signing in and out. Every operation on records needs a token.
    #[oai(rename = "token")]
    Token,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Token")]
impl Operations {
    /// Sign in
    ///
    /// Issues a bearer token that expires. How somebody signs in is the operator's choice: with
    /// `--auth open` a name is enough; with `--auth oidc` tokens are issued elsewhere, and the refusal
    /// says where. As JSON the body is the earlier service's; as a form it is an
    /// OAuth 2.0 token request (RFC 6749, sections 4.3 and 4.4), whose `client_id` and `client_secret`
    /// are a name and a password too, and may stand in `Authorization: Basic`. A wrong name or password is 401,
    /// `unauthenticated`; in a form 400, `invalid_grant`, or 401, `invalid_client`. Of the scopes that are asked
    /// for, the token has those that are granted; when none is, 400, `invalid_scope`.
    #[oai(path = "/api/token", method = "post")]
    async fn sign_in(
        &self,
        app: Data<&App>,
        request: &Request,
        sign_in: SignIn,
    ) -> Result<TokenResponse> {
        let SignIn { credentials, scope, refusal } = sign_in;
        let address = throttle::address(request, app.admission());
        let issued = app.sign_in(credentials, scope.as_deref(), address).await;
        let issued = issued.map_err(|error| match error.kind {
            Kind::Unauthenticated => Error { kind: refusal, ..error },
            // OAuth 2.0 has a word of its own for it.
            Kind::SignInElsewhere if refusal != Kind::Unauthenticated => {
                Error { kind: Kind::UnsupportedGrantType, ..error }
            }
            _ => error,
        })?;
        Ok(TokenResponse(Json(Token {
            access_token: issued.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: i64::try_from(issued.expires_in.as_secs()).unwrap_or(i64::MAX),
            scope: issued.scope,
        })))
    }

    /// Sign out
    ///
    /// Ends a token before it expires (RFC 7009), on every instance within a second. Whoever holds it
    /// may do that. A token that is not accepted has ended already: that is no error.
    #[oai(path = "/api/token/revoke", method = "post")]
    async fn sign_out(&self, app: Data<&App>, body: Body<RevocationForm>) -> Result<Revoked> {
        revoke::one(&app, &body.0.token).await.map(|()| Revoked)
    }

    /// End all tokens of somebody
    ///
    /// Every token that they have been issued so far ends, on every instance within a second; 204 also when
    /// there are none. One's own need no scope; those of others need the scope `admin`.
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

/// What somebody signs in with.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    /// The name.
    username: String,
    /// The password, where one is asked for.
    password: Option<String>,
    /// What the token is to allow at most: scopes such as `movies:read`, separated by spaces.
    scope: Option<String>,
}

/// An OAuth 2.0 token request.
#[derive(Deserialize)]
struct TokenForm {
    /// How somebody signs in.
    grant_type: GrantType,
    /// With `password`: the name.
    username: Option<String>,
    /// With `password`: the password, where one is asked for.
    password: Option<String>,
    /// With `client_credentials`: the name.
    client_id: Option<String>,
    /// With `client_credentials`: the password.
    client_secret: Option<String>,
    /// What the token is to allow at most: scopes such as `movies:read`, separated by spaces.
    scope: Option<String>,
}

/// How somebody signs in.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrantType {
    /// With a name and a password.
    Password,
    /// With the same, as a program.
    ClientCredentials,
}

/// A token that is to end.
#[derive(Object, Deserialize)]
struct RevocationForm {
    /// The token.
    token: String,
    /// What kind of token it is. There is one kind, and this is not looked at.
    #[allow(dead_code, reason = "RFC 7009 has it, and lets servers pass over it")]
    token_type_hint: Option<String>,
}

impl Input for RevocationForm {
    const MEDIA_TYPES: &'static [&'static str] = &[FORM];
    const MAX_BYTES: usize = 2 * MAX_TOKEN_BYTES;

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        form(bytes)
    }
}

impl Input for RevocationRequest {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

/// A form as the type wants it. Members that it does not know are passed over, as OAuth 2.0 asks
/// (RFC 6749, section 3.2); repeated ones are refused.
fn form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let refused = |detail: String| Error::new(Kind::InvalidRequest, detail);
    serde_urlencoded::from_bytes(bytes).map_err(|error| refused(error.to_string()))
}

/// A request to sign in, in whichever form.
struct SignIn {
    credentials: Credentials,
    scope: Option<String>,
    /// What a wrong name or password is called.
    refusal: Kind,
}

impl SignIn {
    fn of_json(request: TokenRequest) -> Self {
        let TokenRequest { username, password, scope } = request;
        let credentials = Credentials { username, password };
        Self { credentials, scope, refusal: Kind::Unauthenticated }
    }

    fn of_form(bytes: &[u8], authorization: Option<&HeaderValue>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Grant {
            grant_type: Option<String>,
        }
        let missing = |what: &str| Error::new(Kind::InvalidRequest, format!("there is no {what}"));
        let grant = form::<Grant>(bytes)?.grant_type.ok_or_else(|| {
            missing("grant_type; JSON is sent with Content-Type: application/json")
        })?;
        if !["password", "client_credentials"].contains(&grant.as_str()) {
            let detail = "grant_type must be password or client_credentials";
            return Err(Error::new(Kind::UnsupportedGrantType, detail));
        }
        let TokenForm { grant_type, username, password, client_id, client_secret, scope } =
            form(bytes)?;
        let (username, password, refusal) = match grant_type {
            GrantType::Password => {
                let username = username.ok_or_else(|| missing("username"))?;
                (username, password, Kind::InvalidGrant)
            }
            GrantType::ClientCredentials => {
                let (id, secret) = match (client_id, basic(authorization)?) {
                    (Some(id), None) => (id, client_secret),
                    (None, Some((id, secret))) => (id, Some(secret)),
                    (Some(_), Some(_)) => {
                        let detail = "the client is named twice: in the form and in Authorization";
                        return Err(Error::new(Kind::InvalidRequest, detail));
                    }
                    (None, None) => return Err(missing("client_id")),
                };
                (id, secret, Kind::InvalidClient)
            }
        };
        Ok(Self { credentials: Credentials { username, password }, scope, refusal })
    }
}

/// The name and the secret of `Authorization: Basic`, each percent-encoded (RFC 6749, section 2.3.1);
/// nothing where there is no such header.
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
    let refused = || Error::new(Kind::InvalidClient, "Authorization: Basic is malformed");
    parts().map(Some).ok_or_else(refused)
}

impl<'a> ApiExtractor<'a> for SignIn {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Body::<TokenRequest>::register(registry);
    }

    // The form is documented where its clients look for it: as flows of the scheme `oauth2`.
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
    const MAX_BYTES: usize = MAX_SIGN_IN_BYTES;

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }

    /// The earlier service knew no 415.
    fn unsupported() -> Error {
        missing_json()
    }
}

/// A token, as in OAuth 2.0 (RFC 6749, section 5.1).
#[derive(Object, Serialize)]
struct Token {
    /// The token, to be sent as `Authorization: Bearer …`.
    access_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// For how many seconds it is accepted.
    expires_in: i64,
    /// What it allows: scopes such as `movies:read`, separated by spaces.
    scope: String,
}

/// A token, which nobody on the way may keep.
struct TokenResponse(Json<Token>);

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

/// A token has ended (RFC 7009, section 2.2): 200, and nothing to read.
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
