//! Point-in-time recovery of PostgreSQL, with the commands of the manual.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command_line::run;
use crate::support::{UNPRIVILEGED_UID, postgres_programs};

const PAGE: &str = include_str!("../docs/operate/backup.md");

/// The fences of the section, in its order.
fn commands() -> Vec<&'static str> {
    let (_, section) = PAGE.split_once("### Any moment in time").unwrap();
    let fences = section.split("```").skip(1).step_by(2);
    fences.map(|fence| fence.split_once('\n').unwrap().1).collect()
}

/// Runs a script as the user of the server, with the paths of the manual in a folder.
fn in_shell(folder: &Path, script: &str, variables: &[(&str, &str)]) -> String {
    let at = |path: &str| folder.join(path).display().to_string();
    let script = script.replace("/archive", &at("archive")).replace("/backups", &at("backups"));
    let path = format!("{}:/usr/bin:/bin", postgres_programs().display());
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).current_dir(folder).env_clear().env("PATH", path);
    shell.envs(variables.iter().copied()).stdin(Stdio::null());
    if chown(folder, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).is_ok() {
        shell.uid(UNPRIVILEGED_UID).gid(UNPRIVILEGED_UID);
    }
    let output = shell.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{script}\n{text}");
    text
}

/// Stops the servers also if the test fails.
struct Servers<'a>(&'a Path);

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for data in ["first", "second"] {
            if self.0.join(data).join("postmaster.pid").exists() {
                let stop = format!("pg_ctl --pgdata={data} --mode=immediate --silent stop || true");
                in_shell(self.0, &stop, &[]);
            }
        }
    }
}

#[test]
fn a_database_is_restored_to_a_moment() {
    let folder = tempfile::Builder::new().prefix("cinequery-recovery-").tempdir().unwrap();
    let folder = folder.path();
    let _servers = Servers(folder);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("postgres://test@127.0.0.1:{port}/postgres");
    let [settings, base, restore] = commands().try_into().unwrap();
    let settings = format!(
        "mkdir archive backups
        initdb --pgdata=first --username=test --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
        cat >> first/postgresql.conf <<END
{settings}
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = '{}'
END
        pg_ctl --pgdata=first --log=log --wait start >/dev/null",
        folder.display()
    );
    in_shell(folder, &settings, &[]);

    let command = |arguments: &[&str]| {
        let (code, output, log) =
            run(folder, &[arguments, &["--database", &server, "--log", "warn"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {output}{log}");
        output
    };
    let import = |name: &str, titles: &[&str]| {
        let lines = titles.iter().map(|title| {
            format!(
                "{{\"title\":\"{title}\",\"genre\":\"drama\",\"release_year\":2001,\
                 \"expiry_date\":\"2030-01-31\"}}\n"
            )
        });
        std::fs::write(folder.join(name), lines.collect::<String>()).unwrap();
        command(&["import", name]);
    };
    import("before.ndjson", &["In the copy"]);
    in_shell(folder, base, &[("SERVER", &server)]);
    import("after.ndjson", &["In the archive"]);
    let sql = |sql: &str| {
        let psql =
            "psql --no-psqlrc --tuples-only --no-align --dbname=\"$SERVER\" --command=\"$SQL\"";
        in_shell(folder, psql, &[("SERVER", &server), ("SQL", sql)]).trim().to_owned()
    };
    let moment = sql("SELECT now()");
    // The recovery ends before the first commit after the moment.
    sql("SELECT pg_sleep(0.1)");
    sql("DELETE FROM movies");
    sql("SELECT pg_switch_wal()");
    in_shell(folder, "pg_ctl --pgdata=first --wait stop >/dev/null", &[]);

    let data = folder.join("second").display().to_string();
    // The server would keep the standard output of the test open.
    let restore = restore.replace("--wait start", "--log=log --wait start >/dev/null");
    in_shell(folder, &restore, &[("DATA", &data), ("MOMENT", &moment), ("SERVER", &server)]);
    let exported = command(&["export", "-", "--filter", "title starts with \"In the\""]);
    assert_eq!(exported.lines().count(), 2, "{exported}");
    import("later.ndjson", &["Written after the recovery"]);
}
