//! Imports and exports over HTTP.

use std::time::Duration;

use cinequery::app::transfer::{self, Format, MAX_ROW_BYTES};
use cinequery::error::Kind;
use cinequery::http::Settings;
use cinequery::record::{Draft, Members};
use cinequery::store::{Conflict, Message, Record};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::records::declared;
use crate::support::{
    Client, Database, Response, all, app, identity, movies, on_both, served_on_both, token,
    token_of,
};

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
const OCTETS: &str = "application/octet-stream";
const HEADER: &str = "title,genre,release_year,expiry_date\n";

async fn import(client: &Client, policy: &str, media_type: &str, file: &[u8]) -> Response {
    let path = format!("/api/v1/movies/import{policy}");
    let request = client.request("POST", &path).header(CONTENT_TYPE, media_type);
    client.send(request.body(file.to_vec())).await
}

fn row(title: &str) -> String {
    json!({"title": title, "genre": "g", "release_year": 2000, "expiry_date": "2024-01-05"})
        .to_string()
        + "\n"
}

fn rows(titles: std::ops::Range<usize>) -> String {
    titles.map(|number| row(&format!("movie {number}"))).collect()
}

/// An error of a file: line, pointer, a part of the message.
type Wrong = (u64, &'static str, &'static str);

/// Media type, file, the number of valid rows, and the errors of the others.
fn files() -> Vec<(&'static str, Vec<u8>, i64, Vec<Wrong>)> {
    let long = "x".repeat(MAX_ROW_BYTES);
    let good = row("good");
    let cells = "good,g,2000,2024-01-05";
    vec![
        (NDJSON, vec![], 0, vec![]),
        (NDJSON, b"\n\r\n  \n".to_vec(), 0, vec![]),
        (NDJSON, format!("\u{feff}{good}").into(), 1, vec![]),
        (NDJSON, good.trim_end().into(), 1, vec![]),
        (NDJSON, good.replace('\n', "\r\n").into(), 1, vec![]),
        (
            NDJSON,
            format!("\n{{\n{good}[1]\n").into(),
            1,
            vec![
                (2, "", "expected one JSON object per line, found a part of one"),
                (4, "", "expected one JSON object per line, found \"[1]\""),
            ],
        ),
        (NDJSON, [b"{\"title\":\"\xff\"}\n", good.as_bytes()].concat(), 1, vec![(1, "", "UTF-8")]),
        (NDJSON, format!("{}{good}", row(&long)).into(), 1, vec![(1, "", "longer than 65536")]),
        (NDJSON, row(&long).trim_end().into(), 0, vec![(1, "", "longer than 65536")]),
        (
            NDJSON,
            format!("{good}{{\"title\":\"a\",\"title\":\"b\"}}").into(),
            1,
            vec![(2, "", "repeated")],
        ),
        (
            NDJSON,
            b"{\"title\":\"\",\"genre\":\"g\",\"release_year\":1}".to_vec(),
            0,
            vec![
                (1, "/title", "missing"),
                (1, "/release_year", "1870"),
                (1, "/expiry_date", "missing"),
            ],
        ),
        (CSV, HEADER.into(), 0, vec![]),
        (CSV, format!("{HEADER}{cells}").into(), 1, vec![]),
        (CSV, format!("\u{feff}{HEADER}{cells}\r\n").into(), 1, vec![]),
        (CSV, format!("\n\r\n{HEADER}\n{cells}\n\n").into(), 1, vec![]),
        (
            CSV,
            b"release_year,title,expiry_date,genre\r\n2000,good,2024-01-05,g\r\n".to_vec(),
            1,
            vec![],
        ),
        (
            CSV,
            format!("{HEADER}\"a \"\"b\"\",\u{7}c\",g,2000,2024-01-05\n{cells}").into(),
            1,
            vec![(2, "/title", "control character")],
        ),
        // The first row has two lines, so the next row starts on line 4.
        (
            CSV,
            format!("{HEADER}\"a\nb\u{7}\",g,2000,2024-01-05\nx\n{cells}").into(),
            1,
            vec![
                (2, "/title", "control character"),
                (4, "", "1 cell, but the header line has 4 names"),
            ],
        ),
        (
            CSV,
            format!("{HEADER}{long}x,g,2000,2024-01-05\n{cells}").into(),
            1,
            vec![(2, "", "longer")],
        ),
        (CSV, format!("{HEADER}{cells}\n\"{long}\n{long}").into(), 1, vec![(3, "", "longer")]),
        (
            CSV,
            format!("{HEADER}{cells}\n{}\n", ",".repeat(5000)).into(),
            1,
            vec![(3, "", "more than 1000 cells")],
        ),
        (CSV, format!("{HEADER}{cells}\n\"Cut of").into(), 1, vec![(3, "", "unclosed quote")]),
        (
            CSV,
            format!("{HEADER}\"Cut of\",g,2000,\"2024-01-05").into(),
            0,
            vec![(2, "", "unclosed quote")],
        ),
        // Empty columns, as spreadsheets write them.
        (CSV, format!("{},,\n{cells},,\n", HEADER.trim()).into(), 1, vec![]),
        (
            CSV,
            format!("{HEADER}a,g,,soon\n{cells}").into(),
            1,
            vec![(2, "/release_year", "missing"), (2, "/expiry_date", "expected a date")],
        ),
    ]
}

