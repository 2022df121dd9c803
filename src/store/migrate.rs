//! Bringing a database to the tables of this version and of the declarations, once, however many instances
//! start together.

mod apply;
mod change;
mod diff;
mod step;
mod table;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sea_query::{Alias, Expr, ExprTrait, Query as Sql};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, FromRow, PgConnection, Postgres, Row,
    Type as SqlType,
};
use uuid::Uuid;

use self::apply::{Extent, FIRST_COLLECTION, Worker};
use self::change::FOLD_BATCH;
use self::diff::{Steps, steps, undeclared};
use self::step::Action;
pub use self::step::{By, Step};
use self::table::{Table, folded_name};
use super::connection::{Open as _, Opened};
use super::failure::{database_error, is_starting};
use super::lease::Parts;
use super::postgres::{Servers, Work};
use super::sqlite::lock_beside;
use super::{Engine, Store, plain};
use crate::error::{Error, Result};
use crate::query::text::{FOLDING, fold};
use crate::query::{Dialect, Schema, Statement, Value};
use crate::record::{Catalogue, saved_queries};

/// What every migrating instance locks in PostgreSQL: "cinequry" as a number. Instances of the first version
/// lock "cinequer", and wait for it in a way that an index cannot be built beside.
const ADVISORY_LOCK: i64 = 0x6369_6e65_7175_7279;

/// How often an instance looks whether it is its turn to migrate.
const TURN_PAUSE: Duration = Duration::from_millis(250);

/// How long a start waits for a database that does not respond, and how long it pauses then.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(500);

/// After how long a start that waits says so, and how often then.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// A migration of the service's own tables, with its text for both engines.
#[derive(Debug)]
struct Script {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! scripts {
    ($($number:literal $name:literal),+) => {
        /// The migrations of the service's own tables.
        const SCRIPTS: &[Script] = &[$(Script {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/000", $number, "_", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/000", $number, "_", $name, ".sql")),
        }),+];
    };
}

