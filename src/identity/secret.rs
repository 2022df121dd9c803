//! The secrets that sign tokens.

use std::io::{ErrorKind, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The minimum length of a secret, in bytes: the size of a hash of HS256 (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A secret. `Debug` does not print it.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Creates a secret from configured bytes.
    ///
    /// # Errors
    /// Fails if the secret is too short.
    fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        if bytes.len() < MIN_SECRET_BYTES {
            let found = bytes.len();
            return Err(format!(
                "expected a secret of at least {MIN_SECRET_BYTES} bytes, found {found} bytes"
            ));
        }
        Ok(Self(bytes))
    }

    /// Creates a secret from random numbers of the system.
    ///
    /// # Errors
    /// Fails if the system has no random numbers.
    fn generate() -> Result<Self, String> {
        let mut bytes = [0; MIN_SECRET_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| format!("the system has no random numbers: {error}"))?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the id of the secret for the header of a token (`kid`, RFC 7515, section 4.1.4). It is a prefix of the
    /// SHA-256 hash, which does not reveal the secret.
    pub(super) fn id(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&self.0).get(..12).unwrap_or_default())
    }
}

/// The secrets whose tokens are accepted. The first one signs; the others are being rotated in or out.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub(super) signing: Secret,
    pub(super) others: Vec<Secret>,
}

impl Secrets {
    /// Parses secrets, one per line. Empty lines are ignored.
    ///
    /// # Errors
    /// Fails if there is no secret, or if one is too short.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let secrets = lines.filter(|line| !line.is_empty()).map(Secret::new);
        let mut secrets = secrets.collect::<Result<Vec<_>, _>>()?.into_iter();
        let signing = secrets.next().map_or_else(|| Secret::new(Vec::new()), Ok)?;
        Ok(Self { signing, others: secrets.collect() })
    }

    /// Creates one secret from random numbers of the system.
    ///
    /// # Errors
    /// Fails if the system has no random numbers.
    pub fn generate() -> Result<Self, String> {
        Ok(Self { signing: Secret::generate()?, others: Vec::new() })
    }

    /// Reads the secrets of a file. If the file does not exist, creates it with one secret, readable only by its
    /// owner. If several processes start together, one creates the file and all read the same secret.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or if a secret is missing or too short.
    pub fn read_or_create(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let parse =
            |text: &[u8]| Self::parse(text).map_err(|error| format!("{}: {error}", path.display()));
        match std::fs::read(path) {
            Ok(text) => return parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Temporary files are created with mode 0600.
        let mut file =
            tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        // The line feed lets an operator append the next secret.
        let line = [Secret::generate()?.bytes(), b"\n"].concat();
        file.write_all(&line).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        match file.persist_noclobber(path) {
            Err(lost) if lost.error.kind() != ErrorKind::AlreadyExists => Err(failed(lost.error)),
            _ => parse(&std::fs::read(path).map_err(failed)?),
        }
    }
}
