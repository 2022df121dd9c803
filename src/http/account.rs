//! The account of the caller, and a change of the own password.

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;

use super::body::{Body, Input, Json, json};
use super::caller::{Caller, Visitor};
use super::exchange::Exchange;
use super::token::{Tag, Token, TokenResponse};
use crate::app::App;
use crate::app::account::{CurrentUser, PasswordChange};
use crate::error::Result;

pub(super) struct Operations;

#[OpenApi(prefix_path = "/api/v1/me", tag = "Tag::Token")]
impl Operations {
    /// Get the caller
    ///
    /// Returns the user name, the scopes and the expiry time of the token. With `--auth password`, `role` is the present
    /// role of the user. Without a token, and if the catalogue is public, returns the scopes of visitors.
    #[oai(path = "/", method = "get")]
    async fn get(
        &self,
        caller: Visitor,
        app: Data<&App>,
        request: &Request,
    ) -> Result<Json<CurrentUser>> {
        let expires_at = Exchange::of(request)?.token_expires_at.get().copied();
        app.account(&caller.0, expires_at).await.map(Json)
    }

    /// Change the own password
    ///
    /// Changes the password of the caller, and revokes all tokens and sessions of the caller on all instances within a
    /// second. Returns a new token with the scopes of the present one, so that the caller goes on.
    ///
    /// Returns 403 `wrong_password` if `current_password` is wrong; such requests are limited like failed sign-ins. Returns
    /// 409 `no_password` if this service does not keep the password of the caller: with `--auth open` and `--auth oidc`.
    #[oai(path = "/password", method = "put")]
    async fn change_password(
        &self,
        caller: Caller,
        app: Data<&App>,
        request: &Request,
        body: Body<PasswordChange>,
    ) -> Result<TokenResponse> {
        let client = Exchange::of(request)?.client_address()?;
        let issued = app.change_password(&caller.0, body.0, client).await?;
        Ok(TokenResponse(Json(Token::of(issued, None))))
    }
}

impl Input for PasswordChange {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}
