//! `cinequery update` and `cinequery delete`.

use super::{MOVIES, folder, folder_of, run};
use crate::support::on_both;

/// Steps on the three movies, in order: a command, its exit code, a part of the output, and the genres after it.
const STEPS: &[(&[&str], i32, &str, &[&str])] = &[
    (
        &["update", "--filter", "genre = 'drama'", "--set", "genre=war"],
        1,
        "2 matched: add --expect 2 if all of them are meant; nothing was changed",
        &["drama", "comedy", "drama"],
    ),
    (
        &["update", "--filter", "genre = 'drama'", "--set", "genre=war", "--expect", "3"],
        1,
        "2 matched: add --expect 2",
        &["drama", "comedy", "drama"],
    ),
    (
        &["update", "--filter", "genre = 'drama'", "--set", "genre=war", "--dry-run"],
        0,
        "2 matched: add --expect 2 if all of them are meant; nothing was changed: this was a dry run",
        &["drama", "comedy", "drama"],
    ),
    (
        &[
            "update",
            "--filter",
            "genre = $g",
            "--param",
            "g=drama",
            "--set",
            "genre=\"war, drama\"",
            "--expect",
            "2",
        ],
        0,
        "2 matched, 2 updated\n",
        &["war, drama", "comedy", "war, drama"],
    ),
    (
        &[
            "update",
            "--filter",
            "release_year > 2000",
            "--set",
            "genre=a",
            "--set",
            "expiry_date=2031-01-01",
            "--expect",
            "3",
        ],
        0,
        "3 matched, 3 updated\n",
        &["a", "a", "a"],
    ),
    (
        &["update", "--filter", "release_year > 2001", "--set", "genre=a", "--expect", "2"],
        0,
        "2 matched, 0 updated\n",
        &["a", "a", "a"],
    ),
    (
        &[
            "update",
            "--filter",
            "genre = 'a'",
            "--set",
            "title=One,release_year=2000",
            "--expect",
            "3",
        ],
        1,
        "already exists",
        &["a", "a", "a"],
    ),
    (
        &["delete", "--filter", "release_year = 2002", "--dry-run"],
        0,
        "1 matched: add --expect 1",
        &["a", "a", "a"],
    ),
    (
        &["delete", "--filter", "release_year = 2002"],
        1,
        "1 matched: add --expect 1 if all of them are meant; nothing was changed",
        &["a", "a", "a"],
    ),
    (
        &["delete", "--filter", "release_year = 2002", "--expect", "1"],
        0,
        "1 matched, 1 deleted\n",
        &["a", "a"],
    ),
    (&["delete", "--filter", "release_year = 2002"], 1, "no record matches; nothing", &["a", "a"]),
    (
        &["delete", "--filter", "release_year = 2002", "--expect", "0"],
        0,
        "0 matched, 0 deleted\n",
        &["a", "a"],
    ),
];

#[tokio::test]
async fn matching_records_are_updated_and_deleted_if_as_many_match_as_expected() {
    on_both(async |database| {
        let folder = folder_of(&[("movies.ndjson", MOVIES)]);
        let database = ["--database", &database.url()];
        let run = |command: &[&str]| run(folder.path(), &[command, &database[..]].concat());
        assert_eq!(run(&["import", "movies.ndjson"]).0, 0);
        for (command, expected, part, genres) in STEPS {
            let (code, out, log) = run(command);
            assert!(code == *expected && log.contains(part), "{command:?}: {code} {log}");
            // A dry run lists the records.
            let listed = if command.contains(&"--dry-run") { out.lines().count() - 1 } else { 0 };
            let matched = log.split(' ').next().unwrap_or_default();
            assert!(listed == 0 || listed.to_string() == matched, "{out}{log}");
            assert_eq!(out.is_empty(), listed == 0, "{out}");
            let (_, csv, _) = run(&["export", "--fields", "genre", "--format", "csv"]);
            let found: Vec<&str> = csv.lines().skip(1).map(|line| line.trim_matches('"')).collect();
            assert_eq!(found, *genres, "{command:?}");
        }
        // The journal names the operator.
        let (_, journal, _) = run(&["changes"]);
        let last = journal.lines().last().unwrap_or_default();
        assert!(last.contains("\"deleted\"") && last.contains("\"operator\""), "{journal}");
    })
    .await;
}

/// Commands that are rejected before a database is opened, and a part of the message.
const WRONG: &[(&[&str], &str)] = &[
    (&["update", "--filter", "gnre = 1", "--set", "genre=a"], "1 | gnre = 1\n  | ^^^^"),
    (&["delete", "--filter", "gnre = 1", "--dry-run"], "did you mean \"genre\"?"),
    (&["delete", "--filter", " ", "--expect", "3"], "filter"),
    (&["delete", "--expect", "3"], "--filter <FILTER>"),
    (&["update", "--filter", "genre = 'x'"], "--set <FIELD=VALUE,…>"),
    (
        &["update", "--filter", "genre = 'x'", "--set", "gnre=a"],
        "--set: gnre: is not a field of Movie; did you mean \"genre\"?",
    ),
    (&["update", "--filter", "genre = 'x'", "--set", "id=a"], "--set: id: is set by the service"),
    (&["update", "--filter", "genre = 'x'", "--set", "genre="], "--set: genre: "),
    (
        &["update", "--filter", "genre = 'x'", "--set", "release_year=soon,expiry_date=15/02/2030"],
        "--set: release_year: expected an integer, found the text \"soon\"",
    ),
    (
        &["update", "--filter", "genre = 'x'", "--set", "genre=a", "--set", "genre=b"],
        "--set: the field \"genre\" is set twice",
    ),
    (&["delete", "--filter", "genre = 'x'", "--expect", "10001"], "0..=10000"),
    (&["delete", "--filter", "genre = 'x'", "--expect", "1", "--dry-run"], "--dry-run"),
    (&["delete", "--filter", "genre = 'x'", "--expect", "1"], "cinequery.db not found"),
];

#[test]
fn wrong_updates_are_rejected_before_a_database_is_created() {
    for (command, expected) in WRONG {
        let folder = folder();
        let (code, _, log) = run(folder.path(), command);
        assert!(code != 0 && log.contains(expected), "{command:?}: {log}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{command:?}");
    }
}

/// An operator writes read-only fields, and an empty value is null where a field may be.
#[test]
fn an_operator_updates_read_only_and_empty_values() {
    let books = "name = \"Book\"\ncollection = \"books\"\n[fields]\nname = { type = \"text\" }\n\
                 shelf = { type = \"integer\", required = false }\nsource = { type = \"text\", read_only = true, required = false }\n";
    let rows = "name,shelf,source\na,1,x\nb,,x\n";
    let folder = folder_of(&[("books.toml", books), ("books.csv", rows)]);
    let run =
        |command: &[&str]| run(folder.path(), &[command, &["--records", "books.toml"]].concat());
    assert_eq!(run(&["import", "books.csv"]).0, 0);
    let set = ["update", "--filter", "source = 'x'", "--set", "shelf=,source=y", "--expect", "2"];
    let (code, _, log) = run(&set);
    assert!(code == 0 && log.contains("2 matched, 2 updated\n"), "{log}");
    let (_, csv, _) = run(&["export", "--fields", "name,shelf,source", "--format", "csv"]);
    assert_eq!(csv.lines().collect::<Vec<_>>(), ["name,shelf,source", "a,,y", "b,,y"]);
}