#[tokio::test]
async fn files_are_read_row_by_row() {
    served_on_both(async |client| {
        for (media_type, file, created, wrong) in files() {
            let shown = String::from_utf8_lossy(&file[..file.len().min(200)]).into_owned();
            println!("{media_type} {shown:?}");
            let check = |errors: &Value| {
                let errors = errors.as_array().map_or(&[][..], Vec::as_slice);
                assert_eq!(errors.len(), wrong.len(), "{errors:?}");
                for (error, (line, pointer, part)) in errors.iter().zip(&wrong) {
                    assert_eq!(
                        (&error["line"], &error["pointer"]),
                        (&json!(line), &json!(pointer))
                    );
                    assert!(error["detail"].as_str().unwrap().contains(part), "{error}");
                }
            };
            let whole = import(&client, "", media_type, &file).await;
            if wrong.is_empty() {
                assert_eq!((whole.status, &whole.json()["created"]), (200, &json!(created)));
            } else {
                let rejected =
                    if created == 0 { (422, "every_row_rejected") } else { (400, "rows_rejected") };
                check(&whole.problem(rejected.0, rejected.1)["errors"]);
            }
            let is_there = if wrong.is_empty() { created } else { 0 };
            assert_eq!(count(&client).await, is_there, "`fail` writes all or nothing");
            let report = import(&client, "?on_conflict=skip", media_type, &file).await;
            let lines: std::collections::BTreeSet<u64> = wrong.iter().map(|(l, ..)| *l).collect();
            if created == 0 && !wrong.is_empty() {
                check(&report.problem(422, "every_row_rejected")["errors"]);
            } else {
                assert_eq!(report.status, 200, "{report:?}");
                let report = report.json();
                check(&report["errors"]);
                assert_eq!(report["created"], created - is_there);
                assert_eq!(report["skipped"], is_there);
                assert_eq!(report["rejected"], lines.len());
            }
            client.send(client.request("DELETE", "/api?title=good")).await;
            assert_eq!(count(&client).await, 0);
        }
    })
    .await;
}

async fn count(client: &Client) -> i64 {
    client.search(&[("count", "exact"), ("limit", "1")]).await.json()["total"].as_i64().unwrap()
}

