//! `cinequery import`.

use std::process::{Command, Output};

use super::{MOVIES, folder, folder_of, run};
use crate::support::on_both;

#[tokio::test]
async fn movies_are_imported_and_found() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let file = folder.path().join("movies.ndjson");
        std::fs::write(&file, MOVIES).unwrap();
        let import = |policy: &str| {
            let arguments =
                ["import", "movies.ndjson", "--database", &url, "--on-conflict", policy];
            run(folder.path(), &arguments)
        };
        let (code, _, log) = import("fail");
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("3 created, 0 updated, 0 skipped, 0 rejected"), "{log}");
        assert_eq!(log.matches("warning").count(), 1, "{log}");
        assert!(log.contains("ignored unknown or read-only fields: stars"), "{log}");

        let (code, _, log) = import("fail");
        assert_eq!(code, 2, "{log}");
        assert!(log.contains("line 1: \"One\" (2001) already exists\n"), "{log}");
        assert!(log.contains("line 4: \"Zoë\" (2003) already exists\n"), "{log}");
        assert!(log.contains("add --on-conflict skip, which imports the other rows"), "{log}");
        let (code, _, log) = import("skip");
        assert_eq!((code, log.contains("0 created, 0 updated, 3 skipped")), (0, true), "{log}");
        let (code, _, log) = import("update");
        assert_eq!((code, log.contains("0 created, 0 updated, 3 skipped")), (0, true), "{log}");

        let filter = "genre = $g and expiry_date between 2024-01-01 and 2024-06-30";
        let query =
            ["query", filter, "--param", "g=drama", "--order-by", "title desc", "--database", &url];
        let (code, table, log) = run(folder.path(), &query);
        assert_eq!(code, 0, "{log}");
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected = [
            ["title", "genre", "release_year", "expiry_date"],
            ["Zoë", "drama", "2003", "2024-03-31"],
            ["One", "drama", "2001", "2024-01-31"],
        ];
        assert_eq!(rows, expected);
        let column = |line: &str| line.find("200").or(line.find("release"));
        let starts: Vec<_> = table
            .lines()
            .map(|line| line.char_indices().position(|(at, _)| Some(at) == column(line)))
            .collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    })
    .await;
}

#[tokio::test]
async fn rejected_rows_are_listed_by_line() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let mut rows = MOVIES.as_bytes().to_vec();
        rows.extend_from_slice(b"\nnot json\n{\"title\":\"\xff\"}\n{\"title\":\"\"}\n");
        rows.extend_from_slice(format!("{{\"title\":\"{}\"}}\n", "x".repeat(70_000)).as_bytes());
        rows.extend_from_slice(b"{\"title\":\"Last\",\"genre\":\"g\",\"release_year\":2000,\"expiry_date\":\"2024-01-01\"}");
        std::fs::write(folder.path().join("movies.ndjson"), rows).unwrap();
        for (policy, created) in [("fail", "nothing was imported"), ("skip", "4 created")] {
            let arguments = ["import", "movies.ndjson", "--database", &url, "--on-conflict", policy];
            let (code, _, log) = run(folder.path(), &arguments);
            assert_eq!(code, 2, "{log}");
            for line in ["line 5: ", "line 6: ", "line 7: ", "line 8: "] {
                assert!(log.contains(line), "{line} is missing: {log}");
            }
            assert!(!log.contains("line 9: ") && log.contains(created), "{log}");
        }
    })
    .await;
}

