//! The test harness: databases of both engines, a running service, and a client.

mod client;
pub mod declaration;
pub mod declarations;
pub mod forge;
pub mod issuer;
#[path = "../../examples/api_keys/keys.rs"]
pub mod keys;
mod postgres;
pub mod records;
pub mod redis;
pub mod server;

use std::time::Duration;

use cinequery::admission::{Admission, Limits, Proxies};
use cinequery::app::App;
use cinequery::identity::{Hasher, Identity, Open, Provider, Secrets, Tokens};
use cinequery::store::{Location, Missing, Store};
use sqlx::{AssertSqlSafe, Connection, Row};
use tempfile::TempDir;

pub use client::{Client, Response, token, token_of};
pub use postgres::{UNPRIVILEGED_UID, programs as postgres_programs};
pub use records::{Page, Screening, all, catalogue, movies, screenings, search};

/// An empty database for a single test. It is deleted on drop (SQLite) or when the tests end (PostgreSQL).
pub struct Database {
    pub location: Location,
    _folder: Option<TempDir>,
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        Self { location: Location::Sqlite(folder.path().join("test.db")), _folder: Some(folder) }
    }

    pub async fn postgres() -> Self {
        Self { location: Location::Postgres(postgres::create_database().await), _folder: None }
    }

    /// Returns the same database for another instance. The first one must outlive it.
    pub fn again(&self) -> Self {
        Self { location: self.location.clone(), _folder: None }
    }

    /// Returns the URL for `--database`.
    pub fn url(&self) -> String {
        match &self.location {
            Location::Sqlite(path) => format!("sqlite:{}", path.display()),
            Location::Postgres(url) => url.clone(),
        }
    }

    /// Runs SQL directly on the database.
    pub async fn run_sql(&self, sql: &str) {
        self.try_sql(sql).await.unwrap();
    }

    /// Runs SQL directly on the database.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub async fn try_sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        if self.url().starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(&self.url()).await?;
            sql.execute(&mut connection).await.map(|_| ())
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url()).await?;
            sql.execute(&mut connection).await.map(|_| ())
        }
    }

    /// Returns the rows that SQL selects. All columns must be text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        fn texts<R: Row>(rows: &[R]) -> Vec<Vec<Option<String>>>
        where
            usize: sqlx::ColumnIndex<R>,
            for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
        {
            let text = |row: &R| (0..row.len()).map(|column| row.get(column)).collect();
            rows.iter().map(text).collect()
        }
        let query = AssertSqlSafe(sql.to_owned());
        if self.url().starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(&self.url()).await.unwrap();
            texts(&sqlx::query(query).fetch_all(&mut connection).await.unwrap())
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url()).await.unwrap();
            texts(&sqlx::query(query).fetch_all(&mut connection).await.unwrap())
        }
    }

    pub async fn open(&self) -> Store {
        Store::open(self.location.clone(), Missing::Create).await.unwrap()
    }

    /// Opens the database and migrates it.
    pub async fn store(&self) -> Store {
        let store = self.open().await;
        store.migrate(catalogue().schemas()).await.unwrap();
        store
    }
}

/// Runs a test on an empty database of each engine.
pub async fn on_both(test: impl AsyncFn(Database)) {
    println!("on SQLite");
    test(Database::sqlite()).await;
    println!("on PostgreSQL");
    test(Database::postgres().await).await;
}

/// Runs a test with a running service on each engine.
pub async fn served_on_both(test: impl AsyncFn(Client)) {
    on_both(async |database| test(Client::of(database).await).await).await;
}

/// Creates a service with `--auth open` and without rate limits.
pub fn app(store: Store) -> App {
    let provider = Box::new(Open::new(catalogue().schemas()));
    app_with(store, provider, unlimited())
}

/// Creates a service with this provider and these rate limits.
pub fn app_with(store: Store, provider: Box<dyn Provider>, admission: Admission) -> App {
    let hasher = Hasher::new();
    let tokens = tokens(Duration::from_secs(600));
    App::new(catalogue(), store, provider, tokens, hasher, admission)
}

/// Returns rate limits that admit every request.
pub fn unlimited() -> Admission {
    Admission::local(Limits::NONE, Proxies::default())
}

/// Returns an issuer and verifier of tokens. All services of the tests share their secret.
pub fn tokens(ttl: Duration) -> Tokens {
    Tokens::new(&Secrets::parse(SECRET.as_bytes()).unwrap(), ttl)
}

/// The secret that the tests sign tokens with.
pub const SECRET: &str = "a secret for tests, at least 32 bytes long";

/// Returns the user `tester` with these scopes.
pub fn identity(scopes: &[&str]) -> Identity {
    Identity {
        subject: "tester".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}
