//! The programs that `make tools` installs, which read the OpenAPI document, and a service to test them with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::command_line::{Service, cinequery, folder, run};
use crate::support::{Database, SECRET};

pub const DOCUMENT: &str = "openapi/v1.json";

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of `target/tools`, to be run in the folder of the repository.
pub fn tool(path: &str) -> Command {
    let tools = root().join("target/tools");
    let program = tools.join(path);
    assert!(program.exists(), "target/tools/{path} is missing: `make tools` installs it");
    with_node(Command::new(program))
}

/// A program of Node.js, or one of its packages by name.
pub fn node(package: &str) -> Command {
    tool(&format!("node/node_modules/.bin/{package}"))
}

/// Puts the Node.js of `target/tools` first on PATH, with its packages.
pub fn with_node(mut command: Command) -> Command {
    let tools = root().join("target/tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [tools.join("python/bin")].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(path).unwrap());
    command.env("NODE_PATH", tools.join("node/node_modules")).current_dir(root());
    command
}

/// An empty folder below `target`.
pub fn emptied(path: &str) -> PathBuf {
    let folder = root().join("target").join(path);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command and asserts that it succeeds. Returns its standard output, followed by its standard error.
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let output =
        [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success(), "{command:?} failed:\n{output}");
    output
}

/// A service with movies and users, in a process of its own.
pub struct Demonstration {
    service: Service,
    _database: Database,
    _folder: TempDir,
}

const ADMIN: &str = "admin";
const PASSWORD: &str = "correct horse battery staple";

impl Demonstration {
    pub fn on(database: Database) -> Self {
        Self::with(database, &[])
    }

    /// Starts the service with further settings.
    pub fn with(database: Database, settings: &[&str]) -> Self {
        let (folder, url) = (folder(), database.url());
        let movies = root().join("sample/movies.ndjson");
        let import = ["import", movies.to_str().unwrap(), "--database", &url];
        let (code, _, log) = run(folder.path(), &import);
        assert_eq!(code, 0, "{log}");
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--database", &url, "--rate-limit", "off"];
        let secrets = ["--jwt-secret", SECRET, "--admin-password-file", "password"];
        let service =
            Service::start(cinequery(folder.path(), &[&serve[..], &secrets, settings].concat()));
        Self { service, _database: database, _folder: folder }
    }

    pub fn url(&self) -> &str {
        &self.service.address
    }

    /// Passes the URL of the service and the credentials of the administrator to a program, as environment variables.
    pub fn configure(&self, command: &mut Command) {
        command.env("CINEQUERY_URL", self.url());
        command.env("CINEQUERY_USERNAME", ADMIN).env("CINEQUERY_PASSWORD", PASSWORD);
    }
}
