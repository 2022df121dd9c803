//! Declarations of record types: parsing, reports of mistakes, and inference from files of records.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cinequery::app::transfer::{Format, Options, Order, infer};
use cinequery::http::specification;
use cinequery::query::Type;
use cinequery::record::declaration::{MAX_FILE_BYTES, MAX_MISTAKES, Mistakes, json_schema, start};
use cinequery::record::{BUILT_IN, Catalogue};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use toml::de::{DeTable, DeValue};

use crate::command_line::{folder, run};
use crate::contract::tools::root;
use crate::support::declarations::declaration;

#[test]
fn the_built_in_declaration_is_free_of_mistakes() {
    assert_eq!(Catalogue::built_in(), Catalogue::built_in());
}

/// The mistakes of files as text, one per line.
fn report(files: &[Mistakes]) -> String {
    files.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Parses files, which are separated by a line `--- NAME`, and returns the reported mistakes.
fn check(files: &str) -> String {
    let files = files.split("--- ").skip(1).map(|file| file.split_once('\n').unwrap());
    Catalogue::parse(files).err().map(|wrong| report(&wrong)).unwrap_or_default()
}

const HEAD: &str = "name = \"Movie\"\ncollection = \"movies\"\n";
const TITLE: &str = "[fields.title]\ntype = \"text\"\n";

#[test]
fn mistakes_are_reported_at_their_places() {
    let cases: Vec<(String, &str)> = vec![
        // Required keys.
        (
            "\n".to_owned(),
            "1:1: the key `name` is missing; add `name = \"Movie\"`\n\
             1:1: the key `collection` is missing; add `collection = \"movies\"`\n\
             1:1: the key `fields` is missing; add `[fields.title]`",
        ),
        (
            format!("{HEAD}[fields]"),
            "3:2: a record type has at least one field; add one, such as `[fields.title]`",
        ),
        (format!("{HEAD}fields = 5"), "3:10: `fields`: expected a table, found an integer"),
        (format!("{HEAD}[fields.title]"), "3:9: the key `type` is missing; add `type = \"text\"`"),
        // Names.
        (
            format!("name = \"movie\"\ncollection = \"Movies\"\n{TITLE}"),
            "1:8: \"movie\" is not a name of a record type; start with a capital letter, then letters \
             and digits, at most 63: `Movie`\n\
             2:14: \"Movies\" is not a name of a collection; start with a small letter, then small \
             letters, digits and `_`, at most 63: `movies`",
        ),
        (
            format!("name = \"Problem\"\ncollection = \"users\"\n{TITLE}"),
            "1:8: \"Problem\" cannot be used: the API has a schema `Problem`\n\
             2:14: \"users\" cannot be a name of a collection: the service has a route or a table of \
             that name",
        ),
        (
            format!("name = \"Saved\"\ncollection = \"sqlite_stat\"\n{TITLE}"),
            "2:14: \"sqlite_stat\" cannot be a name of a collection: names of internal tables \
             start with `sqlite_`",
        ),
        (
            format!(
                "{HEAD}[fields]\n\"Release Year\".type = \"integer\"\na__b.type = \"date\"\n\
                 and.type = \"date\"\nid.type = \"id\"\nxmin.type = \"integer\"\n\
                 title_folded.type = \"text\"\n\"\\u001b[2J\".type = \"date\""
            ),
            "4:1: \"Release Year\" is not a name of a field; start with a small letter, then small \
             letters, digits and `_`, at most 56: `release_year`\n\
             5:1: \"a__b\" cannot be a name of a field: `__` is reserved\n\
             6:1: \"and\" cannot be a name of a field: it is a keyword of the filter language\n\
             7:1: \"id\" is a field that the service adds itself; remove it, or choose another name\n\
             8:1: \"xmin\" cannot be a name of a field: PostgreSQL has a column of that name in every \
             table\n\
             9:1: \"title_folded\" cannot be a name of a field: names of columns that the \
             service adds end with `_folded`\n\
             10:1: \"\\u{1b}[2J\" is not a name of a field; start with a small letter, then small \
             letters, digits and `_`, at most 56: `j`",
        ),
        // Keys and types.
        (
            format!("{HEAD}unqiue = []\n{TITLE}lenght = [1, 2]\n[fields.year]\ntype = \"int\"\n"),
            "3:1: unknown key \"unqiue\" in a declaration; did you mean \"unique\"?\n\
             6:1: unknown key \"lenght\" in a field; did you mean \"length\"?\n\
             8:8: unknown type \"int\"; did you mean \"integer\"?",
        ),
        (
            format!("{HEAD}description = 5\n{TITLE}required = \"no\"\nsearch = 1"),
            "3:15: `description`: expected a text, found an integer; write `description = \"5\"`\n\
             6:12: `required`: expected true or false, found a text; write `required = false`\n\
             7:10: `search`: expected true or false, found an integer",
        ),
        // Bounds and values.
        (
            format!(
                "{HEAD}{TITLE}length = [9, 1]\n[fields.b]\ntype = \"text\"\nlength = [1, 100001]"
            ),
            "5:10: `length`: 9 is greater than 1; write [1, 9]\n\
             8:10: `length`: expected at least 0 and at most 100000 characters",
        ),
        (
            format!("{HEAD}{TITLE}range = [1, 2]\nlength = 5"),
            "5:1: `range` is for fields of type integer, and this is a text\n\
             6:10: `length`: expected the least and the greatest number of characters, such as \
             [1, 300], found an integer",
        ),
        (
            format!(
                "{HEAD}[fields.year]\ntype = \"integer\"\nrange = [1870, 9999]\nexample = 1492\n\
                 [fields.on]\ntype = \"date\"\ndefault = \"31/12/2027\"\n[fields.title]\n\
                 type = \"text\"\nexample = 2024-01-01\ndefault = \"\"\nsearch = false\n\
                 [fields.at]\ntype = \"timestamp\"\ndefault = 2024-01-01T12:00:00\n[fields.n]\n\
                 type = \"integer\"\ndefault = 1.5"
            ),
            "6:11: `example`: must be from 1870 to 9999, found 1492\n\
             9:11: `default`: expected a date (YYYY-MM-DD), found \"31/12/2027\"; the year comes first: \
             write 2027-12-31\n\
             12:11: `example`: expected a text, found a date or time; write a text such as drama\n\
             13:11: `default`: is blank; write a text\n\
             17:11: `default`: expected a timestamp (RFC 3339), found \"2024-01-01T12:00:00\"; add the \
             offset from UTC, such as `Z`\n\
             20:11: `default`: expected an integer, found a number with a fraction; write an integer \
             such as 1994",
        ),
        (
            format!(
                "{HEAD}{TITLE}search = false\ntrigram = true\n[fields.year]\ntype = \"integer\"\n\
                 trigram = true\n[fields.note]\ntype = \"text\"\ntrigram = \"yes\""
            ),
            "6:1: `trigram` is for texts that are searched, and this has `search = false`; remove one of \
             the two keys\n\
             9:1: `trigram` is for fields of type text, and this is an integer\n\
             12:11: `trigram`: expected true or false, found a text; write `trigram = true`",
        ),
        (
            format!("{HEAD}{TITLE}read_only = true"),
            "3:9: `title` is required, and clients cannot write it; add a `default`, or `required = \
             false`\n\
             3:2: a record type has at least one field that clients write; remove `read_only` from one",
        ),
        (
            format!(
                "{HEAD}{TITLE}renamed_from = \"year\"\n[fields.year]\ntype = \"integer\"\n\
                 renamed_from = \"old\"\n[fields.b]\ntype = \"date\"\nrenamed_from = \"old\""
            ),
            "5:16: `renamed_from`: there still is a field \"year\"\n\
             11:16: `renamed_from`: \"old\" was renamed to `year` already",
        ),
        // Unique keys and indexes.
        (
            format!(
                "{HEAD}unique = [[\"title\", \"yeer\"], [\"title\", \"title\"], [\"note\"], 5, []]\n\
                 indexes = [[\"year\"], [\"year\"], [\"long\"], [\"created_at\"], [1]]\n{TITLE}\
                 [fields.year]\ntype = \"integer\"\n[fields.note]\ntype = \"text\"\nrequired = false\n\
                 [fields.long]\ntype = \"text\"\nlength = [0, 601]"
            ),
            "3:21: unknown field \"yeer\"; did you mean \"year\"?\n\
             3:40: the field \"title\" is repeated\n\
             3:51: `note` cannot be part of a unique key: it is not required, and null equals nothing\n\
             3:60: `unique`: expected lists of fields, such as [[\"title\", \"release_year\"]], found an \
             integer\n\
             3:63: expected 1 to 8 fields, found 0\n\
             4:22: `indexes`: this list is repeated\n\
             4:32: the texts have up to 601 characters, and an index holds 600; lower the `length` of a \
             field, or remove one\n\
             4:59: expected the name of a field, found an integer",
        ),
        (
            format!("{HEAD}unique = [[\"title\"]]\nindexes = [[\"title\"]]\n{TITLE}"),
            "4:12: `indexes`: these fields are unique, and so have an index already; remove the list",
        ),
        // Searches, with positions inside the string.
        (
            format!(
                "{HEAD}{TITLE}[searches.a]\nfilter = \"titel = \\\"a\\\" or title = 5\"\n\
                 [searches.b]\nfilter = '''\ntitle = \"ä\" or yaer = 1'''\n[searches.c]\n\
                 filter = \"title = $x\"\n[searches.and]\nfliter = \"title = 'x'\""
            ),
            "6:11: `filter`: unknown field \"titel\"; did you mean \"title\"?\n\
             6:36: `filter`: expected a text for \"title\", found 5; write `\"5\"`\n\
             9:16: `filter`: unknown field \"yaer\"; expected one of: id, title, version, created_at, \
             updated_at\n\
             11:19: `filter`: a search has no parameters; write a value\n\
             12:11: \"and\" cannot be a name of a search: it is a keyword of the filter language\n\
             12:11: the key `filter` is missing; add `filter = \"title contains 'star'\"`\n\
             13:1: unknown key \"fliter\" in a search; did you mean \"filter\"?",
        ),
        // For a string with joined lines, the position is the whole string.
        (
            format!(
                "{HEAD}{TITLE}[searches.a]\nfilter = \"\"\"\ntitle = 'a' \\\n  or yaer = 1\"\"\""
            ),
            "6:10: `filter`: unknown field \"yaer\"; expected one of: id, title, version, created_at, \
             updated_at",
        ),
        // TOML.
        (
            "name = \"Movie\ncollection = \"movies\"\n".to_owned(),
            "1:14: invalid basic string, expected `\"`",
        ),
        (format!("{HEAD}name = \"Film\"\n{TITLE}"), "3:1: duplicate key"),
        (
            format!("{HEAD}unique = [\"title\"]\nindexes = \"title\"\n{TITLE}"),
            "3:10: `unique`: expected lists of fields, such as [[\"title\", \"release_year\"]], found a \
             list; write `unique = [[\"title\"]]`\n\
             4:11: `indexes`: expected lists of fields, such as [[\"genre\", \"expiry_date\"], \
             [\"release_year\"]], found a text; write `indexes = [[\"title\"]]`",
        ),
        // Words without quotes, some of which begin as `true`, `inf` and `nan` do.
        (
            format!("name = A Movie\ncollection = movies # many\n{TITLE}"),
            "1:8: `name`: expected a text in quotes, found \"A Movie\" without quotes; write `name = \
             \"A Movie\"`\n\
             2:14: `collection`: expected a text in quotes, found \"movies\" without quotes; write \
             `collection = \"movies\"`",
        ),
        (
            format!(
                "{HEAD}unique = [[title]]\n[fields]\ntitle = {{ length = [1, 2], type = text }}\n\
                 [fields.year]\ntype = integer\nrequired = no\nsearch = maybe\n[fields.co_op]\n\
                 type = \"boolean\"\ndefault = yes\nexample = True"
            ),
            "3:12: expected a text in quotes, found \"title\" without quotes; write `\"title\"`\n\
             5:35: `type`: expected a text in quotes, found \"text\" without quotes; write `type = \
             \"text\"`\n\
             7:8: `type`: expected a text in quotes, found \"integer\" without quotes; write `type = \
             \"integer\"`\n\
             8:12: `required`: expected true or false, found \"no\" without quotes; write `required = \
             false`\n\
             9:10: `search`: expected true or false, found \"maybe\" without quotes; write `search = \
             true` or `search = false`\n\
             12:11: `default`: expected true, false or a text in quotes, found \"yes\" without quotes; \
             write `default = true`, or `default = \"yes\"` if it is a text\n\
             13:11: `example`: expected true, false or a text in quotes, found \"True\" without quotes; \
             write `example = true`, or `example = \"True\"` if it is a text",
        ),
        (
            format!("{HEAD}[fields]\ntitle = \"text\"\nyear = 5\n[searches]\nold = 'year = 5'"),
            "4:9: `title`: expected a table, found a text; write `title = { type = \"text\" }`\n\
             5:8: `year`: expected a table, found an integer\n\
             7:7: `old`: expected a table, found a text; write `old = { filter = 'year = 5' }`",
        ),
    ];
    for (source, expected) in cases {
        let found = check(&format!("--- x\n{source}"));
        let mut found: Vec<&str> = found.lines().map(|line| &line[2..]).collect();
        let mut expected: Vec<&str> = expected.lines().collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn a_declaration_says_everything_about_a_field() {
    let source = format!(
        "{HEAD}[fields.rating]\ntype = \"integer\"\nrange = [0, 100]\ndefault = 0x10\n\
         read_only = true\nrenamed_from = \"stars\"\ndescription = \" Of a hundred. \"\n\
         [fields.notes]\ntype = \"text\"\nrequired = false\nsearch = false\nexample = \"ä\"\n\
         [fields.since]\ntype = \"timestamp\"\nexample = 2024-01-01 12:00:00+02:00\n"
    );
    let catalogue = Catalogue::parse([("x", source.as_str())]).unwrap();
    let [schema] = catalogue.schemas() else { panic!("one record type") };
    let names: Vec<&str> = schema.names().collect();
    assert_eq!(names, ["id", "rating", "notes", "since", "version", "created_at", "updated_at"]);
    let rating = schema.field("rating").unwrap();
    assert_eq!(rating.bounds, 0..=100);
    assert_eq!(rating.default, Some(cinequery::query::Value::Integer(16)));
    assert_eq!(rating.renamed_from, Some("stars"));
    assert_eq!(rating.description, "Of a hundred.");
    assert!(!rating.writable && !rating.managed && !rating.nullable && !rating.searchable);
    let notes = schema.field("notes").unwrap();
    assert!(notes.writable && notes.nullable && !notes.searchable);
    assert_eq!((notes.ty, notes.bounds.clone(), notes.example), (Type::Text, 1..=500, "ä"));
    assert_eq!(schema.field("since").unwrap().example, "2024-01-01T10:00:00.000000Z");
    assert!(schema.unique.is_empty() && schema.natural_key().is_empty());
}

#[test]
fn record_types_do_not_collide() {
    let file = |name: &str, collection: &str| {
        format!("--- {collection}.toml\nname = \"{name}\"\ncollection = \"{collection}\"\n{TITLE}")
    };
    let both = |a: (&str, &str), b: (&str, &str)| check(&(file(a.0, a.1) + &file(b.0, b.1)));
    assert_eq!(both(("Movie", "movies"), ("Film", "films")), "");
    assert_eq!(
        both(("Movie", "movies"), ("Film", "movies")),
        "movies.toml:2:14: the collection `movies` is also declared in movies.toml"
    );
    assert_eq!(
        both(("Movie", "movies"), ("MOVIE", "films")),
        "films.toml:1:8: the name `MOVIE` is also declared in movies.toml; choose another name"
    );
    assert_eq!(
        both(("Movie", "movies"), ("MoviePage", "films")),
        "films.toml:1:8: the API would have two schemas `MoviePage`: see `Movie` in movies.toml; \
         choose another name"
    );
    let operations = "shows.toml:1:8: the API would have two operations of one name: see";
    for name in ["MovieFacets", "MovieQueries", "MovieQuery", "MovieQueryWithBody"] {
        let found = both(("Movie", "movies"), (name, "shows"));
        assert_eq!(found, format!("{operations} `Movie` in movies.toml; choose another name"));
        let found = both((name, "movies"), ("Movie", "shows"));
        assert_eq!(found, format!("{operations} `{name}` in movies.toml; choose another name"));
    }
    assert_eq!(
        check(&file("Movie", "movies_pkey")),
        "movies_pkey.toml:2:14: \"movies_pkey\" cannot be a name of a collection: names of primary keys of \
         PostgreSQL end with `_pkey`"
    );
}

/// A record type is rejected if one of its operations would have the name of another, such as a type `MovieFacets`
/// with `getMovieFacets`.
#[test]
fn operations_do_not_collide() {
    let ids = |document: &Json| -> Vec<String> {
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
    };
    let of = |name: &str, collection: &str| {
        format!("name = \"{name}\"\ncollection = \"{collection}\"\n{TITLE}")
    };
    let movie = of("Movie", "movies");
    let mut accepted = 0;
    let known = ids(&specification(Catalogue::built_in())).into_iter().filter_map(|id| {
        let (at, _) = id.char_indices().find(|(_, c)| c.is_ascii_uppercase())?;
        Some(id[at..].to_owned())
    });
    for name in known.collect::<BTreeSet<String>>() {
        let other = of(&name, "others");
        let Ok(catalogue) = Catalogue::parse([("a", movie.as_str()), ("b", other.as_str())]) else {
            continue;
        };
        accepted += 1;
        let ids = ids(&specification(catalogue));
        let unique: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "{name}");
    }
    assert!(accepted > 5, "{accepted} names were accepted");
    for name in ["Schema", "Liveness", "Me"] {
        let found = check(&format!("--- x\n{}", of(name, "others")));
        let expected =
            format!("x:1:8: \"{name}\" cannot be used: the API has an operation `get{name}`");
        assert_eq!(found, expected);
    }
}

/// Record types cannot have the names of schemas that the OpenAPI document has without record types.
#[test]
fn no_record_type_has_the_name_of_a_schema_of_the_api() {
    let document: Json = serde_json::from_str(include_str!("../openapi/v1.json")).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys().filter(|name| *name == "MovieList" || !name.starts_with("Movie")) {
        let found = check(&format!("--- x\nname = \"{name}\"\ncollection = \"movies\"\n{TITLE}"));
        let expected = format!("x:1:8: \"{name}\" cannot be used: the API has a schema `{name}`");
        assert_eq!(found, expected);
    }
}

#[test]
fn a_folder_is_loaded_as_kubernetes_mounts_it() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let load = || Catalogue::load(folder.path()).map_err(|wrong| report(&wrong));
    let shown = folder.path().display().to_string();
    assert_eq!(
        load(),
        Err(format!(
            "{shown}: the folder has no declarations (*.toml); add one: `cinequery records init \
             movies` prints the built-in one"
        ))
    );
    std::fs::create_dir(path("..data")).unwrap();
    std::fs::write(path("..data/movies.toml"), BUILT_IN).unwrap();
    symlink("..data/movies.toml", path("movies.toml")).unwrap();
    std::fs::write(path("concerts.toml"), start("concerts").unwrap()).unwrap();
    std::fs::write(path(".hidden.toml"), "").unwrap();
    std::fs::write(path("README.md"), "").unwrap();
    std::fs::create_dir(path("folder.toml")).unwrap();
    let catalogue = load().unwrap();
    let names: Vec<_> = catalogue.schemas().iter().map(|schema| schema.name).collect();
    assert_eq!(names, ["Concert", "Movie"]);
    assert_eq!(catalogue.find("movies").unwrap().name, "Movie");

    std::fs::write(path("a.toml"), b"name = \"M\"\n# \xFF").unwrap();
    std::fs::write(path("b.toml"), " ".repeat(MAX_FILE_BYTES + 1)).unwrap();
    symlink("nowhere", path("c.toml")).unwrap();
    std::fs::write(path("d.toml"), BUILT_IN).unwrap();
    assert_eq!(
        load().unwrap_err().replace(&format!("{shown}/"), ""),
        "a.toml: expected UTF-8, found another byte in line 2\n\
         b.toml: the file is longer than 256 KiB\n\
         c.toml: cannot read the file: No such file or directory (os error 2)\n\
         movies.toml:4:14: the collection `movies` is also declared in d.toml"
    );
    let missing = Catalogue::load(&path("missing")).unwrap_err();
    assert!(report(&missing).contains("cannot read the folder"), "{missing:?}");
}

/// Parses any text and checks that it is valid, or has mistakes at positions that can be printed.
fn read(source: &str) -> Result<(), TestCaseError> {
    let Err(wrong) = Catalogue::parse([("x.toml", source)]) else { return Ok(()) };
    let [Mistakes { list, .. }] = wrong.as_slice() else { panic!("one file") };
    prop_assert!((1..=MAX_MISTAKES).contains(&list.len()));
    for mistake in list {
        let place = source.get(mistake.span.start..mistake.span.end);
        prop_assert!(place.is_some(), "{mistake:?} is at no place of the text");
    }
    let text = report(&wrong);
    let is_plain = |c: char| c == '\n' || !c.is_control();
    prop_assert!(text.chars().all(is_plain), "{text:?} has control characters");
    Ok(())
}

/// Names with a special meaning in SQL, shells, templates, terminals or spreadsheets.
const HOSTILE: &[&str] = &[
    "'; drop table movies; --",
    "\\\"",
    "a\\u0000b",
    "\\u001b]0;x\\u0007",
    "$(reboot)",
    "`id`",
    "=cmd|' /C calc'!A0",
    "../../etc/passwd",
    "__proto__",
    "constructor",
    "{{7*7}}",
    "%s%n",
    "\\u202e",
    "{record}",
    "a,b",
    "é",
];

/// A way to damage a declaration.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Deleted(Index),
    Doubled(Index),
    Swapped(Index, Index),
    Hostile(Index, &'static str),
}

impl Damage {
    fn apply(&self, source: &str) -> String {
        let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
        if lines.is_empty() {
            return source.to_owned();
        }
        match self {
            Damage::Byte(at, byte) => {
                let mut bytes = source.as_bytes().to_vec();
                let at = at.index(bytes.len());
                bytes[at] = *byte;
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Damage::Deleted(at) => drop(lines.remove(at.index(lines.len()))),
            Damage::Doubled(at) => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at].clone());
            }
            Damage::Swapped(a, b) => {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
            }
            Damage::Hostile(at, name) => {
                let at = at.index(lines.len());
                let line = &lines[at];
                lines[at] = match (line.split_once('.'), line.split_once('"')) {
                    (Some((start, _)), _) if line.starts_with('[') => {
                        format!("{start}.\"{name}\"]")
                    }
                    (_, Some((start, rest))) => {
                        let rest = rest.split_once('"').map_or("", |(_, rest)| rest);
                        format!("{start}\"{name}\"{rest}")
                    }
                    _ => format!("\"{name}\" = \"{name}\""),
                };
            }
        }
        lines.join("\n")
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Deleted),
        any::<Index>().prop_map(Damage::Doubled),
        any::<(Index, Index)>().prop_map(|(a, b)| Damage::Swapped(a, b)),
        (any::<Index>(), select(HOSTILE)).prop_map(|(at, name)| Damage::Hostile(at, name)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn every_generated_declaration_loads(source in declaration()) {
        let catalogue = Catalogue::parse([("x.toml", source.as_str())]);
        prop_assert!(catalogue.is_ok(), "{}\n{source}", report(&catalogue.unwrap_err()));
        prop_assert!(validate(&json_schema(), &as_json(&source)).is_ok());
        let [schema] = catalogue.unwrap().schemas() else { panic!("one record type") };
        let types: BTreeSet<&str> = schema.declared().map(|field| field.ty.as_str()).collect();
        prop_assert!(types.len() >= 4);
        prop_assert!(schema.declared().filter(|field| field.nullable).count() >= 2);
        prop_assert!(schema.declared().filter(|field| field.ty == Type::Text).count() >= 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_broken_declaration_is_reported_or_valid(
        source in prop_oneof![declaration(), Just(BUILT_IN.to_owned())],
        damages in prop::collection::vec(damage(), 1..5),
    ) {
        read(&damages.iter().fold(source, |source, damage| damage.apply(&source)))?;
    }
}

/// Files that are long, deeply nested or repetitive.
fn hostile_files() -> Vec<String> {
    let deep = |open: &str, close: &str| {
        format!("{HEAD}x = {}{}", open.repeat(1 << 17), close.repeat(1 << 17))
    };
    let fields = |count: usize| {
        let fields = (0..count).map(|number| format!("f{number}={{type='id'}}\n"));
        format!("{HEAD}[fields]\n{}", fields.collect::<String>())
    };
    vec![
        deep("[", "]"),
        deep("[", ""),
        deep("{a=", "}"),
        format!("{HEAD}{} = 1", vec!["a"; 100_000].join(".")),
        format!("{HEAD}[{}]", vec!["a"; 100_000].join(".")),
        "[".repeat(1 << 20),
        "[".repeat(MAX_FILE_BYTES),
        "\"".repeat(MAX_FILE_BYTES),
        "\u{1F3AC}".repeat(MAX_FILE_BYTES / 4),
        "[[a]]\n".repeat(MAX_FILE_BYTES / 6),
        "a.b=1\n".repeat(MAX_FILE_BYTES / 6),
        fields(10_000),
        (0..20_000).map(|number| format!("k{number} = 1\n")).collect(),
        format!("{HEAD}{TITLE}unique = [{}]", "[\"title\"],".repeat(20_000)),
        format!("{HEAD}unique = [[{}]]\n{TITLE}", "\"title\",".repeat(20_000)),
        format!("{HEAD}{TITLE}[searches.a]\nfilter = \"{}\"", "(".repeat(200_000)),
        format!("name = \"{}\"\ncollection = \"movies\"\n{TITLE}", "M".repeat(200_000)),
    ]
}

#[test]
fn hostile_files_are_reported() {
    for source in hostile_files() {
        let start: String = source.chars().take(80).collect();
        assert!(Catalogue::parse([("x.toml", source.as_str())]).is_err(), "{start} is valid");
        read(&source).unwrap();
    }
    let fields = |count: usize| {
        let fields = (0..count).map(|number| format!("f{number}={{type='id'}}\n"));
        format!("{HEAD}[fields]\n{}", fields.collect::<String>())
    };
    assert!(
        check(&format!("--- x\n{}", fields(101)))
            .contains("expected at most 100 fields, found 101")
    );
    assert_eq!(check(&format!("--- x\n{}", fields(100))), "");
}

/// Measure with an optimised binary:
/// `FAULTS_BINARY=target/demo/cinequery cargo test --test suite broken_declarations -- --ignored --nocapture`.
#[test]
#[ignore = "measures a binary, which should be an optimised one"]
fn broken_declarations_are_reported_in_less_than_100_ms() {
    let binary = std::env::var("FAULTS_BINARY");
    let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_cinequery").to_owned());
    let binary = root().join(binary);
    let broken = (
        prop_oneof![declaration(), Just(BUILT_IN.to_owned())],
        prop::collection::vec(damage(), 1..5),
    );
    let broken = broken.prop_map(|(source, damages)| {
        damages.iter().fold(source, |source, damage| damage.apply(&source))
    });
    let mut runner = TestRunner::deterministic();
    let generated = (0..2000).map(|_| broken.new_tree(&mut runner).unwrap().current());
    let folder = folder();
    let mut measured: Vec<(Duration, i32, String)> = Vec::new();
    for source in generated.chain(hostile_files()) {
        std::fs::write(folder.path().join("x.toml"), &source).unwrap();
        let check = || {
            let mut check = Command::new(&binary);
            check.args(["records", "check"]).arg(folder.path()).env_clear();
            let started = Instant::now();
            let output = check.output().unwrap();
            (started.elapsed(), output)
        };
        // The shortest of three runs: a busy machine delays some runs, a slow file delays all.
        let (time, output) = (0..3).map(|_| check()).min_by_key(|(time, _)| *time).unwrap();
        let start: String = source.chars().take(60).collect();
        measured.push((time, output.status.code().unwrap(), start));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{source}");
    }
    measured.sort();
    let rejected = measured.iter().filter(|(_, code, _)| *code == 1).count();
    println!("{} files, {rejected} rejected; median {:?}", measured.len(), measured[1000].0);
    for (time, code, start) in measured.iter().rev().take(12) {
        println!("{time:?} {code} {start:?}");
    }
    assert!(measured.iter().all(|(time, _, _)| *time < Duration::from_millis(100)));
}

/// Converts a declaration to JSON, as editors do to validate it.
fn as_json(source: &str) -> Json {
    fn value(of: &DeValue<'_>) -> Json {
        match of {
            DeValue::String(text) => json!(text),
            DeValue::Integer(number) => {
                json!(i64::from_str_radix(number.as_str(), number.radix()).unwrap())
            }
            DeValue::Float(number) => json!(number.as_str().parse::<f64>().unwrap()),
            DeValue::Boolean(flag) => json!(flag),
            // A JSON Schema sees TOML dates as strings.
            DeValue::Datetime(moment) => json!(moment.to_string()),
            DeValue::Array(items) => items.iter().map(|item| value(item.get_ref())).collect(),
            DeValue::Table(entries) => table(entries),
        }
    }
    fn table(entries: &DeTable<'_>) -> Json {
        let entries = entries.iter();
        entries.map(|(key, entry)| (key.get_ref().to_string(), value(entry.get_ref()))).collect()
    }
    table(DeTable::parse(source).unwrap().get_ref())
}

/// Validates a value against a schema, for the keywords that the schema of declarations uses.
fn validate(schema: &Json, value: &Json) -> Result<(), String> {
    let fail = |keyword: &str| Err(format!("{value} is not valid: {keyword} of {schema}"));
    // Check the type first, because the other keywords apply to values of that type.
    let (types, others): (Vec<_>, Vec<_>) =
        schema.as_object().unwrap().iter().partition(|(keyword, _)| *keyword == "type");
    for (keyword, rule) in types.into_iter().chain(others) {
        let size = || rule.as_u64().and_then(|size| usize::try_from(size).ok()).unwrap();
        let is_valid = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "properties" => true,
            "type" => {
                let kind = match value {
                    Json::String(_) => "string",
                    Json::Number(number) if number.is_i64() => "integer",
                    Json::Bool(_) => "boolean",
                    Json::Array(_) => "array",
                    Json::Object(_) => "object",
                    _ => "other",
                };
                rule == kind || rule.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)))
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= rule.as_i64(),
            "maximum" => value.as_i64() <= rule.as_i64(),
            "maxLength" => value.as_str().unwrap().chars().count() <= size(),
            "minItems" => value.as_array().unwrap().len() >= size(),
            "maxItems" => value.as_array().unwrap().len() <= size(),
            "uniqueItems" => {
                let items: BTreeSet<String> =
                    value.as_array().unwrap().iter().map(Json::to_string).collect();
                items.len() == value.as_array().unwrap().len()
            }
            "items" => {
                value.as_array().unwrap().iter().try_for_each(|item| validate(rule, item))?;
                true
            }
            "minProperties" => value.as_object().unwrap().len() >= size(),
            "maxProperties" => value.as_object().unwrap().len() <= size(),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "propertyNames" => {
                value
                    .as_object()
                    .unwrap()
                    .keys()
                    .try_for_each(|key| validate(rule, &json!(key)))?;
                true
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (key, value) in value.as_object().unwrap() {
                    match known.get(key) {
                        Some(rule) => validate(rule, value)?,
                        None if rule == &json!(false) => return fail(key),
                        None => validate(rule, value)?,
                    }
                }
                true
            }
            "pattern" => {
                // All patterns are a set of first characters, a set of further characters, and a length.
                let parts: Vec<&str> =
                    rule.as_str().unwrap().split(['[', ']', '{', '}', ',']).collect();
                let ["^", first, "", others, "", "0", most, "$"] = parts[..] else {
                    panic!("{rule} is another pattern")
                };
                let is_in = |set: &str, c: char| {
                    (set.contains("a-z") && c.is_ascii_lowercase())
                        || (set.contains("A-Z") && c.is_ascii_uppercase())
                        || (set.contains("0-9") && c.is_ascii_digit())
                        || (set.contains('_') && c == '_')
                };
                let text = value.as_str().unwrap();
                text.starts_with(|c| is_in(first, c))
                    && text.chars().skip(1).all(|c| is_in(others, c))
                    && text.len() <= most.parse::<usize>().unwrap() + 1
            }
            other => panic!("the keyword {other} is not known here"),
        };
        if !is_valid {
            return fail(keyword);
        }
    }
    Ok(())
}

