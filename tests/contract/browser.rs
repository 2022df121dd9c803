//! Uses the page at `/docs` in a real browser.

use std::process::Command;

use super::tools::{Demonstration, emptied, root, succeed, with_node};
use crate::support::Database;

#[test]
#[ignore = "run by `make contract`"]
fn the_documentation_page_works_in_a_browser() {
    let node = root().join("target/tools/python/bin/node");
    let path = std::env::var_os("PATH").unwrap();
    let chromium = std::env::split_paths(&path).map(|folder| folder.join("chromium"));
    let chromium = chromium.into_iter().find(|chromium| chromium.exists());
    let chromium = chromium.expect("`contract/tools.sh chromium` installs Chromium");
    let service = Demonstration::on(Database::sqlite());
    let mut browser = with_node(Command::new(node));
    service.configure(&mut browser);
    browser.env("CHROMIUM", chromium);
    print!("{}", succeed(browser.arg("contract/browser.mjs").arg(emptied("screenshots"))));
}
