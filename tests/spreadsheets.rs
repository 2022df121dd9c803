//! Files as people have them: tables of spreadsheets and other programs, workbooks, and what is exported to them.

use std::fmt::Write as _;
use std::io::{Cursor, Read as _, Write as _};
use std::process::Command;

use cinequery::app::selection::Selection;
use cinequery::app::transfer::Form;
use cinequery::app::transfer::{Format, Hints, Options, Order, Report, begin, export, inspect};
use cinequery::record::Author;
use cinequery::store::Conflict;
use proptest::prelude::*;
use reqwest::header::CONTENT_TYPE;
use rust_xlsxwriter::{ExcelDateTime, Format as Style, Workbook};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::contract::tools::succeed;
use crate::support::records::declared;
use crate::support::{Client, Database, Response, identity, movies, served_on_both};

const OCTETS: &str = "application/octet-stream";

async fn import(client: &Client, query: &[(&str, &str)], file: &[u8]) -> Response {
    let request = client.request("POST", "/api/v1/movies/import").query(query);
    client.send(request.header(CONTENT_TYPE, OCTETS).body(file.to_vec())).await
}

/// Returns the movies as `title|genre|release_year|expiry_date`, in order of creation.
async fn stored(client: &Client) -> Vec<String> {
    let page = client.search(&[("limit", "1000")]).await.json();
    let text = |item: &Value, name: &str| {
        item[name].as_str().map_or(item[name].to_string(), str::to_owned)
    };
    let items = page["items"].as_array().unwrap().iter();
    let fields = ["title", "genre", "release_year", "expiry_date"];
    items.map(|item| fields.map(|name| text(item, name)).join("|")).collect()
}

async fn clear(client: &Client) {
    for item in client.search(&[("limit", "1000")]).await.json()["items"].as_array().unwrap() {
        let path = format!("/api/v1/movies/{}", item["id"].as_str().unwrap());
        assert_eq!(client.send(client.request("DELETE", &path)).await.status, 204);
    }
}

/// A file that spreadsheets or other programs write.
struct Messy {
    what: &'static str,
    file: Vec<u8>,
    query: &'static [(&'static str, &'static str)],
    stored: &'static [&'static str],
    /// Lines of rejected rows, and a part of the message.
    rejected: &'static [(i64, &'static str)],
}

