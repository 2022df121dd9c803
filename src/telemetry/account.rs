//! The account of a request: how long each of its stages has taken, and what it has asked of the database.
//!
//! An account belongs to the task of its request ([`Account::within`]). Work that continues in another task takes it along
//! ([`spawn`]), so no function has to pass it on.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinHandle};

pub use super::stage::Stage;
use super::trace::Trace;

tokio::task_local! {
    static CURRENT: Arc<Account>;
}

/// What one request has cost so far.
#[derive(Debug)]
pub struct Account {
    request_id: String,
    started: Instant,
    /// The time of each stage, in nanoseconds.
    stages: [AtomicU64; Stage::ALL.len()],
    statements: AtomicU64,
    rows: AtomicU64,
    /// The canonical text of the query without its values; `None` if it is not asked for.
    query: Option<OnceLock<String>>,
    trace: Option<Trace>,
    client: OnceLock<IpAddr>,
    /// Why the token of the request grants no scope.
    no_scopes: OnceLock<String>,
}

impl Account {
    /// Opens the account of a request. `notes_query` is whether it keeps the text of the query.
    pub fn new(request_id: String, notes_query: bool, trace: Option<Trace>) -> Arc<Self> {
        let query = notes_query.then(OnceLock::new);
        let (started, stages) = (Instant::now(), Default::default());
        let (statements, rows) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self {
            request_id,
            started,
            stages,
            statements,
            rows,
            query,
            trace,
            client: OnceLock::new(),
            no_scopes: OnceLock::new(),
        })
    }

    /// Returns the account of the current task.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Does the work of the request.
    pub fn within<T>(self: Arc<Self>, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CURRENT.scope(self, work)
    }

    /// Returns the id of the request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the time since the request began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns how long the request was in a stage.
    pub fn time_of(&self, stage: Stage) -> Duration {
        self.stages
            .get(stage as usize)
            .map_or(Duration::ZERO, |time| Duration::from_nanos(time.load(Relaxed)))
    }

    /// Returns how long the database has worked for the request, rows included.
    pub fn time_of_database(&self) -> Duration {
        self.time_of(Stage::Execute) + self.time_of(Stage::Encode)
    }

    /// Returns the number of statements.
    pub fn statements(&self) -> u64 {
        self.statements.load(Relaxed)
    }

    /// Returns the number of rows that the database has returned.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Notes the IP address of the client.
    pub fn is_from(&self, client: IpAddr) {
        let _ = self.client.set(client);
    }

    /// Returns the IP address of the client, if it is known.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.get().copied()
    }

    /// Returns why the token of the request grants no scope, if it grants none.
    pub fn no_scopes(&self) -> Option<&str> {
        self.no_scopes.get().map(String::as_str)
    }

    /// Runs a function on the account of a request.
    pub fn on<T>(account: Option<Arc<Self>>, work: impl FnOnce() -> T) -> T {
        match account {
            Some(account) => CURRENT.sync_scope(account, work),
            None => work(),
        }
    }

    /// Returns the trace of the request, if it has one.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Returns the canonical text of the query without its values, if it was noted.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref()?.get().map(String::as_str)
    }

    /// Adds to the time of a stage.
    pub fn add(&self, stage: Stage, time: Duration) {
        if let Some(total) = self.stages.get(stage as usize) {
            total.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
        if let Some(trace) = &self.trace {
            trace.note(stage, time);
        }
    }
}

/// Measures a stage of the current request, until it is dropped.
#[derive(Debug)]
pub struct Timer {
    stage: Stage,
    started: Instant,
    account: Option<Arc<Account>>,
}

impl Timer {
    /// Starts a stage.
    pub fn start(stage: Stage) -> Self {
        Self { stage, started: Instant::now(), account: Account::current() }
    }

    /// Ends the stage, and starts another one.
    pub fn pass_to(&mut self, next: Stage) {
        let now = Instant::now();
        if let Some(account) = &self.account {
            account.add(self.stage, now - self.started);
        }
        (self.stage, self.started) = (next, now);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.pass_to(self.stage);
    }
}

/// Does the work of a stage.
pub fn measure<T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    let _timer = Timer::start(stage);
    work()
}

/// Counts a statement of the current request.
pub fn count_statement() {
    let _ = CURRENT.try_with(|account| account.statements.fetch_add(1, Relaxed));
}

/// Counts rows that the database has returned for the current request.
pub fn count_rows(rows: usize) {
    let _ = CURRENT.try_with(|account| account.rows.fetch_add(rows as u64, Relaxed));
}

/// Notes the query of the current request, if that is asked for.
pub fn note_query(text: impl FnOnce() -> String) {
    let _ = CURRENT.try_with(|account| {
        if let Some(query) = &account.query {
            query.get_or_init(text);
        }
    });
}

/// Notes why the token of the current request grants no scope.
pub fn note_no_scopes(text: impl FnOnce() -> String) {
    let _ = CURRENT.try_with(|account| drop(account.no_scopes.set(text())));
}

/// Does the work of the current request to its end, also if the request is cancelled.
///
/// # Errors
/// The error of the runtime if the work has panicked.
pub async fn completed<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    spawn(work).await
}

/// Continues the work of the current request in a task of its own.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match Account::current() {
        Some(account) => tokio::spawn(account.within(work)),
        None => tokio::spawn(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_of_other_tasks_is_on_the_account_of_its_request() {
        let account = Account::new("1".to_owned(), true, None);
        let work = async {
            count_statement();
            count_rows(2);
            let task = spawn(async {
                count_statement();
                count_rows(3);
                note_query(|| "first".to_owned());
                note_query(|| "second".to_owned());
                let mut timer = Timer::start(Stage::Acquire);
                std::thread::sleep(Duration::from_millis(1));
                timer.pass_to(Stage::Execute);
            });
            task.await
        };
        assert!(account.clone().within(work).await.is_ok());
        count_statement();
        assert_eq!((account.statements(), account.rows()), (2, 5));
        assert_eq!(account.query(), Some("first"));
        assert!(account.time_of(Stage::Acquire) >= Duration::from_millis(1));
        assert!(account.time_of(Stage::Execute) > Duration::ZERO);
        assert_eq!(account.time_of(Stage::Parse), Duration::ZERO);
    }
}
