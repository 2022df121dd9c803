//! Inspecting queries over HTTP: schema, check, explain and complete, on both databases.

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::http::specification;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use uuid::Uuid;

use crate::support::{Client, Database, Response, catalogue, served_on_both};

const CHECK: &str = "/api/v1/query/check";
const EXPLAIN: &str = "/api/v1/query/explain";
const COMPLETE: &str = "/api/v1/query/complete";

/// The operations on queries.
const OPERATIONS: &[&str] = &[CHECK, EXPLAIN, COMPLETE];

async fn ask(client: &Client, path: &str, query: &[(&str, &str)]) -> Response {
    client.send(client.request("GET", path).query(query)).await
}

#[track_caller]
fn succeed(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    response.json()
}

#[tokio::test]
async fn each_operation_needs_the_scope_of_its_collection() {
    served_on_both(async |client| {
        let reader = client.with_scopes(&["screenings:read"]);
        for path in OPERATIONS {
            let filter = ("filter", "film = 'x'");
            let of_screenings = [filter, ("collection", "screenings")];
            succeed(&ask(&reader, path, &of_screenings).await);
            for (client, status, code) in [
                (client.with_token(None), 401, "unauthenticated"),
                (client.with_scopes(&["screenings:write"]), 403, "insufficient_scope"),
                (client.with_scopes(&["movies:read"]), 403, "insufficient_scope"),
            ] {
                ask(&client, path, &of_screenings).await.problem(status, code);
            }
            // The default is movies.
            ask(&reader, path, &[filter]).await.problem(403, "insufficient_scope");

            let unknown = ask(&client, path, &[filter, ("collection", "screening")]).await;
            let problem = unknown.problem(400, "invalid_parameter");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("did you mean \"screenings\"?"), "{detail}");
            let strange = ask(&client, path, &[filter, ("fitler", "x")]).await;
            strange.problem(400, "invalid_parameter");
        }
    })
    .await;
}

