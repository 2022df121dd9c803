//! `cinequery serve`.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{MOVIES, PASSWORD, Service, cinequery, folder, run, signs_in};
use crate::support::{Client, SECRET, on_both};

/// A client that never completes its request does not delay the shutdown.
#[tokio::test]
async fn a_service_stops_during_an_upload() {
    let folder = folder();
    let arguments = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
    let service = Service::start(cinequery(folder.path(), &arguments));
    let address = service.address.strip_prefix("http://").unwrap().to_owned();
    for policy in ["fail", "skip"] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let headers = format!(
            "POST /api/v1/movies/import?on_conflict={policy} HTTP/1.1\r\nhost: x\r\n\
             content-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\
             authorization: Bearer {}\r\n\r\n",
            crate::support::token(&["movies:write"])
        );
        std::io::Write::write_all(&mut stream, headers.as_bytes()).unwrap();
        std::io::Write::write_all(&mut stream, MOVIES.as_bytes()).unwrap();
        // Keep the connection open until the process exits.
        std::mem::forget(stream);
    }
    assert_eq!(service.stop(), Some(0));
}

/// A misspelt level would switch the log off.
#[test]
fn unknown_levels_of_the_log_are_rejected() {
    for (level, is_valid) in [
        ("warn", true),
        ("WARN,audit=info", true),
        ("off", true),
        ("wran", false),
        ("text", false),
        ("wran,audit=info", false),
        ("cinequery=foo", false),
    ] {
        let (code, _, log) = run(folder().path(), &["migrate", "--log", level]);
        assert_eq!(code == 0, is_valid, "{level}: {log}");
        assert!(is_valid || log.contains("--log: "), "{level}: {log}");
    }
}

/// The first administrator cannot be created in a database without tables.
#[test]
fn a_database_without_a_table_of_users_is_not_served() {
    let folder = folder();
    std::fs::write(folder.path().join("admin"), PASSWORD).unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--no-migrate"];
    let file = ["--admin-password-file", "admin"];
    let (code, _, log) = run(folder.path(), &[&arguments[..], &file].concat());
    assert!(code == 1 && log.contains("the database is not migrated"), "{log}");
}

#[tokio::test]
async fn a_service_listens_on_a_host_name() {
    let folder = folder();
    let arguments = ["serve", "--auth", "open", "--listen", "localhost:0"];
    let service = Service::start(cinequery(folder.path(), &arguments));
    let is_loopback = ["127.0.0.1", "[::1]"].iter().any(|ip| service.address.contains(ip));
    assert!(is_loopback, "{}", service.address);
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/livez").await.status, 200);
    // Another process must not get the requests of clients that use the name, even if `::1` is free.
    let port = service.address.rsplit(':').next().unwrap();
    let second = ["serve", "--auth", "open", "--listen", &format!("localhost:{port}")];
    let (code, _, log) = run(folder.path(), &second);
    assert!(code == 1 && log.contains("choose another port"), "{log}");
    assert_eq!(service.stop(), Some(0));
}