#[test]
fn the_json_schema_fits_the_format() {
    let schema = json_schema();
    for source in [BUILT_IN.to_owned(), start("concerts").unwrap()] {
        validate(&schema, &as_json(&source)).unwrap();
        assert_eq!(check(&format!("--- x\n{source}")), "");
    }
    for wrong in ["", "name = \"m\"", "x = 1", "name = 5", "[fields.a]\ntype = \"int\"", "[fields]"]
    {
        assert!(validate(&schema, &as_json(wrong)).is_err(), "{wrong}");
    }
}

/// Infers a declaration from a file, checks that it is valid, and returns it without comments and blank lines.
fn inferred(file: &[u8]) -> String {
    let text = infer(Cursor::new(file.to_vec()), Options::default(), "things").unwrap();
    let catalogue = Catalogue::parse([("x.toml", text.as_str())]);
    assert!(catalogue.is_ok(), "{}\n{text}", report(&catalogue.unwrap_err()));
    text
}

#[test]
fn a_declaration_is_inferred_from_csv() {
    let file = "Title,Release Year,code,score,on,at,flag,key,note,id,,Title,and\r\n\
                \"A \"\"B\"\"\",1999,007,1.5,2024-02-29,2024-01-01T00:00:00Z,true,\
                0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50,31/12/2027,1,x,'=1,a\r\n\
                \r\n\
                ,,,,,,,,,,,,\r\n\
                B,-2,010,2,2024-03-01,2024-01-02T00:00:00Z,false,\
                0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f51,,2,x,b,a\r\n\
                C,1\r\n";
    let expected = "\
# Inferred from 2 rows. It only knows this file: check types, lengths, ranges
# and keys, and `cinequery records check` the result.
# 1 row could not be read. The first: line 6: has 2 cells, but the header line has 13 names
# To import the file:
# cinequery import FILE --collection things --map 'id=id_value,Title (2)=title_2,and=and_value'
name = \"Thing\"
collection = \"things\"
description = \"\"

# No two of 2 rows have the same values. Also unique: [\"release_year\"], [\"code\"], [\"score\"].
unique = [[\"title\"]]

# From the column \"Title\".
# a value in each row; 1 to 5 characters
[fields.title]
type = \"text\"
length = [1, 10]
example = \"A \\\"B\\\"\"

# From the column \"Release Year\".
# a value in each row; -2 to 1999
[fields.release_year]
type = \"integer\"
range = [-9, 9999]
example = 1999

# a value in each row; 3 to 3 characters
# numbers with leading zeros, which an integer would lose
[fields.code]
type = \"text\"
length = [1, 10]
example = \"007\"

# a value in each row; 1 to 3 characters
# numbers with a fraction; there is no type for them, so they are texts
[fields.score]
type = \"text\"
length = [1, 10]
example = \"1.5\"

# a value in each row
[fields.on]
type = \"date\"
example = 2024-02-29

# a value in each row
[fields.at]
type = \"timestamp\"
example = 2024-01-01T00:00:00.000000Z

# a value in each row
[fields.flag]
type = \"boolean\"
example = true

# a value in each row
[fields.key]
type = \"id\"
example = \"0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50\"

# null in 1 row; 10 to 10 characters
# these look like dates; with --dates dmy or mdy they can have the type date
[fields.note]
type = \"text\"
length = [1, 20]
required = false
example = \"31/12/2027\"

# From the column \"id\".
# a value in each row; 1 to 2
[fields.id_value]
type = \"integer\"
range = [0, 9]
example = 1

# Left out: the column \"\". The reason: it has no name.

# From the column \"Title (2)\".
# a value in each row; 1 to 2 characters
[fields.title_2]
type = \"text\"
length = [1, 10]
example = \"=1\"

# From the column \"and\".
# a value in each row; 1 to 1 characters
[fields.and_value]
type = \"text\"
length = [1, 10]
example = \"a\"
";
    assert_eq!(inferred(file.as_bytes()), expected);
}

/// Headers, the names of the inferred fields, and the mapping that an import needs.
const NAMED: &[(&str, &[&str], &str)] = &[
    ("a,a,a_2", &["a", "a_2_2", "a_2"], "a (2)=a_2_2"),
    ("a,a,A 2,a_3", &["a", "a_2", "a_2_2", "a_3"], "a (2)=a_2,A 2=a_2_2"),
    ("A,a", &["a_2", "a"], "A=a_2"),
    ("id,id_value", &["id_value_2", "id_value"], "id=id_value_2"),
    ("1,2,column_2", &["column", "column_3", "column_2"], "1=column,2=column_3"),
    ("x,,x", &["x", "", "x_2"], "x (2)=x_2"),
];

#[test]
fn field_names_are_unique_and_the_mapping_for_an_import_is_printed() {
    for (header, expected, mapping) in NAMED {
        let cells: Vec<&str> = header.split(',').map(|_| "v").collect();
        let text = inferred(format!("{header}\n{}\n", cells.join(",")).as_bytes());
        let advice = format!("# cinequery import FILE --collection things --map '{mapping}'\n");
        assert!(text.contains(&advice), "{header}: {text}");
        for name in expected.iter().filter(|name| !name.is_empty()) {
            assert_eq!(text.matches(&format!("[fields.{name}]\n")).count(), 1, "{header}: {text}");
        }
    }
    // Names that an import accepts as they are.
    for header in ["a,b", "a,,", "A,Release Year"] {
        let text = inferred(format!("{header}\n{header}\n").as_bytes());
        assert!(!text.contains("import"), "{text}");
    }
}

/// Values of a column, and the comment on them.
const REMARKED: &[(&[&str], &str)] = &[
    (
        &["on", "OFF"],
        "# these look like booleans; written as yes and no they can have the type boolean",
    ),
    (
        &["31/12/2027", "1/1/2028"],
        "# these look like dates; with --dates dmy or mdy they can have the type date",
    ),
    (&["007", "123"], "# numbers with leading zeros, which an integer would lose"),
    (&["1.5", "2e3"], "# numbers with a fraction; there is no type for them, so they are texts"),
];

#[test]
fn texts_that_look_like_another_type_get_a_comment() {
    for (values, expected) in REMARKED {
        let text = inferred(format!("a\n{}\n", values.join("\n")).as_bytes());
        assert!(text.contains(&format!("{expected}\n[fields.a]\ntype = \"text\"\n")), "{text}");
        let mixed = format!("a\n{}\nother\n", values.join("\n"));
        assert!(!inferred(mixed.as_bytes()).contains(expected), "{values:?}");
    }
}

/// A few mistakes make texts of a column of dates, which a comment says.
#[test]
fn a_column_with_few_exceptions_gets_a_comment() {
    for (value, other, ty) in [("2030-01-31", "soon", "date"), ("1999", "MCMXC", "integer")] {
        let file = format!("a\n{}{other}\n", format!("{value}\n").repeat(19));
        let expected = format!(
            "# 19 of 20 values have the type {ty}; declare it to reject the others\n[fields.a]\n"
        );
        let text = inferred(file.as_bytes());
        assert!(text.contains(&expected), "{text}");
        let mixed = format!("a\n{}", format!("{value}\n{other}\n").repeat(5));
        assert!(!inferred(mixed.as_bytes()).contains("declare it"));
    }
}

#[test]
fn a_declaration_is_inferred_from_ndjson() {
    let file = "{\"a\": \"x\", \"n\": 1, \"list\": [1], \"mixed\": 1, \"empty\": \"\"}\n\n\
                {\"n\": 3000000000, \"a\": \"x\", \"mixed\": \"1\", \"late\": true, \"f\": 1.5, \"empty\": \"b\"}\n\
                nonsense\n";
    let text = inferred(file.as_bytes());
    for part in [
        "# 1 row could not be read. The first: line 4: ",
        "[fields.n]\ntype = \"integer\"\nrange = [0, 9999999999]\nexample = 1\n",
        "# Left out: the column \"list\". The reason: no type has a value such as an array.\n",
        "[fields.mixed]\ntype = \"integer\"\n",
        "[fields.f]\ntype = \"text\"\n",
        "# null in 1 row\n[fields.late]\ntype = \"boolean\"\nrequired = false\n",
        "[fields.empty]\ntype = \"text\"\nlength = [1, 10]\nrequired = false\n",
        "unique = [[\"n\"]]\n",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn keys_are_found_in_pairs_and_near_misses_are_named() {
    let rows = (0..100).map(|n| format!("t{},{},x\n", n / 2, 2000 + n % 2));
    let mut file = format!("title,year,other\n{}", rows.collect::<String>());
    assert!(inferred(file.as_bytes()).contains("\nunique = [[\"title\", \"year\"]]\n"));
    file.push_str("t1,2000,x\n");
    let text = inferred(file.as_bytes());
    assert!(
        text.contains(
            "# Nearly unique (1 repeated, of 101 rows); an import reports those.\n\
             # unique = [[\"title\", \"year\"]]\n"
        ),
        "{text}"
    );
}

#[test]
fn messy_files_are_read() {
    let semicolons = inferred(b"\xEF\xBB\xBFa;b,c;d\r\n1;x;y\r\n");
    assert!(semicolons.contains("[fields.a]\ntype = \"integer\"\n"), "{semicolons}");
    assert!(semicolons.contains("[fields.b_c]\n"), "{semicolons}");
    assert!(inferred(b"a\tb\n1\t2\n").contains("[fields.b]\ntype = \"integer\"\n"));
    let dates = "day,seen\n15/02/2030,yes\n01/03/2030,no\n";
    let options = Options { dates: Some(Order::Dmy), ..Options::default() };
    let dated = infer(dates.as_bytes(), options, "days").unwrap();
    assert!(dated.contains("[fields.day]\ntype = \"date\"\n"), "{dated}");
    assert!(dated.contains("# cinequery import FILE --collection days --dates dmy\n"), "{dated}");
    assert!(inferred(b"a\n\xFF\n").contains("example = \"\u{ff}\"\n"));
    let failure = |file: &[u8], format| {
        let file = Cursor::new(file.to_vec());
        infer(file, format, "things").unwrap_err().detail.to_string()
    };
    assert!(failure(b"", Format::Csv).contains("the file is empty"));
    assert!(
        failure(b"{\"a\":\"\xFF\"}\n", Format::Ndjson)
            .contains("no row can be read; line 1: not UTF-8")
    );
    assert!(failure(b"[1]\n", Format::Ndjson).contains("no row can be read; line 1"));
    assert!(failure(b"{}\n", Format::Ndjson).contains("no column"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_is_inferred_is_valid(
        header in prop::collection::vec("[a-zA-Z_ é\u{1b}\"]{0,9}|select|id|version|created_at|[a-z]{70}", 1..8),
        rows in prop::collection::vec(
            prop::collection::vec("|[0-9]{1,20}|-?[0-9]|true|2024-02-29|.{0,30}|[a-z]{200}", 1..8), 0..9
        ),
    ) {
        let mut file = csv::Writer::from_writer(Vec::new());
        file.write_record(&header).unwrap();
        for mut row in rows {
            row.resize(header.len(), String::new());
            file.write_record(&row).unwrap();
        }
        let file = file.into_inner().unwrap();
        if let Ok(text) = infer(Cursor::new(file), Format::Csv, "things") {
            let catalogue = Catalogue::parse([("x.toml", text.as_str())]);
            prop_assert!(catalogue.is_ok(), "{}\n{text}", report(&catalogue.unwrap_err()));
        }
    }
}

fn records(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    run(folder, &[&["records"], arguments].concat())
}

#[test]
fn the_command_line_checks_and_writes_declarations() {
    let folder = folder();
    let (code, listed, _) = records(folder.path(), &["check"]);
    let movies =
        "movies: Movie, 4 fields, natural key title, release_year, 3 indexes, 5 searches\n";
    assert_eq!((code, listed.as_str()), (0, movies));
    let (code, text, _) = records(folder.path(), &["init", "movies"]);
    assert_eq!((code, text.as_str()), (0, BUILT_IN));
    std::fs::create_dir(folder.path().join("types")).unwrap();
    let (code, text, _) = records(folder.path(), &["init", "opening_nights"]);
    assert_eq!(code, 0);
    std::fs::write(folder.path().join("types/a.toml"), text).unwrap();
    let (code, listed, _) = records(folder.path(), &["check", "--records", "types"]);
    let listed_as =
        "opening_nights: OpeningNight, 5 fields, natural key title, 2 indexes, 1 search\n";
    assert_eq!((code, listed.as_str()), (0, listed_as));
    let (code, schema, _) = records(folder.path(), &["schema"]);
    assert_eq!((code, serde_json::from_str(&schema).ok()), (0, Some(json_schema())));

    std::fs::write(folder.path().join("films.csv"), "title\nA\n").unwrap();
    let (code, text, _) = records(folder.path(), &["infer", "films.csv"]);
    assert!(code == 0 && text.contains("collection = \"films\"\n"), "{text}");
    let (code, _, error) = records(folder.path(), &["infer", "films.csv", "--name", "users"]);
    assert!(code == 1 && error.contains("--name: \"users\" cannot be"), "{error}");

    std::fs::write(
        folder.path().join("types/b.toml"),
        "name = \"B\"\n\n[fields.a]\ntyp = \"text\"\n",
    )
    .unwrap();
    let (code, listed, error) = records(folder.path(), &["check", "types"]);
    let expected = "\
cinequery: found 3 mistakes in the declarations
error: the key `collection` is missing
 --> types/b.toml:1:1
  |
1 | name = \"B\"
  | ^
  |
  = help: add `collection = \"movies\"`
error: the key `type` is missing
 --> types/b.toml:3:9
  |
3 | [fields.a]
  |         ^
  = help: add `type = \"text\"`
error: unknown key \"typ\" in a field
 --> types/b.toml:4:1
  |
4 | typ = \"text\"
  | ^^^
  = help: did you mean \"type\"?
";
    assert_eq!((code, listed.as_str(), error.as_str()), (1, "", expected));
    // One file of a folder, without the mistakes of the others.
    let (code, listed, _) = records(folder.path(), &["check", "types/a.toml"]);
    assert_eq!((code, listed.as_str()), (0, listed_as));
    let (code, _, error) = records(folder.path(), &["check", "types/b.toml"]);
    assert!(code == 1 && error == expected, "{error}");
    let (code, _, error) = records(folder.path(), &["check", "nowhere"]);
    assert!(code == 1 && error.contains("cannot read the folder"), "{error}");
}
