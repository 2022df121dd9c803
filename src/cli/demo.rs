//! `cinequery demo`: serves sample movies from a temporary database, without any setup.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use super::bind::listen;
use super::serve::stop_signal;
use super::{Outcome, explain, migrate, operator, print};
use crate::admission::{Admission, Limits, Proxies};
use crate::app::App;
use crate::app::transfer::{Format, begin};
use crate::config::{DEFAULT_LISTEN, Listen};
use crate::http::{self, Origins, Settings};
use crate::identity::{Credentials, Hasher, Open, Secrets, Tokens};
use crate::record::Catalogue;
use crate::store::{Conflict, Location, Missing, Store};

/// Well-known movies. Their `expiry_date` is made up. Source and licence: `sample/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../sample/movies.ndjson");

/// The lifetime of the printed token.
const TOKEN_TTL: Duration = Duration::from_secs(12 * 60 * 60);

#[derive(Args)]
pub(super) struct Demo {
    /// Host name or IP address to listen on, loopback only, and the port. If the default port is busy, a free port
    /// is used
    #[arg(long, value_name = "HOST:PORT", env = "CINEQUERY_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: Listen,
}

impl Demo {
    pub(super) async fn run(self) -> Outcome {
        let addresses = self.listen.resolve("--listen").await?;
        let is_loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if addresses.is_empty() || !is_loopback {
            return Err(format!(
                "the demo lets every client write, so it listens on loopback only, such as \
                 {DEFAULT_LISTEN}; found {}",
                self.listen
            ));
        }
        // Before the folder is created: otherwise an early signal would leave it there.
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
        let provider = Box::new(Open::new(catalogue.schemas()).with_sessions());
        let app = App::new(catalogue, store, provider, tokens, hasher, unlimited);
        let credentials = Credentials { username: "demo".to_owned(), password: None };
        let token = app.issue(credentials, None).await.map_err(explain)?.access_token;
        let listener = self.bind(&addresses)?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        print(&welcome(address, &token))?;
        // Pages under development are served from other ports of this machine.
        let settings =
            Settings { origins: Origins::loopback(), is_local: true, ..Settings::default() };
        http::serve_with(listener, app, settings, stop).await.map_err(|error| error.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn bind(&self, addresses: &[SocketAddr]) -> Result<TcpListener, String> {
        let is_busy = |error: &std::io::Error| error.kind() == ErrorKind::AddrInUse;
        let listener = match listen(addresses) {
            Err(error) if is_busy(&error) && self.listen.to_string() == DEFAULT_LISTEN => {
                eprintln!("{} is busy; using a free port", self.listen);
                let free = addresses.iter().map(|address| SocketAddr::new(address.ip(), 0));
                listen(&free.collect::<Vec<_>>())
            }
            other => other,
        };
        listener.map_err(|error| format!("cannot listen on {}: {error}", self.listen))
    }
}

fn welcome(address: SocketAddr, token: &str) -> String {
    format!(
        r#"cinequery is serving sample movies from a temporary database.
The expiry dates are made up. Press Ctrl-C to stop and to delete the database.

Console:                        http://{address}/
Interactive API documentation:  http://{address}/docs
Manual:                         http://{address}/docs/guide

A token for the next twelve hours, and three requests to paste into another terminal:

TOKEN={token}

curl -s -G http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  --data-urlencode 'filter=genre = "drama" and expiry_date between 2024-01-01 and 2024-06-30'

curl -s -G http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  --data-urlencode 'filter=title contains "star" and not release_year < 1977' \
  --data-urlencode 'order_by=release_year desc' -d count=exact

curl -s http://{address}/api/v1/movies -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' \
  -d '{{"title":"My Movie","genre":"drama","release_year":2026,"expiry_date":"2028-12-31"}}'
"#
    )
}
