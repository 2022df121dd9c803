//! Tokens of an OpenID Connect or OAuth 2.0 issuer: JSON Web Tokens (RFC 9068).
//!
//! The keys of the issuer are cached. They are fetched again when they are old, and when a token names an unknown
//! key. One task fetches at a time, and it completes even if the request that started it is cancelled.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::claims::Claims;
use super::rejection::{Reason, rejected};
use super::token::{Times, check_claims, invalid, strict_header, validation};
use super::{
    ADMIN_SCOPE, AuthorizationServer, Bearer, Credentials, Identity, IssuedAt, Leeway,
    MAX_LEEWAY_SECONDS, Method, Provider, RoleClaim, Tokens, record_scopes,
};
use crate::error::{self, Error, Kind};
use crate::query::Schema;
use crate::query::text::nfc;
use crate::telemetry::account::{self, Account};

/// The age at which keys are fetched again. A withdrawn key is accepted for this time.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// The pause between two fetches. Without it, tokens with invented key ids would each cause a request to the issuer.
const REST: Duration = Duration::from_secs(10);

/// How long keys are used while the issuer is unreachable. This is longer than usual outages. It is limited, so
/// that blocking the connection does not keep a withdrawn key alive indefinitely.
const USABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The timeout of a fetch, during which requests wait.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum size of a response of the issuer. A key has about 0.5 KiB, with certificates a few KiB.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Lifetimes of cached keys.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// The age at which they are fetched again.
    pub fresh: Duration,
    /// The pause between two fetches.
    pub rest: Duration,
    /// Their maximum age while the issuer is unreachable.
    pub usable: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self { fresh: FRESH, rest: REST, usable: USABLE }
    }
}

/// The trusted issuer of tokens.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The URL of the issuer, exactly as in the `iss` claim of its tokens.
    pub issuer: String,
    /// The name of this service in the `aud` claim of tokens.
    pub audience: String,
    /// The URL of its keys; `None` to discover it.
    pub jwks: Option<String>,
    /// Certificates (PEM) of authorities to trust in addition to the public ones.
    pub authorities: Option<Vec<u8>>,
    /// The claim with the roles of a user.
    pub roles: RoleClaim,
    /// How far the times of its tokens may be off.
    pub leeway: Leeway,
    /// What pages of this service are at the issuer; `None` if they cannot sign users in there.
    pub page: Option<PageClient>,
}

/// A public client at the issuer, for pages of this service: an authorization code with PKCE is its only credential.
#[derive(Debug, Clone)]
pub struct PageClient {
    /// Its client id.
    pub id: String,
    /// The scopes to request, separated by spaces.
    pub scope: String,
}

/// The provider of `--auth oidc`, for tokens of another issuer.
pub struct Oidc(Arc<Issuer>);

struct Issuer {
    name: String,
    audience: String,
    source: Source,
    /// The URL of the discovery document, if pages sign users in, and the client that they are.
    page: Option<(Url, PageClient)>,
    client: Client,
    ages: Ages,
    roles: RoleClaim,
    leeway: Leeway,
    schemas: Vec<&'static Schema>,
    known: RwLock<Arc<Known>>,
    /// Held by the task that fetches keys.
    turn: Mutex<()>,
}

/// The URL of the keys, or of the document that names it.
enum Source {
    Keys(Url),
    Discovery(Url),
}

/// The cached keys, and the outcome of the last fetch.
#[derive(Clone, Default)]
struct Known {
    keys: Vec<Arc<Key>>,
    /// Where pages sign users in.
    server: Option<AuthorizationServer>,
    /// When the fetch of these keys started.
    since: Option<Instant>,
    /// When the last fetch ended.
    asked_at: Option<Instant>,
    /// Why the last fetch failed.
    failure: Option<String>,
}

impl Known {
    fn find(&self, id: &str, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.keys.iter().find(|key| key.id == id && key.algorithm == algorithm).cloned()
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() < age)
    }

    fn may_fetch(&self, rest: Duration) -> bool {
        self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= rest)
    }
}

