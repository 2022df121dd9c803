//! Instances with different clocks.

use serde_json::json;

use super::super::instance::{Caller, Launch};
use super::super::{Report, skip};
use super::revoke_token;
use crate::support::Database;

/// Returns the path of libfaketime on Debian. The test preloads the library itself, because with the program
/// `faketime` the service would be a child process that signals do not reach.
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
        return skip(
            "libfaketime not found in /usr/lib; install it with `apt-get install libfaketime`",
        );
    };
    let database = Database::postgres().await;
    let mut report = Report::new("Clocks of instances differ");
    let right = Launch::on(&database.url()).start().await;
    for offset in ["+60s", "-60s"] {
        // The monotonic clock, which measures timeouts, is not faked.
        let other = Launch::on(&database.url())
            .environment(&[
                ("LD_PRELOAD", library.as_str()),
                ("FAKETIME", offset),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ])
            .start()
            .await;
        for (from, to, way) in [(&other, &right, "issued"), (&right, &other, "verified")] {
            let caller = to.client().with_token(Some(issue(&from.client()).await));
            let reply = caller.get("/api/v1/movies").await;
            let measured = format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
            let measured = measured.chars().take(120).collect::<String>();
            let promised = format!("a token {way} by an instance with its clock at {offset}: 200");
            report.row(&promised, measured, reply.status == 200);
        }
        // A revocation applies on all instances, whatever their clocks show.
        let token = issue(&other.client()).await;
        let revoked = revoke_token(&right.client(), &token).await;
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let caller = other.client().with_token(Some(token));
        let reply = caller.get("/api/v1/movies").await;
        let measured = format!("{}, then {}", revoked.status, reply.status);
        let is_kept = (revoked.status, reply.status) == (200, 401);
        report.row(
            &format!("{offset}: revoked on the other instance, then 401"),
            measured,
            is_kept,
        );
    }
    report.finish();
}
