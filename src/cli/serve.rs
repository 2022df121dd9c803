//! `cinequery serve`: runs the service.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::bind::Bound;
use super::schedule::Schedule;
use super::user::{ensure_administrator, new_password};
use super::{Outcome, SecretSource, catalogue, explain, location, migrate};
use crate::admission::{Admission, Limits, Proxies, Redis};
use crate::app::App;
use crate::config::{
    Auth, DatabaseSettings, OidcSettings, ServeSettings, ThrottleSettings, TokenSettings,
};
use crate::http;
use crate::identity::{
    Ages, Anonymous, Hasher, Leeway, Oidc, Open, PageClient, Passwords, Provider, RoleClaim,
    Secrets, Tokens, Trust,
};
use crate::record::Catalogue;
use crate::store::{Bounds, CLIENT_GRACE, Location, Missing, State, Store, missing_folder};
use crate::telemetry::metrics::{Build, METRICS};
use crate::telemetry::trace::Tracing;

const EXAMPLES: &str = "\
Examples:
  cinequery serve                                  users have passwords; creates and prints the first one
  cinequery serve --auth open                      no passwords, to try it out
  cinequery serve --database postgres://cinequery@db.example/cinequery \\
      --jwt-secret-file /run/secrets/jwt --listen 127.0.0.1:9000
  cinequery serve --auth oidc --oidc-issuer https://login.example --oidc-audience cinequery

`cinequery check` takes the same settings and validates them.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten, next_help_heading = "Database")]
    database: DatabaseSettings,
    #[command(flatten, next_help_heading = "Identity")]
    tokens: TokenSettings,
}

