//! Settings. A flag takes precedence over an environment variable, this one over the file of settings, and that one over
//! the default. Secrets can also be read from a file.

mod listen;
mod values;

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

pub use self::listen::Listen;

/// Settings of the log.
#[derive(Debug, Clone, Args)]
pub struct LogSettings {
    /// Log level: error, warn, info, debug or trace, also by module (`warn,cinequery=debug`)
    /// [default: info; `demo`: warn]
    #[arg(
        long,
        value_name = "LEVEL",
        env = "CINEQUERY_LOG",
        global = true,
        help_heading = "Observability"
    )]
    pub log: Option<String>,
}

/// The file of settings.
#[derive(Debug, Clone, Args)]
pub struct FileSettings {
    /// File (TOML) with settings. Its keys are the names of the flags: `listen = "127.0.0.1:9000"`. Flags and environment
    /// variables take precedence
    #[arg(long, value_name = "FILE", env = "CINEQUERY_CONFIG", global = true)]
    pub config: Option<PathBuf>,
}

/// Settings of the database.
#[derive(Debug, Clone, Args)]
pub struct DatabaseSettings {
    /// Database: sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME. Separate several hosts by commas; add
    /// `?sslmode=verify-full` for TLS
    #[arg(
        long,
        value_name = "URL",
        env = "CINEQUERY_DATABASE_URL",
        default_value = "sqlite:cinequery.db",
        hide_env_values = true
    )]
    pub database: String,

    /// The record types in it.
    #[command(flatten)]
    pub records: RecordsSettings,
}

/// Settings of the record types.
#[derive(Debug, Clone, Args)]
pub struct RecordsSettings {
    /// Declarations of the record types: a folder with *.toml files, or a single file [default: the built-in record
    /// type, movies]
    #[arg(long, value_name = "PATH", env = "CINEQUERY_RECORDS")]
    pub records: Option<PathBuf>,
}

/// Settings of tokens.
#[derive(Clone, Args)]
pub struct TokenSettings {
    /// Secret that signs tokens, at least 32 bytes. If there are several, one per line, the first signs
    /// and all are accepted. SQLite: if absent, created and kept beside the database file. PostgreSQL:
    /// required, the same for all instances. Not used with `--auth oidc` [env: CINEQUERY_JWT_SECRET]
    #[arg(long, value_name = "SECRET", conflicts_with = "jwt_secret_file")]
    jwt_secret: Option<String>,

    /// File that contains the secret, or several, one per line [env: CINEQUERY_JWT_SECRET_FILE]
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,

    /// Lifetime of a token, such as 15m, 12h or 30d
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_TOKEN_TTL",
        default_value = "30m",
        value_parser = values::ttl
    )]
    pub token_ttl: Duration,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeSettings {
    /// Host name or IP address to listen on, and the port; or a Unix socket, unix:PATH. Terminate TLS in front of the
    /// service
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CINEQUERY_LISTEN",
        default_value = DEFAULT_LISTEN,
        help_heading = "Listening"
    )]
    pub listen: Listen,

    /// Origins whose pages may use the service from a browser (CORS), such as `https://movies.example`, separated by
    /// commas; `*` for every origin
    #[arg(
        long,
        value_name = "ORIGINS",
        env = "CINEQUERY_CORS_ORIGINS",
        help_heading = "Listening"
    )]
    pub cors_origins: Option<String>,

    /// How users sign in
    #[arg(long, env = "CINEQUERY_AUTH", default_value = "password", help_heading = "Identity")]
    pub auth: Auth,

    /// Make the catalogue public: `viewer` lets requests without a token read all collections, movies:read only that
    /// one. Separate several by commas
    #[arg(long, value_name = "SCOPES", env = "CINEQUERY_ANONYMOUS", help_heading = "Identity")]
    pub anonymous: Option<String>,

    /// The issuer of tokens with `--auth oidc`.
    #[command(flatten, next_help_heading = "Identity")]
    pub oidc: OidcSettings,

    /// How long users stay signed in.
    #[command(flatten, next_help_heading = "Identity")]
    pub sessions: SessionSettings,

    /// File with the password of the first administrator, `admin`, who is created if there is no
    /// administrator. Without it, `serve` generates a password and prints it once, only on a terminal
    #[arg(
        long,
        value_name = "FILE",
        env = "CINEQUERY_ADMIN_PASSWORD_FILE",
        help_heading = "Identity"
    )]
    pub admin_password_file: Option<PathBuf>,

    /// Allow `--auth open` on an IP address that other machines can reach
    #[arg(
        long,
        env = "CINEQUERY_ALLOW_OPEN",
        value_parser = FalseyValueParser::new(),
        help_heading = "Identity"
    )]
    pub allow_open: bool,

    /// Rate limits
    #[command(flatten, next_help_heading = "Rate limits")]
    pub throttle: ThrottleSettings,

    /// Limits on connections, memory and time.
    #[command(flatten, next_help_heading = "Limits")]
    pub limits: LimitSettings,

    /// Scheduled backups.
    #[command(flatten, next_help_heading = "Backups")]
    pub backup: BackupSettings,

    /// How long to keep serving requests after SIGTERM or SIGINT. Meanwhile `/readyz` returns 503, so that load
    /// balancers stop sending requests [default: 0s on a terminal, else 5s]
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_SHUTDOWN_DELAY",
        allow_negative_numbers = true,
        value_parser = values::shutdown_delay,
        help_heading = "Listening"
    )]
    pub shutdown_delay: Option<Duration>,

    /// What operators see.
    #[command(flatten, next_help_heading = "Observability")]
    pub observability: ObservabilitySettings,

    /// Start without applying migrations
    #[arg(
        long,
        env = "CINEQUERY_NO_MIGRATE",
        value_parser = FalseyValueParser::new(),
        help_heading = "Database"
    )]
    pub no_migrate: bool,
}