fn messy() -> Vec<Messy> {
    let table = |what, file: &str, query, stored, rejected| Messy {
        what,
        file: file.as_bytes().to_vec(),
        query,
        stored,
        rejected,
    };
    let utf16 = |text: &str, mark: &[u8], little: bool| {
        let units = text.encode_utf16();
        let bytes =
            units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
        [mark, &bytes.collect::<Vec<u8>>()].concat()
    };
    let plain = "title\tgenre\trelease_year\texpiry_date\r\nZoë\tdrama\t2001\t2027-01-01\r\n";
    let zoe: &[&str] = &["Zoë|drama|2001|2027-01-01"];
    vec![
        table(
            "semicolons, a byte order mark, other dates and names",
            "\u{feff}Name;Kind;Year;Licence ends\r\nOne;drama;2001;15/02/2030\r\nTwo;comedy;2002;01/03/2030\r\n",
            &[
                ("map", "Name=title,Kind=genre,Year=release_year,Licence ends=expiry_date"),
                ("dates", "dmy"),
            ],
            &["One|drama|2001|2030-02-15", "Two|comedy|2002|2030-03-01"],
            &[],
        ),
        table(
            "a line that names the delimiter",
            "sep=|\r\ntitle|genre|release_year|expiry_date\r\nOne, two; three|drama|2001|2030-02-15\r\n",
            &[],
            &["One, two; three|drama|2001|2030-02-15"],
            &[],
        ),
        table(
            "names with capitals, blanks and punctuation",
            "TITLE,Genre ,Release-Year,Expiry.Date,Notes\nOne,drama,2001,2030-02-15,x\n",
            &[],
            &["One|drama|2001|2030-02-15"],
            &[],
        ),
        table(
            "numbers with a fraction, midnights, serial days and months with names",
            "title,genre,release_year,expiry_date\nA,g,2000.0,2030-01-01 00:00:00\nB,g,2000,47484\n\
             C,g,2000,Jun 12 2028\nD,g,2000,12-Jun-2028\nE,g,2000,2030-01-01T00:00:00Z\nF,g,2000,20300101\n\
             G,g,2000,47484.0\n",
            &[],
            &[
                "A|g|2000|2030-01-01",
                "B|g|2000|2030-01-01",
                "C|g|2000|2028-06-12",
                "D|g|2000|2028-06-12",
                "E|g|2000|2030-01-01",
                "F|g|2000|2030-01-01",
                "G|g|2000|2030-01-01",
            ],
            &[],
        ),
        table(
            "dates that could be two days, a year without a century, times and numbers that are years",
            "title,genre,release_year,expiry_date\nA,g,2000,03/04/2030\nB,g,2000,3-Apr-30\nC,g,2000,2030-01-01 20:15\n\
             D,g,2000,2030\nE,g,2000,2030-02-30\nF,g,2000,31.12.2030\nOK,g,2000,2030-12-31\n",
            &[("on_conflict", "skip")],
            &["OK|g|2000|2030-12-31"],
            &[
                (2, "expected a date (YYYY-MM-DD), found \"03/04/2030\""),
                (3, "four digits"),
                (4, "without a time"),
                (5, "expected a date"),
                (6, "a day of the calendar"),
                (7, "expected a date"),
            ],
        ),
        table(
            "the other order",
            "title,genre,release_year,expiry_date\nA,g,2000,03/04/2030\nB,g,2000,31/12/2030\nC,g,2000,12/31/2030 12:00:00 AM\n",
            &[("on_conflict", "skip"), ("dates", "mdy")],
            &["A|g|2000|2030-03-04", "C|g|2000|2030-12-31"],
            &[(3, "expected a month from 1 to 12 in month/day/year")],
        ),
        table(
            "empty rows, empty columns and white space",
            "title,genre,release_year,expiry_date,,\n,,,,,\n  \u{a0}One\u{200b} ,\tdrama , 2001 , 2030-02-15 ,,\n , ,\t,,,\n",
            &[],
            &["One|drama|2001|2030-02-15"],
            &[],
        ),
        table(
            "line breaks in cells",
            "title,genre,release_year,expiry_date\n\"One \r\n and\ttwo\n\",g,2000,2030-01-01\n",
            &[],
            &["One and two|g|2000|2030-01-01"],
            &[],
        ),
        table(
            "texts that show nothing",
            "title,genre,release_year,expiry_date\n\u{a0},g,2000,2030-01-01\n\u{200b},g,2000,2030-01-01\nA,g,2000,2030-01-01\n",
            &[("on_conflict", "skip")],
            &["A|g|2000|2030-01-01"],
            &[(2, "is missing"), (3, "is missing")],
        ),
        table(
            "a JSON array with other names, nulls and numbers for texts",
            r#"[
  {"Title": 300, "Major Genre": null, "Release Date": "Mar 09 2007"},
  {"Title": null, "Major Genre": "Drama", "Release Date": "Jun 12 1998"},
  {"Title": "No date", "Major Genre": "Drama", "Release Date": null}, 7,
  {"Title": ["x"], "Major Genre": "Drama", "Release Date": "Jun 12 1998"},
  {"Title": "]},{\"", "Major Genre": "Drama", "Release Date": "Jun 12 1998"}
]"#,
            &[
                ("map", "Major Genre=genre,year(Release Date)=release_year"),
                ("set", "genre=unknown,expiry_date=2030-12-31"),
                ("on_conflict", "skip"),
            ],
            &["300|unknown|2007|2030-12-31", "]},{\"|Drama|1998|2030-12-31"],
            &[
                (3, "is missing"),
                (4, "is missing"),
                (4, "expected a JSON object"),
                (5, "expected a text, found an array"),
            ],
        ),
        table(
            "a JSON array that breaks off",
            r#"[{"title":"A","genre":"g","release_year":2000,"expiry_date":"2030-01-01"},{"title":"#,
            &[("on_conflict", "skip")],
            &["A|g|2000|2030-01-01"],
            &[(1, "the array breaks off")],
        ),
        table(
            "two columns for one field, one of them mapped away",
            "title,genre,release_year,expiry_date,Expiry Date\nA,g,2000,soon,2030-01-01\n",
            &[("map", "Expiry Date=expiry_date")],
            &["A|g|2000|2030-01-01"],
            &[],
        ),
        table(
            "a repeated column",
            "title,title,genre,release_year,expiry_date\nA,B,g,2000,2030-01-01\n",
            &[("map", "title (2)=title")],
            &["B|g|2000|2030-01-01"],
            &[],
        ),
        table(
            "quotes in cells",
            "title,genre,release_year,expiry_date\n\"The \"\"Best\"\"\",g,2000,2030-01-01\n\"The \"Worst\" Movie\",g,2000,2030-01-01\n\
             35\" Screen,g,2000,2030-01-01\n",
            &[("on_conflict", "skip")],
            &["The \"Best\"|g|2000|2030-01-01", "35\" Screen|g|2000|2030-01-01"],
            &[(
                3,
                "has a text after the closing quote of a cell; write each quote in a quoted cell twice",
            )],
        ),
        table(
            "a title and an empty line above the header",
            "Movies; all of them\n\ntitle;genre;release_year;expiry_date\nA;g;2000;2030-01-01\n;;;\nB;g;x;2030-01-01\n",
            &[("header_row", "3"), ("on_conflict", "skip")],
            &["A|g|2000|2030-01-01"],
            &[(6, "expected an integer")],
        ),
        table(
            "a header below a line that names the delimiter",
            "sep=|\na|b\ntitle|genre|release_year|expiry_date\nA, B;|g|2000|2030-01-01\n",
            &[("header_row", "3")],
            &["A, B;|g|2000|2030-01-01"],
            &[],
        ),
        table(
            "names with commas and quotes",
            "\"Name, the\",\"a\"\"b=c\",year,end\nA,g,2000,2030-01-01\n",
            &[("map", "\"Name, the\"=title,\"a\"\"b=c\"=genre,year=release_year,end=expiry_date")],
            &["A|g|2000|2030-01-01"],
            &[],
        ),
        Messy {
            what: "Windows-1252",
            file: b"title,genre,release_year,expiry_date\nAm\xe9lie \x96 \x80,g,2001,2027-01-01\n"
                .to_vec(),
            query: &[],
            stored: &["Amélie – €|g|2001|2027-01-01"],
            rejected: &[],
        },
        Messy {
            what: "UTF-16 with a byte order mark and tabs, as Excel's Unicode text",
            file: utf16(plain, b"\xff\xfe", true),
            query: &[],
            stored: zoe,
            rejected: &[],
        },
        Messy {
            what: "UTF-16, big endian, without a mark",
            file: utf16(plain, b"", false),
            query: &[],
            stored: zoe,
            rejected: &[],
        },
        Messy {
            what: "a workbook",
            file: workbook(),
            query: &[],
            stored: &[
                "One|drama|2001|2030-02-15",
                "300|war|2006|2030-03-01",
                "= not a formula|g|2000|2030-01-01",
                "Serial|g|2000|2030-01-01",
            ],
            rejected: &[],
        },
        Messy {
            what: "a header in a row of a workbook",
            file: titled_workbook(),
            query: &[("header_row", "4")],
            stored: &["One|drama|2001|2030-02-15"],
            rejected: &[],
        },
        Messy {
            what: "another sheet of a workbook",
            file: workbook(),
            query: &[("sheet", "Other"), ("map", "Name=title"), ("on_conflict", "skip")],
            stored: &["Second|g|2000|2030-01-01", "2012-12-12|g|2000|2030-01-01"],
            rejected: &[(4, "without a time")],
        },
    ]
}

/// Writes a workbook with an empty sheet, one with movies and one with problems.
fn workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    let day = Style::new().set_num_format("dd/mm/yyyy");
    let date = |text: &str| ExcelDateTime::parse_from_str(text).unwrap();
    book.add_worksheet().set_name("Empty").unwrap();
    let sheet = book.add_worksheet().set_name("Movies").unwrap();
    sheet.write_row(2, 1, ["Title", "Genre", "Release Year", "Expiry Date", "Seen"]).unwrap();
    sheet.write_row(3, 1, ["One", "drama"]).unwrap();
    sheet.write(3, 3, 2001).unwrap();
    sheet.write_with_format(3, 4, date("2030-02-15"), &day).unwrap();
    sheet.write(3, 5, true).unwrap();
    // A number for a text, a text for a number, an empty row before, a text for a date.
    sheet.write(5, 1, 300).unwrap();
    sheet.write_row(5, 2, ["war", "2006", "2030-03-01"]).unwrap();
    sheet.write_string(6, 1, "= not a formula").unwrap();
    sheet.write(6, 2, "g").unwrap();
    sheet.write(6, 3, 2000.0).unwrap();
    sheet.write_with_format(6, 4, date("2030-01-01"), &day).unwrap();
    // A day without a format.
    sheet.write_row(7, 1, ["Serial", "g"]).unwrap();
    sheet.write_row(7, 3, [2000, 47484]).unwrap();
    let sheet = book.add_worksheet().set_name("Other").unwrap();
    sheet.write_row(0, 0, ["Name", "genre", "release year", "expiry date"]).unwrap();
    for row in 1..4 {
        sheet.write_row(row, 0, ["Second", "g"]).unwrap();
        sheet.write(row, 2, 2000).unwrap();
        sheet.write_with_format(row, 3, date("2030-01-01"), &day).unwrap();
    }
    sheet.write_with_format(2, 0, date("2012-12-12"), &day).unwrap();
    sheet.write_with_format(3, 3, date("2030-01-01T20:15:00"), &day).unwrap();
    book.save_to_buffer().unwrap()
}

