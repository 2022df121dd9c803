//! The secrets that tokens are signed with.

use std::io::{ErrorKind, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The shortest secret that is accepted: as many bytes as HS256 makes (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A secret. It is never shown.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

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
    fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
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
    fn generate() -> Result<Self, String> {
        let mut bytes = [0; MIN_SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What names the secret in the header of a token (RFC 7515, section 4.1.4), and does not give it
    /// away: the beginning of its SHA-256.
    pub(super) fn id(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&self.0).get(..12).unwrap_or_default())
    }
}

/// The secrets whose tokens are accepted. The first signs; the others are on their way in or out.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub(super) signing: Secret,
    pub(super) others: Vec<Secret>,
}

impl Secrets {
    /// Takes the secrets of a text, one a line; empty lines are passed over.
    ///
    /// # Errors
    /// No secret, or one that is too short.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let secrets = lines.filter(|line| !line.is_empty()).map(Secret::new);
        let mut secrets = secrets.collect::<Result<Vec<_>, _>>()?.into_iter();
        let signing = secrets.next().map_or_else(|| Secret::new(Vec::new()), Ok)?;
        Ok(Self { signing, others: secrets.collect() })
    }

    /// One secret from the system's random numbers.
    ///
    /// # Errors
    /// A system that has none.
    pub fn generate() -> Result<Self, String> {
        Ok(Self { signing: Secret::generate()?, others: Vec::new() })
    }

    /// The secrets in the file; when there is none it is made, readable by its owner alone. Of
    /// several processes that start together, one makes it and all read the same.
    ///
    /// # Errors
    /// A file that cannot be read or written, or holds too little.
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
        // Temporary files are made with mode 0600.
        let mut file =
            tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        // A line of its own: the next secret is appended.
        let line = [Secret::generate()?.bytes(), b"\n"].concat();
        file.write_all(&line).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        match file.persist_noclobber(path) {
            Err(lost) if lost.error.kind() != ErrorKind::AlreadyExists => Err(failed(lost.error)),
            _ => parse(&std::fs::read(path).map_err(failed)?),
        }
    }
}
