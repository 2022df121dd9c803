//! Limits, and how they are written.

use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use super::Policy;
use crate::identity::Role;

/// So many requests in a window of time, and no more than that at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub requests: NonZeroU32,
    /// In what time: a whole number of seconds.
    pub window: Duration,
}

/// The shortest interval between two requests that may be asked for. Redis counts microseconds, so
/// that an interval is exact to a hundredth at least.
const MIN_INTERVAL: Duration = Duration::from_micros(100);

/// How often an address may sign in.
const SIGN_IN: Limit = per_minute(60);

/// How often signing in may fail for an address, and for a name.
const FAILED: Limit = per_minute(10);

const fn per_minute(requests: u32) -> Limit {
    let requests = match NonZeroU32::new(requests) {
        Some(requests) => requests,
        None => NonZeroU32::MIN,
    };
    Limit { requests, window: Duration::from_secs(60) }
}

impl Limit {
    /// How long it takes until another request may come, once no more may: a whole number of
    /// microseconds, and rather longer than shorter.
    pub fn interval(self) -> Duration {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(window.div_ceil(u64::from(self.requests.get())))
    }
}

impl FromStr for Limit {
    type Err = String;

    /// Reads `NUMBER/s`, `NUMBER/min` or `NUMBER/h`.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed =
            || format!("{text:?} is no limit: write one such as 10/s, 600/min or 1000/h");
        let (number, unit) = text.split_once('/').ok_or_else(malformed)?;
        let requests: NonZeroU64 = number.trim().parse().map_err(|_| malformed())?;
        // More than can be counted is too many in every window.
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
            return Err(format!("{text:?} is too many: at most {most}/{}; or `off`", unit.trim()));
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
    sign_in: Option<Limit>,
    failed: Option<Limit>,
}

impl Limits {
    /// No limits, not even of signing in and failing.
    pub const NONE: Self =
        Self { viewer: None, editor: None, admin: None, sign_in: None, failed: None };

    /// The limit of a policy.
    pub fn of(&self, policy: Policy) -> Option<Limit> {
        match policy {
            Policy::Viewer => self.viewer,
            Policy::Editor => self.editor,
            Policy::Admin => self.admin,
            Policy::SignIn => self.sign_in,
            Policy::FailedByAddress | Policy::FailedByName => self.failed,
        }
    }
}

impl FromStr for Limits {
    type Err = String;

    /// Reads a limit or `off`, then perhaps others for roles: `600/min,admin=off`. Where all that are
    /// named are off, so is that of signing in; that of failing is not.
    fn from_str(text: &str) -> Result<Self, String> {
        let limit = |text: &str| match text.trim() {
            "off" => Ok(None),
            text => text.parse().map(Some),
        };
        let mut parts = text.split(',');
        if text.split(',').next().is_some_and(|first| first.contains('=')) {
            let advice = "the limit for everybody comes first, as in 600/min,viewer=60/min";
            return Err(format!("{text:?} begins with a role: {advice}"));
        }
        let all = limit(parts.next().unwrap_or_default())?;
        let mut limits =
            Self { viewer: all, editor: all, admin: all, sign_in: None, failed: Some(FAILED) };
        let mut seen = Vec::new();
        for part in parts {
            let (name, text) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} is no limit of a role: write one such as viewer=60/min")
            })?;
            let name = name.trim();
            let role = Role::of(name).ok_or_else(|| {
                format!("{name:?} is no role: there are viewer, editor and admin")
            })?;
            if seen.contains(&role) {
                return Err(format!("the limit of {name} is given twice"));
            }
            seen.push(role);
            let of_role = match role {
                Role::Viewer => &mut limits.viewer,
                Role::Editor => &mut limits.editor,
                Role::Admin => &mut limits.admin,
            };
            *of_role = limit(text)?;
        }
        if limits.viewer.or(limits.editor).or(limits.admin).is_some() {
            limits.sign_in = Some(SIGN_IN);
        }
        Ok(limits)
    }
}
