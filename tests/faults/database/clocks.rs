//! Instances whose clocks differ.

use serde_json::json;

use super::super::instance::{Caller, Launch};
use super::super::{Report, skip};
use super::revoke_token;
use crate::support::Database;

/// Where Debian puts it. Its program `faketime` would stand between the test and the process.
fn library() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    files.find(|file| file.is_file()).map(|file| file.display().to_string())
}

async fn issue(caller: &Caller) -> String {
    let issued = caller.with_token(None).post("/api/token", &json!({"username": "someone"})).await;
    issued.json()["access_token"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn tokens_are_accepted_by_instances_whose_clocks_differ() {
    let Some(library) = library() else {
        return skip("libfaketime is not in /usr/lib (`apt-get install libfaketime`)");
    };
    let database = Database::postgres().await;
    let mut report = Report::new("Clocks of instances differ");
    let right = Launch::on(&database.url()).start().await;
    for offset in ["+60s", "-60s"] {
        // Timeouts are measured on a clock that never jumps, and stay as they are.
        let other = Launch::on(&database.url())
            .environment(&[
                ("LD_PRELOAD", library.as_str()),
                ("FAKETIME", offset),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ])
            .start()
            .await;
        for (from, to, way) in [(&other, &right, "at another"), (&right, &other, "from another")] {
            let caller = to.client().with_token(Some(issue(&from.client()).await));
            let reply = caller.get("/api/v1/movies").await;
            let measured = format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
            let measured = measured.chars().take(120).collect::<String>();
            let promised =
                format!("a token of an instance at {offset}, or the reverse ({way}): 200");
            report.row(&promised, measured, reply.status == 200);
        }
        // A token that is revoked at one is revoked at both, whatever their clocks say.
        let token = issue(&other.client()).await;
        let revoked = revoke_token(&right.client(), &token).await;
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let caller = other.client().with_token(Some(token));
        let reply = caller.get("/api/v1/movies").await;
        let measured = format!("{}, then {}", revoked.status, reply.status);
        let is_kept = (revoked.status, reply.status) == (200, 401);
        report.row(&format!("{offset}: revoked at the other one, then 401"), measured, is_kept);
    }
    report.finish();
}