/// Writes a workbook with two lines of a title, an empty row and a table.
fn titled_workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_row(0, 0, ["Movies of", "title"]).unwrap();
    sheet.write_row(1, 0, ["all years"]).unwrap();
    sheet.write_row(3, 0, ["Title", "Genre", "Release Year", "Expiry Date"]).unwrap();
    sheet.write_row(4, 0, ["One", "drama", "2001", "2030-02-15"]).unwrap();
    book.save_to_buffer().unwrap()
}

type Parameters = Vec<(&'static str, &'static str)>;

/// Files whose header is not where it is looked for: the parameters, the detail of the error, and the row that a dry run
/// takes for the header.
fn misplaced_headers() -> Vec<(Vec<u8>, Parameters, &'static str, Option<i64>)> {
    let header = "title,genre,release_year,expiry_date\nA,g,2000,2030-01-01\n";
    let below = |lines: usize| format!("Movies\n{}{header}", "of all years\n".repeat(lines - 1));
    let all = "`title`, `genre`, `release_year`, `expiry_date`";
    let detail = |text: String| -> &'static str { text.leak() };
    let map = ("map", "Name=title");
    vec![
        (
            below(1).into(),
            vec![],
            detail(format!("line 1 has no column for {all}; it has: Movies; try header_row=2")),
            Some(2),
        ),
        (
            below(9).into(),
            vec![],
            detail(format!("line 1 has no column for {all}; it has: Movies; try header_row=10")),
            Some(10),
        ),
        // Only the first ten rows are looked at.
        (
            below(10).into(),
            vec![],
            detail(format!("line 1 has no column for {all}; it has: Movies; perhaps with map")),
            None,
        ),
        // The delimiter of each row is its own.
        (b"Movies, all\n\nGenre;Name\n".into(), vec![map], "; try header_row=3", None),
        (below(1).replace("title", "name").into(), vec![map], "; try header_row=2", None),
        (
            titled_workbook(),
            vec![],
            "line 1 has no column for `genre`, `release_year`, `expiry_date`; it has: Movies of, title; try header_row=4",
            Some(4),
        ),
        // A row with the name of one field could be anything.
        (b"Movies,of\ntitle,x,y\n".into(), vec![], "it has: Movies, of; rename or add it", None),
        // A title is alone in its row.
        (
            b"List 2026;;\n;;\nName;Main genre;Rating\n".into(),
            vec![],
            "; try header_row=3",
            Some(3),
        ),
        (
            header.into(),
            vec![("header_row", "2")],
            detail(format!(
                "line 2 has no column for {all}; it has: A, g, 2000, 2030-01-01; try header_row=1"
            )),
            Some(1),
        ),
        (header.into(), vec![("header_row", "3")], "line 3 is empty; expected the header", None),
        (
            below(1).replacen('\n', "\n\n", 1).into(),
            vec![("header_row", "2")],
            "line 2 is empty",
            None,
        ),
        (
            header.into(),
            vec![("header_row", "1000")],
            "line 1000 is empty; expected the header",
            None,
        ),
        (
            b"sep=;\na;b\n".into(),
            vec![("header_row", "1")],
            "line 1 is empty; expected the header",
            None,
        ),
        (
            titled_workbook(),
            vec![("header_row", "3")],
            "row 3 of the sheet \"Sheet1\" is empty",
            None,
        ),
        (
            titled_workbook(),
            vec![("header_row", "9")],
            "row 9 of the sheet \"Sheet1\" is empty",
            None,
        ),
        (header.into(), vec![("header_row", "0")], "header_row", None),
        (header.into(), vec![("header_row", "1001")], "header_row", None),
        (b"[]".into(), vec![("header_row", "1")], "only CSV and workbooks have a header", None),
        (b"{}".into(), vec![("header_row", "1")], "only CSV and workbooks have a header", None),
    ]
}

#[tokio::test]
async fn a_header_below_a_title_is_found() {
    served_on_both(async |client| {
        for (file, query, detail, row) in misplaced_headers() {
            let problem = import(&client, &query, &file).await;
            assert_eq!(problem.status, 400, "{problem:?}");
            let found = problem.json();
            assert!(found["detail"].as_str().unwrap().contains(detail), "{found} is not {detail}");
            let dry = import(&client, &[&query[..], &[("dry_run", "true")]].concat(), &file).await;
            assert_eq!(dry.json()["header_row"].as_i64(), row, "{dry:?}");
        }
        // A long line above the header is skipped whatever its length.
        let long = format!(
            "{}\ntitle,genre,release_year,expiry_date\nA,g,2000,2030-01-01\n",
            "x, ".repeat(100_000)
        );
        let report = import(&client, &[("header_row", "2")], long.as_bytes()).await;
        assert_eq!(report.json()["created"], 1, "{report:?}");
        assert_eq!(stored(&client).await, ["A|g|2000|2030-01-01"]);
    })
    .await;
}

/// An id or a time of an export fits a text, but is not meant for one.
#[tokio::test]
async fn columns_of_the_service_are_not_guessed() {
    let client = Client::of(Database::sqlite()).await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let file = format!(
        "id,Version,CREATED AT,updated-at,Name,Kind\n{id},2001,2030-01-01,2030-01-01,x,y\n"
    );
    let report = import(&client, &[("dry_run", "true")], file.as_bytes()).await.json();
    let columns = report["columns"].as_array().unwrap().iter();
    let guesses: Vec<&Value> = columns.map(|column| &column["guess"]).collect();
    let none = &Value::Null;
    assert_eq!(
        guesses,
        [none, none, none, none, &json!("Name=title"), &json!("Kind=genre")],
        "{report}"
    );
}

