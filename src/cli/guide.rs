//! `cinequery guide`: write the manual as HTML pages.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Outcome;
use crate::http::guide;

#[derive(clap::Args)]
pub(super) struct Guide {
    /// The folder to write to, created if it is missing. `index.html` is the first page
    folder: PathBuf,
}

impl Guide {
    pub(super) fn run(self) -> Outcome {
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        for (name, _, content) in guide() {
            std::fs::write(self.folder.join(name), content).map_err(failed)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
