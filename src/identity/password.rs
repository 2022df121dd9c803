//! Signing in with a password that is kept as an Argon2id hash.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Credentials, Identity, Provider, Role, name_problem};
use crate::error::{Error, Kind, Result};
use crate::query::Schema;
use crate::query::text::nfc;
use crate::store::Store;

/// The shortest password, in characters (NIST SP 800-63B, section 3.1.1.2, without a second factor).
pub const MIN_PASSWORD: usize = 15;

/// The longest password that is looked at, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// How many passwords are hashed at once. Each takes 19 MiB and all of a core (Argon2id, m = 19 MiB,
/// t = 2, p = 1: OWASP's first choice).
const HASHED_AT_ONCE: usize = 2;

/// How long a password waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

const SALT_BYTES: usize = 16;

/// Hashes passwords outside of the threads that serve requests, a few at once. Clones share their
/// turns.
#[derive(Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    /// The hash of no password, which the unknown are measured by.
    decoy: Arc<str>,
}

impl Hasher {
    /// A hasher with turns of its own.
    ///
    /// # Errors
    /// A system without random numbers.
    pub fn new() -> Result<Self> {
        let decoy = hash(&random_password()?)?;
        Ok(Self { turns: Arc::new(Semaphore::new(HASHED_AT_ONCE)), decoy: decoy.into() })
    }

    /// The hash of a password, as a PHC string with a salt of its own.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are waiting.
    pub async fn hash(&self, password: String) -> Result<String> {
        self.take_turn(move || hash(&password)).await?
    }

    /// Whether this is the password of the hash. Without a hash the answer is no, and takes as long.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are waiting.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        let is_right = self.take_turn(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            })
        });
        Ok(is_right.await? && is_known)
    }

    async fn take_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::unavailable("too many passwords are waiting"))?;
        let turn = turn.map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(Error::internal)
    }
}

fn hash(password: &str) -> Result<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| Error::internal(error.to_string()))?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(hash.to_string())
}

/// A password that nobody could guess: 20 letters and digits, without those that look alike.
///
/// # Errors
/// A system without random numbers.
pub fn random_password() -> Result<String> {
    // 32 of them, so that five bits of a random byte choose one without a bias.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 20];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

/// What keeps a text from being a password, if anything does.
pub fn password_problem(password: &str) -> Option<String> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Some(format!("must have at most {MAX_PASSWORD_BYTES} bytes"));
    }
    let length = password.chars().count();
    (length < MIN_PASSWORD)
        .then(|| format!("must have at least {MIN_PASSWORD} characters, and has {length}"))
}

/// The provider that asks for a password.
pub struct Passwords {
    store: Store,
    hasher: Hasher,
    schemas: Vec<&'static Schema>,
}

impl Passwords {
    /// Lets in the users of the store, with their roles' scopes on these record types.
    pub fn new(store: Store, hasher: Hasher, schemas: &[&'static Schema]) -> Self {
        Self { store, hasher, schemas: schemas.to_vec() }
    }

    /// An unknown name and a wrong password are answered in the same words and take as long.
    async fn check(&self, credentials: Credentials) -> Result<Identity> {
        let Credentials { username, password } = credentials;
        let refused = || Error::new(Kind::Unauthenticated, "the name or the password is wrong");
        let password = password.filter(|password| password.len() <= MAX_PASSWORD_BYTES);
        // What is no name is nobody's; PostgreSQL's text cannot even be asked for U+0000.
        let user = match name_problem(&username) {
            Some(_) => None,
            None => self.store.user(&nfc(&username)).await?,
        };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.hasher.verify(password.unwrap_or_default(), hash).await?;
        let user = user.filter(|_| is_right).ok_or_else(refused)?;
        let role = Role::of(&user.role)
            .ok_or_else(|| Error::internal(format!("{:?} is no role", user.role)))?;
        Ok(Identity { subject: user.name, scopes: role.scopes(&self.schemas) })
    }
}

impl Provider for Passwords {
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
        Box::pin(self.check(credentials))
    }
}
