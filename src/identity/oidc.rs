//! Tokens that are issued elsewhere: by an OpenID Connect or OAuth 2.0 issuer, as JSON Web Tokens
//! (RFC 9068).
//!
//! The issuer's keys are kept, and asked for again when a token names one that is not among them and
//! when they have become old. One task asks at a time, and ends what it has begun whoever goes away.

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
use serde_json::Value;
use tokio::sync::Mutex;

use super::token::{check_claims, refused, strict_header, validation};
use super::{
    ADMIN_SCOPE, Bearer, Credentials, Identity, IssuedAt, Provider, Role, Tokens, record_scopes,
};
use crate::error::{self, Error, Kind};
use crate::query::Schema;
use crate::query::text::nfc;

/// How old keys may be before they are asked for again: one that was withdrawn ends that much later.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How long the issuer is left alone once it was asked: tokens with keys that somebody has made up
/// must not become as many requests to it.
const REST: Duration = Duration::from_secs(10);

/// How long keys are used while the issuer does not answer: that outlasts an outage, and nobody who
/// cuts the line keeps a key that was withdrawn for ever.
const USABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the issuer may take until its keys are there: callers are waiting.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read. A key has half a KiB, and with its certificates a few.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The longest `jti`, in bytes: revocations keep it.
const MAX_ID_BYTES: usize = 255;

/// How long keys are believed.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// How old they may be before they are asked for again.
    pub fresh: Duration,
    /// How long the issuer is left alone once it was asked.
    pub rest: Duration,
    /// How old they may be while the issuer does not answer.
    pub usable: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self { fresh: FRESH, rest: REST, usable: USABLE }
    }
}

/// Whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The issuer, exactly as its tokens name it: a URL.
    pub issuer: String,
    /// What tokens say that are meant for this service.
    pub audience: String,
    /// The address of its keys, where it is not to be asked for that.
    pub jwks: Option<String>,
    /// Certificates of authorities that vouch for it beside the public ones, as PEM.
    pub authorities: Option<Vec<u8>>,
}

/// The provider whose tokens are issued elsewhere.
pub struct Oidc(Arc<Issuer>);

struct Issuer {
    name: String,
    audience: String,
    source: Source,
    client: Client,
    ages: Ages,
    schemas: Vec<&'static Schema>,
    known: RwLock<Arc<Known>>,
    /// Whoever holds it asks the issuer.
    turn: Mutex<()>,
}

/// Where the keys are.
enum Source {
    Keys(Url),
    Discovery(Url),
}

/// The keys, and how the issuer was when it was asked last.
#[derive(Clone, Default)]
struct Known {
    keys: Vec<Arc<Key>>,
    /// When the issuer began to be asked for these keys.
    since: Option<Instant>,
    /// When it had been asked last.
    asked_at: Option<Instant>,
    /// Why it did not answer then.
    failure: Option<String>,
}

impl Known {
    fn find(&self, id: &str, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.keys.iter().find(|key| key.id == id && key.algorithm == algorithm).cloned()
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() < age)
    }

    fn may_ask(&self, rest: Duration) -> bool {
        self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= rest)
    }
}

/// A key, and what is asked of the tokens it has signed.
struct Key {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    /// It is checked with the rest; here it must be one text.
    #[serde(rename = "iss")]
    _iss: String,
    sub: String,
    iat: i64,
    exp: i64,
    jti: Option<String>,
    /// Scopes, separated by spaces (RFC 8693, section 4.2).
    scope: Option<String>,
    /// The same where issuers had a name of their own for it.
    scp: Option<Scopes>,
    /// Roles (RFC 9068, section 2.2.3.1).
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Oidc {
    /// Accepts the tokens of an issuer, with scopes and roles on these record types. Nothing is asked
    /// of the issuer yet.
    ///
    /// # Errors
    /// An address that nobody should take keys from; certificates that cannot be read.
    pub fn new(trust: Trust, ages: Ages, schemas: &[&'static Schema]) -> Result<Self, String> {
        let Trust { issuer: name, audience, jwks, authorities } = trust;
        let of_issuer = |problem: String| format!("--oidc-issuer {problem}");
        let issuer = address(&name).map_err(of_issuer)?;
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(of_issuer("must have no query and no fragment".to_owned()));
        }
        let source = match jwks {
            Some(jwks) => {
                Source::Keys(address(&jwks).map_err(|problem| format!("--oidc-jwks {problem}"))?)
            }
            None => {
                let folder = name.strip_suffix('/').unwrap_or(&name);
                let discovery = format!("{folder}/.well-known/openid-configuration");
                Source::Discovery(address(&discovery).map_err(of_issuer)?)
            }
        };
        let client = client(&source, authorities.as_deref())?;
        Ok(Self(Arc::new(Issuer {
            name,
            audience,
            source,
            client,
            ages,
            schemas: schemas.to_vec(),
            known: RwLock::default(),
            turn: Mutex::default(),
        })))
    }

    /// Asks the issuer for its keys, so that no caller need wait for them. If it does not answer, the
    /// log says so, and it is asked again when somebody calls.
    pub async fn prepare(&self) {
        Arc::clone(&self.0).ask().await;
    }
}

impl Provider for Oidc {
    fn sign_in(&self, _credentials: Credentials) -> BoxFuture<'_, error::Result<Identity>> {
        let detail =
            format!("tokens for this service are issued by {}: sign in there", self.0.name);
        Box::pin(std::future::ready(Err(Error::new(Kind::SignInElsewhere, detail))))
    }

