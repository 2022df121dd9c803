//! A proxy that serves the service below a path prefix and strips it: every URL in a response leads back through
//! the proxy.

use reqwest::Url;
use serde_json::{Value, json};

use crate::support::{Client, Database, Response, served_on_both};

/// The public URL of the service.
const PUBLIC: &str = "https://movies.example/movies-api/";

/// Sends the request that the proxy forwards for this URL.
async fn get(client: &Client, url: &Url) -> Response {
    client.get(stripped(url)).await
}

/// Returns the path and query that the proxy forwards.
fn stripped(url: &Url) -> &str {
    let rest = url.as_str().strip_prefix(PUBLIC.trim_end_matches('/'));
    rest.unwrap_or_else(|| panic!("{url} does not lead through the proxy"))
}

fn public(path: &str) -> Url {
    Url::parse(PUBLIC).unwrap().join(path).unwrap()
}

#[tokio::test]
async fn the_pages_load_all_their_files() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    for (at, number) in [("", 6), ("docs", 9)] {
        let at = public(at);
        let html = String::from_utf8(get(&client, &at).await.body).unwrap();
        let attributes = html.split([' ', '>']).filter_map(|part| {
            let value = part.strip_prefix("href=").or_else(|| part.strip_prefix("src="))?;
            Some(value.trim_matches('"')).filter(|value| !value.starts_with("data:"))
        });
        let urls: Vec<Url> = attributes.map(|reference| at.join(reference).unwrap()).collect();
        assert_eq!(urls.len(), number, "{urls:?}");
        for url in urls {
            assert_eq!(get(&client, &url).await.status, 200, "{url}");
        }
    }
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let slash = http.build().unwrap().get(format!("{}/docs/", client.address()));
    let slash = slash.send().await.unwrap();
    assert_eq!(slash.status(), 308);
    let location = slash.headers()["location"].to_str().unwrap();
    assert_eq!(public("docs/").join(location).unwrap(), public("docs"));
}

#[tokio::test]
async fn urls_in_the_document_are_below_the_prefix() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let at = public("openapi.json");
    let document = get(&client, &at).await.json();
    let server = at.join(document["servers"][0]["url"].as_str().unwrap()).unwrap();
    assert_eq!(server.as_str(), PUBLIC);
    let flows = document["components"]["securitySchemes"]["oauth2"]["flows"].as_object().unwrap();
    for flow in flows.values() {
        let url = server.join(flow["tokenUrl"].as_str().unwrap()).unwrap();
        assert_eq!(url, public("api/token"));
    }
}

/// Returns bodies to create, each with the path of its collection.
fn created() -> [(&'static str, Value); 2] {
    let movie =
        json!({"title": "x", "genre": "drama", "release_year": 2000, "expiry_date": "2030-01-01"});
    let query = json!({"name": "all-dramas", "filter": "genre = 'drama'"});
    [("api/v1/movies", movie), ("api/v1/queries/movies", query)]
}

#[tokio::test]
async fn locations_and_links_lead_through_the_proxy() {
    served_on_both(async |client| {
        for (path, body) in created() {
            let at = public(path);
            let response = client.post(stripped(&at), &body).await;
            assert_eq!(response.status, 201, "{response:?}");
            let location = at.join(response.header("location")).unwrap();
            assert_eq!(get(&client, &location).await.json(), response.json());
        }
        for year in 2001..2004 {
            let [(path, mut movie), _] = created();
            movie["release_year"] = json!(year);
            assert_eq!(client.post(stripped(&public(path)), &movie).await.status, 201);
        }
        for path in ["api/v1/movies", "api/v1/queries/movies/all-dramas/results"] {
            let mut at = public(&format!("{path}?limit=3"));
            let mut sizes = Vec::new();
            loop {
                let page = get(&client, &at).await;
                sizes.push(page.column("id").len());
                let Some(link) = page.header("link").strip_prefix('<') else { break };
                at = at.join(link.split('>').next().unwrap()).unwrap();
            }
            assert_eq!(sizes, [3, 1], "{path}");
        }
    })
    .await;
}
