//! The legacy routes, as clients of the previous service use them.

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::support::{Client, Response, served_on_both};

/// The movies in the database, in order of creation.
fn movies() -> Vec<Value> {
    [
        ("Alien", "horror", 1979, "2024-01-05"),
        ("Aliens", "action", 1986, "2024-02-29"),
        ("The Kid", "comedy", 1921, "2024-03-31"),
        ("The Kid", "western", 1978, "2025-12-31"),
        ("Ünder 100%", "Drama", 2000, "9999-12-31"),
    ]
    .map(|(title, genre, release_year, expiry_date)| {
        json!({"title": title, "genre": genre, "release_year": release_year,
               "expiry_date": expiry_date})
    })
    .into()
}

/// Sends a request with a JSON body, or without a body if it is null.
async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Response {
    let request = client.request(method, path);
    client.send(if body.is_null() { request } else { request.json(body) }).await
}

/// Creates all movies.
async fn create_movies(client: &Client) {
    for movie in movies() {
        let created = send(client, "POST", "/api", &movie).await;
        assert_eq!((created.status, created.json()), (200, movie));
    }
}

/// Asserts that the response is a problem document with `msg`, and returns it.
#[track_caller]
fn assert_problem(response: &Response, status: u16, code: &str, part: &str) -> Value {
    let problem = response.problem(status, code);
    let msg = problem["msg"].as_str().unwrap_or_default();
    assert!(msg.to_lowercase().contains(&part.to_lowercase()), "{part:?} is not in {problem}");
    assert_eq!(problem["detail"], msg);
    problem
}

/// Path, body, and the indexes in `movies` of the expected movies.
type Search = (&'static str, Value, &'static [usize]);

fn searches() -> Vec<Search> {
    let none = Value::Null;
    vec![
        ("/api", none.clone(), &[0, 1, 2, 3, 4]),
        ("/api/", none.clone(), &[0, 1, 2, 3, 4]),
        ("/api", json!({"anything": "is ignored"}), &[0, 1, 2, 3, 4]),
        // Any, some, all or none of the fields.
        ("/api/search", none.clone(), &[0, 1, 2, 3, 4]),
        ("/api/search", json!({}), &[0, 1, 2, 3, 4]),
        ("/api/search", json!({"title": null, "genre": ""}), &[0, 1, 2, 3, 4]),
        ("/api/search?title=", none.clone(), &[0, 1, 2, 3, 4]),
        ("/api/search", json!({"title": "alien"}), &[0, 1]),
        ("/api/search", json!({"title": "ÜNDER"}), &[4]),
        ("/api/search?title=100%25", none.clone(), &[4]),
        ("/api/search?title=_", none.clone(), &[]),
        ("/api/search?genre=DRAMA", none.clone(), &[4]),
        ("/api/search?genre=r", none.clone(), &[0, 3, 4]),
        ("/api/search", json!({"release_year": 2000}), &[4]),
        ("/api/search", json!({"release_year": 2000.0}), &[4]),
        ("/api/search", json!({"release_year": "2000"}), &[4]),
        ("/api/search?release_year=2000.0", none.clone(), &[4]),
        ("/api/search?release_year=200", none.clone(), &[]),
        ("/api/search", json!({"expiry_date": "2024-01-05"}), &[0]),
        ("/api/search?expiry_date=2024/1/5", none.clone(), &[0]),
        ("/api/search", json!({"expiry_date": "2024-01-05T23:59:59+09:00"}), &[0]),
        ("/api/search?expiry_date=2024-01-06", none.clone(), &[]),
        ("/api/search", json!({"title": "kid", "genre": "west"}), &[3]),
        ("/api/search?genre=west", json!({"title": "kid"}), &[3]),
        (
            "/api/search?title=kid&release_year=1921&genre=comedy&expiry_date=2024-03-31",
            none.clone(),
            &[2],
        ),
        ("/api/search?title=kid&release_year=1922", none.clone(), &[]),
        // The filter language, with parameters and in addition to fields.
        ("/api/search?filter=release_year+%3C+1980", none.clone(), &[0, 2, 3]),
        ("/api/search?filter=release_year+%3C+%24y&p.y=1979&title=kid", none.clone(), &[2, 3]),
        (
            "/api/search",
            json!({"filter": "genre = 'horror' or genre = 'action'", "title": "s"}),
            &[1],
        ),
        // Both days are included.
        ("/api/expiredMovies?from=2024-01-05&to=2024-03-31", none.clone(), &[0, 1, 2]),
        ("/api/expiredMovies?from=2024-01-06&to=2024-03-30", none.clone(), &[1]),
        ("/api/expiredMovies", json!({"from": "2024/2/29", "to": "2024-02-29"}), &[1]),
        ("/api/expiredMovies?from=2024-01-01", json!({"to": "2024-01-31T00:00:00"}), &[0]),
        ("/api/expiredMovies?from=0001-01-01&to=9999-12-31", none, &[0, 1, 2, 3, 4]),
    ]
}

