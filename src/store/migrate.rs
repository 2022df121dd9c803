//! Bringing a database to this version's tables, once, however many instances start together.

use std::time::{Duration, Instant};

use sea_query::{Expr, ExprTrait, Query as Sql};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, FromRow, Postgres, Row, Type as SqlType,
};
use uuid::Uuid;

use super::connection::{Open as _, Opened};
use super::failure::{database_error, is_starting};
use super::lease::Parts;
use super::postgres::{Servers, Work};
use super::sqlite::lock_beside;
use super::{Engine, Store, plain};
use crate::error::{Error, Result};
use crate::query::compile::folded_column;
use crate::query::text::{FOLDING, fold};
use crate::query::{Dialect, Schema, Statement, Type};
use crate::record::saved_queries;

/// What every migrating instance locks in PostgreSQL: "cinequer" as a number.
const ADVISORY_LOCK: i64 = 0x6369_6e65_7175_6572;

/// How long a start waits for a database that does not respond, and how long it pauses then.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(500);

/// After how long a start that waits says so, and how often then.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// Rows that are folded anew in one go.
const REFOLD_BATCH: u64 = 500;

/// Migrations, each with its text for both engines.
#[derive(Debug, Clone)]
pub struct Migrations(Vec<Step>);

#[derive(Debug, Clone)]
struct Step {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Default for Migrations {
    /// Those of the record types in [`crate::record::All`].
    fn default() -> Self {
        Self(Vec::new())
            .with(
                1,
                "catalogue",
                include_str!("../../migrations/sqlite/0001_catalogue.sql"),
                include_str!("../../migrations/postgres/0001_catalogue.sql"),
            )
            .with(
                2,
                "saved_queries",
                include_str!("../../migrations/sqlite/0002_saved_queries.sql"),
                include_str!("../../migrations/postgres/0002_saved_queries.sql"),
            )
            .with(
                3,
                "users",
                include_str!("../../migrations/sqlite/0003_users.sql"),
                include_str!("../../migrations/postgres/0003_users.sql"),
            )
            .with(
                4,
                "revocations",
                include_str!("../../migrations/sqlite/0004_revocations.sql"),
                include_str!("../../migrations/postgres/0004_revocations.sql"),
            )
            .with(
                5,
                "usage",
                include_str!("../../migrations/sqlite/0005_usage.sql"),
                include_str!("../../migrations/postgres/0005_usage.sql"),
            )
    }
}

impl Migrations {
    /// These and one more. Numbers below 1000 are the service's own.
    #[must_use]
    pub fn with(
        mut self,
        number: i64,
        name: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Self {
        self.0.push(Step { number, name, sqlite, postgres });
        self
    }

    fn migrator(&self, dialect: Dialect) -> Migrator {
        let migrations = self.0.iter().map(|step| {
            let sql = match dialect {
                Dialect::Sqlite => step.sqlite,
                Dialect::Postgres => step.postgres,
            };
            let sql = sqlx::SqlSafeStr::into_sql_str(sql);
            Migration::new(step.number, step.name.into(), MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(migrations.collect());
        // The lock taken below is held over everything, the folding included.
        migrator.set_locking(false);
        migrator
    }
}

/// How a database's tables stand to the migrations of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All are applied, and no others.
    Current,
    /// So many are still to be applied.
    Behind {
        /// How many.
        missing: usize,
    },
    /// One is applied that this version does not have, or has otherwise, or that failed half-way.
    Foreign,
}

/// The record types of a service and those it keeps for itself.
fn with_own(schemas: &[&'static Schema]) -> Vec<&'static Schema> {
    schemas.iter().copied().chain([saved_queries()]).collect()
}

impl Store {
    /// Applies what has not been applied, then folds text anew if it was folded by other rules.
    ///
    /// One instance does it, the others wait: on PostgreSQL for an advisory lock of a transaction
    /// (which also holds behind a transaction-pooling proxy), on SQLite for the lock of a file
    /// beside the database.
    ///
    /// # Errors
    /// A database that cannot be reached, one that a newer version has migrated, one whose applied
    /// migrations differ from ours.
    pub async fn migrate(
        &self,
        migrations: &Migrations,
        schemas: &[&'static Schema],
    ) -> Result<()> {
        let migrator = migrations.migrator(self.dialect());
        match &self.shared.engine {
            Engine::Postgres(lanes) => {
                // Outside the pools: one connection holds the lock while another works, and neither
                // has the time limits of requests.
                let servers = lanes.requests.opener().working_on(Work::Migrations);
                let names = servers.names();
                let opened = async { Ok((patient(&servers).await?, servers.open().await?)) };
                let what = format!("waiting for the database at {names}");
                let opened = noted(&what, opened).await.map_err(database_error)?;
                let (Opened { connection: mut guard, .. }, Opened { connection: mut worker, .. }) =
                    opened;
                let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
                let lock = async { sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut guard).await };
                noted("waiting for another instance to migrate the database", lock)
                    .await
                    .map_err(database_error)?;
                migrator.run(&mut worker).await.map_err(migrate_error)?;
                self.refold(&with_own(schemas)).await?;
                worker.close().await.map_err(database_error)?;
                guard.close().await.map_err(database_error)
            }
            Engine::Sqlite { write, path, .. } => {
                let _guard = lock_beside(path.clone()).await?;
                let mut lease = write.lease(None).await?;
                let Parts { connection, .. } = lease.parts().map_err(database_error)?;
                // When it fails the lease is not settled, and its connection is closed.
                migrator.run(&mut *connection).await.map_err(migrate_error)?;
                lease.settle(Ok(())).map_err(database_error)?;
                drop(lease);
                self.refold(&with_own(schemas)).await
            }
        }
    }

    /// How the database's tables stand to these migrations. Nothing is written.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn state(
        &self,
        migrations: &Migrations,
        schemas: &[&'static Schema],
    ) -> Result<State> {
        let applied: Vec<(i64, bool, Vec<u8>)> = if self.has_table("_sqlx_migrations").await? {
            self.read(plain("SELECT version, success, checksum FROM _sqlx_migrations")).await?
        } else {
            // Tables of our names that we have not made would be in the way.
            for schema in with_own(schemas) {
                if self.has_table(schema.collection).await? {
                    return Ok(State::Foreign);
                }
            }
            Vec::new()
        };
        let migrator = migrations.migrator(self.dialect());
        let is_ours = |(version, success, checksum): &(i64, bool, Vec<u8>)| {
            *success
                && migrator.iter().any(|own| {
                    own.version == *version && own.checksum.as_ref() == checksum.as_slice()
                })
        };
        let known = migrator.iter().count();
        Ok(match applied.iter().all(is_ours) {
            false => State::Foreign,
            true if applied.len() < known => State::Behind { missing: known - applied.len() },
            true => State::Current,
        })
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        let select = match self.dialect() {
            Dialect::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE name = $1",
            Dialect::Postgres => {
                "SELECT count(*) FROM pg_class WHERE oid = to_regclass(quote_ident($1))"
            }
        };
        let values = sea_query::Values(vec![name.into()]);
        Ok(self.count(Statement { sql: select.to_owned(), values }).await? > 0)
    }

    /// Computes every folded column anew, unless they were computed by the current rules.
    async fn refold(&self, schemas: &[&'static Schema]) -> Result<()> {
        let select = plain("SELECT value FROM cinequery_meta WHERE name = 'folding'");
        let recorded = self.texts(select).await?.pop();
        if recorded.as_deref() == Some(FOLDING) {
            return Ok(());
        }
        if recorded.is_some() {
            for schema in schemas {
                tracing::info!(table = schema.collection, folding = FOLDING, "folding text anew");
                self.refold_table(schema).await?;
            }
        }
        let upsert = "INSERT INTO cinequery_meta (name, value) VALUES ('folding', $1) \
                      ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let values = sea_query::Values(vec![FOLDING.into()]);
        self.write::<(i64,)>(Statement { sql: upsert.to_owned(), values }).await.map(|_| ())
    }

    async fn refold_table(&self, schema: &'static Schema) -> Result<()> {
        let texts: Vec<_> = schema.fields.iter().filter(|field| field.ty == Type::Text).collect();
        let mut last = None;
        loop {
            let mut select = Sql::select();
            select
                .column("id")
                .columns(texts.iter().map(|field| field.name))
                .from(schema.collection)
                .and_where_option(last.map(|id: Uuid| Expr::col("id").gt(id)))
                .order_by("id", sea_query::Order::Asc)
                .limit(REFOLD_BATCH);
            let rows: Vec<Texts> = self.read(self.dialect().build(&select).into()).await?;
            let Some(Texts { id, .. }) = rows.last() else { return Ok(()) };
            last = Some(*id);
            for Texts { id, values } in rows {
                let mut update = Sql::update();
                update.table(schema.collection).and_where(Expr::col("id").eq(id));
                for (field, value) in texts.iter().zip(values) {
                    update.value(folded_column(field), value.as_deref().map(fold));
                }
                let _: Vec<(i64,)> = self.write(self.dialect().build(&update).into()).await?;
            }
        }
    }
}

/// A record's id and its texts, however many.
struct Texts {
    id: Uuid,
    values: Vec<Option<String>>,
}

impl<'r, R: Row> FromRow<'r, R> for Texts
where
    usize: ColumnIndex<R>,
    Uuid: Decode<'r, R::Database> + SqlType<R::Database>,
    String: Decode<'r, R::Database> + SqlType<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let values =
            (1..row.len()).map(|column| row.try_get(column)).collect::<sqlx::Result<_>>()?;
        Ok(Self { id: row.try_get(0)?, values })
    }
}

/// Opens a connection to a database that may still be starting, or is behind a network that is not there
/// yet. One that is refused is not waited for: its URL may be wrong.
async fn patient(servers: &Servers) -> sqlx::Result<Opened<Postgres>> {
    let started = Instant::now();
    loop {
        match servers.open().await {
            Err(error) if is_starting(&error) && started.elapsed() < START_TIMEOUT => {
                tokio::time::sleep(START_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Waits, and says so in the log when it takes long: otherwise a start that hangs would say nothing.
async fn noted<T>(what: &str, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let mut work = std::pin::pin!(work);
    let started = Instant::now();
    loop {
        match tokio::time::timeout(NOTE_INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => tracing::warn!(seconds = started.elapsed().as_secs(), "{what}"),
        }
    }
}

fn migrate_error(error: sqlx::migrate::MigrateError) -> Error {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => database_error(error),
        other => Error::internal(other),
    }
}
