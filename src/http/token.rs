//! Signing in.

use poem::http::HeaderValue;
use poem::http::header::CACHE_CONTROL;
use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};
use serde::{Deserialize, Serialize};

use super::body::{Body, Input, Json, json};
use super::classic::missing_json;
use crate::app::App;
use crate::error::{Error, Result};
use crate::identity::Credentials;

#[derive(Tags)]
enum Tag {
    /// Signing in. Every operation on records needs a token.
    #[oai(rename = "token")]
    Token,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Token")]
impl Operations {
    /// Sign in
    ///
    /// Issues a bearer token that expires. How somebody signs in is the operator's choice: with
    /// `--auth open` a name is enough.
    #[oai(path = "/api/token", method = "post")]
    async fn sign_in(&self, app: Data<&App>, body: Body<TokenRequest>) -> Result<TokenResponse> {
        let TokenRequest { username, password } = body.0;
        let issued = app.sign_in(Credentials { username, password }).await?;
        Ok(TokenResponse(Json(Token {
            access_token: issued.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: i64::try_from(issued.expires_in.as_secs()).unwrap_or(i64::MAX),
            scope: issued.scope,
        })))
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
}

impl Input for TokenRequest {
    fn read(bytes: &[u8]) -> Result<Self> {
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