/// Files that cannot be imported at all, and the message about each.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "movies.csv",
        "",
        "movies.csv: the file is empty; expected a header line with the names of the fields",
    ),
    (
        "movies.csv",
        "Title,genre\nOne,drama\n",
        "movies.csv: line 1 has no column for `release_year`, `expiry_date`; it has: Title, genre; rename or add it, or \
         map another column to it",
    ),
    (
        "movies.csv",
        "Name;Kind;Year;Licence ends\nOne;drama;2001;15/02/2030\n",
        "movies.csv: line 1 has no column for `title`, `genre`, `release_year`, `expiry_date`; it has: Name, Kind, Year, \
         Licence ends; perhaps with --map \"Name=title,Kind=genre,Year=release_year,Licence ends=expiry_date\"",
    ),
    (
        "movies.csv",
        "Movies\n\nTitle,Genre,Year\n",
        "movies.csv: line 1 has no column for `title`, `genre`, `release_year`, `expiry_date`; it has: Movies; add \
         --header-row 3",
    ),
    (
        "movies.csv",
        "title,title,genre,release_year,expiry_date\n",
        "movies.csv: line 1 has the column \"title\" twice; map one of them, such as \"title (2)=FIELD\"",
    ),
    (
        "movies.csv.gz",
        "this is not compressed",
        "movies.csv.gz: the input breaks off\n  invalid gzip header",
    ),
];

#[tokio::test]
async fn a_file_that_cannot_be_imported_changes_nothing() {
    on_both(async |database| {
        let url = database.url();
        for (name, text, expected) in WRONG {
            let folder = folder_of(&[(name, text)]);
            let (code, _, log) = run(folder.path(), &["import", name, "--database", &url]);
            assert_eq!((code, log.trim()), (1, format!("cinequery: {expected}").as_str()));
        }
        let (code, _, log) = run(folder().path(), &["query", "--database", &url]);
        let is_new = log.contains("test.db not found") || log.contains("migrations are pending");
        assert!(code == 1 && is_new, "{log}");
    })
    .await;
}

/// Files of which no row can be imported, and lines of the report.
const ONLY_INVALID_ROWS: &[(&str, &[&str])] = &[
    (
        "{\"titel\":\"One\",\"genre\":\"drama\",\"release_year\":2001,\"expiry_date\":\"soon\"}",
        &[
            "line 1: title: is missing",
            "line 1: expiry_date: ",
            "the only row was rejected; ignored unknown or read-only fields: titel",
        ],
    ),
    (
        "{}\nnot JSON\n{}",
        &[
            "line 2: expected one JSON object per line, found \"not JSON\"",
            "all 3 rows were rejected",
        ],
    ),
    (
        "[{\"title\":\"One\",\"genre\":\"drama\"}]",
        &["line 1: release_year: is missing", "the only row was rejected"],
    ),
];

