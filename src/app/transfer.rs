//! Moving many records in at once.

use tokio::sync::mpsc;

use crate::error::Result;
use crate::identity::{Access, Identity};
use crate::record::Record;
use crate::store::{Conflict, Message, Store, Tally};

/// Writes records as they arrive. Under [`Conflict::Fail`] nothing is written unless everything is;
/// otherwise every thousand records are committed.
///
/// # Errors
/// [`crate::error::Kind::InsufficientScope`]; the database's.
pub async fn import<R: Record>(
    store: &Store,
    caller: &Identity,
    policy: Conflict,
    records: mpsc::Receiver<Message<R>>,
) -> Result<Tally> {
    caller.require(Access::Write, R::SCHEMA)?;
    store.import(policy, records).await
}
