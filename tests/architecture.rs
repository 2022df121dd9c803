//! Checks the order in which modules import each other, and which files may use which library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules, each importing only from those before it. The first three import no other module.
const ORDER: &[&str] = &[
    "config",
    "telemetry",
    "clock",
    "query",
    "openapi",
    "error",
    "record",
    "store",
    "identity",
    "admission",
    "app",
    "http",
    "cli",
];

/// A library, and the files that may use it, by the prefixes of their paths below `src`.
const CONFINED: &[(&str, &[&str])] = &[
    ("pest", &["query/parse"]),
    ("pest_derive", &["query/parse"]),
    ("sqlx", &["store"]),
    ("sea_query_sqlx", &["store"]),
    ("sea_query", &["store", "query/compile.rs", "query/dialect.rs"]),
    ("poem", &["http"]),
    // Not in `query`, so that the language can be used without the service.
    (
        "poem_openapi",
        &["openapi.rs", "error.rs", "store/import.rs", "identity/role.rs", "app", "http"],
    ),
    ("hyper", &["http", "cli/healthcheck.rs"]),
    ("hyper_util", &["http", "cli/healthcheck.rs"]),
    ("deadpool", &["store/pool.rs", "store/lease.rs", "store/connection.rs"]),
    ("tracing_appender", &["telemetry/log.rs"]),
    ("prometheus_client", &["telemetry"]),
    ("procfs", &["telemetry/process.rs"]),
    ("opentelemetry", &["telemetry/trace.rs"]),
    ("opentelemetry_otlp", &["telemetry/trace.rs"]),
    ("opentelemetry_sdk", &["telemetry/trace.rs"]),
    ("opentelemetry_http", &["telemetry/trace.rs"]),
    ("pulldown_cmark", &["http/guide.rs"]),
    ("socket2", &["http/connection.rs", "http/listener.rs", "cli/bind.rs"]),
    ("rustix", &["cli/serve.rs"]),
    ("toml", &["record/declaration/document.rs", "cli/settings_file.rs"]),
    ("csv", &["app/transfer"]),
    ("csv_core", &["app/transfer/csv.rs"]),
    ("encoding_rs", &["app/transfer/encoding.rs"]),
    ("quick_xml", &["app/transfer/workbook"]),
    ("zip", &["app/transfer/workbook.rs"]),
    ("rust_xlsxwriter", &["app/transfer/sheet.rs"]),
    ("annotate_snippets", &["cli"]),
    ("governor", &["admission/local.rs", "http/event.rs"]),
    ("redis", &["admission/shared.rs"]),
    ("ipnet", &["admission/proxies.rs"]),
    ("jsonwebtoken", &["identity/token.rs", "identity/refresh.rs", "identity/oidc.rs"]),
    ("reqwest", &["identity/oidc.rs", "telemetry/trace.rs"]),
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

fn without_comments(source: &str) -> String {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in the code, without comments.
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
            assert!(
                own > 2,
                "src/{file} imports {imported}, and {module} must not import other modules"
            );
        }
    }
}

#[test]
fn libraries_are_used_only_in_their_files() {
    for (file, source) in sources() {
        for (library, places) in CONFINED {
            let path = format!("{library}::");
            let is_named = named(&source, &path).next().is_some();
            let may = places.iter().any(|place| file.starts_with(place));
            assert!(!is_named || may, "src/{file} uses {library}");
        }
    }
}

/// The path of a file's module below `crate`, such as `http`, `specification`.
fn module(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs").split('/').collect()
}

/// Parses an import such as `super::{a, b::c}` at the start of `text` and appends its paths to `paths`, each
/// prefixed with `prefix`. Returns the rest of `text`.
fn expand<'a>(text: &'a str, prefix: &[&'a str], paths: &mut Vec<Vec<&'a str>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            match rest.strip_prefix('}') {
                Some(rest) => return rest,
                None => rest = expand(rest, prefix, paths),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = [prefix, &[name]].concat();
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, &path, paths),
        None => {
            paths.push(path);
            // A `*` instead of a name.
            if end == 0 { rest.get(1..).unwrap_or_default() } else { rest }
        }
    }
}

/// The paths that a file uses, relative to `crate`. A module within the file counts as the file.
fn paths<'a>(own: &[&'a str], code: &'a str) -> Vec<Vec<&'a str>> {
    let is_start =
        |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
    let starts = ["crate::", "super::"].into_iter().flat_map(|root| code.match_indices(root));
    let mut paths = Vec::new();
    for (at, _) in starts.filter(|(at, _)| is_start(*at)) {
        expand(&code[at..], &[], &mut paths);
    }
    let absolute = |path: Vec<&'a str>| {
        let up = path.iter().take_while(|name| **name == "super").count();
        match path[0] {
            "crate" => path[1..].to_vec(),
            _ => [&own[..own.len() - up], &path[up..]].concat(),
        }
    };
    paths.into_iter().map(absolute).collect()
}

#[test]
fn files_of_a_module_have_no_import_cycles() {
    let sources = sources();
    let modules: BTreeSet<Vec<&str>> = sources.iter().map(|(file, _)| module(file)).collect();
    // Which module imports which of its siblings. Submodules of a sibling count as the sibling.
    let mut imports: BTreeMap<Vec<&str>, BTreeSet<Vec<&str>>> = BTreeMap::new();
    let codes: Vec<String> = sources.iter().map(|(_, source)| without_comments(source)).collect();
    for ((file, _), code) in sources.iter().zip(&codes) {
        let own = module(file);
        for mut path in paths(&own, code) {
            while !modules.contains(&path) && path.pop().is_some() {}
            let shared = own.iter().zip(&path).take_while(|(one, other)| one == other).count();
            if shared < own.len() && shared < path.len() {
                let (own, path) = (own[..=shared].to_vec(), path[..=shared].to_vec());
                imports.entry(own).or_default().insert(path);
            }
        }
    }
    for start in imports.keys() {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(module) = open.pop() {
            for imported in imports.get(module).into_iter().flatten() {
                assert!(imported != start, "{start:?} imports itself through {module:?}");
                if reached.insert(imported) {
                    open.push(imported);
                }
            }
        }
    }
}

#[test]
fn every_file_starts_with_a_doc_comment() {
    for (file, source) in sources() {
        assert!(source.starts_with("//! "), "src/{file} does not start with a line of `//!`");
    }
}
