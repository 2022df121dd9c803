//! A service of the tests' own and a client that speaks to it over the network.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use cinequery::app::App;
use cinequery::http::{Limits, serve_within};
use cinequery::identity::Identity;

use super::{Database, app, identity, tokens};

/// A client with a token for everything. The service ends when its last client is dropped.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    token: Option<String>,
    service: Option<Arc<(oneshot::Sender<()>, Database)>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub url: Url,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    /// Starts a service on the database, which lives as long as the service.
    pub async fn of(database: Database) -> Self {
        let app = app(database.store().await);
        Self::with_app(database, app).await
    }

    /// The same for a service that was put together elsewhere.
    pub async fn with_app(database: Database, app: App) -> Self {
        Self::within(database, app, Limits::default()).await
    }

    /// The same with other limits.
    pub async fn within(database: Database, app: App, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            serve_within(listener, app, limits, stopped).await.unwrap();
        });
        Self { service: Some(Arc::new((stop, database))), ..Self::at(address) }
    }

    /// A client of a service that runs elsewhere.
    pub fn at(address: String) -> Self {
        let scopes = ["movies:read", "movies:write", "screenings:read", "screenings:write"];
        let token = Some(token(&scopes));
        Self { http: reqwest::Client::new(), address, token, service: None }
    }

    /// The same service with another token, or none.
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// The same service with a token for these scopes alone.
    pub fn with_scopes(&self, scopes: &[&str]) -> Self {
        self.with_token(Some(token(scopes)))
    }

    /// The database of a service that was started here.
    pub fn database(&self) -> &Database {
        &self.service.as_ref().unwrap().1
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.address));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let url = response.url().clone();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        Answer { url, status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    /// Searches with a query string made of these pairs.
    pub async fn search(&self, query: &[(&str, &str)]) -> Answer {
        self.send(self.request("GET", "/api/v1/movies").query(query)).await
    }

    /// Creates a movie and returns it.
    pub async fn create(&self, movie: &Value) -> Value {
        let answer = self.post("/api/v1/movies", movie).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Sends a body with a method, a media type and perhaps If-Match.
    pub async fn change(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        if_match: Option<&str>,
        body: &Value,
    ) -> Answer {
        let mut request = self.request(method, path).header(CONTENT_TYPE, media_type);
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        self.send(request.body(body.to_string())).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where `Location` points to, as a path.
    pub fn location(&self) -> String {
        self.url.join(self.header("location")).unwrap().path().to_owned()
    }

    /// The path and query of the next page, as `Link` has it; `None` on the last page.
    pub fn next(&self) -> Option<String> {
        let link = self.header("link").strip_prefix('<')?;
        let next = self.url.join(link.strip_suffix(">; rel=\"next\"").unwrap()).unwrap();
        Some(format!("{}?{}", next.path(), next.query().unwrap_or_default()))
    }

    /// Asserts that this is a problem document with that status and code, and returns it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"].as_str(), Some(self.header("x-request-id")), "{problem}");
        problem
    }

    /// One member of each item of a page.
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let page = self.json();
        page["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    }
}

/// A token for these scopes.
pub fn token(scopes: &[&str]) -> String {
    tokens(Duration::from_secs(600)).issue(&identity(scopes), 0).unwrap().access_token
}

/// The same of somebody else.
pub fn token_of(subject: &str, scopes: &[&str]) -> String {
    let identity = Identity { subject: subject.to_owned(), ..identity(scopes) };
    tokens(Duration::from_secs(600)).issue(&identity, 0).unwrap().access_token
}
