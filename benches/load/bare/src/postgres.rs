//! The service: a token is checked, a statement is sent, and its rows become JSON.

use chrono::{DateTime, NaiveDate, Utc};
use deadpool::unmanaged::Pool;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use poem::http::{StatusCode, header};
use poem::listener::TcpListener;
use poem::web::{Data, Path, Query};
use poem::{Body, EndpointExt, Request, Response, Route, Server, get, handler};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::Outcome;
use crate::movie::{Draft, Movie, Page, columns};

type Row<'r> = Movie<'r, NaiveDate, DateTime<Utc>>;

struct Service {
    /// Connections stay open, and are not checked before they are used.
    connections: Pool<PgConnection>,
    statements: Statements,
    key: DecodingKey,
    validation: Validation,
}

/// The statement of each workload, as cinequery sends it.
#[derive(Deserialize)]
struct Statements {
    search: Statement,
    id: Statement,
    week: Statement,
    first: Statement,
    create: Statement,
}

#[derive(Deserialize)]
struct Statement {
    sql: String,
    /// Its last values, which are the same in each request.
    limits: Vec<i64>,
}

/// The claims of a token. All are decoded, as cinequery does.
#[derive(Deserialize)]
#[expect(dead_code, reason = "decoding them is part of the work")]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    jti: Uuid,
    scope: String,
    rev: i64,
}

impl Service {
    fn check(&self, request: &Request) -> poem::Result<()> {
        let token = request.header(header::AUTHORIZATION).and_then(|it| it.strip_prefix("Bearer "));
        let claims = token.and_then(|it| decode::<Claims>(it, &self.key, &self.validation).ok());
        claims.map(drop).ok_or_else(|| StatusCode::UNAUTHORIZED.into())
    }

    async fn rows(
        &self,
        statement: &'static Statement,
        mut values: PgArguments,
    ) -> poem::Result<Vec<PgRow>> {
        for limit in &statement.limits {
            values.add(limit).map_err(sqlx::Error::Encode).map_err(failed)?;
        }
        let mut connection = self.connections.get().await.map_err(failed)?;
        let query = sqlx::query_with(statement.sql.as_str(), values);
        query.fetch_all(&mut *connection).await.map_err(failed)
    }

    async fn page(
        &self,
        statement: &'static Statement,
        values: PgArguments,
        limit: usize,
    ) -> poem::Result<Response> {
        let rows = self.rows(statement, values).await?;
        let items = rows.iter().take(limit).map(read).collect::<sqlx::Result<Vec<_>>>();
        let items = items.map_err(failed)?;
        let next = items.last().filter(|_| rows.len() > limit);
        let next_cursor = next.map(|last| last.id.to_string());
        json(StatusCode::OK, &Page { items, next_cursor, warnings: [] })
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> poem::Error {
    poem::Error::new(error, StatusCode::INTERNAL_SERVER_ERROR)
}

fn json(status: StatusCode, value: &impl Serialize) -> poem::Result<Response> {
    let body = serde_json::to_vec(value).map_err(failed)?;
    Ok(Response::builder().status(status).content_type("application/json").body(body))
}

fn read(row: &PgRow) -> sqlx::Result<Row<'_>> {
    Ok(Movie {
        id: row.try_get(0)?,
        title: row.try_get(1)?,
        genre: row.try_get(2)?,
        release_year: row.try_get::<i32, _>(3)?.into(),
        expiry_date: row.try_get(4)?,
        version: row.try_get(5)?,
        created_at: row.try_get(6)?,
        updated_at: row.try_get(7)?,
    })
}

macro_rules! values {
    ($($value:expr),*) => {{
        #[allow(unused_mut, reason = "a statement may have no values")]
        let mut values = PgArguments::default();
        $(values.add($value).map_err(sqlx::Error::Encode).map_err(failed)?;)*
        values
    }};
}

#[derive(Deserialize)]
struct Search {
    genre: String,
    from: NaiveDate,
    to: NaiveDate,
}

#[derive(Deserialize)]
struct Week {
    from: NaiveDate,
    to: NaiveDate,
}

type App<'a> = Data<&'a &'static Service>;

#[handler]
async fn search(app: App<'_>, request: &Request, query: Query<Search>) -> poem::Result<Response> {
    app.check(request)?;
    let Search { genre, from, to } = query.0;
    app.page(&app.statements.search, values![genre, from, to], 20).await
}

#[handler]
async fn week(app: App<'_>, request: &Request, query: Query<Week>) -> poem::Result<Response> {
    app.check(request)?;
    app.page(&app.statements.week, values![query.0.from, query.0.to], 100).await
}

#[handler]
async fn first(app: App<'_>, request: &Request) -> poem::Result<Response> {
    app.check(request)?;
    app.page(&app.statements.first, values![], 100).await
}

#[handler]
async fn by_id(app: App<'_>, request: &Request, id: Path<Uuid>) -> poem::Result<Response> {
    app.check(request)?;
    let rows = app.rows(&app.statements.id, values![id.0]).await?;
    let row = rows.first().ok_or(StatusCode::NOT_FOUND)?;
    json(StatusCode::OK, &read(row).map_err(failed)?)
}

#[handler]
async fn create(app: App<'_>, request: &Request, body: Body) -> poem::Result<Response> {
    app.check(request)?;
    let body = body.into_bytes().await?;
    let draft: Draft<NaiveDate> =
        serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if !draft.is_valid() {
        return Err(StatusCode::BAD_REQUEST.into());
    }
    let now = Utc::now();
    let movie = Movie {
        id: Uuid::now_v7(),
        title: &draft.title,
        genre: &draft.genre,
        release_year: draft.release_year,
        expiry_date: draft.expiry_date,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut values = PgArguments::default();
    for column in columns(&app.statements.create.sql) {
        let added = match column {
            "id" => values.add(movie.id),
            "title" => values.add(movie.title),
            "title_folded" => values.add(movie.title.to_lowercase()),
            "genre" => values.add(movie.genre),
            "genre_folded" => values.add(movie.genre.to_lowercase()),
            "release_year" => values.add(movie.release_year),
            "expiry_date" => values.add(movie.expiry_date),
            "version" => values.add(movie.version),
            "created_at" | "updated_at" => values.add(now),
            other => Err(format!("the statement has an unknown column {other}").into()),
        };
        added.map_err(sqlx::Error::Encode).map_err(failed)?;
    }
    app.rows(&app.statements.create, values).await?;
    json(StatusCode::CREATED, &movie)
}

/// Runs the service until the process is killed.
pub fn serve() -> Outcome<()> {
    let setting = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (url, listen, secret) = (setting("DATABASE_URL")?, setting("LISTEN")?, setting("SECRET")?);
    let statements = serde_json::from_str(&std::fs::read_to_string(setting("STATEMENTS")?)?)?;
    let count: usize = setting("CONNECTIONS")?.parse()?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    validation.set_issuer(&["cinequery"]);
    validation.set_audience(&["cinequery"]);
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(PgConnection::connect(&url).await?);
        }
        let key = DecodingKey::from_secret(secret.as_bytes());
        let connections = Pool::from(connections);
        let service: &'static Service =
            Box::leak(Box::new(Service { connections, statements, key, validation }));
        let routes = Route::new()
            .at("/movies", get(search).post(create))
            .at("/movies/week", get(week))
            .at("/movies/first", get(first))
            .at("/movies/:id", get(by_id));
        Ok(Server::new(TcpListener::bind(listen)).run(routes.data(service)).await?)
    })
}
