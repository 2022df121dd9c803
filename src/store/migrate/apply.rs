//! Applying steps to a database, after checking that its records allow them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};
use uuid::Uuid;

use super::diff::{Steps, steps, undeclared};
use super::features::Features;
use super::sql::{literal, quoted};
use super::step::{Action, By, Meaning, Question, Step};
use super::table::{Column, Folded, Folding, Index, Table};
use super::trigrams::CREATE_EXTENSION;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result};
use crate::query::{Dialect, Schema, Value};
use crate::store::failure::{database_error, describe, is_conflict};
use crate::store::lease::Parts;
use crate::store::pool::Pool;
use crate::store::sqlite::SqliteFile;
use crate::store::{Row, Store, plain};

/// The first table of movies, which a migration in SQL creates, as 0006 leaves it.
const FIRST_MOVIES: &str = include_str!("../../../migrations/movies.json");

/// Its name.
pub(super) const FIRST_COLLECTION: &str = "movies";

/// How many of the records that break a rule are listed.
const MAX_LISTED: i64 = 5;

/// How long a change of a PostgreSQL table waits for the transactions that use the table. Later statements wait
/// for the change, so it gives up and is attempted again after a pause.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// How long instances of an older declaration may go on after a folded column was added. What they write until
/// then is folded by instances that start.
const SETTLING: chrono::Duration = chrono::Duration::days(1);

/// How far the clocks of two instances may be apart.
const CLOCKS: chrono::Duration = chrono::Duration::hours(1);

/// Which steps are applied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent<'a> {
    /// Those of [`By::Serve`]. Others are an error.
    Serve,
    /// All, and the drops that are named.
    All(&'a [String]),
}

impl<'a> Extent<'a> {
    fn by(self) -> By {
        match self {
            Self::Serve => By::Serve,
            Self::All(_) => By::Migrate,
        }
    }

    fn drops(self) -> &'a [String] {
        match self {
            Self::Serve => &[],
            Self::All(drops) => drops,
        }
    }
}

/// What steps run on. Their statements have no time limit.
pub(super) enum Worker<'a> {
    /// A connection of its own.
    Postgres(PgConnection),
    /// The connection that writes. It is leased anew for each piece of work, as folding needs it as well.
    Sqlite(&'a Pool<SqliteFile>),
}

impl Worker<'_> {
    async fn run(&mut self, script: &str) -> sqlx::Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(script.to_owned()));
        match self {
            Self::Postgres(connection) => sql.execute(connection).await.map(drop),
            Self::Sqlite(pool) => {
                let mut lease = pool.lease(None).await.map_err(unavailable)?;
                let Parts { connection, .. } = lease.parts()?;
                // If it fails the lease is not settled, and its connection is closed with whatever is open on it.
                sql.execute(&mut *connection).await?;
                lease.settle(Ok(()))
            }
        }
    }

    /// Runs statements that need no transaction, or can be in none.
    async fn run_each(&mut self, statements: &[String]) -> sqlx::Result<()> {
        for statement in statements {
            self.run(statement).await?;
        }
        Ok(())
    }

    async fn rows<T: Row>(&mut self, sql: &str) -> sqlx::Result<Vec<T>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(connection) => {
                sqlx::query_as(sql).persistent(false).fetch_all(connection).await
            }
            Self::Sqlite(pool) => {
                let mut lease = pool.lease(None).await.map_err(unavailable)?;
                let Parts { connection, .. } = lease.parts()?;
                let query = sqlx::query_as(sql).persistent(false);
                let outcome = query.fetch_all(&mut *connection).await;
                lease.settle(outcome)
            }
        }
    }

    /// Waits for the step of a process that was killed: PostgreSQL completes the transaction that it was sent,
    /// and what was applied is known only then. The transaction has written to this table first.
    async fn wait_for_orphans(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Postgres(_) => {
                self.run("BEGIN; LOCK TABLE cinequery_records IN SHARE MODE; COMMIT").await
            }
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Rebuilds a table of SQLite, in one transaction.
    async fn rebuild(&mut self, collection: &str, copy: &[String], note: &str) -> sqlx::Result<()> {
        let Self::Sqlite(pool) = self else { return Ok(()) };
        loop {
            let mut lease = pool.lease(None).await.map_err(unavailable)?;
            let Parts { connection, .. } = lease.parts()?;
            match rebuild(connection, collection, copy, note).await {
                Ok(()) => return lease.settle(Ok(())),
                // The lease is not settled, as in `run`.
                Err(error) => give_way(error).await?,
            }
        }
    }

    /// Runs statements in one transaction, however long others are in its way.
    async fn transact(&mut self, statements: &[String]) -> sqlx::Result<()> {
        let body = statements.join(";\n");
        let script = match self {
            Self::Postgres(_) => format!("BEGIN; {LOCK_TIMEOUT};\n{body};\nCOMMIT"),
            Self::Sqlite(_) => format!("BEGIN IMMEDIATE;\n{body};\nCOMMIT"),
        };
        loop {
            let Err(error) = self.run(&script).await else { return Ok(()) };
            if let Self::Postgres(_) = self {
                self.run("ROLLBACK").await?;
            }
            give_way(error).await?;
        }
    }
}

