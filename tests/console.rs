//! The console: that the service has the page that `console/` builds, and that users can do everything with it.

use std::path::Path;
use std::process::Command;

use crate::contract::tools::{Demonstration, emptied, root, succeed, with_node};
use crate::support::{Client, Database, on_both};

/// The sources, and the bundle in `dist`.
fn console() -> std::path::PathBuf {
    root().join("console")
}

/// A script of `console/package.json`. `contract/tools.sh console` installs what it needs.
fn script(name: &str) -> Command {
    let packages = console().join("node_modules");
    assert!(packages.exists(), "{} is missing: `make tools` installs it", packages.display());
    let mut command = with_node(Command::new("npm"));
    command.args(["run", "--silent", name, "--"]).current_dir(console());
    command
}

/// A record type with integers of any size.
const TALLIES: &str = r#"
name = "Tally"
collection = "tallies"
description = "A number."

[fields.title]
type = "text"
description = "What was counted."

[fields.amount]
type = "integer"
description = "How many there are."
"#;

/// The records of a service with a second collection, which has fields of all types, and a third one.
fn records() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tallies.toml"), TALLIES).unwrap();
    for file in ["records/movies.toml", "examples/screenings/screenings.toml"] {
        let file = root().join(file);
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    folder
}

/// The tests of these names in `console/tests`, in Chromium, against a kind of service.
pub fn playwright(kind: &str, names: &str) -> Command {
    let mut playwright = script("test");
    playwright.env("CINEQUERY_KIND", kind).arg(names);
    playwright
}

/// Uses a service with users and a second collection.
fn click(database: Database, kind: &str, names: &str, settings: &[&str]) {
    let records = records();
    let records = ["--records", records.path().to_str().unwrap()];
    let service = Demonstration::with(database, &[&records[..], settings].concat());
    let mut playwright = playwright(kind, names);
    service.configure(&mut playwright);
    println!("{}", succeed(&mut playwright));
}

#[test]
fn the_bundle_is_built_from_its_sources() {
    succeed(&mut script("check"));
    let built = emptied("console");
    succeed(script("build").arg("--outDir").arg(&built));
    let files = |folder: &Path| {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push((
                        path.strip_prefix(folder).unwrap().to_owned(),
                        std::fs::read(&path).unwrap(),
                    )),
                }
            }
        }
        files.sort();
        files
    };
    let [built, committed] = [files(&built), files(&console().join("dist"))];
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| {
        files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&built), names(&committed));
    for ((name, built), (_, committed)) in built.iter().zip(&committed) {
        assert!(built == committed, "{} is outdated: `make console` builds it", name.display());
    }
}

/// The bound of the whole page, compressed.
const MAX_BYTES: usize = 250 * 1000;

#[tokio::test]
async fn the_page_loads_nothing_from_other_origins_and_is_small() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let page = client.request("GET", "/").header("accept-encoding", "gzip");
    let page = client.send(page).await;
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let mut size = page.body.len();
    let page = client.get("/").await;
    let html = String::from_utf8(page.body.clone()).unwrap();
    let first = html.split('"').find_map(|part| part.strip_prefix("./console/")).unwrap();
    let (hash, _) = first.split_once('/').unwrap();
    let files = std::fs::read_dir(console().join("dist/console")).unwrap();
    for file in files.map(|file| file.unwrap().file_name().into_string().unwrap()) {
        let path = format!("/console/{hash}/{file}");
        let response = client.request("GET", &path).header("accept-encoding", "gzip");
        let response = client.send(response).await;
        assert_eq!(response.status, 200, "{file} belongs into src/http/console.rs");
        assert_eq!(response.header("content-encoding"), "gzip", "{file}");
        assert_eq!(response.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        size += response.body.len();
    }
    println!("{size} bytes of {MAX_BYTES}");
    assert!(size <= MAX_BYTES, "{size} bytes");
    for unknown in ["console.js", "0123456789abcdef/console.js", &format!("{hash}/none.js")] {
        assert_eq!(client.get(&format!("/console/{unknown}")).await.status, 404);
    }
}

#[test]
fn a_search_is_typed_and_shown() {
    click(Database::sqlite(), "users", "query", &[]);
}

#[tokio::test]
#[ignore = "run by `make console`"]
async fn everything_is_done_on_the_screen() {
    on_both(async |database| click(database, "users", "", &[])).await;
}

#[test]
#[ignore = "run by `make console`"]
fn visitors_search_a_public_catalogue() {
    click(Database::sqlite(), "visitor", "visitor", &["--anonymous", "viewer"]);
}
