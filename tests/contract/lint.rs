//! What linters say of the document: nothing.

use serde_json::Value;

use super::tools::{DOCUMENT, node, succeed};

#[test]
fn redocly_finds_nothing() {
    let mut redocly = node("redocly");
    redocly.args(["lint", "--config", "contract/redocly.yaml", "--format", "json", DOCUMENT]);
    let output = redocly.env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{output:?}"));
    let totals = &report["totals"];
    assert!(totals["errors"] == 0 && totals["warnings"] == 0, "{:#}", report["problems"]);
}

#[test]
fn spectral_finds_nothing() {
    let mut spectral = node("spectral");
    spectral.args(["lint", "--ruleset", "contract/spectral.yaml", "--fail-severity", "hint"]);
    let said = succeed(spectral.arg(DOCUMENT));
    assert!(said.contains("No results"), "{said}");
}