#[tokio::test]
async fn a_file_without_a_valid_row_is_rejected_without_advice_on_conflicts() {
    on_both(async |database| {
        let url = database.url();
        for (rows, lines) in ONLY_INVALID_ROWS {
            for policy in ["fail", "skip", "update"] {
                let folder = folder_of(&[("movies.ndjson", rows)]);
                let import = ["import", "movies.ndjson", "--database", &url, "--on-conflict"];
                let (code, _, log) = run(folder.path(), &[&import[..], &[policy]].concat());
                assert_eq!(code, 2, "{log}");
                for line in *lines {
                    assert!(log.contains(line), "{line} is missing: {log}");
                }
                assert!(!log.contains("--on-conflict"), "{log}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_that_repeats_a_key_is_reported_with_the_earlier_line() {
    on_both(async |database| {
        let url = database.url();
        let one = MOVIES.lines().next().unwrap();
        let rows = format!("{MOVIES}\n{one}\n{}", one.replace("One", "Three \\\"3\\\""));
        let folder = folder_of(&[("movies.ndjson", &format!("{rows}\n{rows}"))]);
        let (code, _, log) = run(folder.path(), &["import", "movies.ndjson", "--database", &url]);
        let expected = [
            "line 5: \"One\" (2001) already exists (line 1)",
            "line 7: \"One\" (2001) already exists (line 1)",
            "line 9: \"Two\" (2002) already exists (line 3)",
            "line 10: \"Zoë\" (2003) already exists (line 4)",
            "line 11: \"One\" (2001) already exists (line 1)",
            "line 12: \"Three \\\"3\\\"\" (2001) already exists (line 6)",
        ];
        let reported: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
        assert_eq!((code, reported.as_slice()), (2, &expected[..]), "{log}");
    })
    .await;
}

/// The error for a truncated file reports how many of its records have been written.
#[tokio::test]
async fn a_truncated_file_is_reported_with_the_number_of_written_records() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let rows = (0..2500)
            .map(|number| MOVIES.lines().next().unwrap().replace("One", &number.to_string()));
        let rows = rows.collect::<Vec<_>>().join("\n");
        std::fs::write(folder.path().join("movies.ndjson"), rows).unwrap();
        let other = ["--database", "sqlite:other.db"];
        assert_eq!(run(folder.path(), &[&["import", "movies.ndjson"][..], &other].concat()).0, 0);
        assert_eq!(
            run(folder.path(), &[&["export", "movies.ndjson.gz"][..], &other].concat()).0,
            0
        );
        let cut = folder.path().join("movies.ndjson.gz");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() - 10]).unwrap();
        let count =
            || run(folder.path(), &["query", "--count", "--limit", "1", "--database", &url]).2;
        for (policy, written) in [("fail", false), ("skip", true)] {
            let import =
                ["import", "movies.ndjson.gz", "--database", &url, "--on-conflict", policy];
            let (code, _, log) = run(folder.path(), &import);
            assert_eq!((code, log.contains("have been written")), (1, written), "{log}");
            assert!(log.contains("breaks off"), "{log}");
            assert_eq!(count().contains("0 of 0"), !written, "{}", count());
        }
    })
    .await;
}

/// The command that `infer` prints for a file with other names imports it.
#[test]
fn a_file_with_other_names_is_imported_as_infer_says() {
    let file = "Movie Title,Seen,,Movie Title\nSolaris,yes,x,Солярис\nStalker,no,x,Сталкер\n";
    check_inferred(file, &[]);
    let options = ["--format", "csv", "--encoding", "utf-8", "--header-row", "3"];
    check_inferred(&format!("Movies, with a title\n\n{file}"), &options);
}

fn check_inferred(file: &str, options: &[&str]) {
    let folder = folder_of(&[("movies.csv", file)]);
    let infer = [&["records", "infer", "movies.csv"], options].concat();
    let (code, declaration, log) = run(folder.path(), &infer);
    assert_eq!(code, 0, "{log}");
    std::fs::write(folder.path().join("movies.toml"), &declaration).unwrap();
    let command = declaration.lines().find_map(|line| line.strip_prefix("# cinequery")).unwrap();
    assert!(command.ends_with(&options.join(" ")), "{command}");
    let binary = env!("CARGO_BIN_EXE_cinequery");
    let command = format!("{binary}{}", command.replace("FILE", "movies.csv"));
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", &command])
        .current_dir(folder.path())
        .env("CINEQUERY_RECORDS", "movies.toml");
    let Output { status, stderr, .. } = shell.output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    assert!(
        status.success() && log.contains("2 created, 0 updated, 0 skipped, 0 rejected"),
        "{log}"
    );
    assert!(!log.contains("warning"), "{log}");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let folder = folder();
    let row = r#"{"title":"a","genre":"g","release_year":2000,"expiry_date":"\u001b[31mx","\u001b]0;y":1}"#;
    std::fs::write(folder.path().join("movies.ndjson"), row).unwrap();
    let (code, _, log) = run(folder.path(), &["import", "movies.ndjson", "--on-conflict", "skip"]);
    assert!(code == 2 && !log.contains('\u{1b}'), "{log:?}");
    let row = r#"{"title":"a","genre":"g","release_year":2000,"expiry_date":"2024-01-01","b\nline 9: \u001b":1}"#;
    std::fs::write(folder.path().join("movies.ndjson"), row).unwrap();
    let (code, _, log) =
        run(folder.path(), &["import", "movies.ndjson", "--database", "sqlite:a.db"]);
    let warning = "warning: ignored unknown or read-only fields: b\\nline 9: \\u{1b}";
    assert_eq!((code, log.lines().find(|line| line.starts_with("warning"))), (0, Some(warning)));
    let (code, _, _) = run(
        folder.path(),
        &["import", "movies.ndjson", "--collection", "nothing", "--database", "sqlite:new.db"],
    );
    assert!(code == 1 && !folder.path().join("new.db").exists());
}