/// What operators see.
#[derive(Debug, Clone, Args)]
pub struct ObservabilitySettings {
    /// Host name or IP address and port for operators, such as 127.0.0.1:9090, or unix:PATH: /metrics for Prometheus.
    /// Every client that can connect may read it
    #[arg(long, value_name = "HOST:PORT", env = "CINEQUERY_ADMIN_LISTEN")]
    pub admin_listen: Option<Listen>,

    /// Log the filter and the order of requests, without the values in them
    #[arg(long, env = "CINEQUERY_LOG_QUERIES", value_parser = FalseyValueParser::new())]
    pub log_queries: bool,

    /// Log statements that take at least this time; 0s for none
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_SLOW_STATEMENT",
        default_value = "1s",
        value_parser = values::slow_statement
    )]
    pub slow_statement: Duration,
}

/// Scheduled backups of a SQLite database.
#[derive(Debug, Clone, Args)]
pub struct BackupSettings {
    /// Write backups of a SQLite database regularly. The time is added to the name: /backups/movies.db becomes
    /// /backups/movies-20260131T020000Z.db
    #[arg(long, value_name = "FILE", env = "CINEQUERY_BACKUP")]
    pub backup: Option<PathBuf>,

    /// Time between two backups, such as 6h or 7d
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_BACKUP_INTERVAL",
        default_value = "1d",
        value_parser = values::backup_interval
    )]
    pub backup_interval: Duration,

    /// Number of backups to keep; older ones are deleted
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_BACKUP_KEEP",
        default_value_t = 7,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub backup_keep: u16,
}

