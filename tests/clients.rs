//! Runs the programs in docs/clients against the service. Each uses an SDK generated from the OpenAPI document
//! only.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::contract::tools::{
    DOCUMENT, Demonstration, emptied, node, root, succeed, tool, with_node,
};
use crate::support::Database;

/// The output of a program. The numbers and movies follow from the sample catalogue.
fn expected() -> String {
    let movies = std::fs::read_to_string(root().join("sample/movies.ndjson")).unwrap();
    let created = r#"{"title": "The Third Man", "genre": "film noir", "release_year": 1949}"#;
    let movies: Vec<Value> =
        movies.lines().chain([created]).map(|movie| serde_json::from_str(movie).unwrap()).collect();
    let noir = movies.iter().filter(|movie| movie["genre"] == "film noir");
    let mut noir: Vec<(i64, &str)> = noir
        .map(|movie| (movie["release_year"].as_i64().unwrap(), movie["title"].as_str().unwrap()))
        .filter(|(year, _)| (1940..=1949).contains(year))
        .collect();
    noir.sort_unstable();
    let noir: Vec<String> = noir.iter().map(|(year, title)| format!("{title} ({year})")).collect();
    format!(
        "signed in for 1800 s\n\
         created The Third Man, version 1\n\
         retried: the same movie\n\
         found {}\n\
         walked {} movies on {} pages\n\
         updated to version 2, expiring 2032-06-30\n\
         history: updated, created\n\
         rejected: unknown_field at column 1: unknown field \"gnre\"; did you mean \"genre\"?\n\
         wrote a batch: 201, 201\n\
         deleted 2 that match a filter\n\
         deleted\n\
         restored as version 4\n",
        noir.join(", "),
        movies.len(),
        movies.len().div_ceil(10),
    )
}

/// Runs the program twice, which succeeds only if it deletes the movie it creates. Then runs it with a wrong
/// password, which it must report.
fn check(language: &str, program: impl Fn() -> Command) {
    let service = Demonstration::on(Database::sqlite());
    for _ in 0..2 {
        let mut program = program();
        service.configure(&mut program);
        assert_eq!(succeed(&mut program), expected());
    }
    let mut program = program();
    service.configure(&mut program);
    let rejected = program.env("CINEQUERY_PASSWORD", "wrong").output().unwrap();
    let output = String::from_utf8(rejected.stderr).unwrap();
    assert!(
        !rejected.status.success() && output.contains("the name or the password is wrong"),
        "{output}"
    );
    let lines = expected().lines().count();
    println!(
        "{language}: the SDK is generated and compiled, and the program prints its {lines} lines"
    );
}

/// Every file below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn typescript() {
    let sdk = emptied("sdk/typescript").join("api.d.ts");
    succeed(node("openapi-typescript").arg(DOCUMENT).arg("--output").arg(sdk));
    succeed(node("tsc").args(["--project", "docs/clients/typescript"]));
    let compiled = root().join("target/tools/node/clients/main.js");
    check("TypeScript", || {
        let mut program = with_node(Command::new(root().join("target/tools/python/bin/node")));
        program.arg(&compiled);
        program
    });
}

#[test]
#[ignore = "run by `make sdk`"]
fn python() {
    let sdk = emptied("sdk/python");
    succeed(
        tool("python/bin/openapi-python-client")
            .args(["generate", "--meta", "none", "--fail-on-warning", "--overwrite"])
            .args(["--path", DOCUMENT, "--config", "docs/clients/python/config.yaml"])
            .arg("--output-path")
            .arg(sdk.join("cinequery_client")),
    );
    succeed(
        tool("python/bin/mypy")
            .args(["--strict", "--cache-dir", "target/tools/python/mypy"])
            .arg("docs/clients/python")
            .arg(&sdk)
            .env("MYPYPATH", &sdk),
    );
    check("Python", || {
        let mut program = tool("python/bin/python");
        program.args(["-W", "error", "docs/clients/python/main.py"]).env("PYTHONPATH", &sdk);
        program.env("PYTHONDONTWRITEBYTECODE", "1");
        program
    });
}

#[test]
#[ignore = "run by `make sdk`"]
fn java() {
    let sdk = emptied("sdk/java");
    let carried = files(&root().join("target/tools/python/lib"), "jar");
    let [generator] = carried.as_slice() else { panic!("{carried:?}") };
    let output = succeed(
        with_node(Command::new("java"))
            .arg("-jar")
            .arg(generator)
            .args(["generate", "-i", DOCUMENT, "-c", "docs/clients/java/config.yaml", "-o"])
            .arg(&sdk),
    );
    // It prints the first for every example that is an object. It prints the second for the relative server URL,
    // from which it generates a default that no client uses: the program sets the URL of the service.
    let harmless = ["Ignoring complex example on request body", "'scheme' not defined in the spec"];
    let warnings =
        output.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    let warnings: Vec<&str> =
        warnings.filter(|line| !harmless.iter().any(|part| line.contains(part))).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");

    let jar = |name: &str| root().join("target/tools/java").join(name);
    let annotations = jar("jakarta-annotation-api.jar");
    let (classes, main) = (sdk.join("classes"), sdk.join("main"));
    let javac = |path: &[&Path], to: &Path| {
        let mut javac = with_node(Command::new("javac"));
        javac.args(["--release", "17", "-proc:none", "-encoding", "UTF-8", "-cp"]);
        javac.arg(std::env::join_paths(path).unwrap()).arg("-d").arg(to);
        javac
    };
    let sources = files(&sdk.join("src"), "java");
    let path: &[&Path] = &[generator, &annotations, &jar("httpmime.jar")];
    succeed(javac(path, &classes).arg("-nowarn").args(sources));
    let path: &[&Path] = &[&classes, generator, &annotations];
    let program = root().join("docs/clients/java/Main.java");
    succeed(javac(path, &main).args(["-Xlint:all", "-Werror"]).arg(program));
    check("Java", || {
        let mut program = Command::new("java");
        let path = std::env::join_paths([&main, &classes, generator]).unwrap();
        program.args(["-Dfile.encoding=UTF-8", "-cp"]).arg(path).arg("Main");
        program
    });
}

#[test]
#[ignore = "run by `make sdk`"]
fn rust() {
    let target = root().join("target/sdk/rust");
    succeed(
        Command::new(env!("CARGO"))
            .args([
                "clippy",
                "--quiet",
                "--locked",
                "--manifest-path",
                "docs/clients/rust/Cargo.toml",
            ])
            .arg("--target-dir")
            .arg(&target)
            .args(["--", "-D", "warnings"])
            .current_dir(root()),
    );
    let program = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "run",
            "--quiet",
            "--locked",
            "--manifest-path",
            "docs/clients/rust/Cargo.toml",
        ]);
        cargo.arg("--target-dir").arg(&target).current_dir(root());
        cargo
    };
    check("Rust", program);
}
