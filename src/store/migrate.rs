//! Migrations: to the tables of this version and of the declarations. If several instances start together, one
//! migrates while the others wait.

mod apply;
mod change;
mod diff;
mod features;
mod sql;
mod step;
mod table;
mod trigrams;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sea_query::{Alias, Expr, ExprTrait, Query as Sql};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, FromRow, PgConnection, Postgres, Row,
    Type as SqlType,
};
use uuid::Uuid;

use self::apply::{Extent, FIRST_COLLECTION, Worker};
use self::change::FOLD_BATCH;
use self::diff::{Steps, steps};
use self::step::Action;
pub use self::step::{By, Step};
use self::table::{Table, folded_name};
use super::connection::{Open as _, Opened};
use super::failure::{database_error, describe, is_permission_denied, is_starting};
use super::lease::Parts;
use super::postgres::{Servers, Work};
use super::sqlite::lock_beside;
use super::{Engine, Store, plain};
use crate::error::{Error, Result};
use crate::query::text::{FOLDING, fold};
use crate::query::{Dialect, Schema, Statement, Value};
use crate::record::{Catalogue, saved_queries};

/// The advisory lock of migrations in PostgreSQL: "cinequry" as a number. Instances of the first version lock
/// "cinequer", and wait for it in a way that blocks concurrent index builds.
const ADVISORY_LOCK: i64 = 0x6369_6e65_7175_7279;

/// How often an instance retries to get the lock of migrations.
const TURN_PAUSE: Duration = Duration::from_millis(250);

/// How long a start waits for a database that does not respond, and the pause between two attempts.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(500);

/// How often a waiting start logs what it waits for.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// A migration of the service's own tables, with its SQL for both engines.
#[derive(Debug)]
struct Script {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! scripts {
    ($($zeros:literal $number:literal $name:literal),+) => {
        /// The migrations of the service's own tables.
        const SCRIPTS: &[Script] = &[$(Script {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $zeros, $number, "_", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $zeros, $number, "_", $name, ".sql")),
        }),+];
    };
}