#[tokio::test]
async fn searches_return_the_same_movies_as_before() {
    served_on_both(async |client| {
        let list = |movies: &[Value]| json!({ "movies": movies });
        assert_eq!(client.get("/api").await.json(), list(&[]));
        assert_eq!(client.get("/api/search?title=x").await.json(), list(&[]));
        create_movies(&client).await;
        let movies = movies();
        for (path, body, positions) in searches() {
            println!("GET {path} {body}");
            let response = send(&client, "GET", path, &body).await;
            assert_eq!(response.status, 200, "{response:?}");
            let expected: Vec<Value> = positions.iter().map(|at| movies[*at].clone()).collect();
            assert_eq!(response.json(), list(&expected));
            assert_eq!(response.header("content-type"), "application/json");
        }
    })
    .await;
}

/// Method, path, body, status, code, and a part of `msg`.
type Rejected = (&'static str, &'static str, Value, u16, &'static str, &'static str);

fn rejected_requests() -> Vec<Rejected> {
    let none = Value::Null;
    let full = |name: &str, value: Value| {
        let mut movie = json!({"title": "New", "genre": "drama", "release_year": 2001,
                               "expiry_date": "2024-01-05"});
        movie[name] = value;
        movie
    };
    let (parameter, record, body) = ("invalid_parameter", "invalid_record", "invalid_body");
    vec![
        // All four fields are required, and not null or empty. The first missing one is named.
        ("POST", "/api", none.clone(), 400, parameter, "title is missing"),
        ("POST", "/api", json!({}), 400, parameter, "title is missing"),
        ("POST", "/api", json!({"title": "x"}), 400, parameter, "genre is missing"),
        ("POST", "/api?title=x&genre=y", none.clone(), 400, parameter, "expiry_date is missing"),
        (
            "POST",
            "/api",
            full("expiry_date", none.clone()),
            400,
            parameter,
            "expiry_date is missing",
        ),
        ("POST", "/api", full("title", json!("")), 400, parameter, "title is missing"),
        ("POST", "/api", full("genre", none.clone()), 400, parameter, "genre is missing"),
        ("POST", "/api", full("genre", json!(7)), 400, parameter, "genre must be a text"),
        ("POST", "/api", full("stars", json!(3)), 400, parameter, "stars is not a parameter"),
        ("POST", "/api", full("id", json!("x")), 400, parameter, "id is not a parameter"),
        ("POST", "/api", full("release_year", json!(2000.5)), 400, parameter, "whole number"),
        ("POST", "/api", full("release_year", json!("next")), 400, parameter, "whole number"),
        ("POST", "/api", full("release_year", json!(true)), 400, parameter, "whole number"),
        ("POST", "/api", full("release_year", json!(1e300)), 400, parameter, "whole number"),
        ("POST", "/api", full("release_year", json!(9_999_999_999_i64)), 400, parameter, "32 bits"),
        ("POST", "/api", full("release_year", json!(1492)), 400, record, "from 1870 to 9999"),
        (
            "POST",
            "/api",
            full("expiry_date", json!("2024-02-30")),
            400,
            parameter,
            "must be a date",
        ),
        ("POST", "/api", full("expiry_date", json!(20240105)), 400, parameter, "must be a date"),
        ("POST", "/api", full("title", json!("a\u{0}b")), 400, parameter, "U+0000"),
        ("POST", "/api", full("title", json!("a\nb")), 400, record, "control character"),
        ("POST", "/api", full("title", json!("x".repeat(301))), 400, record, "1 to 300"),
        ("POST", "/api?title=x", full("title", json!("x")), 400, parameter, "in the body and in"),
        ("POST", "/api?titel=x", none.clone(), 400, parameter, "did you mean \"title\""),
        ("POST", "/api?title=x&title=y", none.clone(), 400, parameter, "repeated"),
        ("POST", "/api", json!([1]), 400, body, "JSON object"),
        ("POST", "/api", movies()[0].clone(), 400, record, "exists"),
        // Delete.
        ("DELETE", "/api", none.clone(), 400, parameter, "title is missing"),
        ("DELETE", "/api", json!({"title": null}), 400, parameter, "title is missing"),
        ("DELETE", "/api?title=Unknown", none.clone(), 400, parameter, "no movie"),
        ("DELETE", "/api?title=alien", none.clone(), 400, parameter, "no movie"),
        ("DELETE", "/api", json!({"title": "Alien", "release_year": 1980}), 400, parameter, "1980"),
        ("DELETE", "/api", json!({"title": "Alien", "genre": "x"}), 400, parameter, "genre is not"),
        // Search.
        ("GET", "/api/search", json!({"titel": "x"}), 400, parameter, "did you mean \"title\""),
        ("GET", "/api/search?release_year=soon", none.clone(), 400, parameter, "whole number"),
        ("GET", "/api/search?expiry_date=soon", none.clone(), 400, parameter, "must be a date"),
        ("GET", "/api/search?title=%00", none.clone(), 400, parameter, "U+0000"),
        ("GET", "/api/search", json!({"title": "x".repeat(9000)}), 400, parameter, "8192 bytes"),
        ("GET", "/api/search?filter=gnre+%3D+1", none.clone(), 400, "invalid_query", "gnre"),
        ("GET", "/api/search?p.x=1", none.clone(), 400, "invalid_query", "unknown parameter \"x\""),
        // Expired.
        ("GET", "/api/expiredMovies", none.clone(), 400, parameter, "from is missing"),
        (
            "GET",
            "/api/expiredMovies?from=2024-01-01",
            none.clone(),
            400,
            parameter,
            "to is missing",
        ),
        (
            "GET",
            "/api/expiredMovies",
            json!({"to": "2024-01-01"}),
            400,
            parameter,
            "from is missing",
        ),
        (
            "GET",
            "/api/expiredMovies?from=2024-01-02&to=2024-01-01",
            none.clone(),
            400,
            parameter,
            "later",
        ),
        (
            "GET",
            "/api/expiredMovies?from=x&to=2024-01-01",
            none.clone(),
            400,
            parameter,
            "from must be",
        ),
        // Unknown parameters and methods.
        ("GET", "/api?limit=5", none.clone(), 400, parameter, "unknown query parameter"),
        ("PUT", "/api", none.clone(), 405, "method_not_allowed", "expected one of: "),
        ("PATCH", "/api/", none.clone(), 405, "method_not_allowed", "expected one of: "),
        ("POST", "/api/search", none, 405, "method_not_allowed", "expected one of: "),
    ]
}

