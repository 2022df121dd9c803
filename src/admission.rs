//! Rate limits, with the generic cell rate algorithm (GCRA, ITU-T I.371), for one process or for all that share a
//! Redis.
//!
//! A key, such as a subject, has a theoretical arrival time: the time at which its whole limit is available
//! again. Each request moves it ahead by one interval. A request is rejected if that would put it further ahead
//! than the window of the limit.
//!
//! `local` keeps these times in the process. `shared` keeps them in Redis and copies each decision into the local
//! state. If Redis is lost, an instance continues from its copy and counts each request once per instance. All
//! instances together then admit at most one burst too many: for a key that some of them have not seen.

mod attempt;
mod forwarded;
mod limit;
mod local;
mod proxies;
mod shared;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::attempt::Outcome;
use self::attempt::{MAX_WAITING, Undecided};
pub use self::forwarded::Forwarded;
pub use self::limit::{Limit, Limits};
use self::local::Local;
pub use self::proxies::{Proxies, network_of};
pub use self::shared::Redis;
use self::shared::Shared;
use crate::identity::Role;
use crate::telemetry::metrics::{self, METRICS};

macro_rules! policies {
    ($($(#[doc = $meaning:literal])+ $policy:ident = $name:literal;)+) => {
        /// What is limited. This table is the only place that names policies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Policy {
            $($(#[doc = $meaning])+ $policy,)+
        }

        impl Policy {
            /// All policies.
            pub const ALL: &[Policy] = &[$(Policy::$policy,)+];

            /// Returns the name of the policy, as in `RateLimit-Policy`.
            pub fn name(self) -> &'static str {
                match self { $(Policy::$policy => $name,)+ }
            }
        }
    };
}

policies! {
    /// Requests with a token of a viewer, by subject.
    Viewer = "viewer";
    /// Requests with a token of an editor, by subject.
    Editor = "editor";
    /// Requests with a token of an administrator, by subject.
    Admin = "admin";
    /// Requests without a token to a public catalogue, by IP address.
    Anonymous = "anonymous";
    /// Sign-in attempts, by IP address.
    SignIn = "sign-in";
    /// Renewals of sessions, by IP address.
    Renewal = "renewal";
    /// Failed sign-ins, by IP address.
    FailedByAddress = "failed-sign-in-address";
    /// Failed sign-ins, by user name.
    FailedByName = "failed-sign-in-name";
}

impl Policy {
    /// Returns the name under which requests are counted. All requests of a subject are counted together, whatever
    /// the role of its token.
    fn bucket(self) -> &'static str {
        match self {
            Self::Viewer | Self::Editor | Self::Admin => "requests",
            _ => self.name(),
        }
    }

    /// Returns whether the policy limits attempts, which are charged first and settled later.
    fn is_of_attempts(self) -> bool {
        matches!(self, Self::FailedByAddress | Self::FailedByName)
    }
}

impl From<Role> for Policy {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Editor => Self::Editor,
            Role::Admin => Self::Admin,
        }
    }
}

/// The decision on a request under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The policy that was applied.
    pub policy: Policy,
    /// The limit.
    pub limit: Limit,
    /// Whether the request is admitted.
    pub is_admitted: bool,
    /// As how many requests it was counted in this process; `None` if Redis counted it, as one.
    pub counted: Option<NonZeroU32>,
    /// The number of further requests that would be admitted now.
    pub remaining: u32,
    /// For a rejected attempt: the number of attempts whose charge may still be refunded.
    pub undecided: u32,
    /// The time until the next request would be admitted; zero if it would be admitted now.
    pub wait: Duration,
    /// The time until the whole limit is available again.
    pub reset: Duration,
}

/// Where requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In this process only, as configured.
    Process,
    /// In Redis, for all instances.
    Instances,
    /// In this process only, because Redis is unreachable.
    Fallback,
}

impl Scope {
    /// The name in metrics, as in the response of `/readyz`.
    fn name(self) -> &'static str {
        match self {
            Self::Process => "local",
            Self::Instances => "redis",
            Self::Fallback => "fallback",
        }
    }
}

/// Admits or rejects requests.
pub struct Admission {
    limits: Limits,
    proxies: Proxies,
    local: Arc<Local>,
    shared: Option<Arc<Shared>>,
    undecided: Undecided,
    /// Limits the number of attempts that wait for others to be settled.
    waiting: Semaphore,
}

