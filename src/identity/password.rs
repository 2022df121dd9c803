//! Signing in with a password that is kept as an Argon2id hash.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::name::name_problem;
use super::{Credentials, Identity, Provider, Role};
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

/// Verified for unknown users, so that timing does not reveal who exists: with the parameters of all other
/// hashes, and of no password.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords outside of the threads that serve requests, a few at once. Clones share their
/// turns.
#[derive(Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    /// Memory of hashes, one for each turn that was ever taken at once. It is used again: the allocator
    /// would put small values into the hole that each leaves, and take more for the next.
    memory: Arc<Mutex<Vec<Memory>>>,
}

/// What Argon2 works in: 19 MiB with the usual parameters.
type Memory = Vec<Block>;

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(HASHED_AT_ONCE)), memory: Arc::default() }
    }
}

impl Hasher {
    /// A hasher with turns of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The hash of a password, as a PHC string with a salt of its own.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are waiting.
    pub async fn hash(&self, password: String) -> Result<String> {
        self.take_turn(move |memory| hash(&password, memory)).await?
    }

    /// Whether this is the password of the hash. Without a hash the answer is no, and takes as long.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are waiting.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| DECOY.to_owned());
        let is_right = self.take_turn(move |memory| is_password_of(&password, &hash, memory));
        Ok(is_right.await?.unwrap_or(false) && is_known)
    }

    async fn take_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::unavailable("too many passwords are waiting"))?;
        let turn = turn.map_err(Error::internal)?;
        let shared = Arc::clone(&self.memory);
        let done = tokio::task::spawn_blocking(move || {
            let unused = shared.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut memory = unused.unwrap_or_default();
            let done = work(&mut memory);
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            drop(turn);
            done
        });
        done.await.map_err(Error::internal)
    }
}

fn hash(password: &str, memory: &mut Memory) -> Result<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| Error::internal(error.to_string()))?;
    let (algorithm, version, params) =
        (Algorithm::default(), Version::default(), Params::default());
    let mut hashed = || {
        Some(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params).ok()?,
            salt: Some(Salt::new(&salt).ok()?),
            hash: Some(digest(password, &salt, algorithm, version, &params, memory)?),
        })
    };
    hashed().map(|hash| hash.to_string()).ok_or_else(|| Error::internal("Argon2 has failed"))
}

/// Whether the hash is that of the password; `None` when it cannot be read.
fn is_password_of(password: &str, hash: &str, memory: &mut Memory) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let found = digest(password, &hash.salt?, algorithm, version, &params, memory)?;
    // `Output` is compared in constant time.
    Some(found == hash.hash?)
}

fn digest(
    password: &str,
    salt: &[u8],
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    memory: &mut Memory,
) -> Option<Output> {
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::default());
    }
    let mut digest = [0; Output::MAX_LENGTH];
    let digest = digest.get_mut(..params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN))?;
    Argon2::new(algorithm, version, params.clone())
        .hash_password_into_with_memory(password.as_bytes(), salt, digest, memory)
        .ok()?;
    Output::new(digest).ok()
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
            // Heavy requests of others must not keep anybody from signing in.
            None => self.store.reserved().user(&nfc(&username)).await?,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise an unknown name could be told by its time.
    #[test]
    fn the_decoy_costs_what_a_hash_costs() -> Result<()> {
        let mut memory = Memory::new();
        let real = hash("correct horse battery staple", &mut memory)?;
        let parse =
            |text| PasswordHash::new(text).map_err(|error| Error::internal(error.to_string()));
        let (real, decoy) = (parse(&real)?, parse(DECOY)?);
        assert_eq!((real.algorithm, real.version), (decoy.algorithm, decoy.version));
        assert_eq!(real.params.to_string(), decoy.params.to_string());
        let lengths = |hash: &PasswordHash| {
            (hash.salt.as_ref().map(|salt| salt.len()), hash.hash.as_ref().map(Output::len))
        };
        assert_eq!(lengths(&real), lengths(&decoy));
        assert_eq!(is_password_of("", DECOY, &mut memory), Some(false));
        Ok(())
    }

    #[test]
    fn a_password_is_known_by_its_hash() -> Result<()> {
        let mut memory = Memory::new();
        let hash = hash("correct horse battery staple", &mut memory)?;
        for (password, is_right) in
            [("correct horse battery staple", true), ("correct horse", false)]
        {
            assert_eq!(is_password_of(password, &hash, &mut memory), Some(is_right));
        }
        assert_eq!(is_password_of("", "no hash", &mut memory), None);
        Ok(())
    }
}
