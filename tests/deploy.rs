//! Checks that the image and the manifests agree with the crate. `make image` tests the image, and
//! `make manifests` validates the manifests.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cinequery::record::BUILT_IN;

use crate::command_line::{Service, folder};
use crate::support::records::SCREENINGS;
use crate::support::{Client, SECRET};

const CONFIG: &str = include_str!("../src/config.rs");
const DOCKERFILE: &str = include_str!("../Dockerfile");
const IMAGE: &str = include_str!("../deploy/image.sh");
const MANIFESTS: &str = include_str!("../deploy/kubernetes.yaml");

/// The values that follow `name` at the start of a line of the manifests.
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

/// The unit is valid, and gives the service few rights.
#[test]
fn the_unit_of_systemd_is_hardened() {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/systemd-analyze");
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/cinequery.service");
    // The binary is not installed here.
    let folder = folder();
    let own = folder.path().join("cinequery.service");
    let text = std::fs::read_to_string(unit).unwrap();
    std::fs::write(&own, text.replace("/usr/local/bin/cinequery", "/bin/true")).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(tool).args(arguments).arg(&own).output();
        let output = output.expect("run `make tools`, which installs systemd-analyze");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (is_valid, messages) = run(&["verify"]);
    let own_messages = messages.lines().filter(|line| line.contains("cinequery.service"));
    assert_eq!(own_messages.collect::<Vec<_>>(), Vec::<&str>::new(), "{is_valid}: {messages}");
    let (is_safe, report) = run(&["security", "--offline=true", "--threshold=15"]);
    assert!(is_safe, "{report}");
    for word in text.split([' ', '=', ':']).filter(|word| word.starts_with("CINEQUERY_")) {
        assert!(CONFIG.contains(&format!("\"{word}\"")), "{word}");
    }
}

#[test]
fn the_image_agrees_with_the_package() {
    let image = format!("/rust:{}-slim-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(DOCKERFILE.contains(&image), "Dockerfile uses another version of Rust");
    let description = format!(".description=\"{}\"", env!("CARGO_PKG_DESCRIPTION"));
    assert!(DOCKERFILE.contains(&description), "Dockerfile has another description");
    let version = concat!("cinequery:", env!("CARGO_PKG_VERSION"));
    assert_eq!(values("image: ").collect::<Vec<_>>(), [version]);
}

#[test]
fn the_image_has_all_files_that_the_sources_include() {
    let listed: Vec<&str> = include_str!("../.dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for (file, source) in super::architecture::sources() {
        for (at, _) in source.match_indices("\"../") {
            let path = source[at + 1..].trim_start_matches("../").split('"').next().unwrap();
            let is_listed = |entry: &&str| Path::new(path).starts_with(entry);
            assert!(
                listed.iter().any(is_listed),
                "src/{file} includes {path}: add it to .dockerignore"
            );
        }
    }
}

#[test]
fn the_secret_has_all_keys_of_the_manifests() {
    let command = include_str!("../docs/operate/containers.md");
    let keys: Vec<&str> = values("key: ").collect();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let literal = format!("--from-literal={key}=");
        assert!(
            command.contains(&literal),
            "docs/operate/containers.md creates a Secret without {key}"
        );
    }
}

#[test]
fn the_grace_period_is_longer_than_shutdown() {
    let before = number(include_str!("../src/cli/serve.rs"), "SHUTDOWN_DELAY: Duration");
    let source = include_str!("../src/http/serve.rs");
    let drain =
        number(source, "DRAIN_TIMEOUT: Duration") + number(source, "CLOSE_TIMEOUT: Duration");
    let grace = number(MANIFESTS, "terminationGracePeriodSeconds: ");
    assert!(before + drain < grace, "{before} s and {drain} s do not fit into {grace} s");
}

#[test]
fn the_manifests_declare_the_built_in_record_type() {
    let (_, block) = MANIFESTS.split_once("  movies.toml: |\n").unwrap();
    let (block, _) = block.split_once("---\n").unwrap();
    let text: String = block
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    assert!(text == BUILT_IN, "the ConfigMap differs from records/movies.toml");
    let mount = values("mountPath: ").find(|path| path.ends_with("records"));
    assert_eq!(mount, Some("/etc/cinequery/records"));
    assert!(
        MANIFESTS
            .contains("- name: CINEQUERY_RECORDS\n              value: /etc/cinequery/records\n")
    );
}

/// The user of the image.
const USER: u32 = 65532;

/// Puts files into a folder as Kubernetes mounts a ConfigMap: in a read-only hidden folder called `name`, to which
/// the link `..data` points.
fn mount(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let hidden = folder.join(name);
    std::fs::create_dir(&hidden).unwrap();
    for (file, text) in files {
        std::fs::write(hidden.join(file), text).unwrap();
        std::fs::set_permissions(hidden.join(file), Permissions::from_mode(0o444)).unwrap();
        let link = folder.join(file);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(file), link).unwrap();
        }
    }
    // The link is replaced in one step.
    symlink(name, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o555)).unwrap();
}

#[tokio::test]
async fn declarations_are_read_from_a_mounted_config_map() {
    let (records, home) = (folder(), folder());
    let (records, home) = (records.path(), home.path());
    mount(records, "..2026_01_01", &[("movies.toml", BUILT_IN)]);
    // Root can write everywhere. In that case the service runs as another user, with a copy of the binary that this
    // user can read.
    let binary = home.join("cinequery");
    std::fs::copy(env!("CARGO_BIN_EXE_cinequery"), &binary).unwrap();
    let is_root = chown(home, Some(USER), Some(USER)).is_ok();
    let start = || {
        std::fs::set_permissions(records, Permissions::from_mode(0o555)).unwrap();
        let mut command = Command::new(&binary);
        command.args([
            "serve",
            "--auth",
            "open",
            "--listen",
            "127.0.0.1:0",
            "--jwt-secret",
            SECRET,
        ]);
        command.env_clear().env("CINEQUERY_RECORDS", records).current_dir(home);
        command.env("CINEQUERY_SHUTDOWN_DELAY", "0s");
        if is_root {
            command.uid(USER).gid(USER);
        }
        Service::start(command)
    };
    let service = start();
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/api/v1/movies").await.status, 200);
    assert_eq!(client.get("/api/v1/screenings").await.status, 404);
    assert_eq!(service.stop(), Some(0));

    // The ConfigMap is changed and the deployment restarted.
    std::fs::set_permissions(records, Permissions::from_mode(0o755)).unwrap();
    mount(records, "..2026_01_02", &[("movies.toml", BUILT_IN), ("screenings.toml", SCREENINGS)]);
    let service = start();
    let client = Client::at(service.address.clone());
    assert_eq!(client.get("/api/v1/movies").await.status, 200);
    assert_eq!(client.get("/api/v1/screenings").await.status, 200);
    assert_eq!(service.stop(), Some(0));
    // So that the folders can be removed.
    std::fs::set_permissions(records, Permissions::from_mode(0o755)).unwrap();
    for name in ["..2026_01_01", "..2026_01_02"] {
        std::fs::set_permissions(records.join(name), Permissions::from_mode(0o755)).unwrap();
    }
}
