//! The audit log: an event for each write that was committed.

use uuid::Uuid;

use super::account::Account;
use super::trace::Trace;

/// A write that was committed. Absent facts are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Audit<'a> {
    /// What was done, such as `create`.
    pub action: &'static str,
    /// Who has done it: the subject of the token; `operator` at the command line.
    pub subject: &'a str,
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// The collection of the record.
    pub collection: Option<&'a str>,
    /// The id of the record.
    pub id: Option<Uuid>,
    /// The user that was written, or whose tokens were revoked.
    pub user: Option<&'a str>,
    /// The role that the user has now.
    pub role: Option<&'a str>,
    /// The version before the write.
    pub from_version: Option<i64>,
    /// The version after the write.
    pub to_version: Option<i64>,
    /// The number of records of a write of several.
    pub records: Option<u64>,
    /// Why the service has ended a session by itself.
    pub reason: Option<&'static str>,
}

impl<'a> Audit<'a> {
    /// Returns a write by a subject, in the request `within`.
    pub fn by(action: &'static str, subject: &'a str, within: Option<&'a Account>) -> Self {
        Self { action, subject, request_id: within.map(Account::request_id), ..Self::default() }
    }

    /// Logs the write.
    pub fn log(self) {
        let Self { action, subject, request_id, collection, user, .. } = self;
        let Self { id, role, from_version, to_version, records, reason, .. } = self;
        let account = Account::current();
        let client = account.as_ref().and_then(|account| account.client());
        let client = client.map(tracing::field::display);
        tracing::info!(
            target: "audit",
            action,
            user.id = subject,
            subject,
            request_id,
            trace_id = account.as_ref().and_then(|account| account.trace()).map(Trace::id),
            client.address = client,
            client,
            collection,
            id = id.map(tracing::field::display),
            user,
            role,
            from_version,
            to_version,
            records,
            reason,
            "write"
        );
    }
}