/// Query string, media type, file, status, code, a part of `detail`.
const REJECTED: &[(&str, &str, &str, u16, &str, &str)] = &[
    (
        "",
        "application/xml",
        "{}",
        415,
        "unsupported_media_type",
        "text/tab-separated-values, or application/octet-stream for any of them",
    ),
    ("?on_conflict=maybe", NDJSON, "", 400, "invalid_parameter", "fail, skip, update"),
    ("?format=csv", NDJSON, "", 400, "invalid_parameter", "format"),
    ("?format=xml", OCTETS, "", 400, "invalid_parameter", "ndjson, json, csv, excel-csv, xlsx"),
    ("?format=xlsx", CSV, "", 400, "invalid_parameter", "format"),
    ("?format=xlsx", OCTETS, "title", 400, "invalid_body", "no workbook"),
    ("", CSV, "PK\u{3}\u{4}", 400, "invalid_body", "is a workbook"),
    ("", OCTETS, "PK\u{3}\u{4}xxxxmimetype", 400, "invalid_body", "OpenDocument"),
    ("", OCTETS, "PK\u{3}\u{4}", 400, "invalid_body", "cannot be read"),
    ("?sheet=x", CSV, HEADER, 400, "invalid_parameter", "only a workbook has sheets"),
    ("?dates=ydm", CSV, HEADER, 400, "invalid_parameter", "dmy, mdy, ymd"),
    ("?map=Name2", CSV, HEADER, 400, "invalid_parameter", "map: expected COLUMN=FIELD"),
    ("?map=Name2%3Dtitel", CSV, HEADER, 400, "invalid_parameter", "did you mean \"title\"?"),
    ("?map=Name2%3Dtitle,Name%3Dtitle", CSV, HEADER, 400, "invalid_parameter", "twice"),
    ("?map=Name2%3Dtitle", CSV, HEADER, 400, "invalid_body", "has no column \"Name2\""),
    ("?set=genre", CSV, HEADER, 400, "invalid_parameter", "set: expected FIELD=VALUE"),
    ("?set=genre%3Dx,genre%3Dy", CSV, HEADER, 400, "invalid_parameter", "set twice"),
    ("?set=genres%3Dx", CSV, HEADER, 400, "invalid_parameter", "did you mean \"genre\"?"),
    ("?set=release_year%3Dx", CSV, HEADER, 400, "invalid_parameter", "expected an integer"),
    (
        "",
        CSV,
        "Title,TITLE,genre,release_year,expiry_date\n",
        400,
        "invalid_body",
        "both for title",
    ),
    ("", CSV, "", 400, "invalid_body", "empty"),
    ("", CSV, "\n\n", 400, "invalid_body", "empty"),
    ("", CSV, "title,genre,release_year\n", 400, "invalid_body", "`expiry_date`"),
    ("", CSV, "titel,genre,release_year,expiry_date\n", 400, "invalid_body", "map \"titel=title\""),
    ("", CSV, "title,title,genre,release_year,expiry_date\n", 400, "invalid_body", "twice"),
];

#[tokio::test]
async fn the_format_of_a_file_follows_from_its_media_type_or_the_parameter() {
    let (lines, table) = (row("movie"), format!("{HEADER}movie,g,2000,2024-01-05\n"));
    served_on_both(async |client| {
        for (policy, media_type, file) in [
            ("?on_conflict=update", OCTETS, &lines),
            ("?on_conflict=update&format=ndjson", OCTETS, &lines),
            ("?on_conflict=update&format=csv", OCTETS, &table),
            ("?on_conflict=update&format=csv", CSV, &table),
        ] {
            println!("{policy} {media_type}");
            let report = import(&client, policy, media_type, file.as_bytes()).await.json();
            let count = |name: &str| report[name].as_i64().unwrap();
            assert_eq!(
                (count("created") + count("skipped"), count("rejected")),
                (1, 0),
                "{report}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn invalid_files_and_parameters_are_rejected() {
    served_on_both(async |client| {
        for (policy, media_type, file, status, code, part) in REJECTED {
            println!("{policy} {media_type} {file:?}");
            let response = import(&client, policy, media_type, file.as_bytes()).await;
            let problem = response.problem(*status, code);
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        }
        for query in [
            "format=xml",
            "filter=gnre+%3D+1",
            "order_by=x",
            "limit=5",
            "p.x=1",
            "fields=titel",
            "fields=title,title",
            "fields=",
        ] {
            let response = client.get(&format!("/api/v1/movies/export?{query}")).await;
            assert_eq!(response.status, 400, "{query}");
            assert_eq!(response.header("content-type"), "application/problem+json");
        }
        // The scope is checked before the file.
        let anonymous = client.with_token(None);
        import(&anonymous, "", "text/plain", b"").await.problem(401, "unauthenticated");
        let reader = client.with_scopes(&["movies:read"]);
        import(&reader, "", "text/plain", b"").await.problem(403, "insufficient_scope");
        let writer = client.with_scopes(&["movies:write"]);
        let export = writer.get("/api/v1/movies/export").await;
        export.problem(403, "insufficient_scope");
    })
    .await;
}

#[tokio::test]
async fn existing_records_are_rejected_skipped_or_updated() {
    served_on_both(async |client| {
        let first = rows(0..2500);
        let report = import(&client, "", NDJSON, first.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["rejected"]), (&json!(2500), &json!(0)));

        let changed = format!("{}{}", row("new"), first.replace("2024-01-05", "2025-01-05"));
        let problem = import(&client, "", NDJSON, changed.as_bytes()).await;
        let problem = problem.problem(400, "rows_rejected");
        assert!(problem["detail"].as_str().unwrap().contains("2500 rows"), "{problem}");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["line"]), (100, &json!(2)), "the first are listed");
        assert_eq!(count(&client).await, 2500);

        let report = import(&client, "?on_conflict=skip", NDJSON, changed.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["skipped"]), (&json!(1), &json!(2500)));
        let renewed = [("filter", "expiry_date = 2025-01-05"), ("count", "exact")];
        assert_eq!(client.search(&renewed).await.json()["total"], 0);

        let report =
            import(&client, "?on_conflict=update", NDJSON, changed.as_bytes()).await.json();
        // The first row has these values already.
        assert_eq!((&report["updated"], &report["skipped"]), (&json!(2500), &json!(1)));
        assert_eq!(client.search(&renewed).await.json()["total"], 2500);
        assert_eq!(client.search(&[]).await.json()["items"][0]["version"], 2);
    })
    .await;
}

