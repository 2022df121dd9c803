//! Group commit on SQLite: writes that wait for the writer run in one transaction, each in its savepoint with its own
//! outcome. All of them are acknowledged after one flush.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::failure::{
    FailureClass, database_error, is_conflict, no_free_connection, queue_is_full,
};
use super::lease::{Lease, Parts};
use super::pool::Pool;
use super::sqlite::SqliteFile;
use super::transaction::{End, Failure, Transaction, Work, attempt, may_respond};
use super::{MAX_WAITING, Store, plain};
use crate::error::{Error, Result};
use crate::telemetry::account::{Account, Stage};
use crate::telemetry::metrics::{METRICS, WRITER};

/// The maximum number of writes of a group. More make each other wait, and hardly save anything.
const MAX_MEMBERS: usize = 64;

/// After this time a group is committed as it is, so that writes do not wait for many slow ones of others.
const MAX_GROUP_TIME: Duration = Duration::from_millis(50);

/// What became of work that was queued.
pub(super) enum Decision<W: Work> {
    /// It was done, or has failed.
    Done(Result<W::Output>),
    /// It was not done, because of others in its group or another process. It can be done alone.
    Alone(W),
}

/// Work in the queue or in a group.
trait Member: Send {
    fn subject(&self) -> &str;

    fn asked_at(&self) -> Instant;

    /// Whether no caller waits for the outcome any more.
    fn is_abandoned(&self) -> bool;

    /// Runs the work as the only one of its transaction, and reports the outcome.
    fn alone<'a>(self: Box<Self>, lease: &'a mut Lease<SqliteFile>) -> BoxFuture<'a, ()>;

    /// Runs the work in the transaction of a group.
    fn run<'a>(&'a mut self, transaction: &'a mut Transaction<'_>) -> BoxFuture<'a, Ran>;

    /// Reports the outcome.
    fn acknowledge(self: Box<Self>);

    /// Reports that the work was not done.
    fn dismiss(self: Box<Self>);

    /// Reports an error.
    fn reject(self: Box<Self>, error: Error);
}

/// What the work of a group has left behind.
enum Ran {
    /// Changes to commit.
    Changes,
    /// Nothing that should be committed.
    Nothing,
    /// A transaction that cannot go on.
    Broken,
}

struct Queued<W: Work> {
    work: W,
    subject: Arc<str>,
    asked_at: Instant,
    /// The account of the request.
    account: Option<Arc<Account>>,
    /// When its statements had been executed; the commit follows.
    ran_at: Option<Instant>,
    outcome: Option<std::result::Result<End<W::Output>, Failure>>,
    caller: oneshot::Sender<Decision<W>>,
}

impl<W: Work> Queued<W> {
    /// Ends the wait for the writer.
    fn starts(&self) -> Option<Arc<Account>> {
        self.has_waited();
        self.account.clone()
    }

    fn has_waited(&self) {
        let waited = self.asked_at.elapsed();
        METRICS.waits.get_or_create(&WRITER).observe(waited.as_secs_f64());
        if let Some(account) = &self.account {
            account.add(Stage::Acquire, waited);
        }
    }
}

/// Does work on the account of its request.
fn on<'a, T: 'a>(
    account: Option<Arc<Account>>,
    work: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    match account {
        Some(account) => account.within(work).boxed(),
        None => work.boxed(),
    }
}

impl<W: Work> Member for Queued<W> {
    fn subject(&self) -> &str {
        &self.subject
    }

    fn asked_at(&self) -> Instant {
        self.asked_at
    }

    fn is_abandoned(&self) -> bool {
        self.caller.is_closed()
    }

