//! Runs every command of the documentation in its order, and compares the output with the one shown. Also compares tables
//! of the documentation with the code.

use std::path::Path;
use std::process::{Command, Stdio};

use cinequery::app::search::{DEFAULT_LIMIT, MAX_LIMIT};
use cinequery::app::transfer::MAX_ROW_BYTES;
use cinequery::error::Kind;
use cinequery::http::{DEFAULT_BODY_BYTES, DEFAULT_IMPORT_BYTES};
use cinequery::query::limits::MAX_TEXT_BYTES;
use cinequery::record::{Catalogue, declaration};

use crate::command_line::{Service, cinequery, folder, run};
use crate::support::SECRET;

const API: &str = include_str!("../docs/api.md");
const LEGACY: &str = include_str!("../docs/legacy.md");
const README: &str = include_str!("../README.md");
const RECORDS: &str = include_str!("../docs/records.md");
const TOUR: &str = include_str!("../docs/tour.md");

/// Separates the outputs of two fences.
const SEPARATOR: &str = "-- the next --";

/// The fences of a page: the language and the text of each.
fn fences(page: &str) -> Vec<(&str, &str)> {
    page.split("```").skip(1).step_by(2).map(|fence| fence.split_once('\n').unwrap()).collect()
}

/// Runs a script with the binary on `PATH`. Returns whether it succeeded, and its standard output. Standard error is that
/// of the tests.
fn in_shell(folder: &Path, script: &str) -> (bool, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_cinequery")).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([binary].into_iter().chain(std::env::split_paths(&others)));
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(folder).env_clear().env("PATH", path.unwrap());
    let output = shell.stderr(Stdio::inherit()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Runs the commands of a page in their order, in one shell, against a service with the sample
/// catalogue. Returns the output of each fence of commands.
fn printed(page: &str, settings: &[&str]) -> Vec<String> {
    let curl = Command::new("curl").arg("--version").output();
    assert!(
        curl.is_ok(),
        "the commands of README.md and docs/ need curl: install it and repeat the test"
    );
    let folder = folder();
    let movies = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/movies.ndjson");
    let (code, _, log) = run(folder.path(), &["import", movies.to_str().unwrap()]);
    assert_eq!(code, 0, "{log}");
    std::fs::write(folder.path().join("password.txt"), "correct horse battery staple").unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
    let service = Service::start(cinequery(folder.path(), &[&serve, settings].concat()));

    let commands = fences(page).into_iter().filter(|(language, _)| *language == "sh");
    let commands = commands.map(|(_, text)| format!("{text}\nprintf '\\n{SEPARATOR}\\n'\n"));
    let script = commands.collect::<String>().replace("http://127.0.0.1:8080", &service.address);
    let (succeeded, printed) = in_shell(folder.path(), &script);
    assert!(succeeded, "{printed}");
    let mut printed: Vec<String> = printed.split(SEPARATOR).map(str::to_owned).collect();
    printed.pop();
    printed
}

/// The lines that a fence shows. An indented line continues the line before it.
fn shown(text: &str) -> Vec<String> {
    let whole = text.replace("\n  ", "");
    whole.lines().map(str::to_owned).collect()
}

/// Whether a line matches the one shown, in which `…` matches any text.
fn is_like(line: &str, shown: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let [first, between @ .., last] = &parts[..] else { return line == shown };
    let rest = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let in_order = |rest: &str| {
        between.iter().try_fold(rest, |rest, part| Some(rest.split_once(part)?.1)).is_some()
    };
    rest.is_some_and(in_order)
}

#[test]
fn lines_match_what_is_shown() {
    for (shown, line, expected) in [
        ("etag: \"1\"", "etag: \"1\"", true),
        ("etag: \"1\"", "etag: \"12\"", false),
        ("retry-after: …", "retry-after: 6", true),
        ("{…\"a\":1,…\"b\":2…}", "{\"x\":0,\"a\":1,\"b\":2}", true),
        ("{…\"b\":2,…\"a\":1…}", "{\"x\":0,\"a\":1,\"b\":2}", false),
        ("{…\"a\":1…}", "{\"a\":1}]", false),
        ("aa…aa", "aaa", false),
    ] {
        assert_eq!(is_like(line, shown), expected, "{shown} of {line}");
    }
}

/// Checks a page whose fences are commands and their output in turn.
fn check_shown(page: &str, settings: &[&str]) {
    let fences = fences(page);
    let mut printed = printed(page, settings).into_iter();
    for pair in fences.chunks(2) {
        let [("sh", command), (_, text)] = pair else {
            panic!("expected commands and their output in turn, found {pair:?}")
        };
        let printed = printed.next().unwrap();
        let (mut lines, shown) = (printed.lines(), shown(text));
        assert!(!shown.is_empty(), "{command}\nshows nothing");
        for shown in shown {
            // Lines are compared in order: the search continues after the previous match.
            let is_there = lines.any(|line| is_like(line, &shown));
            assert!(
                is_there,
                "{command}\nprints no line such as\n{shown}\nafter the previous one, but{printed}"
            );
        }
    }
    assert_eq!(printed.next(), None);
}

#[test]
fn readme_shows_what_a_search_returns() {
    check_shown(README, &["--auth", "open"]);
}

#[test]
fn the_interface_is_as_its_page_says() {
    check_shown(API, &["--admin-password-file", "password.txt"]);
    for section in API.split("\n## ") {
        assert!(section.contains("```sh\n"), "a section without a command: {section}");
    }
}

/// A problem document.
const PROBLEM: &str = "\"type\":\"about:blank\"";

/// Parts of the output of each fence of the tour, in order.
const TOUR_PRINTS: &[&[&str]] = &[
    &[],
    &["{\"items\":[{", "\"genre\":\"drama\",", "\"expiry_date\":\"2024-0"],
    &["{\"items\":[{\"id\":", "\"expiry_date\":\"2025-", "\"next_cursor\":\"", "\"total\":"],
    &["{\"by\":\"release_year\",\"interval\":\"decade\",\"items\":[{\"value\":", "\"filter\":\""],
    &[PROBLEM, "\"column\":1,", "did you mean \\\"genre\\\"?", "write `=`"],
    &["{\"items\":[],\"why\":[{", "\"instead\":\"genre = 'drama'\"", "{\"verdict\":\""],
    &["{\"name\":\"by-genre\",", "\"default\":1990", "{\"items\":[{", "\"genre\":\"comedy\","],
    &["\"sql\":\"SELECT ", "\"plan\":[\"", "\"movies_genre_expiry_date\""],
    &["\"genre\":\"comedy\",", "\"version\":2,"],
    &["201 Created", "idempotency-replayed: true", "\"title\":\"My Retry\","],
    &[
        "{\"results\":[{\"status\":201,",
        "{\"matched\":2,\"written\":0,\"items\":[{",
        PROBLEM,
        "\"matched\":2,",
        "{\"matched\":2,\"written\":2}",
    ],
    &[
        "{\"items\":[{\"version\":3,\"kind\":\"deleted\",",
        "{\"field\":\"genre\",\"before\":\"drama\",\"after\":\"comedy\"}",
        "\"version\":4,",
        "{\"items\":[{\"position\":",
    ],
    &["{\"created\":0,\"updated\":0,\"skipped\":610,\"rejected\":0,"],
];

/// Parts of the output of the fence of docs/legacy.md.
const LEGACY_ROUTES: &[&[&str]] = &[&[
    "{\"title\":\"An Old Movie\",\"genre\":\"drama\",\"release_year\":2000,\"expiry_date\":\"2024-01-05\"}",
    "{\"movies\":[{\"title\":",
]];

#[test]
fn the_commands_of_tours_print_what_is_expected() {
    for (name, page, expected) in
        [("docs/tour.md", TOUR, TOUR_PRINTS), ("docs/legacy.md", LEGACY, LEGACY_ROUTES)]
    {
        let printed = printed(page, &["--auth", "open"]);
        assert_eq!(printed.len(), expected.len(), "{name} has other fences of commands");
        for (printed, parts) in printed.iter().zip(expected) {
            for part in *parts {
                assert!(printed.contains(part), "{name} prints no {part}, but{printed}");
            }
            let is_problem = printed.contains(PROBLEM);
            assert_eq!(is_problem, parts.contains(&PROBLEM), "{name}:{printed}");
        }
    }
}

/// The table of codes has exactly those of the service, with their statuses, in the same order.
#[test]
fn the_api_page_lists_every_code() {
    let rows = API.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        Some((cells.next()?.trim_end_matches('`'), cells.next()?.parse::<u16>().ok()?))
    });
    let kinds = Kind::ALL.iter().map(|(kind, _)| (kind.code(), kind.status()));
    assert_eq!(rows.collect::<Vec<_>>(), kinds.collect::<Vec<_>>());
}