impl Admission {
    /// Creates limits of this process only.
    pub fn local(limits: Limits, proxies: Proxies) -> Self {
        let local = Arc::new(Local::new(&limits));
        Self::new(limits, proxies, local, None)
    }

    /// Creates limits of all instances that share a Redis. While it is unreachable, the limits are those of this
    /// process.
    pub async fn shared(limits: Limits, proxies: Proxies, redis: Redis) -> Self {
        let local = Arc::new(Local::new(&limits));
        let shared = Some(Shared::start(redis, local.clone()).await);
        Self::new(limits, proxies, local, shared)
    }

    fn new(
        limits: Limits,
        proxies: Proxies,
        local: Arc<Local>,
        shared: Option<Arc<Shared>>,
    ) -> Self {
        let (undecided, waiting) = (Undecided::default(), Semaphore::new(MAX_WAITING));
        Self { limits, proxies, local, shared, undecided, waiting }
    }

    /// Counts a request and decides on it. Returns `None` if the policy has no limit.
    pub async fn admit(&self, policy: Policy, key: &str) -> Option<Decision> {
        self.admit_several(policy, key, NonZeroU32::MIN).await
    }

    /// Counts as many requests as `cost`, at most almost as many as the limit allows at once, and admits all or none. Returns
    /// `None` if the policy has no limit.
    pub async fn admit_several(
        &self,
        policy: Policy,
        key: &str,
        cost: NonZeroU32,
    ) -> Option<Decision> {
        let decision = self.decide(policy, key, cost).await?;
        let outcome = if decision.is_admitted { "admitted" } else { "rejected" };
        // Redis has counted the request if this process has not.
        let scope = match (&self.shared, decision.counted) {
            (None, _) => Scope::Process,
            (Some(_), None) => Scope::Instances,
            (Some(_), Some(_)) => Scope::Fallback,
        };
        let labels = metrics::Decision { policy: policy.name(), outcome, scope: scope.name() };
        METRICS.decisions.get_or_create(&labels).inc();
        Some(decision)
    }

    async fn decide(&self, policy: Policy, key: &str, cost: NonZeroU32) -> Option<Decision> {
        let limit = self.limits.of(policy)?;
        // One less than the limit: a batch has been counted once before its size is known.
        let most = NonZeroU32::new(limit.requests.get() - 1).unwrap_or(NonZeroU32::MIN);
        let cost = cost.min(most);
        if let Some(shared) = &self.shared
            && let Some(decision) = shared.admit(policy, limit, key, cost).await
        {
            return Some(decision);
        }
        let cells = self.instances().saturating_mul(cost.get());
        let charge = || self.local.admit(policy, key, cells);
        match policy.is_of_attempts() {
            true => self.undecided.count(policy, key, charge),
            false => charge(),
        }
    }

    /// Settles an attempt that [`Admission::attempt`] charged, where it was charged: in Redis or in this process.
    pub async fn settle(&self, decision: &Decision, key: &str, outcome: Outcome) {
        let Decision { policy, limit, counted, .. } = *decision;
        if !decision.is_admitted {
            return;
        }
        if outcome == Outcome::Success {
            self.local.refund(policy, key, counted.unwrap_or(NonZeroU32::MIN));
        }
        // After the refund: a request that sees no undecided attempt must see the refund too.
        match (&self.shared, counted) {
            (Some(shared), None) => shared.settle(policy, limit, key, outcome).await,
            _ => self.undecided.settle(policy, key),
        }
    }

    /// Returns the number of instances that share the limits.
    fn instances(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.instances())
    }

    /// Returns where requests are counted at the moment.
    pub fn scope(&self) -> Scope {
        match &self.shared {
            None => Scope::Process,
            Some(shared) if shared.is_linked() => Scope::Instances,
            Some(_) => Scope::Fallback,
        }
    }

    /// Returns the IP address of the client: of the peer or, if the peer is a trusted proxy, from its headers. There is no
    /// peer for a connection over a Unix socket.
    pub fn client(&self, peer: Option<IpAddr>, forwarded: &Forwarded<'_>) -> IpAddr {
        self.proxies.client(peer, &forwarded.nodes())
    }
}
