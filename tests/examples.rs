//! Runs the scripts of the examples that consist of a declaration and a script, on both databases.

use std::process::{Command, Output};

use cinequery::query::Type;

use crate::contract::tools::root;
use crate::support::records::declared;
use crate::support::{Database, SECRET, on_both};

const BOOKS: &str = include_str!("../examples/books/books.toml");

/// Runs the script of an example on a database and returns what it printed.
fn run(example: &str, database: &Database) -> String {
    let mut script = Command::new(root().join("examples").join(example).join("run.sh"));
    script
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("CINEQUERY", env!("CARGO_BIN_EXE_cinequery"))
        .env("CINEQUERY_DATABASE_URL", database.url())
        .env("CINEQUERY_JWT_SECRET", SECRET);
    let Output { status, stdout, stderr } = script.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    // Lines of CSV end with CRLF (RFC 4180).
    let (output, errors) = (text(stdout).replace("\r\n", "\n"), text(stderr));
    assert!(status.success() && errors.is_empty(), "{output}\n{errors}");
    output
}

/// Asserts that the parts are in the text, in that order.
#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("{part} is missing or out of order in {text}")
        };
        rest = after;
    }
}

#[tokio::test]
async fn screenings_are_declared_and_served() {
    on_both(async |database| {
        let output = run("screenings", &database);
        let parts = [
            "\nscreenings: Screening, 6 fields, natural key film, starts_at, 1 index, 2 searches\n",
            "\"film\":\"The Third Man\",\"hall\":\"Blue Hall\",\"seats\":120,\"subtitled\":null,",
            "\n201\n",
            "\n201\n",
            "\n201\n",
            "filter=hall is null or subtitled\n",
            "\"film\":\"Metropolis\"",
            "\"film\":\"Nosferatu\"",
            "\n200\n",
            "filter=seets > 100\n",
            "\"help\":\"did you mean \\\"seats\\\"?\"",
            "\n400\n",
            "{\"value\":\"Blue Hall\",\"count\":2,",
            "{\"value\":null,\"count\":1,",
            "\nid,film,hall,seats,subtitled,starts_at,sale_ends,version,created_at,updated_at\n",
            ",Nosferatu,,,,2026-05-02T22:30:00.000000Z,2026-05-01,1,",
        ];
        assert_in_order(&output, &parts);
    })
    .await;
}

#[tokio::test]
async fn a_library_grows_from_a_file_of_books() {
    on_both(async |database| {
        let output = run("books", &database);
        let parts = [
            "$ cinequery records infer books.csv\n",
            "# Inferred from 20 rows.",
            "unique = [[\"title\"]]\n",
            "[fields.published]\ntype = \"date\"\nrequired = false\n",
            "$ cinequery records check records\n",
            "books: Book, 7 fields, natural key title, 0 indexes, 0 searches\n",
            "{\"created\":20,\"updated\":0,\"skipped\":0,\"rejected\":0,",
            "filter=autor contains \"austen\"\n",
            "\"help\":\"did you mean \\\"author\\\"?\"",
            "\n400\n",
            "\"title\":\"Pride and Prejudice\",\"author\":\"Jane Austen\"",
            "{\"value\":false,\"count\":16,",
            "{\"value\":true,\"count\":4,",
            "$ cinequery migrate --plan --records records\n",
            "1. accept 1 to 300 characters in books.title\n",
            "3. add books.copies, with the default \"1\" in existing records too\n",
            "ADD COLUMN \"copies\" ",
            "$ cinequery serve --auth open --records records\n",
            "\"title\":\"Pride and Prejudice\"",
            "\"copies\":1,\"version\":1,",
            "\"total\":20,",
            "\"Book\":{\n",
        ];
        assert_in_order(&output, &parts);
    })
    .await;
}

#[test]
fn the_books_have_fields_of_every_type() {
    let books = declared(&[BOOKS]).schemas()[0];
    for ty in [Type::Text, Type::Integer, Type::Boolean, Type::Date, Type::Timestamp, Type::Id] {
        assert!(books.declared().any(|field| field.ty == ty), "{ty:?}");
    }
    assert!(books.declared().filter(|field| field.nullable).count() >= 2);
    assert!(books.declared().any(|field| field.default.is_some()));
}
