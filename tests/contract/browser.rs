//! Uses the service in a real browser: the page at `/docs`, and pages of other origins.

use std::net::TcpListener;
use std::process::Command;

use super::tools::{Demonstration, emptied, root, succeed, with_node};
use crate::support::{Database, SECRET, on_both};

/// An origin on a free port, for a page. Its port must be known before the service starts.
fn origin() -> String {
    let port = TcpListener::bind("localhost:0").unwrap().local_addr().unwrap().port();
    format!("http://localhost:{port}")
}

/// A script for Node.js that drives Chromium.
fn script(path: &str, service: &Demonstration) -> Command {
    let node = root().join("target/tools/python/bin/node");
    let folders = std::env::var_os("PATH").unwrap();
    let chromium = std::env::split_paths(&folders).map(|folder| folder.join("chromium"));
    let chromium = chromium.into_iter().find(|chromium| chromium.exists());
    let chromium = chromium.expect("`contract/tools.sh chromium` installs Chromium");
    let mut browser = with_node(Command::new(node));
    service.configure(&mut browser);
    browser.env("CHROMIUM", chromium).arg(path);
    browser
}

#[test]
#[ignore = "run by `make contract`"]
fn the_documentation_page_works_in_a_browser() {
    let service = Demonstration::on(Database::sqlite());
    let mut browser = script("contract/browser.mjs", &service);
    print!("{}", succeed(browser.arg(emptied("screenshots"))));
}

#[test]
#[ignore = "run by `make contract`"]
fn a_page_of_a_listed_origin_can_use_the_service() {
    let page = origin();
    let service = Demonstration::with(Database::sqlite(), &["--cors-origins", &page]);
    print!("{}", succeed(script("contract/cors.mjs", &service).env("PAGE", page)));
}

#[tokio::test]
#[ignore = "run by `make contract`"]
async fn the_example_page_works_from_another_origin() {
    on_both(async |database| {
        let page = origin();
        let service = Demonstration::with(database, &["--cors-origins", &page]);
        let mut browser = script("contract/page.mjs", &service);
        browser.env("PAGE", page).env("CINEQUERY_JWT_SECRET", SECRET);
        print!("{}", succeed(&mut browser));
    })
    .await;
}
