//! The page at `/docs`, used in a real browser.

use std::path::Path;
use std::process::Command;

use super::tools::{Demonstration, emptied, root, succeed, with_node};
use crate::support::Database;

#[test]
#[ignore = "run by `make contract`"]
fn what_the_page_offers_works_in_a_browser() {
    let node = root().join("target/tools/python/bin/node");
    let chromium = Path::new("/usr/bin/chromium");
    assert!(node.exists() && chromium.exists(), "`make tools` installs Node.js and Chromium");
    let service = Demonstration::on(Database::sqlite());
    let mut browser = with_node(Command::new(node));
    service.tell(&mut browser);
    print!("{}", succeed(browser.arg("contract/browser.mjs").arg(emptied("screenshots"))));
}