#[tokio::test]
async fn files_of_spreadsheets_are_imported() {
    served_on_both(async |client| {
        for Messy { what, file, query, stored: expected, rejected } in messy() {
            println!("{what}");
            // A dry run reports the same and changes nothing.
            let mut dry = query.to_vec();
            dry.push(("dry_run", "true"));
            let preview = import(&client, &dry, &file).await;
            assert_eq!(preview.status, 200, "{preview:?}");
            let preview = preview.json();
            assert_eq!(preview["created"], expected.len(), "{preview}");
            assert_eq!(
                preview["preview"].as_array().unwrap().len(),
                expected.len().min(10),
                "{preview}"
            );
            assert!(stored(&client).await.is_empty());
            let report = import(&client, query, &file).await;
            assert_eq!(report.status, 200, "{report:?}");
            let report = report.json();
            for name in ["created", "rejected", "errors", "problems", "columns", "file", "trimmed"]
            {
                assert_eq!(report[name], preview[name], "{name}");
            }
            assert_eq!(stored(&client).await, expected);
            let errors = report["errors"].as_array().unwrap();
            assert_eq!(errors.len(), rejected.len(), "{report}");
            for (error, (line, part)) in errors.iter().zip(rejected) {
                let detail = error["detail"].as_str().unwrap();
                assert!(
                    error["line"] == *line && detail.contains(part),
                    "{error} is not {line} {part}"
                );
            }
            clear(&client).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_shows_how_a_file_could_be_read() {
    served_on_both(async |client| {
        let existing = json!({"title": "Two", "genre": "g", "release_year": 2002, "expiry_date": "2030-01-01"});
        client.create(&existing).await;
        let rows = "One;drama;2001;15/02/2030;7\nTwo;drama;2002;16/02/2030;8\n One;drama;2001;17/02/2030;9\n";
        let file = format!("Name;genre;Year;Licence ends;Stars\n{rows}");
        let report = import(&client, &[("dry_run", "true")], file.as_bytes()).await.json();
        let facts = json!({"format": "csv", "encoding": "utf-8", "delimiter": ";"});
        assert_eq!(report["file"], facts);
        assert_eq!(report["missing"], json!(["title", "release_year", "expiry_date"]));
        let guesses: Vec<&Value> = report["columns"].as_array().unwrap().iter().map(|c| &c["guess"]).collect();
        let expected =
            [json!("Name=title"), Value::Null, json!("Year=release_year"), json!("Licence ends=expiry_date"), Value::Null];
        assert_eq!(guesses, expected.iter().collect::<Vec<_>>(), "{report}");
        assert!(report["new_fields"].as_str().unwrap().contains("[fields.stars]\ntype = \"integer\"\n"), "{report}");
        // The same with the mapping, for each policy.
        let map = ("map", "Name=title,Year=release_year,Licence ends=expiry_date");
        let broken = import(&client, &[("dry_run", "true"), map], file.as_bytes()).await.json();
        let problem = &broken["problems"][0];
        assert_eq!((&problem["count"], &problem["parameters"]), (&json!(3), &json!(["dates=dmy"])), "{broken}");
        for (policy, [created, updated, skipped, rejected], lines) in [
            ("fail", [1, 0, 0, 2], [3, 4]),
            ("skip", [1, 0, 2, 0], [3, 4]),
            ("update", [1, 2, 0, 0], [0, 0]),
        ] {
            let query = [("dry_run", "true"), map, ("dates", "dmy"), ("on_conflict", policy)];
            let report = import(&client, &query, file.as_bytes()).await.json();
            let counts = json!([report["created"], report["updated"], report["skipped"], report["rejected"]]);
            assert_eq!(counts, json!([created, updated, skipped, rejected]), "{report}");
            assert_eq!(report["trimmed"], 1);
            let listed = if policy == "skip" { &report["existing"] } else { &report["errors"] };
            let found: Vec<i64> = listed.as_array().unwrap().iter().map(|row| row["line"].as_i64().unwrap()).collect();
            assert_eq!(found, lines.into_iter().filter(|line| *line > 0).collect::<Vec<i64>>(), "{report}");
            let first = json!({"title": "One", "genre": "drama", "release_year": 2001, "expiry_date": "2030-02-15"});
            assert_eq!(report["preview"][0], first);
        }
        assert_eq!(stored(&client).await, ["Two|g|2002|2030-01-01"]);
        let query = [map, ("dates", "dmy"), ("on_conflict", "skip")];
        let report = import(&client, &query, file.as_bytes()).await.json();
        let lines: Vec<&Value> = report["existing"].as_array().unwrap().iter().map(|row| &row["line"]).collect();
        assert_eq!(lines, [3, 4], "{report}");
    })
    .await;
}

/// An export that is corrected and imported again finds its records, and does not undo newer changes.
#[tokio::test]
async fn a_corrected_export_updates_its_records() {
    served_on_both(async |client| {
        let mut ids = Vec::new();
        for title in ["One", "Two", "Three", "Four"] {
            let movie =
                json!({"title": title, "genre": "g", "release_year": 2000, "expiry_date": "2030-01-01"});
            ids.push(client.create(&movie).await["id"].as_str().unwrap().to_owned());
        }
        let export = client.get("/api/v1/movies/export?format=csv").await.body;
        let export = String::from_utf8(export).unwrap();
        // Meanwhile another user changes the second movie.
        let path = format!("/api/v1/movies/{}", ids[1]);
        let patch = json!({"genre": "newer"});
        let patched = client.change("PATCH", &path, "application/merge-patch+json", Some("\"1\""), &patch).await;
        assert_eq!(patched.status, 200, "{patched:?}");
        let update = [("on_conflict", "update")];
        let dry = [("on_conflict", "update"), ("dry_run", "true")];
        let check = async |file: &str, [updated, skipped]: [i64; 2], rejected: &[(i64, &str)]| {
            let preview = import(&client, &dry, file.as_bytes()).await.json();
            let report = import(&client, &update, file.as_bytes()).await.json();
            for name in ["created", "updated", "skipped", "rejected", "errors"] {
                assert_eq!(report[name], preview[name], "{name}");
            }
            assert_eq!((&report["updated"], &report["skipped"]), (&json!(updated), &json!(skipped)), "{report}");
            let errors = report["errors"].as_array().unwrap();
            assert_eq!(errors.len(), rejected.len(), "{report}");
            for (error, (line, part)) in errors.iter().zip(rejected) {
                assert!(error["line"] == *line && error["detail"].as_str().unwrap().contains(part), "{error}");
            }
        };
        let stale = (3, "the record has version 2, and the row 1");
        // The title of the first is corrected, the second is stale, the third has another genre.
        let changed = export.replace("One,g", "The First,g").replace("Two,g", "Two,x").replace("Three,g", "Three,h");
        check(&changed, [2, 1], &[stale]).await;
        let expected = [
            "The First|g|2000|2030-01-01",
            "Two|newer|2000|2030-01-01",
            "Three|h|2000|2030-01-01",
            "Four|g|2000|2030-01-01",
        ];
        assert_eq!(stored(&client).await, expected);
        // Again: what has these values already is not stale.
        check(&changed, [0, 3], &[stale]).await;
        // A title that another movie has, in an export of now.
        let export = client.get("/api/v1/movies/export?format=csv").await.body;
        let export = String::from_utf8(export).unwrap();
        let taken = export.replace("Four,g", "Three,g");
        let report = import(&client, &update, taken.as_bytes()).await.json();
        assert!(report["errors"][0]["detail"].as_str().unwrap().contains("\"Three\" (2000) already exists"), "{report}");
        assert_eq!(stored(&client).await, expected);
        // Two rows for one movie: the last one counts and is listed.
        let twice = "title,genre,release_year,expiry_date\nFour,a,2000,2030-01-01\nFour,b,2000,2030-01-01\n";
        let report = import(&client, &update, twice.as_bytes()).await.json();
        assert_eq!(report["existing"][0]["line"], 3, "{report}");
        assert_eq!(stored(&client).await[3], "Four|b|2000|2030-01-01");
    })
    .await;
}

#[tokio::test]
async fn records_without_a_key_are_not_updated_by_a_file() {
    let schema = declared(&[SHOWS]).schemas()[0];
    let database = Database::sqlite();
    let store = database.open().await;
    store.migrate(&[schema]).await.unwrap();
    let import = begin(&store, &identity(&["shows:write"]), schema).unwrap();
    let error = import
        .run("name\na\n".as_bytes(), Format::Csv, Conflict::Update, |_| ())
        .await
        .unwrap_err();
    assert!(error.detail.contains("no natural key by which `update` could find them"), "{error:?}");
}

/// Records with all types, for round trips.
const SHOWS: &str = r#"
name = "Show"
collection = "shows"

[fields]
name = { type = "text", length = [1, 2000] }
hall = { type = "text", required = false }
note = { type = "text", length = [0, 50], default = "none" }
seats = { type = "integer", required = false }
open = { type = "boolean", required = false }
day = { type = "date", required = false }
at = { type = "timestamp", required = false }
key = { type = "id", required = false }
"#;

fn show() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            "\\PC{1,40}",
            "[=+@'-]{1,3}[a-z]{0,5}",
            "_x[0-9A-F]{4}_",
            "[0-9]{1,20}",
            Just("true".to_owned()),
            Just("2030-01-01".to_owned()),
            Just("<a>&amp;]]>\u{85}\u{2028}".to_owned()),
        ]
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("a text that shows something", |text| {
            !cinequery::query::text::is_blank(text)
                && cinequery::query::text::trimmed(text) == text
                && !text.chars().any(char::is_control)
        })
    };
    let date = (1..=9999_i32, 1..=365_u32)
        .prop_map(|(year, day)| chrono::NaiveDate::from_yo_opt(year, day).unwrap().to_string());
    let at =
        (-62_000_000_000_i64..253_000_000_000, 0..1_000_000_u32).prop_map(|(seconds, micros)| {
            let instant = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap();
            instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        });
    let key = any::<u128>().prop_map(|key| uuid::Uuid::from_u128(key).to_string());
    (
        text(),
        prop::option::of(text()),
        prop::option::of(prop_oneof![any::<i64>(), -5..5_i64, Just(999_999_999_999_999), Just(1_000_000_000_000_000)]),
        prop::option::of(any::<bool>()),
        prop::option::of(date),
        prop::option::of(at),
        prop::option::of(key),
    )
        .prop_map(|(name, hall, seats, open, day, at, key)| {
            json!({
                "name": name, "hall": hall, "note": if open == Some(true) { "" } else { "x" }, "seats": seats,
                "open": open, "day": day, "at": at, "key": key,
            })
        })
}

/// Imports a file of shows into a database of its own, and exports it again.
async fn exchanged(file: Vec<u8>, from: Option<Format>, to: Format) -> Vec<u8> {
    let schema = declared(&[SHOWS]).schemas()[0];
    let database = Database::sqlite();
    let store = database.open().await;
    store.migrate(&[schema]).await.unwrap();
    let caller = identity(&["shows:read", "shows:write"]);
    let options =
        Options { hints: Hints { format: from, ..Hints::default() }, ..Options::default() };
    let import = begin(&store, &caller, schema).unwrap();
    let report = import.run(Cursor::new(file), options, Conflict::Fail, |_| ()).await.unwrap();
    assert_eq!(report.rejected, 0);
    let fields: Vec<String> = schema.declared().map(|field| field.name.to_owned()).collect();
    let everything = Selection::default();
    let mut export =
        export(&store, &caller, schema, &everything, Form::File(to), &fields).await.unwrap();
    let mut bytes = export.head().unwrap();
    while let Some(part) = export.next().await.unwrap() {
        bytes.extend(part.bytes);
    }
    bytes.extend(export.tail());
    store.close().await;
    bytes
}

fn lines(shows: &[Value]) -> Vec<u8> {
    shows
        .iter()
        .fold(String::new(), |mut lines, show| {
            writeln!(lines, "{show}").unwrap();
            lines
        })
        .into_bytes()
}

#[test]
fn what_is_exported_comes_back_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) };
    proptest!(config, |(shows in prop::collection::vec(show(), 1..20))| {
        runtime.block_on(async {
            let own = exchanged(lines(&shows), None, Format::Ndjson).await;
            for format in Format::ALL {
                let file = exchanged(own.clone(), None, format).await;
                let back = exchanged(file, None, Format::Ndjson).await;
                prop_assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(&own), "{:?}", format);
            }
            Ok(())
        })?;
    });
}