impl Serve {
    pub(super) async fn run(self) -> Outcome {
        let catalogue = catalogue(&self.database.records)?;
        let addresses = self.serve.listen.resolve("--listen").await?;
        check_auth(&self.serve, &addresses, catalogue)?;
        let origins = origins(&self.serve)?;
        let anonymous = anonymous(&self.serve, catalogue)?;
        check_temporary_folder()?;
        let throttle = Throttle::of(&self.serve.throttle)?;
        let location = location(&self.database)?;
        if let Location::Sqlite(path) = &location
            && let Some(message) = missing_folder(path)
        {
            return Err(format!("--database: {message}"));
        }
        check_administrator(&self.serve, &location)?;
        let backups = Schedule::of(&self.serve.backup, &location)?;
        if let Some(warning) = unused(&self.serve) {
            tracing::warn!("{warning}");
        }
        if let Some(anonymous) = &anonymous {
            tracing::warn!("{}", public(anonymous));
        }
        let secrets = secrets(&self.serve, &self.tokens, &location)?;
        let tracing = Tracing::start(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))?;
        // Bind before anything is written: if the port is busy, the database may be that of the other process.
        let backlog = self.serve.limits.backlog;
        let socket = Bound::to(&self.serve.listen, &addresses, "--listen")?;
        let admin = self.serve.observability.admin_listen.as_ref();
        let admin = match admin {
            Some(listen) => {
                let (setting, addresses) = ("--admin-listen", listen.resolve("--admin-listen"));
                Some(Bound::to(listen, &addresses.await?, setting)?.listen(backlog)?)
            }
            None => None,
        };
        let secrets = secrets.read()?;
        let store = Store::open_within(location.clone(), Missing::Create, bounds(&self.serve));
        let store = store.await.map_err(explain)?;
        if store.is_incomplete_copy().await {
            tracing::warn!("{INCOMPLETE_COPY}");
        }
        match (self.serve.no_migrate, self.serve.auth) {
            (false, _) => migrate(&store, catalogue).await?,
            // The first administrator needs the table of users.
            (true, Auth::Password) => store.ping().await.map_err(explain)?,
            (true, Auth::Open | Auth::Oidc) => {}
        }
        if let Ok(State::Behind { missing, .. }) = store.state(catalogue.schemas()).await {
            METRICS.pending_migrations.set(i64::try_from(missing).unwrap_or(i64::MAX));
        }
        let hasher = Hasher::new();
        let provider = provider(&self.serve, catalogue, &store, &hasher).await?;
        // From here on clients can connect.
        let listener = socket.listen(backlog)?;
        let connections = raise_file_limit(self.serve.limits.max_connections);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database = ?location,
            auth = ?self.serve.auth,
            collections = catalogue.schemas().len(),
            traces = tracing.is_some(),
            "serving"
        );
        let database = match location {
            Location::Sqlite(_) => "SQLite",
            Location::Postgres(_) => "PostgreSQL",
        };
        let build = Build { version: env!("CARGO_PKG_VERSION"), database };
        METRICS.build.get_or_create(&build).set(1);
        let tokens = Tokens::new(&secrets, self.tokens.token_ttl);
        let admission = throttle.start().await;
        let app = App::new(catalogue, store, provider, tokens, hasher, admission);
        if let Some(anonymous) = anonymous {
            app.open_to(anonymous);
        }
        let stop = stop_signal()?;
        app.store().mark_served().await;
        let backups = backups.map(|backups| tokio::spawn(backups.run()));
        let limits = http::Limits { connections: connections.into(), ..limits(&self.serve) };
        let log_queries = self.serve.observability.log_queries;
        let is_local = is_local(&self.serve, &addresses);
        let settings = http::Settings { limits, log_queries, admin, origins, is_local };
        let served = http::serve_with(listener, app, settings, stop).await;
        if let Some(tracing) = tracing {
            tracing.stop().await;
        }
        if let Some(backups) = backups {
            backups.abort();
        }
        served.map_err(|error| error.to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is wrong with a database file that was copied while it was in use.
pub(super) const INCOMPLETE_COPY: &str = "the database file was copied while it was in use, without its log (FILE-wal): its newest records are missing; \
     restore a backup (`cinequery restore`)";

/// Open files other than the connections of clients: the database, its connections, the log.
const OTHER_FILES: u64 = 256;

/// How long requests are served after a signal to stop. On a terminal, where an operator waits, it is zero.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(5);

/// Checks that temporary files can be created. Otherwise every import would fail.
pub(super) fn check_temporary_folder() -> Result<(), String> {
    tempfile::tempfile().map(drop).map_err(|error| {
        let folder = std::env::temp_dir();
        format!(
            "cannot create a temporary file in {}: {error}; set TMPDIR to a writable folder, which \
             imports need",
            folder.display()
        )
    })
}

/// Raises the limit of open files as far as needed and allowed. Returns the number of connections that fit: without a
/// free file no connection could be accepted, and so none closed in its favour.
fn raise_file_limit(connections: u16) -> u16 {
    let needed = u64::from(connections) + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(current) = current.filter(|current| *current < needed) else { return connections };
    let raised = maximum.map_or(needed, |maximum| needed.min(maximum));
    let is_set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok();
    let open_files = if is_set { raised } else { current };
    if open_files >= needed {
        return connections;
    }
    let left = open_files.saturating_sub(OTHER_FILES).max(open_files / 2);
    let connections = u16::try_from(left).unwrap_or(connections).min(connections).max(1);
    tracing::warn!(
        open_files,
        needed,
        connections,
        "the limit of open files is too low for --max-connections; raise it (ulimit -n)"
    );
    connections
}

/// Returns the limits for the use of the database.
fn bounds(settings: &ServeSettings) -> Bounds {
    let ServeSettings { limits: settings, observability, sessions, .. } = settings;
    Bounds {
        slow_statement: observability.slow_statement,
        statement: settings.statement_timeout,
        queue: settings.queue_timeout,
        connections: settings.database_connections,
        readers: settings.sqlite_readers.into(),
        share: settings.subject_statements.into(),
        transfers: settings.max_transfers.into(),
        transfer_share: settings.subject_transfers.into(),
        journal: settings.journal_retention,
        idempotency: settings.idempotency_retention,
        session: sessions.session_ttl,
        session_idle: sessions.session_idle,
    }
}

/// Returns the limits for clients.
fn limits(settings: &ServeSettings) -> http::Limits {
    let ServeSettings { limits, shutdown_delay, .. } = settings;
    let delay = if std::io::stderr().is_terminal() { Duration::ZERO } else { SHUTDOWN_DELAY };
    http::Limits {
        connections: limits.max_connections.into(),
        buffered_bytes: usize::from(limits.max_buffered) * 1024 * 1024,
        body_bytes: usize::from(limits.max_body) * 1024 * 1024,
        import_bytes: u64::from(limits.max_import) * 1024 * 1024,
        header: limits.header_timeout,
        write: limits.write_timeout,
        request: limits.statement_timeout + limits.queue_timeout + CLIENT_GRACE,
        shutdown_delay: shutdown_delay.unwrap_or(delay),
    }
}

/// Rate limits, proxies and Redis, parsed from the settings.
pub(super) struct Throttle {
    limits: Limits,
    proxies: Proxies,
    redis: Option<Redis>,
}

impl Throttle {
    /// Parses the settings and reads the CA file.
    pub(super) fn of(settings: &ThrottleSettings) -> Result<Self, String> {
        let limits = settings.rate_limit.parse();
        let proxies = settings.trusted_proxies.as_deref().unwrap_or_default();
        let proxies = if proxies.is_empty() { Ok(Proxies::default()) } else { proxies.parse() };
        let redis = |url: &String| {
            let authority = match &settings.redis_ca_file {
                Some(file) => Some(
                    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
                ),
                None => None,
            };
            Redis::new(url, authority).map_err(|error| format!("--redis: {error}"))
        };
        Ok(Self {
            limits: limits.map_err(|error| format!("--rate-limit: {error}"))?,
            proxies: proxies.map_err(|error| format!("--trusted-proxies: {error}"))?,
            redis: settings.redis.as_ref().filter(|url| !url.is_empty()).map(redis).transpose()?,
        })
    }

    async fn start(self) -> Admission {
        let Self { limits, proxies, redis } = self;
        match redis {
            Some(redis) => Admission::shared(limits, proxies, redis).await,
            None => Admission::local(limits, proxies),
        }
    }
}

/// Returns whether the service is for this machine: every client may write, and none comes through a proxy, which may pass
/// on other host names.
fn is_local(settings: &ServeSettings, addresses: &[SocketAddr]) -> bool {
    let has_proxy = settings.throttle.trusted_proxies.is_some();
    settings.auth == Auth::Open && !settings.allow_open && !has_proxy && !addresses.is_empty()
}

/// Checks the settings of sign-in, for a service that listens on one of these socket addresses.
///
/// # Errors
/// A message if every host of the network could write without a password; a message about the issuer of tokens.
pub(super) fn check_auth(
    settings: &ServeSettings,
    addresses: &[SocketAddr],
    catalogue: Catalogue,
) -> Result<(), String> {
    let is_open = settings.auth == Auth::Open;
    let is_reachable = addresses.iter().any(|address| !address.ip().is_loopback());
    if is_open && is_reachable && !settings.allow_open {
        return Err(format!(
            "--auth open lets every client write without a password, and other hosts can reach {}; \
             listen on 127.0.0.1, or add --allow-open to allow this",
            settings.listen
        ));
    }
    if settings.auth == Auth::Oidc {
        oidc(&settings.oidc, catalogue)?;
    }
    Ok(())
}

/// Returns what callers without a token may read, if the catalogue is public.
///
/// # Errors
/// A message if that would be more than reading, or of an unknown collection.
pub(super) fn anonymous(
    settings: &ServeSettings,
    catalogue: Catalogue,
) -> Result<Option<Anonymous>, String> {
    let text = settings.anonymous.as_ref().filter(|text| !text.is_empty());
    let parsed = text.map(|text| Anonymous::parse(text, catalogue.schemas()));
    parsed.transpose().map_err(|error| format!("--anonymous: {error}"))
}

/// Returns a warning that the catalogue is public.
pub(super) fn public(anonymous: &Anonymous) -> String {
    let scopes = anonymous.identity().scopes.join(", ");
    format!(
        "the catalogue is public: requests without a token have the scopes {scopes} (--anonymous)"
    )
}

/// Parses the origins whose pages may use the service.
///
/// # Errors
/// A message if one is malformed, or if the pages of every site could write without a password.
pub(super) fn origins(settings: &ServeSettings) -> Result<http::Origins, String> {
    let Some(text) = settings.cors_origins.as_ref().filter(|text| !text.is_empty()) else {
        return Ok(http::Origins::default());
    };
    let origins: http::Origins =
        text.parse().map_err(|error| format!("--cors-origins: {error}"))?;
    if origins.is_any() && settings.auth == Auth::Open {
        // Also on loopback: the browser of a developer opens pages of other sites too.
        return Err(
            "--cors-origins: with --auth open, `*` would let the pages of every site write \
                    without a password; list the origins"
                .to_owned(),
        );
    }
    Ok(origins)
}

/// Returns where the secrets of tokens come from. With tokens of another issuer none has to be configured.
pub(super) fn secrets(
    settings: &ServeSettings,
    tokens: &TokenSettings,
    location: &Location,
) -> Result<SecretSource, String> {
    match settings.auth {
        Auth::Oidc => Ok(SecretSource::Given(Secrets::generate()?)),
        Auth::Open | Auth::Password => SecretSource::of(tokens, location),
    }
}

/// Returns the provider that accepts the tokens of the configured issuer.
fn oidc(settings: &OidcSettings, catalogue: Catalogue) -> Result<Oidc, String> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let needed = |value: &Option<String>, what: &str| {
        given(value).ok_or_else(|| format!("--auth oidc needs {what}"))
    };
    let issuer = needed(
        &settings.oidc_issuer,
        "--oidc-issuer, the URL of the issuer, exactly as in the claim `iss` of its tokens",
    )?;
    let audience = needed(
        &settings.oidc_audience,
        "--oidc-audience, the name of this service in the claim `aud` of tokens",
    )?;
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("--oidc-ca-file: {}: {error}", path.display()))
    };
    let authorities = settings.oidc_ca_file.as_ref().map(read).transpose()?;
    let scope = given(&settings.oidc_scope).unwrap_or_else(|| "openid".to_owned());
    let page = given(&settings.oidc_client_id).map(|id| PageClient { id, scope });
    let (claim, roles) = (given(&settings.oidc_roles_claim), given(&settings.oidc_roles));
    let seconds = |duration: Option<Duration>, usual| {
        duration.map_or(usual, |duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
    };
    let usual = Leeway::default();
    let leeway = Leeway {
        clock_skew: seconds(settings.oidc_clock_skew, usual.clock_skew),
        expiry: seconds(settings.oidc_expiry_leeway, usual.expiry),
    };
    let trust = Trust {
        issuer,
        audience,
        jwks: given(&settings.oidc_jwks),
        authorities,
        roles: RoleClaim::new(claim.as_deref(), roles.as_deref())?,
        leeway,
        page,
    };
    Oidc::new(trust, Ages::default(), catalogue.schemas())
}