    fn alone<'a>(mut self: Box<Self>, lease: &'a mut Lease<SqliteFile>) -> BoxFuture<'a, ()> {
        let account = self.starts();
        let work = async move {
            match attempt(lease, &self.work).await {
                // Another process writes. The work is retried after a pause, in which others can go on.
                Err(Failure::Database(error)) if is_conflict(&error) => self.dismiss(),
                outcome => {
                    // It was logged with its commit.
                    self.outcome = Some(outcome.map(End::RollBack));
                    self.acknowledge();
                }
            }
        };
        on(account, work)
    }

    fn run<'a>(&'a mut self, transaction: &'a mut Transaction<'_>) -> BoxFuture<'a, Ran> {
        let account = self.starts();
        let work = async move {
            let outcome = self.work.run(transaction).await;
            let ran = match &outcome {
                Ok(End::Commit(_)) => Ran::Changes,
                Ok(End::RollBack(_)) => Ran::Nothing,
                Err(failure) if may_respond(failure) => Ran::Nothing,
                Err(_) => Ran::Broken,
            };
            self.outcome = Some(outcome);
            self.ran_at = Some(Instant::now());
            ran
        };
        on(account, work)
    }

    fn acknowledge(self: Box<Self>) {
        let Self { outcome, caller, work, account, ran_at, .. } = *self;
        if let (Some(account), Some(ran_at)) = (&account, ran_at) {
            account.add(Stage::Execute, ran_at.elapsed());
        }
        if let Some(Ok(End::Commit(output))) = &outcome {
            Account::on(account, || work.audit(output));
        }
        let done = |outcome: std::result::Result<End<W::Output>, Failure>| match outcome {
            Ok(End::Commit(output) | End::RollBack(output)) => Ok(output),
            Err(failure) => Err(Error::from(failure)),
        };
        // The caller may have been cancelled.
        let _ = caller.send(match outcome {
            Some(outcome) => Decision::Done(done(outcome)),
            None => Decision::Alone(work),
        });
    }

    fn dismiss(self: Box<Self>) {
        let _ = self.caller.send(Decision::Alone(self.work));
    }

    fn reject(self: Box<Self>, error: Error) {
        self.has_waited();
        let _ = self.caller.send(Decision::Done(Err(error)));
    }
}

/// The writes that wait for the writer.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    members: VecDeque<Box<dyn Member>>,
    /// Whether a task runs groups.
    is_served: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} writes", self.lock().members.len())
    }
}

impl Queue {
    /// Returns the number of writes that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().members.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next group, in turns of the subjects, so that many writes of one do not delay the others. Writes whose
    /// caller was cancelled are dropped: nothing of them has been written.
    fn take(&self) -> Vec<Box<dyn Member>> {
        let mut waiting = self.lock();
        let mut counts: HashMap<String, usize> = HashMap::new();
        let members = std::mem::take(&mut waiting.members).into_iter();
        let turns = members.filter(|member| !member.is_abandoned()).map(|member| {
            let count = counts.entry(member.subject().to_owned()).or_default();
            *count += 1;
            (*count, member)
        });
        let mut turns: Vec<_> = turns.collect();
        turns.sort_by_key(|(turn, _)| *turn);
        let mut group: Vec<_> = turns.into_iter().map(|(_, member)| member).collect();
        waiting.members = group.split_off(MAX_MEMBERS.min(group.len())).into();
        group
    }

    /// Puts writes back that did not get their turn.
    fn put_back(&self, members: Vec<Box<dyn Member>>) {
        let mut waiting = self.lock();
        for member in members.into_iter().rev() {
            waiting.members.push_front(member);
        }
    }

    /// Takes the writes that satisfy a condition out.
    fn remove(&self, condition: impl Fn(&dyn Member) -> bool) -> Vec<Box<dyn Member>> {
        let mut waiting = self.lock();
        let members = std::mem::take(&mut waiting.members);
        let (removed, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| condition(member.as_ref()));
        waiting.members = others.into();
        removed
    }
}

