//! The direction of imports, and who may name which library.

use std::path::{Path, PathBuf};

/// The modules, each importing only from those before it. `config` and `telemetry` import nothing
/// of ours.
const ORDER: &[&str] = &[
    "config",
    "telemetry",
    "query",
    "error",
    "record",
    "store",
    "identity",
    "admission",
    "app",
    "http",
    "cli",
];

/// A library, and the files that may name it (by the beginning of their path below `src`).
const CONFINED: &[(&str, &[&str])] = &[
    ("pest", &["query/parse"]),
    ("pest_derive", &["query/parse"]),
    // Beside the store, the declaration of a record says how it is read from a row.
    ("sqlx", &["store", "record.rs"]),
    ("sea_query_sqlx", &["store"]),
    ("sea_query", &["store", "query/compile.rs", "query/dialect.rs"]),
    ("poem", &["http"]),
    ("hyper", &["http", "cli/healthcheck.rs"]),
    ("hyper_util", &["http", "cli/healthcheck.rs"]),
    ("deadpool", &["store/pool.rs", "store/lease.rs"]),
    ("tracing_appender", &["telemetry.rs"]),
    ("socket2", &["http/connection.rs"]),
    ("rustix", &["cli/serve.rs"]),
    ("csv", &["app/transfer"]),
    ("csv_core", &["app/transfer/csv.rs"]),
    ("annotate_snippets", &["cli"]),
    ("governor", &["admission/local.rs"]),
    ("redis", &["admission/shared.rs"]),
    ("ipnet", &["admission/address.rs"]),
    ("jsonwebtoken", &["identity/token.rs", "identity/oidc.rs"]),
    ("reqwest", &["identity/oidc.rs"]),
    ("clap", &["cli", "config.rs"]),
    ("clap_complete", &["cli.rs"]),
    ("icu_casemap", &["query/text.rs"]),
    ("icu_normalizer", &["query/text.rs"]),
];

pub(crate) fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The names that follow `prefix` in the code, comments left out.
fn named<'a>(source: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(move |line| line.match_indices(prefix).map(move |(at, _)| (line, at)))
        .filter(|(line, at)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(move |(line, at)| {
            let rest = &line[at + prefix.len()..];
            rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
        })
}

#[test]
fn modules_import_only_from_those_before_them() {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    for (file, source) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("src/{file} is in no module of the order"));
        for imported in named(&source, "crate::").filter(|name| *name != module) {
            // Macros are exported at the root.
            let Some(other) = rank(imported) else { continue };
            assert!(other < own, "src/{file} imports {imported}, which comes after {module}");
            assert!(own > 1, "src/{file} imports {imported}, and {module} imports nothing of ours");
        }
    }
}

#[test]
fn libraries_are_named_where_they_belong() {
    for (file, source) in sources() {
        for (library, places) in CONFINED {
            let path = format!("{library}::");
            let is_named = named(&source, &path).next().is_some();
            let may = places.iter().any(|place| file.starts_with(place));
            assert!(!is_named || may, "src/{file} names {library}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, source) in sources() {
        assert!(source.starts_with("//! "), "src/{file} does not begin with a line of `//!`");
    }
}

#[test]
fn the_map_gives_the_size_of_a_record_type() {
    let map = include_str!("../ARCHITECTURE.md").replace('\n', " ");
    let lines = |text: &str| text.lines().count();
    let rust = lines(include_str!("../examples/screenings/screening.rs"));
    let sentence = format!("{rust} lines of Rust");
    assert!(map.contains(&sentence), "ARCHITECTURE.md should say: {sentence}");
}
