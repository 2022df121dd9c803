//! Rate limits and their syntax.

use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use super::Policy;
use crate::identity::{ANONYMOUS, Role};

/// A number of requests in a time window. This number is also the largest burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The number of requests.
    pub requests: NonZeroU32,
    /// The window: a whole number of seconds.
    pub window: Duration,
}

/// The shortest interval between two requests that can be configured. Redis counts microseconds, so every interval
/// is exact to 1 %.
const MIN_INTERVAL: Duration = Duration::from_micros(100);

/// The limit of sign-in attempts from one IP address.
const SIGN_IN: Limit = per_minute(60);

/// The default limit of requests without a token from one IP address.
const ANONYMOUS_DEFAULT: Limit = per_minute(120);

/// The limit of renewals from one IP address, which many users may share.
const RENEWAL: Limit = per_minute(600);

/// The limit of failed sign-ins from one IP address, and for one user name.
const FAILED: Limit = per_minute(10);

const fn per_minute(requests: u32) -> Limit {
    let requests = match NonZeroU32::new(requests) {
        Some(requests) => requests,
        None => NonZeroU32::MIN,
    };
    Limit { requests, window: Duration::from_secs(60) }
}

impl Limit {
    /// Returns the limit that admits fewer requests in the long run.
    fn lower_of(self, other: Self) -> Self {
        if self.interval() > other.interval() { self } else { other }
    }

    /// Returns the time in which one more request becomes available, rounded up to whole microseconds.
    pub fn interval(self) -> Duration {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(window.div_ceil(u64::from(self.requests.get())))
    }
}

impl FromStr for Limit {
    type Err = String;

    /// Parses `NUMBER/s`, `NUMBER/min` or `NUMBER/h`.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!("expected COUNT/UNIT such as 10/s, 600/min or 1000/h, or off; found {text:?}")
        };
        let (number, unit) = text.split_once('/').ok_or_else(malformed)?;
        let requests: NonZeroU64 = number.trim().parse().map_err(|_| malformed())?;
        // A number that overflows is over the maximum of every window, which is checked below.
        let requests = NonZeroU32::try_from(requests).unwrap_or(NonZeroU32::MAX);
        let seconds = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 60 * 60,
            _ => return Err(malformed()),
        };
        let window = Duration::from_secs(seconds);
        if window / requests.get() < MIN_INTERVAL {
            let most = window.as_micros() / MIN_INTERVAL.as_micros();
            return Err(format!(
                "expected at most {most}/{} or `off`, found {text:?}",
                unit.trim()
            ));
        }
        Ok(Self { requests, window })
    }
}

/// The limit of each policy.
#[derive(Debug, Clone)]
pub struct Limits {
    viewer: Option<Limit>,
    editor: Option<Limit>,
    admin: Option<Limit>,
    anonymous: Option<Limit>,
    sign_in: Option<Limit>,
    failed: Option<Limit>,
}

impl Limits {
    /// No limits, not even of failed sign-ins.
    pub const NONE: Self = Self {
        viewer: None,
        editor: None,
        admin: None,
        anonymous: None,
        sign_in: None,
        failed: None,
    };

    /// Returns the limit of a policy; `None` if it has none.
    pub fn of(&self, policy: Policy) -> Option<Limit> {
        match policy {
            Policy::Viewer => self.viewer,
            Policy::Editor => self.editor,
            Policy::Admin => self.admin,
            Policy::Anonymous => self.anonymous,
            Policy::SignIn => self.sign_in,
            Policy::Renewal => self.sign_in.map(|_| RENEWAL),
            Policy::FailedByAddress | Policy::FailedByName => self.failed,
        }
    }
}

impl FromStr for Limits {
    type Err = String;

    /// Parses a limit or `off`, and optional limits of roles and of callers without a token:
    /// `600/min,admin=off,anonymous=60/min`. Callers without a token have a default of their own, unless the limit of
    /// all roles is lower or off. If the limits of roles are off, sign-in has no limit either. Failed sign-ins are
    /// always limited.
    fn from_str(text: &str) -> Result<Self, String> {
        let limit = |text: &str| match text.trim() {
            "off" => Ok(None),
            text => text.parse().map(Some),
        };
        let mut parts = text.split(',');
        if text.split(',').next().is_some_and(|first| first.contains('=')) {
            let advice = "put the limit for all roles first, as in 600/min,viewer=60/min";
            return Err(format!("{text:?} starts with a role; {advice}"));
        }
        let all = limit(parts.next().unwrap_or_default())?;
        let mut limits = Self {
            viewer: all,
            editor: all,
            admin: all,
            anonymous: all.map(|all| all.lower_of(ANONYMOUS_DEFAULT)),
            sign_in: None,
            failed: Some(FAILED),
        };
        let mut seen = Vec::new();
        for part in parts {
            let (name, text) = part.split_once('=').ok_or_else(|| {
                format!("expected ROLE=LIMIT such as viewer=60/min, found {part:?}")
            })?;
            let name = name.trim();
            let of_caller = match (Role::of(name), name) {
                (Some(Role::Viewer), _) => &mut limits.viewer,
                (Some(Role::Editor), _) => &mut limits.editor,
                (Some(Role::Admin), _) => &mut limits.admin,
                (None, ANONYMOUS) => &mut limits.anonymous,
                (None, _) => {
                    return Err(format!(
                        "unknown role {name:?}; expected viewer, editor, admin or {ANONYMOUS}"
                    ));
                }
            };
            if seen.contains(&name) {
                return Err(format!("the limit of {name} appears twice; remove one"));
            }
            seen.push(name);
            *of_caller = limit(text)?;
        }
        if limits.viewer.or(limits.editor).or(limits.admin).is_some() {
            limits.sign_in = Some(SIGN_IN);
        }
        Ok(limits)
    }
}