/// Semicolons, quotes, UTF-8, and cells as they are shown.
const SHOWN_AS_CSV: &str = "csv:Text - txt - csv (StarCalc):59,34,76,1,,0,false,true,false";

/// Opens a file with LibreOffice and saves it in another format.
fn saved_by_libre_office(file: &[u8], to: &str, extension: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shows.xlsx"), file).unwrap();
    let profile = format!("-env:UserInstallation=file://{}/profile", folder.path().display());
    let mut office = Command::new("soffice");
    office.args([&profile, "--headless", "--convert-to", to, "--outdir", "out", "shows.xlsx"]);
    office.current_dir(folder.path()).env("HOME", folder.path()).env("LC_ALL", "C.UTF-8");
    let output = succeed(&mut office);
    let saved = folder.path().join("out").join(format!("shows.{extension}"));
    std::fs::read(&saved).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Texts that a spreadsheet could take for something else, and values at the limits of one.
fn delicate_shows() -> Vec<Value> {
    let texts = [
        "=1+1",
        "+1",
        "@x",
        "007",
        "300",
        "1e5",
        "1/2",
        "TRUE",
        "2030-01-01",
        "Zoë 🎬",
        "a;b,\"c\"",
        "<&>",
        "_x0041_",
        "12:30",
        "3.50",
    ];
    let seats = [json!(999_999_999_999_999_i64), json!(-1), json!(i64::MAX), Value::Null];
    let open = [json!(true), json!(false), Value::Null];
    let days = ["2030-02-15", "1895-12-28", "1900-02-28", "9999-12-31"];
    let show = |(number, text): (usize, &&str)| {
        json!({
            "name": text,
            "hall": if number % 3 == 0 { Value::Null } else { json!(text) },
            "note": if number % 2 == 0 { "" } else { "x" },
            "seats": seats[number % 4],
            "open": open[number % 3],
            "day": days[number % 4],
            "at": "2030-01-01T20:15:00.123456Z",
            "key": Value::Null,
        })
    };
    texts.iter().enumerate().map(show).collect()
}

#[tokio::test]
async fn libre_office_keeps_what_is_exported() {
    let own = exchanged(lines(&delicate_shows()), None, Format::Ndjson).await;
    let workbook = exchanged(own.clone(), None, Format::Xlsx).await;
    let formats = [("xlsx:Calc MS Excel 2007 XML", "xlsx"), (SHOWN_AS_CSV, "csv")];
    for (filter, extension) in formats {
        let saved = saved_by_libre_office(&workbook, filter, extension);
        let back = exchanged(saved, None, Format::Ndjson).await;
        assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(&own), "{extension}");
    }
}

