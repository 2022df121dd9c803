//! Linters find no problem in the OpenAPI document.

use serde_json::Value;

use super::tools::{DOCUMENT, node, succeed};

#[test]
fn redocly_finds_nothing() {
    let mut redocly = node("redocly");
    redocly.args(["lint", "--config", "contract/redocly.yaml", "--format", "json", DOCUMENT]);
    let output = redocly.env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    let totals = &report["totals"];
    assert!(totals["errors"] == 0 && totals["warnings"] == 0, "{:#}", report["problems"]);
}

#[test]
fn spectral_finds_nothing() {
    let mut spectral = node("spectral");
    spectral.args(["lint", "--ruleset", "contract/spectral.yaml", "--fail-severity", "hint"]);
    let text = succeed(spectral.arg(DOCUMENT));
    assert!(text.contains("No results"), "{text}");
}