/// A record type with one required field; a row may lack the others.
const ITEMS: &str = r#"
name = "Item"
collection = "items"
unique = [["key"]]

[fields]
key = { type = "text" }
note = { type = "text", length = [0, 99], required = false }
shelf = { type = "text", default = "none" }
count = { type = "integer", default = 1 }
"#;

/// Files that update the item `a|text|low|7`, and the items that exist afterwards, as `key|note|shelf|count`.
const UPDATES: &[(Format, &str, &[&str])] = &[
    (Format::Csv, "key,count\na,8\nb,9\n", &["a|text|low|8", "b||none|9"]),
    (Format::Csv, "shelf,key\nhigh,a\n", &["a|text|high|7"]),
    (Format::Csv, "key\na\n", &["a|text|low|7"]),
    // An empty CSV cell is null, quoted or not.
    (Format::Csv, "key,note\na,\n", &["a||low|7"]),
    (Format::Csv, "key,note\na,\"\"\n", &["a||low|7"]),
    (Format::Ndjson, r#"{"key":"a","count":8}"#, &["a|text|low|8"]),
    (Format::Ndjson, r#"{"key":"a","note":null}"#, &["a||low|7"]),
    (Format::Ndjson, r#"{"key":"a"}"#, &["a|text|low|7"]),
    // Rows with different fields.
    (
        Format::Ndjson,
        r#"{"key":"a","count":8}
{"key":"b","note":"b"}
{"key":"c","count":2}
{"key":"a","shelf":"high"}
{"key":"b","count":3}"#,
        &["a|text|high|8", "b|b|none|3", "c||none|2"],
    ),
];

#[tokio::test]
async fn an_updating_import_keeps_fields_that_a_row_lacks() {
    on_both(async |database| {
        let schema = declared(&[ITEMS]).schemas()[0];
        let store = database.open().await;
        store.migrate(&[schema]).await.unwrap();
        let caller = identity(&["items:write"]);
        let import = async |format, file: &'static str| {
            let import = transfer::begin(&store, &caller, schema).unwrap();
            let report = import.run(file.as_bytes(), format, Conflict::Update, |_| ()).await;
            assert_eq!(report.unwrap().rejected, 0, "{file}");
        };
        let items = async || {
            let text = |record: &Record| {
                let names = ["key", "note", "shelf", "count"];
                let values = names.map(|name| record.value(name).map(ToString::to_string));
                values.map(Option::unwrap_or_default).join("|")
            };
            all(&store, schema).await.iter().map(text).collect::<Vec<String>>()
        };
        for (format, file, expected) in UPDATES {
            database.run_sql("DELETE FROM items").await;
            import(Format::Csv, "key,note,shelf,count\na,text,low,7\n").await;
            import(*format, file).await;
            assert_eq!(items().await, *expected, "{file}");
        }
    })
    .await;
}

/// Rows that break a rule and rows whose record exists are reported together, in any order.
#[tokio::test]
async fn invalid_rows_and_conflicts_are_reported_together() {
    served_on_both(async |client| {
        assert_eq!(import(&client, "", NDJSON, row("there").as_bytes()).await.status, 200);
        let file = format!("{}{{}}\n{}", row("there"), rows(0..1500));
        let file = format!("{file}{}", row("there"));
        let problem = import(&client, "", NDJSON, file.as_bytes()).await;
        let problem = problem.problem(400, "rows_rejected");
        let errors = problem["errors"].as_array().unwrap();
        let lines: std::collections::BTreeSet<u64> =
            errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), [1, 2, 1503], "{problem}");
        assert_eq!(count(&client).await, 1);
    })
    .await;
}