impl Store {
    /// Queues work for the writer, and waits until its group has been committed.
    ///
    /// # Errors
    /// Those of the work; [`crate::error::Kind::Unavailable`] if the writer does not become free in time, or too many
    /// writes wait.
    pub(super) async fn in_group<W: Work>(
        &self,
        queue: &Arc<Queue>,
        writer: &Pool<SqliteFile>,
        work: W,
    ) -> Result<Decision<W>> {
        let (caller, decided) = oneshot::channel();
        let (subject, asked_at) = (self.origin.subject.clone(), Instant::now());
        let (account, ran_at, outcome) = (Account::current(), None, None);
        let member = Queued { work, subject, asked_at, account, ran_at, outcome, caller };
        let share = self.shared.bounds.share;
        {
            let mut waiting = queue.lock();
            let members = &mut waiting.members;
            // A subject with few writes finds a place although another one fills the queue.
            let own = || members.iter().filter(|other| other.subject() == member.subject()).count();
            let is_full = members.len() >= MAX_WAITING
                && (members.len() >= 2 * MAX_WAITING || own() >= share);
            if is_full {
                return Err(queue_is_full(members.len()));
            }
            members.push_back(Box::new(member));
            if !std::mem::replace(&mut waiting.is_served, true) {
                let (queue, writer) = (queue.clone(), writer.clone());
                let limit = self.shared.bounds.queue;
                tokio::spawn(async move { serve(&queue, &writer, limit).await });
            }
        }
        decided.await.map_err(Error::internal)
    }
}

/// Serves a queue until it is empty.
async fn serve(queue: &Arc<Queue>, writer: &Pool<SqliteFile>, limit: Duration) {
    let serving = Serving(queue.clone());
    while let Some(oldest) = serving.oldest() {
        let (started, left) = (Instant::now(), limit.saturating_sub(oldest.elapsed()));
        match writer.lease_since(oldest).await {
            Ok(mut lease) => {
                for member in queue.remove(|member| member.asked_at().elapsed() > limit) {
                    member.reject(no_free_connection(1, limit));
                }
                run(&mut lease, queue).await;
            }
            Err(error) => {
                // If the writer is busy, those that came later still wait.
                let is_busy = started.elapsed() >= left;
                let has_waited = |member: &dyn Member| member.asked_at().elapsed() >= limit;
                for member in queue.remove(|member| !is_busy || has_waited(member)) {
                    member.reject(copied(&error));
                }
            }
        }
    }
}

/// Returns the same error for another request.
fn copied(error: &Error) -> Error {
    let cause = error.cause.as_ref().map(|cause| cause.to_string().into());
    let (detail, retry_after) = (error.detail.clone(), error.retry_after);
    Error { cause, retry_after, ..Error::new(error.kind, detail) }
}

/// The task that serves a queue. Another one can start when it ends, also if a write has panicked.
struct Serving(Arc<Queue>);

impl Serving {
    /// Returns when the oldest write was queued. Without one, the task must end.
    fn oldest(&self) -> Option<Instant> {
        let mut waiting = self.0.lock();
        // Turns have changed their order.
        let oldest = waiting.members.iter().map(|member| member.asked_at()).min();
        waiting.is_served = oldest.is_some();
        oldest
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = self.0.lock();
            waiting.is_served = false;
            // Their callers get an internal error.
            waiting.members.clear();
        }
    }
}

/// Runs the next group in one transaction, and reports the outcomes.
async fn run(lease: &mut Lease<SqliteFile>, queue: &Queue) {
    let mut group = queue.take();
    if group.len() <= 1 {
        for member in group {
            member.alone(lease).await;
        }
        return;
    }
    let (done, broken) = match write(lease, &mut group).await {
        Ok(done) => {
            queue.put_back(group.split_off(done));
            (done, None)
        }
        Err(Stop::At(position)) => (0, Some(position)),
        Err(Stop::Silent) => {
            for member in group {
                member.reject(database_error(FailureClass::silent()));
            }
            return;
        }
    };
    for (position, member) in group.into_iter().enumerate() {
        // A write whose statement broke the transaction keeps its error. Nothing of the others was committed.
        match position < done || broken == Some(Some(position)) {
            true => member.acknowledge(),
            false => member.dismiss(),
        }
    }
}

