//! Files of records over HTTP, in and out.

use std::time::Duration;

use cinequery::app::transfer::MAX_ROW_BYTES;
use cinequery::record::{Draft, Members};
use cinequery::store::{Conflict, Message};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Answer, Client, Database, movies, served_on_both, token, token_of};

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
const OCTETS: &str = "application/octet-stream";
const HEAD: &str = "title,genre,release_year,expiry_date\n";

async fn import(client: &Client, policy: &str, media_type: &str, file: &[u8]) -> Answer {
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
    titles.map(|number| row(&format!("film {number}"))).collect()
}

/// What is wrong with a file: line, pointer, a part of what is said.
type Wrong = (u64, &'static str, &'static str);

/// A file with some good rows, and what is wrong with the others.
fn files() -> Vec<(&'static str, Vec<u8>, i64, Vec<Wrong>)> {
    let long = "x".repeat(MAX_ROW_BYTES);
    let good = row("good");
    let cells = "good,g,2000,2024-01-05";
    let not_utf8 = [HEAD.as_bytes(), b"a\xff,g,2000,2024-01-05\n", cells.as_bytes()].concat();
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
            vec![(2, "", "not a JSON object"), (4, "", "not a JSON object")],
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
                (1, "/title", "1 to 300"),
                (1, "/release_year", "1870"),
                (1, "/expiry_date", "missing"),
            ],
        ),
        (CSV, HEAD.into(), 0, vec![]),
        (CSV, format!("{HEAD}{cells}").into(), 1, vec![]),
        (CSV, format!("\u{feff}{HEAD}{cells}\r\n").into(), 1, vec![]),
        (CSV, format!("\n\r\n{HEAD}\n{cells}\n\n").into(), 1, vec![]),
        (
            CSV,
            b"release_year,title,expiry_date,genre\r\n2000,good,2024-01-05,g\r\n".to_vec(),
            1,
            vec![],
        ),
        (
            CSV,
            format!("{HEAD}\"a \"\"b\"\",\nc\",g,2000,2024-01-05\n{cells}").into(),
            1,
            vec![(2, "/title", "control character")],
        ),
        // Two lines belong to the row before: the next begins on line 4.
        (
            CSV,
            format!("{HEAD}\"a\nb\",g,2000,2024-01-05\nx\n{cells}").into(),
            1,
            vec![(2, "/title", "control character"), (4, "", "1 cells under 4 names")],
        ),
        (CSV, not_utf8, 1, vec![(2, "", "UTF-8")]),
        (
            CSV,
            format!("{HEAD}{long}x,g,2000,2024-01-05\n{cells}").into(),
            1,
            vec![(2, "", "longer")],
        ),
        (CSV, format!("{HEAD}{cells}\n\"{long}\n{long}").into(), 1, vec![(3, "", "longer")]),
        (
            CSV,
            format!("{HEAD}{cells}\n{}\n", ",".repeat(5000)).into(),
            1,
            vec![(3, "", "more than 1000 cells")],
        ),
        (
            CSV,
            format!("{HEAD}{cells}\n\"Cut of").into(),
            1,
            vec![(3, "", "quote without its partner")],
        ),
        (
            CSV,
            format!("{HEAD}\"Cut of\",g,2000,\"2024-01-05").into(),
            0,
            vec![(2, "", "quote without its partner")],
        ),
        // What a spreadsheet makes of empty columns.
        (CSV, format!("{},,\n{cells},,\n", HEAD.trim()).into(), 1, vec![]),
        (
            CSV,
            format!("{HEAD}a,g,,soon\n{cells}").into(),
            1,
            vec![(2, "/release_year", "an integer"), (2, "/expiry_date", "not a date")],
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
                check(&whole.problem(400, "rows_rejected")["errors"]);
            }
            let is_there = if wrong.is_empty() { created } else { 0 };
            assert_eq!(count(&client).await, is_there, "`fail` writes all or nothing");
            let report = import(&client, "?on_conflict=skip", media_type, &file).await;
            assert_eq!(report.status, 200, "{report:?}");
            let report = report.json();
            check(&report["errors"]);
            assert_eq!(report["created"], created - is_there);
            assert_eq!(report["skipped"], is_there);
            let lines: std::collections::BTreeSet<u64> = wrong.iter().map(|(l, ..)| *l).collect();
            assert_eq!(report["refused"], lines.len());
            client.send(client.request("DELETE", "/api?title=good")).await;
            assert_eq!(count(&client).await, 0);
        }
    })
    .await;
}

