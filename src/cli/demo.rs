//! `cinequery demo`: a first look, with nothing to set up and nothing left behind.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use super::serve::stop_signal;
use super::{Outcome, explain, migrate, operator, print};
use crate::admission::{Admission, Limits, Proxies};
use crate::app::App;
use crate::app::transfer::{Format, begin};
use crate::config::DEFAULT_LISTEN;
use crate::http;
use crate::identity::{Credentials, Hasher, Open, Secrets, Tokens};
use crate::record::Catalogue;
use crate::store::{Conflict, Location, Missing, Store};

/// Well-known films; their `expiry_date` is illustrative. Source and licence: `sample/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../sample/movies.ndjson");

/// How long the printed token is accepted.
const TOKEN_TTL: Duration = Duration::from_secs(12 * 60 * 60);

#[derive(Args)]
pub(super) struct Demo {
    /// The loopback address to listen on; a free port is taken when the default is busy
    #[arg(long, env = "CINEQUERY_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
}

impl Demo {
    pub(super) async fn run(self) -> Outcome {
        if !self.listen.ip().is_loopback() {
            return Err("the demo lets everybody write and listens on loopback only, such as \
                        127.0.0.1:8080"
                .to_owned());
        }
        // First of all: whoever stops it early must not find the folder left behind.
        let stop = stop_signal()?;
        let folder = tempfile::Builder::new().prefix("cinequery-demo-").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        let location = Location::Sqlite(folder.path().join("demo.db"));
        let store = Store::open(location, Missing::Create).await.map_err(explain)?;
        let catalogue = Catalogue::built_in();
        migrate(&store, catalogue).await?;
        let operator = operator(catalogue);
        let movies = catalogue.find("movies").ok_or("the built-in catalogue has no movies")?;
        let sample = begin(&store, &operator, movies).map_err(explain)?;
        let sample = sample.run(SAMPLE, Format::Ndjson, Conflict::Fail, |_| {});
        sample.await.map_err(explain)?;
        let tokens = Tokens::new(&Secrets::generate()?, TOKEN_TTL);
        let hasher = Hasher::new();
        let unlimited = Admission::local(Limits::NONE, Proxies::default());
        let provider = Box::new(Open::new(catalogue.schemas()));
        let app = App::new(catalogue, store, provider, tokens, hasher, unlimited);
        let credentials = Credentials { username: "demo".to_owned(), password: None };
        let token = app.issue(credentials, None).await.map_err(explain)?.access_token;
        let listener = self.bind().await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        print(&welcome(address, &token))?;
        http::serve(listener, app, stop).await.map_err(|error| error.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn bind(&self) -> Result<TcpListener, String> {
        let failed = |error| format!("cannot listen on {}: {error}", self.listen);
        match TcpListener::bind(self.listen).await {
            Err(error)
                if error.kind() == ErrorKind::AddrInUse
                    && self.listen.to_string() == DEFAULT_LISTEN =>
            {
                eprintln!("{} is busy: another port is taken", self.listen);
                TcpListener::bind(SocketAddr::new(self.listen.ip(), 0)).await.map_err(failed)
            }
            other => other.map_err(failed),
        }
    }
}

fn welcome(address: SocketAddr, token: &str) -> String {
    format!(
        r#"cinequery is serving a sample catalogue from a throwaway database.
The expiry dates are illustrative; everything is gone when you press Ctrl-C.

Documentation, to try every operation:  http://{address}/docs

A token for the next twelve hours, and three requests to paste in another terminal:

TOKEN={token}

curl -s -G http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  --data-urlencode 'filter=genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30'

curl -s -G http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  --data-urlencode 'filter=title contains "star" and not release_year < 1977' \
  --data-urlencode 'order_by=release_year desc' -d count=exact

curl -s http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' \
  -d '{{"title":"My Film","genre":"drama","release_year":2026,"expiry_date":"2028-12-31"}}'
"#
    )
}
