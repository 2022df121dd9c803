//! Settings: flag before environment before default. Secrets may also stand in a file.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

/// Where the log goes and how much of it.
#[derive(Debug, Clone, Args)]
pub struct LogSettings {
    /// What is logged: error, warn, info, debug or trace, also by module (`warn,cinequery=debug`)
    /// [default: info; of `demo`: warn]
    #[arg(long, env = "CINEQUERY_LOG", global = true)]
    pub log: Option<String>,
}

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct DatabaseSettings {
    /// The database: sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME, with HOST,HOST for several
    /// (`?sslmode=verify-full` for TLS)
    #[arg(
        long,
        env = "CINEQUERY_DATABASE_URL",
        default_value = "sqlite:cinequery.db",
        hide_env_values = true
    )]
    pub database: String,

    /// What is in it.
    #[command(flatten)]
    pub records: RecordsSettings,
}

/// Which record types there are.
#[derive(Debug, Clone, Args)]
pub struct RecordsSettings {
    /// The folder with the declarations of the record types, *.toml [default: the built-in one, movies]
    #[arg(long, value_name = "FOLDER", env = "CINEQUERY_RECORDS")]
    pub records: Option<PathBuf>,
}

/// How tokens are signed.
#[derive(Clone, Args)]
pub struct TokenSettings {
    /// The secret that signs tokens, at least 32 bytes. Of several, one a line, the first signs and all
    /// are accepted. SQLite: made and kept beside the database
    /// when absent. PostgreSQL: required, the same for all instances. Not used with `--auth oidc`
    /// [env: CINEQUERY_JWT_SECRET]
    #[arg(long, conflicts_with = "jwt_secret_file")]
    jwt_secret: Option<String>,

    /// A file that holds the secret, or several, one a line [env: CINEQUERY_JWT_SECRET_FILE]
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,

    /// For how long a token is accepted, such as 90s, 30m or 12h
    #[arg(long, env = "CINEQUERY_TOKEN_TTL", default_value = "30m", value_parser = ttl)]
    pub token_ttl: Duration,
}

/// Where the service listens and whom it lets in.
#[derive(Debug, Clone, Args)]
pub struct ServeSettings {
    /// The address to listen on. TLS is terminated in front of the service
    #[arg(long, env = "CINEQUERY_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// How people sign in
    #[arg(long, env = "CINEQUERY_AUTH", default_value = "password")]
    pub auth: Auth,

    /// Whose tokens are accepted with `--auth oidc`.
    #[command(flatten)]
    pub oidc: OidcSettings,

    /// A file that holds the password of the first administrator, `admin`, who is made where there is
    /// none. Without it `serve` makes one up and prints it once, on a terminal alone
    #[arg(long, value_name = "FILE", env = "CINEQUERY_ADMIN_PASSWORD_FILE")]
    pub admin_password_file: Option<PathBuf>,

    /// Let `--auth open` listen on an address that others can reach
    #[arg(long, env = "CINEQUERY_ALLOW_OPEN", value_parser = FalseyValueParser::new())]
    pub allow_open: bool,

    /// How often somebody may come
    #[command(flatten)]
    pub throttle: ThrottleSettings,

    /// What clients may occupy, and for how long.
    #[command(flatten)]
    pub limits: LimitSettings,

    /// How long to serve requests after SIGTERM or SIGINT while `/readyz` is 503, so that a load
    /// balancer notices [default: 0s on a terminal, else 5s]
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_SHUTDOWN_DELAY",
        allow_negative_numbers = true,
        value_parser = shutdown_delay
    )]
    pub shutdown_delay: Option<Duration>,

    /// Do not migrate the database first
    #[arg(long, env = "CINEQUERY_NO_MIGRATE", value_parser = FalseyValueParser::new())]
    pub no_migrate: bool,
}

/// What clients may occupy, and for how long.
#[derive(Debug, Clone, Args)]
pub struct LimitSettings {
    /// How long the database may work on a statement. A request ends within this, --queue-timeout and one
    /// second
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_STATEMENT_TIMEOUT",
        default_value = "5s",
        value_parser = statement_timeout
    )]
    pub statement_timeout: Duration,

    /// How long a request waits for a connection to the database before it is rejected with 503
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_QUEUE_TIMEOUT",
        default_value = "1s",
        value_parser = queue_timeout
    )]
    pub queue_timeout: Duration,

    /// Connections to PostgreSQL, of which two are for imports and exports and two for probes and
    /// revocations. Keep this number times the number of instances below 80 % of its max_connections
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = database_connections
    )]
    pub database_connections: u32,

    /// Maximum number of concurrent statements of one subject
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_SUBJECT_STATEMENTS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub subject_statements: u16,

    /// Maximum number of concurrent imports, and of concurrent exports
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_MAX_TRANSFERS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_transfers: u16,

    /// Maximum number of concurrent imports of one subject, and of concurrent exports
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_SUBJECT_TRANSFERS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub subject_transfers: u16,

    /// Maximum number of client connections. Beyond it, the client that has kept the service waiting longest
    /// is disconnected
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_MAX_CONNECTIONS",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_connections: u16,

    /// Memory for the bodies of requests and responses, in MiB; bodies of up to 8 KiB are not counted
    #[arg(
        long,
        value_name = "MIB",
        env = "CINEQUERY_MAX_BUFFERED",
        default_value_t = 16,
        value_parser = mebibytes
    )]
    pub max_buffered: u16,
}

