//! Opens connections to PostgreSQL: to the first suitable host, with the limits of the session set.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Postgres};

use super::connection::{CONNECT_TIMEOUT, Deadline, Open, Opened};
use super::failure::{FailureClass, unconnected};
use super::lease::KEPT_STATEMENTS;

/// How long a statement waits for a row that another transaction is writing. If this were longer, a few
/// waiting statements would hold every connection.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an import waits for the import of another instance.
pub(super) const IMPORT_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server keeps an idle transaction. After that, the locks of an instance that has vanished are
/// released.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// TCP settings of the server, with which it notices that a client has vanished: seconds until the first
/// probe, seconds between probes, number of probes, and milliseconds until unacknowledged data fails.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];

/// What a connection is used for, which decides its limits on the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Statements that take at most this time.
    Statements(Duration),
    /// Migrations, without a time limit.
    Migrations,
}

/// Which servers are suitable (libpq's `target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Any,
    /// A server that accepts writes.
    ReadWrite,
}

/// A server, or several of which one accepts writes.
#[derive(Debug)]
pub(super) struct Servers {
    hosts: Vec<PgConnectOptions>,
    target: Target,
    work: Work,
    /// The index of the host that was used last. It is tried first.
    last: AtomicUsize,
}

impl Servers {
    /// Parses a URL: `postgres://USER@HOST:PORT,HOST:PORT/NAME?target_session_attrs=read-write`.
    ///
    /// # Errors
    /// Fails if the URL is malformed. The message does not repeat the URL, which may contain a password.
    pub(super) fn of(url: &str, work: Work) -> Result<Self, String> {
        let (urls, target) = split(url)?;
        let options = |url: &String| {
            let options = url.parse::<PgConnectOptions>().map_err(|error| error.to_string())?;
            // A pooler such as PgBouncer rejects most settings in the startup message of a connection.
            let options = options.application_name("cinequery").extra_float_digits(None);
            Ok(options.statement_cache_capacity(KEPT_STATEMENTS))
        };
        let hosts = urls.iter().map(options).collect::<Result<_, String>>()?;
        Ok(Self { hosts, target, work, last: AtomicUsize::new(0) })
    }

    /// Returns the same servers for other work.
    pub(super) fn working_on(&self, work: Work) -> Self {
        let last = AtomicUsize::new(self.last.load(Ordering::Relaxed));
        Self { hosts: self.hosts.clone(), target: self.target, work, last }
    }

    /// Returns the hosts and ports, for messages.
    pub(super) fn names(&self) -> String {
        self.hosts.iter().map(name_of).collect::<Vec<_>>().join(", ")
    }

    async fn open_one(&self, host: &PgConnectOptions) -> sqlx::Result<Opened<Postgres>> {
        let opened = async {
            let mut connection = host.connect().await?;
            let session = Some(self.set_up(&mut connection).await?);
            Ok(Opened { connection, deadline: Deadline::default(), session })
        };
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, opened).await;
        opened
            .unwrap_or_else(|_| Err(FailureClass::silent()))
            .map_err(|error| unconnected(error, &name_of(host)))
    }

    /// Sets the limits of the session in one round trip, and checks that they are in effect. Limits in the
    /// startup message would not be enough: a pooler may silently ignore them.
    async fn set_up(&self, connection: &mut PgConnection) -> sqlx::Result<i32> {
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        let limits = match self.work {
            Work::Statements(limit) => [limit, LOCK_TIMEOUT, IDLE_TIMEOUT].map(milliseconds),
            Work::Migrations => ["0", "0", "0"].map(str::to_owned),
        };
        let names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        let keepalive = KEEPALIVE.map(|(name, value)| (name, value.to_owned()));
        let settings: Vec<String> = names
            .into_iter()
            .zip(limits)
            .chain(keepalive)
            .map(|(name, value)| format!("set_config('{name}', '{value}', false)"))
            .collect();
        // `pg_settings` returns plain numbers, while `SHOW` formats them with units.
        let set = format!("SELECT {}", settings.join(", "));
        let look = "SELECT (SELECT setting FROM pg_settings WHERE name = 'statement_timeout'), \
                    current_setting('server_encoding'), \
                    current_setting('transaction_read_only'), \
                    pg_backend_pid()";
        let expected = match self.work {
            Work::Statements(limit) => milliseconds(limit),
            Work::Migrations => "0".to_owned(),
        };
        let rows = sqlx::raw_sql(AssertSqlSafe(format!("{set}; {look}")));
        let rows = sqlx::Executor::fetch_all(&mut *connection, rows).await?;
        let last = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        let text = |column: usize| sqlx::Row::try_get_unchecked::<String, _>(last, column);
        let (limit, encoding, read_only) = (text(0)?, text(1)?, text(2)?);
        if limit != expected {
            let message = "cannot set the limits of a database session; check whether a connection \
                           pooler blocks `SET`";
            return Err(sqlx::Error::Configuration(message.into()));
        }
        if encoding != "UTF8" {
            let message = format!(
                "expected a database with the encoding UTF8, found {encoding}; create one with \
                 `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
            );
            return Err(sqlx::Error::Configuration(message.into()));
        }
        if self.target == Target::ReadWrite && read_only == "on" {
            // The next host is tried. If this is the last one, `failure` has the message.
            let read_only = std::io::ErrorKind::ReadOnlyFilesystem;
            return Err(sqlx::Error::Io(read_only.into()));
        }
        text(3)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
}

impl Open for Servers {
    type Database = Postgres;

    async fn open(&self) -> sqlx::Result<Opened<Postgres>> {
        let first = self.last.load(Ordering::Relaxed);
        let mut failure = sqlx::Error::PoolClosed;
        for step in 0..self.hosts.len() {
            let number = (first + step) % self.hosts.len();
            let Some(host) = self.hosts.get(number) else { continue };
            match self.open_one(host).await {
                Ok(opened) => {
                    self.last.store(number, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn interrupt(&self, session: i32) -> sqlx::Result<()> {
        let last = self.last.load(Ordering::Relaxed);
        let host = self.hosts.get(last).ok_or(sqlx::Error::PoolClosed)?;
        let interrupted = async {
            let mut connection = host.connect().await?;
            let cancel = sqlx::query("SELECT pg_cancel_backend($1)").bind(session);
            cancel.persistent(false).execute(&mut connection).await?;
            connection.close().await
        };
        let interrupted = tokio::time::timeout(CONNECT_TIMEOUT, interrupted).await;
        interrupted.unwrap_or_else(|_| Err(FailureClass::silent()))
    }
}

/// Returns the host and port of a server, or its socket, for messages.
fn name_of(host: &PgConnectOptions) -> String {
    match host.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", host.get_host(), host.get_port()),
    }
}

/// Splits a URL into one URL per host, and returns which hosts are suitable. With several hosts, the default
/// is the host that accepts writes.
fn split(url: &str) -> Result<(Vec<String>, Target), String> {
    let malformed = || "expected a URL such as postgres://USER@HOST:PORT/NAME".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts: Vec<&str> = hosts.split(',').collect();
    let mut target = if hosts.len() > 1 { Target::ReadWrite } else { Target::Any };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("target_session_attrs", "any")) => target = Target::Any,
            Some(("target_session_attrs", "read-write" | "primary")) => target = Target::ReadWrite,
            Some(("target_session_attrs", other)) => {
                return Err(format!(
                    "expected target_session_attrs=read-write, primary or any, found {other:?}"
                ));
            }
            _ => kept.push(pair),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let of = |host: &&str| format!("{scheme}://{user}{host}{path}{query}");
    Ok((hosts.iter().map(of).collect(), target))
}
