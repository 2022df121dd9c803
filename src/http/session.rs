//! Sessions of pages of this service: the refresh token is in a cookie that scripts cannot read.
//!
//! Only the operations here read the cookie, and only for pages of the same origin. The cookie has no `Path`, so a
//! browser sends it to URLs in the folder of these operations only, also below a path that a proxy strips.

use poem::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use poem::web::Data;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, Enum, ExtractParamOptions, Object, OpenApi, Tags,
};
use serde::Serialize;

use super::body::{Body, Field, Json, documented, is_media_type};
use super::envelope::error_response;
use super::exchange::Exchange;
use super::token::{Token, TokenRequest, note_user};
use crate::app::App;
use crate::app::session::{Refresh, Renewed};
use crate::error::{Error, Kind, Result};
use crate::identity::{AuthorizationServer, Credentials, Identity, Method};

#[derive(Tags)]
enum Tag {
    /// Stay signed in on a page of this service. The page keeps the access token in memory; the cookie of the session,
    /// which no script can read, renews it.
    #[oai(rename = "session")]
    Session,
}

pub(super) struct Operations;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Session")]
impl Operations {
    /// How to sign in
    ///
    /// Returns how users sign in to this service, for pages that offer it: `open` with any name, `password` with a name
    /// and a password (`POST /api/v1/session/sign-in` or `POST /api/token`), `oidc` at another service. With `oidc`, the
    /// other members say where a page obtains a token with an authorization code and PKCE; without them, it cannot.
    #[oai(path = "/sign-in", method = "get")]
    async fn method(&self, app: Data<&App>) -> Result<Json<SignInMethod>> {
        let anonymous = app.anonymous().map(|_| true);
        app.method().await.map(|method| Json(SignInMethod::of(method, anonymous)))
    }

    /// Sign in on a page
    ///
    /// Signs in as `POST /api/token`, and starts a session: the response sets an HttpOnly cookie that renews the token.
    /// A session of an earlier sign-in in the same browser ends. With `--auth open` there is no session, because a name is
    /// enough for a new token.
    ///
    /// Only pages of this service can send this request; others get 403 `cross_origin`.
    #[oai(path = "/session/sign-in", method = "post")]
    async fn sign_in(
        &self,
        page: Page,
        app: Data<&App>,
        request: &Request,
        body: Body<TokenRequest>,
    ) -> Result<SessionResponse> {
        let TokenRequest { username, password, scope } = body.0;
        let exchange = Exchange::of(request)?;
        note_user(exchange, &username);
        let credentials = Credentials { username, password };
        let client = exchange.client_address()?;
        let renewed = app.start_session(credentials, scope.as_deref(), client).await?;
        for previous in page.cookies(request.headers()) {
            app.end_session(previous).await?;
        }
        Ok(SessionResponse::of(renewed, page))
    }

    /// Renew the token of a page
    ///
    /// Returns a new access token for the session of the cookie, with the present scopes of the user, and sets the next
    /// cookie. Returns 401 `unauthenticated` without a cookie, or if the session has ended; sign in again then.
    #[oai(path = "/session/renew", method = "post")]
    async fn renew(&self, page: Page, app: Data<&App>, request: &Request) -> SessionResponse {
        match renew(&page, &app, request).await {
            Ok(renewed) => SessionResponse::of(renewed, page),
            Err(error) => SessionResponse::rejected(error, page),
        }
    }

    /// Sign out on a page
    ///
    /// Ends the session of the cookie, removes the cookie, and revokes the access tokens of the session on all instances
    /// within a second. Returns 204 also without a session.
    #[oai(path = "/session/sign-out", method = "post")]
    async fn sign_out(&self, page: Page, app: Data<&App>, request: &Request) -> Result<SignedOut> {
        for token in page.cookies(request.headers()) {
            app.end_session(token).await?;
        }
        Ok(SignedOut(page))
    }
}

