//! `match` for one record, and `why=true` for searches without a result, on both databases.

use serde_json::{Value, json};

use crate::support::{Client, served_on_both};

const SCREENINGS: &str = "/api/v1/screenings";

async fn fill(client: &Client) -> Vec<Value> {
    let mut created = Vec::new();
    for (film, hall, seats, subtitled) in [
        ("Alpha", Some("Blue"), Some(100), Some(true)),
        ("Beta", Some("blue"), Some(50), None),
        ("Straße", Some("Red"), None, Some(false)),
        ("Gamma", None, Some(0), Some(true)),
    ] {
        let screening = json!({
            "film": film, "hall": hall, "seats": seats, "subtitled": subtitled,
            "starts_at": "2024-01-01T20:00:00Z",
        });
        let response = client.post(SCREENINGS, &screening).await;
        assert_eq!(response.status, 201, "{response:?}");
        created.push(response.json());
    }
    created
}

#[tokio::test]
async fn each_condition_of_a_filter_is_evaluated_for_one_record() {
    served_on_both(async |client| {
        let screenings = fill(&client).await;
        let evaluate = async |number: usize, query: &[(&str, &str)]| {
            let path = format!("{SCREENINGS}/{}/match", screenings[number]["id"].as_str().unwrap());
            client.send(client.request("GET", &path).query(query)).await
        };
        let filter = "hall = $h and (seats > 10 or not subtitled) and year(sale_ends) = 2024";
        let query = [("filter", filter), ("p.h", "Blue")];
        for (number, verdict, verdicts) in [
            (0, "unknown", ["true", "true", "true", "unknown"]),
            (1, "false", ["false", "true", "unknown", "unknown"]),
            (2, "false", ["false", "unknown", "false", "unknown"]),
            (3, "false", ["unknown", "false", "true", "unknown"]),
        ] {
            let found = evaluate(number, &query).await.json();
            assert_eq!(found["verdict"], verdict, "{number}: {found}");
            let tests = found["tests"].as_array().unwrap();
            let found_verdicts: Vec<_> =
                tests.iter().map(|test| test["verdict"].as_str().unwrap()).collect();
            assert_eq!(found_verdicts, verdicts, "{number}: {found}");
            let texts: Vec<_> = tests.iter().map(|test| test["test"].as_str().unwrap()).collect();
            assert_eq!(texts, ["hall = $h", "seats > 10", "subtitled", "year(sale_ends) = 2024"]);
            for (test, field) in tests.iter().zip(["hall", "seats", "subtitled", "sale_ends"]) {
                assert_eq!(
                    (&test["field"], &test["value"]),
                    (&json!(field), &screenings[number][field])
                );
            }
            // A search for that record has the same result.
            let id = screenings[number]["id"].as_str().unwrap();
            let narrowed = format!("({filter}) and id = '{id}'");
            let page =
                client.request("GET", SCREENINGS).query(&[("filter", &*narrowed), ("p.h", "Blue")]);
            let is_found = !client.send(page).await.column("id").is_empty();
            assert_eq!(is_found, verdict == "true");
        }
        evaluate(0, &[("filter", "hal = 'x'")]).await.problem(400, "invalid_query");
        evaluate(0, &[("filter", "hall = $h")]).await.problem(400, "invalid_query");
        evaluate(0, &[]).await.problem(400, "invalid_parameter");
        let unknown =
            format!("{SCREENINGS}/01890a5d-ac96-774b-bcce-b302099a8057/match?filter=seats=1");
        client.get(&unknown).await.problem(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn an_empty_result_is_explained() {
    served_on_both(async |client| {
        fill(&client).await;
        let why = async |filter: &str, parameters: &[(&str, &str)]| {
            let request = client.request("GET", SCREENINGS).query(&[("filter", filter), ("why", "true")]);
            let response = client.send(request.query(parameters)).await;
            assert_eq!(response.status, 200, "{response:?}");
            response.json()["why"].clone()
        };
        let reason = |condition: &str, without: i64| json!({"condition": condition, "without": without, "capped": false});
        let respelt = |condition: &str, without: i64, instead: &str| {
            json!({"condition": condition, "without": without, "capped": false, "instead": instead})
        };
        for (filter, expected) in [
            ("film = \"ALPHA\"", json!([respelt("film = 'ALPHA'", 4, "film = 'Alpha'")])),
            (
                "film in ('beta', 'GAMMA', 'x') and seats >= 0",
                json!([
                    respelt("film in ('beta', 'GAMMA', 'x')", 3, "film in ('Beta', 'Gamma', 'x')"),
                    reason("seats >= 0", 0),
                ]),
            ),
            ("film = 'STRASSE'", json!([respelt("film = 'STRASSE'", 4, "film = 'Straße'")])),
            (
                "(seats = 50 or seats = 100) and hall = 'Red' and film != 'x'",
                json!([
                    reason("seats = 50 or seats = 100", 1),
                    reason("hall = 'Red'", 2),
                    reason("film != 'x'", 0),
                ]),
            ),
            ("not film starts with ''", json!([reason("not film starts with ''", 4)])),
            // It finds a record, so there is nothing to explain.
            ("seats = 0", Value::Null),
        ] {
            assert_eq!(why(filter, &[]).await, expected, "{filter}");
        }
        let expected = json!([reason("hall = $h", 1), reason("seats > $s", 1)]);
        assert_eq!(why("hall = $h and seats > $s", &[("p.h", "Red"), ("p.s", "99")]).await, expected);

        let expected = json!([respelt("film = $f", 4, "film = 'Alpha'")]);
        assert_eq!(why("film = $f", &[("p.f", "ALPHA")]).await, expected);
        // Both spellings of that hall exist, so no other one is suggested.
        let expected = json!([reason("hall = 'blue'", 1), reason("seats = 100", 1)]);
        assert_eq!(why("hall = 'blue' and seats = 100", &[]).await, expected);

        let many: Vec<String> = (1..=12).map(|number| format!("seats != {number}")).collect();
        let many = format!("{} and seats = -1", many.join(" and "));
        assert_eq!(why(&many, &[]).await.as_array().unwrap().len(), 10);

        let body = json!({"filter": "film = 'ALPHA'", "why": true});
        let response = client.post(&format!("{SCREENINGS}/search"), &body).await;
        assert_eq!(response.json()["why"][0]["instead"], "film = 'Alpha'");
        let unexplained = client.send(client.request("GET", SCREENINGS).query(&[("filter", "seats = -1")]));
        assert_eq!(unexplained.await.json()["why"], Value::Null);
    })
    .await;
}

/// More than 1,000 records are not counted, and the response says so.
#[tokio::test]
async fn a_capped_count_is_marked() {
    served_on_both(async |client| {
        for (records, without, capped) in [(1000, 1000, false), (1001, 1000, true)] {
            let row = |number| {
                json!({"title": number, "genre": "drama", "release_year": 2000, "expiry_date": "2030-01-01"})
            };
            let rows: String =
                (0..records).map(|number: i32| format!("{}\n", row(number.to_string()))).collect();
            let import = client.request("POST", "/api/v1/movies/import?on_conflict=skip");
            let import = import.header("content-type", "application/x-ndjson").body(rows);
            assert_eq!(client.send(import).await.status, 200);
            let search = [("filter", "genre = 'drama' and title = 'none'"), ("why", "true")];
            let why = client.search(&search).await.json()["why"].clone();
            assert_eq!(why[1]["without"], without, "{why}");
            assert_eq!((&why[0]["capped"], &why[1]["capped"]), (&json!(false), &json!(capped)));
        }
    })
    .await;
}