/// A filter as long as the language allows, and one that is longer. Each operation reports that in its own way.
#[tokio::test]
async fn a_filter_has_a_limit_of_its_length() {
    let client = Client::of(Database::sqlite()).await;
    for (path, status, code) in
        [(CHECK, 200, ""), (EXPLAIN, 400, "invalid_query"), (COMPLETE, 400, "invalid_parameter")]
    {
        for more in [0, 1] {
            let filter = format!("title = '{}'", "x".repeat(8192 - 10 + more));
            let response = ask(&client, path, &[("filter", &filter)]).await;
            if more == 0 {
                succeed(&response);
            } else if status == 200 {
                assert_eq!(succeed(&response)["diagnostics"][0]["code"], "text_too_long");
            } else {
                let problem = response.problem(status, code);
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("expected at most 8192 bytes, found 8193"), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn the_schema_is_what_the_code_uses() {
    let client = Client::of(Database::sqlite()).await;
    client.with_token(None).get("/api/v1/schema").await.problem(401, "unauthenticated");
    let schema = succeed(&client.with_scopes(&[]).get("/api/v1/schema").await);
    let names = |list: &Value, member: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|item| item[member].clone()).collect()
    };
    assert_eq!(names(&schema["record_types"], "collection"), ["movies", "screenings"]);
    let movie = &schema["record_types"][0];
    assert_eq!(movie["natural_key"], json!(["title", "release_year"]));
    let fields = &movie["fields"];
    let expected = [
        "id",
        "title",
        "genre",
        "release_year",
        "expiry_date",
        "version",
        "created_at",
        "updated_at",
    ];
    assert_eq!(names(fields, "name"), expected);
    let operators = |more: &[&'static str]| {
        [&["=", "!=", "<", "<=", ">", ">=", "between", "in"], more].concat()
    };
    let (title, year) = (&fields[1], &fields[3]);
    assert_eq!(
        title,
        &json!({
            "name": "title",
            "description": "The title. Remakes share theirs: only title and year together identify a movie.",
            "type": "text", "nullable": false, "writable": true, "required": true,
            "example": "The Third Man", "min_length": 1, "max_length": 300,
            "operators": operators(&["contains", "starts with", "ends with", "is null"]),
        })
    );
    assert_eq!((&year["minimum"], &year["maximum"]), (&json!(1870), &json!(9999)));
    assert_eq!(year["operators"], json!(operators(&["is null"])));
    assert_eq!(fields[5]["minimum"], Value::Null);
    assert_eq!(
        schema["functions"],
        json!([
            {"name": "year", "takes": "date", "gives": "integer"},
            {"name": "month", "takes": "date", "gives": "integer"},
        ])
    );
    assert!(schema["keywords"].as_array().unwrap().contains(&json!("between")));
    assert_eq!(
        schema["limits"],
        json!({"text_bytes": 8192, "depth": 32, "predicates": 200, "in_items": 1000,
               "diagnostics": 20, "page": 1000})
    );
}

/// The tree with each position replaced by the text at that position.
fn quoted(tree: &Value, text: &str) -> Value {
    match tree {
        Value::Array(nodes) => nodes.iter().map(|node| quoted(node, text)).collect(),
        Value::Object(node) => {
            let mut node = node.clone();
            let [start, end] =
                ["start", "end"].map(|name| node.remove(name).and_then(|n| n.as_u64()));
            let mut shown: serde_json::Map<_, _> =
                node.iter().map(|(name, inner)| (name.clone(), quoted(inner, text))).collect();
            if let (Some(start), Some(end)) = (start, end) {
                let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
                shown.insert("at".to_owned(), json!(text[start..end]));
            }
            Value::Object(shown)
        }
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_valid_query_is_returned_with_its_parameters_and_its_tree() {
    let client = Client::of(Database::sqlite()).await;
    let filter = " not (hall IN ('É', $h) or subtitled) and year(sale_ends) = $y \
                  and sale_ends <= today + 30d and seats is not null ";
    let order_by = "seats DESC, film";
    let query = [("filter", filter), ("order_by", order_by), ("collection", "screenings")];
    let mut checked = succeed(&ask(&client, CHECK, &query).await);
    let tree = checked["ast"].take();
    let expected = json!({
        "collection": "screenings",
        "valid": true,
        "diagnostics": [],
        "warnings": [],
        "canonical": {
            "filter": "not (hall in ('É', $h) or subtitled) and year(sale_ends) = $y \
                       and sale_ends <= today + 30d and seats is not null",
            "order_by": "seats desc, film",
        },
        "parameters": [{"name": "h", "type": "text"}, {"name": "y", "type": "integer"}],
        "ast": null,
    });
    assert_eq!(checked, expected);
    let list = json!({
        "type": "predicate", "at": "hall IN ('É', $h)",
        "subject": {"type": "field", "at": "hall", "name": "hall"},
        "operator": {"at": "IN", "name": "in", "negated": false},
        "operands": [
            {"type": "text", "at": "'É'", "value": "É"},
            {"type": "parameter", "at": "$h", "name": "h"},
        ],
    });
    let flag = json!({
        "type": "predicate", "at": "subtitled",
        "subject": {"type": "field", "at": "subtitled", "name": "subtitled"},
    });
    let year = json!({
        "type": "predicate", "at": "year(sale_ends) = $y",
        "subject":
            {"type": "field", "at": "year(sale_ends)", "name": "sale_ends", "function": "year"},
        "operator": {"at": "=", "name": "=", "negated": false},
        "operands": [{"type": "parameter", "at": "$y", "name": "y"}],
    });
    let soon = json!({
        "type": "predicate", "at": "sale_ends <= today + 30d",
        "subject": {"type": "field", "at": "sale_ends", "name": "sale_ends"},
        "operator": {"at": "<=", "name": "<=", "negated": false},
        "operands": [{
            "type": "clock", "at": "today + 30d", "name": "today",
            "offset": {"count": 30, "unit": "d"},
        }],
    });
    let known = json!({
        "type": "predicate", "at": "seats is not null",
        "subject": {"type": "field", "at": "seats", "name": "seats"},
        "operator": {"at": "is not null", "name": "is null", "negated": true},
        "operands": [],
    });
    let either =
        json!({"type": "or", "at": "(hall IN ('É', $h) or subtitled)", "terms": [list, flag]});
    let neither =
        json!({"type": "not", "at": "not (hall IN ('É', $h) or subtitled)", "terms": [either]});
    let all = json!({"type": "and", "at": filter.trim(), "terms": [neither, year, soon, known]});
    assert_eq!(quoted(&tree["filter"], filter), all);
    let keys = json!([
        {"at": "seats DESC", "field": "seats", "direction": "desc"},
        {"at": "film", "field": "film", "direction": "asc"},
    ]);
    assert_eq!(quoted(&tree["order_by"], order_by), keys);
}

/// Filter, order, the codes of the diagnostics, and the members that are present anyway.
type Wrong =
    (Option<&'static str>, Option<&'static str>, &'static [&'static str], &'static [&'static str]);

const WRONG: &[Wrong] = &[
    (None, None, &[], &[]),
    (Some("genre = 'x'"), Some("title"), &[], &["filter", "order_by"]),
    (Some("gnre = 'x'"), None, &["unknown_field"], &["filter"]),
    (Some("genre = "), Some("title desc"), &["unexpected_token"], &["order_by"]),
    (Some("genre = 5"), Some("ttle"), &["type_mismatch", "unknown_field"], &["filter", "order_by"]),
    (Some(""), Some(" "), &["empty", "empty"], &[]),
    (Some("genre == 'x' && title"), None, &["foreign_operator", "foreign_operator"], &[]),
    (Some("genre = $g"), Some("title,"), &["unexpected_token"], &["filter"]),
];

#[tokio::test]
async fn an_invalid_query_returns_its_diagnostics() {
    let client = Client::of(Database::sqlite()).await;
    for (filter, order_by, codes, readable) in WRONG {
        let texts = [("filter", filter), ("order_by", order_by)];
        let query: Vec<(&str, &str)> =
            texts.iter().filter_map(|(name, text)| Some((*name, (**text)?))).collect();
        let checked = succeed(&ask(&client, CHECK, &query).await);
        let found: Vec<&str> = checked["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| problem["code"].as_str().unwrap())
            .collect();
        assert_eq!(
            (&found[..], &checked["valid"]),
            (*codes, &json!(codes.is_empty())),
            "{query:?}"
        );
        for member in ["canonical", "ast"] {
            let members: Vec<&String> = checked[member].as_object().unwrap().keys().collect();
            assert_eq!(members, *readable, "{query:?}");
        }
        // A search rejects it for the same reasons.
        if !codes.is_empty() {
            let rejected = client.search(&query).await.problem(400, "invalid_query");
            assert_eq!(rejected["diagnostics"], checked["diagnostics"]);
        }
    }
    // A wrong order hides neither the warning nor the parameters of the filter; values are ignored.
    let query = [
        ("filter", "genre = $g or genre = 'x' and title = 'y'"),
        ("order_by", "ttle"),
        ("p.unknown", "x"),
    ];
    let checked = succeed(&ask(&client, CHECK, &query).await);
    assert_eq!(checked["warnings"][0]["code"], "mixed_and_or");
    assert_eq!(checked["parameters"], json!([{"name": "g", "type": "text"}]));
}

/// Enough movies for an index to be used, and the statistics that PostgreSQL needs for that.
const MANY_MOVIES: [&str; 2] = [
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
     INSERT INTO movies SELECT randomblob(16), 'movie ' || n, 'movie ' || n, 'genre ' || (n % 50),
         'genre ' || (n % 50), 1900 + n % 120, date('2020-01-01', (n % 2000) || ' days'), 1,
         '2024-01-01T00:00:00.000000Z', '2024-01-01T00:00:00.000000Z' FROM n",
    "INSERT INTO movies SELECT gen_random_uuid(), 'movie ' || n, 'movie ' || n, 'genre ' || (n % 50),
         'genre ' || (n % 50), 1900 + n % 120, date '2020-01-01' + n % 2000, 1, now(), now()
         FROM generate_series(1, 5000) n;
     ANALYZE movies",
];

/// A filter, and the indexes that SQLite and PostgreSQL use for it.
const SERVED: &[(&str, &[&str], &[&str])] = &[
    (
        "genre = 'genre 7' and expiry_date between 2024-01-01 and 2024-06-30",
        &["PRIMARY KEY", "movies_genre_expiry_date"],
        &["movies_genre_expiry_date"],
    ),
    (
        "title starts with 'MOVIE 12'",
        &["PRIMARY KEY", "movies_title_folded"],
        &["movies_title_folded"],
    ),
    (
        "title = 'movie 7' and release_year = 1907",
        &["PRIMARY KEY", "movies_title_release_year"],
        &["movies_title_release_year"],
    ),
    (
        "title = 'movie 7' or release_year = 1907",
        &["PRIMARY KEY", "movies_title_release_year", "movies_release_year"],
        &["movies_title_release_year", "movies_release_year"],
    ),
    ("title contains 'movie' or genre ends with '7'", &["PRIMARY KEY"], &["movies_pkey"]),
    (
        "title contains 'MOVIE 4321'",
        &["PRIMARY KEY", "cinequery__movies__title__trigrams"],
        &["cinequery_movies_title_folded_trigram"],
    ),
];

#[tokio::test]
async fn an_explanation_lists_the_indexes_of_the_search() {
    served_on_both(async |client| {
        let is_sqlite = client.database().url().starts_with("sqlite");
        client.database().run_sql(MANY_MOVIES[usize::from(!is_sqlite)]).await;
        for (filter, in_sqlite, in_postgres) in SERVED {
            let explained = succeed(&ask(&client, EXPLAIN, &[("filter", filter)]).await);
            let expected = if is_sqlite { in_sqlite } else { in_postgres };
            assert_eq!(explained["indexes"], json!(expected), "{filter}\n{explained:#}");
        }
        let all = succeed(&ask(&client, EXPLAIN, &[]).await);
        let expected: &[&str] = if is_sqlite { &[] } else { &["movies_pkey"] };
        assert_eq!((&all["indexes"], &all["values"]), (&json!(expected), &json!([])), "{all:#}");
    })
    .await;
}

/// Runs the explained statement with its values, and returns the ids that it finds.
macro_rules! run {
    ($connection:ident, $url:expr, $explained:expr) => {{
        let sql = $explained["sql"].as_str().unwrap().to_owned();
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for bound in $explained["values"].as_array().unwrap() {
            let value = &bound["value"];
            let text = value.as_str().unwrap_or_default().to_owned();
            statement = match bound["type"].as_str().unwrap() {
                "text" => statement.bind(text),
                "integer" => statement.bind(value.as_i64().unwrap()),
                "boolean" => statement.bind(value.as_bool().unwrap()),
                "date" => statement.bind(text.parse::<NaiveDate>().unwrap()),
                "timestamp" => statement.bind(text.parse::<DateTime<Utc>>().unwrap()),
                "id" => statement.bind(text.parse::<Uuid>().unwrap()),
                other => panic!("{other}"),
            };
        }
        let mut connection = $connection::connect($url).await.unwrap();
        let rows = statement.fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get::<Uuid, _>("id").to_string()).collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn the_explained_statement_is_that_of_the_search() {
    served_on_both(async |client| {
        let mut ids = Vec::new();
        for number in 0..5 {
            let movie = json!({"title": format!("movie {number}"), "genre": "drama",
                "release_year": 2000 + number, "expiry_date": "2024-03-31"});
            ids.push(client.create(&movie).await["id"].as_str().unwrap().to_owned());
        }
        let filter = format!(
            "((genre in ('x', $g) or title ends with 'X')) and not expiry_date < 2024-01-01 \
             and release_year >= 2001 and created_at <= now and id != '{}' and year(expiry_date) = 2024",
            ids[2]
        );
        let query = [
            ("filter", filter.as_str()),
            ("order_by", "release_year desc"),
            ("limit", "2"),
            ("p.g", "drama"),
        ];
        let explained = succeed(&ask(&client, EXPLAIN, &query).await);
        let limits = [
            ("text_bytes", filter.len(), 8192),
            ("depth", 3, 32),
            ("predicates", 7, 200),
            ("in_items", 2, 1000),
        ];
        for (name, used, limit) in limits {
            assert_eq!(explained["limits"][name], json!({"used": used, "limit": limit}), "{name}");
        }
        let is_sqlite = client.database().url().starts_with("sqlite");
        let engine = if is_sqlite { "SQLite 3." } else { "PostgreSQL " };
        assert!(explained["engine"].as_str().unwrap().starts_with(engine), "{explained:#}");
        let found = client.search(&query).await;
        assert_eq!(found.column("id"), [ids[4].as_str(), &ids[3]]);
        // It reads one record more than a page, to find out whether another page follows.
        let url = client.database().url();
        let ran = if is_sqlite {
            run!(SqliteConnection, &url, explained)
        } else {
            run!(PgConnection, &url, explained)
        };
        assert_eq!(ran, [ids[4].as_str(), &ids[3], &ids[1]]);
        for text in ["drama", "2024", "2001", ids[2].as_str()] {
            assert!(!explained["sql"].as_str().unwrap().contains(text), "{explained:#}");
        }

        for (query, code) in [
            ([("filter", "genre = $g"), ("limit", "5")], "invalid_query"),
            ([("filter", "gnre = 'x'"), ("limit", "5")], "invalid_query"),
            ([("filter", "genre = 'x'"), ("p.g", "x")], "invalid_query"),
            ([("filter", "genre = 'x'"), ("limit", "1001")], "invalid_parameter"),
        ] {
            let rejected = ask(&client, EXPLAIN, &query).await.problem(400, code);
            let searched = client.search(&query).await.problem(400, code);
            assert_eq!(rejected["diagnostics"], searched["diagnostics"]);
        }
    })
    .await;
}

/// Genres, and the number of movies of each.
const GENRES: &[(&str, i64)] = &[
    ("drama", 3),
    ("Drame", 2),
    ("comedy", 4),
    ("it's \"odd\" \\ one", 1),
    ("été", 2),
    ("dr%", 1),
];

/// A filter with its caret `|`, the position that is replaced, and the first candidates.
const COMPLETED: &[(&str, (i64, i64), &[&str])] = &[
    ("genre = |", (8, 8), &["'comedy'", "'drama'", "'Drame'", "'été'", "'dr%'"]),
    ("genre = 'DR|", (8, 11), &["'drama'", "'Drame'", "'dr%'"]),
    ("genre = dr|", (8, 10), &["'drama'", "'Drame'", "'dr%'"]),
    ("genre = \"it'|", (8, 12), &["\"it's \\\"odd\\\" \\\\ one\""]),
    ("genre in ('x', 'É|t'", (15, 19), &["'été'"]),
    ("genre contains 'dr%|", (15, 19), &["'dr%'"]),
    ("genre = 'é' and g|", (16, 17), &["genre"]),
    ("genre = 'é' |", (12, 12), &["and", "or"]),
    ("g|", (0, 1), &["genre"]),
    ("genre = 'zz|", (8, 11), &[]),
    ("gnre = |", (7, 7), &[]),
];

#[tokio::test]
async fn a_filter_is_completed_with_existing_values() {
    served_on_both(async |client| {
        let mut year = 1900;
        for (genre, movies) in GENRES {
            for _ in 0..*movies {
                year += 1;
                let movie = json!({"title": "movie", "genre": genre, "release_year": year,
                    "expiry_date": "2024-03-31"});
                client.create(&movie).await;
            }
        }
        for (marked, (start, end), expected) in COMPLETED {
            let (before, after) = marked.split_once('|').unwrap();
            let filter = format!("{before}{after}");
            let caret = before.chars().count().to_string();
            let unit = ("position_encoding", "utf-32");
            let query = [("filter", filter.as_str()), ("caret", &caret), unit];
            let completed = succeed(&ask(&client, COMPLETE, &query).await);
            let texts: Vec<&str> = completed["candidates"]
                .as_array()
                .unwrap()
                .iter()
                .map(|candidate| candidate["text"].as_str().unwrap())
                .collect();
            let place = (completed["start"].as_i64().unwrap(), completed["end"].as_i64().unwrap());
            assert_eq!(place, (*start, *end), "{marked}: {completed}");
            let is_same = texts.len() >= expected.len() && texts[..expected.len()] == **expected;
            assert!(is_same && expected.is_empty() == texts.is_empty(), "{marked}: {completed}");
            // A suggested value is found.
            if filter.starts_with("genre =")
                && texts.iter().any(|text| text.starts_with(['\'', '"']))
            {
                let found = client.search(&[("filter", &format!("genre = {}", texts[0]))]).await;
                assert!(!found.column("id").is_empty(), "{marked}");
            }
        }
        let genre = succeed(&ask(&client, COMPLETE, &[("filter", "genre = 'com")]).await);
        let candidate = json!({"text": "'comedy'", "kind": "value", "detail": "text"});
        assert_eq!(genre["candidates"], json!([candidate]));
        let keyword = succeed(&ask(&client, COMPLETE, &[("filter", "genre = 'x' an")]).await);
        assert_eq!(keyword["candidates"], json!([{"text": "and", "kind": "keyword"}]));
        // An empty text is an unfinished filter.
        let first = succeed(&ask(&client, COMPLETE, &[]).await);
        let candidate = json!({"text": "id", "kind": "field", "detail": "id"});
        assert_eq!((&first["start"], &first["candidates"][0]), (&json!(0), &candidate));
        // The last three are inside of a character, of a surrogate pair, and after the end.
        for (filter, caret, unit) in [
            ("été", "-1", "utf-8"),
            ("été", "x", "utf-8"),
            ("été", "1", "utf-8"),
            ("😀", "1", "utf-16"),
            ("été", "4", "utf-32"),
        ] {
            let query = [("filter", filter), ("caret", caret), ("position_encoding", unit)];
            ask(&client, COMPLETE, &query).await.problem(400, "invalid_parameter");
        }
    })
    .await;
}

#[tokio::test]
async fn the_twenty_most_frequent_values_are_offered() {
    let client = Client::of(Database::sqlite()).await;
    client.database().run_sql(MANY_MOVIES[0]).await;
    let query = [("filter", "genre = 'GENRE 1")];
    let completed = succeed(&ask(&client, COMPLETE, &query).await);
    // Fifty genres are equally frequent, so they are ordered by their text.
    let texts = completed["candidates"].as_array().unwrap();
    assert_eq!((texts.len(), &texts[0]["text"]), (11, &json!("'genre 1'")));
    let all = succeed(&ask(&client, COMPLETE, &[("filter", "genre = '")]).await);
    assert_eq!(all["candidates"].as_array().unwrap().len(), 20);
}

const UNITS: [&str; 3] = ["utf-8", "utf-16", "utf-32"];

/// Returns the part of a text that a position encloses.
fn part(text: &str, unit: &str, place: &Value) -> String {
    let [start, end] =
        ["start", "end"].map(|name| usize::try_from(place[name].as_u64().unwrap()).unwrap());
    match unit {
        "utf-8" => text[start..end].to_owned(),
        "utf-16" => {
            let units: Vec<u16> = text.encode_utf16().collect();
            String::from_utf16(&units[start..end]).unwrap()
        }
        _ => text.chars().skip(start).take(end - start).collect(),
    }
}

/// All positions of a response are in the unit of the request: what they enclose is the same text.
#[tokio::test]
async fn positions_are_in_the_requested_unit() {
    let client = Client::of(Database::sqlite()).await;
    let (wrong, order) = ("title = '😀é' and gnre = 'x'", "title, yaer");
    let right = "title = '😀é' and not genre in ('é', 'x') or release_year = $y";
    for unit in UNITS {
        let unit_of = ("position_encoding", unit);
        let query = [("filter", wrong), ("order_by", order), unit_of];
        let check = succeed(&ask(&client, CHECK, &query).await);
        let [first, second] = [0, 1].map(|number| check["diagnostics"][number].clone());
        assert_eq!(part(wrong, unit, &first), "gnre", "{unit}: {check}");
        assert_eq!(part(wrong, unit, &first["suggestion"]), "gnre", "{unit}: {check}");
        assert_eq!(part(order, unit, &second), "yaer", "{unit}: {check}");
        let query = [("filter", right), ("order_by", "genre desc"), unit_of];
        let check = succeed(&ask(&client, CHECK, &query).await);
        let tree = &check["ast"]["filter"];
        let at = |pointer: &str| part(right, unit, tree.pointer(pointer).unwrap());
        assert_eq!(at(""), right);
        assert_eq!(at("/terms/0/terms/0/operands/0"), "'😀é'");
        assert_eq!(at("/terms/0/terms/1/terms/0/operator"), "in");
        assert_eq!(at("/terms/0/terms/1/terms/0/operands/1"), "'x'");
        assert_eq!(at("/terms/1/subject"), "release_year");
        assert_eq!(part("genre desc", unit, &check["ast"]["order_by"][0]), "genre desc");
        assert!(!part(right, unit, &check["warnings"][0]).is_empty(), "{check}");
        let caret = match unit {
            "utf-8" => wrong.len(),
            "utf-16" => wrong.encode_utf16().count(),
            _ => wrong.chars().count(),
        };
        let (caret, unfinished) = (caret.to_string(), format!("{wrong} and re"));
        let query = [("filter", &*unfinished), unit_of];
        let completion = succeed(&ask(&client, COMPLETE, &query).await);
        assert_eq!(part(&unfinished, unit, &completion), "re");
        let query = [("filter", wrong), ("caret", &*caret), unit_of];
        succeed(&ask(&client, COMPLETE, &query).await);
    }
    ask(&client, CHECK, &[("position_encoding", "bytes")]).await.problem(400, "invalid_parameter");
}

/// Requests with a filter: the method, the path, and whether the filter is in the body. `ID` is the id of a movie.
const WITH_FILTER: &[(&str, &str, bool)] = &[
    ("GET", "/api/v1/movies", false),
    ("POST", "/api/v1/movies/search", true),
    ("GET", "/api/v1/movies/ID/match", false),
    ("GET", "/api/v1/movies/facets?by=genre", false),
    ("GET", "/api/v1/movies/export", false),
    ("GET", "/api/v1/changes", false),
    ("GET", EXPLAIN, false),
    ("PATCH", "/api/v1/movies?expect=0", false),
    ("PATCH", "/api/v1/movies?dry_run=true", false),
    ("DELETE", "/api/v1/movies?expect=0", false),
    ("POST", "/api/v1/queries/movies", true),
    ("PUT", "/api/v1/queries/movies/saved", true),
];

#[tokio::test]
async fn every_operation_with_diagnostics_has_positions_in_the_requested_unit() {
    let client = Client::of(Database::sqlite()).await;
    let movie = json!({"title": "😀é", "genre": "drama", "release_year": 1999, "expiry_date": "2030-01-01"});
    let id = client.create(&movie).await["id"].as_str().unwrap().to_owned();
    let right = "title = '😀é' or genre = 'drama' and release_year > $y";
    let saved = json!({"name": "saved", "filter": right});
    assert_eq!(client.post("/api/v1/queries/movies", &saved).await.status, 201);
    let ask = async |method: &str, path: &str, unit: &str, query: &[(&str, &str)], body: &Value| {
        let request = client.request(method, &path.replace("ID", &id));
        let request = request.query(&[("position_encoding", unit)]).query(query);
        let request = request.header("if-match", "*");
        client.send(if method == "GET" { request } else { request.json(body) }).await
    };
    let wrong = "title = '😀é' and gnre = 'x'";
    for unit in UNITS {
        for (method, path, is_body) in WITH_FILTER {
            let name = format!("{method} {path} {unit}");
            let in_query = [("filter", wrong)];
            let in_query = if *is_body { &[][..] } else { &in_query };
            let body = match *path {
                "/api/v1/movies/search" => json!({"filter": wrong}),
                _ if *is_body => json!({"name": "other", "filter": wrong}),
                _ => json!({"genre": "comedy"}),
            };
            let problem = ask(method, path, unit, in_query, &body).await;
            let problem = problem.problem(400, "invalid_query");
            let diagnostic = &problem["diagnostics"][0];
            assert_eq!(part(wrong, unit, diagnostic), "gnre", "{name}");
            assert_eq!(part(wrong, unit, &diagnostic["suggestion"]), "gnre", "{name}");
        }
        // The second of several filters, the order and a value have texts of their own.
        let list = "/api/v1/movies";
        let two = [("filter", "title = '😀😀'"), ("filter", wrong), ("order_by", "title, yaer")];
        let problem = ask("GET", list, unit, &two, &Value::Null).await;
        let problem = problem.problem(400, "invalid_query");
        let [filter, order] = [0, 1].map(|number| &problem["diagnostics"][number]);
        assert_eq!(filter["parameter"], "filter[2]");
        assert_eq!(part(wrong, unit, filter), "gnre");
        assert_eq!(part("title, yaer", unit, order), "yaer");
        let results = "/api/v1/queries/movies/saved/results";
        for (method, path, query, body) in [
            ("GET", list, &[("filter", "release_year = $y"), ("p.y", "😀é")][..], json!({})),
            ("GET", results, &[("p.y", "😀é")], json!({})),
            ("POST", results, &[], json!({"parameters": {"y": "😀é"}})),
        ] {
            let problem = ask(method, path, unit, query, &body).await;
            let problem = problem.problem(400, "invalid_query");
            assert_eq!(part("😀é", unit, &problem["diagnostics"][0]), "😀é", "{method} {path}");
        }
        // Warnings, and the tests of `match`.
        let query = [("filter", right), ("p.y", "1900")];
        let body = json!({"filter": right, "parameters": {"y": 1900}});
        let of_saved = json!({"parameters": {"y": 1900}});
        for (method, path, query, body) in [
            ("GET", list, &query[..], &Value::Null),
            ("GET", "/api/v1/movies/facets?by=genre", &query, &Value::Null),
            ("GET", "/api/v1/movies/ID/match", &query, &Value::Null),
            ("POST", "/api/v1/movies/search", &[], &body),
            ("GET", results, &query[1..], &Value::Null),
            ("POST", results, &[], &of_saved),
        ] {
            let found = succeed(&ask(method, path, unit, query, body).await);
            let warned = part(right, unit, &found["warnings"][0]);
            assert_eq!(warned, right, "{method} {path} {unit}: {found}");
            if path.ends_with("match") {
                assert_eq!(part(right, unit, &found["tests"][1]), "genre = 'drama'", "{found}");
            }
        }
        // A query that was valid when it was saved.
        let outdated = "UPDATE saved_queries SET filter = 'title = ''😀é'' and gnre = ''x'''";
        client.database().run_sql(outdated).await;
        let one = "/api/v1/queries/movies/saved";
        let read = succeed(&ask("GET", one, unit, &[], &Value::Null).await);
        let listed = succeed(&ask("GET", "/api/v1/queries/movies", unit, &[], &Value::Null).await);
        let run = ask("GET", results, unit, &[], &Value::Null).await;
        let run = run.problem(409, "query_outdated");
        for query in [&read, &listed["items"][0], &run] {
            assert_eq!(part(wrong, unit, &query["diagnostics"][0]), "gnre", "{query}");
        }
        assert_eq!(ask("PUT", one, unit, &[], &saved).await.status, 200);
    }
}

/// The document has the parameter wherever a response can have diagnostics.
#[test]
fn every_operation_with_diagnostics_accepts_a_unit() {
    let document = specification(catalogue());
    let mut count = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let text = operation.to_string();
            let parts = ["invalid_query", "query_outdated", "/QueryCheck\"", "/SavedQuery"];
            let has_diagnostics = parts.iter().any(|part| text.contains(part));
            let is_legacy = operation["tags"] == json!(["legacy"]);
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let accepts = parameters.into_iter().any(|it| it["name"] == "position_encoding");
            let expected = has_diagnostics && !is_legacy || path == COMPLETE;
            assert_eq!(accepts, expected, "{method} {path}");
            count += usize::from(accepts);
        }
    }
    assert!(count > 20, "{count}");
}