async fn renew(page: &Page, app: &App, request: &Request) -> Result<Renewed> {
    let rejected = |detail: String| Error::new(Kind::Unauthenticated, detail);
    let mut cookies = page.cookies(request.headers());
    let token =
        cookies.next().ok_or_else(|| rejected("there is no session; sign in".to_owned()))?;
    if cookies.next().is_some() {
        // One of them is not from this service.
        let name = page.cookie_name();
        return Err(rejected(format!(
            "found several cookies {name}; delete the cookies of this site"
        )));
    }
    let exchange = Exchange::of(request)?;
    let renewed = app.renew(token, None, exchange.client_address()?).await;
    let renewed = renewed.map_err(|error| match error.kind {
        Kind::InvalidGrant => {
            let detail = "the session has ended; sign in".to_owned();
            Error { kind: Kind::Unauthenticated, detail, ..error }
        }
        _ => error,
    })?;
    let scopes = renewed.issued.scope.split_ascii_whitespace().map(str::to_owned).collect();
    exchange.is_from(&Identity { subject: renewed.subject.clone(), scopes });
    Ok(renewed)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The name of the cookie. Over HTTPS it has a prefix, with which browsers accept it from HTTPS only (RFC 6265bis, section
/// 4.1.3.1). Otherwise an attacker on the network could set a session of their own.
const COOKIE_NAME: &str = "cinequery_session";
const SECURE_COOKIE_NAME: &str = "__Secure-cinequery_session";

/// A page of this service that has sent a request.
///
/// Cookies alone would not do: `SameSite` treats other ports and subdomains as the same site, so a page of them could
/// renew or end a session, or sign a user in under another name.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// Whether it was loaded over HTTPS. The browser says so, so it is right behind any proxy.
    is_secure: bool,
}

impl Page {
    /// Returns the page that has sent a request with these headers.
    ///
    /// # Errors
    /// [`Kind::CrossOrigin`] if it has another origin or is unknown; [`Kind::UnsupportedMediaType`] for the media types of
    /// HTML forms.
    fn of(headers: &HeaderMap) -> Result<Self> {
        let one = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?;
            // Several values count as an unknown one.
            Some(value.to_str().ok().filter(|_| values.next().is_none()).unwrap_or_default())
        };
        let foreign = |found: String| {
            let detail = format!("expected a request of a page of this service, {found}");
            Err(Error::new(Kind::CrossOrigin, detail))
        };
        let Some(origin) = one(&ORIGIN) else {
            return foreign("found no Origin; programs use POST /api/token".to_owned());
        };
        let (is_secure, authority) = match origin.split_once("://") {
            Some(("https", authority)) => (true, authority),
            Some(("http", authority)) => (false, authority),
            _ => return foreign(format!("found Origin: {origin:?}")),
        };
        match one(&SEC_FETCH_SITE) {
            Some("same-origin") => {}
            Some(site) => return foreign(format!("found Sec-Fetch-Site: {site:?}")),
            // Browsers omit it if the page came over plain HTTP from another host.
            None => {
                let host = one(&HOST).unwrap_or_default();
                if !without_port(authority, is_secure)
                    .eq_ignore_ascii_case(without_port(host, is_secure))
                {
                    return foreign(format!("found Origin: {origin:?} and Host: {host:?}"));
                }
            }
        }
        match one(&CONTENT_TYPE) {
            Some(sent) if !is_media_type(sent, "application/json") => {
                let detail = "send Content-Type: application/json";
                Err(Error::new(Kind::UnsupportedMediaType, detail))
            }
            _ => Ok(Self { is_secure }),
        }
    }

    fn cookie_name(self) -> &'static str {
        if self.is_secure { SECURE_COOKIE_NAME } else { COOKIE_NAME }
    }

    /// Returns the values of the cookie of the session. There are several if another program of the host, or an attacker, has
    /// set one of this name.
    fn cookies(self, headers: &HeaderMap) -> impl Iterator<Item = &str> {
        let fields = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(';'));
        pairs.filter_map(move |pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.cookie_name()).then_some(value)
        })
    }

    /// Returns the header that sets the cookie; without a token, the one that removes it.
    fn set_cookie(self, refresh: Option<&Refresh>) -> Option<HeaderValue> {
        let name = self.cookie_name();
        let (token, seconds) = refresh
            .map_or(("", 0), |refresh| (refresh.token.as_str(), refresh.expires_in.as_secs()));
        let secure = if self.is_secure { "; Secure" } else { "" };
        let cookie =
            format!("{name}={token}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        // Cannot fail: all of it is printable ASCII.
        HeaderValue::from_str(&cookie).ok()
    }
}

