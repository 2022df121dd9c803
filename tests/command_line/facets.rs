//! `cinequery facets`.

use super::{MOVIES, folder_of, run};
use crate::support::on_both;

/// Options, the cells of each line of the table without the filter, and a part of the log.
const COUNTED: &[(&[&str], &[&str], &str)] = &[
    (&["--by", "genre"], &["genre count", "drama 2", "comedy 1"], "3 matched\n"),
    (
        &["--by", "genre", "--limit", "1"],
        &["genre count", "drama 2"],
        "3 matched; 1 more value with 1 of them, see --limit\n",
    ),
    (
        &[
            "--by",
            "release_year",
            "--interval",
            "decade",
            "--filter",
            "genre = $g",
            "--param",
            "g=drama",
        ],
        &["release_year count", "2000 2"],
        "2 matched\n",
    ),
    (&["--by", "genre", "--filter", "genre = 'x'"], &["genre count"], "0 matched\n"),
    (
        &["--by", "version", "--filter", "genre = 'a' or genre = 'b' and title = 'c'"],
        &["version count"],
        "warning[mixed_and_or]",
    ),
];

/// Options, and a part of the error message.
const WRONG: &[(&[&str], &str)] = &[
    (&["--by", "gnre"], "unknown field \"gnre\"; did you mean \"genre\"?"),
    (&["--by", "genre", "--interval", "decade"], "interval: expected none for \"genre\""),
    (&["--by", "genre", "--filter", "gnre = 1"], "1 | gnre = 1\n  | ^^^^"),
    (&["--by", "genre", "--limit", "0"], "1..=1000"),
    (
        &["--by", "genre", "--collection", "movie"],
        "unknown collection \"movie\"; did you mean \"movies\"?",
    ),
    (&[], "--by <FIELD>"),
];

#[tokio::test]
async fn records_are_counted_by_a_field() {
    on_both(async |database| {
        let folder = folder_of(&[("movies.ndjson", MOVIES)]);
        let database = ["--database", &database.url()];
        assert_eq!(
            run(folder.path(), &[&["import", "movies.ndjson"], &database[..]].concat()).0,
            0
        );
        for (options, rows, remark) in COUNTED {
            let command = [&["facets"], *options, &database[..]].concat();
            let (code, out, log) = run(folder.path(), &command);
            assert!(code == 0 && log.contains(remark), "{options:?}: {log}");
            let cells = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            let found: Vec<String> = out.lines().map(cells).collect();
            assert_eq!(found, *rows, "{out}");
        }
        let (_, out, _) =
            run(folder.path(), &[&["facets", "--by", "genre"], &database[..]].concat());
        assert!(out.lines().any(|line| line.trim_end().ends_with("genre = 'drama'")), "{out}");
        for (options, expected) in WRONG {
            let command = [&["facets"], *options, &database[..]].concat();
            let (code, _, log) = run(folder.path(), &command);
            assert!(code != 0 && log.contains(expected), "{options:?}: {log}");
        }
    })
    .await;
}
