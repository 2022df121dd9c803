//! Usage: requests per user and day. They are counted in the process and regularly added to the database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate, Utc};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use uuid::Uuid;

use super::App;
use super::search::limit as page_limit;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::query::text::nfc;
use crate::store;

/// The interval at which counts are added to the database. A killed process loses the counts of at most this
/// time.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// The most counts of one statement. Each binds five values, and SQLite allows 32,766 per statement.
const BATCH: usize = 1000;

/// How long the ids of added batches are kept, and so the longest time for which an instance retries one.
const BATCHES_KEPT: chrono::Duration = chrono::Duration::days(7);

/// The default number of days in a response.
const SHOWN_DAYS: u64 = 30;

/// The number of days for which counts are kept.
const KEPT_DAYS: u64 = 400;

macro_rules! classes {
    ($($(#[doc = $meaning:literal])+ $class:ident = $name:literal;)+) => {
        /// The class of a request: reading or writing records, administration, sign-in, or other requests that any
        /// token allows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize)]
        #[oai(rename = "RequestClass", rename_all = "snake_case")]
        #[serde(rename_all = "snake_case")]
        pub enum Class {
            $($(#[doc = $meaning])+ $class,)+
        }

        impl Class {
            fn name(self) -> &'static str {
                match self { $(Self::$class => $name,)+ }
            }

            fn of(name: &str) -> Option<Self> {
                [$(Self::$class,)+].into_iter().find(|class| class.name() == name)
            }
        }
    };
}

classes! {
    /// Reading records, and checking queries.
    Read = "read";
    /// Writing records.
    Write = "write";
    /// Administration of the service.
    Admin = "admin";
    /// Signing in.
    SignIn = "sign_in";
    /// Other requests that any token allows.
    Other = "other";
}

/// Day, class and subject of a count.
type Key = (NaiveDate, Class, String);

/// The number of admitted requests, and of requests over the limit.
type Counts = (i64, i64);

/// Counts that are not yet in the database.
#[derive(Default)]
pub(super) struct Ledger {
    open: Mutex<HashMap<Key, Counts>>,
    /// Locked while counts are written.
    writing: tokio::sync::Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    /// Batches that may or may not be in the database. They are retried unchanged, with their ids.
    batches: Vec<(Uuid, Vec<store::Usage>)>,
    /// The day on which old counts were last deleted.
    forgotten_on: Option<NaiveDate>,
}

impl Ledger {
    /// Counts a request, which was either admitted or over the limit.
    pub(super) fn count(&self, subject: &str, class: Class, is_admitted: bool) {
        let key = (Utc::now().date_naive(), class, subject.to_owned());
        // The lock cannot be poisoned, because nothing panics while it is held.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, throttled) = open.entry(key).or_default();
        let count = if is_admitted { requests } else { throttled };
        *count = count.saturating_add(1);
    }

    /// Adds the counts to the database. Counts that cannot be added stay in the process. The future must not be
    /// cancelled.
    pub(super) async fn flush(&self, store: &store::Store) -> Result<()> {
        let mut writing = self.writing.lock().await;
        if writing.batches.is_empty() {
            let open =
                std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
            let mut rows: Vec<store::Usage> = open.into_iter().map(row).collect();
            while !rows.is_empty() {
                let batch = rows.split_off(rows.len().saturating_sub(BATCH));
                writing.batches.push((Uuid::now_v7(), batch));
            }
        }
        if writing.batches.is_empty() {
            return Ok(());
        }
        let now = timestamp_now();
        while let Some((id, batch)) = writing.batches.last() {
            store.add_usage(*id, batch, now).await?;
            writing.batches.pop();
        }
        let today = now.date_naive();
        if writing.forgotten_on != Some(today) {
            if let Some(day) = today.checked_sub_days(Days::new(KEPT_DAYS)) {
                store.forget_usage(day, now - BATCHES_KEPT).await?;
            }
            writing.forgotten_on = Some(today);
        }
        Ok(())
    }
}

fn row(((day, class, subject), (requests, throttled)): (Key, Counts)) -> store::Usage {
    store::Usage { day, class: class.name().to_owned(), subject, requests, throttled }
}

/// Requests of one class by one user on one day.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Usage {
    /// The user name.
    pub subject: String,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// The class of the requests.
    pub class: Class,
    /// The number of requests within the rate limit, including those that failed.
    pub requests: i64,
    /// The number of requests that were rejected by the rate limit.
    pub throttled: i64,
}

/// A page of usage.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct UsagePage {
    /// The counts, in the order of day, class and subject.
    pub items: Vec<Usage>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// A request for usage.
#[derive(Debug, Clone, Default)]
pub struct UsageRequest {
    /// The user name, or `*` for all users; the default is the caller.
    pub subject: Option<String>,
    /// The first day; the default is 29 days before the last.
    pub from: Option<NaiveDate>,
    /// The last day; the default is today.
    pub to: Option<NaiveDate>,
    /// The `next_after` of the previous page.
    pub after: Option<String>,
    /// The maximum number of counts.
    pub limit: Option<i64>,
}

/// Returns the usage of the caller, or of any user if the caller is an administrator. Counts of this instance
/// are included, those of other instances within [`FLUSH_INTERVAL`].
///
/// # Errors
/// [`Kind::InsufficientScope`], [`Kind::InvalidParameter`]; any database error.
pub async fn read(app: &App, caller: &Identity, request: UsageRequest) -> Result<UsagePage> {
    let subject = match request.subject.as_deref() {
        None => Some(caller.subject.clone()),
        Some("*") => None,
        // Text of PostgreSQL cannot contain U+0000. No name does, so the replacement matches none.
        Some(name) => Some(nfc(name).replace('\0', "\u{fffd}")),
    };
    if subject.as_ref() != Some(&caller.subject) {
        caller.require_admin()?;
    }
    let limit = page_limit(request.limit)?;
    let to = request.to.unwrap_or_else(|| Utc::now().date_naive());
    let from = request.from.or_else(|| to.checked_sub_days(Days::new(SHOWN_DAYS - 1)));
    let days = (from.unwrap_or(to), to);
    if [days.0, days.1].iter().any(|day| !is_day(*day)) {
        return Err(Error::new(
            Kind::InvalidParameter,
            "from and to: expected days from 0001-01-01 to 9999-12-31",
        ));
    }
    if days.0 > days.1 {
        let detail = format!("from ({}) is after to ({})", days.0, days.1);
        return Err(Error::new(Kind::InvalidParameter, detail));
    }
    let after = request.after.as_deref().map(place).transpose()?;
    app.flush_usage().await?;
    let store = app.store_for(caller);
    let mut rows = store.usage(subject.as_deref(), days, after, limit + 1).await?;
    let has_next = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| has_next);
    let next_after = next.map(|row| format!("{} {} {}", row.day, row.class, row.subject));
    let items = rows.into_iter().map(Usage::try_from).collect::<Result<_>>()?;
    Ok(UsagePage { items, next_after })
}

/// Returns whether both database engines support the day.
fn is_day(day: NaiveDate) -> bool {
    (1..=9999).contains(&day.year())
}

/// Parses the value of `next_after`.
fn place(text: &str) -> Result<(NaiveDate, &str, &str)> {
    let mut parts = text.splitn(3, ' ');
    let day = parts.next().and_then(|day| day.parse().ok()).filter(|day| is_day(*day));
    match (day, parts.next(), parts.next()) {
        (Some(day), Some(class), Some(subject)) if !text.contains('\0') => {
            Ok((day, class, subject))
        }
        _ => Err(Error::new(
            Kind::InvalidParameter,
            "after: expected `next_after` of the previous page",
        )),
    }
}

impl TryFrom<store::Usage> for Usage {
    type Error = Error;

    fn try_from(stored: store::Usage) -> Result<Self> {
        let store::Usage { day, class, subject, requests, throttled } = stored;
        let unknown = || Error::internal(format!("unknown class of requests {class:?}"));
        let class = Class::of(&class).ok_or_else(unknown)?;
        Ok(Self { subject, day, class, requests, throttled })
    }
}
