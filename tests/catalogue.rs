//! Which routes a service has for a folder of declarations, and which it lacks without the built-in movies.

use cinequery::http::specification;
use cinequery::record::BUILT_IN;
use serde_json::{Value, json};

use crate::command_line::{Service, folder, folder_of, message, run};
use crate::support::records::{SCREENINGS, declared};
use crate::support::{Client, Database, Response, on_both, token};

/// Two declarations with three mistakes.
const MISTAKEN: &[(&str, &str)] = &[
    ("books.toml", "name = \"Book\"\ncollection = \"books\"\n[fields.title]\ntype = \"txt\"\n"),
    (
        "shows.toml",
        "name = \"Show\"\ncollection = \"users\"\nunique = [[\"titel\"]]\n[fields.title]\ntype = \"text\"\n",
    ),
];

/// Parts of the output for these mistakes.
const SHOWN: &[&str] = &[
    "found 3 mistakes in the declarations\n",
    "error: unknown type \"txt\"\n",
    "books.toml:4:8\n",
    "4 | type = \"txt\"\n  |        ^^^^^\n",
    "error: \"users\" cannot be a name of a collection",
    "shows.toml:2:14\n",
    "2 | collection = \"users\"\n  |              ^^^^^^^\n",
    "error: unknown field \"titel\"\n",
    "shows.toml:3:12\n",
    "3 | unique = [[\"titel\"]]\n  |            ^^^^^^^\n",
    "did you mean \"title\"?",
];