/// A key, and the validation of tokens that it signed.
struct Key {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

/// The discovery document (OpenID Connect Discovery 1.0, section 3), as far as it is used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

impl Oidc {
    /// Creates a provider for tokens of an issuer, with scopes and roles on these record types. Sends no request yet.
    ///
    /// # Errors
    /// Fails if a URL is malformed or not secure, if the certificates cannot be parsed, or if the leeway is more than
    /// [`MAX_LEEWAY_SECONDS`].
    pub fn new(trust: Trust, ages: Ages, schemas: &[&'static Schema]) -> Result<Self, String> {
        let Trust { issuer: name, audience, jwks, authorities, roles, leeway, page } = trust;
        if [leeway.clock_skew, leeway.expiry]
            .iter()
            .any(|it| !(0..=MAX_LEEWAY_SECONDS).contains(it))
        {
            return Err(format!(
                "--oidc-clock-skew and --oidc-expiry-leeway: expected at most {MAX_LEEWAY_SECONDS} s"
            ));
        }
        let of_issuer = |problem: String| format!("--oidc-issuer {problem}");
        let issuer = secure_url(&name).map_err(of_issuer)?;
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(of_issuer("must not contain a query or a fragment".to_owned()));
        }
        let folder = name.strip_suffix('/').unwrap_or(&name);
        let discovery = format!("{folder}/.well-known/openid-configuration");
        let discovery = secure_url(&discovery).map_err(of_issuer)?;
        let page = page.map(|page| (discovery.clone(), page));
        let source = match jwks {
            Some(jwks) => {
                let url = secure_url(&jwks).map_err(|problem| format!("--oidc-jwks {problem}"));
                Source::Keys(url?)
            }
            None => Source::Discovery(discovery),
        };
        let client = client(&source, authorities.as_deref())?;
        Ok(Self(Arc::new(Issuer {
            name,
            audience,
            source,
            page,
            client,
            ages,
            roles,
            leeway,
            schemas: schemas.to_vec(),
            known: RwLock::default(),
            turn: Mutex::default(),
        })))
    }

    /// Fetches the keys of the issuer, so that no request has to wait for them. If this fails, the failure is logged,
    /// and the next request fetches again.
    pub async fn prepare(&self) {
        Arc::clone(&self.0).refresh().await;
    }
}

impl Provider for Oidc {
    fn sign_in(&self, _credentials: Credentials) -> BoxFuture<'_, error::Result<Identity>> {
        let detail = format!("{} issues the tokens for this service; sign in there", self.0.name);
        Box::pin(std::future::ready(Err(Error::new(Kind::SignInElsewhere, detail))))
    }

    fn verify<'a>(
        &'a self,
        token: &'a str,
        _own: &'a Tokens,
    ) -> BoxFuture<'a, error::Result<Bearer>> {
        Box::pin(self.0.verify(token))
    }

    fn method(&self) -> BoxFuture<'_, error::Result<Method>> {
        Box::pin(self.0.method())
    }
}