/// At most a hundred rows are listed, of whatever kind, and those that come first.
#[tokio::test]
async fn the_first_hundred_rejected_rows_are_listed() {
    served_on_both(async |client| {
        assert_eq!(import(&client, "", NDJSON, rows(0..150).as_bytes()).await.status, 200);
        let existing = rows(0..150);
        let file: String =
            existing.lines().flat_map(|row| [row, "\n", "{\"title\":\"\"}\n"]).collect();
        let problem = import(&client, "", NDJSON, file.as_bytes()).await;
        let problem = problem.problem(400, "rows_rejected");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("300 rows were rejected; the first ones are listed; "),
            "{detail}"
        );
        assert!(detail.contains("150 × the record exists"), "{detail}");
        let errors = problem["errors"].as_array().unwrap();
        let lines: std::collections::BTreeSet<u64> =
            errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
        // Rows that exist break no rule, even if they are all.
        let problem = import(&client, "", NDJSON, existing.as_bytes()).await;
        problem.problem(400, "rows_rejected");
    })
    .await;
}

/// A record type with three unique keys.
const EDITIONS: &str = r#"
name = "Edition"
collection = "editions"
unique = [["title"], ["isbn"], ["shelf", "place"]]

[fields]
title = { type = "text" }
isbn = { type = "text" }
shelf = { type = "text" }
place = { type = "integer" }
"#;

/// A policy, the number of created, updated and skipped records, and the lines of rejected rows.
type Outcome = (Conflict, [i64; 3], &'static [i64]);

/// Files for the editions `a,1,x,1` and `b,2,x,2`, and their outcomes. With `fail` a file with a rejected row creates
/// nothing.
const KEYS: &[(&str, [Outcome; 3])] = &[
    (
        "c,3,x,3\nd,4,x,4\n",
        [
            (Conflict::Fail, [2, 0, 0], &[]),
            (Conflict::Skip, [2, 0, 0], &[]),
            (Conflict::Update, [2, 0, 0], &[]),
        ],
    ),
    (
        "a,1,x,1\nc,3,x,3\nd,2,x,4\ne,5,x,1\nf,6,x,6\n",
        [
            (Conflict::Fail, [0, 0, 0], &[2, 4, 5]),
            (Conflict::Skip, [2, 0, 1], &[4, 5]),
            // The first row has the values of its record already.
            (Conflict::Update, [2, 0, 1], &[4, 5]),
        ],
    ),
    // The key of an earlier row of the file.
    (
        "c,3,x,3\nd,3,x,4\n",
        [
            (Conflict::Fail, [0, 0, 0], &[3]),
            (Conflict::Skip, [1, 0, 0], &[3]),
            (Conflict::Update, [1, 0, 0], &[3]),
        ],
    ),
];

#[tokio::test]
async fn rows_with_another_key_that_exists_are_rejected_by_line() {
    on_both(async |database| {
        let schema = declared(&[EDITIONS]).schemas()[0];
        let store = database.open().await;
        store.migrate(&[schema]).await.unwrap();
        let caller = identity(&["editions:write"]);
        let import = async |file: &str, policy| {
            let file = format!("title,isbn,shelf,place\n{file}").into_bytes();
            let import = transfer::begin(&store, &caller, schema).unwrap();
            import.run(std::io::Cursor::new(file), Format::Csv, policy, |_| ()).await
        };
        for (file, policies) in KEYS {
            for (policy, written, rejected) in policies {
                database.run_sql("DELETE FROM editions").await;
                import("a,1,x,1\nb,2,x,2\n", Conflict::Fail).await.unwrap();
                let (counts, errors) = match import(file, *policy).await {
                    Ok(report) => ([report.created, report.updated, report.skipped], report.errors),
                    Err(error) => ([0; 3], error.violations),
                };
                let lines: Vec<i64> = errors.iter().filter_map(|error| error.line).collect();
                assert_eq!((counts, lines.as_slice()), (*written, *rejected), "{policy:?} {file}");
                let created = usize::try_from(written[0]).unwrap();
                assert_eq!(all(&store, schema).await.len(), 2 + created, "{policy:?} {file}");
            }
        }
        let only = import("g,2,y,7\n", Conflict::Skip).await.unwrap_err();
        assert_eq!(only.kind, Kind::EveryRowRejected);
        let detail = "a record with isbn \"2\" or shelf \"y\", place 7 already exists";
        assert_eq!(only.violations[0].detail, detail);
    })
    .await;
}

/// If a file has the same key twice, the second row is a conflict with the first.
#[tokio::test]
async fn a_key_may_be_repeated_in_a_file() {
    served_on_both(async |client| {
        let file = format!("{}{}{}", row("a"), row("b"), row("a").replace("\"g\"", "\"second\""));
        let problem = import(&client, "", NDJSON, file.as_bytes()).await;
        assert_eq!(problem.problem(400, "rows_rejected")["errors"][0]["line"], 3);
        let report = import(&client, "?on_conflict=skip", NDJSON, file.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["skipped"]), (&json!(2), &json!(1)));
        let report = import(&client, "?on_conflict=update", NDJSON, file.as_bytes()).await.json();
        // The first row and the second have these values already.
        assert_eq!((&report["updated"], &report["skipped"]), (&json!(1), &json!(2)));
        let page = client.search(&[("filter", "title = 'a'")]).await.json();
        assert_eq!(page["items"][0]["genre"], "second");
    })
    .await;
}

