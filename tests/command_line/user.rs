//! `cinequery user`.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;

use super::{PASSWORD, Service, cinequery, folder, signs_in};
use crate::support::{Client, SECRET, on_both};

#[tokio::test]
async fn users_are_managed_at_the_command_line() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let user = |arguments: &[&str], input: &str| {
            let arguments = [&["user"], arguments, &["--database", &url]].concat();
            let mut command = cinequery(folder.path(), &arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = command.spawn().unwrap();
            // A process that rejects the arguments exits before it reads.
            let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
            let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (status.code().unwrap(), text(stdout), text(stderr))
        };
        let (code, list, log) = user(&["list"], "");
        let remark = "no users; add one with `cinequery user add NAME --role admin`";
        assert_eq!((code, list.as_str(), log.lines().last()), (0, "", Some(remark)), "{log}");
        let password = format!("{PASSWORD}\n");
        assert_eq!(user(&["add", "root", "--role", "admin"], &password).0, 0);
        assert_eq!(user(&["add", "anna", "--role", "viewer"], &password).0, 0);
        let (code, _, log) = user(&["add", "anna", "--role", "viewer"], &password);
        assert!(code == 1 && log == "cinequery: the user \"anna\" already exists\n", "{log}");
        let (code, _, log) = user(&["add", "ben", "--role", "viewer"], "short\n");
        let expected = "cinequery: password: must have at least 15 characters, found 5\n";
        assert_eq!((code, log.as_str()), (1, expected));
        let (code, _, log) = user(&["add", "ben", "--role", "viewer"], "");
        assert!(code == 1 && log.contains("standard input is empty"), "{log}");
        let (code, _, log) = user(&["add", "ben", "--role", "owner"], &password);
        assert!(code == 2 && log.contains("viewer, editor, admin"), "{log}");
        assert_eq!(user(&["list"], "").1, "viewer   anna\nadmin    root\n");

        let settings = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        let serve = [&settings[..], &["--database", &url]].concat();
        let service = Service::start(cinequery(folder.path(), &serve));
        let client = Client::at(service.address.clone());
        assert_eq!(signs_in(&client, "anna", PASSWORD).await, 200);
        let other = "another horse battery";
        let change = ["change", "anna", "--role", "editor", "--new-password"];
        assert_eq!(user(&change, other).0, 0);
        assert_eq!(signs_in(&client, "anna", PASSWORD).await, 401);
        assert_eq!(signs_in(&client, "anna", other).await, 200);
        assert_eq!(user(&["list"], "").1, "editor   anna\nadmin    root\n");
        let credentials = json!({"username": "anna", "password": other});
        let issued = client.with_token(None).post("/api/token", &credentials).await.json();
        let anna = client.with_token(Some(issued["access_token"].as_str().unwrap().to_owned()));
        assert_eq!(anna.get("/api/v1/movies").await.status, 200);
        assert_eq!(user(&["sign-out", "anna"], "").0, 0);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        anna.get("/api/v1/movies").await.problem(401, "unauthenticated");
        assert_eq!(user(&["remove", "anna"], "").0, 0);
        assert_eq!(signs_in(&client, "anna", other).await, 401);
        let (code, _, log) = user(&["remove", "anna"], "");
        assert_eq!((code, log.as_str()), (1, "cinequery: unknown user \"anna\"\n"));
    })
    .await;
}