/// What a reader sees first comes first, and the columns for an import last. The file is still imported without a change.
#[tokio::test]
async fn an_export_for_a_spreadsheet_is_made_for_its_reader() {
    served_on_both(async |client| {
        let movie =
            json!({"title": "One", "genre": "g", "release_year": 2000, "expiry_date": "2030-01-01"});
        let created = client.create(&movie).await;
        let csv = client.get("/api/v1/movies/export?format=excel-csv").await.body;
        let header = "\u{feff}title;genre;release_year;expiry_date;created_at;updated_at;id;version\r\n";
        assert!(csv.starts_with(header.as_bytes()), "{}", String::from_utf8_lossy(&csv));
        let chosen = client.get("/api/v1/movies/export?format=excel-csv&fields=id,title").await.body;
        assert!(chosen.starts_with("\u{feff}id;title\r\n".as_bytes()));

        let workbook = client.get("/api/v1/movies/export?format=xlsx").await.body;
        let mut archive = zip::ZipArchive::new(Cursor::new(&workbook)).unwrap();
        let mut sheet = String::new();
        archive.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut sheet).unwrap();
        assert!(sheet.contains("<autoFilter ref=\"A1:H2\"/>"), "{sheet}");
        assert!(sheet.contains("<pane ySplit=\"1\""), "{sheet}");
        // Times are shown as times, in UTC.
        let shown = saved_by_libre_office(&workbook, SHOWN_AS_CSV, "csv");
        let at = created["created_at"].as_str().unwrap().replace('T', " ");
        let row = format!("One;g;2000;2030-01-01;{};", &at[..19]);
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains(&row), "{shown}, not {row}");

        let saved = saved_by_libre_office(&workbook, "xlsx:Calc MS Excel 2007 XML", "xlsx");
        for file in [csv, workbook, saved] {
            let report = import(&client, &[("on_conflict", "update")], &file).await.json();
            assert_eq!((&report["skipped"], &report["rejected"]), (&json!(1), &json!(0)), "{report}");
        }
    })
    .await;
}

/// Parts of a workbook with one sheet: its cells, and the shared texts.
fn parts(sheet: &str, shared: &str) -> Vec<(String, Vec<u8>)> {
    let part = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    vec![
        part(
            "[Content_Types].xml",
            "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>",
        ),
        part(
            "_rels/.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>",
        ),
        part(
            "xl/workbook.xml",
            "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>",
        ),
        part(
            "xl/_rels/workbook.xml.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
        ),
        ("xl/worksheets/sheet1.xml".to_owned(), sheet.as_bytes().to_vec()),
        ("xl/sharedStrings.xml".to_owned(), shared.as_bytes().to_vec()),
    ]
}