async fn count(client: &Client) -> i64 {
    client.search(&[("count", "exact"), ("limit", "1")]).await.json()["total"].as_i64().unwrap()
}

/// Policy, media type, file, status, code, a part of the detail.
const REFUSED: &[(&str, &str, &str, u16, &str, &str)] = &[
    (
        "",
        "application/json",
        "{}",
        415,
        "unsupported_media_type",
        "application/x-ndjson, text/csv, or application/octet-stream with `format`",
    ),
    ("?on_conflict=maybe", NDJSON, "", 400, "invalid_parameter", "fail, skip, update"),
    ("?format=csv", NDJSON, "", 400, "invalid_parameter", "format"),
    ("?format=xml", OCTETS, "", 400, "invalid_parameter", "ndjson, csv"),
    ("", CSV, "", 400, "invalid_body", "empty"),
    ("", CSV, "\n\n", 400, "invalid_body", "empty"),
    ("", CSV, "title,genre,release_year\n", 400, "invalid_body", "`expiry_date`"),
    ("", CSV, "titel,genre,release_year,expiry_date\n", 400, "invalid_body", "names: titel, genre"),
    ("", CSV, "title,title,genre,release_year,expiry_date\n", 400, "invalid_body", "twice"),
];

#[tokio::test]
async fn a_file_s_form_is_said_by_its_media_type_or_the_parameter() {
    let (lines, table) = (row("film"), format!("{HEAD}film,g,2000,2024-01-05\n"));
    served_on_both(async |client| {
        for (policy, media_type, file) in [
            ("?on_conflict=update", OCTETS, &lines),
            ("?on_conflict=update&format=ndjson", OCTETS, &lines),
            ("?on_conflict=update&format=csv", OCTETS, &table),
            ("?on_conflict=update&format=csv", CSV, &table),
        ] {
            println!("{policy} {media_type}");
            let report = import(&client, policy, media_type, file.as_bytes()).await.json();
            let count = |what: &str| report[what].as_i64().unwrap();
            assert_eq!((count("created") + count("updated"), count("refused")), (1, 0), "{report}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    served_on_both(async |client| {
        for (policy, media_type, file, status, code, part) in REFUSED {
            println!("{policy} {media_type} {file:?}");
            let answer = import(&client, policy, media_type, file.as_bytes()).await;
            let problem = answer.problem(*status, code);
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        }
        for query in ["format=xml", "filter=gnre+%3D+1", "order_by=x", "limit=5", "p.x=1"] {
            let answer = client.get(&format!("/api/v1/movies/export?{query}")).await;
            assert_eq!(answer.status, 400, "{query}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        // Who may not is told so before the file is looked at.
        let nobody = client.with_token(None);
        import(&nobody, "", "text/plain", b"").await.problem(401, "unauthenticated");
        let reader = client.with_scopes(&["movies:read"]);
        import(&reader, "", "text/plain", b"").await.problem(403, "insufficient_scope");
        let writer = client.with_scopes(&["movies:write"]);
        let export = writer.get("/api/v1/movies/export").await;
        export.problem(403, "insufficient_scope");
    })
    .await;
}

#[tokio::test]
async fn a_record_that_is_there_is_refused_left_or_written_over() {
    served_on_both(async |client| {
        let first = rows(0..2500);
        let report = import(&client, "", NDJSON, first.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["refused"]), (&json!(2500), &json!(0)));

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
        assert_eq!((&report["created"], &report["updated"]), (&json!(0), &json!(2501)));
        assert_eq!(client.search(&renewed).await.json()["total"], 2500);
        assert_eq!(client.search(&[]).await.json()["items"][0]["version"], 2);
    })
    .await;
}

/// Rows that break a rule and rows that are there already are told together, wherever they stand.
#[tokio::test]
async fn refused_rows_and_conflicts_are_told_together() {
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

/// A key that stands twice in one file counts as there the second time.
#[tokio::test]
async fn a_key_may_stand_twice_in_a_file() {
    served_on_both(async |client| {
        let file = format!("{}{}{}", row("a"), row("b"), row("a").replace("\"g\"", "\"second\""));
        let problem = import(&client, "", NDJSON, file.as_bytes()).await;
        assert_eq!(problem.problem(400, "rows_rejected")["errors"][0]["line"], 3);
        let report = import(&client, "?on_conflict=skip", NDJSON, file.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["skipped"]), (&json!(2), &json!(1)));
        let report = import(&client, "?on_conflict=update", NDJSON, file.as_bytes()).await.json();
        assert_eq!((&report["created"], &report["updated"]), (&json!(0), &json!(3)));
        let page = client.search(&[("filter", "title = 'a'")]).await.json();
        assert_eq!(page["items"][0]["genre"], "second");
    })
    .await;
}

/// Screenings as a file leave and come back, whatever their text begins with and whatever is null.
#[tokio::test]
async fn files_leave_and_come_back() {
    served_on_both(async |client| {
        let films = [
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
            " padded ",
            "Ünïcode \u{1F3AC}",
            "'",
            "null",
            "=",
            "-5",
            "=1,2",
        ];
        for (number, film) in films.into_iter().enumerate() {
            let screening = json!({
                "film": film,
                "hall": if number % 2 == 0 { json!(film) } else { Value::Null },
                "seats": if number % 3 == 0 { json!(number) } else { Value::Null },
                "subtitled": ([json!(true), json!(false), Value::Null][number % 3]),
                "starts_at": format!("2024-01-{:02}T20:00:00.123456Z", number + 1),
                "sale_ends": if number % 5 == 0 { json!("2024-02-29") } else { Value::Null },
            });
            let answer = client.post("/api/v1/screenings", &screening).await;
            assert_eq!(answer.status, 201, "{answer:?}");
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
        for (format, media_type) in [("ndjson", NDJSON), ("csv", CSV)] {
            let file = client.get(&format!("/api/v1/screenings/export?format={format}")).await;
            assert!(file.header("content-type").starts_with(media_type));
            let name = format!("attachment; filename=\"screenings.{format}\"");
            assert_eq!(file.header("content-disposition"), name);
            let text = String::from_utf8(file.body.clone()).unwrap();
            if format == "csv" {
                // No cell of text begins as a formula does.
                let cell = |line: &str| line.split(',').nth(1).unwrap().replace('"', "");
                let is_formula = |line: &str| cell(line).starts_with(['=', '+', '-', '@']);
                assert!(!text.lines().any(is_formula), "{text}");
            }
            let other = Client::of(Database::sqlite()).await;
            let request = other.request("POST", "/api/v1/screenings/import");
            let request = request.header(CONTENT_TYPE, media_type).body(text);
            let report = other.send(request).await.json();
            assert_eq!(report["created"], films.len(), "{report}");
            let ignored = json!(["created_at", "id", "updated_at", "version"]);
            assert_eq!(report["ignored"], ignored);
            assert_eq!(own(other.clone()).await, sent, "{format}");
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

/// Begins to send a chunked file, and does not end it.
async fn begin(client: &Client, subject: &str, policy: &str, file: &str) -> tokio::net::TcpStream {
    let address = client.address().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/movies/import{policy} HTTP/1.1\r\nhost: x\r\ncontent-type: {NDJSON}\r\n\
         authorization: Bearer {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        token_of(subject, &["movies:write"])
    );
    let chunk = format!("{:x}\r\n{file}\r\n", file.len());
    stream.write_all(format!("{head}{chunk}").as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: tokio::net::TcpStream) -> String {
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until the condition holds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it has not come to pass");
}

/// Of a file whose sender goes away on the way, `fail` writes nothing, and `skip` what was committed.
#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_half_written() {
    served_on_both(async |client| {
        drop(begin(&client, "tester", "", &rows(0..2500)).await);
        drop(begin(&client, "tester", "?on_conflict=skip", &rows(5000..7500)).await);
        until(async || count(&client).await == 2000).await;
        // Nobody holds the right to write any more.
        let report = import(&client, "", NDJSON, rows(9000..9001).as_bytes()).await;
        assert_eq!(report.status, 200, "{report:?}");
        assert_eq!(count(&client).await, 2001);
    })
    .await;
}

/// While a long import holds SQLite's one right to write, readers read; other writers are asked to
/// come back.
#[tokio::test]
async fn a_long_import_starves_no_reader() {
    let client = Client::of(Database::sqlite()).await;
    let store = client.database().open().await;
    let (sender, receiver) = mpsc::channel(8);
    let long = tokio::spawn(async move { store.import(movies(), Conflict::Fail, receiver).await });
    for number in 0..1500 {
        let members: Members = serde_json::from_str(&row(&format!("film {number}"))).unwrap();
        let draft = Draft::read(movies(), members).unwrap();
        sender.send(Message::Record(number, draft)).await.unwrap();
    }
    let movie =
        json!({"title": "x", "genre": "g", "release_year": 2000, "expiry_date": "2024-01-01"});
    // Until the first thousand rows are being written, others write.
    until(async || {
        let answer = client.post("/api/v1/movies", &movie).await;
        if answer.status == 201 {
            let path = answer.location();
            client.send(client.request("DELETE", &path)).await;
            return false;
        }
        answer.problem(503, "unavailable");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        true
    })
    .await;
    assert_eq!(count(&client).await, 0, "readers see what was there before");
    let other = import(&client, "", NDJSON, row("other").as_bytes()).await;
    other.problem(503, "unavailable");
    sender.send(Message::End).await.unwrap();
    assert_eq!(long.await.unwrap().unwrap().inserted, 1500);
    assert_eq!(count(&client).await, 1500);
}

/// Whoever sends a file slowly keeps nobody from writing, whatever becomes of the file.
#[tokio::test]
async fn a_slow_sender_holds_no_lock() {
    served_on_both(async |client| {
        for (round, policy) in
            ["", "?on_conflict=skip", "?on_conflict=update"].into_iter().enumerate()
        {
            let titles = round * 10_000..round * 10_000 + 1500;
            let slow = begin(&client, "tester", policy, &rows(titles.clone())).await;
            let quick = rows(titles.end..titles.end + 1);
            for policy in ["", "?on_conflict=skip"] {
                let report = import(&client, policy, NDJSON, quick.as_bytes()).await;
                assert!([200, 400].contains(&report.status), "{report:?}");
            }
            let report = answer(slow).await;
            assert!(report.contains("\"created\":1500"), "{report}");
        }
    })
    .await;
}

/// A subject with two imports gets 429 for the third, while another subject still gets a place.
#[tokio::test]
async fn nobody_takes_all_places_for_imports() {
    let client = Client::of(Database::sqlite()).await;
    let dripping = client.with_token(Some(token_of("dripping", &["movies:write"])));
    let mut slow = Vec::new();
    until(async || {
        slow.push(begin(&client, "dripping", "?on_conflict=skip", &row("slow")).await);
        let answer = import(&dripping, "?on_conflict=skip", NDJSON, row("one").as_bytes()).await;
        answer.status == 429 && answer.problem(429, "too_many_requests")["detail"] != ""
    })
    .await;
    assert_eq!(import(&client, "", NDJSON, row("other").as_bytes()).await.status, 200);
}

/// A crowd of senders is told to come back, and leaves places for the next.
#[tokio::test]
async fn senders_beyond_the_places_are_told_to_come_back() {
    let client = Client::of(Database::sqlite()).await;
    let mut crowd = Vec::new();
    until(async || {
        let subject = format!("sender {}", crowd.len());
        crowd.push(begin(&client, &subject, "?on_conflict=skip", &row("slow")).await);
        let answer = import(&client, "?on_conflict=skip", NDJSON, row("one").as_bytes()).await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        answer.status == 503 && answer.problem(503, "unavailable")["detail"] != ""
    })
    .await;
    assert!(crowd.len() >= 8, "{} senders are a crowd", crowd.len());
    drop(crowd);
    until(async || import(&client, "?on_conflict=skip", NDJSON, b"").await.status == 200).await;
}

/// Asks for a path in a small window, so that the service cannot run far ahead of its reader.
async fn ask(client: &Client, version: &str, path: &str) -> tokio::net::TcpStream {
    let address = client.address().strip_prefix("http://").unwrap().parse().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let token = token(&["movies:read"]);
    let head = format!(
        "GET {path} HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// An answer whose table vanishes on the way ends without its end.
#[tokio::test]
async fn a_reader_sees_that_an_answer_broke_off() {
    served_on_both(async |client| {
        // More than the buffers of a connection hold.
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
                let mut answer = vec![0; 100];
                stream.read_exact(&mut answer).await.unwrap();
                assert!(answer.windows(4).any(|bytes| bytes == b" 200"));
                if vanishes {
                    let vanish = "ALTER TABLE movies RENAME TO elsewhere";
                    client.database().run_sql(vanish).await;
                }
                let end = stream.read_to_end(&mut answer).await;
                if vanishes {
                    let back = "ALTER TABLE elsewhere RENAME TO movies";
                    client.database().run_sql(back).await;
                }
                // In HTTP/1.0 the end of the connection is that of the answer, unless it is reset.
                let has_end = version == "1.0" || answer.ends_with(b"\r\n0\r\n\r\n");
                is_whole.push(end.is_ok() && has_end);
            }
            assert_eq!(is_whole, [false, false, true, true], "{path}");
        }
    })
    .await;
}
