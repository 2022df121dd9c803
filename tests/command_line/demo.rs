//! `cinequery demo`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::{Service, cinequery, folder};

/// The demo says what to paste, and what it says works.
#[tokio::test]
async fn the_demo_s_requests_work_when_pasted() {
    let folder = folder();
    let mut command = cinequery(folder.path(), &["demo", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("2028-12-31") {
        assert_ne!(output.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let service = Service { process, address: String::new(), log: None };
    let docs = said.split_whitespace().find(|word| word.ends_with("/docs")).unwrap();
    assert_eq!(reqwest::get(docs).await.unwrap().status(), 200);
    // Everything from the token on is for the shell.
    let script = &said[said.find("TOKEN=").unwrap()..];
    let script = script.replace("\n\ncurl", "\necho\ncurl");
    let answers = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let answers = String::from_utf8(answers.stdout).unwrap();
    let answers: Vec<serde_json::Value> = answers
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(!answers[0]["items"].as_array().unwrap().is_empty(), "the card's example finds films");
    assert!(answers[1]["total"].as_i64().unwrap() > 0);
    assert_eq!(answers[2]["title"], "My Film");
    assert_eq!(service.stop(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

/// Whoever holds the default port, the demo takes another.
#[test]
fn the_demo_takes_a_free_port_when_the_default_is_busy() {
    let folder = folder();
    let _holder = TcpListener::bind(cinequery::config::DEFAULT_LISTEN);
    let mut command = cinequery(folder.path(), &["demo"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let docs = output.lines().map_while(Result::ok).find(|line| line.contains("/docs")).unwrap();
    let service = Service { process, address: String::new(), log: None };
    assert!(!docs.contains(cinequery::config::DEFAULT_LISTEN), "{docs}");
    assert_eq!(service.stop(), Some(0));
}