fn zipped(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in parts {
        archive.start_file(name.as_str(), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn sheet(rows: &str) -> String {
    format!("<worksheet><sheetData>{rows}</sheetData></worksheet>")
}

/// The header of movies, and one row with an inline text.
const ROWS: &str = "<row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>title</t></is></c><c r=\"B1\" t=\"inlineStr\"><is><t>genre</t></is></c><c r=\"C1\" t=\"inlineStr\"><is><t>release_year</t></is></c><c r=\"D1\" t=\"inlineStr\"><is><t>expiry_date</t></is></c></row>";

/// What an attack is, the file, the status and a part of the detail; with 200, the number of rejected rows.
fn attacks() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let shared = "<sst><si><t>x</t></si></sst>";
    let plain = |rows: &str| zipped(&parts(&sheet(&format!("{ROWS}{rows}")), shared));
    let blanks = |count: usize| " ".repeat(count);
    let bomb = zipped(&parts(&sheet(&format!("{ROWS}{}", blanks(70 << 20))), shared));
    let mut hidden = parts(&sheet(ROWS), shared);
    hidden.push(("xl/media/picture.bin".to_owned(), vec![0; 70 << 20]));
    let many: Vec<(String, Vec<u8>)> = (0..10_001).map(|n| (format!("x{n}"), Vec::new())).collect();
    let counted =
        |count: &str| zipped(&parts(&sheet(ROWS), &format!("<sst uniqueCount=\"{count}\"></sst>")));
    let entity = "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>";
    let laughs =
        "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let with = |start: &str, text: &str| {
        let row =
            format!("<row r=\"2\"><c r=\"A2\" t=\"inlineStr\"><is><t>{text}</t></is></c></row>");
        zipped(&parts(&format!("{start}{}", sheet(&format!("{ROWS}{row}"))), shared))
    };
    let wide: String = (0..1_000_000).fold(String::from("<row r=\"2\">"), |mut row, _| {
        row.push_str("<c><v>1</v></c>");
        row
    }) + "</row>";
    let far = "<row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>";
    let long = "x".repeat(70_000);
    let repeated = "<row><c t=\"s\"><v>0</v></c></row>".repeat(200_000);
    let whole = plain("");
    let mut fonts = parts(&sheet(ROWS), shared);
    let name = "n".repeat(200_000);
    let formats = "<xf fontId=\"0\"/>".repeat(20_000);
    let styles = format!(
        "<styleSheet><fonts><font><name val=\"{name}\"/></font></fonts><cellXfs>{formats}</cellXfs></styleSheet>"
    );
    fonts.push(("xl/styles.xml".to_owned(), styles.into_bytes()));
    let mut repeated_sheets = parts(&sheet(ROWS), shared);
    let book = |sheets: &str| {
        format!("<workbook xmlns:r=\"r\"><sheets>{sheets}</sheets></workbook>").into_bytes()
    };
    repeated_sheets[2].1 = book(&"<sheet name=\"S\" r:id=\"rId1\"/>".repeat(2000));
    let mut named = parts(&sheet(ROWS), shared);
    named[2].1 = book(&format!("<sheet name=\"{name}\" r:id=\"rId1\"/>"));
    let crowded = format!("<row r=\"2\">{}</row>", "<c t=\"s\"><v>0</v></c>".repeat(100_000));
    let mut utf16 = parts(&sheet(ROWS), shared);
    utf16[5].1 =
        "<sst uniqueCount=\"99999999999\"/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("a bomb", bomb, 413, "at most 64 MiB"),
        ("a bomb in a part that is not read", zipped(&hidden), 200, ""),
        ("many parts", zipped(&many), 413, "at most 64 MiB"),
        ("a count of texts", counted("99999999999"), 200, ""),
        (
            "a count of texts that is long",
            counted(&format!("{}9000000000000", "0".repeat(70))),
            200,
            "",
        ),
        ("a count of texts beyond 64 bits", counted(&"9".repeat(30)), 200, ""),
        ("a count of texts in UTF-16", zipped(&utf16), 0, ""),
        ("a wide row", plain(&wide), 422, "rejected"),
        ("a far cell", plain(far), 422, "rejected"),
        ("an external entity", with(entity, "&x;"), 400, "cannot be read"),
        ("entities of entities", with(laughs, "&b;"), 400, "cannot be read"),
        ("a long text", with("", &long), 422, "rejected"),
        (
            "one long text in many cells",
            zipped(&parts(
                &sheet(&format!("{ROWS}{repeated}")),
                &format!("<sst><si><t>{long}</t></si></sst>"),
            )),
            422,
            "rejected",
        ),
        (
            "rows that go back",
            plain(
                "<row r=\"9\"><c r=\"A9\"><v>1</v></c></row><row r=\"3\"><c r=\"A3\"><v>1</v></c></row>",
            ),
            400,
            "not in order",
        ),
        (
            "a text that is not there",
            plain("<row r=\"2\"><c t=\"s\"><v>99</v></c></row>"),
            400,
            "cannot be read",
        ),
        (
            "a dimension that goes back",
            zipped(&parts(
                &format!(
                    "<worksheet><dimension ref=\"B3:A1\"/><sheetData>{ROWS}</sheetData></worksheet>"
                ),
                shared,
            )),
            0,
            "",
        ),
        (
            "a row beyond all numbers",
            plain("<row r=\"99999999999999999999\"><c><v>1</v></c></row>"),
            400,
            "cannot be read",
        ),
        ("a workbook that breaks off", whole[..whole.len() - 40].to_vec(), 400, "cannot be read"),
        ("a part that breaks off", plain("<row r=\"2\"><c r=\"A2\"><v>1"), 400, "cannot be read"),
        ("no parts", zipped(&[]), 400, "cannot be read"),
        ("no sheet", zipped(&parts("<chartsheet/>", shared)), 400, ""),
        ("long names of fonts for many formats", zipped(&fonts), 200, ""),
        ("one part as many sheets", zipped(&repeated_sheets), 400, "one of them twice"),
        ("a long name of a sheet", zipped(&named), 200, ""),
        (
            "one text in many cells of a row",
            zipped(&parts(
                &sheet(&format!("{ROWS}{crowded}")),
                &format!("<sst><si><t>{}</t></si></sst>", "y".repeat(200_000)),
            )),
            422,
            "rejected",
        ),
        (
            "a reference beyond all columns",
            plain("<row r=\"2\"><c r=\"ZZZZZZZZZZZZZ1\"><v>1</v></c></row>"),
            400,
            "no valid place",
        ),
        ("deep elements", plain(&"<row>".repeat(1_000_000)), 0, ""),
    ]
}

#[tokio::test]
async fn hostile_workbooks_are_rejected() {
    let client = Client::of(Database::sqlite()).await;
    for (what, file, status, part) in attacks() {
        println!("{what}: {} bytes", file.len());
        let response = import(&client, &[], &file).await;
        let problem = response.json();
        let is_expected = match status {
            0 => [200, 400].contains(&response.status),
            status => response.status == status,
        };
        assert!(is_expected, "{what}: {problem}");
        assert!(
            part.is_empty() || problem["detail"].as_str().unwrap().contains(part),
            "{what}: {problem}"
        );
        assert!(response.body.len() < 100_000, "{what}: {} bytes", response.body.len());
        assert!(stored(&client).await.is_empty(), "{what}");
    }
}

/// A real file with a JSON array, `Jun 12 1998`, null genres and numbers as titles, of the npm package vega-datasets.
#[tokio::test]
async fn the_movies_of_vega_are_imported_with_one_request() {
    let path = crate::contract::tools::root()
        .join("target/tools/node/node_modules/vega-datasets/data/movies.json");
    let file = std::fs::read(&path).expect("vega-datasets is missing: `make tools` installs it");
    let rows: Vec<Value> = serde_json::from_slice(&file).unwrap();
    served_on_both(async |client| {
        let query = [
            ("map", "Major Genre=genre,year(Release Date)=release_year"),
            ("set", "genre=unknown,expiry_date=2030-12-31"),
            ("on_conflict", "skip"),
        ];
        let report = import(&client, &query, &file).await.json();
        let untitled = rows.iter().filter(|row| row["Title"].is_null()).count();
        let count = |name: &str| usize::try_from(report[name].as_i64().unwrap()).unwrap();
        assert_eq!(count("rejected"), untitled, "{}", report["problems"]);
        assert_eq!(count("created") + count("skipped") + untitled, rows.len());
        for error in report["errors"].as_array().unwrap() {
            assert_eq!(
                (&error["pointer"], &error["detail"]),
                (&json!("/title"), &json!("is missing"))
            );
        }
        let numbers = rows.iter().filter(|row| row["Title"].is_number());
        for row in numbers {
            let filter = format!("title = \"{}\"", row["Title"]);
            let found = client.search(&[("filter", filter.as_str())]).await.json();
            assert!(!found["items"].as_array().unwrap().is_empty(), "{filter}");
        }
    })
    .await;
}

