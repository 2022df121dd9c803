//! The same statements on a SQLite file of cinequery, without HTTP: in a loop, with the rows encoded as JSON.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use chrono::{Days, Months, NaiveDate, SecondsFormat, Utc};
use futures_util::TryStreamExt as _;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OpenFlags, Transaction};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, ConnectOptions as _, Row as _};
use uuid::Uuid;

use crate::Outcome;
use crate::movie::{About, Draft, Movie, columns};

/// SQLite has no dates and timestamps. They are texts, and copied as they are.
type Row<'r> = Movie<'r, &'r str, &'r str>;

/// The statement of a workload, and the values that it takes.
pub struct Workload {
    sql: &'static str,
    values: fn(&mut Choices) -> Vec<Value>,
    /// The number of records of a page; `None` for a single record.
    limit: Option<usize>,
}

impl Workload {
    /// The workload of that name. `statements` is a JSON file with the SQL of each.
    pub fn of(name: &str, statements: &str) -> Outcome<Self> {
        let statements: serde_json::Value = serde_json::from_reader(File::open(statements)?)?;
        let sql = statements[name].as_str().ok_or("no statement for this workload")?.to_owned();
        let (limit, values): (_, fn(&mut Choices) -> Vec<Value>) = match name {
            "search" => (Some(20), |from| {
                let (genre, [first, last]) = (from.genre(), from.months());
                vec![genre.into(), first.into(), last.into()]
            }),
            "week" => (Some(100), |from| from.week().map(Value::from).to_vec()),
            "first" => (Some(100), |_| Vec::new()),
            "id" => (None, |from| vec![from.id().into()]),
            _ => return Err("expected search, id, week or first".into()),
        };
        Ok(Self { sql: sql.leak(), values, limit })
    }
}

/// The response of a workload. Each row is encoded when it is read.
struct Response<'b> {
    buffer: &'b mut Vec<u8>,
    /// As in [`Workload`].
    limit: Option<usize>,
    count: usize,
    last: Uuid,
}

impl<'b> Response<'b> {
    fn to(workload: &Workload, buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        if workload.limit.is_some() {
            buffer.extend_from_slice(b"{\"items\":[");
        }
        Self { buffer, limit: workload.limit, count: 0, last: Uuid::nil() }
    }

    fn push(&mut self, row: &Row<'_>) -> Outcome<()> {
        self.count += 1;
        if self.limit.is_some_and(|limit| self.count > limit) {
            return Ok(());
        }
        if self.count > 1 {
            self.buffer.push(b',');
        }
        self.last = row.id;
        Ok(serde_json::to_writer(&mut *self.buffer, row)?)
    }

    fn end(self) -> Outcome<()> {
        let Some(limit) = self.limit else {
            return if self.count == 1 { Ok(()) } else { Err("no record with this id".into()) };
        };
        let next_cursor = (self.count > limit).then(|| self.last.to_string());
        self.buffer.extend_from_slice(b"],");
        let about = serde_json::to_vec(&About { next_cursor, warnings: [] })?;
        self.buffer.extend_from_slice(&about[1..]);
        Ok(())
    }
}

/// Random values, with the distributions of `requests.lua`.
pub struct Choices {
    random: fastrand::Rng,
    genres: Vec<String>,
    ids: Vec<Vec<u8>>,
}

impl Choices {
    fn of(file: &str, seed: u64) -> Outcome<Self> {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut genres = connection.prepare("SELECT DISTINCT genre FROM movies ORDER BY genre")?;
        let genres = genres.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut ids = connection.prepare("SELECT id FROM movies ORDER BY id")?;
        let ids = ids.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { random: fastrand::Rng::with_seed(seed), genres, ids })
    }

    fn genre(&mut self) -> String {
        let chosen = self.random.usize(..self.genres.len());
        self.genres[chosen].clone()
    }

    fn id(&mut self) -> Vec<u8> {
        let chosen = self.random.usize(..self.ids.len());
        self.ids[chosen].clone()
    }

    fn day(&mut self, days: u32) -> NaiveDate {
        let (year, month) = (self.random.i32(2020..=2029), self.random.u32(1..=12));
        NaiveDate::from_ymd_opt(year, month, self.random.u32(1..=days)).unwrap_or_default()
    }

    /// The bounds of a range of three months to a year.
    fn months(&mut self) -> [String; 2] {
        let first = self.day(28);
        let last = first + Months::new(self.random.u32(3..=12));
        [first.to_string(), last.to_string()]
    }

    /// The bounds of a range of seven days.
    fn week(&mut self) -> [String; 2] {
        let first = self.day(22);
        [first.to_string(), (first + Days::new(6)).to_string()]
    }
}

/// One measurement.
pub struct Run {
    pub workload: Workload,
    pub seconds: f64,
    pub seed: u64,
}