#[tokio::test]
async fn a_service_stores_its_secret_next_to_sqlite() {
    let folder = folder();
    let serve = || {
        Service::start(cinequery(
            folder.path(),
            &["serve", "--auth", "open", "--listen", "127.0.0.1:0"],
        ))
    };
    let service = serve();
    let client = Client::at(service.address.clone()).with_token(None);
    let issued = client.post("/api/token", &json!({"username": "joe"})).await.json();
    let token = issued["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.stop(), Some(0));

    let file = std::fs::metadata(folder.path().join("cinequery.db.secret")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let service = serve();
    let client = Client::at(service.address.clone()).with_token(Some(token));
    assert_eq!(client.get("/api/v1/movies").await.status, 200);
    // The command line issues tokens for the same service, optionally with fewer scopes.
    let (code, token, _) = run(folder.path(), &["token", "joe", "--scope", "movies:read"]);
    assert_eq!(code, 0);
    let reader = client.with_token(Some(token.trim().to_owned()));
    assert_eq!(reader.get("/api/v1/movies").await.status, 200);
    reader.post("/api/v1/movies", &json!({})).await.problem(403, "insufficient_scope");
}

#[tokio::test]
async fn two_services_share_a_database_and_a_secret() {
    on_both(async |database| {
        let folder = folder();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let start = || {
            let mut command =
                cinequery(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--log", "info"]);
            command
                .env("CINEQUERY_AUTH", "open")
                .env("CINEQUERY_DATABASE_URL", database.url())
                .env("CINEQUERY_JWT_SECRET_FILE", &secret);
            Service::start(command)
        };
        let (one, two) = (start(), start());
        let one_client = Client::at(one.address.clone());
        let movie =
            json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
        let created = one_client.create(&movie).await;
        let other = Client::at(two.address.clone());
        let path = format!("/api/v1/movies/{}", created["id"].as_str().unwrap());
        assert_eq!(other.get(&path).await.json(), created);
        assert_eq!((one.stop(), two.stop()), (Some(0), Some(0)));
    })
    .await;
}

#[tokio::test]
async fn a_service_without_migrations_is_not_ready() {
    let folder = folder();
    let arguments = ["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--no-migrate"];
    let service = Service::start(cinequery(folder.path(), &arguments));
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/livez").await.status, 200);
    let problem = client.get("/readyz").await.problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("cinequery migrate"), "{problem}");
    assert_eq!(run(folder.path(), &["migrate"]).0, 0);
    assert_eq!(client.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn unreachable_databases_are_reported_without_their_password() {
    let folder = folder();
    let url = "postgres://joe:hunter2@127.0.0.1:1/none";
    let (code, _, log) = run(folder.path(), &["migrate", "--database", url]);
    assert_eq!(code, 1);
    assert!(log.contains("refused") && !log.contains("hunter2"), "{log}");
    let service = [
        "serve",
        "--auth",
        "open",
        "--listen",
        "127.0.0.1:0",
        "--no-migrate",
        "--jwt-secret",
        SECRET,
        "--database",
        url,
    ];
    let service = Service::start(cinequery(folder.path(), &service));
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/livez").await.status, 200);
    for path in ["/readyz", "/api/v1/movies"] {
        let response = client.get(path).await;
        let problem = response.problem(503, "unavailable");
        assert!(!problem.to_string().contains("hunter2"));
        assert!(response.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
}

#[tokio::test]
async fn instances_that_start_together_create_one_administrator() {
    on_both(async |database| {
        let folder = folder();
        std::fs::write(folder.path().join("admin"), format!("{PASSWORD}\n")).unwrap();
        let start = || {
            let url = database.url();
            let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
            let files = ["--admin-password-file", "admin", "--database", &url];
            Service::start(cinequery(folder.path(), &[&settings[..], &files].concat()))
        };
        let services: Vec<Service> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|service| service.join().unwrap()).collect()
        });
        for service in &services {
            let client = Client::at(service.address.clone());
            assert_eq!(signs_in(&client, "admin", PASSWORD).await, 200);
            assert_eq!(signs_in(&client, "admin", "wrong").await, 401);
        }
        let (_, list, _) = run(folder.path(), &["user", "list", "--database", &database.url()]);
        assert_eq!(list.trim(), "admin    admin");
        // An administrator exists now, so neither a file nor a terminal is needed.
        let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        let url = database.url();
        let again = [&settings[..], &["--database", &url]].concat();
        Service::start(cinequery(folder.path(), &again));
    })
    .await;
}

/// The port is bound before anything is written.
#[tokio::test]
async fn a_service_whose_port_is_busy_changes_nothing() {
    on_both(async |database| {
        let folder = folder();
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = busy.local_addr().unwrap().to_string();
        let url = database.url();
        let serve = ["serve", "--auth", "open", "--listen", &address, "--jwt-secret", SECRET];
        let serve = [&serve[..], &["--database", &url]].concat();
        let (code, _, log) = run(folder.path(), &serve);
        assert!(code == 1 && log.contains("choose another port"), "{log}");
        let (code, _, log) = run(folder.path(), &["query", "--database", &url]);
        let is_new = log.contains("test.db not found") || log.contains("migrations are pending");
        assert!(code == 1 && is_new, "{log}");
    })
    .await;
    let folder = folder();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let (code, _, log) = run(folder.path(), &["serve", "--auth", "open", "--listen", &address]);
    assert_eq!(code, 1, "{log}");
    assert!(
        std::fs::read_dir(folder.path()).unwrap().next().is_none(),
        "a secret has been written"
    );
}

/// The table of settings has every setting, and no other.
#[test]
fn the_configuration_page_lists_the_settings() {
    let page = include_str!("../../docs/configuration.md");
    let words = |text: &'static str, prefix: &'static str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let words = text.split(move |c: char| !is_part(c));
        words
            .filter(move |word| word.starts_with(prefix))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let variables = words(include_str!("../../src/config.rs"), "CINEQUERY_");
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| `--")).collect();
    let in_table: std::collections::BTreeSet<&str> =
        table.iter().flat_map(|row| words(row, "CINEQUERY_")).collect();
    assert_eq!(in_table, variables);
    let (_, help, _) = run(folder().path(), &["serve", "--help"]);
    let flags: Vec<&str> =
        table.iter().flat_map(|row| words(row.split('|').nth(1).unwrap(), "--")).collect();
    assert!(flags.len() > 5);
    for flag in flags {
        assert!(help.contains(flag), "serve has no {flag}");
    }
}