    fn verify<'a>(
        &'a self,
        token: &'a str,
        _own: &'a Tokens,
    ) -> BoxFuture<'a, error::Result<Bearer>> {
        Box::pin(self.0.verify(token))
    }
}

impl Issuer {
    async fn verify(self: &Arc<Self>, token: &str) -> error::Result<Bearer> {
        let header = strict_header(token)?;
        // Other kinds of tokens that the same keys sign say what they are (RFC 8725, section 3.11).
        let kind = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str()) {
            return Err(refused("it is no access token"));
        }
        let id = header.kid.ok_or_else(|| refused("it does not name its key"))?;
        let key = self.key(&id, header.alg).await?;
        let claims =
            decode::<Claims>(token, &key.decoding, &key.validation).map_err(refused)?.claims;
        check_claims(&claims.sub, claims.iat, claims.exp)?;
        if claims.jti.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(refused("its jti is too long, or no text"));
        }
        Ok(Bearer {
            identity: Identity {
                scopes: self.scopes(&claims),
                // As those are who revocations name.
                subject: nfc(&claims.sub).into_owned(),
            },
            token_id: claims.jti,
            issued: IssuedAt::Time(claims.iat),
            expires_at: claims.exp,
        })
    }

    /// The scopes that a token grants, of those there are here.
    fn scopes(&self, claims: &Claims) -> Vec<String> {
        let mut granted: HashSet<String> = HashSet::new();
        let mut grant = |text: &str| granted.extend(text.split_whitespace().map(str::to_owned));
        claims.scope.iter().for_each(|text| grant(text));
        match &claims.scp {
            Some(Scopes::Text(text)) => grant(text),
            Some(Scopes::List(list)) => list.iter().for_each(|text| grant(text)),
            None => {}
        }
        let roles = claims.roles.iter().filter_map(|name| Role::of(name));
        granted.extend(roles.flat_map(|role| role.scopes(&self.schemas)));
        let mut known = record_scopes(&self.schemas);
        known.push(ADMIN_SCOPE.to_owned());
        known.retain(|scope| granted.contains(scope));
        known
    }

    /// The key that a token names, for the algorithm that it names: that must be the key's.
    async fn key(self: &Arc<Self>, id: &str, algorithm: Algorithm) -> error::Result<Arc<Key>> {
        let known = self.known();
        let found = known.find(id, algorithm);
        if let Some(key) = &found
            && known.is_younger_than(self.ages.fresh)
        {
            return Ok(Arc::clone(key));
        }
        if known.may_ask(self.ages.rest) {
            // Nobody who can go on waits for an issuer that did not answer the last time.
            let can_go_on = found.is_some()
                && known.failure.is_some()
                && known.is_younger_than(self.ages.usable);
            if !can_go_on {
                tokio::spawn(Arc::clone(self).ask()).await.map_err(Error::internal)?;
            } else if self.turn.try_lock().is_ok() {
                tokio::spawn(Arc::clone(self).ask());
            }
        }
        let known = self.known();
        if known.is_younger_than(self.ages.usable) {
            return known.find(id, algorithm).ok_or_else(|| refused("the issuer has no such key"));
        }
        let detail = format!("{} does not answer, whose keys tokens need; try again", self.name);
        let cause = known.failure.clone().unwrap_or_else(|| "its keys are too old".to_owned());
        Err(Error { detail, ..Error::unavailable(cause) })
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the issuer for its keys, unless somebody else has just done so.
    async fn ask(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let known = self.known();
        if !known.may_ask(self.ages.rest) {
            return;
        }
        let began_at = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.fetch()).await;
        let answer = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let asked_at = Some(Instant::now());
        let issuer = &self.name;
        let known = match answer {
            Ok(keys) => {
                if known.failure.is_some() {
                    tracing::info!(issuer, "the issuer of tokens answers again");
                }
                if keys.is_empty() {
                    tracing::warn!(issuer, "the issuer of tokens has no key that can be used");
                }
                Known { keys, since: Some(began_at), asked_at, failure: None }
            }
            Err(cause) => {
                match known.failure {
                    None => tracing::warn!(issuer, cause, "the issuer of tokens does not answer"),
                    Some(_) => tracing::debug!(issuer, cause, "the issuer does not answer yet"),
                }
                Known { asked_at, failure: Some(cause), ..Known::clone(&known) }
            }
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// The issuer's keys that can be used.
    async fn fetch(&self) -> Result<Vec<Arc<Key>>, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let Set { keys } = match &self.source {
            Source::Keys(url) => self.get(url).await?,
            Source::Discovery(url) => {
                let Discovery { issuer, jwks_uri } = self.get(url).await?;
                if issuer != self.name {
                    return Err(format!("{url} describes another issuer, {issuer:?}"));
                }
                let keys = address(&jwks_uri);
                self.get(&keys.map_err(|problem| format!("{url}: jwks_uri {problem}"))?).await?
            }
        };
        let usable = keys.iter().filter_map(|jwk| match self.usable(jwk) {
            Ok(key) => Some(Arc::new(key)),
            Err(problem) => {
                tracing::debug!(issuer = self.name, kid = ?jwk.get("kid"), problem, "a key is not used");
                None
            }
        });
        Ok(usable.collect())
    }

    async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, String> {
        let failed = |error: reqwest::Error| format!("{url}: {}", causes(&error.without_url()));
        let mut response = self.client.get(url.clone()).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("{url} answered {}", response.status()));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if answer.len().saturating_add(piece.len()) > MAX_ANSWER_BYTES {
                return Err(format!("{url} answered more than {MAX_ANSWER_BYTES} bytes"));
            }
            answer.extend_from_slice(&piece);
        }
        serde_json::from_slice(&answer).map_err(|error| format!("{url}: {error}"))
    }

    /// The key that a member of a JWK Set (RFC 7517) holds, or why it is not used.
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
            return Err("it is for something else".to_owned());
        }
        let (algorithm, name, decoding) = match &material {
            Material::Rsa { n, e } => (Algorithm::RS256, "RS256", rsa(n, e)?),
            Material::Ec { crv, x, y } => (Algorithm::ES256, "ES256", ec(crv, x, y)?),
        };
        if alg.is_some_and(|alg| alg != name) {
            return Err(format!("it is for another algorithm than {name}"));
        }
        let validation = validation(vec![algorithm], &self.name, &self.audience);
        Ok(Key { id, algorithm, decoding, validation })
    }
}

