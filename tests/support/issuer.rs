//! A token issuer for tests. It serves a discovery document and keys, both of which a test can change, and it can
//! misbehave in several ways.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use cinequery::identity::{Leeway, RoleClaim, Trust};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, LOCATION,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::forge::Good;

/// A key pair of the issuer.
#[derive(Clone)]
pub struct Key {
    pub id: &'static str,
    pub algorithm: Algorithm,
    pub encoding: EncodingKey,
    /// The public key, as PEM.
    pub public: &'static str,
}

/// Returns the decoded bytes of a PEM.
fn der(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(base64).unwrap()
}

impl Key {
    fn rsa(id: &'static str, private: &str, public: &'static str) -> Self {
        let private = der(private);
        // `from_rsa_der` expects PKCS #1, but the file is PKCS #8. There the key is an octet string that follows
        // the algorithm, which ends with a NULL.
        let null_and_octets = [0x05, 0x00, 0x04, 0x82];
        let at = private.windows(4).position(|bytes| bytes == null_and_octets).unwrap();
        let encoding = EncodingKey::from_rsa_der(&private[at + 6..]);
        Self { id, algorithm: Algorithm::RS256, encoding, public }
    }

    pub fn first() -> Self {
        let (private, public) =
            (include_str!("keys/rsa-1.pem"), include_str!("keys/rsa-1.pub.pem"));
        Self::rsa("first", private, public)
    }

    pub fn second() -> Self {
        let (private, public) =
            (include_str!("keys/rsa-2.pem"), include_str!("keys/rsa-2.pub.pem"));
        Self::rsa("second", private, public)
    }

    /// Returns a key of 1024 bits, which is too short.
    pub fn weak() -> Self {
        let (private, public) =
            (include_str!("keys/rsa-weak.pem"), include_str!("keys/rsa-weak.pub.pem"));
        Self::rsa("weak", private, public)
    }

    pub fn elliptic() -> Self {
        Self {
            id: "elliptic",
            algorithm: Algorithm::ES256,
            encoding: EncodingKey::from_ec_der(&der(include_str!("keys/ec-1.pem"))),
            public: include_str!("keys/ec-1.pub.pem"),
        }
    }

    /// Returns the public key as a JWK.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// Returns the public key in every form that a faulty verifier might use as a shared secret.
    pub fn forms(&self) -> Vec<Vec<u8>> {
        let jwk = self.jwk();
        let numbers = ["n", "x", "y"].iter().filter_map(|name| jwk[name].as_str());
        let numbers: Vec<Vec<u8>> =
            numbers.map(|number| BASE64_URL_SAFE_NO_PAD.decode(number).unwrap()).collect();
        let mut forms = vec![
            self.public.as_bytes().to_vec(),
            self.public.trim_end().as_bytes().to_vec(),
            der(self.public),
            numbers.concat(),
            [&[4], numbers.concat().as_slice()].concat(),
        ];
        forms.extend(numbers);
        forms
    }
}

/// How the issuer behaves.
#[derive(Clone, Copy)]
pub enum Mood {
    Well,
    Failing,
    Garbage,
    Endless,
    Redirecting,
    /// Responds after this delay.
    Slow(Duration),
}

pub struct Issuer {
    /// Its issuer identifier, which is its URL.
    pub name: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    name: Mutex<String>,
    keys: Mutex<Vec<Value>>,
    jwks_uri: Mutex<String>,
    mood: Mutex<Mood>,
    requests: AtomicUsize,
    /// The codes that were issued, each with the client, the redirect URI and the challenge (RFC 7636) of its request.
    codes: Mutex<HashMap<String, [String; 3]>>,
    /// The access token for the next valid code.
    token: Mutex<String>,
}

/// The `aud` claim of tokens for the service.
pub const AUDIENCE: &str = "cinequery";

/// The certificate of the authority that signed the issuer's TLS certificate.
pub const AUTHORITY: &[u8] = include_bytes!("keys/authority.pem");

