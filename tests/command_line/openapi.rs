//! `cinequery openapi`.

use std::process::Stdio;

use super::{cinequery, folder, run};

#[test]
fn a_closed_pipe_is_not_an_error() {
    let folder = folder();
    let mut process = cinequery(folder.path(), &["openapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn the_document_is_printed() {
    let (code, printed, _) = run(folder().path(), &["openapi"]);
    let is_published = printed == include_str!("../../openapi/v1.json");
    assert!(code == 0 && is_published, "openapi/v1.json is outdated: run `make openapi`");
}