impl Run {
    /// Runs the loop on a file. Returns the number of iterations and the CPU time of the process, in microseconds.
    pub fn measure(&self, driver: &str, file: &str) -> Outcome<serde_json::Value> {
        let mut choices = Choices::of(file, self.seed)?;
        let (iterations, spent, bytes) = match driver {
            "rusqlite" => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(file, flags)?;
                self.repeat(|buffer| {
                    let mut statement = connection.prepare_cached(self.workload.sql)?;
                    let values = (self.workload.values)(&mut choices);
                    through_rusqlite(&self.workload, &mut statement, values, buffer)
                })?
            }
            "sqlx" => {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                let options = SqliteConnectOptions::new().filename(file).read_only(true);
                let mut connection = runtime.block_on(options.connect())?;
                self.repeat(|buffer| {
                    let values = (self.workload.values)(&mut choices);
                    runtime.block_on(through_sqlx(&self.workload, &mut connection, values, buffer))
                })?
            }
            _ => return Err("expected sqlx or rusqlite".into()),
        };
        Ok(json!({ "iterations": iterations, "cpu_us": spent.as_secs_f64() * 1e6, "bytes": bytes }))
    }

    fn repeat(
        &self,
        mut once: impl FnMut(&mut Vec<u8>) -> Outcome<()>,
    ) -> Outcome<(u64, Duration, usize)> {
        let mut buffer = Vec::new();
        for _ in 0..100 {
            once(&mut buffer)?;
        }
        let (started, spent) = (Instant::now(), cpu_time());
        let (mut iterations, mut bytes) = (0, 0);
        while started.elapsed().as_secs_f64() < self.seconds {
            once(&mut buffer)?;
            iterations += 1;
            bytes += buffer.len();
        }
        Ok((iterations, cpu_time() - spent, bytes))
    }
}

/// The CPU time of this process.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

fn through_rusqlite(
    workload: &Workload,
    statement: &mut CachedStatement<'_>,
    values: Vec<Value>,
    buffer: &mut Vec<u8>,
) -> Outcome<()> {
    let mut response = Response::to(workload, buffer);
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let text = |position| row.get_ref(position)?.as_str().map_err(rusqlite::Error::from);
        response.push(&Movie {
            id: Uuid::from_slice(row.get_ref(0)?.as_blob()?)?,
            title: text(1)?,
            genre: text(2)?,
            release_year: row.get(3)?,
            expiry_date: text(4)?,
            version: row.get(5)?,
            created_at: text(6)?,
            updated_at: text(7)?,
        })?;
    }
    response.end()
}

async fn through_sqlx(
    workload: &Workload,
    connection: &mut SqliteConnection,
    values: Vec<Value>,
    buffer: &mut Vec<u8>,
) -> Outcome<()> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text)?,
            Value::Blob(bytes) => arguments.add(bytes)?,
            _ => return Err("expected a text or an id".into()),
        }
    }
    let mut response = Response::to(workload, buffer);
    let mut rows = sqlx::query_with(workload.sql, arguments).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        response.push(&read(&row)?)?;
    }
    response.end()
}

fn read(row: &SqliteRow) -> sqlx::Result<Row<'_>> {
    Ok(Movie {
        id: row.try_get(0)?,
        title: row.try_get(1)?,
        genre: row.try_get(2)?,
        release_year: row.try_get(3)?,
        expiry_date: row.try_get(4)?,
        version: row.try_get(5)?,
        created_at: row.try_get(6)?,
        updated_at: row.try_get(7)?,
    })
}

/// Inserts a movie for each line of a file, in one transaction. With a statement for the journal, also notes each.
pub fn import(file: &str, sql: &str, records: &str, journal: Option<&str>) -> Outcome<()> {
    let mut connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction()?;
    insert_all(&transaction, sql, records, journal)?;
    transaction.commit()?;
    Ok(())
}

fn insert_all(
    transaction: &Transaction<'_>,
    sql: &str,
    records: &str,
    journal: Option<&str>,
) -> Outcome<()> {
    let mut insert = transaction.prepare(sql)?;
    let mut note = journal.map(|sql| transaction.prepare(sql)).transpose()?;
    for line in BufReader::new(File::open(records)?).lines() {
        let draft: Draft<NaiveDate> = serde_json::from_str(&line?)?;
        if !draft.is_valid() {
            return Err("a record is not valid".into());
        }
        let id = Uuid::now_v7();
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        for (at, column) in columns(sql).enumerate() {
            let at = at + 1;
            match column {
                "id" => insert.raw_bind_parameter(at, id.as_bytes().as_slice())?,
                "title" => insert.raw_bind_parameter(at, &draft.title)?,
                "title_folded" => insert.raw_bind_parameter(at, draft.title.to_lowercase())?,
                "genre" => insert.raw_bind_parameter(at, &draft.genre)?,
                "genre_folded" => insert.raw_bind_parameter(at, draft.genre.to_lowercase())?,
                "release_year" => insert.raw_bind_parameter(at, draft.release_year)?,
                "expiry_date" => insert.raw_bind_parameter(at, draft.expiry_date.to_string())?,
                "version" => insert.raw_bind_parameter(at, 1)?,
                "created_at" | "updated_at" => insert.raw_bind_parameter(at, &now)?,
                other => return Err(format!("the statement has an unknown column {other}").into()),
            }
        }
        insert.raw_execute()?;
        if let Some(note) = &mut note {
            let expiry_date = draft.expiry_date.to_string();
            let movie = Movie {
                id,
                title: &draft.title,
                genre: &draft.genre,
                release_year: draft.release_year,
                expiry_date: expiry_date.as_str(),
                version: 1,
                created_at: now.as_str(),
                updated_at: now.as_str(),
            };
            note.execute((id.as_bytes().as_slice(), serde_json::to_string(&movie)?, &now))?;
        }
    }
    Ok(())
}