const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Issuer {
    /// Starts an issuer with these keys.
    pub async fn with(keys: &[&Key]) -> Self {
        Self::start("http", None, keys).await
    }

    /// Starts an issuer with TLS, with a certificate of [`AUTHORITY`].
    pub async fn with_tls(keys: &[&Key]) -> Self {
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("keys/server.key.pem")).unwrap();
        let certificate = CertificateDer::from_pem_slice(include_bytes!("keys/server.pem"));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.unwrap()], key)
            .unwrap();
        Self::start("https", Some(TlsAcceptor::from(Arc::new(config))), keys).await
    }

    async fn start(scheme: &str, tls: Option<TlsAcceptor>, keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            name: Mutex::new(name.clone()),
            keys: Mutex::default(),
            jwks_uri: Mutex::new(format!("{name}/keys")),
            mood: Mutex::new(Mood::Well),
            requests: AtomicUsize::new(0),
            codes: Mutex::default(),
            token: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, tls, Arc::clone(&state)));
        let issuer = Self { name, state, server };
        issuer.publish(keys.iter().map(|key| key.jwk()).collect());
        issuer
    }

    /// Replaces the published keys.
    pub fn publish(&self, keys: Vec<Value>) {
        *self.state.keys.lock().unwrap() = keys;
    }

    /// Changes `issuer` in the discovery document.
    pub fn rename(&self, name: &str) {
        name.clone_into(&mut self.state.name.lock().unwrap());
    }

    /// Changes `jwks_uri` in the discovery document.
    pub fn point_to(&self, jwks_uri: &str) {
        jwks_uri.clone_into(&mut self.state.jwks_uri.lock().unwrap());
    }

    /// Sets the access token that a valid authorization code gets.
    pub fn grant(&self, token: String) {
        *self.state.token.lock().unwrap() = token;
    }

    pub fn behave(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Returns the number of requests to the issuer.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Stops the issuer, so that its port rejects connections.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    pub fn trust(&self) -> Trust {
        Trust {
            issuer: self.name.clone(),
            audience: AUDIENCE.to_owned(),
            jwks: None,
            authorities: None,
            roles: RoleClaim::default(),
            leeway: Leeway::default(),
            page: None,
        }
    }

    /// Returns the parts of a valid token for reading movies.
    pub fn good(&self, key: &Key) -> Good {
        let now = Utc::now().timestamp();
        Good {
            header: json!({"alg": key.algorithm, "typ": "at+jwt", "kid": key.id}),
            claims: json!({
                "iss": self.name,
                "aud": AUDIENCE,
                "sub": "anna",
                "iat": now,
                "exp": now + 600,
                "jti": uuid::Uuid::now_v7(),
                "scope": "movies:read",
            }),
            algorithm: key.algorithm,
            key: key.encoding.clone(),
            public: key.forms(),
        }
    }

    /// Returns a token for reading movies with changed claims.
    pub fn token(&self, key: &Key, change: impl FnOnce(&mut Value)) -> String {
        let mut good = self.good(key);
        change(&mut good.claims);
        good.token()
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                None => converse(stream, state).await,
                // A client that does not trust the certificate aborts the handshake.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(move |request| respond(Arc::clone(&state), request));
    // Without keep-alive, so that no connection is served after the issuer was stopped.
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.unwrap_or_default();
}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let mood = *state.mood.lock().unwrap();
    if let Mood::Slow(delay) = mood {
        tokio::time::sleep(delay).await;
    }
    if request.method() == Method::OPTIONS {
        // A page asks whether it may send more than a form.
        let response = Response::builder().status(204).header(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        let response = response.header(ACCESS_CONTROL_ALLOW_HEADERS, "*");
        return Ok(response.body(Full::default()).unwrap());
    }
    let uri = request.uri().clone();
    let name = state.name.lock().unwrap().clone();
    let document = match uri.path() {
        DISCOVERY => json!({
            "issuer": name,
            "jwks_uri": *state.jwks_uri.lock().unwrap(),
            "authorization_endpoint": format!("{name}/authorize"),
            "token_endpoint": format!("{name}/token"),
        }),
        "/keys" | "/elsewhere" => json!({"keys": *state.keys.lock().unwrap()}),
        "/authorize" => {
            let target = authorize(&state, uri.query().unwrap_or_default());
            let response = Response::builder().status(302).header(LOCATION, target);
            return Ok(response.body(Full::default()).unwrap());
        }
        "/token" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            exchange(&state, &String::from_utf8_lossy(&body))
        }
        _ => Value::Null,
    };
    let document = document.to_string();
    let (status, body) = match mood {
        Mood::Well | Mood::Slow(_) => (200, document),
        Mood::Failing => (500, document),
        Mood::Garbage => (200, "<html>".to_owned()),
        Mood::Endless => (200, format!("{document}{}", " ".repeat(300 * 1024))),
        Mood::Redirecting => (302, document),
    };
    let response = Response::builder().status(status).header(LOCATION, "/elsewhere");
    // A page exchanges the code itself.
    let response = response.header(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    let response = response.header(CONTENT_TYPE, "application/json");
    Ok(response.body(Full::new(body.into())).unwrap())
}

fn parameters(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

/// Issues an authorization code for a user who consents, and returns the URL to which the browser is sent.
fn authorize(state: &State, query: &str) -> String {
    let sent = parameters(query);
    assert_eq!(
        (sent["response_type"].as_str(), sent["code_challenge_method"].as_str()),
        ("code", "S256")
    );
    let code = uuid::Uuid::now_v7().to_string();
    let request = ["client_id", "redirect_uri", "code_challenge"].map(|name| sent[name].clone());
    let target = format!("{}?code={code}&state={}", request[1], sent["state"]);
    state.codes.lock().unwrap().insert(code, request);
    target
}

/// Exchanges an authorization code for the access token, once, if the client proves that it has sent the challenge.
fn exchange(state: &State, form: &str) -> Value {
    let sent = parameters(form);
    let verifier = sent.get("code_verifier").map_or("", String::as_str);
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let expected = [sent["client_id"].clone(), sent["redirect_uri"].clone(), challenge];
    let request = state.codes.lock().unwrap().remove(&sent["code"]);
    if sent["grant_type"] != "authorization_code" || request != Some(expected) {
        return json!({"error": "invalid_grant"});
    }
    json!({"access_token": *state.token.lock().unwrap(), "token_type": "Bearer", "expires_in": 600})
}