/// Removes the default port of the scheme.
fn without_port(authority: &str, is_secure: bool) -> &str {
    authority.strip_suffix(if is_secure { ":443" } else { ":80" }).unwrap_or(authority)
}

impl<'a> ApiExtractor<'a> for Page {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];
    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::of(request.headers())?)
    }
}

/// How users sign in.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
struct SignInMethod {
    /// The method.
    method: MethodName,
    /// Whether requests without a token may read; absent if not. Then a page need not sign users in.
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous: Option<bool>,
    /// With `oidc`: the URL to which a page sends the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_endpoint: Option<String>,
    /// With `oidc`: the URL at which a page exchanges the authorization code for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    /// With `oidc`: the client id of pages of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// With `oidc`: the scopes to request, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// The name of a way to sign in, as in the setting `--auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum MethodName {
    /// With any name, without a password.
    Open,
    /// With a name and a password.
    Password,
    /// At another service.
    Oidc,
}

impl SignInMethod {
    fn of(method: Method, anonymous: Option<bool>) -> Self {
        let (method, server) = match method {
            Method::Open => (MethodName::Open, None),
            Method::Password => (MethodName::Password, None),
            Method::Elsewhere(server) => (MethodName::Oidc, server),
        };
        let part = |of: fn(&AuthorizationServer) -> &String| server.as_ref().map(of).cloned();
        Self {
            method,
            anonymous,
            authorization_endpoint: part(|server| &server.authorization_endpoint),
            token_endpoint: part(|server| &server.token_endpoint),
            client_id: part(|server| &server.client_id),
            scope: part(|server| &server.scope),
        }
    }
}

/// The header that sets or removes the cookie.
const SETS_COOKIE: Field = (
    "Set-Cookie",
    "The HttpOnly cookie with the next refresh token, or its removal if there is no session any more.",
    false,
);

/// A token of a page, with the cookie of its session.
struct SessionResponse {
    token: Result<Token>,
    cookie: Option<HeaderValue>,
}

impl SessionResponse {
    fn of(renewed: Renewed, page: Page) -> Self {
        let cookie = page.set_cookie(renewed.refresh.as_ref());
        Self { token: Ok(Token::of(renewed.issued, None)), cookie }
    }

    fn rejected(error: Error, page: Page) -> Self {
        // A session that has ended stays so. After other errors the browser can try again.
        let has_ended = error.kind == Kind::Unauthenticated;
        let cookie = has_ended.then(|| page.set_cookie(None)).flatten();
        Self { token: Err(error), cookie }
    }
}

impl IntoResponse for SessionResponse {
    fn into_response(self) -> Response {
        let mut response = match self.token {
            Ok(token) => Json(token).into_response(),
            Err(error) => error_response(error),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(cookie) = self.cookie {
            headers.insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl ApiResponse for SessionResponse {
    fn meta() -> MetaResponses {
        let token = documented(200, Some(Token::schema_ref()), &[SETS_COOKIE]);
        let mut responses = vec![token];
        responses.extend(Error::meta().responses);
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        Json::<Token>::register(registry);
        Error::register(registry);
    }
}

/// The response to signing out on a page, which removes the cookie.
struct SignedOut(Page);

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        if let Some(cookie) = self.0.set_cookie(None) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl ApiResponse for SignedOut {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![documented(204, None, &[SETS_COOKIE])] }
    }

    fn register(_registry: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header fields, and the code of their error, or whether the page is secure.
    type Case = (&'static [(&'static str, &'static str)], std::result::Result<bool, &'static str>);

    /// Returns the code of the error for these header fields, or whether the page is secure.
    fn page(fields: &[(&str, &str)]) -> std::result::Result<bool, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.append(name, value);
            }
        }
        Page::of(&headers).map(|page| page.is_secure).map_err(|error| error.kind.code())
    }