impl Issuer {
    async fn verify(self: &Arc<Self>, token: &str) -> error::Result<Bearer> {
        let header = strict_header(token)?;
        // Other kinds of tokens that the same keys sign have another `typ` (RFC 8725, section 3.11).
        let kind = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str()) {
            return Err(rejected(
                Reason::Malformed,
                "expected an access token (typ JWT or at+jwt)",
            ));
        }
        let id = header.kid.ok_or_else(|| rejected(Reason::Key, "the token has no kid"))?;
        let key = self.key(&id, header.alg).await?;
        let claims = decode::<Map<String, Value>>(token, &key.decoding, &key.validation);
        let claims = claims.map_err(invalid)?.claims;
        let claims = Claims::of(&claims, &self.roles)?;
        let Claims { issued_at, expires_at, not_before, .. } = claims;
        let times = Times { issued_at, expires_at, not_before };
        check_claims(&claims.subject, &times, self.leeway)?;
        let scopes = self.scopes(&claims);
        if scopes.is_empty() {
            account::note_no_scopes(|| claims.explain(&self.roles));
        }
        Ok(Bearer {
            // Normalized, because revocations contain normalized names.
            identity: Identity { subject: nfc(&claims.subject).into_owned(), scopes },
            token_id: claims.token_id,
            issued: IssuedAt::Time(issued_at.saturating_sub(self.leeway.clock_skew)),
            session: None,
            expires_at,
        })
    }

    /// Returns where pages sign users in, which the discovery document says.
    async fn method(self: &Arc<Self>) -> error::Result<Method> {
        if self.page.is_none() {
            return Ok(Method::Elsewhere(None));
        }
        let mut known = self.known();
        if known.since.is_none() && known.may_fetch(self.ages.rest) {
            account::spawn(Arc::clone(self).refresh()).await.map_err(Error::internal)?;
            known = self.known();
        }
        if known.since.is_some() {
            return Ok(Method::Elsewhere(known.server.clone()));
        }
        let detail = format!("cannot reach the token issuer {}; retry later", self.name);
        let cause = known.failure.clone().unwrap_or_else(|| "not fetched yet".to_owned());
        Err(Error { detail, ..Error::unavailable(cause) })
    }

    /// Returns the scopes of this service that a token grants.
    fn scopes(&self, claims: &Claims) -> Vec<String> {
        let of_roles = claims.roles.iter().flat_map(|role| role.scopes(&self.schemas));
        let granted: HashSet<String> = claims.scopes.iter().cloned().chain(of_roles).collect();
        let mut known = record_scopes(&self.schemas);
        known.push(ADMIN_SCOPE.to_owned());
        known.retain(|scope| granted.contains(scope));
        known
    }

    /// Returns the key that a token names. The algorithm of the token must be that of the key.
    async fn key(self: &Arc<Self>, id: &str, algorithm: Algorithm) -> error::Result<Arc<Key>> {
        let known = self.known();
        let found = known.find(id, algorithm);
        if let Some(key) = &found
            && known.is_younger_than(self.ages.fresh)
        {
            return Ok(Arc::clone(key));
        }
        if known.may_fetch(self.ages.rest) {
            // If the last fetch failed, requests with a known key do not wait for the next one.
            let is_usable = found.is_some()
                && known.failure.is_some()
                && known.is_younger_than(self.ages.usable);
            if !is_usable {
                account::spawn(Arc::clone(self).refresh()).await.map_err(Error::internal)?;
            } else if self.turn.try_lock().is_ok() {
                tokio::spawn(Arc::clone(self).refresh());
            }
        }
        let known = self.known();
        if known.is_younger_than(self.ages.usable) {
            let found = known.find(id, algorithm);
            return found
                .ok_or_else(|| rejected(Reason::Key, "the issuer has no key with this kid"));
        }
        let detail =
            format!("cannot fetch the keys of the token issuer {}; retry later", self.name);
        let cause =
            known.failure.clone().unwrap_or_else(|| "the cached keys are too old".to_owned());
        Err(Error { detail, ..Error::unavailable(cause) })
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys of the issuer, unless another task has just done so.
    async fn refresh(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let known = self.known();
        if !known.may_fetch(self.ages.rest) {
            return;
        }
        let started_at = Instant::now();
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("timeout".to_owned()));
        let asked_at = Some(Instant::now());
        let issuer = &self.name;
        let known = match fetched {
            Ok((keys, server)) => {
                if known.failure.is_some() {
                    tracing::info!(issuer, "the token issuer is reachable again");
                }
                if keys.is_empty() {
                    tracing::warn!(
                        issuer,
                        "the token issuer has no usable key, so all tokens are rejected; log at debug level to \
                         see why keys are ignored"
                    );
                }
                if server.is_none() && self.page.is_some() {
                    tracing::warn!(
                        issuer,
                        "no page can sign users in: the discovery document of the issuer lacks a usable \
                         authorization_endpoint or token_endpoint"
                    );
                }
                Known { keys, server, since: Some(started_at), asked_at, failure: None }
            }
            Err(cause) => {
                match known.failure {
                    None => {
                        tracing::warn!(issuer, cause, "cannot fetch the keys of the token issuer")
                    }
                    Some(_) => tracing::debug!(issuer, cause, "still cannot fetch the keys"),
                }
                Known { asked_at, failure: Some(cause), ..Known::clone(&known) }
            }
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Fetches the discovery document of the issuer.
    async fn discover(&self, url: &Url) -> Result<Discovery, String> {
        let found: Discovery = self.get(url).await?;
        if found.issuer == self.name {
            return Ok(found);
        }
        Err(format!("expected the issuer {:?} in {url}, found {:?}", self.name, found.issuer))
    }

    /// Returns where pages sign users in, if the document has secure URLs for that.
    fn server(&self, discovery: &Discovery) -> Option<AuthorizationServer> {
        let (_, page) = self.page.as_ref()?;
        let endpoint = |url: &Option<String>| Some(secure_url(url.as_deref()?).ok()?.to_string());
        Some(AuthorizationServer {
            authorization_endpoint: endpoint(&discovery.authorization_endpoint)?,
            token_endpoint: endpoint(&discovery.token_endpoint)?,
            client_id: page.id.clone(),
            scope: page.scope.clone(),
        })
    }

    /// Fetches the keys of the issuer, and where pages sign users in. Returns the usable keys.
    async fn fetch(&self) -> Result<(Vec<Arc<Key>>, Option<AuthorizationServer>), String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let (Set { keys }, server) = match (&self.source, &self.page) {
            (Source::Keys(url), None) => (self.get(url).await?, None),
            (Source::Keys(url), Some((discovery, _))) => {
                let server = match self.discover(discovery).await {
                    Ok(discovery) => self.server(&discovery),
                    // Tokens are verified without it.
                    Err(cause) => {
                        tracing::warn!(
                            cause,
                            "cannot fetch the discovery document of the token issuer"
                        );
                        None
                    }
                };
                (self.get(url).await?, server)
            }
            (Source::Discovery(url), _) => {
                let discovery = self.discover(url).await?;
                let keys = secure_url(&discovery.jwks_uri);
                let keys = keys.map_err(|problem| format!("{url}: jwks_uri {problem}"))?;
                (self.get(&keys).await?, self.server(&discovery))
            }
        };
        let usable = keys.iter().filter_map(|jwk| match self.usable(jwk) {
            Ok(key) => Some(Arc::new(key)),
            Err(problem) => {
                tracing::debug!(issuer = self.name, kid = ?jwk.get("kid"), problem, "ignoring a key");
                None
            }
        });
        Ok((usable.collect(), server))
    }

    async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, String> {
        let failed = |error: reqwest::Error| format!("{url}: {}", causes(&error.without_url()));
        let mut request = self.client.get(url.clone());
        if let Some(trace) = Account::current().as_ref().and_then(|account| account.trace()) {
            request = request.header("traceparent", trace.parent());
        }
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("{url} returned status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(piece.len()) > MAX_RESPONSE_BYTES {
                return Err(format!("{url} returned more than {MAX_RESPONSE_BYTES} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }

    /// Returns the key of a JWK Set member (RFC 7517), or why it is not usable.
    fn usable(&self, jwk: &Value) -> Result<Key, String> {
        #[derive(Deserialize)]
        struct Jwk {
            kid: String,
            #[serde(rename = "use")]
            purpose: Option<String>,
            key_ops: Option<Vec<String>>,
            alg: Option<String>,
            #[serde(flatten)]
            material: Material,
        }
        #[derive(Deserialize)]
        #[serde(tag = "kty")]
        enum Material {
            #[serde(rename = "RSA")]
            Rsa { n: String, e: String },
            #[serde(rename = "EC")]
            Ec { crv: String, x: String, y: String },
        }
        let Jwk { kid: id, purpose, key_ops, alg, material } =
            Jwk::deserialize(jwk).map_err(|error| error.to_string())?;
        let may_verify = purpose.is_none_or(|purpose| purpose == "sig")
            && key_ops.is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !may_verify {
            return Err("the key is not for verifying signatures".to_owned());
        }
        let (algorithm, name, decoding) = match &material {
            Material::Rsa { n, e } => (Algorithm::RS256, "RS256", rsa(n, e)?),
            Material::Ec { crv, x, y } => (Algorithm::ES256, "ES256", ec(crv, x, y)?),
        };
        if alg.is_some_and(|alg| alg != name) {
            return Err(format!("the algorithm of the key is not {name}"));
        }
        let validation = validation(vec![algorithm], &self.name, &self.audience);
        Ok(Key { id, algorithm, decoding, validation })
    }
}

/// Decodes an RSA key of 2048 to 4096 bits, which is the range that the library verifies.
fn rsa(n: &str, e: &str) -> Result<DecodingKey, String> {
    let (n, e) = (decoded(n)?, decoded(e)?);
    let mut significant = n.iter().skip_while(|byte| **byte == 0).peekable();
    let first = significant.peek().map_or(0, |first| **first);
    let size = (significant.count(), first);
    if !((256, 0x80)..=(512, 0xff)).contains(&size) {
        return Err("expected an RSA key of 2048 to 4096 bits".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn ec(crv: &str, x: &str, y: &str) -> Result<DecodingKey, String> {
    if crv != "P-256" {
        return Err(format!("expected the curve P-256, found {crv:?}"));
    }
    if decoded(x)?.len() != 32 || decoded(y)?.len() != 32 {
        return Err("expected coordinates of 32 bytes".to_owned());
    }
    DecodingKey::from_ec_components(x, y).map_err(|error| error.to_string())
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())
}

/// Creates the HTTP client. It does not follow redirects.
fn client(source: &Source, authorities: Option<&[u8]>) -> Result<Client, String> {
    let unusable = |error: reqwest::Error| format!("--oidc-ca-file: {}", causes(&error));
    let name = concat!("cinequery/", env!("CARGO_PKG_VERSION"));
    let mut client = Client::builder().user_agent(name).redirect(Policy::none());
    if let Source::Keys(url) | Source::Discovery(url) = source
        && url.scheme() == "http"
    {
        // Unencrypted requests must stay on this machine, so ignore proxies of the environment.
        client = client.no_proxy();
    }
    if let Some(pem) = authorities {
        let certificates = Certificate::from_pem_bundle(pem).map_err(unusable)?;
        if certificates.is_empty() {
            return Err("--oidc-ca-file: expected a certificate (PEM), found none".to_owned());
        }
        client =
            certificates.into_iter().fold(client, |client, one| client.add_root_certificate(one));
    }
    client.build().map_err(unusable)
}

/// Parses a URL from which keys may be fetched: HTTPS, or HTTP to this machine. Error messages do not repeat the
/// URL, which may contain a password.
fn secure_url(text: &str) -> Result<Url, String> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must not contain spaces or control characters".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
        return Err("must start with https:// (or http:// and a loopback address)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or a password".to_owned());
    }
    Ok(url)
}

/// Returns the text of an error with its causes: request errors alone do not name their cause.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