/// Exported screenings are imported unchanged, with any start of a text and any nulls.
#[tokio::test]
async fn exported_files_can_be_imported() {
    served_on_both(async |client| {
        let texts = [
            "=1+1",
            "'=1+1",
            "''=x",
            "+x",
            "-x",
            "@x",
            "'plain",
            "''",
            "a,b",
            "a\"b",
            "Ünïcode \u{1F3AC}",
            "'",
            "null",
            "=",
            "-5",
            "=1,2",
        ];
        for (number, text) in texts.into_iter().enumerate() {
            let screening = json!({
                "film": text,
                "hall": if number % 2 == 0 { json!(text) } else { Value::Null },
                "seats": if number % 3 == 0 { json!(number) } else { Value::Null },
                "subtitled": ([json!(true), json!(false), Value::Null][number % 3]),
                "starts_at": format!("2024-01-{:02}T20:00:00.123456Z", number + 1),
                "sale_ends": if number % 5 == 0 { json!("2024-02-29") } else { Value::Null },
            });
            let response = client.post("/api/v1/screenings", &screening).await;
            assert_eq!(response.status, 201, "{response:?}");
        }
        let own = |client: Client| async move {
            let page = client.get("/api/v1/screenings?limit=1000").await.json();
            let mut items = page["items"].as_array().unwrap().clone();
            for item in &mut items {
                for managed in ["id", "version", "created_at", "updated_at"] {
                    assert!(item.as_object_mut().unwrap().remove(managed).is_some());
                }
            }
            items
        };
        let sent = own(client.clone()).await;
        for format in Format::ALL {
            let (name, media_type) = (format.as_str(), format.media_type());
            let file = client.get(&format!("/api/v1/screenings/export?format={name}")).await;
            assert!(file.header("content-type").starts_with(media_type));
            let attachment = format!("attachment; filename=\"screenings.{}\"", format.extension());
            assert_eq!(file.header("content-disposition"), attachment);
            let text = String::from_utf8_lossy(&file.body);
            if media_type == CSV {
                // No text starts like a formula.
                let cell = |line: &str| line.split([',', ';']).nth(1).unwrap().replace('"', "");
                let is_formula = |line: &str| cell(line).starts_with(['=', '+', '-', '@']);
                assert!(!text.lines().any(is_formula), "{text}");
            }
            let other = Client::of(Database::sqlite()).await;
            let request = other.request("POST", "/api/v1/screenings/import");
            // The format is recognised.
            let request = request.header(CONTENT_TYPE, OCTETS).body(file.body.clone());
            let report = other.send(request).await.json();
            assert_eq!(report["created"], texts.len(), "{report}");
            let ignored = json!(["created_at", "id", "updated_at", "version"]);
            assert_eq!(report["ignored"], ignored);
            assert_eq!(own(other.clone()).await, sent, "{name}");
        }
        // The same filter and parameters as a search.
        let some = "/api/v1/screenings/export?filter=seats+%3E+%24n&p.n=3";
        let file = String::from_utf8(client.get(some).await.body).unwrap();
        let seats: Vec<u64> = file
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["seats"].as_u64().unwrap())
            .collect();
        assert_eq!(seats, [6, 9, 12, 15]);
    })
    .await;
}