scripts! {
    "000" 1 "catalogue", "000" 2 "saved_queries", "000" 3 "users", "000" 4 "revocations", "000" 5 "usage",
    "000" 6 "records", "000" 7 "changes", "000" 8 "idempotency", "000" 9 "import_progress", "00" 10 "sessions"
}

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = SCRIPTS.iter().map(|script| {
        let sql = sqlx::SqlSafeStr::into_sql_str(script.sql(dialect));
        Migration::new(script.number, script.name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // The lock that is taken below covers all steps, including the folding of text.
    migrator.set_locking(false);
    migrator
}

/// How a database's tables compare with the migrations of this version and with the declarations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything is applied.
    Current,
    /// Some migrations and steps are pending.
    Behind {
        /// The number of pending migrations and steps.
        missing: usize,
        /// What applies them: [`By::Migrate`] if at least one of them needs it.
        by: By,
    },
    /// The database has a migration that this version lacks, that differs from this version's, or that failed
    /// half-way; or it has a table of a needed name that cinequery did not create.
    Foreign,
}

/// The migrations that a database has, compared with those of this version.
enum Applied {
    /// The numbers of the pending migrations.
    Pending(Vec<i64>),
    Foreign,
}

impl Store {
    /// Applies pending migrations and the steps to the declarations that `serve` may apply ([`By::Serve`]), then
    /// folds text anew if it was folded by other rules.
    ///
    /// One instance migrates while the others wait for a lock. On PostgreSQL this is an advisory lock of a
    /// transaction, which also works through a transaction-pooling proxy. On SQLite it is the lock of a file beside
    /// the database.
    ///
    /// # Errors
    /// Fails if the database cannot be reached, if it has other migrations than this version, if a step needs
    /// [`Store::migrate_all`], if a field changes its type, or if records break a new rule.
    pub async fn migrate(&self, schemas: &[&'static Schema]) -> Result<()> {
        self.migrate_to(schemas, Extent::Serve).await
    }

    /// Applies all pending migrations and steps. `drops` names undeclared fields (`movies.tagline`) and collections
    /// (`movies`) to drop.
    ///
    /// # Errors
    /// As [`Store::migrate`], except for steps that only this function applies. Also fails if a name in `drops` is
    /// declared or unknown.
    pub async fn migrate_all(&self, schemas: &[&'static Schema], drops: &[String]) -> Result<()> {
        self.migrate_to(schemas, Extent::All(drops)).await
    }

    async fn migrate_to(&self, schemas: &[&'static Schema], extent: Extent<'_>) -> Result<()> {
        let migrator = migrator(self.dialect());
        match &self.shared.engine {
            Engine::Postgres(lanes) => {
                // These connections are not from the pools, because they must not have the time limits of
                // requests. One holds the lock while the other works.
                let servers = lanes.requests.opener().working_on(Work::Migrations);
                let names = servers.names();
                let opened = async { Ok((patient(&servers).await?, servers.open().await?)) };
                let what = format!("waiting for the database at {names}");
                let opened = noted(&what, opened).await.map_err(database_error)?;
                let (Opened { connection: mut guard, .. }, Opened { connection: mut worker, .. }) =
                    opened;
                noted(
                    "waiting for another instance to migrate the database",
                    wait_for_turn(&mut guard),
                )
                .await
                .map_err(database_error)?;
                if let Err(error) = migrator.run(&mut worker).await {
                    return Err(self.explained(error).await);
                }
                let mut worker = Worker::Postgres(worker);
                let tables = self.apply_declarations(schemas, extent, &mut worker).await?;
                self.refold(tables).await?;
                if let Worker::Postgres(connection) = worker {
                    connection.close().await.map_err(database_error)?;
                }
                guard.close().await.map_err(database_error)
            }
            Engine::Sqlite { write, path, .. } => {
                let _guard = lock_beside(path.clone()).await?;
                let mut lease = write.lease(None).await?;
                let Parts { connection, .. } = lease.parts().map_err(database_error)?;
                // If it fails, the lease is not settled, so its connection is closed.
                migrator.run(&mut *connection).await.map_err(migrate_error)?;
                lease.settle(Ok(())).map_err(database_error)?;
                drop(lease);
                let tables =
                    self.apply_declarations(schemas, extent, &mut Worker::Sqlite(write)).await?;
                self.refold(tables).await
            }
        }
    }

    /// Returns the steps that [`Store::migrate_all`] would apply, and the problems that prevent them. Writes nothing.
    ///
    /// # Errors
    /// Fails if the database cannot be reached, if it has other migrations than this version, or if a name in
    /// `drops` is declared or unknown.
    pub async fn plan(&self, schemas: &[&'static Schema], drops: &[String]) -> Result<Vec<Step>> {
        let Applied::Pending(pending) = self.applied_migrations().await? else {
            return Err(Error::internal(
                "the tables are not those of this version; see `cinequery check`",
            ));
        };
        let scripts = SCRIPTS.iter().filter(|script| pending.contains(&script.number));
        let mut plan: Vec<Step> = scripts.map(|script| script.step(self.dialect())).collect();
        let applied = self.applied(pending.contains(&1), schemas).await?;
        let (extent, features) = (Extent::All(drops), self.features_after_migration().await?);
        let steps = match &self.shared.engine {
            Engine::Postgres(lanes) => {
                let servers = lanes.requests.opener().working_on(Work::Migrations);
                let Opened { connection, .. } = servers.open().await.map_err(database_error)?;
                let mut worker = Worker::Postgres(connection);
                self.steps_from(&applied, schemas, extent, features, &mut worker).await?
            }
            Engine::Sqlite { write, .. } => {
                let mut worker = Worker::Sqlite(write);
                self.steps_from(&applied, schemas, extent, features, &mut worker).await?
            }
        };
        plan.extend(steps.applied);
        Ok(plan)
    }

    /// Returns the fields and collections in the database that are no longer declared, such as `movies.tagline` and
    /// `movies`. They are kept.
    ///
    /// # Errors
    /// Any database error.
    pub async fn undeclared(&self, schemas: &[&'static Schema]) -> Result<Vec<String>> {
        self.undeclared_in(&self.applied(false, schemas).await?, schemas).await
    }

    /// Compares the tables of the database with the migrations of this version and the declarations. Writes nothing.
    ///
    /// # Errors
    /// Any database error.
    pub async fn state(&self, schemas: &[&'static Schema]) -> Result<State> {
        let Applied::Pending(pending) = self.applied_migrations().await? else {
            return Ok(State::Foreign);
        };
        let tables = self.applied(pending.contains(&1), schemas).await?;
        let is_noted = |name: &str| tables.iter().any(|table| table.collection == name);
        // A table of a needed name that cinequery did not create prevents the migration.
        let movies = Catalogue::built_in().schemas().iter().copied();
        let own = movies.chain([saved_queries()]).filter(|_| pending.contains(&1));
        for schema in
            schemas.iter().copied().filter(|schema| !is_noted(schema.collection)).chain(own)
        {
            // Migration 1 creates a table of movies, which another declaration of movies replaces.
            let is_first = !pending.contains(&1) && schema.collection == FIRST_COLLECTION;
            if !is_first && self.has_table(schema.collection).await? {
                return Ok(State::Foreign);
            }
        }
        let features = self.features().await?;
        let steps = steps(&tables, schemas, &[], By::Serve, features);
        let Steps { applied: steps, left } = steps.map_err(Error::internal)?;
        let by = match steps.iter().any(|step| step.by == By::Migrate) {
            true => By::Migrate,
            false => By::Serve,
        };
        Ok(match pending.len() + steps.len() + left.len() {
            0 => State::Current,
            missing => State::Behind { missing, by },
        })
    }

    /// Returns what the database role lacks to apply migrations, and how to grant it; `None` if it lacks nothing.
    /// Since PostgreSQL 15, only the owner of a database may create tables in the schema `public`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn missing_privilege(&self) -> Result<Option<String>> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let sql = "SELECT quote_ident(current_user), quote_ident(current_schema()), \
                   coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
        let rows: Vec<(String, Option<String>, bool)> = self.read(plain(sql)).await?;
        let Some((role, schema, may_create)) = rows.into_iter().next() else { return Ok(None) };
        if may_create {
            return Ok(None);
        }
        let own = format!(
            "create a schema of its own, which the default search_path finds: `CREATE SCHEMA \
             AUTHORIZATION {role}`"
        );
        Ok(Some(match schema {
            Some(schema) => format!(
                "the database role {role} may not create tables in the schema {schema}; run `GRANT CREATE \
                 ON SCHEMA {schema} TO {role}` as the owner of the schema, or {own}"
            ),
            None => {
                format!("no schema in the search_path of the database role {role} exists; {own}")
            }
        }))
    }

    /// Explains why migrations failed, and which privilege the database role lacks, if any.
    async fn explained(&self, error: MigrateError) -> Error {
        let is_denied = match &error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                is_permission_denied(error)
            }
            _ => false,
        };
        match self.missing_privilege().await {
            Ok(Some(missing)) if is_denied => Error::internal(missing),
            _ => migrate_error(error),
        }
    }

    async fn applied_migrations(&self) -> Result<Applied> {
        let applied: Vec<(i64, bool, Vec<u8>)> = if self.has_table("_sqlx_migrations").await? {
            self.read(plain("SELECT version, success, checksum FROM _sqlx_migrations")).await?
        } else {
            Vec::new()
        };
        let migrator = migrator(self.dialect());
        let is_ours = |(version, success, checksum): &(i64, bool, Vec<u8>)| {
            *success
                && migrator.iter().any(|own| {
                    own.version == *version && own.checksum.as_ref() == checksum.as_slice()
                })
        };
        if !applied.iter().all(is_ours) {
            return Ok(Applied::Foreign);
        }
        let is_pending = |number: &i64| applied.iter().all(|(version, ..)| version != number);
        let numbers = migrator.iter().map(|migration| migration.version);
        Ok(Applied::Pending(numbers.filter(is_pending).collect()))
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

    /// Recomputes every folded column, unless the current rules computed them.
    async fn refold(&self, tables: Vec<Table>) -> Result<()> {
        let select = plain("SELECT value FROM cinequery_meta WHERE name = 'folding'");
        let recorded = self.texts(select).await?.pop();
        if recorded.as_deref() == Some(FOLDING) {
            return Ok(());
        }
        if recorded.is_some() {
            for table in tables.into_iter().chain([Table::of(saved_queries())]) {
                tracing::info!(
                    table = table.collection,
                    folding = FOLDING,
                    "folding text again, because the rules have changed"
                );
                let texts: Vec<&str> =
                    table.folded_texts().map(|column| column.name.as_str()).collect();
                self.transfers().refold_table(&table.collection, &texts, None).await?;
            }
        }
        let upsert = "INSERT INTO cinequery_meta (name, value) VALUES ('folding', $1) \
                      ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let values = sea_query::Values(vec![FOLDING.into()]);
        self.write::<(i64,)>(Statement { sql: upsert.to_owned(), values }).await.map(|_| ())
    }

    /// Folds texts of a table, in all records or in those written since a time. If another instance writes a record
    /// meanwhile, that instance folds it.
    async fn refold_table(
        &self,
        table: &str,
        texts: &[&str],
        since: Option<DateTime<Utc>>,
    ) -> Result<()> {
        let table = Alias::new(table);
        let since = since.map(|since| self.dialect().value(&Value::Timestamp(since)));
        let mut last = None;
        loop {
            let mut select = Sql::select();
            select
                .columns(["id", "version"])
                .columns(texts.iter().flat_map(|text| [(*text).to_owned(), folded_name(text)]))
                .from(table.clone())
                .and_where_option(last.map(|id: Uuid| Expr::col("id").gt(id)))
                .and_where_option(since.clone().map(|since| Expr::col("updated_at").gte(since)))
                .order_by("id", sea_query::Order::Asc)
                .limit(FOLD_BATCH);
            let rows: Vec<Texts> = self.read(self.dialect().build(&select).into()).await?;
            let Some(Texts { id, .. }) = rows.last() else { return Ok(()) };
            last = Some(*id);
            let mut updates = Vec::new();
            for Texts { id, version, values } in rows {
                let mut update = Sql::update();
                update
                    .table(table.clone())
                    .and_where(Expr::col("id").eq(id))
                    .and_where(Expr::col("version").eq(version));
                let mut is_outdated = false;
                for (text, (value, stored)) in texts.iter().zip(values) {
                    let folded = value.as_deref().map(fold);
                    is_outdated |= folded != stored;
                    update.value(folded_name(text), folded);
                }
                if is_outdated {
                    updates.push(self.dialect().build(&update).into());
                }
            }
            if !updates.is_empty() {
                // One transaction for all updates, because SQLite waits for the disk at the end of each.
                let last = plain("SELECT CAST(1 AS bigint)");
                let _: Option<(i64,)> = self.transact(updates, last).await?;
            }
        }
    }
}

impl Script {
    fn sql(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }

    /// Returns the migration as a step of a plan.
    fn step(&self, dialect: Dialect) -> Step {
        Step {
            sentence: format!("apply the migration {:04}_{}", self.number, self.name),
            sql: vec![self.sql(dialect).trim_end().trim_end_matches(';').to_owned()],
            locks: "all access to the tables that it changes",
            by: By::Serve,
            problem: None,
            collection: String::new(),
            action: Action::Migration,
            after: None,
            questions: Vec::new(),
        }
    }
}

/// The id and version of a record, and its texts, each with its folded form.
struct Texts {
    id: Uuid,
    version: i64,
    values: Vec<(Option<String>, Option<String>)>,
}

impl<'r, R: Row> FromRow<'r, R> for Texts
where
    usize: ColumnIndex<R>,
    Uuid: Decode<'r, R::Database> + SqlType<R::Database>,
    i64: Decode<'r, R::Database> + SqlType<R::Database>,
    String: Decode<'r, R::Database> + SqlType<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let pair = |column| Ok((row.try_get(column)?, row.try_get(column + 1)?));
        let values = (2..row.len()).step_by(2).map(pair).collect::<sqlx::Result<_>>()?;
        Ok(Self { id: row.try_get(0)?, version: row.try_get(1)?, values })
    }
}

/// Waits until no other instance migrates, by polling. A statement that waited for the lock would hold a snapshot,
/// and `CREATE INDEX CONCURRENTLY` of the instance that has the lock waits for all snapshots.
async fn wait_for_turn(guard: &mut PgConnection) -> sqlx::Result<()> {
    let attempt = format!("SELECT pg_try_advisory_xact_lock({ADVISORY_LOCK})");
    loop {
        // Between statements of this isolation level a transaction has no snapshot.
        sqlx::raw_sql("BEGIN ISOLATION LEVEL READ COMMITTED").execute(&mut *guard).await?;
        let attempt = sqlx::query_scalar(AssertSqlSafe(attempt.clone())).persistent(false);
        if attempt.fetch_one(&mut *guard).await? {
            return Ok(());
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut *guard).await?;
        tokio::time::sleep(TURN_PAUSE).await;
    }
}

/// Opens a connection to a database, and waits while the database is starting or does not respond. It does not
/// retry a rejected connection, because the URL may be wrong.
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

/// Runs work and logs what it waits for, so that a hanging start can be diagnosed.
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

fn migrate_error(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => database_error(error),
        MigrateError::ExecuteMigration(error, number) => {
            let cause = format!("cannot apply migration {number:04}: {}", describe(&error));
            Error { cause: Some(cause.into()), ..database_error(error) }
        }
        MigrateError::VersionMissing(number) | MigrateError::VersionMismatch(number) => {
            Error::internal(format!(
                "the tables are not those of this version (migration {number:04}): run the version that \
                 applied them, or a later one"
            ))
        }
        other => Error::internal(other),
    }
}