/// Limits on connections, memory and time.
#[derive(Debug, Clone, Args)]
pub struct LimitSettings {
    /// Maximum time of one database statement. A request takes at most this, --queue-timeout and one second
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_STATEMENT_TIMEOUT",
        default_value = "5s",
        value_parser = values::statement_timeout
    )]
    pub statement_timeout: Duration,

    /// How long a request waits for a database connection before it is rejected with 503
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_QUEUE_TIMEOUT",
        default_value = "1s",
        value_parser = values::queue_timeout
    )]
    pub queue_timeout: Duration,

    /// Number of connections to PostgreSQL. Two of them are for imports and exports, and two for probes and
    /// revocations. Keep this number times the number of instances below 80 % of max_connections
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = values::database_connections
    )]
    pub database_connections: u32,

    /// Number of connections that read a SQLite database for requests
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_SQLITE_READERS",
        default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub sqlite_readers: u8,

    /// Maximum number of concurrent statements per user
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

    /// Maximum number of concurrent imports per user, and of concurrent exports per user
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_SUBJECT_TRANSFERS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub subject_transfers: u16,

    /// How long the journal keeps changes, such as 90d
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_JOURNAL_RETENTION",
        default_value = "90d",
        value_parser = values::retention
    )]
    pub journal_retention: Duration,

    /// How long the responses to requests with an Idempotency-Key are stored
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_IDEMPOTENCY_RETENTION",
        default_value = "24h",
        value_parser = values::retention
    )]
    pub idempotency_retention: Duration,

    /// Maximum number of client connections. Over this limit, the service disconnects the client that has kept
    /// it waiting longest
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_MAX_CONNECTIONS",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_connections: u16,

    /// Maximum number of connections that wait to be accepted, as far as the system allows (`somaxconn`)
    #[arg(
        long,
        value_name = "NUMBER",
        env = "CINEQUERY_BACKLOG",
        default_value_t = DEFAULT_BACKLOG,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub backlog: u16,

    /// Maximum time for request headers to arrive, and for a connection to be idle
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_HEADER_TIMEOUT",
        default_value = "10s",
        value_parser = values::client_timeout
    )]
    pub header_timeout: Duration,

    /// Maximum time that a client does not read a response that is ready
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_WRITE_TIMEOUT",
        default_value = "30s",
        value_parser = values::client_timeout
    )]
    pub write_timeout: Duration,

    /// Maximum size of a body with records, in MiB
    #[arg(
        long,
        value_name = "MIB",
        env = "CINEQUERY_MAX_BODY",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub max_body: u8,

    /// Maximum size of an imported file, in MiB
    #[arg(
        long,
        value_name = "MIB",
        env = "CINEQUERY_MAX_IMPORT",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_import: u32,

    /// Memory for the bodies of requests and responses, in MiB. Bodies of up to 8 KiB are not counted
    #[arg(
        long,
        value_name = "MIB",
        env = "CINEQUERY_MAX_BUFFERED",
        default_value_t = 16,
        value_parser = values::mebibytes
    )]
    pub max_buffered: u16,
}

/// Rate limits.
#[derive(Debug, Clone, Args)]
pub struct ThrottleSettings {
    /// Rate limit of requests per user: COUNT/s, COUNT/min, COUNT/h or `off`. Limits of roles can follow, as
    /// in 600/min,viewer=60/min,admin=off, and with `--anonymous` that of an IP address, anonymous=120/min
    #[arg(
        long,
        value_name = "LIMITS",
        env = "CINEQUERY_RATE_LIMIT",
        default_value = "600/min,admin=6000/min"
    )]
    pub rate_limit: String,

    /// Redis through which all instances share the rate limits: redis://USER:PASSWORD@HOST:PORT, or
    /// rediss:// for TLS. Without it, each instance has limits of its own
    #[arg(long, value_name = "URL", env = "CINEQUERY_REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,

    /// File (PEM) with the certificate of the private authority that signed the certificate of Redis
    #[arg(long, value_name = "FILE", env = "CINEQUERY_REDIS_CA_FILE", requires = "redis")]
    pub redis_ca_file: Option<PathBuf>,

    /// Proxies whose X-Forwarded-For or Forwarded is trusted: IP addresses and networks, such as
    /// 10.0.0.0/8, separated by commas
    #[arg(long, value_name = "NETWORKS", env = "CINEQUERY_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<String>,
}

/// How long users stay signed in with `--auth password`.
#[derive(Debug, Clone, Args)]
pub struct SessionSettings {
    /// Maximum life of a session, from sign-in, such as 12h or 30d. Then the user must sign in again
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_SESSION_TTL",
        default_value = "30d",
        value_parser = values::session
    )]
    pub session_ttl: Duration,

    /// How long a session lives without a renewal
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_SESSION_IDLE",
        default_value = "7d",
        value_parser = values::session
    )]
    pub session_idle: Duration,
}

/// The issuer of tokens with `--auth oidc`.
#[derive(Debug, Clone, Args)]
pub struct OidcSettings {
    /// With `--auth oidc`: URL of the issuer, exactly as in the `iss` claim of its tokens
    #[arg(long, value_name = "URL", env = "CINEQUERY_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,

