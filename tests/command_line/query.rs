//! `cinequery query`.

use std::process::{Command, Stdio};

use super::{MOVIES, cinequery, folder, folder_of, run};

#[test]
fn sql_is_printed_and_not_executed() {
    let folder = folder();
    let filter = "title contains 'star' or release_year = 1977";
    let (code, shown, _) = run(folder.path(), &["query", filter, "--sql"]);
    assert_eq!(code, 0);
    assert!(shown.contains("instr(\"title_folded\", ?)") && shown.contains("1977"), "{shown}");
    let url = ["--database", "postgres://user@127.0.0.1:1/none"];
    let (code, shown, _) = run(folder.path(), &[&["query", filter, "--sql"][..], &url].concat());
    assert_eq!((code, shown.contains("\"title_folded\" LIKE $1")), (0, true), "{shown}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Arguments of `query`, and lines of the output.
const SHOWN: &[(&[&str], &[&str])] = &[
    (
        &["title = 'é' and\n gnre = 'x'"],
        &[
            "error[unknown_field]: unknown field \"gnre\"",
            " --> filter:2:2",
            "2 |  gnre = 'x'",
            "  |  ^^^^",
            "help: did you mean \"genre\"?",
            "2 |  genre = 'x'",
        ],
    ),
    // The end of the text is marked, although no character is there.
    (&["genre ="], &["error[unexpected_token]", "1 | genre =", "  |        ^"]),
    (&["release_year = $y", "--param", "y=soon"], &[" --> p.y:1:1", "1 | soon", "  | ^^^^"]),
    (&["--order-by", "yaer"], &[" --> order_by:1:1", "1 | yaer", "  | ^^^^"]),
    (
        &["genre = 'a' or genre = 'b' and title = 'c'"],
        &["warning[mixed_and_or]", "1 | genre = 'a' or genre = 'b' and title = 'c'"],
    ),
];

#[test]
fn problems_are_shown_with_their_place() {
    let folder = folder();
    for (arguments, lines) in SHOWN {
        let (_, _, log) = run(folder.path(), &[&["query", "--sql"], *arguments].concat());
        for line in *lines {
            let is_there = log.lines().any(|shown| shown.trim_end().contains(line));
            assert!(is_there, "{line:?} is missing: {log}");
        }
        assert!(!log.contains('\u{1b}'), "only terminals get colours: {log:?}");
    }
}

/// Values of `--fields`, the names and the first row of the table; or a part of the error message.
const FIELDS: &[(&str, Result<&[&str], &str>)] = &[
    ("title,version", Ok(&["title", "version", "One", "1"])),
    ("version, title", Ok(&["version", "title", "1", "One"])),
    ("title,title", Err("the field \"title\" is chosen twice; name it once")),
    ("titel", Err("\"titel\" is not a field of Movie; did you mean \"title\"?")),
    ("", Err("\"\" is not a field of Movie")),
];

#[test]
fn the_chosen_fields_are_shown() {
    let folder = folder_of(&[("movies.ndjson", MOVIES)]);
    assert_eq!(run(folder.path(), &["import", "movies.ndjson"]).0, 0);
    for (names, expected) in FIELDS {
        let query = ["query", "title = 'One'", "--fields", names];
        let (code, table, log) = run(folder.path(), &query);
        match expected {
            Ok(cells) => {
                assert_eq!(code, 0, "{log}");
                assert_eq!(table.split_whitespace().collect::<Vec<_>>(), *cells);
            }
            Err(message) => assert!(code == 1 && log.contains(message), "{log}"),
        }
    }
    let managed = ["query", "--fields", "id,created_at,updated_at", "--limit", "1"];
    let (_, table, _) = run(folder.path(), &managed);
    let (_, exported, _) =
        run(folder.path(), &["export", "--fields", "id,created_at,updated_at", "--format", "csv"]);
    let first = exported.lines().nth(1).unwrap().split(',').collect::<Vec<_>>();
    assert_eq!(table.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), first);
    let (code, _, log) = run(folder.path(), &["query", "--sql", "--fields", "id"]);
    assert!(code == 2 && log.contains("cannot be used with"), "{log}");
}

/// `script` of util-linux runs the command in a pseudo-terminal.
#[cfg(target_os = "linux")]
#[test]
fn problems_are_coloured_on_a_terminal() {
    let folder = folder();
    let shown = |environment: &[(&str, &str)]| {
        let command = format!("{} query --sql 'gnre = 1'", env!("CARGO_BIN_EXE_cinequery"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path());
        script.envs(environment.iter().copied()).stdin(Stdio::null());
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    assert!(shown(&[("NO_COLOR", "")]).contains("\u{1b}["));
    assert!(!shown(&[("NO_COLOR", "1")]).contains("\u{1b}["));
}

#[test]
fn the_database_is_set_by_flag_environment_or_default() {
    let folder = folder();
    let shown = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command =
            cinequery(folder.path(), &[&["query", "--sql", "genre = 'x'"][..], arguments].concat());
        command.envs(environment.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let is_postgres = |statement: String| statement.contains("$1");
    let postgres = ("CINEQUERY_DATABASE_URL", "postgres://x@127.0.0.1/y");
    assert!(!is_postgres(shown(&[], &[])));
    assert!(is_postgres(shown(&[], &[postgres])));
    assert!(!is_postgres(shown(&["--database", "sqlite:x.db"], &[postgres])));
}
