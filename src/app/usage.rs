//! Who has used the service how much: counted in the process, and added to the database now and then.

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

/// How often what was counted is added to the database: a process that is killed loses no more than it
/// has counted in that time.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Counts of one statement: five values each, of 32,766 that SQLite takes.
const BATCH: usize = 1000;

/// How long it is known which batches were added: an instance tries one again for that long at most.
const BATCHES_KEPT: chrono::Duration = chrono::Duration::days(7);

/// How many days are shown when nobody says which.
const SHOWN_DAYS: u64 = 30;

/// How many days are kept.
const KEPT_DAYS: u64 = 400;

macro_rules! classes {
    ($($(#[doc = $meaning:literal])+ $class:ident = $name:literal;)+) => {
        /// What a request was for: to read or to write records, to administer the service, to sign in, or something that any token may do.
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
    /// Reading records, and questions about queries.
    Read = "read";
    /// Changing records.
    Write = "write";
    /// Administering the service.
    Admin = "admin";
    /// Signing in.
    SignIn = "sign_in";
    /// What needs no more than a token.
    Other = "other";
}

/// Day, class and subject.
type Key = (NaiveDate, Class, String);

/// How many were admitted, and how many were one too many.
type Counts = (i64, i64);

/// What was counted and is not yet in the database.
#[derive(Default)]
pub(super) struct Ledger {
    open: Mutex<HashMap<Key, Counts>>,
    /// Whoever holds it writes.
    writing: tokio::sync::Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    /// What may or may not be in the database: it is tried again as it is.
    batches: Vec<(Uuid, Vec<store::Usage>)>,
    /// The day on which old counts were forgotten last.
    forgotten_on: Option<NaiveDate>,
}

impl Ledger {
    /// Counts a request that was admitted or was one too many.
    pub(super) fn count(&self, subject: &str, class: Class, is_admitted: bool) {
        let key = (Utc::now().date_naive(), class, subject.to_owned());
        // Nothing panics under the lock.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, throttled) = open.entry(key).or_default();
        let count = if is_admitted { requests } else { throttled };
        *count = count.saturating_add(1);
    }

    /// Adds what was counted to the database; what cannot be added stays here. To be run to its end.
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

/// Requests of somebody on one day.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Usage {
    /// Whose they are.
    pub subject: String,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// What they were for.
    pub class: Class,
    /// How many the limits admitted, whether or not they succeeded.
    pub requests: i64,
    /// How many were refused as one too many.
    pub throttled: i64,
}

/// A page of usage.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct UsagePage {
    /// The counts, by day, class and subject.
    pub items: Vec<Usage>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// What usage is asked for.
#[derive(Debug, Clone, Default)]
pub struct UsageRequest {
    /// Whose; one's own when absent, everybody's when `*`.
    pub subject: Option<String>,
    /// The first day; 29 days before the last when absent.
    pub from: Option<NaiveDate>,
    /// The last day; today when absent.
    pub to: Option<NaiveDate>,
    /// `next_after` of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: Option<i64>,
}

/// One's own usage, or, for an administrator, anybody's. This instance adds first what it has counted;
/// others do within [`FLUSH_INTERVAL`].
///
/// # Errors
/// [`Kind::InsufficientScope`], [`Kind::InvalidParameter`]; the database's.
pub async fn read(app: &App, caller: &Identity, request: UsageRequest) -> Result<UsagePage> {
    let subject = match request.subject.as_deref() {
        None => Some(caller.subject.clone()),
        Some("*") => None,
        // PostgreSQL's text cannot hold U+0000, and nobody has it in a name.
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
        return Err(Error::new(Kind::InvalidParameter, "days are those of the years 1 to 9999"));
    }
    if days.0 > days.1 {
        let detail = format!("from, {}, is after to, {}", days.0, days.1);
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

/// Whether both engines know the day.
fn is_day(day: NaiveDate) -> bool {
    (1..=9999).contains(&day.year())
}

/// The place that `next_after` names.
fn place(text: &str) -> Result<(NaiveDate, &str, &str)> {
    let mut parts = text.splitn(3, ' ');
    let day = parts.next().and_then(|day| day.parse().ok()).filter(|day| is_day(*day));
    match (day, parts.next(), parts.next()) {
        (Some(day), Some(class), Some(subject)) if !text.contains('\0') => {
            Ok((day, class, subject))
        }
        _ => Err(Error::new(Kind::InvalidParameter, "after is no `next_after` of a page")),
    }
}

impl TryFrom<store::Usage> for Usage {
    type Error = Error;

    fn try_from(stored: store::Usage) -> Result<Self> {
        let store::Usage { day, class, subject, requests, throttled } = stored;
        let unknown = || Error::internal(format!("{class:?} is no class of requests"));
        let class = Class::of(&class).ok_or_else(unknown)?;
        Ok(Self { subject, day, class, requests, throttled })
    }
}
