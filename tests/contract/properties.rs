//! Property tests that Schemathesis makes of the document, against a running service on each engine.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::tools::{DOCUMENT, Demonstration, emptied, root, succeed, tool};
use crate::support::Database;

/// So many requests for every operation, beside those at the limits of its values; with all checks.
/// Which they are, a seed decides: a fixed one makes the same again.
fn check(engine: &str, database: Database, requests: u32, seed: u64) {
    let service = Demonstration::on(database);
    let folder = emptied(&format!("schemathesis/{engine}-{requests}"));
    let mut schemathesis = tool("python/bin/st");
    service.tell(&mut schemathesis);
    schemathesis
        // It keeps what it has found where it is run.
        .current_dir(&folder)
        .env("SCHEMATHESIS_HOOKS", root().join("contract/hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--no-color", "--config-file"])
        .arg(root().join("contract/schemathesis.toml"))
        .arg("run")
        .arg(root().join(DOCUMENT))
        .args(["--url", service.address(), "--checks", "all"])
        .args(["--max-examples", &requests.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["--report", "json", "--report-json-path", "report.json"]);
    let said = succeed(&mut schemathesis);
    let report = std::fs::read(folder.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let (operations, cases) = (&report["operations"], &report["test_cases"]);
    assert!(operations["tested"] == operations["total"] && report["complete"] == true, "{said}");
    assert!(cases["with_failures"] == 0 && cases["errored"] == 0, "{said}");
    println!(
        "Schemathesis on {engine}: {} operations, {} requests, 0 failures, seed {seed}",
        operations["tested"], cases["generated"]
    );
}

#[tokio::test]
async fn operations_answer_as_documented() {
    on_both(30, 1).await;
}

#[tokio::test]
#[ignore = "run by `make contract`"]
async fn operations_answer_as_documented_however_long_they_are_asked() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    on_both(200, now.as_secs()).await;
}

async fn on_both(requests: u32, seed: u64) {
    for (engine, database) in
        [("SQLite", Database::sqlite()), ("PostgreSQL", Database::postgres().await)]
    {
        let test = move || check(engine, database, requests, seed);
        tokio::task::spawn_blocking(test).await.unwrap();
    }
}
