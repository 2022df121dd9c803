//! Property tests that Schemathesis generates from the OpenAPI document, against a running service on each database.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::tools::{DOCUMENT, Demonstration, emptied, root, succeed, tool};
use crate::support::Database;

/// The number of operations that `contract/schemathesis.toml` excludes: a change of the password ends the session of the
/// tests.
const EXCLUDED: u64 = 1;

/// Sends up to `requests` random requests to every operation, and requests with values at their limits, with all checks.
/// The same seed generates the same requests.
fn check(engine: &str, database: Database, requests: u32, seed: u64) {
    let service = Demonstration::on(database);
    let folder = emptied(&format!("schemathesis/{engine}-{requests}"));
    let mut schemathesis = tool("python/bin/st");
    service.configure(&mut schemathesis);
    schemathesis
        // Schemathesis writes its findings into the current folder.
        .current_dir(&folder)
        .env("SCHEMATHESIS_HOOKS", root().join("contract/hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--no-color", "--config-file"])
        .arg(root().join("contract/schemathesis.toml"))
        .arg("run")
        .arg(root().join(DOCUMENT))
        .args(["--url", service.url(), "--checks", "all"])
        .args(["--max-examples", &requests.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["--report", "json", "--report-json-path", "report.json"]);
    let output = succeed(&mut schemathesis);
    let report = std::fs::read(folder.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let (operations, cases) = (&report["operations"], &report["test_cases"]);
    let number = |name: &str| operations[name].as_u64().unwrap();
    let is_tested = number("tested") + EXCLUDED == number("total");
    assert!(is_tested && report["complete"] == true, "{output}");
    assert!(cases["with_failures"] == 0 && cases["errored"] == 0, "{output}");
    println!(
        "Schemathesis on {engine}: {} operations, {} requests, 0 failures, seed {seed}",
        operations["tested"], cases["generated"]
    );
}

#[tokio::test]
async fn operations_respond_as_documented() {
    on_both(30, 1).await;
}

#[tokio::test]
#[ignore = "run by `make contract`"]
async fn operations_respond_as_documented_to_many_requests() {
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