    #[test]
    fn only_pages_of_the_same_origin_are_accepted() {
        const FOREIGN: std::result::Result<bool, &str> = Err("cross_origin");
        const HOST: (&str, &str) = ("host", "app.example");
        const SITE: &str = "sec-fetch-site";
        let cases: &[Case] = &[
            (&[HOST, ("origin", "https://app.example"), (SITE, "same-origin")], Ok(true)),
            (&[HOST, ("origin", "http://app.example"), (SITE, "same-origin")], Ok(false)),
            // A proxy has changed the host.
            (
                &[("host", "inner:8080"), ("origin", "https://app.example"), (SITE, "same-origin")],
                Ok(true),
            ),
            // Plain HTTP to another host than localhost has no Sec-Fetch-Site.
            (&[HOST, ("origin", "http://app.example")], Ok(false)),
            (&[HOST, ("origin", "http://APP.example:80")], Ok(false)),
            (&[("host", "app.example:443"), ("origin", "https://app.example")], Ok(true)),
            (&[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")], Ok(false)),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:9090")], FOREIGN),
            (
                &[
                    ("host", "localhost:8080"),
                    ("origin", "http://localhost:9090"),
                    (SITE, "same-site"),
                ],
                FOREIGN,
            ),
            (&[HOST, ("origin", "https://app.example:80")], FOREIGN),
            (&[HOST, ("origin", "https://evil.example")], FOREIGN),
            (&[HOST, ("origin", "https://app.example"), (SITE, "cross-site")], FOREIGN),
            (&[HOST, ("origin", "https://app.example"), (SITE, "none")], FOREIGN),
            (
                &[
                    HOST,
                    ("origin", "https://app.example"),
                    (SITE, "same-origin"),
                    (SITE, "same-origin"),
                ],
                FOREIGN,
            ),
            (
                &[HOST, ("origin", "https://app.example"), ("origin", "https://evil.example")],
                FOREIGN,
            ),
            (&[HOST, ("origin", "null"), (SITE, "same-origin")], FOREIGN),
            (&[HOST, ("origin", ""), (SITE, "same-origin")], FOREIGN),
            (&[HOST, ("origin", "file://app.example")], FOREIGN),
            (&[HOST, (SITE, "same-origin")], FOREIGN),
            (&[HOST], FOREIGN),
            (&[], FOREIGN),
        ];
        for (fields, expected) in cases {
            assert_eq!(page(fields), *expected, "{fields:?}");
        }
        for (media_type, expected) in [
            ("application/json; charset=utf-8", Ok(false)),
            ("text/plain", Err("unsupported_media_type")),
            ("application/x-www-form-urlencoded", Err("unsupported_media_type")),
            ("multipart/form-data; boundary=x", Err("unsupported_media_type")),
        ] {
            let fields = [HOST, ("origin", "http://app.example"), ("content-type", media_type)];
            assert_eq!(page(&fields), expected, "{media_type}");
        }
    }

    #[test]
    fn cookies_of_the_right_name_are_read() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["other=1"], &[]),
            (&["a=b; cinequery_session=x; c=d"], &["x"]),
            (&["a=b", "cinequery_session=x=y"], &["x=y"]),
            (&["__Secure-cinequery_session=x; CINEQUERY_SESSION=y"], &[]),
            (&["cinequery_session=x; cinequery_session=y"], &["x", "y"]),
            (&["cinequery_session=x", "cinequery_session=x"], &["x", "x"]),
            (&["cinequery_session; =; ;;"], &[]),
        ];
        for (fields, expected) in cases {
            let values = fields.iter().filter_map(|field| field.parse().ok());
            let headers: HeaderMap = values.map(|value| (COOKIE, value)).collect();
            let found: Vec<&str> = Page { is_secure: false }.cookies(&headers).collect();
            assert_eq!(found, *expected, "{fields:?}");
        }
    }
}