/// Checks, before anything is written, that the first administrator of a new database can get a password.
pub(super) fn check_administrator(
    settings: &ServeSettings,
    location: &Location,
) -> Result<(), String> {
    let is_new = matches!(location, Location::Sqlite(path) if !path.exists());
    match settings.auth {
        Auth::Password if is_new => new_password(settings.admin_password_file.as_deref()).map(drop),
        _ => Ok(()),
    }
}

/// Returns a warning about settings that have no effect with this kind of sign-in.
pub(super) fn unused(settings: &ServeSettings) -> Option<String> {
    let OidcSettings {
        oidc_issuer,
        oidc_audience,
        oidc_jwks,
        oidc_ca_file,
        oidc_roles_claim,
        oidc_roles,
        oidc_clock_skew,
        oidc_expiry_leeway,
        ..
    } = &settings.oidc;
    let of_oidc = [
        ("--oidc-issuer", oidc_issuer.is_some()),
        ("--oidc-audience", oidc_audience.is_some()),
        ("--oidc-jwks", oidc_jwks.is_some()),
        ("--oidc-ca-file", oidc_ca_file.is_some()),
        ("--oidc-roles-claim", oidc_roles_claim.is_some()),
        ("--oidc-roles", oidc_roles.is_some()),
        ("--oidc-clock-skew", oidc_clock_skew.is_some()),
        ("--oidc-expiry-leeway", oidc_expiry_leeway.is_some()),
        ("--oidc-client-id", settings.oidc.oidc_client_id.is_some()),
        ("--oidc-scope", settings.oidc.oidc_scope.is_some()),
    ];
    let given = of_oidc.iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| *flag);
    let given: Vec<&str> = given.collect();
    (settings.auth != Auth::Oidc && !given.is_empty())
        .then(|| format!("no effect without --auth oidc: {}", given.join(", ")))
}

