//! Rate limits of all instances, in Redis.
//!
//! A separate task keeps the connection: it reconnects when the connection is lost, and registers this instance
//! in Redis every second. A request never waits for a connection.

use std::num::NonZeroU32;
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

/// How long a request waits for Redis before the limits of this process apply.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(40);

/// How long connecting may take, and the check of the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often an instance registers itself, and how often it retries to connect.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The number of seconds after which an instance without a heartbeat is no longer counted.
const INSTANCE_FORGOTTEN_AFTER: u32 = 5;

/// The prefix of all keys in Redis.
const PREFIX: &str = "cinequery:";

/// The location of a Redis server.
#[derive(Clone)]
pub struct Redis(Client);

impl Redis {
    /// Parses a URL: `redis://` or, for TLS, `rediss://`. `authority` is the certificate (PEM) of a private authority
    /// that signed the server's certificate. It replaces the public authorities.
    ///
    /// # Errors
    /// Fails if the URL or the certificate is malformed.
    pub fn new(url: &str, authority: Option<Vec<u8>>) -> Result<Self, String> {
        let client = match authority {
            None => Client::open(url),
            Some(root_cert) => {
                let marker = b"-----BEGIN CERTIFICATE-----";
                if !root_cert.windows(marker.len()).any(|window| window == marker) {
                    return Err(
                        "expected a certificate (PEM) in the file of the authority, found none"
                            .to_owned(),
                    );
                }
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
                Client::build_with_tls(url, certificates)
            }
        };
        client.map(Self).map_err(|error| {
            let expected = "expected redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS";
            format!("{expected}, such as redis://127.0.0.1:6379; {error}")
        })
    }
}

/// The limits that all instances share.
pub(super) struct Shared {
    redis: Redis,
    local: Arc<Local>,
    /// The random id of this instance.
    instance: String,
    /// The last known number of instances.
    instances: AtomicU32,
    link: RwLock<Link>,
    admit: Script,
    settle: Script,
    enlist: Script,
}

/// A connection and its number, counted from 1. The connection is `None` while it is lost.
#[derive(Clone, Default)]
struct Link {
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Shared {
    /// Connects to Redis and starts the task that keeps the connection. If connecting fails, the task retries.
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
                "Redis is unreachable; applying the full rate limit in this instance, because the number of \
                 instances is unknown"
            );
        }
        tokio::spawn(keep(Arc::downgrade(&shared)));
        shared
    }

    /// Asks Redis to decide. Returns `None` if it does not respond in time.
    pub(super) async fn admit(
        &self,
        policy: Policy,
        limit: Limit,
        key: &str,
        cost: NonZeroU32,
    ) -> Option<Decision> {
        let Link { number, connection: Some(mut connection) } = self.link() else { return None };
        let interval = limit.interval();
        let mut call = self.admit.prepare_invoke();
        for key in keys(policy, key) {
            call.key(key);
        }
        call.arg(microseconds(interval))
            .arg(limit.requests.get())
            .arg(microseconds(self.local.ahead(policy, key, number)))
            .arg(FORGOTTEN_AFTER.as_secs())
            .arg(cost.get());
        let call = call.invoke_async::<(bool, i64, u32)>(&mut connection);
        let response = timeout(RESPONSE_TIMEOUT, call).await;
        let (is_admitted, ahead, undecided) = self.checked(number, response)?;
        let ahead = Duration::from_micros(u64::try_from(ahead).unwrap_or_default());
        self.local.write(policy, key, ahead, number);
        Some(Decision { undecided, ..decision(policy, limit, is_admitted, ahead, cost) })
    }

    /// Settles an attempt that Redis charged.
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
        let call = call.invoke_async::<()>(&mut connection);
        let response = timeout(RESPONSE_TIMEOUT, call).await;
        self.checked(number, response);
    }

    /// Returns the last known number of instances, at least 1.
    pub(super) fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed)
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link().connection.is_some()
    }

    fn link(&self) -> Link {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the value of a response. If there is none, drops the connection of that number.
    fn checked<T, E>(&self, number: u64, response: Result<Result<T, RedisError>, E>) -> Option<T> {
        let error = match response {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timeout".to_owned(),
        };
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        // Only the first request that notices the loss logs it.
        if link.number == number && link.connection.take().is_some() {
            tracing::warn!(
                error,
                "Redis is unreachable; each instance applies its share of the rate limits until Redis is \
                 back"
            );
        }
        None
    }

    /// Connects to Redis and checks that it responds as quickly as requests need it. Otherwise the first request
    /// would drop the connection again.
    async fn connect(&self) -> Result<(), RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let client = &self.redis.0;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // The first call also loads the script, so only the second one is timed.
        self.enlist(&mut connection).await?;
        let too_slow = |_| RedisError::from((ErrorKind::Io, "it responds too slowly"));
        timeout(RESPONSE_TIMEOUT, self.enlist(&mut connection)).await.map_err(too_slow)??;
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

    /// Registers the instance, or tries to connect.
    async fn beat(&self) {
        match self.link() {
            Link { number, connection: Some(mut connection) } => {
                let response = timeout(CONNECT_TIMEOUT, self.enlist(&mut connection)).await;
                self.checked(number, response);
            }
            Link { connection: None, .. } => match self.connect().await {
                Ok(()) => tracing::info!("connected to Redis; all instances share the rate limits"),
                Err(error) => tracing::debug!(%error, "cannot connect to Redis"),
            },
        }
    }
}

/// Keeps the connection until the limits are dropped.
async fn keep(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        shared.beat().await;
        drop(shared);
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
    }
}

fn decision(
    policy: Policy,
    limit: Limit,
    is_admitted: bool,
    ahead: Duration,
    cost: NonZeroU32,
) -> Decision {
    let (interval, requests) = (limit.interval(), limit.requests.get());
    let room = interval.saturating_mul(requests).saturating_sub(ahead);
    let remaining = room.as_micros() / interval.as_micros().max(1);
    let remaining = u32::try_from(remaining).unwrap_or(u32::MAX).min(requests);
    let needed = interval.saturating_mul(cost.get());
    let wait = if is_admitted { Duration::ZERO } else { needed.saturating_sub(room) };
    let (counted, undecided, reset) = (None, 0, ahead);
    Decision { policy, limit, is_admitted, counted, remaining, undecided, wait, reset }
}

/// Returns the keys in Redis: one for the arrival time and, for attempts, one for the number of undecided
/// attempts. They contain a hash, so that user names and IP addresses are not readable in Redis.
fn keys(policy: Policy, key: &str) -> Vec<String> {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key));
    let arrival = format!("{PREFIX}{}:{hash}", policy.bucket());
    let undecided = policy.is_of_attempts().then(|| format!("{arrival}:undecided"));
    std::iter::once(arrival).chain(undecided).collect()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
