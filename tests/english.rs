//! The words of the project's text; `CONTRIBUTING.md` has the guide, "Plain English".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Beginnings of words, or two words in a row, that are not used here; and what to write instead.
const REPLACED: &[(&str, &str)] = &[
    ("refus", "reject, error response"),
    ("answer", "response, respond, return"),
    ("somebody", "client, user, caller, operator"),
    ("nobody", "no client, no user"),
    ("anybody", "any client, any user"),
    ("everybody", "every client, every user"),
    ("whoever", "client, user, caller, operator"),
    ("told", "reported, listed"),
    ("tells", "reports, says"),
    ("passed over", "ignored, skipped"),
    ("film", "movie"),
    ("classic", "legacy"),
    ("earlier service", "previous service"),
    ("mend", "fix, repair"),
    ("holes", "vulnerabilities"),
    ("used up", "exhausted"),
    ("for ever", "forever, indefinitely"),
    ("stands behind", "follows, comes after"),
    ("stands in", "is in"),
    ("passing over", "ignoring, skipping"),
    ("one too", "over the limit"),
];

/// Where such a word is the right one: the beginning of a path, the word, how often, and why. A number may only
/// become smaller.
const EXCEPTIONS: &[(&str, &str, usize, &str)] = &[
    ("docs/reliability.md", "refus", 2, "the system's \"connection refused\""),
    ("src/store/failure.rs", "refus", 3, "the system's \"connection refused\""),
    ("tests/command_line", "refus", 2, "the system's \"connection refused\""),
    ("tests/failures.rs", "refus", 1, "the system's \"connection refused\""),
    ("tests/faults", "refus", 1, "the system's \"connection refused\""),
    ("sample/README.md", "film", 1, "the title of a list in Wikipedia"),
    ("examples/screenings", "film", 5, "a field of the record type Screening"),
    ("grammar/vectors", "film", 472, "a field of the record type Screening"),
    ("tests/language", "film", 112, "a field of the record type Screening"),
    ("tests/", "film", 108, "a field of the record type Screening"),
];

/// Pairs of words of which the first is the right one.
const NAMES: &[(&str, &str)] = &[("film", "noir")];

/// What is not ours to word, or cannot be changed: names of files and folders below the root. A migration that was
/// applied must stay as it is.
const OTHERS: &[&str] = &[
    ".git",
    "target",
    "Cargo.lock",
    "LICENSE",
    "openapi/swagger-ui",
    "sample/movies.ndjson",
    "console/dist",
    "console/node_modules",
    "console/package-lock.json",
    "console/src/api/document.d.ts",
    "contract/package-lock.json",
    "fuzz/corpus",
    "fuzz/target",
    "benches/peers/Cargo.lock",
    "fuzz/Cargo.lock",
    "tests/fixtures",
    "migrations",
    "docs/clients/java",
    "tests/english.rs",
];

const EXTENSIONS: &[&str] = &[
    "rs", "md", "toml", "pest", "json", "sh", "py", "mjs", "yaml", "yml", "sql", "ts", "js", "css",
    "html",
];

/// The files with text of ours: paths below the root, and contents.
fn texts() -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap();
            if OTHERS.iter().any(|other| name == Path::new(other)) {
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                walk(root, &path, found);
            } else if extension.map_or(path.ends_with("Makefile"), |it| EXTENSIONS.contains(&it)) {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, root, &mut found);
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The places of a text with such a word: its line, and the entry of [`REPLACED`]. Words are runs of letters, so the
/// parts of `snake_case` names count.
fn found(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        let words: Vec<&str> =
            line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let is_one = |replaced: &str| match replaced.split_once(' ') {
                Some((first, second)) => *word == first && next == second,
                None => word.starts_with(replaced) && !NAMES.contains(&(word, next)),
            };
            let replaced = REPLACED.iter().map(|(replaced, _)| *replaced);
            found.extend(replaced.filter(|replaced| is_one(replaced)).map(|it| (number + 1, it)));
        }
    }
    found
}

#[test]
fn replaced_words_are_found() {
    for (text, expected) in [
        ("the request is rejected", &[][..]),
        ("The request\nis Refused", &[(2, "refus")]),
        ("fn no_answer() {}", &[(1, "answer")]),
        ("a token that is used up", &[(1, "used up")]),
        ("used, up to now", &[(1, "used up")]),
        ("recommended", &[]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn the_text_is_plain_english() {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut unexpected = Vec::new();
    let texts = texts();
    for (name, text) in &texts {
        for (line, word) in found(text) {
            let exception =
                EXCEPTIONS.iter().find(|(path, it, ..)| name.starts_with(path) && *it == word);
            match exception {
                Some((path, word, ..)) => *counts.entry((path, word)).or_default() += 1,
                None => unexpected.push((name, line, word)),
            }
        }
    }
    for (name, line, word) in unexpected.iter().take(2000) {
        let (_, instead) = REPLACED.iter().find(|(replaced, _)| replaced == word).unwrap();
        println!("{name}:{line}: `{word}…`; write: {instead}");
    }
    assert!(unexpected.is_empty(), "{} words to replace, listed above", unexpected.len());
    for (path, word, expected, _) in EXCEPTIONS {
        let count = counts.get(&(path, word)).copied().unwrap_or_default();
        assert!(count <= *expected, "{path}: `{word}…` {count} times, at most {expected}");
        assert!(count >= *expected, "{path}: `{word}…` {count} times: lower the number to that");
    }
}