/// Files, the header row that a dry run advises, and the delimiter that was recognised.
const TITLED: &[(&str, Option<i64>, &str)] = &[
    ("Season 2025;;;\nName;Kind;Made;Ends\nA;g;2000;2030-01-01\n", Some(2), ";"),
    ("Season;;;;printed\nName;Kind;Made;Ends;Country\nA;g;2000;2030-01-01;x\n", Some(2), ";"),
    // A title without the delimiter, or with another one.
    ("Season 2025\nName;Kind;Made;Ends\nA;g;2000;2030-01-01\n", Some(2), ","),
    ("Season, printed 03/02/2025\nName;Kind;Made;Ends\nA;g;2000;8,5\n", Some(2), ","),
    // Rows of values are no header.
    ("Season 2025;;;\nA;g;2000;2030-01-01\nB;g;2000;2030-01-01\n", None, ";"),
    ("Season 2025;;;\nA;A;A;A\n", None, ";"),
    // A header with a name without commas, and values with as many.
    ("Name, original;Kind\nA;g\nB;g\n", None, ";"),
    ("Name;Notes\nA;one, two, three\nB;one, two, three\n", None, ";"),
    ("title;;;\nA;g;Drama;France\n", None, ";"),
];

#[test]
fn a_title_is_recognised_by_its_shape() {
    for (file, row, delimiter) in TITLED {
        let report = inspected(file, Options::default());
        assert_eq!(report.header_row, *row, "{report:?}");
        assert_eq!(report.file.unwrap().delimiter.as_deref(), Some(*delimiter));
    }
}

/// A title that was mapped, as a guess may do it, is still one.
#[test]
fn a_mapped_title_is_recognised() {
    let (file, row, _) = TITLED[0];
    let mapping = "Season 2025=title".parse().unwrap();
    assert_eq!(inspected(file, Options { mapping, ..Options::default() }).header_row, row);
}

fn inspected(file: &str, options: Options) -> Report {
    let file = Cursor::new(file.as_bytes().to_vec());
    inspect(file, options, movies(), Author::Client).unwrap()
}

const NAMES: &str = "title,genre,release_year,expiry_date\n";

/// Dates, the order that is given, the parameters that are proposed, and the reason.
type Dated =
    (&'static [&'static str], Option<Order>, &'static [&'static str], Option<&'static str>);

const DATED: &[Dated] = &[
    (
        &["31/01/2030", "02/01/2030", "tbc"],
        None,
        &["dates=dmy"],
        Some("all 2 dates fit day/month/year, and 1 of them has a day above 12"),
    ),
    (&["01/31/2030"], None, &["dates=mdy"], Some("the date fits month/day/year only")),
    (
        &["31/01/2030", "02/01/2030", "01/31/2030", "30/01/2030"],
        None,
        &["dates=dmy"],
        Some("3 of 4 dates fit day/month/year"),
    ),
    (&["02/01/2030"], None, &["dates=dmy", "dates=mdy"], None),
    (&["31/01/2030", "01/31/2030"], None, &["dates=dmy", "dates=mdy"], None),
    // An order that was given is not in doubt.
    (&["12/25/2027", "11/25/2027", "31/01/2030"], Some(Order::Dmy), &[], None),
];

#[test]
fn an_order_of_dates_is_proposed_with_its_reason() {
    for (days, dates, parameters, reason) in DATED {
        let rows = days.iter().map(|day| format!("{day} x,g,2000,{day}\n"));
        let file = format!("{NAMES}{}", rows.collect::<String>());
        let report = inspected(&file, Options { dates: *dates, ..Options::default() });
        let problem = report.problems.first().unwrap();
        assert_eq!(
            (problem.parameters.as_slice(), problem.reason.as_deref()),
            (&strings(parameters)[..], *reason)
        );
        let found: Vec<Option<&str>> =
            problem.examples.iter().map(|example| example.title.as_deref()).collect();
        let titles: Vec<String> = days.iter().map(|day| format!("{day} x")).collect();
        let expected: Vec<Option<&str>> =
            titles.iter().take(found.len()).map(|title| Some(title.as_str())).collect();
        assert_eq!(found, expected);
        if dates.is_some() {
            let expected = "expected a month from 1 to 12 in day/month/year";
            assert_eq!((problem.count, problem.detail.as_str()), (2, expected));
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A spreadsheet has a row for a line without a cell, but none for a line break in a cell.
#[tokio::test]
async fn rows_are_counted_as_spreadsheets_do() {
    served_on_both(async |client| {
        let row = "A,g,2000,2030-01-01";
        let broken = "\"B\r\nC\",g,2000,2030-01-01";
        for end in ["\n", "\r\n"] {
            let rows = [broken, "", row, "D,g,x,2030-01-01", row, "E,g"];
            let file = format!("{}{end}{}", NAMES.trim_end(), rows.join(end));
            for dry in ["true", "false"] {
                let query = [("dry_run", dry), ("on_conflict", "skip")];
                let report = import(&client, &query, file.as_bytes()).await.json();
                let place = |row: &Value| json!([row["line"], row["row"]]);
                let errors: Vec<Value> = report["errors"].as_array().unwrap().iter().map(place).collect();
                assert_eq!(errors, [json!([6, 5]), json!([8, 7])], "{report}");
                assert_eq!(place(&report["existing"][0]), json!([7, 6]));
                assert_eq!((&report["repeated"], &report["skipped"]), (&json!(1), &json!(1)));
                let problem = &report["problems"][0];
                let example = json!({"found": "\"x\"", "line": 6, "row": 5, "title": "D"});
                assert_eq!((place(problem), &problem["examples"]), (json!([6, 5]), &json!([example])));
                let detail = "has 2 cells, but the header line has 4 names";
                assert_eq!(report["errors"][1]["detail"], detail);
            }
            clear(&client).await;
        }
        // The line that names the delimiter is no row, and the lines of a workbook are its rows.
        let file = b"sep=;\ntitle;genre;release_year;expiry_date\nA\n".to_vec();
        let report = import(&client, &[("dry_run", "true")], &file).await.json();
        let error = json!({"line": 3, "row": 2, "pointer": "", "detail": "has 1 cell, but the header line has 4 names"});
        assert_eq!(report["errors"], json!([error]));
    })
    .await;
}

#[test]
fn no_file_panics() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) };
    let starts = prop_oneof![
        Just(Vec::new()),
        Just(b"title,genre\n".to_vec()),
        Just(b"sep=;\n".to_vec()),
        Just(b"[{\"title\":".to_vec()),
        Just(b"\xff\xfe".to_vec()),
        Just(workbook()),
    ];
    proptest!(config, |(start in starts, more in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>())| {
        let mut file = start;
        let at = at.index(file.len() + 1);
        let end = (at + more.len()).min(file.len());
        file.splice(at..end, more);
        let _ = inspect(Cursor::new(file), Options::default(), movies(), Author::Client);
    });
}
