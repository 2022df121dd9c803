//! Limits of all instances, kept in Redis.
//!
//! A task of its own holds the connection: it connects again when that is lost, and tells Redis each
//! second that this instance lives. A request never waits for a connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script, TlsCertificates};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::attempt::{FORGOTTEN_AFTER, Outcome};
use super::local::Local;
use super::{Decision, Limit, Policy};

/// How long a request waits for Redis before the limits of the process decide.
const PATIENCE: Duration = Duration::from_millis(40);

/// How long the connection may take to come about, and its check.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often an instance says that it lives, and how often a lost connection is tried again.
const PULSE: Duration = Duration::from_secs(1);

/// After how many seconds an instance that is not heard of is no longer counted.
const INSTANCE_FORGOTTEN_AFTER: u32 = 5;

/// What the names of our keys begin with.
const PREFIX: &str = "cinequery:";

/// Where Redis is.
#[derive(Clone)]
pub struct Redis(Client);

impl Redis {
    /// `redis://` or, over TLS, `rediss://`; `authority` is a certificate in PEM that the server's may be
    /// signed with, instead of the public ones.
    ///
    /// # Errors
    /// A malformed address or certificate.
    pub fn new(url: &str, authority: Option<Vec<u8>>) -> Result<Self, String> {
        let client = match authority {
            None => Client::open(url),
            Some(root_cert) => {
                let marker = b"-----BEGIN CERTIFICATE-----";
                if !root_cert.windows(marker.len()).any(|window| window == marker) {
                    return Err("the file of its authority holds no certificate".to_owned());
                }
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
                Client::build_with_tls(url, certificates)
            }
        };
        client.map(Self).map_err(|error| error.to_string())
    }
}

/// The limits that all instances share.
pub(super) struct Shared {
    redis: Redis,
    local: Arc<Local>,
    /// What tells this instance from others.
    instance: String,
    /// How many instances there are, as far as is known.
    instances: AtomicU32,
    link: RwLock<Link>,
    admit: Script,
    settle: Script,
    enlist: Script,
}