#[test]
fn the_api_page_lists_the_limits() {
    let import = usize::try_from(DEFAULT_IMPORT_BYTES).unwrap();
    for bytes in [DEFAULT_BODY_BYTES, import, MAX_ROW_BYTES, MAX_TEXT_BYTES] {
        let is_there = API.lines().any(|line| {
            line.starts_with("| ") && line.split([' ', ',']).any(|w| w == bytes.to_string())
        });
        assert!(is_there, "docs/api.md has no limit of {bytes} bytes");
    }
    let page = format!("1 to {MAX_LIMIT}, {DEFAULT_LIMIT} by default");
    assert!(API.contains(&page), "docs/api.md has no {page:?}");
}

/// The commands of a terminal session in a page, each with its output.
fn session(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("$ ").skip(1).map(|part| part.split_once('\n').unwrap())
}

/// The tour's recipe for a record type, from a CSV file to another field: each command prints what it shows.
#[test]
fn a_record_type_is_added_as_the_tour_says() {
    let (_, recipe) = TOUR.split_once("\n## Your own record types\n").unwrap();
    let (recipe, _) = recipe.split_once("\n## ").unwrap();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // All commands share their variables, as in one terminal.
    std::fs::write(at("variables"), "").unwrap();
    let mut service: Option<Service> = None;
    for (language, text) in fences(recipe) {
        if language == "csv" {
            std::fs::write(at("books.csv"), text).unwrap();
            continue;
        }
        if language == "toml" {
            let declared = std::fs::read_to_string(at("records/books.toml")).unwrap();
            std::fs::write(at("records/books.toml"), format!("{declared}\n{text}")).unwrap();
            continue;
        }
        for (command, shown) in session(text) {
            if let Some(settings) = command.strip_prefix("cinequery serve ") {
                // A second service listens at the URL of the first, which is in the variables.
                let listen = service.take().map(|service| service.address.clone());
                let listen = listen.as_deref().unwrap_or("http://127.0.0.1:0");
                let listen = listen.trim_start_matches("http://");
                let serve = format!("serve --records records --listen {listen} {settings}");
                let serve: Vec<&str> = serve.split(' ').collect();
                service = Some(Service::start(cinequery(folder.path(), &serve)));
                continue;
            }
            let url = service.as_ref().map_or("", |service| &service.address);
            let command = command.replace("http://127.0.0.1:8080", url);
            let script =
                format!("exec 2>&1\nset -a\n. ./variables\n{command}\nexport -p > variables\n");
            let (succeeded, printed) = in_shell(folder.path(), &script);
            assert!(succeeded, "{command}\n{printed}");
            let mut lines = printed.lines();
            for shown in shown.lines().filter(|line| !line.is_empty()) {
                let is_there = lines.any(|line| is_like(line, shown));
                assert!(is_there, "{command}\nprints no line such as\n{shown}\nbut\n{printed}");
            }
        }
    }
    assert!(service.is_some(), "the recipe starts no service");
}