/// How often somebody may come.
#[derive(Debug, Clone, Args)]
pub struct ThrottleSettings {
    /// How many requests somebody may send: NUMBER/s, NUMBER/min or NUMBER/h, or `off`; then others for
    /// roles, such as 600/min,viewer=60/min,admin=off
    #[arg(
        long,
        value_name = "LIMITS",
        env = "CINEQUERY_RATE_LIMIT",
        default_value = "600/min,admin=6000/min"
    )]
    pub rate_limit: String,

    /// The Redis by which all instances share the limits: redis://USER:PASSWORD@HOST:PORT or, over TLS,
    /// rediss://. Without it each instance has its own
    #[arg(long, value_name = "URL", env = "CINEQUERY_REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,

    /// A file with the authority of Redis' certificate in PEM, where that is a private one
    #[arg(long, value_name = "FILE", env = "CINEQUERY_REDIS_CA_FILE", requires = "redis")]
    pub redis_ca_file: Option<PathBuf>,

    /// The proxies whose X-Forwarded-For or Forwarded is believed: addresses and networks, such as 10.0.0.0/8,
    /// separated by commas
    #[arg(long, value_name = "NETWORKS", env = "CINEQUERY_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<String>,
}

/// Whose tokens are accepted with `--auth oidc`.
#[derive(Debug, Clone, Args)]
pub struct OidcSettings {
    /// With `--auth oidc`: who issues the tokens, a URL exactly as their `iss` has it
    #[arg(long, value_name = "URL", env = "CINEQUERY_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,

    /// With `--auth oidc`: what the `aud` of tokens for this service has in it
    #[arg(long, value_name = "NAME", env = "CINEQUERY_OIDC_AUDIENCE")]
    pub oidc_audience: Option<String>,

    /// The address of the issuer's keys, a JWK Set [default: the one that the issuer names in
    /// ISSUER/.well-known/openid-configuration]
    #[arg(long, value_name = "URL", env = "CINEQUERY_OIDC_JWKS")]
    pub oidc_jwks: Option<String>,

    /// A file of certificates (PEM) of authorities that vouch for the issuer beside the public ones
    #[arg(long, value_name = "FILE", env = "CINEQUERY_OIDC_CA_FILE")]
    pub oidc_ca_file: Option<PathBuf>,
}

/// The address that is listened on when none is given.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// The ways to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// A name is enough: tokens serve to monitor and throttle, not to protect
    Open,
    /// Users of the database, with passwords
    Password,
    /// Not here: tokens are those of an OpenID Connect or OAuth 2.0 issuer
    Oidc,
}

impl TokenSettings {
    /// The secret that was given: in a flag, in the file that a flag names, in the environment, or in
    /// the file that the environment names, in this order. A file's last newline is no part of it.
    ///
    /// # Errors
    /// A file that cannot be read; two secrets in the environment.
    pub fn given_secret(&self) -> Result<Option<Vec<u8>>, String> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let (value, file) = match (&self.jwt_secret, &self.jwt_secret_file) {
            (None, None) => {
                let file = variable("CINEQUERY_JWT_SECRET_FILE").map(PathBuf::from);
                (variable("CINEQUERY_JWT_SECRET").map(OsStringExt::into_vec), file)
            }
            (value, file) => (value.clone().map(String::into_bytes), file.clone()),
        };
        match (value, file) {
            (Some(_), Some(_)) => {
                Err("set CINEQUERY_JWT_SECRET or CINEQUERY_JWT_SECRET_FILE, not both".to_owned())
            }
            (value, None) => Ok(value),
            (None, Some(file)) => match std::fs::read(&file) {
                Ok(bytes) => Ok(Some(bytes.trim_ascii_end().to_vec())),
                Err(error) => Err(format!("{}: {error}", file.display())),
            },
        }
    }
}

/// PostgreSQL takes 0 for no limit.
fn statement_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), Duration::from_secs(600), "100ms to 10m")
}

fn queue_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(60), "0s to 1m")
}

fn shutdown_delay(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(600), "0s to 10m")
}

fn duration(text: &str, least: Duration, most: Duration, range: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    let expected = || format!("expected a duration from {range}, such as 5s or 500ms");
    duration.filter(|duration| (least..=most).contains(duration)).ok_or_else(expected)
}

/// Connections of which some are left for requests.
fn database_connections(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| (5..=1000).contains(number)).ok_or_else(|| {
        "expected a number from 5 to 1000: two connections are for imports and exports, and two for \
         probes and revocations"
            .to_owned()
    })
}

/// A size in MiB.
fn mebibytes(text: &str) -> Result<u16, String> {
    let expected = || "expected a number of MiB from 4 to 65535, such as 16".to_owned();
    text.parse().ok().filter(|number| *number >= 4).ok_or_else(expected)
}

/// A lifetime of at least a second and at most a year.
fn ttl(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=YEAR).contains(&ttl) {
        Ok(ttl)
    } else {
        Err("a token lives for one second to one year".to_owned())
    }
}
