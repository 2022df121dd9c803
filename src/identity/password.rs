//! Sign-in with passwords, which are stored as Argon2id hashes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::name::name_problem;
use super::rejection::rejected_of;
use super::{Credentials, Identity, Provider, Reason, Rejection, Role};
use crate::error::{Error, Kind, Result};
use crate::query::Schema;
use crate::query::text::nfc;
use crate::store::{Store, User};

/// The minimum length of a password, in characters (NIST SP 800-63B, section 3.1.1.2, without a second factor).
pub const MIN_PASSWORD: usize = 15;

/// The maximum length of a password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The maximum number of concurrent hashes. Each takes 19 MiB and a whole core (Argon2id, m = 19 MiB, t = 2, p = 1:
/// OWASP's first choice).
const MAX_CONCURRENT_HASHES: usize = 2;

/// How long a password waits to be hashed.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

const SALT_BYTES: usize = 16;

/// Dummy hash that is verified for unknown users, so that timing does not reveal which users exist. It has the usual
/// parameters and matches no password.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords on separate threads, a few at a time. Clones share this limit.
#[derive(Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    /// Memory for hashes, at most one block for each concurrent hash. It is reused: freed blocks would fragment the
    /// heap, and the process would grow with each hash.
    memory: Arc<Mutex<Vec<Memory>>>,
}

/// The working memory of Argon2: 19 MiB with the usual parameters.
type Memory = Vec<Block>;

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_CONCURRENT_HASHES)), memory: Arc::default() }
    }
}

impl Hasher {
    /// Creates a hasher with its own limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the hash of a password, as a PHC string with a random salt.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if too many passwords are waiting.
    pub async fn hash(&self, password: String) -> Result<String> {
        self.take_turn(move |memory| hash(&password, memory)).await?
    }

    /// Returns whether the password matches the hash. Without a hash, takes as long and returns `false`.
    ///
    /// # Errors
    /// Returns [`Kind::Unavailable`] if too many passwords are waiting.
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
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(QUEUE_TIMEOUT, turn).await.map_err(|_| Error {
            detail: "too many passwords are waiting to be checked; retry later".to_owned(),
            ..Error::unavailable("the queue for hashing passwords is full")
        })?;
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
    hashed()
        .map(|hash| hash.to_string())
        .ok_or_else(|| Error::internal("hashing a password with Argon2 failed"))
}

/// Returns whether the password matches the hash; `None` if the hash is malformed.
fn is_password_of(password: &str, hash: &str, memory: &mut Memory) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let found = digest(password, &hash.salt?, algorithm, version, &params, memory)?;
    // `Output` compares in constant time.
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

/// Returns a random password: 20 letters and digits, without characters that look alike (100 bits).
///
/// # Errors
/// Fails if the system has no random numbers.
pub fn random_password() -> Result<String> {
    // With 32 characters, five bits of a random byte choose one without bias.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 20];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

/// Returns the rule that a password breaks, as a predicate such as "must have …"; `None` for a valid password.
pub fn password_problem(password: &str) -> Option<String> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Some(format!("must have at most {MAX_PASSWORD_BYTES} bytes"));
    }
    let length = password.chars().count();
    (length < MIN_PASSWORD)
        .then(|| format!("must have at least {MIN_PASSWORD} characters, found {length}"))
}

/// The provider of `--auth password`.
pub struct Passwords {
    store: Store,
    hasher: Hasher,
    schemas: Vec<&'static Schema>,
}

impl Passwords {
    /// Creates a provider for the users of a store, with the scopes of their roles on these record types.
    pub fn new(store: Store, hasher: Hasher, schemas: &[&'static Schema]) -> Self {
        Self { store, hasher, schemas: schemas.to_vec() }
    }

    /// Checks credentials. Unknown names and wrong passwords get the same response after the same time.
    async fn check(&self, credentials: Credentials) -> Result<Identity> {
        let Credentials { username, password } = credentials;
        let wrong = || Error::new(Kind::Unauthenticated, "the name or the password is wrong");
        let password = password.filter(|password| password.len() <= MAX_PASSWORD_BYTES);
        // An invalid name cannot exist. Some must not reach PostgreSQL, which rejects U+0000 in text.
        let user = match name_problem(&username) {
            Some(_) => None,
            // Heavy requests of other users must not block sign-in.
            None => self.store.reserved().user(&nfc(&username)).await?,
        };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.hasher.verify(password.unwrap_or_default(), hash).await?;
        let is_known = user.is_some();
        let Some(user) = user.filter(|_| is_right) else {
            let (reason, detail) = match is_known {
                true => (Reason::Password, "wrong password"),
                false => (Reason::User, "unknown user"),
            };
            let rejection = Rejection::of_sign_in(reason, &username, detail);
            return Err(Error { cause: Some(Box::new(rejection)), ..wrong() });
        };
        self.identity(user)
    }

    /// Returns a user without checking a password.
    async fn find(&self, subject: &str) -> Result<Identity> {
        let Some(user) = self.store.reserved().user(subject).await? else {
            return Err(rejected_of(subject, Reason::User, "unknown user"));
        };
        self.identity(user)
    }

    fn identity(&self, user: User) -> Result<Identity> {
        let role = Role::of(&user.role)
            .ok_or_else(|| Error::internal(format!("unknown role {:?} of a user", user.role)))?;
        Ok(Identity { subject: user.name, scopes: role.scopes(&self.schemas) })
    }
}

impl Provider for Passwords {
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
        Box::pin(self.check(credentials))
    }

    fn look_up<'a>(&'a self, subject: &'a str) -> Option<BoxFuture<'a, Result<Identity>>> {
        Some(Box::pin(self.find(subject)))
    }

    fn keeps_passwords(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise timing would reveal unknown names.
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

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_not_a_failure_of_the_database() -> Result<()> {
        let hasher = Hasher::new();
        let running = u32::try_from(MAX_CONCURRENT_HASHES).map_err(Error::internal)?;
        let turns = hasher.turns.acquire_many(running).await.map_err(Error::internal)?;
        let error = hasher.hash("correct horse".to_owned()).await.err();
        let error = error.ok_or_else(|| Error::internal("the queue is not full"))?;
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(error.detail, "too many passwords are waiting to be checked; retry later");
        drop(turns);
        Ok(())
    }

    #[test]
    fn a_password_matches_its_hash() -> Result<()> {
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