/// A connection and its number, counted from 1; none while it is lost.
#[derive(Clone, Default)]
struct Link {
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Shared {
    /// Connects, if that goes quickly, and keeps the connection.
    pub(super) async fn start(redis: Redis, local: Arc<Local>) -> Arc<Self> {
        let shared = Arc::new(Self {
            redis,
            local,
            instance: Uuid::now_v7().to_string(),
            instances: AtomicU32::new(1),
            link: RwLock::default(),
            admit: Script::new(include_str!("admit.lua")),
            settle: Script::new(include_str!("settle.lua")),
            enlist: Script::new(include_str!("enlist.lua")),
        });
        if let Err(error) = shared.connect().await {
            tracing::warn!(
                %error,
                "Redis does not answer: limits are those of this process, and not shared out, as it is \
                 not known among how many"
            );
        }
        tokio::spawn(keep(Arc::downgrade(&shared)));
        shared
    }

    /// Asks Redis; nothing when it does not answer in time.
    pub(super) async fn admit(&self, policy: Policy, limit: Limit, key: &str) -> Option<Decision> {
        let Link { number, connection: Some(mut connection) } = self.link() else { return None };
        let interval = limit.interval();
        let mut call = self.admit.prepare_invoke();
        for key in keys(policy, key) {
            call.key(key);
        }
        call.arg(microseconds(interval))
            .arg(limit.requests.get())
            .arg(microseconds(self.local.ahead(policy, key, number)))
            .arg(FORGOTTEN_AFTER.as_secs());
        let answer =
            timeout(PATIENCE, call.invoke_async::<(bool, i64, u32)>(&mut connection)).await;
        let (is_admitted, ahead, undecided) = self.answer(number, answer)?;
        let ahead = Duration::from_micros(u64::try_from(ahead).unwrap_or_default());
        self.local.write(policy, key, ahead, number);
        Some(Decision { undecided, ..decision(policy, limit, is_admitted, ahead) })
    }

    /// Settles an attempt that Redis has charged.
    pub(super) async fn settle(&self, policy: Policy, limit: Limit, key: &str, outcome: Outcome) {
        let Link { number, connection: Some(mut connection) } = self.link() else { return };
        let refund = match outcome {
            Outcome::Failure => Duration::ZERO,
            Outcome::Success => limit.interval(),
        };
        let mut call = self.settle.prepare_invoke();
        for key in keys(policy, key) {
            call.key(key);
        }
        call.arg(microseconds(refund));
        let answer = timeout(PATIENCE, call.invoke_async::<()>(&mut connection)).await;
        self.answer(number, answer);
    }

    /// How many instances there are, as far as is known; at least this one.
    pub(super) fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed)
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link().connection.is_some()
    }

    fn link(&self) -> Link {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answer; when there is none, that connection is lost.
    fn answer<T, E>(&self, number: u64, answer: Result<Result<T, RedisError>, E>) -> Option<T> {
        let error = match answer {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        // Of all requests that meet the loss, the first says so.
        if link.number == number && link.connection.take().is_some() {
            tracing::warn!(
                error,
                "Redis does not answer: limits are those of this process, shared out among as many \
                 instances as there were"
            );
        }
        None
    }

    /// Connects to a server that answers as quickly as requests need it to: another one would be lost
    /// again with the first of them.
    async fn connect(&self) -> Result<(), RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let client = &self.redis.0;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // The first time, the server reads the script.
        self.enlist(&mut connection).await?;
        let too_slow = |_| RedisError::from((ErrorKind::Io, "it answers too slowly"));
        timeout(PATIENCE, self.enlist(&mut connection)).await.map_err(too_slow)??;
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        *link = Link { number: link.number.saturating_add(1), connection: Some(connection) };
        Ok(())
    }

    async fn enlist(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut call = self.enlist.prepare_invoke();
        call.key(format!("{PREFIX}instances")).arg(&self.instance).arg(INSTANCE_FORGOTTEN_AFTER);
        let instances: u32 = call.invoke_async(connection).await?;
        self.instances.store(instances.max(1), Ordering::Relaxed);
        Ok(())
    }

    /// One beat: says that the instance lives, or tries to connect.
    async fn beat(&self) {
        match self.link() {
            Link { number, connection: Some(mut connection) } => {
                let answer = timeout(CONNECT_TIMEOUT, self.enlist(&mut connection)).await;
                self.answer(number, answer);
            }
            Link { connection: None, .. } => match self.connect().await {
                Ok(()) => tracing::info!("Redis answers: limits are those of all instances"),
                Err(error) => tracing::debug!(%error, "Redis does not answer"),
            },
        }
    }
}

/// Keeps the connection for as long as somebody holds the limits.
async fn keep(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        shared.beat().await;
        drop(shared);
        tokio::time::sleep(PULSE).await;
    }
}

fn decision(policy: Policy, limit: Limit, is_admitted: bool, ahead: Duration) -> Decision {
    let (interval, requests) = (limit.interval(), limit.requests.get());
    let room = interval.saturating_mul(requests).saturating_sub(ahead);
    let remaining = room.as_micros() / interval.as_micros().max(1);
    let remaining = u32::try_from(remaining).unwrap_or(u32::MAX).min(requests);
    let wait = if is_admitted { Duration::ZERO } else { interval.saturating_sub(room) };
    let (counted, undecided, reset) = (None, 0, ahead);
    Decision { policy, limit, is_admitted, counted, remaining, undecided, wait, reset }
}

/// The keys in Redis, which hold no user name or IP address in the clear: that of the arrival time, and for
/// attempts that of the number of undecided ones.
fn keys(policy: Policy, key: &str) -> Vec<String> {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key));
    let arrival = format!("{PREFIX}{}:{hash}", policy.bucket());
    let undecided = policy.is_of_attempts().then(|| format!("{arrival}:undecided"));
    std::iter::once(arrival).chain(undecided).collect()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
