//! The secret that tokens are signed with.

use std::io::{ErrorKind, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The shortest secret that is accepted: as many bytes as HS256 makes (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A secret. It is never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Takes a secret that somebody chose.
    ///
    /// # Errors
    /// One that is too short.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        if bytes.len() < MIN_SECRET_BYTES {
            let found = bytes.len();
            return Err(format!("the secret has {found} bytes and needs {MIN_SECRET_BYTES}"));
        }
        Ok(Self(bytes))
    }

    /// A secret from the system's random numbers.
    ///
    /// # Errors
    /// A system that has none.
    pub fn generate() -> Result<Self, String> {
        let mut bytes = [0; MIN_SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes()))
    }

    /// The secret in the file; when there is none it is made, readable by its owner alone. Of
    /// several processes that start together, one makes it and all read the same.
    ///
    /// # Errors
    /// A file that cannot be read or written, or holds too little.
    pub fn read_or_create(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        match std::fs::read(path) {
            Ok(bytes) => {
                let secret = Self::new(bytes.trim_ascii_end());
                return secret.map_err(|error| format!("{}: {error}", path.display()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Temporary files are made with mode 0600.
        let mut file =
            tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        file.write_all(&Self::generate()?.0).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        match file.persist_noclobber(path) {
            Err(lost) if lost.error.kind() != ErrorKind::AlreadyExists => Err(failed(lost.error)),
            _ => Self::new(std::fs::read(path).map_err(failed)?),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