/// Files, and all that a dry run prints about them.
const DRY_RUNS: &[(&str, &[&str])] = &[
    (
        "Name;Kind;Stars\nOne;drama;5\nTwo;war;4\n",
        &[
            "read as csv, utf-8, delimiter \";\"",
            "  Name is ignored; it could be title",
            "  Kind is ignored; it could be genre",
            "  Stars is ignored",
            "  release_year has no column: rename or map one, or give a value with --set release_year=VALUE",
            "  expiry_date has no column: rename or map one, or give a value with --set expiry_date=VALUE",
            "perhaps add --map 'Name=title,Kind=genre'",
            "0 created, 0 updated, 0 skipped, 2 rejected",
            "nothing was imported: this was a dry run",
        ],
    ),
    (
        "Movies\n\nTitle,Genre,Year\nOne,drama,2001\n",
        &[
            "read as csv, utf-8, delimiter \",\"",
            "  Movies is ignored",
            "row 3 looks like the header: add --header-row 3",
            "0 created, 0 updated, 0 skipped, 2 rejected",
            "nothing was imported: this was a dry run",
        ],
    ),
    (
        "title,genre,release_year,x\nOne,drama,2001,1\nTwo,drama,soon,\n",
        &[
            "read as csv, utf-8, delimiter \",\"",
            "  title is read into title",
            "  genre is read into genre",
            "  release_year is read into release_year",
            "  x is ignored",
            "release_year: 1 × expected an integer, like \"soon\" (line 3)",
            "  expiry_date has no column: rename or map one, or give a value with --set expiry_date=VALUE",
            "0 created, 0 updated, 0 skipped, 2 rejected",
            "nothing was imported: this was a dry run",
        ],
    ),
];

#[test]
fn a_dry_run_of_a_file_without_a_column_says_what_helps() {
    for (file, lines) in DRY_RUNS {
        let folder = folder_of(&[("movies.csv", file)]);
        let (code, out, log) = run(folder.path(), &["import", "movies.csv", "--dry-run"]);
        assert_eq!((code, out.as_str()), (2, ""), "{log}");
        let printed = log.lines().filter(|line| !line.starts_with('{'));
        assert_eq!(printed.collect::<Vec<_>>(), *lines);
    }
    // Ignored columns are counted.
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let folder = folder_of(&[("movies.csv", &format!("{}\n", names.join(",")))]);
    let (_, _, log) = run(folder.path(), &["import", "movies.csv", "--dry-run"]);
    assert!(log.contains("  c19 is ignored\n  30 more are ignored\n"), "{log}");
}

/// A record type with two unique keys and one field that has the name of the column of problems.
const BOOKS: &str = "name = \"Book\"\ncollection = \"books\"\nunique = [[\"name\"], [\"isbn\"]]\n[fields]\n\
                     name = { type = \"text\" }\nisbn = { type = \"text\" }\n\
                     pages = { type = \"integer\" }\n";

/// Rows that are rejected by the rules, by the reader and by the database.
const WRONG_BOOKS: &str = "Name;ISBN;Pages;Note\r\nA;1;100;=x\r\nB;2;many;\"a;b\"\r\nC;1;300;\r\n\"D \"x\" y\";4;400;\r\n\
                           E;5\r\n\r\nF;6;600;é\r\n";

