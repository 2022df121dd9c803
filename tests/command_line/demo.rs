//! `cinequery demo`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Service, cinequery, folder};
use crate::support::Client;

/// The requests that the demo prints work.
#[tokio::test]
async fn the_requests_of_the_demo_work() {
    let folder = folder();
    let mut command = cinequery(folder.path(), &["demo", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("2028-12-31") {
        assert_ne!(output.read_line(&mut printed).unwrap(), 0, "{printed}");
    }
    let service = Service { process, address: String::new(), admin: None, log: None };
    let docs = printed.split_whitespace().find(|word| word.ends_with("/docs")).unwrap();
    assert_eq!(reqwest::get(docs).await.unwrap().status(), 200);
    // A page under development is served from another port.
    for (origin, expected) in [("http://localhost:5173", true), ("https://movies.example", false)] {
        let request = reqwest::Client::new().get(docs).header("origin", origin).send();
        let headers = request.await.unwrap().headers().clone();
        let allowed = headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some_and(|allowed| allowed == origin), expected, "{origin}");
    }
    // A page stays signed in as with passwords: with a refresh token, or with a cookie.
    let api = docs.strip_suffix("/docs").unwrap();
    let client = Client::at(api.to_owned()).with_token(None);
    let fields = [("grant_type", "password"), ("username", "joe"), ("scope", "offline_access")];
    let token = client.send(client.request("POST", "/api/token").form(&fields)).await.json();
    let token = token["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let renewed = client.send(client.request("POST", "/api/token").form(&fields)).await;
    assert_eq!((renewed.status, &renewed.json()["refresh_token"]), (200, &json!(token)));
    let page = |path: &str| client.request("POST", path).header("origin", api);
    let named = page("/api/v1/session/sign-in").json(&json!({"username": "joe"}));
    let cookie = client.send(named).await.header("set-cookie").to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let renewed = client.send(page("/api/v1/session/renew").header("cookie", cookie)).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    // Everything after the introduction is a shell script.
    let script = &printed[printed.find("TOKEN=").unwrap()..];
    let script = script.replace("\n\ncurl", "\necho\ncurl");
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let responses: Vec<serde_json::Value> = output
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(responses.len(), 3);
    assert!(!responses[0]["items"].as_array().unwrap().is_empty());
    assert!(responses[1]["total"].as_i64().unwrap() > 0);
    assert_eq!(responses[2]["title"], "My Movie");
    assert_eq!(service.stop(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

#[test]
fn the_demo_uses_a_free_port_if_the_default_is_busy() {
    let folder = folder();
    let _holder = TcpListener::bind(cinequery::config::DEFAULT_LISTEN);
    let mut command = cinequery(folder.path(), &["demo"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let docs = output.lines().map_while(Result::ok).find(|line| line.contains("/docs")).unwrap();
    let service = Service { process, address: String::new(), admin: None, log: None };
    assert!(!docs.contains(cinequery::config::DEFAULT_LISTEN), "{docs}");
    assert_eq!(service.stop(), Some(0));
}
