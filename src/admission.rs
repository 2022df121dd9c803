//! How often somebody may come: limits by the generic cell rate algorithm (GCRA, ITU-T I.371), of one
//! process or of all that share a Redis.
//!
//! A key, such as a subject, has a theoretical arrival time: when it would have used up nothing. Each
//! request moves that by one interval, and is refused when that would put it further ahead than the
//! limit's window. `local` keeps these times in the process; `shared` keeps them in Redis, and
//! writes what it hears from there into the local ones too. So, when Redis is lost, an instance goes on
//! from where a key stood when it last heard of it, and lets a request count for as many as there are
//! instances: together they admit at most one burst more than they would have, that of a key they have
//! not all heard of.

mod address;
mod attempt;
mod forwarded;
mod limit;
mod local;
mod shared;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::address::Proxies;
pub use self::attempt::Outcome;
use self::attempt::{MAX_WAITING, Undecided};
pub use self::forwarded::Forwarded;
pub use self::limit::{Limit, Limits};
use self::local::Local;
pub use self::shared::Redis;
use self::shared::Shared;
use crate::identity::Role;

macro_rules! policies {
    ($($(#[doc = $meaning:literal])+ $policy:ident = $name:literal;)+) => {
        /// What is limited. This table is the only place that names policies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Policy {
            $($(#[doc = $meaning])+ $policy,)+
        }

        impl Policy {
            /// All of them.
            pub const ALL: &[Policy] = &[$(Policy::$policy,)+];

            /// Its name, as in `RateLimit-Policy`.
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
    /// Signing in, by address.
    SignIn = "sign-in";
    /// Signing in and failing, by address.
    FailedByAddress = "failed-sign-in-address";
    /// Signing in and failing, by the name that was given.
    FailedByName = "failed-sign-in-name";
}

impl Policy {
    /// What is counted together: the requests of somebody, whatever their token lets them do.
    fn bucket(self) -> &'static str {
        match self {
            Self::Viewer | Self::Editor | Self::Admin => "requests",
            _ => self.name(),
        }
    }

    /// Whether it limits attempts, which are settled.
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

/// What became of a request under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Which limit it was.
    pub policy: Policy,
    /// The limit.
    pub limit: Limit,
    /// Whether the request may go on.
    pub is_admitted: bool,
    /// As how many it was counted in this process; none when Redis has counted it, as one.
    pub counted: Option<NonZeroU32>,
    /// How many more could come now.
    pub remaining: u32,
    /// When an attempt is rejected: how many attempts hold a charge that may still be refunded.
    pub undecided: u32,
    /// How long it takes until another one could come; zero when one could now.
    pub wait: Duration,
    /// How long it takes until as many could come as the limit allows.
    pub reset: Duration,
}

/// Where the limits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In this process alone, as it was set up.
    Process,
    /// In Redis, for all instances.
    Instances,
    /// In this process alone, since Redis does not answer.
    Fallback,
}

/// Admits requests or refuses them.
pub struct Admission {
    limits: Limits,
    proxies: Proxies,
    local: Arc<Local>,
    shared: Option<Arc<Shared>>,
    undecided: Undecided,
    /// Places for attempts that wait for others to be decided.
    waiting: Semaphore,
}

impl Admission {
    /// Limits of this process alone.
    pub fn local(limits: Limits, proxies: Proxies) -> Self {
        let local = Arc::new(Local::new(&limits));
        Self::new(limits, proxies, local, None)
    }

    /// Limits of all instances that share a Redis. While that does not answer, they are those of this
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

    /// Counts a request, and says whether it may go on; nothing where there is no limit.
    pub async fn admit(&self, policy: Policy, key: &str) -> Option<Decision> {
        let limit = self.limits.of(policy)?;
        if let Some(shared) = &self.shared
            && let Some(decision) = shared.admit(policy, limit, key).await
        {
            return Some(decision);
        }
        let charge = || self.local.admit(policy, key, self.instances());
        match policy.is_of_attempts() {
            true => self.undecided.count(policy, key, charge),
            false => charge(),
        }
    }

    /// Settles what [`Admission::attempt`] has charged to the key, where it was charged.
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

    /// Among how many instances the limits of this process are shared out.
    fn instances(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.instances())
    }

    /// Where the limits are kept at the moment.
    pub fn scope(&self) -> Scope {
        match &self.shared {
            None => Scope::Process,
            Some(shared) if shared.is_linked() => Scope::Instances,
            Some(_) => Scope::Fallback,
        }
    }

    /// The IP address of the client, for the limits by address: that of the peer, or what trusted proxies say.
    pub fn client(&self, peer: IpAddr, forwarded: &Forwarded<'_>) -> IpAddr {
        self.proxies.client(peer, &forwarded.nodes())
    }
}