async fn provider(
    settings: &ServeSettings,
    catalogue: Catalogue,
    store: &Store,
    hasher: &Hasher,
) -> Result<Box<dyn Provider>, String> {
    let schemas = catalogue.schemas();
    match settings.auth {
        Auth::Open => Ok(Box::new(Open::new(schemas))),
        Auth::Password => {
            ensure_administrator(store, hasher, settings.admin_password_file.as_deref()).await?;
            Ok(Box::new(Passwords::new(store.clone(), hasher.clone(), schemas)))
        }
        Auth::Oidc => {
            let oidc = oidc(&settings.oidc, catalogue)?;
            oidc.prepare().await;
            Ok(Box::new(oidc))
        }
    }
}

/// Returns a future that is ready at the first signal to stop: SIGTERM, as from Kubernetes, or SIGINT, as from Ctrl-C.
/// A second signal exits the process at once.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()> + Send, String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut signalled = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        signalled().await;
        tracing::info!("stopping: received a signal; a second signal exits at once");
        tokio::spawn(async move {
            signalled().await;
            tracing::warn!("exiting at once: received a second signal");
            std::process::exit(1);
        });
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        serve: ServeSettings,
    }

    #[test]
    fn settings_have_the_defaults_of_the_library() {
        let Settings { serve } = Settings::parse_from(["serve", "--shutdown-delay", "0s"]);
        let (bounds, usual) = (bounds(&serve), Bounds::default());
        assert_eq!(format!("{bounds:?}"), format!("{usual:?}"));
        let (limits, usual) = (limits(&serve), http::Limits::default());
        assert_eq!(format!("{limits:?}"), format!("{usual:?}"));
    }
}