/// Starts to send a chunked file, without its end.
async fn start(client: &Client, subject: &str, policy: &str, file: &str) -> tokio::net::TcpStream {
    let server = client.address().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
    let headers = format!(
        "POST /api/v1/movies/import{policy} HTTP/1.1\r\nhost: x\r\ncontent-type: {NDJSON}\r\n\
         authorization: Bearer {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        token_of(subject, &["movies:write"])
    );
    let chunk = format!("{:x}\r\n{file}\r\n", file.len());
    stream.write_all(format!("{headers}{chunk}").as_bytes()).await.unwrap();
    stream
}

/// Sends the end of a chunked file and returns the response.
async fn finish(mut stream: tokio::net::TcpStream) -> String {
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Waits until the condition holds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the condition does not hold after 10 seconds");
}

/// If the client disconnects during an import, `fail` writes nothing, and `skip` only complete batches.
#[tokio::test]
async fn a_disconnected_import_writes_no_partial_batch() {
    served_on_both(async |client| {
        drop(start(&client, "tester", "", &rows(0..2500)).await);
        drop(start(&client, "tester", "?on_conflict=skip", &rows(5000..7500)).await);
        until(async || count(&client).await == 2000).await;
        // The write lock is released.
        let report = import(&client, "", NDJSON, rows(9000..9001).as_bytes()).await;
        assert_eq!(report.status, 200, "{report:?}");
        assert_eq!(count(&client).await, 2001);
    })
    .await;
}

/// While a long import holds SQLite's write lock, reads succeed and other writes return 503 with `Retry-After`.
#[tokio::test]
async fn reads_succeed_during_a_long_import() {
    let client = Client::of(Database::sqlite()).await;
    let store = client.database().open().await;
    let (sender, receiver) = mpsc::channel(8);
    let long = tokio::spawn(async move { store.import(movies(), Conflict::Fail, receiver).await });
    for number in 0..1500 {
        let members: Members = serde_json::from_str(&row(&format!("movie {number}"))).unwrap();
        let draft = Draft::read(movies(), members).unwrap();
        sender.send(Message::Record(number, draft)).await.unwrap();
    }
    let movie =
        json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
    // Other writes succeed until the first thousand rows are being written.
    until(async || {
        let response = client.post("/api/v1/movies", &movie).await;
        if response.status == 201 {
            let path = response.location();
            client.send(client.request("DELETE", &path)).await;
            return false;
        }
        response.problem(503, "unavailable");
        assert!(response.header("retry-after").parse::<u32>().unwrap() >= 1);
        true
    })
    .await;
    assert_eq!(count(&client).await, 0, "readers see the state before the import");
    let other = import(&client, "", NDJSON, row("other").as_bytes()).await;
    other.problem(503, "unavailable");
    sender.send(Message::End).await.unwrap();
    assert_eq!(long.await.unwrap().unwrap().inserted, 1500);
    assert_eq!(count(&client).await, 1500);
}

/// A client that sends a file slowly does not block other writes.
#[tokio::test]
async fn a_slow_import_holds_no_lock() {
    served_on_both(async |client| {
        for (round, policy) in
            ["", "?on_conflict=skip", "?on_conflict=update"].into_iter().enumerate()
        {
            let titles = round * 10_000..round * 10_000 + 1500;
            let slow = start(&client, "tester", policy, &rows(titles.clone())).await;
            let quick = rows(titles.end..titles.end + 1);
            for policy in ["", "?on_conflict=skip"] {
                let report = import(&client, policy, NDJSON, quick.as_bytes()).await;
                assert!([200, 400].contains(&report.status), "{report:?}");
            }
            let report = finish(slow).await;
            assert!(report.contains("\"created\":1500"), "{report}");
        }
    })
    .await;
}

