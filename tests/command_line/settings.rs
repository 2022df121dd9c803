//! Settings from a file, and listening on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde_json::{Value, json};

use super::{Service, cinequery, folder, folder_of, run};
use crate::support::Client;

/// Runs a command with settings in `settings.toml` and in the environment. Returns its exit code and its output.
fn run_with(
    folder: &Path,
    file: &str,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> (i32, String) {
    std::fs::write(folder.join("settings.toml"), file).unwrap();
    let mut command = cinequery(folder, arguments);
    command.env("CINEQUERY_CONFIG", "settings.toml").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn flags_come_before_variables_and_variables_before_the_file() {
    let variable = ("CINEQUERY_DATABASE_URL", "sqlite:variable.db");
    let flag = ["migrate", "--database", "sqlite:flag.db"];
    let file = "database = \"sqlite:file.db\"";
    for (file, variables, arguments, expected) in [
        ("", &[][..], &["migrate"][..], "cinequery.db"),
        (file, &[], &["migrate"], "file.db"),
        (file, &[variable], &["migrate"], "variable.db"),
        (file, &[variable], &flag, "flag.db"),
        (file, &[], &flag, "flag.db"),
        (file, &[], &["--log", "warn", "migrate"], "file.db"),
    ] {
        let folder = folder();
        let (code, output) = run_with(folder.path(), file, variables, arguments);
        assert_eq!(code, 0, "{output}");
        let created = std::fs::read_dir(folder.path()).unwrap();
        let created = created.map(|file| file.unwrap().file_name().into_string().unwrap());
        let databases: Vec<String> = created.filter(|name| name.ends_with(".db")).collect();
        assert_eq!(databases, [expected], "{file} {variables:?} {arguments:?}");
    }
}

#[test]
fn mistakes_in_the_file_are_reported() {
    for (file, expected) in [
        ("listn = \"127.0.0.1:0\"", "unknown setting \"listn\"; did you mean \"listen\"?"),
        ("config = \"other.toml\"", "unknown setting \"config\""),
        (
            "jwt-secret = \"abc\"",
            "unknown setting \"jwt-secret\"; did you mean \"jwt-secret-file\"?",
        ),
        ("listen = 1.5", "listen: expected a text, a number, or a list of texts"),
        ("log-queries = \"yes\"", "log-queries: expected true or false"),
        ("listen = \"8080\"", "invalid value '8080' for '--listen <HOST:PORT>'"),
        ("listen = 1\ndatabase = \"postgres://u:hunter2@db/x", "settings.toml: line 2: "),
        ("[limits]", "unknown setting \"limits\""),
    ] {
        let (code, output) = run_with(folder().path(), file, &[], &["check", "--auth", "open"]);
        assert_ne!(code, 0, "{file}: {output}");
        assert!(output.contains(expected), "{file}: {output}");
        // The line could have a password.
        assert!(!output.contains("hunter2"), "{output}");
    }
    let (code, _, log) = run(folder().path(), &["check", "--config", "/dev/zero"]);
    assert!(code == 1 && log.contains("the file exceeds 1048576 bytes"), "{log}");
    let (code, _, log) = run(folder().path(), &["check", "--config", "missing.toml"]);
    assert!(code == 1 && log.contains("missing.toml: No such file"), "{log}");
}

#[test]
fn every_setting_can_be_in_the_file() {
    let file = "\
auth = \"open\"
database = \"sqlite:movies.db\"
listen = \"127.0.0.1:0\"
log = \"warn\"
log-queries = true
no-migrate = false
max-connections = 100
rate-limit = \"600/min\"
trusted-proxies = [\"10.0.0.0/8\", \"192.0.2.7\"]
jwt-secret-file = \"secret\"
";
    let folder = folder_of(&[("secret", crate::support::SECRET)]);
    let (code, output) = run_with(folder.path(), file, &[], &["check"]);
    assert!(output.contains("movies.db"), "{output}");
    // The database does not exist yet.
    assert_eq!(code, 4, "{output}");
    // The level of the log applies to all commands, and a flag before or after the command replaces it.
    for (arguments, is_logged) in [
        (&["migrate"][..], false),
        (&["--log", "info", "migrate"], true),
        (&["migrate", "--log", "info"], true),
    ] {
        let own = folder_of(&[("secret", crate::support::SECRET)]);
        let (_, output) = run_with(own.path(), file, &[], arguments);
        assert_eq!(output.contains("\"level\":\"INFO\""), is_logged, "{arguments:?}: {output}");
    }
    // A secret of the environment or of a flag replaces that of the file.
    let migrated = run_with(folder.path(), file, &[], &["migrate"]);
    assert_eq!(migrated.0, 0, "{}", migrated.1);
    let token = |variables: &[(&str, &str)], arguments: &[&str]| {
        let (code, output) = run_with(folder.path(), file, variables, arguments);
        assert_eq!(code, 0, "{output}");
        // The header has the id of the key.
        output.split('.').next().unwrap().to_owned()
    };
    let other = "another secret for tests, at least 32 bytes";
    let own = token(&[], &["token", "joe"]);
    let of_variable = token(&[("CINEQUERY_JWT_SECRET", other)], &["token", "joe"]);
    let of_flag = token(&[], &["token", "joe", "--jwt-secret", other]);
    assert_eq!(of_variable, of_flag);
    assert_ne!(own, of_flag);
    let empty = token(&[("CINEQUERY_JWT_SECRET", "")], &["token", "joe"]);
    assert_eq!(own, empty);
    // Help does not need the file.
    for arguments in [&["help", "serve"][..], &["serve", "--help"], &["--version"]] {
        let (code, output) = run_with(folder.path(), "broken", &[], arguments);
        assert_eq!(code, 0, "{output}");
    }
    let last = ["check", "--config", "missing.toml", "--config", "settings.toml"];
    assert_eq!(run_with(folder.path(), file, &[], &last).0, 0);
}

/// The limits of clients are settings.
#[tokio::test]
async fn bodies_and_timeouts_have_settings() {
    let folder = folder();
    let mut arguments = vec!["serve", "--auth", "open", "--listen", "127.0.0.1:0"];
    arguments.extend(["--jwt-secret", crate::support::SECRET, "--max-body", "2"]);
    arguments.extend(["--max-import", "1", "--header-timeout", "1s", "--backlog", "16"]);
    arguments.extend(["--sqlite-readers", "1", "--write-timeout", "5s"]);
    let service = Service::start(cinequery(folder.path(), &arguments));
    let client = Client::at(service.address.clone());
    let title = |bytes: usize| json!({"title": "x".repeat(bytes)});
    let large = client.post("/api/v1/movies", &title(3 << 19)).await;
    large.problem(400, "invalid_record");
    client.post("/api/v1/movies", &title(5 << 19)).await.problem(413, "body_too_large");
    let import = client.request("POST", "/api/v1/movies/import");
    let import = import.header("content-type", "application/x-ndjson");
    let import = client.send(import.body(" ".repeat(3 << 19))).await;
    import.problem(413, "body_too_large");
    // The connection of a client that sends nothing is closed.
    let address = service.address.strip_prefix("http://").unwrap().to_owned();
    let closed = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
        stream.read_to_end(&mut Vec::new())
    });
    // It is reset, or ends; it does not stay open.
    let outcome = closed.await.unwrap();
    let is_open = |error: std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    };
    assert!(!outcome.is_err_and(is_open));
}

