//! The routes of records, on both databases.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::command_line::{Service, folder_of};
use crate::support::{Client, on_both, served_on_both, token, token_of};

const JSON: &str = "application/json";
const PATCH: &str = "application/merge-patch+json";

fn movie(title: &str) -> Value {
    json!({"title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2024-03-31"})
}

#[tokio::test]
async fn a_record_is_created_read_changed_and_deleted() {
    served_on_both(async |client| {
        let created = client.post("/api/v1/movies", &movie("Ame\u{301}lie")).await;
        assert_eq!((created.status, created.header("etag")), (201, "\"1\""));
        let path = created.location();
        let record = created.json();
        assert_eq!(record["title"], "Am\u{e9}lie");
        assert_eq!(record["created_at"], record["updated_at"]);
        assert_eq!(path, format!("/api/v1/movies/{}", record["id"].as_str().unwrap()));

        let read = client.get(&path).await;
        assert_eq!((read.status, read.json(), read.header("etag")), (200, record.clone(), "\"1\""));

        let replaced = client.change("PUT", &path, JSON, Some("\"1\""), &movie("Amelie")).await;
        assert_eq!((replaced.status, replaced.header("etag")), (200, "\"2\""));
        assert_eq!(replaced.json()["title"], "Amelie");
        assert_eq!(replaced.json()["created_at"], record["created_at"]);
        assert_ne!(replaced.json()["updated_at"], record["updated_at"]);

        let patched =
            client.change("PATCH", &path, PATCH, Some("\"2\""), &json!({"genre": "comedy"})).await;
        assert_eq!((patched.status, patched.header("etag")), (200, "\"3\""));
        let patched = patched.json();
        assert_eq!((&patched["genre"], &patched["title"]), (&json!("comedy"), &json!("Amelie")));
        assert_eq!(client.get(&path).await.json(), patched);
        // The folded column is updated too.
        let found = client.search(&[("filter", "genre contains 'COMEDY'")]).await;
        assert_eq!(found.column("title"), ["Amelie"]);

        let deleted = client.send(client.request("DELETE", &path)).await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
        client.get(&path).await.problem(404, "not_found");
        client.send(client.request("DELETE", &path)).await.problem(404, "not_found");
        let gone = client.change("PUT", &path, JSON, Some("*"), &movie("x")).await;
        gone.problem(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn conditional_requests_compare_versions() {
    served_on_both(async |client| {
        let created = client.post("/api/v1/movies", &movie("One")).await;
        let path = created.location();
        let change = async |method: &str, tag: Option<&str>| {
            let media_type = if method == "PATCH" { PATCH } else { JSON };
            client.change(method, &path, media_type, tag, &movie("Two")).await
        };
        for method in ["PUT", "PATCH"] {
            change(method, None).await.problem(428, "precondition_required");
            for stale in [
                "\"0\"", "\"99\"", "W/\"2\"", "W/\"01\"", "\"01\"", "\"+1\"", "\"x\"", "\"\"",
                "\"a,1\"", ",\"0\",,",
            ] {
                change(method, Some(stale)).await.problem(412, "precondition_failed");
            }
            for malformed in ["1", "", ",", "\"1", "*, \"1\"", "\"1\" \"1\"", "w/\"1\""] {
                change(method, Some(malformed)).await.problem(400, "invalid_parameter");
            }
        }
        assert_eq!(client.get(&path).await.header("etag"), "\"1\"");
        // A proxy that compresses makes a tag weak. It is accepted, also in a list.
        assert_eq!(change("PUT", Some("\"7\", W/\"1\"")).await.status, 200);
        // The movie has these values already, so it keeps its version.
        assert_eq!(change("PATCH", Some("\"7\", \"2\"")).await.status, 200);
        assert_eq!(change("PUT", Some("*")).await.header("etag"), "\"2\"");
        // Several header fields are one list.
        let two =
            client.request("DELETE", &path).header("if-match", "\"1\"").header("if-match", "2");
        client.send(two).await.problem(400, "invalid_parameter");
        let stale = client.request("DELETE", &path).header("if-match", "\"1\"");
        client.send(stale).await.problem(412, "precondition_failed");

        let malformed = client.request("GET", &path).header("if-none-match", "3");
        client.send(malformed).await.problem(400, "invalid_parameter");
        for (tags, status) in
            [("\"2\"", 304), ("W/\"2\"", 304), ("\"1\", \"2\"", 304), ("*", 304), ("\"4\"", 200)]
        {
            let read =
                client.send(client.request("GET", &path).header("if-none-match", tags)).await;
            assert_eq!((read.status, read.header("etag")), (status, "\"2\""), "{tags}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_of_many_writers_with_the_same_version_succeeds() {
    served_on_both(async |client| {
        let created = client.post("/api/v1/movies", &movie("Race")).await;
        let path = created.location();
        let attempts = (0..16).map(|number| {
            let body = json!({"genre": format!("genre {number}")});
            let (client, path) = (&client, &path);
            async move { client.change("PATCH", path, PATCH, Some("\"1\""), &body).await.status }
        });
        let mut statuses = futures_util::future::join_all(attempts).await;
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (200, &[412; 15][..]));
        assert_eq!(client.get(&path).await.header("etag"), "\"2\"");
    })
    .await;
}

#[tokio::test]
async fn title_and_year_are_unique() {
    served_on_both(async |client| {
        let path = |record: &Value| format!("/api/v1/movies/{}", record["id"].as_str().unwrap());
        client.create(&movie("Same")).await;
        let problem = client.post("/api/v1/movies", &movie("Same")).await.problem(409, "duplicate");
        assert!(problem["detail"].as_str().unwrap().contains("title, release_year"), "{problem}");
        // A title that differs only in its Unicode composition is the same title.
        client.create(&movie("\u{e9}")).await;
        client.post("/api/v1/movies", &movie("e\u{301}")).await.problem(409, "duplicate");
        let mut remake = movie("Same");
        remake["release_year"] = json!(2020);
        let remake = client.create(&remake).await;
        let year = json!({"release_year": 2001});
        let response = client.change("PATCH", &path(&remake), PATCH, Some("*"), &year).await;
        response.problem(409, "duplicate");
    })
    .await;
}

/// An invalid body, and its invalid members.
fn invalid_records() -> Vec<(Value, &'static [&'static str])> {
    let with = |member: &str, value: Value| {
        let mut movie = movie("x");
        movie[member] = value;
        movie
    };
    vec![
        (json!({}), &["/title", "/genre", "/release_year", "/expiry_date"]),
        (with("title", json!("")), &["/title"]),
        (with("title", json!("x".repeat(301))), &["/title"]),
        (with("title", json!("a\nb")), &["/title"]),
        (with("title", json!("a\u{0}b")), &["/title"]),
        (with("title", json!("a\u{85}b")), &["/title"]),
        (with("title", Value::Null), &["/title"]),
        (with("title", json!(5)), &["/title"]),
        (with("genre", json!("x".repeat(101))), &["/genre"]),
        (with("genre", json!(["drama"])), &["/genre"]),
        (with("release_year", json!(1869)), &["/release_year"]),
        (with("release_year", json!(10000)), &["/release_year"]),
        (with("release_year", json!("2000")), &["/release_year"]),
        (with("release_year", json!(2000.5)), &["/release_year"]),
        (with("release_year", json!(1e22)), &["/release_year"]),
        (with("release_year", json!(-2e-3)), &["/release_year"]),
        (with("release_year", json!(18_446_744_073_709_551_615_u64)), &["/release_year"]),
        (with("expiry_date", json!("2024-02-30")), &["/expiry_date"]),
        (with("expiry_date", json!("2024-1-1")), &["/expiry_date"]),
        (with("expiry_date", json!("2024-01-01T00:00:00Z")), &["/expiry_date"]),
        (with("expiry_date", json!("0000-01-01")), &["/expiry_date"]),
        (with("expiry_date", json!(20240101)), &["/expiry_date"]),
        (with("id", json!("x")), &["/id"]),
        (with("version", json!(1)), &["/version"]),
        (with("a/b~c", json!(1)), &["/a~1b~0c"]),
    ]
}

#[tokio::test]
async fn an_invalid_record_is_rejected_with_all_broken_rules() {
    served_on_both(async |client| {
        for (body, expected) in invalid_records() {
            let problem = client.post("/api/v1/movies", &body).await.problem(400, "invalid_record");
            let found: Vec<&str> = problem["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["pointer"].as_str().unwrap())
                .collect();
            assert_eq!(found, expected, "{body}");
        }
        let extremes = [
            ("x", 1870, "0001-01-01"),
            ("\u{1F3AC}".repeat(300).as_str(), 9999, "9999-12-31"),
        ]
        .map(|(title, year, date)| {
            json!({"title": title, "genre": "g", "release_year": year, "expiry_date": date})
        });
        for extreme in extremes {
            let created = client.create(&extreme).await;
            for (member, value) in extreme.as_object().unwrap() {
                assert_eq!(&created[member], value);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_search_counts_pages_and_links() {
    served_on_both(async |client| {
        for number in 0..5 {
            client.create(&movie(&format!("Movie {number}"))).await;
        }
        let filter = ("filter", "genre = $g");
        let page = client
            .search(&[
                filter,
                ("p.g", "drama"),
                ("limit", "2"),
                ("count", "exact"),
                ("order_by", "title desc"),
            ])
            .await;
        assert_eq!(page.column("title"), ["Movie 4", "Movie 3"]);
        assert_eq!(page.json()["total"], 5);
        let page = client.get(&page.next().unwrap()).await;
        assert_eq!(page.column("title"), ["Movie 2", "Movie 1"]);
        let page = client.get(&page.next().unwrap()).await;
        assert_eq!((page.column("title"), page.header("link")), (vec![json!("Movie 0")], ""));
        assert_eq!((&page.json()["next_cursor"], &page.json()["total"]), (&Value::Null, &json!(5)));

        // The same search with a body. A cursor works with GET and with POST.
        let body = json!({"filter": "genre = $g", "parameters": {"g": "drama"}, "limit": 2,
                          "order_by": "title desc", "count": "exact"});
        let posted = client.post("/api/v1/movies/search", &body).await;
        assert_eq!(posted.column("title"), ["Movie 4", "Movie 3"]);
        let cursor = posted.json()["next_cursor"].as_str().unwrap().to_owned();
        let page = client
            .search(&[filter, ("p.g", "drama"), ("order_by", "title  DESC"), ("cursor", &cursor)])
            .await;
        assert_eq!(page.column("title"), ["Movie 2", "Movie 1", "Movie 0"]);

        let plain = client.get("/api/v1/movies").await;
        assert_eq!((plain.column("title").len(), plain.header("link")), (5, ""));
        let one = client.get("/api/v1/movies?limit=1").await;
        assert!(one.header("link").starts_with("<?limit=1&cursor="), "{one:?}");
    })
    .await;
}

#[tokio::test]
async fn an_example_filter_finds_movies_and_warnings_are_returned() {
    served_on_both(async |client| {
        client.create(&movie("In time")).await;
        let mut late = movie("Late");
        late["expiry_date"] = json!("2024-07-01");
        client.create(&late).await;
        let example = r#"genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30"#;
        let page = client.search(&[("filter", example)]).await;
        assert_eq!(
            (page.column("title"), &page.json()["warnings"]),
            (vec![json!("In time")], &json!([]))
        );
        let mixed = "title = 'x' or genre = 'drama' and release_year = 2001";
        let page = client.search(&[("filter", mixed), ("order_by", "title")]).await;
        assert_eq!(page.column("title"), ["In time", "Late"]);
        assert_eq!(page.json()["warnings"][0]["code"], "mixed_and_or");
        let soon = client.search(&[("filter", "expiry_date < today")]).await;
        assert!(soon.json()["as_of"].is_string());
    })
    .await;
}

#[tokio::test]
async fn a_second_record_type_has_the_same_operations() {
    served_on_both(async |client| {
        let screening = json!({"film": "Alien", "starts_at": "2024-05-01T20:00:00Z", "seats": 80});
        let created = client.post("/api/v1/screenings", &screening).await;
        assert_eq!((created.status, &created.json()["hall"]), (201, &Value::Null));
        let path = created.location();
        let patch = json!({"hall": "Blue", "seats": null});
        let patched = client.change("PATCH", &path, PATCH, Some("\"1\""), &patch).await;
        assert_eq!(
            (&patched.json()["hall"], &patched.json()["seats"]),
            (&json!("Blue"), &Value::Null)
        );
        let body = json!({"filter": "seats is null and hall starts with 'b'"});
        let found = client.post("/api/v1/screenings/search", &body).await;
        assert_eq!(found.column("film"), ["Alien"]);
        let only_movies = client.with_scopes(&["movies:read", "movies:write"]);
        only_movies.get("/api/v1/screenings").await.problem(403, "insufficient_scope");
    })
    .await;
}

/// Ids sort by time of creation, even within a millisecond.
#[tokio::test]
async fn ids_increase() {
    served_on_both(async |client: Client| {
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(client.create(&movie(&number.to_string())).await["id"].clone());
        }
        let titles: Vec<Value> = (0..20).map(|number| json!(number.to_string())).collect();
        assert_eq!(client.get("/api/v1/movies").await.column("title"), titles);
        assert!(ids.is_sorted_by_key(|id| id.as_str().unwrap().to_owned()));
    })
    .await;
}

/// A cursor is part of a URL and contains the values by which its page is ordered, so it has a maximum length.
#[tokio::test]
async fn a_cursor_that_is_too_long_is_rejected() {
    const PAPERS: &str = "name = \"Paper\"\ncollection = \"papers\"\n[fields.text]\ntype = \"text\"\n\
                          length = [1, 20000]\n[fields.rank]\ntype = \"integer\"\n";
    let records = folder_of(&[("papers.toml", PAPERS)]);
    on_both(async |database| {
        let service = Service::with_records(records.path(), &database);
        let client = Client::at(service.address.clone());
        let client = client.with_token(Some(token(&["papers:read", "papers:write"])));
        for (rank, length) in [(1, 20_000), (2, 20_000), (3, 1000)] {
            let paper = json!({"text": "x".repeat(length), "rank": rank});
            assert_eq!(client.post("/api/v1/papers", &paper).await.status, 201);
        }
        let page = async |query: &str| client.get(&format!("/api/v1/papers?limit=1&{query}")).await;
        let problem = page("order_by=text%20desc").await.problem(400, "invalid_parameter");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("too long for a cursor; order by a shorter field"), "{detail}");
        // Cursors of another order, or of a page that ends with a short text, are short enough.
        for query in ["order_by=rank", "order_by=text"] {
            let first = page(query).await;
            assert_eq!(first.column("rank").len(), 1, "{query}");
            assert!(first.next().is_some(), "{query}");
        }
        // The service returns no cursor of this length.
        let cursor = "x".repeat(20_000);
        page(&format!("cursor={cursor}")).await.problem(400, "invalid_cursor");
    })
    .await;
}

/// As in JSON Schema, a number without a fraction is an integer, however it is written.
#[tokio::test]
async fn integers_may_be_written_with_a_fraction_or_an_exponent() {
    served_on_both(async |client| {
        for (number, expected) in [
            ("2024.0", Ok(2024)),
            ("2e3", Ok(2000)),
            ("20240e-1", Ok(2024)),
            ("2024.5", Err("a number with a fraction")),
            ("1e22", Err("a number that is too large")),
            ("9007199254740993.0", Err("a number that is too large")),
            // Each digit counts, although it is read as a float.
            ("8777061105079385.0", Err("found 8777061105079385")),
            ("18446744073709551616", Err("a number that is too large")),
        ] {
            let body = format!(
                r#"{{"title":"{number}","genre":"drama","release_year":{number},"expiry_date":"2030-01-01"}}"#
            );
            let create = client.request("POST", "/api/v1/movies");
            let create = create.header("content-type", "application/json").body(body);
            let response = client.send(create).await;
            match expected {
                Ok(year) => assert_eq!(response.json()["release_year"], year, "{number}: {response:?}"),
                Err(found) => {
                    let problem = response.problem(400, "invalid_record");
                    assert!(problem.to_string().contains(found), "{number}: {problem}");
                }
            }
        }
    })
    .await;
}

/// A client can send back what it got. The fields that it cannot write must be unchanged.
#[tokio::test]
async fn what_was_read_can_be_sent_back() {
    served_on_both(async |client| {
        let path = client.post("/api/v1/movies", &movie("One")).await.location();
        let read = client.get(&path).await.json();
        let put = async |body: &Value| client.change("PUT", &path, JSON, Some("\"1\""), body).await;
        let same = put(&read).await;
        assert_eq!((same.status, same.json()), (200, read.clone()));
        for (field, value) in [
            ("id", json!("01890a5d-ac96-774b-bcce-b302099a8057")),
            ("version", json!(2)),
            ("version", json!("1")),
            ("created_at", Value::Null),
            ("updated_at", json!("2024-01-01T00:00:00Z")),
        ] {
            let mut other = read.clone();
            other[field] = value;
            let problem = put(&other).await.problem(400, "invalid_record");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
        }
        let mut renamed = read.clone();
        renamed["title"] = json!("Two");
        assert_eq!(put(&renamed).await.header("etag"), "\"2\"");
        // Its version is another one now.
        put(&renamed).await.problem(412, "precondition_failed");
        // A record that is created has no values to compare with.
        client.post("/api/v1/movies", &read).await.problem(400, "invalid_record");
    })
    .await;
}

/// On SQLite such writes share a transaction. Each has its own outcome, also if others of its group fail.
#[tokio::test]
async fn concurrent_writes_have_their_own_outcomes() {
    served_on_both(async |client| {
        let movie = |title: &str| {
            json!({"title": title, "genre": "g", "release_year": 2001, "expiry_date": "2024-03-31"})
        };
        let path = client.post("/api/v1/movies", &movie("changed")).await.location();
        let writes = (0..60).map(|n| {
            // Of several users, because each has a share of the database.
            let scopes = ["movies:read", "movies:write"];
            let client = client.with_token(Some(token_of(&format!("user-{}", n % 7), &scopes)));
            let path = path.clone();
            async move {
                let response = match n % 3 {
                    0 => client.post("/api/v1/movies", &movie(&format!("own {n}"))).await,
                    1 => client.post("/api/v1/movies", &movie(&format!("shared {}", n % 4))).await,
                    _ => {
                        let patch = json!({"genre": format!("g{n}")});
                        client.change("PATCH", &path, "application/json", Some("\"1\""), &patch).await
                    }
                };
                (n % 3, response.status)
            }
        });
        let outcomes = join_all(writes).await;
        let count = |kind: usize, status: u16| {
            outcomes.iter().filter(|outcome| **outcome == (kind, status)).count()
        };
        assert_eq!((count(0, 201), count(1, 201), count(1, 409)), (20, 4, 16), "{outcomes:?}");
        assert_eq!((count(2, 200), count(2, 412)), (1, 19), "{outcomes:?}");
        let page = client.search(&[("count", "exact")]).await.json();
        assert_eq!(page["total"], 25);
        let changes = client.get("/api/v1/changes?limit=1000").await.json();
        assert_eq!(changes["items"].as_array().unwrap().len(), 26);
    })
    .await;
}
