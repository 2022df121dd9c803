//! Running work in a transaction: with other writes that wait, or alone.

use super::failure::Attempts;
use super::group_commit::Decision;
use super::transaction::{End, Failure, Transaction, Work, attempt};
use super::{Engine, Lane, Row, Store};
use crate::error::{Error, Result};
use crate::query::Statement;
use crate::telemetry::account;

impl Store {
    /// Runs statements in one transaction and returns the row of the last. Rolls back if the last has no row.
    pub(super) async fn transact<T: Row + 'static>(
        &self,
        before: Vec<Statement>,
        last: Statement,
    ) -> Result<Option<T>> {
        let first = |rows: Vec<T>| rows.into_iter().next();
        self.in_transaction(Sequence { before, last, first }).await
    }

    /// Runs work in a transaction, and retries it after a conflict with another one.
    ///
    /// This runs as a separate task, so the transaction ends normally even if the caller is cancelled. On SQLite,
    /// writes of requests that wait for the writer share a transaction.
    pub(super) async fn in_transaction<W: Work>(&self, work: W) -> Result<W::Output> {
        let work = match &self.shared.engine {
            Engine::Sqlite { write, queue, .. } if self.lane == Lane::Requests => {
                match self.in_group(queue, write, work).await? {
                    Decision::Done(outcome) => return outcome,
                    Decision::Alone(work) => work,
                }
            }
            _ => work,
        };
        let store = self.clone();
        let task = account::spawn(async move {
            let mut attempts = Attempts::default();
            loop {
                let outcome = match &store.shared.engine {
                    Engine::Sqlite { write, .. } => {
                        let mut lease = write.lease(store.share.as_ref()).await?;
                        attempt(&mut lease, &work).await
                    }
                    Engine::Postgres(lanes) => {
                        let pool = lanes.of(store.lane);
                        let mut lease = pool.lease(store.share.as_ref()).await?;
                        attempt(&mut lease, &work).await
                    }
                };
                match outcome {
                    Err(Failure::Database(error)) if attempts.again(&error).await => {}
                    outcome => return Ok(outcome?),
                }
            }
        });
        task.await.map_err(Error::internal)?
    }
}

/// Statements of which the last returns a row. Without a row the transaction is rolled back.
struct Sequence<T> {
    before: Vec<Statement>,
    last: Statement,
    first: fn(Vec<T>) -> Option<T>,
}

impl<T: Row + 'static> Work for Sequence<T> {
    type Output = Option<T>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> std::result::Result<End<Option<T>>, Failure> {
        for statement in &self.before {
            transaction.execute(statement.clone()).await?;
        }
        let rows = transaction.rows(self.last.clone()).await?;
        Ok(match (self.first)(rows) {
            Some(row) => End::Commit(Some(row)),
            None => End::RollBack(None),
        })
    }
}
