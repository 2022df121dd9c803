//! Several `filter` parameters of one request, on both databases.

use serde_json::{Value, json};

use crate::support::{Client, served_on_both};

const MOVIES: &str = "/api/v1/movies";

async fn catalogue(client: &Client) {
    for (title, genre, year) in
        [("Alien", "horror", 1979), ("Brazil", "drama", 1985), ("Duel", "drama", 1971)]
    {
        let movie = json!({
            "title": title, "genre": genre, "release_year": year, "expiry_date": "2024-01-31",
        });
        client.create(&movie).await;
    }
}

#[tokio::test]
async fn they_are_joined_by_and() {
    served_on_both(async |client| {
        catalogue(&client).await;
        let check = async |query: &[(&str, &str)], expected: &[&str]| {
            let found = client.search(query).await;
            assert_eq!(found.column("title"), expected, "{query:?}");
        };
        check(&[("filter", "genre = 'drama'"), ("filter", "release_year < 1980")], &["Duel"]).await;
        // Each is a condition of its own: an `or` in one does not reach into the others.
        let either = "title = 'Alien' or title = 'Duel'";
        check(&[("filter", either), ("filter", "genre = 'drama'")], &["Duel"]).await;
        check(&[("filter", "genre = 'drama'"), ("filter", either)], &["Duel"]).await;
        let values = [("p.g", "drama"), ("p.y", "1980")];
        let filters = [("filter", "genre = $g"), ("filter", "release_year > $y")];
        check(&[filters, values].concat(), &["Brazil"]).await;
        // The pages of several filters are those of one.
        let (two, one) = (
            [("filter", "genre = 'drama'"), ("filter", "title != 'Alien'"), ("limit", "1")],
            [("filter", "genre = 'drama' and title != 'Alien'"), ("limit", "1")],
        );
        let cursor = client.search(&two).await.json()["next_cursor"].clone();
        let cursor = [("cursor", cursor.as_str().unwrap())];
        let (second, same) = (
            client.search(&[&two[..], &cursor].concat()).await,
            client.search(&[&one[..], &cursor].concat()).await,
        );
        assert_eq!(second.column("title"), ["Duel"]);
        assert_eq!(second.json()["items"], same.json()["items"]);

        // Other operations on a selection have them too.
        let drama_of_the_seventies =
            [("filter", "genre = 'drama'"), ("filter", "release_year < 1980")];
        let query =
            |more: &[(&'static str, &'static str)]| [&drama_of_the_seventies[..], more].concat();
        let send = async |method: &str, path: &str, query: Vec<(&str, &str)>| {
            client.send(client.request(method, path).query(&query)).await
        };
        let facets = send("GET", &format!("{MOVIES}/facets"), query(&[("by", "genre")])).await;
        assert_eq!(facets.json()["total"], 1);
        let export = send("GET", &format!("{MOVIES}/export"), query(&[])).await;
        assert_eq!(String::from_utf8_lossy(&export.body).lines().count(), 1);
        let changes = send("GET", "/api/v1/changes", query(&[])).await.json();
        assert_eq!(changes["items"].as_array().unwrap().len(), 1);
        let explained = send("GET", "/api/v1/query/explain", query(&[])).await.json();
        assert_eq!(explained["limits"]["predicates"]["used"], 2);
        let deleted = send("DELETE", MOVIES, query(&[("expect", "1")])).await;
        assert_eq!((deleted.status, &deleted.json()["written"]), (200, &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn each_diagnostic_names_its_own() {
    let client = Client::of(crate::support::Database::sqlite()).await;
    let check = async |filters: &[&str], expected: &[(&str, &str, usize, usize)]| {
        let query: Vec<(&str, &str)> = filters.iter().map(|filter| ("filter", *filter)).collect();
        let problem = client.search(&query).await.problem(400, "invalid_query");
        let found: Vec<(String, String, usize, usize)> = problem["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|diagnostic| {
                let text = |name: &str| diagnostic[name].as_str().unwrap().to_owned();
                let number =
                    |name: &str| usize::try_from(diagnostic[name].as_u64().unwrap()).unwrap();
                (text("code"), text("parameter"), number("start"), number("end"))
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(code, name, start, end)| ((*code).to_owned(), (*name).to_owned(), *start, *end))
            .collect();
        assert_eq!(found, expected, "{filters:?}");
    };
    check(&["gnre = 'a'"], &[("unknown_field", "filter", 0, 4)]).await;
    check(
        &["gnre = 'a'", "title = 'b'", "genre = 'c' and yr = 1"],
        &[("unknown_field", "filter[1]", 0, 4), ("unknown_field", "filter[3]", 16, 18)],
    )
    .await;
    // A text that cannot be parsed does not hide the problems of the others.
    check(
        &["(title = 'b'", "yr = 1"],
        &[("unbalanced_parenthesis", "filter[1]", 0, 1), ("unknown_field", "filter[2]", 0, 2)],
    )
    .await;
    // Half of a parenthesis in each is no parenthesis.
    check(
        &["(title = 'b'", "genre = 'c')"],
        &[
            ("unbalanced_parenthesis", "filter[1]", 0, 1),
            ("unbalanced_parenthesis", "filter[2]", 11, 12),
        ],
    )
    .await;
    check(&["title = 'b'", ""], &[("empty", "filter[2]", 0, 0)]).await;
    // One type of a parameter in all of them.
    check(&["title = $p", "release_year = $p"], &[("conflicting_parameter", "filter[2]", 15, 17)])
        .await;
    check(&["title = 'b'", "release_year = $p"], &[("missing_parameter", "filter[2]", 15, 17)])
        .await;
    let day = "expiry_date > today + 9999y";
    check(&["title = 'b'", day], &[("out_of_range", "filter[2]", 14, 27)]).await;
    // The limits are those of all filters together.
    let half = vec!["release_year = 1"; 150].join(" or ");
    check(&[&half, &half], &[("too_many_predicates", "filter[2]", 0, half.len())]).await;
    let query = vec![("filter", "("); 20];
    let problem = client.search(&query).await.problem(400, "invalid_query");
    assert_eq!(problem["diagnostics"].as_array().unwrap().len(), 20);
    let query = vec![("filter", "title = 'a'"); 21];
    client.search(&query).await.problem(400, "invalid_parameter");
    let long = format!("title = '{}'", "x".repeat(6000));
    check(&[&long, &long], &[("text_too_long", "filter[2]", 0, long.len())]).await;
}

#[tokio::test]
async fn suggestions_are_for_the_filter_that_they_change() {
    let client = Client::of(crate::support::Database::sqlite()).await;
    let filters = [("filter", "title = 'é'"), ("filter", "gnre = 'a' && release_year = '1999'")];
    let problem = client.search(&filters).await.problem(400, "invalid_query");
    let corrected = problem["diagnostics"].as_array().unwrap().iter().fold(
        filters[1].1.to_owned(),
        |text, diagnostic| {
            assert_eq!(diagnostic["parameter"], "filter[2]");
            apply(&text, &diagnostic["suggestion"])
        },
    );
    assert_eq!(corrected, "gnre = 'a' and release_year = '1999'");
    let filters = [filters[0], ("filter", corrected.as_str())];
    let problem = client.search(&filters).await.problem(400, "invalid_query");
    let diagnostics = problem["diagnostics"].as_array().unwrap();
    // From the end, so that the places before stay the same.
    let corrected = diagnostics
        .iter()
        .rev()
        .fold(corrected.clone(), |text, diagnostic| apply(&text, &diagnostic["suggestion"]));
    assert_eq!(corrected, "genre = 'a' and release_year = 1999");
}

/// Applies a suggestion to a text.
fn apply(text: &str, suggestion: &Value) -> String {
    let place = |name: &str| usize::try_from(suggestion[name].as_u64().unwrap()).unwrap();
    let (start, end) = (place("start"), place("end"));
    format!("{}{}{}", &text[..start], suggestion["text"].as_str().unwrap(), &text[end..])
}

#[tokio::test]
async fn operations_about_one_text_take_one() {
    let client = Client::of(crate::support::Database::sqlite()).await;
    let query = [("filter", "title = 'a'"), ("filter", "title = 'b'")];
    let id = "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50";
    for path in ["/api/v1/query/check", "/api/v1/query/complete", &format!("{MOVIES}/{id}/match")] {
        let response = client.send(client.request("GET", path).query(&query)).await;
        let problem = response.problem(400, "invalid_parameter");
        assert!(problem["detail"].as_str().unwrap().contains("repeated"), "{problem}");
    }
    let query = [("filter", "title = 'a'"), ("limit", "1"), ("limit", "2")];
    client.search(&query).await.problem(400, "invalid_parameter");
}
