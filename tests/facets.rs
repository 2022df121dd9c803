//! Facets over HTTP: counts, and the messages for invalid requests.

use cinequery::app::facets::{FacetsRequest, facets as count};
use cinequery::app::search::SearchRequest;
use cinequery::app::selection::Selection;
use cinequery::query::{Field, Type};
use serde_json::{Value, json};

use crate::support::declaration::{declare, field, insert};
use crate::support::records::search_in;
use crate::support::{Client, Response, identity, on_both, served_on_both};

const FACETS: &str = "/api/v1/movies/facets";

async fn catalogue(client: &Client) {
    for (title, genre, year, expiry) in [
        ("Alien", "horror", 1979, "2024-01-31"),
        ("Brazil", "drama", 1985, "2024-02-01"),
        ("Charade", "comedy", 1963, "2024-02-29"),
        ("Duel", "drama", 1971, "2025-12-31"),
        ("Elf", "comedy", 2003, "2024-02-10"),
        ("Fargo", "drama", 1996, "2023-07-01"),
    ] {
        let movie =
            json!({"title": title, "genre": genre, "release_year": year, "expiry_date": expiry});
        client.create(&movie).await;
    }
}

async fn facets(client: &Client, query: &[(&str, &str)]) -> Response {
    client.send(client.request("GET", FACETS).query(query)).await
}