/// The file of rejected rows that is written for them.
const REJECTED_BOOKS: &str = "\u{feff}\"problem\";\"Name\";\"ISBN\";\"Pages\";\"Note\"\r\n\
    \"line 3: pages: expected an integer, found \"\"many\"\"\";B;2;many;\"a;b\"\r\n\
    \"line 5: has a text after the closing quote of a cell; write each quote in a quoted cell twice\";\"D \"x\" y\";4;400;\r\n\
    \"line 6: has 2 cells, but the header line has 4 names\";E;5\r\n\
    \"line 4: a record with isbn \"\"1\"\" already exists\";C;1;300;\r\n";

#[tokio::test]
async fn rejected_rows_are_corrected_and_imported_again() {
    on_both(async |database| {
        let folder = folder_of(&[("books.toml", BOOKS), ("books.csv", WRONG_BOOKS)]);
        let url = database.url();
        let import = |file: &str, more: &[&str]| {
            let options = ["--records", "books.toml", "--database", &url, "--on-conflict", "skip"];
            run(folder.path(), &[&["import", file], &options[..], more].concat())
        };
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let (code, _, log) = import("books.csv", &["--rejected", "wrong.csv"]);
        assert!(code == 2 && log.contains("2 created, 0 updated, 0 skipped, 4 rejected"), "{log}");
        assert!(log.contains("the rejected rows are in wrong.csv: correct them"), "{log}");
        assert_eq!(read("wrong.csv"), REJECTED_BOOKS);
        // An existing file is not overwritten, and nothing is imported.
        let (code, _, log) = import("books.csv", &["--rejected", "wrong.csv"]);
        assert!(
            code == 1 && log.contains("wrong.csv: the file exists and is not overwritten"),
            "{log}"
        );
        assert_eq!(read("wrong.csv"), REJECTED_BOOKS);
        // One row is corrected; the others are rejected again, with their new problems and the old columns.
        write("wrong.csv", &REJECTED_BOOKS.replace("many;", "200;"));
        let (code, _, log) = import("wrong.csv", &["--rejected", "again.csv"]);
        assert!(code == 2 && log.contains("1 created, 0 updated, 0 skipped, 3 rejected"), "{log}");
        let again = read("again.csv");
        let mut lines = again.lines();
        assert_eq!(lines.next(), REJECTED_BOOKS.lines().next());
        let rows: Vec<&str> = lines.map(|line| line.split_once("\";").unwrap().1).collect();
        assert_eq!(rows, ["\"D \"x\" y\";4;400;", "E;5", "C;1;300;"], "{again}");
        // All are corrected: no file is written.
        let corrected = again
            .replace("\"D \"x\" y\"", "D")
            .replace("E;5\r", "E;5;500;\r")
            .replace("C;1;", "C;3;");
        write("again.csv", &corrected);
        let (code, _, log) = import("again.csv", &["--rejected", "none.csv"]);
        assert!(code == 0 && log.contains("3 created, 0 updated, 0 skipped, 0 rejected"), "{log}");
        assert!(!folder.path().join("none.csv").exists() && !log.contains("none.csv"), "{log}");
    })
    .await;
}

/// Options of an import of [`WRONG_BOOKS`] or of JSON, and a part of the error.
const WRONG_REJECTED: &[(&str, &[&str], &str)] = &[
    ("books.csv", &["--rejected", "wrong.csv"], "--rejected needs --on-conflict skip or update"),
    (
        "books.csv",
        &["--rejected", "no/wrong.csv", "--on-conflict", "skip"],
        "the folder no does not exist",
    ),
    (
        "books.csv",
        &["--rejected", "books.csv", "--on-conflict", "skip"],
        "books.csv: the file exists",
    ),
    (
        "books.csv",
        &["--rejected", "-", "--on-conflict", "skip"],
        "--rejected: -: expected the name of a file",
    ),
    ("books.csv", &["--rejected", "wrong.csv", "--dry-run"], "cannot be used with"),
    ("books.json", &["--rejected", "wrong.csv", "--on-conflict", "skip"], "JSON has no header"),
];

