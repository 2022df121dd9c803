//! `cinequery serve`: the service.

use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, SecretSource, location, migrate, open};
use crate::app::App;
use crate::config::{Auth, DatabaseSettings, ServeSettings, TokenSettings};
use crate::http;
use crate::identity::{Open, Provider, Tokens};
use crate::record::{All, Records};
use crate::store::Missing;

const EXAMPLES: &str = "\
Examples:
  cinequery serve --auth open
  cinequery serve --auth open --database postgres://cinequery@db.example/cinequery \\
      --jwt-secret-file /run/secrets/jwt --listen 127.0.0.1:9000

`cinequery check` takes the same settings and tells whether they will do.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    tokens: TokenSettings,
}

impl Serve {
    pub(super) async fn run(self) -> Outcome {
        let provider = provider(&self.serve)?;
        let location = location(&self.database)?;
        let secret = SecretSource::of(&self.tokens, &location)?.read()?;
        let store = open(&self.database, Missing::Create).await?;
        if !self.serve.no_migrate {
            migrate(&store).await?;
        }
        let address = self.serve.listen;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("cannot listen on {address}: {error}; --listen names another address")
        })?;
        tracing::info!(database = ?location, "serving");
        let app = App::new(store, provider, Tokens::new(&secret, self.tokens.token_ttl));
        let stop = stop_signal()?;
        http::serve::<All>(listener, app, stop).await.map_err(|error| error.to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn provider(settings: &ServeSettings) -> Result<Box<dyn Provider>, String> {
    match settings.auth {
        None => Err("choose how people sign in: --auth open (or CINEQUERY_AUTH=open) lets \
                     everybody in by name"
            .to_owned()),
        Some(Auth::Open) if !settings.listen.ip().is_loopback() && !settings.allow_open => {
            Err(format!(
                "--auth open lets everybody write, and others can reach {}; listen on \
                 127.0.0.1, or add --allow-open if that is what you want",
                settings.listen
            ))
        }
        Some(Auth::Open) => Ok(Box::new(Open::new(&All::schemas()))),
    }
}

/// Ready when the process is asked to stop: SIGTERM, as from Kubernetes, or SIGINT, as from Ctrl-C.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()> + Send, String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
