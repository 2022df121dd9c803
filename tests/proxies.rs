//! The configurations of proxies in `deploy/proxy/`, with real nginx, Caddy and HAProxy in front of the service.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::command_line::{Service, cinequery, folder};
use crate::support::{SECRET, token};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The prefix that the proxies strip.
const PREFIX: &str = "/movies-api";

/// A proxy that runs until it is dropped.
struct Proxy {
    process: Child,
    /// The URL of the service behind it, without a slash at the end.
    url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Writes a configuration into a folder, with other ports and certificates.
fn configured(folder: &Path, file: &str, replaced: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(format!("{ROOT}/deploy/proxy/{file}")).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    let path = folder.join(file);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a proxy in front of the service at this socket address.
fn start(name: &str, folder: &Path, service: &str) -> Proxy {
    let port = free_port();
    let keys = format!("{ROOT}/tests/support/keys");
    let (certificate, key) = (format!("{keys}/server.pem"), format!("{keys}/server.key.pem"));
    // HAProxy reads both from one file.
    let both = folder.join("both.pem");
    let pem = [&certificate, &key].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();
    let upstream = ("127.0.0.1:8080", service.to_owned());
    let tool = |name: &str| Command::new(format!("{ROOT}/target/tools/{name}"));
    let mut command = match name {
        "nginx" => {
            let replaced = [
                upstream,
                ("listen 443", format!("listen 127.0.0.1:{port}")),
                ("/etc/ssl/movies.example.pem", certificate),
                ("/etc/ssl/movies.example.key", key),
            ];
            let own = configured(folder, "nginx.conf", &replaced);
            let at = folder.display();
            let temporary = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
                .map(|kind| format!("{kind}_temp_path {at}/{kind};"));
            let main = format!(
                "daemon off; pid {at}/pid; error_log stderr; events {{}} http {{ access_log off; {} \
                 include {own}; }}",
                temporary.concat()
            );
            std::fs::write(folder.join("main.conf"), main).unwrap();
            let mut nginx = tool("nginx");
            nginx.args(["-p", &at.to_string(), "-c", "main.conf", "-e", "stderr"]);
            nginx
        }
        "caddy" => {
            let site = format!(
                "{{\n\tadmin off\n\tauto_https off\n}}\nhttps://127.0.0.1:{port} {{\n\ttls {certificate} {key}\n"
            );
            let own = configured(folder, "Caddyfile", &[upstream, ("movies.example {\n", site)]);
            let mut caddy = tool("caddy");
            caddy.args(["run", "--adapter", "caddyfile", "--config", &own]).env("HOME", folder);
            caddy
        }
        _ => {
            let replaced = [
                upstream,
                ("bind :443", format!("bind 127.0.0.1:{port}")),
                ("/etc/ssl/movies.example.pem", both.to_str().unwrap().to_owned()),
            ];
            let own = configured(folder, "haproxy.cfg", &replaced);
            let mut haproxy = tool("haproxy");
            haproxy.args(["-db", "-f", &own]);
            haproxy
        }
    };
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.stdout(Stdio::null()).stderr(log);
    let process = command.spawn().expect("run `make tools`, which installs the proxies");
    let proxy = Proxy { process, url: format!("https://127.0.0.1:{port}{PREFIX}") };
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "{name} does not start: {log}");
        std::thread::sleep(Duration::from_millis(50));
    }
    proxy
}

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2030-01-31"})
}

/// Everything that a proxy can break works behind each of them.
#[tokio::test]
async fn the_documented_proxies_pass_everything_on() {
    for name in ["nginx", "caddy", "haproxy"] {
        println!("{name}");
        let folder = folder();
        let settings =
            ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        let mut command = cinequery(folder.path(), &settings);
        command.args(["--trusted-proxies", "127.0.0.1"]);
        let service = Service::start(command);
        let own = service.address.strip_prefix("http://").unwrap();
        let proxy = start(name, folder.path(), own);

        // Another IP address than that of the proxy.
        let client = Client::builder()
            .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)))
            .danger_accept_invalid_certs(true);
        let client = client.build().unwrap();
        let token = token(&["movies:read", "movies:write"]);
        let request = |method: Method, path: &str| -> RequestBuilder {
            let url = format!("{}{path}", proxy.url);
            client.request(method, url).bearer_auth(&token)
        };
        // HAProxy sends requests when its first check has passed.
        let started = Instant::now();
        while request(Method::GET, "/readyz").send().await.unwrap().status() != 200 {
            assert!(started.elapsed() < Duration::from_secs(20), "{name}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        let page = request(Method::GET, "/docs").send().await.unwrap();
        assert_eq!(page.status(), 200, "{name}");
        let created = request(Method::POST, "/api/v1/movies").json(&movie("One"));
        let created = created.send().await.unwrap();
        assert_eq!(created.status(), 201, "{name}");
        let location = created.headers()["location"].to_str().unwrap();
        let location = created.url().join(location).unwrap();
        assert!(location.path().starts_with(PREFIX), "{name}: {location}");
        // The entity tag still matches, also if the proxy compresses.
        let read = client.get(location.clone()).bearer_auth(&token);
        let read = read.header("accept-encoding", "gzip").send().await.unwrap();
        let tag = read.headers()["etag"].clone();
        let changed = client.patch(location).bearer_auth(&token).header("if-match", tag);
        let changed = changed.header("content-type", "application/merge-patch+json");
        let changed = changed.body("{\"genre\":\"comedy\"}").send().await.unwrap();
        assert_eq!(changed.status(), 200, "{name}");

        // The longest filter, percent-encoded to three times its size.
        let text = "\u{e9}".repeat(4000);
        let long = request(Method::GET, "/api/v1/movies")
            .query(&[("filter", format!("title = \"{text}\""))]);
        assert_eq!(long.send().await.unwrap().status(), 200, "{name}");

        // More than the usual limit of a proxy, and more than its buffers.
        let lines: String = (0..12_000)
            .map(|n| format!("{}\n", movie(&format!("{n} {}", "x".repeat(100)))))
            .collect();
        assert!(lines.len() > 1024 * 1024);
        let import = request(Method::POST, "/api/v1/movies/import");
        let import = import.header("content-type", "application/x-ndjson").body(lines);
        let import = import.send().await.unwrap();
        assert_eq!(import.status(), 200, "{name}: {}", import.text().await.unwrap());
        let export =
            request(Method::GET, "/api/v1/movies/export?format=ndjson").send().await.unwrap();
        assert_eq!(export.text().await.unwrap().lines().count(), 12_001, "{name}");

        // The client cannot pretend to have another IP address.
        let forged = client.get(format!("{}/api/v1/movies", proxy.url)).bearer_auth("a.b.c");
        let forged = forged.header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
        assert_eq!(forged.status(), 401, "{name}");
        let log = service.whole_log();
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let rejected: Vec<Value> = events.filter(|event| event["reason"] == "malformed").collect();
        assert_eq!(rejected[0]["client"], "127.0.0.2", "{name}: {rejected:?}");
        drop(proxy);
    }
}