/// Sends a request to a Unix socket and returns the response.
fn request(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_service_listens_on_a_unix_socket() {
    let folder = folder();
    let socket = folder.path().join("socket");
    let listen = format!("unix:{}", socket.display());
    let arguments = ["serve", "--auth", "open", "--listen", &listen];
    // The socket of a process that was killed is replaced.
    drop(UnixListener::bind(&socket).unwrap());
    let service = Service::start(cinequery(folder.path(), &arguments));
    assert_eq!(service.address, format!("http://{listen}"));
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let live = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(request(&socket, live).starts_with("HTTP/1.1 200 OK\r\n"));
    let forged = "GET /api/v1/movies HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                  x-forwarded-for: 203.0.113.9, 192.0.2.7\r\nauthorization: Bearer a.b.c\r\n\r\n";
    assert!(request(&socket, forged).starts_with("HTTP/1.1 401 "));
    assert_eq!(run(folder.path(), &["healthcheck", "--listen", &listen]).0, 0);

    let (code, _, log) = run(folder.path(), &arguments);
    assert!(code == 1 && log.contains("stop the process that serves it"), "{log}");
    assert!(request(&socket, live).starts_with("HTTP/1.1 200 OK\r\n"));
    // No other file is ever removed.
    let (other, link) = (folder.path().join("other"), folder.path().join("link"));
    std::fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    for path in [&other, &link, &folder.path().join("cinequery.db")] {
        let listen = format!("unix:{}", path.display());
        for arguments in [
            &["serve", "--auth", "open", "--listen", &listen][..],
            &["serve", "--auth", "open", "--listen", "127.0.0.1:0", "--admin-listen", &listen],
        ] {
            let (code, _, log) = run(folder.path(), arguments);
            assert!(code == 1 && log.contains("the path exists and is not a socket"), "{log}");
            assert!(std::fs::symlink_metadata(path).is_ok(), "{path:?} was removed");
        }
    }
    let log = service.whole_log();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rejected: Vec<Value> = events.filter(|event| event["reason"] == "malformed").collect();
    // The process that connects is trusted as a proxy.
    assert_eq!(rejected[0]["client"], "192.0.2.7");
    assert!(!socket.exists());
}