/// The example in docs/records.md is a valid declaration, and the tables have every key and type.
#[test]
fn the_records_page_lists_every_key_and_type() {
    let (_, example) = *fences(RECORDS).iter().find(|(language, _)| *language == "toml").unwrap();
    Catalogue::parse([("books.toml", example)]).unwrap();
    let schema = declaration::json_schema();
    for place in
        ["", "/properties/fields/additionalProperties", "/properties/searches/additionalProperties"]
    {
        let properties =
            schema.pointer(&format!("{place}/properties")).unwrap().as_object().unwrap();
        for key in properties.keys() {
            assert!(
                RECORDS.contains(&format!("\n| `{key}` |")),
                "docs/records.md has no row for {key}"
            );
        }
    }
    let types = schema.pointer("/properties/fields/additionalProperties/properties/type/enum");
    for ty in types.unwrap().as_array().unwrap() {
        let row = format!("\n| `{}` |", ty.as_str().unwrap());
        assert!(RECORDS.contains(&row), "docs/records.md has no row for {ty}");
    }
}

/// Every message of the page about troubleshooting is one that the program has.
#[test]
fn the_messages_of_the_troubleshooting_page_exist() {
    let page = include_str!("../docs/operate/troubleshooting.md");
    let (before, _) = page.split_once("## 401").unwrap();
    let messages = before.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let messages: Vec<&str> = messages.collect();
    assert!(messages.len() > 15);
    // Long texts are continued on the next line of the source.
    let joined = |source: &str| {
        let lines = source.lines().map(|line| line.trim().trim_end_matches('\\').to_owned());
        lines.collect::<String>()
    };
    let sources: String =
        crate::architecture::sources().iter().map(|(_, source)| joined(source)).collect();
    for message in messages {
        assert!(sources.contains(message), "no message has {message:?}");
    }
}