    /// With `--auth oidc`: name of this service in the `aud` claim of tokens
    #[arg(long, value_name = "NAME", env = "CINEQUERY_OIDC_AUDIENCE")]
    pub oidc_audience: Option<String>,

    /// URL of the issuer's keys, a JWK Set [default: the `jwks_uri` in
    /// ISSUER/.well-known/openid-configuration]
    #[arg(long, value_name = "URL", env = "CINEQUERY_OIDC_JWKS")]
    pub oidc_jwks: Option<String>,

    /// File (PEM) with certificates of authorities to trust for the issuer, in addition to the public ones
    #[arg(long, value_name = "FILE", env = "CINEQUERY_OIDC_CA_FILE")]
    pub oidc_ca_file: Option<PathBuf>,

    /// Claim with the roles of a user, or a path such as realm_access.roles [default: roles]
    #[arg(long, value_name = "CLAIM", env = "CINEQUERY_OIDC_ROLES_CLAIM")]
    pub oidc_roles_claim: Option<String>,

    /// Values of that claim and their roles, such as catalogue-editors=editor,staff=viewer [default: the names of the
    /// roles]
    #[arg(long, value_name = "VALUE=ROLE", env = "CINEQUERY_OIDC_ROLES")]
    pub oidc_roles: Option<String>,

    /// How far the clock of the issuer may be ahead, at most 5m [default: 60s]
    #[arg(long, value_name = "DURATION", env = "CINEQUERY_OIDC_CLOCK_SKEW", value_parser = values::leeway)]
    pub oidc_clock_skew: Option<Duration>,

    /// How long a token is accepted after it has expired, at most 5m. It also extends the life of a stolen token
    /// [default: 5s]
    #[arg(
        long,
        value_name = "DURATION",
        env = "CINEQUERY_OIDC_EXPIRY_LEEWAY",
        value_parser = values::leeway
    )]
    pub oidc_expiry_leeway: Option<Duration>,

    /// Client id of the pages of this service at the issuer: a public client with the redirect URI
    /// BASE/docs/oauth2-redirect. With it, users can sign in on the page at /docs
    #[arg(long, value_name = "ID", env = "CINEQUERY_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,

    /// Scopes that pages request at the issuer, separated by spaces [default: openid]
    #[arg(long, value_name = "SCOPES", env = "CINEQUERY_OIDC_SCOPE", requires = "oidc_client_id")]
    pub oidc_scope: Option<String>,
}

/// The default of `--listen`.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// The default of `--backlog`. A connection beyond it is dropped, and its client tries again only after 1, 3 and 7 seconds.
pub const DEFAULT_BACKLOG: u16 = 4096;

/// Environment variables that [`TokenSettings::given_secret`] reads. All other variables belong to a flag.
pub const SECRET_VARIABLES: [&str; 2] = ["CINEQUERY_JWT_SECRET", "CINEQUERY_JWT_SECRET_FILE"];

/// The ways to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// Any name, without a password: tokens identify clients for rate limits and usage, and protect nothing
    Open,
    /// Users with passwords, stored in the database
    Password,
    /// Tokens of an OpenID Connect or OAuth 2.0 issuer
    Oidc,
}

impl TokenSettings {
    /// Returns the configured secret. It is looked up in this order: a flag, the file that a flag names, the
    /// environment, the file that the environment names. White space at the end of a file is ignored.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if the environment has both a secret and a file.
    pub fn given_secret(&self) -> Result<Option<Vec<u8>>, String> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let [secret, secret_file] = SECRET_VARIABLES;
        let (value, file) = match (&self.jwt_secret, &self.jwt_secret_file) {
            (None, None) => {
                let file = variable(secret_file).map(PathBuf::from);
                (variable(secret).map(OsStringExt::into_vec), file)
            }
            (value, file) => (value.clone().map(String::into_bytes), file.clone()),
        };
        match (value, file) {
            (Some(_), Some(_)) => Err(format!("set {secret} or {secret_file}, not both")),
            (value, None) => Ok(value),
            (None, Some(file)) => match std::fs::read(&file) {
                Ok(bytes) => Ok(Some(bytes.trim_ascii_end().to_vec())),
                Err(error) => Err(format!("{}: {error}", file.display())),
            },
        }
    }
}
