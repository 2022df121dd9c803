//! The image and the manifests agree with the crate. That they work is shown by `make image`, and
//! that Kubernetes understands them by `make manifests`.

use std::collections::BTreeSet;

const CONFIG: &str = include_str!("../src/config.rs");
const DOCKERFILE: &str = include_str!("../Dockerfile");
const IMAGE: &str = include_str!("../deploy/image.sh");
const MANIFESTS: &str = include_str!("../deploy/kubernetes.yaml");

/// The values after `name` at the beginning of a line of the manifests.
fn values(name: &str) -> impl Iterator<Item = &str> {
    MANIFESTS.lines().filter_map(move |line| line.trim_start().strip_prefix(name))
}

/// The first number after `name`.
fn number(text: &str, name: &str) -> u64 {
    let (_, rest) = text.split_once(name).unwrap();
    rest.split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn settings_of_the_image_and_the_manifests_exist() {
    for (file, text) in
        [("Dockerfile", DOCKERFILE), ("deploy/image.sh", IMAGE), ("the manifests", MANIFESTS)]
    {
        let names: BTreeSet<&str> = text
            .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .filter(|word| word.starts_with("CINEQUERY_"))
            .collect();
        assert!(!names.is_empty(), "{file}");
        for name in names {
            assert!(CONFIG.contains(&format!("\"{name}\"")), "{file} sets {name}");
        }
    }
}

#[test]
fn the_image_is_what_the_package_says() {
    let image = format!("/rust:{}-slim-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(DOCKERFILE.contains(&image), "Dockerfile compiles with another Rust");
    let description = format!(".description=\"{}\"", env!("CARGO_PKG_DESCRIPTION"));
    assert!(DOCKERFILE.contains(&description), "Dockerfile has another description");
    let version = concat!("cinequery:", env!("CARGO_PKG_VERSION"));
    assert_eq!(values("image: ").collect::<Vec<_>>(), [version]);
}

#[test]
fn the_image_is_built_from_everything_the_sources_include() {
    let listed: Vec<&str> = include_str!("../.dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for (file, source) in super::architecture::sources() {
        for (at, _) in source.match_indices("\"../") {
            let path = source[at + 1..].trim_start_matches("../").split('"').next().unwrap();
            let folder = path.split('/').next().unwrap();
            assert!(
                listed.contains(&folder),
                "src/{file} includes {path}: add it to .dockerignore"
            );
        }
    }
}

#[test]
fn the_secret_has_what_the_manifests_take_from_it() {
    let command = include_str!("../README.md");
    let keys: Vec<&str> = values("key: ").collect();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let literal = format!("--from-literal={key}=");
        assert!(command.contains(&literal), "README creates a Secret without {key}");
    }
}

#[test]
fn the_service_may_end_what_it_is_doing() {
    let before = number(include_str!("../src/cli/serve.rs"), "SHUTDOWN_DELAY: Duration");
    let source = include_str!("../src/http/serve.rs");
    let drain =
        number(source, "DRAIN_TIMEOUT: Duration") + number(source, "CLOSE_TIMEOUT: Duration");
    let grace = number(MANIFESTS, "terminationGracePeriodSeconds: ");
    assert!(before + drain < grace, "{before} s and {drain} s do not fit into {grace} s");
}
