//! `cinequery import`.

use super::{FILMS, folder, run};
use crate::support::on_both;

#[tokio::test]
async fn films_are_imported_and_found() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let file = folder.path().join("films.ndjson");
        std::fs::write(&file, FILMS).unwrap();
        let import = |policy: &str| {
            let arguments = ["import", "films.ndjson", "--database", &url, "--on-conflict", policy];
            run(folder.path(), &arguments)
        };
        let (code, _, log) = import("fail");
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("3 created, 0 updated, 0 skipped, 0 refused"), "{log}");
        assert_eq!(log.matches("warning").count(), 1, "{log}");
        assert!(log.contains("ignored: stars"), "{log}");

        let (code, _, log) = import("fail");
        assert_eq!(code, 2, "{log}");
        assert!(log.contains("line 1: ") && log.contains("line 4: "), "{log}");
        assert!(log.contains("nothing was imported"), "{log}");
        let (code, _, log) = import("skip");
        assert_eq!((code, log.contains("0 created, 0 updated, 3 skipped")), (0, true), "{log}");
        let (code, _, log) = import("update");
        assert_eq!((code, log.contains("0 created, 3 updated, 0 skipped")), (0, true), "{log}");

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
async fn refused_rows_are_listed_by_line() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let mut rows = FILMS.as_bytes().to_vec();
        rows.extend_from_slice(b"\nnot json\n{\"title\":\"\xff\"}\n{\"title\":\"\"}\n");
        rows.extend_from_slice(format!("{{\"title\":\"{}\"}}\n", "x".repeat(70_000)).as_bytes());
        rows.extend_from_slice(b"{\"title\":\"Last\",\"genre\":\"g\",\"release_year\":2000,\"expiry_date\":\"2024-01-01\"}");
        std::fs::write(folder.path().join("films.ndjson"), rows).unwrap();
        for (policy, created) in [("fail", "nothing was imported"), ("skip", "4 created")] {
            let arguments = ["import", "films.ndjson", "--database", &url, "--on-conflict", policy];
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

/// What is said of a file that breaks off is what has become of its rows.
#[tokio::test]
async fn a_file_that_breaks_off_is_told_with_what_was_written() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        let rows = (0..2500)
            .map(|number| FILMS.lines().next().unwrap().replace("One", &number.to_string()));
        let rows = rows.collect::<Vec<_>>().join("\n");
        std::fs::write(folder.path().join("films.ndjson"), rows).unwrap();
        let other = ["--database", "sqlite:other.db"];
        assert_eq!(run(folder.path(), &[&["import", "films.ndjson"][..], &other].concat()).0, 0);
        assert_eq!(run(folder.path(), &[&["export", "films.ndjson.gz"][..], &other].concat()).0, 0);
        let cut = folder.path().join("films.ndjson.gz");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() - 10]).unwrap();
        let count =
            || run(folder.path(), &["query", "--count", "--limit", "1", "--database", &url]).2;
        for (policy, written) in [("fail", false), ("skip", true)] {
            let import = ["import", "films.ndjson.gz", "--database", &url, "--on-conflict", policy];
            let (code, _, log) = run(folder.path(), &import);
            assert_eq!((code, log.contains("are written")), (1, written), "{log}");
            assert!(log.contains("breaks off"), "{log}");
            assert_eq!(count().contains("0 of 0"), !written, "{}", count());
        }
    })
    .await;
}

#[test]
fn commands_in_a_file_do_not_reach_the_terminal() {
    let folder = folder();
    let row = r#"{"title":"a","genre":"g","release_year":2000,"expiry_date":"\u001b[31mx","\u001b]0;y":1}"#;
    std::fs::write(folder.path().join("films.ndjson"), row).unwrap();
    let (code, _, log) = run(folder.path(), &["import", "films.ndjson", "--on-conflict", "skip"]);
    assert!(code == 2 && !log.contains('\u{1b}'), "{log:?}");
    let (code, _, _) = run(
        folder.path(),
        &["import", "films.ndjson", "--collection", "nothing", "--database", "sqlite:new.db"],
    );
    assert!(code == 1 && !folder.path().join("new.db").exists());
}
