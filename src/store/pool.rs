//! Connections that are kept between statements, and closed after anything that went wrong.
//!
//! The driver has no limit on a statement and no socket options, so a connection that goes silent
//! would be waited for without end. Here every statement runs under a deadline on this side, and a
//! connection goes back to its pool only if its last statement ended in order: one that timed out,
//! lost its connection, left a transaction open or whose caller went away is closed.

use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{Object, PoolConfig, PoolError, QueueMode, TimeoutType, Timeouts};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Connection as _;

use super::MAX_WAITING;
use super::connection::{Keeper, Open};
use super::failure::{Fault, database_error, overloaded};
use super::lease::{Lease, close};
use super::share::Share;
use crate::error::{Error, Result};

/// How often a pool that is being closed looks whether its last statement has ended.
const CLOSE_INTERVAL: Duration = Duration::from_millis(10);

/// How often unused connections are checked, and for how long one may be unused without a check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection that is checked may take to respond.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections of one kind.
pub(super) struct Pool<O: Open> {
    pool: deadpool::managed::Pool<Keeper<O>>,
    /// How long the database may work on a statement.
    statement: Duration,
    /// How long a request waits for a connection.
    queue: Duration,
}

impl<O: Open> Clone for Pool<O> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), statement: self.statement, queue: self.queue }
    }
}

impl<O: Open> std::fmt::Debug for Pool<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pool.status().fmt(f)
    }
}

impl<O: Open> Pool<O> {
    /// A pool without connections: each is opened when it is first needed.
    ///
    /// # Errors
    /// None that could be provoked: a runtime is named.
    pub(super) fn new(open: O, size: usize, statement: Duration, queue: Duration) -> Result<Self> {
        let mut config = PoolConfig::new(size);
        // In turn, so that none stands unused until a firewall forgets it.
        config.queue_mode = QueueMode::Fifo;
        let pool = deadpool::managed::Pool::builder(Keeper::new(open)).config(config);
        let pool = pool.runtime(Runtime::Tokio1).build().map_err(Error::internal)?;
        Ok(Self { pool, statement, queue })
    }

    /// How its connections are opened.
    pub(super) fn opener(&self) -> &O {
        self.pool.manager().opener()
    }

    /// A connection, within the share of its subject.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when the queue is too long or no connection can be opened.
    pub(super) async fn lease(&self, share: Option<&Share>) -> Result<Lease<O>> {
        let asked_at = Instant::now();
        let share = match share {
            Some(share) => Some(share.enter(self.queue).await?),
            None => None,
        };
        let mut lease = self.wait(self.queue.saturating_sub(asked_at.elapsed())).await?;
        lease.keep(share);
        Ok(lease)
    }

    /// A connection for work with limits of its own: how long to wait for it, and for a statement.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub(super) fn lease_within(
        &self,
        queue: Duration,
        statement: Duration,
    ) -> BoxFuture<'_, Result<Lease<O>>> {
        // Boxed: the compiler does not see that a task which holds this future can be sent.
        async move {
            let mut lease = self.wait(queue).await?;
            lease.limit_to(statement);
            Ok(lease)
        }
        .boxed()
    }

    async fn wait(&self, wait: Duration) -> Result<Lease<O>> {
        if self.pool.status().waiting >= MAX_WAITING {
            return Err(overloaded());
        }
        let timeouts = Timeouts { wait: Some(wait), create: None, recycle: None };
        let held = self.pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                // With an unreachable database all places are taken by attempts to reach it.
                let is_failing = self.pool.manager().is_failing();
                if is_failing { database_error(Fault::silent()) } else { overloaded() }
            }
            PoolError::Backend(error) => database_error(error),
            other => Error::unavailable(other.to_string()),
        })?;
        Ok(Lease::of(held, self.statement))
    }

    /// Closes every connection, those in use when their statements have ended.
    pub(super) async fn close(&self) {
        let unused = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for held in unused {
            close(held.opened.connection).await;
        }
        while self.pool.status().size > 0 {
            tokio::time::sleep(CLOSE_INTERVAL).await;
        }
    }

    /// Checks connections that are not used, for as long as there is the pool: one whose server has
    /// gone away is found here rather than by a request.
    pub(super) fn check_unused(&self) {
        let pool = self.pool.weak();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
                for _ in 0..pool.status().available {
                    let at_once = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::default() };
                    let Ok(mut held) = pool.timeout_get(&at_once).await else { break };
                    if held.used_at.elapsed() < CHECK_INTERVAL {
                        continue;
                    }
                    let check = held.opened.connection.ping();
                    if !matches!(tokio::time::timeout(CHECK_TIMEOUT, check).await, Ok(Ok(()))) {
                        tracing::warn!("an unused connection to the database is dead; closing all");
                        pool.manager().replace_all();
                        drop(Object::take(held));
                    }
                }
            }
        });
    }
}
