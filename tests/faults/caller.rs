//! An HTTP client that returns failures as values instead of panicking.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use crate::support::{token, token_of};

/// How long a client waits for a response. This is longer than any promise, to distinguish a late response from
/// a missing one.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client that returns a failed request as a [`Reply`] and measures the time of each request.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    patience: Duration,
    url: String,
    token: Option<String>,
}

/// A response, or the failure to get one. In case of a failure the status is 0.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub took: Duration,
    pub failure: String,
}

impl Caller {
    /// Creates a client of the instance at `http://HOST:PORT`, with a token for reading and writing movies.
    pub fn at(url: &str) -> Self {
        let scopes = ["movies:read", "movies:write"];
        Self {
            http: reqwest::Client::new(),
            patience: PATIENCE,
            url: url.to_owned(),
            token: Some(token(&scopes)),
        }
    }

    /// Returns the same client with another timeout.
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Returns the same client with another token, or none.
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// Returns the same client for another user, who has a share of the service of its own.
    pub fn named(&self, subject: &str) -> Self {
        self.with_token(Some(token_of(subject, &["movies:read", "movies:write"])))
    }

    /// Sends a request. `body` is a media type and the content.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, Vec<u8>)>,
    ) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.timeout(self.patience);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some((media_type, body)) = body {
            request = request.header(CONTENT_TYPE, media_type).body(body);
        }
        let start = Instant::now();
        let received = async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?.to_vec()))
        };
        let received = received.await;
        let took = start.elapsed();
        match received {
            Ok((status, headers, body)) => {
                Reply { status, headers, body, took, failure: String::new() }
            }
            Err(error) => Reply {
                status: 0,
                headers: HeaderMap::new(),
                body: Vec::new(),
                took,
                failure: format!("{error:?}"),
            },
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let body = Some(("application/json", body.to_string().into_bytes()));
        self.send("POST", path, &[], body).await
    }

    /// Creates a movie with that title.
    pub async fn create(&self, title: &str) -> Reply {
        self.post("/api/v1/movies", &movie(title)).await
    }

    /// Imports `rows` movies whose titles start with `prefix`.
    pub async fn import(&self, prefix: &str, rows: usize, on_conflict: &str) -> Reply {
        let path = format!("/api/v1/movies/import?on_conflict={on_conflict}");
        self.send("POST", &path, &[], Some(("application/x-ndjson", file(prefix, rows)))).await
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns whether this is a 503 with Retry-After, which a client can retry.
    pub fn is_unavailable(&self) -> bool {
        self.status == 503 && !self.header("retry-after").is_empty()
    }
}

/// Returns a movie with that title.
pub fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2030-01-01"})
}

/// Returns a file of `rows` movies, one JSON object per line.
pub fn file(prefix: &str, rows: usize) -> Vec<u8> {
    let rows = (0..rows).map(|number| format!("{}\n", movie(&format!("{prefix} {number}"))));
    rows.collect::<String>().into_bytes()
}