#[tokio::test]
async fn values_are_counted() {
    served_on_both(async |client| {
        catalogue(&client).await;
        let check = async |query: &[(&str, &str)], expected: Value| {
            let response = facets(&client, query).await;
            assert_eq!((response.status, response.json()), (200, expected), "{query:?}");
        };
        let item = |value: &str, count: i64| {
            let filter = format!("genre = '{value}'");
            json!({"value": value, "count": count, "filter": filter})
        };
        let nothing = json!({"values": 0, "count": 0});
        check(
            &[("by", "genre")],
            json!({
                "by": "genre", "total": 6, "rest": nothing, "warnings": [],
                "items": [item("drama", 3), item("comedy", 2), item("horror", 1)],
            }),
        )
        .await;
        check(
            &[("by", "genre"), ("limit", "1"), ("filter", "title > $t"), ("p.t", "B")],
            json!({
                "by": "genre", "total": 5, "rest": {"values": 1, "count": 2}, "warnings": [],
                "items": [item("drama", 3)],
            }),
        )
        .await;
        check(
            &[("by", "expiry_date"), ("interval", "quarter"), ("filter", "genre = 'drama'")],
            json!({
                "by": "expiry_date", "interval": "quarter", "total": 3, "rest": nothing, "warnings": [],
                "items": [
                    {"value": "2023-07-01", "count": 1,
                     "filter": "expiry_date between 2023-07-01 and 2023-09-30"},
                    {"value": "2024-01-01", "count": 1,
                     "filter": "expiry_date between 2024-01-01 and 2024-03-31"},
                    {"value": "2025-10-01", "count": 1,
                     "filter": "expiry_date between 2025-10-01 and 2025-12-31"},
                ],
            }),
        )
        .await;
        check(
            &[("by", "release_year"), ("interval", "25"), ("limit", "2")],
            json!({
                "by": "release_year", "interval": "25", "total": 6, "warnings": [],
                "rest": {"values": 1, "count": 1},
                "items": [
                    {"value": 1950, "count": 2, "filter": "release_year between 1950 and 1974"},
                    {"value": 1975, "count": 3, "filter": "release_year between 1975 and 1999"},
                ],
            }),
        )
        .await;
        check(
            &[("by", "title"), ("filter", "genre = 'none'")],
            json!({"by": "title", "total": 0, "rest": nothing, "warnings": [], "items": []}),
        )
        .await;

        let filter = "genre = 'none' or genre = 'drama' and expiry_date < today + 9y";
        let response = facets(&client, &[("by", "id"), ("filter", filter)]).await.json();
        assert_eq!(response["warnings"][0]["code"], "mixed_and_or");
        assert!(response["as_of"].is_string());
        // Each id is counted once.
        let items = response["items"].as_array().unwrap();
        assert_eq!((items.len(), response["total"].as_i64()), (3, Some(3)));
        for item in items {
            let found = client.search(&[("filter", item["filter"].as_str().unwrap())]).await;
            assert_eq!(found.column("id"), [item["value"].clone()]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_field_without_a_value_is_counted_last() {
    served_on_both(async |client| {
        for (film, hall, subtitled, starts_at) in [
            ("Alien", Some("Blue"), None, "2024-12-31T23:30:00-01:00"),
            ("Brazil", None, Some(true), "2024-12-31T23:59:59.999999Z"),
            ("Charade", None, Some(false), "2024-12-30T00:00:00Z"),
        ] {
            let screening =
                json!({"film": film, "hall": hall, "subtitled": subtitled, "starts_at": starts_at});
            assert_eq!(client.post("/api/v1/screenings", &screening).await.status, 201);
        }
        let check = async |query: &str, expected: Value| {
            let response = client.get(&format!("/api/v1/screenings/facets?{query}")).await;
            assert_eq!(response.json()["items"], expected, "{query}");
        };
        check(
            "by=hall",
            json!([
                {"value": null, "count": 2, "filter": "hall is null"},
                {"value": "Blue", "count": 1, "filter": "hall = 'Blue'"},
            ]),
        )
        .await;
        check(
            "by=subtitled",
            json!([
                {"value": false, "count": 1, "filter": "subtitled = false"},
                {"value": true, "count": 1, "filter": "subtitled = true"},
                {"value": null, "count": 1, "filter": "subtitled is null"},
            ]),
        )
        .await;
        check(
            "by=sale_ends&interval=week",
            json!([
                {"value": null, "count": 3, "filter": "sale_ends is null"},
            ]),
        )
        .await;
        check("by=starts_at&interval=year", json!([
            {"value": "2024-01-01", "count": 2,
             "filter": "starts_at >= 2024-01-01T00:00:00Z and starts_at < 2025-01-01T00:00:00Z"},
            {"value": "2025-01-01", "count": 1,
             "filter": "starts_at >= 2025-01-01T00:00:00Z and starts_at < 2026-01-01T00:00:00Z"},
        ]))
        .await;
        check("by=starts_at&interval=week", json!([
            {"value": "2024-12-30", "count": 3,
             "filter": "starts_at >= 2024-12-30T00:00:00Z and starts_at < 2025-01-06T00:00:00Z"},
        ]))
        .await;
    })
    .await;
}

/// `serve` starts even if records have values outside a narrower range.
#[tokio::test]
async fn values_outside_a_narrowed_range_have_filters_that_find_them() {
    let bounded = |high| {
        let size = Field { bounds: 0..=high, ..field("size", Type::Integer) };
        declare("things", vec![size], &[], &[])
    };
    let (wide, narrow) = (bounded(i64::MAX), bounded(100));
    on_both(async |database| {
        let store = database.open().await;
        store.migrate(&[wide]).await.unwrap();
        for size in ["7", "3000000000", "3000000009", "9223372036854775807"] {
            insert(&database, wide, &[("size", size)]).await.unwrap();
        }
        store.migrate(&[narrow]).await.unwrap();
        let caller = identity(&["things:read"]);
        for interval in [None, Some("decade"), Some("9223372036854775807")] {
            let request = FacetsRequest {
                by: "size".to_owned(),
                interval: interval.map(str::to_owned),
                ..FacetsRequest::default()
            };
            let counted = count(&store, &caller, narrow, request).await.unwrap();
            assert_eq!(counted.total, 4);
            for item in counted.items {
                let selection = Selection::filter(item.filter.as_str());
                let request = SearchRequest { selection, ..SearchRequest::default() };
                let found = search_in::<Value>(&store, &caller, narrow, request).await;
                let found = found.unwrap_or_else(|error| panic!("{}: {error:?}", item.filter));
                assert_eq!(found.items.len(), usize::try_from(item.count).unwrap(), "{item:?}");
            }
        }
    })
    .await;
}

/// Query string, code, and a part of the message.
const REJECTED: &[(&str, &str, &str)] = &[
    ("", "invalid_parameter", "missing query parameter \"by\""),
    ("by=", "invalid_parameter", "by: unknown field \"\"; expected one of: id, title"),
    ("by=gnre", "invalid_parameter", "by: unknown field \"gnre\"; did you mean \"genre\"?"),
    ("by=genre&by=title", "invalid_parameter", "repeated query parameter \"by\""),
    ("by=genre&order_by=title", "invalid_parameter", "unknown query parameter \"order_by\""),
    ("by=genre&cursor=x", "invalid_parameter", "unknown query parameter \"cursor\""),
    (
        "by=genre&limit=0",
        "invalid_parameter",
        "limit: expected an integer from 1 to 1000, found \"0\"",
    ),
    ("by=genre&limit=1001", "invalid_parameter", "from 1 to 1000"),
    (
        "by=genre&interval=year",
        "invalid_parameter",
        "interval: expected none for \"genre\", a text",
    ),
    ("by=id&interval=1", "invalid_parameter", "interval: expected none for \"id\", an id"),
    (
        "by=release_year&interval=year",
        "invalid_parameter",
        "interval: expected one of decade, century, a width from 1 to 9223372036854775807 for \
         \"release_year\", an integer, found \"year\"",
    ),
    ("by=release_year&interval=", "invalid_parameter", "expected one of decade"),
    ("by=release_year&interval=0", "invalid_parameter", "expected one of decade"),
    ("by=release_year&interval=-5", "invalid_parameter", "expected one of decade"),
    ("by=release_year&interval=%2B5", "invalid_parameter", "expected one of decade"),
    ("by=release_year&interval=1.5", "invalid_parameter", "expected one of decade"),
    ("by=release_year&interval=9223372036854775808", "invalid_parameter", "expected one of decade"),
    (
        "by=expiry_date&interval=decade",
        "invalid_parameter",
        "interval: expected one of day, week, month, quarter, year for \"expiry_date\", a date, found \
         \"decade\"",
    ),
    (
        "by=created_at&interval=hour",
        "invalid_parameter",
        "for \"created_at\", a timestamp, found \"hour\"",
    ),
    ("by=created_at&interval=Month", "invalid_parameter", "expected one of day, week"),
    ("by=genre&filter=", "invalid_query", ""),
    ("by=genre&filter=gnre%20=%20'x'", "invalid_query", "unknown field \"gnre\""),
    ("by=genre&filter=genre%20=%20$g", "invalid_query", "expected a text for `$g`, found no value"),
    ("by=genre&p.g=x", "invalid_query", "unknown parameter \"g\""),
];

#[tokio::test]
async fn invalid_facets_are_rejected_with_a_reason() {
    served_on_both(async |client| {
        for (query, code, part) in REJECTED {
            println!("{query}");
            let problem = client.get(&format!("{FACETS}?{query}")).await.problem(400, code);
            assert!(problem["detail"].as_str().unwrap().contains(part), "{query}: {problem}");
            assert_eq!(problem["diagnostics"].is_array(), *code == "invalid_query", "{problem}");
        }
    })
    .await;
}