#[tokio::test]
async fn errors_are_reported_as_before() {
    served_on_both(async |client| {
        create_movies(&client).await;
        for (method, path, body, status, code, part) in rejected_requests() {
            println!("{method} {path} {body}");
            assert_problem(&send(&client, method, path, &body).await, status, code, part);
        }
        assert_eq!(client.get("/api").await.json(), json!({ "movies": movies() }));
    })
    .await;
}

/// A body that is not JSON, with any media type.
#[tokio::test]
async fn bodies_that_are_not_json_are_rejected() {
    served_on_both(async |client| {
        let cases = [
            ("", "title=x", "missing JSON"),
            ("text/plain", "{}", "missing JSON"),
            ("application/x-www-form-urlencoded", "title=x&genre=y", "missing JSON"),
            ("application/json", "{", "expected a complete JSON object, found the end"),
            ("application/json", r#"{"title":"a","title":"b"}"#, "repeated"),
        ];
        for (method, path) in [
            ("POST", "/api"),
            ("DELETE", "/api"),
            ("GET", "/api/search"),
            ("GET", "/api/expiredMovies"),
            ("POST", "/api/token"),
        ] {
            for (media_type, body, part) in cases {
                // A form is an OAuth 2.0 request on this route.
                if path == "/api/token" && media_type.ends_with("form-urlencoded") {
                    continue;
                }
                let mut request = client.request(method, path).body(body);
                if !media_type.is_empty() {
                    request = request.header(CONTENT_TYPE, media_type);
                }
                println!("{method} {path} {media_type} {body}");
                // The body of this route is parsed into a struct, with other error messages.
                let part = if path == "/api/token" && part == "repeated" { "" } else { part };
                assert_problem(&client.send(request).await, 400, "invalid_body", part);
            }
        }
        for body in [Value::Null, json!({}), json!({"username": null})] {
            let part = if body.is_null() { "missing JSON" } else { "username" };
            let response = send(&client, "POST", "/api/token", &body).await;
            let part = if body == json!({"username": null}) { "" } else { part };
            assert_problem(&response, 400, "invalid_body", part);
        }
    })
    .await;
}

#[tokio::test]
async fn authentication_comes_before_body_and_media_type() {
    served_on_both(async |client| {
        let anonymous = client.with_token(None);
        let reader = client.with_scopes(&["movies:read"]);
        for (method, path, writes) in [
            ("GET", "/api", false),
            ("GET", "/api/", false),
            ("POST", "/api", true),
            ("DELETE", "/api/", true),
            ("GET", "/api/search", false),
            ("GET", "/api/expiredMovies", false),
        ] {
            let request = |client: &Client| {
                client.request(method, path).header(CONTENT_TYPE, "text/plain").body("?")
            };
            let response = anonymous.send(request(&anonymous)).await;
            assert_problem(&response, 401, "unauthenticated", "Authorization");
            if writes {
                let response = reader.send(request(&reader)).await;
                assert_problem(&response, 403, "insufficient_scope", "movies:write");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_movie_is_created_and_deleted_from_body_or_query_string() {
    served_on_both(async |client| {
        let movie = json!({"title": "New", "genre": "drama", "release_year": 2001,
                           "expiry_date": "2024-01-05"});
        let in_query = "/api/?title=New&genre=drama&release_year=2001.0&expiry_date=2024/1/5";
        let http_date = json!({"title": "New", "genre": "drama", "release_year": 2001.0,
                               "expiry_date": "Fri, 05 Jan 2024 00:00:00 GMT"});
        for (path, body) in [("/api", movie.clone()), (in_query, Value::Null), ("/api", http_date)]
        {
            let created = send(&client, "POST", path, &body).await;
            assert_eq!((created.status, created.json()), (200, movie.clone()));
            let deleted = send(&client, "DELETE", "/api?title=New", &Value::Null).await;
            assert_eq!((deleted.status, deleted.json()), (200, movie.clone()));
            assert_eq!(client.get("/api").await.json(), json!({"movies": []}));
        }
    })
    .await;
}

#[tokio::test]
async fn deleting_an_ambiguous_title_deletes_nothing() {
    served_on_both(async |client| {
        create_movies(&client).await;
        let response = send(&client, "DELETE", "/api", &json!({"title": "The Kid"})).await;
        let problem = assert_problem(&response, 409, "ambiguous", "1921, 1978");
        assert_eq!(problem["records"], json!([movies()[2], movies()[3]]));
        assert_eq!(client.get("/api").await.json()["movies"].as_array().unwrap().len(), 5);
        let narrowed = json!({"title": "The Kid", "release_year": 1921.0});
        let response = send(&client, "DELETE", "/api", &narrowed).await;
        assert_eq!((response.status, response.json()), (200, movies()[2].clone()));
        let response = send(&client, "DELETE", "/api/?title=The+Kid", &Value::Null).await;
        assert_eq!((response.status, response.json()), (200, movies()[3].clone()));
    })
    .await;
}

/// Many clients delete the same movie at the same time, and one succeeds.
#[tokio::test]
async fn a_movie_is_deleted_once() {
    served_on_both(async |client| {
        create_movies(&client).await;
        let body = json!({"title": "Alien"});
        let deletions = (0..8).map(|_| send(&client, "DELETE", "/api", &body));
        let responses = futures_util::future::join_all(deletions).await;
        let done = responses.iter().filter(|response| response.status == 200).count();
        assert_eq!(done, 1);
        assert!(responses.iter().all(|response| [200, 400].contains(&response.status)));
    })
    .await;
}

/// A list is complete, also if the service reads it in several pages.
#[tokio::test]
async fn a_list_of_any_length_is_complete() {
    served_on_both(async |client| {
        for count in [1, 999, 1, 1000] {
            let rows: String = (0..count)
                .map(|number| {
                    let title = format!("{} {number}", uuid::Uuid::now_v7());
                    json!({"title": title, "genre": "g", "release_year": 2000,
                           "expiry_date": "2024-01-05"})
                    .to_string()
                        + "\n"
                })
                .collect();
            let request = client.request("POST", "/api/v1/movies/import");
            let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(rows);
            assert_eq!(client.send(request).await.status, 200);
            let list = client.get("/api").await.json();
            let total = client.search(&[("count", "exact"), ("limit", "1")]).await.json();
            assert_eq!(list["movies"].as_array().unwrap().len() as u64, total["total"]);
        }
    })
    .await;
}

/// A response to HEAD has no `Content-Length` for a list, because that would require generating the list.
#[tokio::test]
async fn head_of_a_list_does_not_generate_it() {
    served_on_both(async |client| {
        create_movies(&client).await;
        let head = client.send(client.request("HEAD", "/api")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-type"), "application/json");
        assert!(!head.headers.contains_key("content-length"));
    })
    .await;
}