#[test]
fn a_file_of_rejected_rows_must_be_new_and_useful() {
    for (file, options, expected) in WRONG_REJECTED {
        let files = [("books.toml", BOOKS), ("books.csv", WRONG_BOOKS), ("books.json", "[]")];
        let folder = folder_of(&files);
        let import = ["import", file, "--records", "books.toml"];
        let (code, _, log) = run(folder.path(), &[&import[..], options].concat());
        assert!(code != 0 && log.contains(expected), "{options:?}: {log}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), files.len(), "{options:?}");
        assert_eq!(std::fs::read_to_string(folder.path().join("books.csv")).unwrap(), WRONG_BOOKS);
    }
}

/// More rows than are listed in a report, and than one commit has, are all in the file; also those of a workbook, and those
/// that were changed since their export.
#[test]
fn every_rejected_row_is_in_the_file() {
    let folder = folder_of(&[("books.toml", BOOKS)]);
    let run =
        |command: &[&str]| run(folder.path(), &[command, &["--records", "books.toml"]].concat());
    let at = |name: &str| folder.path().join(name);
    let rows = |change: &str| {
        (0..2500).fold("name,isbn,pages\n".to_owned(), |rows, n| {
            rows + &format!("n{n},{n},{}\n", if n % 5 == 0 { change } else { "1" })
        })
    };
    std::fs::write(at("books.csv"), rows("x")).unwrap();
    let (code, _, log) =
        run(&["import", "books.csv", "--on-conflict", "skip", "--rejected", "1.csv"]);
    assert!(code == 2 && log.contains("2000 created, 0 updated, 0 skipped, 500 rejected"), "{log}");
    assert_eq!(std::fs::read_to_string(at("1.csv")).unwrap().lines().count(), 501);
    // Other names with a taken second key.
    let taken = rows("1").replace("\nn", "\nm");
    std::fs::write(at("taken.csv"), taken).unwrap();
    let (code, _, log) =
        run(&["import", "taken.csv", "--on-conflict", "skip", "--rejected", "2.csv"]);
    assert!(code == 2 && log.contains("500 created, 0 updated, 0 skipped, 2000 rejected"), "{log}");
    assert_eq!(std::fs::read_to_string(at("2.csv")).unwrap().lines().count(), 2001);
    // A workbook of an export, of which all records have changed since.
    let update = |filter: &str, set: &str, expect: &str| {
        let (code, _, log) = run(&["update", "--filter", filter, "--set", set, "--expect", expect]);
        assert_eq!(code, 0, "{log}");
    };
    update("name = 'n1'", "name==n1", "1");
    assert_eq!(run(&["export", "books.xlsx"]).0, 0);
    update("pages = 1", "pages=2", "2500");
    let update = ["import", "books.xlsx", "--on-conflict", "update", "--rejected", "3.csv"];
    let (code, _, log) = run(&update);
    assert!(code == 2 && log.contains("all 2500 rows were rejected"), "{log}");
    let file = std::fs::read_to_string(at("3.csv")).unwrap();
    assert_eq!(file.lines().count(), 2501, "{log}");
    let (header, first) = (file.lines().next().unwrap(), file.lines().nth(1).unwrap());
    let names = "\u{feff}\"problem\",\"name\",\"isbn\",\"pages\",";
    assert!(header.starts_with(names) && header.ends_with("\"id\",\"version\""), "{header}");
    assert!(first.contains("was changed after the file was written"), "{first}");
    // A text that would be a formula is guarded, as in an export.
    assert!(first.contains("\"'=n1\",\"1\",\"1\",") && first.ends_with(",\"2\""), "{first}");
}
