//! The page at `/docs`, used in a real browser.

use std::path::Path;
use std::process::Command;

use crate::command_line::{Service, cinequery, folder, run};
use crate::support::{Database, SECRET};

const PASSWORD: &str = "correct horse battery";

#[test]
#[ignore = "run by `make contract`"]
fn what_the_page_offers_works_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, database) = (folder(), Database::sqlite());
    let url = database.url();
    let films = root.join("sample/movies.ndjson");
    let import = ["import", films.to_str().unwrap(), "--database", &url];
    let (code, _, log) = run(folder.path(), &import);
    assert_eq!(code, 0, "{log}");
    std::fs::write(folder.path().join("admin"), PASSWORD).unwrap();
    let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
    let settings = [&settings[..], &["--admin-password-file", "admin", "--rate-limit", "off"]];
    let arguments = [&settings.concat()[..], &["--database", &url]].concat();
    let service = Service::start(cinequery(folder.path(), &arguments));

    let target = root.join("target");
    let browser = Command::new("node")
        .arg(root.join("contract/browser.mjs"))
        .arg(target.join("screenshots"))
        .env("NODE_PATH", target.join("tools/node/node_modules"))
        .env("CINEQUERY_URL", &service.address)
        .env("CINEQUERY_USERNAME", "admin")
        .env("CINEQUERY_PASSWORD", PASSWORD)
        .status()
        .unwrap();
    assert!(browser.success(), "see what the browser was asked for, above");
}
