//! `cinequery token`: issues a token without a running service.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, SecretSource, catalogue, explain, location, open, operator, print};
use crate::config::{DatabaseSettings, TokenSettings};
use crate::identity::{Identity, Tokens, name_problem};
use crate::query::text::nfc;
use crate::store::{Location, Missing};

const EXAMPLES: &str = "\
Examples:
  cinequery token joe
  cinequery token reports --scope movies:read --token-ttl 12h
  curl -H \"Authorization: Bearer $(cinequery token joe)\" http://127.0.0.1:8080/api/v1/movies";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Token {
    /// Name of the user, the subject of the token
    name: String,
    /// Scope, such as movies:read; may be repeated [default: all scopes of records]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    tokens: TokenSettings,
}

impl Token {
    pub(super) async fn run(self) -> Outcome {
        let catalogue = catalogue(&self.database.records)?;
        let known = operator(catalogue).scopes;
        if let Some(unknown) = self.scopes.iter().find(|scope| !known.contains(scope)) {
            return Err(format!(
                "unknown scope {unknown:?}; expected one of: {}",
                known.join(", ")
            ));
        }
        let scopes = if self.scopes.is_empty() { known } else { self.scopes };
        if let Some(problem) = name_problem(&self.name) {
            return Err(format!("the name {problem}"));
        }
        let location = location(&self.database)?;
        // A database that does not exist has no revocations.
        let revision = match &location {
            Location::Sqlite(path) if !path.exists() => 0,
            _ => {
                // Pending migrations of records are no obstacle: a token does not depend on them.
                let store = open(&self.database, Missing::ReadOnly).await?;
                let revision = store.revocation_revision().await.map_err(explain)?;
                store.close().await;
                revision
            }
        };
        let secrets = SecretSource::of(&self.tokens, &location)?.read()?;
        let identity = Identity { subject: nfc(&self.name).into_owned(), scopes };
        let issued = Tokens::new(&secrets, self.tokens.token_ttl).issue(&identity, revision);
        print(&issued.map_err(explain)?.access_token)?;
        Ok(ExitCode::SUCCESS)
    }
}
