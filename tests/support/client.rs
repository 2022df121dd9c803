//! A service that runs in the test process, and a client that sends requests to it over the network.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use cinequery::app::App;
use cinequery::http::{Limits, Settings, serve_with};
use cinequery::identity::Identity;

use super::{Database, app, identity, tokens};

/// A client with a token for reading and writing records. The service stops when its last client is dropped.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    service: Option<Arc<(oneshot::Sender<()>, Database)>>,
}

/// A complete response.
#[derive(Debug)]
pub struct Response {
    pub url: Url,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    /// Starts a service on the database. The database is dropped with the service.
    pub async fn of(database: Database) -> Self {
        let app = app(database.store().await);
        Self::with_app(database, app).await
    }

    /// Starts this service; `app` uses the database.
    pub async fn with_app(database: Database, app: App) -> Self {
        Self::within(database, app, Limits::default()).await
    }

    /// Starts this service with these limits of HTTP.
    pub async fn within(database: Database, app: App, limits: Limits) -> Self {
        Self::by(database, app, Settings { limits, ..Settings::default() }).await
    }

    /// Starts this service with these settings of HTTP.
    pub async fn by(database: Database, app: App, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            serve_with(listener, app, settings, stopped).await.unwrap();
        });
        Self { service: Some(Arc::new((stop, database))), ..Self::at(url) }
    }

    /// Creates a client of a service that is already running at this URL.
    pub fn at(url: String) -> Self {
        let scopes = ["movies:read", "movies:write", "screenings:read", "screenings:write"];
        let token = Some(token(&scopes));
        Self { http: reqwest::Client::new(), url, token, service: None }
    }

    /// Returns a client of the same service with another token, or none.
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// Returns a client of the same service with a token for only these scopes.
    pub fn with_scopes(&self, scopes: &[&str]) -> Self {
        self.with_token(Some(token(scopes)))
    }

    /// Returns the database of a service that this client has started.
    pub fn database(&self) -> &Database {
        &self.service.as_ref().unwrap().1
    }

    /// Returns the URL of the service, `http://HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.url
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        let url = response.url().clone();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        Response { url, status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request("POST", path).json(body)).await
    }

    /// Searches movies with these query parameters.
    pub async fn search(&self, query: &[(&str, &str)]) -> Response {
        self.send(self.request("GET", "/api/v1/movies").query(query)).await
    }

    /// Creates a movie and returns it.
    pub async fn create(&self, movie: &Value) -> Value {
        let response = self.post("/api/v1/movies", movie).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()
    }

    /// Sends a body with a method, a media type and optionally If-Match.
    pub async fn change(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        if_match: Option<&str>,
        body: &Value,
    ) -> Response {
        let mut request = self.request(method, path).header(CONTENT_TYPE, media_type);
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        self.send(request.body(body.to_string())).await
    }
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the path of the URL in `Location`.
    pub fn location(&self) -> String {
        self.url.join(self.header("location")).unwrap().path().to_owned()
    }

    /// Returns the path and query of the next page from `Link`, or `None` on the last page.
    pub fn next(&self) -> Option<String> {
        let link = self.header("link").strip_prefix('<')?;
        let next = self.url.join(link.strip_suffix(">; rel=\"next\"").unwrap()).unwrap();
        Some(format!("{}?{}", next.path(), next.query().unwrap_or_default()))
    }

    /// Asserts that the body is a problem document with that status and code, and returns it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"].as_str(), Some(self.header("x-request-id")), "{problem}");
        problem
    }

    /// Returns one member of each item of a page.
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let page = self.json();
        page["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    }
}

/// Returns a token for these scopes.
pub fn token(scopes: &[&str]) -> String {
    tokens(Duration::from_secs(600)).issue(&identity(scopes), 0).unwrap().access_token
}

/// Returns a token for these scopes that belongs to another user.
pub fn token_of(subject: &str, scopes: &[&str]) -> String {
    let identity = Identity { subject: subject.to_owned(), ..identity(scopes) };
    tokens(Duration::from_secs(600)).issue(&identity, 0).unwrap().access_token
}
