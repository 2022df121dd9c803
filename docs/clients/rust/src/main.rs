//! A tour of cinequery with the client that progenitor makes of its OpenAPI document.

#[allow(clippy::all, clippy::pedantic, unused, reason = "generated, and larger than the tour")]
mod cinequery {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

use std::env;
use std::iter::successors;
use std::process::ExitCode;

use chrono::NaiveDate;
use cinequery::types::{
    BatchItem, BatchOperation, BatchRequest, MovieDraft, MoviePatch, Problem, RestoreRequest,
    TokenRequest,
};
use cinequery::{Client, Error, ResponseValue};
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap};
use serde_json::json;
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Err(error) = tour().await else { return ExitCode::SUCCESS };
    match error.downcast_ref::<Error<Problem>>() {
        Some(Error::ErrorResponse(problem)) => eprintln!("{}: {}", problem.code, problem.detail),
        // It says what failed; the last of its causes says why.
        _ => match successors(error.source(), |&cause| cause.source()).last() {
            Some(cause) => eprintln!("{error}: {cause}"),
            None => eprintln!("{error}"),
        },
    }
    ExitCode::FAILURE
}

async fn tour() -> Result<()> {
    let url = env::var("CINEQUERY_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let api = sign_in(&url).await?;

    let movie = MovieDraft::builder()
        .title("The Third Man")
        .genre("film noir")
        .release_year(1949)
        .expiry_date(day(2031, 12, 31)?);
    // With an idempotency key, a request whose response was lost can be sent again.
    let key = Uuid::new_v4().to_string();
    let create = || api.create_movie().idempotency_key(&*key).body(movie.clone()).send();
    let created = create().await?;
    println!("created {}, version {}", *created.title, created.version);
    if create().await?.id != created.id {
        return Err("a retry created another movie".into());
    }
    println!("retried: the same movie");

    let found = api
        .list_movies()
        .filter(r#"genre = "film noir" and release_year between 1940 and 1949"#)
        .order_by("release_year, title")
        .send()
        .await?;
    let titles =
        found.items.iter().map(|movie| format!("{} ({})", *movie.title, movie.release_year));
    println!("found {}", titles.collect::<Vec<_>>().join(", "));

    let mut page = api.list_movies().limit(10_u32).send().await?;
    let (mut movies, mut pages) = (page.items.len(), 1);
    while let Some(cursor) = &page.next_cursor {
        page = api.list_movies().limit(10_u32).cursor(cursor.as_str()).send().await?;
        movies += page.items.len();
        pages += 1;
    }
    println!("walked {movies} movies on {pages} pages");

    let updated = api
        .update_movie()
        .id(created.id)
        .if_match(etag(&created)?)
        .body(MoviePatch::builder().expiry_date(day(2032, 6, 30)?))
        .send()
        .await?;
    println!("updated to version {}, expiring {}", updated.version, updated.expiry_date);

    let history = api.get_movie_history().id(created.id).send().await?;
    let kinds = history.items.iter().map(|revision| revision.kind.to_string());
    println!("history: {}", kinds.collect::<Vec<_>>().join(", "));

    match api.list_movies().filter(r#"gnre = "film noir""#).send().await {
        Err(Error::ErrorResponse(problem)) => {
            let diagnostic = problem.diagnostics.first().ok_or("a problem without a diagnostic")?;
            let help = diagnostic.help.as_deref().unwrap_or_default();
            println!(
                "rejected: {} at column {}: {}; {help}",
                *diagnostic.code, diagnostic.column, diagnostic.message
            );
        }
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("a field that does not exist was found".into()),
    }

    let operations = ["Batch One", "Batch Two"].map(|title| {
        let record = json!({
            "title": title, "genre": "drama", "release_year": 2001, "expiry_date": "2031-12-31",
        });
        BatchItem::builder().op(BatchOperation::Create).record(record.as_object().cloned()).try_into()
    });
    let operations = operations.into_iter().collect::<std::result::Result<Vec<BatchItem>, _>>()?;
    let batch = BatchRequest::builder().operations(operations);
    let batch = api.batch_movies().body(batch).send().await?;
    let statuses = batch.results.iter().map(|result| result.status.to_string());
    println!("wrote a batch: {}", statuses.collect::<Vec<_>>().join(", "));

    // Nothing is deleted unless exactly so many movies match.
    let filter = r#"title starts with "Batch ""#;
    let report = api.bulk_delete_movies().filter(filter).expect(2_u32).send().await?;
    println!("deleted {} that match a filter", report.written);

    api.delete_movie().id(created.id).if_match(etag(&updated)?).send().await?;
    println!("deleted");
    let version = RestoreRequest::builder().version(1);
    let restored = api.restore_movie().id(created.id).body(version).send().await?;
    println!("restored as version {}", restored.record.version);
    api.delete_movie().id(created.id).if_match(etag(&restored)?).send().await?;
    Ok(())
}

/// A client that sends the token with every request.
async fn sign_in(url: &str) -> Result<Client> {
    let credentials = TokenRequest::builder()
        .username(environment("CINEQUERY_USERNAME")?)
        .password(environment("CINEQUERY_PASSWORD")?);
    let token = Client::new(url).sign_in().body(credentials).send().await?;
    println!("signed in for {} s", token.expires_in);
    let bearer = format!("Bearer {}", token.access_token);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer.parse()?)]);
    let client = reqwest::Client::builder().default_headers(headers).build()?;
    Ok(Client::new_with_client(url, client))
}

fn environment(name: &str) -> Result<String> {
    env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Changes name the version they are made to: that of the response before.
fn etag<T>(response: &ResponseValue<T>) -> Result<&str> {
    Ok(response.headers().get(ETAG).ok_or("a response without an ETag")?.to_str()?)
}

fn day(year: i32, month: u32, day: u32) -> Result<NaiveDate> {
    Ok(NaiveDate::from_ymd_opt(year, month, day).ok_or("no such day")?)
}
