//! The messages for database errors: each names its cause and what to do.

use std::time::Duration;

use cinequery::clock::timestamp_now;
use cinequery::error::{Error, Kind};
use cinequery::record::{Draft, Members};
use cinequery::store::{Bounds, Conflict, Message, Missing, Store};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::command_line::{folder, run};
use crate::support::{Database, SECRET, catalogue, on_both, screenings};

fn draft(film: &str) -> Draft {
    let json = json!({"film": film, "starts_at": "2024-01-01T00:00:00Z"});
    let members: Members = serde_json::from_value(json).unwrap();
    Draft::read(screenings(), members).unwrap()
}

async fn insert(store: &Store, film: &str) -> Result<(), Error> {
    store.insert(Uuid::now_v7(), &draft(film), timestamp_now()).await.map(|_| ())
}

fn cause(error: &Error) -> String {
    error.cause.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A transaction of another program that holds the lock of a screening or, in SQLite, of the file.
enum Holder {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Holder {
    async fn of(database: &Database, film: &str) -> Self {
        let url = database.url();
        if url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            return Self::Sqlite(connection);
        }
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let hold = format!(
            "BEGIN; INSERT INTO screenings (id, film, film_folded, starts_at, version, created_at, \
             updated_at) VALUES (gen_random_uuid(), '{film}', '{film}', '2024-01-01T00:00:00Z', 1, \
             now(), now())"
        );
        sqlx::raw_sql(AssertSqlSafe(hold)).execute(&mut connection).await.unwrap();
        Self::Postgres(connection)
    }

    async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_lock_timeout_names_the_lock() {
    on_both(async |database| {
        let store = database.store().await;
        let holder = Holder::of(&database, "held").await;
        let error = insert(&store, "held").await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        let (expected, of_cause) = match database.url().starts_with("sqlite") {
            true => ("timed out waiting for another process to write the database", "locked"),
            false => (
                "timed out waiting for a lock: another transaction",
                "relation \"cinequery_screenings",
            ),
        };
        assert!(error.detail.starts_with(expected), "{error}");
        let cause = cause(&error);
        assert!(cause.contains(of_cause) && !cause.contains("at line"), "{cause}");
        holder.release().await;
        insert(&store, "held").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pool_without_a_free_connection_names_its_limit() {
    on_both(async |database| {
        database.store().await.close().await;
        let bounds = Bounds {
            queue: Duration::from_millis(100),
            connections: Bounds::MIN_CONNECTIONS,
            ..Bounds::default()
        };
        let location = database.location.clone();
        let store = Store::open_within(location, Missing::Create, bounds).await.unwrap();
        let holder = Holder::of(&database, "held").await;
        let second = async {
            // The first one holds the only connection and waits for the lock.
            tokio::time::sleep(Duration::from_millis(300)).await;
            insert(&store, "second").await
        };
        let (_, second) = tokio::join!(insert(&store, "held"), second);
        let error = second.unwrap_err();
        assert_eq!(
            (error.kind, error.detail.as_str()),
            (
                Kind::Unavailable,
                "no database connection became free within 100ms (limit: 1); retry later"
            )
        );
        holder.release().await;
    })
    .await;
}

#[tokio::test]
async fn an_import_that_waits_for_another_instance_names_it() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let mut holder = PgConnection::connect(&database.url()).await.unwrap();
    // The advisory lock of imports: "imports!".
    let lock = format!("SELECT pg_advisory_lock({})", i64::from_be_bytes(*b"imports!"));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    sender.send(Message::Record(1, draft("imported"))).await.unwrap();
    sender.send(Message::End).await.unwrap();
    let error = store.import(screenings(), Conflict::Skip, receiver).await.unwrap_err();
    assert_eq!(
        (error.kind, error.detail.as_str()),
        (Kind::Unavailable, "timed out waiting for another import; retry later")
    );
}

/// A disk is full for PostgreSQL when it raises 53100, which a trigger can do as well.
#[tokio::test]
async fn a_full_disk_of_postgres_is_named() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let raise = "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
                 CREATE TRIGGER fill BEFORE INSERT ON screenings FOR EACH ROW EXECUTE FUNCTION fill()";
    database.run_sql(raise).await;
    let error = insert(&store, "any").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.detail.starts_with("no space left for the database"), "{error}");
    assert_eq!(cause(&error), "could not extend file (SQLSTATE 53100)");
}

#[tokio::test]
async fn a_failed_connection_names_host_and_port() {
    let folder = folder();
    let url = "postgres://joe:hunter2@127.0.0.1:1/none";
    for command in [&["migrate"][..], &["query", "genre = 'drama'"]] {
        let (code, _, log) = run(folder.path(), &[command, &["--database", url]].concat());
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("cannot connect to 127.0.0.1:1: connection refused"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

/// Creates a role that may not create tables, and returns it and the URL of the database as this role.
async fn restricted(database: &Database) -> (String, String) {
    let url = database.url();
    let (_, name) = url.rsplit_once('/').unwrap();
    let role = format!("restricted_{name}");
    let create = format!("REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {role} LOGIN");
    database.run_sql(&create).await;
    let url = url.replacen("://test@", &format!("://{role}@"), 1);
    (role, url)
}

#[tokio::test]
async fn a_role_without_create_learns_what_to_grant() {
    let database = Database::postgres().await;
    let (role, url) = restricted(&database).await;
    let folder = folder();
    let grant = format!("GRANT CREATE ON SCHEMA public TO {role}");
    let settings = ["--auth", "open", "--jwt-secret", SECRET, "--database", &url];
    let (code, printed, _) = run(folder.path(), &[&["check"][..], &settings].concat());
    assert_eq!(code, 4, "{printed}");
    assert!(printed.contains(&format!("run `{grant}`")), "{printed}");
    let (code, _, log) = run(folder.path(), &["migrate", "--database", &url]);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("run `{grant}`")) && !log.contains("at line"), "{log}");
    database.run_sql(&grant).await;
    let (code, _, log) = run(folder.path(), &["migrate", "--database", &url]);
    assert_eq!(code, 0, "{log}");
}

#[tokio::test]
async fn a_role_without_create_can_have_its_own_schema() {
    let database = Database::postgres().await;
    let (role, url) = restricted(&database).await;
    let folder = folder();
    let own = format!("CREATE SCHEMA AUTHORIZATION {role}");
    let (_, _, log) = run(folder.path(), &["migrate", "--database", &url]);
    assert!(log.contains(&format!("`{own}`")), "{log}");
    database.run_sql(&own).await;
    let (code, _, log) = run(folder.path(), &["migrate", "--database", &url]);
    assert_eq!(code, 0, "{log}");
    let (code, _, log) = run(folder.path(), &["query", "genre = 'drama'", "--database", &url]);
    assert_eq!(code, 0, "{log}");
}

#[tokio::test]
async fn tables_of_a_newer_version_are_named_at_start() {
    on_both(async |database| {
        database.store().await.close().await;
        database.run_sql("UPDATE _sqlx_migrations SET version = version + 500").await;
        let store = database.open().await;
        let error = store.migrate(catalogue().schemas()).await.unwrap_err();
        let cause = cause(&error);
        assert!(cause.contains("run the version that applied them, or a later one"), "{cause}");
        assert!(cause.contains("0501"), "{cause}");
    })
    .await;
}