/// Why a group was not committed.
enum Stop {
    /// A statement has failed, of the member with this position if it is one's.
    At(Option<usize>),
    /// The writer does not respond, so it is unknown whether the group was committed.
    Silent,
}

/// Runs the members in one transaction and commits it. Returns how many of them got their turn.
async fn write(
    lease: &mut Lease<SqliteFile>,
    group: &mut [Box<dyn Member>],
) -> std::result::Result<usize, Stop> {
    let started = Instant::now();
    let Ok(Parts { connection, limit }) = lease.parts() else { return Err(Stop::At(None)) };
    let work = async {
        let begun = Transaction::begin::<SqliteFile>(connection, limit).await;
        let mut transaction = begun.map_err(|_| Stop::At(None))?;
        // A savepoint that was rolled back to is still there for the next member.
        let mut next = Some("SAVEPOINT member");
        let mut done = 0;
        for (position, member) in group.iter_mut().enumerate() {
            if position > 0 && started.elapsed() > MAX_GROUP_TIME {
                break;
            }
            done = position + 1;
            if let Some(next) = next {
                transaction.precede(next);
            }
            next = match member.run(&mut transaction).await {
                Ran::Changes => Some("RELEASE member; SAVEPOINT member"),
                Ran::Nothing => {
                    let undo = plain("ROLLBACK TO member");
                    transaction.execute(undo).await.map_err(|_| Stop::At(None))?;
                    None
                }
                Ran::Broken => return Err(Stop::At(Some(position))),
            };
        }
        transaction.commit().await.map_err(|error| match FailureClass::of(&error) {
            FailureClass::Silent | FailureClass::Lost => Stop::Silent,
            _ => Stop::At(None),
        })?;
        METRICS.group_commits.observe(u32::try_from(done).map_or(0.0, f64::from));
        Ok(done)
    };
    let outcome = work.await;
    if lease.settle(Ok(())).is_err() || outcome.is_err() {
        lease.doubt();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Work for Nothing {
        type Output = ();

        async fn run(
            &self,
            _transaction: &mut Transaction<'_>,
        ) -> std::result::Result<End<()>, Failure> {
            Ok(End::Commit(()))
        }
    }

    fn queued(subject: &str) -> (Box<dyn Member>, oneshot::Receiver<Decision<Nothing>>) {
        let (caller, decided) = oneshot::channel();
        let (subject, asked_at) = (Arc::from(subject), Instant::now());
        let (account, ran_at, outcome) = (None, None, None);
        let member = Queued { work: Nothing, subject, asked_at, account, ran_at, outcome, caller };
        (Box::new(member), decided)
    }

    /// The subjects of each group.
    fn groups(subjects: &[&str]) -> Vec<String> {
        let queue = Queue::default();
        let (members, _callers): (Vec<_>, Vec<_>) = subjects.iter().map(|s| queued(s)).unzip();
        queue.lock().members.extend(members);
        let group = || {
            let group = queue.take();
            let subjects: String = group.iter().map(|member| member.subject().to_owned()).collect();
            Some(subjects).filter(|subjects| !subjects.is_empty())
        };
        std::iter::from_fn(group).collect()
    }

    #[test]
    fn many_writes_of_one_subject_do_not_delay_others() {
        let flood = ["a"; 3 * MAX_MEMBERS];
        let subjects = [&flood[..], &["b", "c", "b"]].concat();
        let groups = groups(&subjects);
        let first = format!("abcab{}", "a".repeat(MAX_MEMBERS - 5));
        assert_eq!(groups.first(), Some(&first));
        assert_eq!(groups.iter().map(String::len).sum::<usize>(), subjects.len());
        assert!(groups.iter().skip(1).all(|group| group.chars().all(|subject| subject == 'a')));
    }

    #[test]
    fn a_cancelled_write_is_dropped() {
        let queue = Queue::default();
        let (member, caller) = queued("a");
        queue.lock().members.push_back(member);
        drop(caller);
        assert!(queue.take().is_empty());
    }
}