/// A subject with two imports gets 429 for the third, while another subject can still import.
#[tokio::test]
async fn a_subject_cannot_occupy_all_imports() {
    let client = Client::of(Database::sqlite()).await;
    let slow_client = client.with_token(Some(token_of("slow_client", &["movies:write"])));
    let mut slow = Vec::new();
    until(async || {
        slow.push(start(&client, "slow_client", "?on_conflict=skip", &row("slow")).await);
        let response =
            import(&slow_client, "?on_conflict=skip", NDJSON, row("one").as_bytes()).await;
        response.status == 429 && response.problem(429, "too_many_requests")["detail"] != ""
    })
    .await;
    assert_eq!(import(&client, "", NDJSON, row("other").as_bytes()).await.status, 200);
}

/// Imports over the limit return 503. After the others have ended, imports succeed again.
#[tokio::test]
async fn imports_over_the_limit_return_503() {
    let client = Client::of(Database::sqlite()).await;
    let mut senders = Vec::new();
    until(async || {
        let subject = format!("sender {}", senders.len());
        senders.push(start(&client, &subject, "?on_conflict=skip", &row("slow")).await);
        let response = import(&client, "?on_conflict=skip", NDJSON, row("one").as_bytes()).await;
        assert!([200, 503].contains(&response.status), "{response:?}");
        response.status == 503 && response.problem(503, "unavailable")["detail"] != ""
    })
    .await;
    assert!(senders.len() >= 8, "{} concurrent imports", senders.len());
    drop(senders);
    until(async || import(&client, "?on_conflict=skip", NDJSON, b"").await.status == 200).await;
}

/// Requests a path with a small receive buffer, so that the service cannot send much before the client reads.
async fn ask(client: &Client, version: &str, path: &str) -> tokio::net::TcpStream {
    let server = client.address().strip_prefix("http://").unwrap().parse().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    let token = token(&["movies:read"]);
    let headers = format!(
        "GET {path} HTTP/{version}\r\nhost: x\r\norigin: https://movies.example\r\n\
         authorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(headers.as_bytes()).await.unwrap();
    stream
}

/// If the table is renamed while a response is sent, the response ends without its last chunk. A page of another origin can
/// read it until there.
#[tokio::test]
async fn a_client_can_detect_an_incomplete_response() {
    on_both(async |database| {
        let app = app(database.store().await);
        let settings = Settings { origins: "*".parse().unwrap(), ..Settings::default() };
        let client = Client::by(database, app, settings).await;
        // More than fits into the buffers of a connection.
        let filler = "x".repeat(290);
        let file: String = (0..30_000).map(|number| row(&format!("{number} {filler}"))).collect();
        assert_eq!(import(&client, "", NDJSON, file.as_bytes()).await.status, 200);
        let paths = ["/api", "/api/v1/movies/export", "/api/v1/movies/export?format=csv"];
        for path in paths {
            let mut is_whole = Vec::new();
            for (version, vanishes) in
                [("1.1", true), ("1.0", true), ("1.1", false), ("1.0", false)]
            {
                let mut stream = ask(&client, version, path).await;
                let mut response = vec![0; 100];
                stream.read_exact(&mut response).await.unwrap();
                assert!(response.windows(4).any(|bytes| bytes == b" 200"));
                if vanishes {
                    let vanish = "ALTER TABLE movies RENAME TO elsewhere";
                    client.database().run_sql(vanish).await;
                }
                let end = stream.read_to_end(&mut response).await;
                if vanishes {
                    let back = "ALTER TABLE elsewhere RENAME TO movies";
                    client.database().run_sql(back).await;
                }
                let allowed = b"\r\naccess-control-allow-origin: *\r\n";
                assert!(response.windows(allowed.len()).any(|bytes| bytes == allowed), "{path}");
                // In HTTP/1.0 the connection is closed at the end of a response, and reset if it is incomplete.
                let has_end = version == "1.0" || response.ends_with(b"\r\n0\r\n\r\n");
                is_whole.push(end.is_ok() && has_end);
            }
            assert_eq!(is_whole, [false, false, true, true], "{path}");
        }
    })
    .await;
}