/// An RSA key of 2048 bits or more, and of no more than are verified with: 4096.
fn rsa(n: &str, e: &str) -> Result<DecodingKey, String> {
    let (n, e) = (decoded(n)?, decoded(e)?);
    let mut significant = n.iter().skip_while(|byte| **byte == 0).peekable();
    let first = significant.peek().map_or(0, |first| **first);
    let size = (significant.count(), first);
    if !((256, 0x80)..=(512, 0xff)).contains(&size) {
        return Err("it has not 2048 to 4096 bits".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn ec(crv: &str, x: &str, y: &str) -> Result<DecodingKey, String> {
    if crv != "P-256" {
        return Err("its curve is another than P-256".to_owned());
    }
    if decoded(x)?.len() != 32 || decoded(y)?.len() != 32 {
        return Err("it is no point of P-256".to_owned());
    }
    DecodingKey::from_ec_components(x, y).map_err(|error| error.to_string())
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What asks an issuer. It goes where it is told, and nowhere from there.
fn client(source: &Source, authorities: Option<&[u8]>) -> Result<Client, String> {
    let unusable = |error: reqwest::Error| format!("--oidc-ca-file: {}", causes(&error));
    let name = concat!("cinequery/", env!("CARGO_PKG_VERSION"));
    let mut client = Client::builder().user_agent(name).redirect(Policy::none());
    if let Source::Keys(url) | Source::Discovery(url) = source
        && url.scheme() == "http"
    {
        // What is not encrypted stays on this machine, whatever proxy the environment names.
        client = client.no_proxy();
    }
    if let Some(pem) = authorities {
        let certificates = Certificate::from_pem_bundle(pem).map_err(unusable)?;
        if certificates.is_empty() {
            return Err("--oidc-ca-file holds no certificate".to_owned());
        }
        client =
            certificates.into_iter().fold(client, |client, one| client.add_root_certificate(one));
    }
    client.build().map_err(unusable)
}

/// An address that keys may come from: encrypted on their way, or from this machine. What is wrong with
/// it does not repeat it, since there may be a password in it.
fn address(text: &str) -> Result<Url, String> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must have no spaces in it".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
        return Err("must begin with https://; http:// is for loopback addresses alone".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no name and no password".to_owned());
    }
    Ok(url)
}

/// An error with its causes: those of a request say nothing by themselves.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
