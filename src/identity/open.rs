//! The provider of `--auth open`, which accepts any name without a password. Its tokens identify clients for rate
//! limits and usage, and protect nothing.

use futures_util::future::BoxFuture;

use super::name::name_problem;
use super::{Credentials, Identity, Method, Provider, record_scopes};
use crate::error::{Error, Result, Violation};
use crate::query::Schema;
use crate::query::text::nfc;

/// Grants read and write access to every record type, and never administration.
#[derive(Debug)]
pub struct Open {
    scopes: Vec<String>,
    has_sessions: bool,
}

impl Open {
    /// Grants every user access to these record types. There are no sessions: a name is enough for a new token, and clients
    /// without a password could fill the table.
    pub fn new(schemas: &[&'static Schema]) -> Self {
        Self { scopes: record_scopes(schemas), has_sessions: false }
    }

    /// Adds sessions, for a temporary database: pages that are developed with it then behave as with passwords.
    #[must_use]
    pub fn with_sessions(self) -> Self {
        Self { has_sessions: true, ..self }
    }

    fn identity(&self, subject: String) -> Identity {
        Identity { subject, scopes: self.scopes.clone() }
    }
}

impl Provider for Open {
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
        let name = credentials.username;
        let identity = match name_problem(&name) {
            None => Ok(self.identity(nfc(&name).into_owned())),
            Some(detail) => Err(Error::record(vec![Violation::new("username", detail)])),
        };
        Box::pin(std::future::ready(identity))
    }

    fn look_up<'a>(&'a self, subject: &'a str) -> Option<BoxFuture<'a, Result<Identity>>> {
        let identity = Ok(self.identity(subject.to_owned()));
        self.has_sessions.then(|| Box::pin(std::future::ready(identity)) as BoxFuture<'a, _>)
    }

    fn method(&self) -> BoxFuture<'_, Result<Method>> {
        Box::pin(std::future::ready(Ok(Method::Open)))
    }
}