scripts! {
    1 "catalogue", 2 "saved_queries", 3 "users", 4 "revocations", 5 "usage", 6 "records"
}

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = SCRIPTS.iter().map(|script| {
        let sql = sqlx::SqlSafeStr::into_sql_str(script.sql(dialect));
        Migration::new(script.number, script.name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // The lock taken below is held over everything, the folding included.
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
        /// How many.
        missing: usize,
        /// Who applies them: [`By::Migrate`] if one of them needs it.
        by: By,
    },
    /// A migration is applied that this version does not have, or has otherwise, or that failed half-way; or
    /// a table is in the way that cinequery did not create.
    Foreign,
}

/// The migrations that a database has, compared with those of this version.
enum Applied {
    /// The numbers of those that are pending.
    Pending(Vec<i64>),
    Foreign,
}

impl Store {
    /// Applies pending migrations and the steps to the declarations that `serve` may apply ([`By::Serve`]), then
    /// folds text anew if it was folded by other rules.
    ///
    /// One instance does it while the others wait: on PostgreSQL for an advisory lock of a transaction
    /// (which also holds behind a transaction-pooling proxy), on SQLite for the lock of a file
    /// beside the database.
    ///
    /// # Errors
    /// A database that cannot be reached, one that a newer version has migrated, one whose applied
    /// migrations differ from ours; steps that only [`Store::migrate_all`] applies; a change of type, or
    /// records that break a new rule.
    pub async fn migrate(&self, schemas: &[&'static Schema]) -> Result<()> {
        self.migrate_to(schemas, Extent::Serve).await
    }

    /// The same with all steps, and with drops: of fields (`movies.tagline`) and collections (`movies`) that are
    /// not declared.
    ///
    /// # Errors
    /// As [`Store::migrate`], but for steps that only this applies; a drop of what is declared, or is not there.
    pub async fn migrate_all(&self, schemas: &[&'static Schema], drops: &[String]) -> Result<()> {
        self.migrate_to(schemas, Extent::All(drops)).await
    }

    async fn migrate_to(&self, schemas: &[&'static Schema], extent: Extent<'_>) -> Result<()> {
        let migrator = migrator(self.dialect());
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
                noted(
                    "waiting for another instance to migrate the database",
                    wait_for_turn(&mut guard),
                )
                .await
                .map_err(database_error)?;
                migrator.run(&mut worker).await.map_err(migrate_error)?;
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
                // When it fails the lease is not settled, and its connection is closed.
                migrator.run(&mut *connection).await.map_err(migrate_error)?;
                lease.settle(Ok(())).map_err(database_error)?;
                drop(lease);
                let tables =
                    self.apply_declarations(schemas, extent, &mut Worker::Sqlite(write)).await?;
                self.refold(tables).await
            }
        }
    }

    /// What [`Store::migrate_all`] would do, and what keeps it from that. Nothing is written.
    ///
    /// # Errors
    /// A database that cannot be reached, or has migrations that this version does not know; a drop of what is
    /// declared, or is not there.
    pub async fn plan(&self, schemas: &[&'static Schema], drops: &[String]) -> Result<Vec<Step>> {
        let Applied::Pending(pending) = self.applied_migrations().await? else {
            return Err(Error::internal(
                "the tables are not those of this version; see `cinequery check`",
            ));
        };
        let scripts = SCRIPTS.iter().filter(|script| pending.contains(&script.number));
        let mut plan: Vec<Step> = scripts.map(|script| script.step(self.dialect())).collect();
        let applied = self.applied(pending.contains(&1), schemas).await?;
        let steps = match &self.shared.engine {
            Engine::Postgres(lanes) => {
                let servers = lanes.requests.opener().working_on(Work::Migrations);
                let Opened { connection, .. } = servers.open().await.map_err(database_error)?;
                let mut worker = Worker::Postgres(connection);
                self.steps_from(&applied, schemas, Extent::All(drops), &mut worker).await?
            }
            Engine::Sqlite { write, .. } => {
                self.steps_from(&applied, schemas, Extent::All(drops), &mut Worker::Sqlite(write))
                    .await?
            }
        };
        plan.extend(steps.applied);
        Ok(plan)
    }

    /// The fields in the database that are not declared any more, such as `movies.tagline`. They are kept.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn undeclared(&self, schemas: &[&'static Schema]) -> Result<Vec<String>> {
        Ok(undeclared(&self.applied(false, schemas).await?, schemas))
    }

    /// How the database's tables compare with the migrations of this version and the declarations. Nothing is written.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn state(&self, schemas: &[&'static Schema]) -> Result<State> {
        let Applied::Pending(pending) = self.applied_migrations().await? else {
            return Ok(State::Foreign);
        };
        let tables = self.applied(pending.contains(&1), schemas).await?;
        let is_noted = |name: &str| tables.iter().any(|table| table.collection == name);
        // Tables of our names that we have not made would be in the way.
        let movies = Catalogue::built_in().schemas().iter().copied();
        let own = movies.chain([saved_queries()]).filter(|_| pending.contains(&1));
        for schema in
            schemas.iter().copied().filter(|schema| !is_noted(schema.collection)).chain(own)
        {
            // Migration 1 makes a table of movies, which gives way to that of another declaration.
            let is_first = !pending.contains(&1) && schema.collection == FIRST_COLLECTION;
            if !is_first && self.has_table(schema.collection).await? {
                return Ok(State::Foreign);
            }
        }
        let steps = steps(&tables, schemas, &[], By::Serve, self.dialect());
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

    /// Computes every folded column anew, unless they were computed by the current rules.
    async fn refold(&self, tables: Vec<Table>) -> Result<()> {
        let select = plain("SELECT value FROM cinequery_meta WHERE name = 'folding'");
        let recorded = self.texts(select).await?.pop();
        if recorded.as_deref() == Some(FOLDING) {
            return Ok(());
        }
        if recorded.is_some() {
            for table in tables.into_iter().chain([Table::of(saved_queries())]) {
                tracing::info!(table = table.collection, folding = FOLDING, "folding text anew");
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

    /// Folds these texts of a table, in records that were written since then or in all. A record that another
    /// instance writes meanwhile is left to that instance.
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
                // In one transaction: SQLite waits for the disk at the end of each.
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

    /// The migration as a step of a plan.
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
            question: None,
        }
    }
}

/// A record's id and version, and its texts, however many, each with its folded form.
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

/// Waits until no other instance migrates. It asks again and again: a statement that waited for the lock would
/// hold a snapshot, and `CREATE INDEX CONCURRENTLY` of the instance that has the lock waits for all of those.
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