#[track_caller]
fn assert_shown(text: &str) {
    for part in SHOWN {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// The number of tables, without the database's own; 0 if there is no file.
async fn tables(database: &Database) -> String {
    let sql = match database.url().strip_prefix("sqlite:") {
        Some(path) if !std::path::Path::new(path).exists() => return "0".to_owned(),
        Some(_) => "SELECT CAST(count(*) AS text) FROM sqlite_schema",
        None => "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'",
    };
    database.rows(sql).await[0][0].clone().unwrap()
}

#[tokio::test]
async fn mistakes_are_reported_before_the_database_is_opened() {
    on_both(async |database| {
        let (here, records) = (folder(), folder_of(MISTAKEN));
        let records = records.path().to_str().unwrap();
        let url = database.url();
        let commands: [&[&str]; 6] = [
            &["serve", "--auth", "open", "--listen", "127.0.0.1:0"],
            &["migrate"],
            &["migrate", "--plan"],
            &["query", "title = 'x'"],
            &["export"],
            &["user", "list"],
        ];
        for command in commands {
            let settings = ["--records", records, "--database", &url];
            let (code, output, log) = run(here.path(), &[command, &settings].concat());
            assert_eq!((code, output.as_str()), (1, ""), "{command:?}: {log}");
            assert_shown(&message(&log));
        }
        let (code, output, log) = run(here.path(), &["openapi", "--records", records]);
        assert_eq!((code, output.as_str()), (1, ""), "{log}");
        assert_shown(&log);
        let check = ["check", "--auth", "open", "--records", records, "--database", &url];
        let (code, output, log) = run(here.path(), &check);
        assert_eq!((code, log.as_str()), (1, ""), "{output}");
        assert_shown(&output);
        assert_eq!(tables(&database).await, "0");
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
    })
    .await;
}

#[test]
fn a_folder_without_declarations_is_rejected() {
    let (here, empty) = (folder(), folder_of(&[("README.md", ""), (".movies.toml", BUILT_IN)]));
    let records = empty.path().to_str().unwrap();
    let serve = ["serve", "--auth", "open", "--records", records];
    let (code, _, log) = run(here.path(), &serve);
    assert_eq!(code, 1);
    assert!(log.contains("the folder has no declarations (*.toml)"), "{log}");
    assert!(log.contains("`cinequery records init movies`"), "{log}");
    let (code, output, _) =
        run(here.path(), &["check", "--auth", "open", "--records", "no/such/folder"]);
    assert_eq!(code, 1);
    assert!(output.contains("cannot read the folder"), "{output}");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

/// The routes of the previous service.
const LEGACY: &[(&str, &str)] = &[
    ("GET", "/api"),
    ("POST", "/api?title=x&genre=g&release_year=2000&expiry_date=2030-01-01"),
    ("DELETE", "/api?title=x"),
    ("GET", "/api/"),
    ("GET", "/api/search?title=x"),
    ("GET", "/api/expiredMovies"),
];

/// The routes of movies.
const MOVIES: &[(&str, &str)] = &[
    ("GET", "/api/v1/movies"),
    ("POST", "/api/v1/movies"),
    ("POST", "/api/v1/movies/search"),
    ("GET", "/api/v1/movies/facets?by=genre"),
    ("GET", "/api/v1/movies/export"),
    ("POST", "/api/v1/movies/import"),
    ("GET", "/api/v1/movies/0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50"),
    ("GET", "/api/v1/queries/movies"),
    ("GET", "/api/v1/queries/movies/expiring-soon/results"),
];

async fn assert_not_served(client: &Client, routes: &[(&str, &str)]) {
    for (method, path) in routes {
        let response = client.send(client.request(method, path)).await;
        println!("{method} {path}");
        response.problem(404, "unknown_route");
    }
}

fn names(values: &Value) -> Vec<&str> {
    values.as_array().unwrap().iter().map(|value| value["name"].as_str().unwrap()).collect()
}

fn keys(values: &Value) -> Vec<&str> {
    values.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn without_movies_their_routes_and_scopes_do_not_exist() {
    on_both(async |database| {
        // The database had movies before.
        let store = database.store().await;
        store.close().await;
        let records = folder_of(&[("screenings.toml", SCREENINGS)]);
        let service = Service::with_records(records.path(), &database);
        let client = Client::at(service.address.clone());
        assert_not_served(&client, MOVIES).await;
        assert_not_served(&client, LEGACY).await;
        assert_eq!(client.get("/api/v1/screenings").await.status, 200);

        let document = client.get("/openapi.json").await.json();
        let tags = names(&document["tags"]);
        assert!(tags.contains(&"screenings"), "{tags:?}");
        assert!(!tags.contains(&"legacy") && !tags.contains(&"movies"), "{tags:?}");
        for path in keys(&document["paths"]) {
            assert!(!path.contains("movies") && !path.contains("Movies"), "{path}");
            assert!(
                path.starts_with("/api/v1/") || !path.starts_with("/api") || path.contains("token")
            );
        }
        for name in keys(&document["components"]["schemas"]) {
            assert!(!name.contains("Movie"), "{name}");
        }
        let flows = &document["components"]["securitySchemes"]["oauth2"]["flows"];
        let scopes = keys(&flows["password"]["scopes"]);
        assert!(scopes.contains(&"screenings:write"), "{scopes:?}");
        assert!(scopes.iter().all(|scope| !scope.starts_with("movies")), "{scopes:?}");

        let anonymous = client.with_token(None);
        let issued = anonymous.post("/api/token", &json!({"username": "joe"})).await.json();
        assert_eq!(issued["scope"], "screenings:read screenings:write");
        let wanted = json!({"username": "joe", "scope": "movies:read"});
        assert_eq!(anonymous.post("/api/token", &wanted).await.status, 400);
        let flags = ["--records", records.path().to_str().unwrap(), "--database", &database.url()];
        let token = [&["token", "joe", "--scope", "movies:read"], &flags[..]].concat();
        let (code, _, log) = run(folder().path(), &token);
        assert!(code == 1 && log.contains("screenings:read, screenings:write"), "{log}");
    })
    .await;
}

/// The declaration of movies without its searches, whose filters need all fields.
fn movies() -> String {
    let (fields, _) = BUILT_IN.split_once("[searches").unwrap();
    fields.to_owned()
}

const STUDIO: &str = "[fields.studio]\ntype = \"text\"\n";

/// Declarations of movies that the legacy routes do not support: what is changed, and the declaration.
fn others() -> Vec<(&'static str, String)> {
    let lines = |from: &str, to: &str| {
        assert!(movies().contains(from), "{from}");
        movies().replace(from, to)
    };
    vec![
        ("an additional required field", movies() + STUDIO),
        (
            "a missing field",
            movies()
                .replace("[fields.genre]", "[fields.kind]")
                .replace("[\"genre\", \"expiry_date\"], ", ""),
        ),
        (
            "an optional field",
            lines(
                "[fields.genre]\ntype = \"text\"\n",
                "[fields.genre]\ntype = \"text\"\nrequired = false\n",
            ),
        ),
        (
            "a field of another type",
            lines("type = \"date\"\n", "type = \"timestamp\"\n")
                .replace("2031-12-31", "2031-12-31T00:00:00Z"),
        ),
        (
            "a text that is not searchable",
            lines(
                "[fields.genre]\ntype = \"text\"\n",
                "[fields.genre]\ntype = \"text\"\nsearch = false\n",
            ),
        ),
    ]
}

#[tokio::test]
async fn other_movies_have_no_legacy_routes() {
    for (change, source) in others() {
        println!("{change}");
        let document = specification(declared(&[&source]));
        assert!(!names(&document["tags"]).contains(&"legacy"));
        if change == "a field of another type" {
            // The first migration creates the table of the built-in movies, and types cannot be changed.
            continue;
        }
        let records = folder_of(&[("movies.toml", &source)]);
        let database = Database::sqlite();
        let flags = ["--records", records.path().to_str().unwrap(), "--database", &database.url()];
        let (code, _, log) = run(folder().path(), &[&["migrate"], &flags[..]].concat());
        assert_eq!(code, 0, "{log}");
        let service = Service::with_records(records.path(), &database);
        let client = Client::at(service.address.clone());
        assert_not_served(&client, LEGACY).await;
        assert_eq!(client.get("/api/v1/movies").await.status, 200);
    }
}

#[tokio::test]
async fn movies_with_an_additional_optional_field_keep_the_legacy_routes() {
    on_both(async |database| {
        let source = movies() + STUDIO + "required = false\n";
        let records = folder_of(&[("movies.toml", &source)]);
        let service = Service::with_records(records.path(), &database);
        let client = Client::at(service.address.clone());
        let [list, create, delete, ..] = LEGACY else {
            panic!("LEGACY has fewer than three routes")
        };
        let send = async |(method, path): &(&str, &str)| -> Response {
            client.send(client.request(method, path)).await
        };
        let created = send(create).await;
        assert_eq!(created.status, 200, "{created:?}");
        let listed = send(list).await.json();
        assert_eq!(listed["movies"].as_array().unwrap().len(), 1, "{listed}");
        let members = keys(&listed["movies"][0]);
        assert!(members.len() == 4 && !members.contains(&"studio"), "{listed}");
        let movie = client.get("/api/v1/movies").await.json()["items"][0].clone();
        assert!(movie.get("studio").is_some_and(Value::is_null), "{movie}");
        assert_eq!(send(delete).await.status, 200);
        let document = client.get("/openapi.json").await.json();
        assert!(names(&document["tags"]).contains(&"legacy"));
    })
    .await;
}

/// A token for one collection gives no access to another one.
#[tokio::test]
async fn a_scope_of_another_collection_is_not_sufficient() {
    let database = Database::sqlite();
    let records = folder_of(&[("movies.toml", BUILT_IN), ("screenings.toml", SCREENINGS)]);
    let service = Service::with_records(records.path(), &database);
    let client = Client::at(service.address.clone());
    let reader = client.with_token(Some(token(&["movies:read", "movies:write"])));
    assert_eq!(reader.get("/api/v1/movies").await.status, 200);
    reader.get("/api/v1/screenings").await.problem(403, "insufficient_scope");
}

/// A declaration without descriptions leaves them out of the document.
#[test]
fn the_document_has_no_empty_description() {
    let plain = "name = \"Book\"\ncollection = \"books\"\ndescription = \"\"\n\
                 [fields.title]\ntype = \"text\"\n[searches.b]\nfilter = \"title = 'b'\"\n";
    let document = specification(declared(&[plain])).to_string();
    for empty in ["\"description\":\"\"", "\"summary\":\"\""] {
        let place = document.find(empty).map(|at| &document[at.saturating_sub(200)..at]);
        assert_eq!(place, None, "{empty}");
    }
}