/// Waits if a statement failed because of another transaction.
async fn give_way(error: sqlx::Error) -> sqlx::Result<()> {
    let code = error.as_database_error().and_then(|error| error.code());
    let is_locked = code.is_some_and(|code| code == "55P03") || is_conflict(&error);
    if !is_locked {
        return Err(error);
    }
    tracing::warn!(cause = describe(&error), "waiting for other transactions");
    tokio::time::sleep(LOCK_PAUSE).await;
    Ok(())
}

/// The first table of movies.
fn first_movies() -> Result<Table> {
    serde_json::from_str(FIRST_MOVIES).map_err(Error::internal)
}

/// A lease that fails has no error of the database.
fn unavailable(error: Error) -> sqlx::Error {
    sqlx::Error::Configuration(error.into())
}

impl Store {
    /// The tables of records that were applied to this database, and those that its pending migrations make.
    pub(super) async fn applied(
        &self,
        is_new: bool,
        schemas: &[&'static Schema],
    ) -> Result<Vec<Table>> {
        let select = plain("SELECT declaration FROM cinequery_records ORDER BY collection");
        let texts = match self.has_table("cinequery_records").await? {
            true => self.texts(select).await?,
            false => Vec::new(),
        };
        let read = |text: &String| {
            serde_json::from_str(text).map_err(|error| {
                Error::internal(format!(
                    "cannot read the declaration that was applied to the database: {error}; was it \
                     applied by a newer version?"
                ))
            })
        };
        let mut tables: Vec<Table> = texts.iter().map(read).collect::<Result<_>>()?;
        let first = first_movies()?;
        let is_noted = tables.iter().any(|table| table.collection == first.collection);
        let is_there = is_new || !is_noted && self.has_table(&first.collection).await?;
        if !is_noted && is_there && !self.replaces_first_movies(is_new, schemas).await? {
            tables.push(first);
        }
        Ok(tables)
    }

    /// Whether the first table of movies gives way to that of another declaration: it is empty, and a migration
    /// has made it before anything was declared.
    async fn replaces_first_movies(
        &self,
        is_new: bool,
        schemas: &[&'static Schema],
    ) -> Result<bool> {
        let first = first_movies()?;
        let declared = schemas.iter().find(|schema| schema.collection == FIRST_COLLECTION);
        let Some(declared) = declared else { return Ok(false) };
        // An index of trigrams is built where it is.
        let features = Features { dialect: self.dialect(), trigrams: false };
        let steps = steps(&[first], &[*declared], &[], By::Migrate, features);
        if steps.map_err(Error::internal)?.applied.is_empty() {
            return Ok(false);
        }
        if is_new {
            return Ok(true);
        }
        Ok(!self.has_movies().await?)
    }

    /// Whether the first table of movies has a record.
    async fn has_movies(&self) -> Result<bool> {
        let rows = "SELECT count(*) FROM (SELECT 1 FROM movies LIMIT 1) AS first";
        Ok(self.count(plain(rows)).await? > 0)
    }

    /// Returns the fields and collections of tables that are not declared, by the names that `--drop` takes. Every
    /// database has the first table of movies, so an empty one is omitted.
    pub(super) async fn undeclared_in(
        &self,
        tables: &[Table],
        schemas: &[&'static Schema],
    ) -> Result<Vec<String>> {
        let mut names = undeclared(tables, schemas);
        let has_first = names.iter().any(|name| name == FIRST_COLLECTION);
        if has_first && !self.has_movies().await? {
            names.retain(|name| name != FIRST_COLLECTION);
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Drops the first table of movies where it gives way.
    async fn drop_first_movies(
        &self,
        schemas: &[&'static Schema],
        worker: &mut Worker<'_>,
    ) -> Result<()> {
        let noted = plain("SELECT collection FROM cinequery_records");
        let is_noted = self.texts(noted).await?.iter().any(|name| name == FIRST_COLLECTION);
        if is_noted || !self.has_table(FIRST_COLLECTION).await? {
            return Ok(());
        }
        if self.replaces_first_movies(false, schemas).await? {
            let drop = format!("DROP TABLE {}", quoted(FIRST_COLLECTION));
            worker.transact(&[drop]).await.map_err(database_error)?;
        }
        Ok(())
    }

    /// The steps from the applied tables to the declared ones, with their problems.
    pub(super) async fn steps_from(
        &self,
        applied: &[Table],
        schemas: &[&'static Schema],
        extent: Extent<'_>,
        features: Features,
        worker: &mut Worker<'_>,
    ) -> Result<Steps> {
        let (by, drops) = (extent.by(), extent.drops());
        let Steps { applied: steps, left } =
            steps(applied, schemas, drops, by, features).map_err(Error::internal)?;
        let mut inspected = Vec::new();
        for mut step in steps {
            let is_noted = applied.iter().any(|table| table.collection == step.collection);
            let is_first = !is_noted && step.collection == FIRST_COLLECTION;
            let is_there = self.has_table(&step.collection).await?
                && !(is_first && self.replaces_first_movies(false, schemas).await?);
            if is_there && !is_noted {
                step.problem = Some(format!(
                    "the database has a table {:?} that cinequery did not create; rename it, or \
                     declare another collection",
                    step.collection
                ));
            } else if is_there {
                inspect(&mut step, worker).await.map_err(database_error)?;
            }
            inspected.push(step);
        }
        Ok(Steps { applied: inspected, left })
    }

    /// Installs what the declarations need, where that is possible, and returns what the database can do then. Searches
    /// need nothing of it to work.
    async fn install_features(
        &self,
        schemas: &[&'static Schema],
        worker: &mut Worker<'_>,
    ) -> Result<Features> {
        let features = self.features().await?;
        let wants_trigrams = |schema: &&Schema| schema.fields.iter().any(|field| field.trigram);
        if features.trigrams || !schemas.iter().copied().any(|schema| wants_trigrams(&schema)) {
            return Ok(features);
        }
        let cause = match worker.run(CREATE_EXTENSION).await {
            Ok(()) => "its operators are not in the search_path of the role".to_owned(),
            Err(error) => describe(&error),
        };
        let features = self.features().await?;
        if !features.trigrams {
            tracing::warn!(
                cause,
                "cannot use the extension pg_trgm, so `contains` and `ends with` have no index; as a superuser, \
                 run `CREATE EXTENSION pg_trgm` in the database, then restart"
            );
        }
        Ok(features)
    }

    /// Brings the tables to the declarations.
    pub(super) async fn apply_declarations(
        &self,
        schemas: &[&'static Schema],
        extent: Extent<'_>,
        worker: &mut Worker<'_>,
    ) -> Result<Vec<Table>> {
        worker.wait_for_orphans().await.map_err(database_error)?;
        self.drop_first_movies(schemas, worker).await?;
        let features = self.install_features(schemas, worker).await?;
        let mut tables = self.applied(false, schemas).await?;
        let Steps { applied: steps, left } =
            self.steps_from(&tables, schemas, extent, features, worker).await?;
        let list = |texts: Vec<&str>| texts.join("\n  ");
        let problems: Vec<&str> = steps.iter().filter_map(|step| step.problem.as_deref()).collect();
        if !problems.is_empty() {
            // A problem with ids of records has several lines.
            let problems = problems.iter().map(|problem| problem.replace('\n', "\n    "));
            let problems = problems.collect::<Vec<_>>().join("\n  ");
            return Err(Error::internal(format!(
                "the tables cannot be brought to the declarations, and nothing was changed:\n  \
                 {problems}"
            )));
        }
        let manual = steps.iter().filter(|step| step.by == By::Migrate);
        let manual: Vec<&str> = manual.map(|step| step.sentence.as_str()).collect();
        if !manual.is_empty() && matches!(extent, Extent::Serve) {
            let manual = list(manual);
            return Err(Error::internal(format!(
                "the declarations ask for steps that only `cinequery migrate` applies (see \
                 `cinequery migrate --plan`):\n  {manual}"
            )));
        }
        for step in left {
            tracing::warn!(
                step = step.sentence,
                "the declaration is stricter than what was applied; records may not comply. To apply it, run \
                 `cinequery migrate`"
            );
        }
        for step in steps {
            tracing::info!(step = step.sentence, locks = step.locks, "migrating");
            self.apply(&step, worker).await.map_err(|error| match error.kind {
                Kind::Unavailable => error,
                _ => {
                    let cause = error.cause.map(|cause| cause.to_string()).unwrap_or(error.detail);
                    Error::internal(format!("cannot {}: {cause}", step.sentence))
                }
            })?;
            tables.retain(|table| table.collection != step.collection);
            tables.extend(step.after);
        }
        for name in self.undeclared_in(&tables, schemas).await? {
            let kept = if name.contains('.') { "its values are" } else { "its records are" };
            tracing::warn!(
                "{name} is in the database but not declared; {kept} kept. To drop it, run \
                 `cinequery migrate --drop {name}`"
            );
        }
        for table in &mut tables {
            self.settle_folding(table, worker).await?;
        }
        Ok(tables)
    }

    async fn apply(&self, step: &Step, worker: &mut Worker<'_>) -> Result<()> {
        let note = self.note(&step.collection, step.after.as_ref())?;
        let sql = step.sql.as_slice();
        if let Action::Fill(name) = &step.action {
            self.transfers().refold_table(&step.collection, &[name], None).await?;
        }
        let applied = async {
            match &step.action {
                Action::Transaction => {
                    // The note comes first: see `wait_for_orphans`.
                    let statements: Vec<String> = [note].into_iter().chain(sql.to_vec()).collect();
                    return worker.transact(&statements).await;
                }
                Action::Rebuild(copy) => {
                    let (copy, _) = sql.split_at_checked(*copy).unwrap_or_default();
                    return worker.rebuild(&step.collection, copy, &note).await;
                }
                Action::DropIndex => worker.run(&sql.join(";")).await?,
                Action::BuildIndex(index) => {
                    build_index(&step.collection, index, sql, worker).await?;
                }
                // Filled above. The others have a problem, or are not steps of a declaration.
                Action::Fill(_) | Action::Migration | Action::Reject => {}
            }
            worker.transact(&[note]).await
        };
        applied.await.map_err(database_error)
    }

    /// Folds what instances of an older declaration have written since a folded column was filled.
    async fn settle_folding(&self, table: &mut Table, worker: &mut Worker<'_>) -> Result<()> {
        let since = |column: &Column| match column.folded {
            Some(Folded { state: Folding::Settling(filled), .. }) => Some(filled),
            _ => None,
        };
        let Some(filled) = table.columns.iter().filter_map(since).min() else { return Ok(()) };
        let now = timestamp_now();
        let settling = table.columns.iter().filter(|column| since(column).is_some());
        let texts: Vec<&str> = settling.map(|column| column.name.as_str()).collect();
        self.transfers().refold_table(&table.collection, &texts, Some(filled - CLOCKS)).await?;
        if now - filled < SETTLING {
            return Ok(());
        }
        for column in &mut table.columns {
            if since(column).is_some() {
                column.folded.iter_mut().for_each(|folded| folded.state = Folding::Current);
            }
        }
        let note = self.note(&table.collection, Some(table))?;
        worker.transact(&[note]).await.map_err(database_error)
    }

    /// The statement that notes what was applied.
    fn note(&self, collection: &str, table: Option<&Table>) -> Result<String> {
        let text = |text: &str| literal(&Value::Text(text.to_owned()), self.dialect());
        let moment = |now: DateTime<Utc>| literal(&Value::Timestamp(now), self.dialect());
        let collection = text(collection);
        let Some(table) = table else {
            return Ok(format!("DELETE FROM cinequery_records WHERE collection = {collection}"));
        };
        let declaration = serde_json::to_string(table).map_err(Error::internal)?;
        Ok(format!(
            "INSERT INTO cinequery_records (collection, declaration, applied_at) \
             VALUES ({collection}, {}, {}) ON CONFLICT (collection) DO UPDATE \
             SET declaration = excluded.declaration, applied_at = excluded.applied_at",
            text(&declaration),
            moment(timestamp_now())
        ))
    }
}

/// Counts the rows that the questions of a step are about. Losses are added to the sentence of the step, and rows that
/// prevent it become its problem.
async fn inspect(step: &mut Step, worker: &mut Worker<'_>) -> sqlx::Result<()> {
    let mut losses = Vec::new();
    for Question { from, meaning } in &step.questions {
        let counted: Vec<(i64,)> = worker.rows(&format!("SELECT count(*) {from}")).await?;
        let count = counted.first().map_or(0, |(count,)| *count);
        let of = |one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        match meaning {
            Meaning::Lose(one, many) => losses.push(of(one, many)),
            Meaning::Hinder { reason, help } if count > 0 => {
                let records = of("record", "records");
                step.problem = Some(format!("{reason}, and the table has {records}. {help}"));
            }
            Meaning::Break(rule) if count > 0 => {
                let select = format!("SELECT id {from} ORDER BY id LIMIT {MAX_LISTED}");
                let ids: Vec<(Uuid,)> = worker.rows(&select).await?;
                let ids = ids.iter().map(|(id,)| id.to_string());
                let more = (count > MAX_LISTED).then(|| format!("and {} more", count - MAX_LISTED));
                let lines: Vec<String> = ids.chain(more).collect();
                step.problem = Some(format!(
                    "{rule}; {} this rule:\n{}",
                    of("record breaks", "records break"),
                    lines.join("\n")
                ));
            }
            Meaning::Hinder { .. } | Meaning::Break(_) => {}
        }
    }
    if !losses.is_empty() {
        step.sentence = format!("{} with {}", step.sentence, losses.join(" and "));
    }
    Ok(())
}

/// Copies a SQLite table into a new one. Everything that belongs to it in the database comes along, also what
/// an operator has added.
async fn rebuild(
    connection: &mut SqliteConnection,
    collection: &str,
    copy: &[String],
    note: &str,
) -> sqlx::Result<()> {
    // Neither pragma has an effect within a transaction. The second lets views that name the table stay.
    let begin = "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN IMMEDIATE";
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    let violations = "SELECT count(*) FROM pragma_foreign_key_check";
    let before: i64 = sqlx::query_scalar(violations).fetch_one(&mut *connection).await?;
    let belongings = "SELECT sql FROM sqlite_schema \
                      WHERE tbl_name = $1 AND type IN ('index', 'trigger') AND sql IS NOT NULL";
    let belongings: Vec<String> =
        sqlx::query_scalar(belongings).bind(collection).fetch_all(&mut *connection).await?;
    let note = [note.to_owned()];
    let body: Vec<&str> = copy.iter().chain(&belongings).chain(&note).map(String::as_str).collect();
    sqlx::raw_sql(AssertSqlSafe(body.join(";\n"))).execute(&mut *connection).await?;
    let after: i64 = sqlx::query_scalar(violations).fetch_one(&mut *connection).await?;
    if after > before {
        let message = format!("rebuilding {collection} would break foreign keys");
        return Err(sqlx::Error::Configuration(message.into()));
    }
    let end = "COMMIT; PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON";
    sqlx::raw_sql(end).execute(connection).await.map(drop)
}

/// Builds an index in PostgreSQL beside the work of others. What an interrupted build has left is dropped first;
/// a build whose client has vanished goes on in the server, and is waited for.
async fn build_index(
    collection: &str,
    index: &Index,
    sql: &[String],
    worker: &mut Worker<'_>,
) -> sqlx::Result<()> {
    let text = |text: &str| literal(&Value::Text(text.to_owned()), Dialect::Postgres);
    let select = format!(
        "SELECT i.indisvalid, i.indrelid = to_regclass({}) AND i.indisunique = {} \
         AND (SELECT string_agg(a.attname::text, ',' ORDER BY k.number) \
              FROM unnest(i.indkey) WITH ORDINALITY AS k(column_number, number) \
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.column_number) = {}, \
         EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid) \
         FROM pg_index i WHERE i.indexrelid = to_regclass({})",
        text(&quoted(collection)),
        index.unique,
        text(&index.columns.join(",")),
        text(&quoted(&index.name)),
    );
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&index.name));
    loop {
        let found: Vec<(bool, Option<bool>, bool)> = worker.rows(&select).await?;
        let worked = match found.first() {
            // Built, and not noted yet.
            Some((true, Some(true), _)) => return Ok(()),
            Some((true, ..)) => {
                let message = format!(
                    "the database has an index {:?} that cinequery did not create; drop or rename it",
                    index.name
                );
                return Err(sqlx::Error::Configuration(message.into()));
            }
            Some((false, _, true)) => {
                tracing::warn!(index = index.name, "waiting for the build of an earlier process");
                tokio::time::sleep(LOCK_PAUSE).await;
                Ok(())
            }
            Some((false, _, false)) => worker.run(&drop).await,
            None => worker.run_each(sql).await,
        };
        let Err(error) = worked else { continue };
        // An invalid index would slow down writes, and a unique one would reject some, without serving anything.
        if let Err(error) = worker.run(&drop).await {
            tracing::warn!(%error, index = index.name, "an index that was not built is left");
        }
        give_way(error).await?;
    }
}
