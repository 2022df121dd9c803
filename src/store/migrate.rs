//! Bringing a database to this version's tables, once, however many instances start together.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use sea_query::{Expr, ExprTrait, Query as Sql};
use sea_query_sqlx::SqlxValues;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};
use uuid::Uuid;

use super::{Engine, Store, database_error, on};
use crate::error::{Error, Result};
use crate::query::compile::folded_column;
use crate::query::text::{FOLDING, fold};
use crate::query::{Dialect, Schema, Type};
use crate::record::{Record as _, StoredQuery};

/// What every migrating instance locks in PostgreSQL: "cinequer" as a number.
const ADVISORY_LOCK: i64 = 0x6369_6e65_7175_6572;

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
    schemas.iter().copied().chain([StoredQuery::SCHEMA]).collect()
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
        match &self.engine {
            Engine::Postgres(pool) => {
                // Outside the pool: one connection holds the lock while another works, and neither
                // is cut off by the time limit of requests.
                let options = (*pool.connect_options())
                    .clone()
                    .options([("statement_timeout", "0"), ("lock_timeout", "0")]);
                let mut guard = options.connect().await.map_err(database_error)?;
                let mut worker = options.connect().await.map_err(database_error)?;
                let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
                let lock = sqlx::raw_sql(AssertSqlSafe(lock));
                lock.execute(&mut guard).await.map_err(database_error)?;
                migrator.run(&mut worker).await.map_err(migrate_error)?;
                self.refold(&with_own(schemas)).await?;
                worker.close().await.map_err(database_error)?;
                guard.close().await.map_err(database_error)
            }
            Engine::Sqlite { write, path, .. } => {
                let _guard = lock_beside(path.clone()).await?;
                migrator.run(write).await.map_err(migrate_error)?;
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
            let select = "SELECT version, success, checksum FROM _sqlx_migrations";
            on!(read self, pool => sqlx::query_as(select).fetch_all(pool).await)
                .map_err(database_error)?
        } else {
            // Tables of our names that we have not made would be in the way.
            for schema in with_own(schemas) {
                if self.has_table(schema.table).await? {
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
        let count: i64 = on!(read self, pool => {
            sqlx::query_scalar(select).bind(name).fetch_one(pool).await
        })
        .map_err(database_error)?;
        Ok(count > 0)
    }

    /// Computes every folded column anew, unless they were computed by the current rules.
    async fn refold(&self, schemas: &[&'static Schema]) -> Result<()> {
        let select = "SELECT value FROM cinequery_meta WHERE name = 'folding'";
        let recorded: Option<String> = on!(write self, pool => {
            sqlx::query_scalar(select).fetch_optional(pool).await
        })
        .map_err(database_error)?;
        if recorded.as_deref() == Some(FOLDING) {
            return Ok(());
        }
        if recorded.is_some() {
            for schema in schemas {
                tracing::info!(table = schema.table, folding = FOLDING, "folding text anew");
                self.refold_table(schema).await?;
            }
        }
        let upsert = "INSERT INTO cinequery_meta (name, value) VALUES ('folding', $1) \
                      ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        on!(write self, pool => sqlx::query(upsert).bind(FOLDING).execute(pool).await.map(|_| ()))
            .map_err(database_error)
    }

    async fn refold_table(&self, schema: &'static Schema) -> Result<()> {
        let texts: Vec<_> = schema.fields.iter().filter(|field| field.ty == Type::Text).collect();
        let mut last = None;
        loop {
            let mut select = Sql::select();
            select
                .column("id")
                .columns(texts.iter().map(|field| field.name))
                .from(schema.table)
                .and_where_option(last.map(|id: Uuid| Expr::col("id").gt(id)))
                .order_by("id", sea_query::Order::Asc)
                .limit(REFOLD_BATCH);
            let (sql, values) = self.dialect().build(&select);
            let rows: Vec<(Uuid, Vec<Option<String>>)> = on!(write self, pool => {
                let rows = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values))
                    .fetch_all(pool)
                    .await
                    .map_err(database_error)?;
                rows.iter()
                    .map(|row| {
                        let text = |column| row.try_get(column);
                        let texts = (1..=texts.len()).map(text).collect::<sqlx::Result<_>>()?;
                        Ok((row.try_get(0)?, texts))
                    })
                    .collect::<sqlx::Result<_>>()
                    .map_err(database_error)?
            });
            let Some((id, _)) = rows.last() else { return Ok(()) };
            last = Some(*id);
            for (id, values) in rows {
                let mut update = Sql::update();
                update.table(schema.table).and_where(Expr::col("id").eq(id));
                for (field, value) in texts.iter().zip(values) {
                    update.value(folded_column(field), value.as_deref().map(fold));
                }
                let (sql, values) = self.dialect().build(&update);
                on!(write self, pool => {
                    let update = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values));
                    update.execute(pool).await.map(|_| ())
                })
                .map_err(database_error)?;
            }
        }
    }
}

/// A lock on a file beside the database, held until it is dropped, and by the system released when
/// the process ends however it may.
pub(super) async fn lock_beside(database: PathBuf) -> Result<File> {
    let lock = move || {
        let path = beside(&database, "lock");
        let options = OpenOptions::new().create(true).write(true).truncate(false).to_owned();
        let file = options.open(&path).and_then(|file| file.lock().map(|()| file));
        file.map_err(|error| format!("{}: {error}", path.display()))
    };
    tokio::task::spawn_blocking(lock).await.map_err(Error::internal)?.map_err(Error::internal)
}

/// The path of a file that belongs to the database file.
pub(crate) fn beside(database: &Path, extension: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn migrate_error(error: sqlx::migrate::MigrateError) -> Error {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => database_error(error),
        other => Error::internal(other),
    }
}
